"""`manage.py nontax_send`: send what waits in the outbox."""

import signal
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from nontax.contrib.django import conf, pace
from nontax.contrib.django.management.commands.nontax_check import found, refuse
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.words import say


class Command(BaseCommand):
    """SIGTERM and Ctrl-C begin nothing more, wait for the bills in flight, and end with 0."""

    @property
    def help(self) -> str:
        return say(
            "Send the bills that wait in the outbox, until SIGTERM. "
            "Any number of these may run, on any number of machines."
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help=say("end when nothing waits any more")
        )
        parser.add_argument(
            "--account", action="append", default=[], metavar="ALIAS",
            help=say("only this account of NONTAX['ACCOUNTS']; may be repeated"),
        )  # fmt: skip
        parser.add_argument("--window", type=int, help=say("bills being sent for each account"))
        parser.add_argument(
            "--poll", type=float, default=1.0, help=say("seconds between two looks at the database")
        )
        parser.add_argument(
            "--strict", action="store_true",
            help=say(
                "send nothing if a check finds an error, or a database that may forget a commit"
            ),
        )  # fmt: skip
        parser.add_argument(
            "--resume", action="store_true",
            help=say("end the pauses first: what has stopped the accounts is mended"),
        )  # fmt: skip

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            for alias in options["account"]:
                conf.account(alias)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        if options["window"] is not None and options["window"] < 1:
            raise CommandError(say("{option} must be at least 1", option="--window"))
        if options["strict"] and (wrong := refuse(found())):
            raise CommandError("\n".join(str(each) for each in wrong))
        if options["resume"]:
            pace.resume(conf.outbox().database, *options["account"])
        relay = Relay(options["account"], window=options["window"], poll=options["poll"])
        before = {
            number: signal.signal(number, lambda *_: relay.stop())
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            failed = relay.run(once=options["once"])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.stdout.write(say("{count} bills sent", count=relay.sent))
        if failed and options["once"]:
            raise CommandError(
                say(
                    "bills are left waiting of {accounts}: see the log", accounts=", ".join(failed)
                ),
                returncode=5,
            )
