"""A value that is fetched once for all threads, kept for its lifetime, renewed before its end."""

import os
from _thread import RLock, get_ident
from time import monotonic

from nontax.errors import NontaxError, NotSentError, WeChatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class _Generic(Generic[T]):
        __slots__ = ()

else:

    class _Generic:
        """Takes a type argument and ignores it: importing typing would cost too much."""

        __slots__ = ()

        def __class_getitem__(cls, _item: object) -> type:
            return cls


# WeChat hands out the next token in the last five minutes of the one before.
EARLY = 300.0
# For so many seconds a failure counts for all who ask: a server that does not answer is not asked
# at once by everybody in turn, and a refusal (each more of which can block an address for longer)
# is not asked for again in a loop.
FAILURE_COUNTS = 1.0
REFUSAL_COUNTS = 5.0
# Who waits for another thread's fetch looks up so often: Python does not see a signal that comes
# just before a wait until that wait ends.
SLICE = 0.1


def _copy_of(error: NontaxError) -> NontaxError:
    import copy  # not before it is needed: it brings in others

    copied = copy.copy(error)
    copied.__cause__ = error.__cause__  # what a token source has raised
    return copied


class Cached(_Generic["T"]):
    """One value, with the lock under which it is fetched."""

    __slots__ = (
        "_ends",
        "_failed_until",
        "_failed_within",
        "_failure",
        "_lock",
        "_newest_until",
        "_owner",
        "_pid",
        "_renew",
        "_value",
    )

    def __init__(self) -> None:
        # It knows who holds it: see get().
        self._lock = RLock()
        self._owner = 0
        self._pid = os.getpid()
        self._value: T | None = None
        self._renew = self._ends = self._newest_until = 0.0
        self._failure: NontaxError | None = None
        self._failed_until = self._failed_within = 0.0

    def get(
        self,
        fetch: "Callable[[T | None, float], tuple[T, float]]",
        stale: "T | None",
        seconds: float,
    ) -> "T":
        """Return the value, fetching it if there is none, or if it is about to end.

        fetch: callable, given `stale` and how many seconds it may take; returns the value and its
            lifetime in seconds. stale: a value that is not good enough any more, or None. It may be
            returned again, if there is none newer. seconds: how long the caller can wait, for a
            fetch of another thread's, too.

        Raises what `fetch` raises, for a while without asking again; NotSentError if another
        thread's fetch takes too long.
        """
        try:
            self._mind_forks()
            begun = monotonic()
            if self._is_good(stale):
                return self._value  # type: ignore[return-value]
            if self._owner == get_ident():
                if stale is None and monotonic() < self._ends:
                    return self._value  # type: ignore[return-value]
                raise NotSentError(
                    reason="a signal handler cannot wait for the credential that its own thread "
                    "is fetching"
                )
            lock = self._lock  # a signal handler may fork, and the child get another one
            try:
                if not lock.acquire(blocking=False):
                    if stale is None and monotonic() < self._ends:
                        return self._value  # type: ignore[return-value]  # being renewed
                    while not lock.acquire(timeout=SLICE):
                        if monotonic() - begun >= seconds:
                            raise NotSentError(
                                reason="another thread was still fetching the credential",
                                timed_out=True,
                            )
                try:
                    self._owner = get_ident()
                    if not self._is_good(stale):
                        self._refresh(fetch, stale, seconds - (monotonic() - begun))
                    return self._value  # type: ignore[return-value]
                finally:
                    self._owner = 0
            finally:
                # Whether it was got, only the lock itself can say: Ctrl-C may come in between.
                try:
                    lock.release()
                except RuntimeError as error:
                    if "un-acquired" not in str(error):
                        raise  # a signal handler's
        finally:
            # A traceback that shows local variables must not show a credential.
            del stale

    def current(self) -> "T | None":
        """Return the value if `get` would fetch nothing, or None; never waits."""
        return self._value if self._is_good(None) else None

    def _refresh(
        self,
        fetch: "Callable[[T | None, float], tuple[T, float]]",
        stale: "T | None",
        seconds: float,
    ) -> None:
        try:
            usable = stale is None and monotonic() < self._ends
            if self._failure is not None and self._failure_counts(seconds):
                if usable:
                    return
                raise _copy_of(self._failure)  # each of the threads gets an exception of its own
            try:
                self._value, lifetime = fetch(stale, seconds)
            except NontaxError as error:
                counts = REFUSAL_COUNTS if isinstance(error, WeChatError) else FAILURE_COUNTS
                self._failure = _copy_of(error)
                self._failed_until = monotonic() + counts
                self._failed_within = (
                    seconds if getattr(error, "timed_out", False) else float("inf")
                )
                if usable:
                    return
                raise
            now = monotonic()
            self._failure = None
            self._ends = now + lifetime
            self._renew = now + max(lifetime - EARLY, lifetime / 2)
            if self._value == stale:
                self._newest_until = now + REFUSAL_COUNTS
        finally:
            del stale

    def _failure_counts(self, seconds: float) -> bool:
        # One that came of having little time left says nothing to whoever has plenty.
        return monotonic() < self._failed_until and seconds <= 2 * self._failed_within

    def _is_good(self, stale: "T | None") -> bool:
        try:
            now = monotonic()
            return now < self._renew and (self._value != stale or now < self._newest_until)
        finally:
            del stale

    def _mind_forks(self) -> None:
        # In the child of a fork the lock may be held by a thread that does not exist there.
        if self._pid != os.getpid():
            self._lock = RLock()
            self._owner = 0
            self._pid = os.getpid()
