"""What is said to people, in Django's current language: Chinese, or English as it is written.

The catalogue, locale/zh_Hans/LC_MESSAGES/django.po, is read as it is, as nontax.language does it:
no .mo file is built.
"""

from functools import cache
from pathlib import Path

from django.utils.functional import lazy
from django.utils.translation import get_language

from nontax.language import Catalogue, read_po

PO = Path(__file__).parent / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"


@cache
def catalogue() -> Catalogue:
    """The Chinese texts."""
    return Catalogue(dict(read_po(PO.read_text("utf-8"))))


def is_chinese() -> bool:
    """Whether people read Chinese now."""
    return (get_language() or "").startswith("zh")


def say(text: str, **values: object) -> str:
    """The text in the current language, with its values."""
    if is_chinese():
        text = catalogue().gettext(text)
    return text.format(**values) if values else text


# The same, not before it is shown.
words = lazy(say, str)

STATES = {
    "held": words("waits for the citizen"),
    "waiting": words("waiting"),
    "sending": words("sending"),
    "inserted": words("in the wallet"),
    "rejected": words("rejected by WeChat"),
    "not_sent": words("not sent"),
    "in_doubt": words("in doubt"),
    "withdrawn": words("withdrawn"),
}

OUTCOMES = {
    "inserted": STATES["inserted"],
    "rejected": STATES["rejected"],
    "not_sent": STATES["not_sent"],
    "in_doubt": STATES["in_doubt"],
    "given_up": words("no answer came"),
    "": words("under way"),
}
# Of evidence: where it comes from, and what it says.
KINDS = {
    "person": words("a person"),
    "event": words("WeChat's push"),
    "getauthdata": words("asked WeChat"),
    "get_rid_info": words("WeChat's record"),
    "reject_bill": words("our own refusal"),
    "late answer": words("a late answer"),
    "lease ended": words("the lease ended"),
    "resend": words("resend"),
    "withdrawn": words("withdrawn"),
}
VERDICTS = {
    "inserted": STATES["inserted"],
    "in_doubt": STATES["in_doubt"],
    "withdrawn": STATES["withdrawn"],
    "authorised": words("authorised"),
    "not_taken": words("not taken"),
    "ordered": words("ordered"),
    "retry": words("to be sent again"),
    "resend": words("resend"),
    "done": words("done"),
    "none": words("changes nothing"),
    "shown": words("see the detail"),
}
