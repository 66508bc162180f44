"""The client's single calls in an event loop.

Loaded by the first asynchronous call, since importing asyncio costs more than all the rest.
"""

import asyncio
import weakref
from collections import deque

from nontax import _core
from nontax.aio.driver import Driver
from nontax.errors import InDoubtError, NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from nontax._core import Run
    from nontax.errors import NontaxError
    from nontax.interfaces import Request, T

    Fields = dict[str, Any]

# Of single calls in one loop; more wait for their turn.
CALLS_AT_ONCE = 100
# How often Ctrl-C may be pressed while a call is ended.
TRIES = 10


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
    _outcome: str,
    fields: "Fields | None",
    error: "NontaxError | None",
    *_more: object,
) -> _Call:
    """What a run makes of an outcome: the call itself knows it, whatever comes in between later."""
    call.fields, call.error, call.has_ended = fields, error, True
    return call


class Calls(Driver):
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
            in_loop=True,
        )
        super().__init__(run, loop)
        self._waiting: deque[_Call] = deque()
        self._dropped: list[_Call] = []
        self._beginning = False

    async def call(self, request: "Request[T]", loop: asyncio.AbstractEventLoop) -> "T":
        """Run one call to its end; what the request makes of the reply's fields."""
        call = _Call(request, loop.create_future())
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
                self._run._wakeup()  # no loop may be running
            unsent = call.error is not None and call.error.outcome == "not_sent"
            if not unsent and not _core.is_read_only(
                call.interface
            ):  # what was only read can be again
                _warn_of("coroutine closed with 1 call in flight; its outcome is lost")

    def _has_room(self) -> bool:
        # A payload's own code may begin another call.
        return self._run._under_way() < CALLS_AT_ONCE and not self._beginning

    def _is_idle(self) -> bool:
        return super()._is_idle() and not self._waiting and not self._completed

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
        while self._completed:
            self._hand_over(self._completed[0])
            del self._completed[0]
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
        error = NotSentError(reason="cancelled before it was sent")
        error.interface = call.interface
    if error is not None:
        raised.__context__ = raised.__cause__ = error
    elif not _core.is_read_only(call.interface):  # what was only read can be read again
        raised.add_note(f"nontax: WeChat has processed the call: {call.fields}")
        raised.nontax_fields = call.fields  # type: ignore[attr-defined]  # for a ledger


def _warn_of(what: str) -> None:
    import warnings

    warnings.warn(what, ResourceWarning, stacklevel=4)


class Loops:
    """The single calls of one client, in whatever loops it is used."""

    def __init__(self, client: "_core.Client") -> None:
        self._client = client
        self._calls: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Calls]
        self._calls = weakref.WeakKeyDictionary()

    def call(self, request: "Request[T]") -> "Coroutine[Any, Any, T]":
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
            return calls.call(request, loop)
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
