"""What is written besides attempts: events, status changes; backup, restore, prune, migrations."""

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from uuid import uuid4

from nontax.delivery import states
from nontax.delivery.store import GIVEN_UP
from nontax.errors import LedgerError
from nontax.ledger import books, highwater, places, schema
from nontax.ledger.books import now_ms
from nontax.ledger.words import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


# Copies


def backup(path: str, to: str) -> None:
    """Copy a ledger that may be in use: whole, first beside it, then to `to`, which may be a NAS.

    The copy says that it is one: it is read-only until `accept_restored`. Raises LedgerError.
    """
    to = os.path.abspath(to)
    if os.path.exists(to):
        raise LedgerError(reason=f"{to} exists: a backup overwrites nothing")
    local = f"{path}-backup-{uuid4().hex[:8]}"
    try:
        os.close(os.open(local, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(places.connect(path)) as source, closing(sqlite3.connect(local)) as copy:
            source.backup(copy, pages=2000)
            copy.execute("PRAGMA journal_mode = DELETE")
            (ledger,) = copy.execute("SELECT ledger FROM meta").fetchone()
            attempts = books.next_id(copy, "attempt") - 1
            copy.execute(
                "UPDATE meta SET is_backup = 1, backup_of = ?, highwater = ?", (ledger, attempts)
            )
            copy.commit()
            _check_whole(copy, local)
        _sync(local)
        part = f"{to}.part"
        shutil.copyfile(local, part)
        os.chmod(part, 0o600)
        if _sha256(part) != _sha256(local):
            raise LedgerError(reason=f"{part} is not what was written to it: try another disk")
        _sync(part)
        os.rename(part, to)
        places.sync_folder(to)
    except (OSError, sqlite3.Error) as error:
        raise unusable(error, to) from error
    finally:
        for name in (local, f"{local}-journal", f"{local}-wal", f"{local}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(name)


def restore(backup_file: str, path: str) -> None:
    """Put a backup where there is no ledger. It is read-only until `accept_restored`."""
    path = os.path.realpath(path)
    places.check_place(path)
    places.check_file(backup_file)
    if os.path.exists(path):
        raise LedgerError(reason=f"{path} exists: move it away first, with its -wal and -shm")
    for name in (f"{path}-wal", f"{path}-shm"):
        if os.path.exists(name):
            raise LedgerError(reason=f"{name} is of the ledger that was here: move it away, too")
    part = f"{path}.part"
    try:
        shutil.copyfile(backup_file, part)
        os.chmod(part, 0o600)
        with closing(sqlite3.connect(part)) as copy:
            _check_whole(copy, part)
            copy.execute("UPDATE meta SET is_backup = 1")
            copy.commit()
            copy.execute("PRAGMA journal_mode = WAL")
        _sync(part)
        os.rename(part, path)
        places.sync_folder(path)
    except (OSError, sqlite3.Error) as error:
        raise unusable(error, path) from error


def accept_restored(path: str, *, by: str, note: str) -> int:
    """Use a restored ledger: all that can be sent may have been sent since; so many bills.

    They are in doubt from now on. Bills that came after the backup are not known to it: WeChat's
    own answer to a duplicate is what is left for them. Raises ValueError if by or note is missing.
    """
    if not by or not note:
        raise ValueError("who accepts the ledger (by=), and why (note=)?")
    try:
        with closing(places.connect(path)) as connection:
            places.check_version(connection, path, None)
            connection.execute("BEGIN IMMEDIATE")
            count = _doubt_all(connection, by, note)
            connection.execute("UPDATE meta SET is_backup = 0")
            water = highwater.HighWater(path)
            water.forget()
            connection.execute("COMMIT")
            water.close()
    except (OSError, sqlite3.Error) as error:
        raise unusable(error, path) from error
    return count


def _doubt_all(connection: sqlite3.Connection, by: str, note: str) -> int:
    # In the restored ledger no run is alive, whatever its files say.
    connection.execute(
        "UPDATE run SET ended = ?, end_reason = 'before a restored backup' WHERE ended = 0",
        (now_ms(),),
    )
    connection.execute(
        "UPDATE attempt SET ended = ?, outcome = ? WHERE ended = 0", (now_ms(), GIVEN_UP)
    )
    # What WeChat refused may have been sent again since, unless the answer was final.
    final = ", ".join(str(errcode) for errcode in states.FINAL)
    rows = connection.execute(
        "SELECT id, state FROM bill WHERE state IN ('waiting', 'sending', 'not_sent', 'withdrawn') "
        f"OR (state = 'rejected' AND errcode NOT IN ({final}))"
    ).fetchall()
    for bill, state in rows:
        after = states.step(state, "restored" if state != "sending" else "in_doubt")
        books.set_state(connection, bill, state, after)
        books.learn(connection, bill, "restored", "in_doubt", by=by, note=note)
        taken = connection.execute(
            "SELECT 1 FROM attempt WHERE bill = ? AND slot = 0", (bill,)
        ).fetchone()
        if taken is None:  # the attempt that may have been made since, so that no other can be
            number = connection.execute(
                "SELECT coalesce(max(number), 0) FROM attempt WHERE bill = ?", (bill,)
            ).fetchone()[0]
            connection.execute(
                "INSERT INTO attempt (id, bill, number, run, slot, signed, back_to, began, ended, "
                "outcome, reason) VALUES (?, ?, ?, 0, 0, 0, ?, ?, ?, ?, ?)",
                (
                    books.next_id(connection, "attempt"), bill, number + 1,
                    schema.BACK_TO["not_sent"], now_ms(), now_ms(),
                    GIVEN_UP, "the ledger was restored from a backup",
                ),
            )  # fmt: skip
    return len(rows)


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Checks


def _check_whole(connection: sqlite3.Connection, path: str) -> None:
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
    if problems != ["ok"]:
        raise LedgerError(reason=f"{path} is damaged: {'; '.join(problems)}")


# What must be so in a whole ledger: a sentence, and a query that finds what breaks it.
_RULES = (
    (
        "a bill that is sending has one open attempt",
        "SELECT bill.id FROM bill "
        "LEFT JOIN attempt ON attempt.bill = bill.id AND attempt.ended = 0 "
        "WHERE bill.state = 'sending' GROUP BY bill.id HAVING count(attempt.id) <> 1",
    ),
    (
        "an open attempt's bill is sending",
        "SELECT bill.id FROM attempt JOIN bill ON bill.id = attempt.bill "
        "WHERE attempt.ended = 0 AND bill.state <> 'sending'",
    ),
    (
        "a bill in doubt holds its first slot, so that it cannot be sent again",
        "SELECT id FROM bill WHERE state = 'in_doubt' AND NOT EXISTS "
        "(SELECT 1 FROM attempt WHERE attempt.bill = bill.id AND attempt.slot = 0)",
    ),
    (
        "a bill's account, card, code and shape are words",
        "SELECT id FROM bill WHERE appid NOT IN (SELECT id FROM word) OR EXISTS (SELECT 1 FROM "
        "(SELECT card_id AS word UNION SELECT billing_no UNION SELECT shape) "
        "WHERE word <> 0 AND word NOT IN (SELECT id FROM word))",
    ),
    ("an attempt has a bill", "SELECT id FROM attempt WHERE bill NOT IN (SELECT id FROM bill)"),
    (
        "an inserted bill has its code, or says that it is not known",
        "SELECT id FROM bill WHERE state = 'inserted' AND code_unknown = 0 "
        "AND (code IS NULL OR length(code) = 0)",
    ),
)


def verify(path: str) -> list[str]:
    """All that is wrong with a ledger, in sentences; [] if it is whole. Writes nothing."""
    from nontax.ledger import reading

    with reading.reader(path) as connection:
        problems = [
            str(row[0])
            for row in connection.execute("PRAGMA integrity_check(100)")
            if row[0] != "ok"
        ]
        for sentence, query in _RULES:
            found = [row[0] for row in connection.execute(query).fetchmany(20)]
            if found:
                problems.append(f"not so: {sentence} (rows {', '.join(map(str, found))})")
    return problems


class Digest:
    """SHA-256 over bills, in the order of their ids, as a report names it."""

    FIELDS = ("id", "appid", "order_id", "fee", "billing_no", "billing_code", "billing_time")

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, columns: "Sequence[Sequence[str]]") -> None:
        """Take some bills: a column of texts for each of FIELDS."""
        width = len(self.FIELDS) * 2
        cells = ["\x1f"] * (width * len(columns[0]))
        for place, column in enumerate(columns):
            cells[2 * place :: width] = column
        cells[width - 1 :: width] = ["\n"] * len(columns[0])
        self._sha256.update("".join(cells).encode())

    def text(self) -> str:
        """In hexadecimal digits."""
        return self._sha256.hexdigest()


def digest(path: str, up_to: int) -> str:
    """The digest over the bills with ids up to `up_to`."""
    from nontax.ledger import reading

    found = Digest()
    with reading.reader(path) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(Digest.FIELDS)} FROM bills WHERE id <= ? ORDER BY id", (up_to,)
        )
        while some := rows.fetchmany(1024):
            found.add([list(map(str, column)) for column in zip(*some, strict=True)])
    return found.text()


def prune(connection: sqlite3.Connection, before: int) -> int:
    """Remove title and openid of settled bills that last changed before then; how many."""
    marked = connection.execute(
        "UPDATE bill SET title = '', openid = '', pruned = 1 WHERE pruned = 0 AND changed < ? "
        "AND state IN ('inserted', 'rejected', 'withdrawn')",
        (before,),
    ).rowcount
    connection.execute(
        "UPDATE attempt SET content = '' WHERE length(content) > 0 AND bill IN "
        "(SELECT id FROM bill WHERE pruned = 1)"
    )
    connection.execute("UPDATE event SET openid = '' WHERE at < ?", (before,))
    return marked


# Migrations


def migrate(path: str, connection: sqlite3.Connection, old: int) -> None:
    """Make the newest version of an older ledger, each step one transaction, after a backup."""
    if old < 1:
        raise LedgerError(reason=f"{path} is no ledger of nontax")
    copy = f"{path}-before-version-{schema.VERSION}"
    if not os.path.exists(copy):
        backup(path, copy)
    for version in range(old + 1, schema.VERSION + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            (now,) = connection.execute("PRAGMA user_version").fetchone()
            if now < version:  # else another process was faster
                for statement in schema.statements(schema.MIGRATIONS[version]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
