"""A relay takes waiting bills for itself. Every function here runs inside one transaction."""

from collections import Counter
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import F
from django.utils import timezone

from nontax.contrib.django import pace, turns
from nontax.contrib.django.clock import DatabaseMs
from nontax.contrib.django.models import Attempt, Bill, Unit
from nontax.contrib.django.rows import joined
from nontax.delivery.states import step
from nontax.delivery.store import Claim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class Taker(NamedTuple):
    """A relay that takes bills of an account. lease: in milliseconds.

    rate, unit_rate: bills a second for all relays together, of the account and of each unit.
    """

    using: str
    account: str
    worker: str
    lease: int
    rate: float | None = None
    unit_rate: float | None = None


class Taken(NamedTuple):
    """wait: seconds after which to ask again, if a quota lets nothing be taken now.

    probe: the one bill is to show whether the account's trouble is over.
    """

    claims: list[Claim]
    wait: float = 0.0
    probe: bool = False


def take(taker: Taker, most: int, claim: str, met: "Collection[str]" = ()) -> Taken:
    """At most so many waiting bills, each with an attempt that is written down.

    met: units that are known to have a row.
    """
    row = pace.hold(taker.using, taker.account, pace.INSERT)
    grant = pace.ask(row, most, taker.rate)
    if not grant.calls:
        return Taken([], grant.wait)
    limits = turns.Limits(taker.using, taker.unit_rate, row.minute)
    full = limits.full
    waiting = turns.waiting(taker.using, taker.account, row.now, full)
    picked = limits.cut(turns.pick(waiting, grant.calls, row.turn))
    if not picked:
        wait = pace.MINUTE_MS - row.now % pace.MINUTE_MS
        left = full and turns.waiting(taker.using, taker.account, row.now).exists()
        return Taken([], wait / 1000 if left else 0.0)
    claims = _write_down(taker, [pk for pk, _ in picked], claim)
    counts = Counter(each.content.appid for each in claims)
    for appid in sorted(counts.keys() - met):
        Unit.objects.using(taker.using).get_or_create(appid=appid)
    limits.use(counts)
    row.turn = picked[-1][1]
    pace.use(row, len(claims))
    return Taken(claims, probe=grant.probe)


def _write_down(taker: Taker, ids: list[int], claim: str) -> list[Claim]:
    """The state in the WHERE, and the key (bill, slot), let no second owner in."""
    bills = Bill.objects.using(taker.using).filter(pk__in=ids, state="waiting")
    if connections[taker.using].features.has_select_for_update_skip_locked:
        # A bill that somebody is just changing, or a relay without a pace has, is left out.
        locked = bills.select_for_update(skip_locked=True).order_by()
        free = set(locked.values_list("pk", flat=True))
        ids = [pk for pk in ids if pk in free]
    now = timezone.now()
    bills.filter(pk__in=ids).update(
        state=step("waiting", "reserve"), claim=claim, attempt=F("attempt") + 1,
        lease_until=DatabaseMs() + taker.lease, changed_at=now,
    )  # fmt: skip
    mine = Bill.objects.using(taker.using).filter(pk__in=ids, claim=claim)
    rows = {row.pk: row for row in mine.select_related("content").order_by()}
    ordered = [rows[pk] for pk in ids if pk in rows]
    made = Attempt.objects.using(taker.using)
    attempts: Any = made.bulk_create(
        [
            Attempt(
                bill=row, number=row.attempt, slot=0, back_to="waiting", claim=claim,
                worker=taker.worker, began_at=now, changed_at=now,
            )
            for row in ordered
        ]
    )  # fmt: skip
    if not connections[taker.using].features.can_return_rows_from_bulk_insert:
        attempts = list(made.filter(bill__in=ids, claim=claim))
    keys = {each.bill_id: each.pk for each in attempts}
    return [
        Claim(keys[row.pk], row.attempt, joined(row, row.content), False, "waiting", row.pk)
        for row in ordered
    ]
