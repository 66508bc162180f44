"""What commands show of the ledger: states, times and people's names in the person's words."""

import datetime
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from nontax.cli.exits import Exit
from nontax.cli.output import Value
from nontax.cli.words import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax import Ledger
    from nontax.cli.desk import Desk
    from nontax.cli.words import Words
    from nontax.delivery.states import State
    from nontax.ledger.reading import BillRecord

_CHINA = datetime.timezone(datetime.timedelta(hours=8))

# By state, as officials say it.
STATES: dict[str, str] = {
    "held": mark("held for authorisation"),
    "waiting": mark("waiting"),
    "sending": mark("sending"),
    "inserted": mark("inserted"),
    "rejected": mark("rejected"),
    "not_sent": mark("not sent"),
    "in_doubt": mark("in doubt"),
    "withdrawn": mark("withdrawn"),
}


@contextmanager
def opened(desk: "Desk", *, read_only: bool = False) -> "Iterator[Ledger]":
    """The ledger that the arguments, the environment or the profile name. It is never created.

    Without one the command ends: in another folder cron would begin an empty ledger, and send
    everything again.
    """
    path = desk.ledger_path()
    if path is None or not path.exists():
        raise desk.stop(
            Exit.USAGE,
            "there is no ledger{where}: name it with --ledger or NONTAX_LEDGER; "
            "nontax insert --new-ledger begins one",
            where=f" {path}" if path else "",
        )
    with ledger_at(desk, path, read_only=read_only) as ledger:
        yield ledger


# How the run of a command ends that was not there to send bills: see `status --fresh`.
NOT_SENDING = "sent nothing"


@contextmanager
def ledger_at(
    desk: "Desk", path: "str | os.PathLike[str]", *, read_only: bool = False, create: bool = False
) -> "Iterator[Ledger]":
    """The ledger at a path, while a command uses it."""
    from nontax import Ledger

    server = desk.profile.get("server")
    ledger = Ledger(
        path, read_only=read_only, create=create, server=None if server is None else str(server)
    )
    ledger.describe_run(command=f"nontax {desk.args.command}")
    try:
        yield ledger
    finally:
        ledger.close(NOT_SENDING)


def moment(milliseconds: int) -> str:
    """A time of the ledger as people in China read it; "" for none."""
    if not milliseconds:
        return ""
    when = datetime.datetime.fromtimestamp(milliseconds / 1000, _CHINA)
    return when.strftime("%Y-%m-%d %H:%M:%S")


def masked_openid(openid: str) -> str:
    return f"…{openid[-4:]}" if openid else ""


def headings(words: "Words") -> Mapping[str, str]:
    return {
        "order_id": words("order"),
        "billing_no": words("bill code"),
        "billing_code": words("bill number"),
        "amount": words("amount (yuan)"),
        "title": words("payer"),
        "state": words("state"),
        "errcode": words("errcode"),
        "changed": words("changed"),
    }


def bill_row(desk: "Desk", bill: "BillRecord", *, show_names: bool) -> Mapping[str, Value]:
    """A bill as a row to print. The state is a word of the contract except in a table."""
    from nontax import sheets

    table = desk.out.form == "table"
    return {
        "order_id": bill.order_id,
        "billing_no": bill.billing_no,
        "billing_code": bill.billing_code,
        "amount": sheets.yuan(bill.fee),
        "title": bill.title if show_names else sheets.mask_name(bill.title),
        "state": desk.words(STATES[bill.state]) if table else bill.state,
        "errcode": bill.errcode or None,
        "changed": moment(bill.changed),
    }


def states_as_rows(desk: "Desk", counts: "Mapping[State, int]") -> Iterator[Mapping[str, Value]]:
    table = desk.out.form == "table"
    for state, words in STATES.items():
        count = counts.get(cast("State", state))
        if count:
            yield {"state": desk.words(words) if table else state, "count": count}


def exit_of(counts: "Mapping[State, int]") -> Exit:
    """What is left: bills in doubt weigh more than bills that wait.

    What WeChat has refused, or was not sent, was told when it happened. Nothing waits for it, and
    a ledger that has such a bill would never be done.
    """
    if counts.get("in_doubt"):
        return Exit.IN_DOUBT
    left: tuple[State, ...] = ("held", "waiting", "sending")
    return Exit.WORK_LEFT if any(counts.get(state) for state in left) else Exit.DONE


def find_one(desk: "Desk", ledger: "Ledger", key: str) -> "BillRecord":
    """The one bill that a key names: order, number, code and number, or the card's code."""
    found = ledger.find(key)
    if not found:
        raise desk.stop(Exit.USAGE, "{key} is not in the ledger", key=key)
    if len(found) > 1:
        raise desk.stop(
            Exit.USAGE,
            "{key} names {count} bills: give one of the orders {orders}",
            key=key,
            count=len(found),
            orders=", ".join(bill.order_id for bill in found[:10]),
        )
    return found[0]
