"""What a person may order for a bill in doubt besides settling it: sending it again.

Settling it is `Store.resolve`, taking a bill back is `Store.withdraw`.
"""

import time

from nontax.delivery.content import bill_of
from nontax.delivery.deliver import ClaimedBill, Delivered
from nontax.delivery.states import BUSY, Answer
from nontax.journaled import answer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax.client import Client
    from nontax.delivery.store import Key, Store
    from nontax.outcomes import Outcome


class TooSoonError(ValueError):
    """A bill in doubt was sent only just now: its answer may still be on its way."""

    def __init__(self, order_id: str, seconds: int) -> None:
        super().__init__(order_id, seconds)
        self.order_id = order_id
        self.seconds = seconds

    def __str__(self) -> str:
        return f"order {self.order_id}: its last attempt is less than {self.seconds} seconds old"


def resend(
    store: "Store",
    client: "Client",
    key: "Key",
    *,
    by: str,
    checked_by: str = "",
    note: str = "",
    at_least: float = 60.0,
) -> tuple[Delivered, bool]:
    """Send a bill that is in doubt once more, because a person has signed for it.

    It is what `nontax resolve --resend` and the admin's action do, the first bill alone and its
    answer shown; call it from nowhere else. by, checked_by: who signs (经办, 复核). note: why.
    at_least: seconds since its last attempt.

    Returns what it has come to, and whether the others can be resent: not after an error that every
    bill would meet. Raises ValueError if the bill is not in doubt, and TooSoonError if its
    last attempt is too young.
    """
    attempts = store.attempts(key)
    if attempts and time.time() * 1000 - attempts[-1].at < at_least * 1000:
        raise TooSoonError(key.order_id, round(at_least))
    claim = store.resend(key, by=by, checked_by=checked_by, note=note)
    outcomes: list[Outcome] = []
    try:
        bill = ClaimedBill(bill_of(claim.content))
        run = client._begin_run([bill])
        store.handed_over([claim])
        outcomes = run.collect()
    finally:
        if not outcomes:
            store.settle([(claim, Answer("in_doubt", reason="the resend was interrupted"))])
    (outcome,) = outcomes
    answer = answer_of(outcome.inserted, outcome.error, outcome.attempts)
    (settled,) = store.settle([(claim, answer)])
    stops = answer.stops_run and answer.errcode not in BUSY
    goes_on = not (stops or answer.outcome == "not_sent")
    return Delivered(key, settled.state, outcome, settled.shown), goes_on
