"""A list of bills: opened, read as often as wanted, with all that is wrong in it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import NamedTuple

from nontax.sheets.columns import ALIASES, IDS, STATEMENT
from nontax.sheets.maps import read_map
from nontax.sheets.opening import Found, open_source
from nontax.sheets.pdfs import Pdf, PdfFolder
from nontax.sheets.problems import Problem, SheetError
from nontax.sheets.reading import Batch, Reading, Rules
from nontax.sheets.records import FrameTable
from nontax.sheets.resolve import resolve
from nontax.sheets.tables import OddRow
from nontax.sheets.totals import Expected, expected_of

# What a bill for a wallet must have; card_id and appid may come from a map file or the caller.
INSERT = ("order_id", "fee", "title", "billing_time", "billing_no", "billing_code")
SENT = ("order_id", "card_id", "appid", *INSERT[1:], "s_pdf_media_id")


class ListedBill(NamedTuple):
    """A bill of a list, in the flat shape. row: from 1. pdf: path and SHA-256, or None."""

    row: int
    bill: dict[str, object]
    pdf: Pdf | None


def open_list(
    source: object,
    *,
    map: str | os.PathLike[str] | Mapping[str, object] | None = None,
    unit: str | None = None,
    key: str | None = None,
    require: Sequence[str] | None = None,
    settle: float = 60.0,
    expect_count: int | None = None,
    expect_amount: str | Decimal | None = None,
    sheet: str | None = None,
    pdf_dir: str | os.PathLike[str] | None = None,
    pdf_name: str | None = None,
) -> "BillList":
    """Open a list of bills, and recognise its header.

    source: a path (CSV, TSV, XLSX, XLS, ODS, JSONL), a frame (pandas, polars) or an iterable of
        dicts.
    map: a TOML file that names columns and words, or the same as a dict.
    unit: "yuan" or "fen" of the amounts, where the header does not say it.
    key: what tells rows apart: "order_id", "billing" (code and number), "business_no", or a header.
        None: the first of these that the file has.
    require: fields that normal bills must have; `INSERT` for a list to be inserted. None: the key
        and the amount.
    settle: seconds that a file must not have changed; 0 reads it at once.
    expect_count, expect_amount: rows (int), and yuan (str or Decimal), that the file must add up
        to; None: what FILE.totals.toml says, if it is there.
    sheet: the worksheet's name. pdf_dir, pdf_name: the folder of the PDFs, and their name, such as
        "{票据代码}_{票据号码}.pdf"; without a name, a column has it.

    Raises `SheetError` where the file cannot be read as a list; problems of rows are collected.
    """
    mapping = read_map(map)
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    name = os.path.basename(path)
    with _of_file(name):
        expected = expected_of(path, expect_count, expect_amount)
        found = open_source(source, mapping, settle, sheet, expected.whole)
    with _of_file(name, found.table.sheet):
        columns = resolve(found.headers, mapping, unit, key)
        wanted = tuple(dict.fromkeys((*columns.key, "fee") if require is None else require))
        present = {*columns.indexes, *mapping.constants}
        problems = [missing_column(field) for field in wanted if field not in present]
        if isinstance(found.table, FrameTable):
            problems += _number_columns(found, columns.indexes)
        if problems:
            raise SheetError(problems)
        rules = Rules(
            name, found.table.sheet, columns, mapping, wanted, days="billing_time" not in wanted
        )
        pdfs = None if pdf_dir is None else PdfFolder(pdf_dir, pdf_name, columns)
    return BillList(found, rules, expected, pdfs)


@contextmanager
def _of_file(name: str, sheet: str = "") -> Iterator[None]:
    """Say in problems raised here, which file they are about."""
    try:
        yield
    except SheetError as error:
        error.problems = [
            problem._replace(file=problem.file or name, sheet=problem.sheet or sheet)
            for problem in error.problems
        ]
        raise


def missing_column(field: str) -> Problem:
    """Say that a list has no column for a field, with an example of a header."""
    example = next(iter((*ALIASES.get(field, ()), *STATEMENT.get(field, ()))), field)
    return Problem("missing_column", {"field": field, "example": example})


def _number_columns(found: Found, indexes: Mapping[str, tuple[int, ...]]) -> list[Problem]:
    """In a frame, the column has a type, and one problem says it for all rows."""
    assert isinstance(found.table, FrameTable)
    headers = {field: found.headers[indexes[field][0]] for field in IDS if field in indexes}
    return [
        Problem("number_column", {"field": field}, column=header)
        for field, header in headers.items()
        if header in found.table.numbers
    ]


class BillList:
    """A list of bills whose columns are known; see `open_list`.

    name, path: of the file, or "". format: "csv", "tsv", "xlsx", "xls", "ods", "jsonl", "frame" or
    "rows". headers: as written. columns: field → its headers. fields: what a batch has. key: the
    fields that tell rows apart. unit: "yuan" or "fen". statement: whether it is WeChat Pay's.

    After all batches were read: problems, problem_count, notes (`Problem`s that need no action),
    totals (kind → (rows, fen) of the rows in batches), count and amount (fen) of all rows, sha256
    of the file, dates_only (fields of which no row had a time of day).
    """

    def __init__(
        self, found: Found, rules: Rules, expected: Expected, pdfs: PdfFolder | None
    ) -> None:
        columns = rules.columns
        self.name = rules.name
        self.path = found.file.path if found.file else ""
        self.sheet = rules.sheet
        self.format = found.table.format
        self.encoding = found.table.encoding
        self.headers = columns.headers
        self.columns = {
            field: tuple(columns.headers[place] for place in places)
            for field, places in columns.indexes.items()
        }
        # A person has looked at the column of the bills' numbers.
        self.names_numbers = "billing_code" in rules.mapping.columns
        self.fields = frozenset({*columns.indexes, *rules.mapping.constants, "kind"} - {"refund"})
        self.key = columns.key
        self.unit = columns.unit
        self.statement = columns.statement
        self._found = found
        self._rules = rules
        self._expected = expected
        self._pdfs = pdfs
        self._clear()

    def _clear(self) -> None:
        self.problems: list[Problem] = []
        self.problem_count = 0
        self.notes: list[Problem] = []
        self.totals: dict[str, tuple[int, int]] = {}
        self.count = 0
        self.amount = 0
        self.sha256 = ""
        self.dates_only: frozenset[str] = frozenset()

    def batches(self) -> Iterator[Batch]:
        """Read the list from its start; yield the rows without problems, in their order.

        Raises `SheetError` where the file ends, breaks or changes while it is read.
        """
        self._clear()
        reading = Reading(self._rules)
        table, header, headers, file = self._found
        with _of_file(self.name, self.sheet):
            if file:
                file.verify()
            for item in table.blocks(header, len(headers)):
                for batch in reading.take(item):
                    if self._pdfs:
                        batch = self._pdfs.find(batch, reading)
                    yield batch
        reading.finish()
        self.sha256 = file.sha256 if file else ""
        for problem in self._expected.differences(reading.sums, self.sha256):
            reading.add(problem._replace(file=self.name, sheet=self.sheet))
        self.problems = reading.problems
        self.problem_count = reading.problem_count
        self.notes = reading.notes
        self.totals = reading.good.kinds
        self.count, self.amount = reading.sums.count, reading.sums.fee
        self.dates_only = reading.dates_only()

    def check(self) -> "BillList":
        """Read the whole list for its problems, notes and totals."""
        for _ in self.batches():
            pass
        return self

    def bills(self, defaults: Mapping[str, str] | None = None) -> Iterator[ListedBill]:
        """Yield the bills for the wallet: rows of kind "bill" that have no problem.

        defaults: values of fields that the list does not have, such as card_id and appid.
        """
        given = dict(defaults or {})
        sent = [field for field in SENT if field in self.fields]
        names = [*given, *(field for field in sent if field not in given)]
        for batch in self.batches():
            if not batch.rows:  # each had a problem: its columns are empty, not absent
                continue
            columns = [batch.columns.get(name) or [given[name]] * len(batch) for name in names]
            pdfs = batch.columns.get("pdf_file") or [None] * len(batch)
            values = zip(*columns, strict=True)
            for row, kind, pdf, row_values in zip(
                batch.rows, batch["kind"], pdfs, values, strict=True
            ):
                if kind == "bill":
                    yield ListedBill(row, dict(zip(names, row_values, strict=True)), pdf)

    def rows(self) -> Iterator[tuple[int, Sequence[object]]]:
        """Yield each row below the header as it is in the file: its number and its cells."""
        table, header, headers, _ = self._found
        for item in table.blocks(header, len(headers)):
            if isinstance(item, OddRow):
                yield item.row, item.cells
                continue
            yield from zip(item.rows, zip(*item.columns, strict=True), strict=True)

    def __repr__(self) -> str:
        return f"<BillList {self.name or self.format}: {', '.join(self.columns)}>"
