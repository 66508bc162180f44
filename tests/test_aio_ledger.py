"""Single calls in an event loop with a ledger, and tasks that end at any moment of them."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from loops import Strict, until
from sandboxes import posts

import nontax
from nontax.delivery.states import State
from nontax.ledger import Ledger
from nontax.sandbox import Sandbox, faults

ROUNDS = int(os.environ.get("CANCEL_ROUNDS", "60"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bills.db"


@pytest.fixture
def client(sandbox: Sandbox, path: Path) -> Iterator[nontax.Client]:
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, ledger=path
    ) as client:
        yield client


def check_books(path: Path, sandbox: Sandbox) -> dict[str, State]:
    """Nothing is open, and no bill that was sent is known as not sent. The bills' states."""
    sent = posts(sandbox)
    with Ledger(path, read_only=True) as ledger:
        assert ledger.verify() == []
        states = {kept.order_id: kept.state for kept in ledger.bills()}
    assert not set(states.values()) & {"sending", "rejected"}
    assert set(sent.values()) <= {1}
    for order_id, state in states.items():
        assert (state in ("inserted", "in_doubt")) >= (order_id in sent), (order_id, state)
        assert state != "inserted" or order_id in sandbox.bills
    assert set(sent) <= set(states)
    return states


@pytest.mark.parametrize("taken", [0.0, 0.003])
def test_a_task_that_is_cancelled_at_any_moment(
    client: nontax.Client, sandbox: Sandbox, path: Path, run: Strict, taken: float
) -> None:
    sandbox.inject(faults.Delay(taken), times=ROUNDS, path="/nontax/insertbill")
    told: dict[str, str] = {}

    async def one(number: int) -> None:
        given = bill()
        task = asyncio.ensure_future(client.ainsert_bill(given))
        asyncio.get_running_loop().call_later(number * 0.0002, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            told[given["order_id"]] = (await task).code

    async def all_of_them() -> None:
        for number in range(ROUNDS):
            await one(number)

    run(all_of_them())
    assert client.ledger is not None
    client.ledger.close()
    states = check_books(path, sandbox)
    for order_id, code in told.items():
        assert states[order_id] == "inserted"
        assert sandbox.bills[order_id].code == code


def test_the_same_bill_twice_at_once(client: nontax.Client, sandbox: Sandbox, run: Strict) -> None:
    given = bill()
    sandbox.inject(faults.Delay(0.3))

    async def both() -> tuple[nontax.InsertedBill, nontax.InsertedBill]:
        return await asyncio.gather(client.ainsert_bill(given), client.ainsert_bill(given))

    first, second = run(both())
    assert first == second
    assert posts(sandbox) == {given["order_id"]: 1}


async def step(coroutine: Coroutine[Any, Any, Any], enough: Callable[[], bool]) -> None:
    """Run a coroutine as a loop would, up to a moment; then it is closed."""
    while not enough():
        future = coroutine.send(None)
        if future is not None:
            future._asyncio_future_blocking = False
            await until(lambda future=future: future.done() or enough())  # type: ignore[misc]
    coroutine.close()


def test_a_coroutine_that_is_closed_before_its_bill_is_sent(
    client: nontax.Client, sandbox: Sandbox, path: Path, run: Strict
) -> None:
    ledger = client.ledger
    assert ledger is not None
    run(step(client.ainsert_bill(bill()), lambda: bool(ledger.run)))
    ledger.close()
    assert check_books(path, sandbox) == {}


@pytest.mark.parametrize("warnings", ["default", "error"])
def test_a_coroutine_that_is_closed_after_its_bill_was_sent(
    client: nontax.Client, sandbox: Sandbox, path: Path, run: Strict, warnings: str
) -> None:
    given = bill()
    sandbox.inject(faults.Delay(5))
    coroutine = client.ainsert_bill(given)
    if warnings == "error":
        with pytest.raises(ResourceWarning, match="closed with"):
            run(step(coroutine, lambda: bool(posts(sandbox))))
    else:
        with pytest.warns(ResourceWarning, match="closed with"):
            run(step(coroutine, lambda: bool(posts(sandbox))))
    assert client.ledger is not None
    client.ledger.close()
    assert check_books(path, sandbox) == {given["order_id"]: "in_doubt"}


def test_changes_that_fail_and_that_are_cancelled(
    client: nontax.Client, sandbox: Sandbox, run: Strict
) -> None:
    given = bill()
    code = client.insert_bill(given).code

    def change() -> Awaitable[object]:
        return client.aupdate_bill_status(
            card_id=given["card_id"], code=code, reimburse_status="INVOICE_REIMBURSE_CANCEL"
        )

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await change()

    async def failed() -> None:
        with pytest.raises(nontax.InDoubtError):
            await change()

    sandbox.inject(faults.Close("body", taken=True))
    run(failed())
    sandbox.inject(faults.Delay(5))
    run(cancelled())
    assert client.ledger is not None
    changes = client.ledger.history(given["order_id"]).changes
    assert [row.outcome for row in changes] == ["in_doubt", "in_doubt"]
