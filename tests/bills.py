"""Fresh bills for the tests, in each of the three shapes."""

import itertools
from typing import Any

BILL_FIELDS = ("fee", "title", "billing_time", "billing_no", "billing_code", "s_pdf_media_id")
SHAPES = ("sample", "table", "flat")

_count = itertools.count(1)


def bill(order_id: Any = ..., *, shape: str = "sample", **changes: Any) -> dict[str, Any]:
    """A bill that no sandbox has seen yet.

    order_id: a new one unless given. shape: "sample", "table" or "flat". changes: values for any of
    the nine fields, in whatever place the shape has them.
    """
    number = next(_count)
    fields: dict[str, Any] = {
        "order_id": f"T{number}" if order_id is ... else order_id,
        "card_id": "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw",
        "appid": "wxc0b84a53ed8e8d29",
        "fee": 123,
        "title": "灌哥发票",
        "billing_time": "1511169724",
        "billing_no": "1511169724",
        "billing_code": f"{number:010}",
        "s_pdf_media_id": "75195574948725301",
    }
    if not changes.keys() <= fields.keys():
        raise TypeError(f"no such fields: {sorted(changes.keys() - fields.keys())}")
    fields |= changes
    return reshape(fields, shape)


def reshape(fields: dict[str, Any], shape: str) -> dict[str, Any]:
    """The nine fields of a flat bill in another shape."""
    if shape == "flat":
        return dict(fields)
    top = {name: value for name, value in fields.items() if name not in BILL_FIELDS}
    inner: dict[str, Any] = {name: value for name, value in fields.items() if name in BILL_FIELDS}
    user_card = {"sample": {"invoice_user_data": inner}, "table": inner}[shape]
    return top | {"card_ext": {"user_card": user_card}}


class Index:
    """A number of another library."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> int:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value  # type: ignore[no-any-return]
