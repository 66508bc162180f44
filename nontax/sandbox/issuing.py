"""Interfaces of the finance bureau other than insertbill.

https://developers.weixin.qq.com/doc/service/guide/product/weixin_invoice/Nontax_Bill/Introduction.html
"""

from typing import Any

from .calls import Call
from .errcodes import RefusalError
from .fields import check_fields, check_text, refuse_unknown
from .stock import URL_LIFETIME
from .world import STATUSES, World

PDF_PATH = "/sandbox/pdf"


def set_url(_world: World, call: Call) -> dict[str, Any]:
    check_fields(call.payload)
    return {
        "invoice_url": "https://mp.weixin.qq.com/bizmall/authinvoice?action=list"
        f"&s_pappid={call.account.s_pappid}"
    }


def create_bill_card(world: World, call: Call) -> dict[str, Any]:
    payload = call.payload
    if not isinstance(payload, dict):
        raise RefusalError(47001)
    # Only with the wrapper, which the sample has and the table leaves out (section 3.1).
    info = _object_in(payload, "invoice_info", "")
    refuse_unknown(payload, frozenset(("invoice_info",)), "")
    if "payee" not in info:
        raise RefusalError(41011, "invoice_info.payee")
    base_info = _object_in(info, "base_info", "invoice_info.")
    refuse_unknown(info, frozenset(("payee", "base_info")), "invoice_info.")
    if "logo_url" not in base_info:
        raise RefusalError(41011, "invoice_info.base_info.logo_url")
    refuse_unknown(base_info, frozenset(("logo_url",)), "invoice_info.base_info.")
    check_text(info, "payee")
    check_text(base_info, "logo_url")
    return {"card_id": world.add_card(call.account, info["payee"], base_info["logo_url"]).card_id}


def _object_in(container: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    if name not in container:
        raise RefusalError(41011, path + name)
    value = container[name]
    if not isinstance(value, dict):
        raise RefusalError(72031, f"{path}{name} must be an object")
    return value


def set_pdf(world: World, call: Call) -> dict[str, Any]:
    if len(call.payload) != 1:
        raise RefusalError(47001)
    [part] = call.payload
    if part.name != "pdf" or not part.filename:
        raise RefusalError(47001)
    if not part.content:
        raise RefusalError(44006)
    pdf = world.add_pdf(call.account, part.filename, part.content_type, part.content)
    return {"s_media_id": pdf.s_media_id}


def get_pdf(world: World, call: Call) -> dict[str, Any]:
    check_fields(call.payload, texts=("action", "s_media_id"))
    if call.payload["action"] != "get_url":
        raise RefusalError(72027)
    key = world.pdf_key(call.account, call.payload["s_media_id"])
    return {
        "pdf_url": f"{world.base_url}{PDF_PATH}?key={key}",
        "pdf_url_expire_time": URL_LIFETIME,
    }


def update_status(world: World, call: Call) -> dict[str, Any]:
    payload = call.payload
    if isinstance(payload, dict):
        if "card_id" not in payload:
            raise RefusalError(41012, "card_id")
        if "code" not in payload:
            raise RefusalError(41013, "code")
    check_fields(payload, texts=("card_id", "code", "reimburse_status"))
    if payload["reimburse_status"] not in STATUSES:
        raise RefusalError(72031, "reimburse_status")
    world.update_status(
        call.account, payload["card_id"], payload["code"], payload["reimburse_status"]
    )
    return {}
