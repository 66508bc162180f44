"""The ledger as a store and as a client's journal: what is written down around each sending."""

import os
import sqlite3

from nontax.delivery import states
from nontax.delivery.states import Answer, State
from nontax.delivery.store import (
    AttemptRow,
    Batch,
    Claim,
    Content,
    EvidenceRow,
    Key,
    Known,
    PdfDue,
    Refused,
    Settled,
    Window,
)
from nontax.errors import LedgerError
from nontax.ledger import attempts, books, evidence, places, reading, upkeep
from nontax.ledger.books import now_ms
from nontax.ledger.owner import Owner, os_user, settle
from nontax.ledger.words import other_server, unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class LedgerStore:
    """See `nontax.Ledger`, which is this with what people do with it."""

    def __init__(
        self,
        path: "str | os.PathLike[str]",
        *,
        read_only: bool = False,
        create: bool = True,
        server: str | None = None,
    ) -> None:
        self.path = os.path.realpath(os.fspath(path))
        self.read_only = read_only
        places.check_sqlite()
        places.check_place(self.path)
        if not os.path.exists(self.path):
            if read_only or not create:
                raise LedgerError(reason=f"there is no ledger {self.path}")
            places.create(self.path, server or "", now_ms())
        places.check_file(self.path)
        self._owner = Owner(self.path, self._connect)
        self._owner.server = server or ""
        self._is_gateway = server is not None
        if not read_only:
            self._check()

    def _connect(self) -> sqlite3.Connection:
        try:
            return places.connect(self.path)
        except sqlite3.Error as error:
            raise unusable(error, self.path) from error

    def _check(self) -> None:
        connection = self._connect()
        try:
            places.check_version(
                connection, self.path, lambda old: upkeep.migrate(self.path, connection, old)
            )
            places.check_whole(connection, self.path, size=os.path.getsize(self.path))
        except sqlite3.Error as error:
            raise unusable(error, self.path) from error
        finally:
            connection.close()

    def use_server(self, server: str) -> None:
        """The ledger's bills go to this server: "weixin", or scheme and host.

        Raises LedgerError if it is another server's ledger.
        """
        if self._is_gateway:
            return
        kept = self.server
        if kept and kept != server:
            raise other_server(self.path, kept, server)
        self._owner.server = server

    @property
    def server(self) -> str:
        """Whose bills these are: "weixin", or scheme and host; "" as long as none was sent."""
        with reading.reader(self.path) as connection:
            return str(connection.execute("SELECT server FROM meta").fetchone()[0] or "")

    def _write(
        self,
        work: "Callable[[sqlite3.Connection], books.T]",
        claims_of: "Callable[[books.T], Iterable[object]] | None" = None,
    ) -> "books.T":
        self._may_write()
        return self._owner.write(work, claims_of)

    def _may_write(self) -> None:
        if self.read_only:
            raise LedgerError(reason=f"the ledger {self.path} was opened read-only")

    def begin(self) -> None:
        """Begin this process's run, if it has not begun. Raises LedgerError."""
        self._may_write()
        self._owner.begin()

    @property
    def run(self) -> int:
        """The number of this process's run; 0 if it has written nothing yet."""
        return self._owner.run

    def describe_run(self, **what: str) -> None:
        """What the next run's row shall tell: account, command, source, source_sha256."""
        self._owner.describe.update(what)

    # The store; see `nontax.delivery.store.Store`

    def hand_in(
        self,
        bills: "Sequence[Content]",
        *,
        again: bool = False,
        allow_same_number: bool = False,
        rows: "Sequence[int] | None" = None,
        pdfs: "Sequence[tuple[str, str]] | None" = None,
        dry_run: bool = False,
    ) -> "list[Known | Refused]":
        """See `Store.hand_in`.

        rows: for each bill its row in its list, from 1. pdfs: for each bill the path of its PDF and
        its SHA-256, or "" and "". dry_run: only tell what the answers would be.
        """
        return self._write(
            lambda connection: books.hand_in(
                connection,
                bills,
                self._owner.run,
                again=again,
                allow_same_number=allow_same_number,
                rows=rows,
                pdfs=pdfs,
                dry_run=dry_run,
            )
        )

    def pdfs_due(self, limit: int) -> "list[PdfDue]":
        return self._write(lambda connection: books.pdfs_due(connection, limit))

    def keep_pdf(self, key: Key, s_pdf_media_id: str) -> None:
        self._write(lambda connection: books.keep_pdf(connection, key, s_pdf_media_id))

    def reserve(self, limit: int) -> Window:
        return Window(
            self._write(
                lambda connection: attempts.reserve(connection, self._owner.run, limit),
                list,
            )
        )

    def resend(self, key: Key, *, by: str, checked_by: str = "", note: str = "") -> Claim:
        return self._write(
            lambda connection: attempts.resend(
                connection, self._owner.run, key, by, checked_by, note
            ),
            lambda claim: [claim],
        )

    def handed_over(self, claims: "Iterable[Claim]") -> None:
        self._owner.handed_over(claims)

    def settle(self, answers: "Sequence[tuple[Claim, Answer]]") -> "list[Settled]":
        """See `Store.settle`. What the disk does not take goes into the spool."""
        try:
            return self._write(lambda connection: settle(connection, answers))
        except LedgerError as error:
            self._owner.spool_answers(answers, error)
        return [_spooled(claim, answer) for claim, answer in answers]

    def expire(self) -> "list[Key]":
        return self._owner.expire()

    def withdraw(self, key: "Key | str", *, by: str, note: str) -> None:
        """A person takes back a bill that is held or waits.

        key: its order_id (str), or appid and order_id (Key). by: who. note: why.

        Raises ValueError if it is in another state, or by or note is missing.
        """
        found = self._key(key)
        self._write(
            lambda connection: evidence.withdraw(
                connection, found, by=by, os_user=os_user(), note=note
            )
        )

    def resolve(
        self,
        key: "Key | str",
        verdict: str,
        *,
        by: str,
        note: str,
        code: "str | None" = None,
        checked_by: "str | None" = None,
    ) -> State:
        """A person settles a bill in doubt.

        key: its order_id (str), or appid and order_id (Key). verdict: "inserted" or "not_taken".
        by, checked_by: who has found out, who has checked it (经办, 复核). note: how. code: the
        card code, if the citizen has told it.

        Returns the bill's new state: a bill that was not taken waits again if it came from a list,
        else it is not_sent. Raises ValueError if it is not in doubt, or by or note is missing.
        """
        found = self._key(key)
        return self._write(
            lambda connection: evidence.resolve(
                connection, found, verdict, by=by, checked_by=checked_by or "", os_user=os_user(),
                note=note, code=code or "",
            )
        )  # fmt: skip

    def observe(self, card_id: str, code: str, *, detail: str = "") -> "Key | None":
        return self._write(lambda connection: evidence.observe(connection, card_id, code, detail))

    def note_rejection(self, key: Key) -> None:
        self._write(
            lambda connection: evidence.note_change(
                connection, self._owner.run, order_id=key.order_id, source="reject_bill",
                outcome="inserted",
            )
        )  # fmt: skip

    def look(self, key: Key) -> Known | None:
        with reading.reader(self.path) as connection:
            row = books.look(connection, key)
            return None if row is None else attempts.with_last_answer(connection, row)

    def attempts(self, key: Key) -> "list[AttemptRow]":
        return reading.attempt_rows(reading.history(self.path, key.order_id, key.appid).attempts)

    def evidence(self, key: Key) -> "list[EvidenceRow]":
        return reading.evidence_rows(reading.history(self.path, key.order_id, key.appid).evidence)

    def counts(self) -> "dict[State, int]":
        """How many bills are in each state."""
        with reading.reader(self.path) as connection:
            return books.counts(connection)

    def waiting(self) -> int:
        """How many bills wait to be sent."""
        return self.counts().get("waiting", 0)

    # The journal of a client; see `nontax.delivery.store.Journal`

    def open_attempts(self, bills: "Sequence[Content]") -> "list[Claim | Known | Refused]":
        return self._write(
            lambda connection: attempts.open_attempts(
                connection, self._owner.run, bills, all_new=True
            ),
            list,
        )

    def close_attempts(self, answers: "Sequence[tuple[Claim, Answer]]") -> "list[bool]":
        return self._owner.keep(answers)

    def attend(self, batch: "Batch") -> None:
        """Keep a batch's answers and write its attempts down, in the writer's thread.

        All in one transaction. Raises LedgerError if the ledger cannot be written to.
        """
        self._may_write()
        self._owner.attend(batch)

    def submit_open(
        self,
        bills: "Sequence[Content]",
        done: "Callable[[list[Claim | Known | Refused] | None, BaseException | None], None]",
    ) -> None:
        """`open_attempts` without waiting: `done` is called in the writer's thread."""
        self._may_write()
        self._owner.submit(
            lambda connection: attempts.open_attempts(
                connection, self._owner.run, bills, all_new=True
            ),
            done,
        )

    def submit_close(
        self,
        answers: "Sequence[tuple[Claim, Answer]]",
        done: "Callable[[list[bool] | None, BaseException | None], None]",
    ) -> None:
        """`close_attempts` without waiting: `done` is called in the writer's thread."""
        self._owner.submit_answers(answers, done)

    def is_writing_here(self) -> bool:
        """Whether this thread is the one that writes."""
        return self._owner.is_writing_here()

    def give_back(self, answers: "Iterable[object]") -> None:
        """Nobody waits for these claims any more; nothing of them was handed over."""
        self._owner.give_back(answers)

    def open_change(
        self,
        *,
        source: str,
        card_id: str = "",
        code: str = "",
        order_id: str = "",
        status: str = "",
    ) -> int:
        """Write down a call of update_bill_status or reject_bill before it is made."""
        return self._write(
            lambda connection: evidence.note_change(
                connection, self._owner.run, source=source, outcome="sending", card_id=card_id,
                code=code, order_id=order_id, status=status,
            )
        )  # fmt: skip

    def close_change(self, change: int, answer: Answer) -> None:
        """What became of it."""
        self._write(
            lambda connection: evidence.end_change(
                connection, change, answer.outcome, answer.errcode, answer.reason
            )
        )

    def _key(self, key: "Key | str") -> Key:
        if isinstance(key, Key):
            return key
        found = [bill.appid for bill in reading.bills(self.path, order_id=key)]
        if len(found) != 1:
            raise ValueError(
                f"order {key} exists under several appids: give Key(appid, order_id)"
                if found
                else f"the ledger does not know order {key}"
            )
        return Key(found[0], key)


def _spooled(claim: Claim, answer: Answer) -> Settled:
    """What an answer will have come to when the spool is read back."""
    settlement = states.settle(states.Attempt(claim.signed, claim.back_to), answer)
    return Settled(claim.key, settlement.state, True, settlement.shown, spooled=True)
