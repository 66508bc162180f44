"""How a bill's values are shown, and who sees names."""

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest

from nontax.contrib.django.models import Bill
from nontax.contrib.django.words import is_chinese
from nontax.errcodes import errcode
from nontax.language import words as catalogue
from nontax.sheets.masking import mask_name

SEE_NAMES = "nontax.view_pii"


def yuan(fen: int) -> str:
    """An amount as people write it: 1234.50."""
    return f"{fen // 100}.{fen % 100:02}" if fen >= 0 else f"-{yuan(-fen)}"


def mask_openid(openid: str) -> str:
    """The first and the last four characters."""
    return f"{openid[:4]}…{openid[-4:]}" if len(openid) > 12 else "…" if openid else ""


def title(text: str, *, whole: bool) -> str:
    """A payer's name, or its first character."""
    return text if whole else mask_name(text)


def advice(code: int) -> str:
    """What one of WeChat's error codes means, in the current language."""
    if not code:
        return ""
    text = catalogue("zh" if is_chinese() else "en").gettext(errcode(code).advice)
    return f"{code} {text}"


def log(request: HttpRequest, message: str, bills: "list[Bill] | None" = None) -> None:
    """Write into the admin's log who has done what to which bills; None: to no single one."""
    kind = ContentType.objects.get_for_model(Bill).pk
    about: list[dict[str, Any]] = [{"object_id": None, "object_repr": "CSV"}]
    if bills is not None:
        about = [{"object_id": bill.pk, "object_repr": str(bill)[:200]} for bill in bills]
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=request.user.pk, content_type_id=kind, action_flag=CHANGE,
            change_message=message, **each,
        )
        for each in about
    )  # fmt: skip
