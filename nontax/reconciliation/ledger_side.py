"""A ledger as the other side of a reconciliation: one unchanging moment of it, read only."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from nontax.ledger.books import WORD
from nontax.ledger.reading import reader
from nontax.ledger.upkeep import Digest
from nontax.reconciliation.compare import NUMBER
from nontax.reconciliation.explain import Explanation
from nontax.reconciliation.period import time_text
from nontax.reconciliation.ranges import Ranges
from nontax.reconciliation.rows import (
    CARRIED,
    OTHER,
    OUT,
    Chunk,
    Mark,
    Row,
    Tables,
    joined,
    lines_of,
    texts,
)
from nontax.reconciliation.sides import Plan, Source
from nontax.reconciliation.sums import Sum

_AT_ONCE = 1024
# WeChat's answers that a citizen's authorisation cures.
_NOT_AUTHORISED = frozenset({72038, 72049, 72053})
# WeChat keeps an uploaded PDF for three days.
_PDF_SECONDS = 3 * 86400

# "" for the usual: in the wallet, with its code.
_MARK = (
    "CASE WHEN state = 'inserted' AND code_unknown = 0 THEN '' ELSE state || ' ' || code_unknown "
    "|| ' ' || errcode || ' ' || (length(pdf_path) = 0) || ' ' || pdf_uploaded END"
)
_NUMBERS = ("id", "fee", "billing_time")
_COLUMNS = (*_NUMBERS, "appid", "order_id", *NUMBER, "title", "card_id", "mark")
# They stand in a bill's row as the number of a word.
_WORDS = ("appid", "card_id", "billing_no")
_SELECTED = f"{', '.join(_COLUMNS[:-1])}, {_MARK}"
_Columns = dict[str, Sequence[str]]
# What told the wallet that a bill was reversed: our call, or WeChat's event about any call.
_CANCELLED = (
    "SELECT bill FROM change WHERE source = 'update_bill_status' AND outcome = 'inserted' "
    "AND reimburse_status = 'INVOICE_REIMBURSE_CANCEL' UNION "
    "SELECT bill.id FROM change JOIN word ON word.text = change.card_id "
    "JOIN bill ON bill.card_id = word.id AND bill.code = change.code "
    "WHERE change.outcome = 'inserted' AND source = 'update_bill_status' "
    "AND reimburse_status = 'INVOICE_REIMBURSE_CANCEL' "
    "AND length(bill.code) > 0 UNION "
    "SELECT bill.id FROM event JOIN word ON word.text = event.card_id "
    "JOIN bill ON bill.card_id = word.id AND bill.code = event.code "
    "WHERE event.kind = 'update_invoice_status' AND status = 'INVOICE_REIMBURSE_CANCEL' "
    "AND length(bill.code) > 0"
)


class LedgerSide:
    """A ledger file. Close it: it keeps one moment of the ledger open.

    path: the file.
    """

    key: tuple[str, ...] = ("order_id",)
    statement = False
    time_field = "billing_time"
    fields = frozenset(
        {"order_id", *NUMBER, "title", "fee", "billing_time", "card_id", "appid", "kind"}
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.tables = Tables()
        self.ranges = Ranges()
        self.first_time = self.last_time = 0
        self._stack = ExitStack()
        self._connection: sqlite3.Connection = self._stack.enter_context(reader(path))
        self._plan: Plan | None = None
        self._cancelled: frozenset[int] = frozenset()
        self._as_of = 0  # when it is judged whether a PDF is too old
        self._units: dict[str, int] = {}
        self._words: dict[int, str] = {}
        self._digest = Digest()
        self._total = Sum()
        self._upto = 0

    def close(self) -> None:
        """Let the ledger go."""
        self._stack.close()

    def size(self) -> int:
        """The list is held, however long the ledger is."""
        return 0

    def chunks(self, plan: Plan) -> Iterator[Chunk]:
        """All bills."""
        self._begin(plan)
        cursor = self._connection.execute(f"SELECT {_SELECTED} FROM bill ORDER BY id")
        while rows := cursor.fetchmany(_AT_ONCE):
            chunk, columns = self._chunk(rows, plan)
            self._digest.add([columns[name] for name in Digest.FIELDS])
            yield chunk

    def numbered(self, wanted: set[str]) -> Iterator[Row]:
        """The bills outside the period with one of these numbers."""
        if self._plan is None:
            return
        query = f"SELECT {_SELECTED} FROM bill WHERE billing_no = {WORD} AND billing_code = ?"
        for number in sorted(wanted):
            rows = self._connection.execute(query, number.split(" ", 1)).fetchall()
            if not rows:
                continue
            chunk, _ = self._chunk(rows, self._plan)
            for at, mark in enumerate(chunk.marks):
                if self.tables.marks.all[mark].scope == OUT:
                    yield chunk.row(at, OTHER, self.tables)

    def totals(self) -> dict[str, Sum]:
        """Count and fen of all bills, as the database adds them up."""
        return {"bill": self._total}

    def source(self) -> Source:
        """Name of the file, and the digest of its bills up to the last one."""
        return Source(os.path.basename(self.path), "ledger", self._digest.text(), self._upto)

    def explanations(self) -> Iterator[Explanation]:
        """What was explained, the oldest first."""
        rows = self._connection.execute(
            "SELECT key, class, fee, who, note, checked_by, at FROM explanation ORDER BY id"
        )
        for key, name, fee, who, note, checked_by, at in rows:
            yield Explanation(key, name, fee, who, note, checked_by or "", time_text(at // 1000))

    # Chunks

    def _begin(self, plan: Plan) -> None:
        self._plan = plan
        self.tables.shift = plan.period.to_day
        self._cancelled = frozenset(row[0] for row in self._connection.execute(_CANCELLED))
        [(rows, fen, self._upto, changed)] = self._connection.execute(
            "SELECT count(*), coalesce(sum(fee), 0), coalesce(max(id), 0), "
            "coalesce(max(changed), 0) FROM bill"
        )
        self._total = Sum(rows, fen)
        self._digest = Digest()
        self._as_of = plan.period.end or changed // 1000
        payees = dict(self._connection.execute("SELECT card_id, payee FROM card").fetchall())
        self._units = _Units(self.tables, payees)
        self._words = {0: "", **dict(self._connection.execute("SELECT id, text FROM word"))}

    def _chunk(self, rows: Sequence[tuple[Any, ...]], plan: Plan) -> tuple[Chunk, _Columns]:
        """Some bills as a chunk, and as columns of texts."""
        raw = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
        ids, fees, times = (raw[name] for name in _NUMBERS)
        columns: _Columns = {
            **raw,
            **{name: texts(raw[name]) for name in _NUMBERS},
            **{name: list(map(self._words.__getitem__, raw[name])) for name in _WORDS},
        }
        keys = columns["order_id"]
        if plan.fields.key == NUMBER:
            keys = list(map(" ".join, zip(*map(columns.__getitem__, NUMBER), strict=True)))
        compared = [columns[name] for name in plan.fields.compared]
        shown = [columns[name] for name in plan.fields.shown[OTHER]]
        chunk = Chunk(
            keys,
            fees,
            times,
            lines_of(compared, columns["fee"], columns["billing_time"], keys),
            self._marks(keys, times, columns["mark"], ids, plan),
            list(map(self._units.__getitem__, columns["card_id"])),
            ids,
            joined(shown) if shown else None,
        )
        return chunk, columns

    def _marks(
        self,
        keys: Sequence[str],
        times: Sequence[int],
        said: Sequence[str],
        ids: Sequence[int],
        plan: Plan,
    ) -> bytes:
        table = self.tables.marks
        scopes = plan.period.scopes(times)
        if plan.carried and not plan.carried.keys().isdisjoint(keys):
            pairs = zip(keys, scopes, strict=True)
            scopes = [
                CARRIED if scope == OUT and key in plan.carried else scope for key, scope in pairs
            ]
        usual = {scope: table[_usual(scope)] for scope in dict.fromkeys(scopes)}
        marks = bytearray(map(usual.__getitem__, scopes))
        if any(said) or not self._cancelled.isdisjoint(ids):
            for at, (text, id_) in enumerate(zip(said, ids, strict=True)):
                if text or id_ in self._cancelled:
                    mark = _mark(text, scopes[at], self._as_of)
                    marks[at] = table[mark._replace(cancelled=id_ in self._cancelled)]
        return bytes(marks)


class _Units(dict[str, int]):
    """The number of the unit of each card, found when it is asked for."""

    def __init__(self, tables: Tables, payees: dict[str, str]) -> None:
        super().__init__()
        self._tables = tables
        self._payees = payees

    def __missing__(self, card_id: str) -> int:
        unit = (self._payees.get(card_id, ""), "", card_id)
        number = self[card_id] = self._tables.units[unit]
        return number


def _usual(scope: str) -> Mark:
    return Mark(scope=scope, state="inserted")


def _mark(text: str, scope: str, as_of: int) -> Mark:
    """The mark of a bill that is not in the wallet, or whose code is not known."""
    if not text:
        return _usual(scope)
    state, code_unknown, errcode, no_path, uploaded = text.split(" ")
    old = 0 < int(uploaded) // 1000 < as_of - _PDF_SECONDS
    return Mark(
        scope=scope,
        state=state,
        code_known=code_unknown == "0",
        expired=old and no_path == "1",
        not_authorised=int(errcode) in _NOT_AUTHORISED,
    )
