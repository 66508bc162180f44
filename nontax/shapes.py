"""A bill as `Client.insert_bill` takes it, in three shapes: `NestedBill`, `TableBill`, `FlatBill`.

`nontax.Bill`, for annotations, is any of them, or a mapping of str to object. The fields are those
of WeChat's page:
https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
"""

# Nothing else imports this: typing costs too much.
from collections.abc import Mapping
from datetime import datetime
from typing import SupportsIndex, TypedDict


class BillData(TypedDict):
    """The six fields of the bill itself.

    fee: amount in fen (int); see `nontax.fen`.
    title: the payer, 交款人 (str).
    billing_time: when it was issued: Unix seconds (int, or str of 10 digits) or an aware datetime;
        see `nontax.billing_time`.
    billing_no: the bill's code, 票据代码 (str).
    billing_code: the bill's number, 票据号码 (str).
    s_pdf_media_id: what `Client.upload_pdf` returned for its PDF (str).
    """

    fee: SupportsIndex
    title: str
    billing_time: SupportsIndex | str | datetime
    billing_no: str
    billing_code: str
    s_pdf_media_id: str


class NestedUserCard(TypedDict):
    """Of a `NestedBill`; invoice_user_data: `BillData`."""

    invoice_user_data: BillData


class NestedCardExt(TypedDict):
    """Of a `NestedBill`; user_card: `NestedUserCard`."""

    user_card: NestedUserCard


class NestedBill(TypedDict):
    """A bill in the shape of the page's sample; sent as given.

    order_id: the order that the citizen has authorised (str).
    card_id: the template's id (str); see `Client.create_bill_card`.
    appid: the AppID used when the order was authorised, normally the collecting unit's (str).
    card_ext: `NestedCardExt`, so that the six fields stand under
        card_ext.user_card.invoice_user_data.
    """

    order_id: str
    card_id: str
    appid: str
    card_ext: NestedCardExt


class TableCardExt(TypedDict):
    """Of a `TableBill`; user_card: `BillData`."""

    user_card: BillData


class TableBill(TypedDict):
    """A bill in the shape of the page's table, without `invoice_user_data`; sent as given.

    order_id, card_id, appid: as in a `NestedBill`.
    card_ext: `TableCardExt`, so that the six fields stand under card_ext.user_card.
    """

    order_id: str
    card_id: str
    appid: str
    card_ext: TableCardExt


class FlatBill(BillData):
    """A bill as one row of nine keys, as from a CSV file; sent in the sample's shape.

    The six of `BillData`, and order_id, card_id and appid as in a `NestedBill`.
    """

    order_id: str
    card_id: str
    appid: str


Bill = NestedBill | TableBill | FlatBill | Mapping[str, object]
