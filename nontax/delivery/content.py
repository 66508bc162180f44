"""A bill as the core prints it, as a store keeps it, and back again."""

import json

from nontax.delivery.store import Content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TOP = ("order_id", "card_id", "appid")
_DATA = ("fee", "title", "billing_time", "billing_no", "billing_code", "s_pdf_media_id")


def _printed(names: tuple[str, ...]) -> str:
    return ",".join(
        f'"{name}":\2' if name in ("fee", "billing_time") else f'"{name}":"\1"' for name in names
    )


# A bill as nearly all are printed, for `_core.Client.body`, which then has its values.
FORM = (
    f'{{{_printed(_TOP)},"card_ext":{{"user_card":{{"invoice_user_data":{{{_printed(_DATA)}}}}}}}}}'
)


def content_of(
    printed: "str | tuple[Any, ...]",
    _make: "Callable[[type[Content], tuple[object, ...]], Content]" = tuple.__new__,
) -> Content:
    """What is sent: of the very text that goes out, so that nothing else can be written down.

    printed: that text, or its values if it has the form FORM.
    """
    if type(printed) is tuple:
        order_id, card_id, appid, *data = printed
        return _make(Content, (appid, order_id, card_id, *data, "", "sample"))
    return _read(printed)  # type: ignore[arg-type]


def _read(body: str) -> Content:
    bill = json.loads(body)
    card_ext = bill["card_ext"]
    user_card = card_ext["user_card"]
    data = user_card.get("invoice_user_data")
    shape, size = "sample", len(user_card)
    if data is None:
        data, shape, size = user_card, "table", 1
    extra = ""
    if len(data) != 6 or len(bill) != 4 or len(card_ext) != 1 or size != 1:
        extra = _extra_of(bill, shape)
    return Content(
        bill["appid"],
        bill["order_id"],
        bill["card_id"],
        int(data["fee"]),
        data["title"],
        int(data["billing_time"]),
        data["billing_no"],
        data["billing_code"],
        data["s_pdf_media_id"],
        extra,
        shape,
    )


def _extra_of(bill: "dict[str, Any]", shape: str) -> str:
    """What WeChat's page does not name, where it stands in the bill, as JSON."""
    card_ext = bill["card_ext"]
    user_card = card_ext["user_card"]
    inner = user_card["invoice_user_data"] if shape == "sample" else user_card
    extra = {key: value for key, value in bill.items() if key not in (*_TOP, "card_ext")}
    data = {key: value for key, value in inner.items() if key not in _DATA}
    if shape == "sample":
        outer = {key: value for key, value in user_card.items() if key != "invoice_user_data"}
        data = outer | ({"invoice_user_data": data} if data else {})
    rest = {key: value for key, value in card_ext.items() if key != "user_card"}
    rest |= {"user_card": data} if data else {}
    extra |= {"card_ext": rest} if rest else {}
    return json.dumps(extra, ensure_ascii=False, sort_keys=True) if extra else ""


def bill_as_printed(printed: "str | tuple[Any, ...]") -> "dict[str, Any]":
    """The bill that is printed, to be printed once more: the same text."""
    return json.loads(printed) if isinstance(printed, str) else bill_of(content_of(printed))


def bill_of(content: Content, *, s_pdf_media_id: str | None = None) -> "dict[str, Any]":
    """The bill to send. s_pdf_media_id: of a newer upload."""
    fields = content._asdict()
    if s_pdf_media_id is not None:
        fields["s_pdf_media_id"] = s_pdf_media_id
    data: dict[str, Any] = {name: fields[name] for name in _DATA}
    user_card = data if content.shape == "table" else {"invoice_user_data": data}
    bill: dict[str, Any] = {name: fields[name] for name in _TOP}
    bill["card_ext"] = {"user_card": user_card}
    if content.extra:
        _merge(bill, json.loads(content.extra))
    return bill


def _merge(into: "dict[str, Any]", more: "dict[str, Any]") -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
