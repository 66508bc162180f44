"""Tables that change under the rows and relays of a site, forth and back, on each database."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from dbservers import MariaDB, Postgres
from django.db import OperationalError, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings
from djangos import (
    DjangoHarness,
    Posts,
    count_posts,
    emptied,
    forget,
    manage,
    nontax_of,
    pass_leases,
    site,
    sqlite,
    states,
    use,
    wait_for_states,
)
from everystate import put_one_in_each_state
from figures import Figure, Record, tell
from kills import check_books, enqueue, wait_for_claims
from later import Later
from nursery import Nursery

from nontax.contrib.django import outbox
from nontax.contrib.django.models import Attempt, Bill, Content, Evidence, Hold, Pace
from nontax.contrib.django.relay import Relay
from nontax.delivery.store import Key
from nontax.sandbox import Sandbox, faults

KILLS = int(os.environ.get("DJANGO_KILLS", "2"))
_KEPT = (Bill, Content, Hold, Attempt, Evidence, Pace)


@pytest.fixture(scope="module", params=["SQLite", Postgres, MariaDB])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    server = None if request.param == "SQLite" else request.param()
    place = Path(tmp_path_factory.mktemp("upgrade")) / "outbox.db"
    try:
        settings = sqlite(place) if server is None else server.database
        use("outbox", settings)
        yield settings
        forget("outbox")
    finally:
        if server is not None:
            server.remove()


@pytest.fixture
def rows(database: dict[str, Any], sandbox: Sandbox) -> Iterator[dict[str, Any]]:
    with emptied(sandbox):
        yield database


class Upgrade:
    """A migration that is applied, or taken back, between two statements of the test."""

    def __init__(self) -> None:
        self._migration = Later("0002_later", "nontax")
        loader = MigrationLoader(connections["outbox"])
        (last,) = loader.graph.leaf_nodes("nontax")
        self._before = loader.project_state(last)

    def _run(self, do: "Callable[[Any, Any], object]") -> None:
        for left in reversed(range(10)):
            try:
                with connections["outbox"].schema_editor(atomic=True) as editor:
                    do(self._before.clone(), editor)
            except OperationalError:
                # It locks tables in another order than a relay, and may be the one that is
                # undone: it is run again.
                if not left or connections["outbox"].vendor != "postgresql":
                    raise
            else:
                return

    def forth(self) -> None:
        self._run(self._migration.apply)

    def back(self) -> None:
        self._run(self._migration.unapply)


def _columns(table: str) -> set[str]:
    with connections["outbox"].cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} WHERE 1 = 0")
        return {each[0] for each in cursor.description}


def _all_rows() -> dict[str, list[tuple[Any, ...]]]:
    return {
        model.__name__: list(model.objects.using("outbox").order_by("pk").values_list())
        for model in _KEPT
    }


def test_rows_in_every_state_go_forth_and_back(rows: dict[str, Any], sandbox: Sandbox) -> None:
    put_one_in_each_state()
    kept, upgrade = _all_rows(), Upgrade()
    for _ in range(2):
        upgrade.forth()
        assert "later" in _columns("nontax_bill")
        assert _all_rows() == kept
        upgrade.back()
        assert "later" not in _columns("nontax_bill")
        assert _all_rows() == kept
    # The keys and checks came back, too.
    harness = DjangoHarness("outbox")
    for row in Bill.objects.using("outbox").filter(state__in=("sending", "inserted", "in_doubt")):
        for slot, signed in ((0, 0), (1, 0)):
            with pytest.raises(harness.refused), transaction.atomic(using="outbox"):
                harness.put_attempt(Key(row.appid, row.order_id), slot, signed)
    with pytest.raises(harness.refused), transaction.atomic(using="outbox"):
        Bill.objects.using("outbox").filter(state="waiting").update(state="sending")
    pass_leases("outbox")
    assert Relay().run(once=True) == []
    states = dict(Bill.objects.using("outbox").values_list("order_id", "state"))
    assert states["of-waiting"] == "inserted"
    assert states["of-sending"] == "in_doubt"
    assert count_posts(sandbox) == {"of-waiting": 1}


@pytest.mark.timeout(180)
def test_relays_that_do_not_know_a_later_column(rows: dict[str, Any], sandbox: Sandbox) -> None:
    """This version's relays and enqueue() are at work when a later one's tables come, and go."""
    if connections["outbox"].vendor == "sqlite":
        pytest.skip("SQLite rewrites its tables, and no one else writes meanwhile")
    env = site(rows, nontax_of(sandbox))
    relays = [manage(env, "nontax_send", "--window", "8") for _ in range(2)]
    upgrade = Upgrade()
    orders: list[str] = []
    steps = (upgrade.forth, upgrade.back, upgrade.forth)
    try:
        for step in (None, *steps):
            if step is not None:
                step()
            given = [bill() for _ in range(30)]
            outbox.enqueue_many(given[:20], account="bureau", durable=False)
            for one in given[20:]:
                outbox.enqueue(one, account="bureau", durable=False)
            orders += [one["order_id"] for one in given]
        wait_for_states({"inserted": len(orders)})
        upgrade.back()
    finally:
        for relay in relays:
            relay.terminate()
        told = [relay.communicate(timeout=60) for relay in relays]
    assert [relay.returncode for relay in relays] == [0, 0], told
    assert count_posts(sandbox) == dict.fromkeys(orders, 1)


@pytest.mark.timeout(600)
def test_relays_of_two_versions_at_once(
    rows: dict[str, Any], sandbox: Sandbox, record_property: Record
) -> None:
    """On the later one's tables. One is killed, now of this version and now of that one, with
    bills in flight, and the other settles what it has left.
    """
    sandbox.inject(faults.Delay(0.1), times=1_000_000, path="/nontax/insertbill")
    upgrade, window = Upgrade(), 8
    posts, orders = Posts(sandbox), []
    upgrade.forth()
    try:
        nontax = nontax_of(sandbox, "outbox", window=window)
        with (
            override_settings(NONTAX=nontax),
            Nursery(site(rows, nontax_of(sandbox, window=window))) as nursery,
        ):
            for at in range(KILLS):
                versions = ("send", "send-later")
                orders += enqueue(6 * window)
                killed = nursery.begin(versions[at % 2], window)
                other = nursery.begin(versions[not at % 2], window)
                _wait_until(partial(_are_at_work, killed, other))
                nursery.end(killed, signal.SIGKILL)
                wait_for_claims("outbox")
                left = _open_of(killed)
                assert 0 < len(left) <= window
                pass_leases("outbox", claim__in=left.values())
                _wait_until(lambda: set(states()) <= {"inserted", "in_doubt"})
                nursery.end(other, signal.SIGTERM)
                gave_up = Evidence.objects.using("outbox").filter(bill__in=left)
                assert {each.detail.rpartition(":")[2] for each in gave_up} == {str(other)}
        doubt = check_books("outbox", orders, posts.count(), sandbox)
        by_version = _later_of_attempts()
    finally:
        upgrade.back()
    assert doubt > 0
    assert by_version.keys() == {0, 1}
    assert by_version.total() == len(orders)
    what = "relays of two versions at once, one of them killed"
    tell(record_property, Figure(what, KILLS, len(orders), KILLS, in_doubt=doubt))


def _attempts_of(relay: int) -> Any:
    return Attempt.objects.using("outbox").filter(worker__endswith=f":{relay}")


def _open_of(relay: int) -> dict[int, str]:
    """Bills that a relay has written down as being sent, with their claims."""
    mine = _attempts_of(relay).filter(bill__state="sending")
    return dict(mine.values_list("bill", "claim"))


def _are_at_work(killed: int, other: int) -> bool:
    return bool(_open_of(killed)) and bool(_attempts_of(other).exists())


def _later_of_attempts() -> "Counter[int]":
    with connections["outbox"].cursor() as cursor:
        cursor.execute("SELECT later FROM nontax_attempt")
        return Counter(later for (later,) in cursor.fetchall())


def _wait_until(done: "Callable[[], object]") -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until, states()
        time.sleep(0.01)
