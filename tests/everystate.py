"""An outbox with a bill in each state."""

from bills import bill

from nontax.contrib.django import outbox
from nontax.contrib.django.models import Bill
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.states import STATES, Answer
from nontax.delivery.store import Key


def put_one_in_each_state() -> dict[str, str]:
    """The order of each, by its state."""
    orders = {str(state): f"of-{state}" for state in STATES}
    store = OutboxStore("bureau", using="outbox")
    answers = {
        "inserted": Answer("inserted", code="C1", openid="o1"),
        "rejected": Answer("rejected", 72056),
        "in_doubt": Answer("in_doubt", reason="timeout"),
        "not_sent": Answer("rejected", 40073),
        "sending": None,
    }
    for state, answer in answers.items():
        outbox.enqueue(bill(orders[state]), account="bureau", durable=False)
        (claim,) = store.reserve(1).claims
        if answer is not None:
            store.settle([(claim, answer)])
    # No rule of the outbox leads there, but its tables know it.
    Bill.objects.using("outbox").filter(order_id="of-not_sent").update(state="not_sent")
    outbox.enqueue(bill(orders["held"]), account="bureau", durable=False, when="authorised")
    withdrawn = outbox.enqueue(bill(orders["withdrawn"]), account="bureau", durable=False)
    store.withdraw(Key(withdrawn.appid, withdrawn.order_id), by="王", note="refund")
    outbox.enqueue(bill(orders["waiting"]), account="bureau", durable=False)
    found = dict(Bill.objects.using("outbox").values_list("state", "order_id"))
    assert found == orders
    return orders
