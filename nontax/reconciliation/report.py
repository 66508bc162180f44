"""The report of a reconciliation: totals, classes, differences, groups and number ranges."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nontax.errors import NontaxError
from nontax.reconciliation.carried import carried_rows
from nontax.reconciliation.classes import CLASSES, OPEN, ORDER, Item
from nontax.reconciliation.compare import Fields
from nontax.reconciliation.explain import Explanation
from nontax.reconciliation.period import Period, day_text
from nontax.reconciliation.ranges import Gap, Range
from nontax.reconciliation.rows import LIST, REFUNDS, Group, Row
from nontax.reconciliation.sides import Source
from nontax.reconciliation.sums import Sum

DIMENSIONS = ("unit", "point", "card", "day")
_NOTHING = Sum()


class TieError(NontaxError):
    """The sums of a reconciliation do not tie, so there is no report. `.lines` says what differs.

    This is a fault of nontax, or of a file or ledger that changed while it was read: repeat it,
    and report it if it comes again.
    """

    lines: list[str]

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__()
        self.outcome = "not_sent"
        self.lines = list(lines)

    def __str__(self) -> str:
        return "the sums do not tie, so there is no report:\n  " + "\n  ".join(self.lines)


class Both(NamedTuple):
    """The same of both sides."""

    list: Sum = _NOTHING
    other: Sum = _NOTHING

    def plus(self, item: Item) -> "Both":
        """These sums with the rows of an item."""
        return Both(_with(self.list, item.list_row), _with(self.other, item.other_row))


def _with(total: Sum, row: Row | None) -> Sum:
    return total if row is None else total.plus(1, row.fee)


class Difference(NamedTuple):
    """One row of the report: a row of the list, one of the other side, or a pair of them.

    name: its class. detail: "identical" or "conflicting" for duplicates, else "".
    list_row, other_row: row numbers of the files, or the id of the ledger's bill; None where the
    side has no row. list_fen, other_fen: amounts in fen; refunds are below zero. list_time,
    other_time: Unix seconds, 0 if not stated. kind: of the list's row, else of the other's.
    state: in the ledger. fields: what differs. ref: the other order, or the original's number.
    explained: the explanation, or None.
    """

    number: int
    name: str
    detail: str
    key: str
    order_id: str
    billing_no: str
    billing_code: str
    business_no: str
    title: str
    other_title: str
    list_row: int | None
    other_row: int | None
    list_fen: int | None
    other_fen: int | None
    list_time: int
    other_time: int
    unit: str
    point: str
    card: str
    day: str
    kind: str
    state: str
    fields: tuple[str, ...]
    ref: str
    explained: Explanation | None

    @property
    def fee(self) -> int:
        """Its amount in fen; of two that are not the same, the list's less the other's."""
        return _amount(self.list_fen, self.other_fen)

    @property
    def open(self) -> bool:
        """Whether somebody must act upon it."""
        return self.name in OPEN and self.explained is None


class GroupLine(NamedTuple):
    """The totals of one unit, issuing point, card or day, and how much of them is matched."""

    value: str
    sums: Both
    matched: Both
    open: Both


class Report:
    """What `reconcile` has found.

    period: the `Period`. sources: what both sides were. totals: by "issues", "refunds" and "else"
    (paper, void: nothing for a wallet), the sums of both sides' rows that are in the report; the
    refunds of a ledger are the red rows of the list of which the wallet was told. read: by side,
    the sums by kind of all rows that were read. outside: of those outside the period. classes: by
    class, the sums of both sides. ranges, gaps: of the list's numbers.
    """

    def __init__(
        self,
        *,
        period: Period,
        fields: Fields,
        sources: tuple[Source, Source],
        times: tuple[str, str],
        read: tuple[Mapping[str, Sum], Mapping[str, Sum]],
        outside: tuple[Sum, Sum],
        matched: Mapping[Group, Sum],
        items: Iterable[Item],
        explained: Mapping[tuple[object, ...], Explanation],
        ranges: Sequence[Range],
        gaps: Sequence[Gap],
    ) -> None:
        self.period = period
        self.fields = fields
        self.sources = sources
        self.times = times
        self.read = read
        self.outside = outside
        self.ranges = ranges
        self.gaps = gaps
        self._items = sorted(items, key=_place)
        self._explained = explained
        self._matched = dict(matched)
        self.classes = self._classes()
        self._check()
        self.totals = self._totals()

    # Sums

    def _classes(self) -> dict[str, Both]:
        classes = dict.fromkeys(CLASSES, Both())
        classes["matched"] = self._clean()
        for item in self._items:
            classes[item.name] = classes[item.name].plus(item)
        return classes

    def _clean(self) -> Both:
        """The pairs that have no item of their own."""
        total = _total(self._matched.values())
        return Both(total, total)

    def _check(self) -> None:
        """See that each side's rows are its classes' rows, to the fen."""
        lines = []
        for side, (source, read, out) in enumerate(
            zip(self.sources, self.read, self.outside, strict=True)
        ):
            there = _total(read.values())
            found = _total([out, *(both[side] for both in self.classes.values())])
            if there != found:
                lines.append(
                    f"{source.name}: it has {there.rows} rows with {there.fen} fen; the classes "
                    f"and the rows outside the period have {found.rows} with {found.fen}"
                )
        if lines:
            raise TieError(lines)

    def _totals(self) -> dict[str, Both]:
        totals = {"issues": self._clean(), "refunds": Both(), "else": Both()}
        for item in self._items:
            if self.ledger and item.name == "cancelled" and item.other_row is None:
                # A ledger has no red rows; it has told the wallet of this one.
                of_list, told = totals["refunds"]
                totals["refunds"] = Both(of_list, _with(told, item.list_row))
            for row in (item.list_row, item.other_row):
                if row is not None:
                    name = _total_of(row)
                    totals[name] = totals[name].plus(_alone(row))
        return totals

    @property
    def ledger(self) -> bool:
        """Whether the other side is a ledger."""
        return self.sources[1].kind == "ledger"

    @property
    def ok(self) -> bool:
        """Whether nothing is open: all matched, settled, carried over or explained."""
        return not any(self.open.values())

    @property
    def open(self) -> dict[str, int]:
        """How many differences of each class somebody must act upon; classes without are not in."""
        found: dict[str, int] = {}
        for item in self._items:
            if item.name in OPEN and self._explanation(item) is None:
                found[item.name] = found.get(item.name, 0) + 1
        return {name: found[name] for name in OPEN if name in found}

    @property
    def explained(self) -> dict[str, int]:
        """How many rows of each class are explained."""
        found: dict[str, int] = {}
        for item in self._items:
            if self._explanation(item) is not None:
                found[item.name] = found.get(item.name, 0) + 1
        return found

    # Rows

    def __len__(self) -> int:
        return sum(item.name != "matched" for item in self._items)

    def differences(self) -> Iterator[Difference]:
        """All rows that are not just matched: the open ones first, by class and key."""
        shown = (item for item in self._items if item.name != "matched")
        for number, item in enumerate(shown, 1):
            yield self._difference(number, item)

    def _difference(self, number: int, item: Item) -> Difference:
        one, other = item.list_row, item.other_row
        row = one or other
        assert row is not None
        left = {} if one is None else self.fields.values(one)
        right = {} if other is None else self.fields.values(other)
        values = {**right, **left}
        group = _merged(one.group if one else Group(), other.group if other else Group())
        return Difference(
            number=number,
            name=item.name,
            detail=item.detail,
            key=item.key,
            order_id=values.get("order_id", ""),
            billing_no=values.get("billing_no", ""),
            billing_code=values.get("billing_code", ""),
            business_no=values.get("business_no", ""),
            title=values.get("title", ""),
            other_title=right.get("title", "") if "title" in item.fields else "",
            list_row=one.row if one else None,
            other_row=other.row if other else None,
            list_fen=one.fee if one else None,
            other_fen=other.fee if other else None,
            list_time=one.time if one else 0,
            other_time=other.time if other else 0,
            unit=group.unit,
            point=group.point,
            card=group.card,
            day=day_text(group.day) if group.day else "",
            kind=row.mark.kind,
            state=other.mark.state if other else "",
            fields=item.fields,
            ref=item.ref,
            explained=self._explanation(item),
        )

    def _explanation(self, item: Item) -> Explanation | None:
        one, other = item.list_row, item.other_row
        fee = _amount(one.fee if one else None, other.fee if other else None)
        return self._explained.get((item.key, item.name, fee))

    def carried(self) -> Iterator[dict[str, Any]]:
        """The rows carried over, as the next report takes them: one dict each, without names."""
        rows = (
            item.list_row or item.other_row for item in self._items if item.name == "carried_over"
        )
        return carried_rows((row for row in rows if row is not None), self.fields, self.times)

    # Groups

    def by(self, dimension: str) -> list[GroupLine]:
        """The sums of each "unit", "point", "card" or "day"; [] if no row states it."""
        if dimension not in DIMENSIONS:
            raise ValueError(f"{dimension!r} is not one of: {', '.join(DIMENSIONS)}")
        lines: dict[str, list[Both]] = {}
        for group, total in self._matched.items():
            line = lines.setdefault(_value(group, dimension), [Both(), Both(), Both()])
            for at in (0, 1):
                line[at] = Both(*(part.plus(*total) for part in line[at]))
        for item in self._items:
            one, other = item.list_row, item.other_row
            group = _merged(one.group if one else Group(), other.group if other else Group())
            line = lines.setdefault(_value(group, dimension), [Both(), Both(), Both()])
            line[0] = line[0].plus(item)
            if item.name == "matched":
                line[1] = line[1].plus(item)
            if item.name in OPEN and self._explanation(item) is None:
                line[2] = line[2].plus(item)
        if set(lines) == {""}:
            return []
        return [GroupLine(value, *lines[value]) for value in sorted(lines)]

    # Files

    def write(
        self,
        folder: str | os.PathLike[str],
        *,
        formats: Iterable[str] = ("jsonl", "csv", "xlsx", "html"),
        lang: str = "zh",
        show_names: bool = False,
    ) -> list[str]:
        """Write the report into a folder, and return the paths (str).

        formats: some of "jsonl", "csv", "xlsx" (needs nontax[excel]) and "html". The same report
        gives the same bytes. lang: "zh" or "en". show_names: whether payers' names are written in
        full; else only the first character of each. Beside them stands carried.jsonl for the next
        run's `carried=`.
        """
        from nontax.reconciliation.write import write

        return write(self, folder, formats=formats, lang=lang, show_names=show_names)

    def __repr__(self) -> str:
        sums = ", ".join(f"{name}={count}" for name, count in self.open.items())
        return f"<Report of {self.period.text or 'all days'}: {sums or 'nothing open'}>"


def merge(pairs: Iterable[tuple[Group, Group, Sum]]) -> dict[Group, Sum]:
    """The clean pairs by their groups: what the list does not state, the other side does."""
    merged: dict[Group, Sum] = {}
    for one, other, total in pairs:
        group = _merged(one, other)
        merged[group] = merged.get(group, Sum()).plus(*total)
    return merged


def _merged(one: Group, other: Group) -> Group:
    return Group._make(mine or theirs for mine, theirs in zip(one, other, strict=True))


def _value(group: Group, dimension: str) -> str:
    value = getattr(group, dimension)
    if dimension == "day":
        return day_text(value) if value else ""
    return str(value)


def _total_of(row: Row) -> str:
    if row.mark.kind in REFUNDS:
        return "refunds"
    return "issues" if row.mark.kind in ("bill", "cancelled", "exchanged") else "else"


def _amount(one: int | None, other: int | None) -> int:
    if one is None or other is None or one == other:
        return (one if one is not None else other) or 0
    return one - other


def _alone(row: Row) -> Item:
    return Item("", row, None) if row.side == LIST else Item("", None, row)


def _total(sums: Iterable[Sum]) -> Sum:
    total = Sum()
    for part in sums:
        total = total.plus(*part)
    return total


def _place(item: Item) -> tuple[Any, ...]:
    one, other = item.list_row, item.other_row
    return (
        ORDER[item.name],
        item.key,
        item.detail,
        one.row if one else 0,
        other.row if other else 0,
        one.fee if one else 0,
        other.fee if other else 0,
    )
