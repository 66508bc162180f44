"""The setting NONTAX, read anew each time: tests override settings."""

import re
from difflib import get_close_matches
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ACCOUNT_KEYS = (
    "APPID",
    "SECRET",
    "TOKEN_SOURCE",
    "BASE_URL",
    "FALLBACK_BASE_URLS",
    "CA_FILE",
    "PROXY",
    "TIMEOUT",
    "EVENTS",
    "ROLE",
    "S_PAPPID",
    "CACHE",
    "CLIENT",
)
RINGS = ("celery", "tasks")
ROLES = ("bureau", "unit", "both")
EVENT_KEYS = ("TOKEN", "AES_KEY", "FORWARD_KEY")
SHORTEST_KEY = 16
# Seconds that lie between the last bill's latest answer and the end of its lease.
MARGIN = 10.0
# And between a bill's own time and its lease.
SPARE = 30.0
_SECRET = re.compile("[0-9a-f]{32}")


class SettingError(ImproperlyConfigured):
    """A setting that cannot be. check: the id of the system check that says so."""

    def __init__(self, text: str, check: str = "E002") -> None:
        super().__init__(text)
        self.check = f"nontax.{check}"


class Outbox(NamedTuple):
    """NONTAX["OUTBOX"].

    database: alias. window: bills of each account and relay that are written down as being sent,
    half of them on the wire. lease: seconds for which a reserved bill belongs to its relay.
    rate: bills a second for each account, all relays together,
    or None; unit_rate: the same for each unit, where its row says nothing else.
    spool: folder for answers that the database cannot take when a relay has to end, or None.
    hold_days: after which a bill is withdrawn whose order nobody has authorised. visible: function,
    or its dotted path, that takes an admin's request and returns a Q: which bills its user sees.
    ring: who is told when a bill waits, "celery", "tasks" (Django's) or None. keep_content_days:
    after which relays remove names, openids and contents of settled bills, or None.
    """

    database: str = "default"
    window: int = 128
    lease: float = 90.0
    rate: float | None = None
    unit_rate: float | None = None
    spool: str | None = None
    hold_days: float = 90
    visible: Any = None
    ring: str | None = None
    keep_content_days: float | None = None


def _refuse_unknown(where: str, given: "Iterable[str]", known: "Iterable[str]") -> None:
    for name in given:
        if name not in known:
            near = get_close_matches(str(name), list(known), 1)
            hint = f"; do you mean {near[0]}?" if near else ""
            raise SettingError(f"{where} has no {name!r}{hint}", "E003")


def _nontax() -> "dict[str, Any]":
    found = getattr(settings, "NONTAX", None)
    if not isinstance(found, dict):
        raise SettingError('set NONTAX = {"ACCOUNTS": {"bureau": {"APPID": …}}}', "E001")
    _refuse_unknown("NONTAX", found, ("ACCOUNTS", "OUTBOX"))
    return found


def outbox() -> Outbox:
    """Raises ImproperlyConfigured."""
    given = _nontax().get("OUTBOX", {})
    names = {name.upper(): name for name in Outbox._fields}
    _refuse_unknown('NONTAX["OUTBOX"]', given, names)
    made = Outbox(**{names[name]: value for name, value in given.items()})
    for name in ("rate", "unit_rate", "keep_content_days"):
        value = getattr(made, name)
        if value is not None and not (isinstance(value, (int, float)) and value > 0):
            raise SettingError(f'NONTAX["OUTBOX"][{name.upper()!r}] must be above 0', "E003")
    if made.ring not in (None, *RINGS):
        raise SettingError(f'NONTAX["OUTBOX"]["RING"] must be one of {", ".join(RINGS)}', "E003")
    return made


def visible() -> Any:
    """The function of OUTBOX.VISIBLE, or None."""
    found = outbox().visible
    return import_string(found) if isinstance(found, str) else found


def account(alias: str) -> "dict[str, Any]":
    """An account's settings. Raises ImproperlyConfigured, which shows no secret."""
    found = _ask(alias)
    if not isinstance(found, dict):
        raise SettingError(f'NONTAX["ACCOUNTS"] has no account {alias!r}')
    where = f'NONTAX["ACCOUNTS"][{alias!r}]'
    _refuse_unknown(where, found, ACCOUNT_KEYS)
    if not found.get("APPID") or not (found.get("SECRET") or found.get("TOKEN_SOURCE")):
        raise SettingError(f"{where} needs APPID, and SECRET or TOKEN_SOURCE")
    if _SECRET.fullmatch(str(found["APPID"])):
        raise SettingError(f"{where}['APPID'] has the form of an AppSecret: are the two swapped?")
    if "CACHE" in found and not found.get("SECRET"):
        raise SettingError(f"{where} needs SECRET for CACHE: what is shared is sealed")
    role = found.get("ROLE", "both")
    if role not in ROLES:
        near = get_close_matches(str(role), ROLES, 1)
        hint = f"; do you mean {near[0]!r}?" if near else ""
        raise SettingError(f"{where}['ROLE'] must be one of {', '.join(ROLES)}{hint}", "E003")
    if "EVENTS" in found:
        _refuse_unknown(f"{where}['EVENTS']", found["EVENTS"], EVENT_KEYS)
        token, key = found["EVENTS"].get("TOKEN"), found["EVENTS"].get("FORWARD_KEY")
        if not token and not key:
            raise SettingError(f"{where}['EVENTS'] needs TOKEN or FORWARD_KEY")
        if key and len(key) < SHORTEST_KEY:
            raise SettingError(
                f"{where}['EVENTS']['FORWARD_KEY'] needs {SHORTEST_KEY} characters or more"
            )
    if outbox().lease < timeout_of(found) + SPARE:
        raise SettingError(
            f'NONTAX["OUTBOX"]["LEASE"] must be {SPARE:.0f} seconds longer than the TIMEOUT of '
            f"{where}", "E007",
        )  # fmt: skip
    return found


def _ask(alias: str) -> Any:
    accounts = _nontax().get("ACCOUNTS", {})
    if isinstance(accounts, str):
        accounts = import_string(accounts)
    return accounts(alias) if callable(accounts) else accounts.get(alias)


def aliases() -> list[str]:
    """The accounts that the settings name; none if they are asked for by a function."""
    accounts = _nontax().get("ACCOUNTS", {})
    return list(accounts) if isinstance(accounts, dict) else []


def unit_of(appid: str) -> str | None:
    """The alias of the collecting unit with this AppID, or None.

    A function that has the accounts is asked for the AppID itself.
    """
    for alias in aliases() or [appid]:
        found = _ask(alias)
        is_its = isinstance(found, dict) and found.get("APPID") == appid
        if is_its and found.get("ROLE", "both") != "bureau":
            return alias
    return None


def timeout_of(found: "dict[str, Any]") -> float:
    """Seconds that one bill may take."""
    return float(found.get("TIMEOUT", 30.0))
