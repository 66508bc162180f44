"""Pairs the rows of two sides by key. Pure: it knows columns of numbers and texts, no files.

One side is held, and the other streams past it, a slab at a time. Rows that pair off cleanly (one
on each side, all fields the same, nothing special about them) are only counted. All others come
out of `groups()`, key by key, for `Judge` to look at.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import compress, repeat
from typing import NamedTuple

from nontax.reconciliation.compare import Fields
from nontax.reconciliation.rows import (
    LIST,
    OTHER,
    OUT,
    SEPARATOR,
    Chunk,
    Group,
    Row,
    Tables,
    key_of,
)
from nontax.reconciliation.shelf import BUCKETS, Shelf, bucket_of
from nontax.reconciliation.sums import Sum
from nontax.reconciliation.tally import Tally

# What is known of a held row.
_FREE, _TAKEN, _AGAIN, _SPECIAL = range(4)  # AGAIN: taken, and its key came again
_LEFT = bytes(state != _TAKEN for state in range(256))
SLAB = 1 << 16  # rows of the smallest slab


class KeyGroup(NamedTuple):
    """All rows of one key that belong into the report.

    taken: whether the first row of both sides is a pair that was counted already.
    """

    key: str
    list_rows: list[Row]
    other_rows: list[Row]
    taken: bool = False


class Matcher:
    """Holds one side (LIST or OTHER), then takes the other.

    fields: how texts and times are compared. tables: those of both sides, the list's first.
    """

    def __init__(self, held: int, fields: Fields, tables: tuple[Tables, Tables]) -> None:
        self._side = held
        self._fields = fields
        self._tables = tables
        self._held = Shelf(held, tables[held])
        self._streamed = Shelf(1 - held, tables[1 - held])
        self._what: list[bytearray] = []  # by bucket, of each held row
        self._known: Callable[[str], bool] | None = None
        self._pending: list[dict[str, list[Row]]] = [{} for _ in range(BUCKETS)]
        self._tally = Tally(held, tables)
        self.outside = {LIST: [0, 0], OTHER: [0, 0]}  # rows outside the period: count and fen
        self.reversed: dict[int, set[str]] = {LIST: set(), OTHER: set()}  # numbers with a red row

    def hold(self, chunk: Chunk) -> None:
        """Keep some rows of the held side."""
        self._held.add(chunk)
        self.reversed[self._side].update(chunk.related.values())

    def stream(self, chunk: Chunk) -> None:
        """Take some rows of the other side; those of the held side are complete."""
        self.reversed[1 - self._side].update(chunk.related.values())
        chunk = self._of_interest(chunk)
        if not chunk.keys:
            return
        self._streamed.add(chunk)
        self._tally.add(chunk)
        # As many as are held: then each held row is looked at about once a slab.
        if len(self._streamed) >= max(SLAB, len(self._held)):
            self._pair()

    def finish(self) -> None:
        """Pair what is left: there are no more rows."""
        if len(self._streamed) or not self._what:
            self._pair()

    def _of_interest(self, chunk: Chunk) -> Chunk:
        """Leave out rows outside the period whose key the held side does not have.

        A long ledger is almost all such rows.
        """
        out = [mark.scope == OUT for mark in self._tables[1 - self._side].marks.all]
        if not any(out) or not any(map(out.__getitem__, set(chunk.marks))):
            return chunk
        if self._known is None:
            self._known = self._held.filter()
        known = self._known
        keep = [
            not out[mark] or known(key) for mark, key in zip(chunk.marks, chunk.keys, strict=True)
        ]
        gone = keep.count(False)
        kept = chunk.only(keep) if gone else chunk
        self._outside(1 - self._side, gone, sum(chunk.fees) - sum(kept.fees))
        return kept

    # A slab

    def _pair(self) -> None:
        slab = self._streamed
        self._streamed = Shelf(slab.side, slab.tables)
        plain = [mark.plain for mark in slab.tables.marks.all]
        all_plain = all(map(plain.__getitem__, set(slab.marks)))
        for bucket in range(BUCKETS):
            held, streamed = self._bucket(bucket), slab.lines(bucket)
            if streamed:
                places = slab.places(bucket)
                apart = () if all_plain else [not plain[slab.marks[place]] for place in places]
                self._pair_bucket(held, slab, streamed, places, apart)

    def _bucket(self, number: int) -> "_Bucket":
        lines = self._held.lines(number)
        keys = [line.rpartition(SEPARATOR)[2] for line in lines]
        last = len(keys) - 1
        by_key = dict(zip(reversed(keys), range(last, -1, -1), strict=True))
        if len(self._what) == number:
            self._what.append(self._examined(number, keys, by_key))
        pending = self._pending[number]
        return _Bucket(lines, by_key, self._what[number], self._held.places(number), pending)

    def _examined(self, bucket: int, keys: list[bytes], by_key: dict[bytes, int]) -> bytearray:
        """What is known of the held rows before any is taken; one more stands for all unknown."""
        special = [_FREE if mark.plain else _SPECIAL for mark in self._held.tables.marks.all]
        if any(special):
            marks = map(self._held.marks.__getitem__, self._held.places(bucket))
            what = bytearray(map(special.__getitem__, marks))
        else:
            what = bytearray(len(keys))
        if len(by_key) != len(keys):
            for at, key in enumerate(keys):
                if by_key[key] != at:
                    what[by_key[key]] = what[at] = _SPECIAL
        what.append(_SPECIAL)
        return what

    def _pair_bucket(
        self,
        held: "_Bucket",
        slab: Shelf,
        streamed: list[bytes],
        places: Sequence[int],
        apart: Sequence[bool],
    ) -> None:
        """Take each held row that is the same as a streamed one; keep the other streamed rows.

        apart: whether each streamed row is not plain; () if all are.
        """
        what = held.what
        unknown = len(held.lines)
        index = dict(zip(held.lines, range(unknown), strict=True))
        left = []
        pairs = []
        by_pair = self._tally.by_pair
        for at, place in enumerate(map(index.get, streamed, repeat(unknown))):
            if what[place] or (apart and apart[at]):
                left.append(at)
            else:
                what[place] = _TAKEN
                if by_pair:
                    pairs.append((held.places[place], places[at]))
        self._tally.left(slab, [places[at] for at in left])
        for at in left:
            line = streamed[at]
            place = held.by_key.get(key_of(line), unknown)
            plain = not (apart and apart[at])
            if plain and what[place] == _FREE and self._fields.alike(held.lines[place], line):
                what[place] = _TAKEN
                pairs.append((held.places[place], places[at]))
            else:
                self._set_aside(held, place, slab.row(line, places[at]))
        if pairs:
            self._tally.pairs(self._held, slab, pairs)

    def _set_aside(self, held: "_Bucket", place: int, row: Row) -> None:
        if place == len(held.lines) and row.mark.scope == OUT:
            self._outside(row.side, 1, row.fee)
            return
        held.pending.setdefault(row.key, []).append(row)
        if held.what[place] == _TAKEN:
            held.what[place] = _AGAIN

    def _outside(self, side: int, rows: int, fen: int) -> None:
        self.outside[side][0] += rows
        self.outside[side][1] += fen

    # What is left

    def matched(self) -> Iterator[tuple[Group, Group, Sum]]:
        """The pairs that were only counted, by the groups of both sides."""
        return self._tally.sums()

    def groups(self) -> Iterator[KeyGroup]:
        """All keys whose rows did not just pair off; in no order."""
        for bucket, (what, pending) in enumerate(zip(self._what, self._pending, strict=True)):
            held = self._left(bucket, what)
            for key in dict.fromkeys([*pending, *held]):
                group = self._group(key, held.get(key, []), pending.get(key, []))
                if group is not None:
                    yield group

    def _left(self, bucket: int, what: bytearray) -> dict[str, list[tuple[Row, bool]]]:
        """The held rows of the keys that did not just pair off, and whether they are taken."""
        found: dict[str, list[tuple[Row, bool]]] = {}
        if what.count(_TAKEN) == len(what) - 1:
            return found
        rows = zip(self._held.lines(bucket), self._held.places(bucket), what, strict=False)
        for line, place, state in compress(rows, what.translate(_LEFT)):
            row = self._held.row(line, place)
            found.setdefault(row.key, []).append((row, state == _AGAIN))
        return found

    def _group(
        self, key: str, held: list[tuple[Row, bool]], streamed: list[Row]
    ) -> KeyGroup | None:
        rows = [row for row, _ in held]
        if held and held[0][1]:
            both = {self._side: rows, 1 - self._side: [self._partner(rows[0]), *streamed]}
            return KeyGroup(key, both[LIST], both[OTHER], taken=True)
        return self._sorted_out(key, rows, streamed)

    def _partner(self, row: Row) -> Row:
        """What a held row paired off with: only what was not compared of it is gone."""
        marks = self._tables[1 - self._side].marks
        mark = next(mark for mark in marks.all if mark.plain)
        return row._replace(side=1 - self._side, mark=mark, more=b"")

    def _sorted_out(self, key: str, held: list[Row], streamed: list[Row]) -> KeyGroup | None:
        """Leave out rows outside the period that nothing in the period has to do with."""
        rows = {
            self._side: self._belonging(held, streamed),
            1 - self._side: self._belonging(streamed, held),
        }
        return KeyGroup(key, rows[LIST], rows[OTHER]) if any(rows.values()) else None

    def _belonging(self, rows: list[Row], opposite: list[Row]) -> list[Row]:
        if any(row.mark.scope != OUT for row in opposite):
            return rows
        for row in rows:
            if row.mark.scope == OUT:
                self._outside(row.side, 1, row.fee)
        return [row for row in rows if row.mark.scope != OUT]

    def numbered(self, wanted: set[str]) -> Iterator[Row]:
        """The rows of both sides that have one of these numbers ("code number").

        Left out are streamed rows outside the period without a partner: they are not kept.
        """
        for row, paired in self._held_with(wanted):
            yield row
            if paired:
                yield self._partner(row)
        for pending in self._pending:
            for rows in pending.values():
                yield from (row for row in rows if self._fields.number(row) in wanted)

    def _held_with(self, wanted: set[str]) -> Iterator[tuple[Row, bool]]:
        """The held rows with these numbers, and whether they have paired off."""
        where = self._fields.where_number(self._side)
        between = " " if where == "key" else SEPARATOR.decode()
        heads = {number.replace(" ", between).encode() for number in wanted}
        for bucket in set(map(bucket_of, wanted)) if where == "key" else range(BUCKETS):
            lines = self._held.lines(bucket)
            texts = lines
            if where == "key":
                texts = list(map(key_of, lines))
            elif where != "line":
                texts = self._held.more(bucket) if where == "more" else []
            for at in _beginning(texts, heads):
                row = self._held.row(lines[at], self._held.places(bucket)[at])
                if self._fields.number(row) in wanted:
                    yield row, self._what[bucket][at] in (_TAKEN, _AGAIN)


class _Bucket(NamedTuple):
    """The held rows of a bucket: lines, the first of each key, states, places; pending rows."""

    lines: list[bytes]
    by_key: dict[bytes, int]
    what: bytearray
    places: Sequence[int]
    pending: dict[str, list[Row]]


def _beginning(texts: Sequence[bytes], heads: set[bytes]) -> list[int]:
    """Which texts begin with one of these heads."""
    found: set[int] = set()
    for width in set(map(len, heads)):
        found.update(at for at, text in enumerate(texts) if text[:width] in heads)
    return sorted(found)
