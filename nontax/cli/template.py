"""`nontax template`: a sheet to fill in."""

from pathlib import Path

from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("out", metavar="OUT", help=words("the file to write: .xlsx or .csv"))


def run(desk: "Desk") -> Exit:
    from nontax import sheets

    path = Path(desk.args.out)
    if path.exists():
        raise desk.stop(Exit.USAGE, "{path} exists already: name another file", path=path)
    sheets.template(path)
    desk.say("{path} is ready: fill in one bill a row, then run: nontax check {path}", path=path)
    desk.count(file=str(path))
    return Exit.DONE
