"""The sandbox's pages for people: what is going on, and where a citizen authorises an order."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from . import controls
from .authorisation import AUTHORISE_PATH
from .issuing import PDF_PATH
from .markup import Html, definitions, document, element, input_field, joined, table
from .orders import Order
from .records import MASK, Request
from .traffic import Traffic
from .world import World

_T = TypeVar("_T")

INDEX_PATH = "/sandbox/"
_SHOWN_ROWS = 100
_SHOWN_TEXT = 60
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"

_SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_HTML = {"Content-Type": "text/html; charset=utf-8", **_SECURITY}

_ORDER_STATUS = {
    "never auth": ("未授权 never auth", ""),
    "auth success": ("已授权 auth success", "good"),
    "reject insert": ("已拒绝开票 reject insert", "bad"),
}
_BILL_STATUS = {
    "INVOICE_REIMBURSE_INIT": ("未锁定 INIT", "good"),
    "INVOICE_REIMBURSE_LOCK": ("已锁定 LOCK", ""),
    "INVOICE_REIMBURSE_CLOSURE": ("已核销 CLOSURE", "bad"),
    "INVOICE_REIMBURSE_CANCEL": ("已冲红 CANCEL", "bad"),
}


@dataclass(frozen=True, slots=True)
class Page:
    """What a page request is answered with."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(_HTML))


def owns(method: str, path: str) -> bool:
    """Whether a request is for these pages, and not for WeChat."""
    return (method, path) == ("GET", "/") or f"{path}/".startswith(INDEX_PATH)


def answer(world: World, traffic: Traffic, request: Request) -> Page:
    """Answer a request for a page."""
    if request.path in ("/", INDEX_PATH.rstrip("/")):
        return _redirect(INDEX_PATH)
    if request.method == "POST" and not _is_own_form(request):
        return _notice(403, "来源不符 Another site's form", "")
    views: dict[tuple[str, str], Callable[[], Page]] = {
        ("GET", INDEX_PATH): lambda: _index(world, traffic),
        ("GET", AUTHORISE_PATH): lambda: _authorise(world, request.parameters.get("key", "")),
        ("POST", AUTHORISE_PATH): lambda: _press(world, request.body),
        ("POST", controls.FAULTS_PATH): lambda: _set(
            lambda: controls.set_faults(traffic, request.body)
        ),
        ("POST", controls.PUSHES_PATH): lambda: _set(
            lambda: controls.set_pushes(world, request.body)
        ),
        ("GET", PDF_PATH): lambda: _pdf(world, request.parameters.get("key", "")),
    }
    view = views.get((request.method, request.path))
    if view is not None:
        return view()
    if any(path == request.path for _, path in views):
        return _notice(405, "不支持的请求方法 Method not allowed", "")
    return _notice(404, "没有这个页面 No such page", "")


def _is_own_form(request: Request) -> bool:
    """Whether a form came from these pages: browsers say which site it stood on."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


# The citizen's page


def _authorise(world: World, key: str) -> Page:
    order, good = world.behind_link(key)
    if order is None:
        return _notice(404, "链接无效 No such link", "请向执收单位索取新的链接。")
    if order.status == "reject insert":
        return _rejected(world, order)
    if order.status == "auth success":
        return _authorised(world, order)
    if not good:
        return _notice(410, "链接已过期 This link has expired", "请向执收单位索取新的链接。")
    form = element(
        "form",
        joined(
            (
                input_field("hidden", "key", key),
                element("button", "授权并领取电子票据 Authorise", type="submit"),
            )
        ),
        method="post",
        action=AUTHORISE_PATH,
    )
    hint = element(
        "p",
        "点击后,该订单的财政电子票据将放入您的微信卡包。"
        "The e-bill for this order will be put into your WeChat card wallet.",
        class_="dim",
    )
    return _citizen(200, "财政电子票据授权", joined((_summary(world, order), form, hint)))


def _press(world: World, body: bytes) -> Page:
    key = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0]
    order, good = world.press(key)
    if order is not None and good and order.status == "auth success" and order.redirect_url:
        return _redirect(quote(order.redirect_url, safe=_URL_CHARACTERS))
    # A page that can be reloaded without pressing the button again.
    return _redirect(f"{AUTHORISE_PATH}?key={quote(key)}")


def _authorised(world: World, order: Order) -> Page:
    pieces = [
        element("p", "授权成功 Authorised", class_="good big"),
        _summary(world, order),
        element("p", "票据开具后将出现在您的微信卡包中。", class_="dim"),
    ]
    if order.redirect_url:
        pieces.append(_button_to(order.redirect_url, "返回 Back"))
    return _citizen(200, "财政电子票据授权", joined(pieces))


def _rejected(world: World, order: Order) -> Page:
    pieces = [
        element("p", "执收单位已拒绝开票 Rejected", class_="bad big"),
        element("p", order.reason),
        _summary(world, order),
    ]
    if order.reason_url.startswith(("http://", "https://")):
        pieces.append(_button_to(order.reason_url, "下一步 What to do"))
    return _citizen(200, "财政电子票据授权", joined(pieces))


def _summary(world: World, order: Order) -> Html:
    money = "" if order.money is None else _yuan(order.money)
    return definitions(
        (
            ("执收单位 Unit", _account_name(world, order.appid)),
            ("订单号 Order", order.order_id),
            ("金额 Amount", element("span", money, class_="big")),
        )
    )


def _button_to(url: str, text: str) -> Html:
    return element("a", text, href=url, class_="button", rel="noreferrer")


def _citizen(status: int, title: str, content: Html) -> Page:
    footer = element("p", "nontax sandbox · 仅供测试 for testing only", class_="dim")
    body = joined((element("section", content), footer))
    return Page(status, document(title, body, narrow=True))


def _notice(status: int, title: str, text: str) -> Page:
    return _citizen(status, title, element("p", text or str(status)))


def _redirect(url: str) -> Page:
    return Page(303, b"", {"Location": url, **_HTML})


def _pdf(world: World, key: str) -> Page:
    pdf = world.pdf_behind(key)
    if pdf is None:
        return _notice(404, "文件不存在或链接已过期 No such file", "")
    headers = {
        "Content-Type": "application/pdf",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(pdf.filename, safe='')}",
        **_SECURITY,
    }
    return Page(200, pdf.content, headers)


# The developer's page


def _index(world: World, traffic: Traffic) -> Page:
    body = joined(
        (
            element("h2", "票据 Bills in the wallets"),
            _bills(world),
            element("h2", "订单 Orders"),
            _orders(world),
            element("h2", "请求 Recent requests"),
            _requests(world, traffic),
            element("h2", "故障 Faults"),
            controls.fault_forms(traffic),
            element("h2", "推送 Pushed events"),
            controls.push_forms(world),
            _pushes(world),
            element("h2", "账号 Accounts"),
            _accounts(world),
        )
    )
    return Page(200, document("nontax sandbox", body))


def _set(change: Callable[[], None]) -> Page:
    try:
        change()
    except ValueError as error:
        return _notice(400, "无法设置 Cannot be set", str(error))
    return _redirect(INDEX_PATH)


def _bills(world: World) -> Html:
    rows = [
        (
            bill.openid,
            _shown(world, str(bill.fields["title"])),
            _yuan(bill.fields["fee"]),
            _shown(world, f"{bill.fields['billing_no']} {bill.fields['billing_code']}"),
            bill.code,
            _marked(_BILL_STATUS[bill.status]),
            _shown(world, bill.order_id),
        )
        for bill in _latest(list(world.bills().values()))
    ]
    heads = ("用户 Wallet", "交款人 Title", "金额 Fee", "代码 号码 Bill", "Card code")
    return table((*heads, "状态 Status", "订单号 Order"), rows, numbers=(2,))


def _orders(world: World) -> Html:
    links = world.auth_links()
    rows = []
    for order in _latest(list(world.orders().values())):
        link: str = ""
        if order.order_id in links and order.status == "never auth":
            url = f"{AUTHORISE_PATH}?key={quote(links[order.order_id])}"
            link = element("a", "授权页 open", href=url)
        rows.append(
            (
                _shown(world, order.order_id),
                _account_name(world, order.appid),
                "" if order.money is None else _yuan(order.money),
                _marked(_ORDER_STATUS[order.status]),
                "" if order.auth_time is None else _time(order.auth_time),
                link,
            )
        )
    heads = (
        "订单号 Order",
        "执收单位 Unit",
        "金额 Money",
        "状态 Status",
        "授权时间 Authorised",
        "",
    )
    return table(heads, rows, numbers=(2,))


def _requests(world: World, traffic: Traffic) -> Html:
    rows = []
    for request in _latest(traffic.requests()):
        errcode = "" if request.errcode is None else str(request.errcode)
        rows.append(
            (
                str(request.number),
                _time(request.time),
                _shown(world, f"{request.method} {request.path}", request.access_tokens),
                _shown(world, request.order_id or "", request.access_tokens),
                _marked((errcode, "good" if errcode == "0" else "bad")),
                "" if request.fault is None else type(request.fault).__name__,
            )
        )
    heads = ("#", "时间 Time", "接口 Interface", "订单号 Order", "errcode", "Fault")
    return table(heads, rows, numbers=(0,))


def _pushes(world: World) -> Html:
    rows = [
        (
            str(push.number),
            push.event,
            _account_name(world, push.appid),
            _shown(world, ", ".join(push.attempts)),
        )
        for push in _latest(world.pushes())
    ]
    return table(("#", "事件 Event", "账号 To", "结果 Tries"), rows, numbers=(0,))


def _accounts(world: World) -> Html:
    rows = [
        (account.name, account.appid, ", ".join(sorted(account.roles)), account.push_url or "")
        for account in world.accounts.all().values()
    ]
    return table(("名称 Name", "AppID", "角色 Roles", "Push URL"), rows, numbers=())


def _latest(things: Sequence[_T]) -> list[_T]:
    return list(reversed(things[-_SHOWN_ROWS:]))


def _shown(world: World, text: str, tokens: tuple[str, ...] = ()) -> str:
    """Text from outside, cut to a readable length and without anything confidential."""
    text = world.masked(text)
    for token in filter(None, tokens):
        text = text.replace(token, MASK)
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}…"


def _marked(status: tuple[str, str]) -> Html:
    text, kind = status
    return element("span", text, class_=kind)


def _account_name(world: World, appid: str) -> str:
    account = world.accounts.get(appid)
    return "" if account is None else f"{account.name} {account.appid}"


def _yuan(fen: int) -> str:
    sign, fen = ("-", -fen) if fen < 0 else ("", fen)
    return f"{sign}¥{fen // 100}.{fen % 100:02}"


def _time(seconds: float) -> str:
    """In Beijing."""
    return time.strftime("%m-%d %H:%M:%S", time.gmtime(seconds + 8 * 3600))
