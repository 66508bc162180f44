"""Who has paid is forgotten after a while; that a bill was sent, never: its key stays."""

import logging
import math
import time
from datetime import timedelta
from typing import Any

from django.db import connections, transaction
from django.db.models import F, Q
from django.utils import timezone

from nontax.contrib.django import conf
from nontax.contrib.django.models import Attempt, Content, Event
from nontax.contrib.django.rows import locked
from nontax.delivery.states import NOT_AUTHORISED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

_log = logging.getLogger("nontax.delivery")
_SETTLED = ("inserted", "rejected", "withdrawn")
# Rows of one transaction.
_PAGE = 500
# Seconds between two passes of a relay.
_PAUSE = 3600.0


def prune(using: str, days: float) -> "Iterator[int]":
    """Remove names, openids and contents of bills that were settled so many days ago.

    In pages, each a transaction, along the primary keys: how many bills each page had. A bill that
    an event or a person may still have sent, or that is in doubt, is left as it is.
    """
    before = timezone.now() - timedelta(days=days)
    for ids in _pages(Content.objects.using(using), "bill__created_at", before):
        yield _forget_bills(using, ids, before)
    for ids in _pages(Event.objects.using(using), "received_at", before):
        # The key stays: a repeat is still one. What a receiver has failed with is kept.
        old = Event.objects.using(using).filter(pk__in=ids, received_at__lt=before, error="")
        old.exclude(content="{}").update(content="{}")
        yield 0


def _pages(rows: Any, began: str, before: "datetime") -> "Iterator[list[int]]":
    """The ids of rows that may be old enough: ids go up with time."""
    rows = rows.order_by("pk").values_list("pk", began)
    page = list(rows[:_PAGE])
    while page:
        yield [pk for pk, _ in page]
        last, at = page[-1]
        page = list(rows.filter(pk__gt=last)[:_PAGE]) if at < before else []


def _forget_bills(using: str, ids: "list[int]", before: "datetime") -> int:
    # For as long as a held bill waits, this one is sent once the citizen authorises its order.
    hold = timezone.now() - timedelta(days=conf.outbox().hold_days)
    refused = Q(state="rejected", errcode__in=sorted(NOT_AUTHORISED), changed_at__gte=hold)
    with transaction.atomic(using=using):
        contents = Content.objects.using(using).filter(pk__in=ids)
        if not connections[using].features.has_select_for_update:
            # Takes the write lock first: a reader that begins to write may be refused.
            contents.filter(pk=ids[0]).update(shape=F("shape"))
        # Locked: whoever hands one in again meanwhile waits, and finds it without its content.
        bills = locked(using).filter(pk__in=ids, state__in=_SETTLED, changed_at__lt=before)
        old = list(bills.exclude(refused).values_list("pk", flat=True))
        attempts = Attempt.objects.using(using).filter(bill__in=old)
        attempts.exclude(openid="").update(openid="")
        return int(contents.filter(pk__in=old).delete()[0])


class Pruner:
    """A relay's: a page at each look, and then a rest until the next pass. days: None: never."""

    def __init__(self, using: str, days: float | None) -> None:
        self._using, self._days = using, days
        self._pass: Iterator[int] = iter(())
        self._next = -math.inf if days is not None else math.inf

    def look(self) -> None:
        """Prune a page, if it is time. Raises DatabaseError; the pass is begun anew later."""
        count = next(self._pass, None)
        if count is None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PAUSE
            self._pass = prune(self._using, self._days or 0)
        elif count:
            _log.info("the content of %d bills was removed", count)
