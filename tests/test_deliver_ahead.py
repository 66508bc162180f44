"""A delivery that writes down bills and settles answers while others are on the wire."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from bills import bill
from sandboxes import posts

import nontax
from nontax.delivery.ahead import AheadDelivery
from nontax.delivery.content import content_of
from nontax.delivery.deliver import boot_time
from nontax.delivery.memory import MemoryStore
from nontax.delivery.states import Answer
from nontax.delivery.store import Claim, Settled, Window
from nontax.sandbox import Sandbox, faults


class LeasedStore(MemoryStore):
    """Counts what is written down and not settled. `between` is called before each step."""

    def __init__(self, client: nontax.Client, bills: int) -> None:
        super().__init__()
        given = [content_of(client._core.body("insertbill", bill())) for _ in range(bills)]
        self.hand_in(given)
        self.orders = [one.order_id for one in given]
        self.open: set[int] = set()
        self.most = 0
        self.threads: set[threading.Thread] = set()
        self.lease = 60.0
        self.between: Any = lambda _step: None

    def reserve(self, limit: int) -> Window:
        self.threads.add(threading.current_thread())
        self.between("reserve")
        claims = super().reserve(limit).claims
        self.open |= {claim.attempt for claim in claims}
        self.most = max(self.most, len(self.open))
        return Window(claims, boot_time() + self.lease)

    def settle(self, answers: "Sequence[tuple[Claim, Answer]]") -> list[Settled]:
        self.threads.add(threading.current_thread())
        self.between("settle")
        settled = super().settle(answers)
        self.open -= {claim.attempt for claim, _ in answers}
        return settled

    def states(self) -> "Counter[str]":
        return Counter(known.state for known in self.rows.bills.values())


@pytest.mark.parametrize("window", [1, 2, 3, 8, 64])
def test_each_bill_goes_once_and_the_window_is_kept(
    client: nontax.Client, sandbox: Sandbox, window: int
) -> None:
    store = LeasedStore(client, 100)
    report = AheadDelivery(store, client, window=window).run()
    assert (report.counts, report.error, report.waiting) == ({"inserted": 100}, None, 0)
    assert posts(sandbox) == dict.fromkeys(store.orders, 1)
    assert store.most == window
    assert store.open == set()
    assert store.threads == {threading.current_thread()}


def test_bills_are_sent_while_the_store_is_busy(client: nontax.Client, sandbox: Sandbox) -> None:
    """What is written down goes out during the first settlement, and no more than the window."""
    is_settling = threading.Event()

    class UntilItSettles(faults.Delay):
        def __init__(self) -> None:
            """Without a number of seconds."""

        @property
        def seconds(self) -> float:
            is_settling.wait(20)
            return 0.0

    sandbox.inject(faults.Delay(0.0), times=1, path="/nontax/insertbill")
    sandbox.inject(UntilItSettles(), times=15, path="/nontax/insertbill")
    store = LeasedStore(client, 40)
    seen: list[int] = []

    def wait_for_all(step: str) -> None:
        if step == "settle" and not seen:
            seen.append(len(posts(sandbox)))
            is_settling.set()
            until = time.monotonic() + 20
            while len(posts(sandbox)) < len(store.open):
                assert time.monotonic() < until
                time.sleep(0.005)
            seen.append(len(posts(sandbox)))

    store.between = wait_for_all
    report = AheadDelivery(store, client, window=16).run()
    assert seen[0] < seen[1] == 16
    assert report.counts == {"inserted": 40}
    assert set(posts(sandbox).values()) == {1}


def test_a_store_that_reserves_no_more_ends_it(client: nontax.Client, sandbox: Sandbox) -> None:
    """What was written down before is sent, and settled."""
    store = LeasedStore(client, 20)

    def fail(step: str) -> None:
        if step == "reserve" and store.most == 4:
            raise ConnectionError("the database is away")

    store.between = fail
    report = AheadDelivery(store, client, window=4).run()
    assert isinstance(report.error, ConnectionError)
    assert store.open == set()
    assert store.states() == {
        "inserted": report.counts["inserted"],
        "waiting": 20 - report.counts["inserted"],
    }
    assert 4 <= report.counts["inserted"] == len(posts(sandbox))


@pytest.mark.parametrize("failures", [1, 2, 1000])
def test_answers_that_cannot_be_kept_are_not_taken_for_unsent(
    client: nontax.Client, sandbox: Sandbox, failures: int
) -> None:
    store = LeasedStore(client, 20)
    left = [failures]

    def fail(step: str) -> None:
        if step == "settle" and left[0]:
            left[0] -= 1
            raise ConnectionError("the database is away")

    store.between = fail
    with pytest.raises(ConnectionError):
        AheadDelivery(store, client, window=8).run()
    sent = posts(sandbox)
    assert set(sent.values()) == {1}
    waiting = {key.order_id for key, known in store.rows.bills.items() if known.state == "waiting"}
    assert not waiting & sent.keys()
    if failures == 1:
        assert store.states() == {"inserted": len(sent), "waiting": 20 - len(sent)}


def test_stop_returns_what_was_not_handed_over(client: nontax.Client, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Delay(0.5), times=4, path="/nontax/insertbill")
    store = LeasedStore(client, 20)
    delivery = AheadDelivery(store, client, window=8)

    def stop() -> None:
        sandbox.wait_for_requests(4, timeout=20)
        delivery.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    report = delivery.run()
    thread.join()
    assert report.counts == {"inserted": 4}
    assert store.states() == {"inserted": 4, "waiting": 16}
    assert store.open == set()


def test_nothing_is_handed_over_when_the_lease_is_nearly_over(
    client: nontax.Client, sandbox: Sandbox
) -> None:
    store = LeasedStore(client, 8)
    store.lease = -1.0
    asked: list[str] = []

    def count(step: str) -> None:
        asked.append(step)
        if asked.count("reserve") == 5:
            store.lease = 60.0

    store.between = count
    report = AheadDelivery(store, client, window=4).run()
    assert report.counts == {"inserted": 8}
    assert set(posts(sandbox).values()) == {1}
    # Those that came too late went back, and have an attempt more.
    assert {len(store.attempts(key)) for key in store.rows.bills} != {1}


def test_a_minutes_quota_ends_the_run_and_what_is_ready_goes_back(
    client: nontax.Client, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(45011), times=1, path="/nontax/insertbill")
    store = LeasedStore(client, 30)
    told: list[int] = []

    def pause(error: nontax.NontaxError) -> float:
        assert store.open == set()
        told.append(error.errcode if isinstance(error, nontax.WeChatError) else 0)
        return 0.01

    report = AheadDelivery(store, client, window=8, pause=pause).run()
    assert told == [45011]
    assert report.counts["inserted"] == 30
    assert report.counts["waiting"] >= 1
    assert store.states() == {"inserted": 30}


def test_no_more_bills_than_asked_for(client: nontax.Client, sandbox: Sandbox) -> None:
    store = LeasedStore(client, 9)
    report = AheadDelivery(store, client, window=4, limit=5).run()
    assert (report.counts, report.waiting) == ({"inserted": 5}, 4)
    assert len(posts(sandbox)) == 5


def test_a_server_that_is_down_ends_it(sandbox: Sandbox) -> None:
    with nontax.Client(access_token="x" * 32, base_url=sandbox.base_url, retries=0) as client:
        store = LeasedStore(client, 50)
        sandbox.stop()
        report = AheadDelivery(store, client, window=8).run()
    assert isinstance(report.error, nontax.NotSentError)
    assert store.states() == {"waiting": 50}
    assert report.waiting == 50


# The run


def test_a_run_whose_iterable_has_no_bill_just_now(client: nontax.Client, sandbox: Sandbox) -> None:
    """It is asked again when the run is woken, and bills that are under way go on meanwhile."""
    given: list[dict[str, object] | None] = [bill(), None, None, bill(), None]
    asked: list[int] = []

    def source() -> Any:
        for number, one in enumerate(given):
            asked.append(number)
            yield one

    run = client._begin_run(source(), concurrency=4, awaits_bills=True)
    came: list[Any] = []
    ended = threading.Event()

    def read() -> None:
        while group := run._group():
            came.extend(group)
            group.clear()
        ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    until = time.monotonic() + 20
    for last, outcomes in ((1, 1), (2, 1), (4, 2)):
        while (len(asked), len(came)) != (last + 1, outcomes):
            assert time.monotonic() < until, (asked, came)
            time.sleep(0.005)
        assert not ended.is_set()
        run._wake()
    thread.join(20)
    assert ended.is_set()
    assert [outcome.outcome for outcome in came] == ["inserted"] * 2
    assert run.close() == []


def test_none_is_an_invalid_bill_where_none_is_awaited(client: nontax.Client) -> None:
    (outcome,) = client.insert_bills([None]).collect()  # type: ignore[list-item]
    assert isinstance(outcome.error, nontax.InvalidRequestError)
