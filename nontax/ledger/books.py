"""What is written for each step, as SQL. Every function here runs inside one transaction.

The common way of a group (all new, all answered in time) is a few statements for the whole group;
what does not fit it is rolled back to its beginning and done bill by bill.
"""

import json
import sqlite3
from time import time

from nontax.delivery import states
from nontax.delivery.states import State, step, why_not
from nontax.delivery.store import (
    CONTENT_FIELDS,
    NUMBER_TAKEN,
    SAME_NUMBER,
    Content,
    Key,
    Known,
    PdfDue,
    Refused,
    differences,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

_CONTENT = (
    "appid, order_id, card_id, fee, title, billing_time, billing_no, billing_code, "
    "s_pdf_media_id, extra, shape"
)
# Of the view `bills`; of the table, where words stand as numbers.
KNOWN = f"{_CONTENT}, id, state, errcode, code, openid, code_unknown, from_list, pruned"
_WIDTH = 11
# The id of a word, which is a parameter; NULL if it is none.
WORD = "(SELECT id FROM word WHERE text = ?)"
INSERT_BILL = (
    f"INSERT INTO bill ({_CONTENT}, id, state, run, source_row, changed, from_list) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_TAKEN = ", ".join(f"'{state}'" for state in sorted(NUMBER_TAKEN))
# WeChat keeps an uploaded PDF for three days; half a day is left for the bill to wait.
UPLOAD_HOURS = 60
# Of a bill's row: its PDF has to be uploaded first. Takes `oldest_upload()`.
PDF_DUE = "coalesce(length(pdf_path), 0) > 0 AND pdf_uploaded < ?"
# SQLite before 3.32 takes 999 values in a statement.
PAGE = 500
PRUNED = ("title",)
# The shape of a bill that an earlier system has inserted: what it has not told is 0 or "".
IMPORTED = "imported"


class DamageError(Exception):
    """Two parts of the ledger contradict each other."""


def now_ms() -> int:
    """For people to read; nothing is decided by it."""
    return int(time() * 1000)


def oldest_upload() -> int:
    """When an upload was made at the earliest that is still good."""
    return now_ms() - UPLOAD_HOURS * 3_600_000


class Row:
    """A bill's row."""

    __slots__ = ("id", "known", "pruned")

    def __init__(self, row: "tuple[Any, ...]") -> None:
        fields = row[:_WIDTH]
        if None in fields:
            fields = tuple("" if value is None else value for value in fields)
        content = Content._make(fields)
        self.id: int = row[11]
        if row[12] not in states.STATES or not isinstance(row[3], int) or not content.appid:
            raise DamageError(f"row {row[11]} of bill")
        self.known = Known(
            content, row[12], row[14] or "", row[15] or "", bool(row[16]), row[13],
            from_list=bool(row[17]),
        )  # fmt: skip
        self.pruned: bool = bool(row[18])

    def differs(self, given: Content) -> list[str]:
        """The fields in which the given bill is another one."""
        kept = self.known.content
        if kept[2:8] == given[2:8] and kept.extra == given.extra:
            return []
        unknown: tuple[str, ...] = PRUNED if self.pruned else ()
        if kept.shape == IMPORTED:
            unknown = tuple(name for name in CONTENT_FIELDS if not getattr(kept, name))
        return differences(kept, given, pruned=unknown)


def next_id(connection: sqlite3.Connection, table: str) -> int:
    row = connection.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {table}").fetchone()
    return int(row[0])


def look(connection: sqlite3.Connection, key: Key) -> Row | None:
    row = connection.execute(
        f"SELECT {KNOWN} FROM bills WHERE order_id = ? AND appid = ?", (key.order_id, key.appid)
    ).fetchone()
    return None if row is None else Row(row)


def _rows_of(
    connection: sqlite3.Connection, contents: "Sequence[Content]", table: str
) -> "Iterator[tuple[Any, ...]]":
    """The rows of all bills with these orders, as they stand in `table`."""
    for begin in range(0, len(contents), PAGE):
        orders = [content[1] for content in contents[begin : begin + PAGE]]
        places = ", ".join("?" * len(orders))
        sql = f"SELECT {KNOWN} FROM {table} WHERE order_id IN ({places})"
        yield from connection.execute(sql, orders).fetchall()


def look_many(
    connection: sqlite3.Connection, contents: "Sequence[Content]"
) -> "dict[tuple[Any, ...], Row]":
    """The rows of those bills that are known, by (appid, order_id)."""
    return {row[:2]: Row(row) for row in _rows_of(connection, contents, "bills")}


def words(connection: sqlite3.Connection, contents: "Sequence[Content]") -> dict[str, int]:
    """The numbers of all words of these bills; new ones get one. "" has 0."""
    appids = {content[0] for content in contents}
    texts = list(appids.union(*(_words_of(content) for content in contents)) - {""})
    found = {"": 0}
    for begin in range(0, len(texts), PAGE):
        part = texts[begin : begin + PAGE]
        sql = f"SELECT text, id FROM word WHERE text IN ({', '.join('?' * len(part))})"
        found.update(connection.execute(sql, part).fetchall())
    for text in sorted(set(texts) - found.keys()):
        # A damaged index of words must not make an account new, and all its bills with it.
        if text in appids and _is_word(connection, text):
            raise DamageError("the index of words")
        found[text] = next_id(connection, "word")
        connection.execute("INSERT INTO word (id, text) VALUES (?, ?)", (found[text], text))
    return found


def _words_of(content: Content) -> tuple[str, ...]:
    return content[2], content[6], content[10]


def _is_word(connection: sqlite3.Connection, text: str) -> bool:
    """As `words` finds it, but without the index."""
    sql = "SELECT 1 FROM word NOT INDEXED WHERE text = ? LIMIT 1"
    return connection.execute(sql, (text,)).fetchone() is not None


def coded(content: Content, words: dict[str, int]) -> "tuple[Any, ...]":
    """A bill's content as it stands in its row."""
    appid, order_id, card_id, fee, title, time, no, code, media_id, extra, shape = content
    return (
        words[appid], order_id, words[card_id], fee, title, time, words[no], code, media_id, extra,
        words[shape],
    )  # fmt: skip


def _inserted_already(
    connection: sqlite3.Connection, contents: "Sequence[Content]"
) -> "list[Known | None]":
    """The answers to bills that are inserted, and handed in as they are kept: most of an old list.

    None: something is otherwise, and has to be looked at.
    """
    rows = {row[1]: row for row in _rows_of(connection, contents, "bill")}
    numbers = words(connection, contents) if rows else {}
    answers: list[Known | None] = []
    for content in contents:
        row = rows.get(content[1])
        same = row is not None and row[:_WIDTH] == coded(content, numbers)
        if row is None or not same or row[12] != "inserted" or row[18]:
            answers.append(None)
            continue
        errcode, code, openid, code_unknown, from_list = row[13:18]
        answers.append(
            Known(
                content, "inserted", code or "", openid or "", bool(code_unknown), errcode,
                from_list=bool(from_list),
            )
        )  # fmt: skip
    return answers


def same_number(connection: sqlite3.Connection, content: Content) -> Row | None:
    """Another order that has this printed number for itself."""
    for raw in connection.execute(
        f"SELECT {KNOWN} FROM bills WHERE billing_no = ? AND billing_code = ?",
        (content.billing_no, content.billing_code),
    ):
        row = Row(raw)
        if row.known.key != content.key and row.known.state in NUMBER_TAKEN:
            return row
    return None


def check_unknown(connection: sqlite3.Connection, content: Content) -> None:
    """The other index agrees that the order is not known. A damaged page must not make it new."""
    row = connection.execute(
        "SELECT count(*) FROM bills WHERE billing_no = ? AND billing_code = ? "
        "AND +order_id = ? AND +appid = ?",
        (content.billing_no, content.billing_code, content.order_id, content.appid),
    ).fetchone()
    if row[0]:
        raise DamageError("the index of orders")


def insert_bill(
    connection: sqlite3.Connection,
    content: Content,
    state: State,
    run: int,
    source_row: int = 0,
    *,
    from_list: bool,
) -> int:
    """A new bill; its id."""
    check_unknown(connection, content)
    id_ = next_id(connection, "bill")
    row = coded(content, words(connection, [content]))
    connection.execute(INSERT_BILL, (*row, id_, state, run, source_row, now_ms(), int(from_list)))
    return id_


def replace_content(connection: sqlite3.Connection, row: Row, content: Content) -> None:
    """Give a bill new content; the attempts before keep the old."""
    if row.differs(content):
        old = json.dumps(row.known.content._asdict(), ensure_ascii=False)
        connection.execute(
            "UPDATE attempt SET content = ? "
            "WHERE bill = ? AND (content IS NULL OR length(content) = 0)",
            (old, row.id),
        )
    elif row.known.content[8:] == content[8:]:
        return
    assignments = ", ".join(f"{name} = ?" for name in Content._fields)
    fields = coded(content, words(connection, [content]))
    connection.execute(f"UPDATE bill SET {assignments} WHERE id = ?", (*fields, row.id))


def set_state(connection: sqlite3.Connection, id_: int, before: State, after: State) -> None:
    """One step of a bill. The state before stands in the WHERE: nobody has come in between."""
    done = connection.execute(
        "UPDATE bill SET state = ?, changed = ? WHERE id = ? AND state = ?",
        (after, now_ms(), id_, before),
    )
    if done.rowcount != 1:
        raise DamageError(f"row {id_} of bill is not {before}")


# PDFs


def pdfs_due(connection: sqlite3.Connection, limit: int) -> list[PdfDue]:
    """See `Store.pdfs_due`."""
    rows = connection.execute(
        "SELECT appid, order_id, pdf_path, pdf_sha256 FROM bills "
        f"WHERE state = 'waiting' AND {PDF_DUE} ORDER BY id LIMIT ?",
        (oldest_upload(), limit),
    )
    return [PdfDue(Key(row[0], row[1]), row[2], row[3] or "") for row in rows]


def keep_pdf(connection: sqlite3.Connection, key: Key, s_pdf_media_id: str) -> None:
    """See `Store.keep_pdf`."""
    connection.execute(
        "UPDATE bill SET s_pdf_media_id = ?, pdf_uploaded = ? "
        f"WHERE order_id = ? AND appid = {WORD}",
        (s_pdf_media_id, now_ms(), key.order_id, key.appid),
    )


def set_pdf(connection: sqlite3.Connection, key: Key, path: str, sha256: str) -> None:
    """A waiting bill's PDF, as its list names it."""
    connection.execute(
        "UPDATE bill SET pdf_path = ?, pdf_sha256 = ?, "
        "pdf_uploaded = CASE WHEN pdf_sha256 = ? THEN pdf_uploaded ELSE 0 END "
        f"WHERE order_id = ? AND appid = {WORD} AND state = 'waiting'",
        (path, sha256, sha256, key.order_id, key.appid),
    )


# Handing in


def hand_in(
    connection: sqlite3.Connection,
    contents: "Sequence[Content]",
    run: int,
    *,
    again: bool,
    allow_same_number: bool,
    rows: "Sequence[int] | None" = None,
    pdfs: "Sequence[tuple[str, str]] | None" = None,
    dry_run: bool = False,
) -> list[Known | Refused]:
    """See `Ledger.hand_in`."""
    connection.execute("SAVEPOINT handing_in")
    answers = _hand_in_all(connection, contents, run, again, allow_same_number, rows, pdfs)
    if dry_run:
        connection.execute("ROLLBACK TO handing_in")
    connection.execute("RELEASE handing_in")
    return answers


def _hand_in_all(
    connection: sqlite3.Connection,
    contents: "Sequence[Content]",
    run: int,
    again: bool,
    allow_same_number: bool,
    source_rows: "Sequence[int] | None",
    pdfs: "Sequence[tuple[str, str]] | None",
) -> list[Known | Refused]:
    inserted = _inserted_already(connection, contents)
    others = [content for content, known in zip(contents, inserted, strict=True) if known is None]
    rows = look_many(connection, others)
    answers: list[Known | Refused] = []
    for place, (content, known) in enumerate(zip(contents, inserted, strict=True)):
        if known is not None:
            answers.append(known)
            continue
        key = content[:2]
        row = rows.get(key)
        if pdfs is not None and pdfs[place][0]:
            # The id is that of the upload: of the one that was, or of the one to come.
            kept = "" if row is None else row.known.content.s_pdf_media_id
            content = content._replace(s_pdf_media_id=kept)
        source_row = 0 if source_rows is None else source_rows[place]
        answer = _hand_in(connection, row, content, run, source_row, again, allow_same_number)
        answers.append(answer)
        if pdfs is not None and isinstance(answer, Known) and answer.state == "waiting":
            set_pdf(connection, content.key, *pdfs[place])
        if row is None and isinstance(answer, Known):
            fresh = look(connection, content.key)  # for a second row of the same order
            assert fresh is not None
            rows[key] = fresh
    return answers


def _hand_in(
    connection: sqlite3.Connection,
    row: Row | None,
    content: Content,
    run: int,
    source_row: int,
    again: bool,
    allow_same_number: bool,
) -> Known | Refused:
    waiting = row is not None and row.known.state == "waiting"
    if row is not None and not waiting:
        why = why_not(row.known.state, row.known.errcode, by="hand_in", again=again)
        fields = row.differs(content)
        if why:
            return Refused(row.known, why, tuple(fields)) if fields else row.known
    other = None if allow_same_number else same_number(connection, content)
    if other is not None:
        return Refused(other.known, SAME_NUMBER, same_number=True)
    if row is None:
        insert_bill(connection, content, "waiting", run, source_row, from_list=True)
        return Known(content, "waiting", from_list=True)
    replace_content(connection, row, content)
    if not waiting:
        set_state(connection, row.id, row.known.state, step(row.known.state, "hand_in"))
    connection.execute(
        "UPDATE bill SET from_list = 1, run = ?, source_row = ? WHERE id = ?",
        (run, source_row, row.id),
    )
    row.known = row.known._replace(content=content, state="waiting", from_list=True)
    return row.known


def counts(connection: sqlite3.Connection) -> dict[State, int]:
    return dict(connection.execute("SELECT state, count(*) FROM bill GROUP BY state").fetchall())


def by_id(connection: sqlite3.Connection, id_: int) -> Row:
    raw = connection.execute(f"SELECT {KNOWN} FROM bills WHERE id = ?", (id_,)).fetchone()
    if raw is None:
        raise DamageError(f"row {id_} of bill is gone")
    return Row(raw)


def learn(
    connection: sqlite3.Connection,
    bill: int,
    kind: str,
    verdict: str,
    *,
    by: str = "",
    checked_by: str = "",
    os_user: str = "",
    note: str = "",
    detail: str = "",
) -> None:
    """Add to what is known of a bill besides its attempts' answers."""
    connection.execute(
        "INSERT INTO evidence (bill, at, kind, verdict, who, checked_by, os_user, note, detail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (bill, now_ms(), kind, verdict, by, checked_by, os_user, note, detail),
    )
