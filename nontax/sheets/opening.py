"""From what the caller gave to a table whose header is known."""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nontax.sheets.delimited import DELIMITERS, DelimitedTable
from nontax.sheets.files import NAMES, InputFile, TextFile
from nontax.sheets.header import find_header
from nontax.sheets.maps import Map
from nontax.sheets.problems import Problem, SheetError
from nontax.sheets.records import FrameTable, RecordTable, dicts, is_frame, json_lines
from nontax.sheets.tables import Table
from nontax.sheets.workbooks import WorkbookFile, is_workbook

_TEXT = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "txt"}
_JSON = {".jsonl", ".ndjson"}
# Many systems write a tab-separated text and name it .xls.
_BOOKS = {".xlsx": "txt", ".xlsm": "txt", ".xls": "txt", ".et": "txt", ".ods": "txt"}


class Found(NamedTuple):
    """A table and its header: the index in its head, and the cells."""

    table: Table
    header: int
    headers: list[str]
    file: InputFile | None


def open_source(
    source: object, mapping: Map, settle: float, sheet: str | None, whole: bool
) -> Found:
    """Open a path, a frame or an iterable of dicts.

    whole: whether totals prove that a file without a last line end lacks nothing.
    """
    if isinstance(source, str | os.PathLike):
        return _open_file(InputFile(source, settle), mapping, sheet, whole)
    if is_frame(source):
        return _found(FrameTable(source), mapping)
    if isinstance(source, Iterable) and not isinstance(source, bytes | dict):
        return _found(RecordTable(dicts(source)), mapping)
    raise SheetError([Problem("not_a_list", {"type": type(source).__name__})])


def _found(table: Table, mapping: Map, file: InputFile | None = None) -> Found:
    header = find_header(table.head(), mapping)
    if header is None:
        name = file.name if file else ""
        problem = Problem("unknown_header", {"count": len(table.head())}, name, table.sheet)
        raise SheetError([problem])
    return Found(table, *header, file)


def _open_file(file: InputFile, mapping: Map, sheet: str | None, whole: bool) -> Found:
    suffix = os.path.splitext(file.name)[1].lower()
    if is_workbook(file.magic()):
        return _open_workbook(file, mapping, sheet)
    text = TextFile(file)
    if suffix in _BOOKS and file.magic().lstrip().startswith(b"<"):
        raise file.error("not_a_workbook", suffix=suffix)
    if suffix not in {*_TEXT, *_JSON, *_BOOKS}:
        raise file.error("unknown_format", suffix=suffix or file.name)
    if not whole and not text.ends_with_line_end():
        raise file.error("no_line_end")
    if suffix in _JSON:
        return _open_json_lines(text, mapping)
    return _open_text(text, mapping, DELIMITERS[{**_TEXT, **_BOOKS}[suffix]])


def _open_json_lines(text: TextFile, mapping: Map) -> Found:
    encoding = next(filter(text.fits, text.encodings()), None)
    if encoding is None:
        raise text.file.error("not_text")
    return _found(RecordTable(json_lines(text, encoding), "jsonl", encoding), mapping, text.file)


def _open_text(text: TextFile, mapping: Map, delimiters: tuple[str, ...]) -> Found:
    """Open text in the first encoding and with the first delimiter that give a header we know."""
    error = text.file.error("not_text")
    for encoding in text.encodings():
        head, wrong = text.head(encoding)
        for delimiter in delimiters:
            table = DelimitedTable(text, encoding, delimiter, head)
            header = find_header(table.head(), mapping)
            if header is None:
                continue
            found = Found(table, *header, text.file)
            told = _tells(found, encoding)
            if wrong < 0 and (told or text.fits(encoding)):
                return found
            if told:
                error = text.file.error("mixed_encoding", encoding=NAMES[encoding], offset=wrong)
        if wrong < 0 and error.problems[0].id == "not_text":
            error = text.file.error("unknown_header", count=len(table.head()))
    raise error


def _tells(found: Found, encoding: str) -> bool:
    """Whether the header is proof of the encoding: Chinese that was recognised, or a mark."""
    return encoding.startswith("utf-16") or not "".join(found.headers).isascii()


def _open_workbook(file: InputFile, mapping: Map, sheet: str | None) -> Found:
    book = WorkbookFile(file)
    shown = ", ".join(book.names)
    if sheet is not None and sheet not in book.names:
        raise file.error("no_such_sheet", sheet=sheet, sheets=shown)
    if sheet is not None:
        return _found(book.table(sheet), mapping, file)
    found = list(_known_sheets(book, file, mapping))
    if len(found) > 1:
        raise file.error("several_sheets", sheets=", ".join(one.table.sheet for one in found))
    if not found:
        raise file.error("unknown_header", count=20)
    return found[0]


def _known_sheets(book: WorkbookFile, file: InputFile, mapping: Map) -> Iterator[Found]:
    for name in book.names:
        table = book.table(name)
        header = find_header(table.head(), mapping)
        if header:
            yield Found(table, *header, file)
