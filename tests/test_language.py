"""Both languages say everything, and put the same values into it."""

import ast
import re
import string
from collections.abc import Sequence
from pathlib import Path

import pytest

from nontax import _core, errcode, errors, language
from nontax.cli import parsing
from nontax.ledger import words as ledger_words
from nontax.notebook import words as notebook_words
from nontax.reconciliation import words
from nontax.sheets import problems

CLI = Path(parsing.__file__).parent
# Functions of the command line that are given a sentence.
_SAYING = {"words", "say", "warn", "stop", "mark"}


def said_by(folder: Path) -> list[str]:
    """The sentences that stand in the calls of a folder's files."""
    found = []
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name in _SAYING:
                constants = [each for each in node.args if isinstance(each, ast.Constant)]
                found += [each.value for each in constants if isinstance(each.value, str)]
    return list(dict.fromkeys(found))


# What each room says.
SAID = {
    "core": list(_core.problem_messages().values()),
    "sheets": problems.translatable(),
    "reconciliation": [*words.translatable()],
    "command line": [*said_by(CLI), *parsing.ARGPARSE],
    "advice": [
        *{errcode(code).advice for code in (*_core.errcodes(), 1)},
        errors.TLSError.advice,
        "It was not processed: send it again in a minute.",
    ],
    "ledger": [*ledger_words.SENTENCES.values()],
    "notebook": [*notebook_words.translatable()],
}


# What officials write in English, too.
SAME = ("AppID", "openid", "--amount {problem}", "--since {problem}")


def fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
def test_every_sentence_has_a_chinese_text_with_the_same_values(said: Sequence[str]) -> None:
    gettext = language.words("zh").gettext
    assert [text for text in said if gettext(text) == text] == [
        text for text in said if text in SAME
    ]
    assert [text for text in said if fields(gettext(text)) != fields(text)] == []


@pytest.mark.parametrize("text", parsing.ARGPARSE)
def test_a_sentence_of_argparse_has_the_same_values(text: str) -> None:
    values = re.compile(r"%(?:\(\w+\))?[srd]")
    assert values.findall(language.words("zh").gettext(text)) == values.findall(text)


def test_the_catalogue_has_nothing_that_is_not_said() -> None:
    catalogue = language.words("zh")
    assert isinstance(catalogue, language.Catalogue)
    assert {*catalogue.messages} - {text for said in SAID.values() for text in said} == {""}


def test_english_is_as_written() -> None:
    assert language.words("en").gettext("the file is empty") == "the file is empty"
    assert language.words("zh").gettext("no such message") == "no such message"


def test_a_language_that_is_not_there() -> None:
    with pytest.raises(ValueError, match='give "en" or "zh"'):
        language.words("fr")


@pytest.mark.parametrize(
    ("name", "environment", "picked"),
    [
        ("zh", {}, "zh"),
        ("en", {"LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"LANG": "zh_CN.UTF-8"}, "zh"),
        (None, {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        (None, {}, "en"),
    ],
)
def test_which_language(
    monkeypatch: pytest.MonkeyPatch, name: str | None, environment: dict[str, str], picked: str
) -> None:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert language.pick_language(name) == picked


def test_a_po_file_may_break_its_lines() -> None:
    text = 'msgid ""\nmsgstr "x"\n\n# note\nmsgid "a "\n"b"\nmsgstr "甲\\n"\n"乙"\n'
    assert list(language.read_po(text)) == [("", "x"), ("a b", "甲\n乙")]
