"""Rows carried over (未达): written by one report, taken by the next."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nontax.errors import NontaxError
from nontax.reconciliation.compare import NUMBER, Fields, apart_key
from nontax.reconciliation.rows import APART, LIST, OTHER, Row

NAMES = {LIST: "list", OTHER: "other"}
_TEXTS = ("order_id", *NUMBER, "business_no", "check_code", "card_id", "appid")
_GROUP = {"unit_name": "unit", "point": "point", "card_id": "card"}


class CarriedError(NontaxError, ValueError):
    """A file of carried rows cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.outcome = "not_sent"


def carried_rows(
    rows: Iterable[Row], fields: Fields, times: tuple[str, str]
) -> Iterator[dict[str, Any]]:
    """What the next report needs to know of each row. Names are left out.

    times: which field the time of each side's rows is.
    """
    for row in rows:
        values = fields.values(row)
        found: dict[str, Any] = {"side": NAMES[row.side], "kind": row.mark.kind, "fee": row.fee}
        if times[row.side]:
            found[times[row.side]] = row.time
        found |= {name: values[name] for name in _TEXTS if name in values}
        for name, part in _GROUP.items():
            if getattr(row.group, part):
                found[name] = getattr(row.group, part)
        if row.related:
            found["related_no"], found["related_code"] = row.related.split(" ", 1)
        yield {**found, "row": row.row}


def read_carried(
    file: str | os.PathLike[str], fields: Fields
) -> dict[int, dict[str, Mapping[str, Any]]]:
    """The carried rows by side and key. Raises CarriedError for a line that is none."""
    found: dict[int, dict[str, Mapping[str, Any]]] = {LIST: {}, OTHER: {}}
    sides = {name: side for side, name in NAMES.items()}
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{os.fspath(file)}, line {number}"
            try:
                row = json.loads(line)
                of_side = found[sides[row["side"]]]
                own = " ".join(row[name] for name in fields.key)
                good = type(row["fee"]) is int and isinstance(row["kind"], str)
            except (ValueError, TypeError, KeyError):
                raise CarriedError(
                    f"{where}: this is no carried row with the key {' and '.join(fields.key)}"
                ) from None
            if not good:
                raise CarriedError(f"{where}: this is no carried row")
            of_side[_whole_key(row, own, fields)] = row
    return found


def _whole_key(row: Mapping[str, Any], own: str, fields: Fields) -> str:
    kind = row["kind"]
    if kind not in APART:
        return own
    number = " ".join(str(row.get(name, "")) for name in NUMBER)
    return apart_key(kind, number if fields.numbered else own)
