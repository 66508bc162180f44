"""A report as JSON lines, for programs: ids instead of words, fen instead of yuan."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from nontax.reconciliation.report import DIMENSIONS, Both, Report


def lines(report: Report, shown: Callable[[str], str]) -> Iterator[str]:
    """One line for the report, each total, class, group, range, gap and difference.

    shown: how a payer's name is written.
    """
    for record in _records(report, shown):
        yield json.dumps(record, ensure_ascii=False) + "\n"


def _records(report: Report, shown: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    yield _head(report)
    for name, both in report.totals.items():
        yield {"type": "total", "name": name, **_sums(both)}
    open_, explained = report.open, report.explained
    for name, both in report.classes.items():
        counts = {"open": open_.get(name, 0), "explained": explained.get(name, 0)}
        yield {"type": "class", "name": name, **_sums(both), **counts}
    for dimension in DIMENSIONS:
        for line in report.by(dimension):
            found = {"value": line.value, **_sums(line.sums)}
            matched = line.matched.list.rows
            yield {"type": "group", "by": dimension, **found, "matched": matched, "open": line.open}
    for number_range in report.ranges:
        yield {"type": "range", **number_range._asdict()}
    for gap in report.gaps:
        yield {"type": "gap", **gap._asdict()}
    for row in report.differences():
        note = row.explained._asdict() if row.explained else None
        names = {"title": shown(row.title), "other_title": shown(row.other_title)}
        yield {"type": "difference", **row._asdict(), **names, "explained": note}


def _head(report: Report) -> dict[str, Any]:
    period = report.period
    begin, end = ("", "") if period.all else period.bounds
    return {
        "type": "report",
        "first": period.first,
        "last": period.last,
        "begin": begin,
        "end": end,
        "key": list(report.fields.key),
        "sources": [source._asdict() for source in report.sources],
        "read": [_kinds(read) for read in report.read],
        "outside": [total._asdict() for total in report.outside],
        "ok": report.ok,
    }


def _kinds(read: Any) -> dict[str, dict[str, int]]:
    return {kind: read[kind]._asdict() for kind in sorted(read)}


def _sums(both: Both) -> dict[str, int]:
    found: dict[str, int] = {}
    for side, total in zip(("list", "other"), both, strict=True):
        found |= {f"{side}_rows": total.rows, f"{side}_fen": total.fen}
    return found
