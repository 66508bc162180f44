"""What a command prints: data to stdout, in the asked form; words and progress to stderr."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TextIO

Value = str | int | bool | None
FORMATS = ("table", "jsonl", "csv")
_PAGE = 1000  # rows of a table that are laid out together
_NARROWEST = 20  # columns that the last cell of a row keeps in a narrow terminal
_PIECE = re.compile(" |([!-~]+|[^!-~ ])[，。：；、）”！？]*")  # what closes begins no line


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def columns() -> int:
    """The width of the terminal; 80 where it does not tell."""
    return shutil.get_terminal_size((80, 24)).columns


def cut(text: str, width: int) -> str:
    """Shorten a text to so many columns; "…" shows that it was."""
    if width_of(text) <= width:
        return text
    kept, room = "", width - 1
    for character in text:
        room -= width_of(character)
        if room < 0:
            break
        kept += character
    return kept + "…"


def wrap(text: str, width: int) -> list[str]:
    """Break a text into lines of so many columns: at blanks, and between Chinese characters.

    A word stays whole, so that a command in a sentence can be copied.
    """
    lines = [""]
    for piece in (found[0] for found in _PIECE.finditer(text)):
        if not lines[-1] or width_of(lines[-1] + piece) <= width:
            lines[-1] += piece
        else:
            lines[-1] = lines[-1].rstrip()
            lines.append(piece.lstrip())
    return lines


def pad(text: str, width: int, *, right: bool = False) -> str:
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


def _to_nowhere(stream: TextIO) -> None:
    """Python would try once more at its exit, and end with 120."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class Output:
    """One command's stdout and stderr.

    form: "table", "jsonl" or "csv"; None: a table on a terminal, JSONL elsewhere.
    """

    def __init__(
        self,
        form: str | None = None,
        *,
        quiet: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.form = form or ("table" if self.stdout.isatty() else "jsonl")
        self.quiet = quiet
        self._abandoned = False
        self.colour = self.stderr.isatty() and "NO_COLOR" not in os.environ

    def say(self, sentence: str) -> None:
        """A sentence for the person. `quiet` leaves it out."""
        if not self.quiet:
            self._to_person(f"{sentence}\n")

    def warn(self, sentence: str) -> None:
        """A sentence that is shown in any case."""
        if self.colour:
            sentence = f"\x1b[1;33m{sentence}\x1b[0m"
        self._to_person(f"{sentence}\n")

    def progress(self, text: str) -> None:
        """One line that the next one replaces; "" removes it. Only on a terminal."""
        if self.stderr.isatty() and not self.quiet:
            self._to_person(f"\r\x1b[K{cut(text, columns() - 1)}")

    def ask(self, sentence: str) -> None:
        """A question; what is typed follows on the same line."""
        self._to_person(sentence)

    def _to_person(self, text: str) -> None:
        # A terminal that has gone must not end a delivery in the middle.
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except (OSError, ValueError):
            _to_nowhere(self.stderr)

    def line(self, text: str) -> None:
        """One line of data."""
        if self._abandoned:
            return
        try:
            print(text, file=self.stdout)
        except BrokenPipeError:
            self._abandon()

    def flush(self) -> None:
        """Have all data out before the command ends."""
        try:
            self.stdout.flush()
        except BrokenPipeError:
            self._abandon()

    def _abandon(self) -> None:
        """Whoever read stdout has gone: the command ends as it would, and nothing is printed."""
        self._abandoned = True
        _to_nowhere(self.stdout)

    def rows(self, headings: Mapping[str, str], rows: Iterable[Mapping[str, Value]]) -> None:
        """Print rows. headings: what a table calls each field; JSONL and CSV use its name."""
        {"table": self._table, "jsonl": self._jsonl, "csv": self._csv}[self.form](headings, rows)

    def record(self, fields: Mapping[str, object]) -> None:
        """Print one JSON line; only JSONL has it."""
        if self.form == "jsonl":
            self._line(fields)

    def _line(self, fields: Mapping[str, object]) -> None:
        text = json.dumps(fields, ensure_ascii=False, separators=(", ", ": "))
        self.line(text)

    def _jsonl(self, _headings: Mapping[str, str], rows: Iterable[Mapping[str, Value]]) -> None:
        for row in rows:
            self._line(row)

    def _csv(self, headings: Mapping[str, str], rows: Iterable[Mapping[str, Value]]) -> None:
        from nontax.sheets import csv_cell

        self.line(_csv_line(headings))
        for row in rows:
            self.line(_csv_line(csv_cell(_shown(row.get(name))) for name in headings))

    def _table(self, headings: Mapping[str, str], rows: Iterable[Mapping[str, Value]]) -> None:
        """A page at a time: a ledger of a million bills does not stand in memory."""
        head = [list(headings.values())]
        widths = [0] * len(headings)
        cells = ([_shown(row.get(name)) for name in headings] for row in rows)
        while page := list(islice(cells, _PAGE)):
            numbers = [all(map(_is_number, column)) for column in zip(*page, strict=True)]
            for place, column in enumerate(zip(*head, *page, strict=True)):
                widths[place] = max(widths[place], *map(width_of, column))
            for line in _laid_out([*head, *page], numbers, widths, self._room()):
                self.line(line)
            head = []

    def _room(self) -> int | None:
        """Columns of the terminal; None: what is no terminal has room for all."""
        if not self.stdout.isatty():
            return None
        return columns()


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r").writerow(cells)
    return line.getvalue()  # print() adds the "\n"


def _shown(value: Value) -> str:
    if value is None:
        return ""
    return " ".join(str(value).split())


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").removeprefix("-").isdecimal() or not text


def _laid_out(
    lines: Sequence[Sequence[str]],
    numbers: Sequence[bool],
    widths: Sequence[int],
    room: int | None,
) -> Iterator[str]:
    """Lay out rows. Where they are wider than the terminal, the last cell takes several lines.

    No cell is cut: an order that is not whole cannot be typed again, nor can advice be followed.
    """
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    last = widths[-1] if room is None else max(_NARROWEST, room - indent)
    for line in lines:
        cells = [
            pad(text, width, right=number)
            for text, width, number in zip(line[:-1], widths, numbers, strict=False)
        ]
        first, *following = wrap(line[-1], last)
        first = pad(first, min(widths[-1], last), right=numbers[-1])
        yield "  ".join([*cells, first]).rstrip()
        yield from (" " * indent + text for text in following)
