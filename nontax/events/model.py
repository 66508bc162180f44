"""The events as Python objects, and how they are made of a push's fields."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from nontax.events.errors import InvalidEventError
from nontax.events.parse import REPLACEMENT, SECONDS, parse, take_text


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationEvent:
    """A citizen has finished the authorisation of an order (`user_authorize_invoice`).

    order_id: the order (str). succeeded: True if it was authorised, False if that failed.
    from_user: the citizen's openid (str). to_user: the account's id, `gh_…` (str).
    create_time: when it happened, in Unix seconds (int).
    authorize_appid: the AppID that obtained the authorisation page's link; "" if left out.
    source: where the citizen came from, such as "web" or "app"; "" if left out.
    s_pappid: as `seturl` gave it; "" if left out.
    extra: further fields (dict), their texts without blanks around them.
    """

    order_id: str
    succeeded: bool
    from_user: str
    to_user: str
    create_time: int
    authorize_appid: str = ""
    source: str = ""
    s_pappid: str = ""
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """The same for each repetition of this event, and for nothing else.

        WeChat names FromUserName and CreateTime for this; what the event is about is added, so that
        two events of one second are not taken for one.
        """
        end = "succeeded" if self.succeeded else "failed"
        return f"{self.from_user}:{self.create_time}:user_authorize_invoice:{end}:{self.order_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusEvent:
    """A bill's reimbursement status was changed (`update_invoice_status`).

    status: the new one, such as "INVOICE_REIMBURSE_LOCK"; other values may come (str).
    card_id: the template's id (str). code: the bill's card code, as `InsertedBill.code` (str).
    from_user: the citizen's openid (str). to_user: the account's id, `gh_…` (str).
    create_time: when it happened, in Unix seconds (int). extra: further fields (dict), their
        texts without blanks around them.
    """

    status: str
    card_id: str
    code: str
    from_user: str
    to_user: str
    create_time: int
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """The same for each repetition of this event, and for nothing else."""
        about = f"update_invoice_status:{self.status}:{self.card_id}:{self.code}"
        return f"{self.from_user}:{self.create_time}:{about}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEvent:
    """Anything else that an account receives. No error: answer `success`, or pass it on.

    A citizen's chat message is one. A character in it that XML cannot hold is replaced by U+FFFD.

    name: WeChat's `Event`, such as "subscribe"; "" for what is no event (str).
    msg_type: WeChat's `MsgType`, "event" or, for what a user wrote, "text" and so on (str).
    from_user, to_user: as for the other events; "" where the push has none (str).
    create_time: Unix seconds (int), or None where the push has none.
    extra: all other fields (dict), their texts without blanks around them. Elements inside an
        element are a dict, repeated ones a list.
    problem: why its fields could not be read; "" if they could (str).
    raw: then the message as it was pushed, else b"" (bytes; not in the repr).
    """

    name: str
    msg_type: str
    from_user: str
    to_user: str
    create_time: int | None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
    problem: str = ""
    raw: bytes = field(default=b"", repr=False)

    @property
    def key(self) -> str:
        """The same for each repetition of this push; another content gives another key."""
        content = json.dumps(self.extra, sort_keys=True).encode() + self.raw
        digest = hashlib.sha256(content).hexdigest()[:32]
        return f"{self.from_user}:{self.create_time}:{self.msg_type}:{self.name}:{digest}"


Event = AuthorizationEvent | StatusEvent | OtherEvent


_AUTHORIZATION = "user_authorize_invoice"
_STATUS = "update_invoice_status"

# The first one is the message's own: WeChat writes it before anything that a citizen has written.
_MSG_TYPE = re.compile(rb"MsgType\W+(?:CDATA\W+)?(\w+)")


def read_event(message: bytes) -> Event:
    """Read a message that WeChat has signed; raises InvalidEventError for a broken one of ours."""
    try:
        fields = parse(message)
    except InvalidEventError as error:
        if _seems_ours(message):
            raise
        problem = str(error)
    else:
        return make_event(fields)
    return OtherEvent(
        name="",
        msg_type="",
        from_user="",
        to_user="",
        create_time=None,
        problem=problem,
        raw=message,
    )


def _seems_ours(message: bytes) -> bool:
    """Whether a message that cannot be read may be one of the two events: a person must know."""
    if _AUTHORIZATION.encode() not in message and _STATUS.encode() not in message:
        return False
    kind = _MSG_TYPE.search(message)
    return kind is None or kind[1] == b"event"


def make_event(fields: dict[str, object]) -> Event:
    """Make the event of a push's fields; raises InvalidEventError."""
    rest = {name: _trimmed(value) for name, value in fields.items()}
    msg_type = take_text(rest, "MsgType") or ""
    name = take_text(rest, "Event") or ""
    if msg_type == "event" and name == _AUTHORIZATION:
        return _make_authorization(rest)
    if msg_type == "event" and name == _STATUS:
        return StatusEvent(
            status=_take_required(rest, "Status"),
            card_id=_take_required(rest, "CardId"),
            code=_take_required(rest, "Code"),
            from_user=_take_required(rest, "FromUserName"),
            to_user=_take_required(rest, "ToUserName"),
            create_time=_take_time(rest),
            extra=rest,
        )
    return OtherEvent(
        name=name,
        msg_type=msg_type,
        from_user=take_text(rest, "FromUserName") or "",
        to_user=take_text(rest, "ToUserName") or "",
        create_time=_take_seconds(rest),
        extra=rest,
    )


def _trimmed(value: object) -> object:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        return {name: _trimmed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_trimmed(part) for part in value]
    return value


def _make_authorization(fields: dict[str, object]) -> AuthorizationEvent:
    succeeded = _take_optional(fields, "SuccOrderId")
    failed = _take_optional(fields, "FailOrderId")
    if bool(succeeded) == bool(failed):
        how_many = "both" if succeeded else "neither"
        raise InvalidEventError(
            f"exactly one of SuccOrderId and FailOrderId must be filled, here {how_many} of them"
        )
    return AuthorizationEvent(
        order_id=succeeded or failed,
        succeeded=bool(succeeded),
        from_user=_take_required(fields, "FromUserName"),
        to_user=_take_required(fields, "ToUserName"),
        create_time=_take_time(fields),
        # Older pages call it AppId.
        authorize_appid=_take_optional(fields, "AuthorizeAppId") or _take_optional(fields, "AppId"),
        source=_take_optional(fields, "Source"),
        s_pappid=_take_optional(fields, "SPAppId"),
        extra=fields,
    )


def _take_optional(fields: dict[str, object], name: str) -> str:
    value = take_text(fields, name)
    if value is None:
        raise InvalidEventError(f"{name} of the event is not text")
    if REPLACEMENT in value:
        raise InvalidEventError(f"{name} of the event has a control character, or is not UTF-8")
    return value


def _take_required(fields: dict[str, object], name: str) -> str:
    value = _take_optional(fields, name)
    if not value:
        raise InvalidEventError(f"{name} of the event is missing")
    return value


def _take_time(fields: dict[str, object]) -> int:
    seconds = _take_seconds(fields)
    if seconds is None:
        raise InvalidEventError("CreateTime of the event is missing, or not a number of seconds")
    return seconds


def _take_seconds(fields: dict[str, object]) -> int | None:
    """Take CreateTime out; None, and left, if it is not a number of seconds."""
    value = take_text(dict(fields), "CreateTime")
    if value is None or not SECONDS.fullmatch(value):
        return None
    del fields["CreateTime"]
    return int(value)
