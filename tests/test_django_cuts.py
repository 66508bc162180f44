"""The connection to PostgreSQL or MariaDB is cut at each statement of everything the outbox does.

Whoever was at it does it again, as an application would: the relay by itself, a person by looking.
`make crash-backend` cuts at each statement; else DJANGO_CUTS says at every which one.
"""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from dbproxy import HOWS, How, Proxy
from dbservers import MariaDB, Postgres
from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone
from djangos import Posts, empty, forget, know, nontax_of, outbox_on, pass_leases
from figures import Figure, Record, tell

from nontax.contrib.django import events, holding, outbox, resending
from nontax.contrib.django.models import Attempt, Bill, Event, Evidence, Hold
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.store import Key
from nontax.events import AuthorizationEvent
from nontax.sandbox import Sandbox, faults

EVERY = int(os.environ.get("DJANGO_CUTS", "9"))
WORDS = {
    "before": "before a statement",
    "torn": "in the middle of a statement",
    "after": "before the answer to a statement",
    "between": "after the answer to a statement",
}


@pytest.fixture(scope="module", params=[Postgres, MariaDB])
def started(request: pytest.FixtureRequest) -> Iterator[Postgres | MariaDB]:
    with outbox_on(request.param()) as server:
        yield server


@pytest.fixture
def proxy(started: Postgres | MariaDB) -> Iterator[Proxy]:
    """Between the outbox that is called "cut" and the server."""
    with Proxy(started.database) as proxy:
        know("cut", proxy.database)
        yield proxy
        forget("cut")


class Work:
    """What is done through the proxy. It is the same each time, with new bills."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.orders: list[str] = []

    def new(self, **changes: Any) -> "dict[str, Any]":
        made = bill(**changes)
        self.orders.append(made["order_id"])
        return made

    def repeat(self, step: Callable[[], object], *, may_be_done: bool = False) -> None:
        """Again, if the database has gone away. may_be_done: ValueError then says that it is."""
        failures = 0
        while failures < 4:
            try:
                step()
            except DatabaseError:
                failures += 1
                connections["cut"].close()
            except ValueError:
                assert may_be_done
                assert failures
                return
            else:
                return
        raise AssertionError("the database does not come back")

    def send(self) -> None:
        """Relays, one after the other, until nothing waits and nothing is on its way."""
        under_way = Bill.objects.using("outbox").filter(state__in=["waiting", "sending"])
        for _ in range(4):
            relay = Relay(window=32)
            try:
                relay.run(once=True)
            except DatabaseError:
                connections["cut"].close()
            finally:
                relay._poller.join()
            if not under_way.exists():
                return
        raise AssertionError([*under_way.values_list("order_id", "state")])

    def states(self) -> "Counter[str]":
        rows = Bill.objects.using("outbox").filter(order_id__in=self.orders)
        return Counter(rows.values_list("state", flat=True))


def _sending(work: Work) -> None:
    """A relay: an upload, claims, what comes back of all kinds, and its end."""
    (work.folder / "a.pdf").write_bytes(b"%PDF-1.4 one")
    with override_settings(NONTAX=nontax_of(work.sandbox, "outbox")):
        given = [work.new() for _ in range(4)]
        outbox.enqueue_many(given, account="bureau", durable=False)
        outbox.enqueue(work.new(), account="bureau", durable=False, pdf=work.folder / "a.pdf")
    path = "/nontax/insertbill"
    work.sandbox.inject(faults.Errcode(72038), path=path)
    work.sandbox.inject(faults.Close("body", taken=True), path=path)
    work.send()
    assert work.states() == {"inserted": 3, "rejected": 1, "in_doubt": 1}


def _handing_in(work: Work) -> None:
    """A new bill, the same again, and with other content; many of them."""
    first, second, known = work.new(), work.new(shape="flat"), work.new()

    def one_after_the_other() -> None:
        with transaction.atomic(using="cut"):
            outbox.enqueue(first, account="bureau")
            outbox.enqueue(second, account="bureau")

    def changed() -> None:
        with transaction.atomic(using="cut"):
            outbox.enqueue({**second, "fee": 9}, account="bureau", replace=True)

    def many() -> None:
        with transaction.atomic(using="cut"):
            outbox.enqueue_many(given, account="bureau")

    work.repeat(one_after_the_other)
    work.repeat(changed)
    given = [work.new() for _ in range(3)]
    work.repeat(many)
    given = [*given, known]  # one by one, since some are known
    work.repeat(many)
    assert work.states() == {"waiting": 6}
    rows = Bill.objects.using("outbox")
    assert rows.get(order_id=second["order_id"]).fee == 9
    with override_settings(NONTAX=nontax_of(work.sandbox, "outbox")):
        work.send()
    assert work.states() == {"inserted": 6}


def _holding(work: Work) -> None:
    """Held bills: one gets an event before it, one after it, one is asked about."""
    unit = work.sandbox.unit.appid
    early, late, asked = (work.new(appid=unit) for _ in range(3))

    def push(order: object) -> None:
        event = AuthorizationEvent(
            order_id=str(order), succeeded=True, from_user="o", to_user="gh", create_time=1
        )
        events.take_event("cut", "unit", event)

    def hand_in(given: "dict[str, object]") -> None:
        with transaction.atomic(using="cut"):
            outbox.enqueue(given, account="bureau", when="authorised")

    def poll() -> None:
        Hold.objects.using("outbox").update(due_at=_earlier())
        holding.poll("cut")

    work.repeat(lambda: push(early["order_id"]))
    for given in (early, late, asked):
        work.repeat(lambda given=given: hand_in(given))  # type: ignore[misc]
    with work.sandbox.client(work.sandbox.unit) as client:
        client.get_bill_auth_url(
            s_pappid=work.sandbox.bureau.s_pappid, order_id=str(asked["order_id"]), money=1
        )
    work.sandbox.authorise(str(asked["order_id"]))
    work.repeat(lambda: push(late["order_id"]))
    work.repeat(poll)
    work.repeat(lambda: events.match_held("cut"))
    assert work.states() == {"waiting": 3}
    assert Event.objects.using("outbox").count() == 2
    with override_settings(NONTAX=nontax_of(work.sandbox, "outbox")):
        work.send()
    assert work.states() == {"inserted": 3}


def _earlier() -> Any:
    return timezone.now() - timedelta(hours=1)


def _settling(work: Work) -> None:
    """Leases end, and people do what they can with a bill."""
    with override_settings(NONTAX=nontax_of(work.sandbox, "outbox")):
        given = [work.new() for _ in range(4)]
        outbox.enqueue_many(given, account="bureau", durable=False)
    dead = OutboxStore("bureau", using="outbox")
    keys = [claim.key for claim in dead.reserve(4).claims]
    pass_leases("outbox")
    work.repeat(lambda: OutboxStore("", using="cut").expire())
    ended = Evidence.objects.using("outbox").filter(kind="lease ended")
    assert Counter(ended.values_list("bill__order_id", flat=True)) == Counter(work.orders)
    store = OutboxStore("bureau", using="cut")
    words = {"by": "王", "note": "looked up"}
    found, lost, again, back = keys
    for key, verdict in ((found, "inserted"), (lost, "not_taken"), (back, "not_taken")):
        work.repeat(lambda k=key, v=verdict: store.resolve(k, v, **words), may_be_done=True)  # type: ignore[misc]
    work.repeat(lambda: store.withdraw(back, **words), may_be_done=True)
    work.repeat(lambda: store.retry(back, **words), may_be_done=True)
    work.repeat(lambda: _resend(work, again), may_be_done=True)
    assert work.states() == {"inserted": 2, "waiting": 2}
    with override_settings(NONTAX=nontax_of(work.sandbox, "outbox")):
        work.send()
    assert work.states() == {"inserted": 4}
    work.orders.remove(found.order_id)  # a person's word, not the sandbox's


def _resend(work: Work, key: Key) -> None:
    # If the answer to the claim's COMMIT was lost, nobody knows that it was done.
    pass_leases("outbox", order_id=key.order_id)
    OutboxStore("", using="outbox").expire()
    Attempt.objects.using("outbox").update(changed_at=_earlier())
    row = Bill.objects.using("outbox").get(order_id=key.order_id)
    resending.resend("cut", row, by="王", checked_by="李", note="")


ALL = [_sending, _handing_in, _holding, _settling]


@pytest.fixture
def cut_each(proxy: Proxy, sandbox: Sandbox, tmp_path: Path) -> Callable[..., tuple[int, int]]:
    """Do it again and again, with one cut each time; how many cuts, and bills."""

    def cut(what: Callable[[Work], None], how: How, every: int = 1, only: str = "") -> Any:
        posts, bills = Posts(sandbox), 0
        with override_settings(NONTAX=nontax_of(sandbox, "cut", window=32)):
            for cuts in itertools.count():
                empty("outbox")
                work = Work(sandbox, tmp_path)
                proxy.arm(1 + cuts * every, how, only)
                what(work)
                connections["cut"].close()
                counts = posts.count()
                assert {counts[order] for order in work.orders} == {1}, proxy.hit
                bills += len(work.orders)
                if not proxy.hit:
                    assert cuts >= 3
                    return cuts, bills
        return None

    return cut


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("what", ALL)
def test_the_connection_is_cut_at_each_statement(
    started: Postgres | MariaDB, cut_each: Callable[..., tuple[int, int]],
    what: Callable[[Work], None], how: How, record_property: Record,
) -> None:  # fmt: skip
    """Nothing goes twice, and nothing is in doubt for it: it goes on with a new connection."""
    name = f"{type(started).__name__}, cut {WORDS[how]}"
    tell(record_property, Figure(name, *cut_each(what, how, EVERY)))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", ["after", "between"])
@pytest.mark.parametrize("what", ALL)
def test_the_connection_is_cut_at_each_commit(
    started: Postgres | MariaDB, cut_each: Callable[..., tuple[int, int]],
    what: Callable[[Work], None], how: How, record_property: Record,
) -> None:  # fmt: skip
    """It is carried out: the answer is lost, or there is no connection any more after it."""
    words = "between COMMIT and its answer" if how == "after" else "after the answer to COMMIT"
    name = f"{type(started).__name__}, cut {words}"
    tell(record_property, Figure(name, *cut_each(what, how, 1, "COMMIT")))
