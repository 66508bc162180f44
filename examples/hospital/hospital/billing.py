"""A payment becomes a bill: in one transaction, or not at all."""

import secrets

from django.conf import settings
from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone

from hospital.models import Payment
from nontax.contrib.django import accounts, outbox

BILL_CODE = "11060123"  # 票据代码


def issue(patient, fen):
    """What the fiscal platform (财政电子票据平台) does: the bill's number and its PDF."""
    number = f"{secrets.randbelow(10**10):010}"
    return number, f"%PDF-1.7\n% {BILL_CODE} {number} {fen}\n%%EOF\n".encode()


def pay(patient, fen):
    """Take a payment. Its bill is sent when the citizen has authorised the order."""
    number, pdf = issue(patient, fen)
    with transaction.atomic():
        payment = Payment(
            order_id=f"H{timezone.localtime():%Y%m%d}-{number}",
            patient=patient,
            fen=fen,
            paid_at=timezone.now(),
            bill_number=number,
        )
        payment.pdf.save(f"{number}.pdf", ContentFile(pdf), save=False)
        payment.save()
        bill = {
            "order_id": payment.order_id,
            "card_id": settings.CARD_ID,
            "appid": settings.NONTAX["ACCOUNTS"]["unit"]["APPID"],
            "fee": payment.fen,
            "title": payment.patient,
            "billing_time": int(payment.paid_at.timestamp()),
            "billing_no": BILL_CODE,
            "billing_code": payment.bill_number,
        }
        outbox.enqueue(bill, account="bureau", pdf=payment.pdf, when="authorised")
    return payment


def authorisation_url(payment, back_to):
    """WeChat's page on which the citizen authorises the order."""
    found = accounts.client("unit").get_bill_auth_url(
        s_pappid=settings.NONTAX["ACCOUNTS"]["bureau"]["S_PAPPID"],
        order_id=payment.order_id,
        money=payment.fen,
        redirect_url=back_to,
    )
    return found.auth_url
