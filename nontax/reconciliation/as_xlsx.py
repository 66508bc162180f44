"""A report as an Excel workbook, for people who filter, print and sign it.

Ids and words are text cells, amounts and counts are numbers. Pages are A4.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from nontax.reconciliation import tables
from nontax.reconciliation.facts import facts, title
from nontax.reconciliation.report import Report
from nontax.reconciliation.tables import Cell, Column, Table
from nontax.reconciliation.words import Words
from nontax.sheets import workbook

_A4 = 9
# Excel's own limit is 1,048,576, with the header.
_ROWS = 1_000_000
_FOOT = ("Prepared by", "Checked by", "Approved by", "Unit (seal)")


def write(
    report: Report,
    path: Path,
    words: Words,
    shown: Callable[[str], str],
    rows_a_sheet: int = _ROWS,
) -> str:
    """Write the workbook and return its path. Raises MissingExtra without nontax[excel]."""
    with workbook(path) as book:
        pages = _Pages(book, words, rows_a_sheet)
        pages.summary(report)
        pages.table(tables.differences(report, words, shown), wide=True)
        pages.tables(words("Groups"), tables.all_groups(report, words))
        pages.table(tables.ranges(report, words))
        pages.table(tables.gaps(report, words))
    return str(path)


class _Pages:
    """The sheets of a workbook."""

    def __init__(self, book: Any, words: Words, rows_a_sheet: int) -> None:
        self._book = book
        self._words = words
        self._rows_a_sheet = rows_a_sheet
        thin = {"border": 1, "border_color": "#BFBFBF", "valign": "top"}
        self._formats: dict[str, Any] = {
            "text": book.add_format({"num_format": "@", "text_wrap": True, **thin}),
            "id": book.add_format({"num_format": "@", **thin}),
            "count": book.add_format({"num_format": "#,##0", **thin}),
            "yuan": book.add_format({"num_format": "#,##0.00", **thin}),
            "head": book.add_format(
                {"bold": True, "bg_color": "#E8EEF7", "text_wrap": True, "num_format": "@", **thin}
            ),
            "title": book.add_format({"bold": True, "font_size": 16, "num_format": "@"}),
            "part": book.add_format({"bold": True, "font_size": 12, "num_format": "@"}),
            "plain": book.add_format({"num_format": "@"}),
        }

    def summary(self, report: Report) -> None:
        """The first page: what was compared, totals, classes, and where to sign."""
        words = self._words
        found = [tables.totals(report, words), tables.classes(report, words)]
        sheet = self._sheet(words("Summary"), _widest(found), wide=True)
        sheet.write_string(0, 0, title(report, words), self._formats["title"])
        at = 1
        for name, value in facts(report, words):
            at += 1
            sheet.write_string(at, 0, name, self._formats["plain"])
            sheet.write_string(at, 1, value, self._formats["plain"])
        for table in found:
            at = self._part(sheet, at + 2, table)
        for column, name in enumerate(_FOOT):
            sheet.write_string(at + 2, 2 * column, f"{words(name)}：", self._formats["plain"])
        sheet.fit_to_pages(1, 1)

    def tables(self, name: str, found: Sequence[Table]) -> None:
        """Some small tables on one sheet, one under the other."""
        if not found:
            return
        sheet = self._sheet(name, _widest(found))
        at = 0
        for table in found:
            at = self._part(sheet, at, table) + 2
        sheet.fit_to_pages(1, 0)

    def table(self, table: Table, *, wide: bool = False) -> None:
        """A table on a sheet of its own, and on further ones if it is too long for that."""
        number = 1
        while True:
            name = table.title if number == 1 else f"{table.title} {number}"
            sheet = self._sheet(name, table.columns, wide=wide)
            count = self._fill(sheet, 0, table.columns, islice(table.rows, self._rows_a_sheet))
            last = len(table.columns) - 1
            sheet.autofilter(0, 0, max(count, 1), last)
            sheet.freeze_panes(1, 0)
            sheet.repeat_rows(0)
            sheet.fit_to_pages(1, 0)
            sheet.print_area(0, 0, count, (table.main or len(table.columns)) - 1)
            if number * self._rows_a_sheet >= table.size:
                return
            number += 1

    def _part(self, sheet: Any, at: int, table: Table) -> int:
        """Write a table with its title from a row on; return the row below."""
        sheet.write_string(at, 0, table.title, self._formats["part"])
        return at + 2 + self._fill(sheet, at + 1, table.columns, table.rows)

    def _fill(
        self,
        sheet: Any,
        at: int,
        columns: Sequence[Column],
        rows: Iterator[Sequence[Cell]],
    ) -> int:
        """Write header and rows; return how many rows there were."""
        for place, column in enumerate(columns):
            sheet.write_string(at, place, column.title, self._formats["head"])
        kinds = [column.kind for column in columns]
        formats = [self._formats[kind] for kind in kinds]
        number = 0
        for number, row in enumerate(rows, 1):
            for place, (cell, kind, format_) in enumerate(zip(row, kinds, formats, strict=True)):
                if isinstance(cell, str):
                    sheet.write_string(at + number, place, cell, format_)
                elif cell is None:
                    sheet.write_blank(at + number, place, None, format_)
                else:
                    # Two decimals of a number below 10^13 are exact in what Excel stores.
                    value = cell / 100 if kind == "yuan" else cell
                    sheet.write_number(at + number, place, value, format_)
        return number

    def _sheet(self, name: str, columns: Sequence[Column], *, wide: bool = False) -> Any:
        sheet = self._book.add_worksheet(name)
        sheet.set_paper(_A4)
        if wide:
            sheet.set_landscape()
        sheet.set_margins(left=0.4, right=0.4, top=0.6, bottom=0.6)
        sheet.set_footer("&C&P / &N")
        for place, column in enumerate(columns):
            sheet.set_column(place, place, column.width)
        # Else WPS and Excel mark each id as a number that is stored as text.
        sheet.ignore_errors({"number_stored_as_text": "A1:AZ1048576"})
        return sheet


def _widest(found: Sequence[Table]) -> list[Column]:
    """For tables one under the other: columns that are wide enough for each."""
    columns = zip_longest(*(table.columns for table in found))
    return [max(filter(None, of_place), key=lambda column: column.width) for of_place in columns]
