"""`nontax cancel`: shows a reversed bill as 已冲红 in the wallet. Reverses nothing itself."""

from nontax.cli import asking, books, orders
from nontax.cli.exits import Exit, worst
from nontax.cli.failures import exit_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    orders.add_options(parser, words)


def run(desk: "Desk") -> Exit:
    from nontax.errors import NontaxError

    desk.warn("this reverses nothing in the fiscal platform: it only updates what the wallet shows")
    codes: set[Exit] = set()
    done = 0
    with books.opened(desk) as ledger:
        bills = [books.find_one(desk, ledger, order) for order in orders.named(desk)]
        unknown = [bill.order_id for bill in bills if not bill.code]
        if unknown:
            raise desk.stop(
                Exit.USAGE,
                "the card code of {count} bills is not known ({orders}): they cannot be updated",
                count=len(unknown),
                orders=", ".join(unknown[:10]),
            )
        asking.count(desk, len(bills), desk.args.yes)
        with desk.client(ledger) as client:
            for bill in bills:
                try:
                    client.update_bill_status(
                        card_id=bill.card_id,
                        code=bill.code,
                        reimburse_status="INVOICE_REIMBURSE_CANCEL",
                    )
                except NontaxError as error:
                    desk.out.warn(f"{bill.order_id}: {desk.words.error(error)}")
                    codes.add(exit_for(error))
                    if exit_for(error) in (Exit.STOPPED, Exit.LEDGER):
                        break
                else:
                    done += 1
    desk.say("{done} of {count} bills updated", done=done, count=len(bills))
    desk.count(updated=done, of=len(bills))
    return worst(codes)
