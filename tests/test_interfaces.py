"""The interfaces besides insertbill: what goes over the wire, what comes back, what is refused."""

import copy
import datetime
import json
import pickle
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from bills import Index, bill
from servers import RawServer, Wire, json_reply

import nontax
import nontax.cached
from nontax.sandbox import Sandbox, faults

PDF = b"%PDF-1.7\n%%EOF\n"
RID = "61725984-6126f6f9-040f19c4"
S_PAPPID = "d3JkZW1v_a-b+c"
AT = datetime.datetime(2016, 9, 26, 8, 1, 15, tzinfo=datetime.UTC)


class Row(NamedTuple):
    """One interface: a call of it, what it sends, what may come back, what is made of that."""

    path: str
    method: str
    query: dict[str, str]
    body: Any
    call: Callable[[nontax.Client], Any]
    reply: dict[str, Any]
    result: Any
    read_only: bool
    # What a reply must have: the names and the values that are no such thing.
    required: dict[str, list[Any]]


NO_TEXT = [None, "", True, ["a"], {"a": 1}]
NO_INTEGER = [None, "", "7200s", "7.5", " 7", "1" * 16, 1.5, True, [7], 1e300]
NO_OBJECT: list[Any] = [None, "a", 7, [], [{}]]

ROWS = {
    "createbillcard": Row(
        "/nontax/createbillcard",
        "POST",
        {},
        {
            "invoice_info": {
                "payee": "测试市人民医院",
                "base_info": {"logo_url": "https://example.com/a?b=c"},
            }
        },
        lambda client: client.create_bill_card(
            payee="测试市人民医院", logo_url="https://example.com/a?b=c"
        ),
        {"card_id": "pjZ8Yt9WoOePThU0NfUKz5-tBEWU"},
        nontax.BillCard(card_id="pjZ8Yt9WoOePThU0NfUKz5-tBEWU"),
        False,
        {"card_id": NO_TEXT},
    ),
    "setpdf": Row(
        "/card/invoice/platform/setpdf",
        "POST",
        {},
        ...,
        lambda client: client.upload_pdf(PDF),
        {"s_media_id": "75195574948725301"},
        nontax.UploadedPdf(s_media_id="75195574948725301"),
        False,
        {"s_media_id": NO_TEXT},
    ),
    "seturl": Row(
        "/card/invoice/seturl",
        "POST",
        {},
        {},
        lambda client: client.get_s_pappid(),
        {"invoice_url": f"https://mp.weixin.qq.com/x?action=list&s_pappid={S_PAPPID}"},
        nontax.PlatformId(
            s_pappid=S_PAPPID,
            invoice_url=f"https://mp.weixin.qq.com/x?action=list&s_pappid={S_PAPPID}",
        ),
        False,
        {"invoice_url": NO_TEXT},
    ),
    "getpdf": Row(
        "/card/invoice/platform/getpdf",
        "POST",
        {},
        {"action": "get_url", "s_media_id": "75195574948725301"},
        lambda client: client.get_pdf_url("75195574948725301"),
        {"pdf_url": "https://example.com/1.pdf", "pdf_url_expire_time": 7200},
        nontax.PdfUrl(pdf_url="https://example.com/1.pdf", pdf_url_expire_time=7200),
        True,
        {"pdf_url": NO_TEXT, "pdf_url_expire_time": NO_INTEGER},
    ),
    "updatestatus": Row(
        "/card/invoice/platform/updatestatus",
        "POST",
        {},
        {"card_id": "c", "code": "186921658591", "reimburse_status": "INVOICE_REIMBURSE_CANCEL"},
        lambda client: client.update_bill_status(
            card_id="c", code="186921658591", reimburse_status="INVOICE_REIMBURSE_CANCEL"
        ),
        {},
        None,
        False,
        {},
    ),
    "getticket": Row(
        "/cgi-bin/ticket/getticket",
        "GET",
        {"type": "wx_card"},
        None,
        lambda client: client.get_ticket(),
        {"ticket": "m7RQzjA_ljjEkt-JCoklRM", "expires_in": 7200},
        nontax.Ticket(ticket="m7RQzjA_ljjEkt-JCoklRM", expires_in=7200),
        True,
        {"ticket": NO_TEXT, "expires_in": NO_INTEGER},
    ),
    "getbillauthurl": Row(
        "/nontax/getbillauthurl",
        "POST",
        {},
        {
            "s_pappid": "wxabcd",
            "order_id": "1234",
            "money": 11,
            "timestamp": 1474876875,
            "source": "web",
            "redirect_url": "https://example.com/回",
            "ticket": "tttt",
        },
        lambda client: client.get_bill_auth_url(
            s_pappid="wxabcd",
            order_id="1234",
            money=11,
            timestamp=AT,
            redirect_url="https://example.com/回",
            ticket=nontax.Ticket(ticket="tttt", expires_in=7200),
        ),
        {"auth_url": "https://example.com/auth", "expire_time": 7200},
        nontax.BillAuthUrl(auth_url="https://example.com/auth", expire_time=7200),
        False,
        {"auth_url": NO_TEXT, "expire_time": NO_INTEGER},
    ),
    "getauthdata": Row(
        "/card/invoice/getauthdata",
        "POST",
        {},
        {"s_pappid": S_PAPPID, "order_id": "1234"},
        lambda client: client.get_auth_data(s_pappid=S_PAPPID, order_id="1234"),
        {"invoice_status": "auth success", "auth_time": 1480342498},
        nontax.AuthData(invoice_status="auth success", auth_time=1480342498),
        True,
        {"invoice_status": NO_TEXT},
    ),
    "rejectinsert": Row(
        "/card/invoice/rejectinsert",
        "POST",
        {},
        {"s_pappid": S_PAPPID, "order_id": "1234", "reason": "金额不符", "url": "https://a.cn"},
        lambda client: client.reject_bill(
            s_pappid=S_PAPPID, order_id="1234", reason="金额不符", url="https://a.cn"
        ),
        {},
        None,
        False,
        {},
    ),
    "insertbill": Row(
        "/nontax/insertbill",
        "POST",
        {},
        ...,
        lambda client: client.insert_bill(bill()),
        {"code": "682000661927", "openid": "oA1"},
        nontax.InsertedBill(code="682000661927", openid="oA1"),
        False,
        {"code": NO_TEXT},
    ),
    "rid/get": Row(
        "/cgi-bin/openapi/rid/get",
        "POST",
        {},
        {"rid": RID},
        lambda client: client.get_rid_info(RID),
        {"request": {"invoke_time": 1635156704, "cost_in_ms": 30, "client_ip": "192.0.2.1"}},
        nontax.RidInfo(invoke_time=1635156704, cost_in_ms=30, client_ip="192.0.2.1"),
        True,
        {"request": NO_OBJECT},
    ),
    "quota/get": Row(
        "/cgi-bin/openapi/quota/get",
        "POST",
        {},
        {"cgi_path": "/nontax/insertbill"},
        lambda client: client.get_quota("/nontax/insertbill"),
        {
            "quota": {"daily_limit": 10, "used": 3, "remain": 7},
            "rate_limit": {"call_count": 5, "refresh_second": 60},
        },
        nontax.Quota(
            daily_limit=10,
            used=3,
            remain=7,
            rate_limit={"call_count": 5, "refresh_second": 60},
        ),
        True,
        {"quota": NO_OBJECT},
    ),
}
each = pytest.mark.parametrize("name", ROWS)


def reply(row: Row, **changes: Any) -> faults.Reply:
    """A success with other fields; `...` leaves one out."""
    fields = {"errcode": 0, "errmsg": "ok"} | row.reply | changes
    body = json.dumps({key: value for key, value in fields.items() if value is not ...})
    return faults.Reply(body=body.encode(), taken=False)


def raised(call: Callable[[], object]) -> nontax.NontaxError:
    with pytest.raises(nontax.NontaxError) as caught:
        call()
    return caught.value


@pytest.fixture
def once(sandbox: Sandbox) -> Iterator[nontax.Client]:
    """A client that repeats nothing."""
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, retries=0
    ) as client:
        yield client


@pytest.fixture
def unit(sandbox: Sandbox) -> Iterator[nontax.Client]:
    """A client of the collecting unit's."""
    with nontax.Client(
        access_token=sandbox.unit.access_token, base_url=sandbox.base_url, retries=0
    ) as client:
        yield client


# --- the wire -------------------------------------------------------------------------------------


@each
def test_the_request_and_the_result(sandbox: Sandbox, once: nontax.Client, name: str) -> None:
    row = ROWS[name]
    sandbox.inject(reply(row))
    result = row.call(once)
    (request,) = sandbox.requests
    assert (request.path, request.method) == (row.path, row.method)
    query = urllib.parse.parse_qs(request.query, strict_parsing=True)
    assert query == {"access_token": ["***"]} | {key: [text] for key, text in row.query.items()}
    assert request.access_token == sandbox.access_token
    if row.body is None:
        assert request.body == b""
        assert "content-type" not in request.headers
    elif row.body is not ...:
        assert request.headers["content-type"] == "application/json"
        assert request.json == row.body
        assert b"\\u" not in request.body
    assert type(result) is type(row.result)
    assert result == row.result
    if result is not None:
        assert result.extra == {}


@each
def test_further_fields_of_a_reply_are_kept(
    sandbox: Sandbox, once: nontax.Client, name: str
) -> None:
    row = ROWS[name]
    more = {"unionid": "o6_bmasdasdsad6_2sgVt7hMZOPfL", "list": [1, {"a": None}], "extra": 1.5}
    sandbox.inject(reply(row, **more))
    result = row.call(once)
    if row.result is None:
        assert result is None
    else:
        assert result.extra == more
        assert result == type(result)(
            **{
                field: getattr(row.result, field)
                for field in row.result.__slots__
                if field != "extra"
            },
            extra=more,
        )


@each
def test_errcode_as_text(sandbox: Sandbox, once: nontax.Client, name: str) -> None:
    row = ROWS[name]
    sandbox.inject(reply(row, errcode="0"))
    assert row.call(once) == row.result
    sandbox.inject(reply(row, errcode="48001", errmsg=f"api unauthorized rid: {RID}"))
    client = nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url)
    error = raised(lambda: row.call(client))
    assert isinstance(error, nontax.AccountError)
    assert (error.interface, error.rid, error.outcome) == (name, RID, "rejected")
    assert "48001" in str(error)
    assert (name in str(error)) == (name != "insertbill")


@each
def test_a_success_that_is_none(sandbox: Sandbox, once: nontax.Client, name: str) -> None:
    row = ROWS[name]
    for field, values in row.required.items():
        for value in [..., *values]:
            sandbox.inject(reply(row, **{field: value}))
            once = nontax.Client(
                access_token=sandbox.access_token, base_url=sandbox.base_url, retries=0
            )
            error = raised(lambda client=once: row.call(client))  # type: ignore[misc]
            assert type(error) is nontax.InDoubtError, (field, value)
            assert field in error.reason
            assert (error.interface, error.read_only) == (name, row.read_only)
            assert error.http_status == 200
            assert ("calling it again is safe" in str(error)) == row.read_only


# Each documented field, and each of its spellings that WeChat's pages or WeChat itself may have.
SPELLINGS: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("createbillcard", {"card_id": 12}, {"card_id": "12"}),
    ("setpdf", {"s_media_id": 75195574948725301}, {"s_media_id": "75195574948725301"}),
    ("setpdf", {"s_media_id": 12345678901234567890123}, {"s_media_id": "12345678901234567890123"}),
    ("getpdf", {"pdf_url_expire_time": "7200"}, {"pdf_url_expire_time": 7200}),
    ("getpdf", {"pdf_url_expire_time": 7200.0}, {"pdf_url_expire_time": 7200}),
    ("getticket", {"ticket": 5, "expires_in": "7200"}, {"ticket": "5", "expires_in": 7200}),
    ("getbillauthurl", {"expire_time": "0060"}, {"expire_time": 60}),
    ("getauthdata", {"auth_time": "1480342498"}, {"auth_time": 1480342498}),
    ("getauthdata", {"invoice_status": 3}, {"invoice_status": "3"}),
    ("insertbill", {"code": 682000661927}, {"code": "682000661927"}),
    ("insertbill", {"openid": 9007199254740993}, {"openid": "9007199254740993"}),
    (
        "rid/get",
        {"request": {"invoke_time": "1635156704", "cost_in_ms": "30", "request_url": 1}},
        {"invoke_time": 1635156704, "cost_in_ms": 30, "request_url": "1"},
    ),
    (
        "quota/get",
        {"quota": {"daily_limit": "10", "used": "3"}, "rate_limit": {"call_count": "5"}},
        {"daily_limit": 10, "used": 3, "remain": None, "rate_limit": {"call_count": 5}},
    ),
]


@pytest.mark.parametrize(("name", "spelt", "expected"), SPELLINGS)
def test_numbers_as_texts_and_texts_as_numbers(
    sandbox: Sandbox,
    once: nontax.Client,
    name: str,
    spelt: dict[str, object],
    expected: dict[str, object],
) -> None:
    row = ROWS[name]
    sandbox.inject(reply(row, **spelt))
    result = row.call(once)
    for field, value in expected.items():
        found = getattr(result, field)
        assert (found, type(found)) == (value, type(value))
    assert result.extra == {}


def test_every_documented_field_has_another_spelling() -> None:
    fields = {(name, field) for name, spelt, _ in SPELLINGS for field in spelt}
    links = {("seturl", "invoice_url"), ("getpdf", "pdf_url"), ("getbillauthurl", "auth_url")}
    documented = {(name, field) for name, row in ROWS.items() for field in row.reply}
    assert documented - fields == links


@pytest.mark.parametrize("value", ["at noon", "", 1.5, True, [1]])
def test_an_odd_time_of_authorisation(sandbox: Sandbox, once: nontax.Client, value: object) -> None:
    """What the authorisation came to is told all the same, and so is the odd value."""
    row = ROWS["getauthdata"]
    sandbox.inject(reply(row, auth_time=value))
    told = row.call(once)
    assert (told.invoice_status, told.auth_time) == ("auth success", None)
    assert told.extra == {"auth_time": value}


def test_a_reply_without_the_time_of_authorisation(sandbox: Sandbox, once: nontax.Client) -> None:
    row = ROWS["getauthdata"]
    sandbox.inject(reply(row, invoice_status="never auth", auth_time=...))
    assert row.call(once) == nontax.AuthData(invoice_status="never auth")


@pytest.mark.parametrize(
    "url",
    [
        "https://mp.weixin.qq.com/x?action=list",
        "https://mp.weixin.qq.com/x?s_pappid=",
        "https://mp.weixin.qq.com/x?s_pappid=a&s_pappid=b",
        "https://mp.weixin.qq.com/x#s_pappid=a",
        "https://mp.weixin.qq.com/x?xs_pappid=a",
        "https://[",
        "no link",
    ],
)
def test_a_link_without_an_s_pappid(sandbox: Sandbox, once: nontax.Client, url: str) -> None:
    sandbox.inject(reply(ROWS["seturl"], invoice_url=url))
    with pytest.raises(nontax.InDoubtError, match="no s_pappid") as told:
        once.get_s_pappid()
    assert told.value.interface == "seturl"


def test_an_s_pappid_with_percent_escapes(sandbox: Sandbox, once: nontax.Client) -> None:
    url = "https://mp.weixin.qq.com/x?s_pappid=a%2Bb+c%3D&action=list"
    sandbox.inject(reply(ROWS["seturl"], invoice_url=url))
    assert once.get_s_pappid().s_pappid == "a+b+c="


# --- what may be repeated -------------------------------------------------------------------------

SILENCE: dict[str, faults.Fault] = {
    "no answer": faults.NeverAnswer(),
    "closed": faults.Close("body", taken=True),
    "reset": faults.Close("body", reset=True),
    "page": faults.Reply(502, body=b"<html>"),
    "busy": faults.Errcode(-1),
}


@pytest.mark.parametrize("kind", SILENCE)
@each
def test_only_reads_are_asked_again(sandbox: Sandbox, name: str, kind: str) -> None:
    row = ROWS[name]
    sandbox.inject(SILENCE[kind])
    sandbox.inject(reply(row))
    timeout = 0.3 if kind == "no answer" and not row.read_only else 3.0
    if kind == "no answer" and row.read_only:
        timeout = 0.8  # of which the first attempt has a part
    client = nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, timeout=timeout
    )
    if row.read_only:
        assert row.call(client) == row.result
        assert len(sandbox.requests) == 2
        return
    error = raised(lambda: row.call(client))
    assert error.outcome == "in_doubt"
    assert error.interface == name
    assert len(sandbox.requests) == 1
    if kind == "no answer":
        assert isinstance(error, nontax.InDoubtError)
        assert error.timed_out


@each
def test_what_was_certainly_not_sent_is_repeated(
    sandbox: Sandbox, once: nontax.Client, name: str
) -> None:
    row = ROWS[name]
    del once
    with nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url) as client:
        sandbox.inject(reply(row))
        sandbox.inject(faults.Errcode(72036))
        sandbox.inject(reply(row))
        assert row.call(client) == row.result
        if name == "getticket":  # it is kept
            client = nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url)
        assert row.call(client) == row.result
    assert [request.errcode for request in sandbox.requests] == [None, 72036, None]


@each
def test_a_refused_token_is_renewed_for_every_interface(sandbox: Sandbox, name: str) -> None:
    row = ROWS[name]
    asked = []

    def source(stale: str | None) -> str:
        asked.append(stale)
        return f"token-{len(asked)}"

    sandbox.inject(faults.Errcode(42001))
    sandbox.inject(reply(row))
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    assert row.call(client) == row.result
    assert asked == [None, "token-1"]
    first, second = sandbox.requests
    assert (first.access_token, second.access_token) == ("token-1", "token-2")
    assert first.body == second.body


# --- arguments ------------------------------------------------------------------------------------

TEXT_PROBLEMS = ["", None, 7, b"x", "\udcff", "a\0b"]
Call = Callable[[nontax.Client, Any], object]
TEXTS: dict[str, Call] = {
    "payee": lambda client, text: client.create_bill_card(payee=text, logo_url="u"),
    "logo_url": lambda client, text: client.create_bill_card(payee="p", logo_url=text),
    "s_media_id": lambda client, text: client.get_pdf_url(text),
    "card_id": lambda client, text: client.update_bill_status(
        card_id=text, code="1", reimburse_status="INVOICE_REIMBURSE_INIT"
    ),
    "code": lambda client, text: client.update_bill_status(
        card_id="c", code=text, reimburse_status="INVOICE_REIMBURSE_INIT"
    ),
    "reimburse_status": lambda client, text: client.update_bill_status(
        card_id="c", code="1", reimburse_status=text
    ),
    "s_pappid": lambda client, text: client.get_auth_data(s_pappid=text, order_id="1"),
    "order_id": lambda client, text: client.get_auth_data(s_pappid="s", order_id=text),
    "reason": lambda client, text: client.reject_bill(s_pappid="s", order_id="1", reason=text),
    "rid": lambda client, text: client.get_rid_info(text),
    "cgi_path": lambda client, text: client.get_quota(text),
    "source": lambda client, text: client.get_bill_auth_url(
        s_pappid="s", order_id="1", money=1, ticket="t", source=text
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_cannot_be_sent(sandbox: Sandbox, once: nontax.Client, name: str) -> None:
    for text in TEXT_PROBLEMS:
        error = raised(lambda text=text: TEXTS[name](once, text))  # type: ignore[misc]
        assert isinstance(error, nontax.InvalidRequestError)
        assert {path.split(".")[-1] for path, _ in error.problems} == {name}
        assert error.outcome == "not_sent"
    assert sandbox.requests == ()


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        (lambda client, text: TEXTS["reimburse_status"](client, text), "INVOICE_REIMBURSE_PAID"),
        (lambda client, text: TEXTS["reimburse_status"](client, text), "invoice_reimburse_init"),
        (lambda client, text: TEXTS["source"](client, text), "wap"),
        (lambda client, text: TEXTS["source"](client, text), "WEB"),
        (lambda client, text: TEXTS["rid"](client, text), "61725984-6126f6f9"),
        (lambda client, text: TEXTS["rid"](client, text), RID + "-"),
        (lambda client, text: TEXTS["rid"](client, text), "g" + RID[1:]),
        (lambda client, text: TEXTS["cgi_path"](client, text), "nontax/insertbill"),
        (
            lambda client, text: TEXTS["cgi_path"](client, text),
            "https://api.weixin.qq.com/nontax/insertbill",
        ),
    ],
)
def test_values_that_wechat_does_not_know(
    sandbox: Sandbox, once: nontax.Client, call: Call, wrong: str
) -> None:
    error = raised(lambda: call(once, wrong))
    assert isinstance(error, nontax.InvalidRequestError)
    assert len(error.problems) == 1
    assert sandbox.requests == ()


@pytest.mark.parametrize("money", [None, 1.0, "1", True, 10**20])
@pytest.mark.parametrize(
    "timestamp", [147487587, "1474875876", 1.5, True, -1, AT.replace(tzinfo=None)]
)
def test_all_problems_at_once(
    sandbox: Sandbox, once: nontax.Client, money: Any, timestamp: Any
) -> None:
    error = raised(
        lambda: once.get_bill_auth_url(
            s_pappid="",
            order_id="",
            money=money,
            source="wxa",
            redirect_url="",
            timestamp=timestamp,
            ticket="",
        )
    )
    assert isinstance(error, nontax.InvalidRequestError)
    assert {path for path, _ in error.problems} == ROWS["getbillauthurl"].body.keys()
    assert error.interface == "getbillauthurl"
    assert sandbox.requests == ()


@pytest.mark.parametrize(
    ("call", "paths"),
    [
        (
            lambda client: client.create_bill_card(payee="", logo_url=7),
            ["invoice_info.payee", "invoice_info.base_info.logo_url"],
        ),
        (
            lambda client: client.update_bill_status(card_id="", code=7, reimburse_status="x"),
            ["card_id", "code", "reimburse_status"],
        ),
        (
            lambda client: client.reject_bill(s_pappid="", order_id=7, reason=None, url=""),
            ["s_pappid", "order_id", "reason", "url"],
        ),
        (lambda client: client.get_auth_data(s_pappid="", order_id=7), ["s_pappid", "order_id"]),
        (lambda client: client.upload_pdf(b"x", filename=""), ["pdf", "filename"]),
    ],
)
def test_all_problems_of_the_others_at_once(
    sandbox: Sandbox, once: nontax.Client, call: Callable[[Any], object], paths: list[str]
) -> None:
    error = raised(lambda: call(once))
    assert isinstance(error, nontax.InvalidRequestError)
    assert sorted(path for path, _ in error.problems) == sorted(paths)
    assert sandbox.requests == ()


@pytest.mark.parametrize(
    "text", ["票", 'a"b\\c', "a\nb\tc", "\U0001f9fe", "x" * 100_000, "a+b&c=d%"]
)
def test_texts_arrive_as_they_are(sandbox: Sandbox, once: nontax.Client, text: str) -> None:
    sandbox.inject(reply(ROWS["rejectinsert"]))
    once.reject_bill(s_pappid=text, order_id=text, reason=text)
    (request,) = sandbox.requests
    assert request.json == {"s_pappid": text, "order_id": text, "reason": text}


@pytest.mark.parametrize("money", [0, 12, Index(12), 2**53 - 1])
def test_money(sandbox: Sandbox, once: nontax.Client, money: Any) -> None:
    sandbox.inject(reply(ROWS["getbillauthurl"]))
    once.get_bill_auth_url(
        s_pappid="s", order_id="1", money=money, timestamp=1474875876, ticket="t"
    )
    (request,) = sandbox.requests
    assert request.json["money"] == (12 if isinstance(money, Index) else money)


def test_the_time_is_now_unless_given(sandbox: Sandbox, once: nontax.Client) -> None:
    import time

    sandbox.inject(reply(ROWS["getbillauthurl"]))
    before = int(time.time())
    once.get_bill_auth_url(s_pappid="s", order_id="1", money=1, ticket="t")
    assert before <= sandbox.requests[0].json["timestamp"] <= int(time.time())


# --- the ticket -----------------------------------------------------------------------------------


def auth_url(client: nontax.Client, sandbox: Sandbox, order_id: str, **more: Any) -> Any:
    return client.get_bill_auth_url(
        s_pappid=sandbox.bureau.s_pappid, order_id=order_id, money=1, **more
    )


def tickets(sandbox: Sandbox) -> int:
    return sum(request.path == "/cgi-bin/ticket/getticket" for request in sandbox.requests)


def test_the_ticket_is_fetched_once(sandbox: Sandbox, unit: nontax.Client) -> None:
    for order_id in ("1", "2", "3"):
        auth_url(unit, sandbox, order_id)
    assert unit.get_ticket() is unit.get_ticket()
    assert tickets(sandbox) == 1
    auth_url(unit, sandbox, "4", ticket=unit.get_ticket())
    auth_url(unit, sandbox, "5", ticket=unit.get_ticket().ticket)
    assert tickets(sandbox) == 1
    assert len(sandbox.orders) == 5


def test_fifty_threads_fetch_one_ticket(sandbox: Sandbox, unit: nontax.Client) -> None:
    together = threading.Barrier(50)

    def ask(number: int) -> Any:
        together.wait()
        return auth_url(unit, sandbox, f"{number}")

    with ThreadPoolExecutor(50) as pool:
        urls = list(pool.map(ask, range(50)))
    assert len({url.auth_url for url in urls}) == 50
    assert tickets(sandbox) == 1


def test_the_ticket_is_renewed_before_its_end(
    sandbox: Sandbox, unit: nontax.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    first = unit.get_ticket()
    ahead = 7200 - 200
    monkeypatch.setattr(nontax.cached, "monotonic", lambda: time.monotonic() + ahead)
    sandbox.clock.advance(ahead)
    assert unit.get_ticket() != first
    assert tickets(sandbox) == 2


def test_a_ticket_that_cannot_be_had(sandbox: Sandbox, unit: nontax.Client) -> None:
    sandbox.unit.daily_quotas["/cgi-bin/ticket/getticket"] = 0
    for _ in range(3):
        error = raised(lambda: auth_url(unit, sandbox, "1"))
        assert isinstance(error, nontax.QuotaError)
        assert (error.interface, error.errcode) == ("getticket", 45009)
    assert tickets(sandbox) == 1
    assert len(sandbox.requests) == 1


def test_why_a_ticket_cannot_be_had_is_told_to_all(sandbox: Sandbox) -> None:
    why = RuntimeError("the token server is down")

    def source(_stale: str | None) -> str:
        raise why

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    for _ in range(3):
        error = raised(client.get_ticket)
        assert isinstance(error, nontax.NotSentError | nontax.AccessTokenError)
        assert error.__cause__ is why


def test_a_ticket_of_another_account(sandbox: Sandbox, unit: nontax.Client) -> None:
    error = raised(lambda: auth_url(unit, sandbox, "1", ticket="x"))
    assert isinstance(error, nontax.ParameterError)
    assert error.errcode == 72031
    assert tickets(sandbox) == 0


def test_a_ticket_is_a_secret() -> None:
    ticket = nontax.Ticket(ticket="geheim", expires_in=7200)
    assert "geheim" not in f"{ticket!r} {ticket} {[ticket]}"
    assert copy.copy(ticket) is copy.deepcopy([ticket])[0] is ticket
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="secret"):
            pickle.dumps(ticket, protocol)


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name].result is not None])
def test_results_are_values(name: str) -> None:
    result = ROWS[name].result
    field = result.__slots__[0]
    with pytest.raises(AttributeError, match="immutable"):
        setattr(result, field, "x")
    with pytest.raises(AttributeError, match="immutable"):
        delattr(result, field)
    assert not hasattr(result, "__dict__")
    if name == "getticket":
        return
    assert type(result).__name__ in repr(result)
    assert str(getattr(result, field)) in repr(result)
    again = pickle.loads(pickle.dumps(result))
    assert again == result == copy.deepcopy(result)
    assert hash(again) == hash(result)
    assert type(again) is type(result)
    with pytest.raises(TypeError):
        type(result)(no_such_field=1)


def test_a_result_that_is_not_made_yet_can_be_shown() -> None:
    """A traceback with local variables shows what was being made."""
    assert repr(nontax.BillCard.__new__(nontax.BillCard)) == "BillCard(card_id=None, extra=None)"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/p?access_token=SECRET&a=b", "https://h/p?access_token=***&a=b"),
        ("/p?type=wx_card&access_token=SECRET", "/p?type=wx_card&access_token=***"),
        ("/p?secret=SECRET&appid=wx1", "/p?secret=***&appid=wx1"),
    ],
)
def test_a_request_that_is_looked_up_shows_no_credential(
    sandbox: Sandbox, once: nontax.Client, url: str, shown: str
) -> None:
    bodies = [
        '{"appid":"wx1","secret":"SECRET"}',
        '{"access_token": "SECRET", "expires_in": 7200}',
        '{"ticket" : "SECRET"}',
        '{"appsecret":"SEC\\/RET"}',
        '{"a":"{\\"ticket\\":\\"SECRET\\"}"}',
        "secret=SECRET&x=1",
        "access_token%3DSECRET%26x",
        "{'secret': 'SECRET'}",
        '{"Access_Token":"SECRET"}',
        "TICKET=SECRET",
        "component_access_token=SECRET&x=1",
        "access_token%253DSECRET&x",
        "%7B%22ticket%22%3A%22SECRET%22%2C%22a%22%3A1%7D",
        "%22secret%22%3A+%22SECRET%22%2C+%22a%22%3A+1",
        "%22secret%22%3A%20%22SECRET%22&x",
        "url%3Faccess_token%3DSECRET%26x%3D1",
        "access_token\\u003dSECRET\\u0026x=1",
        '{"ticket":"SEC\\u002dRET"}',
        "{&quot;secret&quot;:&quot;SECRET&quot;}",
        '{"ticket":["SECRET"]}',
        {"secret": "SECRET", "list": [{"ticket": "SECRET"}, "secret=SECRET"]},
        {"Ticket": ["SECRET", {"a": "SECRET"}], "component_access_token": "SECRET"},
    ]
    for body in bodies:
        request = {"request_url": url, "request_body": body, "response_body": body, "more": body}
        sandbox.inject(reply(ROWS["rid/get"], request=request))
        info = once.get_rid_info(RID)
        assert info.request_url == shown
        assert "***" in str(info.request_body)
        assert "***" in str(info.extra["more"])
        for left in ("SEC", "RET"):
            assert left not in f"{info!r}"


# --- with the sandbox as WeChat -------------------------------------------------------------------


def test_the_whole_way_of_a_bill(sandbox: Sandbox, unit: nontax.Client) -> None:
    with (
        Sandbox(orders="strict") as strict,
        nontax.Client(
            appid=strict.bureau.appid, secret=strict.bureau.secret, base_url=strict.base_url
        ) as bureau,
        nontax.Client(
            appid=strict.unit.appid, secret=strict.unit.secret, base_url=strict.base_url
        ) as unit,
    ):
        s_pappid = bureau.get_s_pappid().s_pappid
        assert s_pappid == strict.bureau.s_pappid
        card_id = bureau.create_bill_card(payee="医院", logo_url="https://a.cn/1.jpg").card_id
        assert strict.cards[card_id].payee == "医院"
        url = unit.get_bill_auth_url(
            s_pappid=s_pappid, order_id="1", money=123, source="app", redirect_url="https://a.cn/"
        )
        assert url.expire_time > 0
        assert strict.orders["1"].money == 123
        status = unit.get_auth_data(s_pappid=s_pappid, order_id="1")
        assert (status.invoice_status, status.auth_time) == ("never auth", None)
        strict.authorise("1")
        status = unit.get_auth_data(s_pappid=s_pappid, order_id="1")
        assert status.invoice_status == "auth success"
        assert isinstance(status.auth_time, int)
        media_id = bureau.upload_pdf(PDF).s_media_id
        pdf_url = bureau.get_pdf_url(media_id)
        assert pdf_url.pdf_url_expire_time == 7200
        with urllib.request.urlopen(pdf_url.pdf_url) as answer:
            assert answer.read() == PDF
        inserted = bureau.insert_bill(
            bill("1", card_id=card_id, appid=strict.unit.appid, s_pdf_media_id=media_id)
        )
        assert strict.bills["1"].code == inserted.code
        bureau.update_bill_status(
            card_id=card_id, code=inserted.code, reimburse_status="INVOICE_REIMBURSE_CANCEL"
        )
        assert strict.bills["1"].status == "INVOICE_REIMBURSE_CANCEL"
        # A second order is rejected, for good.
        unit.get_bill_auth_url(s_pappid=s_pappid, order_id="2", money=1)
        unit.reject_bill(s_pappid=s_pappid, order_id="2", reason="重复")
        status = unit.get_auth_data(s_pappid=s_pappid, order_id="2")
        assert status.invoice_status == "reject insert"
        error = raised(
            lambda: bureau.insert_bill(bill("2", card_id=card_id, appid=strict.unit.appid))
        )
        assert isinstance(error, nontax.BillStateError)
        assert error.errcode == 72035
        assert error.rid is not None
        info = bureau.get_rid_info(error.rid)
        assert info.request_url is not None
        assert info.request_body is not None
        assert info.response_body is not None
        assert "/nontax/insertbill" in info.request_url
        assert json.loads(info.request_body)["order_id"] == "2"
        assert "72035" in info.response_body
        assert info.client_ip == "127.0.0.1"
        quota = bureau.get_quota("/nontax/insertbill")
        assert quota.used == 2
        assert quota.daily_limit is not None
        assert quota.remain == quota.daily_limit - 2
        assert quota.rate_limit is None
        rated = bureau.get_quota("/cgi-bin/stable_token").rate_limit
        assert rated == {"call_count": 10_000, "refresh_second": 60}


class Wrong(NamedTuple):
    errcode: int
    error: type[nontax.WeChatError]
    call: Callable[[Sandbox, nontax.Client, nontax.Client], object]


def inserted_bill(sandbox: Sandbox, bureau: nontax.Client) -> tuple[str, str]:
    return "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw", bureau.insert_bill(bill()).code


def change(
    sandbox: Sandbox, bureau: nontax.Client, *statuses: str, card_id: str = "", code: str = ""
) -> None:
    its_card, its_code = inserted_bill(sandbox, bureau)
    for status in statuses:
        bureau.update_bill_status(
            card_id=card_id or its_card, code=code or its_code, reimburse_status=status
        )


def reject_twice(sandbox: Sandbox, unit: nontax.Client) -> None:
    for _ in range(2):
        unit.reject_bill(s_pappid=sandbox.bureau.s_pappid, order_id="1", reason="r")


WRONG = {
    "pdf of nobody": Wrong(
        40007, nontax.ParameterError, lambda sandbox, bureau, unit: bureau.get_pdf_url("1")
    ),
    "printed code": Wrong(
        72038,
        nontax.NotAuthorizedError,
        lambda sandbox, bureau, unit: change(
            sandbox, bureau, "INVOICE_REIMBURSE_INIT", code="144032009110"
        ),
    ),
    "another card": Wrong(
        40073,
        nontax.ParameterError,
        lambda sandbox, bureau, unit: change(
            sandbox, bureau, "INVOICE_REIMBURSE_INIT", card_id="p1"
        ),
    ),
    "written off": Wrong(
        72061,
        nontax.BillStateError,
        lambda sandbox, bureau, unit: change(
            sandbox, bureau, "INVOICE_REIMBURSE_CLOSURE", "INVOICE_REIMBURSE_INIT"
        ),
    ),
    "red-flushed": Wrong(
        72060,
        nontax.BillStateError,
        lambda sandbox, bureau, unit: change(
            sandbox, bureau, "INVOICE_REIMBURSE_CANCEL", "INVOICE_REIMBURSE_LOCK"
        ),
    ),
    "no bureau": Wrong(
        72031,
        nontax.ParameterError,
        lambda sandbox, bureau, unit: unit.get_auth_data(s_pappid="x", order_id="1"),
    ),
    "rejected twice": Wrong(
        72035,
        nontax.BillStateError,
        lambda sandbox, bureau, unit: reject_twice(sandbox, unit),
    ),
    "order used": Wrong(
        72056,
        nontax.DuplicateBillError,
        lambda sandbox, bureau, unit: (
            bureau.insert_bill(bill("1")),
            auth_url(unit, sandbox, "1"),
        ),
    ),
    "bureau's ticket": Wrong(
        48001, nontax.AccountError, lambda sandbox, bureau, unit: bureau.get_ticket()
    ),
    "unit's card": Wrong(
        48001,
        nontax.AccountError,
        lambda sandbox, bureau, unit: unit.create_bill_card(payee="p", logo_url="https://a.cn"),
    ),
    "unit's pdf": Wrong(
        48001, nontax.AccountError, lambda sandbox, bureau, unit: unit.upload_pdf(PDF)
    ),
    "unit's id": Wrong(
        48001, nontax.AccountError, lambda sandbox, bureau, unit: unit.get_s_pappid()
    ),
    "old rid": Wrong(
        76001, nontax.BillStateError, lambda sandbox, bureau, unit: bureau.get_rid_info(RID)
    ),
    "unknown path": Wrong(
        76021, nontax.ParameterError, lambda sandbox, bureau, unit: bureau.get_quota("/nontax/x")
    ),
    "path of others": Wrong(
        76022,
        nontax.AccountError,
        lambda sandbox, bureau, unit: bureau.get_quota("/nontax/getbillauthurl"),
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_use(sandbox: Sandbox, once: nontax.Client, unit: nontax.Client, kind: str) -> None:
    wrong = WRONG[kind]
    error = raised(lambda: wrong.call(sandbox, once, unit))
    assert type(error) is wrong.error
    assert error.errcode == wrong.errcode
    assert error.outcome == "rejected"
    assert error.rid
    assert error.advice


def test_many_interfaces_at_once_over_one_client(sandbox: Sandbox) -> None:
    # What belongs to one call must not get into another: bodies, methods, headers.
    def behave(wire: Wire) -> None:
        while True:
            head, body = wire.read_request()
            path = head.split(b" ")[1].partition(b"?")[0].decode()
            (row,) = (row for row in ROWS.values() if row.path == path)
            assert head.startswith(row.method.encode() + b" ")
            if isinstance(row.body, dict):
                assert json.loads(body) == row.body
            wire.send(json_reply(json.dumps({"errcode": 0, "errmsg": "ok"} | row.reply).encode()))

    with RawServer(behave) as server, ThreadPoolExecutor(8) as pool:
        client = nontax.Client(access_token="t", base_url=server.base_url)
        names = list(ROWS) * 20
        results = list(pool.map(lambda name: ROWS[name].call(client), names))
    assert results == [ROWS[name].result for name in names]
