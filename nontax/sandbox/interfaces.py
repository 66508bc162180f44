"""WeChat's interfaces as a table, and the checks that all of them share."""

import itertools
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import authorisation, credentials, issuing, json_body, multipart, operations
from .accounts import Account, Role
from .calls import Call
from .clock import Clock
from .errcodes import GENERIC_TEXT, TEXTS, RefusalError
from .faults import Errcode
from .insertbill import insert_bill
from .records import Request
from .world import World


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface.

    method: its HTTP method. answer: makes the fields of a successful reply, or raises RefusalError.
    role: which accounts have it, None for all. body: how the request says what it wants.
    secret: the field that has the AppSecret, for an interface without an access token.
    bare: whether errcode and errmsg are left out of a successful reply.
    daily, minute: how often an account may call it, None where the reference gives no number.
    """

    method: str
    answer: Callable[[World, Call], dict[str, Any]]
    role: Role | None = None
    body: str = "json"
    secret: str = ""
    bare: bool = False
    daily: int | None = None
    minute: int | None = None


INTERFACES = {
    "/nontax/createbillcard": Interface("POST", issuing.create_bill_card, "bureau"),
    "/card/invoice/platform/setpdf": Interface("POST", issuing.set_pdf, "bureau", body="multipart"),
    "/card/invoice/seturl": Interface("POST", issuing.set_url, "bureau"),
    "/card/invoice/platform/getpdf": Interface("POST", issuing.get_pdf, "bureau"),
    "/nontax/getbillauthurl": Interface("POST", authorisation.get_bill_auth_url, "unit"),
    # "Very small", says the page, and no number: this one is ours.
    "/cgi-bin/ticket/getticket": Interface(
        "GET", credentials.get_ticket, "unit", body="query", daily=100
    ),
    "/card/invoice/getauthdata": Interface("POST", authorisation.get_auth_data, "unit"),
    "/card/invoice/platform/updatestatus": Interface("POST", issuing.update_status, "bureau"),
    "/card/invoice/rejectinsert": Interface("POST", authorisation.reject_insert, "unit"),
    "/nontax/insertbill": Interface("POST", insert_bill, "bureau"),
    "/cgi-bin/token": Interface(
        "GET", credentials.get_token, body="query", secret="secret", bare=True, daily=2000
    ),
    "/cgi-bin/stable_token": Interface(
        "POST",
        credentials.get_stable_token,
        secret="secret",
        bare=True,
        daily=500_000,
        minute=10_000,
    ),
    "/cgi-bin/openapi/rid/get": Interface("POST", operations.get_rid),
    "/cgi-bin/openapi/quota/get": Interface("POST", operations.get_quota),
    "/cgi-bin/clear_quota": Interface("POST", operations.clear_quota),
    "/cgi-bin/clear_quota/v2": Interface(
        "POST", operations.clear_quota_with_secret, secret="appsecret"
    ),
}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_rid_count = itertools.count(secrets.randbits(31))


def make_account(
    name: str, roles: Iterable[Role], clock: Clock, appid: str | None, secret: str | None
) -> Account:
    """An account with the permissions of its roles and the usual quotas."""
    held = frozenset(roles)
    mine = {
        path: interface
        for path, interface in INTERFACES.items()
        if interface.role is None or interface.role in held
    }
    return Account(
        name,
        roles=held,
        clock=clock,
        permissions=mine,
        daily_quotas={path: row.daily for path, row in mine.items() if row.daily is not None},
        minute_quotas={path: row.minute for path, row in mine.items() if row.minute is not None},
        appid=appid,
        secret=secret,
    )


def answer(world: World, request: Request) -> tuple[int, bytes]:
    """Treat a request as WeChat would: its errcode and the body of the reply."""
    try:
        interface = INTERFACES.get(request.path)
        if interface is None:
            raise RefusalError(40066)
        if request.method != interface.method:
            raise RefusalError(43001 if interface.method == "GET" else 43002)
        if interface.secret:
            payload = _read_secretive(interface, request)
            account = world.accounts.by_secret(
                payload.get("appid"), payload.get(interface.secret), request.client_ip
            )
            _admit(account, request.path)
        else:
            account = world.accounts.by_token(request.access_tokens, request.client_ip)
            _admit(account, request.path)
            payload = _read(interface, request)
        fields = interface.answer(world, Call(account, payload, request.number))
    except RefusalError as refusal:
        return refusal.errcode, _error_body(world, request, refusal.errcode, refusal.text)
    if not interface.bare:
        fields = {"errcode": 0, "errmsg": "ok", **fields}
    return 0, _encode(fields).encode()


def fault_body(world: World, request: Request, fault: Errcode) -> bytes:
    """The body of the reply that a fault asks for."""
    if fault.errmsg is not None:
        return _encode({"errcode": fault.code, "errmsg": fault.errmsg}).encode()
    return _error_body(world, request, fault.code, TEXTS.get(fault.code, GENERIC_TEXT))


def _admit(account: Account, path: str) -> None:
    if path not in account.permissions:
        raise RefusalError(48001)
    account.quotas.take(path)


def _read(interface: Interface, request: Request) -> Any:
    if interface.body == "query":
        return request.parameters
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusalError(40221)
    if interface.body == "multipart":
        if not request.body:
            raise RefusalError(44002)
        try:
            return multipart.parse(request.headers.get("content-type", ""), request.body)
        except ValueError:
            raise RefusalError(47001) from None
    _check_json_type(request)
    return json_body.parse_strictly(request.body)


def _read_secretive(interface: Interface, request: Request) -> dict[str, Any]:
    try:
        payload = _read(interface, request)
    except RefusalError as refusal:
        # As seen: for these interfaces a body that cannot be read has no appid.
        raise RefusalError(41002) from refusal
    if not isinstance(payload, dict):
        raise RefusalError(41002)
    return payload


def _check_json_type(request: Request) -> None:
    content_type, _, parameters = request.headers.get("content-type", "").partition(";")
    content_type = content_type.strip().lower()
    if content_type == "application/x-www-form-urlencoded":
        # Section 1.2: 72031 or 40101 was seen for form-encoded bodies.
        raise RefusalError(40101, "Content-Type must be application/json")
    charset = parameters.replace(" ", "").replace('"', "").lower()
    if content_type != "application/json" or charset not in ("", "charset=utf-8"):
        raise RefusalError(47001, "Content-Type must be application/json, UTF-8")


def _error_body(world: World, request: Request, errcode: int, text: str) -> bytes:
    """The body of a refusal; `text` is followed by a request id as in section 1.4."""
    rid = _rid(world)
    body = _encode({"errcode": errcode, "errmsg": f"{text} rid: {rid}"}).encode()
    world.remember_rid(rid, request, body)
    return body


def _rid(world: World) -> str:
    count = next(_rid_count) & 0xFFFFFFFF
    return f"{int(world.clock.time()):08x}-{count:08x}-{secrets.randbits(32):08x}"
