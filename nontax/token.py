"""Token sources on WeChat's own token interfaces."""

from time import monotonic

from nontax import _core
from nontax.cached import Cached
from nontax.credentials import is_plain, pair
from nontax.errors import InDoubtError, NontaxError, NotSentError, SystemBusyError
from nontax.log import Notes
from nontax.report import make_error
from nontax.settings import (
    base_urls_of,
    check_path,
    check_seconds,
    check_text,
    from_environment,
    name_variable,
    system_ca_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any

# WeChat refreshes nothing when it is forced again within 30 seconds.
FORCE_EVERY = 30.0

_forced: dict[str, float] = {}


def _not_fetched(interface: str, reason: str, *, timed_out: bool = False) -> NotSentError:
    # It is the fetch that has no answer: of the bill, nothing was sent.
    error = NotSentError(reason=f"no access token could be fetched: {reason}", timed_out=timed_out)
    error.interface = interface
    return error


class _UnusableError(Exception):
    """A token that was fetched is none."""


def _token_and_lifetime(reply: "dict[str, Any]") -> tuple[str, float]:
    # Checked here, as the core hides this frame if a signal's exception comes out of it.
    if not is_plain(reply["access_token"]):
        raise _UnusableError
    return reply["access_token"], float(reply["expires_in"])


class FetchedToken:
    """What the two sources share: the credentials, the connection, one fetch for all threads."""

    __slots__ = ("_appid", "_cached", "_core", "_notes", "_secret", "_timeout")

    def __init__(
        self,
        appid: str | None = None,
        secret: str | None = None,
        *,
        base_url: str | None = None,
        fallback_base_urls: "Sequence[str] | None" = (),
        ca_file: "str | os.PathLike[str] | None" = None,
        proxy: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        taken: list[str] = []
        try:
            self._appid, self._secret = pair(appid, secret, taken)
            self._timeout = check_seconds("timeout", timeout)
            self._cached: Cached[str] = Cached()
            self._notes = Notes(self._appid)
            ca_file = ca_file or from_environment("ca_file", taken)
            if base_url is None:
                base_url = from_environment("base_url", taken)
            base_urls = base_urls_of(base_url, fallback_base_urls)
            self._core = _core.Client(
                make_error=make_error,
                log_note=self._notes,
                appid=self._appid,
                access_token=None,
                token_source=None,
                own_source=False,
                base_urls=base_urls,
                ca_file=None if ca_file is None else check_path("ca_file", ca_file),
                system_ca_file=system_ca_file(ca_file, base_urls),
                proxy=None if proxy is None else check_text("proxy", proxy),
                connect_timeout=min(5.0, self._timeout),
                timeout=self._timeout,
                retries=2,
                extra=0,
            )
        except ValueError as error:
            name_variable(error, taken)
            raise
        finally:
            # A traceback that shows local variables shows neither secret nor a proxy's password.
            del appid, secret, proxy

    @property
    def appid(self) -> str:
        """The account's AppID (str)."""
        return self._appid

    def __call__(self, stale: str | None = None) -> str:
        """Return the current access token, or a newer one than `stale`, which WeChat has refused.

        Raises what became of the fetch: `AccountError` (40164 names the address to put on the IP
        list), `NotSentError`, …
        """
        got: str | NontaxError = ""
        try:
            got = self._cached.get(self._fetch, stale, self._timeout)
            if isinstance(got, NontaxError):
                raise got
            return got
        finally:
            del stale, got

    def _token_or_error(
        self, stale: str | None, seconds: float, may_keep: bool
    ) -> "str | tuple[str, float] | NontaxError":
        """Do it in so many seconds: what is left of a call's own time.

        may_keep: whether `stale` is good enough where WeChat has no newer one: it will be tried
            once more before it comes to forcing one.

        What became of the fetch is returned, and so told from what a signal handler has raised. If
        there is no newer token yet, the stale one is returned and in how many seconds there can be.
        """
        token: str | tuple[str, float] | NontaxError = ""
        try:
            seconds = min(seconds, self._timeout)
            token = self._cached.get(self._fetch, stale, seconds, may_keep=bool(may_keep))
            if (
                isinstance(token, str)
                and token == stale
                and not may_keep
                and (wait := self._newer_in()) > 0
            ):
                token = (token, wait)
            return token
        finally:
            del stale, token

    def _newer_in(self) -> float:
        """In how many seconds there can be a newer token than one that was just refused; 0: now."""
        return 0.0

    def _fetch(
        self, stale: str | None, seconds: float, may_keep: bool
    ) -> "tuple[str, float] | NontaxError":
        """Fetch a token; it and its lifetime in seconds, or what became of the fetch."""
        raise NotImplementedError

    def _ask(
        self, interface: str, seconds: float, more: "dict[str, Any]"
    ) -> "tuple[str, float] | NontaxError":
        """Call a token interface; the token and its lifetime in seconds, or an error."""
        answer: tuple[str, float] | NontaxError = ("", 0.0)
        try:
            answer = self._core.ask(
                interface,
                {
                    "grant_type": "client_credential",
                    "appid": self._appid,
                    "secret": self._secret,
                    **more,
                },
                None,
                max(seconds, 0.001),
                _token_and_lifetime,
            )
            if isinstance(answer, InDoubtError):
                return _not_fetched(interface, answer.reason, timed_out=answer.timed_out)
            if isinstance(answer, SystemBusyError):
                reason = f"WeChat answered {answer.errcode}: {answer.errmsg}"
                return _not_fetched(interface, reason)
            return answer
        except _UnusableError:
            return _not_fetched(
                interface, "it contains characters that an access token cannot have"
            )
        finally:
            del answer

    def __repr__(self) -> str:
        # A traceback with local variables may show a source that could not be made.
        return f"<nontax.{type(self).__name__} for {getattr(self, '_appid', 'nobody')}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"a {type(self).__name__} holds a secret and is not pickled")


class StableToken(FetchedToken):
    """A token source on WeChat's `/cgi-bin/stable_token`; what `Client(appid=…, secret=…)` uses.

    appid, secret: str; of the account. Without either, NONTAX_APPID and NONTAX_SECRET.
    base_url, fallback_base_urls, ca_file, proxy: as for `Client`.
    timeout: seconds for one fetch; within a call also not more than what is left of its time.

    WeChat gives every process of an account the same token, so that processes need no store of
    their own between them, and none invalidates another's. Within a process one fetch serves all
    threads and tasks. The token is fetched when it is first needed, and again in its last five
    minutes. When WeChat has refused it, normal mode is asked again. If that gives the same token
    after a 40001, which passes by itself at times, the call tries it once more a second later. Only
    if it is refused then, too, forced mode is asked, at most every 30 seconds: that ends the token
    of all processes at once.

    A fetch that fails is reported as itself, and for a few seconds not tried again.

    Safe in threads and after forks. Raises TypeError or ValueError if a setting cannot be used.

    WeChat's page: https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
    """

    __slots__ = ()

    def _fetch(
        self, stale: str | None, seconds: float, may_keep: bool
    ) -> "tuple[str, float] | NontaxError":
        answer: tuple[str, float] | NontaxError = ("", 0.0)
        try:
            answer = self._ask("stable_token", seconds, {})
            if isinstance(answer, NontaxError) or answer[0] != stale or may_keep:
                return answer
            if self._may_force():
                answer = self._ask("stable_token", seconds, {"force_refresh": True})
            return answer
        finally:
            del answer, stale

    def _may_force(self) -> bool:
        # The caller holds the lock of this source; two sources of one account may both come here.
        now = monotonic()
        if now - _forced.get(self._appid, -FORCE_EVERY) < FORCE_EVERY:
            return False
        _forced[self._appid] = now
        self._notes.forced()
        return True

    def _newer_in(self) -> float:
        return max(0.0, _forced.get(self._appid, -FORCE_EVERY) + FORCE_EVERY - monotonic())


class AccessToken(FetchedToken):
    """A token source on WeChat's older `/cgi-bin/token`. Prefer `StableToken`.

    Warning: each fetch makes a new token for the account, and ends the one before it within five
    minutes, whoever uses that. So all programs of the account must get their tokens from one place;
    use this only if this process is that place. Two processes with an `AccessToken` for one
    account keep ending each other's tokens (errcode 40001). `StableToken` and this interface do not
    touch each other.

    Arguments and errors as for `StableToken`.

    WeChat's page: https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html
    """

    __slots__ = ()

    def _fetch(
        self, stale: str | None, seconds: float, may_keep: bool
    ) -> "tuple[str, float] | NontaxError":
        del stale, may_keep  # every fetch makes a new one
        return self._ask("token", seconds, {})
