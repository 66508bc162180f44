"""A report as CSV files: the summary, the number ranges and the differences."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nontax.reconciliation import tables
from nontax.reconciliation.report import Report
from nontax.reconciliation.tables import Table
from nontax.reconciliation.words import Words
from nontax.sheets import write_csv


def write(report: Report, folder: Path, words: Words, shown: Callable[[str], str]) -> list[str]:
    """Write the files, and return their paths. An amount has two decimals and no separator."""
    files = {
        "summary.csv": _summary(report, words),
        "numbers.csv": _numbers(report, words),
        "differences.csv": _one(tables.differences(report, words, shown, everything=True)),
    }
    paths = []
    for name, (header, rows) in files.items():
        write_csv(folder / name, header, rows)
        paths.append(str(folder / name))
    return paths


_Lines = tuple[Sequence[str], Iterator[Sequence[str]]]


def _summary(report: Report, words: Words) -> _Lines:
    """Totals, classes and groups have these columns in common."""
    found = [
        tables.totals(report, words),
        tables.classes(report, words),
        *tables.all_groups(report, words),
    ]
    header = [words("Table"), words("Item"), *(column.title for column in found[0].columns[1:5])]
    return header, ((table.title, *cells[:5]) for table in found for cells in _cells(table))


def _numbers(report: Report, words: Words) -> _Lines:
    ranges, gaps = tables.ranges(report, words), tables.gaps(report, words)
    header = [words("Table"), *(column.title for column in ranges.columns)]

    def rows() -> Iterator[Sequence[str]]:
        for cells in _cells(ranges):
            yield (ranges.title, *cells)
        for code, first, last, missing in _cells(gaps):
            yield (gaps.title, code, first, last, "", "", missing, "", "")

    return header, rows()


def _one(table: Table) -> _Lines:
    return [column.title for column in table.columns], _cells(table)


def _cells(table: Table) -> Iterator[list[str]]:
    kinds = [column.kind for column in table.columns]
    for row in table.rows:
        yield [tables.text_of(cell, kind) for cell, kind in zip(row, kinds, strict=True)]
