"""Answers, dead relays, and persons. Every function here runs inside one transaction."""

from typing import Any

from django.db.models import Max
from django.utils import timezone

from nontax.contrib.django import plain
from nontax.contrib.django.clock import DatabaseMs
from nontax.contrib.django.intake import same_number
from nontax.contrib.django.models import (
    FREED,
    NO_CLAIM,
    NO_CODE,
    Attempt,
    Bill,
    Content,
    Evidence,
)
from nontax.contrib.django.ringing import ring_on_commit
from nontax.contrib.django.rows import joined, learn, locked
from nontax.delivery import states
from nontax.delivery.states import Answer, State, late, step, why_not
from nontax.delivery.store import GIVEN_UP, SAME_NUMBER, Claim, Key, Settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nontax.delivery.states import Settlement

_LEASE_ENDED = "the lease ended before an answer came"
FREE: "dict[str, Any]" = {"claim": NO_CLAIM, "lease_until": 0}


def settle_one(using: str, claim: Claim, answer: Answer) -> Settled:
    """See `Store.settle`."""
    attempt = states.Attempt(claim.signed, claim.back_to)
    settlement = states.settle(
        attempt,
        answer,
        number_elsewhere=claim.signed and _number_elsewhere(using, claim),
        we_rejected=claim.signed and _was_rejected(using, claim),
    )
    # The fence stands in the WHERE: an older attempt's answer moves nothing.
    mine = Bill.objects.using(using).filter(pk=claim.bill, attempt=claim.number, state="sending")
    if mine.update(**_columns(settlement, answer)) == 1:
        _end(using, claim, answer, settlement)
        return Settled(claim.key, settlement.state, True, settlement.shown)
    return _settle_late(using, claim, answer, settlement)


# What an answer changes that only says that the bill is in the wallet.
_BILL = ("state", "errcode", "code", "code_unknown", "changed_at", "claim", "lease_until")
_ATTEMPT = ("ended", "changed_at", "outcome", "http_status", "transfers", "openid")


def settle_inserted(using: str, answers: "Sequence[tuple[Claim, Answer]]") -> bool:
    """Bills that WeChat has taken, in two statements. False: begin anew, with one after the other.

    That is if one of them is not sending any more, or not by this attempt.
    """
    step("sending", "inserted")
    at = plain.now(using)
    bills = [
        ("inserted", 0, clean(answer.code), 0, at, NO_CLAIM, 0, "sending", claim.number, claim.bill)
        for claim, answer in answers
    ]
    if plain.update(using, Bill, _BILL, ("state", "attempt"), bills) != len(answers):
        return False
    attempts = [
        (1, at, "inserted", answer.http_status, answer.transfers, clean(answer.openid),
         claim.attempt)
        for claim, answer in answers
    ]  # fmt: skip
    return plain.update(using, Attempt, _ATTEMPT, (), attempts) == len(answers)


def is_plain(claim: Claim, answer: Answer) -> bool:
    """Whether `settle_inserted` does all that this answer needs."""
    return answer.outcome == "inserted" and bool(answer.code) and not claim.signed


def _columns(settlement: "Settlement", answer: Answer) -> "dict[str, Any]":
    found: dict[str, Any] = {
        "state": settlement.state,
        "errcode": answer.errcode,
        "code_unknown": int(settlement.code_unknown),
        "changed_at": timezone.now(),
        **FREE,
    }
    if answer.code:
        found["code"] = clean(answer.code)
    return found


def clean(text: str) -> str:
    """What WeChat has said, so that every database takes it."""
    return text.replace("\0", "\ufffd")[:255]


def _end(using: str, claim: Claim, answer: Answer, settlement: "Settlement") -> None:
    mine = Attempt.objects.using(using).filter(pk=claim.attempt)
    freed: dict[str, Any] = {"slot": FREED} if settlement.frees else {}
    mine.update(
        ended=1,
        changed_at=timezone.now(),
        outcome=answer.outcome,
        errcode=answer.errcode,
        errmsg=clean(answer.errmsg),
        rid=clean(answer.rid),
        reason=clean(answer.reason),
        curl_code=answer.curl_code,
        http_status=answer.http_status,
        transfers=answer.transfers,
        openid=clean(answer.openid),
        **freed,
    )
    if settlement.frees == "bill" and claim.number > 1:
        free_all(using, claim.bill)


def free_all(using: str, bill: int) -> None:
    """WeChat is proved not to have the bill: none of its attempts stands in the way of another."""
    Attempt.objects.using(using).filter(bill=bill, slot__gte=0).update(slot=FREED)


def _settle_late(using: str, claim: Claim, answer: Answer, settlement: "Settlement") -> Settled:
    row = locked(using).get(pk=claim.bill)
    attempt = Attempt.objects.using(using).get(pk=claim.attempt)
    heals = attempt.outcome == GIVEN_UP and attempt.number == row.attempt
    state: State = row.state
    healed = late(settlement, state) if heals else None
    if healed is None:
        detail = f"{answer.outcome} {answer.errcode} {clean(answer.code)}".strip()
        learn(row.pk, using, "late answer", "none", detail=detail)
        return Settled(claim.key, state, False)
    step(state, healed.event, healed.state)
    moved = Bill.objects.using(using).filter(pk=row.pk, attempt=claim.number, state=state)
    if moved.update(**_columns(healed, answer)) != 1:
        return _settle_late(using, claim, answer, settlement)
    if healed.event == "late_inserted" and state != "in_doubt":
        Attempt.objects.using(using).filter(pk=claim.attempt).update(slot=0)
    _end(using, claim, answer, healed)
    return Settled(claim.key, healed.state, True, healed.shown)


def _number_elsewhere(using: str, claim: Claim) -> bool:
    others = Bill.objects.using(using).filter(
        billing_no=claim.content.billing_no, billing_code=claim.content.billing_code
    )
    return bool(others.exclude(pk=claim.bill).exists())


def _was_rejected(using: str, claim: Claim) -> bool:
    """Whether our own reject_bill of this order was carried out."""
    found = Evidence.objects.using(using).filter(bill=claim.bill, kind="reject_bill")
    return bool(found.exists())


def give_up(using: str, bill: int, number: int, worker: str) -> bool:
    """An attempt's lease is over, by the database's clock: its bill is in doubt now, if it was."""
    step("sending", "in_doubt")
    over = Bill.objects.using(using).filter(
        pk=bill, attempt=number, state="sending", lease_until__lt=DatabaseMs()
    )
    if over.update(state="in_doubt", changed_at=timezone.now(), **FREE) != 1:
        return False
    Attempt.objects.using(using).filter(bill=bill, number=number, ended=0).update(
        ended=1, outcome=GIVEN_UP, reason=_LEASE_ENDED, changed_at=timezone.now()
    )
    learn(bill, using, "lease ended", "in_doubt", detail=worker)
    return True


def leave(using: str, claim: Claim) -> None:
    """The owner ends, and may have handed this attempt over."""
    step("sending", "in_doubt")
    mine = Bill.objects.using(using).filter(pk=claim.bill, attempt=claim.number, state="sending")
    if mine.update(state="in_doubt", changed_at=timezone.now(), **FREE) != 1:
        return
    Attempt.objects.using(using).filter(pk=claim.attempt, ended=0).update(
        ended=1, outcome=GIVEN_UP, changed_at=timezone.now(),
        reason="the relay ended before an answer came",
    )  # fmt: skip


def resend(
    using: str, key: Key, claim: str, lease_ms: int, worker: str, by: str, checked_by: str,
    note: str = "",
) -> Bill:  # fmt: skip
    """See `Store.resend`; the bill's row."""
    row = _in_doubt(using, key)
    if not by:
        raise ValueError("nobody has signed this resend")
    _move(using, row, step("in_doubt", "resend"), attempt=row.attempt + 1, claim=claim,
          lease_until=DatabaseMs() + lease_ms)  # fmt: skip
    top = Attempt.objects.using(using).filter(bill=row.pk).aggregate(top=Max("slot"))["top"]
    now = timezone.now()
    Attempt(
        bill=row, number=row.attempt + 1, slot=max(top or 0, 0) + 1, signed=1, signed_by=by,
        back_to="in_doubt", claim=claim, worker=worker, began_at=now, changed_at=now,
    ).save(using=using)  # fmt: skip
    learn(row.pk, using, "resend", "ordered", by=by, checked_by=checked_by, note=note)
    return row


def _in_doubt(using: str, key: Key) -> Bill:
    row: Bill | None = locked(using).filter(appid=key.appid, order_id=key.order_id).first()
    if row is None or row.state != "in_doubt":
        raise ValueError(f"order {key.order_id} is not in doubt")
    return row


def _move(using: str, row: Bill, after: State, **columns: Any) -> None:
    """One step of a bill, if nobody has come in between."""
    found = Bill.objects.using(using).filter(pk=row.pk, state=row.state, attempt=row.attempt)
    if found.update(state=after, changed_at=timezone.now(), **columns) != 1:
        raise ValueError(f"order {row.order_id} is not {row.state} any more")
    if after == "waiting":
        ring_on_commit(using)


def resolve(
    using: str, key: Key, verdict: str, *, by: str, note: str, code: str, checked_by: str
) -> State:
    """See `Store.resolve`."""
    row = _in_doubt(using, key)
    if not by or not note:
        raise ValueError("who settles the bill (by=), and why (note=)?")
    if verdict == "inserted":
        state = step("in_doubt", "found_inserted")
        _move(using, row, state, code=code or NO_CODE, code_unknown=int(not code))
    elif verdict == "not_taken":
        state = step("in_doubt", "found_not_taken", "waiting")
        _move(using, row, state)
        free_all(using, row.pk)
    else:
        raise ValueError('verdict must be "inserted" or "not_taken"')
    learn(row.pk, using, "person", verdict, by=by, checked_by=checked_by, note=note, detail=code)
    return state


def retry(using: str, key: Key, *, by: str, checked_by: str, note: str) -> State:
    """A person has a bill sent that was rejected, not sent or withdrawn. Its new state.

    Raises ValueError if its answer was final, if nobody signs, and if it cannot be sent as it is.
    """
    row = locked(using).filter(appid=key.appid, order_id=key.order_id).first()
    if row is None:
        raise ValueError(f"the outbox does not know order {key.order_id}")
    why = why_not(row.state, row.errcode, by="hand_in", again=True)
    if why:
        raise ValueError(f"order {key.order_id}: {why}")
    if not by or not note:
        raise ValueError("who has the bill sent again (by=), and why (note=)?")
    content = Content.objects.using(using).filter(pk=row.pk).first()
    if content is None:
        raise ValueError(f"the content of order {key.order_id} was removed: enqueue it again")
    other = same_number(using, joined(row, content))
    if other is not None:
        raise ValueError(f"order {key.order_id}: {SAME_NUMBER}, {other.order_id}")
    _move(using, row, step(row.state, "hand_in"))
    learn(row.pk, using, "person", "retry", by=by, checked_by=checked_by, note=note)
    return "waiting"


def withdraw(using: str, key: Key, *, by: str, note: str) -> None:
    """See `Store.withdraw`."""
    row = locked(using).filter(appid=key.appid, order_id=key.order_id).first()
    if row is None or row.state not in ("held", "waiting"):
        raise ValueError(f"order {key.order_id} is not waiting")
    if not by or not note:
        raise ValueError("who withdraws the bill (by=), and why (note=)?")
    _move(using, row, step(row.state, "withdraw"))
    learn(row.pk, using, "withdrawn", "withdrawn", by=by, note=note)


def observe(using: str, card_id: str, code: str, detail: str) -> Key | None:
    """See `Store.observe`."""
    of_card = Bill.objects.using(using).filter(card_id=card_id)
    unsure = [*of_card.filter(state="in_doubt")[:2], *of_card.filter(code_unknown=1)[:2]]
    if len(unsure) != 1 or of_card.filter(code=code).exists():
        return None
    (row,) = unsure
    if row.state == "in_doubt":
        step("in_doubt", "found_inserted")
    _move(using, row, "inserted", code=code, code_unknown=0)
    learn(row.pk, using, "event", "inserted", detail=detail or code)
    return Key(row.appid, row.order_id)
