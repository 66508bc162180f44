"""A relay's questions to WeChat: about orders of held bills, and about bills in doubt."""

import logging
import math
import threading
import time

from django.db import DatabaseError, connections

from nontax.contrib.django.doubts import Asker
from nontax.contrib.django.holding import poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("nontax.delivery")
# Seconds between two looks.
_PAUSE = 15.0


class Poller:
    """A relay's: what it asks WeChat now and then, in a thread, as that may be slow to answer."""

    def __init__(self, using: str, stopping: "Callable[[], bool]") -> None:
        self._using, self._stopping = using, stopping
        self._asker = Asker(using)
        self._next = -math.inf
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin a look, unless one is under way or was just now."""
        if time.monotonic() < self._next or (self._thread and self._thread.is_alive()):
            return
        self._next = time.monotonic() + _PAUSE
        self._thread = threading.Thread(target=self._poll, name="nontax polling")
        self._thread.start()

    def join(self) -> None:
        """Wait until it has ended, in slices, so that a signal's handler runs."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.2)

    def _poll(self) -> None:
        try:
            poll(self._using, stopping=self._stopping)
            self._asker.ask(self._stopping)
        except DatabaseError as error:
            _log.error("held bills and bills in doubt cannot be looked for: %s", error)
        finally:
            connections.close_all()
