"""Lists in memory and a plan of differences, for tests of the reconciliation."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nontax.reconciliation.list_side import Batch, ListSide, Rows
from nontax.reconciliation.period import CHINA
from nontax.reconciliation.rows import LIST

DAY = "2026-11-29"
NOON = int(datetime(2026, 11, 29, 12, tzinfo=CHINA).timestamp())
ALL = (
    "order_id",
    "billing_no",
    "billing_code",
    "business_no",
    "related_no",
    "related_code",
    "title",
    "unit_name",
    "point",
    "fee",
    "billing_time",
    "kind",
)

Fields = dict[str, Any]


class Opened:
    """What `nontax.sheets.open_list` returns, of dicts."""

    path = ""
    sha256 = ""
    key = ("order_id",)
    statement = False
    problems: Sequence[Any] = ()

    def __init__(
        self,
        rows: Sequence[Fields],
        name: str = "list",
        fields: Sequence[str] = ALL,
        batch: int = 3,
    ) -> None:
        self.name = name
        self.fields = frozenset((*fields, "kind", "fee"))
        self._rows = [{"row": at, **row} for at, row in enumerate(rows, 2)]
        self._batch = batch
        self.totals: Mapping[str, tuple[int, int]] = {
            kind: (count, sum(row["fee"] for row in rows if row["kind"] == kind))
            for kind, count in Counter(row["kind"] for row in rows).items()
        }

    def batches(self) -> Iterator[Batch]:
        for start in range(0, len(self._rows), self._batch):
            yield Rows(self._rows[start : start + self._batch], self.fields)


class Side(ListSide):
    """A list in memory as a side. big: whether the other side is to be held, and not this one."""

    big = False

    def size(self) -> int:
        return 2 if self.big else 1


def side(rows: Sequence[Fields], at: int = LIST, *, big: bool = False, **options: Any) -> Side:
    name = ("the list", "the other")[at]
    made = Side(Opened(rows, name, **options), at, lambda: None)
    made.big = big
    return made


def bill(number: int, **changed: Any) -> Fields:
    """One row of a list."""
    row = {
        "order_id": f"H{number:05}",
        "billing_no": "11010126",
        "billing_code": f"{number:010}",
        "business_no": f"B{number:05}",
        "title": f"张三{number}",
        "unit_name": "某某医院",
        "point": f"窗口{number % 3}",
        "fee": 100 + number,
        "billing_time": NOON + number,
        "kind": "bill",
    }
    return {**row, **changed}


def red(number: int, of: Fields, **changed: Any) -> Fields:
    """The red row that reverses a bill; it has the bill's order."""
    return bill(
        number,
        order_id=of["order_id"],
        fee=-of["fee"],
        kind="red",
        related_no=of["billing_no"],
        related_code=of["billing_code"],
        **changed,
    )


Case = Callable[[int], tuple[list[Fields], list[Fields], list[tuple[str, ...]]]]
"""Rows of both sides, made with numbers from a given one on, and what they must be found as."""


def _case(
    ones: list[Fields], others: list[Fields], *found: tuple[str, ...]
) -> tuple[list[Fields], list[Fields], list[tuple[str, ...]]]:
    return ones, others, list(found)


LISTS: dict[str, Case] = {
    "matched": lambda n: _case([bill(n)], [bill(n)]),
    "not stated": lambda n: _case([bill(n)], [bill(n, title="", billing_time=0)]),
    "form": lambda n: _case([bill(n)], [bill(n, title=f"张 三{n}")], ("form_only", "", "title")),
    "missing": lambda n: _case([bill(n)], [], ("missing", "", "")),
    "unexpected": lambda n: _case([], [bill(n)], ("unexpected", "", "")),
    "amount": lambda n: _case(
        [bill(n)], [bill(n, fee=7, title="李四")], ("amount_mismatch", "", "fee,title")
    ),
    "field": lambda n: _case([bill(n)], [bill(n, title="李四")], ("field_mismatch", "", "title")),
    "time": lambda n: _case(
        [bill(n)], [bill(n, billing_time=NOON - 5)], ("field_mismatch", "", "billing_time")
    ),
    "other order": lambda n: _case([bill(n)], [bill(n, order_id=f"X{n}")], ("other_order", "", "")),
    "another order too": lambda n: _case(
        [bill(n), bill(n, order_id=f"X{n}")], [bill(n)], ("other_order", "", "")
    ),
    "twice in the list": lambda n: _case(
        [bill(n), bill(n)], [bill(n)], ("duplicate_list", "identical", "")
    ),
    "twice, otherwise": lambda n: _case(
        [bill(n), bill(n, fee=1)], [bill(n)], ("duplicate_list", "conflicting", "")
    ),
    "twice on the other side": lambda n: _case(
        [bill(n)],
        [bill(n), bill(n), bill(n, title="李四")],
        ("duplicate_ledger", "identical", ""),
        ("duplicate_ledger", "conflicting", ""),
    ),
    "twice on both": lambda n: _case(
        [bill(n), bill(n)],
        [bill(n), bill(n)],
        ("duplicate_list", "identical", ""),
        ("duplicate_ledger", "identical", ""),
    ),
    "twice and missing": lambda n: _case(
        [bill(n), bill(n)], [], ("missing", "", ""), ("duplicate_list", "identical", "")
    ),
    "red on both": lambda n: _case([bill(n), red(n + 1, bill(n))], [bill(n), red(n + 1, bill(n))]),
    "cancelled": lambda n: _case(
        [bill(n), red(n + 1, bill(n))], [bill(n, kind="cancelled")], ("cancelled", "", "")
    ),
    "not cancelled": lambda n: _case(
        [bill(n), red(n + 1, bill(n))], [bill(n)], ("cancel_missing", "", "")
    ),
    "marked only": lambda n: _case(
        [bill(n, kind="cancelled")], [bill(n)], ("cancel_missing", "", "")
    ),
    "marked over there": lambda n: _case(
        [bill(n)], [bill(n, kind="cancelled")], ("field_mismatch", "", "status")
    ),
    "red of nothing": lambda n: _case([red(n + 1, bill(n))], [], ("red_unpaired", "", "")),
    "two reds": lambda n: _case(
        [bill(n), red(n + 1, bill(n)), red(n + 2, bill(n))],
        [bill(n, kind="cancelled")],
        ("cancelled", "", ""),
        ("red_unpaired", "", ""),
    ),
    "red of less": lambda n: _case(
        [bill(n), red(n + 1, bill(n)) | {"fee": -1}],
        [bill(n, kind="cancelled")],
        ("amount_mismatch", "", "fee"),
    ),
    "paper": lambda n: _case([bill(n, kind="paper")], [bill(n, kind="paper")]),
    "near": lambda n: _case(
        [bill(n, billing_time=NOON + 12 * 3600 - 60)], [], ("carried_over", "", "")
    ),
    "outside": lambda n: _case(
        [bill(n, billing_time=NOON - 90000)], [bill(n + 1, billing_time=NOON + 90000)]
    ),
    "half outside": lambda n: _case(
        [bill(n)], [bill(n, billing_time=NOON + 90000)], ("field_mismatch", "", "billing_time")
    ),
}
