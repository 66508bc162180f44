"""Between a bulk run and a ledger: attempts on disk before, outcomes on disk after.

The run hands in bills that are printed, and outcomes that have come; see csrc/python/run_journal.c.
The ledger's thread takes all that is there when its turn comes, and answers in the same order. What
is done here for each bill is done in that thread, where no signal handler interrupts it.
"""

import time
import weakref
from collections import deque
from time import time as wall_clock

from nontax.delivery.content import FORM, content_of
from nontax.delivery.store import Claim, Known, Refused
from nontax.errors import LedgerError, NontaxError, NotSentError, QuotaError
from nontax.journaled import answer_of, error_of, inserted_of
from nontax.outcomes import InsertedBill, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nontax.delivery.states import Answer
    from nontax.delivery.store import Content
    from nontax.ledger import Ledger

    # A bill that is printed: index, bill, body or its values, transfers before, when it was taken.
    Printed = tuple[int, object, str | tuple[object, ...], int, float]
    # Of a bill that was to be written down: it is; or its outcome; or that with which it is given
    # out if the run is stopped, in a list: another run has it under way.
    Opened = Claim | Outcome | list[Outcome]
    # Of an outcome that was to be kept: it is; or that it is to go again, unless the run is
    # stopped, in a list; or None: it could not be kept.
    Closed = Outcome | list[Outcome] | None

QUOTA_PAUSE = 0.0  # seconds after errcode 45011; 0: to the beginning of the next minute
SPREAD = 1.1  # by so many seconds the core's own pause may be longer, at random


def _take_all(queue: "deque[Any]") -> "list[Any]":
    return [queue.popleft() for _ in range(len(queue))]


class Gate:
    """What a run knows as its journal.

    timeout: seconds for which a bill is waited for that another run has under way. retry_quota: a
    bill that met the quota of a minute goes again in the next one.
    """

    form = FORM

    def __init__(self, ledger: "Ledger", *, timeout: float, retry_quota: bool) -> None:
        self._ledger, self.timeout, self.retry_quota = ledger, timeout, retry_quota
        self.quota_pause = QUOTA_PAUSE
        # Between threads, each with one that puts in and one that takes out.
        self.opens: deque[Printed] = deque()
        self.closes: deque[tuple[Claim, Outcome]] = deque()
        self.answers: deque[tuple[list[Closed], list[Opened], BaseException | None, float]]
        self.answers = deque()
        self._wake: Callable[[], None] = lambda: None
        self._refused: tuple[Batch, LedgerError] | None = None
        self.failure: BaseException | None = None  # the ledger's
        self.lost: list[Outcome] = []  # could be kept nowhere

    def wakes(self, run: "Any") -> None:
        """Whom to wake, in any thread, when there is an answer; this is no owner of it."""
        me = weakref.ref(run)

        def wake() -> None:
            found = me()
            if found is not None:
                found._wake()

        self._wake = wake

    def wakes_to_the_end(self, run: "Any") -> None:
        """The same for a run that is being finalized, of which there are no weak references."""
        self._wake = run._wake

    def forget(self) -> None:
        """Nobody is there any more who could be woken."""
        self._wake = lambda: None

    # In the run's thread

    def attend(self) -> None:
        """There are bills or outcomes for the ledger."""
        if self._refused is None:
            batch = Batch(self)
            try:
                self._ledger.attend(batch)
            except LedgerError as error:
                self._refused = batch, error
        if self._refused is not None:
            self._refused[0].refuse(self._refused[1])
            self._refused = None

    def mark(self, claim: Claim) -> bool:
        """All bills up to this one may leave the machine from now on."""
        try:
            self._ledger.handed_over((claim,))
        except LedgerError as error:
            self.failure = self.failure or error
            self.answer([], [])
            return False
        return True

    def expire(self) -> None:
        """Look for runs that have died: bills may be waiting for them."""
        self._ledger.expire()

    def is_writing_here(self) -> bool:
        """Whether this thread is the ledger's."""
        return self._ledger.is_writing_here()

    # In the ledger's thread

    def answer(self, closed: "list[Closed]", opened: "list[Opened]") -> None:
        """The run takes this over when it looks the next time."""
        again = any(type(one) is list for one in closed)
        pause = self.quota_pause or 60.0 - wall_clock() % 60
        until = time.monotonic() + pause + SPREAD if again else 0.0
        self.answers.append((closed, opened, self.failure, until))
        self._wake()


class Batch:
    """What a run has for the ledger when its turn comes. Used in the ledger's thread alone."""

    __slots__ = ("_answers", "_bills", "_closed", "_contents", "_gate", "_outcomes")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._bills: list[Printed] | None = None
        self._contents: list[Content] = []
        self._outcomes: list[Outcome] = []
        self._answers: list[tuple[Claim, Answer]] | None = None
        self._closed: list[Closed] = []

    def answers(self) -> "list[tuple[Claim, Answer]]":
        """The answers that are to be kept; the same ones each time."""
        if self._answers is None:
            taken = _take_all(self._gate.closes)
            self._outcomes = [outcome for _, outcome in taken]
            self._answers = [
                (claim, answer_of(outcome.inserted, outcome.error, outcome.attempts))
                for claim, outcome in taken
            ]
        return self._answers

    def bills(self) -> "list[Content]":
        """The bills whose attempts are to be written down; the same ones each time."""
        if self._bills is None:
            self._bills = _take_all(self._gate.opens)
            self._contents = [content_of(printed[2]) for printed in self._bills]
        return self._contents

    def kept(self, *, spooled: bool, error: BaseException | None = None) -> None:
        """What has become of the answers. error: they could be kept nowhere. Comes first."""
        gate = self._gate
        if error is not None:  # what is not kept is not told, but by the error
            gate.lost += self._outcomes
            failure = LedgerError(reason=str(error), outcome="in_doubt", outcomes=gate.lost)
            failure.__cause__ = error
            gate.failure = failure
            self._closed = [None] * len(self._outcomes)
        elif spooled:
            self._closed = [Outcome(*one._values()[:-1], True) for one in self._outcomes]
        else:
            self._closed = [
                [one] if one.error is not None and self._goes_again(one.error) else one
                for one in self._outcomes
            ]

    def opened(
        self, answers: "list[Claim | Known | Refused] | None", error: BaseException | None
    ) -> None:
        """What has become of the bills. Comes last."""
        gate = self._gate
        bills = self._bills or []
        opened: list[Opened]
        if answers is None:
            assert error is not None
            gate.failure = gate.failure or error
            opened = [
                _outcome(printed, None, NotSentError(reason=str(error)), from_ledger=False)
                for printed in bills
            ]
        else:
            opened = [
                answer if isinstance(answer, Claim) else self._known(printed, answer)
                for printed, answer in zip(bills, answers, strict=True)
            ]
        gate.answer(self._closed, opened)

    def refuse(self, error: LedgerError) -> None:
        """The ledger takes nothing any more."""
        self.answers()
        self.bills()
        if self._outcomes:
            self.kept(spooled=False, error=error)
        self.opened(None, error)

    def _goes_again(self, error: NontaxError) -> bool:
        by_minute = isinstance(error, QuotaError) and error.errcode == 45011
        too_soon = (error.outcome, error.retry) == ("not_sent", "later")
        return self._gate.retry_quota and self._gate.failure is None and (by_minute or too_soon)

    def _known(self, printed: "Printed", answer: Known | Refused) -> "Opened":
        """The ledger does not let it be sent."""
        error = error_of(answer)
        inserted = inserted_of(answer) if isinstance(answer, Known) and error is None else None
        outcome = _outcome(printed, inserted, error, from_ledger=True)
        elsewhere = isinstance(answer, Known) and answer.state == "sending"
        return [outcome] if elsewhere and outcome.seconds < self._gate.timeout else outcome


def _outcome(
    printed: "Printed",
    inserted: InsertedBill | None,
    error: NontaxError | None,
    *,
    from_ledger: bool,
) -> Outcome:
    index, bill, _, attempts, began = printed
    name = "inserted" if error is None else error.outcome
    seconds = time.monotonic() - began
    return Outcome(index, bill, name, inserted, error, attempts, seconds, from_ledger, False)
