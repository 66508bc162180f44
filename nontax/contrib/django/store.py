"""The outbox as a store: what waits is claimed in windows, for as long as a lease lasts.

Whoever has a lease may send; who has lost it may not, and the bill is in doubt. Leases are measured
by the database's clock, and here by one that goes on while the machine is suspended.
"""

import logging
import time
from functools import partial
from typing import Any
from uuid import uuid4

from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import Count

from nontax.contrib.django import intake, pace, settling
from nontax.contrib.django.clock import DatabaseMs
from nontax.contrib.django.conf import MARGIN
from nontax.contrib.django.models import Attempt, Bill, Evidence, Server
from nontax.contrib.django.models import Content as ContentRow
from nontax.contrib.django.rows import (
    UPLOAD_MS,
    content_of,
    force_commits,
    joined,
    known_of,
    learn,
    look,
)
from nontax.contrib.django.taking import Taker, take
from nontax.contrib.django.telling import tell, worker_name
from nontax.delivery import states
from nontax.delivery.deliver import boot_time
from nontax.delivery.spool import Spool
from nontax.delivery.states import Answer, State
from nontax.delivery.store import (
    AttemptRow,
    Claim,
    Content,
    EvidenceRow,
    Key,
    Known,
    PdfDue,
    Refused,
    Settled,
    Window,
)
from nontax.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

_log = logging.getLogger("nontax.delivery")
# Rows that one look for ended leases settles.
_PAGE = 500
_AWAY = (OperationalError, InterfaceError)


def _goes_through(answer: Answer) -> bool:
    """WeChat has dealt with the bill itself: the account's trouble is over."""
    return answer.outcome in ("inserted", "rejected") and not answer.stops_run


class _NotAllMineError(Exception):
    """Some of the bills were given up meanwhile."""


class OutboxStore:
    """One owner of an account's bills in the outbox. See `nontax.delivery.store.Store`.

    account: alias. using: the database's alias. lease: seconds. timeout: seconds that one bill may
    take. rate, unit_rate: bills a second of all relays together, of the account and of each unit.
    stopping: when it is true, answers that the database does not take go into the spool.
    """

    def __init__(
        self,
        account: str,
        *,
        using: str = "default",
        lease: float = 90.0,
        timeout: float = 30.0,
        rate: float | None = None,
        unit_rate: float | None = None,
        stopping: "Callable[[], bool]" = lambda: False,
        spool: Spool | None = None,
    ) -> None:
        self.account, self.using = account, using
        self._lease, self._timeout = lease, timeout
        self._stopping = stopping
        self.spool = spool
        self._worker = worker_name()
        self._taker = Taker(using, account, self._worker, int(lease * 1000), rate, unit_rate)
        self._met: set[str] = set()
        self._probing = False
        self._open: dict[int, Claim] = {}
        self._handed_over: set[int] = set()
        # Of reservations whose COMMIT may have been lost.
        self._unsure: list[str] = []

    def use_server(self, server: str) -> None:
        """The outbox's bills go to this server: "weixin", or scheme and host.

        Raises LedgerError if it has another server's.
        """
        kept, _ = Server.objects.using(self.using).get_or_create(pk=1, defaults={"name": server})
        if kept.name != server:
            raise LedgerError(
                reason=f"the outbox has bills of {kept.name}, and this client sends to {server}: "
                "use another database"
            )

    def _write(self, work: "Callable[[], T]", *, durable: bool = False) -> "T":
        try:
            with transaction.atomic(using=self.using, durable=durable):
                force_commits(self.using)
                return work()
        except _AWAY:
            # Django keeps a connection that has ended between COMMIT and the next statement.
            if not connections[self.using].in_atomic_block:
                connections[self.using].close()
            raise

    # Bills

    def hand_in(
        self, bills: "Sequence[Content]", *, again: bool = False, allow_same_number: bool = False
    ) -> list[Known | Refused]:
        return self._write(
            lambda: [
                intake.hand_in(
                    self.using, self.account, bill, again=again,
                    allow_same_number=allow_same_number,
                )
                for bill in bills
            ]
        )  # fmt: skip

    def pdfs_due(self, limit: int) -> list[PdfDue]:
        due = ContentRow.objects.using(self.using).filter(
            bill__state="waiting", bill__account=self.account, bill__media_due__lte=DatabaseMs()
        )
        rows = list(due.select_related("bill").order_by("bill_id")[:limit])
        if rows:
            rows = rows[: self._write(partial(self._may_upload, len(rows)))]
        return [
            PdfDue(Key(row.bill.appid, row.bill.order_id), row.pdf, row.pdf_sha256) for row in rows
        ]

    def _may_upload(self, most: int) -> int:
        row = pace.hold(self.using, self.account, pace.UPLOAD)
        count = pace.ask(row, most, None).calls
        pace.use(row, count)
        return count

    def keep_pdf(self, key: Key, s_pdf_media_id: str) -> None:
        def keep() -> None:
            row = look(self.using, key)
            assert row is not None
            of_bill = Bill.objects.using(self.using).filter(pk=row.pk, digest=row.digest)
            if of_bill.update(media_due=DatabaseMs() + UPLOAD_MS):
                ContentRow.objects.using(self.using).filter(pk=row.pk).update(
                    media_id=s_pdf_media_id
                )
            pace.resume(self.using, self.account, interface=pace.UPLOAD)

        self._write(keep)

    # Attempts

    def reserve(self, limit: int) -> Window:
        """See `Store.reserve`. Raises what the database raises; nothing is sent then."""
        self._return_unsure()
        began = boot_time()
        claim = uuid4().hex
        try:
            taken = self._write(lambda: take(self._taker, limit, claim, self._met), durable=True)
        except Exception:
            self._unsure.append(claim)
            raise
        self._open |= {each.attempt: each for each in taken.claims}
        self._met |= {each.content.appid for each in taken.claims}
        self._probing |= taken.probe
        return Window(taken.claims, began + self._lease - self._timeout - MARGIN, taken.wait)

    def _return_unsure(self) -> None:
        """Bills of a COMMIT that was not answered: if it was done, nothing of them was sent."""
        unsent = Answer("not_sent", reason="the database's answer was lost")
        while self._unsure:
            # Waits for the transaction whose answer was lost, if it is still under way.
            self._write(partial(pace.hold, self.using, self.account, pace.INSERT))
            rows = Bill.objects.using(self.using).filter(state="sending", claim=self._unsure[-1])
            lost = [(self._claim_of(row), unsent) for row in rows.select_related("content")]
            self._write(partial(self._settle, lost))
            self._unsure.pop()

    def _claim_of(self, row: Bill) -> Claim:
        """The last attempt of a bill."""
        attempt = Attempt.objects.using(self.using).get(bill=row.pk, number=row.attempt)
        content = joined(row, row.content)
        signed = bool(attempt.signed)
        return Claim(attempt.pk, row.attempt, content, signed, attempt.back_to, row.pk)

    def resend(self, key: Key, *, by: str, checked_by: str = "", note: str = "") -> Claim:
        claim = uuid4().hex
        lease_ms = int(self._lease * 1000)

        def order() -> Claim:
            row = settling.resend(
                self.using, key, claim, lease_ms, self._worker, by, checked_by, note
            )
            attempt = Attempt.objects.using(self.using).get(bill=row.pk, claim=claim)
            return Claim(
                attempt.pk, attempt.number, joined(row, row.content), True, "in_doubt", row.pk
            )

        made = self._write(order, durable=True)
        self._open[made.attempt] = made
        return made

    def handed_over(self, claims: "Iterable[Claim]") -> None:
        """Known to this process alone: others must take each of its bills for sent."""
        self._handed_over |= {claim.attempt for claim in claims}

    def settle(self, answers: "Sequence[tuple[Claim, Answer]]") -> list[Settled]:
        """See `Store.settle`. Without a database the answers are held until it is back."""
        pause = 0.1
        while True:
            try:
                settled = self._settle_all(answers)
            except _AWAY as error:
                if connections[self.using].in_atomic_block:
                    raise
                if self._stopping() and self.spool is not None:
                    settled = self._keep_apart(answers)
                    break
                _log.warning("the database is away; %d answers are held: %s", len(answers),
                             type(error).__name__, extra={"worker": self._worker})  # fmt: skip
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
            else:
                break
        self._probing = False
        for claim, _ in answers:
            self._open.pop(claim.attempt, None)
            self._handed_over.discard(claim.attempt)
        for one in settled:
            if one.applied and not one.spooled:
                tell(one)
        return settled

    def _settle_all(self, answers: "Sequence[tuple[Claim, Answer]]") -> list[Settled]:
        """In one transaction, if nothing has come in between."""
        done = [one for one in answers if settling.is_plain(*one)]
        rest = [one for one in answers if not settling.is_plain(*one)]

        def settle() -> list[Settled]:
            if done and not settling.settle_inserted(self.using, done):
                raise _NotAllMineError
            self._end_probe(done)
            return self._settle(rest)

        try:
            others = iter(self._write(settle))
        except _NotAllMineError:
            return self._write(lambda: self._settle(answers))
        return [
            Settled(one[0].key, "inserted", True) if settling.is_plain(*one) else next(others)
            for one in answers
        ]

    def _end_probe(self, answers: "Sequence[tuple[Claim, Answer]]") -> None:
        if self._probing and any(_goes_through(answer) for _, answer in answers):
            pace.resume(self.using, self.account, interface=pace.INSERT)

    def _settle(self, answers: "Sequence[tuple[Claim, Answer]]") -> list[Settled]:
        settled = [settling.settle_one(self.using, claim, answer) for claim, answer in answers]
        self._end_probe(answers)
        return settled

    def _keep_apart(self, answers: "Sequence[tuple[Claim, Answer]]") -> list[Settled]:
        assert self.spool is not None
        self.spool.add([[*claim[:2], *claim[3:], *claim.key, *answer] for claim, answer in answers])
        settled = []
        for claim, answer in answers:
            known = states.settle(states.Attempt(claim.signed, claim.back_to), answer)
            settled.append(Settled(claim.key, known.state, True, known.shown, spooled=True))
        return settled

    def read_spool(self) -> int:
        """Settle what an earlier relay had to leave in the spool; how many there were."""
        return 0 if self.spool is None else self.spool.read_back(self._take_spooled)

    def _take_spooled(self, entries: "list[Any]") -> None:
        answers = []
        for attempt, number, signed, back_to, bill, appid, order_id, *answer in entries:
            row = Bill.objects.using(self.using).get(pk=bill)
            content = content_of(row)._replace(appid=appid, order_id=order_id)
            claim = Claim(attempt, number, content, signed, back_to, bill)
            answers.append((claim, Answer(*answer)))
        self._write(lambda: self._settle(answers))

    def expire(self) -> list[Key]:
        # Above 0 are bills that are sending alone: however many others there are.
        over = Bill.objects.using(self.using).filter(
            state="sending", lease_until__gt=0, lease_until__lt=DatabaseMs()
        )
        doubtful = []
        rows = list(over.values_list("pk", "attempt", "appid", "order_id")[:_PAGE])
        for pk, number, appid, order_id in rows:
            done = self._write(partial(settling.give_up, self.using, pk, number, self._worker))
            if done:
                doubtful.append(Key(appid, order_id))
        return doubtful

    def close(self) -> None:
        """See `Store.close`. What was not handed over was not sent, and waits again."""
        unsent = Answer("not_sent", reason="the relay ended before it was sent")
        left = [claim for claim in self._open.values() if claim.attempt not in self._handed_over]
        if left:
            self.settle([(claim, unsent) for claim in left])
        for claim in self._open.values():
            self._write(partial(settling.leave, self.using, claim))
        self._open.clear()
        self._return_unsure()

    # Evidence

    def resolve(
        self, key: Key, verdict: str, *, by: str, note: str, code: str = "", checked_by: str = ""
    ) -> State:
        return self._write(
            lambda: settling.resolve(
                self.using, key, verdict, by=by, note=note, code=code, checked_by=checked_by
            )
        )

    def retry(self, key: Key, *, by: str, note: str, checked_by: str = "") -> State:
        """See `settling.retry`."""
        return self._write(
            lambda: settling.retry(self.using, key, by=by, checked_by=checked_by, note=note)
        )

    def withdraw(self, key: Key, *, by: str, note: str) -> None:
        self._write(lambda: settling.withdraw(self.using, key, by=by, note=note))

    def observe(self, card_id: str, code: str, *, detail: str = "") -> Key | None:
        return self._write(lambda: settling.observe(self.using, card_id, code, detail))

    def note_rejection(self, key: Key) -> None:
        row = look(self.using, key)
        if row is not None:
            self._write(lambda: learn(row.pk, self.using, "reject_bill", "done"))

    # Looking

    def look(self, key: Key) -> Known | None:
        row = look(self.using, key)
        return None if row is None else known_of(row)

    def attempts(self, key: Key) -> list[AttemptRow]:
        rows = Attempt.objects.using(self.using).filter(
            bill__appid=key.appid, bill__order_id=key.order_id
        )
        return [
            AttemptRow(
                row.pk, row.number, row.slot, bool(row.signed), row.signed_by, bool(row.ended),
                row.outcome, row.errcode, row.reason, int(row.changed_at.timestamp() * 1000),
            )
            for row in rows.order_by("number")
        ]  # fmt: skip

    def evidence(self, key: Key) -> list[EvidenceRow]:
        rows = Evidence.objects.using(self.using).filter(
            bill__appid=key.appid, bill__order_id=key.order_id
        )
        return [
            EvidenceRow(row.kind, row.verdict, row.who, row.checked_by, row.note, row.detail)
            for row in rows.order_by("pk")
        ]

    def counts(self) -> dict[State, int]:
        """How many bills of this account are in each state."""
        bills = Bill.objects.using(self.using).filter(account=self.account)
        found = bills.values("state").annotate(count=Count("pk")).values_list("state", "count")
        return dict(found)

    def waiting(self) -> int:
        """See `Store.waiting`."""
        bills = Bill.objects.using(self.using).filter(account=self.account, state="waiting")
        count: int = bills.count()
        return count
