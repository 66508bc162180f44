"""Bills: shown, never edited. What people may order stands in actions.py."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse

from nontax.contrib.django import conf
from nontax.contrib.django.admin import actions, export, summary
from nontax.contrib.django.admin.counting import QuickPaginator
from nontax.contrib.django.admin.filters import (
    AccountFilter,
    DayFilter,
    ErrcodeFilter,
    StateFilter,
    UnitFilter,
)
from nontax.contrib.django.admin.inlines import AttemptInline, EvidenceInline
from nontax.contrib.django.admin.showing import SEE_NAMES, advice, log, title, yuan
from nontax.contrib.django.models import NO_CODE, Bill, Content
from nontax.contrib.django.searching import search
from nontax.contrib.django.words import STATES, words

SHOW = "names"


@admin.register(Bill)
class BillAdmin(admin.ModelAdmin):
    """All pages show what OUTBOX.VISIBLE lets the user see, and no names without `view_pii`."""

    list_display = (
        "order_id", "state_shown", "account", "amount", "billing_no", "billing_code",
        "code_of_answer", "created_at", "changed_at",
    )  # fmt: skip
    list_filter = (StateFilter, AccountFilter, UnitFilter, ErrcodeFilter, DayFilter)
    search_fields = ("order_id",)  # shows the box; get_search_results() does it
    search_help_text = words("an order, a bill number, or bill code and number")
    # Sorting by another column would read the whole table.
    ordering = ("-pk",)
    sortable_by = ()
    paginator = QuickPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    fields = readonly_fields = (
        "order_id", "appid", "account", "state_shown", "payer", "amount", "billing_no",
        "billing_code", "card_id", "card_code", "refusal", "attempt", "priority", "created_at",
        "changed_at",
    )  # fmt: skip
    inlines = (AttemptInline, EvidenceInline)
    actions = (*actions.ACTIONS, export.as_csv)

    # Who may do what

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        """Bills come from enqueue()."""
        return False

    def has_change_permission(self, request: HttpRequest, *_: Any) -> bool:
        """Nobody's: a bill's row changes by the rules of delivery alone."""
        return False

    def has_delete_permission(self, request: HttpRequest, *_: Any) -> bool:
        """Nobody's: a bill whose key is gone could be sent again."""
        return False

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("nontax.resolve_bill"))

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("nontax.resend_bill"))

    # Which bills

    def get_queryset(self, request: HttpRequest) -> Any:
        """The bills that this user may see."""
        settings = conf.outbox()
        rows = super().get_queryset(request).using(settings.database)
        visible = conf.visible()
        return rows if visible is None else rows.filter(visible(request))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        """By exactly this order or number: both have an index."""
        return search(queryset, search_term), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            found.shows_names = _shows_names(request)
        return found

    # What is shown

    @admin.display(description=words("state"))
    def state_shown(self, bill: Bill) -> Any:
        return STATES[bill.state]

    @admin.display(description=words("amount (yuan)"))
    def amount(self, bill: Bill) -> str:
        return yuan(bill.fee)

    @admin.display(description=words("WeChat's answer"))
    def refusal(self, bill: Bill) -> str:
        return advice(bill.errcode)

    @admin.display(description=words("error code"))
    def code_of_answer(self, bill: Bill) -> str:
        return str(bill.errcode or "")

    @admin.display(description=words("code of the card"))
    def card_code(self, bill: Bill) -> str:
        return "" if bill.code == NO_CODE else bill.code

    @admin.display(description=words("payer"))
    def payer(self, bill: Bill) -> str:
        content = Content.objects.using(bill._state.db).filter(pk=bill.pk).first()
        whole = getattr(bill, "shows_names", False)
        return "" if content is None else title(content.title, whole=whole)

    # The pages

    def get_urls(self) -> Any:
        """A resend is committed before it is sent: not inside the request's transaction."""
        for alias in connections:
            transaction.non_atomic_requests(alias)(type(self).changelist_view)
        return super().get_urls()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {"summary": summary.lines(self.get_queryset(request)), **(extra_context or {})}
        return super().changelist_view(request, context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """`?names=1` shows names and openids to those who may see them, and is logged."""
        may = request.user.has_perm(SEE_NAMES)
        if _shows_names(request):
            bill = self.get_object(request, unquote(object_id))
            if bill is not None and self.has_view_permission(request, bill):
                log(request, "names shown", [bill])
        context = {"may_see_names": may and not _shows_names(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)


def _shows_names(request: HttpRequest) -> bool:
    return SHOW in request.GET and bool(request.user.has_perm(SEE_NAMES))
