"""A relay takes waiting bills for itself. Every function here runs inside one transaction."""

from collections import Counter
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import F, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact
from django.utils import timezone

from nontax.contrib.django import pace, plain, turns
from nontax.contrib.django.clock import DatabaseMs
from nontax.contrib.django.models import Attempt, Bill, Unit
from nontax.delivery.states import step
from nontax.delivery.store import Claim, Content

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
    limits = turns.Limits(taker.using, taker.unit_rate, row.minute, has_rates=row.has_rates)
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


_COLUMNS = (
    "pk", "attempt", "appid", "order_id", "card_id", "fee", "content__title",
    "content__billing_time", "billing_no", "billing_code", "content__media_id", "content__extra",
    "content__shape",
)  # fmt: skip


def _write_down(taker: Taker, ids: list[int], claim: str) -> list[Claim]:
    """The state in the WHERE, and the key (bill, slot), let no second owner in.

    What is sent is read when the bills are ours: until then others may replace it.
    """
    bills = Bill.objects.using(taker.using).order_by()
    # By ids alone: where statistics say that nothing waits, because that was so a while ago,
    # PostgreSQL would look through all that waits.
    is_waiting = Exact(Coalesce("state", Value("")), "waiting")
    free: Any = ids
    if connections[taker.using].features.has_select_for_update_skip_locked:
        # A bill that somebody is just changing is left out.
        free = bills.filter(is_waiting, pk__in=ids).select_for_update(skip_locked=True)
        free = free.values("pk")
        if connections[taker.using].vendor == "mysql":  # it reads no table that it updates
            free = [row["pk"] for row in free]
    bills.filter(is_waiting, pk__in=free).update(
        state=step("waiting", "reserve"), claim=claim, attempt=F("attempt") + 1,
        lease_until=DatabaseMs() + taker.lease, changed_at=timezone.now(),
    )  # fmt: skip
    mine = bills.filter(pk__in=ids, claim=claim).values_list(*_COLUMNS)
    rows: dict[int, Any] = {row[0]: row[1:] for row in mine}
    ids = [pk for pk in ids if pk in rows]
    attempts = _attempts(taker, claim, ids)
    return [
        Claim(attempts[pk], rows[pk][0], Content(*rows[pk][1:]), False, "waiting", pk) for pk in ids
    ]


def _attempts(taker: Taker, claim: str, ids: "list[int]") -> dict[int, int]:
    """A row for each bill of the claim; its id, by its bill."""
    now = plain.now(taker.using)
    same = {
        "slot": 0, "signed": 0, "signed_by": "", "back_to": "waiting", "claim": claim,
        "worker": taker.worker, "began_at": now, "changed_at": now, "ended": 0, "outcome": "",
        "errcode": 0, "errmsg": "", "rid": "", "reason": "", "curl_code": 0, "http_status": 0,
        "transfers": 0, "openid": "",
    }  # fmt: skip
    bills = Bill.objects.using(taker.using).filter(pk__in=ids, claim=claim)
    made = plain.insert_from(
        bills, {"bill": "id", "number": "attempt"}, Attempt, same, ("bill", "id")
    )
    if made is None:
        rows = Attempt.objects.using(taker.using).filter(bill__in=ids, claim=claim)
        made = rows.values_list("bill_id", "pk")
    return dict(made)
