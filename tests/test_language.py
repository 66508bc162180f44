"""Both languages say everything, and put the same values into it."""

import string
from collections.abc import Sequence

import pytest

from nontax import _core, language
from nontax.reconciliation import words
from nontax.sheets import problems

# What each room says.
SAID = {
    "core": list(_core.problem_messages().values()),
    "sheets": problems.translatable(),
    "reconciliation": [*words.translatable()],
}


def fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
def test_every_sentence_has_a_chinese_text_with_the_same_values(said: Sequence[str]) -> None:
    gettext = language.words("zh").gettext
    assert [text for text in said if gettext(text) == text] == [
        text for text in said if text in ("AppID", "openid")
    ]
    assert [text for text in said if fields(gettext(text)) != fields(text)] == []


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
