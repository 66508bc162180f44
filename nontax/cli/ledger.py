"""`nontax ledger`: import, verify, backup, restore, accept-restored, export, prune."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nontax.cli import books, lists
from nontax.cli.desk import DEFAULT_LEDGER
from nontax.cli.exits import Exit
from nontax.cli.parsing import add_global_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words

_DAY_MS = 86_400_000


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar=words("ACTION"))

    def add(name: str, help: str) -> "ArgumentParser":
        parser = actions.add_parser(name, words=words, help=help, description=help)
        add_global_options(parser, words)
        return parser

    taken = add("import", words("take bills that an earlier system has inserted; nothing is sent"))
    taken.add_argument("file", metavar="FILE", help=words("a list of bills"))
    lists.add_options(taken, words)
    lists.add_template_options(taken, words)
    taken.add_argument("--new-ledger", action="store_true", help=words("begin a new ledger"))
    _signature(taken, words)
    verify = add("verify", words("check the ledger, and print the digest that reports show"))
    verify.add_argument(
        "--digest", type=int, metavar="ID", help=words("up to this id, as a report names it")
    )
    add("backup", words("copy the ledger, which may be in use")).add_argument("to", metavar="FILE")
    restore = add("restore", words("put a backup in the ledger's place"))
    restore.add_argument("backup", metavar="FILE")
    _signature(
        add("accept-restored", words("use a restored ledger; what is unsettled is in doubt")),
        words,
    )
    export = add("export", words("write all bills to a file"))
    export.add_argument("out", metavar="OUT", help=words(".csv, .xlsx or .jsonl"))
    export.add_argument(
        "--show-names", action="store_true", help=words("show payers' names in full")
    )
    prune = add("prune", words("remove names and WeChat users of bills settled long ago"))
    prune.add_argument("--days", type=int, required=True, help=words("older than so many days"))


def _signature(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("--by", required=True, metavar="NAME", help=words("who decides this"))
    parser.add_argument("--note", required=True, metavar="TEXT", help=words("why"))


def run(desk: "Desk") -> Exit:
    return _ACTIONS[desk.args.action](desk)


def _import(desk: "Desk") -> Exit:
    path = desk.ledger_path()
    if desk.args.new_ledger:
        path = path or Path(DEFAULT_LEDGER)
        if path.exists():
            raise desk.stop(Exit.USAGE, "{path} exists already: leave out --new-ledger", path=path)
    elif path is None or not path.exists():
        raise desk.stop(
            Exit.USAGE, "there is no ledger: name it with --ledger, or begin one with --new-ledger"
        )
    bills = _inserted_before(desk)
    with books.ledger_at(desk, path, create=desk.args.new_ledger) as ledger:
        new = ledger.import_bills(bills, by=desk.args.by, note=desk.args.note)
    desk.say("{new} of {count} bills were new", new=new, count=len(bills))
    desk.count(new=new, of=len(bills))
    return Exit.DONE


# What is known of a bill that an earlier system has inserted.
_FIELDS = ("appid", "order_id", "card_id", "billing_no", "billing_code", "fee", "title",
           "billing_time", "openid")  # fmt: skip


def _inserted_before(desk: "Desk") -> list[dict[str, object]]:
    """Read the list of bills to import; what it lacks in every row, the options or profile say."""
    from nontax import sheets

    defaults = lists.defaults_of(desk)
    needed = [name for name in _FIELDS[:5] if name not in defaults]
    listed = lists.open_list(desk, desk.args.file, require=tuple(needed))
    bills: list[dict[str, object]] = []
    with lists.readable(desk, desk.args.file):
        for batch in listed.batches():
            columns = {name: batch[name] for name in _FIELDS if name in listed.fields}
            if "card_code" in listed.fields:
                columns["code"] = batch["card_code"]
            for kind, *row in zip(batch["kind"], *columns.values(), strict=True):
                if kind == "bill":
                    bills.append({**defaults, **dict(zip(columns, row, strict=True))})
        if listed.problems:
            raise sheets.SheetError(listed.problems)
    return bills


def _verify(desk: "Desk") -> Exit:
    with books.opened(desk, read_only=True) as ledger:
        problems = ledger.verify()
        if desk.args.digest is not None:
            digest = ledger.digest(desk.args.digest)
            desk.out.rows({"digest": "digest"}, [{"digest": digest}])
    desk.out.rows({"problem": desk.words("problem")}, [{"problem": each} for each in problems])
    if not problems:
        desk.say("the ledger is intact")
    desk.count(problems=len(problems))
    return Exit.LEDGER if problems else Exit.DONE


def _backup(desk: "Desk") -> Exit:
    if os.path.exists(desk.args.to):
        raise desk.stop(Exit.USAGE, "{path} exists already: name another file", path=desk.args.to)
    with books.opened(desk, read_only=True) as ledger:
        ledger.backup(desk.args.to)
    desk.say("copied to {path}", path=desk.args.to)
    return Exit.DONE


def _restore(desk: "Desk") -> Exit:
    from nontax.ledger import restore

    path = desk.ledger_path()
    if path is None:
        raise desk.stop(Exit.USAGE, "name the ledger with --ledger")
    if path.exists():
        raise desk.stop(
            Exit.USAGE,
            "{path} exists: move it away first, with the files that begin with its name",
            path=path,
        )
    restore(desk.args.backup, str(path))
    desk.say(
        "restored, read-only until you have checked it: nontax ledger accept-restored "
        "--by NAME --note TEXT"
    )
    return Exit.DONE


def _accept_restored(desk: "Desk") -> Exit:
    from nontax.ledger import accept_restored

    path = desk.ledger_path()
    if path is None or not path.exists():
        raise desk.stop(Exit.USAGE, "name the ledger with --ledger")
    doubted = accept_restored(str(path), by=desk.args.by, note=desk.args.note)
    desk.say("accepted; {count} bills are in doubt now: settle them first", count=doubted)
    desk.count(in_doubt=doubted)
    return Exit.IN_DOUBT if doubted else Exit.DONE


def _export(desk: "Desk") -> Exit:
    from nontax import sheets

    headings = books.headings(desk.words)
    with books.opened(desk, read_only=True) as ledger:
        rows: Iterator[list[object]] = (
            list(books.bill_row(desk, bill, show_names=desk.args.show_names).values())
            for bill in ledger.bills()
        )
        sheets.write_rows(desk.args.out, list(headings.values()), rows)  # type: ignore[arg-type]
    desk.say("written to {path}", path=desk.args.out)
    return Exit.DONE


def _prune(desk: "Desk") -> Exit:
    before = int(time.time() * 1000) - desk.args.days * _DAY_MS
    with books.opened(desk) as ledger:
        pruned = ledger.prune(before=before)
    desk.say("names removed from {count} bills; no bill was deleted", count=pruned)
    desk.count(pruned=pruned)
    return Exit.DONE


_ACTIONS: "dict[str, Callable[[Desk], Exit]]" = {
    "import": _import,
    "verify": _verify,
    "backup": _backup,
    "restore": _restore,
    "accept-restored": _accept_restored,
    "export": _export,
    "prune": _prune,
}
