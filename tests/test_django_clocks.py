"""Clocks that are wrong: a relay's, and the database's, by which leases are measured."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbservers import Postgres
from djangos import Posts, emptied, nontax_of, outbox_on, site, states, wait_for_states
from figures import Figure, Record, tell
from kills import check_books, enqueue, wait_for_claims
from nursery import Nursery

from nontax.contrib.django.models import Evidence
from nontax.contrib.django.store import OutboxStore
from nontax.sandbox import Sandbox, faults


def _clock() -> dict[str, str]:
    """The environment of a process whose clock is not the machine's."""
    library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
    assert Path(library).exists(), "apt install libfaketime"
    return {"LD_PRELOAD": library, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class Clocked(Postgres):
    """Its clock can be set while it is at work."""

    def step(self, offset: str) -> None:
        """From the machine's clock, as libfaketime says it."""
        new = self.folder / "new-clock"
        new.write_text(offset)
        new.rename(self.folder / "clock")

    def _begin(self, *command: str, more: "dict[str, str] | None" = None) -> None:
        self.step("+0d")
        clock = _clock() | {
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"), "FAKETIME_NO_CACHE": "1",
        }  # fmt: skip
        # By env: what changes the user first would leave a semaphore that the server may not use.
        super()._begin("env", *(f"{name}={value}" for name, value in clock.items()), *command,
                       more=more)  # fmt: skip

    def is_off_by(self) -> float:
        """Days."""
        with self.connect() as connection:
            (now,) = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
        return round((float(now) - time.time()) / 86_400, 2)


@pytest.fixture(scope="module")
def started() -> Iterator[Clocked]:
    with outbox_on(Clocked()) as server:
        yield server


@pytest.fixture
def server(started: Clocked, sandbox: Sandbox) -> Iterator[Clocked]:
    with emptied(sandbox):
        sandbox.inject(faults.Delay(0.5), times=100, path="/nontax/insertbill")
        yield started
        started.step("+0d")


@pytest.mark.parametrize("offset", ["-1d", "+1d"])
def test_a_relay_whose_clock_is_a_day_off(
    server: Clocked, sandbox: Sandbox, offset: str, record_property: Record
) -> None:
    posts, orders = Posts(sandbox), enqueue(8)
    env = site(server.database, nontax_of(sandbox, window=8)) | {
        **_clock(), "FAKETIME": offset,
    }  # fmt: skip
    with Nursery(env) as nursery:
        relay = nursery.begin("send", 8)
        posts.wait_for_more(2)
        assert OutboxStore("", using="outbox").expire() == []  # its leases are by another clock
        wait_for_states({"inserted": 8}, 20)
        nursery.end(relay, signal.SIGTERM)
    assert check_books("outbox", orders, posts.count(), sandbox) == 0
    tell(record_property, Figure("relay whose clock is a day off", 1, len(orders)))


def _expire_some() -> list[str]:
    return [key.order_id for key in OutboxStore("", using="outbox").expire()]


@pytest.mark.timeout(180)
def test_the_databases_clock_steps_a_day_forwards(
    server: Clocked, sandbox: Sandbox, record_property: Record
) -> None:
    """What is on the wire is in doubt, and does not wait again. Its answers heal it."""
    sandbox.behave()
    sandbox.inject(faults.Delay(3), times=4, path="/nontax/insertbill")
    posts, orders = Posts(sandbox), enqueue(12)
    with Nursery(site(server.database, nontax_of(sandbox, window=8))) as nursery:
        relay = _begin(nursery, posts)
        assert _expire_some() == []
        server.step("+1d")
        assert server.is_off_by() == 1
        wait_for_states({"inserted": 12})
        nursery.end(relay, signal.SIGTERM)
    gave_up = Evidence.objects.using("outbox").filter(kind="lease ended").count()
    assert gave_up >= 4
    assert posts.count() == dict.fromkeys(orders, 1)
    what = "the database's clock steps a day forwards while bills are on the wire"
    tell(record_property, Figure(what, 1, len(orders), 1))


@pytest.mark.timeout(180)
def test_it_steps_forwards_and_the_relay_is_dead(
    server: Clocked, sandbox: Sandbox, record_property: Record
) -> None:
    """What it has left is in doubt a little early."""
    posts, orders = Posts(sandbox), enqueue(12)
    with Nursery(site(server.database, nontax_of(sandbox, window=8))) as nursery:
        left = _leave_some(nursery, posts)
        server.step("+1d")
        assert len(_expire_some()) == left
        relay = nursery.begin("send", 8)
        wait_for_states({"inserted": 12 - left, "in_doubt": left})
        nursery.end(relay, signal.SIGTERM)
    assert check_books("outbox", orders, posts.count(), sandbox) == left
    what = "the database's clock steps a day forwards, and a relay had died"
    tell(record_property, Figure(what, 1, len(orders), 1, in_doubt=left))


def _begin(nursery: Nursery, posts: Posts) -> int:
    relay = nursery.begin("send", 8)
    posts.wait_for_more(4)
    return relay


def _leave_some(nursery: Nursery, posts: Posts) -> int:
    """How many bills are "sending", and their relay is dead."""
    nursery.end(_begin(nursery, posts), signal.SIGKILL)
    wait_for_claims("outbox")
    left = states()["sending"]
    assert left >= 4
    return left


@pytest.mark.timeout(180)
def test_the_databases_clock_steps_a_day_backwards(
    server: Clocked, sandbox: Sandbox, record_property: Record
) -> None:
    """What a dead relay has left belongs to it a day longer, and nothing goes twice."""
    posts, orders = Posts(sandbox), enqueue(12)
    with Nursery(site(server.database, nontax_of(sandbox, window=8))) as nursery:
        left = _leave_some(nursery, posts)
        server.step("-1d")
        assert server.is_off_by() == -1
        relay = nursery.begin("send", 8)
        wait_for_states({"inserted": 12 - left, "sending": left})
        assert _expire_some() == []
        server.step("+1d")
        wait_for_states({"inserted": 12 - left, "in_doubt": left})
        nursery.end(relay, signal.SIGTERM)
    assert check_books("outbox", orders, posts.count(), sandbox) == left
    what = "the database's clock steps a day backwards, and a relay had died"
    tell(record_property, Figure(what, 1, len(orders), 1, in_doubt=left))
