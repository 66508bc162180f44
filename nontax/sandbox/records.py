"""What the sandbox remembers: the requests it saw and the bills it took."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from . import json_body
from .faults import Fault

_SECRET_PAIR = re.compile(r"((?:access_token|secret|ticket)=)[^&\s]*")
_SECRET_NAMES = frozenset(("access_token", "secret"))
MASK = "***"
_UNREAD = object()


def mask_pairs(text: str) -> str:
    """Blank the value of every access_token=..., secret=... and ticket=... in `text`."""
    return _SECRET_PAIR.sub(rf"\1{MASK}", text)


def split_query(query: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the query with access token and secret masked, and its pairs, decoded."""
    shown = []
    pairs = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        # Not unquote_plus: a plus in a token is a plus.
        pairs.append((unquote(name), unquote(value)))
        if pairs[-1][0] in _SECRET_NAMES:
            shown.append(f"{name}={MASK}")
        else:
            shown.append(mask_pairs(pair))
    return "&".join(shown), pairs


class Request:
    """One request that arrived at the sandbox. Read only.

    It exists as soon as its head was read, also when the body never comes. A bill delivered twice
    makes two of them.

    Attributes:
        number: int, counts from 1 in order of arrival.
        connection: int, number of the TCP connection it came on, from 1.
        method: str, "" when the head was not HTTP.
        path: str, as sent, without the query.
        query: str, as sent, the access token and the AppSecret masked.
        headers: mapping of lower-case names to values; repeated headers are joined with ", ".
        body: bytes received so far.
        body_complete: bool, whether that is all of it.
        errcode: int | None, what was answered; None if no errcode of the sandbox was sent in full.
        fault: the fault that was applied to it, or None.
        finished: bool, whether the sandbox is done with it.
        client_ip: str, the address it came from.
        time: float, Unix seconds by the sandbox's clock, when it arrived.
        rid: str, the request id in the errmsg it was answered with, or "".
    """

    __slots__ = (
        "_json",
        "_pairs",
        "body",
        "body_complete",
        "client_ip",
        "connection",
        "errcode",
        "fault",
        "finished",
        "headers",
        "method",
        "number",
        "path",
        "query",
        "rid",
        "time",
    )

    def __init__(
        self,
        connection: int,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        *,
        client_ip: str = "",
        time: float = 0.0,
    ) -> None:
        self.number = 0
        self.connection = connection
        self.method = method
        self.path = mask_pairs(path)
        self.query, self._pairs = split_query(query)
        self.headers = headers
        self.body = b""
        self.body_complete = False
        self.errcode: int | None = None
        self.fault: Fault | None = None
        self.finished = False
        self.client_ip = client_ip
        self.time = time
        self.rid = ""
        self._json: Any = _UNREAD

    @property
    def json(self) -> Any:
        """The body parsed, None if it is not whole or not JSON (see json_body.parse)."""
        if not self.body_complete:
            return None
        if self._json is _UNREAD:
            try:
                self._json = json_body.parse(self.body)
            except ValueError:
                self._json = None
        return self._json

    @property
    def access_token(self) -> str | None:
        """The access token it carried, decoded; None without one, or with more than one.

        Never part of repr() or of a log line.
        """
        tokens = self.access_tokens
        return tokens[0] if len(tokens) == 1 else None

    @property
    def access_tokens(self) -> tuple[str, ...]:
        """All access tokens in the query, decoded. Never part of repr() or of a log line."""
        return tuple(value for name, value in self._pairs if name == "access_token")

    @property
    def parameters(self) -> dict[str, str]:
        """The query decoded, the AppSecret included. Never part of repr() or of a log line."""
        return {name: value for name, value in self._pairs if name}

    @property
    def order_id(self) -> str | None:
        """The bill's order_id, if the body has one."""
        value = self.json
        order_id = value.get("order_id") if isinstance(value, dict) else None
        return order_id if isinstance(order_id, str) else None

    def __repr__(self) -> str:
        fault = f" {type(self.fault).__name__}" if self.fault is not None else ""
        return f"<Request {self.number} on connection {self.connection}:{fault} {self.errcode}>"


INITIAL_STATUS = "INVOICE_REIMBURSE_INIT"


@dataclass(frozen=True, slots=True)
class Bill:
    """One bill in a wallet.

    Attributes:
        order_id: str.
        code: str, the card code answered for it, 12 digits.
        openid: str, the user who received it.
        json: dict, the request body as it was received.
        request: int, number of the request that brought it.
        issuer: str, AppID of the finance bureau that inserted it.
        status: str, one of the four of section 6 of the reference.
    """

    order_id: str
    code: str
    openid: str
    json: dict[str, Any]
    request: int
    issuer: str = ""
    status: str = INITIAL_STATUS

    @property
    def card_id(self) -> str:
        card_id = self.json["card_id"]
        assert isinstance(card_id, str)
        return card_id

    @property
    def fields(self) -> dict[str, Any]:
        """The six fields of the bill itself, wherever they stand in `json`."""
        user_card: dict[str, Any] = self.json["card_ext"]["user_card"]
        fields: dict[str, Any] = user_card.get("invoice_user_data", user_card)
        return fields
