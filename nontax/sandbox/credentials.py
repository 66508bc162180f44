"""Interfaces for access tokens and tickets.

https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html
https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
"""

from typing import Any

from .calls import Call
from .errcodes import RefusalError
from .world import World

_TICKET_KINDS = ("wx_card", "jsapi")


def get_token(_world: World, call: Call) -> dict[str, Any]:
    _check_grant_type(call.payload)
    return _token_fields(*call.account.plain_tokens.issue())


def get_stable_token(_world: World, call: Call) -> dict[str, Any]:
    _check_grant_type(call.payload)
    force = call.payload.get("force_refresh", False)
    if not isinstance(force, bool):
        raise RefusalError(40097, "force_refresh must be true or false")
    return _token_fields(*call.account.stable_tokens.stable(force=force))


def get_ticket(_world: World, call: Call) -> dict[str, Any]:
    kind = call.payload.get("type", "")
    if not kind:
        raise RefusalError(40101, "type")
    if kind not in _TICKET_KINDS:
        raise RefusalError(40097, "type")
    ticket, expires_in = call.account.tickets.issue(kind)
    return {"ticket": ticket, "expires_in": expires_in}


def _check_grant_type(payload: dict[str, Any]) -> None:
    if payload.get("grant_type") != "client_credential":
        raise RefusalError(40002)


def _token_fields(token: str, expires_in: int) -> dict[str, Any]:
    return {"access_token": token, "expires_in": expires_in}
