"""The line above the list: what should worry somebody."""

from datetime import UTC, datetime
from typing import Any

from django.db.models import Min
from django.utils import timezone

from nontax.contrib.django.admin.counting import MOST
from nontax.contrib.django.models import Pace
from nontax.contrib.django.words import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def lines(bills: Any) -> list[str]:
    """What stands above the list, of the bills that may be seen."""
    waiting = bills.filter(state="waiting")
    doubtful = bills.filter(state="in_doubt").order_by()[: MOST + 1].count()
    found = [say("in doubt: {count}", count=_capped(doubtful))]
    oldest = waiting.order_by().aggregate(oldest=Min("changed_at"))["oldest"]
    if oldest is not None:
        count = _capped(waiting.order_by()[: MOST + 1].count())
        since = say("waiting: {count}, the oldest for {age}", count=count, age=_age(oldest))
        found.append(since)
        found += _pauses(waiting)
    return found


def _pauses(waiting: Any) -> "Iterator[str]":
    accounts = waiting.order_by().values("account").distinct()
    now = timezone.now()
    paused = Pace.objects.using(waiting.db).filter(
        account__in=accounts, paused_until__gt=now.timestamp() * 1000
    )
    for pace in paused.order_by("account", "interface"):
        until = timezone.localtime(datetime.fromtimestamp(pace.paused_until / 1000, UTC))
        yield say("{account} pauses until {until}", account=pace.account, until=f"{until:%F %H:%M}")


def _capped(count: int) -> str:
    return str(count) if count <= MOST else f"> {MOST}"


def _age(begin: Any) -> str:
    seconds = max(round((timezone.now() - begin).total_seconds()), 0)
    if seconds < 120:
        return say("{count} s", count=seconds)
    if seconds < 7200:
        return say("{count} min", count=seconds // 60)
    return say("{count} h", count=seconds // 3600)
