"""The client's calls in an event loop: one descriptor on `loop.add_reader`, and no thread for each.

Loaded by the first asynchronous call, since importing asyncio costs more than all the rest.
"""

import asyncio
import os
import weakref
from collections import deque
from contextvars import copy_context

from nontax import _core
from nontax.awaited import ask_for
from nontax.errors import InDoubtError, NotSentError
from nontax.outcomes import Outcome
from nontax.runs import Recorded, RunRecord, warn_of_unread, warn_of_unused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
    from types import TracebackType
    from typing import Any, Self

    from nontax._core import Run
    from nontax.errors import NontaxError
    from nontax.interfaces import Request, T
    from nontax.shapes import Bill

    Fields = dict[str, Any]

# Of single calls in one loop; more wait for their turn.
CALLS_AT_ONCE = 100
# How often Ctrl-C may be pressed while a call is ended.
TRIES = 10
# Where there is no descriptor (all systems but Linux), a loop looks so often while calls are under
# way.
LOOK_EVERY = 0.01


class _Attached:
    """A run of the core, and the event loop that drives it while calls are under way."""

    def __init__(self, run: "Run[Any]", loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._pid = os.getpid()
        self._descriptor = run._fileno()
        # Weak: the loop must be able to end while a client remembers its run.
        self._loop = weakref.ref(loop)
        # What the run has told and nobody has taken: always the same list.
        self._told: list[Any] = run._poll()
        self._turn_is_due = False
        self._reading = False
        self._looking = False

    def _began(self) -> None:
        """One more call is under way."""
        if self._pid != os.getpid():
            # Before anything is added: such a loop has its selector in common with the parent's.
            raise RuntimeError("this event loop was begun before a fork: make a new one")
        loop = self._loop()
        assert loop is not None
        if self._descriptor >= 0:
            if not self._reading:
                # It stays readable until the run has done what is due. So all that begin in this
                # turn of the loop share one turn of the run, and a turn that Ctrl-C has ended is
                # made up for.
                loop.add_reader(self._descriptor, self._turn)
                self._reading = True
            return
        if not self._looking:
            loop.call_later(LOOK_EVERY, self._look, loop)
            self._looking = True
        if not self._turn_is_due:
            self._turn_once_more()
            self._turn_is_due = True

    def _turn_once_more(self) -> None:
        """Have a turn, although nothing may happen on any connection."""
        if self._descriptor >= 0:
            self._run._rouse()
        else:
            asyncio.get_running_loop().call_soon(self._turn)

    def _ended(self) -> None:
        loop = self._loop()
        idle = self._reading and self._is_idle()
        if idle and loop is not None and not loop.is_closed():
            # An idle run is not held by the loop, and ends with its client.
            self._reading = False  # first: to add it once more does no harm
            loop.remove_reader(self._descriptor)

    def _is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self._run._under_way() == 0

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = not self._is_idle()
        if self._looking:
            loop.call_later(LOOK_EVERY, self._look, loop)
            self._turn()

    def _turn(self) -> None:
        self._turn_is_due = False
        try:
            self._told = self._run._poll()
            self._run._ask_for_token(self._in_a_thread)
            self._deliver()
            self._ended()
        except BaseException:
            # Ctrl-C came in between, or there was no memory: what was left undone is done in
            # another turn. In C if it can be, before which no second signal comes.
            self._run._rouse()
            self._turn_once_more()
            raise

    def _in_a_thread(self, fetch_token: "Callable[[], None]") -> None:
        # A token source may block. It is asked once for all calls, so that a thread is cheap.
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(None, ask_for, loop, fetch_token)
        asked.add_done_callback(self._run._fetch_ended)

    def _deliver(self) -> None:
        """Hand on what the run has told, if anything; once more, if that was interrupted."""
        raise NotImplementedError


class _Call:
    """One call of a task.

    has_begun: it may be in the run. has_ended: the run has told of it, in fields or error.
    """

    __slots__ = (
        "error",
        "fields",
        "future",
        "has_begun",
        "has_ended",
        "interface",
        "make_result",
        "payload",
    )

    def __init__(self, request: "Request[T]", future: "asyncio.Future[T]") -> None:
        self.interface, self.payload, self.make_result = request
        self.future: asyncio.Future[Any] = future
        self.has_begun = self.has_ended = False
        self.fields: Fields | None = None
        self.error: NontaxError | None = None


def _end_of(
    _index: int,
    call: _Call,
    fields: "Fields | None",
    error: "NontaxError | None",
    _attempts: int,
    _seconds: float,
) -> _Call:
    """What a run makes of an outcome: the call itself knows it, whatever comes in between later."""
    call.fields, call.error, call.has_ended = fields, error, True
    return call


class Calls(_Attached):
    """The single calls of one client in one loop."""

    def __init__(self, client: "_core.Client", loop: asyncio.AbstractEventLoop) -> None:
        run: Run[_Call] = _core.Run(
            client=client,
            make_outcome=_end_of,
            kept=None,
            bills=None,
            concurrency=CALLS_AT_ONCE,
            rate=0.0,
            quota_pause=0.0,
            never_waits=False,
            bulk=False,
        )
        super().__init__(run, loop)
        self._waiting: deque[_Call] = deque()
        self._dropped: list[_Call] = []
        self._beginning = False

    async def call(self, request: "Request[T]") -> "T":
        """Run one call to its end; what the request makes of the reply's fields."""
        call = _Call(request, asyncio.get_running_loop().create_future())
        try:
            if self._has_room():
                self._begin(call)
            else:
                self._waiting.append(call)
            return await call.future  # type: ignore[no-any-return]
        except GeneratorExit:
            self._drop(call)
            raise
        except BaseException as error:
            raised = error
        # Not in the `except` block, where Python would put another context in place of ours.
        tries_left = TRIES  # no range(), which needs memory
        while tries_left:
            tries_left -= 1
            try:
                # Unless it is the call's own error, it was cancelled, or a signal came on its way.
                if not _is_error_of(call.future, raised):
                    self._end(call)
                    _tell(raised, call)
                break
            except BaseException as once_more:
                raised = once_more
        try:
            raise raised
        finally:
            del call, raised  # they hold each other

    def _drop(self, call: _Call) -> None:
        """Nobody will hear of the call: it ends before what it sends is closed or sent."""
        if call in self._waiting:
            self._waiting.remove(call)
        if call.has_begun:  # or is about to: code of its own payload may have closed it
            if not call.has_ended:
                try:
                    self._run._cancel(call)
                except ValueError:  # code of a payload has closed it, around which the run is busy
                    self._dropped.append(call)
                self._run._rouse()  # no loop may be running
            unsent = call.error is not None and call.error.outcome == "not_sent"
            if not unsent and not _core.reads(call.interface):  # what was only read can be again
                _warn_of("a coroutine was closed with 1 bills under way, of which nobody will hear")

    def _has_room(self) -> bool:
        # A payload's own code may begin another call.
        return self._run._under_way() < CALLS_AT_ONCE and not self._beginning

    def _is_idle(self) -> bool:
        return super()._is_idle() and not self._waiting and not self._told

    def has_ended(self) -> bool:
        """Whether its loop is closed."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    def _begin(self, call: _Call) -> None:
        self._beginning = True
        try:
            self._began()  # first: a call that is in the run must be looked after
            call.has_begun = True
            self._run._add(call.interface, call.payload, call)
        finally:
            self._beginning = False
        self._end_dropped()

    def _end_dropped(self) -> None:
        while self._dropped:
            self._run._cancel(self._dropped[-1])
            del self._dropped[-1]

    def _take_back(self, call: _Call) -> None:
        """End a call that may have begun: it has an outcome now, or else never was in the run."""
        self._run._cancel(call)
        call.has_begun = call.has_ended

    def _begin_waiting(self) -> None:
        while self._waiting and self._has_room():
            call = self._waiting[0]
            if call.has_begun and not call.future.done():
                # Ctrl-C came when it had begun, or just before.
                self._take_back(call)
                self._hand_over(call)
            if not call.has_begun and not call.future.done():
                try:
                    self._begin(call)
                except BaseException as error:
                    self._take_back(call)
                    _tell(error, call)
                    _fail(call.future, error)
                    if not isinstance(error, Exception):
                        raise
            if self._waiting and self._waiting[0] is call:  # code of its payload may close it
                del self._waiting[0]

    def _deliver(self) -> None:
        self._end_dropped()
        while self._told:
            self._hand_over(self._told[0])
            del self._told[0]
        self._begin_waiting()

    def _hand_over(self, call: _Call) -> None:
        if call.future.done() or not call.has_ended:
            return
        if call.error is not None:
            call.future.set_exception(call.error)
            return
        try:
            # Of a copy: it may be made once more.
            result = _core.make_result(call.interface, call.make_result, dict(call.fields or {}))
        except MemoryError:
            raise
        except Exception as failure:  # a signal handler's, it may be
            _tell(failure, call)
            _fail(call.future, failure)
        else:
            call.future.set_result(result)

    def _end(self, call: _Call) -> None:
        """End the call, unless it has ended, or has not begun, which it will not any more."""
        call.future.cancel()
        if call.has_begun and not call.has_ended:
            try:
                self._run._cancel(call)
            except MemoryError:
                call.error = InDoubtError(reason="out of memory: what became of the call was lost")
                call.has_ended = True
        self._ended()
        if self._waiting:
            self._turn_once_more()  # which begins them


def _is_error_of(future: "asyncio.Future[Any]", raised: BaseException) -> bool:
    return future.done() and not future.cancelled() and future.exception() is raised


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if isinstance(error, StopIteration):  # a signal handler's: a future takes none
        wrapped = RuntimeError("StopIteration was raised")
        wrapped.__cause__ = error
        error = wrapped
    future.set_exception(error)


def _tell(raised: BaseException, call: _Call) -> None:
    """Have the exception tell what is known of the call."""
    error = call.error
    if not call.has_ended:
        error = NotSentError(reason="it was ended before it was sent")
        error.interface = call.interface
    if error is not None:
        raised.__context__ = raised.__cause__ = error
    elif not _core.reads(call.interface):  # what was only read can be read again
        raised.add_note(f"nontax: WeChat has taken the call: {call.fields}")
        raised.nontax_fields = call.fields  # type: ignore[attr-defined]  # for a ledger


def _warn_of(what: str) -> None:
    import warnings

    warnings.warn(what, ResourceWarning, stacklevel=4)


class AsyncRun(_Attached, Recorded):
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


class Loops:
    """The single calls of one client, in whatever loops it is used."""

    def __init__(self, client: "_core.Client") -> None:
        self._client = client
        self._calls: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Calls]
        self._calls = weakref.WeakKeyDictionary()

    async def call(self, request: "Request[T]") -> "T":
        """Run one call to its end in the running loop; what the request makes of the reply."""
        loop = asyncio.get_running_loop()
        calls = self._calls.get(loop)
        if calls is None:
            # What was under way in a loop when it was closed would stay as long as the client.
            self._forget(Calls.has_ended)
            try:
                calls = self._calls[loop] = Calls(self._client, loop)
            except NotSentError as error:
                error.interface = request[0]
                raise
        try:
            return await calls.call(request)
        finally:
            del request

    def close_idle(self) -> None:
        """Close the connections of loops in which no call is under way. For any thread."""
        self._forget(Calls._is_idle)

    def _forget(self, such: "Callable[[Calls], bool]") -> None:
        for reference in self._calls.keyrefs():  # a copy: other threads have loops, too
            loop = reference()
            calls = None if loop is None else self._calls.get(loop)
            if loop is not None and calls is not None and such(calls):
                self._calls.pop(loop, None)
