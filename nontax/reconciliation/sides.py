"""What a side of a reconciliation must offer, and how two sides are compared with each other."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from nontax.errors import NontaxError
from nontax.reconciliation.compare import NUMBER, Fields
from nontax.reconciliation.period import Period
from nontax.reconciliation.ranges import Ranges
from nontax.reconciliation.rows import Chunk, Row, Tables
from nontax.reconciliation.sums import Sum

# In the order of preference. A side has a key if it has all its fields.
KEYS: dict[str, tuple[str, ...]] = {
    "order_id": ("order_id",),
    "billing": NUMBER,
    "business_no": ("business_no",),
}
# The number first: it is looked for.
TEXTS = (*NUMBER, "order_id", "business_no", "check_code", "card_id", "appid", "title")
SHOWN = (*NUMBER, "order_id", "business_no", "card_id", "title")


class Plan(NamedTuple):
    """What a side needs to know to make its chunks.

    carried: by key, the rows that the report before carried over for this side.
    """

    fields: Fields
    period: Period
    carried: Mapping[str, Mapping[str, Any]] = {}


class Source(NamedTuple):
    """Where a side's rows come from, as the report names it.

    kind: "list" or "ledger". digest: SHA-256 of the file's bytes, or of the ledger up to `upto`
    (the highest id of a bill); "" if there is none.
    """

    name: str
    kind: str
    digest: str = ""
    upto: int = 0


class Side(Protocol):
    """The list, or what it is reconciled against."""

    tables: Tables
    fields: frozenset[str]
    key: tuple[str, ...]  # of which it is sure that each row has them
    statement: bool  # whether its rows are payments, not bills
    time_field: str  # which field its times are; "" if it has none
    ranges: Ranges  # of its numbers, after all chunks were read
    first_time: int  # of its rows, after all chunks were read; 0 if no row has one
    last_time: int

    def size(self) -> int:
        """Roughly how many bytes or rows there are: the smaller side is held in memory."""

    def chunks(self, plan: Plan) -> Iterator[Chunk]:
        """All its rows, once."""

    def numbered(self, wanted: set[str]) -> Iterable[Row]:
        """Its rows outside the period with one of these numbers, after all chunks were read."""

    def totals(self) -> dict[str, Sum]:
        """Count and fen of all its rows by kind, added up in another way than over the chunks."""

    def source(self) -> Source:
        """Where its rows came from, after all chunks were read."""


class NoCommonKeyError(NontaxError, ValueError):
    """The two sides cannot be paired. Raised before anything is compared."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.outcome = "not_sent"


def common_key(one: Side, other: Side, wanted: str | None = None) -> str:
    """The name of the key that both sides have, one of KEYS.

    wanted: a name; None: the first that both have. Any other text is the header of a column that
    was read as order_id.
    """
    if wanted is not None and wanted not in KEYS:
        wanted = "order_id"
    for name, key in KEYS.items():
        if wanted in (None, name) and one.fields.issuperset(key) and other.fields.issuperset(key):
            return name
    raise NoCommonKeyError(
        f"the two sides have no key in common: key {wanted!r} needs {' and '.join(KEYS[wanted])} "
        "on both"
        if wanted
        else "the two sides have no key in common: both need the order_id, or 票据代码 and "
        "票据号码, or 业务流水号"
    )


def fields_for(one: Side, other: Side, key: tuple[str, ...]) -> Fields:
    """Which fields are compared, and which only shown."""
    left = [name for name in TEXTS if name not in key]
    common = one.fields & other.fields
    compared = tuple(name for name in left if name in common)
    shown = [
        tuple(name for name in SHOWN if name in side.fields and name not in (*key, *compared))
        for side in (one, other)
    ]
    # A payment has another time than its bill.
    alike = (one.time_field, one.statement) == (other.time_field, other.statement)
    statements = (one.statement, other.statement)
    return Fields(key, compared, (shown[0], shown[1]), bool(one.time_field) and alike, statements)
