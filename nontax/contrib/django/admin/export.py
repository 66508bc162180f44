"""Bills as a CSV file for Excel and WPS."""

import csv
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from nontax.contrib.django.admin.showing import SEE_NAMES, log, title, yuan
from nontax.contrib.django.models import NO_CODE, Bill, Content
from nontax.contrib.django.words import STATES, say, words
from nontax.sheets.writing import csv_cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = 500


class ExportForm(forms.Form):
    """Whether names stand in it, for who may see them."""

    names = forms.BooleanField(label=words("with names"), required=False)


class _Line:
    """What csv writes to: it gives the line back."""

    def write(self, text: str) -> str:
        return text


@admin.action(description=words("Export as CSV"), permissions=("view",))
def as_csv(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse:
    """All chosen bills. Names are masked unless a user with `view_pii` asks for them."""
    may = request.user.has_perm(SEE_NAMES)
    confirmed = "confirmed" in request.POST
    form = ExportForm(request.POST if confirmed else None)
    if not confirmed:
        context = {
            **model_admin.admin_site.each_context(request),
            "title": words("Export as CSV"),
            "explained": words("The file is made of the chosen bills."),
            "form": form if may else None,
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "across": request.POST.get("select_across", "0"),
            "checkbox": ACTION_CHECKBOX_NAME,
            "opts": model_admin.model._meta,
            "action": "as_csv",
        }
        return TemplateResponse(request, "admin/nontax/bill/confirm.html", context)
    whole = may and form.is_valid() and form.cleaned_data["names"]
    log(request, f"CSV {'with' if whole else 'without'} names: {_filters(request)}")
    reply = StreamingHttpResponse(
        _lines(queryset, whole=whole), content_type="text/csv; charset=utf-8"
    )
    now = timezone.localtime()
    reply["Content-Disposition"] = f'attachment; filename="bills-{now:%Y%m%d-%H%M%S}.csv"'
    reply["Cache-Control"] = "no-store"
    return reply


def _filters(request: HttpRequest) -> str:
    chosen = len(request.POST.getlist(ACTION_CHECKBOX_NAME))
    across = request.POST.get("select_across") == "1"
    return f"all of ?{request.GET.urlencode()}" if across else f"{chosen} chosen"


def _lines(bills: Any, *, whole: bool) -> "Iterator[str]":
    write = csv.writer(_Line()).writerow
    yield "\ufeff"
    yield write(
        [
            say("order"), say("unit's AppID"), say("account"), say("state"), say("payer"),
            say("amount (yuan)"), say("bill code"), say("bill number"), say("code of the card"),
            say("error code"), say("handed in"), say("changed"),
        ]
    )  # fmt: skip
    last = 0
    while True:  # by pages of the key: no cursor stays open, and none has to count
        page = list(bills.order_by("pk").filter(pk__gt=last)[:_PAGE])
        if not page:
            return
        last = page[-1].pk
        names = dict(
            Content.objects.using(bills.db)
            .filter(pk__in=[bill.pk for bill in page])
            .values_list("pk", "title")
        )
        for bill in page:
            row = _row(bill, title(names.get(bill.pk, ""), whole=whole))
            yield write([csv_cell(cell) for cell in row])


def _row(bill: Bill, payer: str) -> list[str]:
    return [
        bill.order_id, bill.appid, bill.account, str(STATES[bill.state]), payer, yuan(bill.fee),
        bill.billing_no, bill.billing_code, "" if bill.code == NO_CODE else bill.code,
        str(bill.errcode or ""), f"{timezone.localtime(bill.created_at):%F %T}",
        f"{timezone.localtime(bill.changed_at):%F %T}",
    ]  # fmt: skip
