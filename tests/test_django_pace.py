"""Quotas that all relays of an account share, and units in turn."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from django.core.management import call_command
from django.db import connections
from djangos import count_posts, manage, nontax_of, outbox_in, site, sqlite, states

from nontax.contrib.django import outbox, pace
from nontax.contrib.django.models import Bill, Pace, Unit
from nontax.contrib.django.models import Relay as RelayRow
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.sandbox import Sandbox, faults


@pytest.fixture
def rows(tmp_path: Path, sandbox: Sandbox) -> Iterator[None]:
    with outbox_in(tmp_path, nontax_of(sandbox, "outbox")):
        yield


def _enqueue(count: int, appid: str = "wx1", **more: Any) -> None:
    given = [bill(appid=appid) for _ in range(count)]
    outbox.enqueue_many(given, account="bureau", durable=False, **more)


def _store(**more: Any) -> OutboxStore:
    return OutboxStore("bureau", using="outbox", **more)


def _taken(store: OutboxStore, most: int = 64) -> "Counter[str]":
    return Counter(claim.key.appid for claim in store.reserve(most).claims)


def _early_in_a_minute() -> None:
    """What is counted in a minute is asked for in the same one."""
    while time.time() % 60 > 57:
        time.sleep(0.2)


def _next_minute() -> None:
    Pace.objects.using("outbox").update(minute=1)
    Unit.objects.using("outbox").update(minute=1)


def test_all_relays_together_keep_the_rate(rows: None) -> None:
    _enqueue(30)
    _early_in_a_minute()
    one, other = _store(rate=0.2), _store(rate=0.2)  # 12 a minute
    assert _taken(one, 7).total() == 7
    assert _taken(other).total() == 5
    for store in (one, other, _store(rate=0.2)):
        window = store.reserve(64)
        assert window.claims == []
        assert 0 < window.pause <= 60
    _next_minute()
    assert _taken(other).total() == 12
    (row,) = Pace.objects.using("outbox").all()
    assert (row.account, row.interface, row.used, row.day_used) == ("bureau", "insertbill", 12, 24)


def test_a_minutes_quota_pauses_all_of_them(rows: None) -> None:
    _enqueue(3)
    assert 0 < pace.pause("outbox", "bureau", pace.INSERT, 45011, "quota") <= 62
    window = _store().reserve(3)
    assert window.claims == []
    assert 0 < window.pause <= 62
    Pace.objects.using("outbox").update(paused_until=1)
    assert _taken(_store()).total() == 3


def test_a_days_quota_pauses_until_a_probe_goes_through(
    rows: None, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.inject(faults.Errcode(45009), times=99, path="/nontax/insertbill")
    _enqueue(20)
    assert Relay(window=4).run(once=True) == ["bureau"]
    assert "45009" in caplog.text
    assert states() == {"waiting": 20}
    (row,) = Pace.objects.using("outbox").all()
    assert (row.paused_until / 1000 + 8 * 3600) % 86400 == 0  # midnight in Beijing
    posts = sum(count_posts(sandbox).values())
    assert Relay().run(once=True) == ["bureau"]
    assert sum(count_posts(sandbox).values()) == posts
    # The probe fails, too: one bill.
    Pace.objects.using("outbox").update(probe_at=1)
    assert Relay().run(once=True) == ["bureau"]
    assert sum(count_posts(sandbox).values()) == posts + 1
    sandbox.behave()
    Pace.objects.using("outbox").update(probe_at=1)
    assert Relay().run(once=True) == []
    assert states() == {"inserted": 20}
    assert Pace.objects.using("outbox").get().paused_until == 0


def test_what_a_person_has_mended_goes_on(rows: None, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(48001), path="/nontax/insertbill")
    _enqueue(2)
    assert Relay(window=1).run(once=True) == ["bureau"]
    assert Pace.objects.using("outbox").get().why == "AccountError 48001"
    call_command("nontax_send", "--resume", "--once", account=["bureau"])
    assert states() == {"inserted": 2}


def test_a_clock_that_was_set_back_ends_no_account(rows: None) -> None:
    """The database's clock was a day ahead when the account was paused."""
    _enqueue(1)
    pace.pause("outbox", "bureau", pace.INSERT, 45011, "quota")
    (row,) = Pace.objects.using("outbox").all()
    Pace.objects.using("outbox").update(paused_until=row.paused_until + 86_400_000)
    assert _taken(_store()).total() == 1


def test_a_quota_of_uploads_does_not_hold_bills_without_one(
    rows: None, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 one")
    outbox.enqueue(bill(), account="bureau", durable=False, pdf=tmp_path / "a.pdf")
    _enqueue(2)
    sandbox.inject(faults.Errcode(45009), times=1, path="/card/invoice/platform/setpdf")
    assert Relay().run(once=True) == ["bureau"]
    assert Relay().run(once=True) == []
    assert states() == {"inserted": 2, "waiting": 1}
    Pace.objects.using("outbox").update(probe_at=1)
    assert Relay().run(once=True) == []
    assert states() == {"inserted": 3}
    assert set(Pace.objects.using("outbox").values_list("paused_until", flat=True)) == {0}


# Units


def test_units_take_turns(rows: None) -> None:
    _enqueue(300, "wxA")
    for appid in ("wxB", "wxC", "wxD", "wxE"):
        _enqueue(5, appid)
    store = _store()
    taken = [_taken(store, 16) for _ in range(4)]
    assert sum(taken, Counter()).total() == 64
    assert {"wxB", "wxC", "wxD", "wxE"} <= sum(taken[:2], Counter()).keys()
    assert sum(taken, Counter()) == {"wxA": 44, "wxB": 5, "wxC": 5, "wxD": 5, "wxE": 5}
    assert set(Unit.objects.using("outbox").values_list("appid", flat=True)) == {
        "wxA", "wxB", "wxC", "wxD", "wxE",
    }  # fmt: skip


def test_two_big_units_get_the_same(rows: None) -> None:
    _enqueue(100, "wxA")
    _enqueue(100, "wxB")
    assert _taken(_store(), 64) == {"wxA": 32, "wxB": 32}


def test_a_priority_comes_before_a_turn(rows: None) -> None:
    _enqueue(100, "wxA")
    _enqueue(100, "wxB")
    _enqueue(3, "wxC", priority=9)
    claims = _store().reserve(16).claims
    assert [claim.key.appid for claim in claims[:4]] == ["wxC", "wxC", "wxC", "wxA"]
    assert len(claims) == 16


def test_a_units_own_rate(rows: None) -> None:
    _enqueue(100, "wxA")
    _enqueue(10, "wxB")
    _early_in_a_minute()
    Unit.objects.using("outbox").create(appid="wxA", rate=0.1)  # 6 a minute
    store = _store(unit_rate=0.05)  # 3 a minute
    taken: Counter[str] = Counter()
    for _ in range(3):
        taken += _taken(store, 16)
    assert taken == {"wxA": 6, "wxB": 3}
    window = store.reserve(16)
    assert window.claims == []
    assert 0 < window.pause <= 60
    _next_minute()
    assert _taken(store, 16) == {"wxA": 6, "wxB": 3}


# Relays


def test_a_relay_hears_sigterm_while_it_is_paused(
    rows: None, tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(45011), times=9, path="/nontax/insertbill")
    _enqueue(30)
    env = site(sqlite(tmp_path / "outbox.db"), nontax_of(sandbox))
    relay = manage(env, "nontax_send", "--window", "8")
    paused = Pace.objects.using("outbox").filter(paused_until__gt=0)
    while not paused.exists():
        time.sleep(0.05)
    # Of a minute, also if the last bill was only held back because of it.
    assert paused.get().probe_at == 0
    assert paused.get().paused_until / 1000 < time.time() + 65
    rows_of = RelayRow.objects.using("outbox")
    assert rows_of.get().version
    relay.send_signal(signal.SIGTERM)
    _, err = relay.communicate(timeout=20)
    assert relay.returncode == 0, err
    assert states() == {"waiting": 30}
    assert rows_of.count() == 0


def test_leases_and_media_are_by_the_databases_clock(rows: None, tmp_path: Path) -> None:
    """A relay whose clock is a day ahead, or behind, takes the same bills."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 one")
    row = outbox.enqueue(bill(), account="bureau", durable=False, pdf=tmp_path / "a.pdf")
    store = _store()
    (due,) = store.pdfs_due(9)
    store.keep_pdf(due.key, "media")
    with connections["outbox"].cursor() as cursor:
        cursor.execute("SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)")
        (now,) = cursor.fetchone()
    until = Bill.objects.using("outbox").get(pk=row.pk).media_due
    assert abs(until - now - 60 * 3_600_000) < 60_000
