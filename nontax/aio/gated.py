"""Bulk runs in an event loop, of a client that has a ledger."""

import asyncio
import os
import threading
import time
import weakref
from collections import deque
from contextvars import copy_context

from nontax import _core
from nontax.aio.driver import Driver
from nontax.aio.journaled import begin
from nontax.aio.runs import AsyncRun
from nontax.errors import LedgerError
from nontax.gate import LOOK_EVERY, Gate, end_of
from nontax.gated import QUOTA_PAUSE
from nontax.runs import RunRecord, warn_of_unread, warn_of_unused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
    from typing import Any

    from nontax.ledger import Ledger
    from nontax.outcomes import Outcome
    from nontax.shapes import Bill

SLICE = 1.0


def _wake(run: "Callable[[], AsyncLedgerRun | None]") -> None:
    found = run()
    if found is not None:
        found._wake_from_afar()


class AsyncLedgerRun(AsyncRun):
    """An `AsyncRun` whose bills are on disk before they are sent, outcomes before they are seen."""

    def __init__(
        self,
        client: "_core.Client",
        ledger: "Ledger",
        bills: "Iterable[Bill] | AsyncIterable[Bill]",
        *,
        concurrency: int,
        rate: float,
        keep: int,
        timeout: float,
        never_waits: bool,
    ) -> None:
        self._pulling: asyncio.Task[None] | None = None
        self._abills: AsyncIterator[Bill] | None = None
        self._source = None
        if hasattr(bills, "__aiter__"):
            self._abills = aiter(bills)  # type: ignore[arg-type]
        else:
            self._source = iter(bills)
        make: Any = end_of
        run: Any = _core.Run(
            client=client,
            make_outcome=make,
            kept=None,
            bills=None,
            concurrency=concurrency,
            rate=rate,
            quota_pause=QUOTA_PAUSE,
            never_waits=True,
            bulk=True,
            in_loop=True,
        )
        loop = asyncio.get_running_loop()
        Driver.__init__(self, run, loop)
        self._ledger = ledger
        self._owner_pid = os.getpid()
        me = weakref.ref(self)
        self._gate = Gate(
            lambda: run,
            ledger,
            window=concurrency,
            timeout=timeout,
            retry_quota=not never_waits,
            quota_pause=QUOTA_PAUSE,
            keep=keep,
            wake=lambda: _wake(me),
        )
        self._slot: deque[Any] = deque()  # a bill that was pulled
        self._more = True
        self._begun = False
        self._error: BaseException | None = None
        self._raised: BaseException | None = None
        self._fatal_seen: BaseException | None = None
        self._context = copy_context()
        self._wake: asyncio.Future[None] | None = None
        self._stopped = False
        self._busy = self._is_over = False
        self._record = RunRecord(self)

    def _wake_from_afar(self) -> None:
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._woken)
            except RuntimeError:
                return  # it was closed just now

    # What the other methods of a run stand on

    def _kept(self) -> "deque[Outcome]":
        return self._gate.kept

    def _ended_by(self) -> BaseException | None:
        return self._fatal_seen or self._raised

    def _has_fatal_error(self) -> bool:
        trouble = self._gate.failure or self._run._fatal_error()
        if trouble is not None and self._fatal_seen is None:
            self._fatal_seen = trouble
        return trouble is not None

    def _may_pull(self) -> bool:
        return self._more and not self._stopped and not self._has_fatal_error()

    def _deliver(self) -> None:
        self._gate.end(self._completed)
        self._gate.close()
        self._woken()

    async def _pull(self, bills: "AsyncIterator[Bill]") -> None:
        pulling = asyncio.current_task()
        if self._pulling is None and not self._stopped:
            self._pulling = pulling
        if self._pulling is pulling:
            try:
                self._slot.append(await anext(bills))
            finally:
                self._woken()

    def _end_pulling(self) -> None:
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

    def stop(self) -> None:
        """Take no more bills from the iterable; those under way come to their ends."""
        self._stopped = True
        self._woken()

    def _take_bills(self, loop: asyncio.AbstractEventLoop) -> None:
        self._end_pulling()
        while self._slot:
            self._began()
            self._gate.take(self._slot[0])
            self._slot.popleft()
        while self._may_pull() and self._gate.wants() and self._pulling is None:
            if self._abills is not None:
                pulling = self._pull(self._abills)
                self._pulling = loop.create_task(pulling, context=self._context)
                self._pulling.add_done_callback(self._pulled)
                self._end_pulling()
                continue
            assert self._source is not None
            try:
                bill = next(self._source)
            except StopIteration:
                self._more = False
            except Exception as error:
                self._more = False
                self._error = self._raised = error
            else:
                self._began()
                self._gate.take(bill)

    # Working

    async def _wait_for_outcome(self) -> None:
        gate = self._gate
        self._begun = True
        if self._is_over:
            return
        try:
            await begin(self._ledger)
        except LedgerError as error:
            gate.failure = gate.failure or error
        loop = asyncio.get_running_loop()
        while True:
            gate.stopping = self._stopped or self._has_fatal_error()
            gate.step()
            if gate.completed:
                return
            self._take_bills(loop)
            gate.step()
            if gate.completed:
                return
            if gate.pending():
                wait = self._run._wants_in() if gate._ready else 0
                await self._until_woken(loop, wait if wait > 0 else SLICE)
            elif self._pulling is not None:
                if not self._may_pull():
                    self._stop_pulling(self._pulling)
                await self._until_woken(loop, None)
            elif not self._may_pull():
                if not gate.is_left():
                    self._give_back()
                    return
                if await self._outside(loop):
                    return

    async def _outside(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Wait for the next minute, or for another run's bills; True: for nothing."""
        gate = self._gate
        if self._stopped or self._has_fatal_error():
            gate.drop()
            return True
        due = gate.waits_until()
        if due is not None:
            await self._until_woken(loop, min(SLICE, max(0.0, due - time.monotonic())))
        elif await loop.run_in_executor(None, gate.ask_elsewhere) and not gate.completed:
            await self._until_woken(loop, LOOK_EVERY)
        return False

    async def _until_woken(self, loop: asyncio.AbstractEventLoop, seconds: float | None) -> None:
        self._wake = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._woken)
        try:
            await self._wake
        finally:
            self._wake = None
            if timer is not None:
                timer.cancel()

    async def __anext__(self) -> "Outcome":
        self._check()
        self._busy = True
        try:
            if not self._gate.completed or self._gate.is_interrupted():
                await self._wait_for_outcome()
            if not self._gate.completed:
                raise self._last_word()
            return self._gate.completed.popleft()
        finally:
            self._busy = False

    def _last_word(self) -> BaseException:
        if not self._stopped and self._has_fatal_error():
            self._stopped = True
            assert self._fatal_seen is not None
            return self._fatal_seen
        error, self._error = self._error, None
        return error or StopAsyncIteration()

    async def collect(self) -> "list[Outcome]":
        self._check()
        self._gate.kept = deque(self._gate.kept)
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
        await self.aclose()
        return self.outcomes

    async def _read_on(self) -> None:
        self._busy = True
        try:
            while True:
                await self._wait_for_outcome()
                if not self._gate.completed:
                    return
                self._gate.completed.clear()
        finally:
            self._busy = False

    async def aclose(self) -> "list[Outcome]":
        loop = self._loop()
        if loop is not None and loop is not asyncio.get_running_loop() and loop.is_running():
            raise RuntimeError("this run was begun in another event loop, which is running")
        self._begun = self._stopped = True
        pulling = self._pulling
        if pulling is not None and pulling.get_loop() is asyncio.get_running_loop():
            self._stop_pulling(pulling)
            await asyncio.wait([pulling])
        self._pulling = self._abills = self._error = None
        self._more = False
        gate = self._gate
        gate.stopping = True
        self._take_bills(asyncio.get_running_loop())
        gate.step()
        while gate._opening:  # whatever the disk gets must be settled
            await self._until_woken(asyncio.get_running_loop(), SLICE)
            gate.step()
        self._completed = self._run._end()
        self._deliver()
        gate.step()
        while gate.writes():
            await self._until_woken(asyncio.get_running_loop(), SLICE)
            gate.step()
        gate.drop()
        self._give_back()
        self._woken()
        outcomes = list(gate.completed)
        gate.completed.clear()
        return outcomes

    def __del__(self) -> None:
        record = getattr(self, "_record", None)
        if record is None:  # it could not be made
            return
        if self._ledger.is_writing_here():
            # This thread had the last reference for a moment, and cannot wait for itself.
            threading.Thread(target=self._finish, args=(record,)).start()
        else:
            self._finish(record)

    def _finish(self, record: RunRecord) -> None:
        try:
            if self._owner_pid != os.getpid() or not self._run._is_ours():
                return
            gate = self._gate
            if not self._begun:
                warn_of_unused(3)
            elif gate.pending() or gate.completed:
                gate.stopping = True
                until = time.monotonic() + 30
                gate.step()
                while gate._opening and time.monotonic() < until:
                    time.sleep(0.001)
                    gate.step()
                gate.end(list(self._run._end()))
                gate.close()
                while gate.writes() and time.monotonic() < until:
                    time.sleep(0.001)
                    gate.step()
                warn_of_unread(list(gate.completed), gate.kept.maxlen, 3)
        finally:
            record._end(self)
