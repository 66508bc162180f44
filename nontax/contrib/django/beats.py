"""Which relays are at work, for people and for `check`: no rule of sending reads it."""

import math
import socket
import time
from contextlib import suppress
from datetime import timedelta

from django.db import Error as DatabaseError
from django.db.models.functions import Now
from django.utils import timezone

import nontax
from nontax.contrib.django.models import Relay
from nontax.contrib.django.telling import worker_name

# Seconds between two beats; a relay that has not been heard of for longer is silent.
EVERY = 15.0
SILENT = timedelta(seconds=60)
_KEPT = timedelta(days=7)


class Beats:
    """The row of this process's relay."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._worker = worker_name()
        self._last = -math.inf

    def beat(self) -> None:
        """Now and then: it is alive. By the database's clock. That this fails stops no bill."""
        if time.monotonic() < self._last + EVERY:
            return
        with suppress(DatabaseError):
            self._write()
            self._last = time.monotonic()

    def _write(self) -> None:
        rows = Relay.objects.using(self._using)
        # Written, not looked up first: on SQLite a reader that begins to write may be refused.
        begins = {"began_at": Now(), "version": nontax.__version__} if self._last < 0 else {}
        if rows.filter(worker=self._worker).update(beat_at=Now(), **begins):
            return
        rows.create(
            worker=self._worker, host=socket.gethostname()[:150], began_at=Now(), beat_at=Now(),
            version=nontax.__version__,
        )  # fmt: skip
        rows.filter(beat_at__lt=timezone.now() - _KEPT).delete()

    def end(self) -> None:
        """It ends in order, and is not missed. Without a database it stays, and is silent."""
        with suppress(DatabaseError):
            Relay.objects.using(self._using).filter(worker=self._worker).delete()
