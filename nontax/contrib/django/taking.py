"""A relay takes waiting bills for itself. Every function here runs inside one transaction."""

from collections import Counter
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import F
from django.utils import timezone

from nontax.contrib.django import pace, plain, turns
from nontax.contrib.django.clock import DatabaseMs
from nontax.contrib.django.models import Attempt, Bill, Content, Unit
from nontax.delivery.states import step
from nontax.delivery.store import Claim
from nontax.delivery.store import Content as Sent

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


_COLUMNS = ("pk", "appid", "order_id", "card_id", "fee", "billing_no", "billing_code", "attempt")
_CONTENT = ("pk", "title", "billing_time", "media_id", "extra", "shape")


def _write_down(taker: Taker, ids: list[int], claim: str) -> list[Claim]:
    """The state in the WHERE, and the key (bill, slot), let no second owner in.

    What is sent is read when the bills are ours: until then others may replace it.
    """
    bills = Bill.objects.using(taker.using).order_by()
    if connections[taker.using].features.has_select_for_update_skip_locked:
        # A bill that somebody is just changing is left out.
        free = bills.filter(pk__in=ids, state="waiting").select_for_update(skip_locked=True)
        unlocked = set(free.values_list("pk", flat=True))
        ids = [pk for pk in ids if pk in unlocked]
    bills.filter(pk__in=ids, state="waiting").update(
        state=step("waiting", "reserve"), claim=claim, attempt=F("attempt") + 1,
        lease_until=DatabaseMs() + taker.lease, changed_at=timezone.now(),
    )  # fmt: skip
    mine = bills.filter(pk__in=ids, claim=claim).values_list(*_COLUMNS)
    rows: dict[int, Any] = {row[0]: row[1:] for row in mine}
    ids = [pk for pk in ids if pk in rows]
    attempts = _attempts(taker, [(pk, rows[pk][-1]) for pk in ids], claim)
    texts = Content.objects.using(taker.using).filter(pk__in=ids).values_list(*_CONTENT)
    contents = {text[0]: text[1:] for text in texts}
    claims = []
    for pk in ids:
        appid, order_id, card_id, fee, billing_no, billing_code, number = rows[pk]
        title, billing_time, media_id, extra, shape = contents[pk]
        content = Sent(
            appid, order_id, card_id, fee, title, billing_time, billing_no, billing_code,
            media_id, extra, shape,
        )  # fmt: skip
        claims.append(Claim(attempts[pk], number, content, False, "waiting", pk))
    return claims


def _attempts(taker: Taker, numbers: "list[tuple[int, int]]", claim: str) -> dict[int, int]:
    """A row for each; its id, by its bill. numbers: bills, and their attempts' numbers."""
    now = plain.now(taker.using)
    same = {
        "slot": 0, "signed": 0, "signed_by": "", "back_to": "waiting", "claim": claim,
        "worker": taker.worker, "began_at": now, "changed_at": now, "ended": 0, "outcome": "",
        "errcode": 0, "errmsg": "", "rid": "", "reason": "", "curl_code": 0, "http_status": 0,
        "transfers": 0, "openid": "",
    }  # fmt: skip
    rest = tuple(same.values())
    rows = [(*number, *rest) for number in numbers]
    plain.insert(taker.using, Attempt, ("bill", "number", *same), rows)
    made = Attempt.objects.using(taker.using).filter(
        bill__in=[bill for bill, _ in numbers], claim=claim
    )
    return dict(made.values_list("bill_id", "pk"))
