"""Bulk runs as people write them: whatever the loop looks like, no outcome is lost."""

import asyncio
import gc
import itertools
import json
import pickle
import re
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from bills import bill
from loops import Gate, Strict, until
from processes import Child, Talk

import nontax
from nontax import Outcome
from nontax.sandbox import Sandbox, faults

T = TypeVar("T")


def bills(count: int, prefix: str = "order") -> Iterator[dict[str, Any]]:
    return (bill(f"{prefix}-{i}", billing_code=f"{prefix}{i}") for i in range(count))


async def slowly(many: Iterator[Any]) -> AsyncIterator[Any]:
    for one in many:
        await asyncio.sleep(0)
        yield one


def names(outcomes: list[Outcome]) -> list[str]:
    """What became of each; they are in the order of the bills, with none missing."""
    assert [outcome.index for outcome in outcomes] == list(range(len(outcomes)))
    return [outcome.outcome for outcome in outcomes]


def last(client: nontax.Client) -> nontax.RunRecord:
    assert client.last_run is not None
    return client.last_run


@contextmanager
def ctrl_c(sandbox: Sandbox, requests: int, times: int = 1) -> Iterator[None]:
    """Press Ctrl-C when the sandbox has so many requests, and again once that was seen."""
    main = threading.main_thread().ident
    assert main is not None
    seen: list[threading.Event] = [threading.Event() for _ in range(times)]
    count = itertools.count()

    def on_signal(*_: object) -> None:
        seen[next(count)].set()
        raise KeyboardInterrupt

    def press() -> None:
        sandbox.wait_for_requests(requests, timeout=10)
        for event in seen:
            signal.pthread_kill(main, signal.SIGINT)
            event.wait(10)
            threading.Event().wait(0.1)  # what is under test has gone on

    before = signal.signal(signal.SIGINT, on_signal)
    presser = threading.Thread(target=press)
    presser.start()
    try:
        yield
    finally:
        presser.join()
        signal.signal(signal.SIGINT, before)


# --- collect() ------------------------------------------------------------------------------------


def test_collect_gives_all_in_the_order_of_the_bills(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    sandbox.inject(faults.Delay(0.1), times=1)
    sent = list(bills(60))
    run = client.insert_bills(sent, keep=5)
    outcomes = run.collect()
    assert [outcome.bill for outcome in outcomes] == sent
    assert names(outcomes) == ["inserted"] * 60
    assert run.outcomes == outcomes == last(client).outcomes
    assert run.error is None
    assert last(client).error is None
    assert run.collect() == outcomes
    assert list(run) == run.close() == []


def test_collect_does_not_raise_what_ends_a_run(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Errcode(45009), times=100, skip=10)
    run = client.insert_bills(bills(100), concurrency=4)
    outcomes = run.collect()
    assert names(outcomes).count("inserted") == 10
    assert len(outcomes) == len(sandbox.requests) < 100
    assert isinstance(run.error, nontax.QuotaError)
    assert run.error in [outcome.error for outcome in outcomes]
    assert list(run) == []  # it is raised nowhere
    assert last(client).error is run.error


def test_collect_does_not_raise_what_the_iterable_raises(client: nontax.Client) -> None:
    def broken() -> Iterator[Any]:
        yield from bills(5)
        raise OSError("the file has ended in the middle")

    run = client.insert_bills(broken())
    assert names(run.collect()) == ["inserted"] * 5
    assert isinstance(run.error, OSError)


def test_collect_after_a_loop_was_left(client: nontax.Client) -> None:
    run = client.insert_bills(bills(30), concurrency=4)
    for _ in run:
        break
    assert names(run.collect()) == ["inserted"] * 30


def test_ctrl_c_in_collect_waits_for_those_under_way(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    sandbox.inject(faults.Delay(0.5), times=4, skip=8)
    run = client.insert_bills(bills(64), concurrency=4)
    with ctrl_c(sandbox, 12), pytest.raises(KeyboardInterrupt):
        run.collect()
    assert set(names(run.outcomes)) == {"inserted"}
    assert 12 <= len(run.outcomes) == len(sandbox.requests) < 64
    assert run.close() == []


def test_a_second_ctrl_c_ends_those_under_way(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=4, skip=8)
    with ctrl_c(sandbox, 12, times=2), pytest.raises(KeyboardInterrupt):
        client.insert_bills(bills(64), concurrency=4).collect()
    told = names(last(client).outcomes)
    assert (told.count("inserted"), told.count("in_doubt")) == (8, 4)
    assert len(told) == len(sandbox.requests) == 12


def test_collect_while_another_thread_reads(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Delay(0.5), times=4)
    run = client.insert_bills(bills(8), concurrency=4)
    told: list[Outcome] = []
    thread = threading.Thread(target=lambda: told.extend(run))
    thread.start()
    sandbox.wait_for_requests(4, timeout=10)
    with pytest.raises(ValueError, match="in use"):
        run.collect()
    thread.join()
    assert len(told) == 8  # it was neither stopped nor disturbed


def test_stop_from_another_thread(sandbox: Sandbox, client: nontax.Client) -> None:
    """Those under way come to their ends, and the wait for a turn hours away ends, too."""
    run = client.insert_bills(bills(5), concurrency=4, rate=0.0001)

    def stop() -> None:
        sandbox.wait_for_requests(1, timeout=10, finished=True)
        run.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert [outcome.outcome for outcome in run] == ["inserted"]
    stopper.join()
    assert run.error is None


# --- loops ----------------------------------------------------------------------------------------


def test_list(client: nontax.Client) -> None:
    outcomes = list(client.insert_bills(bills(40)))
    assert last(client).outcomes == sorted(outcomes, key=lambda one: one.index)


def test_list_that_ends_with_the_days_quota(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Errcode(45009), times=100, skip=10)
    with pytest.raises(nontax.QuotaError) as caught:
        list(client.insert_bills(bills(100), concurrency=4))
    record = last(client)
    assert names(record.outcomes).count("inserted") == 10
    assert len(record.outcomes) == len(sandbox.requests)
    assert record.error is caught.value


def test_a_loop_without_a_name_and_ctrl_c(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=16, skip=8)
    with (
        pytest.warns(RuntimeWarning, match=r"16 bills .*\(16 in_doubt\)") as told,
        ctrl_c(sandbox, 24),
        pytest.raises(KeyboardInterrupt),
    ):
        for _ in client.insert_bills(bills(64)):
            pass
    assert [one.filename for one in told] == [__file__]
    outcomes = names(last(client).outcomes)
    assert (outcomes.count("inserted"), outcomes.count("in_doubt")) == (8, 16)
    assert len(outcomes) == len(sandbox.requests)


def test_with_and_break(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=3, skip=1)

    def leave() -> nontax.Run:
        with client.insert_bills(bills(30), concurrency=4) as run:
            for _ in run:
                sandbox.wait_for_requests(4, timeout=10)
                break
        return run

    with pytest.warns(RuntimeWarning, match="3 bills") as told:
        run = leave()
    assert [one.filename for one in told] == [__file__]
    assert len(run.outcomes) == len(sandbox.requests) == 4
    assert last(client).outcomes == run.outcomes


def test_close(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=3, skip=1)
    run = client.insert_bills(bills(30), concurrency=4)
    first = next(run)
    sandbox.wait_for_requests(4, timeout=10)
    rest = run.close()
    assert sorted([first, *rest], key=lambda one: one.index) == run.outcomes
    assert len(run.outcomes) == 4


def test_stop_and_read_on(sandbox: Sandbox, client: nontax.Client) -> None:
    run = client.insert_bills(bills(30), concurrency=4)
    seen: list[Outcome] = []
    for outcome in run:
        seen.append(outcome)
        run.stop()
    assert {outcome.outcome for outcome in seen} == {"inserted"}
    assert len(seen) == len(run.outcomes) == len(sandbox.requests) < 30
    assert run.error is None


def test_a_dropped_run_is_ended_and_named(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=16, skip=1)
    runs = [client.insert_bills(itertools.chain(bills(20), [{"order_id": "\n"}]), concurrency=16)]
    next(runs[0])
    sandbox.wait_for_requests(16, timeout=10)
    with pytest.warns(RuntimeWarning) as told:
        runs.clear()
    [warning] = told
    text = str(warning.message)
    assert warning.filename == __file__
    assert text.count("order-") == 10
    assert "15 bills" in text
    assert "and 5 more" in text
    assert "client.last_run.outcomes" in text
    assert len(last(client).outcomes) == len(sandbox.requests) == 16


def test_what_is_no_order_id_is_not_shown(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=3)
    strange: list[Any] = [bill("x" * 1000), bill(order_id="a\nb"), 5, bill("seen")]
    runs = [client.insert_bills(strange, concurrency=4)]
    next(runs[0])
    with pytest.warns(RuntimeWarning) as told:
        runs.clear()
    text = str(told[0].message)
    assert "\n" not in text
    assert f"{'x' * 64}…" in text
    assert "x" * 65 not in text


def test_a_run_in_a_cycle(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=3, skip=1)
    cycle: dict[int, Any] = {}
    cycle[1] = client.insert_bills(itertools.chain(bills(10), map(cycle.get, [0])), concurrency=4)  # type: ignore[arg-type]
    next(cycle[1])
    del cycle
    with pytest.warns(RuntimeWarning, match="3 bills"):
        gc.collect()
    assert len(last(client).outcomes) == 4


def test_never_iterated(sandbox: Sandbox, client: nontax.Client) -> None:
    with pytest.warns(RuntimeWarning, match="never iterated") as told:
        client.insert_bills(bills(3))
    assert [one.filename for one in told] == [__file__]
    with pytest.warns(RuntimeWarning, match="never iterated"):
        gc.collect((lambda outcomes: 0)(outcome.index for outcome in client.insert_bills(bills(3))))
    assert not sandbox.requests
    client.insert_bills(bills(3)).close()  # somebody knows what they do


def test_a_generator_expression(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=3, skip=12)
    sandbox.inject(faults.Errcode(72038), skip=5)
    failed = (one for one in client.insert_bills(bills(64), concurrency=4) if one.error)
    outcome = next(failed)
    assert outcome.outcome == "rejected"
    with pytest.warns(RuntimeWarning, match="3 bills"):
        del failed
    assert len(last(client).outcomes) == 21


@pytest.mark.parametrize(("keep", "expected"), [(0, 0), (5, 5), (100, 30)])
def test_keep(client: nontax.Client, keep: int, expected: int) -> None:
    run = client.insert_bills(bills(30), keep=keep)
    read = list(run)
    assert len(read) == 30
    assert run.outcomes == sorted(read[30 - expected :], key=lambda one: one.index)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, None])
def test_keep_is_a_count(client: nontax.Client, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="keep"):
        client.insert_bills(bills(1), keep=wrong)


def test_the_warning_says_what_keep_has_dropped(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.NeverAnswer(), times=3, skip=1)
    runs = [client.insert_bills(bills(10), concurrency=4, keep=0)]
    next(runs[0])
    with pytest.warns(RuntimeWarning, match="keep=0"):
        runs.clear()


def test_the_last_run_is_the_one_begun_last(client: nontax.Client) -> None:
    assert client.last_run is None
    first, second = client.insert_bills(bills(3, "a")), client.insert_bills(bills(5, "b"))
    assert len(second.collect()) == len(last(client).outcomes) == 5
    assert len(first.collect()) == 3
    assert len(last(client).outcomes) == 5


def test_what_a_run_looks_like(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Errcode(45009), times=1, skip=3)
    run = client.insert_bills(bills(30), concurrency=1)
    assert repr(run) == "<nontax.Run: no outcomes>"
    run.collect()
    assert repr(run).startswith("<nontax.Run: 3 inserted, 1 rejected; ended by <QuotaError: ")
    assert repr(client.last_run).startswith("<nontax.RunRecord: 3 inserted, 1 rejected; ended by ")
    public = {name for name in dir(run) if not name.startswith("_")}
    assert public == {"close", "collect", "error", "outcomes", "stop"}
    for name in public:
        assert getattr(type(run), name).__doc__


def test_a_close_that_was_interrupted_counts_what_it_had(
    sandbox: Sandbox, client: nontax.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcomes that it had gathered before are neither lost nor forgotten by the warning."""
    made: list[object] = []

    of_values = Outcome._make

    def make(*values: Any) -> Any:
        made.append(values)
        if len(made) == 4:
            raise KeyboardInterrupt
        return of_values(*values)

    sandbox.inject(faults.NeverAnswer(), times=5, skip=1)
    monkeypatch.setattr(Outcome, "_make", make)
    runs = [client.insert_bills(bills(10), concurrency=5)]
    next(runs[0])
    sandbox.wait_for_requests(5, timeout=10)
    with pytest.raises(KeyboardInterrupt):
        runs[0].close()
    with pytest.warns(RuntimeWarning, match="4 bills"):
        runs.clear()
    assert len(last(client).outcomes) == len(sandbox.requests) == 5


def drop_at_the_end(talk: Talk) -> None:
    """Leave a loop without a name, and the program, in the middle."""
    import warnings

    warnings.simplefilter("default")
    bills = talk.setup["bills"]
    client = talk.client()
    for _ in client.insert_bills(bills, concurrency=3):
        break
    kept = client.insert_bills(bills, concurrency=3)
    talk.tell(first=len(client.last_run.outcomes))  # type: ignore[union-attr]
    globals()["run"] = kept  # the program ends with it


def test_a_person_sees_the_warning(sandbox: Sandbox) -> None:
    sandbox.inject(faults.NeverAnswer(), times=2, skip=1)
    with Child(
        drop_at_the_end,
        client={"access_token": sandbox.access_token, "base_url": sandbox.base_url},
        bills=list(bills(10)),
    ) as child:
        _, stderr = child.finish()
    assert "RuntimeWarning: a run was left with 2 bills whose outcomes nobody has read" in stderr
    assert re.search(r"\(2 in_doubt\): order-\d, order-\d; ", stderr)
    assert "RuntimeWarning: a run was never iterated" in stderr
    assert "Traceback" not in stderr


# --- in an event loop -----------------------------------------------------------------------------


def run_and_tidy(run: Strict, main: Coroutine[Any, Any, T]) -> T:
    result = run(main)
    gc.collect()
    return result


@pytest.mark.parametrize("kind", ["iterable", "asynchronous"])
def test_acollect(sandbox: Sandbox, client: nontax.Client, run: Strict, kind: str) -> None:
    async def main() -> None:
        sandbox.inject(faults.Errcode(45009), times=100, skip=10)
        source: Any = bills(100) if kind == "iterable" else slowly(bills(100))
        outcomes = client.ainsert_bills(source, concurrency=4)
        told = await outcomes.collect()
        assert names(told).count("inserted") == 10
        assert {one.outcome for one in told} <= {"inserted", "rejected", "not_sent"}
        assert isinstance(outcomes.error, nontax.QuotaError)
        assert told == outcomes.outcomes == last(client).outcomes
        assert last(client).error is outcomes.error
        assert [one async for one in outcomes] == []
        assert await outcomes.collect() == told

    run(main())


@pytest.mark.parametrize("kind", ["iterable", "asynchronous"])
def test_acollect_and_an_iterable_that_raises(
    client: nontax.Client, run: Strict, kind: str
) -> None:
    def broken() -> Iterator[Any]:
        yield from bills(5)
        raise OSError("in the middle")

    async def main() -> None:
        source: Any = broken() if kind == "iterable" else slowly(broken())
        outcomes = client.ainsert_bills(source)
        assert names(await outcomes.collect()) == ["inserted"] * 5
        assert isinstance(outcomes.error, OSError)
        assert isinstance(last(client).error, OSError)

    run(main())


def test_acollect_that_is_cancelled(run: Strict) -> None:
    """Those under way are waited for, and no other bill is taken."""

    async def main(gate: Gate) -> None:
        client = nontax.Client(access_token="token", base_url=gate.base_url)
        outcomes = client.ainsert_bills(bills(64), concurrency=4)
        collecting = asyncio.ensure_future(outcomes.collect())
        await until(lambda: len(gate.bodies) == 4)
        collecting.cancel()
        await asyncio.sleep(0.05)
        assert not collecting.done()
        for number in range(4):
            gate.answer(number)
        await asyncio.wait([collecting])
        assert collecting.cancelled()
        assert names(outcomes.outcomes) == ["inserted"] * 4

    with Gate() as gate:
        run(main(gate))


def test_acollect_that_is_cancelled_twice(run: Strict) -> None:
    async def main(gate: Gate) -> None:
        client = nontax.Client(access_token="token", base_url=gate.base_url)
        collecting = asyncio.ensure_future(client.ainsert_bills(bills(64), concurrency=4).collect())
        await until(lambda: len(gate.bodies) == 4)
        for _ in range(2):
            collecting.cancel()
            await asyncio.sleep(0.05)
        await asyncio.wait([collecting])
        assert collecting.cancelled()
        assert names(last(client).outcomes) == ["in_doubt"] * 4

    with Gate() as gate:
        run(main(gate))


def test_async_for_that_is_cancelled(run: Strict) -> None:
    async def read(client: nontax.Client) -> None:
        async for _ in client.ainsert_bills(bills(64), concurrency=4):
            pass

    async def main(gate: Gate) -> nontax.Client:
        client = nontax.Client(access_token="token", base_url=gate.base_url)
        reading = asyncio.ensure_future(read(client))
        await until(lambda: len(gate.bodies) == 4)
        reading.cancel()
        await asyncio.wait([reading])
        return client

    # The loop itself holds the run while bills are under way: it ends with the loop.
    with Gate() as gate, pytest.warns(RuntimeWarning, match=r"4 bills .*order-0, order-1"):
        client = run_and_tidy(run, main(gate))
    assert names(last(client).outcomes) == ["in_doubt"] * 4


def test_async_for_and_break(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    """Those under way come to their ends, and are in the record."""

    async def main() -> None:
        async for _ in client.ainsert_bills(bills(20), concurrency=4):
            break
        await until(lambda: len(last(client).outcomes) >= 4)
        gc.collect()

    with pytest.warns(RuntimeWarning, match="nobody has read"):
        run_and_tidy(run, main())
    assert set(names(last(client).outcomes)) == {"inserted"}
    assert len(last(client).outcomes) == len(sandbox.requests)


def test_async_with_and_aclose(run: Strict) -> None:
    async def main(gate: Gate) -> None:
        client = nontax.Client(access_token="token", base_url=gate.base_url)

        async def leave() -> nontax.AsyncRun:
            async with client.ainsert_bills(bills(10), concurrency=4) as outcomes:
                reading = asyncio.ensure_future(anext(outcomes))
                await until(lambda: len(gate.bodies) == 4)
                reading.cancel()
                await asyncio.wait([reading])
            return outcomes

        with pytest.warns(RuntimeWarning, match="4 bills") as told:
            outcomes = await leave()
        assert [one.filename for one in told] == [__file__]
        assert names(outcomes.outcomes) == ["in_doubt"] * 4
        closed = client.ainsert_bills(bills(10), concurrency=2)
        reading = asyncio.ensure_future(anext(closed))
        await until(lambda: len(gate.bodies) == 6)
        reading.cancel()
        await asyncio.wait([reading])
        rest = await closed.aclose()
        assert sorted(rest, key=lambda one: one.index) == closed.outcomes == last(client).outcomes
        assert len(rest) == 2

    with Gate() as gate:
        run(main(gate))


def test_astop(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    async def main(source: Any) -> None:
        before = len(sandbox.requests)
        outcomes = client.ainsert_bills(source, concurrency=4)
        async for _ in outcomes:
            outcomes.stop()
        told = names(outcomes.outcomes)
        assert told.count("inserted") == len(sandbox.requests) - before < 30
        assert set(told) <= {"inserted", "not_sent"}

    run(main(bills(30, "a")))
    run(main(slowly(bills(30, "b"))))


def test_gather(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        runs = [client.ainsert_bills(bills(20, name)) for name in "abc"]
        told = await asyncio.gather(*(one.collect() for one in runs))
        assert [names(each) for each in told] == [["inserted"] * 20] * 3
        assert [one.outcomes for one in runs] == told
        assert last(client).outcomes == told[2]

    run(main())


def test_never_iterated_in_a_loop(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        with pytest.warns(RuntimeWarning, match="never iterated") as told:
            client.ainsert_bills(bills(3))
        assert [one.filename for one in told] == [__file__]

    run(main())
    assert not sandbox.requests


def test_what_an_asynchronous_run_looks_like(client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        outcomes = client.ainsert_bills(bills(3), keep=2)
        assert [one async for one in outcomes] != []
        assert len(outcomes.outcomes) == 2
        assert repr(outcomes) == "<nontax.AsyncRun: 2 inserted>"
        public = {name for name in dir(outcomes) if not name.startswith("_")}
        assert public == {"aclose", "collect", "error", "outcomes", "stop"}

    run(main())


def test_a_run_that_was_read_says_nothing(client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        assert len([one async for one in client.ainsert_bills(bills(3, "a"))]) == 3

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(client.insert_bills(bills(3, "b")))) == 3
        with client.insert_bills(bills(3, "c")) as outcomes:
            assert len(outcomes.collect()) == 3
        run(main())
        gc.collect()


# --- two bills about the same ---------------------------------------------------------------------


@pytest.mark.parametrize("code", [72018, 72042, 72056])
def test_a_duplicate_within_the_run_is_said_to_be_one(
    sandbox: Sandbox, client: nontax.Client, code: int
) -> None:
    sandbox.inject(faults.Errcode(code), times=2, skip=2)
    given = [
        bill("first", billing_code="1"),
        bill("other", billing_code="2"),
        bill("first", billing_code="3", shape="flat"),
        bill("fourth", billing_code="2", shape="table"),
    ]
    *_, same_order, same_number = client.insert_bills(given, concurrency=1).collect()
    for outcome, index, what in (
        (same_order, 0, "order_id"),
        (same_number, 1, "billing_no and billing_code"),
    ):
        error = outcome.error
        assert isinstance(error, nontax.DuplicateBillError)
        assert error.same_as == index
        assert f"index {index} of the same run has the same {what}" in error.advice
        assert error.advice in str(error)
        assert "treat it as delivered" not in str(error)
        assert pickle.loads(pickle.dumps(error)).same_as == index


def test_a_duplicate_of_an_earlier_run(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    one = bill()
    assert names(client.insert_bills([one]).collect()) == ["inserted"]

    async def main() -> list[Outcome]:
        return await client.ainsert_bills([one]).collect()

    for outcome in (*client.insert_bills([one]).collect(), *run(main())):
        assert isinstance(outcome.error, nontax.DuplicateBillError)
        assert outcome.error.same_as is None
        assert "treat it as delivered" in outcome.error.advice


# --- the minute's quota, and a token that must be waited for --------------------------------------


def in_one_minute(work: Callable[[str], list[Outcome]]) -> list[Outcome]:
    """What comes of it when no minute of the clock, and with it the pause, ends on the way."""
    for attempt in itertools.count():
        minute = time.time() // 60
        outcomes = work(f"{attempt}")
        if time.time() // 60 == minute:
            return outcomes
    raise AssertionError


def test_the_minutes_quota_as_an_outcome(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """Nothing waits, and the run goes on."""

    # One at a time: a second connection could take any number of bills before the answer to the
    # fourth arrives.
    def blocking(prefix: str) -> list[Outcome]:
        sandbox.inject(faults.Errcode(45011), times=1, skip=3)
        many = bills(20, f"b{prefix}")
        return client.insert_bills(many, concurrency=1, minute_quota="outcome").collect()

    async def collect(many: Iterator[dict[str, Any]]) -> list[Outcome]:
        return await client.ainsert_bills(many, concurrency=1, minute_quota="outcome").collect()

    def in_a_loop(prefix: str) -> list[Outcome]:
        sandbox.inject(faults.Errcode(45011), times=1, skip=3)
        return run(collect(bills(20, f"a{prefix}")))

    for outcomes in (in_one_minute(blocking), in_one_minute(in_a_loop)):
        assert names(outcomes) == ["inserted"] * 3 + ["rejected"] + ["not_sent"] * 16
        for outcome in outcomes[3:]:
            assert outcome.error is not None
            assert outcome.error.retry == "later"
            assert outcome.error.advice
        assert {str(one.error) for one in outcomes[4:]} == {
            "nothing was sent: the quota of calls per minute is used up; sending it again is safe"
        }


@pytest.fixture
def forced(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[nontax.Client]:
    """A client whose first token is refused once, just after a newer one was forced: the next one
    can be forced in 0.6 seconds."""
    bureau = sandbox.bureau
    monkeypatch.setattr("nontax.token.FORCE_EVERY", 0.6)
    monkeypatch.setattr("nontax.cached.REFUSAL_COUNTS", 0.0)
    monkeypatch.setattr("nontax.token._forced", {bureau.appid: time.monotonic()})
    sandbox.inject(faults.Errcode(42001), skip=1)  # the first request fetches the token
    with nontax.Client(
        appid=bureau.appid, secret=bureau.secret, base_url=sandbox.base_url
    ) as client:
        yield client


def test_a_run_waits_for_the_next_forced_token(sandbox: Sandbox, forced: nontax.Client) -> None:
    outcomes = forced.insert_bills(bills(8), concurrency=4).collect()
    assert names(outcomes) == ["inserted"] * 8
    assert sum(outcome.attempts for outcome in outcomes) == 9


def test_a_run_in_a_loop_waits_for_the_next_forced_token(
    forced: nontax.Client, run: Strict
) -> None:
    async def main() -> list[Outcome]:
        return await forced.ainsert_bills(bills(8), concurrency=4).collect()

    outcomes = run(main())
    assert names(outcomes) == ["inserted"] * 8
    assert sum(outcome.attempts for outcome in outcomes) == 9


def test_a_token_that_must_be_waited_for_as_an_outcome(forced: nontax.Client) -> None:
    run = forced.insert_bills(bills(40), concurrency=4, minute_quota="outcome")
    told = Counter(names(run.collect()))
    assert run.error is None
    assert told["rejected"] == 1
    # How many answers came before the refusal is the server's affair; a run that waits has none.
    assert told["not_sent"] >= 20
    assert told.total() == 40
    for outcome in run.outcomes:
        if outcome.error is not None:
            assert outcome.error.retry == "later"
            assert outcome.error.advice == "It was not processed: send it again in a minute."
            assert isinstance(outcome.error, nontax.AccessTokenError | nontax.NotSentError)


def test_a_single_call_does_not_wait_for_a_token(forced: nontax.Client) -> None:
    with pytest.raises(nontax.AccessTokenError):
        forced.insert_bill(bill())


@pytest.mark.parametrize("code", [43002, 61024])
def test_what_else_ends_a_run(sandbox: Sandbox, client: nontax.Client, code: int) -> None:
    sandbox.inject(faults.Errcode(code), times=100)
    run = client.insert_bills(bills(100), concurrency=4)
    assert len(run.collect()) <= 8
    assert isinstance(run.error, nontax.WeChatError)
    assert run.error.errcode == code


@pytest.mark.parametrize("wrong", ["wait", "", None, True])
def test_minute_quota_is_one_of_two(client: nontax.Client, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="minute_quota must be"):
        client.insert_bills(bills(1), minute_quota=wrong)


# --- what an outcome tells ------------------------------------------------------------------------

KEYS = [
    "index",
    "order_id",
    "outcome",
    "code",
    "errcode",
    "reason",
    "retry",
    "advice",
    "rid",
    "attempts",
    "seconds",
]
NAME = "灌哥发票"


def test_an_outcome_as_a_row(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Errcode(72038), times=2, skip=1)
    sandbox.inject(faults.Close("body"))
    given: list[Any] = [bill("one"), bill("two"), bill("three"), bill("four"), bill("x", fee=-1), 5]
    outcomes = client.insert_bills(given, concurrency=1).collect()
    rows = [outcome.to_dict() for outcome in outcomes]
    assert [list(row) for row in rows] == [KEYS] * 6
    assert [row["order_id"] for row in rows] == ["one", "two", "three", "four", "x", None]
    assert [row["outcome"] for row in rows] == [
        "inserted",
        *["rejected"] * 2,
        "in_doubt",
        *["not_sent"] * 2,
    ]
    inserted, refused, again, doubt, invalid, _ = rows
    assert inserted["code"] == sandbox.bills["one"].code
    assert (inserted["reason"], inserted["errcode"], inserted["retry"]) == (None, None, None)
    assert refused["rid"] != again["rid"]
    assert refused["reason"] == again["reason"] == outcomes[1].reason
    assert refused["errcode"] == 72038
    assert refused["reason"].startswith("72038 ")
    assert invalid["reason"].startswith("card_ext.user_card.invoice_user_data.fee ")
    assert all(row["reason"] and row["retry"] and row["advice"] for row in rows[1:])
    text = json.dumps(rows, ensure_ascii=False)
    assert outcomes[0].inserted is not None
    assert outcomes[0].inserted.openid is not None
    assert not any(secret in text for secret in (NAME, outcomes[0].inserted.openid))
    assert doubt["code"] is None


def test_what_a_notebook_shows(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Errcode(72038, "<script>alert(1)</script> & rid: 1"), skip=1)
    given: list[Any] = [bill("<b>"), bill("two")]
    run = client.insert_bills(given, concurrency=1)
    outcomes = run.collect()
    assert outcomes[0].inserted is not None
    assert outcomes[0].inserted.openid is not None
    openid = outcomes[0].inserted.openid
    shown = [outcome._repr_html_() for outcome in outcomes]
    shown += [run._repr_html_(), last(client)._repr_html_()]
    for html in shown:
        assert not any(secret in html for secret in (NAME, openid, "<script", "<b>"))
    assert "&lt;b&gt;" in shown[0]
    assert f"<th>openid</th><td>{openid[:4]}…</td>" in shown[0]
    assert "None" not in shown[0]
    assert shown[2] == shown[3]
    assert "<tr><td>inserted</td><td>1</td><td></td></tr>" in shown[2]
    assert "&lt;script&gt;" in shown[2]


def test_a_notebook_shows_the_most_frequent_reasons(client: nontax.Client) -> None:
    given: list[Any] = [{f"field{i % 30}": "x"} for i in range(60)]
    client.insert_bills(given).collect()
    html = last(client)._repr_html_()
    assert html.count("<tr>") == 1 + 20 + 1
    assert "<td>…</td><td>20</td>" in html


def test_what_ended_a_run_is_shown(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Errcode(45009))
    run = client.insert_bills(bills(1))
    run.collect()
    assert run._repr_html_().endswith("<p>Ended by QuotaError</p>")
