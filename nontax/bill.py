"""The three shapes of a bill, for type checkers; and what comes back.

The fields are those of
https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import SupportsIndex, TypedDict

    class BillData(TypedDict):
        """The six fields of the bill itself.

        fee: amount in fen. title: who pays. billing_time: when it was issued, as Unix seconds (int
        or 10 digits in a str) or an aware datetime. billing_no: the bill's code (票据代码).
        billing_code: the bill's number (票据号码). s_pdf_media_id: what the PDF's upload returned.
        """

        fee: SupportsIndex
        title: str
        billing_time: SupportsIndex | str | datetime
        billing_no: str
        billing_code: str
        s_pdf_media_id: str

    class NestedUserCard(TypedDict):
        """As the page's sample has it."""

        invoice_user_data: BillData

    class NestedCardExt(TypedDict):
        """As the page's sample has it."""

        user_card: NestedUserCard

    class NestedBill(TypedDict):
        """A bill in the shape of the page's sample; sent as given.

        order_id: the order that the citizen has authorised. card_id: the template's id.
        appid: the AppID used when the order was authorised, normally the collecting unit's.
        """

        order_id: str
        card_id: str
        appid: str
        card_ext: NestedCardExt

    class TableCardExt(TypedDict):
        """As the page's table has it."""

        user_card: BillData

    class TableBill(TypedDict):
        """A bill in the shape of the page's table, without `invoice_user_data`; sent as given."""

        order_id: str
        card_id: str
        appid: str
        card_ext: TableCardExt

    class FlatBill(BillData):
        """A bill as one row of nine keys, as from a CSV file; sent in the sample's shape."""

        order_id: str
        card_id: str
        appid: str

    Bill = NestedBill | TableBill | FlatBill | Mapping[str, object]


class InsertedBill:
    """WeChat has put the bill into the citizen's wallet.

    code: the bill's card code in the wallet (str); keep it for later changes of its status.
    openid: the citizen who received it (str).
    extra: further fields of the reply, if WeChat sends any (dict).

    Immutable; can be compared, pickled and copied.
    """

    __slots__ = ("code", "extra", "openid")
    __match_args__ = ("code", "openid")

    code: str
    openid: str
    extra: dict[str, object]

    def __init__(self, *, code: str, openid: str, extra: "Mapping[str, object] | None" = None):
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "openid", openid)
        object.__setattr__(self, "extra", dict(extra or {}))

    @classmethod
    def _from_reply(cls, reply: "dict[str, object]") -> "InsertedBill":
        """Make one of the fields of a checked reply."""
        return cls(code=str(reply.pop("code")), openid=str(reply.pop("openid")), extra=reply)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"InsertedBill is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"InsertedBill is immutable: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InsertedBill):
            return NotImplemented
        return (self.code, self.openid, self.extra) == (other.code, other.openid, other.extra)

    def __hash__(self) -> int:
        return hash((self.code, self.openid))

    def __repr__(self) -> str:
        extra = f", extra={self.extra!r}" if self.extra else ""
        return f"InsertedBill(code={self.code!r}, openid={self.openid!r}{extra})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.code, self.openid, self.extra)


def _rebuild(code: str, openid: str, extra: dict[str, object]) -> InsertedBill:
    return InsertedBill(code=code, openid=openid, extra=extra)
