"""The page docs/chaos.md, written from the reports of a run."""

import datetime
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from chaos import comparison

MODES = {
    "threads": "single calls in 16 threads",
    "bulk": "bulk run",
    "aio": "single calls in asyncio",
    "abulk": "bulk run in asyncio",
}
# The first words of a line of `needless`, and why a client cannot know.
REASONS = {
    "nothing of it came": "The body had left the machine when its connection ended; nobody told "
    "whether it was read.",
    "a whole answer": "It was lost when its connection was reset, or came behind bytes that made "
    "it unreadable.",
}

TEXT = Path(__file__).with_name("page.md").read_text("utf-8")


def page(reports: Mapping[str, comparison.Report], bills: int, arguments: str) -> str:
    """Return the page. reports: of each mode. bills: over all. arguments: of the run."""
    total = comparison.Report()
    for report in reports.values():
        total.add(report)
    rows = [_outcomes(MODES[mode], report) for mode, report in reports.items()]
    return TEXT.format(
        bills=bills,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        commit=_commit(),
        python=platform.python_version(),
        libcurl=_libcurl(),
        arguments=arguments,
        verdict=f"{len(total.violations)} violations." if total.violations else "No violation.",
        outcomes="\n".join([*rows, _outcomes("together", total)]),
        events=_sentence(total.events),
        needless="\n".join(_needless(total.needless)),
        faults="\n\n".join(_faults(total.faults)),
    )


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _libcurl() -> str:
    from nontax import _core  # not for the server, which shares nothing with it

    return _core.libraries()[0]


def _outcomes(name: str, report: comparison.Report) -> str:
    counts = [report.outcomes[outcome] for outcome in ("inserted", "rejected", "not_sent")]
    counts += [report.outcomes["in_doubt"], report.broken_off.total(), report.needless.total()]
    return f"| {name} | " + " | ".join(map(str, counts)) + " |"


def _sentence(events: Counter[str]) -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in events.most_common())
    return f"What happened besides: {counts}."


def _needless(needless: Counter[str]) -> list[str]:
    rows = []
    for words, why in REASONS.items():
        found = Counter({name: n for name, n in needless.items() if name.startswith(words)})
        if found:
            what = "nothing of the bill came" if "nothing" in words else "a whole answer was sent"
            rows.append(f"| {found.total()} | {what} | {why} |")
    return rows


def _faults(faults: Counter[str]) -> list[str]:
    parts = []
    for where, title in (
        ("connection", "Of connections, before there is a request"),
        ("server", "Of the server"),
        ("request", "Of requests, replies and the time between them"),
    ):
        found = sorted(
            (name.removeprefix(f"{where} "), count)
            for name, count in faults.items()
            if name.startswith(f"{where} ")
        )
        parts.append(f"{title}: " + ", ".join(f"{name} {count}" for name, count in found) + ".")
    return parts
