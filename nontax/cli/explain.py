"""`nontax explain`: why a difference of a reconciliation is as it is; later reports show it."""

import json
from pathlib import Path

from nontax.cli import books
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words
    from nontax.reconciliation import Difference


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument(
        "key", metavar="KEY", help=words("the order, or the bill's number, code+number or serial")
    )
    parser.add_argument(
        "--report",
        required=True,
        metavar="FOLDER",
        help=words("the report that has the difference: what was --out of reconcile"),
    )
    parser.add_argument(
        "--class", dest="name", metavar="CLASS", help=words("which one, if the key has several")
    )
    parser.add_argument("--by", required=True, metavar="NAME", help=words("who explains it"))
    parser.add_argument("--checked-by", metavar="NAME", help=words("who has checked it"))
    parser.add_argument("--note", required=True, metavar="TEXT", help=words("why"))
    parser.add_argument(
        "--explained",
        metavar="FILE",
        help=words("append to this file; without it the ledger keeps the explanation"),
    )


def run(desk: "Desk") -> Exit:
    from nontax.reconciliation import explain
    from nontax.reconciliation.words import Words as ClassWords

    args = desk.args
    difference = _difference(desk)
    by, note, checked_by = args.by, args.note, args.checked_by or ""
    try:
        if args.explained:
            explain(args.explained, difference, by=by, note=note, checked_by=checked_by)
        else:
            with books.opened(desk) as ledger:
                ledger.explain(difference, by=by, note=note, checked_by=checked_by)
    except ValueError:
        raise desk.stop(
            Exit.USAGE, "give --by and --note; --checked-by must be another person"
        ) from None
    name = ClassWords(desk.words.language, ledger=not args.explained).name(difference.name)
    desk.say("{key} ({name}) is explained", key=difference.key, name=name)
    desk.count(key=difference.key, name=difference.name)
    return Exit.DONE


def _difference(desk: "Desk") -> "Difference":
    """The one difference of the report that is meant."""
    key = desk.args.key.replace("+", " ")
    found = [
        one
        for one in _differences(desk)
        if key in (one.key, one.order_id, one.billing_code, one.business_no)
        or key == f"{one.billing_no} {one.billing_code}"
    ]
    if desk.args.name:
        found = [one for one in found if one.name == desk.args.name]
    if not found:
        raise desk.stop(Exit.USAGE, "the report has no difference {key}", key=desk.args.key)
    if len({(one.key, one.name, one.fee) for one in found}) > 1:
        raise desk.stop(
            Exit.USAGE,
            "the report has several differences {key}: give --class, one of {names}",
            key=desk.args.key,
            names=", ".join(sorted({one.name for one in found})),
        )
    return found[0]


def _differences(desk: "Desk") -> "list[Difference]":
    from nontax.reconciliation import Difference

    path = Path(desk.args.report)
    path = path / "report.jsonl" if path.is_dir() else path
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return [
            Difference._make(row[name] for name in Difference._fields)
            for row in rows
            if row["type"] == "difference"
        ]
    except (ValueError, KeyError, TypeError):
        raise desk.stop(Exit.USAGE, "{path} is no report", path=path) from None
