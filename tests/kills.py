"""Relays and workers that are killed while bills are on their way, and the books of it."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from bills import bill
from django.db import transaction
from django.test import override_settings
from djangos import Posts, nontax_of, pass_leases, site
from figures import Figure
from nursery import Nursery

from nontax.contrib.django import outbox, pace
from nontax.contrib.django.models import Bill, Evidence
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.sandbox import Sandbox, faults


def enqueue(count: int) -> list[str]:
    """Bills that wait; their orders."""
    given = [bill() for _ in range(count)]
    outbox.enqueue_many(given, account="bureau", durable=False)
    return [one["order_id"] for one in given]


def check_books(alias: str, orders: list[str], posts: "Counter[str]", sandbox: Sandbox) -> int:
    """What the sandbox has counted says the truth; how many bills are in doubt.

    The outbox must know it, or be in doubt.
    """
    known = dict(Bill.objects.using(alias).values_list("order_id", "state"))
    assert known.keys() == set(orders)
    assert set(posts.values()) == {1}  # none was sent twice
    assert {known[order] for order in sandbox.bills} <= {"inserted", "in_doubt"}
    assert {order for order, state in known.items() if state == "inserted"} <= posts.keys()
    assert set(known.values()) <= {"inserted", "in_doubt"}
    doubt = Counter(known.values())["in_doubt"]
    assert Evidence.objects.using(alias).filter(kind="lease ended").count() == doubt
    return doubt


def wait_for_claims(alias: str) -> None:
    """Until the database has done, or undone, what a dead relay was just writing down."""
    with transaction.atomic(using=alias):
        pace.hold(alias, "bureau", pace.INSERT)


def kill_relays(
    alias: str, database: dict[str, Any], sandbox: Sandbox, name: str, *, kills: int,
    window: int = 4, what: str = "send", env: "dict[str, str] | None" = None,
    kill: "Callable[[Nursery, int], None] | None" = None, **settings: Any,
) -> Figure:  # fmt: skip
    """Kill -9 relays with bills in flight, then have the rest sent; what became of it.

    what: see `nursery`. env: more of its environment. kill: what is done instead of killing the
    relay. settings: of the outbox.
    """
    sandbox.inject(faults.Delay(0.05), times=1_000_000, path="/nontax/insertbill")
    posts, in_flight, orders, dice = Posts(sandbox), 0, [], random.Random(1)
    with (
        override_settings(NONTAX=nontax_of(sandbox, alias, window=window, **settings)),
        Nursery(
            site(database, nontax_of(sandbox, window=window, **settings)) | (env or {})
        ) as nursery,
    ):
        for _ in range(kills):
            orders += enqueue(4 * window)
            relay = nursery.begin(what, window)
            try:
                posts.wait_for_more(2)
                time.sleep(dice.uniform(0, 0.15))  # in whatever it is doing
            finally:
                if kill is None:
                    nursery.end(relay, signal.SIGKILL)
                else:
                    kill(nursery, relay)
            wait_for_claims(alias)
            pass_leases(alias)
            doubtful = OutboxStore("", using=alias).expire()
            assert len(doubtful) <= window
            in_flight += bool(doubtful)
        sandbox.behave()
        assert Relay().run(once=True) == []
    doubt = check_books(alias, orders, posts.count(), sandbox)
    assert in_flight * 10 >= kills * 9
    return Figure(f"{name}, kill -9", kills, len(orders), in_flight, in_doubt=doubt)
