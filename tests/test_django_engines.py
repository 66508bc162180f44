"""The doorbell on real Redis and RabbitMQ: workers and brokers are killed; a plain task beside it.

`make crash-backend` runs it with more kills: DJANGO_KILLS.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from dbservers import RabbitMQ, Redis
from django.db import transaction
from django.test import override_settings
from djangos import Posts, forget, nontax_of, site, sqlite, use
from figures import Figure, Record, tell
from kills import check_books, enqueue, kill_relays
from nursery import Nursery

from nontax.contrib.django import outbox, ringing
from nontax.sandbox import Sandbox, faults

KILLS = int(os.environ.get("DJANGO_KILLS", "4"))
# Of a task that is not ours.
PLAIN_KILLS = min(KILLS, 60)


@pytest.fixture(scope="module", params=[Redis, RabbitMQ])
def broker(request: pytest.FixtureRequest) -> Iterator[Redis | RabbitMQ]:
    server: Redis | RabbitMQ = request.param()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEST_BROKER", server.broker)
            yield server
    finally:
        server.remove()


@pytest.fixture
def queue(broker: Redis | RabbitMQ) -> Iterator[Any]:
    """Celery's app, with an empty queue."""
    import celery_site

    app = celery_site.app
    app.conf.broker_url = broker.broker
    app._after_fork()
    app.control.purge()
    yield celery_site
    app._after_fork()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[dict[str, Any]]:
    found = sqlite(tmp_path / "outbox.db")
    use("outbox", found)
    yield found
    forget("outbox")


def _env(broker: Redis | RabbitMQ) -> dict[str, str]:
    return {"TEST_BROKER": broker.broker}


@pytest.mark.timeout(3600)
def test_workers_are_killed(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox,
    record_property: Record,
) -> None:  # fmt: skip
    told = kill_relays(
        "outbox", database, sandbox, f"Celery worker, {type(broker).__name__}", kills=KILLS,
        what="worker", env=_env(broker), ring="celery",
    )  # fmt: skip
    tell(record_property, told)


@pytest.mark.timeout(3600)
def test_the_broker_is_killed(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox,
    record_property: Record,
) -> None:  # fmt: skip
    """Doorbells are lost with it. A relay without one, or the next doorbell, finds the bills."""
    kills = KILLS if isinstance(broker, Redis) else max(KILLS // 4, 1)

    def kill(nursery: Nursery, worker: int) -> None:
        broker.lose()
        nursery.end(worker, signal.SIGKILL)
        broker.start()
        queue.app._after_fork()

    told = kill_relays(
        "outbox", database, sandbox, f"{type(broker).__name__} and the worker", kills=kills,
        what="worker", env=_env(broker), ring="celery", kill=kill,
    )  # fmt: skip
    tell(record_property, told)


def test_a_rollback_rings_nothing_and_many_bills_ring_once(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox
) -> None:
    with override_settings(NONTAX=nontax_of(sandbox, "outbox", ring="celery")):
        with transaction.atomic(using="outbox"):
            outbox.enqueue(bill(), account="bureau")
            transaction.set_rollback(True, using="outbox")
        assert queue.app.control.purge() == 0
        with transaction.atomic(using="outbox"):
            for _ in range(5):
                outbox.enqueue(bill(), account="bureau")
        assert queue.app.control.purge() == 1


def test_a_broker_that_is_away_fails_no_payment(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox
) -> None:
    queue.app.conf.broker_url = "redis+socket:///nowhere"
    queue.app._after_fork()
    with override_settings(NONTAX=nontax_of(sandbox, "outbox", ring="celery")):
        with transaction.atomic(using="outbox"):
            row = outbox.enqueue(bill(), account="bureau")
        row.refresh_from_db()
        assert row.state == "waiting"


def test_doubled_and_lost_doorbells(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox
) -> None:
    posts = Posts(sandbox)
    settings = nontax_of(sandbox, ring="celery", window=4)
    with override_settings(NONTAX=nontax_of(sandbox, "outbox", ring="celery")):
        orders = enqueue(40)
        queue.app.control.purge()  # lost
        orders += enqueue(40)
        for _ in range(20):
            ringing.ring()
    with (
        Nursery(site(database, settings) | _env(broker)) as one,
        Nursery(site(database, settings) | _env(broker)) as other,
    ):
        workers = [(each, each.begin("worker")) for each in (one, other)]
        posts.wait_for_more(80)
        time.sleep(0.3)
        for nursery, worker in workers:
            nursery.end(worker, signal.SIGTERM)
    assert check_books("outbox", orders, posts.count(), sandbox) == 0


def _messages(broker: Redis | RabbitMQ, queue: Any) -> tuple[int, int]:
    """Those that nobody has taken; those that workers took and did not acknowledge.

    RabbitMQ gives the latter back at once.
    """
    with queue.app.connection() as connection, connection.channel() as channel:
        if isinstance(broker, RabbitMQ):
            return channel.queue_declare("celery", passive=True).message_count, 0
        return channel.client.llen("celery"), channel.client.zcard("unacked_index")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("late", [True, False], ids=["acks_late", "acks_early"])
def test_a_plain_task_beside_it(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox, late: bool,
    record_property: Record,
) -> None:  # fmt: skip
    """Written by hand: sent twice if it is acknowledged late, lost without a trace if not."""
    sandbox.inject(faults.Delay(0.05), times=1_000_000, path="/nontax/insertbill")
    task = queue.plain_late if late else queue.plain
    posts, killed, bills = Posts(sandbox), set[str](), 0
    with Nursery(site(database, nontax_of(sandbox)) | _env(broker)) as nursery:
        for _ in range(PLAIN_KILLS):
            for _ in range(3):
                task.apply_async((bill(),))
                bills += 1
            known = set(posts.count())
            worker = nursery.begin("pool")
            posts.wait_for_more(1)
            nursery.end(worker, signal.SIGKILL)
            killed |= posts.count().keys() - known
        sandbox.behave()
        until = time.monotonic() + 120
        while True:
            worker = nursery.begin("pool")
            time.sleep(3)  # it looks for what to give back
            while _messages(broker, queue)[0]:
                assert time.monotonic() < until
                time.sleep(0.2)
            nursery.end(worker, signal.SIGTERM)  # when it has done what it has
            if not any(_messages(broker, queue)):
                break
            time.sleep(4)  # Redis gives back after its visibility timeout
    counts = posts.count()
    # RabbitMQ gives a bill to the next worker, which is killed, too: it comes many times.
    again = counts.total() - len(counts)
    unknown = sum(counts[order] == 1 for order in killed)
    acknowledged = "late" if late else "early"
    name = f"plain task, acknowledged {acknowledged}, {type(broker).__name__}, kill -9"
    tell(record_property, Figure(name, PLAIN_KILLS, bills, PLAIN_KILLS, again, unknown, None))
    assert again if late else unknown
