"""A token source that is an `async def` function, for a core that asks with a plain call."""

from _thread import _local

from nontax.errors import InvalidRequestError, NotSentError
from nontax.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from typing import Any

NO_LOOP = (
    "is an async def function, which only calls in an event loop can await: call ainsert_bill() "
    "and its kin, or give a plain function",
    "token_source_async",
)
CO_COROUTINE = 0x80  # inspect's, which is costly to import

_asked_by = _local()  # .loop: the event loop for which this thread asks


def is_async(source: object) -> bool:
    """Whether it is an `async def` function, or an object that is called like one."""
    while type(source).__name__ == "partial":  # functools is not imported for it
        source = getattr(source, "func", None)
    for function in (source, getattr(type(source), "__call__", None)):  # noqa: B004
        code = getattr(function, "__code__", None)
        if code is not None:
            return bool(code.co_flags & CO_COROUTINE)
    return False


def ask_for(loop: "AbstractEventLoop", ask: "Callable[[], None]") -> None:
    """Call `ask` in this thread, on behalf of a call in an event loop."""
    _asked_by.loop = loop
    try:
        ask()
    finally:
        del _asked_by.loop


class AwaitedSource:
    """Has the coroutine awaited in the event loop whose call needs a token.

    The thread in which it is asked waits for that, for at most `timeout` seconds.
    """

    __slots__ = ("_source", "_timeout")

    def __init__(self, source: "Callable[[str | None], Any]", timeout: float) -> None:
        self._source = source
        self._timeout = timeout

    def __call__(self, stale: str | None) -> str:
        import asyncio

        try:
            loop = getattr(_asked_by, "loop", None)
            if loop is None:
                raise InvalidRequestError(problems=[Problem("token_source", *NO_LOOP)])
            asked = asyncio.run_coroutine_threadsafe(self._source(stale), loop)
            try:
                token: str = asked.result(self._timeout)
                return token
            except TimeoutError:
                if asked.done():
                    raise  # the source's own
                asked.cancel()
                raise NotSentError(
                    reason="the token source took too long", timed_out=True
                ) from None
        finally:
            del stale  # a traceback that shows local variables must not show a token

    def __repr__(self) -> str:
        return f"<awaited {self._source!r}>"
