"""`nontax list`: the ledger's bills."""

from nontax.cli import books
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

    from nontax.cli.desk import Desk
    from nontax.cli.output import Value
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("--state", choices=books.STATES, help=words("only bills in this state"))
    parser.add_argument(
        "--since", metavar="DAY", help=words("only bills that have changed since this day or time")
    )
    parser.add_argument(
        "--show-names", action="store_true", help=words("show payers' names in full")
    )


def run(desk: "Desk") -> Exit:
    since = _since(desk)
    count = 0

    def rows() -> "Iterator[Mapping[str, Value]]":
        nonlocal count
        for bill in ledger.bills(desk.args.state, since=since):
            yield books.bill_row(desk, bill, show_names=desk.args.show_names)
            count += 1

    with books.opened(desk, read_only=True) as ledger:
        desk.out.rows(books.headings(desk.words), rows())
    if not count:
        desk.say("no such bills")
    desk.count(bills=count)
    return Exit.DONE


def _since(desk: "Desk") -> int:
    import nontax

    text = desk.args.since
    if not text:
        return 0
    try:
        return nontax.billing_time(text if ":" in text else f"{text} 00:00:00") * 1000
    except ValueError as error:
        raise desk.stop(Exit.USAGE, "--since {problem}", problem=error) from None
