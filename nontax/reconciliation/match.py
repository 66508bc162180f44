"""Pairs the rows of two sides by key. Pure: it knows columns of numbers and texts, no files.

One side is held, column by column, and the other streams past it. Rows that pair off cleanly (one
on each side, all fields the same, nothing special about them) are only counted. All others come
out of `groups()`, key by key, for `Judge` to look at.
"""

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import compress, repeat
from typing import NamedTuple

from nontax.reconciliation.compare import NUMBER, Fields
from nontax.reconciliation.rows import LIST, OTHER, OUT, Chunk, Group, Row, Tables
from nontax.reconciliation.sums import Sum

# What is known of a held row.
_FREE, _TAKEN, _SPECIAL = range(3)
_LEFT = bytes(state != _TAKEN for state in range(256))


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

    fields: how texts and times are compared.
    tables: those of both sides, the list's first.
    """

    def __init__(self, held: int, fields: Fields, tables: tuple[Tables, Tables]) -> None:
        self._held = held
        self._fields = fields
        self._both_tables = tables
        self._tables = tables[held]
        self._streamed = tables[1 - held]
        self._index: dict[str, int] = {}
        self._fees = array("q")
        self._times = array("q")
        self._texts: list[bytes | None] = []
        self._marks = bytearray()
        self._units = array("I")
        self._starts: list[int] = []  # where each chunk begins, and its row numbers
        self._rows: list[Sequence[int]] = []
        self._more: list[bytes] = []
        self._what = bytearray()
        self._again: dict[str, list[int]] = {}  # further held rows of a key
        self._related: dict[int, str] = {}
        self._own: dict[int, str] = {}
        self._pending: dict[str, list[Row]] = {}
        self._sealed = False
        # Clean pairs by the units of list and other side, and the day: count and fen.
        self._counts: defaultdict[tuple[int, int, int], int] = defaultdict(int)
        self._sums: defaultdict[tuple[int, int, int], int] = defaultdict(int)
        self.outside = {LIST: [0, 0], OTHER: [0, 0]}  # rows outside the period: count and fen
        self.reversed: dict[int, set[str]] = {LIST: set(), OTHER: set()}  # numbers with a red row

    # The held side

    def hold(self, chunk: Chunk) -> None:
        """Keep some rows of the held side."""
        start = len(self._fees)
        known = len(self._index)
        places = range(start, start + len(chunk.keys))
        firsts = list(map(self._index.setdefault, chunk.keys, places))
        self._fees.extend(array("q", chunk.fees))
        self._times.extend(array("q", chunk.times))
        self._texts.extend(chunk.texts)
        self._marks.extend(chunk.marks)
        self._units.extend(array("I", list(chunk.units)))
        self._starts.append(start)
        self._rows.append(chunk.rows)
        if chunk.more is not None:
            self._more.extend(chunk.more)
        special = bytes(_FREE if mark.plain else _SPECIAL for mark in self._tables.marks.all)
        self._what.extend(chunk.marks.translate(special.ljust(256, b"\0")))
        if len(self._index) != known + len(firsts):
            self._note_repeats(chunk, firsts, start)
        self._own.update((start + place, key) for place, key in chunk.own.items())
        for place, number in chunk.related.items():
            self._related[start + place] = number
            self.reversed[self._held].add(number)

    def _note_repeats(self, chunk: Chunk, firsts: list[int], start: int) -> None:
        for place, first in enumerate(firsts, start):
            if first == place:
                continue
            self._again.setdefault(chunk.keys[place - start], []).append(place)
            self._what[first] = self._what[place] = _SPECIAL

    def _seal(self) -> None:
        """Append a row that equals nothing: what the index gives for an unknown key."""
        for column in (self._fees, self._times, self._marks, self._units, self._what):
            column.append(0)
        self._texts.append(None)
        self._sealed = True

    def _held_row(self, key: str, place: int) -> Row:
        chunk = bisect_right(self._starts, place) - 1
        time = self._times[place]
        return Row(
            self._held,
            key,
            self._fees[place],
            time,
            self._texts[place] or b"",
            self._tables.marks.all[self._marks[place]],
            self._tables.group(self._units[place], time),
            self._rows[chunk][place - self._starts[chunk]],
            self._more[place] if self._more else b"",
            self._related.get(place, ""),
            self._own.get(place, ""),
        )

    # The streamed side

    def stream(self, chunk: Chunk) -> None:
        """Pair some rows of the other side with those held."""
        if not self._sealed:
            self._seal()
        unknown = len(self._fees) - 1
        places = list(map(self._index.get, chunk.keys, repeat(unknown)))
        special = [not mark.plain for mark in self._streamed.marks.all]
        apart: set[int] = set()
        if any(map(special.__getitem__, set(chunk.marks))):
            apart = {at for at, mark in enumerate(chunk.marks) if special[mark]}
        left = self._pair(chunk, places, apart)
        self._count(chunk, places, left)
        left = [at for at in left if not self._pairs(chunk, at, places[at])]
        self._set_aside(chunk, left, places, unknown)
        self.reversed[1 - self._held].update(chunk.related.values())

    def _pair(self, chunk: Chunk, places: list[int], apart: set[int]) -> list[int]:
        """Take each held row that is the same. Return the places in the chunk of the other rows.

        apart: rows that are not plain.
        """
        held_texts, held_fees, held_times, what = self._texts, self._fees, self._times, self._what
        left = []
        columns = zip(places, chunk.texts, chunk.fees, chunk.times, strict=True)
        for at, (place, text, fee, time) in enumerate(columns):
            if (
                held_texts[place] == text
                and held_fees[place] == fee
                and held_times[place] == time
                and not what[place]
                and not (apart and at in apart)
            ):
                what[place] = _TAKEN
            else:
                left.append(at)
        return left

    def _pairs(self, chunk: Chunk, at: int, place: int) -> bool:
        """Whether a row pairs off cleanly although it is not the same byte for byte."""
        text = self._texts[place]
        if (
            text is None
            or self._what[place] != _FREE
            or self._fees[place] != chunk.fees[at]
            or not self._streamed.marks.all[chunk.marks[at]].plain
            or not self._fields.same_time(self._times[place], chunk.times[at])
            or any(self._fields.differing(text, chunk.texts[at]))
        ):
            return False
        self._what[place] = _TAKEN
        units = (self._units[place], chunk.units[at])
        times = (self._times[place], chunk.times[at])
        if self._held == OTHER:
            units, times = units[::-1], times[::-1]
        time = times[LIST] or times[OTHER]
        group = (*units, self._tables.group(0, time).day)
        self._counts[group] += 1
        self._sums[group] += chunk.fees[at]
        return True

    def _set_aside(self, chunk: Chunk, slow: list[int], places: list[int], unknown: int) -> None:
        outside = self.outside[1 - self._held]
        for at in slow:
            mark = self._streamed.marks.all[chunk.marks[at]]
            if mark.scope == OUT and places[at] == unknown:
                outside[0] += 1
                outside[1] += chunk.fees[at]
                continue
            row = chunk.row(at, 1 - self._held, self._streamed)
            self._pending.setdefault(row.key, []).append(row)

    def _count(self, chunk: Chunk, places: list[int], left: list[int]) -> None:
        """Count what is the same, by the units of both sides and the day.

        left: rows that are not.
        """
        if len(left) == len(places):
            return
        fees, units, counts, sums = chunk.fees, chunk.units, self._counts, self._sums
        days = self._streamed.days(chunk.times)
        if len(self._tables.units.all) == len(self._streamed.units.all) == 1:
            # All are counted, and then those left are taken off again: that is faster.
            by_day: defaultdict[int, list[int]] = defaultdict(list)
            for day, fee in zip(days, fees, strict=True):
                by_day[day].append(fee)
            for day, of_day in by_day.items():
                counts[0, 0, day] += len(of_day)
                sums[0, 0, day] += sum(of_day)
            for at in left:
                counts[0, 0, days[at]] -= 1
                sums[0, 0, days[at]] -= fees[at]
            return
        held_units = self._units
        off = set(left)
        for at, place in enumerate(places):
            if at not in off:
                pair = (held_units[place], units[at])
                group = (*(pair if self._held == LIST else pair[::-1]), days[at])
                counts[group] += 1
                sums[group] += fees[at]

    # What is left

    def matched(self) -> Iterator[tuple[Group, Group, Sum]]:
        """The pairs that were only counted, by the groups of both sides."""
        one, other = self._both_tables
        for (mine, theirs, day), rows in self._counts.items():
            if not rows:
                continue
            groups = (
                Group(*one.units.all[mine], day),
                Group(*other.units.all[theirs], day),
            )
            yield *groups, Sum(rows, self._sums[mine, theirs, day])

    def groups(self) -> Iterator[KeyGroup]:
        """All keys whose rows did not just pair off; in no order."""
        if not self._sealed:
            self._seal()
        for key, streamed in self._pending.items():
            place = self._index.get(key)
            group = (
                self._sorted_out(key, [], streamed)
                if place is None
                else self._group(key, place, streamed)
            )
            if group is not None:
                yield group
        for key, place in self._chosen(self._what.translate(_LEFT)):
            if key not in self._pending:
                group = self._group(key, place, [])
                if group is not None:
                    yield group

    def _chosen(self, mask: bytes | bytearray) -> Iterator[tuple[str, int]]:
        """The keys with the place of their first row, where the mask has a 1 there."""
        if not self._again:  # then the keys stand in the order of their places
            yield from compress(self._index.items(), mask)
            return
        for key, place in self._index.items():
            if mask[place]:
                yield key, place

    def _group(self, key: str, place: int, streamed: list[Row]) -> KeyGroup | None:
        held = [self._held_row(key, at) for at in (place, *self._again.get(key, ()))]
        if self._what[place] != _TAKEN:
            return self._sorted_out(key, held, streamed)
        rows = {self._held: held, 1 - self._held: [self._partner(held[0]), *streamed]}
        return KeyGroup(key, rows[LIST], rows[OTHER], taken=True)

    def _partner(self, row: Row) -> Row:
        """What a held row paired off with: only what was not compared of it is gone."""
        mark = next(mark for mark in self._streamed.marks.all if mark.plain)
        return row._replace(side=1 - self._held, mark=mark, more=b"")

    def _sorted_out(self, key: str, held: list[Row], streamed: list[Row]) -> KeyGroup | None:
        """Leave out rows outside the period that nothing in the period has to do with."""
        rows = {
            self._held: self._belonging(held, streamed),
            1 - self._held: self._belonging(streamed, held),
        }
        return KeyGroup(key, rows[LIST], rows[OTHER]) if any(rows.values()) else None

    def _belonging(self, rows: list[Row], opposite: list[Row]) -> list[Row]:
        if any(row.mark.scope != OUT for row in opposite):
            return rows
        for row in rows:
            if row.mark.scope == OUT:
                self.outside[row.side][0] += 1
                self.outside[row.side][1] += row.fee
        return [row for row in rows if row.mark.scope != OUT]

    def numbered(self, wanted: set[str]) -> Iterator[Row]:
        """The rows of both sides that have one of these numbers ("code number").

        Left out are streamed rows outside the period without a partner: they are not kept.
        """
        for key, place in self._places_of(wanted):
            row = self._held_row(key, place)
            if self._fields.number(row) not in wanted:
                continue
            yield row
            if self._what[place] == _TAKEN:
                yield self._partner(row)
        for rows in self._pending.values():
            yield from (row for row in rows if self._fields.number(row) in wanted)

    def _places_of(self, wanted: set[str]) -> Iterator[tuple[str, int]]:
        if self._fields.key == NUMBER:
            for number in wanted:
                place = self._index.get(number)
                if place is not None:
                    yield from ((number, at) for at in (place, *self._again.get(number, ())))
            return
        mask = bytearray(len(self._what))
        for place in self._fields.places_of_numbers(self._held, wanted, self._texts, self._more):
            mask[place] = 1
        yield from self._chosen(mask)
        for key, places in self._again.items():
            yield from ((key, place) for place in places if mask[place])
