"""`manage.py nontax_events`: events whose receivers have failed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from nontax.contrib.django import conf, events
from nontax.contrib.django.models import Event
from nontax.contrib.django.words import say


class Command(BaseCommand):
    """Ends with an error while one still fails."""

    @property
    def help(self) -> str:
        return say("Show the events whose receivers have failed, or call the receivers again.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--retry", action="store_true", help=say("call their receivers again"))

    def handle(self, *_: Any, **options: Any) -> None:
        using = conf.outbox().database
        if options["retry"]:
            called, failed = events.retry(using)
            self.stdout.write(
                say("{called} events, {failed} failed again", called=called, failed=failed)
            )
            if failed:
                raise CommandError(say("see the log for what the receivers have raised"))
            return
        for row in Event.objects.using(using).exclude(error="").order_by("pk"):
            self.stdout.write(f"{row.received_at:%F %T} {row.kind} {row.order_id} {row.error}")
