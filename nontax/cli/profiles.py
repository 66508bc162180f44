"""The configuration file: language, profiles, secrets. Read, checked, never written.

lang = "zh"
on_failure = ["/usr/local/bin/page-the-office"]

[profile.default]
appid = "wx…"
secret_command = ["pass", "show", "wechat/bureau"]
ledger = "/var/lib/nontax/bills.db"
"""

import difflib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from nontax.cli.exits import Exit, StopError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax.cli.words import Words

# Of a profile: the name, and the types that it may have.
KEYS: dict[str, tuple[type, ...]] = {
    "appid": (str,),
    "secret": (str,),
    "secret_command": (str, list),
    "access_token": (str,),
    "ledger": (str,),
    "server": (str,),
    "base_url": (str,),
    "fallback_base_urls": (list,),
    "ca_file": (str,),
    "proxy": (str,),
    "timeout": (int, float),
    "connect_timeout": (int, float),
    "concurrency": (int,),
    "rate": (int, float),
    "card_id": (str,),
    "bill_appid": (str,),
    "s_pappid": (str,),
}
TOP = ("lang", "on_failure", "profile")
_SECRETS = ("secret", "access_token")


def config_path() -> Path:
    """Return NONTAX_CONFIG, or nontax/config.toml in the user's configuration folder."""
    named = os.environ.get("NONTAX_CONFIG")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "nontax" / "config.toml"


class Config:
    """The configuration file as it was read; empty where there is none."""

    def __init__(self, path: Path, data: Mapping[str, object]) -> None:
        self.path = path
        self.lang = data.get("lang")
        self.on_failure = _command(data.get("on_failure"))
        profiles = data.get("profile", {})
        assert isinstance(profiles, dict)
        self.profiles: dict[str, dict[str, object]] = profiles

    @classmethod
    def read(cls, words: "Words") -> "Config":
        path = config_path()
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return cls(path, {})
        except (OSError, UnicodeDecodeError) as error:
            raise StopError(
                Exit.USAGE,
                words(
                    "the configuration file {path} cannot be read: {reason}",
                    path=path,
                    reason=error,
                ),
            ) from None
        return cls(path, _checked(path, text, words))

    def profile(self, name: str | None, words: "Words") -> dict[str, object]:
        """Return a profile by name; without one "default", which need not be there."""
        if name is None:
            return self.profiles.get("default", {})
        if name not in self.profiles:
            raise StopError(
                Exit.USAGE,
                words(
                    "there is no profile {name} in {path}; it has: {known}",
                    name=name,
                    path=self.path,
                    known=", ".join(self.profiles) or "-",
                ),
            )
        return self.profiles[name]


def _command(value: object) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]  # type: ignore[attr-defined]


def _checked(path: Path, text: str, words: "Words") -> dict[str, object]:
    import tomllib

    def refuse(problem: str) -> StopError:
        return StopError(
            Exit.USAGE,
            words("the configuration file {path}: {problem}", path=path, problem=problem),
        )

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise refuse(str(error)) from None
    _check_names(data, TOP, words, refuse)
    profiles = data.get("profile", {})
    if not isinstance(profiles, dict) or not all(
        isinstance(one, dict) for one in profiles.values()
    ):
        raise refuse(words("write a profile as [profile.NAME]"))
    for name, profile in profiles.items():
        _check_names(profile, KEYS, words, refuse)
        for key, value in profile.items():
            if isinstance(value, bool) or not isinstance(value, KEYS[key]):
                raise refuse(
                    words("{key} of profile {name} has the wrong type", key=key, name=name)
                )
        ledger = profile.get("ledger")
        if ledger is not None and not os.path.isabs(str(ledger)):
            raise refuse(words("ledger of profile {name} must be an absolute path", name=name))
    if any(key in profile for profile in profiles.values() for key in _SECRETS):
        _check_mode(path, words, refuse)
    return data


def _check_names(found, known, words, refuse) -> None:  # type: ignore[no-untyped-def]
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = words("; did you mean {name}?", name=close[0]) if close else ""
            raise refuse(words("{name} is not known", name=name) + hint)


def _check_mode(path: Path, words, refuse) -> None:  # type: ignore[no-untyped-def]
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise refuse(
            words(
                "it contains a secret and other users can read it: run chmod 600 {path}", path=path
            )
        )


def secret_of(profile: Mapping[str, object], words: "Words") -> str | None:
    """Return the AppSecret of a profile: as it stands, or what its secret_command prints."""
    if "secret" in profile:
        return str(profile["secret"])
    command = _command(profile.get("secret_command"))
    if not command:
        return None
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StopError(
            Exit.USAGE,
            words("secret_command cannot be run: {reason}", reason=type(error).__name__),
        ) from None
    if done.returncode != 0 or not done.stdout.strip():
        raise StopError(
            Exit.USAGE,
            words(
                "secret_command printed no secret (exit status {status})", status=done.returncode
            ),
        )
    return done.stdout.strip()
