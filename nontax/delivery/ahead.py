"""A delivery in two threads: one sends what is written down, one writes down more and settles.

For stores whose commits take as long as WeChat's answers: neither waits for the other. All that
the store does is done in the thread that calls `run`, but `handed_over`.
"""

import threading

from nontax.delivery.deliver import Delivery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from nontax.client import Client
    from nontax.delivery.deliver import ClaimedBill
    from nontax.delivery.store import Store
    from nontax.outcomes import Outcome
    from nontax.runs import Run


class AheadDelivery(Delivery):
    """A delivery for a store that proves nothing of a dead owner's bills.

    window: so many bills are written down and not settled at one time, and no more than half of
    them are on the wire. leave: called in the thread that sends when that ends.
    """

    def __init__(
        self,
        store: "Store",
        client: "Client",
        *,
        window: int,
        leave: "Callable[[], object]" = lambda: None,
        **more: "Any",
    ) -> None:
        super().__init__(store, client, concurrency=max(1, window // 2), **more)
        self._window, self._leave = window, leave
        # A reservation costs the same for one bill and for many.
        self._least = max(1, window // 4)
        self._over = False  # nothing more is written down for this run
        self._failure: Exception | None = None
        self._sender: _Sender | None = None

    def _begin(self) -> "Run":
        self._over, self._failure, self._sender = False, None, None
        return self._client._begin_run(
            self._bills(), concurrency=self._concurrency, rate=self._rate or 0.0, awaits_bills=True
        )

    def _bills(self) -> "Iterator[ClaimedBill | None]":
        """In the thread that sends. None: there is none just now."""
        try:
            while not self._stopping:
                # In this order: what is written down last comes before `_over`.
                is_over = self._over
                if self._claims:
                    bill = self._hand_over()
                    if bill is None:
                        return
                    yield bill
                elif self._failure is not None:
                    raise self._failure
                elif is_over:
                    return
                else:
                    yield None
        finally:
            self._over = True

    def _read(self, run: "Run") -> None:
        sender = self._sender
        if sender is None or sender.error is not None:
            sender = self._sender = _Sender(run, self._leave)
        while True:
            sender.news.clear()
            has_ended = sender.has_ended  # before what has come is looked at
            came = sender.outcomes[:]
            if came:
                self._settle(came)
                del sender.outcomes[: len(came)]  # not before they are kept
            if self._write_down():
                run._wake()
            elif has_ended:
                break
            elif not came:
                sender.news.wait()
        if sender.error is not None:
            raise sender.error

    def _write_down(self) -> bool:
        """Whether the thread that sends has to look again."""
        room = self._window - len(self._open)
        if self._over or self._stopping or self._quota_hit is not None or room < self._least:
            return False
        try:
            self._over = not self._reserve(min(room, self._concurrency))
        except Exception as error:  # it ends the run as what an iterable raises does
            self._failure = error
            self._over = True
        return True

    def _close(self, run: "Run") -> "list[Outcome]":
        if self._sender is None:
            return run.close()
        self._sender.join()
        return self._sender.outcomes + run.close()

    def _return_unsent(self) -> None:
        """Only what was not handed over: nothing is known of a bill whose answer is missing."""
        left = {claim.attempt: claim for claim, _ in self._claims}
        self._open = left
        super()._return_unsent()


class _Sender:
    """A run at work in a thread of its own.

    outcomes: those that have come, until they are taken out. has_ended: there will be no more.
    error: what has ended it, or None. news: there is something to look at.
    """

    def __init__(self, run: "Run", leave: "Callable[[], object]") -> None:
        self.outcomes: list[Outcome] = []
        self.has_ended = False
        self.error: BaseException | None = None
        self.news = threading.Event()
        self._run, self._leave = run, leave
        self._thread = threading.Thread(target=self._work, name="nontax send")
        self._thread.start()

    def join(self) -> None:
        """Wait until it has ended: bills that are under way have an end."""
        self._thread.join()

    def _work(self) -> None:
        try:
            while group := self._run._group():
                self.outcomes += group
                group.clear()
                self.news.set()
        except BaseException as error:
            self.error = error
        finally:
            try:
                self._leave()
            finally:
                self.has_ended = True
                self.news.set()
