"""`insert` and `ainsert`: a list into wallets through the client's ledger, each bill once."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from nontax.delivery.store import Key, Known, Refused
from nontax.errors import ConflictError, LedgerError, NontaxError
from nontax.notebook.listed import Bills, read
from nontax.notebook.progress import progress, show
from nontax.notebook.result import Inserted, Row
from nontax.notebook.words import Words
from nontax.sheets import ListedBill, SheetError, mask_name

if TYPE_CHECKING:
    from nontax.client import Client
    from nontax.delivery.deliver import Delivered, Delivery, Report
    from nontax.ledger import Ledger

T = TypeVar("T")

_PAGE = 5000
_LISTED = 100  # conflicts in a message
_kept: list[Inserted] = []


def last() -> Inserted | None:
    """What the last `insert` or `ainsert` has come to, also if it was interrupted; None: none."""
    return _kept[-1] if _kept else None


def ledger_of(client: "Client") -> "Ledger":
    """The client's ledger. Raises LedgerError if it has none."""
    if client.ledger is None:
        raise LedgerError(
            reason='this client has no ledger, and "Run All" would send every bill again: make it '
            'with nontax.Client(ledger="bills.db"), or set NONTAX_LEDGER'
        )
    return client.ledger


class _Sending:
    """One list on its way. `take`, then `send`; `result` at any time after `take`."""

    def __init__(
        self,
        client: "Client",
        bills: Bills,
        *,
        skip_bad: bool,
        again: bool,
        concurrency: int,
        rate: float | None,
    ) -> None:
        self.client, self.bills = client, bills
        self.ledger = ledger_of(client)
        self.report: Report | None = None
        self._skip_bad, self._again = skip_bad, again
        self._concurrency, self._rate = concurrency, rate
        self._delivery: Delivery | None = None
        self._stopped = False
        self._words = Words(bills.lang)
        self._answers: dict[Key, Known | Refused] = {}
        self._told: dict[Key, Delivered] = {}
        self._rows = {
            Key(str(one.bill["appid"]), str(one.bill["order_id"])): one.row for one in bills.ready
        }

    def take(self) -> int:
        """Hand the list in; how many bills wait now. If a bill is refused, none is taken."""
        problems = self.bills.problems
        if problems and (not self._skip_bad or any(not problem.row for problem in problems)):
            raise SheetError(problems)
        self.ledger.use_server_of(self.client)
        answers = dict(self._hand_in(dry_run=True))
        refused = [(key, one) for key, one in answers.items() if isinstance(one, Refused)]
        if refused and not self._skip_bad:
            raise self._conflict(refused)
        for key, answer in self._hand_in(dry_run=False):
            self._answers[key] = answer
        return self.ledger.counts().get("waiting", 0)

    def _hand_in(self, *, dry_run: bool) -> Iterator[tuple[Key, Known | Refused]]:
        from nontax.delivery.lists import contents_of

        listed = self.bills.list
        self.ledger.describe_run(
            command="nontax.notebook",
            source=os.path.abspath(listed.path) if listed.path else "",
            source_sha256=listed.sha256,
        )
        for start in range(0, len(self.bills.ready), _PAGE):
            some = self.bills.ready[start : start + _PAGE]
            contents = contents_of(self.client, [one.bill for one in some])
            answers = self.ledger.hand_in(
                contents,
                again=self._again,
                rows=[one.row for one in some],
                pdfs=[(one.pdf.path, one.pdf.sha256) if one.pdf else ("", "") for one in some],
                dry_run=dry_run,
            )
            yield from zip((content.key for content in contents), answers, strict=True)

    def _conflict(self, refused: list[tuple[Key, Refused]]) -> ConflictError:
        from nontax.journaled import conflict_of

        found = [(self._rows[key], conflict_of(one)) for key, one in refused[:_LISTED]]
        return ConflictError(
            problems=[
                (f"row {row}, {path}", message)
                for row, error in found
                for path, message in error.problems
            ],
            fields=found[0][1].fields,
            kept=found[0][1].kept,
        )

    def send(self, step: Callable[[], object]) -> None:
        """Send all that waits. step: called for each bill that is done."""
        from nontax.delivery.deliver import Delivery

        def told(one: "Delivered") -> None:
            self._told[one.key] = one
            step()

        self._delivery = Delivery(
            self.ledger,
            self.client,
            concurrency=self._concurrency,
            rate=self._rate,
            progress=told,
        )
        if self._stopped:
            self._delivery.stop()
        self.report = self._delivery.run()

    def stop(self) -> None:
        """Begin nothing more; `send` returns when what is under way has ended."""
        self._stopped = True
        if self._delivery is not None:
            self._delivery.stop()

    # What it has come to

    def result(self, *, interrupted: bool = False) -> Inserted:
        """What is known of each row now. It is kept for `last`."""
        report = self.report
        late = dict(report.pdf_problems) if report else {}
        error = report.error if report else None
        rows = [self._row(one, late, error) for one in self.bills.ready]
        ready = {row.row for row in rows}
        semicolon = self._words("; ")
        rows += [
            Row(number, "", "", 0, "not_sent", reason=semicolon.join(texts))
            for number, texts in self.bills.reasons().items()
            if number and number not in ready
        ]
        rows.sort(key=lambda row: row.row)
        made = Inserted(
            self.bills,
            rows,
            error=error,
            interrupted=interrupted,
            others=len(self._told.keys() - self._rows.keys()),
        )
        _kept[:] = [made]
        return made

    def _row(
        self,
        one: ListedBill,
        late: Mapping[Key, str],
        error: BaseException | None,
    ) -> Row:
        bill: dict[str, Any] = one.bill
        key = Key(bill["appid"], bill["order_id"])
        row = Row(one.row, bill["order_id"], mask_name(bill["title"]), bill["fee"], "waiting")
        told = self._told.get(key)
        if told is not None:
            inserted, error = told.outcome.inserted, told.outcome.error
            code = inserted.code if inserted else ""
            return self._with_error(row._replace(outcome=told.state, card_code=code), error)
        answer = self._answers.get(key)
        if isinstance(answer, Refused):
            from nontax.journaled import conflict_of

            return self._with_error(row._replace(outcome="not_sent"), conflict_of(answer))
        if answer is None:  # interrupted before it was handed in
            return row._replace(outcome="not_sent")
        if answer.state in ("waiting", "sending") and self.report and not error:
            answer = self.ledger.look(key) or answer  # another process may have sent it meanwhile
        if answer.state == "waiting":
            why = late.get(key) or (str(error) if error else "")
            return row._replace(reason=why)
        return self._known(row, key, answer)

    def _known(self, row: Row, key: Key, answer: Known) -> Row:
        from nontax.journaled import error_of

        row = row._replace(outcome=answer.state, card_code=answer.code, from_ledger=True)
        if answer.state in ("rejected", "in_doubt"):
            answer = self.ledger.look(key) or answer  # with the words of its last attempt
        return self._with_error(row, error_of(answer))

    def _with_error(self, row: Row, error: NontaxError | None) -> Row:
        if error is None:
            return row
        errcode = getattr(error, "errcode", 0)
        advice = self._words.translated(error.advice)
        return row._replace(errcode=errcode, reason=error.reason, advice=advice)


def _sending(
    client: "Client",
    bills: object,
    options: Mapping[str, Any],
    skip_bad: bool,
    again: bool,
    concurrency: int,
    rate: float | None,
) -> _Sending:
    ledger_of(client)  # before a long list is read
    if isinstance(bills, Bills) and options:
        raise TypeError(f"the list was read already: give {', '.join(options)} to read()")
    made = bills if isinstance(bills, Bills) else read(bills, **options)
    return _Sending(
        client, made, skip_bad=skip_bad, again=again, concurrency=concurrency, rate=rate
    )


def insert(
    client: "Client",
    bills: object,
    *,
    skip_bad: bool = False,
    again: bool = False,
    concurrency: int = 16,
    rate: float | None = None,
    progress_bar: bool = True,
    **options: Any,
) -> Inserted:
    """Insert a list of bills into wallets, each once, however often the cell is run.

    client: it must have a ledger, in which every bill is written down before it is sent. bills:
    what `read` returned, or what `read` takes; options: then as for `read`. skip_bad: insert the
    others when rows have problems, or are known with other content. again: also those whose last
    answer was that the citizen has not authorised the order. concurrency, rate: as for
    `Client.insert_bills`.

    Bills that the ledger knows as inserted come back with their code, those in doubt with the
    reason; neither is sent. What waits of earlier lists is sent, too. What would stop every bill
    (a token, a day's quota) is not raised: see `Inserted.error`.

    Ctrl-C begins nothing more, waits for what is under way, shows what there is, keeps it for
    `last`, and then is raised. Run the cell again to go on.

    Raises LedgerError if the client has no ledger or it cannot be used, and before anything is sent
    `nontax.sheets.SheetError` for problems of the list, and ConflictError for bills that the ledger
    knows with other content.
    """
    sending = _sending(client, bills, options, skip_bad, again, concurrency, rate)
    try:
        waiting = sending.take()
        title = Words(sending.bills.lang)("Bills sent")
        with progress(waiting, title, shown=progress_bar) as step:
            sending.send(step)
    except KeyboardInterrupt:
        show(sending.result(interrupted=True))
        raise
    return sending.result()


async def ainsert(
    client: "Client",
    bills: object,
    *,
    skip_bad: bool = False,
    again: bool = False,
    concurrency: int = 16,
    rate: float | None = None,
    progress_bar: bool = True,
    **options: Any,
) -> Inserted:
    """`insert`, while the event loop goes on: other cells, tasks and widgets work meanwhile.

    If the task is cancelled (by Ctrl-C, too), it begins nothing more, waits for what is under way,
    shows and keeps what there is, and then raises CancelledError.
    """
    sending = await asyncio.to_thread(
        _sending, client, bills, options, skip_bad, again, concurrency, rate
    )
    loop = asyncio.get_running_loop()
    try:
        waiting = await _in_thread(sending, sending.take)
        title = Words(sending.bills.lang)("Bills sent")
        with progress(waiting, title, shown=progress_bar) as step:
            await _in_thread(sending, lambda: sending.send(lambda: loop.call_soon_threadsafe(step)))
    except asyncio.CancelledError:
        show(sending.result(interrupted=True))
        raise
    return sending.result()


async def _in_thread(sending: _Sending, work: Callable[[], T]) -> T:
    """Do it in a thread. Cancelled, it is stopped and waited for, however often one cancels."""
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError as cancelled:
        sending.stop()
        while not thread.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([thread])
        raise cancelled from thread.exception()
