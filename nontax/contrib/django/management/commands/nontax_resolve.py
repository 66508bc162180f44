"""`manage.py nontax_resolve`: write down what a person has found out of a bill in doubt."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from nontax.contrib.django import conf
from nontax.contrib.django.models import Bill
from nontax.contrib.django.store import OutboxStore
from nontax.contrib.django.words import STATES, say
from nontax.delivery.store import Key


class Command(BaseCommand):
    """Sends nothing itself: a bill that was not taken waits for a relay."""

    @property
    def help(self) -> str:
        return say("Settle bills in doubt, or show them.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "order", nargs="?", help=say("order_id; without it, all in doubt are shown")
        )
        parser.add_argument("--appid", help=say("the bill's appid, if several have this order"))
        found = parser.add_mutually_exclusive_group()
        found.add_argument("--inserted", action="store_true", help=say("it is in the wallet"))
        found.add_argument("--not-taken", action="store_true", help=say("WeChat has not taken it"))
        parser.add_argument(
            "--code", default="", help=say("its card code, if the citizen has told it")
        )
        parser.add_argument("--by", default="", help=say("who has found it out (经办)"))
        parser.add_argument("--checked-by", default="", help=say("who has checked it (复核)"))
        parser.add_argument("--note", default="", help=say("how"))

    def handle(self, *_: Any, **options: Any) -> None:
        using = conf.outbox().database
        bills = Bill.objects.using(using)
        if options["order"] is None:
            for row in bills.filter(state="in_doubt").order_by("pk"):
                last = row.attempts.order_by("-number").first()
                reason = say("the database was restored") if last is None else last.reason
                self.stdout.write(f"{row.account} {row.appid} {row.order_id}: {reason}")
            return
        if not options["inserted"] and not options["not_taken"]:
            raise CommandError(say("give --inserted or --not-taken"))
        found = bills.filter(order_id=options["order"])
        if options["appid"]:
            found = found.filter(appid=options["appid"])
        rows = list(found[:2])
        if len(rows) != 1:
            raise CommandError(
                say("several appids have this order: give --appid")
                if rows
                else say("the outbox does not know order {order}", order=options["order"])
            )
        (row,) = rows
        store = OutboxStore(row.account, using=using)
        try:
            state = store.resolve(
                Key(row.appid, row.order_id),
                "inserted" if options["inserted"] else "not_taken",
                by=options["by"],
                note=options["note"],
                code=options["code"],
                checked_by=options["checked_by"],
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{row.order_id}: {STATES[state]}")
