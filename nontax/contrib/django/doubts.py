"""WeChat's own record of requests in doubt, kept as evidence that settles nothing."""

import logging
import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from nontax.contrib.django import accounts
from nontax.contrib.django.models import Attempt, Bill, Evidence
from nontax.contrib.django.rows import force_commits, learn
from nontax.contrib.django.settling import clean
from nontax.delivery.advice import KEPT_MS, NOT_KNOWN, facts_of
from nontax.errors import WeChatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("nontax.delivery")
KIND = "get_rid_info"
# Seconds for which an account is left alone that could not be asked.
_PAUSE = 3600.0
# Requests of one look: each is a call.
_PAGE = 20


class Asker:
    """A relay's: asks WeChat once about the last request of each bill in doubt, if it has a rid."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._silent: dict[str, float] = {}

    def ask(self, stopping: "Callable[[], bool]" = lambda: False) -> int:
        """How many bills have new evidence. Raises DatabaseError, and nothing of WeChat's."""
        done = 0
        for attempt in self._due():
            if stopping():
                break
            account: str = attempt.bill.account
            if account in self._silent:
                continue
            try:
                said = _said(accounts.client(account).get_rid_info(attempt.rid))
            except WeChatError as error:
                if error.errcode not in NOT_KNOWN:
                    self._leave(account, error)
                    continue
                said = ""
            except Exception as error:  # whatever a project's own function of accounts raises, too
                self._leave(account, error)
                continue
            done += self._keep(attempt, said)
        return done

    def _due(self) -> "list[Any]":
        now = time.monotonic()
        self._silent = {name: until for name, until in self._silent.items() if until > now}
        since = timezone.now() - timedelta(milliseconds=KEPT_MS)
        last = Attempt.objects.using(self._using).filter(
            bill__state="in_doubt", number=F("bill__attempt"), ended=1, changed_at__gte=since
        )
        asked = Evidence.objects.filter(bill=OuterRef("bill"), kind=KIND, note=OuterRef("rid"))
        last = last.exclude(rid="").exclude(bill__account__in=self._silent)
        return list(last.exclude(Exists(asked)).select_related("bill").order_by("-pk")[:_PAGE])

    def _leave(self, account: str, error: Exception) -> None:
        self._silent[account] = time.monotonic() + _PAUSE
        _log.warning("account %s cannot ask about requests in doubt: %s", account, error,
                     extra={"account": account})  # fmt: skip

    def _keep(self, attempt: Any, said: str) -> bool:
        """Unless another relay has done it, or the bill is not in doubt any more."""
        bill, using = attempt.bill_id, self._using
        with transaction.atomic(using=using):
            force_commits(using)
            # Written, so that it is locked on SQLite, too.
            mine = Bill.objects.using(using).filter(pk=bill, state="in_doubt")
            found = mine.update(priority=F("priority"))
            known = Evidence.objects.using(using).filter(bill=bill, kind=KIND, note=attempt.rid)
            if not found or known.exists():
                return False
            verdict = "shown" if said else "none"
            learn(bill, using, KIND, verdict, note=attempt.rid, detail=said)
        return True


def _said(info: Any) -> str:
    """In a line: no name and no openid is in it."""
    facts = facts_of(info)
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(info.invoke_time or 0) + 8 * 3600))
    answer = f"{facts.get('errcode', '')} {facts.get('errmsg', '')}".strip()
    return clean(f"{at} (UTC+8), {info.cost_in_ms} ms: {answer or '-'}")
