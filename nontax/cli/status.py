"""`nontax status`: how many bills are in which state, and whether the last run ended well."""

import time

from nontax.cli import books
from nontax.cli.exits import Exit, worst

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words

_HOUR_MS = 3600 * 1000
# How a run ends that has sent what it could: of a program, and of insert and resume.
_WELL = ("closed", "done", "work_left", "in_doubt")


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument(
        "--fresh",
        type=hours,
        metavar="HOURS",
        help=words("fail if no run has succeeded for so many hours"),
    )


def hours(text: str) -> float:
    """Read "26" or "26h"."""
    return float(text.removesuffix("h"))


def run(desk: "Desk") -> Exit:
    with books.opened(desk, read_only=True) as ledger:
        counts = ledger.counts()
        runs = ledger.runs()
    headings = {"state": desk.words("state"), "count": desk.words("count")}
    desk.out.rows(headings, books.states_as_rows(desk, counts))
    desk.count(**counts)
    ended_well = max((run.ended for run in runs if run.end_reason in _WELL), default=0)
    desk.count(last_good_run=books.moment(ended_well))
    desk.say("last successful run: {when}", when=books.moment(ended_well) or "-")
    if desk.args.fresh is None:
        return books.exit_of(counts)
    # Whether bills wait is not asked: they do, between two runs.
    code = Exit.IN_DOUBT if counts.get("in_doubt") else Exit.DONE
    if time.time() * 1000 - ended_well > desk.args.fresh * _HOUR_MS:
        desk.warn(
            "no run has succeeded for {hours:g} hours (last success: {when})",
            hours=desk.args.fresh,
            when=books.moment(ended_well) or "-",
        )
        return worst((Exit.WORK_LEFT, code))
    return code
