"""Runs one command, and turns what happened into an exit code."""

import contextlib
import errno
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from nontax import language
from nontax.cli import parsing
from nontax.cli.desk import Desk
from nontax.cli.exits import Exit, StopError
from nontax.cli.output import FORMATS, Output
from nontax.cli.profiles import Config
from nontax.cli.words import Words, mark
from nontax.errors import NontaxError

# A terminal that is closed ends a command as a service manager does.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


# What the system says of a file that a person has named, in that person's words.
_OF_FILES = {
    errno.ENOENT: mark("there is no such file or folder"),
    errno.EACCES: mark("it may not be read or written by this user"),
    errno.ENOSPC: mark("the disk is full"),
}


class Terminated(BaseException):
    """SIGTERM: the command ends as for Ctrl-C, with another exit code."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Raise Terminated for signals that end a command; what nohup ignores stays ignored."""
    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    argv: the words after "nontax" (list of str); None: those of this process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        # A terminal's encoding may lack a character of a name: no reason to end in the middle.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if parsing.split(argv)[0] == "sandbox":
        return _sandbox(argv)
    form = parsing.value_of(argv, "--format")
    out = Output(form if form in FORMATS else None, quiet="--quiet" in argv)
    words = Words(language.pick_language(parsing.value_of(argv, "--lang")))
    with _signals():
        try:
            code, summary = _main(argv, words, out)
        except StopError as stop:
            out.warn(stop.sentence)
            code, summary = stop.code, {}
        except KeyboardInterrupt:
            code, summary = Exit.INTERRUPTED, {}
        except Terminated:
            code, summary = Exit.TERMINATED, {}
        if code is None:
            return 0
        out.record({"exit": int(code), "ended": code.name.lower(), **summary})
        out.flush()
        return int(code)


def _main(argv: Sequence[str], words: Words, out: Output) -> tuple[Exit | None, dict[str, object]]:
    """Parse and run. None: help or versions were printed, and no command ran."""
    config = Config.read(words)
    if parsing.value_of(argv, "--lang") is None and isinstance(config.lang, str):
        words = Words(language.pick_language(config.lang))
    with parsing.in_language(words):
        parser = parsing.parser_for(words, argv)
        try:
            args = parser.parse_args(argv)
        except SystemExit as ended:
            return (Exit.USAGE if ended.code else None), {}
        if not args.command and not args.version:
            parser.print_help()
            return None, {}
    if args.version:
        return _versions(), {}
    desk = Desk(args, words, config, out)
    code = _run(desk)
    return code, desk.summary


def _sandbox(argv: Sequence[str]) -> int:
    """The sandbox has options of its own: all that stands behind its name."""
    from nontax.cli import sandbox

    return sandbox.main(argv[parsing.split(argv)[1] + 1 :])


def _versions() -> Exit | None:
    from nontax.__main__ import versions

    try:
        print(versions())
    except ImportError as error:
        print(error, file=sys.stderr)
        return Exit.USAGE
    return None


def _run(desk: Desk) -> Exit:
    from nontax.cli.failures import exit_for, report

    try:
        code = Exit(desk.args.run(desk))
    except StopError as stop:
        desk.out.warn(stop.sentence)
        code = stop.code
    except KeyboardInterrupt:
        desk.warn("interrupted: run the same command again to continue")
        code = Exit.INTERRUPTED
    except Terminated:
        desk.warn("terminated: run the same command again to continue")
        code = Exit.TERMINATED
    except (NontaxError, ImportError) as error:
        desk.out.warn(desk.words.error(error))
        code = exit_for(error)
        desk.count(error=type(error).__name__)
    except OSError as error:
        # Of files that a person has named. What a ledger or a connection meets is a NontaxError.
        known = _OF_FILES.get(error.errno or 0)
        reason = desk.words(known) if known else error.strerror or error
        desk.warn("{file}: {reason}", file=error.filename or "-", reason=reason)
        code = Exit.USAGE
    if code in (Exit.STOPPED, Exit.LEDGER):
        report(desk, code)
    return code
