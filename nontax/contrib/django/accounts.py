"""Clients of the accounts in the settings: one for each process and alias."""

import threading
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from nontax.client import Client
from nontax.contrib.django import conf
from nontax.contrib.django.shared import SharedCredential
from nontax.errors import NontaxError
from nontax.results import Ticket
from nontax.settings import BASE_URL
from nontax.token import AccessToken, FetchedToken

_CLIENT_KEYS = ("BASE_URL", "FALLBACK_BASE_URLS", "CA_FILE", "PROXY")
_lock = threading.Lock()
_clients: dict[str, Client] = {}
_bureaus: set[str] = set()


def client(alias: str) -> Client:
    """The client of an account in NONTAX["ACCOUNTS"]. It serves all threads, and is never closed.

    It knows no ledger, also where NONTAX_LEDGER is set: the outbox keeps its bills itself. With
    CACHE all processes share the account's ticket. Raises ImproperlyConfigured, and ValueError for
    a value that `nontax.Client` refuses.
    """
    with _lock:
        found = _clients.get(alias)
        if found is None:
            found = _clients[alias] = _make(conf.account(alias))
        return found


def bureau(alias: str) -> Client:
    """The client of an account that inserts bills, which a collecting unit's does not.

    Raises ImproperlyConfigured for one with the ROLE "unit", and what `client` raises.
    """
    if alias not in _bureaus:
        if conf.account(alias).get("ROLE") == "unit":
            raise ImproperlyConfigured(
                f'NONTAX["ACCOUNTS"][{alias!r}] has the ROLE "unit": bills are sent by a "bureau"'
            )
        _bureaus.add(alias)
    return client(alias)


class AccountClient(Client):
    """A client whose ticket is shared by all processes, if `shared_ticket` is given."""

    __slots__ = ("_shared_ticket",)

    def __init__(self, *, shared_ticket: SharedCredential | None = None, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        finally:
            settings.clear()
        self._shared_ticket = shared_ticket

    def _fetch_ticket(
        self, stale: Ticket | None, seconds: float, may_keep: bool
    ) -> "tuple[Ticket, float] | NontaxError":
        if self._shared_ticket is None:
            return super()._fetch_ticket(stale, seconds, may_keep)
        own = super()._fetch_ticket

        def fetch(_seconds: float) -> "tuple[str, float] | NontaxError":
            got = own(None, seconds, False)
            return got if isinstance(got, NontaxError) else (got[0].ticket, got[1])

        got = self._shared_ticket.get(fetch, None, seconds)
        try:
            if isinstance(got, NontaxError):
                return got
            return Ticket(ticket=got[0], expires_in=int(got[1])), got[1]
        finally:
            del got


class SharedAccessToken(AccessToken):
    """The token of `/cgi-bin/token`, which all processes of the account share."""

    __slots__ = ("_shared",)

    def __init__(self, *args: Any, shared: SharedCredential, **settings: Any) -> None:
        try:
            super().__init__(*args, **settings)
        finally:
            del args
            settings.clear()
        self._shared = shared

    def _fetch(
        self, stale: str | None, seconds: float, may_keep: bool
    ) -> "tuple[str, float] | NontaxError":
        own = super()._fetch
        try:
            return self._shared.get(lambda left: own(None, left, may_keep), stale, seconds)
        finally:
            del stale


def _make(settings: "dict[str, Any]") -> Client:
    more: dict[str, Any] = {}
    try:
        make = import_string(settings.get("CLIENT", f"{__name__}.AccountClient"))
        more = {name.lower(): settings[name] for name in _CLIENT_KEYS if name in settings}
        source = settings.get("TOKEN_SOURCE")
        if isinstance(source, str):
            source = import_string(source)
        if isinstance(source, type) and issubclass(source, FetchedToken):
            source = _source(source, settings, more)
        if source is None:
            more |= {"appid": settings["APPID"], "secret": settings["SECRET"]}
        else:
            more |= {"token_source": source}
        if "CACHE" in settings:
            more["shared_ticket"] = _shared("ticket", settings)
        return make(timeout=conf.timeout_of(settings), ledger=False, **more)
    finally:
        # A traceback that shows local variables must not show a secret.
        more.clear()
        del settings


def _source(
    kind: type[FetchedToken], settings: "dict[str, Any]", more: "dict[str, Any]"
) -> FetchedToken:
    try:
        shared: dict[str, Any] = {}
        if issubclass(kind, AccessToken) and "CACHE" in settings:
            kind, shared = SharedAccessToken, {"shared": _shared("token", settings)}
        return kind(settings["APPID"], settings["SECRET"], **more, **shared)
    finally:
        del settings, more


def _shared(kind: str, settings: "dict[str, Any]") -> SharedCredential:
    try:
        server = settings.get("BASE_URL") or BASE_URL
        return SharedCredential(
            settings["CACHE"], kind, settings["APPID"], settings["SECRET"], server
        )
    finally:
        del settings


def _forget(*, setting: str, **_: object) -> None:
    """A test has overridden the settings."""
    if setting == "NONTAX":
        with _lock:
            _clients.clear()
            _bureaus.clear()


setting_changed.connect(_forget, dispatch_uid="nontax")
