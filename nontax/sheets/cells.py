"""Cells to exact texts, a column at a time; amounts and times build on this.

A column is first looked at as one text. Most columns prove clean that way, and are converted by a
few calls for all their rows; only the others are gone through cell by cell.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

from nontax.sheets.columns import HIDDEN
from nontax.values import InvalidValueError, name_character

T = TypeVar("T")


class Flaw(NamedTuple):
    """What is wrong with one cell. place: its index in the column."""

    place: int
    id: str
    values: dict[str, str | int]


class FlawError(Exception):
    """A cell that cannot be converted. id: a key of `problems.SENTENCES`."""

    def __init__(self, id: str, **values: str) -> None:
        super().__init__(id)
        self.id = id
        self.values = values


class Column(Generic[T]):
    """Converts one field's cells, and keeps what it found.

    flaws, empties: of the last call alone; empties: places of empty cells.
    """

    empty: T

    def __init__(self, field: str) -> None:
        self.field = field
        self.flaws: list[Flaw] = []
        self.empties: list[int] = []
        self.corrected = 0
        self.example: tuple[str, str] | None = None

    def convert(self, cells: Sequence[object]) -> list[T]:
        """Return a value for each cell; where there is a flaw, it means nothing."""
        self.flaws, self.empties = [], []
        values = self._at_once(cells) if cells else []
        return self._one_by_one(cells) if values is None else values

    def _one_by_one(self, cells: Sequence[object]) -> list[T]:
        return [self._checked(place, cell) for place, cell in enumerate(cells)]

    def _at_once(self, cells: Sequence[object]) -> list[T] | None:
        raise NotImplementedError

    def _one(self, cell: object) -> T:
        raise NotImplementedError

    def _checked(self, place: int, cell: object) -> T:
        if is_empty(cell):
            self.empties.append(place)
            return self.empty
        try:
            return self._one(cell)
        except InvalidValueError as error:
            self._flaw(place, error.id, **error.values)
        except FlawError as error:
            self._flaw(place, error.id, **error.values)
        return self.empty

    def _flaw(self, place: int, id: str, **values: str) -> None:
        if self.field in HIDDEN and "value" in values and id != "formula_error":
            values["value"] = "…"
        self.flaws.append(Flaw(place, id, {"field": self.field, **values}))

    def _correct(self, was: str, now: str) -> None:
        self.corrected += 1
        if self.example is None:
            self.example = (was, now)

    def _correct_all(self, was: Sequence[str], now: Sequence[str]) -> None:
        pairs = zip(was, now, strict=True)
        corrected = [(before, after) for before, after in pairs if before != after and after]
        self.corrected += len(corrected)
        self.example = self.example or next(iter(corrected), None)


def is_empty(cell: object) -> bool:
    """Whether a cell holds nothing: None, "", blanks, NaN, and what frames have for that."""
    if isinstance(cell, str):
        return not cell or not cell.strip(BLANKS)
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and cell != cell


# ---- texts

# What exports and keyboards leave around a value, besides blanks: no-break and zero width ones.
BLANKS = " \t\r\n\v\f\u00a0\u00ad\u3000\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
AROUND = BLANKS + "`"
AS_FORMULA = re.compile(r'="([^"]*)"')
BEFORE_FORMULA = re.compile(r"'(?=[=+\-@＝＋－＠\t\r])")
_SCIENTIFIC = re.compile(r"[0-9](\.[0-9]+)?[eE]\+[0-9]+|[0-9]\.[0-9]+[eE][0-9]+")
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+")
_FORMULA_ERRORS = {"#N/A", "#NAME?", "#VALUE!", "#REF!", "#DIV/0!", "#NUM!", "#NULL!"}
# In ids these are rare, and mean that each cell is looked at.
_SUSPECT = " `\"'=.+#"


def _is_clean(text: str) -> bool:
    if not (text.isascii() and text.isprintable()):
        return False
    return not any(character in text for character in _SUSPECT)


class IdColumn(Column[str]):
    """Ids: exact text, never a number."""

    empty = ""

    def _at_once(self, cells: Sequence[object]) -> list[str] | None:
        try:
            text = "".join(cells)  # type: ignore[arg-type]  # else a TypeError
        except TypeError:
            return None
        values: list[str] = list(cells)  # type: ignore[arg-type]
        if _is_clean(text):
            return values
        # Exports put a tab or a backtick around each long number.
        stripped = [value.strip(AROUND) for value in values]
        if not _is_clean("".join(stripped)):
            return None
        self._correct_all(values, stripped)
        return stripped

    def _one(self, cell: object) -> str:
        if not isinstance(cell, str):
            raise self._not_text(cell)
        value = self._normal(cell)
        if _SCIENTIFIC.fullmatch(value):
            raise FlawError("scientific_id", value=value)
        if _DECIMAL.fullmatch(value):
            raise FlawError("decimal_id", value=value)
        if value in _FORMULA_ERRORS:
            raise FlawError("formula_error", value=value)
        for character in value:
            if not character.isprintable() or character.isspace():
                raise FlawError("character_in_id", character=name_character(character))
        if value != cell:
            self._correct(cell, value)
        return value

    def _not_text(self, cell: object) -> "FlawError":
        if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
            shown = f"{cell:.15g}" if isinstance(cell, float) else str(cell)
            return FlawError("number_in_id", value=shown)
        return FlawError("not_text_cell", type=type_name(cell))

    def _normal(self, cell: str) -> str:
        text = cell.strip(AROUND)
        if formula := AS_FORMULA.fullmatch(text):
            text = formula[1].strip(AROUND)
        text = BEFORE_FORMULA.sub("", text, count=1)
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text).strip(AROUND)
        return text


class RepeatedIdColumn(IdColumn):
    """Ids that many rows share: each is one object, however many rows have it."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self._kept: dict[str, str] = {}

    def _at_once(self, cells: Sequence[object]) -> list[str] | None:
        values = super()._at_once(cells)
        return values and share(values, self._kept)


class TextColumn(Column[str]):
    """Texts for people, such as the payer: blanks and invisible characters around are cut off."""

    empty = ""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self._kept: dict[str, str] | None = None if field == "title" else {}

    def convert(self, cells: Sequence[object]) -> list[str]:
        values = super().convert(cells)
        return values if self._kept is None else share(values, self._kept)

    def _at_once(self, cells: Sequence[object]) -> list[str] | None:
        try:
            text = "\n".join(cells)  # type: ignore[arg-type]
        except TypeError:
            return None
        if " \n" in text or "\n " in text or text[:1] == " " or text[-1:] == " ":
            return None
        if not text.replace("\n", "").isprintable() or any(mark in text for mark in "`='#"):
            return None
        if text.count("\n") != len(cells) - 1:
            return None
        return list(cells)  # type: ignore[arg-type]

    def _one(self, cell: object) -> str:
        if not isinstance(cell, str):
            raise FlawError("not_text_cell", type=type_name(cell))
        value = cell.strip(AROUND)
        if formula := AS_FORMULA.fullmatch(value):
            value = formula[1].strip(AROUND)
        value = BEFORE_FORMULA.sub("", value, count=1)
        if value in _FORMULA_ERRORS:
            raise FlawError("formula_error", value=value)
        for character in value:
            if not character.isprintable() and unicodedata.category(character) != "Zs":
                raise FlawError("character_in_text", character=name_character(character))
        if value != cell:
            self._correct(cell, value)
        return value


def share(values: list[str], kept: dict[str, str]) -> list[str]:
    """Return the same texts, equal ones as one object."""
    if not values:
        return values
    first = kept.setdefault(values[0], values[0])
    if values.count(first) == len(values):
        return [first] * len(values)
    return list(map(kept.setdefault, values, values))


def type_name(cell: object) -> str:
    if isinstance(cell, datetime | date | time | timedelta):
        return "date"
    return "number" if isinstance(cell, int | float | Decimal) else type(cell).__name__
