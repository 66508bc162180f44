"""Ranges of bill numbers (票号段) of a list, and the numbers that are missing in them (断号)."""

from array import array
from collections.abc import Sequence
from operator import sub
from typing import NamedTuple

# Longer ones do not fit into 64 bits.
_DIGITS = 18


class Range(NamedTuple):
    """The numbers of one bill code (票据代码) in a list.

    first, last: the lowest and highest number, as written. rows, fen: how many rows, and their sum.
    missing: how many numbers between them no row has. repeated: how many rows have a number that
    a row before has. odd: how many rows have a number that is not made of digits; they are in
    rows and fen, and in no range.
    """

    code: str
    first: str
    last: str
    rows: int
    fen: int
    missing: int
    repeated: int
    odd: int


class Gap(NamedTuple):
    """Numbers in a row that no row of the list has, both ends included."""

    code: str
    first: str
    last: str
    numbers: int


class Ranges:
    """Collects the numbers of a list."""

    def __init__(self) -> None:
        self._numbers: dict[str, array[int]] = {}
        self._fen: dict[str, int] = {}
        self._odd: dict[str, int] = {}
        self._width: dict[str, int] = {}

    def add(self, codes: Sequence[str], numbers: Sequence[str], fees: Sequence[int]) -> None:
        """Take some rows."""
        for code in set(codes):
            if codes.count(code) == len(codes):
                self._add(code, numbers, sum(fees))
                return
            rows = [at for at, other in enumerate(codes) if other == code]
            self._add(code, [numbers[at] for at in rows], sum(fees[at] for at in rows))

    def _add(self, code: str, numbers: Sequence[str], fen: int) -> None:
        known = self._numbers.setdefault(code, array("q"))
        self._fen[code] = self._fen.get(code, 0) + fen
        width = max(map(len, numbers), default=0)
        if width > _DIGITS or not _all_digits(numbers):
            good = [text for text in numbers if len(text) <= _DIGITS and _all_digits([text])]
            self._odd[code] = self._odd.get(code, 0) + len(numbers) - len(good)
            numbers, width = good, max(map(len, good), default=0)
        known.extend(array("q", list(map(int, numbers))))
        self._width[code] = max(width, self._width.get(code, 0))

    def close(self) -> tuple[list[Range], list[Gap]]:
        """The range of each code and its gaps, by code and number. To be called once."""
        ranges: list[Range] = []
        gaps: list[Gap] = []
        for code in sorted(self._numbers):
            of_code = self._close(code, sorted(self._numbers.pop(code)), gaps)
            ranges.append(of_code)
        return ranges, gaps

    def _close(self, code: str, numbers: list[int], gaps: list[Gap]) -> Range:
        odd = self._odd.get(code, 0)
        rows, fen = len(numbers) + odd, self._fen[code]
        if not numbers:
            return Range(code, "", "", rows, fen, 0, 0, odd)
        width = self._width[code]
        steps = list(map(sub, numbers[1:], numbers))
        repeated = steps.count(0)
        missing = numbers[-1] - numbers[0] + 1 - (len(numbers) - repeated)
        if missing:
            for before, step in zip(numbers, steps, strict=False):
                if step > 1:
                    first, last = before + 1, before + step - 1
                    texts = (str(first).zfill(width), str(last).zfill(width))
                    gaps.append(Gap(code, *texts, step - 1))
        first_last = (str(numbers[0]).zfill(width), str(numbers[-1]).zfill(width))
        return Range(code, *first_last, rows, fen, missing, repeated, odd)


def _all_digits(texts: Sequence[str]) -> bool:
    # An empty text is none; joined, it would not be noticed.
    joined = "".join(texts)
    return joined.isdigit() and joined.isascii() and "" not in texts
