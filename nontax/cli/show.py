"""`nontax show`: one bill's history on one page, with a sentence to read to the citizen."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import NamedTuple

from nontax.cli import books
from nontax.cli.books import STATES
from nontax.cli.exits import Exit
from nontax.cli.output import Value
from nontax.cli.words import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any

    from nontax.cli.desk import Desk
    from nontax.cli.words import Words
    from nontax.ledger.reading import History


# What the ledger calls the ways in which something was learned, and what it came to.
KINDS = {
    "person": mark("found out by a person"),
    "resend": mark("signed resend"),
    "event": mark("WeChat's push"),
    "late answer": mark("late answer"),
    "imported": mark("taken over from an earlier system"),
    "restored": mark("restored from a backup"),
    "withdrawn": mark("withdrawn"),
    "ordered": mark("ordered"),
    "not_taken": mark("not in the wallet"),
    "authorised": mark("authorised"),
    "given_up": mark("in doubt"),
    "none": "",
    **STATES,
}


class Section(NamedTuple):
    """A heading and the lines below it."""

    heading: str
    lines: list[str]


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument(
        "key",
        metavar="KEY",
        help=words("the order, the bill's number, code and number joined by +, or the card's code"),
    )
    parser.add_argument("--html", metavar="OUT", help=words("write the page as HTML, to print"))
    parser.add_argument(
        "--show-names", action="store_true", help=words("show payers' names in full")
    )


def run(desk: "Desk") -> Exit:
    with books.opened(desk, read_only=True) as ledger:
        bill = books.find_one(desk, ledger, desk.args.key)
        history = ledger.history(bill.order_id, bill.appid)
    if desk.out.form != "table":
        desk.out.rows(books.headings(desk.words), [_as_data(desk, history)])
    sections = list(_sections(desk, history))
    if desk.args.html:
        from nontax.sheets.writing import replacing

        with replacing(desk.args.html) as file:
            file.write(_as_html(desk.words, bill.order_id, sections).encode())
        desk.say("written to {path}", path=desk.args.html)
    elif desk.out.form == "table":
        for section in sections:
            desk.out.line(section.heading)
            for line in section.lines:
                desk.out.line(f"  {line}")
    desk.count(state=bill.state)
    return Exit.DONE


def _as_data(desk: "Desk", history: "History") -> Mapping[str, Value]:
    row = dict(books.bill_row(desk, history.bill, show_names=desk.args.show_names))
    row["code"] = history.bill.code
    row["openid"] = books.masked_openid(history.bill.openid)
    row["attempts"] = len(history.attempts)
    row["say"] = _sentence(desk.words, history)
    return row


def _sections(desk: "Desk", history: "History") -> Iterator[Section]:
    words = desk.words
    yield Section(words("Bill"), list(_bill(desk, history)))
    yield Section(words("Where it came from"), list(_origin(words, history)))
    yield Section(words("Sendings"), list(_attempts(words, history)) or [words("none")])
    if history.evidence:
        yield Section(words("Evidence"), list(_evidence(words, history)))
    if history.changes:
        yield Section(words("Status changes"), list(_changes(words, history)))
    if history.explanations:
        yield Section(words("Explanations"), list(_explanations(words, history)))
    yield Section(words("To read to the citizen"), [_sentence(words, history)])


def _bill(desk: "Desk", history: "History") -> Iterator[str]:
    from nontax import sheets

    words, bill = desk.words, history.bill
    names = desk.args.show_names
    title = bill.title if names else sheets.mask_name(bill.title)
    for label, value in (
        (words("order"), bill.order_id),
        (words("bill code"), bill.billing_no),
        (words("bill number"), bill.billing_code),
        (words("amount (yuan)"), sheets.yuan(bill.fee)),
        (words("payer"), title),
        (words("issued"), books.moment(bill.billing_time * 1000)),
        (words("state"), words(books.STATES[bill.state])),
        (words("card code"), bill.code or (words("not known") if bill.code_unknown else "")),
        (words("WeChat user"), bill.openid if names else books.masked_openid(bill.openid)),
        ("PDF", bill.pdf_path),
        ("PDF SHA-256", bill.pdf_sha256),
    ):
        if value:
            yield f"{label}: {value}"


def _origin(words: "Words", history: "History") -> Iterator[str]:
    for run in history.runs:
        if run.id == history.bill.run and run.source:
            yield words(
                "list {file}, row {row}, SHA-256 {sum}",
                file=run.source,
                row=history.bill.source_row,
                sum=run.source_sha256,
            )
        yield words(
            "run {id}: {began}, {command}, user {user} on {host}, account {account}",
            id=run.id,
            began=books.moment(run.began),
            command=run.command or "-",
            user=run.os_user,
            host=run.host,
            account=run.account or "-",
        )


def _attempts(words: "Words", history: "History") -> Iterator[str]:
    for attempt in history.attempts:
        said = f"{attempt.errcode} {attempt.errmsg}" if attempt.errcode else attempt.reason
        signed = words(", signed by {name}", name=attempt.signed_by) if attempt.signed else ""
        rid = f", rid {attempt.rid}" if attempt.rid and attempt.rid not in said else ""
        yield (
            f"{attempt.number}. {books.moment(attempt.began)}–{books.moment(attempt.ended)} "
            f"{_called(words, attempt.outcome) or '-'}{signed}{rid}{': ' + said if said else ''}"
        )
        if attempt.rid_info:
            yield f"   {_record(words, json.loads(attempt.rid_info))}"


def _record(words: "Words", info: "Mapping[str, Any]") -> str:
    if not info:
        return words("WeChat has no record of this request any more")
    return words(
        "WeChat's record: called {when}, {ms} ms, answered {answer}",
        when=books.moment(1000 * (info["invoke_time"] or 0)),
        ms=info["cost_in_ms"],
        answer=f"{info.get('errcode', '')} {info.get('errmsg', '')}".strip() or "-",
    )


def _evidence(words: "Words", history: "History") -> Iterator[str]:
    for found in history.evidence:
        who = _who(words, found.who, found.checked_by)
        what = (_called(words, found.kind), _called(words, found.verdict))
        parts = (*what, who, found.note, found.detail)
        yield f"{books.moment(found.at)} {'; '.join(filter(None, parts))}"


def _changes(words: "Words", history: "History") -> Iterator[str]:
    for change in history.changes:
        said = f"{change.errcode} {change.reason}" if change.errcode else change.reason
        done = words("done") if change.outcome == "inserted" else _called(words, change.outcome)
        parts = (change.source, change.reimburse_status, done, said)
        yield f"{books.moment(change.at)} {' '.join(filter(None, parts))}"


def _called(words: "Words", name: str) -> str:
    return words.plain(KINDS.get(name, name))


def _explanations(words: "Words", history: "History") -> Iterator[str]:
    from nontax.reconciliation.words import Words as ClassWords

    classes = ClassWords(words.language, ledger=True)
    for one in history.explanations:
        who = _who(words, one.who, one.checked_by)
        name = classes.name(one.name)
        yield f"{books.moment(one.at)} {name}; {who}; {one.note}"


def _who(words: "Words", name: str, checked_by: str) -> str:
    if not checked_by:
        return name
    return words("{name}, checked by {checked}", name=name, checked=checked_by)


def _sentence(words: "Words", history: "History") -> str:
    bill = history.bill
    if bill.state == "inserted":
        at = next((a.ended for a in history.attempts if a.outcome == "inserted"), bill.changed)
        return words(
            "Your bill was put into the card wallet of the WeChat account that confirmed the "
            "authorisation{user}, on {when}. Open WeChat, Me, Cards and Offers, to see it.",
            user=words(" (id ending in {tail})", tail=bill.openid[-4:]) if bill.openid else "",
            when=books.moment(at),
        )
    if bill.state in ("in_doubt", "sending"):
        return words(
            "Your bill was sent to WeChat and we are verifying whether it has arrived. Please look "
            "into your card wallet; the bill itself is valid in any case."
        )
    return words(
        "Your bill is not in the card wallet yet. It is valid without it: check it at the national "
        "platform pjcy.mof.gov.cn with its code, number and check code."
    )


_STYLE = """\
@page { size: A4; margin: 18mm } body { font: 11pt/1.5 system-ui, "Noto Sans CJK SC", sans-serif }
h1 { font-size: 15pt } h2 { font-size: 12pt; margin: 1em 0 .2em } p { margin: .1em 0 }
section:last-child p { border: 1px solid; padding: .6em; font-size: 12pt }"""


def _as_html(words: "Words", order_id: str, sections: list[Section]) -> str:
    lang = "zh-CN" if words.language == "zh" else "en"
    title = escape(words("History of order {order}", order=order_id))
    body = "\n".join(
        f"<section><h2>{escape(section.heading)}</h2>"
        + "".join(f"<p>{escape(line)}</p>" for line in section.lines)
        + "</section>"
        for section in sections
    )
    return (
        f'<!doctype html><html lang="{lang}"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>\n{body}\n</html>\n"
    )
