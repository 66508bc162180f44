"""The asynchronous twins: the same results and errors, no thread, nothing left, in any loop."""

import asyncio
import contextlib
import gc
import inspect
import selectors
import sys
import threading
import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from loops import FACTORIES, Gate, Strict, has_descriptor, until
from marks import DEBUG
from processes import Talk
from processes import run as run_child
from servers import RawServer, Wire
from test_interfaces import ROWS, reply

import nontax
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates

TOKEN = "aio-canary-1f60c37d52"
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class InLoop:
    """A client whose methods are run as their twins, each in a loop of its own."""

    def __init__(self, client: nontax.Client, run: Strict) -> None:
        self._client = client
        self._run = run

    def __getattr__(self, name: str) -> Any:
        twin = getattr(self._client, "a" + name)
        return lambda *arguments, **named: self._run(twin(*arguments, **named))


def raised(call: Callable[[], object]) -> nontax.NontaxError:
    with pytest.raises(nontax.NontaxError) as caught:
        call()
    return caught.value


def both(
    run: Strict,
    call: Callable[[Any], object],
    client: nontax.Client,
    other: nontax.Client | None = None,
) -> nontax.NontaxError:
    """Have the call fail in a loop and without one: the two errors tell the same."""
    in_loop = raised(lambda: call(InLoop(client, run)))
    assert facts(in_loop) == facts(raised(lambda: call(other or client)))
    return in_loop


def facts(error: nontax.NontaxError) -> dict[str, Any]:
    """All of it that is not of one request alone."""
    changing = ("rid", "errmsg", "reply")
    shown = {name: value for name, value in vars(error).items() if name not in changing}
    return shown | {"type": type(error), "cause": type(error.__cause__)}


# --- twins ----------------------------------------------------------------------------------------


def test_every_method_has_a_twin_with_the_same_signature() -> None:
    public = [name for name in dir(nontax.Client) if not name.startswith("_")]
    twins = [name for name in public if name[0] == "a" and name[1:] in public]
    assert set(public) - set(twins) - {name[1:] for name in twins} == {
        "appid",
        "close",
        "last_run",
        "ledger",
    }
    for name in twins:
        twin = getattr(nontax.Client, name)
        of_twin = inspect.signature(twin)
        of_sync = inspect.signature(getattr(nontax.Client, name[1:]))
        if name in ("ainsert_bills", "aupload_pdfs"):
            assert list(of_twin.parameters) == list(of_sync.parameters)
            assert [one.default for one in of_twin.parameters.values()] == [
                one.default for one in of_sync.parameters.values()
            ]
        else:
            assert of_twin == of_sync
            assert inspect.iscoroutinefunction(twin)
        assert twin.__doc__


@pytest.mark.parametrize("name", ROWS)
def test_the_same_result(
    any_sandbox: Sandbox, any_client: nontax.Client, run: Strict, name: str
) -> None:
    row = ROWS[name]
    any_sandbox.inject(reply(row), times=2)
    result: Any = row.call(InLoop(any_client, run))  # type: ignore[arg-type]
    assert result == row.result
    if name == "getticket":
        return  # it is kept
    row.call(any_client)
    one, two = any_sandbox.requests
    assert (one.method, one.path, one.query) == (two.method, two.path, two.query)
    assert {k: v for k, v in one.headers.items() if k != "content-type"} == {
        k: v for k, v in two.headers.items() if k != "content-type"
    }
    assert one.body == two.body or name == "insertbill"


@pytest.mark.parametrize("name", ROWS)
def test_the_same_refusal(sandbox: Sandbox, run: Strict, name: str) -> None:
    row = ROWS[name]
    for errcode in (48001, -1, 40097):
        sandbox.inject(faults.Errcode(errcode), times=2)
        # Anew: that a ticket could not be had counts for a while.
        clients = [
            nontax.Client(access_token="token", base_url=sandbox.base_url, retries=0)
            for _ in range(2)
        ]
        both(run, row.call, *clients)


FAULTS: dict[str, faults.Fault] = {
    "no body": faults.Close("head"),
    "no answer": faults.Close("body", taken=True),
    "reset": faults.Close("body", reset=True),
    "half an answer": faults.Reply(cut_after=60),
    "a longer answer": faults.Reply(length_delta=7),
    "a page": faults.Reply(502, body=b"<html>"),
    "another answer": faults.Reply(body=b'{"code":"1"}'),
    "busy": faults.Errcode(72036),
    "system error": faults.Errcode(-1),
    "duplicate": faults.Errcode(72037),
    "a minute's quota": faults.Errcode(45011),
    "unknown": faults.Errcode(123456),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_the_same_failure(
    any_sandbox: Sandbox, certificates: Certificates, run: Strict, kind: str
) -> None:
    any_sandbox.inject(FAULTS[kind], times=100)
    client = nontax.Client(
        access_token=any_sandbox.access_token,
        base_url=any_sandbox.base_url,
        ca_file=certificates.ca_file,
        retries=0,
    )
    both(run, lambda client: client.insert_bill(bill()), client)


def test_the_same_problems(client: nontax.Client, run: Strict) -> None:

    def insert(wrong: Any, client: nontax.Client) -> None:
        client.insert_bill(wrong)

    wrong: Any
    for wrong in ({}, bill(fee=1.5, title=""), [], None, "bill", bill() | {"more": 1}):
        error = both(run, partial(insert, wrong), client)
        assert isinstance(error, nontax.InvalidRequestError)


def test_the_same_without_a_server(dead: str, run: Strict) -> None:
    client = nontax.Client(access_token="token", base_url=dead, retries=1)
    error = both(run, lambda client: client.insert_bill(bill()), client)
    assert type(error) is nontax.NotSentError


def test_the_same_without_a_certificate(tls_sandbox: Sandbox, run: Strict) -> None:
    client = nontax.Client(access_token="token", base_url=tls_sandbox.base_url)
    error = both(run, lambda client: client.insert_bill(bill()), client)
    assert type(error) is nontax.TLSError


class SourceError(Exception):
    """What a test's token source raises."""


def raises(_: str | None) -> str:
    raise SourceError


def exits(_: str | None) -> str:
    raise SystemExit(3)


SOURCES: dict[str, Any] = {
    "raises": raises,
    "nothing": lambda _: None,
    "bytes": lambda _: b"token",
    "empty": lambda _: "",
    "blank": lambda _: "to ken",
    "surrogate": lambda _: "\udc80",
    "the same again": lambda _: "token",
    "no newer one": lambda stale: "token" if stale is None else "",
    "raises for a newer one": lambda stale: "token" if stale is None else raises(stale),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_same_trouble_with_a_token(sandbox: Sandbox, run: Strict, kind: str) -> None:
    client = nontax.Client(token_source=SOURCES[kind], base_url=sandbox.base_url)
    both(run, lambda client: client.insert_bill(bill()), client)
    assert not sandbox.bills


def test_a_source_that_wants_to_end_the_program(sandbox: Sandbox, run: Strict) -> None:
    """In the loop's executor that can only be trouble with the token."""
    client = nontax.Client(token_source=exits, base_url=sandbox.base_url)
    error = raised(lambda: InLoop(client, run).insert_bill(bill()))
    assert (type(error), type(error.__cause__)) == (nontax.NotSentError, SystemExit)
    assert not sandbox.requests


@pytest.mark.parametrize("where", ["connecting", "answering"])
def test_the_end_of_a_calls_time(certificates: Certificates, run: Strict, where: str) -> None:
    let_go = threading.Event()
    with RawServer(lambda wire: let_go.wait()) as server:
        url = server.base_url
        if where == "connecting":
            url = url.replace("http:", "https:")  # no handshake ever comes
        client = nontax.Client(access_token="token", base_url=url, timeout=0.3, retries=0)
        error = both(run, lambda client: client.insert_bill(bill()), client)
        let_go.set()
    assert error.outcome == ("not_sent" if where == "connecting" else "in_doubt")
    assert isinstance(error, nontax.NotSentError | nontax.InDoubtError)
    assert error.timed_out


def test_a_call_ends_on_time(sandbox: Sandbox, run: Strict) -> None:
    """Of two calls that nobody answers, the one with half the other's time ends first."""
    sandbox.inject(faults.NeverAnswer(), times=2)
    ends: list[float] = []

    async def insert(timeout: float) -> None:
        client = nontax.Client(
            access_token=sandbox.access_token, base_url=sandbox.base_url, timeout=timeout
        )
        with pytest.raises(nontax.InDoubtError):
            await client.ainsert_bill(bill())
        ends.append(timeout)

    async def main() -> None:
        waiting = asyncio.create_task(insert(0.8))
        # By the loop's own clock: it is not late either.
        loop = asyncio.get_running_loop()
        loop.call_later(1.1, ends.append, 1.1)
        await asyncio.gather(waiting, insert(0.6))
        await until(lambda: len(ends) == 3)

    run(main())
    assert ends == [0.6, 0.8, 1.1]


# --- many at once ---------------------------------------------------------------------------------


def test_five_hundred_at_once(any_sandbox: Sandbox, any_client: nontax.Client, run: Strict) -> None:
    bills = [bill() for _ in range(500)]

    async def main() -> list[nontax.InsertedBill]:
        return await asyncio.gather(*(any_client.ainsert_bill(one) for one in bills))

    inserted = run(main())
    taken = any_sandbox.bills
    assert [one.code for one in inserted] == [taken[one["order_id"]].code for one in bills]
    assert len(any_sandbox.requests) == 500
    if has_descriptor(any_client):  # looking now and then costs some more
        assert any_sandbox.connections < 150


def test_mixed_outcomes_do_not_mix(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    bills: list[Any] = [bill() for _ in range(200)]
    for one in bills[::5]:
        sandbox.reject(one["order_id"])
    for one in bills[1::5]:
        del one["card_id"]

    async def main() -> list[Any]:
        calls = (client.ainsert_bill(one) for one in bills)
        return await asyncio.gather(*calls, return_exceptions=True)

    for place, told in enumerate(run(main())):
        if place % 5 == 0:
            assert (type(told), told.errcode) == (nontax.BillStateError, 72035)
        elif place % 5 == 1:
            assert told.problems == [("card_id", "is missing")]
        else:
            assert told.code == sandbox.bills[bills[place]["order_id"]].code


def test_a_bad_bill_behind_a_hundred_others(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """It is converted when its turn comes, and fails as it would at once."""

    class Odd(dict[str, Any]):
        def items(self) -> Any:
            raise SourceError

    async def main(order: Any) -> list[Any]:
        calls = [client.ainsert_bill(one) for one in order]
        return await asyncio.gather(*calls, return_exceptions=True)

    [alone] = run(main([Odd(bill())]))
    told = run(main([*(bill() for _ in range(100)), Odd(bill()), {}, bill()]))
    assert (
        facts(told[100]) == facts(alone)
        if isinstance(alone, nontax.NontaxError)
        else (type(told[100]) is type(alone))
    )
    assert isinstance(told[101], nontax.InvalidRequestError)
    assert isinstance(told[102], nontax.InsertedBill)
    assert len(sandbox.requests) == 101


def test_a_token_is_asked_for_once(sandbox: Sandbox, run: Strict) -> None:
    asked: list[bool] = []
    threads: set[int] = set()
    first = sandbox.access_token
    sandbox.renew_access_token()

    def source(stale: str | None) -> str:
        asked.append(stale is not None)
        threads.add(threading.get_ident())
        return first if stale is None else sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)

    async def main() -> None:
        await asyncio.gather(*(client.ainsert_bill(bill()) for _ in range(100)))

    run(main())
    assert asked == [False, True]
    assert threading.get_ident() not in threads
    counts = Counter(request.errcode for request in sandbox.requests)
    assert counts == {0: 100, 40001: 100}


def test_a_source_that_blocks_does_not_block_the_loop(sandbox: Sandbox, run: Strict) -> None:
    let_go = threading.Event()

    def source(stale: str | None) -> str:
        assert let_go.wait(20)
        return sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)

    async def main() -> None:
        inserting = asyncio.create_task(client.ainsert_bill(bill()))
        await asyncio.sleep(0.01)
        let_go.set()
        await inserting

    run(main())


def test_a_source_that_takes_longer_than_the_call_may(sandbox: Sandbox, run: Strict) -> None:
    let_go = threading.Event()

    def source(stale: str | None) -> str:
        assert let_go.wait(20)
        return sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url, timeout=0.1)

    async def main() -> None:
        try:
            with pytest.raises(nontax.NotSentError, match="access token") as told:
                await client.ainsert_bill(bill())
            assert told.value.timed_out
        finally:
            let_go.set()
        await client.ainsert_bill(bill())

    run(main())
    assert len(sandbox.requests) == 1


# --- nothing runs that need not -------------------------------------------------------------------


def use_no_thread(talk: Talk) -> None:
    """Make calls of every kind; tell how many threads there are."""
    import asyncio
    import os
    import threading
    from typing import Any

    def threads() -> int:
        kernel = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 1
        return max(threading.active_count(), kernel)

    async def main() -> None:
        client = talk.client()
        bills: list[Any] = talk.setup["bills"]
        most = 0
        await client.ainsert_bill(bills[0])
        calls = [asyncio.ensure_future(client.ainsert_bill(one)) for one in bills[1:20]]
        while not all(call.done() for call in calls):
            await asyncio.sleep(0)
            most = max(most, threads())
        async for _ in client.ainsert_bills(bills[20:]):
            most = max(most, threads())
        ticket = talk.setup["ticket"]
        await client.aupload_pdf(b"%PDF-1.7")
        unit = talk.client(access_token=talk.setup["unit"])
        s_pappid = (await client.aget_s_pappid()).s_pappid
        await unit.aget_bill_auth_url(s_pappid=s_pappid, order_id="o", money=1, ticket=ticket)
        talk.tell(threads=max(most, threads()))

    asyncio.run(main())


@linux
def test_no_thread_is_started(sandbox: Sandbox) -> None:
    with nontax.Client(access_token=sandbox.unit.access_token, base_url=sandbox.base_url) as unit:
        ticket = unit.get_ticket().ticket
    [told] = run_child(
        use_no_thread,
        client={"access_token": sandbox.access_token, "base_url": sandbox.base_url},
        bills=[bill() for _ in range(60)],
        unit=sandbox.unit.access_token,
        ticket=ticket,
    )
    assert told == {"threads": 1}


def test_a_ticket_that_is_kept_needs_no_thread(sandbox: Sandbox, run: Strict) -> None:
    unit = nontax.Client(access_token=sandbox.unit.access_token, base_url=sandbox.base_url)
    unit.get_ticket()

    class NoExecutor(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **named: Any) -> Any:
            raise AssertionError("a thread was asked for")

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(NoExecutor())
        s_pappid = sandbox.bureau.s_pappid
        await unit.aget_bill_auth_url(s_pappid=s_pappid, order_id="o", money=1)

    run(main())


class Counting(selectors.DefaultSelector):
    """Counts how often the loop has gone to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = 0

    def select(self, timeout: float | None = None) -> Any:
        self.sleeps += timeout is None or timeout > 0
        return super().select(timeout)


def counting_loop() -> tuple[asyncio.SelectorEventLoop, Counting]:
    selector = Counting()
    return asyncio.SelectorEventLoop(selector), selector


def test_a_loop_sleeps_until_the_answer_comes(
    any_client: nontax.Client, any_sandbox: Sandbox
) -> None:
    if not has_descriptor(any_client):
        pytest.skip("this build looks now and then")
    loop, selector = counting_loop()
    any_sandbox.inject(faults.Delay(0.5))

    async def main() -> None:
        await any_client.ainsert_bill(bill())

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    # Looking every hundredth of a second would have made fifty of it.
    assert selector.sleeps < 25


def test_an_idle_client_leaves_nothing_in_the_loop(
    any_sandbox: Sandbox, any_client: nontax.Client
) -> None:
    loop, selector = counting_loop()

    async def outcomes() -> None:
        async for outcome in any_client.ainsert_bills(bill() for _ in range(20)):
            assert outcome.inserted

    async def main() -> None:
        await any_client.ainsert_bill(bill())
        await asyncio.gather(*(any_client.ainsert_bill(bill()) for _ in range(150)))
        await outcomes()
        if not has_descriptor(any_client):
            await asyncio.sleep(0.1)  # it looks once more
        assert len(selector.get_map()) == 1  # the loop's own pipe
        assert not loop._scheduled  # type: ignore[attr-defined]
        assert all(one.cancelled() for one in loop._ready)  # type: ignore[attr-defined]

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_the_descriptor_is_not_readable_while_nothing_happens(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    """A loop that is woken again and again for nothing would burn the processor."""
    if not has_descriptor(client):
        pytest.skip("this build looks now and then")
    loop, selector = counting_loop()
    turns = 0

    async def main(server: Gate) -> None:
        nonlocal turns
        task = asyncio.create_task(
            nontax.Client(access_token="token", base_url=server.base_url).ainsert_bill(bill())
        )
        await until(lambda: server.bodies)
        before = selector.sleeps
        await asyncio.sleep(0.3)
        turns = selector.sleeps - before
        server.answer(0)
        await task

    with Gate() as gate, asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main(gate))
    assert turns < 10


# --- loops, one after another and side by side ----------------------------------------------------


def test_one_client_in_one_loop_after_another(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    for _ in range(5):
        run(client.ainsert_bill(bill()))
        client.insert_bill(bill())
    assert len(sandbox.bills) == 10


def test_one_client_in_many_loops_at_once(sandbox: Sandbox, client: nontax.Client) -> None:
    async def main() -> int:
        inserted = await asyncio.gather(*(client.ainsert_bill(bill()) for _ in range(30)))
        outcomes = [one async for one in client.ainsert_bills(bill() for _ in range(20))]
        return len({one.code for one in inserted}) + sum(
            one.inserted is not None for one in outcomes
        )

    def work(number: int) -> int:
        factory = list(FACTORIES.values())[number % 2]
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    with ThreadPoolExecutor(8) as pool:
        threads = [pool.submit(work, number) for number in range(8)]
        for _ in range(20):
            client.insert_bill(bill())
        assert [thread.result(30) for thread in threads] == [50] * 8
    counts = Counter(request.order_id for request in sandbox.requests)
    assert len(counts) == len(sandbox.bills) == 8 * 50 + 20
    assert set(counts.values()) == {1}


def test_a_loop_that_runs_already(sandbox: Sandbox, client: nontax.Client) -> None:
    """As in Jupyter: the loop runs in its thread, and calls of both kinds are made from in it."""

    async def cell() -> str:
        client.insert_bill(bill())
        return (await client.ainsert_bill(bill())).code

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        codes = {asyncio.run_coroutine_threadsafe(cell(), loop).result(30) for _ in range(5)}
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert len(codes) == 5
    assert len(sandbox.bills) == 10


def test_a_loop_that_is_closed_with_a_call_under_way(run: Strict) -> None:
    with Gate() as gate:
        client = nontax.Client(access_token="token", base_url=gate.base_url)
        loop = run.factory()
        loop.set_exception_handler(lambda *_: None)  # "Task was destroyed", which is so
        task = loop.create_task(client.ainsert_bill(bill()))
        while not gate.bodies:
            loop.run_until_complete(asyncio.sleep(0.002))
        loop.close()
        gone = weakref.ref(loop)
        del loop, task

        async def insert() -> None:
            inserting = asyncio.ensure_future(client.ainsert_bill(bill()))
            await until(lambda: len(gate.bodies) == 2)
            gate.answer(1)
            await inserting

        def go_on() -> None:
            asyncio.run(insert())
            gc.collect()

        with pytest.warns(ResourceWarning, match="with 1 call in flight"):
            go_on()
        assert gone() is None
    assert len(gate.bodies) == 2


def test_a_coroutine_that_is_thrown_away(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    async def main() -> None:
        never = client.ainsert_bill(bill("never"))
        never.close()
        await client.ainsert_bill(bill("once"))

    run(main())
    assert [request.order_id for request in sandbox.requests] == ["once"]


def test_a_coroutine_that_is_closed_while_it_waits_for_its_turn(
    sandbox: Sandbox, client: nontax.Client, monkeypatch: pytest.MonkeyPatch, run: Strict
) -> None:
    """Nobody would hear what became of its bill."""
    monkeypatch.setattr("nontax.aio.calls.CALLS_AT_ONCE", 1)

    async def main() -> None:
        first = asyncio.create_task(client.ainsert_bill(bill("first")))
        await asyncio.sleep(0)
        waits = client.ainsert_bill(bill("closed"))
        waits.send(None)
        waits.close()
        await first
        await client.ainsert_bill(bill("last"))

    run(main())
    assert [request.order_id for request in sandbox.requests] == ["first", "last"]


def test_a_coroutine_that_is_closed_before_anything_was_sent(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    async def main() -> None:
        begun = client.ainsert_bill(bill("closed"))
        begun.send(None)
        begun.close()
        await client.ainsert_bill(bill("once"))

    run(main())
    assert [request.order_id for request in sandbox.requests] == ["once"]


def test_a_coroutine_that_is_closed_when_its_bill_was_sent(run: Strict) -> None:
    async def main() -> None:
        with Gate() as gate:
            client = nontax.Client(access_token="token", base_url=gate.base_url)
            begun = client.ainsert_bill(bill())
            begun.send(None)
            await until(lambda: len(gate.bodies) == 1)
            with pytest.warns(ResourceWarning, match="with 1 call in flight"):
                begun.close()

    run(main())


def test_a_coroutine_that_is_closed_when_its_answer_is_there(
    sandbox: Sandbox, client: nontax.Client, run: Strict
) -> None:
    async def main() -> None:
        begun = client.ainsert_bill(bill())
        answer = begun.send(None)
        await until(answer.done)
        with pytest.warns(ResourceWarning, match="with 1 call in flight"):
            begun.close()

    run(main())
    assert len(sandbox.bills) == 1


def test_a_coroutine_that_is_closed_by_another_ones_payload(run: Strict) -> None:
    async def main() -> None:
        with Gate() as gate:
            client = nontax.Client(access_token="token", base_url=gate.base_url)
            begun = client.ainsert_bill(bill("closed"))
            begun.send(None)

            class Closing(dict[str, object]):
                def items(self) -> Any:
                    begun.close()
                    return super().items()

            other = client.ainsert_bill(Closing(bill("other")))
            with pytest.warns(ResourceWarning, match="with 1 call in flight"):
                answer = other.send(None)
            await until(lambda: len(gate.bodies) > 0)
            gate.answer(0)
            await until(answer.done)
            with pytest.raises(StopIteration):
                other.send(None)
            assert len(gate.bodies) == 1
            assert b"other" in gate.bodies[0]

    run(main())


@pytest.mark.parametrize("closed", ["itself", "the next", "the last"])
def test_a_waiting_coroutine_that_is_closed_while_a_payload_is_read(
    sandbox: Sandbox,
    client: nontax.Client,
    monkeypatch: pytest.MonkeyPatch,
    run: Strict,
    closed: str,
) -> None:
    """The call behind it begins all the same."""
    monkeypatch.setattr("nontax.aio.calls.CALLS_AT_ONCE", 1)

    async def main() -> None:
        first = asyncio.create_task(client.ainsert_bill(bill("first")))
        await asyncio.sleep(0)
        waiting: dict[str, Any] = {}

        class Closing(dict[str, object]):
            def items(self) -> Any:
                victim = waiting.pop(closed, None)
                if victim is not None:
                    with contextlib.suppress(ValueError, ResourceWarning):
                        victim.close()
                return super().items()

        waiting["itself"] = client.ainsert_bill(Closing(bill("itself")))
        waiting["the next"] = client.ainsert_bill(bill("the next"))
        waiting["the last"] = client.ainsert_bill(bill("the last"))
        others = dict(waiting)
        answers = {name: one.send(None) for name, one in waiting.items()}
        await first
        for name, one in others.items():
            if name != closed:
                await asyncio.wait([answers[name]], timeout=30)
                with pytest.raises(StopIteration):
                    one.send(None)
        await client.ainsert_bill(bill("afterwards"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(main())
    orders = [request.order_id for request in sandbox.requests]
    expected = ["first", "itself", "the next", "the last", "afterwards"]
    expected.remove(closed)
    assert orders == expected


@linux
def test_a_coroutine_that_is_closed_during_its_upload(run: Strict, tmp_path: Path) -> None:
    """The file's descriptor is another one's then, of which nothing goes out."""
    heads: list[bytes] = []
    received: list[bytes] = []

    def behave(wire: Wire) -> None:
        heads.append(wire.read_head())
        let_go.wait()
        try:
            wire.wait_for_end()
        finally:
            received.append(wire.received)

    pdf, other = tmp_path / "bill.pdf", tmp_path / "other"
    pdf.write_bytes(b"%PDF-1.7" + b"p" * 30_000_000)  # more than sockets hold
    other.write_bytes(b"SECRET" * 5_000_000)

    async def main() -> None:
        client = nontax.Client(access_token="token", base_url=server.base_url)
        upload = client.aupload_pdf(pdf)
        upload.send(None)
        await until(lambda: bool(heads))
        with pytest.warns(ResourceWarning, match="with 1 call in flight"):
            upload.close()
        with other.open("rb"):
            let_go.set()
            await until(lambda: bool(received))

    let_go = threading.Event()
    with RawServer(behave) as server:
        run(main())
    assert b"ppp" in received[0]
    assert b"SECRET" not in received[0]


# --- what is left ---------------------------------------------------------------------------------


@linux
def test_close_closes_the_connections_of_loops(sandbox: Sandbox, client: nontax.Client) -> None:
    async def main() -> None:
        await client.ainsert_bill(bill())
        task = asyncio.create_task(client.ainsert_bill(bill()))
        await asyncio.sleep(0)
        client.close()  # this one goes on
        await task
        await client.ainsert_bill(bill())
        await asyncio.sleep(0.05)
        assert sandbox.close_idle_connections() == 1
        await client.ainsert_bill(bill())
        client.close()
        # The server's end learns of it.
        await until(lambda: not sandbox.close_idle_connections())

    asyncio.run(main())
    assert len(sandbox.bills) == 4


def test_errors_are_no_cycles(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    """What is raised, and the bill with it, is gone as soon as nobody has it any more."""

    class Marked(dict[str, Any]):
        pass

    kept: list[weakref.ref[Any]] = []

    async def fail() -> None:
        one = Marked(bill())
        kept.append(weakref.ref(one))
        sandbox.inject(faults.Errcode(48001))
        try:
            await client.ainsert_bill(one)
        except nontax.AccountError as error:
            kept.append(weakref.ref(error))

    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await fail()
            await asyncio.sleep(0.02)
            assert [reference() for reference in kept] == [None] * 6
        finally:
            gc.enable()

    with asyncio.Runner() as runner:  # not in debug mode, which keeps tracebacks
        runner.run(main())


def make_clients(talk: Talk) -> None:
    """Make a client for each request, as careless programs do; tell what that has left."""
    import asyncio
    import contextlib
    import gc
    import itertools
    import os
    import sys
    from typing import Any

    import nontax

    count = itertools.count(talk.setup["first"])

    def fresh() -> dict[str, Any]:
        number = str(next(count))
        one: dict[str, Any] = talk.setup["bill"]
        return one | {"order_id": number, "billing_code": number}

    async def request(way: int) -> None:
        client = talk.client()
        if way == 0:
            # Not gather(), which has a little growth of its own.
            calls = [asyncio.ensure_future(client.ainsert_bill(fresh())) for _ in range(3)]
            for call in calls:
                await call
        elif way == 1:
            tasks = [asyncio.ensure_future(client.ainsert_bill(fresh())) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.wait(tasks)
        elif way == 2:
            async for _ in client.ainsert_bills([fresh(), {}]):
                pass
        elif way == 3:
            outcomes = client.ainsert_bills(fresh() for _ in range(5))
            await anext(outcomes)
            await outcomes.aclose()
        else:
            with contextlib.suppress(nontax.InvalidRequestError):
                await client.ainsert_bill({})

    async def rounds(count: int) -> None:
        for number in range(5 * count):
            await request(number % 5)
        await asyncio.sleep(0.03)  # the portable build looks once more

    async def main() -> None:
        gc.disable()
        await rounds(10)
        files, blocks = os.listdir("/proc/self/fd"), sys.getallocatedblocks()
        await rounds(talk.setup["rounds"])
        more_blocks = sys.getallocatedblocks() - blocks
        more_files = len(os.listdir("/proc/self/fd")) - len(files)
        talk.tell(files=more_files, blocks=more_blocks, collected=gc.collect())

    asyncio.run(main())


@linux
def test_clients_that_are_made_for_one_request(
    any_sandbox: Sandbox, certificates: Certificates
) -> None:
    """They leave no descriptor and no memory, without the garbage collector's help."""
    left = []
    for rounds in (10, 40):
        [told] = run_child(
            make_clients,
            {"PYTHONMALLOC": "pymalloc"},
            client={
                "access_token": any_sandbox.access_token,
                "base_url": any_sandbox.base_url,
                "ca_file": str(certificates.ca_file),
            },
            bill=bill(shape="flat"),
            first=10_000 * rounds,
            rounds=rounds,
        )
        assert told["files"] == 0
        left.append(told["blocks"])
    # Interpreters keep some blocks of their own, but no more for more rounds.
    assert left[1] - left[0] < 20


def use_all(talk: Talk) -> None:
    """Use everything, and end in the middle of something."""
    import asyncio
    from typing import Any

    async def main() -> None:
        client = talk.client()
        bills: list[Any] = talk.setup["bills"]
        await client.ainsert_bill(bills[0])
        await asyncio.gather(*(client.ainsert_bill(one) for one in bills[1:9]))
        task = asyncio.create_task(client.ainsert_bill(bills[9]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with client.ainsert_bills(bills[10:]) as outcomes:
            async for _ in outcomes:
                pass
        await client.aget_s_pappid()
        # One that is under way when the loop ends.
        loop = asyncio.get_running_loop()
        loop.ending = asyncio.ensure_future(  # type: ignore[attr-defined]
            client.ainsert_bill(bills[0])
        )
        await asyncio.sleep(0)
        talk.tell(debug=loop.get_debug())

    asyncio.run(main())


def test_development_mode_is_silent(sandbox: Sandbox) -> None:
    [told] = run_child(
        use_all,
        {"PYTHONDEVMODE": "1"},
        client={"access_token": sandbox.access_token, "base_url": sandbox.base_url},
        bills=[bill() for _ in range(20)],
    )
    assert told == {"debug": True}


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FACTORIES)
def test_secrets_are_not_shown(
    kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the token nor the AppSecret is in what asyncio shows of a call under way, or logs."""
    import traceback

    if DEBUG and kind == "uvloop":
        pytest.skip("a debug build of Python does not survive the line number of a Cython frame")
    texts: list[str] = []
    with Sandbox() as sandbox:
        account = sandbox.bureau
        secrets = [account.secret]
        caplog.set_level("DEBUG")
        client = nontax.Client(
            appid=account.appid, secret=account.secret, base_url=sandbox.base_url
        )
        sandbox.inject(faults.NeverAnswer(), times=1, skip=1)

        def show(error: BaseException) -> None:
            report = traceback.TracebackException.from_exception(error, capture_locals=True)
            texts.append("".join(report.format()))
            if error.__cause__ is not None:
                show(error.__cause__)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.slow_callback_duration = 0.0  # each step is logged
            task = asyncio.create_task(client.ainsert_bill(bill()))
            for _ in range(20):
                texts.append(repr(task))
                for frame in task.get_stack():
                    texts.append(repr(frame.f_locals))
                await asyncio.sleep(0)
            await until(lambda: len(sandbox.requests) == 2)
            texts.append(repr(task))
            texts.append(repr(client))
            task.cancel()
            try:
                await task
            except asyncio.CancelledError as error:
                show(error)
            sandbox.inject(faults.Errcode(48001))
            try:
                await client.ainsert_bill(bill())
            except nontax.AccountError as error:
                show(error)
            outcomes = client.ainsert_bills([bill()])
            texts.append(repr(outcomes))
            async for outcome in outcomes:
                texts.append(repr(outcome))

        with asyncio.Runner(debug=True, loop_factory=FACTORIES[kind]) as runner:
            runner.run(main())
        assert account.stable_token
        secrets.append(account.stable_token)
    # What was logged was meant to be: each step is slower than nothing.
    texts += [record.getMessage() for record in caplog.records]
    texts += capfd.readouterr()
    caplog.clear()
    assert len("".join(texts)) > 1000
    for secret in secrets:
        assert secret not in "\n".join(texts)
