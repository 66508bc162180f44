"""The client's calls in an event loop: one descriptor on `loop.add_reader`, no thread, no polling.

Loaded by the first asynchronous call, since importing asyncio costs more than all the rest.
"""

import asyncio
import weakref
from collections import deque
from contextvars import copy_context

from nontax import _core
from nontax.bill import Outcome
from nontax.errors import InDoubtError, NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, Self

    from nontax._core import Run
    from nontax.bill import Bill
    from nontax.errors import NontaxError
    from nontax.interfaces import Request, T

    Fields = dict[str, Any]
    # What a run tells of a call: index, payload, fields, error, attempts, seconds.
    Told = tuple[int, object, Fields | None, NontaxError | None, int, float]

# Of single calls in one loop; more wait for their turn.
CALLS_AT_ONCE = 100
# Where there is no descriptor (all systems but Linux), a loop looks so often while calls are under
# way.
LOOK_EVERY = 0.01


def _told(*values: "Any") -> "Told":
    return values


class _Attached:
    """A run of the core, and the event loop that drives it while calls are under way."""

    def __init__(self, run: "Run[Any]", loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._descriptor = run.fileno()
        # Weak: the loop must be able to end while a client remembers its run.
        self._loop = weakref.ref(loop)
        # What the run has told and nobody has taken: always the same list.
        self._told: list[Any] = run.poll()
        self._turn_is_due = False
        self._reading = False
        self._looking = False

    def _began(self) -> None:
        """One more call is under way."""
        loop = self._loop()
        assert loop is not None
        if self._descriptor >= 0 and not self._reading:
            loop.add_reader(self._descriptor, self._turn)
            self._reading = True
        elif self._descriptor < 0 and not self._looking:
            loop.call_later(LOOK_EVERY, self._look, loop)
            self._looking = True
        self._turn_soon(loop)

    def _turn_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turn_is_due:
            # All that begin in this turn of the loop share one turn of the run.
            loop.call_soon(self._turn)
            self._turn_is_due = True

    def _ended(self) -> None:
        loop = self._loop()
        idle = self._reading and self._run.under_way() == 0
        if idle and loop is not None and not loop.is_closed():
            # An idle run is not held by the loop, and ends with its client.
            loop.remove_reader(self._descriptor)
            self._reading = False

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = self._run.under_way() > 0
        if self._looking:
            loop.call_later(LOOK_EVERY, self._look, loop)
            self._turn()

    def _turn(self) -> None:
        self._turn_is_due = False
        loop = self._loop()
        assert loop is not None
        try:
            self._told = self._run.poll()
            if self._run.wants_token():
                self._ask_for_token(loop)
            if self._told:
                self._ended()
                self._deliver()
        except BaseException:
            # Ctrl-C came in between, or there was no memory: what was left undone is done in
            # another turn.
            self._turn_soon(loop)
            raise

    def _ask_for_token(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            # A token source may block. It is asked once for all calls, so that a thread is cheap.
            asked = loop.run_in_executor(None, self._run.fetch_token)
            asked.add_done_callback(self._has_token)
        except (RuntimeError, MemoryError) as error:  # there is no thread to be had
            self._run.refuse_token(error)
            self._turn_soon(loop)
        except BaseException:
            self._run.refuse_token(RuntimeError("asking for it was interrupted"))
            self._turn_soon(loop)
            raise

    def _has_token(self, asked: "asyncio.Future[None]") -> None:
        if asked.cancelled():
            self._run.refuse_token(RuntimeError("the loop's executor was shut down"))
        elif isinstance(error := asked.exception(), Exception):
            self._run.refuse_token(error)  # fetch_token() could not be called
        self._turn()

    def _deliver(self) -> None:
        """Hand on what the run has told; once more, if that was interrupted."""
        raise NotImplementedError


class _Call:
    """One call of a task.

    index: the run's, once it has begun. told: what the run has told of it, at its end.
    """

    __slots__ = ("future", "index", "make_result", "told")

    def __init__(
        self, future: "asyncio.Future[Any]", make_result: "Callable[[Fields], Any]"
    ) -> None:
        self.future = future
        self.make_result = make_result
        self.index: int | None = None
        self.told: Told | None = None


class Calls(_Attached):
    """The single calls of one client in one loop."""

    def __init__(self, client: "_core.Client", loop: asyncio.AbstractEventLoop) -> None:
        run: Run[Told] = _core.Run(
            client=client,
            make_outcome=_told,
            bills=None,
            concurrency=CALLS_AT_ONCE,
            rate=0.0,
            quota_pause=0.0,
            bulk=False,
        )
        super().__init__(run, loop)
        self._calls: dict[int, _Call] = {}
        self._waiting: deque[tuple[str, object, _Call]] = deque()

    async def call(self, request: "Request[T]") -> "T":
        """Run one call to its end; what the request makes of the reply's fields."""
        interface, payload, make_result = request
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        call = _Call(future, make_result)
        try:
            if len(self._calls) < CALLS_AT_ONCE:
                self._begin(interface, payload, call)
            else:
                self._waiting.append((interface, payload, call))
            return await future
        except asyncio.CancelledError as cancelled:
            self._cancel(call)
            _tell(cancelled, call.told, interface)
            raise
        finally:
            # There may be a ticket in the one, and an error that holds this frame in the others.
            del request, payload, call, future

    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._calls and not self._waiting

    def has_ended(self) -> bool:
        """Whether its loop is closed."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    def _begin(self, interface: str, payload: object, call: _Call) -> None:
        index = self._run.next_index()
        try:
            # All that needs memory comes first: a call that is in the run must be known here.
            self._calls[index] = call
            self._began()
            call.index = self._run.add(interface, payload)
        except BaseException as error:
            self._calls.pop(index, None)
            # A signal may have come when it was in the run already: then it ends, and is told of.
            told: Told | None = self._run.cancel(index)
            self._ended()
            if told is not None:
                _tell(error, told, interface)
            raise
        finally:
            del payload

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._calls) < CALLS_AT_ONCE:
            interface, payload, call = self._waiting.popleft()
            if call.future.done():
                continue  # cancelled before its turn came
            try:
                self._begin(interface, payload, call)
            except BaseException as error:
                call.future.set_exception(error)
                if not isinstance(error, Exception):
                    raise

    def _deliver(self) -> None:
        while self._told:
            told: Told = self._told[0]
            index, _payload, fields, error, _attempts, _seconds = told
            call = self._calls.get(index)
            if call is not None:
                # Its task may have been cancelled a moment ago, or be cancelled a moment later.
                call.told = told
                if call.future.done():
                    pass
                elif error is not None:
                    call.future.set_exception(error)
                else:
                    assert fields is not None
                    self._succeed(call, fields)
                self._calls.pop(index, None)
            del self._told[0]
        self._begin_waiting()

    def _succeed(self, call: _Call, fields: "Fields") -> None:
        try:
            result = call.make_result(dict(fields))  # a copy: it may be called once more
        except MemoryError:
            raise
        except Exception as failure:
            call.future.set_exception(failure)
        else:
            call.future.set_result(result)

    def _cancel(self, call: _Call) -> None:
        """End the call, unless it has ended or was not begun."""
        if call.index is None or call.told is not None:
            return
        del self._calls[call.index]
        try:
            call.told = self._run.cancel(call.index)
        except MemoryError:
            lost = InDoubtError(reason="out of memory: what became of the call was lost")
            call.told = call.index, None, None, lost, 0, 0.0
        self._ended()
        self._begin_waiting()
        loop = self._loop()
        if self._run.under_way() and loop is not None and not loop.is_closed():
            # On the way, answers to others may have been read, which nothing tells of again.
            self._turn_soon(loop)


def _tell(cancelled: BaseException, told: "Told | None", interface: str) -> None:
    """Have the exception tell what is known of its call. None: it was not begun."""
    if told is None:
        error: NontaxError | None = NotSentError(reason="it was ended before it was sent")
        assert error is not None
        error.interface = interface
    else:
        _, _, fields, error, _, _ = told
        if error is None:
            if not _core.reads(interface):  # what was only read can be read again
                cancelled.add_note(f"nontax: WeChat has taken the call: {fields}")
            return
    # On its way through an `except` block, Python puts another context there.
    cancelled.__context__ = cancelled.__cause__ = error


def _warn_of_unseen(count: int) -> None:
    if count:
        import warnings

        warnings.warn(
            f"a run was left with {count} bills whose outcomes nobody has seen: call aclose()",
            ResourceWarning,
            stacklevel=3,
        )


class Outcomes(_Attached):
    """An asynchronous iterator over the outcomes of many bills; see `Client.ainsert_bills`."""

    def __init__(
        self,
        client: "_core.Client",
        bills: "Iterable[Bill] | AsyncIterable[Bill]",
        concurrency: int,
        rate: float,
    ) -> None:
        self._pulling: asyncio.Task[Bill] | None = None  # for the next bill, until it is taken
        self._bills: Iterator[Bill] | None = None
        self._abills: AsyncIterator[Bill] | None = None
        if hasattr(bills, "__aiter__"):
            self._abills = aiter(bills)  # type: ignore[arg-type]  # it is no plain Iterable, then
        else:
            self._bills = iter(bills)
        run: Run[Outcome] = _core.Run(
            client=client,
            make_outcome=Outcome._from_core,
            bills=None,
            concurrency=concurrency,
            rate=rate,
            quota_pause=0.0,
            bulk=True,
        )
        super().__init__(run, asyncio.get_running_loop())
        self._error: BaseException | None = None  # what the iterable raised
        # One for all pulls: an asynchronous generator may set and reset context variables.
        self._context = copy_context()
        self._wake: asyncio.Future[None] | None = None
        self._stopped = False
        self._busy = False

    def __aiter__(self) -> "Self":
        return self

    async def __anext__(self) -> Outcome:
        if self._busy:
            raise ValueError("this run is in use by another task")
        if self._loop() is not asyncio.get_running_loop():
            raise RuntimeError("this run was begun in another event loop")
        self._busy = True
        try:
            return await self._next()
        finally:
            self._busy = False

    async def _next(self) -> Outcome:
        loop = asyncio.get_running_loop()
        while not self._told:
            delay = self._feed()
            if self._run.under_way() == 0 and not self._may_pull():
                if self._run.add_held(False):
                    self._began()
                    continue
                if self._pulling is None or self._stopped:
                    raise self._last_word()
                # There is trouble. A bill that comes nevertheless gets its outcome like the others.
                self._pulling.cancel()
            self._wake = loop.create_future()
            timer = None if delay is None else loop.call_later(delay, self._woken)
            try:
                await self._wake
            finally:
                self._wake = None
                if timer is not None:
                    timer.cancel()
        outcome: Outcome = self._told.pop(0)
        return outcome

    def _last_word(self) -> BaseException:
        """What is raised once when nothing is under way any more."""
        trouble = None if self._stopped else self._run.trouble()
        if trouble is not None:
            self._stopped = True
            return trouble
        error, self._error = self._error, None
        return error or StopAsyncIteration()

    def _may_pull(self) -> bool:
        more = self._bills is not None or self._abills is not None
        return more and not self._stopped and self._run.trouble() is None

    def _feed(self) -> float | None:
        """Take bills as far as the run wants them; in how many seconds it wants another."""
        if self._pulling is not None and self._pulling.done() and not self._stopped:
            # Only now: a bill is not sent while nobody asks for outcomes.
            pulled, self._pulling = self._pulling, None
            self._take(pulled)
        while self._may_pull() and self._pulling is None:
            wait = self._run.wants_in()
            if wait != 0:
                return wait if wait > 0 else None
            if self._abills is not None:
                loop = asyncio.get_running_loop()
                self._pulling = loop.create_task(self._pull(self._abills), context=self._context)
                self._pulling.add_done_callback(self._pulled)
                return None
            assert self._bills is not None
            if self._run.add_held(True):
                self._began()
                continue
            try:
                bill = next(self._bills)
            except StopIteration:
                self._bills = None
            except Exception as error:
                self._exhausted(error)
            else:
                self._add(bill)
        return None

    @staticmethod
    async def _pull(bills: "AsyncIterator[Bill]") -> "Bill":
        return await anext(bills)

    def _pulled(self, _pulling: "asyncio.Task[Bill]") -> None:
        self._woken()

    def _take(self, pulled: "asyncio.Task[Bill]") -> None:
        if pulled.cancelled():
            if self._run.trouble() is None:
                self._exhausted(asyncio.CancelledError())  # not by us: it has cancelled itself
            return
        error = pulled.exception()
        if isinstance(error, StopAsyncIteration):
            self._abills = None
        elif error is not None:
            self._exhausted(error)
        else:
            self._add(pulled.result())

    def _add(self, bill: "Bill") -> None:
        self._began()  # first: a bill that is in the run must be looked after
        self._run.add("insertbill", bill)

    def _exhausted(self, error: BaseException) -> None:
        self._bills = self._abills = None
        self._error = error

    def _deliver(self) -> None:
        self._woken()

    def _woken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def aclose(self) -> list[Outcome]:
        """End the run; return the outcomes of all bills that nobody has seen yet, in a list.

        No further bill is taken. Bills under way are ended with what is known of them: those whose
        body went out are in doubt.
        """
        self._stopped = True
        if self._pulling is not None and not self._pulling.done():
            self._pulling.cancel()
            await asyncio.wait([self._pulling])
        if self._has_pulled():
            assert self._pulling is not None
            self._run.add("insertbill", self._pulling.result())
        self._pulling = None
        self._bills = self._abills = self._error = None
        outcomes: list[Outcome] = self._run.close()  # with those in self._told: it is that list
        self._told = self._run.poll()
        self._ended()
        self._woken()
        return outcomes

    def _has_pulled(self) -> bool:
        """Whether there is a bill that was pulled and not taken."""
        pulled = self._pulling
        done = pulled is not None and pulled.done() and not pulled.cancelled()
        return done and pulled.exception() is None  # type: ignore[union-attr]

    def __del__(self) -> None:
        _warn_of_unseen(len(getattr(self, "_told", ())) + self._has_pulled())

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        _warn_of_unseen(len(await self.aclose()))


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
            calls = self._calls[loop] = Calls(self._client, loop)
        try:
            return await calls.call(request)
        finally:
            del request

    def close_idle(self) -> None:
        """Close the connections of loops in which no call is under way. For any thread."""
        self._forget(Calls.is_idle)

    def _forget(self, such: "Callable[[Calls], bool]") -> None:
        for reference in self._calls.keyrefs():  # a copy: other threads have loops, too
            loop = reference()
            calls = None if loop is None else self._calls.get(loop)
            if loop is not None and calls is not None and such(calls):
                self._calls.pop(loop, None)
