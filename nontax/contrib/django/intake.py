"""Bills become waiting. Every function here runs inside one transaction."""

from datetime import timedelta
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from nontax.contrib.django import adding, plain
from nontax.contrib.django.models import NEVER, NO_CLAIM, NO_CODE, Bill, Hold
from nontax.contrib.django.models import Content as ContentRow
from nontax.contrib.django.rows import content_of, differs, digest_of, known_of, locked
from nontax.delivery.states import State, step, why_not
from nontax.delivery.store import NUMBER_TAKEN, SAME_NUMBER, Content, Known, Refused
from nontax.errors import InvalidRequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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
    if any(type(value) is str and "\0" in value for value in content):
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


# What a new bill's row has; the rest comes from its content.
_NEW: "dict[str, int | str]" = {
    "state": "waiting", "attempt": 0, "claim": NO_CLAIM, "lease_until": 0, "code": NO_CODE,
    "code_unknown": 0, "errcode": 0,
}  # fmt: skip


def _row_of(account: str, content: Content, pdf: Pdf, priority: int) -> "dict[str, Any]":
    return {
        "appid": content.appid,
        "order_id": content.order_id,
        "account": account,
        "priority": priority,
        **columns_of(content, pdf),
    }


def is_known(using: str, content: Content, *, allow_same_number: bool) -> bool:
    """Whether its order, or its printed number, is in the outbox already."""
    found = Q(appid=content.appid, order_id=content.order_id)
    if not allow_same_number:
        found |= Q(
            billing_no=content.billing_no,
            billing_code=content.billing_code,
            state__in=sorted(NUMBER_TAKEN),
        )
    return bool(Bill.objects.using(using).filter(found).exists())


def add(
    using: str,
    account: str,
    content: Content,
    pdf: Pdf = NO_PDF,
    *,
    allow_same_number: bool = False,
    priority: int = 0,
    state: State = "waiting",
) -> Bill | None:
    """A new bill's row. None, and nothing is changed, if its order or its number is known."""
    if state == "waiting" and adding.can_add(using):
        return _add(using, account, content, pdf, allow_same_number, priority)
    if is_known(using, content, allow_same_number=allow_same_number):
        return None
    try:
        with transaction.atomic(using=using):
            return insert(using, account, content, pdf, priority=priority, state=state)
    except IntegrityError:
        if not is_known(using, content, allow_same_number=allow_same_number):
            raise
        return None


def _add(
    using: str, account: str, content: Content, pdf: Pdf, allow_same_number: bool, priority: int
) -> Bill | None:
    now, at = timezone.now(), plain.now(using)
    row = _row_of(account, content, pdf, priority)
    pk = adding.add(
        using, {**row, "created_at": at, "changed_at": at}, _NEW, content_columns_of(content, pdf),
        allow_same_number=allow_same_number,
    )  # fmt: skip
    return None if pk is None else _made(using, {"id": pk, **row, **_NEW}, now)


def _made(using: str, row: "dict[str, Any]", now: "datetime") -> Bill:
    """The row that is in the database."""
    values = {**row, **dict.fromkeys(_DATES, now)}
    made: Bill = Bill.from_db(using, _FIELDS, [values[name] for name in _FIELDS])
    return made


def insert(
    using: str,
    account: str,
    content: Content,
    pdf: Pdf = NO_PDF,
    *,
    priority: int = 0,
    state: State = "waiting",
) -> Bill:
    """A new bill. Raises IntegrityError if its order is known."""
    now, at = timezone.now(), plain.now(using)
    row = {**_row_of(account, content, pdf, priority), **_NEW, "state": state}
    names, values = (*row, *_DATES), (*row.values(), at, at)
    pk = plain.insert_one(using, Bill, names, values)
    texts = content_columns_of(content, pdf)
    plain.insert(using, ContentRow, ("bill", *texts), [(pk, *texts.values())])
    made = _made(using, {"id": pk, **row}, now)
    if state == "held":
        Hold(bill=made, due_at=now + FIRST_ASK).save(using=using, force_insert=True)
    return made


_DATES = ("created_at", "changed_at")
_FIELDS = [field.attname for field in Bill._meta.concrete_fields]


def insert_many(using: str, account: str, contents: "Sequence[Content]", priority: int) -> bool:
    """New bills in a few statements. False, and nothing is changed, if one of them is known."""
    keys = {content.key for content in contents}
    numbers = {(content.billing_no, content.billing_code) for content in contents}
    if len(keys) != len(contents) or len(numbers) != len(contents):
        return False
    bills = Bill.objects.using(using).order_by()
    # Asked for by the first column of a key alone: no statistics lead to another index, and
    # there are few more rows than are meant.
    mine = bills.filter(order_id__in=[key.order_id for key in keys])
    taken = bills.filter(billing_code__in=[code for _, code in numbers])
    if not keys.isdisjoint(mine.values_list("appid", "order_id")):
        return False
    for billing_no, code, state in taken.values_list("billing_no", "billing_code", "state"):
        if state in NUMBER_TAKEN and (billing_no, code) in numbers:
            return False
    at = plain.now(using)
    rows = [_row_of(account, content, NO_PDF, priority) for content in contents]
    new = (*_NEW.values(), at, at)
    try:
        with transaction.atomic(using=using):
            made = plain.insert(
                using, Bill, (*rows[0], *_NEW, *_DATES), [(*row.values(), *new) for row in rows],
                ("appid", "order_id", "id"),
            )  # fmt: skip
            if made is None:
                made = list(mine.values_list("appid", "order_id", "pk"))
            ids = {(appid, order_id): pk for appid, order_id, pk in made}
            texts = [content_columns_of(content, NO_PDF) for content in contents]
            plain.insert(
                using, ContentRow, ("bill", *texts[0]),
                [(ids[each.key], *text.values())
                 for each, text in zip(contents, texts, strict=True)],
            )  # fmt: skip
    except IntegrityError:
        return False
    return True
