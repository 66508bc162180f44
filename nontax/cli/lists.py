"""Opening the lists that a person names: the options for it, and problems as rows."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from nontax.cli.exits import Exit
from nontax.cli.words import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words
    from nontax.sheets import BillList, Problem


def add_reading(parser: "ArgumentParser", words: "Words") -> None:
    """Add what says how any list is to be read."""
    parser.add_argument("--map", metavar="FILE", help=words("a map file that names the columns"))
    parser.add_argument(
        "--unit", choices=("yuan", "fen"), help=words("unit of amounts, if the header has none")
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help=words("how long a file must be unchanged before it is read (60; 0: any)"),
    )


def add_options(parser: "ArgumentParser", words: "Words") -> None:
    """Add what says how a list of bills is to be read, and what it must add up to."""
    add_reading(parser, words)
    parser.add_argument("--sheet", metavar="NAME", help=words("the worksheet of a workbook"))
    parser.add_argument(
        "--expect-count", type=int, metavar="N", help=words("how many rows the list has")
    )
    parser.add_argument("--expect-amount", metavar="YUAN", help=words("what its amounts add up to"))


def paths(desk: "Desk", patterns: Sequence[str]) -> list[str]:
    """Return the files that patterns name. A pattern that matches no file ends the command."""
    found: list[str] = []
    for pattern in patterns:
        names = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        if not names:
            raise desk.stop(Exit.USAGE, "no file matches {pattern}", pattern=pattern)
        found += names
    return found


def options_of(args: "Namespace") -> dict[str, object]:
    """Return the options as `sheets.open_list` takes them."""
    names = ("map", "unit", "settle", "sheet", "expect_count", "expect_amount")
    return {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}


def add_template_options(parser: "ArgumentParser", words: "Words") -> None:
    """Add what is the same for all bills of many a list."""
    parser.add_argument("--card-id", metavar="ID", help=words("card_id, if the list has none"))
    parser.add_argument(
        "--bill-appid", metavar="APPID", help=words("appid of the bills, if the list has none")
    )


def add_bill_options(parser: "ArgumentParser", words: "Words") -> None:
    """Add what a list of bills may lack: the template, the account, the PDFs."""
    add_template_options(parser, words)
    parser.add_argument("--pdf-dir", metavar="FOLDER", help=words("where the PDFs are"))
    parser.add_argument(
        "--pdf-name",
        metavar="PATTERN",
        help=words("how PDFs are named, such as {pattern}", pattern="{票据代码}_{票据号码}.pdf"),
    )


# What a list may lack where the command line has it.
_OPTIONS = {"card_id": "--card-id", "appid": "--bill-appid"}


class Finding(NamedTuple):
    """What is wrong with a row of a list (row 0: with all of it), in the person's words."""

    file: str
    row: int
    column: str
    id: str
    problem: str


def finding(desk: "Desk", problem: "Problem") -> Finding:
    """Put a problem of a list into words."""
    words = problem.words(desk.words.language)
    option = _OPTIONS.get(str(problem.values.get("field")))
    if problem.id == "missing_column" and hasattr(desk.args, "bill_appid") and option:
        words += desk.words("; or give {option}", option=option)
    return Finding(problem.file, problem.row, problem.column, problem.id, words)


def show(desk: "Desk", findings: Iterable[Finding]) -> None:
    """Print findings as rows."""
    headings = {
        "file": desk.words("file"),
        "row": desk.words("row"),
        "column": desk.words("column"),
        "problem": desk.words("problem"),
    }
    desk.out.rows(headings, ({**one._asdict(), "row": one.row or None} for one in findings))


def defaults_of(desk: "Desk") -> dict[str, str]:
    """Return what the options or the profile say of every bill."""
    named = {
        "card_id": getattr(desk.args, "card_id", None) or desk.profile.get("card_id"),
        "appid": getattr(desk.args, "bill_appid", None) or desk.profile.get("bill_appid"),
    }
    return {name: str(value) for name, value in named.items() if value}


def open_list(desk: "Desk", path: str, **more: object) -> "BillList":
    """Open a list. One that cannot be read at all ends the command with its problems."""
    from nontax import sheets

    with readable(desk, path):
        return sheets.open_list(path, **options_of(desk.args), **more)  # type: ignore[arg-type]


@contextmanager
def readable(desk: "Desk", path: str) -> Iterator[None]:
    """End the command with the problems of a list that cannot be read."""
    from nontax import sheets

    try:
        yield
    except sheets.SheetError as error:
        show(desk, [finding(desk, one) for one in error.problems])
        if error.map_toml:
            desk.say("write a map file and name it with --map; this one can be filled in:")
            desk.out.say(error.map_toml)
        raise desk.stop(Exit.USAGE, "{path} cannot be used: nothing was sent", path=path) from None


def check(desk: "Desk", path: str) -> "tuple[BillList, list[Finding]]":
    """Read a list of bills to its end, and check every bill as the core does."""
    from nontax import sheets

    defaults = defaults_of(desk)
    require = tuple(name for name in sheets.INSERT if name not in defaults)
    folder, pattern = desk.args.pdf_dir, desk.args.pdf_name
    bills = open_list(desk, path, require=require, pdf_dir=folder, pdf_name=pattern)
    has_ids = "s_pdf_media_id" in bills.fields
    if folder is None and (pattern or ("pdf" in bills.fields and not has_ids)):
        folder = os.path.dirname(os.path.abspath(path))  # the PDFs stand beside their list
        bills = open_list(desk, path, require=require, pdf_dir=folder, pdf_name=pattern)
    with readable(desk, path):
        found = [finding(desk, one) for one in sheets.check_bills(bills, defaults)]
    if folder is None and not has_ids:
        no_pdf = desk.words(
            "there are no PDFs: the list needs a column with their file names (PDF文件名) or media "
            "ids (s_pdf_media_id), or give --pdf-name"
        )
        found.insert(0, Finding(bills.name, 0, "", "no_pdf", no_pdf))
    return bills, found


# What a person reads of a kind of row.
KINDS = {
    "bill": mark("for the wallet"),
    "red": mark("reversals, not for the wallet"),
    "cancelled": mark("reversed, not for the wallet"),
    "paper": mark("exchanged for paper, not for the wallet"),
    "red_paper": mark("paper reversals, not for the wallet"),
    "blank_paper": mark("blank paper, not for the wallet"),
    "void": mark("void, not for the wallet"),
    "exchanged": mark("exchanged, not for the wallet"),
}


def say_totals(desk: "Desk", bills: "BillList") -> None:
    """Say how many rows of which kind a list has, and their amounts."""
    from nontax import sheets

    for kind, (count, fee) in sorted(bills.totals.items()):
        desk.say(
            "{file}: {count} rows {kind}, {amount} yuan",
            file=bills.name,
            count=count,
            kind=desk.words(KINDS[kind]),
            amount=sheets.yuan(fee),
        )
