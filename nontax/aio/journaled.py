"""Single calls in an event loop, of a client that has a ledger."""

import asyncio
import time

from nontax.delivery.content import FORM, bill_as_printed, content_of
from nontax.delivery.states import Answer
from nontax.delivery.store import Claim, Content, Refused
from nontax.errors import LedgerError
from nontax.journaled import LOOK_EVERY, Journaled, answer_of, answer_of_raised, known_of
from nontax.locks import Lock
from nontax.outcomes import InsertedBill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from nontax.interfaces import T
    from nontax.ledger import Ledger


class _Written:
    """Waits, in an event loop, for work that the ledger's writer does."""

    def __init__(self, give_back: "Callable[[Any], None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()
        self._give_back = give_back
        self._guard = Lock()
        self._is_done = self._is_abandoned = False
        self._result: Any = None

    def done(self, result: "Any", error: BaseException | None) -> None:
        """Called in the writer's thread."""
        with self._guard:
            self._is_done, self._result = True, result
            abandoned = self._is_abandoned
        if abandoned:
            self._give_back(result or ())
            return
        try:
            self._loop.call_soon_threadsafe(self._tell, result, error)
        except RuntimeError:  # the loop is closed
            self.abandon()

    def _tell(self, result: "Any", error: BaseException | None) -> None:
        if self._future.done():
            return
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)

    def abandon(self) -> None:
        """Nobody waits any more: what was written down is given back."""
        with self._guard:
            already, self._is_abandoned = self._is_abandoned, True
            give = self._is_done and not already
        if give:
            self._give_back(self._result or ())

    async def claims(self) -> "Any":
        """The result; given back if the task is cancelled meanwhile."""
        try:
            return await self._future
        except BaseException:
            self.abandon()
            raise

    async def kept(self) -> None:
        """Wait to the end, also when the task is cancelled: what is told is kept."""
        raised: BaseException | None = None
        while not self._future.done():
            try:
                await asyncio.wait([self._future])
            except asyncio.CancelledError as error:
                raised = error
        self._future.result()
        if raised is not None:
            raise raised


def _nothing(_result: object) -> None:
    """An answer is kept in any case."""


async def begin(ledger: "Ledger") -> None:
    """Begin the ledger's run without keeping the loop."""
    if not ledger.run:
        await asyncio.get_running_loop().run_in_executor(None, ledger.begin)


async def insert(
    calls: Journaled, call: "Callable[[Any], Awaitable[Any]]", bill: object
) -> InsertedBill:
    """`Client.ainsert_bill`, written ahead."""
    ledger = calls.ledger
    printed = calls.core.body("insertbill", bill, FORM)
    content = content_of(printed)
    await begin(ledger)
    claim: Any = None
    try:
        claim = await _open(ledger, content, calls.timeout)
        if isinstance(claim, InsertedBill):
            return claim
        ledger.handed_over([claim])
        inserted = await call(("insertbill", bill_as_printed(printed), InsertedBill._from_reply))
    except BaseException as raised:
        closed = isinstance(raised, GeneratorExit) or isinstance(raised.__context__, GeneratorExit)
        if closed and isinstance(claim, Claim):  # nobody can wait here; a warning may be an error
            unknown = Answer("in_doubt", reason="its coroutine was closed")
            ledger.submit_close([(claim, unknown)], lambda _kept, _error: None)
        elif isinstance(claim, Claim):
            answer = answer_of_raised(raised)
            taken = getattr(raised, "nontax_fields", None)
            if taken is not None:  # WeChat has taken it, and the task was cancelled just then
                answer = answer_of(InsertedBill._from_reply(dict(taken)), None)
            await _close(calls, bill, claim, answer, None, raised)
        raise
    await _close(calls, bill, claim, answer_of(inserted, None), inserted, None)
    assert isinstance(inserted, InsertedBill)
    return inserted


async def _open(ledger: "Ledger", content: Content, timeout: float) -> Claim | InsertedBill:
    until = time.monotonic() + timeout
    while True:
        written = _Written(ledger.give_back)
        ledger.submit_open([content], written.done)
        (answer,) = await written.claims()
        if isinstance(answer, Claim):
            return answer
        done = isinstance(answer, Refused) or answer.state != "sending"
        if done or time.monotonic() > until:
            return known_of(answer)
        await asyncio.sleep(LOOK_EVERY)
        await asyncio.get_running_loop().run_in_executor(None, ledger.expire)


async def _close(
    calls: Journaled,
    bill: object,
    claim: Claim,
    answer: Answer,
    inserted: InsertedBill | None,
    raised: BaseException | None,
) -> None:
    written = _Written(_nothing)
    calls.ledger.submit_close([(claim, answer)], written.done)
    try:
        await written.kept()
    except LedgerError as error:
        raise calls.with_outcome(error, bill, answer, inserted, raised) from error.__cause__


async def change(
    calls: Journaled, what: "dict[str, str]", call: "Callable[[], Awaitable[T]]"
) -> "T":
    """`Client.aupdate_bill_status` and `areject_bill`, written ahead."""
    loop = asyncio.get_running_loop()
    ledger = calls.ledger
    number = await loop.run_in_executor(None, lambda: ledger.open_change(**what))
    try:
        result = await call()
    except BaseException as raised:
        answer = answer_of_raised(raised)
        if getattr(raised, "nontax_fields", None) is not None:
            answer = Answer("inserted")
        ledger.close_change(number, answer)  # the task may be ended: nothing can be awaited
        raise
    await loop.run_in_executor(None, ledger.close_change, number, Answer("inserted"))
    return result
