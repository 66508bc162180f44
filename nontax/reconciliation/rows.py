"""What both sides of a reconciliation are made of: rows in parallel columns, and their marks."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import compress
from typing import Generic, NamedTuple, TypeVar

SEPARATOR = b"\x1f"
ROW_END = b"\x1e"
_BETWEEN_ROWS = SEPARATOR + ROW_END + SEPARATOR

_BETWEEN = SEPARATOR.decode()
_ROW_END = ROW_END.decode()
_CLASH = str.maketrans({_BETWEEN: " ", _ROW_END: " "})

DAY = 86400

LIST = 0
OTHER = 1

# Where a row's time stands in relation to the period.
IN = "in"
NEAR = "near"  # in the period, so close to its end that the other side may have the row next time
OUT = "out"
CARRIED = "carried"  # from the period before

# Amounts that leave; shown apart from those that come in.
REFUNDS = frozenset({"red", "red_paper"})
# Rows of other documents: they share an order with the bill, not its key.
APART = frozenset({"red", "red_paper", "paper", "blank_paper"})


class Mark(NamedTuple):
    """What a row is, apart from its fields. Few rows differ from the first mark of their side.

    kind: as `nontax.sheets` tells it: "bill", "red", "cancelled", "paper", "void" …
    scope: IN, NEAR, OUT or CARRIED.
    state: of a ledger's bill; "" in a list.
    code_known: whether the card code in the wallet is known. cancelled: whether the wallet was
        told that the bill was reversed. expired: whether its PDF is too old and cannot be
        uploaded again. not_authorised: whether WeChat refused it for want of authorisation.
    """

    kind: str = "bill"
    scope: str = IN
    state: str = ""
    code_known: bool = True
    cancelled: bool = False
    expired: bool = False
    not_authorised: bool = False

    @property
    def plain(self) -> bool:
        """Whether a row of this mark matches another one as soon as their fields are equal."""
        return (
            self.kind == "bill"
            and self.scope in (IN, NEAR)
            and self.state in ("", "inserted")
            and self.code_known
            and not self.cancelled
        )


class Group(NamedTuple):
    """What totals are made by. unit: who issues the bill. day: the business day, see `Period`."""

    unit: str = ""
    point: str = ""
    card: str = ""
    day: int = 0


_T = TypeVar("_T", bound=Hashable)


class Table(dict[_T, int], Generic[_T]):
    """Values that are the same in many rows, each with its number: table[value], table.all."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[_T] = []

    def __missing__(self, value: _T) -> int:
        number = self[value] = len(self.all)
        self.all.append(value)
        return number


class Tables:
    """What is the same in many rows of one side: marks, and units with points and cards.

    shift: seconds from a time to the begin of its business day's date, see `Period.day`.
    """

    def __init__(self) -> None:
        self.marks: Table[Mark] = Table()
        self.units: Table[tuple[str, str, str]] = Table()
        self.shift = 0

    def days(self, times: Sequence[int]) -> list[int]:
        """The business day of each time; 0 for 0."""
        shift = self.shift
        early, late = (min(times) + shift) // DAY, (max(times) + shift) // DAY
        if early == late:
            return [early] * len(times)
        if all(times):
            return [(time + shift) // DAY for time in times]
        return [(time + shift) // DAY if time else 0 for time in times]

    def group(self, unit: int, time: int) -> Group:
        """The group of a row with this number of a unit and this time."""
        return Group(*self.units.all[unit], self.days((time,))[0] if time else 0)


class Row(NamedTuple):
    """One row that must be looked at or shown."""

    side: int
    key: str
    fee: int
    time: int
    text: bytes
    mark: Mark
    group: Group
    row: int
    more: bytes = b""
    related: str = ""
    own: str = ""


class Chunk(NamedTuple):
    """Some rows of one side, as columns of the same length.

    keys: text that pairs the rows of both sides. fees: fen (int). times: Unix seconds (int), 0 if
    unknown. lines: see `lines_of`. marks (bytes), units: numbers in the side's tables. rows: row
    numbers of the file, or ids of the ledger.
    more: further fields that are shown and not compared, joined alike, or None.
    By place in this chunk: related: of a red row, the number of its original ("code number").
    own: what would be the key of a row that is paired by its number instead, such as a red one.
    """

    keys: Sequence[str]
    fees: Sequence[int]
    times: Sequence[int]
    lines: Sequence[bytes]
    marks: bytes
    units: Sequence[int]
    rows: Sequence[int]
    more: Sequence[bytes] | None = None
    related: Mapping[int, str] = {}
    own: Mapping[int, str] = {}

    def only(self, keep: Sequence[bool]) -> "Chunk":
        """The chosen rows."""
        places = list(compress(range(len(keep)), keep))
        new = {place: at for at, place in enumerate(places)}
        return Chunk(
            list(compress(self.keys, keep)),
            list(compress(self.fees, keep)),
            list(compress(self.times, keep)),
            list(compress(self.lines, keep)),
            bytes(compress(self.marks, keep)),
            list(compress(self.units, keep)),
            list(compress(self.rows, keep)),
            None if self.more is None else list(compress(self.more, keep)),
            {new[at]: number for at, number in self.related.items() if at in new},
            {new[at]: key for at, key in self.own.items() if at in new},
        )

    def row(self, at: int, side: int, tables: Tables) -> Row:
        """The row at a place."""
        return Row(
            side,
            self.keys[at],
            self.fees[at],
            self.times[at],
            text_of(self.lines[at]),
            tables.marks.all[self.marks[at]],
            tables.group(self.units[at], self.times[at]),
            self.rows[at],
            self.more[at] if self.more is not None else b"",
            self.related.get(at, ""),
            self.own.get(at, ""),
        )


def lines_of(
    columns: Sequence[Sequence[str]], fees: Sequence[str], times: Sequence[str], keys: Sequence[str]
) -> list[bytes]:
    """All that is compared of each row as one text: two rows are the same if their lines are.

    A line is UTF-8: the compared fields (one, if there are none), amount, time and key, joined by
    SEPARATOR. The number comes first, where it is compared: it is looked for.
    """
    return joined([*(columns or [[""] * len(keys)]), fees, times, keys])


def texts(numbers: Sequence[int]) -> list[str]:
    """Whole numbers as texts."""
    return list(map(int.__repr__, numbers))


def joined(columns: Sequence[Sequence[str]]) -> list[bytes]:
    """The fields of each row as one text."""
    count, width = len(columns[0]), len(columns) + 1
    cells = [_ROW_END] * (width * count)
    for place, column in enumerate(columns):
        cells[place::width] = column
    text = _BETWEEN.join(cells[:-1]).encode("utf-8", "backslashreplace")
    rows = text.split(_BETWEEN_ROWS)
    if count and (len(rows) != count or text.count(SEPARATOR) != width * count - 2):
        return joined([[cell.translate(_CLASH) for cell in column] for column in columns])
    return rows


def key_of(line: bytes) -> bytes:
    """The key of a line."""
    return line[line.rindex(SEPARATOR) + 1 :]


def text_of(line: bytes) -> bytes:
    """The compared fields of a line."""
    return line.rsplit(SEPARATOR, 3)[0]
