"""`POST /nontax/insertbill`: checks a bill and puts it into the wallet.

https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
"""

import re
from typing import Any

from .calls import Call
from .errcodes import RefusalError
from .fields import check_integer, check_text, refuse_unknown
from .world import World

_TOP_FIELDS = frozenset(("order_id", "card_id", "appid", "card_ext"))
_BILL_FIELDS = frozenset(
    ("fee", "title", "billing_time", "billing_no", "billing_code", "s_pdf_media_id")
)
_BILL_TEXTS = ("title", "billing_no", "billing_code", "s_pdf_media_id")
_TEN_DIGITS = re.compile(r"[0-9]{10}")


def insert_bill(world: World, call: Call) -> dict[str, str]:
    """Answer the fields of a successful reply. Raises RefusalError."""
    payload = call.payload
    if not isinstance(payload, dict):
        raise RefusalError(47001)
    # Missing fields before unknown ones: a body in one wrapper too many was answered with 72031
    # "order_id is empty", and so was a misspelt key.
    if "order_id" not in payload:
        raise RefusalError(72031, text="order_id is empty")
    if "card_id" not in payload:
        raise RefusalError(41012, "card_id")
    if "appid" not in payload:
        raise RefusalError(40101, "appid")
    if "card_ext" not in payload:
        raise RefusalError(41011, "card_ext")
    bill_fields = _find_bill_fields(payload["card_ext"])
    refuse_unknown(payload, _TOP_FIELDS, "")
    for name in ("order_id", "card_id", "appid"):
        check_text(payload, name)
    bill = world.insert(call.account, payload, bill_fields, call.number)
    return {"code": bill.code, "openid": bill.openid}


def _find_bill_fields(card_ext: Any) -> dict[str, Any]:
    """The six fields of the bill, from the sample's place or the table's (section 4.1)."""
    if not isinstance(card_ext, dict):
        raise RefusalError(40080, "card_ext must be an object")
    if "user_card" not in card_ext:
        raise RefusalError(41011, "card_ext.user_card")
    user_card = card_ext["user_card"]
    if not isinstance(user_card, dict):
        raise RefusalError(40080, "card_ext.user_card must be an object")
    bill_fields = user_card
    path = "card_ext.user_card."
    if "invoice_user_data" in user_card:
        if not _BILL_FIELDS.isdisjoint(user_card):
            raise RefusalError(40080, "bill fields beside invoice_user_data")
        bill_fields = user_card["invoice_user_data"]
        path += "invoice_user_data."
        if not isinstance(bill_fields, dict):
            raise RefusalError(40080, f"{path[:-1]} must be an object")
    for name in sorted(_BILL_FIELDS):
        if name not in bill_fields:
            raise RefusalError(41011, path + name)
    refuse_unknown(bill_fields, _BILL_FIELDS, path)
    if bill_fields is not user_card:
        refuse_unknown(user_card, frozenset(("invoice_user_data",)), "card_ext.user_card.")
    refuse_unknown(card_ext, frozenset(("user_card",)), "card_ext.")
    for name in _BILL_TEXTS:
        check_text(bill_fields, name)
    check_integer(bill_fields, "fee")
    # The table says integer, the sample shows a quoted one (section 4.2); both have ten digits.
    time = bill_fields["billing_time"]
    if type(time) not in (int, str) or not _TEN_DIGITS.fullmatch(str(time)):
        raise RefusalError(72031, "billing_time must be 10 digits")
    return bill_fields
