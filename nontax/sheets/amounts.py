"""Cells to amounts in fen, a column at a time."""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

from nontax.sheets.cells import (
    AROUND,
    AS_FORMULA,
    BEFORE_FORMULA,
    Column,
    FlawError,
    type_name,
)
from nontax.values import InvalidValueError, fen

_YUAN = re.compile(r"(?:[0-9]{1,13}\.[0-9][0-9],)+")
_GROUPED = re.compile(r"(?:(?:[0-9]{1,13}|[0-9]{1,3}(?:,[0-9]{3}){1,4})\.[0-9][0-9]\n)+")
_AROUND_MONEY = re.compile(r"^[¥￥]\s*|\s*元$")


class YuanColumn(Column[int]):
    """Amounts in yuan to fen."""

    empty = 0

    def _at_once(self, cells: Sequence[object]) -> list[int] | None:
        try:
            text = ",".join(cells)  # type: ignore[arg-type]
        except TypeError:
            return None
        if not _YUAN.fullmatch(text + ","):
            return self._grouped(cells)  # type: ignore[arg-type]  # texts, since they were joined
        values = list(map(int, text.replace(".", "").split(",")))
        # A comma inside a cell makes one value more.
        return values if len(values) == len(cells) else None

    def _grouped(self, cells: Sequence[str]) -> list[int] | None:
        """Convert amounts of which some have thousands separators."""
        text = "\n".join(cells)
        if not _GROUPED.fullmatch(text + "\n") or text.count("\n") != len(cells) - 1:
            return None
        plain = text.replace(",", "")
        self._correct_all(cells, plain.split("\n"))
        return list(map(int, plain.replace(".", "").split("\n")))

    def _one(self, cell: object) -> int:
        if isinstance(cell, str):
            return self._text(cell)
        if isinstance(cell, bool):
            raise FlawError("not_text_cell", type="bool")
        if isinstance(cell, float):
            return self._number(cell)
        if isinstance(cell, int):
            return cell * 100
        if isinstance(cell, Decimal):
            return fen(cell)
        raise FlawError("not_text_cell", type=type_name(cell))

    def _text(self, cell: str) -> int:
        text = BEFORE_FORMULA.sub("", cell.strip(AROUND), count=1)
        if formula := AS_FORMULA.fullmatch(text):
            text = formula[1]
        text = _AROUND_MONEY.sub("", text)
        value = fen(text)
        if text != cell or "," in text:
            self._correct(cell, yuan(value))
        return value

    def _number(self, cell: float) -> int:
        # A spreadsheet shows 15 digits of what it has calculated: 0.30000000000000004 is 0.3.
        text = f"{cell:.15g}"
        try:
            return fen(text)
        except InvalidValueError:
            raise FlawError("amount_inexact", value=text) from None


class FenColumn(Column[int]):
    """Amounts in fen: whole numbers."""

    empty = 0

    def _at_once(self, cells: Sequence[object]) -> list[int] | None:
        try:
            text = "".join(cells)  # type: ignore[arg-type]
        except TypeError:
            return None
        if not (text.isascii() and text.isdigit() and all(cells)):
            return None
        if max(map(len, cells)) > 18:  # type: ignore[arg-type]
            return None
        return list(map(int, cells))  # type: ignore[arg-type]

    def _one(self, cell: object) -> int:
        if isinstance(cell, bool):
            raise FlawError("not_text_cell", type="bool")
        if isinstance(cell, int):
            return cell
        if isinstance(cell, float | Decimal):
            return self._number(Decimal(cell))
        if not isinstance(cell, str):
            raise FlawError("not_text_cell", type=type_name(cell))
        text = unicodedata.normalize("NFKC", cell.strip(AROUND))
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise FlawError("amount_not_fen", value=text)
        if text != cell:
            self._correct(cell, text)
        return int(text)

    def _number(self, number: Decimal) -> int:
        # Before its digits are written out: 1E+999999 has a million.
        if number.is_finite() and number.adjusted() < 19 and number == number.to_integral_value():
            return int(number)
        raise FlawError("amount_not_fen", value=f"{number:.15g}")


def yuan(amount: int) -> str:
    """Write an amount in fen (int) as yuan: 123450 → "1234.50"."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02}"
