"""What people order for bills. Each order has a page on which it is confirmed and signed."""

import time
from datetime import timedelta
from typing import Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from nontax.contrib.django import conf
from nontax.contrib.django.admin.showing import log, yuan
from nontax.contrib.django.models import Attempt, Bill
from nontax.contrib.django.resending import MOST as MOST_RESENT
from nontax.contrib.django.resending import resend
from nontax.contrib.django.store import OutboxStore
from nontax.contrib.django.words import STATES, say, words
from nontax.delivery.states import State
from nontax.delivery.store import Key
from nontax.errors import NontaxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A page has one field for each, and Django takes a thousand.
_MOST = 500
# A page that takes longer is cut off by many servers; what is left is resent by another one.
_SECONDS = 20.0
_PAGE = "admin/nontax/bill/confirm.html"


class Signed(NamedTuple):
    """Who orders it, and why."""

    by: str
    checked_by: str
    note: str
    code: str = ""


class SignedForm(forms.Form):
    """What a person signs with. The name is the user's."""

    note = forms.CharField(
        label=words("note"), max_length=1000, widget=forms.Textarea(attrs={"rows": 3, "cols": 60})
    )
    checked_by = forms.CharField(label=words("checked by"), max_length=150, required=False)
    code = forms.CharField(label=words("code of the card"), max_length=255, required=False)

    def __init__(self, *args: Any, with_code: bool = False, **named: Any) -> None:
        super().__init__(*args, **named)
        if not with_code:
            del self.fields["code"]

    def signed(self, request: HttpRequest) -> Signed:
        return Signed(by=request.user.get_username()[:150], **self.cleaned_data)


class Order(NamedTuple):
    """One kind of order.

    explained: what it does. states: of the bills that it is for. carry_out: it, for one bill;
    raises ValueError.
    """

    name: str
    explained: Any
    states: tuple[State, ...]
    carry_out: "Callable[[OutboxStore, Key, Signed], Any]"
    with_code: bool = False


def _inserted(store: OutboxStore, key: Key, signed: Signed) -> None:
    store.resolve(key, "inserted", **signed._asdict())


def _not_taken(store: OutboxStore, key: Key, signed: Signed) -> None:
    store.resolve(key, "not_taken", by=signed.by, checked_by=signed.checked_by, note=signed.note)


def _retry(store: OutboxStore, key: Key, signed: Signed) -> None:
    store.retry(key, by=signed.by, checked_by=signed.checked_by, note=signed.note)


def _withdraw(store: OutboxStore, key: Key, signed: Signed) -> None:
    store.withdraw(key, by=signed.by, note=signed.note)


def _action(title: Any, permission: str, order: Order) -> Any:
    @admin.action(description=title, permissions=(permission,))
    def act(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        bills = _taken(request, queryset, _MOST)
        if bills is None:
            return None
        confirmed = "confirmed" in request.POST
        form = SignedForm(
            request.POST if confirmed else None, with_code=order.with_code and len(bills) == 1
        )
        if not confirmed or not form.is_valid():
            return _page(model_admin, request, title, order.explained, bills, order.states, form,
                         action=order.name)  # fmt: skip
        _carry_out(request, order, bills, form.signed(request))
        return None

    act.__name__ = order.name
    return act


def _taken(request: HttpRequest, queryset: Any, most: int) -> "list[Bill] | None":
    bills = list(queryset.order_by("pk")[: most + 1])
    if len(bills) > most:
        messages.error(request, say("Choose at most {count} bills at a time.", count=most))
        return None
    return bills


def _carry_out(request: HttpRequest, order: Order, bills: "list[Bill]", signed: Signed) -> None:
    done = []
    for bill in bills:
        store = OutboxStore(bill.account, using=conf.outbox().database)
        try:
            if bill.state not in order.states:
                raise ValueError(say("the bill is {state}", state=STATES[bill.state]))
            order.carry_out(store, Key(bill.appid, bill.order_id), signed)
        except ValueError as error:
            messages.error(request, f"{bill.order_id}: {error}")
        else:
            done.append(bill)
    if done:
        log(request, f"{order.name}: {signed.note}", done)
        messages.success(request, say("{count} bills: done", count=len(done)))


def _page(
    model_admin: Any,
    request: HttpRequest,
    title: Any,
    explained: Any,
    bills: "list[Bill]",
    states: tuple[State, ...],
    form: forms.Form,
    **more: Any,
) -> HttpResponse:
    rows = [
        {
            "pk": bill.pk,
            "order_id": bill.order_id,
            "number": f"{bill.billing_no} {bill.billing_code}",
            "amount": yuan(bill.fee),
            "state": STATES[bill.state],
            "fits": bill.state in states,
        }
        for bill in bills
    ]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "explained": explained,
        "rows": rows,
        "form": form,
        "opts": model_admin.model._meta,
        "checkbox": ACTION_CHECKBOX_NAME,
        **more,
    }
    return TemplateResponse(request, _PAGE, context)


# Resending


class RestForm(SignedForm):
    """The rest of a resend: who sees the first answer and goes on types how many there are."""

    count = forms.IntegerField(label=words("Type the number of bills"))
    first = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, expected: int, **named: Any) -> None:
        super().__init__(*args, **named)
        self._expected = expected
        for name in ("note", "checked_by"):
            self.fields[name].widget = forms.HiddenInput()

    def clean_count(self) -> int:
        count: int = self.cleaned_data["count"]
        if count != self._expected:
            raise forms.ValidationError(say("It is {count}.", count=self._expected))
        return count

    def signed(self, request: HttpRequest) -> Signed:
        data = {name: self.cleaned_data[name] for name in ("note", "checked_by")}
        return Signed(by=request.user.get_username()[:150], **data)


_RESEND = words("Resend, taking a duplicate for delivered")
_FIRST = words(
    "The first bill is sent again alone, and WeChat's answer is shown. If WeChat answers that it "
    "has the bill, it counts as delivered. How WeChat answers a repeat has been seen by nobody yet."
)
_REST = words("Look at the answer. If it is not what you expect, stop here.")


@admin.action(description=_RESEND, permissions=("resend",))
def resend_in_doubt(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
    """The first one alone and its answer shown; then the rest, after their number is typed."""
    bills = _taken(request, queryset.filter(state="in_doubt"), MOST_RESENT)
    if not bills:
        if bills is not None:
            messages.error(request, say("None of these bills is in doubt."))
        return None
    action = {"action": "resend_in_doubt"}
    states: tuple[State, ...] = ("in_doubt",)
    if request.POST.get("confirmed") == "rest":
        rest = RestForm(request.POST, expected=len(bills))
        if rest.is_valid() and _was_first(request, rest.cleaned_data["first"]):
            _resend(request, bills, rest.signed(request))
            return None
        return _page(model_admin, request, _RESEND, _REST, bills, states, rest, stage="rest",
                     **action)  # fmt: skip
    form = SignedForm(request.POST if "confirmed" in request.POST else None)
    if not form.is_valid():
        return _page(model_admin, request, _RESEND, _FIRST, bills, states, form, **action)
    signed = form.signed(request)
    goes_on = _resend(request, bills[:1], signed)
    if not goes_on or len(bills) == 1:
        return None
    initial = {"first": bills[0].pk, "note": signed.note, "checked_by": signed.checked_by}
    rest = RestForm(expected=len(bills) - 1, initial=initial)
    return _page(model_admin, request, _RESEND, _REST, bills[1:], states, rest, stage="rest",
                 **action)  # fmt: skip


def _was_first(request: HttpRequest, pk: int) -> bool:
    """Whether this person has resent that bill just now, and seen its answer."""
    since = timezone.now() - timedelta(hours=1)
    signed = Attempt.objects.using(conf.outbox().database).filter(
        bill=pk, signed=1, signed_by=request.user.get_username()[:150], ended=1
    )
    return bool(signed.filter(began_at__gte=since).exists())


def _resend(request: HttpRequest, bills: "list[Bill]", signed: Signed) -> bool:
    """Resend them, and tell each answer. Whether others can follow."""
    until = time.monotonic() + _SECONDS
    for place, bill in enumerate(bills):
        if time.monotonic() > until:
            left = len(bills) - place
            messages.warning(request, say("{count} bills are left: order it again.", count=left))
            return True
        try:
            delivered, goes_on = resend(
                conf.outbox().database, bill, by=signed.by, checked_by=signed.checked_by,
                note=signed.note,
            )  # fmt: skip
        except (OSError, ValueError, ImproperlyConfigured, NontaxError) as error:
            messages.error(request, f"{bill.order_id}: {error}")
            if isinstance(error, ValueError) and not isinstance(error, NontaxError):
                continue
            return False
        log(request, f"resend: {signed.note}", [bill])
        refused = delivered.outcome.error
        answer = say("WeChat has taken it") if refused is None else refused.reason
        told = messages.success if delivered.state != "in_doubt" else messages.warning
        told(request, f"{bill.order_id}: {answer} → {STATES[delivered.state]}")
        if not goes_on:
            messages.error(request, say("Stopped: every other bill would meet the same."))
            return False
    return True


ACTIONS = (
    _action(
        words("Settle: it is in the wallet"),
        "resolve",
        Order(
            "settle_as_inserted",
            words("You have found out that these bills are in the wallet. Nothing is sent."),
            ("in_doubt",), _inserted, with_code=True,
        ),
    ),
    _action(
        words("Settle: WeChat has not taken it"),
        "resolve",
        Order(
            "settle_as_not_taken",
            words(
                "You have found out that these bills are not in the wallet. They wait again, and "
                "are sent."
            ),
            ("in_doubt",), _not_taken,
        ),
    ),
    resend_in_doubt,
    _action(
        words("Retry what was rejected"),
        "resolve",
        Order(
            "retry",
            words("These bills wait again, and are sent as they are."),
            ("rejected", "not_sent", "withdrawn"), _retry,
        ),
    ),
    _action(
        words("Withdraw"),
        "resolve",
        Order(
            "withdraw",
            words("These bills are not sent. They can be retried later."),
            ("held", "waiting"), _withdraw,
        ),
    ),
)  # fmt: skip
