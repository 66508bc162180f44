"""Questions that stand before what cannot be taken back."""

import sys

from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax.cli.desk import Desk


def at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def count(desk: "Desk", wanted: int, given: int | None = None) -> None:
    """Have the person type how many it concerns, or take `--yes COUNT`; else the command ends.

    A number cannot be typed by habit, as a "y" can.
    """
    if given is None:
        if not at_a_terminal():
            raise desk.stop(
                Exit.USAGE, "this is about {count}: confirm it with --yes {count}", count=wanted
            )
        desk.out.ask(desk.words("this is about {count}: type the number to go on: ", count=wanted))
        typed = sys.stdin.readline().strip()
        given = int(typed) if typed.isdecimal() else -1
    if given != wanted:
        raise desk.stop(
            Exit.USAGE, "not confirmed: it is about {count}; nothing was done", count=wanted
        )
