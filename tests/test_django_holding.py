"""Held bills whose push gets lost, or comes by way of another system."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import Client as Browser
from django.test import override_settings
from djangos import count_posts, nontax_of, outbox_in

from nontax.contrib.django import conf, forwarding, holding, outbox
from nontax.contrib.django.models import Bill, Event, Evidence, Hold
from nontax.contrib.django.relay import Relay
from nontax.sandbox import Sandbox, faults

ASK = "/card/invoice/getauthdata"
KEY = "a key of the two systems"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def rows(place: Path, sandbox: Sandbox) -> Iterator[None]:
    given = nontax_of(sandbox, "outbox", hold_days=30)
    given["ACCOUNTS"]["bureau"]["ROLE"] = "bureau"
    given["ACCOUNTS"]["unit"]["EVENTS"]["FORWARD_KEY"] = KEY
    with outbox_in(place.parent, given):
        yield


def _held(sandbox: Sandbox, *, ordered: bool = True, **changes: Any) -> Bill:
    changes = {"appid": sandbox.unit.appid} | changes
    row = outbox.enqueue(bill(**changes), account="bureau", when="authorised", durable=False)
    if ordered:
        with sandbox.client(sandbox.unit) as unit:
            unit.get_bill_auth_url(
                s_pappid=sandbox.bureau.s_pappid, order_id=row.order_id, money=123
            )
    return row


def _pass(seconds: float) -> None:
    """As if the bills had been handed in, and asked about, so much earlier."""
    for held in Hold.objects.using("outbox").select_related("bill"):
        earlier = timedelta(seconds=seconds)
        Hold.objects.using("outbox").filter(pk=held.pk).update(due_at=held.due_at - earlier)
        Bill.objects.using("outbox").filter(pk=held.pk).update(
            created_at=held.bill.created_at - earlier
        )


def _asked(sandbox: Sandbox) -> int:
    return sum(request.path == ASK for request in sandbox.requests)


def _state(row: Bill) -> str:
    row.refresh_from_db()
    return str(row.state)


def test_an_order_is_asked_about_ever_less_often(rows: None, sandbox: Sandbox) -> None:
    row = _held(sandbox)
    when, passed = [], 0
    while passed < 3 * 86400:
        step = 60 if passed < 7260 else 7200
        _pass(step)
        passed += step
        before = _asked(sandbox)
        holding.poll("outbox")
        if _asked(sandbox) > before:
            when.append(passed)
    assert when[:4] == [60, 300, 1800, 7200]
    assert len(when) == 6
    for earlier, later in pairwise(when[3:]):
        assert 86400 <= later - earlier <= 86400 + 7200
    assert Hold.objects.using("outbox").get().asked == 6
    assert _state(row) == "held"
    sandbox.authorise(row.order_id)
    _pass(86400)
    assert holding.poll("outbox") == 1
    assert _state(row) == "waiting"
    (told,) = Evidence.objects.using("outbox").all()
    assert (told.kind, told.verdict) == ("getauthdata", "authorised")
    before = _asked(sandbox)
    _pass(86400)
    assert holding.poll("outbox") == 0
    assert _asked(sandbox) == before
    assert not Hold.objects.using("outbox").exists()


def test_after_a_night_without_relays_it_is_asked_once(rows: None, sandbox: Sandbox) -> None:
    _held(sandbox)
    _pass(10 * 3600)
    for _ in range(3):
        holding.poll("outbox")
    assert _asked(sandbox) == 1


def test_a_relay_asks(rows: None, sandbox: Sandbox) -> None:
    row = _held(sandbox)
    sandbox.authorise(row.order_id)
    Relay().run(once=True)
    assert _state(row) == "held"
    _pass(60)
    Relay().run(once=True)
    assert _state(row) in ("waiting", "inserted")
    Relay().run(once=True)
    assert _state(row) == "inserted"
    assert count_posts(sandbox) == {row.order_id: 1}


def test_two_relays_ask_about_each_order_once(rows: None, sandbox: Sandbox) -> None:
    made = [_held(sandbox, ordered=False) for _ in range(12)]
    _pass(60)

    def ask(_: int) -> int:
        try:
            return holding.poll("outbox")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(ask, range(3))) == 0
    orders = Counter(request.body for request in sandbox.requests if request.path == ASK)
    assert len(orders) == len(made)
    assert {*orders.values()} == {1}


def test_a_relay_that_dies_while_it_asks(rows: None, sandbox: Sandbox) -> None:
    row = _held(sandbox)
    sandbox.authorise(row.order_id)
    _pass(60)
    held = Hold.objects.using("outbox").select_related("bill").get()
    assert holding._take("outbox", held)  # and is not heard of again
    assert not holding._take("outbox", held)
    assert holding.poll("outbox") == 0
    _pass(181)
    assert holding.poll("outbox") == 1
    assert _state(row) == "waiting"
    assert not Hold.objects.using("outbox").exists()


def test_an_order_that_is_given_up(rows: None, sandbox: Sandbox) -> None:
    rejected, late = _held(sandbox), _held(sandbox)
    # No account of the settings can ask about it.
    unknown = _held(sandbox, ordered=False, appid="wxunknown")
    with sandbox.client(sandbox.unit) as unit:
        unit.reject_bill(
            s_pappid=sandbox.bureau.s_pappid, order_id=rejected.order_id, reason="已退款"
        )
    _pass(60)
    assert holding.poll("outbox") == 1
    assert (_state(rejected), _state(late)) == ("withdrawn", "held")
    _pass(31 * 86400)
    assert holding.poll("outbox") == 2
    assert (_state(late), _state(unknown)) == ("withdrawn", "withdrawn")
    told = Evidence.objects.using("outbox").order_by("pk").values_list("who", "note")
    assert list(told) == [
        ("nontax", "the unit has rejected the order"),
        ("nontax", "not authorised within 30 days"),
        ("nontax", "not authorised within 30 days"),
    ]
    assert count_posts(sandbox) == {}


def test_an_account_that_cannot_ask_is_left_alone_for_a_while(
    rows: None, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    made = [_held(sandbox) for _ in range(5)]
    sandbox.inject(faults.Errcode(48001), times=100, path=ASK)
    _pass(60)
    assert holding.poll("outbox") == 0
    assert _asked(sandbox) == 1
    assert f"unit {sandbox.unit.appid} cannot be asked" in caplog.text
    sandbox.behave()
    for row in made:
        sandbox.authorise(row.order_id)
    _pass(240)
    assert holding.poll("outbox") == 5


def test_a_vault_that_fails_stops_no_other_unit(rows: None, sandbox: Sandbox) -> None:
    given = nontax_of(sandbox, "outbox")["ACCOUNTS"]

    def vault(alias: str) -> Any:
        return {"bureau": given["bureau"], sandbox.unit.appid: given["unit"]}[alias]

    _held(sandbox, ordered=False, appid="wxunknown")
    row = _held(sandbox)
    sandbox.authorise(row.order_id)
    _pass(60)
    with override_settings(NONTAX={"ACCOUNTS": vault, "OUTBOX": {"DATABASE": "outbox"}}):
        assert holding.poll("outbox") == 1
    assert _state(row) == "waiting"


# Pushes that another system passes on


def _push(order_id: str, at: float) -> bytes:
    return (
        "<xml><ToUserName>gh_1</ToUserName><FromUserName>o-canary</FromUserName>"
        f"<CreateTime>{at:.0f}</CreateTime><MsgType>event</MsgType>"
        f"<Event>user_authorize_invoice</Event><SuccOrderId>{order_id}</SuccOrderId>"
        "<FailOrderId></FailOrderId></xml>"
    ).encode()


def _pass_on(body: bytes, headers: dict[str, str], account: str = "unit") -> tuple[int, bytes]:
    reply = Browser(enforce_csrf_checks=True).post(
        f"/wechat/{account}/forwarded/", body, content_type="text/xml", headers=headers
    )
    return reply.status_code, reply.content


def test_a_push_that_is_passed_on(rows: None, sandbox: Sandbox) -> None:
    row = _held(sandbox)
    body = _push(row.order_id, time.time())
    assert _pass_on(body, forwarding.sign(KEY, body)) == (200, b"success")
    assert _state(row) == "waiting"
    assert _pass_on(body, forwarding.sign(KEY, body)) == (200, b"success")
    assert Event.objects.using("outbox").count() == 1
    chat = b"<xml><MsgType>text</MsgType><Content>hello</Content></xml>"
    assert _pass_on(chat, forwarding.sign(KEY, chat)) == (200, b"success")
    assert Event.objects.using("outbox").count() == 1


def test_a_push_that_is_refused(
    rows: None, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    row = _held(sandbox)
    body = _push(row.order_id, time.time())
    signed = forwarding.sign(KEY, body)
    for headers in (
        {},
        forwarding.sign("another key of somebody", body),
        forwarding.sign(KEY, body + b" "),
        forwarding.sign(KEY, body, timestamp=int(time.time()) - 301),
        forwarding.sign(KEY, body, timestamp=int(time.time()) + 400),
        signed | {forwarding.TIMESTAMP: str(int(signed[forwarding.TIMESTAMP]) + 1)},
        signed | {forwarding.SIGNATURE: "é"},
    ):
        assert _pass_on(body, headers) == (403, b"forbidden")
    huge = b"x" * (1 << 21)
    assert _pass_on(huge, forwarding.sign(KEY, huge))[0] == 403
    for broken, words in (
        (body.replace(row.order_id.encode(), b""), b"SuccOrderId"),
        (b"<xml><Encrypt>AAAA</Encrypt></xml>", b"pass it on decrypted"),
    ):
        status, said = _pass_on(broken, forwarding.sign(KEY, broken))
        assert status == 400
        assert words in said
    assert _pass_on(body, signed, account="bureau")[0] == 404
    assert _pass_on(body, signed, account="nobody")[0] == 404
    assert _state(row) == "held"
    assert not Event.objects.using("outbox").exists()
    assert KEY not in caplog.text
    assert "o-canary" not in caplog.text


def test_settings_of_forwarded_pushes(sandbox: Sandbox) -> None:
    given = nontax_of(sandbox)
    for events, words in (({}, "needs TOKEN or FORWARD_KEY"), ({"FORWARD_KEY": "x"}, "16")):
        given["ACCOUNTS"]["unit"]["EVENTS"] = events
        with override_settings(NONTAX=given):
            with pytest.raises(ImproperlyConfigured, match=words):
                conf.account("unit")
    # Whose pushes all come by way of another system.
    given["ACCOUNTS"]["unit"]["EVENTS"] = {"FORWARD_KEY": KEY}
    with override_settings(NONTAX=given):
        assert Browser().get("/wechat/unit/").status_code == 404
