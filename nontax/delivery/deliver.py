"""The loop that sends what waits in a store: upload, reserve, send, settle, until nothing waits.

What `nontax insert` and `nontax resume` do, and Django's relay in two threads (`ahead.py`). It
sends with a client's connections, and without the client's own ledger.
"""

import time
from collections import Counter, deque
from typing import NamedTuple

from nontax.delivery.content import bill_of
from nontax.delivery.states import Answer
from nontax.delivery.store import Claim, Key, Window
from nontax.errors import LedgerError, NontaxError
from nontax.interfaces import upload_pdf
from nontax.journaled import answer_of
from nontax.pdf import Pdf
from nontax.runs import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nontax.client import Client
    from nontax.delivery.states import State
    from nontax.delivery.store import PdfDue, Store
    from nontax.outcomes import Outcome


# So many bills in a row, or as many as are under way at once, that could not be sent end it.
_UNSENT = 3
# Seconds: what is waited for, and how soon `stop` is heard meanwhile.
_LONGEST = 65.0
_SLICE = 0.1


class Delivered(NamedTuple):
    """One bill that has been settled. outcome: of the client; state: what it is in the store."""

    key: Key
    state: "State"
    outcome: "Outcome"
    shown: bool = False


class Report(NamedTuple):
    """What a delivery has come to.

    counts: bills by the state in which they are now, of those that were sent. error: what has
    ended it before all was sent, or None. pdf_problems: bills that wait on because of their PDF.
    waiting: how many bills are left. interface: where it came from, "insertbill" or "setpdf".
    pause: seconds for which the store lets nothing be sent, 0 if it does.
    """

    counts: "dict[str, int]"
    error: BaseException | None
    pdf_problems: "list[tuple[Key, str]]"
    waiting: int
    interface: str = "insertbill"
    pause: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether nothing waits any more, and nothing is in doubt."""
        return self.error is None and not self.waiting and not self.counts.get("in_doubt")


class ClaimedBill(dict):  # type: ignore[type-arg]
    """A bill on its way, which knows its claim."""

    __slots__ = ("claim",)

    claim: Claim


def to_next_minute(_: "NontaxError") -> float:
    """Seconds until a quota of this minute is over, by this machine's clock."""
    return 60.2 - time.time() % 60


def boot_time() -> float:
    """Seconds, with those in which the machine was suspended: a lease goes on meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Delivery:
    """One loop over a store, which can be stopped from a signal handler or another thread."""

    def __init__(
        self,
        store: "Store",
        client: "Client",
        *,
        concurrency: int = 16,
        rate: float | None = None,
        limit: int | None = None,
        progress: "Callable[[Delivered], None] | None" = None,
        pause: "Callable[[NontaxError], float]" = to_next_minute,
    ) -> None:
        """pause: told of what keeps every bill from being sent just now; the seconds to wait."""
        self._store, self._client = store, client
        self._left = limit  # how many bills may still be sent; None: all
        self._concurrency, self._rate = concurrency, rate
        self._progress, self._pause_for = progress, pause
        # Written down, not handed over; each with the time until when it may be.
        self._claims: deque[tuple[Claim, float | None]] = deque()
        self._until: float | None = None
        self._open: dict[int, Claim] = {}  # written down, not settled
        self._stopping = False
        self._quota_hit: NontaxError | None = None
        self._closed_for = 0.0  # seconds, by the store
        # A bill that could not be sent waits again, and is the next one to be sent.
        self._unsent = 0  # in a row
        self._most_unsent = max(_UNSENT, self._concurrency)
        if limit:
            self._most_unsent = min(self._most_unsent, limit)
        self._in_vain: NontaxError | None = None
        self._run: Run | None = None
        self._counts: Counter[str] = Counter()
        self._pdf_problems: list[tuple[Key, str]] = []
        self._pdf_tried: set[Key] = set()

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what is under way has ended."""
        self._stopping = True
        if self._run is not None:
            self._run.stop()

    def run(self) -> Report:
        """Send until nothing waits, something stops it, or `stop` is called.

        Ctrl-C begins nothing more, waits for what is under way and settles it, and then is raised.
        """
        self._store.expire()
        interface = "setpdf"
        error = self._upload()
        if error is None:
            interface = "insertbill"
            error = self._send()
        return Report(
            dict(self._counts), error, self._pdf_problems, self._store.waiting(), interface,
            self._closed_for,
        )  # fmt: skip

    # PDFs

    def _upload(self) -> BaseException | None:
        """Upload the PDFs that are missing or too old; what would stop every other one, too."""
        while not self._stopping:
            due = [
                each
                for each in self._store.pdfs_due(self._concurrency + len(self._pdf_tried))
                if each.key not in self._pdf_tried
            ]
            if self._left is not None:
                due = due[: max(self._left - len(self._pdf_tried), 0)]
            if not due:
                return None
            for each in due:
                self._pdf_tried.add(each.key)
                try:
                    upload(self._store, self._client, each)
                except (OSError, ValueError) as error:
                    self._pdf_problems.append((each.key, f"{each.path}: {error}"))
                except NontaxError as error:
                    answer = answer_of(None, error)
                    if answer.stops_run or answer.outcome == "not_sent":
                        return error
                    self._pdf_problems.append((each.key, str(error)))
        return None

    # Bills

    def _bills(self) -> "Iterator[ClaimedBill | None]":
        while not self._stopping:
            if not self._claims and not self._reserve(self._concurrency):
                return
            bill = self._hand_over()
            if bill is None:
                return
            yield bill

    def _hand_over(self) -> ClaimedBill | None:
        """The next bill; None: the lease is nearly over, and those that are left are not sent."""
        claim, until = self._claims[0]
        if until is not None and boot_time() > until:
            return None
        bill = ClaimedBill(bill_of(claim.content))
        bill.claim = claim
        self._store.handed_over([claim])
        self._claims.popleft()
        return bill

    def _reserve(self, most: int) -> bool:
        """Write down attempts for at most so many bills; whether there were some."""
        count = most if self._left is None else min(most, self._left)
        if not count:
            return False
        window: Window = self._store.reserve(count)
        if self._left is not None:
            self._left -= len(window.claims)
        self._until = window.until
        self._closed_for = 0.0 if window.claims else window.pause
        for claim in window.claims:
            self._open[claim.attempt] = claim
        self._claims.extend((claim, window.until) for claim in window.claims)
        return bool(window.claims)

    def _send(self) -> BaseException | None:
        while True:
            before = sum(self._counts.values())
            run = self._run = self._begin()
            try:
                self._read(run)
            except BaseException:
                self._stopping = True
                run.stop()
                try:
                    self._read(run)
                finally:
                    self._settle(self._close(run))
                    self._return_unsent()
                raise
            self._settle(self._close(run))
            left = bool(self._claims)
            self._return_unsent()
            got_on = left or sum(self._counts.values()) > before
            pause = self._pause(run, got_on)
            if pause is None or self._stopping:
                return run.error or self._in_vain
            if not (got_on or pause):
                return None
            self._sleep(pause)

    def _sleep(self, seconds: float) -> None:
        """In slices: `stop` may be called by a signal handler, which can wake nobody."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))

    def _begin(self) -> Run:
        return self._client._begin_run(
            self._bills(), concurrency=self._concurrency, rate=self._rate or 0.0
        )

    def _pause(self, run: Run, got_on: bool) -> float | None:
        """How long to wait before the next round; None: there is none."""
        if run.error is not None:
            return None
        if self._quota_hit is not None:
            self._closed_for = self._pause_for(self._quota_hit)
            self._quota_hit = None
        if self._closed_for:
            if self._closed_for <= _LONGEST:
                return self._closed_for
            return 0.0 if got_on else None  # what was sent may have opened it
        return 0.0 if self._until is not None or self._unsent else None

    def _read(self, run: Run) -> None:
        """Settle all outcomes of a run, until it has ended."""
        while group := run._group():
            self._settle(list(group))
            group.clear()

    def _close(self, run: Run) -> "list[Outcome]":
        """End a run; the outcomes that are not settled yet."""
        return run.close()

    def _settle(self, outcomes: "list[Outcome]") -> None:
        if not outcomes:
            return
        answers = []
        for outcome in outcomes:
            answer = answer_of(outcome.inserted, outcome.error, outcome.attempts)
            answers.append((outcome.bill.claim, answer))
            error = outcome.error
            if error is not None and (
                answer.errcode == 45011 or (error.outcome, error.retry) == ("not_sent", "later")
            ):
                self._quota_hit = self._quota_hit or error
                if self._run is not None:
                    self._run.stop()
            else:
                self._count_unsent(error)
        try:
            settled = self._store.settle(answers)
        except LedgerError as error:
            error.outcomes = list(outcomes)  # there is no other trace of them
            raise
        for outcome, one in zip(outcomes, settled, strict=True):
            self._open.pop(outcome.bill.claim.attempt, None)
            self._counts[one.state] += 1
            if self._progress is not None:
                self._progress(Delivered(one.key, one.state, outcome, one.shown))

    def _count_unsent(self, error: "NontaxError | None") -> None:
        """Stop where nothing can be sent, without a network for instance."""
        if self._stopping:
            return
        if error is None or error.outcome != "not_sent":
            self._unsent = 0
            return
        self._unsent += 1
        if self._unsent >= self._most_unsent:
            self._in_vain = error
            self.stop()

    def _return_unsent(self) -> None:
        """What is written down and was not handed over goes back to waiting."""
        unsent = Answer("not_sent", reason="the delivery ended before it was sent")
        if self._open:
            self._store.settle([(claim, unsent) for claim in self._open.values()])
        self._claims.clear()
        self._open.clear()


def upload(store: "Store", client: "Client", due: "PdfDue") -> None:
    """Upload a bill's PDF and keep its id.

    Raises OSError or ValueError if the file is not there or not the same any more, and NontaxError.
    """
    with open(due.path, "rb") as file:
        data = file.read()
    if due.sha256:
        from hashlib import sha256

        if sha256(data).hexdigest() != due.sha256:
            raise ValueError("the PDF has changed since the list was read")
    with Pdf(data, due.path.rpartition("/")[2]) as opened:
        uploaded = client._call(upload_pdf(opened.payload))
    store.keep_pdf(due.key, uploaded.s_media_id)
