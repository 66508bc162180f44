"""`manage.py nontax_prune`: forget who has paid, and keep that it was sent."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from nontax.contrib.django import conf
from nontax.contrib.django.models import Attempt, Content, Event
from nontax.contrib.django.words import say

_SETTLED = ("inserted", "rejected", "withdrawn")


class Command(BaseCommand):
    """Bills keep their keys for ever: one that is forgotten could be sent again."""

    @property
    def help(self) -> str:
        return say("Remove names, openids and contents of bills that were settled long ago.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=int, required=True,
            help=say(
                "of settled bills that have not changed for so many days; the law says how many"
            ),
        )  # fmt: skip

    def handle(self, *_: Any, **options: Any) -> None:
        if options["days"] < 1:
            raise CommandError(say("{option} must be at least 1", option="--days"))
        using = conf.outbox().database
        before = timezone.now() - timedelta(days=options["days"])
        old = {"bill__state__in": _SETTLED, "bill__changed_at__lt": before}
        with transaction.atomic(using=using):
            Attempt.objects.using(using).filter(**old).exclude(openid="").update(openid="")
            bills, _all = Content.objects.using(using).filter(**old).delete()
            # The key stays: a repeat is still one. What a receiver has failed with is kept.
            events = Event.objects.using(using).filter(received_at__lt=before, error="")
            events.update(content="{}")
        self.stdout.write(say("the content of {count} bills was removed", count=bills))
