"""Which of the waiting bills are next: by priority, and units in turn within one.

One unit's 300,000 old bills do not stop the bills of the others.
"""

from itertools import groupby
from typing import Any

from django.db.models import Q

from nontax.contrib.django.models import Bill, Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection

    # A bill's id, and the appid of its unit.
    Pick = tuple[int, str]

# So many units have a share of each window, if so many have bills waiting.
_UNITS = 4


def pick(waiting: Any, most: int, turn: str) -> "list[Pick]":
    """At most `most` of the bills. waiting: a query. turn: the unit that was served last."""
    ordered = waiting.order_by("-priority", "appid", "pk").values_list("priority", "pk", "appid")
    first = list(ordered[:most])
    lowest = first[-1][0] if first else 0
    picked = [(pk, appid) for priority, pk, appid in first if priority > lowest]
    rest = [(pk, appid) for priority, pk, appid in first if priority == lowest]
    if len(first) < most:
        return picked + rest
    return picked + _take_turns(waiting.filter(priority=lowest), rest, turn)


def _take_turns(waiting: Any, first: "list[Pick]", turn: str) -> "list[Pick]":
    """Of bills of one priority, as many as the first ones. Each unit gets a share before a second.

    Round the circle of units: those behind `turn`, then the first ones, up to it.
    """
    most = len(first)
    share = -(-most // _UNITS)
    ordered = waiting.order_by("appid", "pk").values_list("pk", "appid")
    groups: list[list[Pick]] = []

    def add(rows: "list[Pick]") -> str:
        """The unit after which there may be more, or ""."""
        groups.extend(list(group) for _, group in groupby(rows, key=lambda row: row[1]))
        return rows[-1][1] if len(rows) == most else ""

    def is_enough() -> bool:
        return sum(len(group[:share]) for group in groups) >= most

    after = turn
    while after and not is_enough():
        after = add(list(ordered.filter(appid__gt=after)[:most]))
    after = "" if is_enough() else add([row for row in first if not turn or row[1] <= turn])
    while after and (not turn or after < turn) and not is_enough():
        rows = ordered.filter(appid__gt=after)
        after = add(list((rows.filter(appid__lte=turn) if turn else rows)[:most]))
    picked: list[Pick] = []
    while len(picked) < most and any(groups):
        for group in groups:
            picked += group[:share]
            del group[:share]
    return picked[:most]


class Limits:
    """How many bills of each unit may still go in this minute. minute: as in Pace."""

    def __init__(self, using: str, rate: float | None, minute: int, *, has_rates: bool) -> None:
        units = Unit.objects.using(using)
        rows = units.filter(Q(rate__gt=0) | Q(minute=minute) if rate else Q(rate__gt=0))
        rows = rows if rate or has_rates else units.none()
        self._rate, self._using, self._minute = rate, using, minute
        self._rates: dict[str, float] = {}
        self._used: dict[str, int] = {}
        for row in rows:
            self._rates[row.appid] = row.rate
            if row.minute == minute:
                self._used[row.appid] = row.used

    def _left(self, appid: str) -> int | None:
        rate = self._rates.get(appid) or self._rate
        if not rate:
            return None
        return max(max(1, int(rate * 60)) - self._used.get(appid, 0), 0)

    @property
    def full(self) -> "list[str]":
        """Units of which none may go."""
        return [appid for appid in self._rates if self._left(appid) == 0]

    def cut(self, picked: "list[Pick]") -> "list[Pick]":
        """Without those that are too many."""
        kept: list[Pick] = []
        counts: dict[str, int] = {}
        for pk, appid in picked:
            left = self._left(appid)
            counts[appid] = counts.get(appid, 0) + 1
            if left is None or counts[appid] <= left:
                kept.append((pk, appid))
        return kept

    def use(self, counts: "Counter[str]") -> None:
        """Count what was taken. In one order: two accounts may have the same units."""
        for appid, count in sorted(counts.items()):
            if self._left(appid) is not None:
                used = self._used.get(appid, 0) + count
                rows = Unit.objects.using(self._using).filter(appid=appid)
                rows.update(minute=self._minute, used=used)


def waiting(using: str, account: str, now: int, without: "Collection[str]" = ()) -> Any:
    """The bills that may be sent now, as a query. now: the database's time. without: units."""
    rows = Bill.objects.using(using).filter(state="waiting", account=account, media_due__gt=now)
    return rows.exclude(appid__in=without) if without else rows
