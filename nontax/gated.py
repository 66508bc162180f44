"""Bulk runs of a client that has a ledger; see `nontax.gate`."""

import threading
import time
import weakref

from nontax.gate import LOOK_EVERY, Gate, end_of
from nontax.runs import Run, RunRecord, warn_of_unread, warn_of_unused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Self

    from nontax import _core
    from nontax.ledger import Ledger
    from nontax.outcomes import Outcome
    from nontax.shapes import Bill

SLICE = 1.0  # seconds between two looks at what nobody wakes for
QUOTA_PAUSE = 0.0  # after errcode 45011; 0: to the beginning of the next minute


def _wake(run: "Callable[[], Run | None]") -> None:
    found = run()
    if found is not None:
        found._wake()


class LedgerRun(Run):
    """A `Run` whose bills are on disk before they are sent, and outcomes before they are seen."""

    _gate: Gate
    _ledger: "Ledger"
    _source: "Iterator[Bill]"
    _more: bool
    _stopped: bool
    _has_begun: bool
    _inside: bool
    _iterator_raised: BaseException | None
    _ended_with: BaseException | None
    _last_word_due: bool

    @classmethod
    def _begin_with(
        cls,
        client: "_core.Client",
        ledger: "Ledger",
        bills: "Iterable[Bill]",
        *,
        concurrency: int,
        rate: float,
        keep: int,
        timeout: float,
        never_waits: bool,
    ) -> "Self":
        make: Any = end_of
        run = cls(
            client=client,
            make_outcome=make,
            kept=None,
            bills=None,
            concurrency=concurrency,
            rate=rate,
            quota_pause=QUOTA_PAUSE,
            never_waits=True,
            bulk=True,
        )
        me: Any = weakref.ref(run)
        run._gate = Gate(
            me,
            ledger,
            window=concurrency,
            timeout=timeout,
            retry_quota=not never_waits,
            quota_pause=QUOTA_PAUSE,
            keep=keep,
            wake=lambda: _wake(me),
        )
        run._ledger = ledger
        run._fileno()  # with it, another thread can wake the run
        run._source = iter(bills)
        run._more, run._stopped, run._has_begun, run._inside = True, False, False, False
        run._iterator_raised = run._ended_with = None
        run._last_word_due = True
        run._record = RunRecord(run)
        return run

    # What the other methods of a run stand on

    def _kept(self) -> "deque[Outcome]":
        return self._gate.kept

    def _keep_in(self, kept: "deque[Outcome]") -> None:
        self._gate.kept = kept

    def _ended_by(self) -> BaseException | None:
        return self._ended_with

    def _begun(self) -> bool:
        return self._has_begun

    def _is_open(self) -> bool:
        gate = self._gate
        return gate.pending() or gate.is_left() or bool(gate.completed)

    def stop(self) -> None:
        """Take no more bills from the iterable; those under way come to their ends.

        For any thread, and for signal handlers.
        """
        self._stopped = True
        self._wake()

    def _check(self) -> None:
        if self._inside:
            raise ValueError("this run is in use, by another thread or around its own iterable")
        super()._check()

    # Working

    def _may_pull(self) -> bool:
        return self._more and not self._stopped and not self._has_fatal_error()

    def _has_fatal_error(self) -> bool:
        fatal = self._gate.failure or self._fatal_error()
        if fatal is not None and self._ended_with is None:
            self._ended_with = fatal
        return fatal is not None

    def _take_bills(self) -> None:
        while self._may_pull() and self._gate.wants():
            try:
                bill = next(self._source)
            except StopIteration:
                self._more = False
            except Exception as error:
                self._more, self._iterator_raised = False, error
                self._ended_with = self._ended_with or error
            else:
                self._gate.take(bill)

    def _work_on(self) -> bool:
        """Work until there is an outcome; False: there will be no other."""
        gate = self._gate
        self._has_begun = True
        while True:
            gate.stopping = self._stopped or self._has_fatal_error()
            gate.step()
            if gate.completed:
                return True
            self._take_bills()
            gate.step()
            if gate.completed:
                return True
            if gate.pending():
                self._do(SLICE)
            elif not self._may_pull() and not gate.is_left():
                self._give_back()
                return False
            elif gate.is_left() and not self._wait_outside():
                return bool(gate.completed)

    def _wait_outside(self) -> bool:
        """Wait for the next minute, or for another run's bills; False: for nothing."""
        gate = self._gate
        if self._stopped or self._has_fatal_error():
            gate.drop()
            return False
        due = gate.waits_until()
        if due is not None:
            self._do(min(SLICE, max(0.0, due - time.monotonic())))
        elif gate.ask_elsewhere() and not gate.completed:
            self._do(LOOK_EVERY)
        return True

    def _do(self, seconds: float) -> None:
        wait = self._wants_in()
        raw: Any = self._work(min(seconds, wait) if wait > 0 else seconds)
        self._gate.end(raw)
        self._gate.close()

    # As an iterator

    def __next__(self) -> "Outcome":
        self._check()
        self._inside = True
        try:
            gate = self._gate
            if gate.completed and not gate.is_interrupted():
                return gate.completed.popleft()
            if self._work_on():
                return gate.completed.popleft()
            raise self._final_error()
        finally:
            self._inside = False

    def _final_error(self) -> BaseException:
        """What is raised once when nothing is under way any more."""
        if self._last_word_due and self._has_fatal_error():
            self._last_word_due, self._stopped = False, True
            assert self._ended_with is not None
            return self._ended_with
        error, self._iterator_raised = self._iterator_raised, None
        return error or StopIteration()

    def _group(self) -> "list[Outcome]":
        self._check()
        self._inside = True
        try:
            if not self._work_on():
                return []
            group = list(self._gate.completed)
            self._gate.completed.clear()
            return group
        finally:
            self._inside = False

    def close(self) -> "list[Outcome]":
        """End the run; return the outcomes of all bills that had none yet, in a list.

        No further bill is taken from the iterator. Bills under way are ended with what is known of
        them: those whose body went out are in doubt.
        """
        self._check()
        self._inside = True
        gate = self._gate
        try:
            self._has_begun = self._stopped = gate.stopping = True
            while gate._opening:  # whatever the disk gets must be settled
                gate.step()
                if gate._opening:
                    self._do(SLICE)
            gate.step()
            raw: Any = self._end()
            gate.end(raw)
            gate.close()
            while gate.writes():
                gate.step()
                if gate.writes():
                    self._do(SLICE)
            gate.drop()
            self._more, self._iterator_raised = False, None
            self._last_word_due = False
            self._give_back()
            outcomes = list(gate.completed)
            gate.completed.clear()
            return outcomes
        finally:
            self._inside = False

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
        me: Any = self
        self._gate._core_of = lambda: me  # the weak one is gone already
        try:
            if not self._is_ours():
                return
            if not self._has_begun:
                warn_of_unused(3)
            elif self._is_open():
                self._inside = False
                warn_of_unread(self.close(), self._kept().maxlen, 3)
        finally:
            record._end(self)
            self._gate._core_of = lambda: None
