"""Many bills in one run: one honest outcome for each, whatever happens on the way."""

import asyncio
import gc
import itertools
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from bills import Index, bill
from marks import shown

import nontax
from nontax import _core
from nontax.outcomes import Outcome
from nontax.sandbox import Sandbox, faults


def bills(count: int, prefix: str = "order") -> Iterator[dict[str, object]]:
    return (bill(order_id=f"{prefix}-{i}", billing_code=f"{prefix}{i}") for i in range(count))


def collect(run: Iterator[Outcome], outcomes: list[Outcome]) -> None:
    """Keep what comes before an exception: list(run) would lose it."""
    for outcome in run:
        outcomes.append(outcome)


def by_index(outcomes: list[Outcome]) -> dict[int, Outcome]:
    found = {outcome.index: outcome for outcome in outcomes}
    assert len(found) == len(outcomes)
    return found


def interrupt_after(sandbox: Sandbox, requests: int) -> threading.Thread:
    """Send Ctrl-C to the main thread once the sandbox has so many requests."""
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        sandbox.wait_for_requests(requests, timeout=10)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    return interrupter


def test_every_bill_comes_out_once(sandbox: Sandbox, client: nontax.Client) -> None:
    sent = list(bills(500))
    outcomes = by_index(list(client.insert_bills(sent, concurrency=8)))
    assert set(outcomes) == set(range(500))
    for index, outcome in outcomes.items():
        assert outcome.bill is sent[index]
        assert outcome.outcome == "inserted"
        assert outcome.error is None
        assert outcome.inserted is not None
        assert outcome.inserted.code == sandbox.bills[f"order-{index}"].code
        assert outcome.attempts == 1
        assert outcome.seconds >= 0
    assert len(sandbox.requests) == 500
    assert sandbox.connections <= 8


def test_it_reads_no_further_ahead_than_it_may(sandbox: Sandbox, client: nontax.Client) -> None:
    pulled: list[object] = []

    def counted() -> Iterator[dict[str, object]]:
        for each in bills(50):
            pulled.append(each)
            yield each

    with client.insert_bills(counted(), concurrency=3) as run:
        assert not pulled
        for given, _ in enumerate(run, start=1):
            assert len(pulled) <= given - 1 + 3
    assert len(sandbox.bills) == 50


def test_a_bad_bill_is_an_outcome(sandbox: Sandbox, client: nontax.Client) -> None:
    mixed: list[object] = [*bills(2), {"order_id": "x"}, "nonsense", *bills(2, "more")]
    outcomes = by_index(list(client.insert_bills(mixed)))  # type: ignore[arg-type]
    assert [outcomes[i].outcome for i in range(6)] == [
        *["inserted"] * 2,
        *["not_sent"] * 2,
        *["inserted"] * 2,
    ]
    assert isinstance(outcomes[2].error, nontax.InvalidRequestError)
    assert outcomes[2].attempts == 0
    assert len(sandbox.requests) == 4


def test_outcomes_are_records(client: nontax.Client) -> None:
    [outcome] = client.insert_bills(bills(1))
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    with pytest.raises(AttributeError):
        outcome.index = 5


class Series:
    """Like pandas' Series: it is compared value by value, and the answer is neither yes nor no."""

    def __eq__(self, other: object) -> "Series":  # type: ignore[override]
        return self

    __ne__ = __eq__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("the truth value of a Series is ambiguous")

    def __repr__(self) -> str:
        return "a Series"


@pytest.mark.parametrize("given", [Series(), {}], ids=repr)
def test_an_outcome_can_be_shown_whatever_its_bill_is(client: nontax.Client, given: object) -> None:
    [outcome] = client.insert_bills([given])  # type: ignore[list-item]
    assert repr(outcome).startswith("Outcome(index=0, outcome='not_sent', reason='")
    assert f"{outcome}" == str(outcome) == repr(outcome)


def test_an_outcome_shows_neither_payer_nor_openid(client: nontax.Client) -> None:
    given = bill(title="张三丰")
    [outcome] = client.insert_bills([given])
    assert outcome.inserted is not None
    assert outcome.inserted.openid is not None
    assert outcome.inserted.code in repr(outcome)
    assert given["order_id"] in repr(outcome)
    assert "张三丰" not in repr(outcome)
    assert outcome.inserted.openid not in repr(outcome)


def test_an_iterable_that_raises(sandbox: Sandbox, client: nontax.Client) -> None:
    def broken() -> Iterator[dict[str, object]]:
        yield from bills(5)
        raise OSError("the file has ended in the middle")

    run = client.insert_bills(broken(), concurrency=3)
    outcomes = [next(run) for _ in range(5)]
    assert {outcome.outcome for outcome in outcomes} == {"inserted"}
    with pytest.raises(OSError, match="in the middle"):
        next(run)
    assert list(run) == []
    assert len(sandbox.bills) == 5


@pytest.mark.parametrize("errcode", [40164, 45009, 48001, 72015])
def test_trouble_that_every_bill_would_meet(
    sandbox: Sandbox, client: nontax.Client, errcode: int
) -> None:
    source = bills(100)
    sandbox.inject(faults.Errcode(errcode), times=1, skip=3)
    run = client.insert_bills(source, concurrency=4)
    with pytest.raises(nontax.WeChatError) as caught:
        list(run)
    assert caught.value.errcode == errcode
    assert list(run) == []
    left = len(list(source))
    assert 0 < left <= 96
    assert len(sandbox.requests) == 100 - left


def test_trouble_gives_out_what_is_under_way(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Errcode(48001), times=1, skip=2)
    run = client.insert_bills(bills(100), concurrency=4)
    outcomes: list[Outcome] = []
    with pytest.raises(nontax.AccountError) as caught:
        collect(run, outcomes)
    refused = [outcome for outcome in outcomes if outcome.outcome == "rejected"]
    assert [outcome.error for outcome in refused] == [caught.value]
    assert len(outcomes) == len(sandbox.requests)


def test_a_token_that_cannot_be_had(sandbox: Sandbox) -> None:
    def source(stale: str | None) -> str:
        raise OSError("the vault is closed")

    with nontax.Client(token_source=source, base_url=sandbox.base_url) as client:
        run = client.insert_bills(bills(100), concurrency=4)
        assert next(run).outcome == "not_sent"
        with pytest.raises(nontax.NotSentError, match="OSError"):
            list(run)
    assert not sandbox.requests


def test_one_renewal_for_all_bills_under_way(sandbox: Sandbox) -> None:
    asked: list[bool] = []
    first = sandbox.access_token

    def source(stale: str | None) -> str:
        asked.append(stale is not None)
        return first if stale is None else sandbox.access_token

    sandbox.renew_access_token()
    with nontax.Client(token_source=source, base_url=sandbox.base_url) as client:
        outcomes = list(client.insert_bills(bills(40), concurrency=10))
    assert {outcome.outcome for outcome in outcomes} == {"inserted"}
    assert asked == [False, True]
    assert sorted(outcome.attempts for outcome in outcomes)[-1] == 2
    assert len(sandbox.bills) == 40


def test_a_certificate_stops_the_run(tls_sandbox: Sandbox) -> None:
    with nontax.Client(access_token="token", base_url=tls_sandbox.base_url) as client:
        run = client.insert_bills(bills(100), concurrency=4)
        with pytest.raises(nontax.TLSError):
            list(run)
    assert not tls_sandbox.requests


def test_the_minutes_quota_is_waited_for(sandbox: Sandbox) -> None:
    """With a pause of its own: a test cannot wait for the next minute."""
    sandbox.inject(faults.Errcode(45011), times=2, skip=1)
    client = nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url)
    run = nontax.Run._begin(
        client._core, bills(6), concurrency=2, rate=0.0, keep=0, quota_pause=0.05
    )
    outcomes = list(run)
    assert [outcome.outcome for outcome in outcomes] == ["inserted"] * 6
    assert sum(outcome.attempts for outcome in outcomes) == len(sandbox.requests) == 8


def test_in_doubt_is_not_repeated(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Close("body", taken=True), times=3, skip=4)
    outcomes = list(client.insert_bills(bills(20), concurrency=4))
    assert sum(outcome.outcome == "in_doubt" for outcome in outcomes) == 3
    assert sum(outcome.outcome == "inserted" for outcome in outcomes) == 17
    assert len(sandbox.requests) == 20


def test_a_run_is_for_one_thread_at_a_time(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=100, skip=1)
    run = client.insert_bills(bills(5), concurrency=5)
    assert next(run).outcome == "inserted"
    rest: list[Outcome] = []
    waiting = threading.Thread(target=lambda: rest.extend(run))
    waiting.start()
    # Once they are sent, that thread waits for their answers, which never come.
    sandbox.wait_for_requests(5, timeout=10)
    with pytest.raises(ValueError, match="in use"):
        next(run)
    sandbox.stop()
    waiting.join(30)
    assert [outcome.outcome for outcome in rest] == ["in_doubt"] * 4


def test_close_after_an_interrupt(sandbox: Sandbox, client: nontax.Client) -> None:
    """Ctrl-C loses nothing: the iterator goes on, and close() gives the rest."""
    sandbox.inject(faults.NeverAnswer(), times=4)
    run = client.insert_bills(bills(4), concurrency=4)
    interrupter = interrupt_after(sandbox, 4)
    with pytest.raises(KeyboardInterrupt):
        next(run)
    interrupter.join()
    outcomes = by_index(run.close())
    assert set(outcomes) == {0, 1, 2, 3}
    assert {outcome.outcome for outcome in outcomes.values()} == {"in_doubt"}
    assert list(run) == []
    assert run.close() == []


def test_going_on_after_an_interrupt(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Delay(0.4), times=1)
    run = client.insert_bills(bills(3), concurrency=1)
    interrupter = interrupt_after(sandbox, 1)
    with pytest.raises(KeyboardInterrupt):
        next(run)
    interrupter.join()
    assert [outcome.outcome for outcome in run] == ["inserted"] * 3
    assert len(sandbox.requests) == 3


class Interrupting(dict[str, object]):
    """A bill in whose conversion Ctrl-C is pressed, so many times."""

    times = 1

    def items(self) -> Any:
        if self.times:
            self.times -= 1
            signal.raise_signal(signal.SIGINT)
        return super().items()


def three_with_an_interrupt() -> list[dict[str, object]]:
    one, two, three = bills(3)
    return [one, Interrupting(two), three]


def test_ctrl_c_while_a_bill_is_converted(sandbox: Sandbox, client: nontax.Client) -> None:
    outcomes: list[Outcome] = []
    sent = three_with_an_interrupt()
    run = client.insert_bills(sent, concurrency=1)
    with pytest.raises(KeyboardInterrupt):
        collect(run, outcomes)
    collect(run, outcomes)
    assert [outcome.bill for outcome in outcomes] == sent
    assert {outcome.outcome for outcome in outcomes} == {"inserted"}
    assert len(sandbox.requests) == 3


def test_close_after_ctrl_c_while_a_bill_is_converted(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    run = client.insert_bills(three_with_an_interrupt(), concurrency=1)
    next(run)
    with pytest.raises(KeyboardInterrupt):
        next(run)
    (rest,) = run.close()
    assert (rest.index, rest.outcome) == (1, "not_sent")
    assert "cancelled before it was sent" in str(rest.error)
    assert len(sandbox.requests) == 1


def test_trouble_after_ctrl_c_while_a_bill_is_converted(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    """The bill that was in hand has its outcome before the trouble is raised."""
    sandbox.inject(faults.Errcode(40164), times=2)
    outcomes: list[Outcome] = []
    run = client.insert_bills(three_with_an_interrupt(), concurrency=2)
    with pytest.raises(KeyboardInterrupt):
        collect(run, outcomes)
    with pytest.raises(nontax.AccountError):
        collect(run, outcomes)
    assert sorted((one.index, one.outcome) for one in outcomes) == [
        (0, "rejected"),
        (1, "rejected"),
    ]
    assert run.close() == []


def test_a_source_that_fails_ends_the_run_at_once(sandbox: Sandbox) -> None:
    """It is asked once, its own reason comes out, and no further bill is taken."""
    asked: list[str | None] = []

    def source(stale: str | None) -> str:
        asked.append(stale)
        if len(asked) == 1:
            raise nontax.AccountError(errcode=40164, errmsg="invalid ip 192.0.2.1")
        return sandbox.access_token

    left = bills(50)
    outcomes: list[Outcome] = []
    with nontax.Client(token_source=source, base_url=sandbox.base_url) as client:
        with pytest.raises(nontax.AccountError, match=r"192\.0\.2\.1"):
            collect(client.insert_bills(left, concurrency=16), outcomes)
    [outcome] = outcomes
    assert (outcome.index, outcome.outcome) == (0, "not_sent")
    assert isinstance(outcome.error, nontax.AccountError)
    assert len(list(left)) == 49
    assert asked == [None]
    assert sandbox.connections == 0


def test_what_a_slow_iterable_gives_goes_out_at_once(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    def slow() -> Iterator[dict[str, object]]:
        for given, each in enumerate(bills(5)):
            # The first one may wait for the second: nobody knows yet that they come slowly.
            if given > 1:
                sandbox.wait_for_requests(given, timeout=10)
            time.sleep(0.05)
            yield each

    outcomes = list(client.insert_bills(slow(), concurrency=16))
    assert [outcome.outcome for outcome in outcomes] == ["inserted"] * 5


def test_an_iterable_takes_no_time_from_its_bills(sandbox: Sandbox) -> None:
    """Nobody could send the first one while the second was waited for."""

    def slow() -> Iterator[dict[str, object]]:
        first, second = bills(2)
        yield first
        time.sleep(1.5)
        yield second

    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, timeout=1
    ) as client:
        outcomes = list(client.insert_bills(slow()))
    assert [outcome.outcome for outcome in outcomes] == ["inserted"] * 2


def test_a_run_is_not_entered_a_second_time(sandbox: Sandbox, client: nontax.Client) -> None:
    """By a signal handler, a finalizer or another thread, while an outcome is being made."""
    refused: list[ValueError] = []

    def make(*values: Any) -> Any:
        for enter in (run.close, run._poll, run.__next__, lambda: run._cancel(0)):
            with pytest.raises(ValueError, match="in use") as caught:
                enter()
            refused.append(caught.value)
        return values

    run: _core.Run[Any] = _core.Run(
        client=client._core,
        make_outcome=make,
        kept=None,
        bills=None,
        concurrency=4,
        rate=0.0,
        quota_pause=0.0,
        never_waits=False,
        bulk=False,
    )
    subjects = [[0], [1], [2]]
    for subject in subjects:
        run._add("insertbill", bill(), subject)
    cancelled = [run._cancel(subjects[1]), run._cancel(subjects[1])]
    assert [told and told[1] for told in cancelled] == [[1], None]
    assert sorted(told[1] for told in run.close()) == [[0], [2]]
    assert len(refused) == 3 * 4


def test_a_cancelled_call_keeps_its_outcome_until_it_is_told(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    def make(*values: Any) -> Any:
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return values

    interrupted: list[bool] = []
    run: _core.Run[Any] = _core.Run(
        client=client._core,
        make_outcome=make,
        kept=None,
        bills=None,
        concurrency=4,
        rate=0.0,
        quota_pause=0.0,
        never_waits=False,
        bulk=False,
    )
    subject = object()
    run._add("insertbill", bill(), subject)
    with pytest.raises(KeyboardInterrupt):
        run._cancel(subject)
    assert [told[1] for told in run._poll()] == [subject]
    assert run._under_way() == 0


def test_a_token_source_that_forks(sandbox: Sandbox) -> None:
    """The child knows nothing of the bills: it must not say that they were not sent."""
    children: list[int] = []

    def source(_stale: str | None) -> str:
        children.append(os.fork())
        return sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    run = client.insert_bills(bills(2), concurrency=2)
    refused = False
    try:
        outcomes = list(run)
    except RuntimeError:
        refused = True
    finally:
        if children[0] == 0:
            os._exit(0 if refused else 1)
    assert os.waitpid(children[0], 0)[1] == 0
    assert [outcome.outcome for outcome in outcomes] == ["inserted"] * 2


def test_a_dropped_run_says_what_is_lost(sandbox: Sandbox, client: nontax.Client) -> None:
    runs = [client.insert_bills(bills(10), concurrency=4)]
    next(runs[0])
    with pytest.warns(RuntimeWarning, match="left with 3 bills"):
        runs.clear()
    assert len(sandbox.requests) <= 4


@pytest.mark.parametrize("later", [False, True])
def test_a_run_that_is_dropped_in_a_cycle_says_so_too(
    sandbox: Sandbox, client: nontax.Client, *, later: bool
) -> None:
    """Whichever of the two the garbage collector begins with."""
    cycle: dict[int, object] = {}
    if not later:
        cycle[0] = []  # the collector has known it since
    run = client.insert_bills(itertools.chain(bills(10), map(cycle.get, [0])), concurrency=4)  # type: ignore[arg-type]
    cycle[1] = run
    next(run)
    gc.disable()  # by itself it could run before its warning is awaited
    del cycle, run
    with pytest.warns(RuntimeWarning, match="left with 3 bills"):
        gc.collect()
    gc.enable()


def test_an_exhausted_run_says_nothing(client: nontax.Client) -> None:
    with client.insert_bills(bills(3)) as run:
        assert len(list(run)) == 3
    del run


def test_a_rate(sandbox: Sandbox, client: nontax.Client) -> None:
    outcomes = list(client.insert_bills(bills(10), rate=200))
    assert len(outcomes) == len(sandbox.bills) == 10
    run = client.insert_bills(bills(3, "slow"), rate=0.0001)  # the second is due in hours
    assert next(run).outcome == "inserted"
    assert run.close() == []
    assert len(sandbox.requests) == 11


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1001}, "concurrency"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"rate": 0}, "rate"),
        ({"rate": -1}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": "5"}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": 10**400}, "rate"),
        ({"rate": Fraction(-1, 2)}, "rate"),
        ({"rate": Index(0)}, "rate"),
    ],
)
def test_bad_arguments(client: nontax.Client, arguments: dict[str, object], named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=named):
        client.insert_bills(bills(1), **arguments)  # type: ignore[arg-type]


class Table:
    """As a DataFrame, it iterates over its columns' names."""

    columns = ("order_id", "fee")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


@pytest.mark.parametrize("given", [bill(), Table()], ids=["bill", "table"])
def test_what_is_no_iterable_of_bills(client: nontax.Client, given: Any) -> None:
    async def arun() -> None:
        client.ainsert_bills(given)

    for begin in (lambda: client.insert_bills(given), lambda: asyncio.run(arun())):
        with pytest.raises(TypeError, match="to_dict"):
            begin()


@pytest.mark.parametrize("rate", [Index(200), Fraction(200), Decimal(200)], ids=shown)
def test_any_number_is_a_rate(client: nontax.Client, rate: Any) -> None:
    async def run() -> list[Outcome]:
        return [outcome async for outcome in client.ainsert_bills(bills(2, "a"), rate=rate)]

    outcomes = [*client.insert_bills(bills(2), rate=rate), *asyncio.run(run())]
    assert [outcome.outcome for outcome in outcomes] == ["inserted"] * 4


def test_bills_that_are_no_iterable(client: nontax.Client) -> None:
    for given in (5, None):
        with pytest.raises(TypeError, match="not iterable"):
            client.insert_bills(given)  # type: ignore[arg-type]


def test_a_fork_in_between_leaves_the_parents_run_whole(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    run = client.insert_bills(bills(20), concurrency=4)
    outcomes = [next(run)]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            next(run)
        except RuntimeError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    outcomes.extend(run)
    assert {outcome.outcome for outcome in outcomes} == {"inserted"}
    assert len(outcomes) == len(sandbox.requests) == 20


def test_answers_are_kept_while_nobody_asks(sandbox: Sandbox) -> None:
    """Deadlines do not take an answer that is there for one that is missing."""
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, timeout=1
    ) as client:
        run = client.insert_bills(bills(8), concurrency=4)
        outcomes = [next(run)]
        sandbox.wait_for_requests(4, timeout=10, finished=True)
        threading.Event().wait(2)  # twice the timeout: what is under test is being away
        outcomes.extend(run)
    assert {outcome.outcome for outcome in outcomes} == {"inserted"}


@pytest.mark.parametrize("how", ["collected", "read", "left"])
def test_a_run_that_has_ended_leaves_its_connections(
    sandbox: Sandbox, client: nontax.Client, how: str
) -> None:
    kept = []  # a run need not be forgotten for that
    for _ in range(3):
        run = client.insert_bills(bills(4), concurrency=1)
        kept.append(run)
        if how == "collected":
            run.collect()
        elif how == "read":
            assert len(list(run)) == 4
        else:
            with run:
                next(run)
                run.stop()
                collect(run, [])
    client.insert_bill(bill(order_id="alone"))
    assert len({request.connection for request in sandbox.requests}) == 1
