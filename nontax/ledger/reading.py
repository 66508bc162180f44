"""Looking into a ledger: without the compiled core, on a full disk, beside other processes."""

import glob
import os
import sqlite3
from contextlib import closing, contextmanager
from typing import NamedTuple

from nontax.delivery.states import STATES, State
from nontax.delivery.store import AttemptRow, EvidenceRow
from nontax.errors import LedgerError
from nontax.ledger import places
from nontax.ledger.marks import OtherRun
from nontax.ledger.words import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class BillRecord(NamedTuple):
    """A bill in the ledger.

    id: the ledger's own number (int). appid, order_id, card_id, title, billing_no, billing_code:
    str. fee: in fen (int). billing_time: Unix seconds (int). state: see `nontax.delivery.states`.
    errcode: WeChat's last answer, or 0. code: the card's, "" if not known. code_unknown: it is in
    the wallet, and its code is not known. openid: the citizen's. run, source_row: the run that took
    it from a list, and its row there; 0: from no list. changed: when it last changed, in Unix
    milliseconds. pruned: its title and openid were removed.
    """

    id: int
    appid: str
    order_id: str
    card_id: str
    fee: int
    title: str
    billing_time: int
    billing_no: str
    billing_code: str
    s_pdf_media_id: str
    pdf_path: str
    pdf_sha256: str
    pdf_uploaded: int
    extra: str
    shape: str
    state: State
    errcode: int
    code: str
    code_unknown: bool
    openid: str
    run: int
    source_row: int
    changed: int
    pruned: bool


class AttemptRecord(NamedTuple):
    """One sending of a bill, as it was written down. Times are Unix milliseconds; 0: not yet."""

    id: int
    number: int
    run: int
    slot: int
    signed: bool
    signed_by: str
    back_to: str
    began: int
    ended: int
    outcome: str
    errcode: int
    errmsg: str
    rid: str
    rid_info: str
    reason: str
    curl_code: int
    http_status: int
    transfers: int
    content: str


class EvidenceRecord(NamedTuple):
    """What was learned of a bill besides its attempts' answers."""

    id: int
    at: int
    kind: str
    verdict: str
    who: str
    checked_by: str
    os_user: str
    note: str
    detail: str


class RunRecord(NamedTuple):
    """One process that had the ledger open for writing."""

    id: int
    began: int
    ended: int
    end_reason: str
    account: str
    command: str
    os_user: str
    host: str
    boot_id: str
    pid: int
    nontax: str
    source: str
    source_sha256: str


class ChangeRecord(NamedTuple):
    """A call of update_bill_status or reject_bill."""

    id: int
    card_id: str
    code: str
    order_id: str
    at: int
    reimburse_status: str
    source: str
    outcome: str
    errcode: int
    reason: str


class ExplanationRecord(NamedTuple):
    """Why a difference of a reconciliation was as it was. fee: in fen (int)."""

    id: int
    key: str
    name: str
    fee: int
    at: int
    who: str
    checked_by: str
    os_user: str
    note: str


class History(NamedTuple):
    """All that the ledger knows of one bill, in the order in which it came."""

    bill: BillRecord
    attempts: list[AttemptRecord]
    evidence: list[EvidenceRecord]
    changes: list[ChangeRecord]
    runs: list[RunRecord]
    explanations: list[ExplanationRecord]


_FLAGS = frozenset({"code_unknown", "pruned", "signed"})
_NUMBERS = frozenset(
    [
        "id",
        "fee",
        "billing_time",
        "pdf_uploaded",
        "errcode",
        "run",
        "source_row",
        "changed",
        "number",
        "slot",
        "began",
        "ended",
        "curl_code",
        "http_status",
        "transfers",
        "at",
        "pid",
    ]
)


def _record(kind: "type[Any]", row: "tuple[Any, ...]") -> "Any":
    # Some databases give NULL for ''.
    values = [
        bool(value) if name in _FLAGS else value if name in _NUMBERS else value or ""
        for name, value in zip(kind._fields, row, strict=True)
    ]
    return kind._make(values)


def _columns(kind: "type[Any]", table: str = "") -> str:
    return ", ".join(f"{table}{name}" for name in kind._fields)


def runs_alive(path: str) -> list[int]:
    """The runs of the ledger whose processes live."""
    alive = []
    for name in glob.glob(f"{glob.escape(path)}-run-*"):
        number = name.rpartition("-")[2]
        if number.isdecimal():
            with OtherRun(path, int(number)) as other:
                if not other.dead:
                    alive.append(int(number))
    return sorted(alive)


@contextmanager
def reader(path: str) -> "Iterator[sqlite3.Connection]":
    """A connection that cannot write, on one unchanging moment of the ledger."""
    places.check_file(path)
    try:
        with closing(_open_reader(path)) as connection:
            places.check_version(connection, path, None)
            yield connection
    except sqlite3.Error as error:
        raise unusable(error, path) from error


def _open_reader(path: str) -> sqlite3.Connection:
    try:
        return _begun(places.connect(path, uri="mode=ro"))
    except sqlite3.OperationalError as error:
        # A disk that takes nothing has no room for what SQLite wants beside a ledger. Where nobody
        # writes, it can do without.
        log = f"{path}-wal"
        if (os.path.exists(log) and os.path.getsize(log)) or runs_alive(path):
            raise unusable(error, path) from error
    return _begun(places.connect(path, uri="mode=ro&immutable=1"))


def _begun(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM meta").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def bills(
    path: str, *, state: str | None = None, since: int = 0, order_id: str | None = None
) -> "Iterator[BillRecord]":
    """See `Ledger.bills`."""
    if state is not None and state not in STATES:
        raise ValueError(f"state must be one of {', '.join(STATES)}")
    wheres, values = ["changed >= ?"], [since]
    if state is not None:
        wheres.append("state = ?")
        values.append(state)  # type: ignore[arg-type]
    if order_id is not None:
        wheres.append("order_id = ?")
        values.append(order_id)  # type: ignore[arg-type]
    with reader(path) as connection:
        for row in connection.execute(
            f"SELECT {_columns(BillRecord)} FROM bills WHERE {' AND '.join(wheres)} ORDER BY id",
            values,
        ):
            yield _record(BillRecord, row)


def find(path: str, key: str) -> list[BillRecord]:
    """See `Ledger.find`."""
    if not key:
        return []
    code, _, number = key.rpartition("+")
    with reader(path) as connection:
        rows = connection.execute(
            f"SELECT {_columns(BillRecord)} FROM bills WHERE order_id = ? "
            "OR (billing_code = ? AND (? = '' OR billing_no = ?)) OR code = ? ORDER BY id",
            (key, number or key, code, code, key),
        )
        return [_record(BillRecord, row) for row in rows]


def runs(path: str) -> list[RunRecord]:
    """All runs, the oldest first."""
    with reader(path) as connection:
        rows = connection.execute(f"SELECT {_columns(RunRecord)} FROM run ORDER BY id")
        return [_record(RunRecord, row) for row in rows]


def history(path: str, order_id: str, appid: str | None) -> History:
    """See `Ledger.history`."""
    with reader(path) as connection:
        found = [
            _record(BillRecord, row)
            for row in connection.execute(
                f"SELECT {_columns(BillRecord)} FROM bills WHERE order_id = ?", (order_id,)
            )
        ]
        found = [bill for bill in found if appid is None or bill.appid == appid]
        if not found:
            raise LedgerError(reason=f"the ledger does not know order {order_id}")
        if len(found) > 1:
            appids = ", ".join(bill.appid for bill in found)
            raise LedgerError(
                reason=f"order {order_id} exists under several appids ({appids}): give one"
            )
        (bill,) = found
        attempts = [
            _record(AttemptRecord, row)
            for row in connection.execute(
                f"SELECT {_columns(AttemptRecord)} FROM attempts WHERE bill = ? ORDER BY number",
                (bill.id,),
            )
        ]
        evidence = [
            _record(EvidenceRecord, row)
            for row in connection.execute(
                f"SELECT {_columns(EvidenceRecord)} FROM evidence WHERE bill = ? ORDER BY id",
                (bill.id,),
            )
        ]
        changes = [
            _record(ChangeRecord, row)
            for row in connection.execute(
                f"SELECT {_columns(ChangeRecord)} FROM change "
                "WHERE bill = ? OR order_id = ? ORDER BY id",
                (bill.id, order_id),
            )
        ]
        numbers = sorted({bill.run, *(attempt.run for attempt in attempts)})
        places_ = ", ".join("?" * len(numbers))
        all_runs = [
            _record(RunRecord, row)
            for row in connection.execute(
                f"SELECT {_columns(RunRecord)} FROM run WHERE id IN ({places_}) ORDER BY id",
                numbers,
            )
        ]
        explanations = [
            _record(ExplanationRecord, row)
            for row in connection.execute(
                "SELECT id, key, class, fee, at, who, checked_by, os_user, note FROM explanation "
                "WHERE key IN (?, ?) ORDER BY id",
                (order_id, f"{bill.billing_no} {bill.billing_code}"),
            )
        ]
    return History(bill, attempts, evidence, changes, all_runs, explanations)


def attempt_rows(attempts: list[AttemptRecord]) -> list[AttemptRow]:
    """As the contract of stores wants them."""
    return [
        AttemptRow(
            a.id, a.number, a.slot, a.signed, a.signed_by, a.ended > 0, a.outcome, a.errcode,
            a.reason,
            a.ended or a.began,
        )
        for a in attempts
    ]  # fmt: skip


def evidence_rows(evidence: list[EvidenceRecord]) -> list[EvidenceRow]:
    """As the contract of stores wants them."""
    return [EvidenceRow(e.kind, e.verdict, e.who, e.checked_by, e.note, e.detail) for e in evidence]
