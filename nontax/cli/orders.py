"""Orders that a person names one by one or in a list: for cancel, reject and withdraw."""

from nontax.cli import lists
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def add_options(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help=words("a list with the orders"))
    parser.add_argument("--order", metavar="ORDER", help=words("one order"))
    parser.add_argument(
        "--yes", type=int, metavar="COUNT", help=words("how many it concerns, instead of typing it")
    )


def named(desk: "Desk") -> list[str]:
    """Return the orders, each once."""
    if bool(desk.args.file) == bool(desk.args.order):
        raise desk.stop(Exit.USAGE, "give either a list or --order")
    return [desk.args.order] if desk.args.order else of_list(desk, desk.args.file)


def of_list(desk: "Desk", path: str) -> list[str]:
    """Return the orders of a list, each once. One with a problem ends the command."""
    from nontax import sheets

    with lists.readable(desk, path):
        listed = sheets.open_list(path, settle=0, require=("order_id",), key="order_id")
        orders = [order for batch in listed.batches() for order in batch["order_id"]]
        if listed.problems:
            raise sheets.SheetError(listed.problems)
    return list(dict.fromkeys(orders))
