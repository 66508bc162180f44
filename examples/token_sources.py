"""Token sources for programs whose access token is kept in one central place.

With `Client(appid=…, secret=…)` none of this is needed: WeChat gives every process of an account
the same token. But where one program fetches the token for all others (the AppSecret is in one
place only, or the older /cgi-bin/token is in use), the others read it from there:

    client = nontax.Client(token_source=CentralToken("https://tokens.example/wechat", key))
    client = nontax.Client(token_source=RedisToken(redis.Redis(host="…")))
    client = nontax.Client(token_source=DjangoToken(django.core.cache.caches["default"]))

A source is called with None for the current token, or with a token that WeChat has refused for a
newer one. If there is none it may return the same again: the bill is then not sent once more. What
it raises becomes the cause of a `nontax.NotSentError`. It is called from several threads at once.

Whoever can read the store can act as the account: protect it like the AppSecret.
"""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, Protocol

NAME = "wechat-access-token"


class CentralToken:
    """Asks a central server, which answers {"access_token": "…"} to a POST of {"stale": …}.

    url: str. key: str, sent as a bearer token. timeout: seconds.
    """

    def __init__(self, url: str, key: str, timeout: float = 5.0) -> None:
        self._url = url
        self._key = key
        self._timeout = timeout

    def __call__(self, stale: str | None) -> str:
        request = urllib.request.Request(
            self._url,
            data=json.dumps({"stale": stale}).encode(),
            headers={
                "Authorization": f"Bearer {self._key}",
                "Content-Type": "application/json",
            },
        )
        # The token is in no URL: those are logged.
        with urllib.request.urlopen(request, timeout=self._timeout) as reply:
            token = json.load(reply)["access_token"]
        return str(token)


class Redis(Protocol):
    """What is used of a redis.Redis."""

    def get(self, name: str, /) -> Any: ...
    def set(self, name: str, value: str, /, *, ex: int) -> Any: ...


class DjangoCache(Protocol):
    """What is used of one of Django's caches."""

    def get(self, key: str, /) -> Any: ...
    def set(self, key: str, value: str, /, timeout: int) -> None: ...


class StoredToken:
    """What the sources on a shared store have in common.

    A refused token is written beside the current one, so that the one program that fetches tokens,
    with `keep()`, learns of it; then the others wait a little for a newer one.
    """

    def __init__(self, name: str = NAME, patience: float = 3.0) -> None:
        self._name = name
        self._patience = patience

    def _get(self, name: str) -> str | None:
        raise NotImplementedError

    def _set(self, name: str, value: str, seconds: int) -> None:
        raise NotImplementedError

    def __call__(self, stale: str | None) -> str:
        token = self._get(self._name)
        if stale is not None and token == stale:
            self._set(f"{self._name}-refused", stale, 60)
            until = time.monotonic() + self._patience
            while token == stale and time.monotonic() < until:
                time.sleep(0.05)
                token = self._get(self._name)
        if token is None:
            raise LookupError(f"no {self._name} in the store: is the program that fetches it up?")
        return token

    def keep(self, source: Callable[[str | None], str]) -> None:
        """Write the current token; call it every second, in one program only.

        source: such as nontax.StableToken(appid, secret), which asks WeChat only when it has to.
        """
        self._set(self._name, source(self._get(f"{self._name}-refused")), 60)


class RedisToken(StoredToken):
    """Reads the token from Redis."""

    def __init__(self, redis: Redis, name: str = NAME, patience: float = 3.0) -> None:
        super().__init__(name, patience)
        self._redis = redis

    def _get(self, name: str) -> str | None:
        value = self._redis.get(name)
        return value.decode() if isinstance(value, bytes) else value

    def _set(self, name: str, value: str, seconds: int) -> None:
        self._redis.set(name, value, ex=seconds)


class DjangoToken(StoredToken):
    """Reads the token from one of Django's caches, which must be shared by all processes."""

    def __init__(self, cache: DjangoCache, name: str = NAME, patience: float = 3.0) -> None:
        super().__init__(name, patience)
        self._cache = cache

    def _get(self, name: str) -> str | None:
        value: str | None = self._cache.get(name)
        return value

    def _set(self, name: str, value: str, seconds: int) -> None:
        self._cache.set(name, value, seconds)
