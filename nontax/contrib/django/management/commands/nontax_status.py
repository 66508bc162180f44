"""`manage.py nontax_status`: how many bills are in which state."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Count, Min
from django.utils import timezone

from nontax.contrib.django import conf
from nontax.contrib.django.models import Bill


class Command(BaseCommand):
    """Shows no name, and no openid."""

    help = "Show how many bills of each account are in each state, and how old the oldest is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("table", "jsonl", "prometheus"), default="table")

    def handle(self, *_: Any, **options: Any) -> None:
        bills = Bill.objects.using(conf.outbox().database)
        rows = bills.values_list("account", "state").annotate(Count("pk"), Min("changed_at"))
        now = timezone.now()
        show = getattr(self, f"_{options['format']}")
        for account, state, count, oldest in rows.order_by("account", "state"):
            show(account, state, count, round((now - oldest).total_seconds()))

    def _table(self, account: str, state: str, count: int, age: int) -> None:
        self.stdout.write(f"{account:20} {state:10} {count:10}   oldest: {age} s")

    def _jsonl(self, account: str, state: str, count: int, age: int) -> None:
        facts = {"account": account, "state": state, "bills": count, "oldest_seconds": age}
        self.stdout.write(json.dumps(facts, ensure_ascii=False))

    def _prometheus(self, account: str, state: str, count: int, age: int) -> None:
        labels = f'{{account="{account}",state="{state}"}}'
        self.stdout.write(f"nontax_bills{labels} {count}")
        self.stdout.write(f"nontax_oldest_seconds{labels} {age}")
