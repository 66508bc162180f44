"""Django's outbox and WeChat's events: held bills, receivers, persons, system checks."""

import http.client
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from djangos import AES_KEY, count_posts, manage, nontax_of, outbox_in, site, sqlite
from test_events_frameworks import check_query, free_port

import nontax
from nontax.contrib.django import outbox, signals
from nontax.contrib.django.events import take_event
from nontax.contrib.django.models import Attempt, Bill, Content, Event, Evidence
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.store import Key
from nontax.events import AuthorizationEvent, StatusEvent
from nontax.sandbox import Sandbox, faults


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def rows(place: Path, sandbox: Sandbox) -> Iterator[None]:
    with outbox_in(place.parent, nontax_of(sandbox, "outbox")):
        yield


def _held(order_id: Any = ..., **changes: Any) -> Bill:
    return outbox.enqueue(
        bill(order_id, **changes), account="bureau", when="authorised", durable=False
    )


def _pushed(order_id: str, *, succeeded: bool = True, at: int = 1) -> AuthorizationEvent:
    return AuthorizationEvent(
        order_id=order_id, succeeded=succeeded, from_user="o1", to_user="gh_1", create_time=at
    )


def _take(event: object) -> bool:
    return take_event("outbox", "unit", event)


def _state(row: Bill) -> str:
    row.refresh_from_db()
    return str(row.state)


def test_a_held_bill_is_sent_when_its_order_is_authorised(rows: None, sandbox: Sandbox) -> None:
    row = _held()
    assert row.state == "held"
    Relay().run(once=True)
    assert count_posts(sandbox) == {}
    assert _take(_pushed(row.order_id, succeeded=False))
    assert _state(row) == "held"
    assert _take(_pushed(row.order_id))
    assert _state(row) == "waiting"
    Relay().run(once=True)
    assert _state(row) == "inserted"
    assert not _take(_pushed(row.order_id))
    assert Event.objects.using("outbox").count() == 2
    (told,) = Evidence.objects.using("outbox").all()
    assert Event.objects.using("outbox").get(succeeded=1).key_hash.startswith(told.detail)


def test_the_event_may_come_first(rows: None) -> None:
    _take(_pushed("EARLY"))
    assert _state(_held("EARLY")) == "waiting"
    _take(_pushed("FAILED", succeeded=False))
    assert _state(_held("FAILED")) == "held"


def test_an_order_that_was_not_authorised_goes_again(rows: None, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(72038), path="/nontax/insertbill")
    row = outbox.enqueue(bill(), account="bureau", durable=False)
    Relay().run(once=True)
    assert _state(row) == "rejected"
    _take(_pushed(row.order_id))
    Relay().run(once=True)
    assert _state(row) == "inserted"
    assert count_posts(sandbox) == {row.order_id: 2}


def test_an_unknown_card_code_settles_the_one_bill_in_doubt(rows: None, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Close("body", taken=True), path="/nontax/insertbill")
    row = outbox.enqueue(bill(), account="bureau", durable=False)
    Relay().run(once=True)
    assert _state(row) == "in_doubt"
    code = sandbox.bills[row.order_id].code
    _take(StatusEvent(status="INVOICE_REIMBURSE_LOCK", card_id=row.card_id, code=code,
                      from_user="o1", to_user="gh_1", create_time=2))  # fmt: skip
    assert (_state(row), row.code) == ("inserted", code)


def test_the_view(rows: None, place: Path, sandbox: Sandbox) -> None:
    """Real pushes over HTTP, in safe mode."""
    row = _held("H1", appid=sandbox.unit.appid)
    port = free_port()
    server = manage(
        site(sqlite(place), nontax_of(sandbox)), "runserver", "--noreload", f"127.0.0.1:{port}"
    )
    try:
        query = check_query(sandbox.unit.push_token)
        assert _ask(port, "GET", f"/wechat/unit/?{query}") == (200, b"4375120948345356")
        assert _ask(port, "GET", f"/wechat/unit/?{check_query('other')}")[0] == 403
        assert _ask(port, "POST", "/wechat/unit/")[0] == 403
        assert _ask(port, "GET", f"/wechat/bureau/?{query}")[0] == 404
        assert _ask(port, "GET", f"/wechat/nobody/?{query}")[0] == 404
        sandbox.unit.push_aes_key = AES_KEY
        sandbox.unit.push_url = f"http://127.0.0.1:{port}/wechat/unit/"
        with sandbox.client(sandbox.unit) as unit:
            unit.get_bill_auth_url(s_pappid=sandbox.bureau.s_pappid, order_id="H1", money=1)
        sandbox.authorise("H1")
        sandbox.chat("你好")
        pushes = sandbox.wait_for_pushes(2)
        assert [push.attempts for push in pushes] == [("success",)] * 2
        again = pushes[0].url.partition(f":{port}")[2]
        assert _ask(port, "POST", again, pushes[0].body) == (200, b"success")
        assert _state(row) == "waiting"
        assert Event.objects.using("outbox").count() == 1
    finally:
        server.terminate()
        said = "".join(server.communicate())
    assert sandbox.unit.push_token not in said


def _ask(port: int, method: str, target: str, body: bytes = b"x") -> tuple[int, bytes]:
    until = time.monotonic() + 15
    while True:
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            try:
                connection.request(method, target, body if method == "POST" else None)
            except ConnectionRefusedError:
                assert time.monotonic() < until
                time.sleep(0.05)
                continue
            reply = connection.getresponse()
            return reply.status, reply.read()


def test_a_receiver_that_fails_is_called_again(rows: None) -> None:
    row = _held()
    seen: list[str] = []

    def first(event: AuthorizationEvent, **_: object) -> None:
        Bill.objects.using("outbox").filter(pk=row.pk).update(priority=len(seen) + 1)

    def second(event: AuthorizationEvent, **_: object) -> None:
        seen.append(event.order_id)
        if len(seen) == 1:
            raise ZeroDivisionError

    signals.order_authorised.connect(first)
    signals.order_authorised.connect(second)
    try:
        assert _take(_pushed(row.order_id))
        assert (_state(row), row.priority) == ("waiting", 0)
        assert Event.objects.using("outbox").get().error == "ZeroDivisionError"
        call_command("nontax_events", retry=True)
        assert (_state(row), row.priority) == ("waiting", 2)
        assert seen == [row.order_id] * 2
        assert Event.objects.using("outbox").get().error == ""
    finally:
        signals.order_authorised.disconnect(first)
        signals.order_authorised.disconnect(second)


def test_whoever_wants_to_know_of_answers(rows: None, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Close("body", taken=False), path="/nontax/insertbill")
    told: list[str] = []

    def settled(state: str, **_: object) -> None:
        told.append(state)
        raise ZeroDivisionError  # is logged, and changes nothing

    signals.bill_settled.connect(settled)
    signals.bill_in_doubt.connect(settled)
    try:
        outbox.enqueue_many([bill() for _ in range(3)], account="bureau", durable=False)
        assert Relay(window=1).run(once=True) == []
    finally:
        signals.bill_settled.disconnect(settled)
        signals.bill_in_doubt.disconnect(settled)
    assert sorted(told) == ["in_doubt", "in_doubt", "inserted", "inserted"]


def test_a_person_settles_a_bill_in_doubt(rows: None, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Close("body", taken=False), path="/nontax/insertbill")
    row = outbox.enqueue(bill(), account="bureau", durable=False)
    Relay().run(once=True)
    shown = StringIO()
    call_command("nontax_resolve", stdout=shown)
    assert row.order_id in shown.getvalue()
    with pytest.raises(CommandError, match="--inserted or --not-taken"):
        call_command("nontax_resolve", row.order_id)
    with pytest.raises(CommandError, match="who settles the bill"):
        call_command("nontax_resolve", row.order_id, not_taken=True)
    with pytest.raises(CommandError, match="does not know order X"):
        call_command("nontax_resolve", "X", not_taken=True)
    call_command("nontax_resolve", row.order_id, not_taken=True, by="王", note="asked")
    assert _state(row) == "waiting"
    assert Evidence.objects.using("outbox").get().who == "王"
    Relay().run(once=True)
    assert _state(row) == "inserted"


def test_names_are_forgotten_and_keys_are_not(rows: None, sandbox: Sandbox) -> None:
    given = bill(title="赵钱孙李")
    row = outbox.enqueue(given, account="bureau", durable=False)
    waiting = outbox.enqueue(bill(), account="bureau", durable=False, priority=-1)
    OutboxStore("bureau", using="outbox").withdraw(
        Key(waiting.appid, waiting.order_id), by="王", note="refund"
    )
    Relay().run(once=True)
    _take(_pushed(row.order_id))
    outbox.enqueue(bill(), account="bureau", durable=False)
    call_command("nontax_prune", days=30)
    assert Content.objects.using("outbox").count() == 3
    long_ago = timezone.now() - timedelta(days=31)
    Bill.objects.using("outbox").update(changed_at=long_ago)
    Event.objects.using("outbox").update(received_at=long_ago)
    call_command("nontax_prune", days=30)
    assert Content.objects.using("outbox").get().bill.state == "waiting"
    for model in (Attempt, Event, Content, Bill, Evidence):
        kept = str(list(model.objects.using("outbox").values()))
        assert "赵钱孙李" not in kept
        assert "o1" not in kept.replace(_pushed(row.order_id).key, "")
    assert set(Attempt.objects.using("outbox").values_list("openid", flat=True)) == {""}
    # The same bill is still known, and another one still a conflict.
    assert outbox.enqueue(given, account="bureau", durable=False).pk == row.pk
    number = given["card_ext"]["user_card"]["invoice_user_data"]["billing_code"]
    with pytest.raises(nontax.ConflictError):
        outbox.enqueue(bill(row.order_id, billing_code=number), account="bureau", durable=False)
    Relay().run(once=True)
    assert count_posts(sandbox)[row.order_id] == 1


def test_what_fails_after_the_commit_fails_no_payment(
    rows: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionRefusedError

    class Task:
        apply_async = staticmethod(away)

    monkeypatch.setattr("nontax.contrib.django.tasks.celery_task", Task)
    with override_settings(NONTAX=nontax_of(sandbox, "outbox", ring="celery")):
        with transaction.atomic(using="outbox"):
            waiting = outbox.enqueue(bill(), account="bureau")
        with transaction.atomic(using="outbox"):
            held = outbox.enqueue(bill(), account="bureau", when="authorised")
            monkeypatch.setattr("nontax.contrib.django.events.match_held", away)
    assert (_state(waiting), _state(held)) == ("waiting", "held")
    assert caplog.text.count("in on_commit()") >= 2


def test_what_a_person_has_sent_rings(
    rows: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[object] = []

    class Task:
        apply_async = staticmethod(lambda **named: rung.append(named))

    monkeypatch.setattr("nontax.contrib.django.tasks.celery_task", Task)
    row = outbox.enqueue(bill(), account="bureau", durable=False)
    store, key = OutboxStore("bureau", using="outbox"), Key(row.appid, row.order_id)
    store.withdraw(key, by="王", note="refund")
    with override_settings(NONTAX=nontax_of(sandbox, "outbox", ring="celery")):
        store.retry(key, by="王", note="no refund")
        assert (_state(row), len(rung)) == ("waiting", 1)
        store.withdraw(key, by="王", note="refund")
    assert len(rung) == 1
