"""What both sides of a reconciliation are made of: rows in parallel columns, and their marks."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

SEPARATOR = b"\x1f"

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
    unknown. texts: the compared fields, UTF-8, joined by SEPARATOR. marks (bytes), units: numbers
    in the side's tables. rows: row numbers of the file, or ids of the ledger.
    more: further fields that are shown and not compared, joined alike, or None.
    By place in this chunk: related: of a red row, the number of its original ("code number").
    own: what would be the key of a row that is paired by its number instead, such as a red one.
    """

    keys: Sequence[str]
    fees: Sequence[int]
    times: Sequence[int]
    texts: Sequence[bytes]
    marks: bytes
    units: Sequence[int]
    rows: Sequence[int]
    more: Sequence[bytes] | None = None
    related: Mapping[int, str] = {}
    own: Mapping[int, str] = {}

    def row(self, at: int, side: int, tables: Tables) -> Row:
        """The row at a place."""
        return Row(
            side,
            self.keys[at],
            self.fees[at],
            self.times[at],
            self.texts[at],
            tables.marks.all[self.marks[at]],
            tables.group(self.units[at], self.times[at]),
            self.rows[at],
            self.more[at] if self.more is not None else b"",
            self.related.get(at, ""),
            self.own.get(at, ""),
        )
