"""The order of arrival: records of requests, faults that are still due, and waiting for both."""

import threading
from dataclasses import dataclass

from .faults import Close, Fault
from .records import Request


@dataclass(slots=True)
class _Due:
    fault: Fault
    times: int
    skip: int
    path: str | None  # None: of every interface


class Traffic:
    """One list of requests and one queue of faults, shared by all connections."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._requests: list[Request] = []
        self._due: list[_Due] = []
        self._connections = 0

    def connected(self) -> int:
        """Count a new connection and return its number."""
        with self._changed:
            self._connections += 1
            return self._connections

    def arrived(self, request: Request) -> None:
        """Record a request whose head was read: gives it its number and its fault."""
        with self._changed:
            # One that was due before the first byte waits for the next request.
            request.fault = None if self._unread_is_due() else self._next_fault(request.path)
            self._requests.append(request)
            request.number = len(self._requests)
            self._changed.notify_all()

    def finished(self, request: Request) -> None:
        with self._changed:
            request.finished = True
            self._changed.notify_all()

    def take_close_before_reading(self) -> bool:
        """Whether the request that begins to arrive is refused unread; takes the fault if so."""
        with self._changed:
            due = self._unread_is_due()
            if due:
                self._next_fault("")
            return due

    def _unread_is_due(self) -> bool:
        if not self._due or self._due[0].skip:
            return False
        fault = self._due[0].fault
        return isinstance(fault, Close) and fault.after == "nothing"

    def _next_fault(self, path: str) -> Fault | None:
        if not self._due or self._due[0].path not in (None, path):
            return None
        due = self._due[0]
        if due.skip:
            due.skip -= 1
            return None
        due.times -= 1
        if not due.times:
            del self._due[0]
        return due.fault

    def inject(self, fault: Fault, times: int = 1, skip: int = 0, path: str | None = None) -> None:
        """See `Sandbox.inject`. Raises ValueError."""
        if times < 1 or skip < 0:
            raise ValueError("times must be at least 1, skip at least 0")
        if path is not None and isinstance(fault, Close) and fault.after == "nothing":
            raise ValueError("a connection that is closed unread has no path")
        with self._changed:
            self._due.append(_Due(fault, times, skip, path))

    def behave(self) -> None:
        with self._changed:
            self._due.clear()

    def faults_left(self) -> int:
        with self._changed:
            return sum(due.times for due in self._due)

    def connections(self) -> int:
        with self._changed:
            return self._connections

    def requests(self) -> tuple[Request, ...]:
        with self._changed:
            return tuple(self._requests)

    def wait(self, count: int, timeout: float, *, finished: bool) -> tuple[Request, ...]:
        """Wait until `count` requests have arrived, or are finished. Raises TimeoutError."""

        def enough() -> bool:
            if len(self._requests) < count:
                return False
            return not finished or all(request.finished for request in self._requests[:count])

        with self._changed:
            if not self._changed.wait_for(enough, timeout):
                raise TimeoutError(
                    f"{len(self._requests)} of {count} requests arrived within {timeout} s: "
                    f"{self._requests}"
                )
            return tuple(self._requests)
