"""One reading of a list: raw blocks in, batches of checked columns and all problems out."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, repeat
from typing import Any, NamedTuple

from nontax.sheets.amounts import FenColumn, YuanColumn, yuan
from nontax.sheets.cells import (
    Column,
    FlawError,
    IdColumn,
    RepeatedIdColumn,
    TextColumn,
    is_empty,
)
from nontax.sheets.columns import HIDDEN, MONEY, TEXTS, TIMES
from nontax.sheets.header import repeats
from nontax.sheets.kinds import UNFILLED, Kinds
from nontax.sheets.maps import Map
from nontax.sheets.moments import TimeColumn
from nontax.sheets.problems import Problem
from nontax.sheets.resolve import Columns
from nontax.sheets.statements import StatementTotals, is_totals_header
from nontax.sheets.tables import Block, OddRow
from nontax.sheets.totals import TOTAL, Sums, check_total, is_total
from nontax.values import InvalidValueError

KEPT = 100_000
_REPEATED = {"billing_no", "card_id", "appid", "related_no"}


class Batch:
    """Some rows of a list as parallel columns, all converted and checked.

    rows: their numbers as a spreadsheet program counts, from 1 (range or list of int).
    """

    __slots__ = ("columns", "rows")

    def __init__(self, rows: Sequence[int], columns: dict[str, list[Any]]) -> None:
        self.rows = rows
        self.columns = columns

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, field: str) -> list[Any]:
        """Return one field's values: str, or int for amounts (fen) and times (Unix seconds)."""
        return self.columns[field]

    def keys(self, fields: Sequence[str]) -> list[str]:
        """Return what tells rows apart: one id, or several joined by a blank, which no id has."""
        if len(fields) == 1:
            return self.columns[fields[0]]
        return list(map(" ".join, zip(*[self.columns[field] for field in fields], strict=True)))

    def __repr__(self) -> str:
        return f"<Batch of {len(self)} rows: {', '.join(self.columns)}>"


def visible(text: str) -> str:
    """Write what no screen shows as its code: a tab is <U+0009>."""
    return "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in text)


def _are_keys(cells: Sequence[object]) -> bool:
    try:
        text = "".join(cells)  # type: ignore[arg-type]  # else a TypeError
    except TypeError:
        return False
    return text.isascii() and all(cells) and not text.isspace()


def _has_total(cells: Sequence[object]) -> bool:
    try:
        return TOTAL in "".join(cells)  # type: ignore[arg-type]
    except TypeError:
        return any(isinstance(cell, str) and TOTAL in cell for cell in cells)


class Rules(NamedTuple):
    """What one list is read by."""

    name: str
    sheet: str
    columns: Columns
    mapping: Map
    require: tuple[str, ...]
    days: bool  # whether a date without a time of day will do


class Reading:
    """Takes a list's blocks in their order; afterwards it knows what was wrong."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.problems: list[Problem] = []
        self.problem_count = 0
        self.notes: list[Problem] = []
        self.sums = Sums()  # of all rows
        self.good = Sums()  # of those in batches
        self._indexes = rules.columns.indexes
        self._converters = {field: self._converter(field) for field in self._indexes}
        self._kinds = Kinds(rules.mapping.values, rules.columns.statement)
        self._statement = StatementTotals(rules.columns) if rules.columns.statement else None
        self._left_out = {"rows_empty": 0, "rows_header": 0, "rows_footer": 0}
        self._totals_seen = False
        self._swapped = 0

    def _converter(self, field: str) -> Column[Any]:
        if field in TIMES:
            return TimeColumn(field, self.rules.days)
        if field in MONEY:
            return FenColumn(field) if self.rules.columns.unit == "fen" else YuanColumn(field)
        if field in TEXTS:
            return TextColumn(field)
        return RepeatedIdColumn(field) if field in _REPEATED else IdColumn(field)

    # ---- what is found

    def problem(self, id: str, row: int, column: str, values: Mapping[str, str | int]) -> None:
        self.add(Problem(id, values, self.rules.name, self.rules.sheet, row, column))

    def add(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < KEPT:
            self.problems.append(problem)

    def _header(self, field: str) -> str:
        headers = self.rules.columns.headers
        return " + ".join(headers[place] for place in self._indexes.get(field, ()))

    # ---- rows

    def take(self, item: Block | OddRow) -> Iterator[Batch]:
        """Convert what the file has next; yield batches of rows without problems."""
        if isinstance(item, OddRow):
            self._odd_row(item)
            return
        start = 0
        for place in self._strange(item):
            cells = [column[place] for column in item.columns]
            what = self._judge(cells)
            if not what:
                continue
            yield from self._ordinary(item, start, place)
            start = place + 1
            self._special(what, item.rows[place], cells)
        yield from self._ordinary(item, start, len(item.rows))

    def _strange(self, block: Block) -> Sequence[int]:
        """List the places of what may be no row of the list: totals, footers, empty rows.

        Their key is empty or no ASCII, or one of their first cells speaks of a total.
        """
        keys = block.columns[self._indexes[self.rules.columns.key[0]][0]]
        first = [column for column in block.columns[:3] if _has_total(column)]
        if not first and _are_keys(keys) and not (self._statement and self._statement.names):
            return ()
        return [
            place
            for place, key in enumerate(keys)
            if self._statement
            or is_empty(key)
            or (isinstance(key, str) and not key.isascii())
            or any(TOTAL in str(column[place]) for column in first)
        ]

    def _judge(self, cells: Sequence[object]) -> str:
        if self._statement and (self._statement.names or is_totals_header(cells)):
            return "statement"
        if all(map(is_empty, cells)):
            return "rows_empty"
        if is_total(cells):
            return "total"
        if repeats(cells, self.rules.columns.headers):
            return "rows_header"
        if self._totals_seen and self._is_footer(cells):
            return "rows_footer"
        return ""

    def _is_footer(self, cells: Sequence[object]) -> bool:
        fields = ("fee", *self.rules.columns.key[1:])
        places = [place for field in fields for place in self._indexes.get(field, ())]
        return all(place >= len(cells) or is_empty(cells[place]) for place in places)

    def _special(self, what: str, row: int, cells: Sequence[object]) -> None:
        if what == "statement" and self._statement:
            self._statement.take(cells)
        elif what == "total":
            self._total(row, cells)
        else:
            self._left_out[what] += 1

    def _total(self, row: int, cells: Sequence[object]) -> None:
        self._totals_seen = True
        place = Problem("", {}, self.rules.name, self.rules.sheet, row, self._header("fee"))
        try:
            problem, note = check_total(self.sums, cells, self._fee_of(cells), place)
        except (FlawError, InvalidValueError):
            problem, note = place._replace(id="total_unreadable"), None
        if problem:
            self.add(problem)
        if note:
            self.notes.append(note)
        self.sums.since_count = self.sums.since_fee = 0

    def _fee_of(self, cells: Sequence[object]) -> int | None:
        places = self._indexes.get("fee", ())
        if not places or places[0] >= len(cells) or is_empty(cells[places[0]]):
            return None
        return int(self._converter("fee")._one(cells[places[0]]))

    def _odd_row(self, item: OddRow) -> None:
        what = self._judge(item.cells)
        if what:
            self._special(what, item.row, item.cells)
            return
        self.sums.unknown = True
        self.sums.count += 1
        values = {"count": len(item.cells), "expected": len(self.rules.columns.headers)}
        self.problem("cells_count", item.row, "", values)

    def _ordinary(self, block: Block, start: int, end: int) -> Iterator[Batch]:
        if start == end:
            return
        rows, columns = block.rows, block.columns
        if end - start < len(rows):
            rows = rows[start:end]
            columns = [column[start:end] for column in columns]
        bad: set[int] = set()
        values = self._convert(rows, columns, bad)
        kinds = self._name_kinds(rows, values, bad)
        values["kind"] = kinds
        fees = self._fees(values, kinds)
        self.sums.add(kinds, fees)
        self._require(rows, values, kinds, bad)
        self._count_swapped(values)
        if bad:
            keep = [place not in bad for place in range(len(rows))]
            rows = list(compress(rows, keep))
            values = {field: list(compress(column, keep)) for field, column in values.items()}
        if rows:
            self.good.add(values["kind"], values.get("fee") or [0] * len(rows))
            yield Batch(rows, values)

    def _convert(
        self, rows: Sequence[int], columns: Sequence[Sequence[object]], bad: set[int]
    ) -> dict[str, list[Any]]:
        values: dict[str, list[Any]] = {}
        for field, converter in self._converters.items():
            places = self._indexes[field]
            if len(places) == 2 and isinstance(converter, TimeColumn):
                values[field] = converter.convert_two(columns[places[0]], columns[places[1]])
            else:
                values[field] = converter.convert(columns[places[0]])
            for flaw in converter.flaws:
                bad.add(flaw.place)
                self.problem(flaw.id, rows[flaw.place], self._header(field), flaw.values)
                self.sums.unknown = self.sums.unknown or field in MONEY
        for field, constant in self.rules.mapping.constants.items():
            values.setdefault(field, [constant] * len(rows))
        return values

    def _name_kinds(
        self, rows: Sequence[int], values: Mapping[str, list[Any]], bad: set[int]
    ) -> list[str]:
        types, statuses = values.get("data_type"), values.get("status")
        if types is None and statuses is None:
            return ["bill"] * len(rows)
        related = values.get("related_code")
        words = list(
            zip(
                types or repeat(None, len(rows)),
                statuses or repeat(None, len(rows)),
                map(bool, related) if related else repeat(False, len(rows)),
                strict=True,
            )
        )
        kinds = list(map(self._kinds.known.get, words))
        return [
            kind or self._learn(rows, place, words[place], bad) for place, kind in enumerate(kinds)
        ]

    def _learn(
        self,
        rows: Sequence[int],
        place: int,
        words: tuple[str | None, str | None, bool],
        bad: set[int],
    ) -> str:
        try:
            return self._kinds.learn(words)
        except FlawError as error:
            if place not in bad:
                bad.add(place)
                field = error.values["field"]
                self.problem(error.id, rows[place], self._header(field), error.values)
            return "bill"

    def _fees(self, values: dict[str, list[Any]], kinds: list[str]) -> list[int]:
        fees = values.get("fee") or [0] * len(kinds)
        refunds = values.pop("refund", None)
        if self._statement:
            self._statement.add(len(kinds), fees, refunds)
        if refunds is not None:
            pairs = zip(kinds, fees, refunds, strict=True)
            fees = [refund if kind == "red" else fee for kind, fee, refund in pairs]
            values["fee"] = fees
        return fees

    def _require(
        self,
        rows: Sequence[int],
        values: Mapping[str, list[Any]],
        kinds: list[str],
        bad: set[int],
    ) -> None:
        for field in self.rules.require:
            if field in MONEY:
                continue
            column = values[field]
            if not all(column):
                self._missing(field, rows, column, kinds, bad)
        if "fee" in values:
            self._check_fees(rows, values["fee"], kinds, bad)

    def _missing(
        self,
        field: str,
        rows: Sequence[int],
        column: Sequence[object],
        kinds: list[str],
        bad: set[int],
    ) -> None:
        always = field in self.rules.columns.key
        for place, value in enumerate(column):
            wanted = kinds[place] == "bill" or (always and kinds[place] not in UNFILLED)
            if not value and wanted and place not in bad:
                bad.add(place)
                self.problem("missing_value", rows[place], self._header(field), {"field": field})

    def _check_fees(
        self, rows: Sequence[int], fees: list[int], kinds: list[str], bad: set[int]
    ) -> None:
        if min(fees) > 0:
            return
        empty = set(self._converters["fee"].empties) if "fee" in self._converters else set()
        needed = "fee" in self.rules.require
        for place, fee in enumerate(fees):
            if place in bad:
                continue
            values: dict[str, str | int] = {"field": "fee"}
            if needed and place in empty and fee == 0 and kinds[place] not in UNFILLED:
                bad.add(place)
                self.sums.unknown = True
                self.problem("missing_value", rows[place], self._header("fee"), values)
            elif fee < 0 and kinds[place] == "bill":
                bad.add(place)
                values["value"] = yuan(fee)
                self.problem("negative_amount", rows[place], self._header("fee"), values)

    def _count_swapped(self, values: Mapping[str, list[Any]]) -> None:
        numbers, codes = values.get("billing_no"), values.get("billing_code")
        if numbers and codes and len(numbers[0]) == 10:
            lengths = zip(map(len, numbers), map(len, codes), strict=True)
            self._swapped += list(lengths).count((10, 8))

    # ---- the end

    def finish(self) -> None:
        """Judge what only the whole list shows."""
        self.problems.sort(key=lambda problem: problem.row)
        self._notes()
        if self._statement:
            for id, values in self._statement.problems():
                self.problem(id, 0, "", values)
        named = self.rules.mapping.columns
        clear = "billing_no" in named and "billing_code" in named
        if self._swapped > 0.9 * self.sums.count and not clear:
            values = {"count": self._swapped, "rows": self.sums.count}
            self.problem("swapped_columns", 0, self._header("billing_no"), values)

    def _notes(self) -> None:
        place = Problem("", {}, self.rules.name, self.rules.sheet)
        for id, count in self._left_out.items():
            if count:
                self.notes.append(place._replace(id=id, values={"count": count}))
        for field, converter in self._converters.items():
            if converter.example is None:
                continue
            values: dict[str, str | int] = {"field": field, "count": converter.corrected}
            if field not in HIDDEN:
                values["was"], values["now"] = map(visible, converter.example)
            id = "normalised_hidden" if field in HIDDEN else "normalised"
            self.notes.append(place._replace(id=id, values=values, column=self._header(field)))
        for kind, (count, fee) in self.sums.kinds.items():
            if kind != "bill":
                values = {"count": count, "kind": kind, "amount": yuan(fee)}
                self.notes.append(place._replace(id="not_for_wallet", values=values))

    def dates_only(self) -> frozenset[str]:
        return frozenset(
            field
            for field, converter in self._converters.items()
            if isinstance(converter, TimeColumn) and converter.dates_only
        )
