"""What settles a bill besides its attempts' answers. Every function runs inside one transaction."""

import sqlite3

from nontax.delivery import states
from nontax.delivery.states import State, step
from nontax.delivery.store import SAME_NUMBER, Content, Key
from nontax.errors import LedgerError
from nontax.ledger.attempts import free
from nontax.ledger.books import (
    IMPORTED,
    KNOWN,
    WORD,
    Row,
    by_id,
    insert_bill,
    learn,
    look,
    next_id,
    now_ms,
    same_number,
    set_state,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any


def resolve(
    connection: sqlite3.Connection,
    key: Key,
    verdict: str,
    *,
    by: str,
    checked_by: str,
    os_user: str,
    note: str,
    code: str,
) -> State:
    """See `Store.resolve`."""
    row = look(connection, key)
    if row is None or row.known.state != "in_doubt":
        raise ValueError(f"order {key.order_id} is not in doubt")
    if not by or not note:
        raise ValueError("who settles the bill (by=), and why (note=)?")
    if verdict == "inserted":
        state = step("in_doubt", "found_inserted")
        connection.execute(
            "UPDATE bill SET state = ?, code = ?, code_unknown = ?, changed = ? WHERE id = ?",
            (state, code, int(not code), now_ms(), row.id),
        )
    elif verdict == "not_taken":
        end: State = "waiting" if row.known.from_list else "not_sent"
        state = step("in_doubt", "found_not_taken", end)
        free(connection, row.id, 0, "bill")
        set_state(connection, row.id, "in_doubt", state)
    else:
        raise ValueError('verdict must be "inserted" or "not_taken"')
    learn(
        connection, row.id, "person", verdict, by=by, checked_by=checked_by, os_user=os_user,
        note=note, detail=code,
    )  # fmt: skip
    return state


def withdraw(connection: sqlite3.Connection, key: Key, *, by: str, os_user: str, note: str) -> None:
    """See `Store.withdraw`."""
    row = look(connection, key)
    if row is None or row.known.state not in ("held", "waiting"):
        raise ValueError(f"order {key.order_id} is not waiting")
    if not by or not note:
        raise ValueError("who withdraws the bill (by=), and why (note=)?")
    set_state(connection, row.id, row.known.state, step(row.known.state, "withdraw"))
    learn(connection, row.id, "withdrawn", "withdrawn", by=by, os_user=os_user, note=note)


def observe(connection: sqlite3.Connection, card_id: str, code: str, detail: str) -> Key | None:
    """See `Store.observe`."""
    unsure = connection.execute(
        f"SELECT id FROM bill WHERE state = 'in_doubt' AND card_id = {WORD} "
        f"UNION SELECT id FROM bill WHERE code_unknown = 1 AND card_id = {WORD} LIMIT 2",
        (card_id, card_id),
    ).fetchall()
    if len(unsure) != 1:
        return None
    if code_is_known(connection, card_id, code):
        return None
    row = by_id(connection, unsure[0][0])
    if row.known.state == "in_doubt":
        step("in_doubt", "found_inserted")
    connection.execute(
        "UPDATE bill SET state = 'inserted', code = ?, code_unknown = 0, changed = ? WHERE id = ?",
        (code, now_ms(), row.id),
    )
    learn(connection, row.id, "event", "inserted", detail=detail or code)
    return row.known.key


def code_is_known(connection: sqlite3.Connection, card_id: str, code: str) -> bool:
    """Whether a bill of this card has this code."""
    known = connection.execute(
        f"SELECT 1 FROM bill WHERE code = ? AND card_id = {WORD} AND state = 'inserted' LIMIT 1",
        (code, card_id),
    )
    return known.fetchone() is not None


def recall(connection: sqlite3.Connection, key: Key) -> State:
    """A bill has come into doubt: perhaps an event that came before says where it is."""
    row = look(connection, key)
    assert row is not None
    (attempt,) = connection.execute(
        "SELECT max(id) FROM attempt WHERE bill = ?", (row.id,)
    ).fetchone()
    # One from before the attempt is of another bill, which this ledger does not know.
    events = connection.execute(
        "SELECT id, code, status FROM event WHERE card_id = ? AND settled = 0 "
        "AND kind = 'update_invoice_status' AND after_attempt >= ?",
        (row.known.content.card_id, attempt),
    ).fetchall()
    for event, code, status in events:
        if observe(connection, row.known.content.card_id, code, f"{status} {code}") == key:
            connection.execute("UPDATE event SET settled = 1 WHERE id = ?", (event,))
            return "inserted"
    return row.known.state


def authorised(connection: sqlite3.Connection, order_id: str, appid: str) -> "Iterator[int]":
    """The citizen has authorised an order: what waited for this waits to be sent. Yields ids."""
    for raw in connection.execute(
        f"SELECT {KNOWN} FROM bills WHERE order_id = ?", (order_id,)
    ).fetchall():
        row = Row(raw)
        fits = not appid or row.known.content.appid == appid
        refused = row.known.state == "rejected" and row.known.errcode in states.NOT_AUTHORISED
        if fits and (row.known.state == "held" or (refused and row.known.from_list)):
            set_state(connection, row.id, row.known.state, step(row.known.state, "authorised"))
            yield row.id


def insert_imported(
    connection: sqlite3.Connection, bill: "dict[str, Any]", run: int, *, by: str, note: str
) -> None:
    """Keep a bill that an earlier system has inserted."""
    content = Content(
        bill["appid"],
        bill["order_id"],
        bill["card_id"],
        bill.get("fee", 0),
        bill.get("title", ""),
        bill.get("billing_time", 0),
        bill["billing_no"],
        bill["billing_code"],
        shape=IMPORTED,
    )
    other = same_number(connection, content)
    if other is not None:
        raise ValueError(f"order {content.order_id}: {SAME_NUMBER}, {other.known.content.order_id}")
    id_ = insert_bill(connection, content, "inserted", run, from_list=True)
    code = bill.get("code", "")
    connection.execute(
        "UPDATE bill SET code = ?, code_unknown = ?, openid = ? WHERE id = ?",
        (code, int(not code), bill.get("openid", ""), id_),
    )
    learn(connection, id_, "imported", "inserted", by=by, note=note)


# Status changes


def note_change(
    connection: sqlite3.Connection,
    run: int,
    *,
    source: str,
    outcome: str,
    card_id: str = "",
    code: str = "",
    order_id: str = "",
    status: str = "",
) -> int:
    """Write down a call of update_bill_status or reject_bill; its id."""
    bill = connection.execute(
        f"SELECT id FROM bill WHERE card_id = {WORD} AND code = ? "
        if not order_id
        else "SELECT id FROM bill WHERE order_id = ?",
        (order_id,) if order_id else (card_id, code),
    ).fetchone()
    id_ = next_id(connection, "change")
    connection.execute(
        "INSERT INTO change (id, bill, card_id, code, order_id, run, at, reimburse_status, source, "
        "outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            id_, bill[0] if bill else 0, card_id, code, order_id, run, now_ms(),
            status or "reject_bill", source, outcome,
        ),
    )  # fmt: skip
    return id_


def end_change(
    connection: sqlite3.Connection, id_: int, outcome: str, errcode: int, reason: str
) -> None:
    """What became of such a call."""
    connection.execute(
        "UPDATE change SET outcome = ?, errcode = ?, reason = ? WHERE id = ?",
        (outcome, errcode, reason, id_),
    )


# Events


def take_event(connection: sqlite3.Connection, event: "Any") -> Key | None:
    """See `Ledger.take_event`."""
    known = connection.execute("SELECT 1 FROM event WHERE key = ?", (event.key,)).fetchone()
    if known is not None:
        return None
    order_id = getattr(event, "order_id", "")
    card_id, code = getattr(event, "card_id", ""), getattr(event, "code", "")
    succeeded = bool(getattr(event, "succeeded", False))
    key: Key | None = None
    known_now = True
    if order_id:
        kind, status = "user_authorize_invoice", "succeeded" if succeeded else "failed"
        appid = getattr(event, "authorize_appid", "")
        moved = list(authorised(connection, order_id, appid)) if succeeded else []
        for bill in moved:
            learn(connection, bill, "event", "authorised", detail=event.key)
            key = by_id(connection, bill).known.key
    elif card_id and code:
        kind, status = "update_invoice_status", event.status
        key = observe(connection, card_id, code, f"{status} {code}")
        known_now = code_is_known(connection, card_id, code)
    else:
        return None  # of the account, and about no bill
    connection.execute(
        "INSERT INTO event (key, at, kind, order_id, card_id, code, status, openid, after_attempt, "
        "settled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.key, now_ms(), kind, order_id, card_id, code, status, event.from_user,
            next_id(connection, "attempt") - 1, int(known_now),
        ),
    )  # fmt: skip
    return key


# Bills from before


def explain(
    connection: sqlite3.Connection,
    key: str,
    name: str,
    fee: int,
    *,
    by: str,
    checked_by: str,
    os_user: str,
    note: str,
) -> None:
    """Keep why a difference is as it is. See `Ledger.explain`."""
    connection.execute(
        "INSERT INTO explanation (key, class, fee, at, who, checked_by, os_user, note) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (key, name, fee, now_ms(), by, checked_by, os_user, note),
    )


def import_bills(
    connection: sqlite3.Connection,
    bills: "Sequence[dict[str, Any]]",
    run: int,
    *,
    by: str,
    note: str,
) -> int:
    """Take what an earlier system has inserted; how many were new. See `Ledger.import_bills`."""
    new = 0
    for bill in bills:
        key = Key(bill["appid"], bill["order_id"])
        known = look(connection, key)
        if known is not None:
            codes = {known.known.code, bill.get("code", "")} - {""}
            if known.known.state == "inserted" and len(codes) < 2:
                continue
            raise LedgerError(reason=f"order {key.order_id} is known, as {known.known.state}")
        new += 1
        insert_imported(connection, bill, run, by=by, note=note)
    return new
