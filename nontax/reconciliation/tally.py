"""Counts the pairs that are the same on both sides, by the units of both and the day."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from nontax.reconciliation.rows import LIST, Chunk, Group, Tables
from nontax.reconciliation.shelf import Shelf
from nontax.reconciliation.sums import Sum


class Tally:
    """held: the side that is held, complete before anything is counted. tables: of both sides.

    Where the held side has one unit, all streamed rows are counted as they come, and those that are
    left are taken off again: that is faster than to look at each pair.
    """

    def __init__(self, held: int, tables: tuple[Tables, Tables]) -> None:
        self._held = held
        self._tables = tables
        self._days = tables[1 - held].days
        # By the units of held and streamed side, and the day.
        self._counts: defaultdict[tuple[int, int, int], int] = defaultdict(int)
        self._fen: defaultdict[tuple[int, int, int], int] = defaultdict(int)

    @property
    def by_pair(self) -> bool:
        """Whether each pair must be counted by itself."""
        return len(self._tables[self._held].units.all) > 1

    def add(self, chunk: Chunk) -> None:
        """Count streamed rows."""
        if self.by_pair:
            return
        units, fees, days = chunk.units, chunk.fees, self._days(chunk.times)
        if units.count(units[0]) == len(units):
            if days.count(days[0]) == len(days):
                self._add(0, units[0], days[0], len(days), sum(fees))
                return
            by_day: defaultdict[int, list[int]] = defaultdict(list)
            for day, fee in zip(days, fees, strict=True):
                by_day[day].append(fee)
            for day, of_day in by_day.items():
                self._add(0, units[0], day, len(of_day), sum(of_day))
            return
        for unit, day, fee in zip(units, days, fees, strict=True):
            self._add(0, unit, day, 1, fee)

    def left(self, slab: Shelf, places: Sequence[int]) -> None:
        """Take off streamed rows that were counted and are no clean pairs."""
        if self.by_pair or not places:
            return
        days = self._days([slab.times[place] for place in places])
        for place, day in zip(places, days, strict=True):
            self._add(0, slab.units[place], day, -1, -slab.fees[place])

    def pairs(self, held: Shelf, slab: Shelf, pairs: Sequence[tuple[int, int]]) -> None:
        """Count pairs of places in both; the day is the list's, if it states one."""
        if self._held == LIST:
            times = [held.times[one] or slab.times[two] for one, two in pairs]
        else:
            times = [slab.times[two] or held.times[one] for one, two in pairs]
        for (one, two), day in zip(pairs, self._days(times), strict=True):
            self._add(held.units[one], slab.units[two], day, 1, slab.fees[two])

    def _add(self, mine: int, theirs: int, day: int, rows: int, fen: int) -> None:
        self._counts[mine, theirs, day] += rows
        self._fen[mine, theirs, day] += fen

    def sums(self) -> Iterator[tuple[Group, Group, Sum]]:
        """What was counted, by the groups of list and other side."""
        mine, theirs = self._tables[self._held], self._tables[1 - self._held]
        for (one, two, day), rows in self._counts.items():
            if rows:
                groups = (Group(*mine.units.all[one], day), Group(*theirs.units.all[two], day))
                ordered = groups if self._held == LIST else groups[::-1]
                yield *ordered, Sum(rows, self._fen[one, two, day])
