"""`nontax reconcile`: a list against the ledger or another list, to the fen."""

import os
from importlib.util import find_spec
from pathlib import Path

from nontax.cli import lists
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words
    from nontax.reconciliation import Report


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("list", metavar="LIST", help=words("the list to compare"))
    parser.add_argument(
        "--against", metavar="LIST2", help=words("another list; without it, the ledger")
    )
    lists.add_reading(parser, words)
    parser.add_argument("--day", metavar="DAY", help=words("one day, or all; without it yesterday"))
    parser.add_argument("--from", dest="start", metavar="DAY", help=words("the first day"))
    parser.add_argument("--to", dest="end", metavar="DAY", help=words("the last day"))
    parser.add_argument(
        "--cutoff", default="00:00", metavar="HH:MM", help=words("when a business day ends")
    )
    parser.add_argument(
        "--grace",
        default="30m",
        metavar="TIME",
        help=words("how near to the end of the period a row is carried over: 30m, 2h, 1d"),
    )
    parser.add_argument("--key", metavar="KEY", help=words("what tells rows apart: a column"))
    parser.add_argument(
        "--carried", metavar="FILE", help=words("carried.jsonl of the report before")
    )
    parser.add_argument(
        "--explained", metavar="FILE", help=words("explanations of lists without a ledger")
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help=words("where the report is written")
    )
    parser.add_argument(
        "--show-names", action="store_true", help=words("show payers' names in full")
    )


def run(desk: "Desk") -> Exit:
    import nontax
    from nontax.reconciliation.write import FORMATS

    args = desk.args
    with lists.readable(desk, args.list):
        report = nontax.reconcile(
            args.list,
            _other(desk),
            day=args.day,
            start=args.start,
            end=args.end,
            cutoff=args.cutoff,
            grace=args.grace,
            key=args.key,
            carried=args.carried,
            explained=args.explained,
            map=args.map,
            unit=args.unit,
            settle=args.settle,
        )
    formats = [name for name in FORMATS if name != "xlsx" or find_spec("xlsxwriter")]
    if "xlsx" not in formats:
        desk.say("report.xlsx was left out: it needs pip install 'nontax[excel]'")
    written = report.write(
        Path(args.out), formats=formats, lang=desk.words.language, show_names=args.show_names
    )
    _print(desk, report)
    desk.say("written: {files}", files=", ".join(str(path) for path in written))
    return Exit.DONE if report.ok else Exit.WORK_LEFT


def _other(desk: "Desk") -> str:
    if desk.args.against:
        return str(desk.args.against)
    path = desk.ledger_path()
    if path is None or not path.exists():
        raise desk.stop(
            Exit.USAGE, "there is no ledger: name it with --ledger, or a list with --against"
        )
    return os.fspath(path)


def _print(desk: "Desk", report: "Report") -> None:
    from nontax.reconciliation.words import Words as ClassWords

    headings = {"class": desk.words("class"), "rows": desk.words("rows")}
    words = ClassWords(desk.words.language, ledger=report.ledger)
    table = desk.out.form == "table"
    desk.out.rows(
        headings,
        (
            {"class": words.name(name) if table else name, "rows": count}
            for name, count in sorted(report.open.items())
        ),
    )
    desk.count(ok=report.ok, differences=sum(report.open.values()))
    if report.ok:
        desk.say("both sides tie, and nothing is left to explain")
    else:
        desk.warn("open differences: {count}", count=sum(report.open.values()))
