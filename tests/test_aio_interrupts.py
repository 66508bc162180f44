"""What an event loop's own failures must not do to bills: Ctrl-C in the middle of our callbacks,
and an executor that has no thread for the token source."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bills import bill

import nontax
from nontax.outcomes import Outcome
from nontax.sandbox import Sandbox, faults


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that, unlike asyncio.run(), leaves Ctrl-C to Python, which raises it anywhere."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def interrupt_in(function: str) -> None:
    """Press Ctrl-C when a function of that name of ours is entered the next time."""

    def look(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == function and "nontax" in code.co_filename:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    sys.setprofile(look)


@pytest.mark.parametrize("function", ["_end_of", "_ended", "_deliver"])
def test_ctrl_c_in_a_turn_of_a_single_call(
    sandbox: Sandbox,
    client: nontax.Client,
    loop: asyncio.AbstractEventLoop,
    function: str,
) -> None:
    task = loop.create_task(client.ainsert_bill(bill()))
    interrupt_in(function)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(asyncio.wait_for(task, 10)).code
    assert len(sandbox.requests) == 1


def test_ctrl_c_while_the_error_of_a_single_call_is_made(
    sandbox: Sandbox, client: nontax.Client, loop: asyncio.AbstractEventLoop
) -> None:
    sandbox.inject(faults.Errcode(-1, taken=True))
    task = loop.create_task(client.ainsert_bill(bill()))
    interrupt_in("make_error")
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    with pytest.raises(nontax.SystemBusyError):
        loop.run_until_complete(asyncio.wait_for(task, 10))
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("function", ["_turn", "_ended", "_deliver"])
def test_ctrl_c_in_a_turn_of_a_run(
    sandbox: Sandbox,
    client: nontax.Client,
    loop: asyncio.AbstractEventLoop,
    function: str,
) -> None:
    outcomes: list[Outcome] = []

    async def collect() -> None:
        async with client.ainsert_bills(bill() for _ in range(5)) as run:
            async for outcome in run:
                outcomes.append(outcome)

    task = loop.create_task(collect())
    interrupt_in(function)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    loop.run_until_complete(asyncio.wait_for(task, 10))
    assert sorted(outcome.index for outcome in outcomes) == list(range(5))
    assert {outcome.outcome for outcome in outcomes} == {"inserted"}


class Interrupting(dict[str, object]):
    """A bill in whose conversion Ctrl-C is pressed once."""

    pressed = False

    def items(self) -> Any:
        if not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)
        return super().items()


@pytest.mark.parametrize("go_on", [True, False])
def test_ctrl_c_while_a_bill_is_converted(
    sandbox: Sandbox, client: nontax.Client, loop: asyncio.AbstractEventLoop, *, go_on: bool
) -> None:
    outcomes: list[Outcome] = []

    async def begin() -> Any:
        return client.ainsert_bills([bill(), Interrupting(bill()), bill()], concurrency=1)

    async def collect() -> None:
        async for outcome in run:
            outcomes.append(outcome)

    run = loop.run_until_complete(begin())
    task = loop.create_task(collect())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    if go_on:
        loop.run_until_complete(collect())
    outcomes += loop.run_until_complete(run.aclose())
    said = [(outcome.index, outcome.outcome) for outcome in outcomes]
    if go_on:
        assert said == [(0, "inserted"), (1, "inserted"), (2, "inserted")]
    else:
        assert said == [(0, "inserted"), (1, "not_sent")]
    assert len(sandbox.requests) == (3 if go_on else 1)


@pytest.mark.parametrize("how", ["no thread", "given up"])
def test_an_executor_that_does_not_ask_the_token_source(
    sandbox: Sandbox, loop: asyncio.AbstractEventLoop, how: str
) -> None:
    client = nontax.Client(token_source=lambda _: sandbox.access_token, base_url=sandbox.base_url)
    executor = ThreadPoolExecutor(1)
    loop.set_default_executor(executor)

    async def insert() -> nontax.InsertedBill:
        if how == "no thread":
            executor.shutdown()
            return await client.ainsert_bill(bill())
        held = asyncio.Event()
        release = asyncio.run_coroutine_threadsafe
        blocker = executor.submit(lambda: release(held.wait(), loop).result())
        task = asyncio.ensure_future(client.ainsert_bill(bill()))
        await asyncio.sleep(0.05)
        executor.shutdown(wait=False, cancel_futures=True)
        held.set()
        await asyncio.wrap_future(blocker)
        return await task

    with pytest.raises(nontax.NotSentError, match="RuntimeError"):
        loop.run_until_complete(asyncio.wait_for(insert(), 10))
    assert sandbox.requests == ()
