"""The doorbell on real Redis and RabbitMQ: workers and brokers are killed; a plain task beside it.

`make crash-backend` runs it with more kills: DJANGO_KILLS.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from dbservers import RabbitMQ, Redis
from django.db import transaction
from django.test import override_settings
from djangos import Posts, forget, nontax_of, site, sqlite, use
from kills import check_books, enqueue, kill_relays
from nursery import Nursery

from nontax.contrib.django import outbox, ringing
from nontax.sandbox import Sandbox, faults

KILLS = int(os.environ.get("DJANGO_KILLS", "4"))


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


@pytest.mark.timeout(900)
def test_workers_are_killed(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox
) -> None:
    told = kill_relays(
        "outbox", database, sandbox, kills=KILLS, what="worker", env=_env(broker), ring="celery"
    )
    print(type(broker).__name__, told)
    assert told["in_flight"] * 10 >= KILLS * 9


@pytest.mark.timeout(900)
def test_the_broker_is_killed(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox
) -> None:
    """Doorbells are lost with it. A relay without one, or the next doorbell, finds the bills."""
    kills = KILLS if isinstance(broker, Redis) else max(KILLS // 4, 1)

    def kill(nursery: Nursery, worker: int) -> None:
        broker.lose()
        nursery.end(worker, signal.SIGKILL)
        broker.start()
        queue.app._after_fork()

    told = kill_relays(
        "outbox", database, sandbox, kills=kills, what="worker", env=_env(broker), ring="celery",
        kill=kill,
    )  # fmt: skip
    print(type(broker).__name__, "itself", told)
    assert told["in_flight"] * 10 >= kills * 9


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


@pytest.mark.timeout(900)
@pytest.mark.parametrize("late", [True, False], ids=["acks_late", "acks_early"])
def test_a_plain_task_beside_it(
    broker: Redis | RabbitMQ, queue: Any, database: dict[str, Any], sandbox: Sandbox, late: bool
) -> None:
    """Written by hand: sent twice if it is acknowledged late, lost without a trace if not."""
    sandbox.inject(faults.Delay(0.05), times=1_000_000, path="/nontax/insertbill")
    task = queue.plain_late if late else queue.plain
    posts, orders = Posts(sandbox), []
    with Nursery(site(database, nontax_of(sandbox)) | _env(broker)) as nursery:
        for _ in range(KILLS):
            given = [bill() for _ in range(3)]
            orders += [str(one["order_id"]) for one in given]
            for one in given:
                task.apply_async((one,))
            worker = nursery.begin("worker")
            posts.wait_for_more(1)
            nursery.end(worker, signal.SIGKILL)
        sandbox.behave()
        worker = nursery.begin("worker")
        end, before = time.monotonic() + 60, -1
        # Redis looks for what to give back only now and then.
        while late and time.monotonic() < end and max(posts.count().values()) == 1:
            time.sleep(0.5)
        while before != posts.count().total() and time.monotonic() < end:
            before = posts.count().total()
            time.sleep(6)  # Redis gives back after its visibility timeout
        nursery.end(worker, signal.SIGKILL)
    counts: Counter[str] = posts.count()
    twice = sum(count > 1 for count in counts.values())
    never = len(set(orders) - counts.keys())
    print(f"{type(broker).__name__}, acks_late={late}: {KILLS} kills, {len(orders)} bills, "
          f"{twice} sent twice or more, {never} never")  # fmt: skip
    assert twice or not late
