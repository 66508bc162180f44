"""What each method of the client sends, and what it makes of the reply, for both of its twins."""

import time

from nontax.outcomes import InsertedBill
from nontax.results import (
    AuthData,
    BillAuthUrl,
    BillCard,
    PdfUrl,
    PlatformId,
    Quota,
    RidInfo,
    Ticket,
    UploadedPdf,
    platform_id,
    quota,
    rid_info,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import SupportsIndex, TypeVar

    T = TypeVar("T")
    # The interface's name, its payload, and what makes the result of the reply's fields.
    Request = tuple[str, object, Callable[[dict[str, object]], T]]


def _nothing(_reply: "dict[str, object]") -> None:
    """WeChat answers with "ok" alone."""


def insert_bill(bill: object) -> "Request[InsertedBill]":
    return "insertbill", bill, InsertedBill._from_reply


def create_bill_card(payee: str, logo_url: str) -> "Request[BillCard]":
    info = {"payee": payee, "base_info": {"logo_url": logo_url}}
    return "createbillcard", {"invoice_info": info}, BillCard._from_reply


def upload_pdf(payload: object) -> "Request[UploadedPdf]":
    return "setpdf", payload, UploadedPdf._from_reply


def get_s_pappid() -> "Request[PlatformId]":
    return "seturl", {}, platform_id


def get_pdf_url(s_media_id: str) -> "Request[PdfUrl]":
    return "getpdf", {"action": "get_url", "s_media_id": s_media_id}, PdfUrl._from_reply


def get_ticket() -> "Request[Ticket]":
    return "getticket", {"type": "wx_card"}, Ticket._from_reply


def get_bill_auth_url(
    s_pappid: str,
    order_id: str,
    money: "SupportsIndex",
    source: str,
    redirect_url: str | None,
    timestamp: "SupportsIndex | datetime | None",
    ticket: object,
) -> "Request[BillAuthUrl]":
    payload = {
        "s_pappid": s_pappid,
        "order_id": order_id,
        "money": money,
        "timestamp": int(time.time()) if timestamp is None else timestamp,
        "source": source,
        "ticket": ticket if isinstance(ticket, Ticket) else Ticket(ticket=ticket),
    }
    if redirect_url is not None:
        payload["redirect_url"] = redirect_url
    return "getbillauthurl", payload, BillAuthUrl._from_reply


def get_auth_data(s_pappid: str, order_id: str) -> "Request[AuthData]":
    payload = {"s_pappid": s_pappid, "order_id": order_id}
    return "getauthdata", payload, AuthData._from_reply


def update_bill_status(card_id: str, code: str, reimburse_status: str) -> "Request[None]":
    payload = {"card_id": card_id, "code": code, "reimburse_status": reimburse_status}
    return "updatestatus", payload, _nothing


def reject_bill(s_pappid: str, order_id: str, reason: str, url: str | None) -> "Request[None]":
    payload = {"s_pappid": s_pappid, "order_id": order_id, "reason": reason}
    if url is not None:
        payload["url"] = url
    return "rejectinsert", payload, _nothing


def get_rid_info(rid: str) -> "Request[RidInfo]":
    return "rid/get", {"rid": rid}, rid_info


def get_quota(cgi_path: str) -> "Request[Quota]":
    return "quota/get", {"cgi_path": cgi_path}, quota
