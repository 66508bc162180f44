"""WeChat accounts: AppID, AppSecret, access tokens, IP list, quotas, permissions, push settings."""

import base64
import ipaddress
import re
import secrets
import threading
from collections.abc import Collection, Iterable
from typing import Literal, get_args
from urllib.parse import urlsplit

from .clock import Clock
from .errcodes import RefusalError
from .quotas import Quotas
from .tokens import Tickets, Tokens

Role = Literal["bureau", "unit"]
PushFormat = Literal["xml", "json"]

_PUSH_URL = re.compile(r"https?://[!-~]+")
_SECRET = re.compile(r"[0-9a-f]{32}")


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(entry, strict=False)


def _plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; of an IPv4 one that came to an IPv6 socket, that one."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


class Account:
    """One WeChat account. Made by `Sandbox.add_account`; two are there from the start.

    Settings may be changed at any time and from any thread; they apply to the next request.

    Attributes:
        name: str, what the sandbox's pages call it.
        roles: frozenset of "bureau" (finance bureau) and "unit" (collecting unit).
        appid, secret: str.
        gh_id: str, the account's id in events (`ToUserName`).
        s_pappid: str, what `seturl` answers for this account.
        permissions: set of paths that the account may call; others answer 48001.
        daily_quotas, minute_quotas: dict of path to calls per day and per minute (45009, 45011).
        push_token: str, the "Token" that pushes are signed with.
    """

    def __init__(
        self,
        name: str,
        *,
        roles: Iterable[Role],
        clock: Clock,
        permissions: Iterable[str],
        daily_quotas: dict[str, int],
        minute_quotas: dict[str, int],
        appid: str | None = None,
        secret: str | None = None,
    ) -> None:
        self.name = name
        self.roles = frozenset(roles)
        self.appid = appid if appid is not None else f"wx{secrets.token_hex(8)}"
        self.secret = secret if secret is not None else secrets.token_hex(16)
        self.gh_id = f"gh_{secrets.token_hex(6)}"
        # As seen with real ones: it begins with the AppID in base64 (section 3.3).
        prefix = base64.urlsafe_b64encode(self.appid.encode()).decode("ascii").rstrip("=")
        self.s_pappid = f"{prefix}_{secrets.token_urlsafe(18)}"
        self.permissions = set(permissions)
        self._ip_list: tuple[str, ...] | None = None
        self.push_token = secrets.token_hex(8)
        self._push_url: str | None = None
        self._push_format: PushFormat = "xml"
        self._push_aes_key: str | None = None
        self.quotas = Quotas(clock, daily_quotas, minute_quotas)
        self.plain_tokens = Tokens(clock)
        self.plain_tokens.issue()
        self.stable_tokens = Tokens(clock)
        self.tickets = Tickets(clock)

    def __repr__(self) -> str:
        return f"<Account {self.name} {self.appid}>"

    @property
    def daily_quotas(self) -> dict[str, int]:
        return self.quotas.daily

    @property
    def minute_quotas(self) -> dict[str, int]:
        return self.quotas.minute

    @property
    def access_token(self) -> str:
        """The current token of `/cgi-bin/token`. One is there from the start."""
        token = self.plain_tokens.current
        assert token is not None
        return token

    @property
    def stable_token(self) -> str | None:
        """The current token of `/cgi-bin/stable_token`, None before anybody asked for one."""
        return self.stable_tokens.current

    def renew_access_token(self) -> None:
        """Make a new `access_token`; the one before answers 40001 from now on."""
        self.plain_tokens.renew()

    def expire_access_token(self) -> None:
        """`access_token` answers 42001 from now on, until it is renewed."""
        self.plain_tokens.expire()

    def renew_stable_token(self) -> None:
        """Make a new `stable_token`; the one before answers 40001 from now on."""
        self.stable_tokens.renew()

    def expire_stable_token(self) -> None:
        """`stable_token` answers 42001 from now on; who asks for one is given a new one."""
        self.stable_tokens.expire()

    @property
    def ip_list(self) -> Collection[str] | None:
        """Addresses and ranges (`10.1.0.0/16`) that may call any interface (40164); None: all.

        Setting it raises ValueError for anything else, such as `*` or an address with a port.
        """
        return self._ip_list

    @ip_list.setter
    def ip_list(self, entries: Collection[str] | None) -> None:
        if isinstance(entries, str):
            raise ValueError("ip_list must be a collection of addresses and ranges")
        for entry in entries or ():
            try:
                _network(entry)
            except ValueError:
                raise ValueError(
                    f"ip_list has {entry!r}, which is neither an address nor a range such as "
                    "10.1.0.0/16"
                ) from None
        self._ip_list = None if entries is None else tuple(entries)

    def check_ip(self, client_ip: str) -> None:
        """Refuse (40164) an address that is not on the IP list. Raises RefusalError."""
        if self._ip_list is None:
            return
        address = _plain_address(client_ip)
        if any(address in _network(entry) for entry in self._ip_list):
            return
        shown = str(address)
        mapped = shown if ":" in shown else f"::ffff:{shown}"
        raise RefusalError(40164, text=f"invalid ip {shown} ipv6 {mapped}, not in whitelist")

    @property
    def push_url(self) -> str | None:
        """Where events for this account are pushed to, http or https; None for nowhere.

        Setting it raises ValueError for anything else.
        """
        return self._push_url

    @push_url.setter
    def push_url(self, url: str | None) -> None:
        # Asking for the port raises ValueError if it is none.
        if url is not None and not (
            _PUSH_URL.fullmatch(url) and urlsplit(url).hostname and urlsplit(url).port != 0
        ):
            raise ValueError("push_url must be an http or https URL in ASCII")
        self._push_url = url

    @property
    def push_format(self) -> PushFormat:
        """ "xml" or "json". Setting it raises ValueError for anything else."""
        return self._push_format

    @push_format.setter
    def push_format(self, value: PushFormat) -> None:
        if value not in get_args(PushFormat):
            raise ValueError('push_format must be "xml" or "json"')
        self._push_format = value

    @property
    def push_aes_key(self) -> str | None:
        """The EncodingAESKey: with it events are pushed encrypted, with None in the clear.

        Needs the package `cryptography`. Setting it raises ValueError unless it has 43 characters
        of base64.
        """
        return self._push_aes_key

    @push_aes_key.setter
    def push_aes_key(self, key: str | None) -> None:
        if key is not None:
            try:
                decoded = base64.b64decode(key + "=", validate=True)
            except ValueError:
                decoded = b""
            if len(decoded) != 32:
                raise ValueError("push_aes_key must have 43 characters of base64")
        self._push_aes_key = key

    def token_errcode(self, token: str) -> int | None:
        """What an access token is answered with: 0 if valid, None if it is not this account's."""
        errcode = self.plain_tokens.errcode(token)
        return self.stable_tokens.errcode(token) if errcode is None else errcode

    def confidential(self) -> list[str]:
        """All that must never be shown of this account."""
        texts = [self.secret, self.push_token, *self.plain_tokens.texts()]
        texts += [*self.stable_tokens.texts(), *self.tickets.texts()]
        return texts + ([self._push_aes_key] if self._push_aes_key is not None else [])


class Accounts:
    """All accounts of a sandbox. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_appid: dict[str, Account] = {}

    def add(self, account: Account) -> None:
        """Raises ValueError if there is one with its AppID."""
        with self._lock:
            if account.appid in self._by_appid:
                raise ValueError(f"there is an account with the AppID {account.appid}")
            self._by_appid[account.appid] = account

    def all(self) -> dict[str, Account]:
        """The accounts by AppID. A copy."""
        with self._lock:
            return dict(self._by_appid)

    def get(self, appid: str) -> Account | None:
        with self._lock:
            return self._by_appid.get(appid)

    def with_s_pappid(self, s_pappid: str) -> Account | None:
        """The finance bureau that an s_pappid belongs to."""
        for account in self.all().values():
            if account.s_pappid == s_pappid and "bureau" in account.roles:
                return account
        return None

    def owner(self, tokens: tuple[str, ...]) -> Account | None:
        """Whose access token it is, valid or not; None unless `tokens` is exactly one known one."""
        if len(tokens) == 1:
            for account in self.all().values():
                if account.token_errcode(tokens[0]) is not None:
                    return account
        return None

    def by_token(self, tokens: tuple[str, ...], client_ip: str) -> Account:
        """The account whose valid token `tokens` is, all that a request carried.

        Of service accounts, as these are, the IP list counts here, too (section 1.5).

        Raises RefusalError.
        """
        if not any(tokens):
            raise RefusalError(41001)
        account = self.owner(tokens)
        if account is None:
            raise RefusalError(40014)
        if errcode := account.token_errcode(tokens[0]):
            raise RefusalError(errcode)
        account.check_ip(client_ip)
        return account

    def by_secret(self, appid: object, secret: object, client_ip: str) -> Account:
        """The account that proves itself with its AppSecret. Raises RefusalError."""
        if not isinstance(appid, str) or not appid:
            raise RefusalError(41002)
        if not isinstance(secret, str) or not secret:
            raise RefusalError(41004)
        account = self.get(appid)
        if account is None:
            raise RefusalError(40013)
        if not secrets.compare_digest(secret.encode(), account.secret.encode()):
            # Both codes are documented for a wrong AppSecret; what tells them apart is not.
            raise RefusalError(40001 if _SECRET.fullmatch(secret) else 40125)
        account.check_ip(client_ip)
        return account
