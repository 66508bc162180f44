"""The filters beside the list. None of them reads the whole table."""

from datetime import datetime, time, timedelta
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.utils import timezone

from nontax.contrib.django import conf
from nontax.contrib.django.admin.showing import advice
from nontax.contrib.django.models import Bill, Unit
from nontax.contrib.django.searching import first_since
from nontax.contrib.django.words import STATES, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_DAYS = 14
_CLOCKS = timedelta(days=1)
# So many of the newest rows are looked at for what can be chosen.
_LOOK_AT = 2000


class _Filter(SimpleListFilter):
    """Rows whose column has the chosen value."""

    column = ""

    def queryset(self, request: Any, queryset: Any) -> Any:
        value = self.value()
        return queryset if value is None else queryset.filter(**{self.column: value})

    def recent(self, admin: Any, request: Any, **which: Any) -> "Iterable[Any]":
        """The values of the newest rows that may be seen."""
        rows = admin.get_queryset(request).filter(**which).order_by("-pk")
        return sorted({*rows.values_list(self.column, flat=True)[:_LOOK_AT]})


class StateFilter(_Filter):
    """By state."""

    title, parameter_name, column = words("state"), "state", "state"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        return STATES.items()


class AccountFilter(_Filter):
    """By account."""

    title, parameter_name, column = words("account"), "account", "account"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        seen = self.recent(model_admin, request)
        known = [] if conf.outbox().visible else conf.aliases()
        return [(alias, alias) for alias in sorted({*known, *seen})]


class ErrcodeFilter(_Filter):
    """By WeChat's error code."""

    title, parameter_name, column = words("error code"), "errcode", "errcode"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        codes = self.recent(model_admin, request, state="rejected")
        return [(str(code), advice(code)) for code in codes]

    def queryset(self, request: Any, queryset: Any) -> Any:
        value = self.value()
        if value is None or not value.lstrip("-").isdecimal():
            return queryset
        return queryset.filter(errcode=int(value))


class UnitFilter(_Filter):
    """By collecting unit."""

    title, parameter_name, column = words("unit"), "unit", "appid"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        names = dict(Unit.objects.using(conf.outbox().database).values_list("appid", "name"))
        known = () if conf.outbox().visible else names
        appids = sorted({*known, *self.recent(model_admin, request)})
        return [(appid, f"{names.get(appid, '')} {appid}".strip()) for appid in appids]


class DayFilter(SimpleListFilter):
    """By the day on which a bill was handed in."""

    title, parameter_name = words("day"), "day"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        today = timezone.localdate()
        days = [str(today - timedelta(days=back)) for back in range(_DAYS)]
        chosen = self.value()
        if chosen and chosen not in days:
            days.append(chosen)
        return [(day, day) for day in days]

    def queryset(self, request: Any, queryset: Any) -> Any:
        try:
            day = datetime.strptime(self.value() or "", "%Y-%m-%d").date()
        except ValueError:
            return queryset
        begin = timezone.make_aware(datetime.combine(day, time.min))
        end = timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))
        # The time has no index; the key is near it. Clocks of machines may be a day off.
        bills = Bill.objects.using(queryset.db)
        keys = {
            "pk__gte": first_since(bills, begin - _CLOCKS),
            "pk__lt": first_since(bills, end + _CLOCKS),
        }
        return queryset.filter(created_at__gte=begin, created_at__lt=end, **keys)
