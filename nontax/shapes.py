"""The three shapes of a bill, for annotations. Nobody else imports this: typing costs too much.

The fields are those of
https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
"""

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
