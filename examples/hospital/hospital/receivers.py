"""What the hospital does when a bill has come to something."""

from django.dispatch import receiver

from hospital.models import Payment
from nontax.contrib.django.models import Bill
from nontax.contrib.django.signals import bill_settled


@receiver(bill_settled)
def note_card_code(appid, order_id, state, **_):
    """Keep the card's code: a bill that is cancelled later (冲红) needs it."""
    if state == "inserted":
        bill = Bill.objects.get(appid=appid, order_id=order_id)
        Payment.objects.filter(order_id=order_id).update(card_code=bill.code)
