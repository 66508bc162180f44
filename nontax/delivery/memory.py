"""A store in memory: for tests, and as the shortest example of what a store does.

What it keeps ends with the process. Owners share one `Rows`.
"""

from nontax.delivery.states import (
    Answer,
    Attempt,
    Settlement,
    State,
    back_to,
    late,
    settle,
    step,
    why_not,
)
from nontax.delivery.store import (
    GIVEN_UP,
    NUMBER_TAKEN,
    SAME_NUMBER,
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
    differences,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class IntegrityError(Exception):
    """A second attempt for a bill whose slot is taken, or an unsigned one in a signed slot."""


class _Attempt:
    __slots__ = ("back_to", "id", "key", "mark", "number", "owner", "row")

    def __init__(
        self, row: AttemptRow, key: Key, owner: int, back: State, *, mark: bool = False
    ) -> None:
        self.row, self.key, self.owner, self.back_to, self.mark = row, key, owner, back, mark


class Rows:
    """What all owners of one store in memory see."""

    def __init__(self) -> None:
        self.bills: dict[Key, Known] = {}
        self.attempts: dict[int, _Attempt] = {}
        self.evidence: dict[Key, list[EvidenceRow]] = {}
        self.rejections: set[Key] = set()
        self.alive: set[int] = set()
        self.owners = 0

    def clone(self) -> "Rows":
        """A copy that goes its own way."""
        other = Rows()
        other.bills = dict(self.bills)
        other.attempts = {
            id_: _Attempt(a.row, a.key, a.owner, a.back_to, mark=a.mark)
            for id_, a in self.attempts.items()
        }
        other.evidence = {key: list(rows) for key, rows in self.evidence.items()}
        other.rejections = set(self.rejections)
        other.alive = set(self.alive)
        other.owners = self.owners
        return other

    def insert_attempt(
        self, key: Key, slot: int, signed: bool, owner: int, back: State, signed_by: str = ""
    ) -> _Attempt:
        """The only way in: keeps UNIQUE(bill, slot) and CHECK(slot <= 0 OR signed)."""
        mine = [a for a in self.attempts.values() if a.key == key]
        if type(slot) is not int or signed not in (False, True):
            raise IntegrityError("slot and signed are numbers")
        if any(a.row.slot == slot for a in mine):
            raise IntegrityError(f"slot {slot} is taken")
        if slot > 0 and not signed:
            raise IntegrityError("nobody has signed this resend")
        id_ = len(self.attempts) + 1
        row = AttemptRow(id_, len(mine) + 1, slot, signed, signed_by, False, "", 0, "")
        self.attempts[id_] = _Attempt(row, key, owner, back)
        return self.attempts[id_]

    def free(self, attempt: _Attempt, frees: str) -> None:
        """Give slots back: of the attempt, or of all attempts of its bill."""
        for other in self.attempts.values():
            if (frees == "bill" and other.key == attempt.key) or (frees and other is attempt):
                other.row = other.row._replace(slot=-other.row.id)


class MemoryStore:
    """One owner of a store in memory. See `nontax.delivery.store.Store`."""

    def __init__(self, rows: Rows | None = None) -> None:
        self.rows = Rows() if rows is None else rows
        self.rows.owners += 1
        self.owner = self.rows.owners
        self.rows.alive.add(self.owner)

    # Bills

    def hand_in(
        self, bills: "Sequence[Content]", *, again: bool = False, allow_same_number: bool = False
    ) -> list[Known | Refused]:
        return [self._hand_in(bill, again, allow_same_number) for bill in bills]

    def _hand_in(self, bill: Content, again: bool, allow_same_number: bool) -> Known | Refused:
        known = self.rows.bills.get(bill.key)
        waiting = known is not None and known.state == "waiting"
        if known is not None and not waiting:
            why = why_not(known.state, known.errcode, by="hand_in", again=again)
            fields = differences(known.content, bill)
            if why:
                return Refused(known, why, tuple(fields)) if fields else known
        other = None if allow_same_number else self._same_number(bill)
        if other is not None:
            return Refused(other, SAME_NUMBER, same_number=True)
        if known is None:
            return self._keep(Known(bill, "waiting", from_list=True))
        state = "waiting" if waiting else step(known.state, "hand_in")
        return self._keep(known._replace(content=bill, state=state, from_list=True))

    def _keep(self, known: Known) -> Known:
        self.rows.bills[known.key] = known
        return known

    def _same_number(self, bill: Content) -> Known | None:
        number = (bill.billing_no, bill.billing_code)
        for known in self.rows.bills.values():
            other = (known.content.billing_no, known.content.billing_code)
            if known.key != bill.key and other == number and known.state in NUMBER_TAKEN:
                return known
        return None

    def withdraw(self, key: Key, *, by: str, note: str) -> None:
        known = self.rows.bills.get(key)
        if known is None or known.state not in ("held", "waiting"):
            raise ValueError(f"order {key.order_id} is not waiting")
        if not by or not note:
            raise ValueError("who withdraws the bill, and why?")
        self._learn(key, EvidenceRow("withdrawn", "withdrawn", by, "", note, ""))
        self._keep(known._replace(state=step(known.state, "withdraw")))

    def pdfs_due(self, limit: int) -> list[PdfDue]:  # noqa: ARG002  (it keeps no PDFs)
        return []

    def keep_pdf(self, key: Key, s_pdf_media_id: str) -> None:
        known = self.rows.bills[key]
        self._keep(known._replace(content=known.content._replace(s_pdf_media_id=s_pdf_media_id)))

    # Attempts

    def reserve(self, limit: int) -> Window:
        waiting = [known for known in self.rows.bills.values() if known.state == "waiting"]
        return Window([self._open(known) for known in waiting[:limit]])

    def _open(self, known: Known) -> Claim:
        attempt = self.rows.insert_attempt(
            known.key, 0, False, self.owner, back_to(known.state), ""
        )
        self._keep(known._replace(state=step(known.state, "reserve")))
        return Claim(attempt.row.id, attempt.row.number, known.content, False, attempt.back_to)

    def open_attempts(self, bills: "Sequence[Content]") -> list[Claim | Known | Refused]:
        return [self._open_direct(bill) for bill in bills]

    def _open_direct(self, bill: Content) -> Claim | Known | Refused:
        known = self.rows.bills.get(bill.key)
        why = "" if known is None else why_not(known.state, known.errcode)
        if known is not None and why:
            fields = differences(known.content, bill)
            return Refused(known, why, tuple(fields)) if fields else known
        other = self._same_number(bill)
        if other is not None:
            return Refused(other, SAME_NUMBER, same_number=True)
        if known is None:
            attempt = self.rows.insert_attempt(bill.key, 0, False, self.owner, "not_sent")
            self._keep(Known(bill, "sending"))
            return Claim(attempt.row.id, 1, bill, False, "not_sent")
        return self._open(known._replace(content=bill))

    def resend(self, key: Key, *, by: str, checked_by: str = "", note: str = "") -> Claim:
        known = self.rows.bills.get(key)
        if known is None or known.state != "in_doubt":
            raise ValueError(f"order {key.order_id} is not in doubt")
        if not by:
            raise ValueError("nobody has signed this resend")
        slot = 1 + max(a.row.slot for a in self.rows.attempts.values() if a.key == key)
        attempt = self.rows.insert_attempt(key, slot, True, self.owner, "in_doubt", by)
        self._learn(key, EvidenceRow("resend", "ordered", by, checked_by, note, ""))
        self._keep(known._replace(state=step("in_doubt", "resend")))
        return Claim(attempt.row.id, attempt.row.number, known.content, True, "in_doubt")

    def handed_over(self, claims: "Iterable[Claim]") -> None:
        for claim in claims:
            self.rows.attempts[claim.attempt].mark = True

    def settle(self, answers: "Sequence[tuple[Claim, Answer]]") -> list[Settled]:
        return [self._settle(self.rows.attempts[claim.attempt], a) for claim, a in answers]

    def close_attempts(self, answers: "Sequence[tuple[Claim, Answer]]") -> list[bool]:
        self.settle(answers)
        return [False] * len(answers)

    def _settle(self, attempt: _Attempt, answer: Answer) -> Settled:
        known = self.rows.bills[attempt.key]
        settlement: Settlement | None = settle(
            Attempt(attempt.row.signed, attempt.back_to),
            answer,
            number_elsewhere=self._number_elsewhere(known),
            we_rejected=attempt.key in self.rows.rejections,
        )
        assert settlement is not None
        is_last = attempt.row.number == len(self._of(attempt.key))
        given_up = attempt.row.ended
        if given_up:
            expected = attempt.row.outcome == GIVEN_UP and is_last
            settlement = late(settlement, known.state) if expected else None
        if settlement is None:
            detail = f"{answer.outcome} {answer.errcode} {answer.code}".strip()
            self._learn(known.key, EvidenceRow("late answer", "none", "", "", "", detail))
            return Settled(known.key, known.state, False)
        attempt.row = attempt.row._replace(
            ended=True,
            outcome=answer.outcome,
            errcode=answer.errcode,
            reason=answer.reason,
        )
        if not given_up:
            step(known.state, settlement.event, settlement.state)
        elif settlement.state == "inserted" and known.state != "in_doubt":
            attempt.row = attempt.row._replace(slot=0)
        self.rows.free(attempt, settlement.frees)
        self._keep(
            known._replace(
                state=settlement.state,
                code=answer.code or known.code,
                openid=answer.openid or known.openid,
                code_unknown=settlement.code_unknown,
                errcode=answer.errcode,
                errmsg=answer.errmsg,
                rid=answer.rid,
                reason=answer.reason,
            )
        )
        return Settled(known.key, settlement.state, True, settlement.shown)

    def _of(self, key: Key) -> list[_Attempt]:
        return [a for a in self.rows.attempts.values() if a.key == key]

    def _number_elsewhere(self, bill: Known) -> bool:
        number = (bill.content.billing_no, bill.content.billing_code)
        return any(
            other.key != bill.key
            and (other.content.billing_no, other.content.billing_code) == number
            for other in self.rows.bills.values()
        )

    def expire(self) -> list[Key]:
        doubtful = []
        for attempt in self.rows.attempts.values():
            if attempt.row.ended or attempt.owner in self.rows.alive:
                continue
            known = self.rows.bills[attempt.key]
            attempt.row = attempt.row._replace(ended=True, outcome=GIVEN_UP)
            if attempt.mark:
                self._keep(known._replace(state=step("sending", "in_doubt"), reason="owner ended"))
                doubtful.append(attempt.key)
            else:
                self.rows.free(attempt, "attempt" if attempt.row.signed else "bill")
                state = step("sending", "returned", attempt.back_to)
                self._keep(known._replace(state=state))
        return doubtful

    def close(self) -> None:
        self.rows.alive.discard(self.owner)
        self.expire()

    # Evidence

    def _learn(self, key: Key, row: EvidenceRow) -> None:
        self.rows.evidence.setdefault(key, []).append(row)

    def resolve(
        self,
        key: Key,
        verdict: str,
        *,
        by: str,
        note: str,
        code: str = "",
        checked_by: str = "",
    ) -> State:
        known = self.rows.bills.get(key)
        if known is None or known.state != "in_doubt":
            raise ValueError(f"order {key.order_id} is not in doubt")
        if not by or not note:
            raise ValueError("who settles the bill, and why?")
        if verdict == "inserted":
            state = step("in_doubt", "found_inserted")
            self._keep(known._replace(state=state, code=code, code_unknown=not code))
        elif verdict == "not_taken":
            state = step(
                "in_doubt", "found_not_taken", "waiting" if known.from_list else "not_sent"
            )
            self.rows.free(self._of(key)[-1], "bill")
            self._keep(known._replace(state=state))
        else:
            raise ValueError('verdict must be "inserted" or "not_taken"')
        self._learn(key, EvidenceRow("person", verdict, by, checked_by, note, code))
        return state

    def observe(self, card_id: str, code: str, *, detail: str = "") -> Key | None:
        of_card = [b for b in self.rows.bills.values() if b.content.card_id == card_id]
        if any(bill.code == code for bill in of_card):
            return None
        unsure = [b for b in of_card if b.state == "in_doubt" or b.code_unknown]
        if len(unsure) != 1:
            return None
        (known,) = unsure
        if known.state == "in_doubt":
            step("in_doubt", "found_inserted")
        self._learn(known.key, EvidenceRow("event", "inserted", "", "", "", detail or code))
        self._keep(known._replace(state="inserted", code=code, code_unknown=False))
        return known.key

    def note_rejection(self, key: Key) -> None:
        self.rows.rejections.add(key)

    # Looking

    def look(self, key: Key) -> Known | None:
        return self.rows.bills.get(key)

    def attempts(self, key: Key) -> list[AttemptRow]:
        return [attempt.row for attempt in self._of(key)]

    def evidence(self, key: Key) -> list[EvidenceRow]:
        return list(self.rows.evidence.get(key, ()))

    def counts(self) -> dict[State, int]:
        counts: dict[State, int] = {}
        for known in self.rows.bills.values():
            counts[known.state] = counts.get(known.state, 0) + 1
        return counts

    def waiting(self) -> int:
        return self.counts().get("waiting", 0)
