"""Which account's credentials are used: the one place where they are checked and put together."""

from nontax.settings import from_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    TokenSource = Callable[[str | None], str | Awaitable[str]]

WAYS = "give appid and secret, or access_token, or token_source; appid may stand beside any"


def check_credential(name: str, value: object) -> str:
    """Return an appid or a secret that can be one.

    Never the value itself in a message, nor among the local variables of a traceback: it may be the
    secret under the wrong name.
    """
    try:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str")
        if value[:1] in ("'", '"') and value:
            raise ValueError(f"{name} is enclosed in quotes (an env file for Docker needs none)")
        if not is_plain(value):
            raise ValueError(f"{name} is empty or has a character that cannot be in it")
        return value
    finally:
        del value


def is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value and value != ""


def pair(appid: object, secret: object, taken: list[str]) -> tuple[str, str]:
    """Return the AppID and the AppSecret of one account.

    Both given, or both of the environment, whose names then go into `taken`: half of one and half
    of the other may be two accounts'.
    """
    try:
        if appid is None and secret is None:
            appid = from_environment("appid", taken)
            secret = from_environment("secret", taken)
            if appid is None or secret is None:
                raise ValueError(
                    "no credentials: give appid and secret, or set NONTAX_APPID and NONTAX_SECRET"
                )
        for name, value in (("appid", appid), ("secret", secret)):
            if value is None:
                raise TypeError(
                    f"{name} is missing: give appid and secret, or neither and set NONTAX_APPID "
                    "and NONTAX_SECRET; half of each may be two accounts'"
                )
            value = None
        return check_credential("appid", appid), check_credential("secret", secret)
    finally:
        value = None
        del appid, secret


class Credentials:
    """Those of one account: an AppID and secret, a token, or a source of tokens.

    appid: str; None where it is not known. secret, access_token, token_source: exactly one is not
    None.
    """

    __slots__ = ("access_token", "appid", "secret", "token_source")

    def __init__(
        self,
        appid: str | None,
        secret: str | None,
        access_token: str | None,
        token_source: "TokenSource | None",
        taken: list[str],
    ) -> None:
        """Check what was given, or take all of it from the environment.

        taken: gets the names of what was taken. Raises TypeError for more or less than one way of
        giving them, and ValueError for one that cannot be used, or if there are none.
        """
        self.appid = self.secret = self.access_token = self.token_source = None
        try:
            ways = sum(value is not None for value in (secret, access_token, token_source))
            if ways > 1:
                raise TypeError(WAYS)
            if ways == 0 and appid is None and not _has_pair():
                access_token = from_environment("access_token", taken)
                if access_token is None:
                    raise ValueError(_none_of_the_environment())
                appid = from_environment("appid", taken)
            if access_token is None and token_source is None:
                self.appid, self.secret = pair(appid, secret, taken)
                return
            if appid is not None:
                self.appid = check_credential("appid", appid)
            if not isinstance(access_token, str | None):
                raise TypeError("access_token must be a str")
            self.access_token, self.token_source = access_token, token_source
        finally:
            del appid, secret, access_token, token_source

    def __repr__(self) -> str:
        return f"<credentials of {self.appid or 'an account'}>"


def _has_pair() -> bool:
    names: list[str] = []
    return None not in (from_environment("appid", names), from_environment("secret", names))


def _none_of_the_environment() -> str:
    names: list[str] = []
    half = "appid" if from_environment("appid", names) else "secret"
    if names or from_environment("secret", names):
        other = "SECRET" if half == "appid" else "APPID"
        return f"no credentials: NONTAX_{half.upper()} is set, but NONTAX_{other} is not"
    return (
        "no credentials: give appid and secret, access_token or token_source, or set NONTAX_APPID "
        "and NONTAX_SECRET, or NONTAX_ACCESS_TOKEN"
    )
