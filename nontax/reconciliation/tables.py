"""A report as tables of words and numbers: what CSV, Excel and HTML all show."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from nontax.reconciliation.classes import CLASSES, OPEN
from nontax.reconciliation.period import time_text
from nontax.reconciliation.report import DIMENSIONS, Both, Difference, Report
from nontax.reconciliation.sums import Sum
from nontax.reconciliation.words import DETAILS, GROUPS, KINDS, STATES, TOTALS, Words
from nontax.reconciliation.words import DIMENSIONS as DIMENSION_NAMES
from nontax.sheets import yuan

Cell = str | int | None


class Column(NamedTuple):
    """kind: "text", "count" (int) or "yuan" (int, in fen). width: in characters."""

    title: str
    kind: str = "text"
    width: int = 12


class Table(NamedTuple):
    """rows may be read once only. size: how many rows."""

    title: str
    columns: Sequence[Column]
    rows: Iterator[Sequence[Cell]]
    size: int


def text_of(cell: Cell, kind: str) -> str:
    """A cell as text; amounts without separators."""
    if cell is None:
        return ""
    return yuan(cell) if kind == "yuan" and isinstance(cell, int) else str(cell)


def totals(report: Report, words: Words) -> Table:
    """对总账: issues and refunds apart, then what was read."""
    lines = [(words(TOTALS[name]), both) for name, both in report.totals.items()]
    lines.append((words("total"), _sum(both for _, both in lines)))
    rows = [_line(name, both) for name, both in lines]
    carried = Both(*(read.get("carried", Sum()) for read in report.read))
    rows.append(_line(words("Read"), _read(report), differs=False))
    rows.append(_line(words("carried over from before"), carried, differs=False))
    rows.append(_line(words("outside the period"), Both(*report.outside), differs=False))
    columns = [
        Column(words("Item"), width=22),
        *_both_columns(words),
        Column(words("Difference, rows"), "count", 10),
        Column(words("Difference (yuan)"), "yuan", 16),
    ]
    return Table(words("Totals"), columns, iter(rows), len(rows))


def classes(report: Report, words: Words) -> Table:
    """对明细账: the sums of each class that has rows."""
    open_ = report.open
    explained = report.explained
    rows: list[Sequence[Cell]] = []
    for name in ("matched", *(name for name in CLASSES if name != "matched")):
        both = report.classes[name]
        if name == "matched" or both != Both():
            pending = open_.get(name, 0) if name in OPEN else None
            numbers = (*both.list, *both.other, explained.get(name, 0), pending)
            rows.append((words.name(name), *numbers, words.advice(name) if pending else ""))
    columns = [
        Column(words("Class"), width=26),
        *_both_columns(words),
        Column(words("Explained"), "count", 8),
        Column(words("Open"), "count", 8),
        Column(words("What to do"), width=40),
    ]
    return Table(words("Rows by class"), columns, iter(rows), len(rows))


def groups(report: Report, words: Words, dimension: str) -> Table:
    """The sums by unit, issuing point, card or day."""
    lines = report.by(dimension)
    rows = (
        (
            line.value or words("(not stated)"),
            *line.sums.list,
            *line.sums.other,
            line.matched.list.rows,
            max(part.rows for part in line.open),
        )
        for line in lines
    )
    columns = [
        Column(words(DIMENSION_NAMES[dimension]), width=26),
        *_both_columns(words),
        Column(words("Matched rows"), "count", 10),
        Column(words("Open rows"), "count", 10),
    ]
    return Table(words(GROUPS[dimension]), columns, iter(rows), len(lines))


def all_groups(report: Report, words: Words) -> list[Table]:
    """The groups of each dimension that any row states."""
    tables = (groups(report, words, dimension) for dimension in DIMENSIONS)
    return [table for table in tables if table.size]


def ranges(report: Report, words: Words) -> Table:
    """票号段."""
    rows = iter(report.ranges)
    columns = [
        Column(words("Bill code"), width=12),
        Column(words("First number"), width=14),
        Column(words("Last number"), width=14),
        Column(words("Bills"), "count", 10),
        Column(words("Amount (yuan)"), "yuan", 16),
        Column(words("Missing numbers"), "count", 10),
        Column(words("Repeated numbers"), "count", 10),
        Column(words("Not digits"), "count", 10),
    ]
    return Table(words("Number ranges"), columns, rows, len(report.ranges))


def gaps(report: Report, words: Words) -> Table:
    """断号."""
    columns = [
        Column(words("Bill code"), width=12),
        Column(words("First number"), width=14),
        Column(words("Last number"), width=14),
        Column(words("Missing numbers"), "count", 10),
    ]
    return Table(words("Number gaps"), columns, iter(report.gaps), len(report.gaps))


def differences(report: Report, words: Words, shown: Callable[[str], str]) -> Table:
    """All rows that are not just matched. shown: how a payer's name is written."""
    columns = [
        Column(words("No."), "count", 7),
        Column(words("Class"), width=22),
        Column(words("Detail"), width=10),
        Column(words("Order"), width=22),
        Column(words("Bill code"), width=11),
        Column(words("Bill number"), width=13),
        Column(words("Business serial number"), width=16),
        Column(words("Payer"), width=12),
        Column(words("Payer ({other})"), width=12),
        Column(words("Amount, list (yuan)"), "yuan", 15),
        Column(words("Amount, {other} (yuan)"), "yuan", 15),
        Column(words("What differs"), width=16),
        Column(words("Refers to"), width=22),
        Column(words("State"), width=10),
        Column(words("Kind"), width=12),
        Column(words("Issue time, list"), width=19),
        Column(words("Issue time, {other}"), width=19),
        Column(words("Unit"), width=18),
        Column(words("Issuing point"), width=12),
        Column(words("Card"), width=18),
        Column(words("Day"), width=11),
        Column(words("Row, list"), "count", 8),
        Column(words("Row, {other}"), "count", 8),
        Column(words("Explained"), width=24),
        Column(words("By"), width=10),
        Column(words("Checked by"), width=10),
        Column(words("At"), width=19),
    ]
    rows = (_row(row, words, shown) for row in report.differences())
    return Table(words("Differences"), columns, rows, len(report))


def _row(row: Difference, words: Words, shown: Callable[[str], str]) -> Sequence[Cell]:
    note = row.explained
    return (
        row.number,
        words.name(row.name),
        words(DETAILS[row.detail]) if row.detail else "",
        row.order_id,
        row.billing_no,
        row.billing_code,
        row.business_no,
        shown(row.title),
        shown(row.other_title),
        row.list_fen,
        row.other_fen,
        words.fields(row.fields),
        row.ref,
        words(STATES[row.state]) if row.state else "",
        words(KINDS[row.kind]),
        time_text(row.list_time),
        time_text(row.other_time),
        row.unit,
        row.point,
        row.card,
        row.day,
        row.list_row,
        row.other_row,
        note.note if note else "",
        note.by if note else "",
        note.checked_by if note else "",
        note.at if note else "",
    )


def _both_columns(words: Words) -> tuple[Column, ...]:
    return (
        Column(words("Rows, list"), "count", 10),
        Column(words("Amount, list (yuan)"), "yuan", 16),
        Column(words("Rows, {other}"), "count", 10),
        Column(words("Amount, {other} (yuan)"), "yuan", 16),
    )


def _line(name: str, both: Both, *, differs: bool = True) -> Sequence[Cell]:
    rows: int | None = both.list.rows - both.other.rows
    fen: int | None = both.list.fen - both.other.fen
    return (name, *both.list, *both.other, *((rows, fen) if differs else (None, None)))


def _sum(parts: Iterable[Both]) -> Both:
    listed, other = Sum(), Sum()
    for part in parts:
        listed, other = listed.plus(*part.list), other.plus(*part.other)
    return Both(listed, other)


def _read(report: Report) -> Both:
    """What was read, without what the report before carried over."""
    sums = []
    for read in report.read:
        own = [total for kind, total in read.items() if kind != "carried"]
        sums.append(Sum(sum(total.rows for total in own), sum(total.fen for total in own)))
    return Both(*sums)
