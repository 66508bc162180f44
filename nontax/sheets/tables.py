"""What every kind of file looks like to the rest: a head, then blocks of columns."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

Row = tuple[int, Sequence[object]]


class Block(NamedTuple):
    """Some rows that have as many cells as the header, column by column.

    rows: their numbers, from 1. columns: as many as the header has; each as long as rows.
    """

    rows: Sequence[int]
    columns: Sequence[Sequence[object]]


class OddRow(NamedTuple):
    """A row that has fewer or more cells than the header."""

    row: int
    cells: Sequence[object]


class Table(Protocol):
    """One table in a file: its first rows, and what follows behind the header."""

    format: str
    encoding: str
    sheet: str

    def head(self) -> Sequence[Row]:
        """Return the first rows: the header and what may stand above it."""

    def blocks(self, header: int, width: int) -> Iterator[Block | OddRow]:
        """Yield what stands below the header.

        header: index in `head()` of the header's last row. width: how many cells it has.
        """


def by_columns(rows: Sequence[Row], width: int) -> Iterator[Block | OddRow]:
    """Turn rows into blocks of columns, in their order.

    Empty cells beyond the header's width are cut off; missing ones are not made up, unless the row
    is empty.
    """
    kept: list[Sequence[object]] = []
    numbers: list[int] = []
    for number, cells in rows:
        if len(cells) > width and not any(map(_filled, cells[width:])):
            cells = cells[:width]
        if not any(map(_filled, cells)):
            cells = [""] * width
        if len(cells) == width:
            kept.append(cells)
            numbers.append(number)
            continue
        if kept:
            yield Block(numbers, list(zip(*kept, strict=True)))
            kept, numbers = [], []
        yield OddRow(number, cells)
    if kept:
        yield Block(numbers, list(zip(*kept, strict=True)))


def _filled(cell: object) -> bool:
    return cell is not None and cell != ""
