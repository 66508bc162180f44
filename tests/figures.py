"""What tests have counted, as one table at the end of a run: rows for docs/outbox-tested.md."""

from collections.abc import Callable
from typing import Any, NamedTuple

# pytest's fixture `record_property`, which hands values from the processes of -n on, too.
Record = Callable[[str, object], None]
_NAME = "figure"


class Figure(NamedTuple):
    """One row. how_often: kills, crashes, cuts. None: was not counted.

    in_flight: how often a bill was on the wire. twice, unknown, in_doubt: bills that were sent
    twice, that were received and are not known, and that are in doubt.
    """

    what: str
    how_often: int
    bills: int
    in_flight: int | None = None
    twice: int | None = 0
    unknown: int | None = 0
    in_doubt: int | None = 0


def tell(record: Record, figure: Figure) -> None:
    """Add a row, or to the row of the same name."""
    record(_NAME, list(figure))


def _added(rows: "list[Figure]") -> list[Figure]:
    found: dict[str, Figure] = {}
    for row in rows:
        known = found.get(row.what)
        if known is None:
            found[row.what] = row
            continue
        sums = (
            None if one is None or other is None else one + other
            for one, other in zip(known[1:], row[1:], strict=True)
        )
        found[row.what] = Figure(row.what, *sums)  # type: ignore[arg-type]
    return list(found.values())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, if tests have told anything."""
    rows = [
        Figure(*value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == _NAME
    ]
    if not rows:
        return
    write = terminalreporter.write_line
    write("")
    write("| what | how often | bills | on the wire | sent twice | unknown | in doubt |")
    write("|---|---|---|---|---|---|---|")
    for row in _added(rows):
        cells = ("–" if cell is None else f"{cell:,}" for cell in row[1:])
        write(f"| {row.what} | {' | '.join(cells)} |")
