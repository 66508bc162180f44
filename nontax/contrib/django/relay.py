"""The relay: sends what waits in the outbox. Any number of them, on any number of machines."""

import logging
import math
import threading
import time
from functools import partial

from django.db import Error as DatabaseError
from django.db import connections

from nontax.contrib.django import accounts, conf, events, pace, signals
from nontax.contrib.django.beats import Beats
from nontax.contrib.django.models import Bill
from nontax.contrib.django.polling import Poller
from nontax.contrib.django.pruning import Pruner
from nontax.contrib.django.store import OutboxStore
from nontax.contrib.django.telling import worker_name
from nontax.delivery.ahead import AheadDelivery
from nontax.delivery.servers import server_of
from nontax.delivery.spool import Spool
from nontax.errors import AccessTokenError, AccountError, NontaxError, QuotaError, WeChatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nontax.delivery.deliver import Report

_log = logging.getLogger("nontax.delivery")
# Seconds after which an account that has met trouble is tried again.
_TROUBLE_PAUSE = 10.0
# Seconds after which the outbox is asked again whether an account is still paused.
_ASK_AGAIN = 30.0
_SLICE = 0.1
# Seconds between two looks for held bills whose event was kept meanwhile.
_MATCH_PAUSE = 60.0
_STOPPERS = (AccessTokenError, AccountError, QuotaError)


class Relay:
    """One process's relay: a thread for each account that has bills waiting.

    only: aliases of accounts; none: all. window: instead of the setting's. poll: seconds between
    two looks at the database. limit: bills of each account that are sent at most.
    """

    def __init__(
        self,
        only: "Sequence[str]" = (),
        *,
        window: int | None = None,
        poll: float = 1.0,
        limit: int | None = None,
    ) -> None:
        self._only, self._poll, self._limit = only, poll, limit
        self._settings = conf.outbox()
        self._window = window or self._settings.window
        self._stopping = False
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._deliveries: dict[str, AheadDelivery] = {}
        self._not_before: dict[str, float] = {}
        self._failed: list[str] = []
        self._matched = -math.inf
        self._poller = Poller(self._settings.database, lambda: self._stopping)
        self._pruner = Pruner(self._settings.database, self._settings.keep_content_days)
        self.sent = 0

    def stop(self) -> None:
        """Begin nothing more. Safe in a signal handler."""
        self._stopping = True
        for delivery in list(self._deliveries.values()):
            delivery.stop()

    def run(self, *, once: bool = False) -> list[str]:
        """Send until `stop` is called; once: until nothing waits. The accounts that met trouble."""
        beats = Beats(self._settings.database)
        while not self._stopping:
            try:
                beats.beat()
                waiting = self._look()
            except DatabaseError as error:
                if once:
                    raise
                _log.error("the outbox cannot be read: %s", error)
                connections[self._settings.database].close()
                waiting = []
            for alias in waiting:
                self._start(alias)
            if once:
                break
            self._prune()
            self._wait()
        self._join()
        beats.end()
        return sorted(self._failed)

    def _prune(self) -> None:
        try:
            self._pruner.look()
        except DatabaseError as error:
            _log.error("contents cannot be removed: %s", error)

    def _wait(self) -> None:
        """In slices: nothing that a signal's handler may do wakes a thread."""
        until = time.monotonic() + self._poll
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))

    def _join(self) -> None:
        self._poller.join()
        for thread in list(self._threads.values()):
            while thread.is_alive():  # in slices, so that a signal's handler runs
                thread.join(0.2)

    def _look(self) -> list[str]:
        """Settle what dead relays have left; the accounts that have bills waiting."""
        using = self._settings.database
        for key in OutboxStore("", using=using).expire():
            _log.error(
                "order %s is in doubt: the lease ended before an answer came", key.order_id,
                extra={"order_id": key.order_id, "state": "in_doubt", "worker": worker_name()},
            )  # fmt: skip
        if time.monotonic() >= self._matched + _MATCH_PAUSE:
            self._matched = time.monotonic()
            events.match_held(using)
        self._poller.look()
        return [alias for alias in waiting(using) if not self._only or alias in self._only]

    def _start(self, alias: str) -> None:
        thread = self._threads.get(alias)
        if thread is not None and thread.is_alive():
            return
        if time.monotonic() < self._not_before.get(alias, 0.0):
            return
        thread = threading.Thread(target=self._deliver, args=(alias,), name=f"nontax {alias}")
        self._threads[alias] = thread
        thread.start()

    def _deliver(self, alias: str) -> None:
        try:
            report = self._deliver_all(alias)
        except Exception as error:
            # It goes on: what was under way is settled, or in doubt when its lease ends.
            self._pause(alias, error, _TROUBLE_PAUSE)
        else:
            if report is not None:
                self._told(alias, report)
        finally:
            self._deliveries.pop(alias, None)
            connections.close_all()

    def _deliver_all(self, alias: str) -> "Report | None":
        settings = conf.account(alias)
        client = accounts.client(alias)
        spool = self._settings.spool
        store = OutboxStore(
            alias,
            using=self._settings.database,
            lease=self._settings.lease,
            timeout=conf.timeout_of(settings),
            rate=self._settings.rate,
            unit_rate=self._settings.unit_rate,
            stopping=lambda: self._stopping,
            spool=None if spool is None else Spool(f"{spool}/nontax-{alias}.spool"),
        )
        if store.spool is not None:
            store.spool.prepare()
            store.read_spool()
        store.use_server(server_of(client._base_url))
        delivery = AheadDelivery(
            store, client, window=self._window, rate=self._settings.rate, limit=self._limit,
            pause=partial(self._keep_from, alias, pace.INSERT), leave=connections.close_all,
        )  # fmt: skip
        self._deliveries[alias] = delivery
        if self._stopping:
            return None
        try:
            return delivery.run()
        finally:
            store.close()

    def _told(self, alias: str, report: "Report") -> None:
        with self._lock:
            self.sent += sum(report.counts.values())
        for key, problem in report.pdf_problems:
            _log.error("order %s waits on: %s", key.order_id, problem,
                       extra={"order_id": key.order_id, "account": alias})  # fmt: skip
        if report.pdf_problems:
            self._pause_until(alias, _TROUBLE_PAUSE)
        error = report.error
        if isinstance(error, _STOPPERS):
            self._pause(alias, error, self._keep_from(alias, report.interface, error))
        elif error is not None:
            self._pause(alias, error, _TROUBLE_PAUSE)
        elif report.pause:
            self._pause_until(alias, min(report.pause, _ASK_AGAIN))
            with self._lock:
                self._failed.append(alias)

    def _keep_from(self, alias: str, interface: str, error: NontaxError) -> float:
        """All relays of the account pause; for how many seconds."""
        errcode = error.errcode if isinstance(error, WeChatError) else 0
        if (error.outcome, error.retry) == ("not_sent", "later"):
            errcode = pace.MINUTE_QUOTA  # held back because another bill has met it
        why = f"{type(error).__name__} {errcode}" if errcode else type(error).__name__
        seconds = pace.pause(self._settings.database, alias, interface, errcode, why)
        signals.relay_paused.send_robust(
            sender=type(self), account=alias, interface=interface, seconds=seconds, why=why
        )
        return seconds

    def _pause_until(self, alias: str, seconds: float) -> None:
        self._not_before[alias] = time.monotonic() + seconds

    def _pause(self, alias: str, error: BaseException, seconds: float) -> None:
        self._pause_until(alias, min(seconds, _ASK_AGAIN))
        with self._lock:
            self._failed.append(alias)
        _log.error("account %s pauses for %.0f seconds: %s", alias, seconds, error,
                   extra={"account": alias, "worker": worker_name()})  # fmt: skip


def waiting(using: str) -> list[str]:
    """The accounts that have bills waiting. One look into an index for each: there may be many."""
    bills = Bill.objects.using(using).filter(state="waiting")
    names = bills.order_by("account").values_list("account", flat=True)
    found: list[str] = []
    while (name := names.filter(account__gt=found[-1] if found else "").first()) is not None:
        found.append(name)
    return found
