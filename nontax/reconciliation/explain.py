"""Explanations of differences (核对说明): kept, shown in each report, never deleted."""

import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from nontax.errors import NontaxError
from nontax.reconciliation.period import CHINA


class ExplanationError(NontaxError, ValueError):
    """An explanation, or the file of them, cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.outcome = "not_sent"


class Explanation(NamedTuple):
    """Why a difference is as it is. It counts as long as class and amount stay the same.

    key: the difference's. name: its class. fee: its amount, see `Difference.fee`. by, checked_by:
    who wrote and who checked it. note: the explanation. at: when, as "2026-11-30 09:15:00" in
    UTC+8.
    """

    key: str
    name: str
    fee: int
    by: str
    note: str
    checked_by: str = ""
    at: str = ""

    @property
    def of(self) -> tuple[str, str, int]:
        """What it explains."""
        return self.key, self.name, self.fee


class Explained(Protocol):
    """A difference, for `explain`."""

    @property
    def key(self) -> str:
        """Of its rows."""

    @property
    def name(self) -> str:
        """Its class."""

    @property
    def fee(self) -> int:
        """Its amount."""


def explain(
    file: str | os.PathLike[str],
    difference: Explained,
    *,
    by: str,
    note: str,
    checked_by: str = "",
) -> Explanation:
    """Append an explanation of a difference to a file, which is made if there is none.

    file: to be given to the next `reconcile` as `explained=`. difference: one of a report's
    `differences()`. by: 经办. checked_by: 复核, not the same person. note: the explanation.
    Raises ExplanationError if one of them is empty.
    """
    by, note, checked_by = by.strip(), note.strip(), checked_by.strip()
    if not by or not note:
        raise ExplanationError("an explanation needs a note and the name of who wrote it")
    if by == checked_by:
        raise ExplanationError(f"{by} cannot check an explanation of their own")
    at = datetime.now(CHINA).strftime("%Y-%m-%d %H:%M:%S")
    of = (difference.key, difference.name, difference.fee)
    made = Explanation(*of, by, note, checked_by, at)
    line = json.dumps(made._asdict(), ensure_ascii=False) + "\n"
    with open(file, "a", encoding="utf-8") as out:
        out.write(line)
        out.flush()
        os.fsync(out.fileno())
    return made


def read_explanations(file: str | os.PathLike[str]) -> Iterator[Explanation]:
    """The explanations of a file. Raises ExplanationError for a line that is none."""
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _read(line, f"{os.fspath(file)}, line {number}")


def _read(line: str, where: str) -> Explanation:
    texts = ("key", "name", "by", "note", "checked_by", "at")
    try:
        found: Any = json.loads(line)
        values = {name: found[name] for name in (*texts, "fee")}
    except (ValueError, TypeError, KeyError):
        raise ExplanationError(f"{where}: this is no explanation") from None
    if type(values["fee"]) is not int or not all(isinstance(values[name], str) for name in texts):
        raise ExplanationError(f"{where}: this is no explanation")
    return Explanation(**values)


def latest(explanations: Iterable[Explanation]) -> dict[tuple[object, ...], Explanation]:
    """What is explained, by what it is; the last one of each counts."""
    return {explanation.of: explanation for explanation in explanations}
