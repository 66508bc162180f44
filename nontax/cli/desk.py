"""What every command works with: arguments, language, profile, client and ledger."""

import os
from pathlib import Path

from nontax.cli.exits import Exit, StopError
from nontax.cli.output import Output
from nontax.cli.profiles import Config, secret_of
from nontax.cli.words import Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from nontax import Client, Ledger

DEFAULT_LEDGER = "bills.db"
# What of a profile a Client takes as it stands.
_CLIENT_KEYS = (
    "appid",
    "access_token",
    "base_url",
    "fallback_base_urls",
    "ca_file",
    "proxy",
    "timeout",
    "connect_timeout",
)
_CREDENTIAL_VARIABLES = ("NONTAX_APPID", "NONTAX_SECRET", "NONTAX_ACCESS_TOKEN")


class Desk:
    """One command as it runs."""

    def __init__(self, args: "Namespace", words: Words, config: Config, out: Output) -> None:
        self.args = args
        self.words = words
        self.config = config
        self.out = out
        self.profile_name: str | None = getattr(args, "profile", None) or os.environ.get(
            "NONTAX_PROFILE"
        )
        self.profile = config.profile(self.profile_name, words)
        # What the last JSON line says besides the exit code.
        self.summary: dict[str, object] = {}

    def say(self, sentence: str, **values: object) -> None:
        self.out.say(self.words(sentence, **values))

    def warn(self, sentence: str, **values: object) -> None:
        self.out.warn(self.words(sentence, **values))

    def stop(self, code: Exit, sentence: str, **values: object) -> StopError:
        return StopError(code, self.words(sentence, **values))

    def client(self, ledger: "Ledger | None" = None) -> "Client":
        """Return a client with the credentials of the profile or of the environment.

        ledger: what it writes ahead; None: nothing, also where NONTAX_LEDGER is set.

        A profile that was named counts alone; without a name the environment comes first. Halves
        of the two are never put together.
        """
        from nontax import Client
        from nontax.settings import BASE_URL

        settings: dict[str, object] = {
            name: self.profile[name] for name in _CLIENT_KEYS if name in self.profile
        }
        if self.profile_name:
            if not self.profile.keys() & {"appid", "access_token"}:
                raise self.stop(
                    Exit.USAGE, "profile {name} has no credentials", name=self.profile_name
                )
            settings.setdefault("base_url", BASE_URL)
        else:
            for name in ("base_url", "ca_file"):
                if os.environ.get(f"NONTAX_{name.upper()}"):
                    settings.pop(name, None)
        if not self.profile_name and any(map(os.environ.get, _CREDENTIAL_VARIABLES)):
            settings.pop("appid", None)
            settings.pop("access_token", None)
        elif secret := secret_of(self.profile, self.words):
            settings["secret"] = secret
        elif not settings.keys() & {"appid", "access_token"}:
            raise self.stop(
                Exit.USAGE,
                "no credentials: set NONTAX_APPID and NONTAX_SECRET, or write a profile into "
                "{path}",
                path=self.config.path,
            )
        try:
            return Client(ledger=ledger or False, **settings)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise StopError(Exit.USAGE, str(error)) from None
        finally:
            settings.clear()  # a traceback with local variables must not show a credential

    def ledger_path(self) -> Path | None:
        """Return --ledger, NONTAX_LEDGER or the profile's, else bills.db here if it exists."""
        named = getattr(self.args, "ledger", None)
        if named:
            return Path(named)
        for source, path in (
            ("NONTAX_LEDGER", os.environ.get("NONTAX_LEDGER")),
            ("ledger", self.profile.get("ledger")),
        ):
            if path:
                if not os.path.isabs(str(path)):
                    raise self.stop(Exit.USAGE, "{name} must be an absolute path", name=source)
                return Path(str(path))
        here = Path(DEFAULT_LEDGER)
        return here if here.exists() else None

    def count(self, **counts: object) -> None:
        """Add to the last JSON line."""
        self.summary.update(counts)
