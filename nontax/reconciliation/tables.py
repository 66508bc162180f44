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
    """kind: "text", "id", "count" (int) or "yuan" (int, in fen). width: in characters."""

    title: str
    kind: str = "text"
    width: int = 12


class Table(NamedTuple):
    """rows may be read once only. size: how many rows. main: how many columns are printed."""

    title: str
    columns: Sequence[Column]
    rows: Iterator[Sequence[Cell]]
    size: int
    main: int = 0


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
        Column(words("Bill code"), "id", 12),
        Column(words("First number"), "id", 14),
        Column(words("Last number"), "id", 14),
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
        Column(words("Bill code"), "id", 12),
        Column(words("First number"), "id", 14),
        Column(words("Last number"), "id", 14),
        Column(words("Missing numbers"), "count", 10),
    ]
    return Table(words("Number gaps"), columns, iter(report.gaps), len(report.gaps))


def differences(
    report: Report, words: Words, shown: Callable[[str], str], *, everything: bool = False
) -> Table:
    """All rows that are not just matched, the columns to be printed first.

    shown: how a payer's name is written. everything: also columns in which no row says anything.
    """
    says = _said(report)
    columns = [
        (column, value)
        for name, column, value in (*_printed(words, shown), *_further(words))
        if everything or name not in says or says[name]
    ]
    values = [value for _, value in columns]
    rows = ([value(row) for value in values] for row in report.differences())
    printed = {column.title for _, column, _ in _printed(words, shown)}
    main = sum(column.title in printed for column, _ in columns)
    return Table(words("Differences"), [column for column, _ in columns], rows, len(report), main)


_Value = Callable[[Difference], Cell]


def _said(report: Report) -> dict[str, bool]:
    """Whether any difference says something in the columns that may be empty."""
    names = ("business_no", "unit", "point", "card", "state", "detail", "other_title", "ref")
    found = dict.fromkeys(("explained", *names), False)
    left = set(found)
    for row in report.differences() if left else ():
        for name in tuple(left):
            if getattr(row, name):
                found[name] = True
                left.discard(name)
        if not left:
            break
    return found


def _printed(words: Words, shown: Callable[[str], str]) -> list[tuple[str, Column, _Value]]:
    return [
        ("number", Column(words("No."), "count", 6), lambda row: row.number),
        ("name", Column(words("Class"), width=20), lambda row: words.name(row.name)),
        (
            "detail",
            Column(words("Detail"), width=9),
            lambda row: words(DETAILS[row.detail]) if row.detail else "",
        ),
        ("order_id", Column(words("Order"), "id", 22), lambda row: row.order_id),
        ("billing_no", Column(words("Bill code"), "id", 10), lambda row: row.billing_no),
        ("billing_code", Column(words("Bill number"), "id", 12), lambda row: row.billing_code),
        ("title", Column(words("Payer"), width=9), lambda row: shown(row.title)),
        (
            "other_title",
            Column(words("Payer ({other})"), width=9),
            lambda row: shown(row.other_title),
        ),
        (
            "list_fen",
            Column(words("Amount, list (yuan)"), "yuan", 14),
            lambda row: row.list_fen,
        ),
        (
            "other_fen",
            Column(words("Amount, {other} (yuan)"), "yuan", 14),
            lambda row: row.other_fen,
        ),
        ("fields", Column(words("What differs"), width=14), lambda row: words.fields(row.fields)),
        ("ref", Column(words("Refers to"), "id", 20), lambda row: row.ref),
        (
            "state",
            Column(words("State"), width=9),
            lambda row: words(STATES[row.state]) if row.state else "",
        ),
        ("list_row", Column(words("Row, list"), "count", 8), lambda row: row.list_row),
        ("other_row", Column(words("Row, {other}"), "count", 8), lambda row: row.other_row),
        (
            "explained",
            Column(words("Explained"), width=18),
            lambda row: row.explained.note if row.explained else "",
        ),
        (
            "explained",
            Column(words("By"), width=8),
            lambda row: row.explained.by if row.explained else "",
        ),
        (
            "explained",
            Column(words("Checked by"), width=8),
            lambda row: row.explained.checked_by if row.explained else "",
        ),
    ]


def _further(words: Words) -> list[tuple[str, Column, _Value]]:
    return [
        (
            "explained",
            Column(words("At"), width=19),
            lambda row: row.explained.at if row.explained else "",
        ),
        (
            "business_no",
            Column(words("Business serial number"), "id", 16),
            lambda row: row.business_no,
        ),
        ("kind", Column(words("Kind"), width=13), lambda row: words(KINDS[row.kind])),
        (
            "list_time",
            Column(words("Issue time, list"), width=19),
            lambda row: time_text(row.list_time),
        ),
        (
            "other_time",
            Column(words("Issue time, {other}"), width=19),
            lambda row: time_text(row.other_time),
        ),
        ("unit", Column(words("Unit"), width=20), lambda row: row.unit),
        ("point", Column(words("Issuing point"), width=12), lambda row: row.point),
        ("card", Column(words("Card"), "id", 20), lambda row: row.card),
        ("day", Column(words("Day"), width=11), lambda row: row.day),
    ]


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
