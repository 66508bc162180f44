"""Bulk runs in an event loop: the run that `Client.ainsert_bills` returns."""

import asyncio
from collections import deque
from contextlib import suppress
from contextvars import copy_context

from nontax import _core
from nontax.aio.driver import LOOK_EVERY, Driver
from nontax.errors import LedgerError
from nontax.outcomes import InsertedBill, Outcome
from nontax.runs import Recorded, RunRecord, finish, gate_of, warn_of_unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable
    from types import TracebackType
    from typing import Self

    from nontax._core import Run
    from nontax.ledger import Ledger
    from nontax.shapes import Bill


class AsyncRun(Driver, Recorded):
    """Many bills under way at once: an asynchronous iterator of `Outcome`, in order of completion.

    Made by `Client.ainsert_bills`. Either await `collect()`, or iterate. It is an asynchronous
    context manager; leaving it calls `aclose()`. All outcomes are kept in `outcomes`, and in
    `Client.last_run`. With a ledger each bill is on disk before it is sent, and each outcome before
    it is seen.
    """

    def __init__(
        self,
        client: "_core.Client",
        bills: "Iterable[Bill] | AsyncIterable[Bill]",
        *,
        concurrency: int,
        rate: float,
        keep: int,
        never_waits: bool = False,
        quota_pause: float = 0.0,
        ledger: "Ledger | None" = None,
        timeout: float = 0.0,
    ) -> None:
        self._gate = gate_of(ledger, timeout, retry_quota=not never_waits)
        self._ledger = ledger
        self._pulling: asyncio.Task[None] | None = None  # gets the next bill
        # A plain iterable is the run's own.
        self._abills: AsyncIterator[Bill] | None = None
        if hasattr(bills, "__aiter__"):
            self._abills = aiter(bills)  # type: ignore[arg-type]  # it is no plain Iterable, then
        run: Run[Outcome] = _core.Run(
            client=client,
            make_outcome=Outcome._make,
            make_result=InsertedBill._from_reply,
            kept=deque(maxlen=keep),
            bills=None if self._abills is not None else iter(bills),  # type: ignore[arg-type]
            concurrency=concurrency,
            rate=rate,
            quota_pause=quota_pause if self._gate is None else self._gate.quota_pause,
            never_waits=never_waits or ledger is not None,
            bulk=True,
            in_loop=True,
            awaits_bills=self._abills is not None,
            journal=self._gate,
        )
        if self._gate is not None:
            self._gate.wakes_to_the_end(run)
        super().__init__(run, asyncio.get_running_loop())
        # One for all pulls: an asynchronous generator may set and reset context variables.
        self._context = copy_context()
        self._wake: asyncio.Future[None] | None = None
        self._busy = False
        self._is_over = False  # the connections serve others, and so does their descriptor
        self._record = RunRecord(self)

    def __aiter__(self) -> "Self":
        return self

    async def __anext__(self) -> Outcome:
        self._check()
        self._busy = True
        try:
            await self._wait_for_outcome()
            if not self._completed:
                raise self._run._last_word() or StopAsyncIteration()
            # In a way in which no signal comes in between.
            outcome: Outcome = self._completed[0]
            del self._completed[0]
            return outcome
        finally:
            self._busy = False

    def _check(self) -> None:
        if self._busy:
            raise ValueError("this run is in use by another task")
        if self._loop() is not asyncio.get_running_loop():
            raise RuntimeError("this run was begun in another event loop")

    async def _wait_for_outcome(self) -> None:
        """Wait until there is an outcome, or there will be no other: the run says what it needs."""
        loop = asyncio.get_running_loop()
        if self._ledger is not None and not self._ledger.run:
            with suppress(LedgerError):  # which comes as what ends the run
                await loop.run_in_executor(None, self._ledger.begin)
        while not self._completed and not self._is_over:
            self._end_pulling()
            self._began()  # first: a bill that is in the run must be looked after
            need, seconds = self._run._feed()
            if need == "nothing":
                continue
            if need == "bill" and self._pulling is None:
                self._begin_pulling(loop)
                continue
            if need == "end":
                if self._pulling is None:
                    self._give_back()
                    return
                # A bill that comes nevertheless gets its outcome like the others.
                self._stop_pulling(self._pulling)
            if need == "others":
                await self._wait_for_others(loop)
                continue
            if need != "wait":
                self._ended()  # if nothing is under way
            await self._until_woken(loop, seconds)

    async def _wait_for_others(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._gate is not None
        await loop.run_in_executor(None, self._gate.expire)
        await self._until_woken(loop, LOOK_EVERY)
        self._run._look_again()

    async def _until_woken(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Wait for at most so many seconds; -1: as long as it takes."""
        self._wake = loop.create_future()
        timer = None if seconds < 0 else loop.call_later(seconds, self._woken)
        try:
            await self._wake
        finally:
            self._wake = None
            if timer is not None:
                timer.cancel()

    def _give_back(self) -> None:
        self._ended()
        self._is_over = True
        self._run._give_back()

    def _begin_pulling(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._abills is not None
        pulling = self._pull(self._abills)
        self._pulling = loop.create_task(pulling, context=self._context)
        self._pulling.add_done_callback(self._pulled)

    async def _pull(self, bills: "AsyncIterator[Bill]") -> None:
        pulling = asyncio.current_task()
        if self._pulling is None and self._run._may_pull():
            self._pulling = pulling  # Ctrl-C came when this task had been made
        if self._pulling is pulling:
            try:
                # Only kept: a bill is not sent while nobody asks for outcomes. And kept in one go:
                # a signal between the two could lose it.
                self._run._set_pending(await anext(bills))
            finally:
                self._woken()

    def _pulled(self, _pulling: "asyncio.Task[None]") -> None:
        self._woken()  # once more, for a task that Ctrl-C has ended before it began

    @staticmethod
    def _stop_pulling(pulling: "asyncio.Task[None]") -> None:
        if not pulling.cancelling():  # once: it may take its time
            pulling.cancel()

    def _end_pulling(self) -> None:
        """See how a pull has ended, if one has."""
        pulling = self._pulling
        if pulling is None or not pulling.done():
            return
        if pulling.cancelled():
            if self._run._may_pull():  # not by us: it has cancelled itself
                self._run._no_more_bills(asyncio.CancelledError())
        elif (error := pulling.exception()) is not None:
            self._run._no_more_bills(None if isinstance(error, StopAsyncIteration) else error)
        self._pulling = None

    def _deliver(self) -> None:
        if self._completed or self._gate is not None:
            self._woken()

    def _woken(self) -> None:
        wake = self._wake
        if wake is not None and not wake.done() and not wake.get_loop().is_closed():
            wake.set_result(None)

    async def aclose(self) -> list[Outcome]:
        """End the run; return the outcomes of all bills that nobody has seen yet, in a list.

        No further bill is taken. Bills under way are ended with what is known of them: those whose
        body went out are in doubt.
        """
        loop = self._loop()
        if loop is not None and loop is not asyncio.get_running_loop() and loop.is_running():
            raise RuntimeError("this run was begun in another event loop, which is running")
        self._run.stop()
        pulling = self._pulling
        # A task of another loop is not for us; what it still pulls is warned of.
        if pulling is not None and pulling.get_loop() is asyncio.get_running_loop():
            self._stop_pulling(pulling)
            await asyncio.wait([pulling])
            pulling = None
        self._pulling = self._abills = None
        if self._gate is not None and not self._is_over:
            await self._until_kept(asyncio.get_running_loop())
        self._completed = self._run._end()
        if pulling is None:
            self._give_back()
        self._woken()
        # In a way in which no signal comes between this and the caller.
        outcomes: list[Outcome] = self._completed[:]
        del self._completed[:]
        return outcomes

    async def _until_kept(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is under way, and wait until the ledger has all that is known of it."""
        self._run._begin_end()
        while True:
            self._began()
            need, seconds = self._run._feed()
            if need == "end":
                return
            await self._until_woken(loop, seconds)

    def stop(self) -> None:
        """Take no more bills from the iterable; those under way come to their ends."""
        self._run.stop()
        self._woken()

    async def collect(self) -> "list[Outcome]":
        """Run to the end; return all outcomes, in the order of the bills.

        What ends the run before its last bill is not raised: `error` has it. Outcomes that were
        read before are in the list, too, as far as they were kept.

        Where the task is cancelled (by Ctrl-C, too), no more bills are taken, those under way are
        waited for, and then CancelledError is raised. Cancelled once more, those under way end with
        what is known of them. In either case `outcomes` has all outcomes.
        """
        self._check()
        self._run._keep_in(deque(self._run._kept()))
        try:
            await self._read_on()
        except BaseException:
            try:
                self.stop()
                await self._read_on()
            except BaseException:
                await self.aclose()
                raise
            raise
        await self.aclose()  # so that nothing is raised from here on
        return self.outcomes

    async def _read_on(self) -> None:
        self._busy = True
        try:
            while True:
                await self._wait_for_outcome()
                if not self._completed:
                    return
                self._completed.clear()
        finally:
            self._busy = False

    def _kept(self) -> "deque[Outcome]":
        return self._run._kept()

    def _ended_by(self) -> BaseException | None:
        return self._run._ended_by()

    def __del__(self) -> None:
        record = getattr(self, "_record", None)
        if record is not None:  # else it could not be made
            finish(self, record, self._run, self._gate)

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        warn_of_unread(await self.aclose(), self._kept().maxlen, 2)
