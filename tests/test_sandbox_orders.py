"""The sandbox's orders: authorisation, what insertbill compares, rejection, status of bills."""

from typing import Any

import pytest
from test_sandbox_flow import WeChat, sandbox, wechat

from nontax.sandbox import Sandbox

__all__ = ["sandbox", "wechat"]

INIT = "INVOICE_REIMBURSE_INIT"
LOCK = "INVOICE_REIMBURSE_LOCK"
CLOSURE = "INVOICE_REIMBURSE_CLOSURE"
CANCEL = "INVOICE_REIMBURSE_CANCEL"


@pytest.fixture
def card_id(wechat: WeChat) -> str:
    return wechat.card()


# getbillauthurl


def test_getbillauthurl(sandbox: Sandbox, wechat: WeChat) -> None:
    reply = wechat.request_order("A1", source="app")
    assert list(reply) == ["errcode", "errmsg", "auth_url", "expire_time"]
    assert reply["auth_url"].startswith(f"{sandbox.base_url}/sandbox/authorise?key=")
    order = sandbox.orders["A1"]
    assert (order.status, order.appid) == ("never auth", sandbox.unit.appid)
    assert (order.money, order.source, order.auth_time) == (1200, "app", None)


@pytest.mark.parametrize(
    ("changes", "errcode", "text"),
    [
        ({"order_id": None}, 72031, "order_id is empty"),
        *[
            ({name: None}, 41011, f": {name} ")
            for name in ("s_pappid", "money", "timestamp", "source")
        ],
        ({"ticket": None}, 41011, ": ticket "),
        ({"order_id": ""}, 72031, "order_id is empty"),
        ({"order_id": "a\nb"}, 72031, "control characters"),
        ({"s_pappid": "wx1"}, 72031, "s_pappid"),
        ({"money": "12"}, 72031, "money must be an integer"),
        ({"money": True}, 72031, "money must be an integer"),
        ({"money": 1.5}, 72031, "money must be an integer"),
        ({"timestamp": "1700000000"}, 72031, "timestamp must be an integer"),
        ({"timestamp": 1700000000000}, 72031, "timestamp must be 10 digits"),
        ({"source": "wap"}, 72031, "source"),
        ({"redirect_url": "javascript:alert(1)"}, 72031, "redirect_url"),
        ({"redirect_url": "http://x/\r\nSet-Cookie: a=b"}, 72031, "redirect_url"),
        ({"redirect_url": 1}, 72031, "redirect_url must be a string"),
        ({"ticket": "made up"}, 72031, "ticket"),
        ({"type": 1}, 40097, "unknown field type"),
    ],
)
def test_getbillauthurl_refuses(
    sandbox: Sandbox, wechat: WeChat, changes: dict[str, Any], errcode: int, text: str
) -> None:
    reply = wechat.request_order("A1", **changes)
    assert reply["errcode"] == errcode
    assert text in reply["errmsg"]
    assert not sandbox.orders


def test_the_units_own_s_pappid_is_none(sandbox: Sandbox, wechat: WeChat) -> None:
    assert wechat.request_order("A1", s_pappid=sandbox.unit.s_pappid)["errcode"] == 72031


def test_tickets(sandbox: Sandbox, wechat: WeChat) -> None:
    ticket = wechat.ticket()
    assert wechat.request_order("A1", ticket=wechat.ticket("jsapi"))["errcode"] == 72031
    assert wechat.request_order("A1", ticket=ticket)["errcode"] == 0
    # Another one leaves the first as it is.
    wechat.ticket()
    sandbox.clock.advance(7199)
    sandbox.unit.renew_access_token()
    assert wechat.request_order("A2", ticket=ticket)["errcode"] == 0
    sandbox.clock.advance(1)
    assert wechat.request_order("A3", ticket=ticket)["errcode"] == 72031
    other = sandbox.add_account("other", roles=("unit",))
    foreign, lifetime = other.tickets.issue("wx_card")
    assert lifetime == 7200
    assert wechat.request_order("A4", ticket=foreign)["errcode"] == 72031


@pytest.mark.parametrize(("query", "errcode"), [("", 40101), ("type=", 40101), ("type=x", 40097)])
def test_getticket_refuses(sandbox: Sandbox, wechat: WeChat, query: str, errcode: int) -> None:
    reply = wechat.call("/cgi-bin/ticket/getticket", None, sandbox.unit, method="GET", query=query)
    assert reply["errcode"] == errcode


def test_an_order_id_is_used_once(sandbox: Sandbox, wechat: WeChat) -> None:
    first = wechat.auth_url("A1")
    # The same again is a new link to the same order, until it is authorised.
    second = wechat.auth_url("A1", redirect_url="http://x/")
    assert first != second
    assert wechat.request_order("A1", money=1)["errcode"] == 72056
    other = sandbox.add_account("other", roles=("bureau",))
    assert wechat.request_order("A1", s_pappid=other.s_pappid)["errcode"] == 72056
    wechat.press(first)
    assert wechat.request_order("A1")["errcode"] == 72056
    assert wechat.reject("A1")["errcode"] == 0
    assert wechat.request_order("A1")["errcode"] == 72035


def test_an_order_in_a_wallet_cannot_be_requested(wechat: WeChat) -> None:
    with Sandbox() as lenient:
        other = WeChat(lenient)
        assert other.insert(wechat.bill("A1", "card", "1"))["errcode"] == 0
        assert other.request_order("A1")["errcode"] == 72056


def test_an_order_authorised_by_hand_may_be_requested_never(
    sandbox: Sandbox, wechat: WeChat
) -> None:
    sandbox.authorise("A1")
    assert wechat.request_order("A1")["errcode"] == 72056
    sandbox.withdraw("A1")
    assert wechat.request_order("A1")["errcode"] == 0


# getauthdata


def test_getauthdata_tells_the_right_account_only(sandbox: Sandbox, wechat: WeChat) -> None:
    assert wechat.auth_data("unknown")["invoice_status"] == "never auth"
    wechat.press(wechat.auth_url("A1"))
    assert wechat.auth_data("A1")["invoice_status"] == "auth success"
    other = sandbox.add_account("other", roles=("bureau", "unit"))
    assert wechat.auth_data("A1", other)["invoice_status"] == "never auth"
    payload = {"s_pappid": other.s_pappid, "order_id": "A1"}
    reply = wechat.call("/card/invoice/getauthdata", payload, sandbox.unit)
    assert reply["invoice_status"] == "never auth"
    payload = {"s_pappid": "x", "order_id": "A1"}
    assert wechat.call("/card/invoice/getauthdata", payload, sandbox.unit)["errcode"] == 72031
    missing = {"s_pappid": sandbox.bureau.s_pappid}
    assert wechat.call("/card/invoice/getauthdata", missing, sandbox.unit)["errcode"] == 72031


def test_auth_time_is_the_first_press(sandbox: Sandbox, wechat: WeChat) -> None:
    url = wechat.auth_url("A1")
    sandbox.clock.advance(100)
    wechat.press(url)
    first = wechat.auth_data("A1")["auth_time"]
    sandbox.clock.advance(100)
    wechat.press(url)
    assert wechat.auth_data("A1")["auth_time"] == first
    assert 0 <= sandbox.clock.time() - 100 - first < 60
    wechat.reject("A1")
    data = wechat.auth_data("A1")
    assert (data["invoice_status"], data["auth_time"]) == ("reject insert", first)


# insertbill with everything compared


@pytest.fixture
def authorised(wechat: WeChat) -> str:
    wechat.press(wechat.auth_url("A1"))
    return "A1"


def test_accounts_must_belong_together(
    sandbox: Sandbox, wechat: WeChat, card_id: str, authorised: str
) -> None:
    media_id = wechat.pdf()
    bill = wechat.bill(authorised, card_id, media_id)
    wrong = wechat.bill(authorised, card_id, media_id, appid=sandbox.bureau.appid)
    assert wechat.insert(wrong)["errcode"] == 72038
    other = sandbox.add_account("other", roles=("bureau",))
    assert wechat.insert(bill, other)["errcode"] == 72038
    assert wechat.insert(bill)["errcode"] == 0


def test_the_card_must_be_the_bureaus(
    sandbox: Sandbox, wechat: WeChat, card_id: str, authorised: str
) -> None:
    media_id = wechat.pdf()
    assert wechat.insert(wechat.bill(authorised, "unknown", media_id))["errcode"] == 40073
    other = sandbox.add_account("other", roles=("bureau",))
    payload = {"invoice_info": {"payee": "x", "base_info": {"logo_url": "u"}}}
    foreign = wechat.call("/nontax/createbillcard", payload, other)["card_id"]
    assert wechat.insert(wechat.bill(authorised, foreign, media_id))["errcode"] == 40073
    sandbox.card_ready_after = 60
    assert wechat.insert(wechat.bill(authorised, card_id, media_id))["errcode"] == 40078
    sandbox.clock.advance(60)
    assert wechat.insert(wechat.bill(authorised, card_id, media_id))["errcode"] == 0


def test_the_pdf_must_be_there(
    sandbox: Sandbox, wechat: WeChat, card_id: str, authorised: str
) -> None:
    other = sandbox.add_account("other", roles=("bureau",))
    old, foreign = wechat.pdf(), wechat.upload(account=other)["s_media_id"]
    sandbox.clock.advance(3 * 86400)
    sandbox.bureau.renew_access_token()
    for media_id in (old, foreign, "75195574948725301"):
        bill = wechat.bill(authorised, card_id, media_id)
        assert wechat.insert(bill)["errcode"] == 72040
    # Nobody looks into it.
    assert wechat.insert(wechat.bill(authorised, card_id, wechat.pdf(b"x")))["errcode"] == 0


def test_a_pdf_and_a_billing_pair_are_used_once(
    sandbox: Sandbox, wechat: WeChat, card_id: str
) -> None:
    for order_id in ("A1", "A2"):
        wechat.auth_url(order_id)
        sandbox.authorise(order_id)
    media_id = wechat.pdf()
    assert wechat.insert(wechat.bill("A1", card_id, media_id, billing_code="1"))["errcode"] == 0
    again = wechat.bill("A2", card_id, media_id, billing_code="2")
    assert wechat.insert(again)["errcode"] == 72042
    again = wechat.bill("A2", card_id, wechat.pdf(), billing_code="1")
    assert wechat.insert(again)["errcode"] == 72042
    # Neither refusal has used up anything.
    assert wechat.insert(wechat.bill("A2", card_id, wechat.pdf()))["errcode"] == 0


def test_the_amount_is_not_compared(
    sandbox: Sandbox, wechat: WeChat, card_id: str, authorised: str
) -> None:
    bill = wechat.bill(authorised, card_id, wechat.pdf(), fee=99)
    assert wechat.insert(bill)["errcode"] == 0
    assert sandbox.bills[authorised].fields["fee"] == 99


def test_a_lenient_sandbox_compares_nothing() -> None:
    with Sandbox() as lenient:
        wechat = WeChat(lenient)
        url = wechat.auth_url("A1")
        assert wechat.insert(wechat.bill("A1", "any", "1"))["errcode"] == 72038
        wechat.press(url)
        bill = wechat.bill("A1", "any", "1", appid="wx1")
        assert wechat.insert(bill)["errcode"] == 0
        assert wechat.insert(wechat.bill("A2", "any", "1"))["errcode"] == 0


# rejectinsert


def test_rejectinsert_is_final(sandbox: Sandbox, wechat: WeChat, card_id: str) -> None:
    wechat.press(wechat.auth_url("A1"))
    assert wechat.reject("A1", url="https://hospital.example/")["errcode"] == 0
    order = sandbox.orders["A1"]
    assert (order.reason, order.reason_url) == ("已退款", "https://hospital.example/")
    assert wechat.insert(wechat.bill("A1", card_id, wechat.pdf()))["errcode"] == 72035
    assert wechat.reject("A1")["errcode"] == 72035
    with pytest.raises(ValueError, match="final"):
        sandbox.authorise("A1")


def test_rejectinsert_refuses(sandbox: Sandbox, wechat: WeChat, card_id: str) -> None:
    assert wechat.reject("A1")["errcode"] == 72038
    wechat.press(wechat.auth_url("A1"))
    other = sandbox.add_account("other", roles=("bureau",))
    assert wechat.reject("A1", s_pappid=other.s_pappid)["errcode"] == 72038
    assert wechat.reject("A1", s_pappid="x")["errcode"] == 72031
    assert wechat.reject("A1", reason="")["errcode"] == 72031
    assert wechat.insert(wechat.bill("A1", card_id, wechat.pdf()))["errcode"] == 0
    assert wechat.reject("A1")["errcode"] == 72024


def test_a_lenient_sandbox_lets_any_order_be_rejected() -> None:
    with Sandbox() as lenient:
        wechat = WeChat(lenient)
        assert wechat.reject("A1")["errcode"] == 0
        assert wechat.insert(wechat.bill("A1", "any", "1"))["errcode"] == 72035


# updatestatus, and the reimbursing side


@pytest.fixture
def code(wechat: WeChat, card_id: str, authorised: str) -> str:
    code = wechat.insert(wechat.bill(authorised, card_id, wechat.pdf()))["code"]
    assert isinstance(code, str)
    return code


@pytest.mark.parametrize("status", [INIT, LOCK, CLOSURE, CANCEL])
def test_updatestatus(
    sandbox: Sandbox, wechat: WeChat, card_id: str, code: str, status: str
) -> None:
    assert wechat.update_status(card_id, code, status)["errcode"] == 0
    assert sandbox.bills["A1"].status == status
    assert wechat.update_status(card_id, code, status)["errcode"] == 0
    after = {INIT: 0, LOCK: 0, CLOSURE: 72061, CANCEL: 72060}[status]
    other = LOCK if status == INIT else INIT
    assert wechat.update_status(card_id, code, other)["errcode"] == after


def test_updatestatus_refuses(sandbox: Sandbox, wechat: WeChat, card_id: str, code: str) -> None:
    printed = sandbox.bills["A1"].fields["billing_code"]
    assert wechat.update_status(card_id, printed, CANCEL)["errcode"] == 72038
    assert wechat.update_status(wechat.card(), code, CANCEL)["errcode"] == 40073
    assert wechat.update_status(card_id, code, "CANCEL")["errcode"] == 72031
    for name, errcode in [("card_id", 41012), ("code", 41013), ("reimburse_status", 41011)]:
        payload = {"card_id": card_id, "code": code, "reimburse_status": CANCEL}
        del payload[name]
        path = "/card/invoice/platform/updatestatus"
        assert wechat.call(path, payload, sandbox.bureau)["errcode"] == errcode
    other = sandbox.add_account("other", roles=("bureau",))
    payload = {"card_id": card_id, "code": code, "reimburse_status": CANCEL}
    assert wechat.call(path, payload, other)["errcode"] == 72038
    assert sandbox.bills["A1"].status == INIT


def test_reimburse(sandbox: Sandbox, wechat: WeChat, card_id: str, code: str) -> None:
    sandbox.reimburse(code, LOCK)
    assert sandbox.bills["A1"].status == LOCK
    with pytest.raises(ValueError, match="knows"):
        sandbox.reimburse(code, CANCEL)
    with pytest.raises(ValueError, match="no bill"):
        sandbox.reimburse("1", LOCK)
    sandbox.reimburse(code, CLOSURE)
    with pytest.raises(ValueError, match="closed"):
        sandbox.reimburse(code, INIT)
    assert wechat.update_status(card_id, code, CANCEL)["errcode"] == 72061
