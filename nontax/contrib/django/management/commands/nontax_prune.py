"""`manage.py nontax_prune`: forget who has paid, and keep that it was sent."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from nontax.contrib.django import conf
from nontax.contrib.django.pruning import prune
from nontax.contrib.django.words import say


class Command(BaseCommand):
    """Bills keep their keys for ever: one that is forgotten could be sent again."""

    @property
    def help(self) -> str:
        return say("Remove names, openids and contents of bills that were settled long ago.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=int, default=None,
            help=say(
                "of settled bills that have not changed for so many days; the law says how many; "
                "without it: KEEP_CONTENT_DAYS of the settings"
            ),
        )  # fmt: skip

    def handle(self, *_: Any, **options: Any) -> None:
        outbox = conf.outbox()
        days = outbox.keep_content_days if options["days"] is None else options["days"]
        if days is None:
            raise CommandError(say("give --days, or set KEEP_CONTENT_DAYS"))
        if options["days"] is not None and days < 1:
            raise CommandError(say("{option} must be at least 1", option="--days"))
        bills = sum(prune(outbox.database, days))
        self.stdout.write(say("the content of {count} bills was removed", count=bills))
