"""Ctrl-C at every place in our asynchronous code: each bill has one outcome, and is sent once at
most."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import Talk, run

from nontax.ledger import Ledger
from nontax.sandbox import Sandbox


def press_in_runs(talk: Talk) -> None:
    import asyncio
    import itertools
    from contextlib import suppress

    from interrupts import Source, end, is_interrupted_at

    client = talk.client()

    async def begin() -> Any:
        bills = source.slowly() if talk.setup["slowly"] else iter(source)
        return client.ainsert_bills(bills, concurrency=2)

    async def collect() -> None:
        async for outcome in outcomes:
            seen.append(outcome)

    async def close() -> None:
        seen.extend(await outcomes.aclose())

    pressed = True
    for place in itertools.count(1):
        if not pressed:
            break
        loop = asyncio.new_event_loop()
        seen: list[Any] = []
        source = Source()
        outcomes = loop.run_until_complete(begin())
        if talk.setup["closed"]:
            seen.append(loop.run_until_complete(anext(outcomes)))
        task = loop.create_task(close() if talk.setup["closed"] else collect())
        pressed = is_interrupted_at(place, loop, task)
        works = (task, close()) if talk.setup["closed"] else (task, collect(), close())
        for work in works:
            # What has ended the task that takes the next bill, ends the run, like any exception.
            with suppress(KeyboardInterrupt):
                end(loop, work)
        said = sorted((outcome.index, outcome.outcome) for outcome in seen)
        talk.tell(place=place, said=said, taken=source.taken)
        loop.close()


def none_twice(sandbox: Sandbox) -> bool:
    sent = [request.order_id for request in sandbox.requests]
    return len(sent) == len(set(sent))


@pytest.mark.parametrize("slowly", [False, True])
def test_ctrl_c_anywhere_in_a_run(sandbox: Sandbox, *, slowly: bool) -> None:
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    told = run(press_in_runs, client=client, slowly=slowly, closed=False)
    for one in told:
        assert [index for index, _ in one["said"]] == list(range(one["taken"])), one
    outcomes = [outcome for one in told for _, outcome in one["said"]]
    # One that was taken by the task that Ctrl-C has ended is not sent any more.
    assert set(outcomes) <= ({"inserted", "not_sent"} if slowly else {"inserted"})
    assert outcomes.count("inserted") == len(sandbox.requests)
    assert none_twice(sandbox)
    assert len(told) > 50
    assert sum(one["taken"] == 3 for one in told) > len(told) * 0.8


@pytest.mark.parametrize("slowly", [False, True])
def test_ctrl_c_anywhere_in_aclose(sandbox: Sandbox, *, slowly: bool) -> None:
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    told = run(press_in_runs, client=client, slowly=slowly, closed=True)
    for one in told:
        assert [index for index, _ in one["said"]] == list(range(one["taken"])), one
    assert none_twice(sandbox)
    assert len(told) >= 5


def press_in_single_calls(talk: Talk) -> None:
    import asyncio
    import itertools
    from contextlib import suppress

    from bills import bill
    from interrupts import end, is_interrupted_at

    import nontax
    from nontax.aio import calls

    token = talk.setup["token"]

    def source(_stale: str | None) -> str:
        return str(token)

    client = talk.client(token_source=source)
    calls.CALLS_AT_ONCE = talk.setup["at_once"]
    pressed = True
    for place in itertools.count(1):
        if not pressed:
            break
        loop = asyncio.new_event_loop()
        bills = [bill() for _ in range(3)]
        tasks = [loop.create_task(client.ainsert_bill(one)) for one in bills]
        pressed = is_interrupted_at(place, loop, loop.create_task(asyncio.wait(tasks)))
        if pressed and talk.setup["then_cancelled"]:
            for task in tasks:  # as asyncio.run() does
                task.cancel()
        for one, task in zip(bills, tasks, strict=True):
            while not task.done():
                with suppress(KeyboardInterrupt):  # of another task's
                    end(loop, asyncio.wait([task]))
            outcome = "inserted"
            try:
                task.result()
            except (KeyboardInterrupt, asyncio.CancelledError, nontax.NotSentError) as error:
                if not getattr(error, "__notes__", ""):
                    known = error if isinstance(error, nontax.NotSentError) else error.__context__
                    # Not known: it had not come to us yet.
                    outcome = getattr(known, "outcome", "not known")
            talk.tell(order=one["order_id"], outcome=outcome)
        end(loop, loop.shutdown_default_executor())
        loop.close()


@pytest.mark.parametrize("then_cancelled", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_ctrl_c_anywhere_in_a_single_call(
    sandbox: Sandbox, at_once: int, *, then_cancelled: bool
) -> None:
    """Also of calls that wait for their turn."""
    told = run(
        press_in_single_calls,
        client={"base_url": sandbox.base_url},
        token=sandbox.access_token,
        at_once=at_once,
        then_cancelled=then_cancelled,
    )
    for one in told:
        if one["outcome"] == "inserted":
            assert one["order"] in sandbox.bills
        elif one["outcome"] != "in_doubt":
            assert one["order"] not in sandbox.bills, one
    assert none_twice(sandbox)
    assert len(told) > 20
    assert {one["outcome"] for one in told} >= {"inserted", "not_sent"}


def press_two_at_once(talk: Talk) -> None:
    """Two signals come together, so that the second is there when the first is being handled."""
    import asyncio
    import ctypes
    import signal
    import sys

    import interrupts  # noqa: F401  (it makes asyncio quiet)
    from bills import bill

    from nontax import aio

    both = {signal.SIGUSR1, signal.SIGUSR2}
    for number in both:
        signal.signal(number, signal.default_int_handler)
    # Not Python's, which has the first handled before it comes to the second.
    set_mask = ctypes.PyDLL(None).pthread_sigmask
    no_signals = bytes(128)

    def look(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        ours = code.co_filename.startswith(aio.__path__[0])
        if event == "call" and code.co_qualname == where and ours:
            sys.setprofile(None)
            for number in both:
                signal.raise_signal(number)
            set_mask(signal.SIG_SETMASK, no_signals, None)

    client = talk.client()
    for where in ("_end_of", "Calls._deliver", "Calls._hand_over", "Driver._ended"):
        loop = asyncio.new_event_loop()
        task = loop.create_task(client.ainsert_bill(bill()))
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        sys.setprofile(look)
        pressed = False
        for _ in range(3):
            try:
                loop.run_until_complete(asyncio.wait([task], timeout=10))
            except KeyboardInterrupt:
                pressed = True
        talk.tell(where=where, pressed=pressed, code=task.result().code)
        loop.close()


@pytest.mark.skipif(sys.platform != "linux", reason="knows how large a set of signals is")
def test_two_signals_at_once(sandbox: Sandbox) -> None:
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    told = run(press_two_at_once, client=client)
    assert [one["pressed"] for one in told] == [True] * 4
    assert {one["code"] for one in told} == {one.code for one in sandbox.bills.values()}


def books_tie(sandbox: Sandbox, path: Path, told: list[Any]) -> bool:
    """The ledger has every bill as it was told, and what it has as inserted was received."""
    kept = Ledger(path).counts()
    outcomes = Counter(outcome for one in told for _, outcome in one["said"])
    return kept == outcomes and kept["inserted"] == len(sandbox.requests)


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("closed", [False, True])
def test_ctrl_c_anywhere_in_a_run_with_a_ledger(
    sandbox: Sandbox, tmp_path: Path, *, slowly: bool, closed: bool
) -> None:
    path = tmp_path / "bills.db"
    client = {
        "access_token": sandbox.access_token, "base_url": sandbox.base_url, "ledger": str(path),
    }  # fmt: skip
    told = run(press_in_runs, client=client, slowly=slowly, closed=closed)
    for one in told:
        assert [index for index, _ in one["said"]] == list(range(one["taken"])), one
    assert none_twice(sandbox)
    assert "sending" not in Ledger(path).counts()
    if not slowly and not closed:
        assert books_tie(sandbox, path, told)
    assert len(told) > (5 if closed else 50)


def press_in_a_blocking_run(talk: Talk) -> None:
    import itertools
    from contextlib import suppress

    from interrupts import Source, ctrl_c_at

    import nontax

    client = talk.client()
    pressed = True
    for place in itertools.count(1):
        if not pressed:
            break
        source = Source()
        outcomes = client.insert_bills(iter(source), concurrency=2)
        pressed = False
        try:
            with ctrl_c_at(place, nontax.__path__[0]):
                outcomes.collect()
        except KeyboardInterrupt:
            pressed = True
        with suppress(KeyboardInterrupt):
            outcomes.collect()
        said = [(outcome.index, outcome.outcome) for outcome in outcomes.outcomes]
        talk.tell(place=place, said=said, taken=source.taken)


def test_ctrl_c_anywhere_in_a_blocking_run_with_a_ledger(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "bills.db"
    client = {
        "access_token": sandbox.access_token, "base_url": sandbox.base_url, "ledger": str(path),
    }  # fmt: skip
    told = run(press_in_a_blocking_run, client=client)
    for one in told:
        assert [index for index, _ in one["said"]] == list(range(one["taken"])), one
    assert none_twice(sandbox)
    assert books_tie(sandbox, path, told)
    assert len(told) > 50
