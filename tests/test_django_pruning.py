"""Contents of settled bills are removed; of what may still be sent, or is in doubt, nothing is."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from bills import bill
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import override_settings
from djangos import count_posts, nontax_of, outbox_in
from everystate import put_one_in_each_state

from nontax.contrib.django import events, outbox, pruning
from nontax.contrib.django.models import Bill, Content
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.states import Answer
from nontax.sandbox import Sandbox

_SETTLED = {"inserted", "rejected", "withdrawn"}


@pytest.fixture(autouse=True)
def _rows(tmp_path: Path, sandbox: Sandbox) -> Iterator[None]:
    with outbox_in(tmp_path, nontax_of(sandbox, "outbox", keep_content_days=30)):
        yield


def _let_pass(days: float) -> None:
    for row in Bill.objects.using("outbox"):
        past = {name: getattr(row, name) - timedelta(days=days) for name in _TIMES}
        Bill.objects.using("outbox").filter(pk=row.pk).update(**past)


_TIMES = ("created_at", "changed_at")


def _kept() -> set[str]:
    """The states of bills whose content is there."""
    return set(Content.objects.using("outbox").values_list("bill__state", flat=True))


def _refuse(errcode: int) -> Bill:
    row = outbox.enqueue(bill(), account="bureau", durable=False)
    store = OutboxStore("bureau", using="outbox")
    (claim,) = store.reserve(1).claims
    store.settle([(claim, Answer("rejected", errcode))])
    return row


@contextlib.contextmanager
def _relay_at_work() -> Iterator[None]:
    """It sends nothing: only what is settled is its to remove."""
    relay = Relay(["nobody"], poll=0.01)

    def run() -> None:
        try:
            relay.run()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        runs = pool.submit(run)
        try:
            yield
        finally:
            relay.stop()
            runs.result()


def test_a_relay_removes_them_while_nothing_waits() -> None:
    orders = put_one_in_each_state()
    with _relay_at_work():
        _let_pass(29)
        time.sleep(0.1)
        assert _kept() == set(orders)
    _let_pass(2)
    with _relay_at_work():
        until = time.monotonic() + 30
        while _kept() & _SETTLED:
            assert time.monotonic() < until, _kept()
            time.sleep(0.02)
    assert _kept() == set(orders) - _SETTLED
    assert Bill.objects.using("outbox").count() == len(orders)


def test_without_the_setting_nothing_is_removed(sandbox: Sandbox) -> None:
    put_one_in_each_state()
    _let_pass(1000)
    with override_settings(NONTAX=nontax_of(sandbox, "outbox")):
        pruner = Relay()._pruner
        for _ in range(3):
            pruner.look()
        with pytest.raises(CommandError, match="KEEP_CONTENT_DAYS"):
            call_command("nontax_prune")
    assert _kept() > _SETTLED
    call_command("nontax_prune")
    assert not _kept() & _SETTLED


def test_a_page_of_others_does_not_hide_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_PAGE", 2)
    for _ in range(3):
        outbox.enqueue(bill(), account="bureau", durable=False, when="authorised")
    rejected = [_refuse(72056) for _ in range(3)]
    _let_pass(31)
    young = _refuse(72056)
    assert sum(pruning.prune("outbox", 30)) == len(rejected)
    kept = Content.objects.using("outbox").filter(bill__state="rejected")
    assert [each.pk for each in kept] == [young.pk]


def test_a_bill_that_waits_for_its_citizen_is_kept_as_long_as_a_held_one(sandbox: Sandbox) -> None:
    row = _refuse(72038)
    _let_pass(89)
    call_command("nontax_prune", days=30)
    with transaction.atomic(using="outbox"):
        assert events.authorised("outbox", row.order_id) == 1
    Relay().run(once=True)
    row.refresh_from_db()
    assert (row.state, count_posts(sandbox)) == ("inserted", {row.order_id: 1})


def test_an_authorisation_that_comes_when_the_content_is_gone(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    given = bill()
    row = outbox.enqueue(given, account="bureau", durable=False)
    store = OutboxStore("bureau", using="outbox")
    (claim,) = store.reserve(1).claims
    store.settle([(claim, Answer("rejected", 72038))])
    _let_pass(91)
    call_command("nontax_prune", days=30)
    with transaction.atomic(using="outbox"):
        assert events.authorised("outbox", row.order_id) == 0
    assert "again=True" in caplog.text
    Relay().run(once=True)
    assert not count_posts(sandbox)
    outbox.enqueue(given, account="bureau", durable=False, again=True)
    Relay().run(once=True)
    row.refresh_from_db()
    assert (row.state, count_posts(sandbox)) == ("inserted", {row.order_id: 1})
