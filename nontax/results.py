"""What comes back from the interfaces other than insertbill."""

from nontax.errors import InDoubtError
from nontax.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


class Reply(Record):
    """The documented fields of a reply, and the others in `extra` (dict). Immutable."""

    __slots__: tuple[str, ...] = ()

    extra: dict[str, object]

    # What may be missing, by its type: a value of another type stays in `extra`.
    _optional: tuple[tuple[str, type], ...] = ()

    def __init__(self, *, extra: "Mapping[str, object] | None" = None, **fields: object) -> None:
        if not fields.keys() <= set(self._names):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(self._names)}")
        fields["extra"] = dict(extra or {})
        # A list, for no generator: where there is no memory to make one, Python crashes (seen with
        # 3.13.5), and what became of the call would be lost.
        super().__init__(*[fields.get(name) for name in self._names])

    @classmethod
    def _from_reply(cls, reply: "dict[str, object]") -> "Self":
        """Make one of the fields of a checked reply."""
        fields = {name: reply.get(name) for name in cls._names if name != "extra"}
        for name, kind in cls._optional:
            if type(fields[name]) is not kind:
                fields[name] = None
        for name, value in fields.items():
            if value is not None or reply.get(name, "") is None:
                reply.pop(name, None)
        return cls(extra=reply, **fields)


class BillCard(Reply):
    """A template of one collecting unit's bills (财政电子票据模板). card_id: its id (str)."""

    __slots__ = ("card_id", "extra")

    card_id: str


class UploadedPdf(Reply):
    """A PDF at WeChat's. s_media_id: its id (str), kept for three days unless a bill has it."""

    __slots__ = ("s_media_id", "extra")  # noqa: RUF023  (by meaning)

    s_media_id: str


class PlatformId(Reply):
    """A finance bureau's id (开票平台识别码), which its collecting units need.

    s_pappid: the id (str). invoice_url: the link in which WeChat gives it out (str).
    """

    __slots__ = ("s_pappid", "invoice_url", "extra")  # noqa: RUF023  (by meaning)

    s_pappid: str
    invoice_url: str


class PdfUrl(Reply):
    """Where an uploaded PDF can be read.

    pdf_url: the link (str). pdf_url_expire_time: how long it is good, in seconds (int).
    """

    __slots__ = ("pdf_url", "pdf_url_expire_time", "extra")  # noqa: RUF023  (by meaning)

    pdf_url: str
    pdf_url_expire_time: int


class BillAuthUrl(Reply):
    """The page on which a citizen authorises an order.

    auth_url: the link (str). expire_time: how long it is good, in seconds (int).
    """

    __slots__ = ("auth_url", "expire_time", "extra")

    auth_url: str
    expire_time: int


class AuthData(Reply):
    """What became of an order's authorisation.

    invoice_status: str; "auth success", "reject insert" and "never auth" are known, others are
        possible. auth_time: when it was authorised, in Unix seconds (int), or None.
    """

    __slots__ = ("invoice_status", "auth_time", "extra")  # noqa: RUF023  (by meaning)
    _optional = (("auth_time", int),)

    invoice_status: str
    auth_time: int | None


class Ticket(Reply):
    """A card ticket, a credential: it is not shown by repr() and cannot be pickled.

    ticket: str. expires_in: its lifetime in seconds, counted from when it was fetched (int).
    """

    __slots__ = ("ticket", "expires_in", "extra")  # noqa: RUF023  (by meaning)

    ticket: str
    expires_in: int

    @property
    def _secret_text(self) -> str:
        """What the core puts into a payload, in which the ticket itself then never stands."""
        return self.ticket

    def __repr__(self) -> str:
        # A traceback with local variables may show one that is not made yet.
        return f"Ticket(expires_in={getattr(self, 'expires_in', None)})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Ticket is a secret and is not pickled")

    def __copy__(self) -> "Self":
        return self

    def __deepcopy__(self, _memo: object) -> "Self":
        return self


class RidInfo(Reply):
    """One request as WeChat remembers it; credentials in its texts are masked.

    invoke_time: Unix seconds (int). cost_in_ms: milliseconds (int). request_url, request_body,
    response_body: str. client_ip: the address that WeChat saw (str). What WeChat does not send is
    None.
    """

    __slots__ = (  # noqa: RUF023  (by meaning)
        "invoke_time",
        "cost_in_ms",
        "request_url",
        "request_body",
        "response_body",
        "client_ip",
        "extra",
    )
    _optional = (
        ("invoke_time", int),
        ("cost_in_ms", int),
    )

    invoke_time: int | None
    cost_in_ms: int | None
    request_url: str | None
    request_body: str | None
    response_body: str | None
    client_ip: str | None


class Quota(Reply):
    """How often an account may call an interface.

    daily_limit, used, remain: calls of this day (int). rate_limit, component_rate_limit: dicts with
    call_count and refresh_second. What WeChat does not send is None.
    """

    __slots__ = (  # noqa: RUF023  (by meaning)
        "daily_limit",
        "used",
        "remain",
        "rate_limit",
        "component_rate_limit",
        "extra",
    )
    _optional = (
        ("daily_limit", int),
        ("used", int),
        ("remain", int),
        ("rate_limit", dict),
        ("component_rate_limit", dict),
    )

    daily_limit: int | None
    used: int | None
    remain: int | None
    rate_limit: dict[str, int] | None
    component_rate_limit: dict[str, int] | None


# What a credential stands behind, in a URL and in JSON: either may be encoded or quoted once more.
_NAMES = ("access_token", "secret", "ticket")  # ends of names, such as component_access_token
_QUOTE = r"(?:\\*[\"']|\\+u002[27]|%(?:25)*2[27]|&(?:quot|#34|#39);)"
_BLANK = r"\s|\+|\\+[nrt]|%(?:25)*(?:20|0[9AD])"
_CREDENTIAL = (
    rf"(?i)((?:{'|'.join(_NAMES)}){_QUOTE}?(?:{_BLANK})*(?:[=:]|\\+u003[AD]|%(?:25)*3[AD])"
    rf"(?:{_BLANK}|\[|%(?:25)*5B)*{_QUOTE}?)(?!null[,}}\s])"
    # JSON may have any character escaped, most often a slash.
    rf"(?:(?!{_QUOTE}|%(?:25)*26)(?:\\+/|\\+u(?!0026)[0-9a-f]{{4}}|[^&\s\"'\\]))+"
)
# No request of WeChat's interfaces is nested so deeply.
_MAX_DEPTH = 50


def _masked(value: object, name: str = "", depth: int = 0) -> object:
    import re  # costs more than all the rest, and few look a request up

    is_secret = name.lower().endswith(_NAMES)
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        # All that is below a credential's name is one.
        return {
            key: _masked(member, name if is_secret else key, depth + 1)
            for key, member in value.items()
        }
    if isinstance(value, list) and depth < _MAX_DEPTH:
        return [_masked(member, name, depth + 1) for member in value]
    if is_secret or isinstance(value, (dict, list)):
        return "***"
    return re.sub(_CREDENTIAL, r"\1***", value) if isinstance(value, str) else value


def rid_info(reply: "dict[str, object]") -> RidInfo:
    """The request of a rid look-up's reply."""
    request = reply.pop("request")
    assert isinstance(request, dict)
    fields = _masked({**request, **reply})
    assert isinstance(fields, dict)
    return RidInfo._from_reply(fields)


def quota(reply: "dict[str, object]") -> Quota:
    """The quota of a quota look-up's reply."""
    counts = reply.pop("quota")
    assert isinstance(counts, dict)
    return Quota._from_reply({**counts, **reply})


def platform_id(reply: "dict[str, object]") -> PlatformId:
    """The id in the link of a seturl reply.

    Raises InDoubtError if there is none.
    """
    from urllib.parse import unquote, urlsplit  # see _masked()

    url = str(reply.pop("invoice_url"))
    try:
        query = urlsplit(url).query
    except ValueError:
        query = ""
    # Not parse_qs(): a "+" in the id is a "+".
    pairs = (pair.partition("=") for pair in query.split("&"))
    found = [unquote(value) for name, _, value in pairs if name == "s_pappid" and value]
    if len(found) != 1:
        error = InDoubtError(reason=f"WeChat's invoice_url has no s_pappid: {url}")
        error.interface = "seturl"
        raise error
    return PlatformId(s_pappid=found[0], invoice_url=url, extra=reply)
