"""For the tests of projects: bills are recorded instead of sent, and the outbox is emptied by hand.

    # in the settings of the tests, in each account
    "CLIENT": "nontax.contrib.django.testing.RecordingClient"

    class PaymentTests(TestCase):
        def test_a_payment_becomes_a_bill(self):
            pay(order_id="A1")
            testing.drain()
            (bill,) = testing.sent

It works inside a TestCase's transaction, and opens no socket. `nontax.pytest_plugin` has fixtures
that send to a sandbox instead.
"""

import threading
import time
from collections import Counter
from typing import Any

from nontax import interfaces
from nontax.contrib.django import conf, events
from nontax.contrib.django.accounts import AccountClient, client
from nontax.contrib.django.models import Bill
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.deliver import Delivery
from nontax.errors import NontaxError
from nontax.events import AuthorizationEvent
from nontax.outcomes import InsertedBill, Outcome
from nontax.report import refusal_of
from nontax.results import Ticket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nontax.interfaces import Request, T

# The bills that were sent, as they would have gone out, and all other calls: interface, payload.
sent: list[dict[str, Any]] = []
calls: list[tuple[str, Any]] = []
# What an order meets instead of being inserted: an errcode such as 72038, or a NontaxError.
answers: dict[str, int | NontaxError] = {}

_REPEATED = 72056
_OPENID = "oRecorded000000000000000000"
_REPLIES: dict[str, dict[str, Any]] = {
    "createbillcard": {"card_id": "recorded-card"},
    "setpdf": {"s_media_id": "recorded-pdf"},
    "seturl": {"invoice_url": "https://mp.weixin.qq.com/?s_pappid=recorded"},
    "getpdf": {"pdf_url": "https://mp.weixin.qq.com/recorded.pdf", "pdf_url_expire_time": 7200},
    "getbillauthurl": {"auth_url": "https://mp.weixin.qq.com/recorded", "expire_time": 7200},
    "getauthdata": {"invoice_status": "never auth"},
    "updatestatus": {},
    "rejectinsert": {},
}


def clear() -> None:
    """Forget all; call it in setUp()."""
    sent.clear()
    calls.clear()
    answers.clear()


def drain() -> dict[str, int]:
    """Send all that waits, in the calling thread; how many bills there are by their new state.

    Raises what every bill has met (a quota, a token, a network).
    """
    counts: Counter[str] = Counter()
    settings = conf.outbox()
    waiting = Bill.objects.using(settings.database).filter(state="waiting").order_by()
    for alias in sorted({*waiting.values_list("account", flat=True)}):
        store = OutboxStore(
            alias, using=settings.database, lease=settings.lease,
            timeout=conf.timeout_of(conf.account(alias)),
        )  # fmt: skip
        try:
            report = Delivery(store, client(alias)).run()
        finally:
            store.close()
        counts.update(report.counts)
        if report.error is not None:
            raise report.error
    return dict(counts)


def authorise(order_id: str, *, account: str = "unit", succeeded: bool = True) -> bool:
    """As if WeChat had pushed that a citizen has authorised an order; False: it was known."""
    event = AuthorizationEvent(
        order_id=order_id, succeeded=succeeded, from_user=_OPENID, to_user="gh_recorded",
        create_time=int(time.time()),
    )  # fmt: skip
    return events.take_event(conf.outbox().database, account, event)


def _insert(core: Any, bill: Any) -> InsertedBill:
    """Raises what the order meets, and InvalidRequestError for a bad bill."""
    core.body("insertbill", bill)
    order_id = bill["order_id"]
    answer = answers.get(order_id)
    if answer is None and any(each["order_id"] == order_id for each in sent):
        answer = _REPEATED
    if isinstance(answer, NontaxError):
        raise answer
    if answer is not None:
        raise refusal_of(answer, "recorded", "")
    sent.append(dict(bill))
    return InsertedBill(code=f"recorded-{len(sent)}", openid=_OPENID)


class RecordingRun:
    """A run of a `RecordingClient`."""

    error: BaseException | None = None

    def __init__(self, core: Any, bills: "Iterable[Any]") -> None:
        self._core, self._bills, self._count = core, iter(bills), 0
        self._stopped, self._woken = False, threading.Event()

    def __iter__(self) -> "Iterator[Outcome]":
        while group := self._group():
            yield from group

    def _group(self) -> list[Outcome]:
        bill = None
        while bill is None:
            self._woken.clear()
            try:
                bill = None if self._stopped else next(self._bills)
            except StopIteration:
                self._stopped = True
            if self._stopped:
                return []
            if bill is None:  # there is none just now
                self._woken.wait()
        index = self._count
        self._count += 1
        try:
            inserted, error = _insert(self._core, bill), None
        except NontaxError as raised:
            inserted, error = None, raised
        outcome = "inserted" if error is None else error.outcome
        return [Outcome(index, bill, outcome, inserted, error, 1, 0.0, False, False)]

    def collect(self) -> list[Outcome]:
        return list(self)

    def stop(self) -> None:
        self._stopped = True
        self._woken.set()

    def _wake(self) -> None:
        self._woken.set()

    def close(self) -> list[Outcome]:
        return []


class RecordingClient(AccountClient):
    """Records what it is asked to send, and opens no connection. See this module."""

    __slots__ = ()

    def _begin_run(self, bills: "Iterable[Any]", **_: Any) -> Any:
        return RecordingRun(self._core, bills)

    def insert_bills(self, bills: "Iterable[Any]", **_: Any) -> Any:
        return self._begin_run(bills)

    def insert_bill(self, bill: Any) -> InsertedBill:
        return self._call(interfaces.insert_bill(bill))

    def _call(self, request: "Request[T]") -> "T":
        name, payload, make_result = request
        if name == "insertbill":
            inserted: Any = _insert(self._core, payload)
            return inserted
        if name not in _REPLIES:
            raise NotImplementedError(f"{name} cannot be recorded: use the sandbox")
        calls.append((name, payload))
        return make_result(dict(_REPLIES[name]))

    async def _acall(self, request: "Request[T]") -> "T":
        return self._call(request)

    def _fetch_ticket(self, *_: Any) -> Any:
        return Ticket(ticket="recorded", expires_in=7200), 7200.0
