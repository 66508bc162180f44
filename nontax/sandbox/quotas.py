"""How often one account may call each interface, per day and per minute."""

import threading
from collections import Counter

from .clock import Clock
from .errcodes import RefusalError

# No page of the product gives a number, and quota/get must. This one is ours, and out of the way.
AMPLE = 10_000_000

_CLEARS_PER_MONTH = 10
MINUTE_TEXT = "api minute-quota reach limit, must slower, retry next minute"


class Quotas:
    """Limits and counts by path. A path without a limit of its own may be called AMPLE times."""

    def __init__(self, clock: Clock, daily: dict[str, int], minute: dict[str, int]) -> None:
        self.daily = daily
        self.minute = minute
        self._clock = clock
        self._lock = threading.Lock()
        self._today: tuple[int, int] = (0, 0)
        self._used: Counter[str] = Counter()
        self._this_minute = 0
        self._used_this_minute: Counter[str] = Counter()
        self._clears: Counter[tuple[int, int]] = Counter()

    def take(self, path: str) -> None:
        """Count a call. Raises RefusalError 45009 or 45011, and then counts nothing."""
        with self._lock:
            self._turn()
            if self._used[path] >= self.daily.get(path, AMPLE):
                raise RefusalError(45009)
            if self._used_this_minute[path] >= self.minute.get(path, AMPLE):
                raise RefusalError(45011, text=MINUTE_TEXT)
            self._used[path] += 1
            self._used_this_minute[path] += 1

    def used(self, path: str) -> int:
        """How often `path` was called today, since the last clearing."""
        with self._lock:
            self._turn()
            return self._used[path]

    def clear(self) -> None:
        """Forget the counts of the day. Raises RefusalError 48006 after ten times in a month."""
        with self._lock:
            date = self._clock.beijing()
            month = (date.tm_year, date.tm_mon)
            if self._clears[month] >= _CLEARS_PER_MONTH:
                raise RefusalError(48006)
            self._clears[month] += 1
            self._used.clear()

    def _turn(self) -> None:
        """Begin a new minute, and a new day, if it is time."""
        minute = int(self._clock.time() // 60)
        if minute == self._this_minute:
            return
        self._this_minute = minute
        self._used_this_minute.clear()
        date = self._clock.beijing()
        today = (date.tm_year, date.tm_yday)
        if today != self._today:
            self._today = today
            self._used.clear()
