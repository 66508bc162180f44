"""Interfaces of the collecting unit: getbillauthurl, getauthdata, rejectinsert.

https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoicegetauthurl.html
"""

import re
from typing import Any

from .calls import Call
from .errcodes import RefusalError
from .fields import check_fields
from .orders import LINK_LIFETIME, Order
from .world import World

AUTHORISE_PATH = "/sandbox/authorise"

_URL = re.compile(r"https?://[^\s\x00-\x1f\x7f]+")
# What XML cannot carry could never be pushed.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


def get_bill_auth_url(world: World, call: Call) -> dict[str, Any]:
    payload = call.payload
    check_fields(
        payload,
        texts=("s_pappid", "order_id", "source", "ticket"),
        integers=("money", "timestamp"),
        optional_texts=("redirect_url",),
    )
    _check_bureau(world, payload)
    if _UNPRINTABLE.search(payload["order_id"]):
        raise RefusalError(72031, "order_id has control characters")
    if len(str(payload["timestamp"])) != 10:
        raise RefusalError(72031, "timestamp must be 10 digits")
    if payload["source"] not in ("web", "app"):
        raise RefusalError(72031, "source must be web or app")
    redirect_url = payload.get("redirect_url", "")
    if redirect_url and not _URL.fullmatch(redirect_url):
        raise RefusalError(72031, "redirect_url must be an http or https URL")
    if not call.account.tickets.is_valid(payload["ticket"], "wx_card"):
        raise RefusalError(72031, "ticket is not a valid wx_card ticket of this account")
    key = world.request_authorisation(
        Order(
            payload["order_id"],
            appid=call.account.appid,
            s_pappid=payload["s_pappid"],
            money=payload["money"],
            source=payload["source"],
            redirect_url=redirect_url,
        )
    )
    auth_url = f"{world.base_url}{AUTHORISE_PATH}?key={key}"
    return {"auth_url": auth_url, "expire_time": LINK_LIFETIME}


def get_auth_data(world: World, call: Call) -> dict[str, Any]:
    check_fields(call.payload, texts=("s_pappid", "order_id"))
    _check_bureau(world, call.payload)
    order = world.order_of_unit(call.account, call.payload["s_pappid"], call.payload["order_id"])
    if order is None:
        return {"invoice_status": "never auth"}
    fields: dict[str, Any] = {"invoice_status": order.status}
    if order.auth_time is not None:
        fields["auth_time"] = order.auth_time
    return fields


def reject_insert(world: World, call: Call) -> dict[str, Any]:
    payload = call.payload
    check_fields(payload, texts=("s_pappid", "order_id", "reason"), optional_texts=("url",))
    _check_bureau(world, payload)
    world.reject_by_unit(
        call.account,
        payload["s_pappid"],
        payload["order_id"],
        payload["reason"],
        payload.get("url", ""),
    )
    return {}


def _check_bureau(world: World, payload: dict[str, Any]) -> None:
    if world.accounts.with_s_pappid(payload["s_pappid"]) is None:
        raise RefusalError(72031, "s_pappid belongs to no finance bureau")
