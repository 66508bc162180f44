"""Between a bulk run and a ledger: attempts on disk before, answers on disk after.

Bills come in, are checked and printed by the core, and written down in groups while others are
under way. Each then begins, and its outcome is given out when the disk has it. Whatever Ctrl-C
interrupts here is done again: each step counts once for each bill.
"""

import time
from collections import deque
from time import time as wall_clock

from nontax.delivery.content import content_of
from nontax.delivery.states import Answer
from nontax.delivery.store import Claim, Content, Known, Refused
from nontax.errors import LedgerError, NontaxError, NotSentError, QuotaError
from nontax.journaled import answer_of, error_of, inserted_of
from nontax.outcomes import InsertedBill, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nontax import _core
    from nontax.ledger import Ledger

    Fields = dict[str, Any]
    Raw = tuple["Subject", Fields | None, NontaxError | None, int, float]

# How long a bill is waited for that another run has under way, when all others have ended.
LOOK_EVERY = 0.05


class Subject:
    """One bill on its way."""

    __slots__ = (
        "answer", "began", "bill", "claim", "content", "index", "is_completed", "outcome",
        "transfers",
    )  # fmt: skip

    def __init__(self, index: int, bill: object) -> None:
        self.index, self.bill = index, bill
        self.began = time.monotonic()
        self.content: Content | None = None
        self.claim: Claim | None = None
        self.answer: Answer | None = None
        self.outcome: Outcome | None = None
        self.transfers = 0
        self.is_completed = False


def end_of(
    _index: int,
    subject: Subject,
    fields: "Fields | None",
    error: "NontaxError | None",
    attempts: int,
    _seconds: float,
) -> "Raw":
    """What the core's run makes of an outcome: nothing yet."""
    return subject, fields, error, attempts, _seconds


class Gate:
    """See this file.

    core: gives the run, whose `make_outcome` is `end_of`; this is no owner of it. wake: called in
    any thread when there is something to do. retry_quota: a bill that met the quota of a minute
    goes again in the next one, or after `quota_pause` seconds, if that is not 0.
    """

    def __init__(
        self,
        core: "Callable[[], _core.Run[Raw] | None]",
        ledger: "Ledger",
        *,
        window: int,
        timeout: float,
        retry_quota: bool,
        quota_pause: float,
        keep: int,
        wake: "Callable[[], None]",
    ) -> None:
        self._core_of, self._ledger, self._wake = core, ledger, wake
        self._quota_pause = quota_pause
        self._window, self._timeout, self._retry_quota = window, timeout, retry_quota
        self.pulled = 0
        self._current: Subject | None = None  # is being prepared
        self._batch: deque[Subject] = deque()  # prepared, in the core's order
        self._opening: deque[list[Subject]] = deque()  # groups that the disk has not yet
        # What the writer's thread has told: groups and their answers, in order.
        self._arrived: deque[tuple[list[Any], BaseException | None]] = deque()
        self._ready: deque[tuple[Subject, Claim | Known | Refused]] = deque()
        self._closing: dict[int, list[Subject]] = {}  # groups of outcomes, by number
        self._groups = 0
        self._kept: deque[tuple[int, list[bool] | None, BaseException | None]] = deque()
        self._ended: dict[int, Subject] = {}  # outcomes that no group has yet
        self.completed: deque[Outcome] = deque()
        self.kept: deque[Outcome] = deque(maxlen=keep)
        self._stepping = False  # a step was begun, and perhaps interrupted
        self.stopping = False  # what has not begun does not begin any more
        self._elsewhere: deque[Subject] = deque()  # another run has them under way
        self._again: deque[Subject] = deque()  # to be sent once more, after a pause
        self._pause_until = 0.0
        self._marked = 0  # the last attempt that may leave the machine
        self.failure: BaseException | None = None  # the ledger's
        self._lost: list[Outcome] = []  # could be kept nowhere

    @property
    def _core(self) -> "_core.Run[Raw]":
        core = self._core_of()
        assert core is not None  # it is being used
        return core

    # Coming in

    def wants(self) -> bool:
        """Whether another bill may be taken from the iterable."""
        return (
            self.failure is None
            and not self._again
            and self._current is None
            and len(self._batch) + sum(map(len, self._opening)) + len(self._ready) < self._window
        )

    def take(self, bill: object) -> None:
        """A bill of the iterable: from now on it has a place here."""
        self._current = Subject(self.pulled, bill)
        self.pulled += 1
        self.prepare()

    def prepare(self) -> None:
        """Have the core check and print the bill that was taken; again, if that was interrupted."""
        subject = self._current
        if subject is None:
            return
        body = self._core._prepare(subject.bill, subject)
        if body is not None:
            if subject.content is None:
                subject.content = content_of(body)
            if not self._batch or self._batch[-1] is not subject:
                self._batch.append(subject)
        self._current = None

    def _take_again(self) -> None:
        if self._again and time.monotonic() >= self._pause_until and self._current is None:
            self._current = self._again[0]
            self._again.popleft()
            self.prepare()

    def open(self) -> None:
        """Have the attempts of all that is prepared written down."""
        if not self._batch:
            return
        if self.failure is not None:
            self._leave_batch()
            return
        group = list(self._batch)
        self._opening.append(group)
        self._batch.clear()

        def done(answers: "list[Any] | None", error: BaseException | None) -> None:
            self._arrived.append((answers or [], error))
            self._wake()

        contents = [subject.content for subject in group]
        try:
            self._ledger.submit_open(contents, done)  # type: ignore[arg-type]
        except LedgerError as error:
            done(None, error)

    def _leave_batch(self) -> None:
        while self._batch:
            self._leave(self._batch[0], str(self.failure))
            self._batch.popleft()

    def arrive(self) -> None:
        """See what the disk has."""
        while self._arrived:
            answers, error = self._arrived[0]
            group = self._opening[0]
            if error is not None:
                self.failure = self.failure or error
                self.stopping = True
                for subject in group:
                    self._leave(subject, str(error))
            for subject, answer in zip(group, answers, strict=False):
                if isinstance(answer, Claim):
                    subject.claim = answer
            if answers and (not self._ready or self._ready[-1][0] is not group[-1]):
                self._ready.extend(zip(group, answers, strict=False))
            self._opening.popleft()
            self._arrived.popleft()
        while self._kept:
            number, spooled, error = self._kept[0]
            self._tell(self._closing.get(number, []), spooled, error)
            self._closing.pop(number, None)
            self._kept.popleft()

    def begin(self) -> None:
        """Hand over what is ready, as far as the core takes it."""
        if not self._ready:
            return
        core = self._core
        if not self.stopping:
            if time.monotonic() < self._pause_until:
                return
            prepared = len(self._batch) + sum(map(len, self._opening)) + len(self._ready)
            self._hand_over(self._window + prepared - core._under_way())
        while self._ready:
            subject, answer = self._ready[0]
            if not isinstance(answer, Claim):
                core._skip_prepared(subject)
                self._known(subject, answer)
            elif self.stopping:
                self._leave(subject)
            elif answer.attempt > self._marked or core._wants_in() != 0:
                return
            else:
                core._begin_prepared(subject)
            self._ready.popleft()

    def _hand_over(self, room: int) -> None:
        """Mark as many of the ready ones as the core has room for: they may leave the machine."""
        claims = []
        last = 0
        for _, answer in self._ready:
            if room <= 0:
                break
            if isinstance(answer, Claim):
                room -= 1
                if answer.attempt > self._marked:
                    claims.append(answer)
                    last = answer.attempt
        if claims:
            self._ledger.handed_over(claims)
            self._marked = last

    def _leave(
        self, subject: Subject, reason: str = "the run was ended before it was sent"
    ) -> None:
        """It does not begin any more."""
        if self._core._skip_prepared(subject) or subject.outcome is None:
            error = NotSentError(reason=reason)
            subject.answer = answer_of(None, error, subject.transfers)
            subject.outcome = self._make(subject, None, error)
        self._ended[subject.index] = subject

    def _known(self, subject: Subject, answer: Known | Refused) -> None:
        """The ledger does not let it be sent."""
        if isinstance(answer, Known) and answer.state == "sending":
            if not self._elsewhere or self._elsewhere[-1] is not subject:
                self._elsewhere.append(subject)
            return
        self._give(subject, answer)

    def _give(self, subject: Subject, answer: Known | Refused) -> None:
        error = error_of(answer)
        inserted = inserted_of(answer) if isinstance(answer, Known) and error is None else None
        subject.outcome = self._make(subject, inserted, error, from_ledger=True)
        self._tell_one(subject)

    # Coming out

    def _make(
        self,
        subject: Subject,
        inserted: InsertedBill | None,
        error: NontaxError | None,
        *,
        from_ledger: bool = False,
        spooled: bool = False,
    ) -> Outcome:
        name = "inserted" if error is None else error.outcome
        seconds = time.monotonic() - subject.began
        return Outcome(
            subject.index, subject.bill, name, inserted, error, subject.transfers, seconds,
            from_ledger, spooled,
        )  # fmt: skip

    def end(self, raw: "list[Raw]") -> None:
        """Take over outcomes of the core, and have them kept."""
        while raw:
            subject, fields, error, attempts, _ = raw[0]
            if subject.outcome is None:
                subject.transfers += attempts
                inserted = None if fields is None else InsertedBill._from_reply(dict(fields))
                subject.answer = answer_of(inserted, error, subject.transfers)
                subject.outcome = self._make(subject, inserted, error)
            self._ended[subject.index] = subject
            del raw[0]

    def close(self) -> None:
        """Have all outcomes that have come kept."""
        if not self._ended:
            return
        group = list(self._ended.values())
        number = self._groups
        self._closing[number] = group
        self._groups += 1
        self._ended = {}
        with_claim = [(subject.claim, subject.answer) for subject in group if subject.claim]

        def done(spooled: "list[bool] | None", error: BaseException | None) -> None:
            self._kept.append((number, spooled, error))
            self._wake()

        if with_claim:
            self._ledger.submit_close(with_claim, done)  # type: ignore[arg-type]
        else:
            done([], None)

    def _tell(
        self, group: list[Subject], spooled: "list[bool] | None", error: BaseException | None
    ) -> None:
        marks = iter(spooled or ())
        for subject in group:
            outcome = subject.outcome
            if outcome is None or subject.is_completed:
                continue
            if subject.claim is not None:
                if error is not None:  # what is not kept is not told, but by the error
                    self._lost.append(outcome)
                    subject.is_completed = True
                    continue
                if next(marks, False):
                    subject.outcome = outcome = Outcome(*outcome._values()[:-1], True)
                elif self._goes_again(outcome):
                    subject.claim = subject.answer = subject.outcome = None
                    self._again.append(subject)
                    pause = self._quota_pause or 60.2 - wall_clock() % 60
                    self._pause_until = max(self._pause_until, time.monotonic() + pause)
                    continue
            self._tell_one(subject)
        if error is not None:
            self.failure = LedgerError(reason=str(error), outcome="in_doubt", outcomes=self._lost)
            self.failure.__cause__ = error
            self.stopping = True

    def _goes_again(self, outcome: Outcome) -> bool:
        error = outcome.error
        by_minute = isinstance(error, QuotaError) and error.errcode == 45011
        too_soon = error is not None and (error.outcome, error.retry) == ("not_sent", "later")
        may = self._retry_quota and self.failure is None and not self.stopping
        return may and (by_minute or too_soon)

    def _tell_one(self, subject: Subject) -> None:
        assert subject.outcome is not None
        if subject.is_completed:
            return
        for place in (self.kept, self.completed):
            if not place or place[-1] is not subject.outcome:
                place.append(subject.outcome)
        subject.is_completed = True

    # The end

    def step(self) -> None:
        """All that can be done without waiting, but for taking another bill."""
        self._stepping = True
        self.arrive()
        self.prepare()
        self._take_again()
        self.open()
        self.begin()
        self.close()
        self._stepping = False

    def is_interrupted(self) -> bool:
        """Whether a step has to be done once more before anything is given out."""
        return self._stepping

    def pending(self) -> bool:
        """Whether the disk, or the core, still has something of this run."""
        return bool(
            self._opening or self._closing or self._ended or self._batch or self._current
            or self._arrived or self._kept or self._core._under_way()
        )  # fmt: skip

    def writes(self) -> bool:
        """Whether the disk still has something of this run."""
        return bool(self._opening or self._closing or self._arrived or self._kept)

    def waits_until(self) -> float | None:
        """When something is due that nobody wakes for; monotonic seconds."""
        if self._again:
            return self._pause_until
        return None

    def is_left(self) -> bool:
        """Whether bills are left that wait for something outside of this run."""
        return bool(self._again or self._elsewhere)

    def ask_elsewhere(self) -> bool:
        """Look at the bills that others had under way; whether some of them still have to be."""
        for _ in range(len(self._elsewhere)):
            subject = self._elsewhere[0]
            assert subject.content is not None
            known = self._ledger.look(subject.content.key)
            if known is not None and known.state == "sending":
                if time.monotonic() < subject.began + self._timeout:
                    self._elsewhere.rotate(-1)
                    continue
                self._give(subject, known)
            elif known is not None:
                self._give_kept(subject, known)
            self._elsewhere.popleft()
        if self._elsewhere:
            self._ledger.expire()
        return bool(self._elsewhere)

    def _give_kept(self, subject: Subject, known: Known) -> None:
        if known.state in ("inserted", "in_doubt", "rejected"):
            self._give(subject, known)
        else:  # the other run gave it back, and so do we: whoever hands it in again has it sent
            self._give(subject, known._replace(state="waiting"))

    def drop(self) -> None:
        """The run is ended: what was to go again does not."""
        while self._again:
            subject = self._again[0]
            error = QuotaError(errcode=45011, errmsg="the run was ended before the next minute")
            subject.outcome = self._make(subject, None, error)
            self._tell_one(subject)
            self._again.popleft()
        while self._elsewhere:
            subject = self._elsewhere[0]
            assert subject.content is not None
            known = self._ledger.look(subject.content.key)
            assert known is not None
            self._give(subject, known)
            self._elsewhere.popleft()
