"""The sandbox's own time: the machine's, plus whatever was skipped."""

import threading
import time
from time import struct_time

# Days, for quotas, begin at midnight in Beijing.
_BEIJING = 8 * 3600


class Clock:
    """Tells the sandbox's time. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._skipped = 0.0

    def time(self) -> float:
        """Unix seconds."""
        return time.time() + self._skipped

    def advance(self, seconds: float) -> None:
        """Skip so many seconds. ValueError if negative: time does not run backwards."""
        if not seconds >= 0:
            raise ValueError("the clock can only be advanced")
        with self._lock:
            self._skipped += seconds

    def beijing(self) -> struct_time:
        """The date and time in Beijing."""
        return time.gmtime(self.time() + _BEIJING)

    def __repr__(self) -> str:
        return f"<Clock {time.strftime('%Y-%m-%d %H:%M:%S', self.beijing())} in Beijing>"
