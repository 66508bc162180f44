"""`manage.py nontax_resend`: send bills in doubt once more, at a terminal."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from nontax.contrib.django import conf
from nontax.contrib.django.models import Bill
from nontax.contrib.django.resending import MOST, resend
from nontax.contrib.django.words import STATES, say
from nontax.errors import NontaxError


class Command(BaseCommand):
    """The first one alone and its answer shown; the rest after their number is typed.

    How WeChat answers a repeat has been seen by nobody yet: a person looks before it goes on.
    """

    @property
    def help(self) -> str:
        return say(
            "Send bills in doubt once more, because a person has signed for it. "
            "A duplicate counts as delivered. Only at a terminal."
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("order", nargs="*", help=say("order_ids; without any, all in doubt"))
        parser.add_argument("--by", required=True, help=say("who orders it (经办)"))
        parser.add_argument("--checked-by", default="", help=say("who has checked it (复核)"))
        parser.add_argument("--note", required=True, help=say("why"))

    def handle(self, *_: Any, **options: Any) -> None:
        if not sys.stdin.isatty():
            raise CommandError(say("only at a terminal: somebody has to look at the answers"))
        using = conf.outbox().database
        found = Bill.objects.using(using).filter(state="in_doubt").order_by("pk")
        if options["order"]:
            found = found.filter(order_id__in=options["order"])
        bills = list(found[: MOST + 1])
        if not bills:
            self.stdout.write(say("None of these bills is in doubt."))
            return
        if len(bills) > MOST:
            raise CommandError(say("Choose at most {count} bills at a time.", count=MOST))
        for place, bill in enumerate(bills):
            if place == 1:
                self._ask(len(bills) - 1)
            if not self._resend(using, bill, options):
                raise CommandError(say("Stopped: every other bill would meet the same."))

    def _ask(self, left: int) -> None:
        self.stdout.write(say("Look at the answer. If it is not what you expect, stop here."))
        if input(say("Type the number of bills") + f" ({left}): ").strip() != str(left):
            raise CommandError(say("It is {count}.", count=left))

    def _resend(self, using: str, bill: Bill, options: "dict[str, Any]") -> bool:
        """Whether the others can follow."""
        named = {name: options[name] for name in ("by", "checked_by", "note")}
        try:
            delivered, goes_on = resend(using, bill, **named)
        except (OSError, ValueError, NontaxError) as error:
            self.stderr.write(f"{bill.order_id}: {error}")
            return isinstance(error, (OSError, ValueError)) and not isinstance(error, NontaxError)
        refused = delivered.outcome.error
        answer = say("WeChat has taken it") if refused is None else refused.reason
        self.stdout.write(f"{bill.order_id}: {answer} → {STATES[delivered.state]}")
        return goes_on
