"""`nontax.reconcile`: opens both sides, pairs their rows, and makes the report."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import date
from typing import Any

from nontax.ledger.places import is_database
from nontax.reconciliation.carried import read_carried
from nontax.reconciliation.classes import Judge
from nontax.reconciliation.explain import Explanation, latest, read_explanations
from nontax.reconciliation.list_side import ListSide, Opened
from nontax.reconciliation.match import Matcher
from nontax.reconciliation.period import Period, PeriodError, period, time_text
from nontax.reconciliation.report import Report, merge
from nontax.reconciliation.rows import LIST, OTHER, Row
from nontax.reconciliation.sides import KEYS, Plan, Side, common_key, fields_for
from nontax.reconciliation.sums import Sum


def reconcile(
    listed: Any,
    other: Any,
    *,
    day: str | date | None = None,
    start: str | date | None = None,
    end: str | date | None = None,
    cutoff: str = "00:00",
    grace: str = "30m",
    key: str | None = None,
    carried: str | os.PathLike[str] | None = None,
    explained: str | os.PathLike[str] | None = None,
    map: str | os.PathLike[str] | Mapping[str, object] | None = None,
    unit: str | None = None,
    settle: float = 60.0,
) -> Report:
    """Compare a list with a ledger or with another list, to the fen. Writes nothing.

    listed: the path of a file (CSV, TSV, Excel, ODS, JSONL), a frame, an iterable of dicts, or
        what `nontax.sheets.open_list` returned.
    other: the same, or a `nontax.Ledger` or the path of one.
    day: a date such as "2026-11-29", "all", or None: yesterday in UTC+8. start, end: the first and
        last day, instead. cutoff: when a business day ends, "HH:MM"; before noon it is that of the
        following day. grace: how close to the end of the period a row without a partner is carried
        over: "30m", "2h", "1d", "0".
    key: what pairs the rows: "order_id", "billing" (票据代码 and 票据号码), "business_no"
        (业务流水号) or a header; None: the first that both sides have.
    carried: carried.jsonl of the report before. explained: a file that `explain` wrote, beside
        what the ledger itself has.
    map, unit, settle: for files, see `nontax.sheets.open_list`; one that needs others is opened
        with it.

    Raises `nontax.sheets.SheetError` for a file or rows that cannot be read, PeriodError,
    NoCommonKeyError, CarriedError, ExplanationError; and TieError if the sums of a side are not
    those of its rows' classes.
    """
    when = period(day, start, end, cutoff=cutoff, grace=grace)
    options = {"map": map, "unit": unit, "settle": settle, "key": key}
    with ExitStack() as stack:
        one: Side = _list_side(listed, LIST, options)
        path = _ledger(other)
        if path:
            from nontax.reconciliation.ledger_side import LedgerSide

            ledger = stack.enter_context(closing(LedgerSide(path)))
            explanations = list(ledger.explanations())
            two: Side = ledger
        else:
            explanations = []
            two = _list_side(other, OTHER, options)
        if explained is not None:
            explanations += read_explanations(explained)
        if key is None:
            # So that a row without it is a problem of its file.
            options["key"] = common_key(one, two)
            one = _with_key(one, listed, options)
            two = _with_key(two, other, options)
        return compare(one, two, when, key=key, carried=carried, explanations=explanations)


def compare(
    one: Side,
    other: Side,
    when: Period,
    *,
    key: str | None = None,
    carried: str | os.PathLike[str] | None = None,
    explanations: Iterable[Explanation] = (),
) -> Report:
    """The report of two sides: what `reconcile` does once they are open."""
    sides = (one, other)
    fields = fields_for(one, other, KEYS[common_key(one, other, key)])
    before = read_carried(carried, fields) if carried is not None else {LIST: {}, OTHER: {}}
    plans = [Plan(fields, when, before[side]) for side in (LIST, OTHER)]
    held = OTHER if 0 < other.size() < one.size() else LIST
    matcher = Matcher(held, fields, (one.tables, other.tables))
    for chunk in sides[held].chunks(plans[held]):
        matcher.hold(chunk)
    for chunk in sides[1 - held].chunks(plans[1 - held]):
        matcher.stream(chunk)
    matcher.finish()

    def numbered(wanted: set[str]) -> Iterator[Row]:
        yield from matcher.numbered(wanted)
        if matcher.outside[1 - held][0]:
            yield from sides[1 - held].numbered(wanted)

    sources = (one.source(), other.source())
    judge = Judge(
        fields,
        ledger=sources[OTHER].kind == "ledger",
        reversed_by=matcher.reversed,
        numbered=numbered,
    )
    items = list(judge.judge(matcher.groups()))
    read = (one.totals(), other.totals())
    outside = (Sum(*matcher.outside[LIST]), Sum(*matcher.outside[OTHER]))
    ranges, gaps = one.ranges.close()
    _check_period(one, when, read[LIST], outside[LIST])
    return Report(
        period=when,
        fields=fields,
        sources=sources,
        times=(one.time_field, other.time_field),
        read=read,
        outside=outside,
        matched=merge(matcher.matched()),
        items=items,
        explained=latest(explanations),
        ranges=ranges,
        gaps=gaps,
    )


def _check_period(one: Side, when: Period, read: Mapping[str, Sum], outside: Sum) -> None:
    rows = sum(total.rows for total in read.values())
    if rows and rows == outside.rows:
        first, last = (time_text(time)[:10] for time in (one.first_time, one.last_time))
        raise PeriodError(
            "no_rows", name=one.source().name, period=when.text, first=first, last=last
        )


def _ledger(source: Any) -> str:
    """The path of a ledger, of which the path or the Ledger was given; "" for a list."""
    if isinstance(source, str | os.PathLike):
        # Not opened here: this process may be using it.
        return os.fspath(source) if is_database(source) else ""
    from nontax.ledger import Ledger

    return source.path if isinstance(source, Ledger) else ""


def _list_side(source: Any, side: int, options: Mapping[str, Any]) -> ListSide:
    from nontax.sheets import SheetError, open_list

    opened: Opened = source if hasattr(source, "batches") else open_list(source, **options)

    def check() -> None:
        if opened.problems:
            raise SheetError(opened.problems)

    return ListSide(opened, side, check)


def _with_key(side: Side, source: Any, options: Mapping[str, Any]) -> Side:
    """The side itself, or its file opened again with the key that both sides have."""
    if not isinstance(side, ListSide) or not isinstance(source, str | os.PathLike):
        return side
    if side.key != KEYS[options["key"]]:
        return _list_side(source, side.side, options)
    return side
