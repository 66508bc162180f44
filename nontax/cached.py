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
    Fetch = Callable[[T | None, float, bool], tuple[T, float] | NontaxError]

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
        "_kept_until",
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
        self._renew = self._ends = self._newest_until = self._kept_until = 0.0
        self._failure: NontaxError | None = None
        self._failed_until = self._failed_within = 0.0

    def get(
        self,
        fetch: "Fetch[T]",
        stale: "T | None",
        seconds: float,
        *,
        may_keep: bool = False,
    ) -> "T | NontaxError":
        """Return the value, fetching it if there is none, or if it is about to end.

        fetch: callable, given `stale`, how many seconds it may take, and `may_keep`; returns the
            value and its lifetime in seconds, or the error that tells why there is none.
        stale: a value that is not good enough any more, or None. It may be returned again, if there
            is none newer. seconds: how long the caller can wait, for a fetch of another thread's,
            too. may_keep: whether `stale` is good enough if no newer one is to be had at once.

        An error is returned, so that it is told from what a signal handler raises: what `fetch`
        returned, for a while without asking again; NotSentError if another thread's fetch takes too
        long.
        """
        try:
            self._mind_forks()
            begun = monotonic()
            if self._is_good(stale, may_keep):
                return self._value  # type: ignore[return-value]
            if self._owner == get_ident():
                if stale is None and monotonic() < self._ends:
                    return self._value  # type: ignore[return-value]
                return NotSentError(
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
                            return NotSentError(
                                reason="another thread was still fetching the credential",
                                timed_out=True,
                            )
                try:
                    self._owner = get_ident()
                    if not self._is_good(stale, may_keep):
                        left = seconds - (monotonic() - begun)
                        failure = self._refresh(fetch, stale, left, may_keep)
                        if failure is not None:
                            return failure
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
        return self._value if self._is_good(None, False) else None

    def _refresh(
        self, fetch: "Fetch[T]", stale: "T | None", seconds: float, may_keep: bool
    ) -> NontaxError | None:
        fetched: tuple[T, float] | NontaxError | None = None
        try:
            usable = stale is None and monotonic() < self._ends
            if self._failure is not None and self._failure_counts(seconds):
                # Each of the threads gets an exception of its own.
                return None if usable else _copy_of(self._failure)
            fetched = fetch(stale, seconds, may_keep)
            if isinstance(fetched, NontaxError):
                counts = REFUSAL_COUNTS if isinstance(fetched, WeChatError) else FAILURE_COUNTS
                self._failure = _copy_of(fetched)
                self._failed_until = monotonic() + counts
                self._failed_within = (
                    seconds if getattr(fetched, "timed_out", False) else float("inf")
                )
                return None if usable else fetched
            self._value, lifetime = fetched
            now = monotonic()
            self._failure = None
            self._ends = now + lifetime
            self._renew = now + max(lifetime - EARLY, lifetime / 2)
            if self._value == stale:
                self._kept_until = now + REFUSAL_COUNTS
                if not may_keep:
                    self._newest_until = now + REFUSAL_COUNTS
            return None
        finally:
            del stale, fetched

    def _failure_counts(self, seconds: float) -> bool:
        # One that came of having little time left says nothing to whoever has plenty.
        return monotonic() < self._failed_until and seconds <= 2 * self._failed_within

    def _is_good(self, stale: "T | None", may_keep: bool) -> bool:
        try:
            now = monotonic()
            newest_until = self._kept_until if may_keep else self._newest_until
            return now < self._renew and (self._value != stale or now < newest_until)
        finally:
            del stale

    def _mind_forks(self) -> None:
        # In the child of a fork the lock may be held by a thread that does not exist there.
        if self._pid != os.getpid():
            self._lock = RLock()
            self._owner = 0
            self._pid = os.getpid()
