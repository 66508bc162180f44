"""Held bills whose push may have got lost: WeChat is asked about their orders, ever less often.

Pushes come three times at most, and an account has one URL for them, often another vendor's.
"""

import logging
from datetime import timedelta
from typing import Any

from django.core.signals import setting_changed
from django.db import transaction
from django.utils import timezone

from nontax.contrib.django import accounts, conf, events, settling
from nontax.contrib.django.intake import FIRST_ASK
from nontax.contrib.django.models import Bill, Hold
from nontax.contrib.django.rows import force_commits
from nontax.delivery.store import Key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("nontax.delivery")
# After a bill is handed in; then every day.
_STEPS = (FIRST_ASK, *(timedelta(minutes=minutes) for minutes in (5, 30, 120)))
_DAY = timedelta(days=1)
# For so long an order is this relay's to ask about.
_TAKEN = timedelta(minutes=3)
_BY = "nontax"
_s_pappids: dict[str, str] = {}


def poll(using: str, *, limit: int = 50, stopping: "Callable[[], bool]" = lambda: False) -> int:
    """Ask about orders that are due, at most so many; how many bills are not held any more.

    Each is asked about by one relay, outside any transaction. Raises DatabaseError.
    """
    now = timezone.now()
    due = Hold.objects.using(using).filter(due_at__lte=now).order_by("due_at")
    silent: set[str] = set()
    settled = 0
    for row in due.select_related("bill")[:limit]:
        if stopping():
            break
        if row.bill.state != "held":
            Hold.objects.using(using).filter(pk=row.pk).delete()
        elif _take(using, row):
            settled += _settle(using, row, _ask(row.bill, silent), now)
    return settled


def _take(using: str, row: Hold) -> bool:
    """Whether this relay is the one that asks; if it dies, another one does a little later."""
    mine = Hold.objects.using(using).filter(pk=row.pk, due_at=row.due_at)
    return bool(mine.update(due_at=timezone.now() + _TAKEN))


def _put_back(using: str, row: Hold, now: Any) -> None:
    """Write down when it is asked about next."""
    later = [row.bill.created_at + step for step in _STEPS if row.bill.created_at + step > now]
    due_at = later[0] if later else now + _DAY
    Hold.objects.using(using).filter(pk=row.pk).update(due_at=due_at, asked=row.asked + 1)


def _ask(bill: Bill, silent: "set[str]") -> str:
    """What WeChat says of the order; "" if it cannot be asked.

    silent: appids of units that cannot ask now.
    """
    if bill.appid in silent:
        return ""
    try:
        unit = conf.unit_of(bill.appid)
        if unit is None:
            return ""
        s_pappid = _s_pappid(bill.account)
        answer = accounts.client(unit).get_auth_data(s_pappid=s_pappid, order_id=bill.order_id)
    except Exception as error:  # whatever a project's own function of accounts raises, too
        silent.add(bill.appid)
        _log.warning("unit %s cannot be asked whether orders are authorised: %s", bill.appid,
                     error, extra={"order_id": bill.order_id})  # fmt: skip
        return ""
    return answer.invoice_status


def _s_pappid(account: str) -> str:
    """The finance bureau's id, of the settings or of WeChat."""
    found = conf.account(account).get("S_PAPPID") or _s_pappids.get(account)
    if not found:
        found = _s_pappids[account] = accounts.client(account).get_s_pappid().s_pappid
    return str(found)


def _settle(using: str, row: Hold, status: str, now: Any) -> bool:
    bill = row.bill
    days = conf.outbox().hold_days
    why = "the unit has rejected the order" if status == "reject insert" else ""
    if not why and now - bill.created_at > timedelta(days=days):
        why = f"not authorised within {days:g} days"
    if status != "auth success" and not why:
        _put_back(using, row, now)
        return False
    try:
        with transaction.atomic(using=using):
            force_commits(using)
            # Written first: SQLite refuses a transaction that reads before it writes.
            Hold.objects.using(using).filter(pk=row.pk).delete()
            if status == "auth success":
                kind = "getauthdata"
                return bool(events.authorised(using, bill.order_id, bill.appid, kind=kind))
            settling.withdraw(using, Key(bill.appid, bill.order_id), by=_BY, note=why)
    except ValueError:  # an event or a person has come first
        return False
    _log.warning("order %s is withdrawn: %s", bill.order_id, why,
                 extra={"order_id": bill.order_id, "state": "withdrawn"})  # fmt: skip
    return True


def _forget(*, setting: str, **_: object) -> None:
    if setting == "NONTAX":
        _s_pappids.clear()


setting_changed.connect(_forget, dispatch_uid="nontax s_pappid")
