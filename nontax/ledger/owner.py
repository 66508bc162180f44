"""One open ledger in one process: its run, its lock, its writer, its spool.

Nothing of this is there before something has to be written: a program that only makes a client has
no run. A forked child begins a run of its own when it first writes.
"""

import atexit
import getpass
import os
import socket
import sqlite3
import sys
import weakref
from contextlib import suppress

from nontax.delivery.spool import Spool, SpoolError
from nontax.delivery.states import Answer
from nontax.delivery.store import (
    GIVEN_UP,
    Batch,
    Claim,
    Content,
    Key,
    Known,
    Refused,
    Settled,
)
from nontax.errors import LedgerError
from nontax.ledger import attempts, books, evidence, highwater
from nontax.ledger.books import DamageError, now_ms
from nontax.ledger.marks import OtherRun, RunFile, boot_id
from nontax.ledger.words import damaged, other_server, said, unusable
from nontax.ledger.writer import Writer
from nontax.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")


def os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class Owner:
    """See this file. `describe` is what the run's row tells of it: account, command, source …"""

    def __init__(self, path: str, connect: "Callable[[], sqlite3.Connection]") -> None:
        self.path = path
        self._connect = connect
        self.spool = Spool(f"{path}-spool")
        self.describe: dict[str, str] = {}
        self.server = ""
        self._forget()
        _owners.add(self)

    def _forget(self) -> None:
        self._lock = Lock()  # of the life of the run, and of the mark
        self._writer: Writer | None = None
        self._connection: sqlite3.Connection | None = None
        self.file: RunFile | None = None
        self.run = 0
        self._spooled = False
        self._doubtful: list[Key] = []  # by runs that were dead when this one began
        self._water: highwater.HighWater | None = None

    # The run

    def begin(self) -> Writer:
        """The writer of this process's run, which begins if there is none. Raises LedgerError."""
        writer = self._writer
        if writer is not None:
            return writer
        with self._lock:
            if self._writer is None:
                writer = Writer(self._open, self._wal_size)
                try:
                    self._begin_run(writer)
                except BaseException:
                    writer.close()
                    if self.file is not None:
                        self.file.end()
                    self.file, self.run = None, 0
                    raise
                self._writer = writer
        return self._writer

    def _open(self) -> sqlite3.Connection:
        self._connection = self._connect()
        return self._connection

    def _wal_size(self) -> int:
        try:
            return os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            return 0

    def _begin_run(self, writer: Writer) -> None:
        try:
            self.spool.prepare()
            self._water = highwater.HighWater(self.path)
        except OSError as error:
            raise unusable(error, self.path) from error
        self._run(writer, self._commit_run)
        self._read_spool(writer)
        self._doubtful += self._expire(writer)

    def _commit_run(self, connection: sqlite3.Connection) -> None:
        server, is_backup, ledger = connection.execute(
            "SELECT server, is_backup, ledger FROM meta"
        ).fetchone()
        attempts = books.next_id(connection, "attempt") - 1
        assert self._water is not None
        if is_backup or self._water.is_ahead(ledger, attempts):
            raise said("restored", path=self.path)
        if self.server and server and server != self.server:
            raise other_server(self.path, server, self.server)
        if self.server and not server:
            connection.execute("UPDATE meta SET server = ?", (self.server,))
        run = books.next_id(connection, "run")
        # The lock first: whoever sees the row must find the run alive.
        self.file = RunFile(self.path, run)
        self.run = run
        tell = {"command": os.path.basename(sys.argv[0]) if sys.argv else "", **self.describe}
        names = ", ".join(tell)
        places_ = ", ".join("?" * len(tell))
        connection.execute(
            "INSERT INTO run (id, began, os_user, host, boot_id, pid, nontax"
            f", {names}) VALUES (?, ?, ?, ?, ?, ?, ?, {places_})",
            (
                run, now_ms(), os_user(), socket.gethostname(), boot_id(), os.getpid(),
                _version(), *tell.values(),
            ),
        )  # fmt: skip

    def close(self, reason: str = "closed") -> None:
        """End the run: what is open of it is settled. The ledger can be used again afterwards."""
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is None:
                return
            try:
                if self._spooled:
                    self._read_spool(writer)
                self._run(writer, lambda connection: self._end_run(connection, reason))
            except LedgerError:
                # The disk takes nothing: whoever opens it next finds a run that has died.
                writer.close()
                if self.file is not None:
                    self.file.forget()
            else:
                writer.close()
                if self.file is not None:
                    self.file.end()
            self.file, self.run, self._connection = None, 0, None
            if self._water is not None:
                self._water.close()

    def _end_run(self, connection: sqlite3.Connection, reason: str) -> None:
        assert self.file is not None
        attempts.give_up(connection, self.run, self.file.mark)
        connection.execute(
            "UPDATE run SET ended = ?, end_reason = ? WHERE id = ?", (now_ms(), reason, self.run)
        )

    def after_fork(self) -> None:
        """In the child: the run is the parent's. Only what keeps its lock is closed."""
        if self.file is not None:
            self.file.forget()
        if self._connection is not None:
            _leave_behind(self._connection)
        if self._water is not None:
            self._water.close()
        self._forget()

    # Writing

    def write(
        self,
        work: "Callable[[sqlite3.Connection], T]",
        claims_of: "Callable[[T], Iterable[object]] | None" = None,
    ) -> "T":
        """Do work in a transaction; what it returns, when the disk has it. Raises LedgerError.

        claims_of: which claims the result has. They are given back if a signal ends the waiting:
        nothing of them was handed over then.
        """
        writer = self.begin()
        if self._spooled:
            self._read_spool(writer)
        if claims_of is None:
            return self._run(writer, work)
        give_back = claims_of
        return self._run(writer, work, lambda result: _take_back(writer, give_back(result)))

    def _run(
        self,
        writer: Writer,
        work: "Callable[[sqlite3.Connection], T]",
        abandoned: "Callable[[T], None] | None" = None,
    ) -> "T":
        try:
            return writer.run(work, abandoned)  # type: ignore[no-any-return]
        except DamageError as error:
            raise damaged(self.path, str(error)) from error

    def attend(self, batch: Batch) -> None:
        """See `Ledger.attend`."""

        def close(connection: sqlite3.Connection) -> None:
            if answers := batch.answers():
                for key in attempts.keep(connection, answers):
                    evidence.recall(connection, key)

        def closed(_result: object, error: BaseException | None) -> None:
            if error is None:
                batch.kept(spooled=False)
                return
            try:
                self.spool_answers(batch.answers(), error)
            except BaseException as failure:
                batch.kept(spooled=False, error=failure)
            else:
                batch.kept(spooled=True)

        def open_(connection: sqlite3.Connection) -> "list[Claim | Known | Refused]":
            bills = batch.bills()
            if not bills:
                return []
            return attempts.open_attempts(connection, self.run, bills, all_new=True)

        def opened(result: "Any", error: BaseException | None) -> None:
            batch.opened(result, self._translated(error))

        self.begin().submit((close, closed), (open_, opened))

    def _translated(self, error: BaseException | None) -> BaseException | None:
        return damaged(self.path, str(error)) if isinstance(error, DamageError) else error

    def submit(
        self,
        work: "Callable[[sqlite3.Connection], T]",
        done: "Callable[[T | None, BaseException | None], None]",
    ) -> None:
        """The same without waiting: `done` is called in the writer's thread."""

        def translated(result: "Any", error: BaseException | None) -> None:
            done(result, self._translated(error))

        self.begin().submit((work, translated))

    def handed_over(self, claims: "Iterable[Claim]") -> None:
        """See `Store.handed_over`."""
        with self._lock:
            if self.file is None:
                raise LedgerError(reason=f"the ledger {self.path} is closed")
            for claim in claims:
                self.file.handed_over(claim.attempt)
                assert self._water is not None
                self._water.reach(claim.attempt)

    # Answers that the disk did not take

    def keep(self, answers: "Sequence[tuple[Claim, Answer]]") -> list[bool]:
        """Settle; or, where that fails, put the answers into the spool. Which of them are there.

        Raises LedgerError if neither is possible.
        """
        try:
            self.write(lambda connection: settle(connection, answers))
        except LedgerError as error:
            self.spool_answers(answers, error)
            return [True] * len(answers)
        return [False] * len(answers)

    def submit_answers(
        self,
        answers: "Sequence[tuple[Claim, Answer]]",
        done: "Callable[[list[bool] | None, BaseException | None], None]",
    ) -> None:
        """`keep` without waiting: `done` is called in the writer's thread."""

        def settled(_result: object, error: BaseException | None) -> None:
            if error is None:
                done([False] * len(answers), None)
                return
            try:
                self.spool_answers(answers, error)
            except BaseException as failure:
                done(None, failure)
            else:
                done([True] * len(answers), None)

        try:
            self.submit(lambda connection: settle(connection, answers), settled)
        except LedgerError as error:  # it cannot begin any more
            settled(None, error)

    def is_writing_here(self) -> bool:
        """Whether this thread is the writer's."""
        writer = self._writer
        return writer is not None and writer.is_this_thread()

    def give_back(self, claims: "Iterable[object]") -> None:
        """Settle claims that nobody waits for. Never waits: the writer's thread may call it."""
        writer = self._writer
        if writer is not None:
            _take_back(writer, claims)

    def spool_answers(self, answers: "Sequence[tuple[Claim, Answer]]", why: BaseException) -> None:
        """Put answers into the spool, because of `why`, which is raised if that fails, too."""
        try:
            self.spool.add([[claim.attempt, *answer] for claim, answer in answers])
        except (OSError, SpoolError) as error:
            raise LedgerError(
                reason=f"{why}; and the spool takes no answers, either: {error}"
            ) from error
        self._spooled = True

    def _read_spool(self, writer: Writer) -> None:
        def settle(connection: sqlite3.Connection, entries: "list[Any]") -> None:
            for attempt, *answer in entries:
                _settle_spooled(connection, attempt, Answer(*answer))

        def take(entries: "list[object]") -> None:
            self._run(writer, lambda connection: settle(connection, entries))

        try:
            self.spool.read_back(take)
        except OSError as error:
            raise unusable(error, self.path) from error
        self._spooled = False

    def expire(self) -> list[Key]:
        """See `Store.expire`."""
        doubtful = self._expire(self.begin())
        before, self._doubtful = self._doubtful, []
        return before + doubtful

    def _expire(self, writer: Writer) -> list[Key]:
        others: list[OtherRun] = []

        def work(connection: sqlite3.Connection) -> list[Key]:
            doubtful: list[Key] = []
            while others:  # of a group that has failed
                others.pop().__exit__()
            open_runs = connection.execute(
                "SELECT id FROM run WHERE ended = 0 AND id <> ?", (self.run,)
            ).fetchall()
            for (run,) in open_runs:
                other = OtherRun(self.path, run)
                others.append(other)  # locked until this is on disk
                other.__enter__()
                if other.dead:
                    given_up = attempts.give_up(connection, run, other.mark)
                    doubtful += [
                        key for key in given_up if evidence.recall(connection, key) == "in_doubt"
                    ]
                    connection.execute(
                        "UPDATE run SET ended = ?, end_reason = 'died' WHERE id = ?",
                        (now_ms(), run),
                    )
            return doubtful

        try:
            doubtful = self._run(writer, work)
            for other in others:
                if other.dead:
                    other.unlink()
            return doubtful
        finally:
            for other in others:
                other.__exit__()


def _take_back(writer: Writer, claims: "Iterable[object]") -> None:
    """Nobody waits for these claims any more. May be called in the writer's thread: never waits."""
    unsent = Answer("not_sent", reason="interrupted before it was sent")
    answers = [(claim, unsent) for claim in claims if isinstance(claim, Claim)]
    if answers:
        with suppress(LedgerError):  # the run ends, which settles them
            writer.submit((lambda connection: settle(connection, answers), _nobody_waits))


def _nobody_waits(_result: object, _error: BaseException | None) -> None:
    """What could not be written is settled when the run ends."""


def settle(
    connection: sqlite3.Connection, answers: "Sequence[tuple[Claim, Answer]]"
) -> list[Settled]:
    """See `Store.settle`."""
    settled = attempts.settle(connection, answers)
    for place, one in enumerate(settled):
        if one.state == "in_doubt" and one.applied:
            settled[place] = one._replace(state=evidence.recall(connection, one.key))
    return settled


def _settle_spooled(connection: sqlite3.Connection, attempt: int, answer: Answer) -> Settled | None:
    row = connection.execute(
        "SELECT bill, outcome FROM attempt WHERE id = ?", (attempt,)
    ).fetchone()
    if row is None or row[1] not in (None, "", GIVEN_UP):
        return None  # it was written after all
    nobody = Content("", "", "", 0, "", 0, "", "")
    return attempts.settle_one(connection, Claim(attempt, 0, nobody, False, "not_sent"), answer)


def _version() -> str:
    from nontax.uncompiled import version

    return version()


_owners: "weakref.WeakSet[Owner]" = weakref.WeakSet()


def _leave_behind(connection: sqlite3.Connection) -> None:
    """Never close it in this process: SQLite would tidy up a log that the parent writes."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _after_fork() -> None:
    for owner in list(_owners):
        owner.after_fork()


def _at_exit() -> None:
    for owner in list(_owners):
        owner.close("the process has ended")


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
