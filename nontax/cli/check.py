"""`nontax check`: all that is wrong with lists, and what is in them. Sends nothing."""

from nontax.cli import lists
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=words("a list of bills"))
    lists.add_options(parser, words)
    lists.add_bill_options(parser, words)


def run(desk: "Desk") -> Exit:
    bad = bills = 0
    for path in lists.paths(desk, desk.args.files):
        checked, findings = lists.check(desk, path)
        bad += len(findings)
        bills += checked.totals.get("bill", (0, 0))[0]
        if findings:
            lists.show(desk, findings)
        lists.say_totals(desk, checked)
    desk.count(bills=bills, problems=bad)
    if bad:
        desk.warn("problems: {count}; correct the list before it is inserted", count=bad)
        return Exit.USAGE
    desk.say("no problems: {count} bills can be inserted", count=bills)
    return Exit.DONE
