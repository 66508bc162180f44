"""What else goes wrong between relays and a database: stops, failovers.

DJANGO_CUTS: at every which statement a relay is stopped; `make crash-backend` takes each.
"""

import itertools
import os
import queue
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbproxy import Proxy
from dbservers import Postgres
from django.db import OperationalError, connections
from django.test import override_settings
from djangos import (
    Posts,
    emptied,
    empty,
    forget,
    nontax_of,
    outbox_on,
    pass_leases,
    site,
    states,
    use,
    wait_for_states,
)
from figures import Figure, Record, tell
from kills import enqueue
from nursery import Nursery

from nontax.contrib.django.databases import check_database
from nontax.contrib.django.models import Bill
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.store import Key
from nontax.sandbox import Sandbox, faults

EVERY = int(os.environ.get("DJANGO_CUTS", "9"))


@pytest.fixture(scope="module")
def started() -> Iterator[Postgres]:
    with outbox_on(Postgres()) as server:
        yield server


@pytest.fixture
def server(started: Postgres, sandbox: Sandbox) -> Iterator[Postgres]:
    with emptied(sandbox):
        yield started


# Stops


@pytest.mark.timeout(3600)
def test_a_relay_is_stopped_at_each_statement_past_its_lease(
    server: Postgres, sandbox: Sandbox, tmp_path: Path, record_property: Record
) -> None:
    """The statement is carried out, and the relay goes on when its bills are another's.

    Meanwhile what it had is in doubt, and an operator has one bill resent. Nobody sends that one
    here: it has come once at most. The others have come once, and the outbox knows it.
    """
    asleep = tmp_path / "asleep"
    posts, stops, doubtful, signed = Posts(sandbox), 0, 0, 0
    with (
        Proxy(server.database) as proxy,
        Nursery(site(proxy.database, nontax_of(sandbox, window=8))) as nursery,
    ):
        for at in itertools.count(1, EVERY):
            empty("outbox")
            asleep.write_text("0")
            orders, relays = enqueue(3), queue.SimpleQueue[int]()
            is_stopped = threading.Event()

            def stop(relays: Any = relays, is_stopped: threading.Event = is_stopped) -> None:
                os.kill(relays.get(), signal.SIGSTOP)
                is_stopped.set()

            proxy.arm(at, stop)
            relay = nursery.begin("send-and-sleep", 8, asleep)
            relays.put(relay)
            while not is_stopped.wait(0.01) and states() != {"inserted": 3}:
                pass
            resent = ""
            if is_stopped.is_set():
                stops += 1
                asleep.write_text("3600")
                expired = _expire_unless_locked()
                if expired:
                    resent = expired[0].order_id
                    OutboxStore("bureau", using="outbox").resend(expired[0], by="王")
                    doubtful += len(expired)
                    signed += 1
                os.kill(relay, signal.SIGCONT)
            rest = Bill.objects.using("outbox").exclude(order_id=resent).exclude(state="inserted")
            until = time.monotonic() + 60
            while rest.exists():
                assert time.monotonic() < until, (proxy.hit, states())
                time.sleep(0.01)
            nursery.end(relay, signal.SIGTERM)
            counts = posts.count()
            assert counts[resent] <= 1, proxy.hit
            assert {counts[order] for order in orders if order != resent} == {1}, proxy.hit
            if not is_stopped.is_set():
                break
    assert doubtful > signed > 0
    what = "relay stopped at a statement until its lease is over"
    tell(record_property, Figure(what, stops, 3 * stops))
    what += ", an operator resends one of its bills meanwhile (of these)"
    tell(record_property, Figure(what, signed, doubtful, in_doubt=None))


def _expire_unless_locked() -> list[Key]:
    """Leases are over, if the relay was not stopped within a transaction that has its bills."""
    with connections["outbox"].cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    try:
        pass_leases("outbox")
        return OutboxStore("", using="outbox").expire()
    except OperationalError:
        return []
    finally:
        connections["outbox"].close()


def test_a_relay_that_was_stopped_past_its_lease(server: Postgres, sandbox: Sandbox) -> None:
    """Its bills are in doubt, an operator has one resent, and then it goes on."""
    sandbox.inject(faults.Delay(1.0), times=3, path="/nontax/insertbill")
    posts, orders = Posts(sandbox), enqueue(3)
    with Nursery(site(server.database, nontax_of(sandbox, window=12))) as nursery:
        relay = nursery.begin("send", 12)
        posts.wait_for_more(3)
        os.kill(relay, signal.SIGSTOP)
        pass_leases("outbox")
        assert len(OutboxStore("", using="outbox").expire()) == 3
        row = Bill.objects.using("outbox").get(order_id=orders[0])
        store = OutboxStore("bureau", using="outbox")
        key = Key(row.appid, row.order_id)
        signed = store.resend(key, by="王", checked_by="李")
        os.kill(relay, signal.SIGCONT)
        wait_for_states({"inserted": 2, "sending": 1}, 20)
        nursery.end(relay, signal.SIGTERM)
    row.refresh_from_db()
    assert (row.state, row.attempt, signed.number) == ("sending", 2, 2)  # its late answer: nothing
    assert set(posts.count().values()) == {1}
    assert any(each.kind == "late answer" for each in store.evidence(key))


# Failovers


class Standby(Postgres):
    """A copy of a server, by pg_basebackup, that can be promoted."""

    def __init__(self, primary: Postgres) -> None:
        self._primary = primary
        super().__init__()

    def _make(self) -> None:
        program = str(Path(self._program).with_name("pg_basebackup"))
        self.call(program, "-h", str(self._primary.folder), "-U", "nontax", "-D", "data", "-R",
                  "-X", "stream", "-c", "fast")  # fmt: skip
        conf = self.folder / "data" / "postgresql.auto.conf"
        text = conf.read_text()
        conf.write_text(re.sub(r"(primary_conninfo = ')", r"\1application_name=other ", text))

    def stop_receiving(self) -> None:
        """As if the network between the two were away."""
        with self.connect() as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
            while connection.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() != (
                0,
            ):
                time.sleep(0.05)

    def promote(self) -> None:
        self.call(str(Path(self._program).with_name("pg_ctl")), "promote", "-D", "data", "-w")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("synchronous", [True, False], ids=["synchronous", "asynchronous"])
def test_the_primary_is_lost_and_its_standby_promoted(
    sandbox: Sandbox, synchronous: bool, record_property: Record
) -> None:
    primary = Postgres()
    standby = None
    use("primary", primary.database)
    try:
        standby = Standby(primary)
        if synchronous:
            with primary.connect() as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'other'")
                connection.execute("SELECT pg_reload_conf()")
                while connection.execute(
                    "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
                ).fetchone() != (1,):
                    time.sleep(0.05)
        with override_settings(NONTAX=nontax_of(sandbox, "primary")):
            found = {each.id for each in check_database(databases=["primary"])}
            assert ("nontax.W006" in found) == (not synchronous)
            posts, orders = Posts(sandbox), enqueue(8)
        if not synchronous:
            standby.stop_receiving()
        sandbox.inject(faults.Delay(0.3), times=100, path="/nontax/insertbill")
        with Nursery(site(primary.database, nontax_of(sandbox, window=8))) as nursery:
            relay = nursery.begin("send", 8)
            posts.wait_for_more(2)
            primary.lose()
            nursery.end(relay, signal.SIGKILL)
        standby.promote()
        use("standby", standby.database)
        sandbox.behave()
        with override_settings(NONTAX=nontax_of(sandbox, "standby")):
            pass_leases("standby")
            OutboxStore("", using="standby").expire()
            Relay().run(once=True)
        twice = sum(count > 1 for count in posts.count().values())
        known = set(Bill.objects.using("standby").values_list("order_id", flat=True))
        assert known == set(orders)
        assert bool(twice) == (not synchronous)
        what = f"{'a ' if synchronous else 'an a'}synchronous standby is promoted"
        tell(record_property, Figure(what, 1, len(orders), None, twice, None, None))
        forget("standby")
    finally:
        connections["primary"].close()
        forget("primary")
        primary.remove()
        if standby is not None:
            standby.remove()
