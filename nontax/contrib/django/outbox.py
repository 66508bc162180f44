"""Have bills sent: rows of the caller's own transaction, which relays find once it is committed."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from nontax.contrib.django import accounts, conf, events, intake
from nontax.contrib.django.intake import Pdf
from nontax.contrib.django.models import Bill
from nontax.contrib.django.ringing import ring_on_commit
from nontax.contrib.django.rows import look
from nontax.delivery.content import FORM, content_of
from nontax.delivery.store import Content, Refused
from nontax.errors import ConflictError, InvalidRequestError
from nontax.journaled import conflict_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PAGE = 500
# Problems that are listed; of a list of the wrong kind there would be as many as bills.
_MOST = 100
# Is never sent: a bill whose PDF is not uploaded is not taken by a relay.
_LATER = "later"


def enqueue(
    bill: "Mapping[str, object]",
    *,
    account: str,
    pdf: Any = None,
    when: str | None = None,
    priority: int = 0,
    replace: bool = False,
    again: bool = False,
    allow_same_number: bool = False,
    durable: bool = True,
) -> Bill:
    """Have a bill sent when the caller's transaction is committed; its row.

    bill: as for `Client.insert_bill`. account: alias of NONTAX["ACCOUNTS"]. pdf: path of its PDF on
    a disk that the relays see, or a FieldFile of such; it is uploaded before the bill is sent, and
    then replaces `s_pdf_media_id`, which may be missing or "". when: "authorised": a new bill is
    held until the citizen's authorisation is pushed (see `EventView`), if it has not been already.
    priority: higher ones go first. replace: a bill that waits takes
    other content. again: also if the last answer was that the citizen has not authorised the order.
    durable: False lets it be called outside a transaction.

    The same bill again changes nothing. Raises RuntimeError outside a transaction,
    ImproperlyConfigured for an account with the ROLE "unit", InvalidRequestError with all problems,
    and ConflictError if the order, or the printed number (unless allow_same_number), is known with
    other content.
    """
    if when not in (None, "authorised"):
        raise ValueError('when must be "authorised" or None')
    file = _pdf_of(pdf)
    content = _content_of(account, _with_media_id(bill) if file.path else bill)
    using = _database(durable)
    return _enqueue(
        using, account, content, file, priority=priority, replace=replace, again=again,
        allow_same_number=allow_same_number,
        state="held" if when else "waiting",
    )  # fmt: skip


def _enqueue(using: str, account: str, content: Content, pdf: Pdf, **more: Any) -> Bill:
    if more["state"] == "waiting":
        new = {name: more[name] for name in ("priority", "allow_same_number")}
        made = intake.add(using, account, content, pdf, **new)
        if made is not None:
            ring_on_commit(using)
            return made
    with transaction.atomic(using=using):
        answer = intake.hand_in(using, account, content, pdf, **more)
        if isinstance(answer, Refused):
            raise conflict_of(answer, "outbox")
        if answer.state == "held":
            # Again when it is committed: an event of that moment has not seen this row.
            events.match_held(using, content.order_id)
            # No partial: if it fails, Django can log no name of it, and raises that.
            transaction.on_commit(
                lambda: events.match_held(using, content.order_id), using=using, robust=True
            )
        row = look(using, content.key)
        ring_on_commit(using)
    assert row is not None
    return row


async def aenqueue(bill: "Mapping[str, object]", *, account: str, **more: Any) -> Bill:
    """`enqueue` from asynchronous code, in a transaction of its own.

    Django has no asynchronous transactions: what must be committed with the bill is written with it
    in one synchronous function. Arguments, result and exceptions are those of `enqueue`.
    """
    found: Bill = await sync_to_async(enqueue, thread_sensitive=True)(
        bill, account=account, durable=False, **more
    )
    return found


def enqueue_many(
    bills: "Iterable[Mapping[str, object]]",
    *,
    account: str,
    priority: int = 0,
    replace: bool = False,
    again: bool = False,
    durable: bool = True,
) -> int:
    """Have many bills sent; how many were given. All are checked first, and all or none is taken.

    Arguments are those of `enqueue`. Raises RuntimeError outside a transaction, InvalidRequestError
    and ConflictError with the bill's index in each path.
    """
    using = _database(durable)
    contents: list[Content] = []
    problems: list[Any] = []
    for index, bill in enumerate(bills):
        try:
            contents.append(_content_of(account, bill))
        except InvalidRequestError as error:
            problems += _at(index, error)
    if problems:
        raise InvalidRequestError(problems=problems[:_MOST])
    with transaction.atomic(using=using):
        for begin in range(0, len(contents), _PAGE):
            page = contents[begin : begin + _PAGE]
            if not intake.insert_many(using, account, page, priority):
                _one_by_one(
                    using, account, page, begin, priority=priority, replace=replace, again=again
                )
        ring_on_commit(using)
    return len(contents)


def _one_by_one(using: str, account: str, contents: list[Content], begin: int, **more: Any) -> None:
    first: ConflictError | None = None
    problems: list[Any] = []
    for index, content in enumerate(contents, begin):
        answer = intake.hand_in(using, account, content, **more)
        if isinstance(answer, Refused):
            error = conflict_of(answer, "outbox")
            first = first or error
            problems += _at(index, error)
    if first is not None:
        raise ConflictError(problems=problems[:_MOST], fields=first.fields, kept=first.kept)


def _at(index: int, error: InvalidRequestError) -> "list[tuple[str, str]]":
    return [(f"[{index}].{path}", message) for path, message in error.problems]


def _content_of(account: str, bill: "Mapping[str, object]") -> Content:
    content = content_of(accounts.bureau(account)._core.body("insertbill", bill, FORM))
    intake.check_lengths(content)
    return content


def _with_media_id(bill: "Mapping[str, object]") -> "Mapping[str, object]":
    """The bill with something in the place of the id that the upload will give."""
    path = ("card_ext", "user_card", "invoice_user_data")
    copied: dict[str, Any] = dict(bill)
    inner = copied
    for name in path:
        if not isinstance(inner.get(name), Mapping):
            break
        inner[name] = dict(inner[name])
        inner = inner[name]
    if not inner.get("s_pdf_media_id"):
        inner["s_pdf_media_id"] = _LATER
    return copied


def _database(durable: bool) -> str:
    using = conf.outbox().database
    if durable and not connections[using].in_atomic_block:
        raise RuntimeError(
            "call enqueue() inside transaction.atomic(), together with what the bill belongs to; "
            "durable=False if it belongs to nothing"
        )
    return using


def _pdf_of(pdf: Any) -> Pdf:
    if pdf is None:
        return intake.NO_PDF
    if hasattr(pdf, "storage"):
        try:
            pdf = pdf.path
        except NotImplementedError:
            raise ValueError(
                "the PDF is in a storage without paths: upload it with client.upload_pdf(), and "
                "give its id as s_pdf_media_id"
            ) from None
    path = os.path.abspath(os.fspath(pdf))
    with open(path, "rb") as file:
        return Pdf(path, hashlib.file_digest(file, "sha256").hexdigest())
