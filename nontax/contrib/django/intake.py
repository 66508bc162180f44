"""Bills become waiting. Every function here runs inside one transaction."""

from datetime import timedelta
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.utils import timezone

from nontax.contrib.django.models import NEVER, Bill, Hold
from nontax.contrib.django.models import Content as ContentRow
from nontax.contrib.django.rows import content_of, differs, digest_of, known_of, locked
from nontax.delivery.states import State, step, why_not
from nontax.delivery.store import NUMBER_TAKEN, SAME_NUMBER, Content, Known, Refused
from nontax.errors import InvalidRequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# A held bill's order is asked about for the first time, in case that its push got lost.
FIRST_ASK = timedelta(minutes=1)
_LONGEST = {"appid": 64, "order_id": 128, "card_id": 64, "billing_no": 64, "billing_code": 64}


class Pdf(NamedTuple):
    """The file of a bill's PDF, which a relay uploads. sha256: as it was when it was handed in."""

    path: str = ""
    sha256: str = ""


NO_PDF = Pdf()


class _Rules(NamedTuple):
    again: bool
    allow_same_number: bool
    replace: bool


def check_lengths(content: Content) -> None:
    """Raises InvalidRequestError for a bill that the tables cannot hold as it is."""
    problems = [
        (name, f"is longer than the {longest} characters that the outbox keeps")
        for name, longest in _LONGEST.items()
        if len(getattr(content, name)) > longest
    ]
    problems += [
        (name, "contains a NUL character")
        for name, value in content._asdict().items()
        if isinstance(value, str) and "\0" in value
    ]
    if problems:
        raise InvalidRequestError(problems=problems)


def hand_in(
    using: str,
    account: str,
    content: Content,
    pdf: Pdf = NO_PDF,
    *,
    again: bool = False,
    allow_same_number: bool = False,
    replace: bool = True,
    priority: int = 0,
    state: State = "waiting",
) -> Known | Refused:
    """See `Store.hand_in`. replace: a waiting bill takes other content. state: of a new one."""
    rules = _Rules(again, allow_same_number, replace)
    row = locked(using).filter(appid=content.appid, order_id=content.order_id).first()
    if row is not None:
        return _hand_in_known(using, row, content, pdf, rules)
    other = None if allow_same_number else same_number(using, content)
    if other is not None:
        return Refused(known_of(other), SAME_NUMBER, same_number=True)
    try:
        with transaction.atomic(using=using):
            insert(using, account, content, pdf, priority=priority, state=state)
    except IntegrityError:
        row = locked(using).filter(appid=content.appid, order_id=content.order_id).first()
        if row is None:
            raise
        return _hand_in_known(using, row, content, pdf, rules)
    return Known(content, state, from_list=True)


def _hand_in_known(
    using: str, row: Bill, content: Content, pdf: Pdf, rules: _Rules
) -> Known | Refused:
    kept = content_of(row)
    fields = differs(row, kept, content)
    state: State = row.state
    if state not in ("held", "waiting"):
        why = why_not(state, row.errcode, by="hand_in", again=rules.again)
        if why:
            known = known_of(row, kept)
            return Refused(known, why, tuple(fields)) if fields else known
    elif fields and not rules.replace:
        why = f"it is {state}; give replace=True to have this sent instead"
        return Refused(known_of(row, kept), why, tuple(fields))
    other = None if rules.allow_same_number else same_number(using, content)
    if other is not None:
        return Refused(known_of(other), SAME_NUMBER, same_number=True)
    after = state if state in ("held", "waiting") else step(state, "hand_in")
    # Not if a relay has taken it meanwhile, where the database has no locks.
    done = (
        Bill.objects.using(using)
        .filter(pk=row.pk, state=state, attempt=row.attempt)
        .update(state=after, changed_at=timezone.now(), **columns_of(content, pdf))
    )
    if done != 1:
        row.refresh_from_db(using=using)
        return _hand_in_known(using, row, content, pdf, rules)
    ContentRow.objects.using(using).update_or_create(
        pk=row.pk, defaults=content_columns_of(content, pdf)
    )
    row.refresh_from_db(using=using)
    return known_of(row, content)


def same_number(using: str, content: Content) -> Bill | None:
    """Another order that has this printed number for itself."""
    found: Bill | None = (
        Bill.objects.using(using)
        .filter(
            billing_no=content.billing_no,
            billing_code=content.billing_code,
            state__in=sorted(NUMBER_TAKEN),
        )
        .exclude(appid=content.appid, order_id=content.order_id)
        .first()
    )
    return found


def columns_of(content: Content, pdf: Pdf) -> "dict[str, Any]":
    """A bill's columns that come from its content."""
    names = ("card_id", "fee", "billing_no", "billing_code")
    return {
        **{name: getattr(content, name) for name in names},
        "digest": digest_of(content),
        "media_due": 0 if pdf.path else NEVER,
    }


def content_columns_of(content: Content, pdf: Pdf) -> "dict[str, Any]":
    """The columns of its content's row."""
    return {
        "title": content.title,
        "billing_time": content.billing_time,
        "extra": content.extra,
        "shape": content.shape,
        "media_id": content.s_pdf_media_id,
        "pdf": pdf.path,
        "pdf_sha256": pdf.sha256,
    }


def _new_row(
    account: str, content: Content, pdf: Pdf, priority: int, state: State = "waiting"
) -> Bill:
    now = timezone.now()
    return Bill(
        appid=content.appid, order_id=content.order_id, account=account, state=state,
        priority=priority, created_at=now, changed_at=now, **columns_of(content, pdf),
    )  # fmt: skip


def insert(
    using: str,
    account: str,
    content: Content,
    pdf: Pdf = NO_PDF,
    *,
    priority: int = 0,
    state: State = "waiting",
) -> None:
    """A new bill. Raises IntegrityError if its order is known."""
    row = _new_row(account, content, pdf, priority, state)
    row.save(using=using, force_insert=True)
    ContentRow(bill=row, **content_columns_of(content, pdf)).save(using=using, force_insert=True)
    if state == "held":
        Hold(bill=row, due_at=row.created_at + FIRST_ASK).save(using=using, force_insert=True)


def insert_many(using: str, account: str, contents: "Sequence[Content]", priority: int) -> bool:
    """New bills in a few statements. False, and nothing is changed, if one of them is known."""
    orders = [content.order_id for content in contents]
    codes = [content.billing_code for content in contents]
    keys = {content.key for content in contents}
    numbers = {(content.billing_no, content.billing_code) for content in contents}
    bills = Bill.objects.using(using)
    if len(keys) != len(contents) or len(numbers) != len(contents):
        return False
    if bills.filter(order_id__in=orders).exists():
        return False
    if bills.filter(billing_code__in=codes, state__in=sorted(NUMBER_TAKEN)).exists():
        return False
    try:
        with transaction.atomic(using=using):
            bills.bulk_create([_new_row(account, each, NO_PDF, priority) for each in contents])
            made = dict(bills.filter(order_id__in=orders).values_list("order_id", "pk"))
            if len(made) != len(contents):
                return False
            ContentRow.objects.using(using).bulk_create(
                [
                    ContentRow(bill_id=made[each.order_id], **content_columns_of(each, NO_PDF))
                    for each in contents
                ]
            )
    except IntegrityError:
        return False
    return True
