"""CSV, TSV and WeChat Pay's statements.

Most files have neither a quotation mark nor a row that is too long or too short. Such a block is
cut into cells at once: no list is made for a row.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice

from nontax.sheets.files import TextFile
from nontax.sheets.tables import Block, OddRow, Row, by_columns

HEAD_ROWS = 20
DELIMITERS = {"csv": (",", "\t", ";", "|"), "tsv": ("\t", ","), "txt": ("\t", ",", "|", ";")}
_AT_ONCE = 1024


class DelimitedTable:
    """A text file in one encoding, with one delimiter.

    backticks: WeChat's statements put one before each value, and a comma may stand in a value.
    """

    sheet = ""

    def __init__(self, file: TextFile, encoding: str, delimiter: str, head: str) -> None:
        self.file = file
        self.encoding = encoding
        self.delimiter = delimiter
        self.format = "tsv" if delimiter == "\t" else "csv"
        self._head: list[Row] = []
        self._lines: list[int] = []
        reader = csv.reader(io.StringIO(head, newline="\n"), delimiter=delimiter, strict=True)
        try:
            for cells in islice(reader, HEAD_ROWS):
                self._head.append((len(self._head) + 1, cells))
                self._lines.append(reader.line_num)
        except csv.Error:
            pass  # judged where the rows are read
        self.backticks = _has_backticks(head)

    def head(self) -> Sequence[Row]:
        return self._head

    def blocks(self, header: int, width: int) -> Iterator[Block | OddRow]:
        texts = self._below(self._lines[header])
        row = self._head[header][0] + 1
        delimiter, start = (",`", "`") if self.backticks else (self.delimiter, "")
        for text in texts:
            if '"' in text and not self.backticks:
                yield from self._quoted(text, texts, row, width)
                return
            block = _cut(text, row, width, delimiter, start)
            if block:
                yield block
                row += len(block.rows)
                continue
            rows = [
                (number, _cells(line, delimiter, start))
                for number, line in enumerate(_lines(text), row)
            ]
            yield from by_columns(rows, width)
            row += len(rows)

    def _below(self, lines: int) -> Iterator[str]:
        """Yield the text below the header, whose last line has this number."""
        texts = self.file.blocks(self.encoding)
        for text in texts:
            start = 0
            while lines and (end := text.find("\n", start)) >= 0:
                start = end + 1
                lines -= 1
            if start < len(text) and not lines:
                yield text[start:]
            if not lines:
                break
        yield from texts

    def _quoted(
        self, text: str, texts: Iterator[str], row: int, width: int
    ) -> Iterator[Block | OddRow]:
        def lines() -> Iterator[str]:
            yield from io.StringIO(text, newline="\n")
            for following in texts:
                yield from io.StringIO(following, newline="\n")

        reader = csv.reader(lines(), delimiter=self.delimiter, strict=True)
        while True:
            rows: list[list[str]] = []
            try:
                rows.extend(islice(reader, _AT_ONCE))
            except csv.Error:
                raise self.file.file.error("open_quote", row + len(rows)) from None
            if not rows:
                return
            if set(map(len, rows)) == {width}:
                yield Block(range(row, row + len(rows)), list(zip(*rows, strict=True)))
            else:
                yield from by_columns(list(enumerate(rows, row)), width)
            row += len(rows)


def _cut(text: str, row: int, width: int, delimiter: str, start: str) -> Block | None:
    """Cut whole lines into columns at once, or return None where a line is not of this width.

    A line end becomes a cell of its own: with one in every place where the next row begins, and
    nowhere else, each row has its width.
    """
    line_end = "\r\n" if text.endswith("\r\n") else "\n"
    count = text.count("\n")
    mark = f"{delimiter}\n{delimiter}"
    if start:
        if not text.startswith(start):
            return None
        # A value may begin with a backtick of its own; only a line's first one is cut off.
        text = text[len(start) :].replace(line_end + start, mark)
        text = text.removesuffix(line_end) + mark
    else:
        text = text.replace(line_end, mark)
    cells = text.split(delimiter)
    if len(cells) != count * (width + 1) + 1 or cells[width :: width + 1].count("\n") != count:
        return None
    return Block(range(row, row + count), [cells[place : -1 : width + 1] for place in range(width)])


def _has_backticks(head: str) -> bool:
    """Whether each value of the first row stands behind a backtick."""
    header, _, rest = head.partition("\n")
    row = rest.partition("\n")[0]
    return row.startswith("`") and row.count(",`") == header.count(",") > 0


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _cells(line: str, delimiter: str, start: str) -> list[str]:
    if start and not line.startswith(start):
        return line.split(",")  # the header of a statement's totals
    return line.removeprefix(start).split(delimiter)
