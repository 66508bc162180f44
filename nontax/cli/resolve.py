"""`nontax resolve`: settle bills in doubt, by what a person has found out or by a signed resend."""

from nontax.cli import asking, books
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax import Client, Ledger
    from nontax.cli.desk import Desk
    from nontax.cli.words import Words
    from nontax.ledger.reading import BillRecord


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--resend",
        action="store_true",
        help=words("send all bills in doubt once more; a duplicate shows that it had arrived"),
    )
    what.add_argument("--inserted", metavar="KEY", help=words("this bill is in the wallet"))
    what.add_argument("--not-taken", metavar="KEY", help=words("this bill is not in the wallet"))
    parser.add_argument("--code", metavar="CODE", help=words("the card's code, if it is known"))
    parser.add_argument("--by", required=True, metavar="NAME", help=words("who decides this"))
    parser.add_argument("--checked-by", metavar="NAME", help=words("who has checked it"))
    parser.add_argument("--note", required=True, metavar="TEXT", help=words("why"))


def run(desk: "Desk") -> Exit:
    if desk.args.by == desk.args.checked_by:
        raise desk.stop(Exit.USAGE, "give --by and --note; --checked-by must be another person")
    with books.opened(desk) as ledger:
        if desk.args.resend:
            return _resend(desk, ledger)
        return _settle(desk, ledger)


def _settle(desk: "Desk", ledger: "Ledger") -> Exit:
    from nontax.delivery.store import Key

    args = desk.args
    bill = books.find_one(desk, ledger, args.inserted or args.not_taken)
    if bill.state != "in_doubt":
        raise desk.stop(
            Exit.USAGE,
            "{order} is {state}: only a bill in doubt can be settled",
            order=bill.order_id,
            state=desk.words(books.STATES[bill.state]),
        )
    try:
        state = ledger.resolve(
            Key(bill.appid, bill.order_id),
            "inserted" if args.inserted else "not_taken",
            by=args.by,
            note=args.note,
            code=args.code,
            checked_by=args.checked_by,
        )
    except ValueError as error:
        raise desk.stop(
            Exit.USAGE, "{order}: {reason}", order=bill.order_id, reason=error
        ) from None
    desk.say("{order} is {state} now", order=bill.order_id, state=desk.words(books.STATES[state]))
    desk.count(order=bill.order_id, state=state)
    return Exit.DONE


def _resend(desk: "Desk", ledger: "Ledger") -> Exit:
    """The first one alone and its answer shown, then the rest after their number is typed.

    How WeChat answers a repeat has not been seen by anybody yet: a person looks before it goes on.
    """
    if not asking.at_a_terminal():
        raise desk.stop(Exit.USAGE, "--resend needs a terminal: a person must look at the answers")
    bills = list(ledger.bills("in_doubt"))
    if not bills:
        desk.say("nothing is in doubt")
        return Exit.DONE
    settled = 0
    with desk.client() as client:
        ledger.use_server_of(client)
        for place, bill in enumerate(bills):
            if place == 0:
                desk.say("the first of {count} bills in doubt is sent alone", count=len(bills))
            elif place == 1:
                asking.count(desk, len(bills) - 1)
            state, goes_on = _resend_one(desk, ledger, client, bill)
            settled += state != "in_doubt"
            if not goes_on:
                desk.warn("stopped: every other bill would meet the same")
                desk.count(settled=settled, in_doubt=len(bills) - settled)
                return Exit.STOPPED
    desk.count(settled=settled, in_doubt=len(bills) - settled)
    return Exit.IN_DOUBT if settled < len(bills) else Exit.DONE


def _resend_one(
    desk: "Desk", ledger: "Ledger", client: "Client", bill: "BillRecord"
) -> tuple[str, bool]:
    """Send one again, and show the answer. Its state, and whether the others can follow."""
    from nontax.delivery.resolve import TooSoonError, resend
    from nontax.delivery.store import Key

    by, checked_by = desk.args.by, desk.args.checked_by or ""
    try:
        _renew_pdf(ledger, client, bill)
        delivered, goes_on = resend(
            ledger,
            client,
            Key(bill.appid, bill.order_id),
            by=by,
            checked_by=checked_by,
            note=desk.args.note,
        )
    except TooSoonError as error:
        desk.warn(
            "{order}: its last attempt is less than {seconds} seconds old: wait, and try again",
            order=bill.order_id,
            seconds=error.seconds,
        )
        return "in_doubt", True
    except (OSError, ValueError) as error:
        desk.out.warn(f"{bill.order_id}: {error}")
        return "in_doubt", True
    failure = delivered.outcome.error
    answer = desk.words("WeChat has taken it") if failure is None else desk.words.error(failure)
    desk.out.warn(f"{bill.order_id}: {answer} → {desk.words(books.STATES[delivered.state])}")
    return delivered.state, goes_on


def _renew_pdf(ledger: "Ledger", client: "Client", bill: "BillRecord") -> None:
    from nontax.delivery.deliver import upload
    from nontax.delivery.store import Key, PdfDue
    from nontax.ledger.books import oldest_upload

    if bill.pdf_path and bill.pdf_uploaded < oldest_upload():
        key = Key(bill.appid, bill.order_id)
        upload(ledger, client, PdfDue(key, bill.pdf_path, bill.pdf_sha256))
