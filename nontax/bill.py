"""The three shapes of a bill, for type checkers; and what comes back.

The fields are those of
https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
"""

from nontax.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import SupportsIndex, TypedDict

    from nontax.errors import NontaxError
    from nontax.errors import Outcome as OutcomeName

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


class InsertedBill(Record):
    """WeChat has put the bill into the citizen's wallet.

    code: the bill's card code in the wallet (str); keep it for later changes of its status.
    openid: the citizen who received it (str).
    extra: further fields of the reply, if WeChat sends any (dict).
    """

    __slots__ = ("code", "openid", "extra")  # noqa: RUF023  (in the order of their meaning)
    __match_args__ = ("code", "openid")

    code: str
    openid: str
    extra: dict[str, object]

    def __init__(
        self, *, code: str, openid: str, extra: "Mapping[str, object] | None" = None
    ) -> None:
        super().__init__(code, openid, dict(extra or {}))

    @classmethod
    def _from_reply(cls, reply: "dict[str, object]") -> "InsertedBill":
        """Make one of the fields of a checked reply, which it takes over."""
        inserted = cls.__new__(cls)
        Record.__init__(inserted, reply.pop("code"), reply.pop("openid"), reply)
        return inserted


class Outcome(Record):
    """What became of one bill of `Client.insert_bills`.

    index: the bill's place in the iterable, from 0 (int). bill: the very object that came in.
    outcome: "inserted", "rejected", "not_sent" or "in_doubt".
    inserted: the `InsertedBill`, or None. error: the `NontaxError` that `insert_bill` would have
        raised, or None.
    attempts: how often a transfer was begun (int). seconds: from the iterable to the outcome
        (float).
    """

    __slots__ = (  # noqa: RUF023  (in the order of their meaning)
        "index",
        "bill",
        "outcome",
        "inserted",
        "error",
        "attempts",
        "seconds",
    )

    index: int
    bill: object
    outcome: "OutcomeName"
    inserted: InsertedBill | None
    error: "NontaxError | None"
    attempts: int
    seconds: float

    @classmethod
    def _from_core(
        cls,
        index: int,
        bill: object,
        fields: "dict[str, object] | None",
        error: "NontaxError | None",
        attempts: int,
        seconds: float,
    ) -> "Outcome":
        """Make one of what nontax._core knows of a finished call."""
        inserted = None if fields is None else InsertedBill._from_reply(fields)
        outcome = "inserted" if error is None else error.outcome
        return cls(index, bill, outcome, inserted, error, attempts, seconds)
