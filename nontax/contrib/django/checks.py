"""System checks of the settings: offline. They show no secret."""

import importlib.util
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import mail
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

from nontax.contrib.django import conf
from nontax.contrib.django.models import Bill

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AES_KEY_LENGTH = 43
_LONG_TIMEOUT = 60.0
_TEST_CLIENTS = "nontax.contrib.django.testing."
# Caches that each process has for itself, or that keep nothing.
_LONELY = ("LocMemCache", "DummyCache")


@register()
def check_settings(**_: Any) -> "list[CheckMessage]":
    """E001 to E009, W001 to W005, W009."""
    try:
        outbox, aliases = conf.outbox(), conf.aliases()
    except ImproperlyConfigured as error:
        return [_error(error)]
    found: list[CheckMessage] = []
    if not aliases and isinstance(settings.NONTAX.get("ACCOUNTS", {}), dict):
        found.append(Error('NONTAX["ACCOUNTS"] has no account', id="nontax.E001"))
    for alias in aliases:
        try:
            account = conf.account(alias)
        except ImproperlyConfigured as error:
            found.append(_error(error))
        else:
            found += _of_account(f'NONTAX["ACCOUNTS"][{alias!r}]', account)
    return [*found, *_of_outbox(outbox), *_of_logging()]


def _error(error: ImproperlyConfigured) -> CheckMessage:
    return Error(str(error), id=getattr(error, "check", "nontax.E002"))


def _of_account(where: str, account: "dict[str, Any]") -> "Iterator[CheckMessage]":
    for url in (account.get("BASE_URL"), *account.get("FALLBACK_BASE_URLS", ())):
        parts = urlsplit(url or "https://")
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            yield Error(f"{where}: {url} must begin with https://", id="nontax.E004")
    events = account.get("EVENTS", {})
    key = events.get("AES_KEY")
    if key and len(key) != _AES_KEY_LENGTH:
        text = f"{where}['EVENTS']['AES_KEY'] has {len(key)} characters instead of 43"
        yield Error(text, id="nontax.E005")
    if events.get("TOKEN") and not key:
        yield Warning(
            f"{where} takes events in plain mode",
            hint="set the safe mode in WeChat's console, and AES_KEY",
            id="nontax.W002",
        )
    client = account.get("CLIENT")
    name = client if isinstance(client, str) else f"{getattr(client, '__module__', '')}."
    # Django's test runner has these checks made, too.
    production = not settings.DEBUG and not hasattr(mail, "outbox")
    if client and name.startswith(_TEST_CLIENTS) and production:
        yield Error(f"{where}['CLIENT'] sends nothing: it is for tests", id="nontax.E009")
    cache = settings.CACHES.get(account.get("CACHE"), {})
    if str(cache.get("BACKEND", "")).endswith(_LONELY):
        yield Warning(
            f"{where}['CACHE'] is {cache['BACKEND']}, which processes do not share",
            hint="use Redis, Memcached or the database",
            id="nontax.W001",
        )
    if conf.timeout_of(account) > _LONG_TIMEOUT:
        yield Warning(
            f"{where}['TIMEOUT'] is above {_LONG_TIMEOUT:.0f} seconds",
            hint="a relay that is to end waits for so long",
            id="nontax.W004",
        )


def _of_outbox(outbox: conf.Outbox) -> "Iterator[CheckMessage]":
    using = outbox.database
    if using not in connections:
        text = f'NONTAX["OUTBOX"]["DATABASE"] is {using!r}, which DATABASES has not'
        yield Error(text, id="nontax.E006")
        return
    if settings.DATABASE_ROUTERS and router.db_for_write(Bill) != using:
        text = f"DATABASE_ROUTERS send nontax.Bill to {router.db_for_write(Bill)!r}, not {using!r}"
        yield Error(text, id="nontax.E006")
    if outbox.ring == "celery" and importlib.util.find_spec("celery") is None:
        yield Error(
            'NONTAX["OUTBOX"]["RING"] is "celery", which is not installed',
            hint="pip install celery",
            id="nontax.E008",
        )
    if outbox.ring == "tasks" and importlib.util.find_spec("django.tasks") is None:
        yield Error(
            'NONTAX["OUTBOX"]["RING"] is "tasks", which Django 6.0 is the first to have',
            id="nontax.E008",
        )
    database = connections.settings[using]
    if database.get("CONN_MAX_AGE") != 0 and not database.get("CONN_HEALTH_CHECKS"):
        yield Warning(
            f"DATABASES[{using!r}] keeps connections (CONN_MAX_AGE) and does not check them",
            hint="set CONN_HEALTH_CHECKS: True",
            id="nontax.W009",
        )


def _of_logging() -> "Iterator[CheckMessage]":
    if not settings.DEBUG and logging.getLogger("nontax").isEnabledFor(logging.DEBUG):
        yield Warning(
            'the logger "nontax" is at DEBUG in production',
            hint="set it to INFO: details of each call are of no use there",
            id="nontax.W005",
        )
