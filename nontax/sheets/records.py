"""JSONL, iterables of dicts, and frames of any library: rows whose values have names."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from nontax.sheets.files import TextFile
from nontax.sheets.problems import MissingExtra, Problem, SheetError
from nontax.sheets.tables import Block, OddRow, Row

if TYPE_CHECKING:
    pass

Record = Mapping[str, object]
_AT_ONCE = 512
_FRAME_ROWS = 8192


class RecordTable:
    """Rows that are dicts, nested or flat; they are row 1, 2 and so on of the list.

    records: begins a pass over them, as often as it is called.
    """

    sheet = ""

    def __init__(
        self, records: Callable[[], Iterator[Record]], format: str = "rows", encoding: str = ""
    ) -> None:
        self.format = format
        self.encoding = encoding
        self._records = records
        # Any row may be the first to have a key, such as a status that only void rows have.
        self._names = list(dict.fromkeys(chain.from_iterable(map(_flat, records()))))

    def head(self) -> Sequence[Row]:
        return [(0, self._names)]

    def blocks(self, header: int, width: int) -> Iterator[Block | OddRow]:
        del header
        records = self._records()
        number = 1
        while some := [_flat(row) for row in islice(records, _AT_ONCE)]:
            columns = [[row.get(name, "") for row in some] for name in self._names[:width]]
            yield Block(range(number, number + len(some)), columns)
            number += len(some)


def _flat(row: Record) -> Record:
    """Take the six fields out of a bill's card_ext, as WeChat's interface nests them."""
    if not any(isinstance(value, Mapping) for value in row.values()):
        return row
    flat: dict[str, object] = {}
    for name, value in row.items():
        flat.update(_flat(value) if isinstance(value, Mapping) else {name: value})
    return flat


def dicts(rows: Iterable[object]) -> Callable[[], Iterator[Record]]:
    """Return passes over an iterable of dicts; one that can be gone through once is kept."""
    kept = rows if isinstance(rows, Sequence) else list(rows)

    def records() -> Iterator[Record]:
        for number, row in enumerate(kept, 1):
            if not isinstance(row, Mapping):
                raise SheetError([Problem("not_a_dict", {"type": type(row).__name__}, row=number)])
            yield row

    return records


def json_lines(file: TextFile, encoding: str) -> Callable[[], Iterator[Record]]:
    """Return passes over a file with a JSON object in each line. Numbers are int or Decimal."""

    def records() -> Iterator[Record]:
        lines = chain.from_iterable(
            text.removesuffix("\n").split("\n") for text in file.blocks(encoding)
        )
        for number, line in enumerate(lines, 1):
            yield _json_object(file, line, number)

    return records


def _json_object(file: TextFile, line: str, number: int) -> Record:
    try:
        row = json.loads(line, parse_float=Decimal)
    except ValueError as error:
        raise file.file.error("bad_json", number, reason=str(error)) from None
    if not isinstance(row, dict):
        raise file.file.error("bad_json", number, reason=type(row).__name__)
    return row


class FrameTable:
    """A frame of pandas, polars or another library that narwhals knows.

    numbers: the names of columns that hold numbers.
    """

    format = "frame"
    encoding = ""
    sheet = ""

    def __init__(self, frame: Any) -> None:
        try:
            import narwhals
        except ImportError:
            raise MissingExtra("narwhals", "nontax[notebook]", "read_frame") from None
        self._frame: narwhals.DataFrame[Any] = narwhals.from_native(frame, eager_only=True)
        self.numbers = {name for name, type in self._frame.schema.items() if type.is_numeric()}

    def head(self) -> Sequence[Row]:
        return [(0, list(self._frame.columns))]

    def blocks(self, header: int, width: int) -> Iterator[Block | OddRow]:
        del header
        for start in range(0, len(self._frame), _FRAME_ROWS):
            part = self._frame[start : start + _FRAME_ROWS]
            columns = [column.to_list() for column in part.iter_columns()]
            yield Block(range(start + 1, start + 1 + len(part)), columns[:width])


def is_frame(source: object) -> bool:
    """Whether this is a frame, judged without importing a library."""
    marks = ("__dataframe__", "__narwhals_dataframe__", "iloc", "iter_rows")
    kind = type(source)  # a lazy frame would work for its columns
    return hasattr(kind, "columns") and any(hasattr(kind, mark) for mark in marks)
