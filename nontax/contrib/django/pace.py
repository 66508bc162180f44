"""How fast all relays together call WeChat: counted in the outbox, by the database's clock.

One row for each account and interface, which is locked while bills are taken: so grants are
counted once, however many relays there are, and outlive all of them.
"""

import random
from typing import Any, NamedTuple

from django.db import connections, transaction
from django.db.models import Exists, F

from nontax.contrib.django.clock import DatabaseMs
from nontax.contrib.django.models import Pace, Unit

INSERT, UPLOAD = "insertbill", "setpdf"
MINUTE_QUOTA = 45011  # the errcode
MINUTE_MS = 60_000
_DAY_MS = 86_400_000
# Days of quotas begin at midnight in Beijing.
_BEIJING_MS = 8 * 3_600_000
# After so long one call is tried, to see whether the trouble is over.
PROBE_MS = 15 * 60_000
# Relays do not all begin in the same instant of a minute.
_JITTER_MS = 2_000


class Grant(NamedTuple):
    """calls: how many may be made. wait: seconds after which more may be asked for, or 0.

    probe: the one call is to show whether the trouble is over.
    """

    calls: int
    wait: float = 0.0
    probe: bool = False


def hold(using: str, account: str, interface: str) -> Any:
    """The row, locked until the transaction ends.

    Its `now` is the database's time; `has_rates`: there are units with a rate of their own.
    """
    rows = Pace.objects.using(using).filter(account=account, interface=interface)
    if not connections[using].features.has_select_for_update:
        # Takes the write lock first: a reader that begins to write may be refused.
        rows.update(used=F("used"))
    rated = Exists(Unit.objects.using(using).filter(rate__gt=0))
    row = rows.select_for_update().annotate(now=DatabaseMs(), has_rates=rated).first()
    if row is not None:
        return row
    Pace.objects.using(using).get_or_create(account=account, interface=interface)
    return hold(using, account, interface)


def ask(row: Any, most: int, rate: float | None) -> Grant:
    """How many of `most` calls may be made now. rate: calls a second, or None. See `use`."""
    now: int = row.now
    _turn(row)
    wait = _paused_ms(row)
    if wait > 0:
        if not row.probe_at or 0 < row.probe_at - now <= PROBE_MS:
            return Grant(0, wait / 1000)
        row.probe_at = now + PROBE_MS
        return Grant(min(most, 1), probe=True)
    if rate is None:
        return Grant(most)
    left = max(1, int(rate * 60)) - row.used
    if left > 0:
        return Grant(min(most, left))
    return Grant(0, (MINUTE_MS - now % MINUTE_MS) / 1000)


def _turn(row: Any) -> None:
    """Begin another minute, and another day, if it is time."""
    minute, day = row.now // MINUTE_MS, (row.now + _BEIJING_MS) // _DAY_MS
    if row.minute != minute:
        row.minute, row.used = minute, 0
    if row.day != day:
        row.day, row.day_used = day, 0


def _paused_ms(row: Any) -> int:
    """For how long the row is paused, at most until its next probe."""
    wait: int = row.paused_until - row.now
    # Longer than it can be: the database's clock was set back meanwhile.
    if wait <= 0 or wait > _DAY_MS or (not row.probe_at and wait > 2 * MINUTE_MS):
        return 0
    return min(wait, max(row.probe_at - row.now, 1)) if row.probe_at else wait


def use(row: Any, count: int) -> None:
    """Count calls that `ask` has granted, in its transaction."""
    row.used += count
    row.day_used += count
    row.save(update_fields=("minute", "used", "day", "day_used", "probe_at", "turn"))


def pause(using: str, account: str, interface: str, errcode: int, why: str) -> float:
    """No relay makes this call for a while; for how many seconds.

    45011: until the next minute; 45009: until the next day; any other: a day. In the last two one
    call is tried every 15 minutes.
    """
    with transaction.atomic(using=using):
        row = hold(using, account, interface)
        now: int = row.now
        if errcode == MINUTE_QUOTA:
            minute = (now // MINUTE_MS + 1) * MINUTE_MS
            until = minute + random.randrange(_JITTER_MS)
            if _paused_ms(row) and row.paused_until >= minute:
                return (row.paused_until - now) / 1000
            row.probe_at = 0
        else:
            midnight = ((now + _BEIJING_MS) // _DAY_MS + 1) * _DAY_MS - _BEIJING_MS
            until = midnight if errcode == 45009 else now + _DAY_MS
            row.probe_at = now + PROBE_MS
        row.paused_until, row.why = until, why[:255]
        row.save(update_fields=("paused_until", "probe_at", "why"))
        return (until - now) / 1000


def resume(using: str, *accounts: str, interface: str = "") -> None:
    """Whatever has paused these accounts is over; none: all. interface: only this one."""
    rows = Pace.objects.using(using).filter(paused_until__gt=0)
    rows = rows.filter(account__in=accounts) if accounts else rows
    rows = rows.filter(interface=interface) if interface else rows
    rows.update(paused_until=0, probe_at=0, why="")
