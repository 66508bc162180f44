"""`manage.py nontax_status`: how many bills are in which state, and whether relays are at work."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from nontax.contrib.django import conf, metrics
from nontax.contrib.django.words import STATES, say


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

    def handle(self, *_: Any, **options: Any) -> None:
        using = conf.outbox().database
        silent = metrics.tell_of_silence(using)
        if options["format"] == "prometheus":
            found = metrics.figures(using, only_open=options["open"])
            self.stdout.write("\n".join(metrics.as_prometheus(found)))
            return
        rows = metrics.bills(using, only_open=options["open"])
        if options["format"] == "jsonl":
            for account, state, count, age in rows:
                facts = {"account": account, "state": state, "bills": count, "oldest_seconds": age}
                self.stdout.write(json.dumps(facts, ensure_ascii=False))
            return
        for account, state, count, age in rows:
            oldest = say("the oldest for {count} s", count=age)
            self.stdout.write(f"{account:20} {count:10}  {STATES[state]}, {oldest}")
        for worker in silent:
            self.stderr.write(say("relay {worker} is silent", worker=worker))
