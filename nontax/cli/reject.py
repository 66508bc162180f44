"""`nontax reject`: refuses to issue bills for orders. WeChat keeps that for good."""

from contextlib import contextmanager

from nontax.cli import asking, books, orders
from nontax.cli.auth import s_pappid_of
from nontax.cli.exits import Exit, worst
from nontax.cli.failures import exit_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

    from nontax import Ledger
    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    orders.add_options(parser, words)
    parser.add_argument(
        "--reason", required=True, metavar="TEXT", help=words("why; the citizen reads it")
    )
    parser.add_argument("--s-pappid", metavar="ID", help=words("the finance bureau's id"))


def run(desk: "Desk") -> Exit:
    from nontax.errors import NontaxError

    named = orders.named(desk)
    s_pappid = s_pappid_of(desk)
    desk.warn("this cannot be taken back: such an order can never be inserted afterwards")
    asking.count(desk, len(named), desk.args.yes)
    codes: set[Exit] = set()
    done = 0
    with _ledger(desk) as ledger, desk.client(ledger) as client:
        for order in named:
            try:
                client.reject_bill(s_pappid=s_pappid, order_id=order, reason=desk.args.reason)
            except NontaxError as error:
                desk.out.warn(f"{order}: {desk.words.error(error)}")
                codes.add(exit_for(error))
                if exit_for(error) in (Exit.STOPPED, Exit.LEDGER):
                    break
            else:
                done += 1
    desk.say("{done} of {count} orders rejected", done=done, count=len(named))
    desk.count(rejected=done, of=len(named))
    return worst(codes)


@contextmanager
def _ledger(desk: "Desk") -> "Iterator[Ledger | None]":
    """The ledger, which keeps what was rejected; orders can be rejected without one."""
    path = desk.ledger_path()
    if path is None or not path.exists():
        yield None
        return
    with books.ledger_at(desk, path) as ledger:
        yield ledger
