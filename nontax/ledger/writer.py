"""The one thread that writes: whoever has something to write down queues it here.

It takes all that waits, writes it in one transaction, waits until the disk has it, and then tells
those whom it concerns. While the disk works, the next group gathers. Where nothing waits, a caller
that would wait for its own job does it itself, with the same connection.
"""

import _thread
import sqlite3
import threading
from queue import Empty, SimpleQueue

from nontax.errors import LedgerError
from nontax.ledger.words import unusable
from nontax.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # What is done inside a transaction.
    Work = Callable[[sqlite3.Connection], Any]
    # Called in the writer's thread when it is on disk, or has failed: what the work has returned,
    # and the error or None. It must be short and must not raise.
    Done = Callable[[Any, BaseException | None], None]
    Job = tuple[Work, Done]

# Pages of the log after which it is brought into the ledger: SQLite's own number.
CHECKPOINT_PAGES = 1000
# Transactions between two looks at the log's size.
GROUPS_A_LOOK = 32


class Writer:
    """Owns the writing connection of an open ledger."""

    def __init__(
        self, connect: "Callable[[], sqlite3.Connection]", wal_size: "Callable[[], int]"
    ) -> None:
        self._connect = connect
        self._wal_size = wal_size
        # Its put() is done in one go: no signal leaves a job there that the thread does not see.
        self._jobs: SimpleQueue[tuple[Job, ...] | None] = SimpleQueue()
        self._lock = Lock()
        self._closing = False
        # Who has it writes: a caller for a single job, or this writer's thread.
        self._turn = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._checkpoint_at = 0
        self._groups = 0
        _refuse_greenlets()
        self._thread = threading.Thread(target=self._work, name="nontax ledger", daemon=True)
        self._thread.start()

    def submit(self, *jobs: "Job") -> None:
        """Queue jobs for one transaction; each one's `done` is called when it is on disk.

        Raises LedgerError if it is closed.
        """
        with self._lock:
            if self._closing:
                raise LedgerError(reason="the ledger is closed")
            self._jobs.put(jobs)

    def run(self, work: "Work", abandoned: "Callable[[Any], None] | None" = None) -> "Any":
        """Queue work and wait until it is on disk; what it has returned.

        Ctrl-C ends the waiting, not the work: `abandoned` then gets what it returns, in whatever
        thread.
        """
        turn = self._turn
        try:
            try:
                # Where nobody else has anything to write, there is no need to wake a thread for it.
                if turn.acquire(blocking=False) and self._jobs.empty() and not self._closing:
                    return self._write_here(work, abandoned)
            finally:
                if turn._is_owned():  # type: ignore[attr-defined]  # wherever a signal came
                    turn.release()
        finally:
            if turn._is_owned():  # type: ignore[attr-defined]  # also where it came just above
                turn.release()
        waiter = Waiter()
        try:
            self.submit((work, waiter.done))
            return waiter.wait()
        except BaseException:
            if abandoned is not None:
                waiter.abandon(abandoned)
            raise

    def _write_here(self, work: "Work", abandoned: "Callable[[Any], None] | None") -> "Any":
        """One job in the caller's thread. A signal ends it before it is committed, or after."""
        connection = self._connection_here()
        done = False
        result: Any = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            done = True
            connection.execute("COMMIT")
            self._checkpoint(connection)
            return result
        except BaseException as error:
            if done and not connection.in_transaction and not isinstance(error, sqlite3.Error):
                if abandoned is not None:
                    abandoned(result)
                raise
            _roll_back(connection)
            failure = unusable(error)
            if failure is error:
                raise
            raise failure from error

    def _connection_here(self) -> "sqlite3.Connection":
        """The only one. Its user has the turn."""
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        """Write all that waits, close the connection, end the thread."""
        with self._lock:
            if not self._closing:
                self._jobs.put(None)
            self._closing = True
        self._thread.join()

    def is_this_thread(self) -> bool:
        """Whether the caller is the thread that writes."""
        return threading.current_thread() is self._thread

    # In the writer's thread

    def _next_group(self) -> "list[Job]":
        """All jobs that wait, at least one; none: it is the end."""
        jobs = self._jobs.get()
        group: list[Job] = []
        while jobs is not None:
            group += jobs
            try:
                jobs = self._jobs.get_nowait()
            except Empty:
                return group
        if group:
            self._jobs.put(None)
        return group

    def _work(self) -> None:
        while group := self._next_group():
            with self._turn:
                outcomes = self._write_group(group)
                if self._connection is not None:
                    self._checkpoint(self._connection)
            for (_, done), (result, failure) in zip(group, outcomes, strict=True):
                done(result, failure)
        with self._turn:
            if self._connection is not None:
                self._connection.close()

    def _write_group(self, group: "list[Job]") -> "list[tuple[Any, BaseException | None]]":
        try:
            connection = self._connection_here()
        except BaseException as error:
            return [(None, error)] * len(group)
        return self._write(connection, group)

    def _write(
        self, connection: "sqlite3.Connection", group: "list[Job]"
    ) -> "list[tuple[Any, BaseException | None]]":
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [work(connection) for work, _ in group]
            connection.execute("COMMIT")
            return [(result, None) for result in results]
        except BaseException as error:
            _roll_back(connection)
            if len(group) == 1:
                return [(None, unusable(error))]
        # One of them has failed, and must not take the others with it: each by itself.
        return [self._write(connection, [job])[0] for job in group]

    def _checkpoint(self, connection: "sqlite3.Connection") -> None:
        # By hand, and with the write lock held: below 3.51.3 another connection that begins to
        # write just then could make the log forget a commit.
        self._groups += 1
        if self._groups % GROUPS_A_LOOK:
            return
        size = self._wal_size()
        if size < self._checkpoint_at + CHECKPOINT_PAGES * 4096:
            if size < self._checkpoint_at:
                self._checkpoint_at = 0
            return
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            row = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            self._checkpoint_at = 0 if row[0] == 0 else size
        except Exception:
            self._checkpoint_at = size  # somebody reads or writes: later
        finally:
            connection.execute("PRAGMA busy_timeout = 30000")


def _refuse_greenlets() -> None:
    """A greenlet in the writer's place could not run while a caller waits for it in C."""
    for used in (_thread.start_new_thread, SimpleQueue):
        patched_by = str(used.__module__).partition(".")[0]
        if patched_by in ("gevent", "eventlet"):
            raise LedgerError(
                reason=f"the ledger needs real threads, and {patched_by} has patched them: use the "
                "ledger in a process that does not call monkey_patch()"
            )


def _roll_back(connection: "sqlite3.Connection") -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except Exception:
        pass  # SQLite has rolled back already, or the disk is gone; the next BEGIN tells


class Waiter:
    """Waits in one thread for work that the writer does."""

    __slots__ = ("_abandoned", "_error", "_finished", "_guard", "_lock", "_result")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._guard = Lock()
        self._finished = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._abandoned: Callable[[Any], None] | None = None

    def done(self, result: "Any", error: BaseException | None) -> None:
        with self._guard:
            self._result, self._error, self._finished = result, error, True
            abandoned = self._abandoned
        self._lock.release()
        if abandoned is not None and error is None:
            abandoned(result)

    def wait(self) -> "Any":
        """What the work has returned."""
        self._lock.acquire()
        if self._error is not None:
            raise self._error
        return self._result

    def abandon(self, take: "Callable[[Any], None]") -> None:
        """Nobody waits any more: `take` gets what the work returns, or has returned."""
        with self._guard:
            self._abandoned = take
            finished = self._finished
        if finished and self._error is None:
            take(self._result)
