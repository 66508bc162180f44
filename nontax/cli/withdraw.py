"""`nontax withdraw`: take back bills that were not sent yet."""

import os

from nontax.cli import books, orders
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument(
        "keys", nargs="+", metavar="KEY|FILE", help=words("an order, a bill number, or a list")
    )
    parser.add_argument("--by", required=True, metavar="NAME", help=words("who decides this"))
    parser.add_argument("--note", required=True, metavar="TEXT", help=words("why"))


def run(desk: "Desk") -> Exit:
    from nontax.delivery.store import Key

    done = refused = 0
    with books.opened(desk) as ledger:
        keys = [key for word in desk.args.keys for key in _keys(desk, word)]
        for bill in [books.find_one(desk, ledger, key) for key in keys]:
            try:
                ledger.withdraw(
                    Key(bill.appid, bill.order_id), by=desk.args.by, note=desk.args.note
                )
            except ValueError:
                refused += 1
                state = desk.words(books.STATES[bill.state])
                desk.warn(
                    "{order} is {state} and was not changed", order=bill.order_id, state=state
                )
            else:
                done += 1
    desk.say("{count} bills withdrawn", count=done)
    desk.count(withdrawn=done, refused=refused)
    return Exit.WORK_LEFT if refused else Exit.DONE


def _keys(desk: "Desk", word: str) -> list[str]:
    return orders.of_list(desk, word) if os.path.isfile(word) else [word]
