"""Events that WeChat has pushed: kept under their key, applied once, in any order."""

import dataclasses
import hashlib
import json
import logging
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from nontax.contrib.django import settling, signals
from nontax.contrib.django.models import Bill, Content, Event
from nontax.contrib.django.ringing import ring_on_commit
from nontax.contrib.django.rows import force_commits, learn, locked
from nontax.delivery.states import NOT_AUTHORISED, step
from nontax.events import AuthorizationEvent, StatusEvent

_log = logging.getLogger("nontax.delivery")
_KINDS: "dict[str, Any]" = {
    "user_authorize_invoice": AuthorizationEvent,
    "update_invoice_status": StatusEvent,
}
_SIGNALS = {
    "user_authorize_invoice": signals.order_authorised,
    "update_invoice_status": signals.bill_status_changed,
}


def take_event(using: str, account: str, event: object) -> bool:
    """Keep an event and what it settles, in one transaction; False if it was known.

    It is on disk when this returns. Events about no bill are not kept.
    """
    kind = next((name for name, made in _KINDS.items() if isinstance(event, made)), None)
    if kind is None:
        return False
    with transaction.atomic(using=using):
        force_commits(using)
        row = _keep(using, account, kind, event)
        if row is None:
            return False
        _apply(using, row, event)
        _tell(using, row, event)
    _match(using, row)
    return True


def _keep(using: str, account: str, kind: str, event: Any) -> Event | None:
    row = Event(
        key_hash=hashlib.sha256(event.key.encode()).hexdigest(),
        account=account,
        kind=kind,
        succeeded=int(getattr(event, "succeeded", True)),
        appid=getattr(event, "authorize_appid", "")[:64],
        order_id=getattr(event, "order_id", "")[:128],
        content=json.dumps(dataclasses.asdict(event), ensure_ascii=True),
        received_at=timezone.now(),
    )
    try:
        with transaction.atomic(using=using):
            row.save(using=using, force_insert=True)
    except IntegrityError:
        return None
    return row


def _apply(using: str, row: Event, event: Any) -> None:
    if isinstance(event, AuthorizationEvent):
        if event.succeeded:
            # Its key has the citizen's openid in it, and evidence is shown to all.
            detail = row.key_hash[:16]
            authorised(using, event.order_id, event.authorize_appid, detail=detail)
    else:
        settling.observe(using, event.card_id, event.code, f"{event.status} {event.code}")


def _tell(using: str, row: Event, event: object) -> None:
    """Call the receivers; what they have done is undone if one of them fails."""
    error = ""
    try:
        with transaction.atomic(using=using):
            _SIGNALS[row.kind].send(sender=Event, event=event, account=row.account)
    except Exception as raised:
        error = type(raised).__name__
        _log.exception("a receiver of %s has failed: run nontax_events --retry", row.kind)
    Event.objects.using(using).filter(pk=row.pk).update(error=error)


def _match(using: str, row: Event) -> None:
    """A held bill whose transaction was committed meanwhile has not been seen by this one."""
    if row.kind == "user_authorize_invoice" and row.succeeded == 1:
        match_held(using, row.order_id)


def authorised(
    using: str, order_id: str, appid: str = "", *, kind: str = "event", detail: str = ""
) -> int:
    """The citizen has authorised an order: what waited for this is sent; how many bills.

    For events, and for those who have asked `get_auth_data`. appid: the bill's, or "" for any.
    kind, detail: how it is known.
    """
    refused = Q(state="rejected", errcode__in=sorted(NOT_AUTHORISED))
    found = Bill.objects.using(using).filter(Q(state="held") | refused, order_id=order_id)
    moved = 0
    for row in found.filter(appid=appid) if appid else found:
        if row.state == "rejected" and not _has_content(using, row):
            _log.warning(
                "order %s is authorised, and its content was removed: enqueue it with again=True",
                order_id, extra={"order_id": order_id, "state": "rejected"},
            )  # fmt: skip
            continue
        after = step(row.state, "authorised")
        same = Bill.objects.using(using).filter(pk=row.pk, state=row.state, attempt=row.attempt)
        if same.update(state=after, changed_at=timezone.now()):
            learn(row.pk, using, kind, "authorised", detail=detail)
            moved += 1
    if moved:
        ring_on_commit(using)
    return moved


def _has_content(using: str, row: Bill) -> bool:
    """Under the bill's lock, so that nobody removes it meanwhile."""
    locked(using).get(pk=row.pk)
    return bool(Content.objects.using(using).filter(pk=row.pk).exists())


def match_held(using: str, order_id: str = "") -> int:
    """Held bills whose authorisation is kept already are sent; how many there were."""
    events = Event.objects.using(using).filter(kind="user_authorize_invoice", succeeded=1)
    events = events.filter(order_id=order_id) if order_id else events
    held = Bill.objects.using(using).filter(
        state="held", order_id__in=events.order_by().values("order_id")
    )
    moved = 0
    for row in held:
        with transaction.atomic(using=using):
            if events.filter(Q(appid="") | Q(appid=row.appid), order_id=row.order_id).exists():
                moved += authorised(using, row.order_id, row.appid, detail="an earlier event")
    return moved


def retry(using: str) -> tuple[int, int]:
    """Call the receivers of events that have failed; how many were called, and failed again."""
    rows = list(Event.objects.using(using).exclude(error="").order_by("pk"))
    for row in rows:
        with transaction.atomic(using=using):
            _tell(using, row, _KINDS[row.kind](**json.loads(row.content)))
    failed = Event.objects.using(using).filter(pk__in=[row.pk for row in rows]).exclude(error="")
    return len(rows), failed.count()
