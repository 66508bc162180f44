"""Many bills in one run in an event loop: one outcome for each, whatever happens on the way."""

import asyncio
import contextvars
import gc
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from bills import bill
from loops import Gate, Strict, has_descriptor, until
from processes import Child, Talk

import nontax
from nontax import AsyncRun, Outcome
from nontax.sandbox import Sandbox, faults


def bills(count: int, prefix: str = "order") -> Iterator[dict[str, Any]]:
    return (bill(f"{prefix}-{i}", billing_code=f"{prefix}{i}") for i in range(count))


async def slowly(many: Iterator[Any], turns: int = 1) -> AsyncIterator[Any]:
    for one in many:
        for _ in range(turns):
            await asyncio.sleep(0)
        yield one


async def collect(outcomes: AsyncIterator[Outcome], kept: list[Outcome]) -> None:
    async for outcome in outcomes:
        kept.append(outcome)


def names(outcomes: list[Outcome]) -> list[str]:
    """What became of each, in the order of the iterable."""
    assert len({outcome.index for outcome in outcomes}) == len(outcomes)
    return [one.outcome for one in sorted(outcomes, key=lambda one: one.index)]


def client_of(gate: Gate) -> nontax.Client:
    return nontax.Client(access_token="token", base_url=gate.base_url)


# --- every bill comes out once --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["iterable", "asynchronous"])
def test_every_bill_comes_out_once(
    any_sandbox: Sandbox, any_client: nontax.Client, run: Strict, kind: str
) -> None:
    sent = list(bills(300))
    source: Any = sent if kind == "iterable" else slowly(iter(sent))
    kept: list[Outcome] = []
    run(collect_in_loop(any_client, source, kept, concurrency=8))
    assert names(kept) == ["inserted"] * 300
    for outcome in kept:
        assert outcome.bill is sent[outcome.index]
        assert outcome.inserted is not None
        assert outcome.inserted.code == any_sandbox.bills[f"order-{outcome.index}"].code
        assert outcome.error is None
        assert outcome.attempts == 1
    assert len(any_sandbox.requests) == 300
    if has_descriptor(any_client):  # looking now and then costs some more
        assert any_sandbox.connections <= 9


async def collect_in_loop(
    client: nontax.Client, source: Any, kept: list[Outcome], **settings: Any
) -> None:
    await collect(client.ainsert_bills(source, **settings), kept)


def test_it_reads_no_further_ahead_than_it_may(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    pulled: list[object] = []

    def counted() -> Iterator[Any]:
        for each in bills(40):
            pulled.append(each)
            yield each

    async def main(source: Any) -> None:
        pulled.clear()
        given = 0
        async with client.ainsert_bills(source, concurrency=3) as outcomes:
            assert not pulled
            async for _ in outcomes:
                given += 1
                assert len(pulled) <= given - 1 + 3
        assert given == 40

    run(main(counted()))
    pulled.clear()
    sandbox.inject(faults.Errcode(72035), times=40)
    run(main(slowly(counted())))


def test_outcomes_come_while_the_iterable_is_slow(run: Strict) -> None:
    """The next bill may be hours away: what has been answered is told before."""
    more = asyncio.Event()

    async def source() -> AsyncIterator[Any]:
        yield bill("one")
        await more.wait()
        yield bill("two")

    async def main(gate: Gate) -> None:
        outcomes = client_of(gate).ainsert_bills(source())
        first = asyncio.ensure_future(anext(outcomes))
        await until(lambda: gate.bodies)
        gate.answer(0)
        assert (await first).outcome == "inserted"
        more.set()
        second = asyncio.ensure_future(anext(outcomes))
        await until(lambda: len(gate.bodies) == 2)
        gate.answer(1)
        assert (await second).index == 1
        assert [one async for one in outcomes] == []

    with Gate() as gate:
        run(main(gate))


def test_what_a_slow_iterable_gives_goes_out_at_once(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """Though it holds up the loop while it makes a bill."""

    def slow() -> Iterator[dict[str, object]]:
        for given in range(5):
            # The first one may wait for the second: nobody knows yet that they come slowly.
            if given > 1:
                sandbox.wait_for_requests(given, timeout=10)
            time.sleep(0.05)
            yield bill()

    async def main() -> list[str]:
        return [outcome.outcome async for outcome in client.ainsert_bills(slow())]

    assert run(main()) == ["inserted"] * 5


def test_bad_bills_are_outcomes(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    mixed: list[Any] = [*bills(2), {"order_id": "x"}, "nonsense", None, *bills(2, "more")]
    expected = [*["inserted"] * 2, *["not_sent"] * 3, *["inserted"] * 2]
    for source in (mixed, slowly(iter(mixed))):
        kept: list[Outcome] = []
        run(collect_in_loop(client, source, kept))
        if source is mixed:
            assert names(kept) == expected
        else:
            # The same bills for the second time.
            assert names(kept) == ["rejected" if name == "inserted" else name for name in expected]
        assert {type(one.error) for one in kept if one.outcome == "not_sent"} == {
            nontax.InvalidRequestError
        }


def test_a_rate(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    for source in (bills(8), slowly(bills(8, "slow"))):
        kept: list[Outcome] = []
        run(collect_in_loop(client, source, kept, rate=200))
        assert names(kept) == ["inserted"] * 8

    async def main() -> list[Outcome]:
        outcomes = client.ainsert_bills(bills(3, "seldom"), rate=0.0001)  # one in hours
        return [await anext(outcomes), *await outcomes.aclose()]

    assert names(run(main())) == ["inserted"]
    assert len(sandbox.requests) == 17


def test_two_runs_and_single_calls_at_once(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    kept: list[list[Outcome]] = [[], []]

    async def main() -> None:
        await asyncio.gather(
            collect(client.ainsert_bills(bills(60, "a"), concurrency=3), kept[0]),
            collect(client.ainsert_bills(slowly(bills(60, "b")), concurrency=3), kept[1]),
            *(client.ainsert_bill(bill()) for _ in range(60)),
        )

    run(main())
    assert names(kept[0]) == names(kept[1]) == ["inserted"] * 60
    assert len(sandbox.requests) == len(sandbox.bills) == 180


# --- iterables that misbehave ---------------------------------------------------------------------


class SourceError(BaseException):
    """No Exception: the rarer kind."""


@pytest.mark.parametrize("error", [OSError, SourceError, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("kind", ["iterable", "asynchronous"])
def test_an_iterable_that_raises(
    sandbox: Sandbox, client: nontax.Client, run: Strict, kind: str, error: type[BaseException]
) -> None:
    def broken() -> Iterator[Any]:
        yield from bills(5)
        raise error("in the middle")

    async def abroken() -> AsyncIterator[Any]:
        for one in bills(5):
            yield one
        raise error("in the middle")

    kept: list[Outcome] = []
    caught: list[BaseException] = []

    async def main() -> None:
        outcomes = client.ainsert_bills(
            broken() if kind == "iterable" else abroken(), concurrency=3
        )
        try:
            await collect(outcomes, kept)
        except BaseException as raised:
            caught.append(raised)
        # What the iterable raises at once leaves the bills before it under way.
        await collect(outcomes, kept)

    run(main())
    assert [type(one) for one in caught] == [error]
    assert names(kept) == ["inserted"] * 5
    assert len(sandbox.requests) == 5


def test_an_iterable_that_cannot_begin(client: nontax.Client, run: Strict) -> None:
    class Broken:
        def __aiter__(self) -> Any:
            raise OSError("no such table")

    class NoIterator:
        def __aiter__(self) -> Any:
            return self

    async def main() -> None:
        sources: list[tuple[Any, type[Exception]]]
        sources = [
            (5, TypeError),
            (None, TypeError),
            (Broken(), OSError),
            (NoIterator(), TypeError),
        ]
        for source, error in sources:
            with pytest.raises(error):
                client.ainsert_bills(source)

    run(main())


def test_bad_arguments(client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        wrong: Any
        for wrong in ({"concurrency": 0}, {"concurrency": 1001}, {"rate": 0}, {"rate": -1.0}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                client.ainsert_bills([], **wrong)
        for wrong in ({"concurrency": 1.5}, {"concurrency": True}, {"rate": "5"}):
            with pytest.raises(TypeError, match=next(iter(wrong))):
                client.ainsert_bills([], **wrong)

    run(main())


def test_without_a_loop(client: nontax.Client) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        client.ainsert_bills([])


def test_an_iterable_with_context_variables(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """It sets one, and resets it much later, as tracing does around a piece of work."""
    variable = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []

    async def source() -> AsyncIterator[Any]:
        token = variable.set("inside")
        for one in bills(4):
            await asyncio.sleep(0)
            seen.append(variable.get())
            yield one
        variable.reset(token)

    kept: list[Outcome] = []
    run(collect_in_loop(client, source(), kept))
    assert names(kept) == ["inserted"] * 4
    assert seen == ["inside"] * 4


# --- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["iterable", "asynchronous"])
def test_trouble_that_every_bill_would_meet(
    sandbox: Sandbox, client: nontax.Client, run: Strict, kind: str
) -> None:
    source = bills(100)
    sandbox.inject(faults.Errcode(48001), times=1, skip=3)
    kept: list[Outcome] = []

    async def main() -> nontax.NontaxError:
        given: Any = source if kind == "iterable" else slowly(source)
        outcomes = client.ainsert_bills(given, concurrency=4)
        with pytest.raises(nontax.AccountError) as caught:
            await collect(outcomes, kept)
        # Once only.
        await collect(outcomes, kept)
        return caught.value

    error = run(main())
    sent = [outcome for outcome in kept if outcome.outcome != "not_sent"]
    assert [one.error for one in sent if one.error is not None] == [error]
    assert len(sent) == len(sandbox.requests)
    # A bill may have come from the asynchronous iterable just when the trouble did.
    assert len(kept) - len(sent) <= (kind == "asynchronous")
    assert len(list(source)) > 0


def test_trouble_while_the_next_bill_is_waited_for(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """That may take for ever: the iterable is told to end, and what it gives up is not lost."""
    sandbox.inject(faults.Errcode(48001), times=1)
    ended: list[str] = []

    async def source(last: Any) -> AsyncIterator[Any]:
        yield bill("one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            if last is None:
                raise
        yield last

    async def main() -> None:
        kept: list[Outcome] = []
        with pytest.raises(nontax.AccountError):
            await collect(client.ainsert_bills(source(None)), kept)
        assert names(kept) == ["rejected"]
        sandbox.inject(faults.Errcode(48001), times=1)
        kept.clear()
        with pytest.raises(nontax.AccountError):
            await collect(client.ainsert_bills(source(bill("two"))), kept)
        assert names(kept) == ["rejected", "not_sent"]

    run(main())
    assert ended == ["cancelled"] * 2


def test_a_token_that_cannot_be_had(sandbox: Sandbox, run: Strict) -> None:
    def source(stale: str | None) -> str:
        raise OSError("the vault is closed")

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    kept: list[Outcome] = []

    async def main() -> None:
        with pytest.raises(nontax.NotSentError, match="OSError"):
            await collect(client.ainsert_bills(bills(100), concurrency=4), kept)

    run(main())
    assert set(names(kept)) == {"not_sent"}
    assert not sandbox.requests


def test_one_renewal_for_all(sandbox: Sandbox, run: Strict) -> None:
    asked: list[bool] = []
    first = sandbox.access_token
    sandbox.renew_access_token()

    def source(stale: str | None) -> str:
        asked.append(stale is not None)
        return first if stale is None else sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    kept: list[Outcome] = []
    run(collect_in_loop(client, bills(40), kept, concurrency=10))
    assert names(kept) == ["inserted"] * 40
    assert asked == [False, True]


def test_the_minutes_quota_is_waited_for(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """With a pause of its own: a test cannot wait for the next minute."""
    sandbox.inject(faults.Errcode(45011), times=2, skip=1)

    async def main() -> list[Outcome]:
        outcomes = AsyncRun(
            client._core, bills(6), concurrency=2, rate=0.0, keep=0, quota_pause=0.05
        )
        return [one async for one in outcomes]

    kept = run(main())
    assert names(kept) == ["inserted"] * 6
    assert sum(outcome.attempts for outcome in kept) == len(sandbox.requests) == 8


# --- left, interrupted, ended ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["iterable", "asynchronous"])
def test_cancelled_and_gone_on(run: Strict, kind: str) -> None:
    """The task that iterates is cancelled: the iterator goes on for another."""

    async def main(gate: Gate) -> None:
        sent = list(bills(6))
        source: Any = sent if kind == "iterable" else slowly(iter(sent))
        outcomes = client_of(gate).ainsert_bills(source, concurrency=2)
        kept: list[Outcome] = []

        def arrived(number: int) -> bool:
            return len(gate.bodies) > number

        for number in range(6):
            task = asyncio.ensure_future(collect(outcomes, kept))
            await until(partial(arrived, number))
            if number % 2:
                # The answer is there when the cancellation is.
                gate.answer(number)
            task.cancel()
            await asyncio.wait([task])
            if not number % 2:
                gate.answer(number)
        await collect(outcomes, kept)
        assert names(kept) == ["inserted"] * 6

    with Gate() as gate:
        run(main(gate))
    assert len(gate.bodies) == 6


@pytest.mark.parametrize("kind", ["iterable", "asynchronous"])
def test_aclose(run: Strict, kind: str) -> None:
    async def main(gate: Gate) -> None:
        source: Any = bills(100) if kind == "iterable" else slowly(bills(100))
        outcomes = client_of(gate).ainsert_bills(source, concurrency=4)
        first = asyncio.ensure_future(anext(outcomes))
        await until(lambda: len(gate.bodies) == 4)
        gate.answer(2)
        kept = [await first]
        await until(lambda: len(gate.bodies) >= 4)
        gate.answer(1)
        kept += await outcomes.aclose()
        told = names(kept)
        assert told.count("inserted") == 2
        assert told.count("in_doubt") == 2
        assert told[4:] in ([], ["not_sent"], ["inserted"], ["in_doubt"])
        assert await outcomes.aclose() == []
        assert [one async for one in outcomes] == []
        # Nothing is sent afterwards.
        await asyncio.sleep(0.02)
        assert len(gate.bodies) <= len(kept)

    with Gate() as gate:
        run(main(gate))


def test_aclose_before_anything(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        outcomes = client.ainsert_bills(bills(5))
        assert await outcomes.aclose() == []
        assert [one async for one in outcomes] == []

    run(main())
    assert not sandbox.requests


def test_aclose_while_another_task_iterates(run: Strict) -> None:
    async def main(gate: Gate) -> None:
        outcomes = client_of(gate).ainsert_bills(bills(3), concurrency=3)
        kept: list[Outcome] = []
        task = asyncio.ensure_future(collect(outcomes, kept))
        await until(lambda: len(gate.bodies) == 3)
        rest = await outcomes.aclose()
        await task
        assert names(kept + rest) == ["in_doubt"] * 3

    with Gate() as gate:
        run(main(gate))


def test_an_aclose_that_is_cancelled(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    """While it waits for an iterable that does not let go of its next bill at once."""
    told_to_end = asyncio.Event()
    go_on = asyncio.Event()

    async def source() -> AsyncIterator[Any]:
        yield bill("seen")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told_to_end.set()
            await go_on.wait()
        yield bill("late")

    async def main() -> None:
        outcomes = client.ainsert_bills(source())
        kept = [await anext(outcomes)]
        closing = asyncio.ensure_future(outcomes.aclose())
        await told_to_end.wait()
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        kept += [one async for one in outcomes]
        assert names(kept) == ["inserted", "not_sent"]
        assert await outcomes.aclose() == []

    run(main())
    assert [request.order_id for request in sandbox.requests] == ["seen"]


def test_aclose_in_another_loop(sandbox: Sandbox, client: nontax.Client) -> None:
    """The first one was left, and is closed; the iterable is in the middle of its next bill."""
    kept: list[Outcome] = []

    async def source() -> AsyncIterator[Any]:
        yield bill("seen")
        await asyncio.Event().wait()

    async def begin() -> Any:
        outcomes = client.ainsert_bills(source())
        kept.append(await anext(outcomes))
        return outcomes

    async def close(outcomes: Any) -> None:
        kept.extend(await outcomes.aclose())

    outcomes = asyncio.run(begin())
    asyncio.run(close(outcomes))
    assert names(kept) == ["inserted"]


def test_aclose_with_a_bill_that_was_not_begun(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """The iterable has given it up, and nobody has asked for an outcome since."""
    given: list[str] = []

    async def source() -> AsyncIterator[Any]:
        for one in bills(3):
            given.append(one["order_id"])
            yield one
            await asyncio.sleep(0)

    async def main() -> None:
        outcomes = client.ainsert_bills(source(), concurrency=2)
        kept = [await anext(outcomes)]
        await asyncio.sleep(0.05)
        kept += await outcomes.aclose()
        assert {one.index for one in kept} == set(range(len(given)))
        assert {one.outcome for one in kept} <= {"inserted", "not_sent", "in_doubt"}
        sent = {request.order_id for request in sandbox.requests}
        for one in kept:
            assert (one.outcome == "not_sent") == (given[one.index] not in sent)

    run(main())


def test_nothing_is_sent_after_the_loop_was_left(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """A break leaves the pull of a bill under way; that bill must not go out unseen."""
    go_on = asyncio.Event()

    async def source() -> AsyncIterator[Any]:
        yield bill("seen")
        await go_on.wait()
        yield bill("unseen")

    async def main() -> None:
        outcomes = client.ainsert_bills(source())
        async for _ in outcomes:
            break
        go_on.set()
        await asyncio.sleep(0.05)
        assert len(sandbox.requests) == 1
        [outcome] = await outcomes.aclose()
        assert (outcome.index, outcome.outcome) == (1, "not_sent")

    run(main())
    assert [request.order_id for request in sandbox.requests] == ["seen"]


def test_async_with_says_what_is_lost(run: Strict) -> None:
    async def leave(gate: Gate) -> None:
        async with client_of(gate).ainsert_bills(bills(10), concurrency=4) as outcomes:
            first = asyncio.ensure_future(anext(outcomes))
            await until(lambda: len(gate.bodies) == 4)
            gate.answer(0)
            await first

    async def main(gate: Gate) -> None:
        with pytest.warns(RuntimeWarning, match="3 bills whose outcomes nobody has read") as told:
            await leave(gate)
        assert [one.filename for one in told] == [__file__]

    with Gate() as gate:
        run(main(gate))


def test_async_with_says_nothing_at_the_end(client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        async with client.ainsert_bills(bills(3)) as outcomes:
            assert len([one async for one in outcomes]) == 3

    run(main())


@pytest.mark.parametrize("kind", ["iterable", "asynchronous"])
def test_a_dropped_run_says_what_is_lost(
    sandbox: Sandbox, client: nontax.Client, run: Strict, kind: str
) -> None:
    async def leave(source: Any, told: Any) -> None:
        def is_told() -> int:
            gc.collect()
            return len(told)

        async for _ in client.ainsert_bills(source, concurrency=4):
            break
        await until(is_told)  # those under way come to their end first

    async def main() -> None:
        source: Any = bills(10) if kind == "iterable" else slowly(bills(10))
        with pytest.warns(RuntimeWarning, match="nobody has read") as told:
            await leave(source, told)
        assert len(sandbox.requests) <= 5

    run(main())


def test_a_loop_that_ends_in_the_middle(run: Strict) -> None:
    """asyncio.run() cancels what is left; what was under way is warned of, and can be had."""
    with Gate() as gate:
        client = client_of(gate)
        runs: list[Any] = []
        kept: list[Outcome] = []

        async def main() -> None:
            runs.append(client.ainsert_bills(slowly(bills(5)), concurrency=3))
            task = asyncio.ensure_future(collect(runs[0], kept))
            await until(lambda: len(gate.bodies) == 3)
            task.cancel()

        async def close() -> list[Outcome]:
            with pytest.raises(RuntimeError, match="another event loop"):
                await anext(runs[0])
            return list(await runs[0].aclose())

        run(main())
        assert kept == []
        told = names(run(close()))
        assert told[:3] == ["in_doubt"] * 3
        assert set(told[3:]) <= {"not_sent"}

        run(main_again(client, gate, runs))
        with pytest.warns(RuntimeWarning, match="nobody has read"):
            drop(runs)


def drop(runs: list[Any]) -> None:
    runs.clear()
    gc.collect()


async def main_again(client: nontax.Client, gate: Gate, runs: list[Any]) -> None:
    runs[:] = [client.ainsert_bills(bills(2), concurrency=2)]
    seen = len(gate.bodies)
    task = asyncio.ensure_future(anext(runs[0]))
    await until(lambda: len(gate.bodies) == seen + 2)
    task.cancel()


def test_two_tasks_on_one_iterator(run: Strict) -> None:
    async def main(gate: Gate) -> None:
        outcomes = client_of(gate).ainsert_bills(bills(1))
        first = asyncio.ensure_future(anext(outcomes))
        await until(lambda: gate.bodies)
        with pytest.raises(ValueError, match="in use by another task"):
            await anext(outcomes)
        gate.answer(0)
        assert (await first).outcome == "inserted"

    with Gate() as gate:
        run(main(gate))


def test_answers_are_kept_while_nobody_asks(sandbox: Sandbox, run: Strict) -> None:
    """A loop that was blocked for longer than a call's time takes no answer for a missing one."""
    client = nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url, timeout=1)

    async def main() -> list[Outcome]:
        outcomes = client.ainsert_bills(bills(8), concurrency=4)
        kept = [await anext(outcomes)]
        await until(lambda: len(sandbox.requests) >= 4)
        sandbox.wait_for_requests(4, timeout=10, finished=True)
        threading.Event().wait(2)  # twice the timeout: what is under test is being away
        await collect(outcomes, kept)
        return kept

    assert names(run(main())) == ["inserted"] * 8


def test_an_idle_run_holds_nothing(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    """Between two outcomes it may be left alone: then no descriptor is watched."""
    if not has_descriptor(client):
        pytest.skip("this build looks now and then")

    async def main() -> None:
        outcomes = client.ainsert_bills(bills(4), concurrency=1)
        async for outcome in outcomes:
            assert outcome.inserted
            loop = asyncio.get_running_loop()
            assert not loop.remove_reader(outcomes._descriptor)

    run(main())


def end_in_the_middle(talk: Talk) -> None:
    """Leave a run, and a program, in the middle."""
    import asyncio
    from collections.abc import AsyncIterator
    from typing import Any

    async def main() -> None:
        async def source() -> AsyncIterator[Any]:
            for one in talk.setup["bills"]:
                yield one
                await asyncio.sleep(0)

        async for _ in talk.client().ainsert_bills(source(), concurrency=3):
            break

    asyncio.run(main())
    talk.tell(ended=True)


def test_a_program_that_ends_in_the_middle(sandbox: Sandbox) -> None:
    with Child(
        end_in_the_middle,
        client={"access_token": sandbox.access_token, "base_url": sandbox.base_url},
        bills=list(bills(10)),
    ) as child:
        told, stderr = child.finish()
    assert told == [{"ended": True}]
    # The warning about unseen outcomes may be there, and nothing else.
    assert "Task" not in stderr
    # A traceback may show the line that warns, too.
    warnings = re.findall("RuntimeWarning: .*nobody has read", stderr, re.MULTILINE)
    assert stderr.count("Traceback") == stderr.count("Exception ignored ") == len(warnings)
