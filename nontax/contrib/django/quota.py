"""What is left of WeChat's quotas: of the interfaces that the outbox calls, for each account."""

from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

from nontax.contrib.django import accounts, conf
from nontax.contrib.django.metrics import Figure
from nontax.contrib.django.models import Pace
from nontax.errors import NontaxError, WeChatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BUREAU = ("/nontax/insertbill", "/card/invoice/platform/setpdf")
_UNIT = ("/card/invoice/getauthdata",)
_PATHS = {"bureau": _BUREAU, "unit": _UNIT, "both": _BUREAU + _UNIT}
# About a path; of others WeChat may say something.
_UNKNOWN, _NOT_ITS = 76021, 76022


class Left(NamedTuple):
    """Calls of a day. None: WeChat does not say. trouble: why nothing is known, or ""."""

    account: str
    interface: str
    limit: int | None = None
    used: int | None = None
    remain: int | None = None
    trouble: str = ""

    def figures(self) -> "Iterator[Figure]":
        """What is known."""
        labels = {"account": self.account, "interface": self.interface}
        for name in ("limit", "used", "remain"):
            value = getattr(self, name)
            if value is not None:
                yield Figure(f"nontax_quota_{name}", labels, value)


def look_up(using: str) -> "Iterator[Left]":
    """Ask WeChat, once for each interface; if an account cannot be asked, no more of it."""
    # A function that has the accounts cannot be asked for their names.
    known = conf.aliases() or Pace.objects.using(using).order_by("account").values_list(
        "account", flat=True
    ).distinct()  # fmt: skip
    for alias in known:
        try:
            settings = conf.account(alias)
            client = accounts.client(alias)
        except (ImproperlyConfigured, ValueError) as error:
            yield Left(alias, "", trouble=str(error))
            continue
        role = settings.get("ROLE")
        del settings
        for path in _PATHS[role or "both"]:
            interface = path.rpartition("/")[2]
            try:
                found = client.get_quota(path)
            except NontaxError as error:
                errcode = error.errcode if isinstance(error, WeChatError) else 0
                # Nobody has said what the account is for: this is not its interface.
                if errcode != _NOT_ITS or role is not None:
                    yield Left(alias, interface, trouble=str(error))
                if errcode not in (_UNKNOWN, _NOT_ITS):
                    break
            else:
                yield Left(alias, interface, found.daily_limit, found.used, found.remain)
