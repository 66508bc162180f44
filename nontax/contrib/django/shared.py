"""A credential that all processes of an account share, in one of Django's caches."""

import base64
import contextlib
import json
import logging
import time
from typing import Any
from uuid import uuid4

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from nontax.cached import EARLY
from nontax.errors import NontaxError, NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # Given the seconds that are left; the credential and its lifetime in seconds, or an error.
    Fetch = Callable[[float], tuple[str, float] | NontaxError]

_log = logging.getLogger("nontax")
# For so many seconds a process uses what it has read before it reads again. Lifetimes are the
# cache's own timeouts, so that no machine's clock matters.
KEEP = 60.0
_SLICE = 0.1


class _AwayError(Exception):
    """The cache does not answer."""


class SharedCredential:
    """One credential of one account, fetched by one process at a time.

    cache: alias in CACHES. kind: "ticket" or "token". appid: the account's. secret: its AppSecret,
    from which the key is made that seals the value: who can read the cache sees nothing. server:
    base URL; what another server has given out cannot be opened.

    In its last five minutes a credential is renewed by one process, and the others use the old one
    meanwhile.

    Raises ImproperlyConfigured if the cache is unknown, or cryptography is missing.
    """

    __slots__ = ("_cache", "_key", "_name", "_seal")

    def __init__(self, cache: str, kind: str, appid: str, secret: str, server: str) -> None:
        try:
            if cache not in caches.settings:
                raise ImproperlyConfigured(f"CACHE is {cache!r}, which CACHES has not")
            self._cache, self._name = cache, kind
            self._key = f"nontax:{kind}:{appid}"
            self._seal = _seal_of(secret, f"{kind} {server}")
        finally:
            del secret

    def get(
        self, fetch: "Fetch", stale: str | None, seconds: float
    ) -> "tuple[str, float] | NontaxError":
        """The credential and for how many seconds to use it; or why there is none.

        stale: one that WeChat has refused, or None. seconds: how long the caller can wait.
        """
        until = time.monotonic() + seconds
        owner = uuid4().hex
        try:
            while True:
                value, is_fresh = self._read()
                if value is not None and value != stale:
                    if is_fresh or not self._lock(owner, seconds):
                        return value, KEEP
                elif not self._lock(owner, seconds):
                    if time.monotonic() >= until:
                        return self._none("another process is still fetching it", timed_out=True)
                    time.sleep(_SLICE)
                    continue
                try:
                    return self._renew(fetch, stale, until)
                finally:
                    self._unlock(owner)
        except _AwayError as error:
            return self._none(f"the cache {self._cache!r} cannot be used: {error}")
        finally:
            value = None
            del stale

    def _renew(
        self, fetch: "Fetch", stale: str | None, until: float
    ) -> "tuple[str, float] | NontaxError":
        """Fetch it, with the lock, unless somebody has done so just before."""
        before = got = value = None
        try:
            before, is_fresh = self._read()
            if is_fresh and before is not None and before != stale:
                return before, KEEP
            got = fetch(max(until - time.monotonic(), 0.001))
            if isinstance(got, NontaxError):
                # While the old one lives, it is better than none.
                return got if before is None or before == stale else (before, KEEP)
            value, lifetime = got
            try:
                now, _ = self._read()
                if now is not None and now != before:
                    return now, KEEP  # the lock was over before the fetch: the other's is kept
                self._write(value, lifetime)
            except _AwayError as error:  # it is good all the same
                _log.warning("the new %s could not be shared: %s", self._name, error)
            return value, min(KEEP, lifetime)
        finally:
            before = got = value = now = None
            del stale

    # The cache

    def _ask(self, method: str, *args: Any, **named: Any) -> Any:
        try:
            return getattr(caches[self._cache], method)(*args, **named)
        except Exception as error:
            raise _AwayError(type(error).__name__) from None
        finally:
            del args

    def _read(self) -> tuple[str | None, bool]:
        """The credential, and whether it need not be renewed yet."""
        from cryptography.fernet import InvalidToken

        fresh = f"{self._key}:fresh"
        found = self._ask("get_many", [self._key, fresh])
        try:
            sealed = found[self._key]
            value = json.loads(self._seal.decrypt(sealed.encode()))["value"]
        except KeyError:
            return None, False
        except (AttributeError, InvalidToken, ValueError):
            _log.warning("what the cache has under %s cannot be opened, and is replaced", self._key)
            return None, False
        return value, fresh in found

    def _write(self, value: str, lifetime: float) -> None:
        try:
            sealed = self._seal.encrypt(json.dumps({"value": value}).encode()).decode()
        finally:
            del value
        self._ask("set", self._key, sealed, timeout=max(lifetime - KEEP, lifetime / 2))
        self._ask("set", f"{self._key}:fresh", 1, timeout=max(lifetime - EARLY, lifetime / 2))

    def _lock(self, owner: str, seconds: float) -> bool:
        return bool(self._ask("add", f"{self._key}:lock", owner, timeout=max(int(seconds) + 5, 5)))

    def _unlock(self, owner: str) -> None:
        # Between the two somebody may take over a lock that is just over: two fetches, no harm.
        with contextlib.suppress(_AwayError):
            if self._ask("get", f"{self._key}:lock") == owner:
                self._ask("delete", f"{self._key}:lock")

    def _none(self, reason: str, *, timed_out: bool = False) -> NontaxError:
        return NotSentError(reason=f"there is no shared {self._name}: {reason}",
                            timed_out=timed_out)  # fmt: skip

    def __repr__(self) -> str:
        return f"<SharedCredential {getattr(self, '_key', 'of nobody')}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a SharedCredential holds a key and is not pickled")


def _seal_of(secret: str, about: str) -> Any:
    try:
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError:
        raise ImproperlyConfigured(
            "CACHE needs the package cryptography: pip install 'nontax[django]'"
        ) from None
    try:
        make = HKDF(SHA256(), 32, salt=None, info=f"nontax shared {about}".encode())
        return Fernet(base64.urlsafe_b64encode(make.derive(secret.encode())))
    finally:
        del secret
