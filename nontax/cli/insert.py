"""`nontax insert`: the bills of lists, each once. Typed again, it goes on where it stopped."""

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nontax.cli import books, lists, sending
from nontax.cli.desk import DEFAULT_LEDGER
from nontax.cli.exits import Exit, worst
from nontax.cli.lists import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

    from nontax import Client, Ledger
    from nontax.cli.desk import Desk
    from nontax.cli.words import Words
    from nontax.delivery.store import Content, Known, Refused
    from nontax.sheets import BillList, ListedBill

PAGE = 5000


class Taken(NamedTuple):
    """A list that was read: its bills without a problem, and what is wrong with the others."""

    file: "BillList"
    bills: "list[ListedBill]"
    contents: "list[Content]"
    findings: list[Finding]


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=words("a list of bills"))
    lists.add_options(parser, words)
    lists.add_bill_options(parser, words)
    sending.add_options(parser, words)
    parser.add_argument(
        "--skip-bad", action="store_true", help=words("insert the others when rows have problems")
    )
    parser.add_argument(
        "--rejects", metavar="OUT", help=words("write the rows that were skipped, with the reason")
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help=words("also bills that WeChat refused as not authorised"),
    )
    parser.add_argument("--new-ledger", action="store_true", help=words("begin a new ledger"))
    parser.add_argument(
        "--dry-run", action="store_true", help=words("say what would be done, and send nothing")
    )


def run(desk: "Desk") -> Exit:
    path = _ledger_path(desk)
    files = lists.paths(desk, desk.args.files)
    _check_rejects(desk, files)
    with desk.client() as client:
        taken = [_read(desk, client, name) for name in files]
        _refuse(desk, [finding for one in taken for finding in one.findings])
        with _ledger(desk, client, path) as ledger:
            conflicts = _ask(desk, ledger, taken)
            skipped = sum(len(one.findings) for one in taken) + conflicts.rows
            if desk.args.dry_run:
                return worst((conflicts.code, Exit.WORK_LEFT if skipped else Exit.DONE))
            _write_rejects(desk, taken, conflicts.reasons)
            assert ledger is not None
            late = _hand_in(desk, ledger, taken, conflicts.reasons)
            sent = sending.deliver(desk, ledger, client)
    left = Exit.WORK_LEFT if skipped or late else Exit.DONE
    return worst((conflicts.code, sent, left))


def _ledger_path(desk: "Desk") -> Path:
    path = desk.ledger_path()
    if desk.args.new_ledger:
        path = path or Path(DEFAULT_LEDGER)
        if path.exists():
            raise desk.stop(Exit.USAGE, "{path} exists already: leave out --new-ledger", path=path)
        return path
    if path is None or not path.exists():
        raise desk.stop(
            Exit.USAGE,
            "there is no ledger{where}: if this is the first list, give --new-ledger; if not, "
            "name the ledger with --ledger: with an empty one all bills would be sent again",
            where=f" {path}" if path else "",
        )
    return path


@contextmanager
def _ledger(desk: "Desk", client: "Client", path: Path) -> "Iterator[Ledger | None]":
    """The ledger; None where a dry run would have to make it."""
    if desk.args.dry_run and not path.exists():
        yield None
        return
    with books.ledger_at(desk, path, create=desk.args.new_ledger) as ledger:
        ledger.use_server_of(client)
        yield ledger


# What is wrong with the lists


def _check_rejects(desk: "Desk", files: Sequence[str]) -> None:
    """Refuse to write rejects where they would destroy something, or say too little."""
    out = desk.args.rejects
    if not out:
        return
    if not desk.args.skip_bad:
        raise desk.stop(Exit.USAGE, "--rejects is for --skip-bad")
    if len(files) > 1:
        raise desk.stop(Exit.USAGE, "--rejects is for one list: insert the lists one by one")
    if os.path.exists(out) and os.path.exists(files[0]) and os.path.samefile(out, files[0]):
        raise desk.stop(Exit.USAGE, "--rejects would overwrite the list")


def _read(desk: "Desk", client: "Client", path: str) -> Taken:
    """Read a list twice: for its problems, and for the bills without one."""
    from nontax.delivery.lists import contents_of

    listed, findings = lists.check(desk, path)
    bad = {one.row for one in findings}
    if 0 in bad:
        return Taken(listed, [], [], findings)
    checked = listed.sha256
    defaults = {"s_pdf_media_id": "later", **lists.defaults_of(desk)}
    if "s_pdf_media_id" in listed.fields:
        del defaults["s_pdf_media_id"]
    with lists.readable(desk, path):
        bills = [bill for bill in listed.bills(defaults) if bill.row not in bad]
    if listed.sha256 != checked:
        raise desk.stop(Exit.USAGE, "{path} was changed while it was read", path=path)
    return Taken(listed, bills, contents_of(client, [bill.bill for bill in bills]), findings)


def _refuse(desk: "Desk", findings: Sequence[Finding]) -> None:
    """End the command if rows have problems, unless they are to be skipped."""
    if not findings:
        return
    lists.show(desk, findings)
    desk.count(problems=len(findings))
    if any(one.row == 0 for one in findings):
        raise desk.stop(Exit.USAGE, "a list as a whole has a problem: nothing was sent")
    if not desk.args.skip_bad:
        raise desk.stop(
            Exit.USAGE,
            "{count} problems: nothing was sent; correct them, or give --skip-bad --rejects OUT",
            count=len(findings),
        )


def _write_rejects(
    desk: "Desk", taken: Sequence[Taken], conflicts: Sequence[Mapping[int, str]]
) -> None:
    from nontax import sheets

    if not desk.args.rejects:
        return
    (one,), (reasons,) = taken, conflicts
    by_list = {problem.row for problem in one.file.problems}  # the file knows these itself
    of_core = {found.row: found.problem for found in one.findings if found.row not in by_list}
    count = sheets.write_rejects(
        desk.args.rejects, one.file, {**of_core, **reasons}, desk.words.language
    )
    if count:
        desk.say("{count} skipped rows are in {path}", count=count, path=desk.args.rejects)


# What the ledger says


class Conflicts(NamedTuple):
    """Bills that the ledger does not take. reasons: by list, row → why."""

    reasons: list[dict[int, str]]
    code: Exit

    @property
    def rows(self) -> int:
        return sum(map(len, self.reasons))


def _ask(desk: "Desk", ledger: "Ledger | None", taken: Sequence[Taken]) -> Conflicts:
    """Say what becomes of each bill: sent, known already, in doubt, refused. Takes none of them.

    The command ends if the ledger has a bill otherwise, unless such bills are to be skipped.
    """
    counts = dict.fromkeys(("to_send", "inserted_before", "doubted_before", "refused_before"), 0)
    reasons: list[dict[int, str]] = []
    shown: list[Finding] = []
    seen: dict[object, tuple[Content, str]] = {}
    for one in taken:
        refused: dict[int, str] = {}
        for bill, content, answer in zip(
            one.bills, one.contents, _answers(desk, ledger, one, dry_run=True), strict=True
        ):
            what, why = _verdict(desk, answer)
            other = "" if len(taken) == 1 else _conflict(desk, seen, content, one.file.name)
            if other:
                what, why = "refused", other
            if what == "refused":
                refused[bill.row] = why
            else:
                counts[what] += 1
            if why:
                words = f"{content.order_id}: {why}"
                shown.append(Finding(one.file.name, bill.row, "", what, words))
        reasons.append(refused)
    conflicts = sum(map(len, reasons))
    if shown:
        lists.show(desk, shown)
    desk.say(
        "to send: {to_send}; inserted before: {inserted_before}; in doubt: {doubted_before}; "
        "refused before: {refused_before}; in conflict: {conflicts}",
        **counts,
        conflicts=conflicts,
    )
    desk.count(**counts, conflicts=conflicts)
    if conflicts and not desk.args.skip_bad:
        raise desk.stop(Exit.USAGE, "bills are in conflict with the ledger: nothing was sent")
    left = Exit.WORK_LEFT if counts["refused_before"] else Exit.DONE
    return Conflicts(
        reasons, worst((Exit.IN_DOUBT if counts["doubted_before"] else Exit.DONE, left))
    )


def _conflict(
    desk: "Desk", seen: "dict[object, tuple[Content, str]]", content: "Content", file: str
) -> str:
    """What is wrong with a bill beside those of the lists before; "" if nothing is."""
    from nontax.delivery.store import differences

    number = (content.billing_no, content.billing_code)
    known, where = seen.setdefault(content.key, (content, file))
    if differences(known, content):
        return desk.words("{file} has the same order with other content", file=where)
    known, where = seen.setdefault(number, (content, file))
    if known.key != content.key:
        return desk.words("{file} has the same number for another order", file=where)
    return ""


def _answers(
    desk: "Desk", ledger: "Ledger | None", one: Taken, *, dry_run: bool
) -> "Iterator[Known | Refused | None]":
    for start in range(0, len(one.contents), PAGE):
        bills = one.bills[start : start + PAGE]
        contents = one.contents[start : start + PAGE]
        if ledger is None:
            yield from [None] * len(contents)
            continue
        yield from ledger.hand_in(
            contents,
            again=desk.args.again,
            rows=[bill.row for bill in bills],
            pdfs=[(bill.pdf.path, bill.pdf.sha256) if bill.pdf else ("", "") for bill in bills],
            dry_run=dry_run,
        )


def _verdict(desk: "Desk", answer: "Known | Refused | None") -> tuple[str, str]:
    """What becomes of a bill, and why it is not sent; "" where there is nothing to say."""
    from nontax.delivery.states import DUPLICATES, ORDER_REJECTED
    from nontax.delivery.store import Refused
    from nontax.sheets.problems import FIELDS

    words = desk.words
    if answer is None:
        return "to_send", ""
    if isinstance(answer, Refused):
        state = words(books.STATES[answer.known.state])
        if answer.same_number:
            order = answer.known.content.order_id
            return "refused", words(
                "the ledger has this number for order {order} ({state})", order=order, state=state
            )
        fields = ", ".join(words.plain(FIELDS.get(name, name)) for name in answer.fields)
        return "refused", words(
            "the ledger has other content for it ({fields}); there it is {state}",
            fields=fields,
            state=state,
        )
    if answer.state in ("waiting", "sending"):
        return "to_send", ""
    if answer.state == "inserted":
        return "inserted_before", ""
    if answer.state == "in_doubt":
        return "doubted_before", words(
            "in doubt since an earlier run: settle it with nontax resolve"
        )
    if answer.state == "held":
        return "refused_before", words("it waits for the citizen's authorisation")
    if answer.errcode == ORDER_REJECTED:
        return "refused_before", words("its order was rejected for good: it needs a new order")
    if answer.errcode in DUPLICATES:
        return "refused_before", words(
            "WeChat has answered before that it has this bill ({code})", code=answer.errcode
        )
    return "refused_before", words(
        "the citizen had not authorised it ({code}): once that is done, insert it with --again",
        code=answer.errcode,
    )


def _hand_in(
    desk: "Desk", ledger: "Ledger", taken: Sequence[Taken], conflicts: Sequence[Mapping[int, str]]
) -> bool:
    """Have the bills wait to be sent, each list in a run of its own, which names the list.

    Whether the ledger has refused some that it would have taken a moment ago: another process has
    inserted them, in another form, meanwhile.
    """
    late = []
    for one, refused in zip(taken, conflicts, strict=True):
        ledger.close("read")
        ledger.describe_run(source=os.path.abspath(one.file.path), source_sha256=one.file.sha256)
        good = [place for place, bill in enumerate(one.bills) if bill.row not in refused]
        kept = one._replace(
            bills=[one.bills[place] for place in good],
            contents=[one.contents[place] for place in good],
        )
        for bill, answer in zip(
            kept.bills, _answers(desk, ledger, kept, dry_run=False), strict=True
        ):
            what, why = _verdict(desk, answer)
            if what == "refused":
                late.append(Finding(one.file.name, bill.row, "", what, why))
    if late:
        lists.show(desk, late)
    return bool(late)
