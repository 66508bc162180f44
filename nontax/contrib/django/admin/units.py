"""Collecting units: their names for people, and how fast their bills may go."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from nontax.contrib.django import conf
from nontax.contrib.django.models import Unit


@admin.register(Unit)
class UnitAdmin(admin.ModelAdmin):
    """Relays add the units that they meet; people give them names and rates."""

    list_display = ("appid", "name", "rate")
    fields = ("appid", "name", "rate")
    search_fields = ("appid", "name")

    def has_delete_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else ("appid",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).using(conf.outbox().database)

    def save_model(self, request: HttpRequest, obj: Unit, form: Any, change: bool) -> None:
        fields = [name for name in form.changed_data if name in self.fields]
        obj.save(
            using=conf.outbox().database, force_insert=not change,
            update_fields=fields if change else None,  # relays count in the same row
        )  # fmt: skip
