"""Bulk runs: the run that `Client.insert_bills` returns, and the record that outlives it.

Loaded by the first run, as are collections and warnings.
"""

import warnings
import weakref
from collections import Counter, deque
from operator import attrgetter

from nontax import _core
from nontax.outcomes import InsertedBill, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from nontax.gate import Gate
    from nontax.ledger import Ledger
    from nontax.shapes import Bill

    _CoreRun = _core.Run[Outcome]
else:
    _CoreRun = _core.Run

SHOWN = 10  # order_ids in a warning
LONGEST_SHOWN = 64  # characters of one
REASONS_SHOWN = 20  # in a notebook

_by_index = attrgetter("index")


class RunRecord:
    """What is known of a bulk run, also when the run itself is gone; see `Client.last_run`."""

    __slots__ = ("_error", "_kept", "_run")

    def __init__(self, run: "Recorded") -> None:
        self._run = weakref.ref(run)
        self._end(run)

    def _end(self, run: "Recorded") -> None:
        """Take over what the run knows, which ends."""
        self._kept = run._kept()
        self._error = run.error

    @property
    def outcomes(self) -> "list[Outcome]":
        """The outcomes so far, in the order of the bills; a new list each time.

        All of them after `collect()`; else the last ones, as many as `keep` says.
        """
        run = self._run()
        kept = self._kept if run is None else run._kept()
        return sorted(kept.copy(), key=_by_index)  # a copy: the run may go on meanwhile

    @property
    def error(self) -> BaseException | None:
        """What ended the run before its last bill, or None; see `Run.error`."""
        run = self._run()
        return self._error if run is None else run.error

    def __repr__(self) -> str:
        return f"<nontax.RunRecord: {_summary_of(self)}>"

    def _repr_html_(self) -> str:
        return _table_of(self)


class Recorded:
    """What a blocking run and an asynchronous one have in common for their users."""

    _record: RunRecord

    @property
    def outcomes(self) -> "list[Outcome]":
        """The outcomes so far, in the order of the bills; a new list each time.

        All of them after `collect()`; else the last ones, as many as `keep` says.
        """
        return self._record.outcomes

    @property
    def error(self) -> BaseException | None:
        """What ended the run before its last bill, or None.

        It is the error that every further bill would meet (a day's quota, an account that may not,
        a token that cannot be had), or what the iterable raised.
        """
        return self._ended_by()

    def _kept(self) -> "deque[Outcome]":
        raise NotImplementedError

    def _ended_by(self) -> BaseException | None:
        raise NotImplementedError

    def __repr__(self) -> str:
        # A traceback with local variables may show one that is not made yet.
        summary = _summary_of(self._record) if hasattr(self, "_record") else "not made"
        return f"<nontax.{type(self).__name__}: {summary}>"

    def _repr_html_(self) -> str:
        return _table_of(self._record)


def _table_of(record: RunRecord) -> str:
    """What a notebook shows: how many bills came to what, and why."""
    from html import escape

    counts = Counter((outcome.outcome, outcome.reason or "") for outcome in record.outcomes)
    rows = [
        f"<tr><td>{name}</td><td>{count}</td><td>{escape(reason)}</td></tr>"
        for (name, reason), count in counts.most_common(REASONS_SHOWN)
    ]
    if len(counts) > REASONS_SHOWN:
        left = counts.total() - sum(count for _, count in counts.most_common(REASONS_SHOWN))
        rows.append(f"<tr><td>…</td><td>{left}</td><td></td></tr>")
    error = record.error
    ended = "" if error is None else f"<p>Ended by {escape(type(error).__name__)}</p>"
    head = "<tr><th>outcome</th><th>bills</th><th>reason</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>{ended}"


def _summary_of(record: RunRecord) -> str:
    error = record.error
    ended = "" if error is None else f"; ended by {error!r}"
    return f"{_counts_of(record.outcomes) or 'no outcomes'}{ended}"


def _counts_of(outcomes: "Iterable[Outcome]") -> str:
    counts = Counter(outcome.outcome for outcome in outcomes)
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _name_of(outcome: Outcome) -> str:
    """The order_id, if the bill has one that can be shown."""
    order_id = outcome.order_id
    if not order_id or not order_id.isprintable():
        return f"the bill at index {outcome.index}"
    return order_id if len(order_id) <= LONGEST_SHOWN else f"{order_id[:LONGEST_SHOWN]}…"


def warn_of_unread(outcomes: "Sequence[Outcome]", kept: int | None, stacklevel: int) -> None:
    """Say whose outcomes nobody has read, if there are any. kept: as `keep`; None: all."""
    if not outcomes:
        return
    first = sorted(outcomes, key=_by_index)[:SHOWN]
    names = ", ".join(_name_of(outcome) for outcome in first)
    more = f" and {len(outcomes) - SHOWN} more" if len(outcomes) > SHOWN else ""
    count = len(outcomes)
    bills = "1 bill whose outcome" if count == 1 else f"{count} bills whose outcomes"
    where = "client.last_run.outcomes has all outcomes"
    if kept is not None and kept < count:
        where = f"keep={kept} has dropped outcomes"
    warnings.warn(
        f"a run was left with {bills} nobody has read ({_counts_of(outcomes)}): {names}{more}; "
        f"{where}. Use run.collect(), or call run.stop() and read on to the end",
        RuntimeWarning,
        stacklevel=stacklevel + 1,
    )


def warn_of_unused(stacklevel: int) -> None:
    """Say that a run has sent nothing."""
    warnings.warn(
        "a run was never iterated, so none of its bills was sent: call collect(), or loop over it",
        RuntimeWarning,
        stacklevel=stacklevel + 1,
    )


def gate_of(ledger: "Ledger | None", timeout: float, *, retry_quota: bool) -> "Gate | None":
    """What stands between a run and its ledger, if it has one."""
    if ledger is None:
        return None
    from nontax.gate import Gate

    return Gate(ledger, timeout=timeout, retry_quota=retry_quota)


class Run(_CoreRun, Recorded):
    """Many bills under way at once: an iterator of `Outcome`, in order of completion.

    Made by `Client.insert_bills`. With a ledger each bill is on disk before it is sent, and each
    outcome before it is seen. Either call `collect()`, or iterate. `stop()` takes no more bills;
    those under way come to their ends. `close()` ends those, too, and returns the outcomes that
    nobody has read (list of Outcome): bills whose body went out are in doubt. It is a context
    manager; leaving it calls `close()`. All outcomes are kept in `outcomes`, and in
    `Client.last_run`.
    """

    _gate: "Gate | None" = None

    @classmethod
    def _begin(
        cls,
        client: _core.Client,
        bills: "Iterable[Bill | None]",
        *,
        concurrency: int,
        rate: float,
        keep: int,
        never_waits: bool = False,
        quota_pause: float = 0.0,
        awaits_bills: bool = False,
        ledger: "Ledger | None" = None,
        timeout: float = 0.0,
    ) -> "Self":
        gate = gate_of(ledger, timeout, retry_quota=not never_waits)
        run = cls(
            client=client,
            make_outcome=Outcome._make,
            make_result=InsertedBill._from_reply,
            kept=deque(maxlen=keep),
            bills=iter(bills),  # None would be a run of single calls
            concurrency=concurrency,
            rate=rate,
            quota_pause=quota_pause if gate is None else gate.quota_pause,
            never_waits=never_waits or gate is not None,
            bulk=True,
            awaits_bills=awaits_bills,
            journal=gate,
        )
        if gate is not None:
            run._gate = gate
            gate.wakes(run)
        run._record = RunRecord(run)
        return run

    def collect(self) -> "list[Outcome]":
        """Run to the end; return all outcomes, in the order of the bills.

        What ends the run before its last bill is not raised: `error` has it. Outcomes that were
        read before are in the list, too, as far as they were kept.

        Ctrl-C (whatever a signal handler raises) takes no more bills, waits for those under way and
        then is raised. Another one ends those under way with what is known of them. In either case
        `outcomes` has all outcomes.
        """
        self._check()
        self._keep_in(deque(self._kept()))
        try:
            self._read_on()
        except BaseException:
            try:
                self.stop()
                self._read_on()
            except BaseException:
                self.close()
                raise
            raise
        self.close()  # so that nothing is raised from here on
        return self.outcomes

    def _read_on(self) -> None:
        while group := self._group():
            group.clear()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        warn_of_unread(self.close(), self._kept().maxlen, 2)

    def __del__(self) -> None:
        record = getattr(self, "_record", None)
        if record is not None:  # else it could not be made
            finish(self, record, self, self._gate)


def finish(
    run: Recorded, record: RunRecord, core: "_core.Run[Outcome]", gate: "Gate | None"
) -> None:
    """A run is dropped: end it, and say what nobody has read."""
    if gate is not None and gate.is_writing_here():
        # This thread had the last reference for a moment, and cannot wait for itself.
        import threading

        threading.Thread(target=_finish, args=(run, record, core, gate)).start()
    else:
        _finish(run, record, core, gate)


def _finish(
    run: Recorded, record: RunRecord, core: "_core.Run[Outcome]", gate: "Gate | None"
) -> None:
    try:
        if not core._is_ours():
            return
        if gate is not None:
            gate.wakes_to_the_end(core)
        if not core._begun():
            warn_of_unused(4)
        elif core._is_open():
            warn_of_unread(core.close(), core._kept().maxlen, 4)
    finally:
        record._end(run)
        if gate is not None:
            gate.forget()
