"""The outbox in figures, and relays that pause or fall silent."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from django.core.management import CommandError, call_command
from django.test import override_settings
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
    lines = _status(format="prometheus", quota=True).splitlines()
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
    assert figures['nontax_quota_used{account="bureau",interface="insertbill"}'] == 3
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


def test_what_is_left_of_the_quotas(sandbox: Sandbox) -> None:
    sandbox.bureau.quotas.daily["/nontax/insertbill"] = 5000
    outbox.enqueue(bill(), account="bureau", durable=False)
    Sender().run(once=True)
    lines = [json.loads(line) for line in _status(format="jsonl", quota=True).splitlines()]
    left = {(row["account"], row["interface"]): row for row in lines if "interface" in row}
    assert left["bureau", "insertbill"] == {
        "account": "bureau", "interface": "insertbill", "limit": 5000, "used": 1, "remain": 4999,
    }  # fmt: skip
    # No account of these settings says its ROLE: what WeChat does not let it call is left out.
    assert left.keys() == {
        ("bureau", "insertbill"), ("bureau", "setpdf"), ("unit", "getauthdata"),
    }  # fmt: skip
    assert "insertbill: 4,999 of 5,000 calls are left today" in _status(quota=True)
    assert "calls are left" not in _status()


def test_a_quota_that_cannot_be_looked_up(sandbox: Sandbox) -> None:
    """The rest is shown all the same; one line for the account, and what stops all its bills: 5."""
    outbox.enqueue(bill(), account="bureau", durable=False)
    sandbox.inject(faults.Errcode(45009), path="/cgi-bin/openapi/quota/get")
    with pytest.raises(CommandError) as stopped:
        _status(quota=True)
    assert stopped.value.returncode == 5
    (line,) = str(stopped.value).splitlines()
    assert line.startswith("the quota of account bureau, insertbill cannot be looked up: ")
    assert "45009" in line
    said = StringIO()
    sandbox.inject(faults.Errcode(45009), path="/cgi-bin/openapi/quota/get")
    with pytest.raises(CommandError):
        call_command("nontax_status", format="jsonl", quota=True, stdout=said)
    rows = [json.loads(line) for line in said.getvalue().splitlines()]
    assert {row["account"] for row in rows if "interface" in row} == {"unit"}
    assert [row["bills"] for row in rows if "bills" in row] == [1]


@pytest.mark.parametrize("role", ["bureau", "unit"])
def test_an_account_that_may_not_call_what_its_role_says(sandbox: Sandbox, role: str) -> None:
    nontax = nontax_of(sandbox, "outbox")
    del nontax["ACCOUNTS"]["unit"]
    nontax["ACCOUNTS"]["bureau"]["ROLE"] = role
    with override_settings(NONTAX=nontax):
        if role == "bureau":
            assert _status(quota=True).count("calls are left") == 2
        else:
            with pytest.raises(CommandError, match=r"bureau, getauthdata .*76022"):
                _status(quota=True)


def test_accounts_of_a_function_are_those_that_have_sent(sandbox: Sandbox) -> None:
    outbox.enqueue(bill(), account="bureau", durable=False)
    Sender().run(once=True)
    nontax = nontax_of(sandbox, "outbox")
    given = nontax["ACCOUNTS"]
    with override_settings(NONTAX={**nontax, "ACCOUNTS": given.__getitem__}):
        assert _status(quota=True).count("calls are left") == 2
    with override_settings(NONTAX={**nontax, "ACCOUNTS": lambda _: None}):
        with pytest.raises(CommandError, match=r"account bureau cannot be looked up: .*no account"):
            _status(quota=True)
