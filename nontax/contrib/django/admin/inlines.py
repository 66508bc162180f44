"""A bill's attempts and evidence, below it."""

from typing import Any

from django.contrib import admin
from django.db.models import Value
from django.http import HttpRequest

from nontax.contrib.django import conf
from nontax.contrib.django.admin.showing import SEE_NAMES, advice, mask_openid
from nontax.contrib.django.models import Attempt, Evidence
from nontax.contrib.django.words import KINDS, OUTCOMES, VERDICTS, words


class _Shown(admin.TabularInline):
    """Rows of a bill that may be seen; never edited."""

    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, *_: Any) -> bool:
        """Who may see the bill."""
        return True

    def get_queryset(self, request: HttpRequest) -> Any:
        names = "names" in request.GET and request.user.has_perm(SEE_NAMES)
        rows = super().get_queryset(request).using(conf.outbox().database)
        return rows.annotate(shows_names=Value(bool(names))).order_by("pk")


class AttemptInline(_Shown):
    """What was sent, when, and what WeChat answered."""

    model = Attempt
    fields = readonly_fields = (
        "number", "began_at", "changed_at", "came_to", "answer", "rid", "reason", "signed_by",
        "citizen", "worker",
    )  # fmt: skip

    @admin.display(description=words("outcome"))
    def came_to(self, attempt: Attempt) -> Any:
        return OUTCOMES.get(attempt.outcome, attempt.outcome)

    @admin.display(description=words("WeChat's answer"))
    def answer(self, attempt: Attempt) -> str:
        return advice(attempt.errcode)

    @admin.display(description=words("openid"))
    def citizen(self, attempt: Any) -> str:
        openid: str = attempt.openid
        return openid if attempt.shows_names else mask_openid(openid)


class EvidenceInline(_Shown):
    """What was learned of it besides, and from whom."""

    model = Evidence
    fields = readonly_fields = ("at", "source", "says", "who", "checked_by", "note", "detail")

    @admin.display(description=words("kind"))
    def source(self, evidence: Evidence) -> Any:
        return KINDS.get(evidence.kind, evidence.kind)

    @admin.display(description=words("verdict"))
    def says(self, evidence: Evidence) -> Any:
        return VERDICTS.get(evidence.verdict, evidence.verdict)
