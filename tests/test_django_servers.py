"""Django's outbox on real PostgreSQL and MariaDB: the contract, kills, and crashes of the server.

`make test-all` runs it with more kills: DJANGO_KILLS, DJANGO_CRASHES.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from bills import bill
from dbservers import MariaDB, Postgres
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone
from djangos import (
    DjangoHarness,
    Posts,
    count_posts,
    empty,
    nontax_of,
    outbox_on,
    pass_leases,
    site,
)
from figures import Figure, Record, tell
from kills import enqueue, kill_relays
from nursery import Nursery

from nontax.contrib.django import outbox
from nontax.contrib.django.events import authorised, take_event
from nontax.contrib.django.models import Bill
from nontax.contrib.django.pruning import prune
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.contract import Harness, StoreContract, content
from nontax.delivery.states import Answer
from nontax.events import AuthorizationEvent
from nontax.sandbox import Sandbox, faults

KILLS = int(os.environ.get("DJANGO_KILLS", "6"))
CRASHES = int(os.environ.get("DJANGO_CRASHES", "3"))


@pytest.fixture(scope="module", params=[Postgres, MariaDB])
def started(request: pytest.FixtureRequest) -> Iterator[Postgres | MariaDB]:
    with outbox_on(request.param()) as server:
        yield server


@pytest.fixture
def server(started: Postgres | MariaDB) -> Postgres | MariaDB:
    empty("outbox")
    return started


class TestServers(StoreContract):
    @pytest.fixture
    def harness(self, server: Postgres | MariaDB) -> Harness:
        return DjangoHarness("outbox")


def test_case_counts_in_an_order(server: Postgres | MariaDB, sandbox: Sandbox) -> None:
    with override_settings(NONTAX=nontax_of(sandbox, "outbox")):
        upper = outbox.enqueue(bill("CASE"), account="bureau", durable=False)
        lower = outbox.enqueue(bill("case"), account="bureau", durable=False)
        assert upper.pk != lower.pk
        Relay().run(once=True)
    assert count_posts(sandbox) == {"CASE": 1, "case": 1}


def test_leases_are_by_the_databases_clock(server: Postgres | MariaDB) -> None:
    """Now, by whatever clock: this machine is the server's, too."""
    store = OutboxStore("bureau", using="outbox", lease=90)
    store.hand_in([content()])
    store.reserve(1)
    (until,) = Bill.objects.using("outbox").values_list("lease_until", flat=True)
    assert 60_000 < until - time.time() * 1000 < 120_000
    assert store.expire() == []
    Bill.objects.using("outbox").update(lease_until=int(time.time() * 1000) - 1000)
    assert len(store.expire()) == 1


def test_an_event_comes_before_the_held_bill_is_committed(
    server: Postgres | MariaDB, sandbox: Sandbox
) -> None:
    """It sees no row, and the row's transaction has seen no event."""
    pushed = AuthorizationEvent(
        order_id="HELD", succeeded=True, from_user="o1", to_user="gh_1", create_time=1
    )

    def take() -> None:
        assert take_event("outbox", "unit", pushed)
        connections["outbox"].close()

    with override_settings(NONTAX=nontax_of(sandbox, "outbox")):
        with transaction.atomic(using="outbox"):
            row = outbox.enqueue(bill("HELD"), account="bureau", when="authorised")
            thread = threading.Thread(target=take)
            thread.start()
            thread.join()
            assert row.state == "held"
    row.refresh_from_db()
    assert row.state == "waiting"


@pytest.mark.parametrize("way", ["enqueue", "authorised"])
def test_a_bill_is_pruned_while_it_is_handed_in_again(
    server: Postgres | MariaDB, sandbox: Sandbox, way: str
) -> None:
    """Whoever is second waits for the first: no bill waits without its content."""
    given = bill()

    def hand_in() -> None:
        if way == "enqueue":
            outbox.enqueue(given, account="bureau", again=True)
        else:
            authorised("outbox", given["order_id"])

    with override_settings(NONTAX=nontax_of(sandbox, "outbox")):
        outbox.enqueue(given, account="bureau", durable=False)
        store = OutboxStore("bureau", using="outbox")
        (claim,) = store.reserve(1).claims
        store.settle([(claim, Answer("rejected", 72038))])
        long_ago = timezone.now() - timedelta(days=100)
        Bill.objects.using("outbox").update(created_at=long_ago, changed_at=long_ago)

        def forget() -> None:
            found.append(sum(prune("outbox", 30)))
            connections["outbox"].close()

        found: list[int] = []
        thread = threading.Thread(target=forget)
        with transaction.atomic(using="outbox"):
            hand_in()
            thread.start()
            thread.join(0.5)
            assert found == []  # it waits for the bill
        thread.join()
        assert found == [0]
        Relay().run(once=True)
    assert count_posts(sandbox) == {given["order_id"]: 1}


@pytest.mark.timeout(3600)
def test_kill_9_of_relays(
    server: Postgres | MariaDB, sandbox: Sandbox, record_property: Record
) -> None:
    name = f"relay on {type(server).__name__}"
    tell(record_property, kill_relays("outbox", server.database, sandbox, name, kills=KILLS))


def _crash(server: Postgres, sandbox: Sandbox, name: str, what: str, crashes: int) -> Figure:
    """The server and the relay lose their power together; what became of it."""
    sandbox.inject(faults.Delay(0.1), times=1_000_000, path="/nontax/insertbill")
    posts, orders, in_flight = Posts(sandbox), [], 0
    with (
        override_settings(NONTAX=nontax_of(sandbox, "outbox")),
        Nursery(site(server.database, nontax_of(sandbox))) as nursery,
    ):
        for _ in range(crashes):
            orders += enqueue(16)
            with server.connect() as connection:
                connection.execute("CHECKPOINT")
            connections["outbox"].close()
            relay = nursery.begin(what, 8)
            try:
                posts.wait_for_more(4)
                server.crash()
            finally:
                nursery.end(relay, signal.SIGKILL)
            pass_leases("outbox")
            in_flight += bool(OutboxStore("", using="outbox").expire())
        sandbox.behave()
        Relay().run(once=True)
    known = dict(Bill.objects.using("outbox").values_list("order_id", "state"))
    assert known.keys() == set(orders)
    twice = sum(count > 1 for count in posts.count().values())
    # A bill that was forgotten and sent again is a duplicate to WeChat.
    assert twice or {known[order] for order in posts.count()} <= {"inserted", "in_doubt"}
    doubt = Counter(known.values())["in_doubt"]
    return Figure(name, crashes, len(orders), in_flight, twice, None if twice else 0, doubt)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("forces", [True, False])
def test_a_server_that_may_forget_commits_crashes(
    server: Postgres | MariaDB, sandbox: Sandbox, forces: bool, record_property: Record
) -> None:
    """synchronous_commit=off for the role. Without the line that forces commits bills go twice."""
    if not isinstance(server, Postgres):
        pytest.skip("only PostgreSQL has such a role")
    name = "relay and PostgreSQL lose their power, synchronous_commit=off"
    name += "" if forces else ", **without the line that forces commits**"
    with server.connect() as connection:
        connection.execute("ALTER ROLE nontax SET synchronous_commit = off")
    try:
        what, crashes = ("send", CRASHES) if forces else ("send-and-forget", min(CRASHES, 20))
        told = _crash(server, sandbox, name, what, crashes)
    finally:
        with server.connect() as connection:
            connection.execute("ALTER ROLE nontax RESET synchronous_commit")
    tell(record_property, told)
    assert (told.twice == 0) == forces
