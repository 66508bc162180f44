"""Delivery as insert and resume do it: progress while it runs, and what it has come to."""

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from nontax.cli import books
from nontax.cli.exits import Exit, StopError, worst
from nontax.cli.failures import exit_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from types import FrameType

    from nontax import Client, Ledger
    from nontax.cli.desk import Desk
    from nontax.cli.output import Value
    from nontax.cli.words import Words
    from nontax.delivery.deliver import Delivered, Report

_EVERY = 0.2  # seconds between two lines of progress
_CONCURRENCY = 16
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a person has to see of a bill; that others wait is said once, with the reason.
_SHOWN = ("rejected", "not_sent", "in_doubt")
_REFUSED = ("rejected", "not_sent")


def add_options(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help=words("how many bills are under way at once")
    )
    parser.add_argument("--rate", type=float, metavar="N", help=words("bills per second at most"))


class Progress:
    """One line at the terminal: how many, how fast, how long yet; and the bills to be looked at."""

    def __init__(self, desk: "Desk", total: int) -> None:
        self._desk = desk
        self._total = total
        self._began = self._shown = time.monotonic()
        self.states: Counter[str] = Counter()
        self.unsettled: list[dict[str, Value]] = []

    def __call__(self, delivered: "Delivered") -> None:
        self.states[delivered.state] += 1
        if delivered.state in _SHOWN:
            error = delivered.outcome.error
            self.unsettled.append(
                {
                    "order_id": delivered.key.order_id,
                    "state": delivered.state,
                    "reason": "" if error is None else self._desk.words.error(error),
                }
            )
        now = time.monotonic()
        if now - self._shown >= _EVERY:
            self._shown = now
            self._desk.out.progress(self._line(now))

    def _line(self, now: float) -> str:
        done = self.states.total()
        rate = done / max(now - self._began, 0.001)
        minutes, seconds = divmod(round(max(self._total - done, 0) / rate), 60)
        return self._desk.words(
            "{done} of {total} bills, {rate} a second, {left} left",
            done=done,
            total=self._total,
            rate=round(rate),
            left=f"{minutes}:{seconds:02}",
        )


def deliver(desk: "Desk", ledger: "Ledger", client: "Client", *, probe: bool = False) -> Exit:
    """Send all that waits; print what needs a person, and say how to go on.

    probe: send one bill alone first. If what had stopped the last run stops this one, too, no more
    than one call was spent on it.
    """
    progress = Progress(desk, ledger.counts().get("waiting", 0))
    try:
        with _announced(desk):
            report = _deliver(desk, ledger, client, progress, probe=probe)
    except BaseException:
        ledger.close("interrupted")
        raise
    finally:
        desk.out.progress("")
        _print(desk, progress.unsettled)
        desk.count(sent=dict(progress.states))
    code = _conclude(desk, ledger, report, progress.states)
    ledger.close(code.name.lower())
    return code


def _deliver(
    desk: "Desk", ledger: "Ledger", client: "Client", progress: Progress, *, probe: bool
) -> "Report":
    concurrency, rate = _settings(desk)

    def send(limit: int | None = None) -> "Report":
        return ledger.deliver(
            client,
            concurrency=concurrency,
            rate=rate,
            limit=limit,
            progress=progress,
        )

    report = send(limit=1) if probe else send()
    if probe and report.error is None and report.waiting:
        report = send()
    while report.error is None and _await_others(ledger, client._timeout):
        report = send()
    return report


def _settings(desk: "Desk") -> tuple[int, float | None]:
    """Concurrency and rate, of the options or the profile."""
    from nontax.settings import check_count, check_rate

    values: list[Any] = [
        given if given is not None else desk.profile.get(name)
        for name, given in (("concurrency", desk.args.concurrency), ("rate", desk.args.rate))
    ]
    try:
        concurrency = _CONCURRENCY if values[0] is None else values[0]
        return check_count("concurrency", concurrency, 1, 1000), check_rate(values[1]) or None
    except ValueError as error:
        raise StopError(Exit.USAGE, str(error)) from None


def _await_others(ledger: "Ledger", timeout: float) -> bool:
    """Wait for bills that other processes have under way; whether some wait to be sent then."""
    if not ledger.counts().get("sending"):
        return False
    until = time.monotonic() + timeout
    while ledger.counts().get("sending") and time.monotonic() < until:
        time.sleep(0.05)
    ledger.expire()  # of processes that have died meanwhile
    return ledger.counts().get("waiting", 0) > 0


@contextlib.contextmanager
def _announced(desk: "Desk") -> Iterator[None]:
    """Say at once that a signal was heard: what is under way may take half a minute yet."""
    before: dict[int, Any] = {}

    def heard(number: int, frame: "FrameType | None") -> None:
        # The signal may have come in the middle of another line.
        with contextlib.suppress(RuntimeError):
            desk.out.progress("")
            desk.warn("stopping: waiting for the answers to bills under way")
        before[number](number, frame)

    with contextlib.suppress(ValueError):  # not in the main thread
        for number in _SIGNALS:
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, heard)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _conclude(desk: "Desk", ledger: "Ledger", report: "Report", states: Counter[str]) -> Exit:
    for key, problem in report.pdf_problems:
        desk.out.warn(f"{key.order_id}: {problem}")
    counts = ledger.counts()
    waiting, in_doubt = counts.get("waiting", 0), counts.get("in_doubt", 0)
    desk.count(waiting=waiting, in_doubt=in_doubt)
    desk.say(
        "{inserted} bills inserted now; waiting: {waiting}; in doubt: {in_doubt}",
        inserted=states["inserted"],
        waiting=waiting,
        in_doubt=in_doubt,
    )
    if in_doubt:
        desk.say("bills in doubt are never resent automatically: see nontax resolve --help")
    codes = {books.exit_of(counts)}
    if any(states[state] for state in _REFUSED):
        codes.add(Exit.WORK_LEFT)
    if report.error is not None:
        desk.out.warn(desk.words.error(report.error))
        desk.say("when that is fixed, continue with: nontax resume")
        desk.count(error=type(report.error).__name__)
        codes.add(exit_for(report.error))
    return worst(codes)


def _print(desk: "Desk", unsettled: "list[dict[str, Value]]") -> None:
    if not unsettled:
        return
    headings = {
        "order_id": desk.words("order"),
        "state": desk.words("state"),
        "reason": desk.words("reason"),
    }
    if desk.out.form == "table":
        for row in unsettled:
            row["state"] = desk.words(books.STATES[str(row["state"])])
    desk.out.rows(headings, unsettled)
