"""The cashier's page and the citizen's."""

from django import forms
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from hospital import billing
from hospital.models import Payment
from nontax.contrib.django.models import Bill
from nontax.contrib.django.words import STATES


class PaymentForm(forms.Form):
    patient = forms.CharField(label="患者姓名", max_length=100)
    yuan = forms.DecimalField(label="金额（元）", min_value=0, decimal_places=2, max_digits=9)


def desk(request):
    """The cashier takes a payment."""
    form = PaymentForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        payment = billing.pay(form.cleaned_data["patient"], int(form.cleaned_data["yuan"] * 100))
        return redirect("citizen", payment.order_id)
    payments = Payment.objects.order_by("-pk")[:20]
    states = dict(
        Bill.objects.filter(order_id__in=[each.order_id for each in payments]).values_list(
            "order_id", "state"
        )
    )
    rows = [(each, STATES.get(states.get(each.order_id, ""), "")) for each in payments]
    return render(request, "hospital/desk.html", {"form": form, "rows": rows})


def citizen(request, order_id):
    """What the citizen sees on the phone after paying."""
    payment = get_object_or_404(Payment, order_id=order_id)
    bill = Bill.objects.get(order_id=order_id)
    page = {"payment": payment, "bill": bill, "state": STATES[bill.state]}
    return render(request, "hospital/citizen.html", page)


def authorise(request, order_id):
    """On to WeChat, and back to the citizen's page."""
    payment = get_object_or_404(Payment, order_id=order_id)
    back = request.build_absolute_uri(reverse("citizen", args=[order_id]))
    return redirect(billing.authorisation_url(payment, back))
