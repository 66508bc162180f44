"""Bulk runs in an event loop: the run that `Client.ainsert_bills` returns."""

import asyncio
from collections import deque
from contextvars import copy_context

from nontax import _core
from nontax.aio.driver import Driver
from nontax.outcomes import Outcome
from nontax.runs import Recorded, RunRecord, warn_of_unread, warn_of_unused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable
    from types import TracebackType
    from typing import Self

    from nontax._core import Run
    from nontax.shapes import Bill


class AsyncRun(Driver, Recorded):
    """Many bills under way at once: an asynchronous iterator of `Outcome`, in order of completion.

    Made by `Client.ainsert_bills`. Either await `collect()`, or iterate. It is an asynchronous
    context manager; leaving it calls `aclose()`. All outcomes are kept in `outcomes`, and in
    `Client.last_run`.
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
    ) -> None:
        self._pulling: asyncio.Task[None] | None = None  # gets the next bill
        # A plain iterable is the run's own.
        self._abills: AsyncIterator[Bill] | None = None
        if hasattr(bills, "__aiter__"):
            self._abills = aiter(bills)  # type: ignore[arg-type]  # it is no plain Iterable, then
        run: Run[Outcome] = _core.Run(
            client=client,
            make_outcome=Outcome._from_core,
            kept=deque(maxlen=keep),
            bills=None if self._abills is not None else iter(bills),  # type: ignore[arg-type]
            concurrency=concurrency,
            rate=rate,
            quota_pause=quota_pause,
            never_waits=never_waits,
            bulk=True,
        )
        super().__init__(run, asyncio.get_running_loop())
        self._more = True  # the iterable may have more bills
        self._begun = False  # somebody has asked for an outcome, or has closed it
        self._error: BaseException | None = None  # what an asynchronous iterable raised
        self._raised: BaseException | None = None  # the same, kept
        # One for all pulls: an asynchronous generator may set and reset context variables.
        self._context = copy_context()
        self._wake: asyncio.Future[None] | None = None
        self._stopped = False
        self._busy = False
        self._record = RunRecord(self)

    def __aiter__(self) -> "Self":
        return self

    async def __anext__(self) -> Outcome:
        self._check()
        self._busy = True
        try:
            await self._wait_for_outcome()
            if not self._told:
                raise self._last_word()
            # In a way in which no signal comes in between.
            outcome: Outcome = self._told[0]
            del self._told[0]
            return outcome
        finally:
            self._busy = False

    def _check(self) -> None:
        if self._busy:
            raise ValueError("this run is in use by another task")
        if self._loop() is not asyncio.get_running_loop():
            raise RuntimeError("this run was begun in another event loop")

    async def _wait_for_outcome(self) -> None:
        """Take bills until there is an outcome, or there will be no other."""
        self._begun = True
        loop = asyncio.get_running_loop()
        while not self._told:
            delay = self._feed(loop)
            if self._run._under_way() == 0 and not self._may_pull():
                if self._run._holds():
                    self._began()
                    self._run._end_held()
                    continue
                if self._pulling is None:
                    self._ended()
                    return
                # A bill that comes nevertheless gets its outcome like the others.
                self._stop_pulling(self._pulling)
            self._wake = loop.create_future()
            timer = None if delay is None else loop.call_later(delay, self._woken)
            try:
                await self._wake
            finally:
                self._wake = None
                if timer is not None:
                    timer.cancel()

    def _last_word(self) -> BaseException:
        """What is raised once when nothing is under way any more."""
        trouble = None if self._stopped else self._run._trouble()
        if trouble is not None:
            self._stopped = True
            return trouble
        error, self._error = self._error or self._run._iterator_error(), None
        return error or StopAsyncIteration()

    def _may_pull(self) -> bool:
        return self._more and not self._stopped and self._run._trouble() is None

    def _feed(self, loop: asyncio.AbstractEventLoop) -> float | None:
        """Take bills as far as the run wants them; in how many seconds it wants another."""
        self._end_pulling()
        while self._may_pull() and self._pulling is None:
            wait = self._run._wants_in()
            if wait != 0:
                return wait if wait > 0 else None
            if self._abills is not None and not self._run._holds():
                pulling = self._pull(self._abills)
                self._pulling = loop.create_task(pulling, context=self._context)
                self._pulling.add_done_callback(self._pulled)
                self._end_pulling()  # a loop can have tasks that do not wait for its next turn
            else:
                self._began()  # first: a bill that is in the run must be looked after
                self._more = self._run._pull()
        return None

    async def _pull(self, bills: "AsyncIterator[Bill]") -> None:
        pulling = asyncio.current_task()
        if self._pulling is None and not self._stopped:
            self._pulling = pulling  # Ctrl-C came when this task had been made
        if self._pulling is pulling:
            try:
                # Only kept: a bill is not sent while nobody asks for outcomes. And kept in one go:
                # a signal between the two could lose it.
                self._run._hold(await anext(bills))
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
            if self._may_pull():  # not by us: it has cancelled itself
                self._more = False
                self._error = self._raised = asyncio.CancelledError()
        elif (error := pulling.exception()) is not None:
            self._more = False
            if not isinstance(error, StopAsyncIteration):
                self._error = self._raised = error
        self._pulling = None

    def _deliver(self) -> None:
        if self._told:
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
        self._begun = True
        self._stopped = True
        pulling = self._pulling
        # A task of another loop is not for us; what it still pulls is warned of.
        if pulling is not None and pulling.get_loop() is asyncio.get_running_loop():
            self._stop_pulling(pulling)
            await asyncio.wait([pulling])
        self._pulling = self._abills = self._error = None
        self._told = self._run._end()
        self._ended()
        self._woken()
        # In a way in which no signal comes between this and the caller.
        outcomes: list[Outcome] = self._told[:]
        del self._told[:]
        return outcomes

    def stop(self) -> None:
        """Take no more bills from the iterable; those under way come to their ends."""
        self._stopped = True
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
                if not self._told:
                    return
                self._told.clear()
        finally:
            self._busy = False

    def _kept(self) -> "deque[Outcome]":
        return self._run._kept()

    def _ended_by(self) -> BaseException | None:
        return self._run._ended_by() or self._raised

    def __del__(self) -> None:
        record = getattr(self, "_record", None)
        if record is None:  # it could not be made
            return
        try:
            if not self._run._is_ours():
                return
            if not self._begun:
                warn_of_unused(2)
            elif self._run._is_open():
                warn_of_unread(list(self._run._end()), self._kept().maxlen, 2)
        finally:
            record._end(self)

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        warn_of_unread(await self.aclose(), self._kept().maxlen, 2)
