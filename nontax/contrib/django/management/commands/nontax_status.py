"""`manage.py nontax_status`: how many bills are in which state, and whether relays are at work."""

import json
from typing import Any, NamedTuple

from django.core.management.base import BaseCommand, CommandError, CommandParser

from nontax.contrib.django import conf, metrics, quota
from nontax.contrib.django.quota import Left
from nontax.contrib.django.words import STATES, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Command(BaseCommand):
    """Shows no name, and no openid. Sends the signal `relay_silent`."""

    @property
    def help(self) -> str:
        return say(
            "Show how many bills of each account are in each state, and how old the oldest is."
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("table", "jsonl", "prometheus"), default="table")
        parser.add_argument(
            "--open", action="store_true",
            help=say("leave out bills that are done with; quick, however many there are"),
        )  # fmt: skip
        parser.add_argument(
            "--quota", action="store_true",
            help=say("ask WeChat, too, how many calls of each interface are left today"),
        )  # fmt: skip

    def handle(self, *_: Any, **options: Any) -> None:
        using = conf.outbox().database
        shown = _SHOWN[options["format"]]
        for line in shown.bills(using, only_open=options["open"]):
            self.stdout.write(line)
        for worker in metrics.tell_of_silence(using):
            if options["format"] == "table":
                self.stderr.write(say("relay {worker} is silent", worker=worker))
        if options["quota"]:
            found = list(quota.look_up(using))
            for line in shown.quotas([each for each in found if not each.trouble]):
                self.stdout.write(line)
            if wrong := [each for each in found if each.trouble]:
                raise CommandError("\n".join(map(_trouble, wrong)), returncode=5)


def _trouble(left: Left) -> str:
    return say(
        "the quota of account {account} cannot be looked up: {reason}",
        account=f"{left.account}, {left.interface}".removesuffix(", "), reason=left.trouble,
    )  # fmt: skip


class _Shown(NamedTuple):
    """The lines of a format."""

    bills: "Callable[..., Iterator[str]]"
    quotas: "Callable[[list[Left]], Iterator[str]]"


def _bills_table(using: str, *, only_open: bool) -> "Iterator[str]":
    for account, state, count, age in metrics.bills(using, only_open=only_open):
        oldest = say("{state}, the oldest for {count} s", state=STATES[state], count=age)
        yield f"{account:20} {count:10}  {oldest}"


def _quotas_table(found: "list[Left]") -> "Iterator[str]":
    for left in found:
        limit, remain = (
            "?" if value is None else f"{value:,}" for value in (left.limit, left.remain)
        )
        calls = say("{interface}: {remain} of {limit} calls are left today",
                    interface=left.interface, remain=remain, limit=limit)  # fmt: skip
        yield f"{left.account:20} {calls}"


def _bills_jsonl(using: str, *, only_open: bool) -> "Iterator[str]":
    for account, state, count, age in metrics.bills(using, only_open=only_open):
        facts = {"account": account, "state": state, "bills": count, "oldest_seconds": age}
        yield json.dumps(facts, ensure_ascii=False)


def _quotas_jsonl(found: "list[Left]") -> "Iterator[str]":
    for left in found:
        facts = {name: value for name, value in left._asdict().items() if name != "trouble"}
        yield json.dumps(facts, ensure_ascii=False)


def _bills_prometheus(using: str, *, only_open: bool) -> "Iterator[str]":
    yield from metrics.as_prometheus(metrics.figures(using, only_open=only_open))


def _quotas_prometheus(found: "list[Left]") -> "Iterator[str]":
    yield from metrics.as_prometheus(figure for left in found for figure in left.figures())


_SHOWN = {
    "table": _Shown(_bills_table, _quotas_table),
    "jsonl": _Shown(_bills_jsonl, _quotas_jsonl),
    "prometheus": _Shown(_bills_prometheus, _quotas_prometheus),
}
