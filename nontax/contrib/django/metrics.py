"""The outbox in figures: for people, for scripts, and for Prometheus. No name and no openid."""

from typing import Any, NamedTuple

from django.db.models import Count, Min
from django.db.models.functions import Now
from django.utils import timezone

from nontax.contrib.django import signals
from nontax.contrib.django.beats import SILENT
from nontax.contrib.django.clock import DatabaseMs
from nontax.contrib.django.models import Bill, Event, Pace, Relay
from nontax.delivery.states import STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# States in which a bill does not stay: few rows, however many bills there are.
OPEN = tuple(state for state in STATES if state not in ("inserted", "rejected", "withdrawn"))
# A relay that was seen this long ago is not missed any more.
_FORGOTTEN = 3600
HELP = {
    "nontax_bills": "Bills by account and state.",
    "nontax_oldest_seconds": "For how long the oldest of them has been in this state.",
    "nontax_paused": "Whether relays pause calling this interface.",
    "nontax_calls_minute": "Calls granted to relays in this minute.",
    "nontax_calls_day": "Calls granted to relays on this day of UTC+8.",
    "nontax_relays": "Relays heard of in the last minute.",
    "nontax_relay_age_seconds": "Since the last relay was heard of.",
    "nontax_events_failed": "Events whose receivers have failed.",
    "nontax_quota_limit": "Calls of this interface that WeChat allows the account on a day.",
    "nontax_quota_used": "Calls that WeChat has counted today.",
    "nontax_quota_remain": "Calls that WeChat will still take today.",
}


class Figure(NamedTuple):
    """One figure, with what it is of."""

    name: str
    labels: dict[str, str]
    value: int


def bills(using: str, *, only_open: bool = False) -> "Iterator[tuple[str, str, int, int]]":
    """Account, state, how many, and the age of the oldest in seconds."""
    rows = Bill.objects.using(using)
    rows = rows.filter(state__in=OPEN) if only_open else rows
    found = rows.values_list("account", "state").annotate(Count("pk"), Min("changed_at"))
    now = timezone.now()
    for account, state, count, oldest in found.order_by("account", "state"):
        yield account, state, count, max(round((now - oldest).total_seconds()), 0)


def figures(using: str, *, only_open: bool = False) -> "Iterator[Figure]":
    """All of them."""
    for account, state, count, age in bills(using, only_open=only_open):
        labels = {"account": account, "state": state}
        yield Figure("nontax_bills", labels, count)
        yield Figure("nontax_oldest_seconds", labels, age)
    for pace in Pace.objects.using(using).annotate(now=DatabaseMs()).order_by("pk"):
        labels = {"account": pace.account, "interface": pace.interface}
        this_minute = pace.minute == pace.now // 60_000
        yield Figure("nontax_paused", labels, int(pace.paused_until > pace.now))
        yield Figure("nontax_calls_minute", labels, pace.used if this_minute else 0)
        yield Figure("nontax_calls_day", labels, pace.day_used)
    ages = [age for _, age in relays(using)]
    heard = sum(age <= SILENT.total_seconds() for age in ages)
    yield Figure("nontax_relays", {}, heard)
    if ages:
        yield Figure("nontax_relay_age_seconds", {}, min(ages))
    failed = Event.objects.using(using).exclude(error="").count()
    yield Figure("nontax_events_failed", {}, failed)


def relays(using: str) -> list[tuple[str, int]]:
    """Each relay that is known, and for how many seconds it has been silent."""
    rows = Relay.objects.using(using).annotate(now=Now()).order_by("pk")
    return [(row.worker, max(round((row.now - row.beat_at).total_seconds()), 0)) for row in rows]


def tell_of_silence(using: str) -> list[str]:
    """Send `relay_silent` for each relay that has ended without a word; their names."""
    found = []
    for worker, seconds in relays(using):
        if SILENT.total_seconds() < seconds < _FORGOTTEN:
            found.append(worker)
            signals.relay_silent.send_robust(sender=Relay, worker=worker, seconds=seconds)
    return found


def as_prometheus(found: "Iterable[Figure]") -> "Iterator[str]":
    """The lines of Prometheus' text format."""
    by_name: dict[str, list[Figure]] = {}
    for figure in found:
        by_name.setdefault(figure.name, []).append(figure)
    for name, several in by_name.items():
        yield f"# HELP {name} {HELP[name]}"
        yield f"# TYPE {name} gauge"
        for figure in several:
            labels = ",".join(f'{key}="{_escaped(text)}"' for key, text in figure.labels.items())
            yield f"{name}{{{labels}}} {figure.value}" if labels else f"{name} {figure.value}"


def _escaped(text: Any) -> str:
    return str(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
