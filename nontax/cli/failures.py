"""Failures that a person must hear of: which exit code an error means, and `on_failure`."""

import json
import os
import subprocess
import time
from pathlib import Path

from nontax import errors
from nontax.cli.exits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax.cli.desk import Desk

_AN_HOUR = 3600


def exit_for(error: BaseException) -> Exit:
    """Return the code for an error that ended a command."""
    if isinstance(error, errors.LedgerError):
        return Exit.LEDGER
    if isinstance(error, ImportError | ValueError):  # what was given is wrong
        return Exit.USAGE
    if getattr(error, "outcome", "") == "in_doubt":
        return Exit.IN_DOUBT
    everywhere = (
        errors.NotSentError,
        errors.AccessTokenError,
        errors.AccountError,
        errors.QuotaError,
    )
    return Exit.STOPPED if isinstance(error, everywhere) else Exit.WORK_LEFT


def _state_file() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "nontax" / "failure.json"


def _is_news(cause: str) -> bool:
    """Whether this cause was not reported within the hour; writes down that it is now.

    What cannot be read or written counts as news: rather one message too many.
    """
    path = _state_file()
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        said = {}
    now = time.time()
    if not isinstance(said, dict) or not all(isinstance(at, int | float) for at in said.values()):
        said = {}
    if 0 <= now - said.get(cause, 0) < _AN_HOUR:
        return False
    said = {name: at for name, at in said.items() if 0 <= now - at < _AN_HOUR} | {cause: now}
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(json.dumps(said), "utf-8")
    except OSError:
        pass
    return True


def report(desk: "Desk", code: Exit) -> None:
    """Hand the summary as JSON to the configured command, once per cause and hour."""
    command = desk.config.on_failure
    cause = f"{desk.args.command}: {desk.summary.get('error', code.name.lower())}"
    if not command or not _is_news(cause):
        return
    text = json.dumps(
        {"command": desk.args.command, "exit": int(code), "cause": cause, **desk.summary},
        ensure_ascii=False,
    )
    try:
        subprocess.run(
            command, input=text, text=True, check=False, timeout=60, stdout=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        desk.warn("on_failure cannot be run: {reason}", reason=type(error).__name__)
