"""Clients of the accounts in the settings: one for each process and alias."""

import threading
from typing import Any

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from nontax.client import Client
from nontax.contrib.django import conf

_lock = threading.Lock()
_clients: dict[str, Client] = {}


def client(alias: str) -> Client:
    """The client of an account in NONTAX["ACCOUNTS"]. It serves all threads, and is never closed.

    It knows no ledger, also where NONTAX_LEDGER is set: the outbox keeps its bills itself. Raises
    ImproperlyConfigured, and ValueError for a value that `nontax.Client` refuses.
    """
    with _lock:
        found = _clients.get(alias)
        if found is None:
            found = _clients[alias] = _make(conf.account(alias))
        return found


def _make(settings: "dict[str, Any]") -> Client:
    source = settings.get("TOKEN_SOURCE")
    if isinstance(source, str):
        source = import_string(source)
    names = ("BASE_URL", "FALLBACK_BASE_URLS", "CA_FILE", "PROXY")
    more = {name.lower(): settings[name] for name in names if name in settings}
    if source is None:
        more |= {"appid": settings["APPID"], "secret": settings["SECRET"]}
    else:
        more |= {"token_source": source}
    return Client(timeout=conf.timeout_of(settings), ledger=False, **more)


def _forget(*, setting: str, **_: object) -> None:
    """A test has overridden the settings."""
    if setting == "NONTAX":
        with _lock:
            _clients.clear()


setting_changed.connect(_forget, dispatch_uid="nontax")
