"""A list as a side of a reconciliation: a file, a frame or rows that `nontax.sheets` reads."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Protocol

from nontax.reconciliation.compare import NUMBER, Fields, apart_key
from nontax.reconciliation.ranges import Ranges
from nontax.reconciliation.rows import (
    APART,
    CARRIED,
    IN,
    LIST,
    OUT,
    REFUNDS,
    Chunk,
    Mark,
    Row,
    Tables,
    joined,
    lines_of,
    texts,
)
from nontax.reconciliation.sides import NoCommonKeyError, Plan, Source
from nontax.reconciliation.sums import Sum

_RELATED = ("related_no", "related_code")


class Batch(Protocol):
    """What is used of a batch of `nontax.sheets`: rows as columns."""

    @property
    def rows(self) -> Sequence[int]:
        """The row numbers of the file."""

    def __getitem__(self, name: str) -> Sequence[Any]:
        """A column."""

    def __len__(self) -> int:
        """How many rows."""

    def keys(self, key: tuple[str, ...]) -> list[str]:
        """A key for each row."""


class Opened(Protocol):
    """What is used of a list that `nontax.sheets` has opened."""

    @property
    def name(self) -> str:
        """To be shown."""

    @property
    def path(self) -> Any:
        """Of the file, or \"\"."""

    @property
    def fields(self) -> frozenset[str]:
        """What a batch has columns of."""

    @property
    def key(self) -> tuple[str, ...]:
        """Which of them each row has, as it was opened."""

    @property
    def statement(self) -> bool:
        """Whether it is WeChat Pay's, of payments and refunds."""

    @property
    def totals(self) -> Mapping[str, tuple[int, int]]:
        """Count and fen by kind, after the last batch."""

    @property
    def problems(self) -> Sequence[Any]:
        """What is wrong in rows, after the last batch."""

    @property
    def sha256(self) -> str:
        """Of the bytes that were read."""

    def batches(self) -> Iterator[Batch]:
        """All rows."""


class Rows:
    """Rows that are dicts, as a batch: those that a report carried over."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], fields: Iterable[str]) -> None:
        self.rows = [int(row.get("row", 0)) for row in rows]
        empty = {"fee": 0, "billing_time": 0, "business_time": 0}
        self._columns = {
            name: [row.get(name, empty.get(name, "")) for row in rows] for name in fields
        }

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self._columns[name]

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self, key: tuple[str, ...]) -> list[str]:
        """A key for each row."""
        return [" ".join(values) for values in zip(*map(self.__getitem__, key), strict=True)]


class ListSide:
    """A list that `nontax.sheets` has opened.

    side: LIST or OTHER. check: what is called after the last row; it raises
    if there were wrong ones.
    """

    def __init__(self, opened: Opened, side: int, check: Callable[[], None]) -> None:
        self.tables = Tables()
        self.fields = frozenset(opened.fields)
        self.key = opened.key
        self.statement = opened.statement
        times = ("billing_time", "business_time")
        self.time_field = next((name for name in times if name in self.fields), "")
        self.ranges = Ranges()
        self.first_time = self.last_time = 0
        self.side = side
        self._opened = opened
        self._check = check
        self._plan: Plan | None = None
        self._refunds: dict[str, Sum] = {}
        self._carried = Sum()

    def size(self) -> int:
        """The bytes of the file; 0 for rows that are in memory anyway."""
        path = self._opened.path
        return os.path.getsize(path) if path else 0

    def chunks(self, plan: Plan) -> Iterator[Chunk]:
        """All rows; then those carried over that the list does not have any more."""
        self._plan = plan
        self.tables.shift = plan.period.to_day
        found: set[str] = set()
        for batch in self._opened.batches():
            if not len(batch):
                continue
            chunk = self._with_carried(self._chunk(batch, plan), plan, found)
            self._note_numbers(batch, chunk)
            self._note_refunds(batch, chunk)
            yield chunk
        self._check()
        gone = [row for key, row in plan.carried.items() if key not in found]
        if gone:
            yield self._chunk_of_carried(gone, plan)

    def numbered(self, wanted: set[str]) -> Iterator[Row]:
        """Its rows outside the period with one of these numbers: reads the list once more."""
        if self._plan is None or not self.fields.issuperset(NUMBER):
            return
        for batch in self._opened.batches():
            if wanted.isdisjoint(batch.keys(NUMBER)):
                continue
            chunk = self._chunk(batch, self._plan)
            for at, number in enumerate(batch.keys(NUMBER)):
                mark = self.tables.marks.all[chunk.marks[at]]
                if number in wanted and mark.scope == OUT:
                    yield chunk.row(at, self.side, self.tables)

    def totals(self) -> dict[str, Sum]:
        """Count and fen by kind: as `nontax.sheets` has added them up.

        Refunds count below zero here, however the list writes them. "carried": rows that the
        report before carried over and the list does not have.
        """
        found = {kind: Sum(*total) for kind, total in self._opened.totals.items()}
        for kind, total in self._refunds.items():
            found[kind] = Sum(found.get(kind, Sum()).rows, total.fen)
        if self._carried.rows:
            found["carried"] = self._carried
        return found

    def source(self) -> Source:
        """Name and digest of the file."""
        return Source(self._opened.name or "-", "list", self._opened.sha256 or "")

    # Chunks

    def _chunk(self, batch: Batch, plan: Plan) -> Chunk:
        fields = plan.fields
        kinds = batch["kind"]
        times = batch[self.time_field] if self.time_field else [0] * len(batch)
        if not isinstance(batch, Rows):
            times = plan.period.dates(times)
        plain = kinds.count("bill") == len(kinds)
        keys, fees = batch.keys(fields.key), batch["fee"]
        if not all(map(all, map(batch.__getitem__, fields.key))):
            keys = self._filled(batch, keys, kinds, fields)
        shown = fields.shown[self.side]
        compared = [batch[name] for name in fields.compared]
        own = {} if plain else {at: keys[at] for at, kind in enumerate(kinds) if kind in APART}
        if not plain:
            keys, fees = _keys(batch, keys, kinds, fields), _signed(fees, kinds)
        return Chunk(
            keys,
            fees,
            times,
            lines_of(compared, texts(fees), texts(times), keys),
            self._marks(kinds, times, plan, plain=plain),
            self._units(batch),
            batch.rows,
            joined([batch[name] for name in shown]) if shown else None,
            {} if plain else self._related(batch, kinds),
            own,
        )

    def _marks(
        self, kinds: Sequence[str], times: Sequence[int], plan: Plan, *, plain: bool
    ) -> bytes:
        table = self.tables.marks
        usual = table[Mark()]
        period = plan.period
        early, late = min(times), max(times)
        self.first_time = min(early, self.first_time or early)
        self.last_time = max(late, self.last_time)
        if plain and (period.all or period.scope(early) == period.scope(late) == IN):
            return bytes([usual]) * len(times)
        scopes = period.scopes(times)
        return bytes(table[Mark(kind, scope)] for kind, scope in zip(kinds, scopes, strict=True))

    def _units(self, batch: Batch) -> Sequence[int]:
        names = ("unit_name", "point", "card_id")
        table = self.tables.units
        if self.fields.isdisjoint(names):
            return bytes([table["", "", ""]]) * len(batch)
        columns: list[Iterable[Any]] = [
            batch[name] if name in self.fields else repeat("") for name in names
        ]
        return list(map(table.__getitem__, zip(*columns, strict=False)))

    def _filled(
        self, batch: Batch, keys: Sequence[str], kinds: Sequence[str], fields: Fields
    ) -> list[str]:
        """Keys of rows that need none, such as blank paper: each is one of its own."""
        whole = list(map(all, zip(*map(batch.__getitem__, fields.key), strict=True)))
        columns = zip(keys, whole, kinds, batch.rows, strict=True)
        filled = []
        for key, is_whole, kind, row in columns:
            if not is_whole and kind in ("bill", "red"):
                raise NoCommonKeyError(
                    f"{self._opened.name}, row {row}: there is no {' and '.join(fields.key)}, by "
                    "which the two sides are paired; give another key="
                )
            filled.append(key if is_whole else f"{self.side}|row {row}")
        return filled

    def _related(self, batch: Batch, kinds: Sequence[str]) -> dict[int, str]:
        if self.statement:
            # A refund has no number; it is of the payment with the same order.
            keys = batch.keys(self.key)
            return {at: keys[at] for at, kind in enumerate(kinds) if kind == "red"}
        if not self.fields.issuperset(_RELATED):
            return {}
        found = {}
        for at, (kind, number) in enumerate(zip(kinds, batch.keys(_RELATED), strict=True)):
            code, _, rest = number.partition(" ")
            if kind == "red" and code and rest:
                found[at] = number
        return found

    # What stands beside the chunks

    def _with_carried(self, chunk: Chunk, plan: Plan, found: set[str]) -> Chunk:
        """Take rows outside the period into this report that the one before carried over."""
        keys = plan.carried.keys() & set(chunk.keys) if plan.carried else set()
        if not keys:
            return chunk
        found |= keys
        table = self.tables.marks
        marks = bytes(
            table[table.all[mark]._replace(scope=CARRIED)]
            if key in keys and table.all[mark].scope == OUT
            else mark
            for key, mark in zip(chunk.keys, chunk.marks, strict=True)
        )
        return chunk._replace(marks=marks)

    def _chunk_of_carried(self, rows: Sequence[Mapping[str, Any]], plan: Plan) -> Chunk:
        chunk = self._chunk(Rows(rows, self.fields), plan)
        self._carried = Sum(len(chunk.fees), sum(chunk.fees))
        table = self.tables.marks
        marks = bytes(table[table.all[mark]._replace(scope=CARRIED)] for mark in chunk.marks)
        return chunk._replace(marks=marks)

    def _note_refunds(self, batch: Batch, chunk: Chunk) -> None:
        kinds = batch["kind"]
        for kind in REFUNDS.intersection(kinds):
            fen = sum(fee for fee, other in zip(chunk.fees, kinds, strict=True) if other == kind)
            self._refunds[kind] = self._refunds.get(kind, Sum()).plus(kinds.count(kind), fen)

    def _note_numbers(self, batch: Batch, chunk: Chunk) -> None:
        if self.side != LIST or not self.fields.issuperset(NUMBER):
            return
        columns = [batch[NUMBER[0]], batch[NUMBER[1]], chunk.fees]
        outside = [mark.scope == OUT for mark in self.tables.marks.all]
        if any(outside):
            rows = [at for at, mark in enumerate(chunk.marks) if not outside[mark]]
            columns = [[column[at] for at in rows] for column in columns]
        self.ranges.add(*columns)


def _keys(batch: Batch, keys: Sequence[str], kinds: Sequence[str], fields: Fields) -> list[str]:
    """Keys in which a red or a paper row is not taken for the bill that has the same order."""
    own = batch.keys(NUMBER) if fields.numbered else keys
    columns = zip(keys, own, kinds, strict=True)
    return [
        apart_key(kind, own if len(own) > 1 else key) if kind in APART else key
        for key, own, kind in columns
    ]


def _signed(fees: Sequence[int], kinds: Sequence[str]) -> list[int]:
    return [-abs(fee) if kind in REFUNDS else fee for fee, kind in zip(fees, kinds, strict=True)]
