"""`nontax.Ledger`: every bill known after any crash, never sent twice across crashes."""

import os
from functools import partial

from nontax.delivery.store import Key
from nontax.errors import NontaxError
from nontax.ledger import advice, evidence, reading, upkeep
from nontax.ledger.owner import os_user
from nontax.ledger.store import LedgerStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Protocol

    from nontax.client import Client
    from nontax.delivery.deliver import Delivered, Report
    from nontax.ledger.reading import BillRecord, History, RunRecord

    class Difference(Protocol):
        """A difference of a reconciliation: its key, its class, and its amount in fen."""

        @property
        def key(self) -> str: ...
        @property
        def name(self) -> str: ...
        @property
        def fee(self) -> int: ...

    class Event(Protocol):
        """An event of `nontax.events`."""

        @property
        def key(self) -> str: ...


class Ledger(LedgerStore):
    """The bills that were sent, or are to be, with all that became of them, in one SQLite file.

    path: where it stands, on a local disk. Beside it stand `-wal` and `-shm` (SQLite's), `-spool`,
        `-highwater` and a `-run-N` for each process that writes.
    read_only: never write; works on a full disk and without the compiled core.
    create: make the file if there is none. A command that must not begin an empty ledger by
        mistake gives False.
    server: "weixin" for a front-end gateway (前置机) that passes all on to WeChat. None: told by
        the client with which it is first used.

    It serves all threads of a process, and goes on in both processes after a fork. It is a context
    manager; leaving it ends its run, after which it can be used again.

    Raises LedgerError if the file cannot be used: a network file system, another program's file, a
    newer or damaged ledger, one that other users may read; and when something is to be written
    where gevent or eventlet has patched Python's threads.
    """

    # Looking

    def find(self, key: str) -> "list[BillRecord]":
        """The bills that a text on paper or on a screen names.

        key: an order_id, a bill's number (billing_code), its code and number joined by "+", or the
        code of a card (str).
        """
        return reading.find(self.path, key)

    def bills(self, state: str | None = None, *, since: int = 0) -> "Iterator[BillRecord]":
        """The bills, the oldest first; only those in a state, if one is given.

        since: only those that have changed since then, in Unix milliseconds.
        """
        return reading.bills(self.path, state=state, since=since)

    def history(self, order_id: str, appid: str | None = None) -> "History":
        """All that is known of one bill: its attempts, the evidence, its status changes, the runs.

        Raises LedgerError if it is not known, or under several appids of which none is given.
        """
        return reading.history(self.path, order_id, appid)

    def runs(self) -> "list[RunRecord]":
        """The processes that had the ledger open for writing, the oldest first."""
        return reading.runs(self.path)

    # Explanations

    def explain(
        self, difference: "Difference", *, by: str, note: str, checked_by: str = ""
    ) -> None:
        """Keep why a difference of a reconciliation is as it is.

        It counts in later reports as long as class and amount of the difference stay the same.
        difference: one of a report's `differences()`. by: 经办. checked_by: 复核, not the same
        person. note: the explanation. Raises ValueError if by or note is missing.
        """
        by, note, checked_by = by.strip(), note.strip(), checked_by.strip()
        if not by or not note:
            raise ValueError("an explanation needs a note and the name of who wrote it")
        if by == checked_by:
            raise ValueError(f"{by} cannot check an explanation of their own")
        self._write(
            lambda connection: evidence.explain(
                connection, difference.key, difference.name, difference.fee, by=by,
                checked_by=checked_by, os_user=os_user(), note=note,
            )
        )  # fmt: skip

    # Events

    def take_event(self, event: "Event") -> "Key | None":
        """Keep an event of `nontax.events`, and let it settle what it settles, in one transaction.

        A repeat of the same event changes nothing; one that comes before its bill is kept. Answer
        WeChat "success" when this has returned. Returns the bill that it has settled, or set to
        waiting, or None.
        """
        return self._write(lambda connection: evidence.take_event(connection, event))

    # Sending

    def deliver(
        self,
        client: "Client",
        bills: "Iterable[Mapping[str, object]] | None" = None,
        *,
        pdfs: "Iterable[str | os.PathLike[str] | None] | None" = None,
        concurrency: int = 16,
        rate: float | None = None,
        again: bool = False,
        allow_same_number: bool = False,
        limit: int | None = None,
        progress: "Callable[[Delivered], None] | None" = None,
    ) -> "Report":
        """Have a list sent, and all else that waits: the same call again goes on where it ended.

        client: its connections are used, and not its ledger. bills: as for `Client.insert_bills`;
        all are checked first, and if one is invalid, none is taken. pdfs: for each bill the path of
        its PDF, or None if the bill has the id of an upload; they are uploaded before their bills
        are sent, and again if that is more than 60 hours ago. again: also those whose last
        answer was that the citizen has not authorised the order. limit: how many bills at most;
        None: all. progress: called for each bill when its outcome is kept.

        Nothing that is inserted, in doubt, or under way elsewhere is sent. Raises
        InvalidRequestError for invalid bills and ConflictError for those that are known with other
        content, both with the bill's index in the path; LedgerError; and what `progress` raises.
        """
        from nontax.delivery.deliver import Delivery
        from nontax.delivery.lists import take

        self.use_server_of(client)
        if bills is not None:
            take(self, client, bills, again=again, allow_same_number=allow_same_number, pdfs=pdfs)
        report = Delivery(
            self, client, concurrency=concurrency, rate=rate, limit=limit, progress=progress
        ).run()
        if report.error is None:
            self.ask_about_doubt(client)
        return report

    def ask_about_doubt(self, client: "Client", limit: int = 20) -> int:
        """Ask WeChat for its record of requests that are in doubt, and keep it; how many.

        It is advice for who settles the bill: `history` and `nontax show` have it. WeChat keeps it
        for seven days. limit: how many requests at most, the latest first. What goes wrong on the
        way to WeChat ends it, and is not raised.
        """
        from nontax.delivery.advice import NOT_KNOWN

        with reading.reader(self.path) as connection:
            asked = advice.to_ask(connection, limit)
        for done, (attempt, rid) in enumerate(asked):
            try:
                found = advice.text_of(client.get_rid_info(rid))
            except NontaxError as error:
                if getattr(error, "errcode", 0) not in NOT_KNOWN:
                    return done
                found = advice.text_of(None)
            self._write(partial(advice.keep, attempt=attempt, info=found))
        return len(asked)

    def use_server_of(self, client: "Client") -> None:
        """As `use_server`, of a client."""
        from nontax.delivery.servers import server_of

        self.use_server(server_of(client._base_url))

    # Upkeep

    def import_bills(self, bills: "Sequence[dict[str, object]]", *, by: str, note: str) -> int:
        """Take bills that an earlier system has inserted, so that no list sends them again.

        bills: dicts with appid, order_id, card_id, billing_no and billing_code, and, if they are
        known, code, fee, title, billing_time and openid. How many were new; all or none is taken.
        Raises LedgerError if one is known otherwise, ValueError if by or note is missing.
        """
        if not by or not note:
            raise ValueError("who imports the bills (by=), and where do they come from (note=)?")
        return self._write(
            lambda connection: evidence.import_bills(
                connection, bills, self._owner.run, by=by, note=note
            )
        )

    def backup(self, to: "str | os.PathLike[str]") -> None:
        """Copy the ledger, which may be in use, to a file that does not exist yet."""
        upkeep.backup(self.path, os.fspath(to))

    def digest(self, up_to: int) -> str:
        """The digest of the bills up to an id, as a reconciliation's report shows it."""
        return upkeep.digest(self.path, up_to)

    def verify(self) -> list[str]:
        """All that is wrong with the ledger, in sentences; [] if it is whole."""
        return upkeep.verify(self.path)

    def prune(self, *, before: int) -> int:
        """Remove title and openid of settled bills that last changed before then; how many.

        before: Unix milliseconds. No row is ever deleted, and there is no default period: how long
        names are kept is for the law and for you to say.
        """
        return self._write(lambda connection: upkeep.prune(connection, before))

    # The ledger itself

    def close(self, reason: str = "closed") -> None:
        """End this process's run. The ledger can be used again afterwards.

        reason: why, for the run's row (str).
        """
        self._owner.close(reason)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<nontax.Ledger {getattr(self, 'path', '')}>"
