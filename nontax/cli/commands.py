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
    Command("withdraw", "withdraw", mark("take back bills that wait")),
    Command("cancel", "cancel", mark("tell wallets that bills were reversed")),
    Command("reject", "reject", mark("refuse to issue bills for orders, irreversibly")),
    Command("upload", "upload", mark("upload PDFs")),
    Command("auth", "auth", mark("make an authorisation page, or ask about one")),
    Command("events", "events", mark("take pushes that another system has forwarded")),
    Command("ledger", "ledger", mark("back up, verify, import, export or prune the ledger")),
    Command("doctor", "doctor", mark("find what stands between this machine and the first bill")),
    Command("template", "template", mark("write an empty list to fill in")),
    Command("sandbox", "sandbox", mark("run a local imitation of WeChat")),
)
