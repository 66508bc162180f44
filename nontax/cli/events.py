"""`nontax events import`: pushes that another system has received and passed on."""

import json

from nontax.cli import books
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("action", choices=("import",), help=words("take pushes from a file"))
    parser.add_argument(
        "file", metavar="FILE", help=words("a push a line, as WeChat sent its decrypted body")
    )


def run(desk: "Desk") -> Exit:
    from nontax.events import EventError, OtherEvent
    from nontax.events.model import make_event
    from nontax.events.parse import parse

    taken = refused = settled = others = 0
    with open(desk.args.file, encoding="utf-8-sig") as lines, books.opened(desk) as ledger:
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text:
                continue
            try:
                body = json.loads(text) if text.startswith('"') else text
                event = make_event(parse(body.encode()))
            except (EventError, AttributeError, ValueError) as error:
                refused += 1
                desk.warn("line {row}: {problem}", row=number, problem=error)
                continue
            if isinstance(event, OtherEvent):
                others += 1
                continue
            taken += 1
            settled += ledger.take_event(event) is not None
    desk.say(
        "{taken} pushes taken, {settled} bills settled by them; {others} about other things",
        taken=taken,
        settled=settled,
        others=others,
    )
    desk.count(taken=taken, settled=settled, others=others, refused=refused)
    return Exit.WORK_LEFT if refused else Exit.DONE
