"""Lists out: files in which a text stays a text, and no cell is a formula."""

import csv
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any, BinaryIO

from nontax.sheets.problems import MissingExtra, Problem, SheetError

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.format import Format

Cell = str | int | Decimal | None

# What a spreadsheet program may take for the beginning of a formula, also behind blanks.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r]")
_SIGNED_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
# The same content is the same bytes.
_CREATED = datetime(2000, 1, 1)
_SHEET_ROWS = 1_000_000
_SHOWN_WIDTH = 60
_MEASURED = 200  # rows that a column's width is taken from
_ID_WIDTH = 23
_A4 = 9
_TEXT = 49  # the number of the built-in format "@"


def csv_cell(text: str) -> str:
    """Return what to write to a CSV file so that no program runs it: =1+1 becomes '=1+1.

    A plain number, such as -12.50, stays as it is. `open_list` reads the text back without the '.
    """
    if _FORMULA.match(text) and not _SIGNED_NUMBER.fullmatch(text):
        return f"'{text}"
    return text


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file under another name; it takes its place when it is whole and on the disk."""
    folder, name = os.path.split(os.fspath(path))
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_rows(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> None:
    """Write a list: .csv, .tsv, .xlsx or .jsonl, by its name.

    rows: of str, int, Decimal or None. In CSV, numbers are as they are and texts are made safe by
    `csv_cell`; in a workbook a str is a text cell, never a formula or a number.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    writers = {".csv": write_csv, ".tsv": _write_tsv, ".xlsx": _write_xlsx, ".jsonl": _write_jsonl}
    if suffix not in writers:
        raise SheetError([Problem("unknown_output", {"suffix": suffix}, os.path.basename(path))])
    writers[suffix](path, header, rows)


def write_csv(
    path: str | os.PathLike[str],
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    delimiter: str = ",",
) -> None:
    """Write UTF-8 with a byte order mark and CRLF, as Excel and WPS read it without questions."""
    with replacing(path) as file:
        file.write(b"\xef\xbb\xbf")
        text = _Encoded(file)
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
        for row in chain([header], rows):
            writer.writerow([csv_cell(cell) if isinstance(cell, str) else cell for cell in row])


class _Encoded:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


def _write_tsv(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> None:
    write_csv(path, header, rows, "\t")


def _write_jsonl(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> None:
    with replacing(path) as file:
        for row in rows:
            values = [str(cell) if isinstance(cell, Decimal) else cell for cell in row]
            record = dict(zip(header, values, strict=True))
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def _write_xlsx(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> None:
    with workbook(path) as book:
        write_sheet(book, "Sheet1", header, rows)


class TextBook:
    """A workbook that is being written, and its formats: text cells, and bold ones for headers.

    add_format: xlsxwriter's.
    """

    def __init__(self, book: "Workbook") -> None:
        self._book = book
        self.add_format = book.add_format
        self.text: Format = book.add_format({"num_format": _TEXT})
        self.header: Format = book.add_format({"num_format": _TEXT, "bold": True, "bottom": 1})

    def add_worksheet(self, name: str) -> Any:
        """Add a worksheet (xlsxwriter's own) without warnings about numbers stored as text."""
        sheet = self._book.add_worksheet(name)
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        return sheet


@contextmanager
def workbook(path: str | os.PathLike[str]) -> Iterator[TextBook]:
    """Write an .xlsx file; it is there when the block ends, and not at all if it raises.

    Rows must be written from top to bottom. Use `sheet.write_string(row, column, text, book.text)`:
    such a cell is never a formula. Needs `nontax[excel]`.
    """
    try:
        from xlsxwriter import Workbook
    except ImportError:
        raise MissingExtra("XlsxWriter", "nontax[excel]", "write_workbook") from None
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
    }
    with replacing(path) as file:
        book = Workbook(file, options)
        book.set_properties({"created": _CREATED})
        try:
            yield TextBook(book)
        finally:
            book.close()  # also where the file is given up: it has temporary files


def write_sheet(
    book: TextBook, name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> None:
    """Write a worksheet with a frozen header, to print on A4; a new one every million rows."""
    remaining = iter(rows)
    first = list(islice(remaining, _MEASURED))
    widths = [max(map(_width, column)) for column in zip(header, *first, strict=True)]
    if not first:  # to be filled in
        widths = [max(width, _ID_WIDTH) for width in widths]
    remaining = chain(first, remaining)
    for number in count(1):
        sheet = _new_sheet(book, f"{name} ({number})" if number > 1 else name, header, widths)
        for place, row in enumerate(islice(remaining, _SHEET_ROWS), 1):
            _write_row(sheet, place, row, book)
        following = next(remaining, None)
        if following is None:
            return
        remaining = chain([following], remaining)


def _new_sheet(book: TextBook, name: str, header: Sequence[str], widths: Sequence[int]) -> Any:
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 0)
    sheet.set_paper(_A4)
    sheet.set_landscape()
    sheet.repeat_rows(0)
    sheet.fit_to_pages(1, 0)
    for column, (text, width) in enumerate(zip(header, widths, strict=True)):
        sheet.set_column(column, column, width, book.text)
        sheet.write_string(0, column, text, book.header)
    return sheet


def _write_row(sheet: Any, place: int, row: Sequence[Cell], book: TextBook) -> None:
    for column, cell in enumerate(row):
        if cell is None or cell == "":
            continue
        if isinstance(cell, str):
            sheet.write_string(place, column, cell, book.text)
        elif isinstance(cell, int) and abs(cell) < 10**15:
            sheet.write_number(place, column, cell)
        else:
            sheet.write_string(place, column, str(cell), book.text)


def _width(cell: Cell) -> int:
    text = "" if cell is None else str(cell)
    return min(_SHOWN_WIDTH, 2 + sum(1 + (ord(character) > 0x2E80) for character in text))
