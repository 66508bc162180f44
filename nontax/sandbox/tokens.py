"""Access tokens of one kind and one account, and tickets: who is valid, until when.

https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html
https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
"""

import secrets
import threading
from dataclasses import dataclass, field

from .clock import Clock
from .errcodes import RefusalError

LIFETIME = 7200
_OVERLAP = 300
_FORCED_GAP = 30
_FORCED_PER_DAY = 20


@dataclass(slots=True)
class _Token:
    text: str = field(repr=False)
    expires: float
    # From `until` on it answers `errcode`.
    until: float
    errcode: int


class Tokens:
    """The access tokens of one kind, `/cgi-bin/token` or `/cgi-bin/stable_token`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._all: dict[str, _Token] = {}
        self._current: _Token | None = None
        self._forced_at: float | None = None
        self._forced_on: tuple[int, int] = (0, 0)
        self._forced_count = 0

    @property
    def current(self) -> str | None:
        """The token handed out last, valid or not; None before the first."""
        return None if self._current is None else self._current.text

    def issue(self) -> tuple[str, int]:
        """Make a new one, as /cgi-bin/token does; the one before works for five more minutes.

        Returns the token and its remaining seconds.
        """
        with self._lock:
            now = self._clock.time()
            return _handed_out(self._replace(now, _OVERLAP), now)

    def stable(self, *, force: bool) -> tuple[str, int]:
        """The token that /cgi-bin/stable_token hands out, and its remaining seconds.

        Raises RefusalError when it was forced too often today.
        """
        with self._lock:
            now = self._clock.time()
            if force and (self._forced_at is None or now - self._forced_at >= _FORCED_GAP):
                self._count_forced(now)
                for token in self._all.values():
                    _refuse(token, now, 0, 40001)
                return _handed_out(self._replace(now, 0), now)
            current = self._current
            if current is None or now >= current.until or current.expires - now < _OVERLAP:
                current = self._replace(now, _OVERLAP)
            return _handed_out(current, now)

    def _count_forced(self, now: float) -> None:
        date = self._clock.beijing()
        today = (date.tm_year, date.tm_yday)
        if self._forced_on != today:
            self._forced_on, self._forced_count = today, 0
        if self._forced_count >= _FORCED_PER_DAY:
            raise RefusalError(45009)
        self._forced_count += 1
        self._forced_at = now

    def renew(self) -> None:
        """Make a new one; the one before answers 40001 at once."""
        with self._lock:
            self._replace(self._clock.time(), 0)

    def expire(self) -> None:
        """The current one answers 42001 from now on."""
        with self._lock:
            if self._current is not None:
                _refuse(self._current, self._clock.time(), 0, 42001)

    def errcode(self, text: str) -> int | None:
        """What `text` is answered with: 0 if it is valid, None if it is none of these tokens."""
        with self._lock:
            token = self._all.get(text)
            if token is None:
                return None
            return 0 if self._clock.time() < token.until else token.errcode

    def texts(self) -> list[str]:
        """Every token ever handed out."""
        with self._lock:
            return list(self._all)

    def _replace(self, now: float, overlap: float) -> _Token:
        if self._current is not None:
            _refuse(self._current, now, overlap, 40001)
        expires = now + LIFETIME
        token = _Token(f"sandbox-{secrets.token_urlsafe(90)}", expires, expires, 42001)
        self._all[token.text] = self._current = token
        return token


def _handed_out(token: _Token, now: float) -> tuple[str, int]:
    return token.text, int(token.expires - now)


def _refuse(token: _Token, now: float, overlap: float, errcode: int) -> None:
    """Have a valid `token` answer `errcode` after `overlap`; what is refused already stays so."""
    if now < token.until:
        token.until = now + overlap
        token.errcode = errcode


class Tickets:
    """The tickets of one account. Each call makes one, and each is good for its whole lifetime.

    https://developers.weixin.qq.com/doc/service/api/base/api_getticket.html
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._all: dict[str, tuple[str, float]] = {}

    def issue(self, kind: str) -> tuple[str, int]:
        """Make a ticket of a kind, such as wx_card. Returns it and its lifetime in seconds."""
        ticket = secrets.token_urlsafe(60)
        with self._lock:
            self._all[ticket] = (kind, self._clock.time() + LIFETIME)
        return ticket, LIFETIME

    def is_valid(self, ticket: str, kind: str) -> bool:
        with self._lock:
            known, expires = self._all.get(ticket, ("", 0.0))
        return known == kind and self._clock.time() < expires

    def texts(self) -> list[str]:
        """Every ticket ever handed out."""
        with self._lock:
            return list(self._all)
