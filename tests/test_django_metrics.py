"""The outbox in figures, and relays that pause or fall silent."""

import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from django.core.management import call_command
from django.utils import timezone
from djangos import nontax_of, outbox_in

from nontax.contrib.django import metrics, outbox, signals
from nontax.contrib.django.models import Bill, Event, Relay
from nontax.contrib.django.relay import Relay as Sender
from nontax.sandbox import Sandbox, faults

_LINE = re.compile(r'(\w+)(\{(\w+="([^"\\\n]|\\.)*",?)*\})? -?[0-9]+')


@pytest.fixture(autouse=True)
def _rows(tmp_path: Path, sandbox: Sandbox) -> Iterator[None]:
    with outbox_in(tmp_path, nontax_of(sandbox, "outbox")):
        yield


def _status(**options: Any) -> str:
    said = StringIO()
    call_command("nontax_status", stdout=said, stderr=said, **options)
    return said.getvalue()


def _relay(seconds: int) -> None:
    seen = timezone.now() - timedelta(seconds=seconds)
    Relay.objects.using("outbox").create(
        worker=f"host:{seconds}", host="host", began_at=seen, beat_at=seen, version="1"
    )


def test_every_line_is_one_that_prometheus_reads(sandbox: Sandbox) -> None:
    outbox.enqueue_many([bill() for _ in range(3)], account="bureau", durable=False)
    Sender().run(once=True)
    Bill.objects.using("outbox").filter(pk=Bill.objects.using("outbox").first().pk).update(
        account='quoted "a\\b"'
    )
    Event.objects.using("outbox").create(
        key_hash="x", account="unit", kind="user_authorize_invoice", succeeded=1, appid="",
        order_id="A", content="{}", received_at=timezone.now(), error="ZeroDivisionError",
    )  # fmt: skip
    _relay(30)
    _relay(300)
    lines = _status(format="prometheus").splitlines()
    figures = {}
    for line in lines:
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ gauge)", line)
        else:
            assert _LINE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            figures[name] = int(value)
    assert figures['nontax_bills{account="bureau",state="inserted"}'] == 2
    assert figures['nontax_calls_day{account="bureau",interface="insertbill"}'] == 3
    assert figures['nontax_paused{account="bureau",interface="insertbill"}'] == 0
    assert (figures["nontax_relays"], figures["nontax_events_failed"]) == (1, 1)
    assert 30 <= figures["nontax_relay_age_seconds"] < 60
    named = {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert named == metrics.HELP.keys()
    # Bills that are done with can be left out: there may be a hundred million.
    assert "inserted" not in _status(format="prometheus", open=True)
    assert "inserted" not in _status(open=True)


def test_a_relay_that_falls_silent() -> None:
    told: list[tuple[str, bool]] = []

    def silent(worker: str, seconds: int, **_: object) -> None:
        told.append((worker, seconds > 60))
        raise ZeroDivisionError

    signals.relay_silent.connect(silent)
    try:
        for seconds in (5, 300, 4000):
            _relay(seconds)
        assert "relay host:300 is silent" in _status()
    finally:
        signals.relay_silent.disconnect(silent)
    assert told == [("host:300", True)]


def test_whoever_wants_to_know_of_pauses(sandbox: Sandbox) -> None:
    told: list[tuple[str, str, str]] = []

    def paused(account: str, interface: str, seconds: float, why: str, **_: object) -> None:
        assert seconds > 60
        told.append((account, interface, why))

    signals.relay_paused.connect(paused)
    sandbox.inject(faults.Errcode(45009), path="/nontax/insertbill")
    try:
        outbox.enqueue(bill(), account="bureau", durable=False)
        Sender().run(once=True)
    finally:
        signals.relay_paused.disconnect(paused)
    assert told == [("bureau", "insertbill", "QuotaError 45009")]
    assert 'nontax_paused{account="bureau",interface="insertbill"} 1' in _status(
        format="prometheus"
    )
