"""Control totals: rows that say 合计, what the user expects, and the totals file beside a list."""

import hashlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from nontax.sheets.amounts import yuan
from nontax.sheets.columns import squeeze
from nontax.sheets.problems import Problem, SheetError
from nontax.values import InvalidValueError, fen

# The character that all words for a total have: 合计, 小计, 总计, 累计.
TOTAL = "计"
_TOTAL_WORDS = re.compile(r"(本页|本日|当日|全部|总)?(合计|总计|小计|累计)")
_COUNT = re.compile(r"([0-9][0-9,]*)\s*[笔张条份行]")
_AMOUNT = re.compile(r"-?[0-9][0-9,]*\.[0-9]{1,2}")

SIDECAR = ".totals.toml"


class Sums:
    """What the rows so far add up to, in fen, by kind and since the last total row."""

    def __init__(self) -> None:
        self.count = self.fee = 0
        self.since_count = self.since_fee = 0
        self.kinds: dict[str, tuple[int, int]] = {}
        self.unknown = False  # an amount could not be read: nothing can be compared

    def add(self, kinds: Sequence[str], fees: Sequence[int]) -> None:
        self.count += len(fees)
        self.since_count += len(fees)
        fee = sum(fees)
        self.fee += fee
        self.since_fee += fee
        if kinds.count(kinds[0]) == len(kinds):
            self._add_kind(kinds[0], len(fees), fee)
            return
        for kind in dict.fromkeys(kinds):
            own = [fee for of_row, fee in zip(kinds, fees, strict=True) if of_row == kind]
            self._add_kind(kind, len(own), sum(own))

    def _add_kind(self, kind: str, count: int, fee: int) -> None:
        before = self.kinds.get(kind, (0, 0))
        self.kinds[kind] = (before[0] + count, before[1] + fee)

    def covered(self) -> dict[str, tuple[int, int]]:
        """Return what a total row may cover: name → (count, fee)."""
        bills, red = self.kinds.get("bill", (0, 0)), self.kinds.get("red", (0, 0))
        reversed_ = self.kinds.get("cancelled", (0, 0))
        issued = (bills[0] + reversed_[0], bills[1] + reversed_[1])
        return {
            "all": (self.count, self.fee),
            "since": (self.since_count, self.since_fee),
            "bills": bills,
            "net": (issued[0], issued[1] - abs(red[1])),
        }


def is_total(cells: Sequence[object]) -> bool:
    """Whether one of a row's first cells says that it is a total."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()][:3]
    return any(_TOTAL_WORDS.match(squeeze(text)) for text in texts)


def check_total(
    sums: Sums, cells: Sequence[object], fee: int | None, place: Problem
) -> tuple[Problem | None, Problem | None]:
    """Compare a total row with the rows above it; return a problem and a note, or None for each.

    fee: what stands in the column of amounts, in fen, or None. place: file, sheet and row. Raises
    InvalidValueError for an amount that cannot be read.
    """
    text = " ".join(str(cell) for cell in cells if isinstance(cell, str))
    counted = _COUNT.search(text)
    count = int(counted[1].replace(",", "")) if counted else None
    if fee is None and (written := _AMOUNT.search(text)):
        fee = fen(written[0])
    if sums.unknown:
        return None, None
    if fee is None and count is None:
        return None, _at(place, "total_empty")
    covered = sums.covered()
    if fee is not None:
        fitting = [name for name, (_, total) in covered.items() if total == fee]
        if not fitting:
            shown = {"said": yuan(fee), "amount": yuan(sums.fee)}
            return _at(place, "total_differs", **shown), None
        covered = {name: covered[name] for name in fitting}
    if count is not None and count not in [rows for rows, _ in covered.values()]:
        return _at(place, "total_count_differs", said=count, count=sums.count), None
    if fee is None:
        return None, _at(place, "total_count_checked", said=count or 0)
    return None, _at(place, "total_checked", said=yuan(fee), what=next(iter(covered)))


def _at(place: Problem, id: str, **values: str | int) -> Problem:
    return place._replace(id=id, values=values)


class Expected(NamedTuple):
    """What a list must add up to. rows: int or None. fee: fen, or None. name: of the sidecar."""

    rows: int | None = None
    fee: int | None = None
    sha256: str = ""
    name: str = ""

    @property
    def whole(self) -> bool:
        """Whether it proves that no row is missing."""
        return self.rows is not None and self.fee is not None

    def differences(self, sums: Sums, sha256: str) -> Iterator[Problem]:
        if self.sha256 and self.sha256 != sha256:
            yield Problem("sha256_differs", {"name": self.name})
        if self.rows is not None and self.rows != sums.count:
            yield Problem("count_differs", {"count": sums.count, "expected": self.rows})
        if self.fee is not None and self.fee != sums.fee and not sums.unknown:
            shown = {"amount": yuan(sums.fee), "expected": yuan(self.fee)}
            yield Problem("amount_differs", shown)


def expected_of(path: str, count: int | None, amount: str | Decimal | None) -> Expected:
    """Take what the caller expects, and what FILE.totals.toml says of the rest.

    Raises ValueError for an amount that is none, `SheetError` for a totals file that is broken.
    """
    fee = None if amount is None else fen(amount)
    sidecar = f"{path}{SIDECAR}"
    if not path or not os.path.exists(sidecar):
        return Expected(count, fee)
    name = os.path.basename(sidecar)
    try:
        with open(sidecar, encoding="utf-8-sig") as file:
            said = _sidecar(tomllib.loads(file.read()))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, InvalidValueError) as error:
        raise _broken(name, str(error)) from None
    except _SidecarError as error:
        raise _broken(name, str(error)) from None
    return Expected(
        said.rows if count is None else count, said.fee if fee is None else fee, said.sha256, name
    )


class _SidecarError(Exception):
    pass


def _broken(name: str, reason: str) -> SheetError:
    return SheetError([Problem("sidecar_broken", {"name": name, "reason": reason})])


def _sidecar(content: Mapping[str, object]) -> Expected:
    names = {"总笔数": "count", "总金额": "amount"}
    said = {names.get(name, name): value for name, value in content.items()}
    unknown = said.keys() - {"count", "amount", "sha256"}
    if unknown or not said:
        raise _SidecarError(f"{', '.join(sorted(unknown)) or 'nothing'}: give count and amount")
    count, amount, sha256 = said.get("count"), said.get("amount"), said.get("sha256", "")
    if count is not None and (type(count) is not int or count < 0):
        raise _SidecarError("count is no whole number")
    if amount is not None and not isinstance(amount, str):
        raise _SidecarError('amount is no text in quotation marks, such as "1234.50"')
    if not isinstance(sha256, str) or len(sha256) not in (0, hashlib.sha256().digest_size * 2):
        raise _SidecarError("sha256 is no text of 64 hexadecimal digits")
    return Expected(count, None if amount is None else fen(amount), sha256.lower())
