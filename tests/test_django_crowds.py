"""Many relays on one table, and doorbells that get lost, come twice, or late."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from dbservers import Postgres, Redis
from django.test import override_settings
from djangos import Posts, emptied, nontax_of, outbox_on, site, wait_for_states
from figures import Figure, Record, tell
from kills import check_books, enqueue
from nursery import Nursery

from nontax.contrib.django.models import Attempt, Pace
from nontax.sandbox import Sandbox

# Bills a minute: the sandbox's own quota is 1,000, which takes a minute or two to see.
QUOTA = int(os.environ.get("DJANGO_QUOTA", "60"))
# Of a crowd.
BILLS = max(QUOTA, 300)
WINDOW = 8


@pytest.fixture(scope="module")
def started() -> Iterator[Postgres]:
    with outbox_on(Postgres()) as server:
        yield server


@pytest.fixture
def server(started: Postgres, sandbox: Sandbox) -> Iterator[Postgres]:
    with emptied(sandbox):
        yield started


def _at_work() -> int:
    return len(set(Attempt.objects.using("outbox").values_list("worker", flat=True)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("relays", [2, 4, 16])
def test_many_relays(
    server: Postgres, sandbox: Sandbox, relays: int, record_property: Record
) -> None:
    posts, orders = Posts(sandbox), enqueue(BILLS)
    with Nursery(site(server.database, nontax_of(sandbox))) as nursery:
        begun = [nursery.begin("send", WINDOW) for _ in range(relays)]
        wait_for_states({"inserted": BILLS}, 240)
        for relay in begun:
            nursery.end(relay, signal.SIGTERM)
    assert check_books("outbox", orders, posts.count(), sandbox) == 0
    assert _at_work() > 1
    tell(record_property, Figure(f"{relays} relays, {_at_work()} with bills", relays, BILLS))


@pytest.mark.timeout(600)
def test_sixteen_workers_and_doorbells_that_are_lost_doubled_and_late(
    server: Postgres, sandbox: Sandbox, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a lost one was for is sent by the next, or when a beat rings."""
    dice, orders, lost, doubled, late = random.Random(1), [], 0, 0, 0
    settings: dict[str, Any] = {"ring": "celery", "window": WINDOW}
    with ExitStack() as stack:
        redis = Redis()
        stack.callback(redis.remove)
        monkeypatch.setenv("TEST_BROKER", redis.broker)
        import celery_site

        from nontax.contrib.django import ringing, tasks

        celery_site.app.conf.broker_url = redis.broker
        celery_site.app._after_fork()
        stack.callback(celery_site.app._after_fork)
        env = site(server.database, nontax_of(sandbox, **settings)) | {"TEST_BROKER": redis.broker}
        nursery = stack.enter_context(Nursery(env))
        workers = [nursery.begin("worker") for _ in range(16)]
        posts = Posts(sandbox)
        for _ in range(BILLS // 10):
            orders += enqueue(10)  # its settings have no doorbell
            with override_settings(NONTAX=nontax_of(sandbox, "outbox", **settings)):
                chance = dice.randrange(4)
                if chance == 0:
                    lost += 1
                elif chance == 1:
                    tasks.celery_task.apply_async(countdown=dice.uniform(0, 3))
                    late += 1
                else:
                    doubled += 1
                    for _ in range(dice.randrange(2, 6)):
                        ringing.ring()
        with override_settings(NONTAX=nontax_of(sandbox, "outbox", **settings)):
            ringing.ring()
        wait_for_states({"inserted": len(orders)}, 240)
        time.sleep(3)  # the late ones find nothing
        for worker in workers:
            nursery.end(worker, signal.SIGTERM)
    assert check_books("outbox", orders, posts.count(), sandbox) == 0
    assert _at_work() > 4
    what = f"doorbells for 16 workers: {lost} lost, {late} late, {doubled} doubled"
    tell(record_property, Figure(what, lost + late + doubled, len(orders)))


@pytest.mark.timeout(600)
def test_a_minutes_quota_and_four_relays(
    server: Postgres, sandbox: Sandbox, record_property: Record
) -> None:
    """They pause together: no more than their windows are refused. Then all of it is sent."""
    sandbox.bureau.minute_quotas["/nontax/insertbill"] = QUOTA
    while time.time() % 60 > 20:
        time.sleep(0.2)
    posts, orders = Posts(sandbox), enqueue(QUOTA + QUOTA // 2)
    with Nursery(site(server.database, nontax_of(sandbox))) as nursery:
        begun = [nursery.begin("send", WINDOW) for _ in range(4)]
        wait_for_states({"inserted": QUOTA, "waiting": QUOTA // 2}, 38)
        time.sleep(2)  # nobody tries on
        refused = posts.count().total() - QUOTA
        row = Pace.objects.using("outbox").get()
        wait_for_states({"inserted": len(orders)}, 200)
        for relay in begun:
            nursery.end(relay, signal.SIGTERM)
    print(f"quota of {QUOTA} a minute, 4 relays: {refused} calls were refused")
    assert row.paused_until
    assert 0 < refused <= 4 * WINDOW
    assert posts.count().keys() == set(orders)
    assert _at_work() > 1
    what = f"{QUOTA:,} calls a minute, 4 relays: calls refused"
    tell(record_property, Figure(what, refused, len(orders)))
