"""What else goes wrong between relays and a database: cuts, stops, clocks, failovers, crowds."""

import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbservers import Postgres
from django.db import connections
from django.test import override_settings
from djangos import Posts, empty, forget, nontax_of, pass_leases, site, use
from kills import check_books, enqueue
from nursery import Nursery

from nontax.contrib.django.databases import check_database
from nontax.contrib.django.models import Attempt, Bill
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.store import Key
from nontax.sandbox import Sandbox, faults

STEPS = int(os.environ.get("DJANGO_CUTS", "3"))


@pytest.fixture(scope="module")
def started() -> Iterator[Postgres]:
    server = Postgres()
    try:
        use("outbox", server.database)
        yield server
        forget("outbox")
    finally:
        server.remove()


@pytest.fixture
def server(started: Postgres, sandbox: Sandbox) -> Iterator[Postgres]:
    empty("outbox")
    with override_settings(NONTAX=nontax_of(sandbox, "outbox")):
        yield started


def _states() -> dict[str, int]:
    return {str(s): n for s, n in OutboxStore("bureau", using="outbox").counts().items()}


# Connections


class Cutter:
    """Between a relay and PostgreSQL. It cuts once, at the n-th statement from the relay.

    after: the statement reaches the server, and its answer does not reach the relay.
    """

    def __init__(self, server: Postgres, at: int, *, after: bool, only: bytes = b"") -> None:
        self._target = f"{server.folder}/.s.PGSQL.5432"
        self._at, self._after, self._only = at, after, only
        self._count, self.cut = 0, False
        self.folder = Path(f"{server.folder}-cut")
        self.folder.mkdir(exist_ok=True)
        path = self.folder / ".s.PGSQL.5432"
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.socket(socket.AF_UNIX)
            theirs.connect(self._target)
            threading.Thread(target=self._pass_on, args=(ours, theirs), daemon=True).start()

    def _pass_on(self, ours: socket.socket, theirs: socket.socket) -> None:
        with ours, theirs:
            first = True
            while True:
                ready, _, _ = select.select([ours, theirs], [], [])
                for each in ready:
                    try:
                        data = each.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    if each is theirs:
                        ours.sendall(data)
                        continue
                    if not first and self._is_it(data):
                        self.cut = True
                        if self._after:
                            theirs.sendall(data)
                            select.select([theirs], [], [], 5)  # it is done, and nobody is told
                        return
                    first = False
                    theirs.sendall(data)

    def _is_it(self, data: bytes) -> bool:
        if self.cut or self._only not in data:
            return False
        self._count += 1
        return self._count == self._at


def _through(server: Postgres, cutter: Cutter) -> dict[str, Any]:
    return server.database | {"HOST": str(cutter.folder)}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_connection_is_cut_at_each_statement(
    server: Postgres, sandbox: Sandbox, after: bool
) -> None:
    """Nothing goes twice, and nothing is in doubt: the relay goes on with a new connection."""
    posts, orders, cuts = Posts(sandbox), [], 0
    for at in range(1, STEPS * 10, 10 if STEPS < 10 else 1):
        cutter = Cutter(server, at, after=after)
        orders += enqueue(6)
        settings = nontax_of(sandbox, window=8)
        with Nursery(site(_through(server, cutter), settings)) as nursery:
            relay = nursery.begin("send", 8)
            # A relay whose claim was cut waits ten seconds: another one is there for the rest.
            posts_then = time.monotonic() + 15
            while _states().get("inserted", 0) < len(orders) and time.monotonic() < posts_then:
                time.sleep(0.05)
            nursery.end(relay, signal.SIGTERM)
        cutter.close()
        cuts += cutter.cut
        if after:  # a COMMIT that was not answered, of a relay that has ended
            pass_leases("outbox")
            OutboxStore("", using="outbox").expire()
        Relay().run(once=True)
    doubt = check_books("outbox", orders, posts.count(), sandbox)
    print(f"{cuts} cuts, {'after' if after else 'before'} the statement: {doubt} in doubt")
    assert cuts > 0
    assert doubt == 0


def test_the_answer_to_a_commit_is_lost(server: Postgres, sandbox: Sandbox) -> None:
    posts, orders = Posts(sandbox), enqueue(4)
    cutter = Cutter(server, 1, after=True, only=b"COMMIT")
    with Nursery(site(_through(server, cutter), nontax_of(sandbox, window=8))) as nursery:
        relay = nursery.begin("send", 8)
        until = time.monotonic() + 25
        while _states() != {"inserted": 4} and time.monotonic() < until:
            time.sleep(0.05)
        nursery.end(relay, signal.SIGTERM)
    cutter.close()
    assert cutter.cut
    Relay().run(once=True)
    assert check_books("outbox", orders, posts.count(), sandbox) == 0


# Stops


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
        until = time.monotonic() + 20
        while _states() != {"inserted": 2, "sending": 1}:
            assert time.monotonic() < until, _states()
            time.sleep(0.05)
        nursery.end(relay, signal.SIGTERM)
    row.refresh_from_db()
    assert (row.state, row.attempt, signed.number) == ("sending", 2, 2)  # its late answer: nothing
    assert set(posts.count().values()) == {1}
    assert any(each.kind == "late answer" for each in store.evidence(key))


# Clocks


@pytest.mark.parametrize("offset", ["-1d", "+1d"])
def test_a_relay_whose_clock_is_a_day_off(server: Postgres, sandbox: Sandbox, offset: str) -> None:
    library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
    assert Path(library).exists(), "apt install libfaketime"
    posts, orders = Posts(sandbox), enqueue(8)
    env = site(server.database, nontax_of(sandbox, window=8)) | {
        "LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    sandbox.inject(faults.Delay(0.3), times=100, path="/nontax/insertbill")
    with Nursery(env) as nursery:
        relay = nursery.begin("send", 8)
        posts.wait_for_more(2)
        assert OutboxStore("", using="outbox").expire() == []  # its leases are by another clock
        until = time.monotonic() + 20
        while _states() != {"inserted": 8}:
            assert time.monotonic() < until, _states()
            time.sleep(0.05)
        nursery.end(relay, signal.SIGTERM)
    assert check_books("outbox", orders, posts.count(), sandbox) == 0


# Crowds


@pytest.mark.timeout(300)
@pytest.mark.parametrize("relays", [2, 4, 16])
def test_many_relays(server: Postgres, sandbox: Sandbox, relays: int) -> None:
    posts, orders = Posts(sandbox), enqueue(400)
    nurseries = [Nursery(site(server.database, nontax_of(sandbox))) for _ in range(relays)]
    begun = [(each, each.begin("send", 8)) for each in nurseries]
    until = time.monotonic() + 120
    while _states() != {"inserted": 400}:
        assert time.monotonic() < until, _states()
        time.sleep(0.1)
    for nursery, relay in begun:
        nursery.end(relay, signal.SIGTERM)
        nursery.__exit__()
    assert check_books("outbox", orders, posts.count(), sandbox) == 0
    print(relays, "relays,", Attempt.objects.using("outbox").values("worker").distinct().count(),
          "of them had bills")  # fmt: skip


@pytest.mark.timeout(300)
def test_a_minutes_quota_and_four_relays(server: Postgres, sandbox: Sandbox) -> None:
    """They get 60 a minute, and pause together: no more than their windows are refused."""
    sandbox.bureau.minute_quotas["/nontax/insertbill"] = 60
    while time.time() % 60 > 30:
        time.sleep(0.2)
    posts, _ = Posts(sandbox), enqueue(200)
    nurseries = [Nursery(site(server.database, nontax_of(sandbox))) for _ in range(4)]
    begun = [(each, each.begin("send", 8)) for each in nurseries]
    until = time.monotonic() + 25
    while _states().get("inserted", 0) < 60:
        assert time.monotonic() < until, _states()
        time.sleep(0.05)
    time.sleep(2)  # nobody tries on
    refused = posts.count().total() - 60
    for nursery, relay in begun:
        nursery.end(relay, signal.SIGTERM)
        nursery.__exit__()
    print(f"quota of 60 a minute, 4 relays: {refused} calls were refused")
    assert refused <= 4 * 8
    assert _states()["waiting"] == 140


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
def test_the_primary_is_lost_and_its_standby_promoted(sandbox: Sandbox, synchronous: bool) -> None:
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
        print(f"{'synchronous' if synchronous else 'asynchronous'} standby promoted: "
              f"{twice} of {len(orders)} sent twice")  # fmt: skip
        assert known == set(orders)
        assert bool(twice) == (not synchronous)
        forget("standby")
    finally:
        connections["primary"].close()
        forget("primary")
        primary.remove()
        if standby is not None:
            standby.remove()
