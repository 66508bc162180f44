"""A bill's row, as the rules of delivery see it."""

import hashlib
import json
import time
from typing import Any

from django.db import connections
from django.utils import timezone

from nontax.contrib.django.models import NO_CODE, Attempt, Bill, Evidence
from nontax.contrib.django.models import Content as ContentRow
from nontax.delivery.store import CONTENT_FIELDS, Content, Key, Known, differences

# WeChat keeps an uploaded PDF for three days; half a day is left for the bill to wait.
UPLOAD_MS = 60 * 3_600_000
_PRUNED = ("title", "billing_time", "extra")


def now_ms() -> int:
    """For people; no lease is measured by it."""
    return int(time.time() * 1000)


def digest_of(content: Content) -> str:
    """What makes two bills of one order different bills, also when the content is pruned."""
    values = [getattr(content, name) for name in CONTENT_FIELDS]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def locked(using: str) -> Any:
    """The bills, each with a lock until the transaction ends, where the database has such."""
    return Bill.objects.using(using).select_for_update()


def content_of(row: Bill) -> Content:
    """What is sent; of a pruned bill that which is left."""
    kept = ContentRow.objects.using(row._state.db).filter(pk=row.pk).first()
    kept = kept or ContentRow(title="", billing_time=0, extra="", shape="pruned", media_id="")
    return joined(row, kept)


def joined(row: Bill, kept: ContentRow) -> Content:
    """A bill of its two rows."""
    return Content(
        row.appid,
        row.order_id,
        row.card_id,
        row.fee,
        kept.title,
        kept.billing_time,
        row.billing_no,
        row.billing_code,
        kept.media_id,
        kept.extra,
        kept.shape,
    )


def differs(row: Bill, kept: Content, given: Content) -> list[str]:
    """The fields in which the given bill is another one."""
    if row.digest == digest_of(given):
        return []
    pruned = _PRUNED if kept.shape == "pruned" else ()
    return differences(kept, given, pruned=pruned) or ["title"]


def known_of(row: Bill, content: Content | None = None) -> Known:
    """A bill with the words of its last attempt that has ended."""
    ended = Attempt.objects.using(row._state.db).filter(bill=row.pk, ended=1)
    last = ended.order_by("-number").first() or Attempt()
    openid = ""
    if row.state == "inserted":
        answered = ended.exclude(openid="").order_by("-number").first()
        openid = answered.openid if answered else ""
    return Known(
        content or content_of(row),
        row.state,
        "" if row.code == NO_CODE else row.code,
        openid,
        bool(row.code_unknown),
        row.errcode,
        last.errmsg,
        last.rid,
        last.reason,
        from_list=True,
    )


def look(using: str, key: Key) -> Bill | None:
    """The row of a bill."""
    return Bill.objects.using(using).filter(appid=key.appid, order_id=key.order_id).first()


def learn(
    bill: Any, using: str, kind: str, verdict: str, *, by: str = "", checked_by: str = "",
    note: str = "", detail: str = "",
) -> None:  # fmt: skip
    """Add to what is known of a bill besides its attempts' answers. bill: its id."""
    Evidence(
        bill_id=bill, at=timezone.now(), kind=kind, verdict=verdict, who=by,
        checked_by=checked_by, note=note, detail=detail,
    ).save(using=using)  # fmt: skip


def force_commits(using: str) -> None:
    """What this transaction writes is on disk when it is committed.

    PostgreSQL may be told, for a role or a database, to forget the last commits in a crash. A
    relay would then send what it has sent.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit TO on")
