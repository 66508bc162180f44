"""All commands: name, module, and the line that `nontax --help` shows."""

from typing import NamedTuple

from nontax.cli.words import mark


class Command(NamedTuple):
    name: str
    module: str
    help: str


COMMANDS = (
    Command("check", "check", mark("check lists without sending anything")),
    Command("insert", "insert", mark("insert the bills of lists, each once, and keep a ledger")),
    Command("resume", "resume", mark("send what waits in the ledger")),
    Command("status", "status", mark("show how many bills are in which state")),
    Command("list", "listing", mark("list the ledger's bills")),
    Command("show", "show", mark("show one bill's history")),
    Command("resolve", "resolve", mark("settle bills in doubt")),
    Command("reconcile", "reconcile", mark("compare a list with the ledger or another list")),
    Command("explain", "explain", mark("explain a difference of a reconciliation")),
    Command("withdraw", "withdraw", mark("withdraw waiting bills")),
    Command("cancel", "cancel", mark("mark bills as reversed in the wallets")),
    Command("reject", "reject", mark("reject orders, irreversibly")),
    Command("upload", "upload", mark("upload PDFs")),
    Command("auth", "auth", mark("make an authorisation page, or ask about one")),
    Command("events", "events", mark("import pushes that another system has forwarded")),
    Command("ledger", "ledger", mark("back up, verify, import, export or prune the ledger")),
    Command("doctor", "doctor", mark("check whether this machine is ready to send bills")),
    Command("template", "template", mark("write an empty list to fill in")),
    Command("sandbox", "sandbox", mark("run a local imitation of WeChat")),
)
