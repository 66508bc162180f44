"""Keeps the rows of one side, spread over buckets by their keys.

A dictionary of a million rows makes the processor wait for memory at each look-up. The rows of one
bucket fit into its cache, and rows that have the same key are in the same bucket on both sides.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from nontax.reconciliation.rows import ROW_END, Chunk, Row, Tables, key_of, text_of

BUCKETS = 256
_LAST = BUCKETS - 1
_AT_ONCE = 4096  # rows that wait to be joined: so many lie in the cache, too


class Shelf:
    """Rows as columns, by place: 0, 1, 2 … in the order in which they came.

    side: LIST or OTHER. tables: the side's.
    """

    def __init__(self, side: int, tables: Tables) -> None:
        self.side = side
        self.tables = tables
        self.fees = array("q")
        self.times = array("q")
        self.marks = bytearray()
        self.units = array("I")
        self._starts: list[int] = []  # where each chunk begins, and its row numbers
        self._rows: list[Sequence[int]] = []
        self._more: list[bytes] = []
        self._related: dict[int, str] = {}
        self._own: dict[int, str] = {}
        self._waiting: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        self._joined: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        self._places = [array("I") for _ in range(BUCKETS)]
        self._hashes = array("q")
        self._to_join = 0

    def __len__(self) -> int:
        return len(self.fees)

    def add(self, chunk: Chunk) -> None:
        """Keep some rows."""
        start = len(self.fees)
        end = start + len(chunk.keys)
        self.fees.extend(array("q", chunk.fees))
        self.times.extend(array("q", chunk.times))
        self.marks.extend(chunk.marks)
        self.units.extend(array("I", list(chunk.units)))
        self._starts.append(start)
        self._rows.append(chunk.rows)
        if chunk.more is not None:
            self._more.extend(chunk.more)
        self._own.update((start + place, key) for place, key in chunk.own.items())
        self._related.update((start + place, text) for place, text in chunk.related.items())
        hashes = list(map(hash, chunk.keys))
        self._hashes.extend(array("q", hashes))
        buckets = [number & _LAST for number in hashes]
        _run(map(list.append, map(self._waiting.__getitem__, buckets), chunk.lines))
        _run(map(array.append, map(self._places.__getitem__, buckets), range(start, end)))
        self._to_join += end - start
        if self._to_join >= _AT_ONCE:
            self._join()

    def _join(self) -> None:
        for joined, waiting in zip(self._joined, self._waiting, strict=True):
            if waiting:
                joined.append(ROW_END.join(waiting))
                waiting.clear()
        self._to_join = 0

    def filter(self) -> Callable[[str], bool]:
        """Tells of a key whether rows may have it: never wrongly that none has it."""
        mask = (1 << (8 * len(self)).bit_length()) - 1
        marks = bytearray(mask + 1)
        for number in self._hashes:
            marks[number & mask] = 1
        return lambda key: bool(marks[hash(key) & mask])

    def lines(self, bucket: int) -> list[bytes]:
        """The lines of a bucket's rows, in the order in which they came."""
        if self._to_join:
            self._join()
        joined = self._joined[bucket]
        return ROW_END.join(joined).split(ROW_END) if joined else []

    def places(self, bucket: int) -> Sequence[int]:
        """The places of the same rows."""
        return self._places[bucket]

    def more(self, bucket: int) -> list[bytes]:
        """Their fields that are shown and not compared; [] if there are none."""
        return [self._more[place] for place in self._places[bucket]] if self._more else []

    def row(self, line: bytes, place: int) -> Row:
        """The row with this line, at this place."""
        chunk = bisect_right(self._starts, place) - 1
        time = self.times[place]
        return Row(
            self.side,
            key_of(line).decode(),
            self.fees[place],
            time,
            text_of(line),
            self.tables.marks.all[self.marks[place]],
            self.tables.group(self.units[place], time),
            self._rows[chunk][place - self._starts[chunk]],
            self._more[place] if self._more else b"",
            self._related.get(place, ""),
            self._own.get(place, ""),
        )


def bucket_of(key: str) -> int:
    """The bucket of all rows with a key."""
    return hash(key) & _LAST


def _run(calls: Iterable[object]) -> None:
    deque(calls, maxlen=0)
