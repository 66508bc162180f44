"""Cancelled tasks: the transfer ends at any point of its way, and what is known of it is told."""

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from bills import bill
from loops import Gate, Strict, cancelled, known, until
from servers import RawServer, Wire

import nontax
from nontax.sandbox import Sandbox, faults

BAD_TOKEN = b'{"errcode":40001,"errmsg":"invalid credential rid: 61725984-6126f6f9-040f19c4"}'
REFUSED = b'{"errcode":72038,"errmsg":"not authorised rid: 61725984-6126f6f9-040f19c4"}'
AT_ONCE = 100  # calls of one client in one loop, as its documentation says


def client_of(base_url: str, **changes: Any) -> nontax.Client:
    return nontax.Client(**({"access_token": "token", "base_url": base_url} | changes))


def orders(sandbox: Sandbox) -> list[str | None]:
    return [request.order_id for request in sandbox.requests]


# --- every point of the way -----------------------------------------------------------------------


def test_before_the_task_has_begun(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        await cancelled(asyncio.create_task(client.ainsert_bill(bill())))
        await client.ainsert_bill(bill("after"))

    run(main())
    assert orders(sandbox) == ["after"]


def test_before_it_is_sent(any_sandbox: Sandbox, any_client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        task = asyncio.create_task(any_client.ainsert_bill(bill("never")))
        await asyncio.sleep(0)
        error = known(await cancelled(task))
        assert isinstance(error, nontax.NotSentError)
        assert (error.outcome, error.timed_out) == ("not_sent", False)
        await any_client.ainsert_bill(bill("after"))

    run(main())
    assert orders(any_sandbox) == ["after"]


def test_while_it_waits_for_a_token(sandbox: Sandbox, run: Strict) -> None:
    asked: list[str | None] = []
    let_go = threading.Event()

    def source(stale: str | None) -> str:
        asked.append(stale)
        let_go.wait()
        return sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)

    async def main() -> None:
        task = asyncio.create_task(client.ainsert_bill(bill("never")))
        other = asyncio.create_task(client.ainsert_bill(bill("other")))
        await until(lambda: asked)
        error = known(await cancelled(task))
        assert isinstance(error, nontax.NotSentError)
        let_go.set()
        await other

    try:
        run(main())
    finally:
        let_go.set()
    assert asked == [None]
    assert orders(sandbox) == ["other"]


def test_while_it_waits_for_a_newer_token(sandbox: Sandbox, run: Strict) -> None:
    asked: list[str | None] = []
    let_go = threading.Event()
    old = sandbox.access_token
    sandbox.renew_access_token()

    def source(stale: str | None) -> str:
        asked.append(stale)
        if stale is None:
            return old
        let_go.wait()
        return sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)

    async def main() -> None:
        task = asyncio.create_task(client.ainsert_bill(bill("once")))
        await until(lambda: len(asked) == 2)
        error = known(await cancelled(task))
        assert isinstance(error, nontax.AccessTokenError)
        assert (error.outcome, error.errcode) == ("rejected", 40001)
        let_go.set()
        await client.ainsert_bill(bill("after"))

    try:
        run(main())
    finally:
        let_go.set()
    assert orders(sandbox) == ["once", "after"]
    assert asked == [None, old]


def test_while_it_is_sent(run: Strict) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def behave(wire: Wire) -> None:
        wire.read_head()
        begun.set()
        let_go.wait()

    async def main(client: nontax.Client) -> None:
        task = asyncio.create_task(client.ainsert_bill(bill(title="长" * 5_000_000)))
        await until(begun.is_set)
        error = known(await cancelled(task))
        assert isinstance(error, nontax.InDoubtError)
        assert (error.outcome, error.timed_out) == ("in_doubt", False)

    with RawServer(behave) as server:
        try:
            run(main(client_of(server.base_url)))
        finally:
            let_go.set()
    assert server.accepted == 1
    assert len(server.wires[0].received) < 15_000_000


def test_while_it_waits_for_the_answer(
    any_sandbox: Sandbox, any_client: nontax.Client, run: Strict
) -> None:
    any_sandbox.inject(faults.NeverAnswer(taken=True))

    async def main() -> None:
        task = asyncio.create_task(any_client.ainsert_bill(bill("once")))
        await until(lambda: any_sandbox.bills)
        error = known(await cancelled(task))
        assert isinstance(error, nontax.InDoubtError)
        assert (error.outcome, error.timed_out, error.read_only) == ("in_doubt", False, False)
        await any_client.ainsert_bill(bill("after"))

    run(main())
    assert orders(any_sandbox) == ["once", "after"]


def test_while_it_pauses(sandbox: Sandbox, run: Strict) -> None:
    sandbox.inject(faults.Errcode(72054), times=1000)
    client = client_of(sandbox.base_url, access_token=sandbox.access_token, retries=100)

    async def main() -> None:
        task = asyncio.create_task(client.ainsert_bill(bill()))
        await until(lambda: sandbox.requests and sandbox.requests[0].finished)
        error = known(await cancelled(task))
        assert isinstance(error, nontax.WeChatError)
        assert (error.outcome, error.errcode) == ("rejected", 72054)
        sent = len(sandbox.requests)
        sandbox.behave()
        await client.ainsert_bill(bill())
        assert len(sandbox.requests) == sent + 1

    run(main())


# --- answers that come at the same time -----------------------------------------------------------


def test_an_answer_that_nobody_has_read(run: Strict) -> None:
    async def main(client: nontax.Client, server: Gate) -> None:
        task = asyncio.create_task(client.ainsert_bill(bill()))
        await until(lambda: server.bodies)
        server.answer(0)
        ended = await cancelled(task)
        assert ended.__context__ is None
        assert ended.__notes__ == [
            "nontax: WeChat has processed the call: {'code': '682000661927', 'openid': 'oA1'}"
        ]

        task = asyncio.create_task(client.ainsert_bill(bill()))
        await until(lambda: len(server.bodies) == 2)
        server.answer(1)
        error = known(await cancelled(task))
        assert isinstance(error, nontax.NotAuthorizedError)
        assert (error.outcome, error.errcode) == ("rejected", 72038)

    with Gate(b'{"errcode":0,"errmsg":"ok","code":"682000661927","openid":"oA1"}', REFUSED) as gate:
        run(main(client_of(gate.base_url), gate))


@pytest.mark.parametrize("refused", [False, True])
def test_an_answer_in_the_same_turn_of_the_loop(run: Strict, *, refused: bool) -> None:
    """Two calls, both answered; whichever comes first cancels the other, which was delivered."""

    async def main(client: nontax.Client, server: Gate) -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def insert(other: int) -> str:
            try:
                await client.ainsert_bill(bill())
            except nontax.WeChatError:
                pass
            except asyncio.CancelledError as end:
                return known(end).outcome if refused else end.__notes__[0].partition("call: ")[2]
            tasks[other].cancel()
            return "done"

        tasks += [asyncio.create_task(insert(1)), asyncio.create_task(insert(0))]
        await until(lambda: len(server.bodies) == 2)
        server.answer(0)
        server.answer(1)
        told = "rejected" if refused else "{'code': '682000661927', 'openid': 'oA1'}"
        assert set(await asyncio.gather(*tasks)) == {"done", told}

    with Gate(*([REFUSED] * 2 if refused else [])) as gate:
        run(main(client_of(gate.base_url), gate))


@pytest.mark.parametrize("reply", ["inserted", "bad token"])
def test_others_keep_their_answers(run: Strict, reply: str) -> None:
    """Cancelling one call reads what has come for the others, too."""
    replies = [b""] if reply == "inserted" else [b"", BAD_TOKEN]

    async def main(client: nontax.Client, server: Gate) -> None:
        one = asyncio.create_task(client.ainsert_bill(bill()))
        await until(lambda: server.bodies)
        two = asyncio.create_task(client.ainsert_bill(bill()))
        await until(lambda: len(server.bodies) == 2)
        # In the turn of the loop in which the first learns of its end, but before it.
        asyncio.get_running_loop().call_soon(server.answer, 1)
        assert known(await cancelled(one)).outcome == "in_doubt"
        if reply == "bad token":
            await until(lambda: len(server.bodies) == 3)
            server.answer(2)
        assert (await two).openid == "oA1"

    def source(stale: str | None) -> str:
        return "newer" if stale else "older"

    with Gate(*replies, *[b'{"errcode":0,"errmsg":"ok","code":"1","openid":"oA1"}'] * 2) as gate:
        run(main(client_of(gate.base_url, access_token=None, token_source=source), gate))


# --- in a crowd -----------------------------------------------------------------------------------


def test_behind_a_hundred_others(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    sandbox.inject(faults.NeverAnswer(), times=AT_ONCE)

    async def main() -> None:
        first = [asyncio.create_task(client.ainsert_bill(bill())) for _ in range(AT_ONCE)]
        await until(lambda: len(sandbox.requests) == AT_ONCE)
        queued = [asyncio.create_task(client.ainsert_bill(bill(f"q{i}"))) for i in range(5)]
        await asyncio.sleep(0.01)
        for task in queued[:4]:
            error = known(await cancelled(task))
            assert isinstance(error, nontax.NotSentError)
            assert error.interface == "insertbill"
        assert len(sandbox.requests) == AT_ONCE
        # One that ends makes room for the last of the queue.
        assert known(await cancelled(first[50])).outcome == "in_doubt"
        await queued[4]
        del first[50]
        for task in first:
            assert known(await cancelled(task)).outcome == "in_doubt"
        await client.ainsert_bill(bill("after"))

    run(main())
    assert orders(sandbox)[AT_ONCE:] == ["q4", "after"]
    assert len(set(orders(sandbox))) == AT_ONCE + 2


def test_many_at_random_points(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    """The server's books and what the tasks were told agree, and nothing was sent twice."""
    told: dict[str, str] = {}

    async def insert(order_id: str) -> None:
        try:
            await client.ainsert_bill(bill(order_id))
            told[order_id] = "inserted"
        except asyncio.CancelledError as end:
            if hasattr(end, "__notes__"):
                told[order_id] = "inserted"
            elif end.__cause__ is not None:
                told[order_id] = known(end).outcome

    async def main() -> None:
        for wave in range(20):
            tasks = []
            for i in range(15):
                tasks.append(asyncio.create_task(insert(f"{wave}-{i}")))
                for _ in range((i * 7 + wave) % 11):
                    await asyncio.sleep(0)
                if i % 3:
                    tasks[i].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await client.ainsert_bill(bill("last"))

    run(main())
    seen = orders(sandbox)
    assert len(seen) == len(set(seen))
    for order_id, outcome in told.items():
        if outcome == "inserted":
            assert order_id in sandbox.bills
        elif outcome == "not_sent":
            assert order_id not in seen
    assert set(seen) - {"last"} <= told.keys()
    assert len(set(told.values())) > 1


# --- by way of asyncio's own tools ----------------------------------------------------------------


def test_timeout(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    sandbox.inject(faults.NeverAnswer(), times=2)

    async def main() -> None:
        async def insert() -> None:
            async with asyncio.timeout(None) as limit:
                seen = len(sandbox.requests)
                task = asyncio.get_running_loop().create_task(
                    until(lambda: len(sandbox.requests) > seen)
                )
                task.add_done_callback(
                    lambda _: limit.reschedule(asyncio.get_running_loop().time())
                )
                await client.ainsert_bill(bill())

        with pytest.raises(TimeoutError) as caught:
            await insert()
        # Before Python 3.11.3 asyncio named no cause.
        ended = caught.value.__cause__ or caught.value.__context__
        assert ended is not None
        assert known(ended).outcome == "in_doubt"

    run(main())
    assert len(sandbox.requests) == 1


def test_a_task_group(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    sandbox.inject(faults.NeverAnswer(), times=3)
    told: list[str] = []

    async def insert() -> None:
        try:
            await client.ainsert_bill(bill())
        except asyncio.CancelledError as end:
            told.append(known(end).outcome)
            raise

    async def main() -> None:
        async def four() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(insert())
                await until(lambda: len(sandbox.requests) == 3)
                group.create_task(client.ainsert_bill({}))

        with pytest.raises(ExceptionGroup) as caught:
            await four()
        assert [type(error) for error in caught.value.exceptions] == [nontax.InvalidRequestError]

    run(main())
    assert told == ["in_doubt"] * 3


def test_a_shield(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    """It keeps the transfer from being ended."""

    async def main(server: Gate) -> None:
        inner = asyncio.create_task(client_of(server.base_url).ainsert_bill(bill()))
        outer = asyncio.ensure_future(asyncio.shield(inner))
        await until(lambda: server.bodies)
        outer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await outer
        server.answer(0)
        assert (await inner).openid == "oA1"

    with Gate() as gate:
        run(main(gate))


def test_in_an_except_block(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    sandbox.inject(faults.NeverAnswer())

    async def insert() -> None:
        try:
            raise LookupError("no such row")
        except LookupError:
            await client.ainsert_bill(bill())

    async def main() -> None:
        task = asyncio.create_task(insert())
        await until(lambda: sandbox.requests)
        ended = await cancelled(task)
        assert known(ended).outcome == "in_doubt"
        assert isinstance(ended.__context__, LookupError)

    run(main())


# --- the other interfaces -------------------------------------------------------------------------


def test_an_interface_that_changes_something(run: Strict) -> None:
    async def main(client: nontax.Client, server: Gate) -> None:
        task = asyncio.create_task(
            client.areject_bill(s_pappid="p", order_id="o", reason="refunded")
        )
        await until(lambda: server.bodies)
        server.answer(0)
        ended = await cancelled(task)
        assert ended.__notes__ == ["nontax: WeChat has processed the call: {}"]

    with Gate(b'{"errcode":0,"errmsg":"ok"}') as gate:
        run(main(client_of(gate.base_url), gate))


def test_an_interface_that_only_reads(run: Strict) -> None:
    """Its answer can be had again, and what is in it belongs into no log."""

    async def main(client: nontax.Client, server: Gate) -> None:
        task = asyncio.create_task(client.aget_quota("/nontax/insertbill"))
        await until(lambda: server.bodies)
        server.answer(0)
        ended = await cancelled(task)
        assert not hasattr(ended, "__notes__")
        task = asyncio.create_task(client.aget_quota("/nontax/insertbill"))
        await until(lambda: len(server.bodies) == 2)
        error = known(await cancelled(task))
        assert isinstance(error, nontax.InDoubtError)
        assert error.read_only
        assert error.interface == "quota/get"

    quota = b'{"errcode":0,"errmsg":"ok","quota":{"daily_limit":1,"used":0,"remain":1}}'
    with Gate(quota) as gate:
        run(main(client_of(gate.base_url), gate))


def test_a_run_whose_loop_was_closed_while_a_task_waited() -> None:
    with Gate() as gate:
        client = client_of(gate.base_url)

        async def begin() -> Any:
            return client.ainsert_bills([bill(), bill()])

        async def take_one() -> None:
            await anext(outcomes)

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # "Task was destroyed", which is so
        outcomes = loop.run_until_complete(begin())
        waits = take_one()
        task = loop.create_task(waits)
        while len(gate.bodies) < 2:
            loop.run_until_complete(asyncio.sleep(0.002))
        loop.close()
        ends = asyncio.run(outcomes.aclose())
        assert [outcome.outcome for outcome in ends] == ["in_doubt", "in_doubt"]
        del task
        waits.close()
