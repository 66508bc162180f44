"""`nontax resume`: sends what waits, nothing else: first one bill alone. Safe on a timer."""

from nontax.cli import books, sending
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    sending.add_options(parser, words)


def run(desk: "Desk") -> Exit:
    with books.opened(desk) as ledger, desk.client() as client:
        ledger.use_server_of(client)
        return sending.deliver(desk, ledger, client, probe=True)
