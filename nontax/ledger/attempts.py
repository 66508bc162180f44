"""What is written of attempts, as SQL. Every function here runs inside one transaction.

The common way of a group (all new, all answered in time) is a few statements for the whole group;
what does not fit it is rolled back to its beginning and done bill by bill.
"""

import sqlite3
from functools import cache
from itertools import count

from nontax.delivery import states
from nontax.delivery.states import Answer, Attempt, back_to, late, step, why_not
from nontax.delivery.store import (
    GIVEN_UP,
    SAME_NUMBER,
    Claim,
    Content,
    Key,
    Known,
    Refused,
    Settled,
)
from nontax.ledger.books import (
    INSERT_BILL,
    KNOWN,
    PDF_DUE,
    DamageError,
    Row,
    by_id,
    coded,
    insert_bill,
    learn,
    look,
    look_many,
    next_id,
    now_ms,
    oldest_upload,
    replace_content,
    same_number,
    set_state,
    words,
)
from nontax.ledger.schema import BACK_TO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeVar

    T = TypeVar("T")

# Bills of a group in one statement: at most so many, and above STEP in steps, so that there are few
# statements to prepare. SQLite before 3.32 takes 999 values in one.
ROWS = 32
STEP = 8

_INSERT_ATTEMPT = (
    "INSERT INTO attempt (id, bill, number, run, slot, signed, signed_by, back_to, began) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_END_ATTEMPT = (
    "UPDATE attempt SET ended = ?, outcome = ?, errcode = ?, errmsg = ?, rid = ?, reason = ?, "
    "curl_code = ?, http_status = ?, transfers = ? WHERE id = ? AND ended = 0"
)


def reserve(connection: sqlite3.Connection, run: int, limit: int) -> list[Claim]:
    """See `Store.reserve`."""
    rows = [
        Row(row)
        for row in connection.execute(
            f"SELECT {KNOWN} FROM bills WHERE state = 'waiting' AND NOT ({PDF_DUE}) "
            "ORDER BY id LIMIT ?",
            (oldest_upload(), limit),
        )
    ]
    return [_open(connection, row, run) for row in rows]


def _open(connection: sqlite3.Connection, row: Row, run: int) -> Claim:
    before = row.known.state
    set_state(connection, row.id, before, step(before, "reserve"))
    number = 1 + int(
        connection.execute(
            "SELECT coalesce(max(number), 0) FROM attempt WHERE bill = ?", (row.id,)
        ).fetchone()[0]
    )
    id_ = next_id(connection, "attempt")
    back = back_to(before)
    connection.execute(
        _INSERT_ATTEMPT, (id_, row.id, number, run, 0, 0, "", BACK_TO[back], now_ms())
    )
    return Claim(id_, number, row.known.content, False, back, row.id)


def open_attempts(
    connection: sqlite3.Connection, run: int, contents: "Sequence[Content]", *, all_new: bool
) -> list[Claim | Known | Refused]:
    """See `Journal.open_attempts`. all_new: try first as if none of them were known."""
    if all_new:
        claims = _open_new(connection, run, contents)
        if claims is not None:
            return list(claims)
    rows = look_many(connection, contents)
    answers = []
    for content in contents:
        answers.append(_open_direct(connection, rows.get(content[:2]), content, run))
        if content[:2] not in rows and isinstance(answers[-1], Claim):
            fresh = look(connection, content.key)
            assert fresh is not None
            rows[content[:2]] = fresh
    return answers


def _open_new(
    connection: sqlite3.Connection, run: int, contents: "Sequence[Content]"
) -> list[Claim] | None:
    """All in a few statements; None, and nothing is changed, if one of them is known."""
    bill, attempt = connection.execute(
        "SELECT (SELECT coalesce(max(id), 0) + 1 FROM bill), "
        "(SELECT coalesce(max(id), 0) + 1 FROM attempt)"
    ).fetchone()
    now = now_ms()
    connection.execute("SAVEPOINT new_bills")
    try:
        ids = count(bill)
        numbers = words(connection, contents)
        for part in _parts(contents):
            values: list[object] = [run, now]
            for content in part:
                values += coded(content, numbers)
                values.append(next(ids))
            connection.execute(_insert_bills(len(part)), values)
        # Also where the index of orders is damaged: the same order has the same number, mostly.
        clash = connection.execute(
            "SELECT 1 FROM bill AS mine JOIN bill AS other "
            "ON other.billing_no = mine.billing_no AND other.billing_code = mine.billing_code "
            "AND other.id <> mine.id WHERE mine.id >= ? LIMIT 1",
            (bill,),
        ).fetchone()
    except sqlite3.IntegrityError:
        clash = (1,)
    if clash is not None:
        connection.execute("ROLLBACK TO new_bills")
        connection.execute("RELEASE new_bills")
        return None
    connection.execute(_OPEN_NEW_BILLS, (attempt - bill, run, now, bill))
    connection.execute("RELEASE new_bills")
    return [
        Claim(attempt + n, 1, content, False, "not_sent", bill + n)
        for n, content in enumerate(contents)
    ]


def _parts(rows: "Sequence[T]") -> "Iterator[Sequence[T]]":
    """In few different lengths: a statement for each of them is kept prepared."""
    begin = 0
    while begin < len(rows):
        size = min(ROWS, len(rows) - begin)
        size -= size % STEP if size > STEP else 0
        yield rows[begin : begin + size]
        begin += size


@cache
def _insert_bills(count: int) -> str:
    """One statement for several rows, in which the interpreter is free for other threads.

    Takes the run and the time, and for each bill its content and its id.
    """
    rows = ", ".join(
        f"({', '.join(f'?{3 + 12 * row + place}' for place in range(12))}, 'sending', ?1, 0, ?2, 0)"
        for row in range(count)
    )
    return f"{INSERT_BILL.partition(' VALUES ')[0]} VALUES {rows}"


# Takes what an attempt's id has more than its bill's, the run, the time, and the first bill.
_OPEN_NEW_BILLS = (
    "INSERT INTO attempt (id, bill, number, run, slot, signed, signed_by, back_to, began) "
    f"SELECT id + ?, id, 1, ?, 0, 0, '', {BACK_TO['not_sent']}, ? FROM bill WHERE id >= ?"
)


def _open_direct(
    connection: sqlite3.Connection, row: Row | None, content: Content, run: int
) -> Claim | Known | Refused:
    if row is not None:
        why = why_not(row.known.state, row.known.errcode)
        if why:
            fields = row.differs(content)
            if fields:
                return Refused(row.known, why, tuple(fields))
            return with_last_answer(connection, row)
    other = same_number(connection, content)
    if other is not None:
        return Refused(other.known, SAME_NUMBER, same_number=True)
    if row is None:
        id_ = insert_bill(connection, content, "not_sent", run, from_list=False)
        fresh = look(connection, content.key)
        if fresh is None or fresh.id != id_:
            raise DamageError("the index of orders")
        return _open(connection, fresh, run)
    replace_content(connection, row, content)
    row.known = row.known._replace(content=content)
    return _open(connection, row, run)


def with_last_answer(connection: sqlite3.Connection, row: Row) -> Known:
    """What is known of a bill, with the words of its last attempt, if that has any."""
    if row.known.state == "inserted" and not row.known.errcode:
        return row.known
    last = connection.execute(
        "SELECT errmsg, rid, reason FROM attempt WHERE bill = ? ORDER BY number DESC LIMIT 1",
        (row.id,),
    ).fetchone()
    errmsg, rid, reason = (value or "" for value in last or ("", "", ""))
    return row.known._replace(errmsg=errmsg, rid=rid, reason=reason)


def resend(
    connection: sqlite3.Connection, run: int, key: Key, by: str, checked_by: str, note: str
) -> Claim:
    """See `Store.resend`."""
    row = look(connection, key)
    if row is None or row.known.state != "in_doubt":
        raise ValueError(f"order {key.order_id} is not in doubt")
    if not by:
        raise ValueError("nobody has signed this resend")
    number, slot = connection.execute(
        "SELECT max(number), max(slot) FROM attempt WHERE bill = ?", (row.id,)
    ).fetchone()
    id_ = next_id(connection, "attempt")
    set_state(connection, row.id, "in_doubt", step("in_doubt", "resend"))
    connection.execute(
        _INSERT_ATTEMPT,
        (id_, row.id, number + 1, run, max(slot, 0) + 1, 1, by, BACK_TO["in_doubt"], now_ms()),
    )  # fmt: skip
    learn(connection, row.id, "resend", "ordered", by=by, checked_by=checked_by, note=note)
    return Claim(id_, number + 1, row.known.content, True, "in_doubt", row.id)


# Answers


def settle(
    connection: sqlite3.Connection, answers: "Sequence[tuple[Claim, Answer]]"
) -> list[Settled]:
    """See `Store.settle`."""
    settlements = _settle_open(connection, answers)
    if settlements is None:
        return [settle_one(connection, claim, answer) for claim, answer in answers]
    return [
        Settled(claim.key, s.state, True, s.shown)
        for (claim, _), s in zip(answers, settlements, strict=True)
    ]


def keep(connection: sqlite3.Connection, answers: "Sequence[tuple[Claim, Answer]]") -> list[Key]:
    """The same; only which bills are in doubt now."""
    settlements = _settle_open(connection, answers)
    if settlements is None:
        settled = [settle_one(connection, claim, answer) for claim, answer in answers]
        return [one.key for one in settled if one.state == "in_doubt" and one.applied]
    return [
        claim.key
        for (claim, _), s in zip(answers, settlements, strict=True)
        if s.state == "in_doubt"
    ]


# Nearly all answers: inserted, and all after as many transfers.
_PLAIN = Answer("inserted")
_PLAIN_END = states.settle(Attempt(False, "not_sent"), _PLAIN._replace(code="1"))


def _settle_open(
    connection: sqlite3.Connection, answers: "Sequence[tuple[Claim, Answer]]"
) -> "list[states.Settlement] | None":
    """All in a few statements; None, and nothing is changed, if one is not open any more."""
    if not answers:
        return []
    plain = []
    others = []
    settlements = []
    transfers = answers[0][1].transfers
    for claim, answer in answers:
        if claim.signed:
            return None
        if answer.code and answer[:7] == _PLAIN[:7] and answer.transfers == transfers:
            plain.append((claim, answer))
            settlements.append(_PLAIN_END)
        else:
            settlement = states.settle(Attempt(False, claim.back_to), answer)
            others.append((claim, answer, settlement))
            settlements.append(settlement)
    now = now_ms()
    connection.execute("SAVEPOINT answers")
    before = connection.total_changes  # of a statement that begins with WITH there is no rowcount
    _end_plain(connection, now, plain)
    _end_others(connection, now, others)
    if connection.total_changes - before != 2 * len(answers):
        connection.execute("ROLLBACK TO answers")
        connection.execute("RELEASE answers")
        return None
    freed = [(claim.bill,) for claim, _, settlement in others if settlement.frees]
    if freed:
        connection.executemany("UPDATE attempt SET slot = -id WHERE bill = ?", freed)
    connection.execute("RELEASE answers")
    return settlements


def _end_plain(
    connection: sqlite3.Connection, now: int, answers: "Sequence[tuple[Claim, Answer]]"
) -> None:
    for part in _parts(answers):
        ids = [claim.attempt for claim, _ in part]
        connection.execute(_end_plain_attempts(len(part)), [now, part[0][1].transfers, *ids])
        values: list[object] = [now]
        for claim, answer in part:
            values += (claim.bill, answer.code, answer.openid)
        connection.execute(_end_plain_bills(len(part)), values)


def _end_others(
    connection: sqlite3.Connection,
    now: int,
    answers: "Sequence[tuple[Claim, Answer, states.Settlement]]",
) -> None:
    for part in _parts(answers):
        values: list[object] = []
        for claim, answer, _ in part:
            values += (claim.attempt, *answer[:8])
        connection.execute(_end_attempts(len(part)), [*values, now])
        values = []
        for claim, answer, s in part:
            values += (claim.bill, s.state, answer.errcode, answer.code, answer.openid)
            values.append(int(s.code_unknown))
        connection.execute(_end_bills(len(part)), [*values, now])


@cache
def _end_plain_attempts(count: int) -> str:
    return (
        "UPDATE attempt SET ended = ?, outcome = 'inserted', transfers = ? "
        f"WHERE id IN ({', '.join('?' * count)}) AND ended = 0"
    )


@cache
def _end_plain_bills(count: int) -> str:
    # Searched one by one: for so few that is faster than a table of them.
    ids = [f"?{2 + 3 * n}" for n in range(count)]
    code = " ".join(f"WHEN {id_} THEN ?{3 + 3 * n}" for n, id_ in enumerate(ids))
    openid = " ".join(f"WHEN {id_} THEN ?{4 + 3 * n}" for n, id_ in enumerate(ids))
    return (
        f"UPDATE bill SET code = CASE id {code} END, openid = CASE id {openid} END, "
        "state = 'inserted', errcode = 0, code_unknown = 0, changed = ?1 "
        f"WHERE id IN ({', '.join(ids)}) AND state = 'sending'"
    )


_ATTEMPT_ENDS = (
    "outcome", "errcode", "errmsg", "rid", "reason", "curl_code", "http_status", "transfers",
)  # fmt: skip
_BILL_ENDS = ("state", "errcode", "code", "openid", "code_unknown")


def _update_many(table: str, names: tuple[str, ...], count: int, time: str, where: str) -> str:
    row = f"({', '.join('?' * (len(names) + 1))})"
    kept = ", ".join(names)
    return (
        f"WITH answer(answered, {kept}) AS (VALUES {', '.join([row] * count)}) "
        f"UPDATE {table} SET ({kept}) = (SELECT {kept} FROM answer WHERE answered = {table}.id), "
        f"{time} = ? WHERE id IN (SELECT answered FROM answer) AND {where}"
    )


@cache
def _end_attempts(count: int) -> str:
    return _update_many("attempt", _ATTEMPT_ENDS, count, "ended", "ended = 0")


@cache
def _end_bills(count: int) -> str:
    return _update_many("bill", _BILL_ENDS, count, "changed", "state = 'sending'")


def settle_one(connection: sqlite3.Connection, claim: Claim, answer: Answer) -> Settled:
    raw = connection.execute(
        "SELECT bill, number, signed, back_to, ended, outcome FROM attempts WHERE id = ?",
        (claim.attempt,),
    ).fetchone()
    if raw is None:
        raise DamageError(f"attempt {claim.attempt} is gone")
    bill, number, signed, back, ended, outcome = raw
    row = by_id(connection, bill)
    settlement: states.Settlement | None = states.settle(
        Attempt(bool(signed), back),
        answer,
        number_elsewhere=bool(signed) and _number_elsewhere(connection, row),
        we_rejected=bool(signed) and was_rejected(connection, row.known.key),
    )
    assert settlement is not None
    state = row.known.state
    if ended:
        last = connection.execute(
            "SELECT max(number) FROM attempt WHERE bill = ?", (bill,)
        ).fetchone()[0]
        heals = outcome == GIVEN_UP and number == last
        settlement = late(settlement, state) if heals else None
    if settlement is None:
        detail = f"{answer.outcome} {answer.errcode} {answer.code}".strip()
        learn(connection, bill, "late answer", "none", detail=detail)
        return Settled(row.known.key, state, False)
    step(state, settlement.event, settlement.state)
    connection.execute(_END_ATTEMPT.replace("AND ended = 0", ""),
                       (now_ms(), *answer[:8], claim.attempt))  # fmt: skip
    free(connection, bill, claim.attempt, settlement.frees)
    if settlement.event == "late_inserted" and state != "in_doubt":
        connection.execute("UPDATE attempt SET slot = 0 WHERE id = ?", (claim.attempt,))
    connection.execute(
        "UPDATE bill SET state = ?, errcode = ?, code = ?, openid = ?, code_unknown = ?, "
        "changed = ? WHERE id = ?",
        (
            settlement.state,
            answer.errcode,
            answer.code or row.known.code,
            answer.openid or row.known.openid,
            int(settlement.code_unknown),
            now_ms(),
            bill,
        ),
    )
    return Settled(row.known.key, settlement.state, True, settlement.shown)


def free(connection: sqlite3.Connection, bill: int, attempt: int, frees: str) -> None:
    if frees == "bill":
        connection.execute("UPDATE attempt SET slot = -id WHERE bill = ?", (bill,))
    elif frees == "attempt":
        connection.execute("UPDATE attempt SET slot = -id WHERE id = ?", (attempt,))


def _number_elsewhere(connection: sqlite3.Connection, row: Row) -> bool:
    content = row.known.content
    others = connection.execute(
        "SELECT 1 FROM bills WHERE billing_no = ? AND billing_code = ? AND id <> ? LIMIT 1",
        (content.billing_no, content.billing_code, row.id),
    )
    return others.fetchone() is not None


def was_rejected(connection: sqlite3.Connection, key: Key) -> bool:
    """Whether our own reject_bill of this order was carried out."""
    found = connection.execute(
        "SELECT 1 FROM change WHERE order_id = ? AND source = 'reject_bill' "
        "AND outcome = 'inserted' LIMIT 1",
        (key.order_id,),
    )
    return found.fetchone() is not None


def give_up(connection: sqlite3.Connection, run: int, mark: int) -> list[Key]:
    """Settle all that is open of a run that has ended. mark: the last attempt it has handed over;
    -1: not known, so all may have been."""
    doubtful = []
    rows = connection.execute(
        "SELECT attempts.id, attempts.bill, attempts.signed, attempts.back_to "
        "FROM bill JOIN attempts ON attempts.bill = bill.id AND attempts.ended = 0 "
        "WHERE bill.state = 'sending' AND attempts.run = ?",
        (run,),
    ).fetchall()
    for attempt, bill, signed, back in rows:
        handed_over = mark < 0 or attempt <= mark
        reason = "the process ended before an answer came" if handed_over else "not handed over"
        connection.execute(
            "UPDATE attempt SET ended = ?, outcome = ?, reason = ? WHERE id = ?",
            (now_ms(), GIVEN_UP, reason, attempt),
        )
        if handed_over:
            set_state(connection, bill, "sending", step("sending", "in_doubt"))
            doubtful.append(by_id(connection, bill).known.key)
        else:
            free(connection, bill, attempt, "attempt" if signed else "bill")
            set_state(connection, bill, "sending", step("sending", "returned", back))
    connection.execute(
        "UPDATE change SET outcome = 'in_doubt', "
        "reason = 'the process ended before an answer came' "
        "WHERE run = ? AND outcome = 'sending'",
        (run,),
    )
    return doubtful
