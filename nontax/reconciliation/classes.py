"""The classes of a reconciliation, and the rules that put rows into them."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nontax.reconciliation.compare import Fields, own_key
from nontax.reconciliation.match import KeyGroup
from nontax.reconciliation.rows import APART, LIST, NEAR, OTHER, Row

# In the order of reports: what must be acted upon, what waits, what is settled.
OPEN = (
    "amount_mismatch",
    "in_doubt",
    "missing",
    "unexpected",
    "duplicate_list",
    "duplicate_ledger",
    "other_order",
    "field_mismatch",
    "cancel_missing",
    "cancel_impossible",
    "red_unpaired",
    "rejected",
    "not_authorised",
    "expired_pdf",
    "code_unknown",
    "waiting",
    "withdrawn",
)
SETTLED = ("carried_over", "cancelled", "not_for_wallet", "form_only", "matched")
CLASSES = OPEN + SETTLED
ORDER = {name: place for place, name in enumerate(CLASSES)}

_OF_STATE = {
    "": "matched",
    "inserted": "matched",
    "held": "not_authorised",
    "waiting": "waiting",
    "sending": "waiting",
    "not_sent": "waiting",
    "rejected": "rejected",
    "in_doubt": "in_doubt",
    "withdrawn": "withdrawn",
}
# Not in the wallet, and not on the way there.
_ENDED = frozenset({"rejected", "not_sent", "withdrawn"})
_REVERSED = frozenset({"cancelled", "void"})
_PAIRS_LOOKED_AT = 50


class Item(NamedTuple):
    """One row of a report: a row of the list, one of the other side, or a pair of them.

    name: its class. detail: "identical" or "conflicting" for duplicates, else "".
    fields: what differs. ref: the other order, or the number of a red row's original.
    """

    name: str
    list_row: Row | None
    other_row: Row | None
    detail: str = ""
    fields: tuple[str, ...] = ()
    ref: str = ""

    @property
    def key(self) -> str:
        """The key of its rows."""
        row = self.list_row or self.other_row
        return "" if row is None else own_key(row.key)


class Judge:
    """Puts the rows of groups into classes.

    fields: how rows are compared. ledger: whether the other side is a ledger.
    reversed_by: by side, the numbers that have a red row. numbered: finds rows by their numbers.
    """

    def __init__(
        self,
        fields: Fields,
        *,
        ledger: bool,
        reversed_by: dict[int, set[str]],
        numbered: Callable[[set[str]], Iterable[Row]],
    ) -> None:
        self._fields = fields
        self._ledger = ledger
        self._reversed_by = reversed_by
        self._numbered = numbered
        self._known: dict[str, list[Row]] = {}

    def judge(self, groups: Iterable[KeyGroup]) -> Iterator[Item]:
        """The items of all groups: each row of each group in exactly one."""
        single: list[Row] = []
        for group in groups:
            yield from self._of_group(group, single)
        yield from self._of_single(single)

    # Keys that both sides may have

    def _of_group(self, group: KeyGroup, single: list[Row]) -> Iterator[Item]:
        rows = {LIST: group.list_rows, OTHER: group.other_rows}
        chosen: dict[int, Row] = {}
        if group.taken:
            chosen = {side: rows[side][0] for side in rows}
        elif rows[LIST] and rows[OTHER]:
            chosen[LIST], chosen[OTHER] = self._best(rows[LIST], rows[OTHER])
            yield self._of_pair(chosen[LIST], chosen[OTHER])
        else:
            side = LIST if rows[LIST] else OTHER
            chosen[side] = min(rows[side], key=_content)
            single.append(chosen[side])
        for side, of_side in rows.items():
            left = [row for row in of_side if row is not chosen.get(side)]
            for row in sorted(left, key=_content):
                yield self._repeated(row, chosen[side])

    def _best(self, ones: list[Row], others: list[Row]) -> tuple[Row, Row]:
        """The pair that fits best, whatever the order of the rows."""
        if len(ones) == len(others) == 1:
            return ones[0], others[0]
        ones, others = (sorted(rows, key=_content)[:_PAIRS_LOOKED_AT] for rows in (ones, others))
        return min(
            ((one, other) for one in ones for other in others),
            key=lambda pair: (*self._distance(*pair), _content(pair[0]), _content(pair[1])),
        )

    def _distance(self, one: Row, other: Row) -> tuple[bool, bool, int, int]:
        different, written = self._differences(one, other)
        return (other.mark.state in _ENDED, one.fee != other.fee, len(different), len(written))

    def _repeated(self, row: Row, first: Row) -> Item:
        same = row.fee == first.fee and not any(self._differences(row, first))
        if row.side == OTHER and row.mark.state in _ENDED:
            # An earlier try with this number, of which nothing came.
            return _item(_OF_STATE[row.mark.state], row)
        name = "duplicate_list" if row.side == LIST else "duplicate_ledger"
        return _item(name, row, detail="identical" if same else "conflicting")

    def _of_pair(self, one: Row, other: Row) -> Item:
        different, written = self._differences(one, other)
        if one.fee != other.fee:
            return Item("amount_mismatch", one, other, fields=("fee", *different))
        if "order_id" in different:
            ref = self._fields.values(other)["order_id"]
            return Item("other_order", one, other, fields=tuple(different), ref=ref)
        if different:
            return Item("field_mismatch", one, other, fields=tuple(different))
        name = self._of_state(one, other)
        if name == "matched" and written:
            return Item("form_only", one, other, fields=tuple(written))
        return Item(name, one, other)

    def _differences(self, one: Row, other: Row) -> tuple[list[str], list[str]]:
        different, written = self._fields.differing(one.text, other.text)
        if not self._fields.same_time(one.time, other.time):
            different.append("billing_time")
        if not self._same_status(one, other):
            different.append("status")
        return different, written

    def _same_status(self, one: Row, other: Row) -> bool:
        if one.side == other.side:
            return one.mark._replace(scope="") == other.mark._replace(scope="")
        if self._ledger:
            return not other.mark.cancelled or self._is_reversed(one)
        # That only the other side does not know of a reversal has a class of its own.
        return one.mark.kind == other.mark.kind or self._is_reversed(one)

    def _is_reversed(self, row: Row) -> bool:
        return row.mark.kind in _REVERSED or self._has_red(row)

    def _has_red(self, row: Row) -> bool:
        if row.mark.kind in APART:
            return False
        statement = self._fields.statements[row.side]
        number = own_key(row.key) if statement else self._fields.number(row)
        return number in self._reversed_by[row.side]

    def _of_state(self, one: Row, other: Row) -> str:
        if one.mark.kind in _REVERSED and not self._has_red(one):
            return self._of_reversal(other)
        if self._ledger:
            return _of_mark(other)
        return "matched"

    # Reversals

    def _of_reversal(self, original: Row) -> str:
        """What becomes of a reversed bill on the other side."""
        state = original.mark.state
        if not self._ledger:
            return "matched" if self._is_reversed(original) else "cancel_missing"
        if original.mark.cancelled:
            return "cancelled"
        if state in _ENDED:
            return "not_for_wallet"
        if state == "inserted" and original.mark.code_known:
            return "cancel_missing"
        return "cancel_impossible"

    def _of_red(self, row: Row, seen: set[tuple[int, str]]) -> Item:
        number = row.related
        known = self._known.get(number, ()) if number else ()
        originals = [found for found in known if found.mark.kind not in APART]
        if not originals or (row.side, number) in seen:
            return _item("red_unpaired", row, ref=number)
        seen.add((row.side, number))
        opposite = [found for found in originals if found.side != row.side]
        if not opposite:
            return _item("not_for_wallet" if self._ledger else _one_sided(row), row, ref=number)
        original = min(opposite, key=lambda found: (found.mark.state in _ENDED, _content(found)))
        name = self._of_reversal(original)
        if abs(row.fee) == abs(original.fee):
            return _item("cancelled" if name == "matched" else name, row, ref=number)
        if name in ("cancelled", "matched"):
            name = "amount_mismatch"
        return _item(name, row, fields=("fee",), ref=number)

    # Keys that only one side has

    def _of_single(self, single: list[Row]) -> Iterator[Item]:
        wanted = {row.related if row.related else self._fields.number(row) for row in single}
        wanted.discard("")
        if wanted:
            for row in self._numbered(wanted):
                self._known.setdefault(self._fields.number(row), []).append(row)
        partners = self._partners_by_number(single)
        taken = {id(row) for pair in partners for row in pair}
        for one, other in partners:
            yield self._of_number(one, other)
        seen: set[tuple[int, str]] = set()
        for row in sorted(single, key=lambda row: (row.key, _content(row))):
            if id(row) not in taken:
                yield self._of_one(row, seen)

    def _partners_by_number(self, single: list[Row]) -> list[tuple[Row, Row]]:
        """Rows that have the same number and different keys, one of each side."""
        by_number: dict[str, tuple[list[Row], list[Row]]] = {}
        for row in single:
            number = self._fields.number(row)
            if number and row.mark.kind not in APART:
                by_number.setdefault(number, ([], []))[row.side].append(row)
        pairs: list[tuple[Row, Row]] = []
        for ones, others in by_number.values():
            ones.sort(key=_content)
            others.sort(key=_content)
            pairs.extend(zip(ones, others, strict=False))
        return pairs

    def _of_number(self, one: Row, other: Row) -> Item:
        different, _ = self._differences(one, other)
        if one.fee != other.fee:
            different.insert(0, "fee")
        ref = own_key(other.key)
        return Item("other_order", one, other, fields=tuple(different), ref=ref)

    def _of_one(self, row: Row, seen: set[tuple[int, str]]) -> Item:
        if row.mark.kind == "red" and not self._fields.statements[row.side]:
            return self._of_red(row, seen)
        if self._ledger and row.side == LIST and (row.mark.kind != "bill" or self._has_red(row)):
            return _item("not_for_wallet", row)
        elsewhere = [
            found
            for found in self._known.get(self._fields.number(row), ())
            if found.side != row.side and found.key != row.key and found.mark.kind not in APART
        ]
        if elsewhere and row.mark.kind not in APART:
            return _item("other_order", row, ref=min(own_key(found.key) for found in elsewhere))
        return _item(_one_sided(row), row)


def _one_sided(row: Row) -> str:
    if row.mark.scope == NEAR:
        return "carried_over"
    return "missing" if row.side == LIST else "unexpected"


def _of_mark(row: Row) -> str:
    """The class of a bill that both sides know, by its state in the ledger."""
    mark = row.mark
    name = _OF_STATE[mark.state]
    if name == "matched" and not mark.code_known:
        return "code_unknown"
    if name == "rejected" and mark.not_authorised:
        return "not_authorised"
    if name == "waiting" and mark.expired:
        return "expired_pdf"
    return name


def _item(
    name: str, row: Row, *, detail: str = "", fields: tuple[str, ...] = (), ref: str = ""
) -> Item:
    list_row, other_row = (row, None) if row.side == LIST else (None, row)
    return Item(name, list_row, other_row, detail, fields, ref)


def _content(row: Row) -> tuple[object, ...]:
    """What a row says; last, where it stands."""
    return (row.text, row.fee, row.time, row.mark, row.related, row.more, row.group, row.row)
