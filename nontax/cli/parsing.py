"""The command line's grammar: argparse with its words in the person's language."""

import argparse
import contextlib
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from nontax import language
from nontax.cli.commands import COMMANDS
from nontax.cli.output import FORMATS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax.cli.words import Words

# What argparse says by itself. Values stand in it as %(name)s.
ARGPARSE = (
    "usage: ",
    "options",
    "positional arguments",
    "%(prog)s: error: %(message)s\n",
    "argument %(argument_name)s: %(message)s",
    "the following arguments are required: %s",
    "unrecognized arguments: %s",
    "one of the arguments %s is required",
    "not allowed with argument %s",
    "expected one argument",
    "expected at least one argument",
    "ignored explicit argument %r",
    "invalid choice: %(value)r (choose from %(choices)s)",
    "invalid %(type)s value: %(value)r",
)
# Options before the command's name that take a value.
_TAKES_VALUE = {"--ledger", "--profile", "--format", "--lang"}


class Parser(argparse.ArgumentParser):
    """Knows no abbreviations: `--no` must not mean --note in a script that is a year old."""

    def __init__(self, *, words: "Words", **options: Any) -> None:
        super().__init__(
            add_help=False,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28),
            **options,
        )
        self.words = words
        self.add_argument("-h", "--help", action="help", help=words("show this help"))


def add_global_options(parser: argparse.ArgumentParser, words: "Words") -> None:
    """Options that every command takes, before its name or after it."""
    group = parser.add_argument_group(words("for every command"))

    def add(name: str, **options: Any) -> None:
        group.add_argument(name, default=argparse.SUPPRESS, **options)

    add("--ledger", metavar="FILE", help=words("the ledger's file"))
    add("--profile", metavar="NAME", help=words("a profile of the configuration"))
    add(
        "--format",
        choices=FORMATS,
        help=words("how data is printed: a table on a terminal, else JSON lines"),
    )
    add("--lang", choices=language.LANGUAGES, help=words("language of all words"))
    add("--quiet", action="store_true", help=words("no progress, only data"))


def split(argv: Sequence[str]) -> tuple[str | None, int]:
    """Return the command's name and its place in argv; None and 0 if there is none."""
    names = {command.name for command in COMMANDS}
    skip = False
    for place, word in enumerate(argv):
        if skip or word.startswith("-"):
            skip = not skip and word in _TAKES_VALUE
            continue
        return (word, place) if word in names else (None, 0)
    return None, 0


def value_of(argv: Sequence[str], option: str) -> str | None:
    """Return what is given for an option, before anything else is parsed; None: nothing."""
    for word, following in zip(argv, (*argv[1:], ""), strict=False):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def parser_for(words: "Words", argv: Sequence[str]) -> Parser:
    """Return the parser. Only the command that runs is imported: a command starts quickly."""
    parser = Parser(
        prog="nontax",
        words=words,
        description=words("Puts fiscal e-bills into citizens' WeChat card wallets."),
    )
    parser.add_argument("--version", action="store_true", help=words("show versions"))
    add_global_options(parser, words)
    commands = parser.add_subparsers(
        dest="command", metavar=words("COMMAND"), title=words("commands"), parser_class=Parser
    )
    chosen, _ = split(argv)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name, words=words, help=words(command.help), description=words(command.help)
        )
        if command.name == chosen:
            module = importlib.import_module(f"nontax.cli.{command.module}")
            module.arguments(sub, words)
            sub.set_defaults(run=module.run)
            add_global_options(sub, words)
    return parser


@contextlib.contextmanager
def in_language(words: "Words") -> Iterator[None]:
    """argparse takes its own words ("usage", "is required") from gettext by this name alone."""
    plain = argparse._  # type: ignore[attr-defined]
    argparse._ = words.plain  # type: ignore[attr-defined]
    try:
        yield
    finally:
        argparse._ = plain  # type: ignore[attr-defined]
