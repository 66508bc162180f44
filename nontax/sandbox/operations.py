"""Interfaces about the interfaces: request ids and quotas.

https://developers.weixin.qq.com/doc/service/openApi/get_rid_info.html
https://developers.weixin.qq.com/doc/service/openApi/clear_quota.html
"""

import re
from typing import Any

from .calls import Call
from .errcodes import RefusalError
from .fields import refuse_unknown
from .quotas import AMPLE
from .world import World

_RID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){2}")
_RID_LIFETIME = 7 * 24 * 3600


def get_rid(world: World, call: Call) -> dict[str, Any]:
    rid = _only_text(call.payload, "rid")
    if not _RID.fullmatch(rid):
        raise RefusalError(76002)
    found = world.request_with_rid(rid)
    if found is None or world.clock.time() - found[0].time >= _RID_LIFETIME:
        raise RefusalError(76001)
    request, reply, cost = found
    # The AppSecret interfaces carry no token; nobody may look into their requests.
    if world.accounts.owner(request.access_tokens) is not call.account:
        raise RefusalError(76003)
    query = f"?{request.query}" if request.query else ""
    return {
        "request": {
            "invoke_time": int(request.time),
            "cost_in_ms": cost,
            "request_url": f"{world.base_url}{request.path}{query}",
            "request_body": world.masked(request.body.decode("utf-8", "replace")),
            "response_body": world.masked(reply.decode()),
            "client_ip": request.client_ip,
        }
    }


def get_quota(world: World, call: Call) -> dict[str, Any]:
    path = _only_text(call.payload, "cgi_path")
    if path not in world.paths:
        raise RefusalError(76021)
    if path not in call.account.permissions:
        raise RefusalError(76022)
    quotas = call.account.quotas
    limit, used = quotas.daily.get(path, AMPLE), quotas.used(path)
    fields: dict[str, Any] = {
        "quota": {"daily_limit": limit, "used": used, "remain": max(limit - used, 0)}
    }
    if path in quotas.minute:
        fields["rate_limit"] = {"call_count": quotas.minute[path], "refresh_second": 60}
    return fields


def clear_quota(_world: World, call: Call) -> dict[str, Any]:
    appid = _only_text(call.payload, "appid")
    if not appid:
        raise RefusalError(41002)
    if appid != call.account.appid:
        raise RefusalError(40013)
    call.account.quotas.clear()
    return {}


def clear_quota_with_secret(_world: World, call: Call) -> dict[str, Any]:
    refuse_unknown(call.payload, frozenset(("appid", "appsecret")), "")
    call.account.quotas.clear()
    return {}


def _only_text(payload: Any, name: str) -> str:
    """The one field of `payload`, "" if it is not there or no string."""
    if not isinstance(payload, dict):
        raise RefusalError(47001)
    refuse_unknown(payload, frozenset((name,)), "")
    value = payload.get(name)
    return value if isinstance(value, str) else ""
