"""`manage.py nontax_check`: whether the settings and the database are fit for bills."""

from typing import Any

from django.core.checks import ERROR, CheckMessage
from django.core.management.base import BaseCommand, CommandError, CommandParser

from nontax.contrib.django.checks import check_settings
from nontax.contrib.django.conf import outbox
from nontax.contrib.django.databases import check_database
from nontax.contrib.django.words import say

# What must not be, besides errors, where money is sent.
_STRICT = ("nontax.W006",)


def found() -> "list[CheckMessage]":
    """What the checks say. Those of the database are left out if the settings are wrong."""
    told = check_settings()
    if any(each.level >= ERROR for each in told):
        return told
    return [*told, *check_database(databases=[outbox().database])]


def refuse(told: "list[CheckMessage]") -> "list[CheckMessage]":
    """Those with which nothing is to be sent."""
    return [each for each in told if each.level >= ERROR or each.id in _STRICT]


class Command(BaseCommand):
    """Ends with an error for an error, with --strict also if the database may forget a commit."""

    @property
    def help(self) -> str:
        return say("Check the settings and the database of the outbox. Nothing is sent.")

    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--strict", action="store_true",
            help=say("fail, too, if the database may forget a commit (W006)"),
        )  # fmt: skip

    def handle(self, *_: Any, **options: Any) -> None:
        told = found()
        for each in told:
            self.stdout.write(str(each))
        wrong = refuse(told) if options["strict"] else [e for e in told if e.level >= ERROR]
        if wrong:
            raise CommandError(say("{count} of these must be mended", count=len(wrong)))
        self.stdout.write(say("nothing has to be mended") if told else say("all is well"))
