"""What is said to people, in English and Chinese: gettext, with catalogues that are text.

    words = nontax.language.words("zh")
    words.gettext("the file is empty")          # 文件为空

A message's id is its English sentence, with {name} for each value. The Chinese ones are in
locale/zh_CN/LC_MESSAGES/nontax.po, which is read as it is: no .mo file is built.
"""

import ast
import gettext
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")
_LOCALES = {"zh": "zh_CN"}
_FOLDER = Path(__file__).parent / "locale"


def pick_language(name: str | None = None) -> str:
    """Return "zh" or "en": of a name such as "zh_CN.UTF-8", else of the environment.

    name: str, or None: the first of LC_ALL, LC_MESSAGES, LANG that is set.
    """
    for said in (name, *map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))):
        if said:
            return "zh" if said.lower().startswith("zh") else "en"
    return "en"


def read_po(text: str) -> Iterator[tuple[str, str]]:
    """Yield (msgid, msgstr) of a .po file without plural forms and contexts (str)."""
    parts: dict[str, str] = {}
    keyword = ""
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        if stripped.startswith(("msgid ", "msgstr ")):
            keyword, _, stripped = stripped.partition(" ")
            parts[keyword] = ""
        if stripped.startswith('"'):
            parts[keyword] += ast.literal_eval(stripped)
        elif "msgstr" in parts:
            yield parts["msgid"], parts["msgstr"]
            parts = {}


class Catalogue(gettext.NullTranslations):
    """gettext's interface to one language; a message without a translation stays English."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__()
        self.messages = dict(messages)

    def gettext(self, message: str) -> str:
        return self.messages.get(message) or super().gettext(message)


@cache
def words(language: str) -> gettext.NullTranslations:
    """Return gettext's object for a language: "en" or "zh" (str)."""
    if language not in LANGUAGES:
        raise ValueError(f'language is {language!r}; give "en" or "zh"')
    if language not in _LOCALES:
        return gettext.NullTranslations()
    path = _FOLDER / _LOCALES[language] / "LC_MESSAGES" / "nontax.po"
    return Catalogue(dict(read_po(path.read_text("utf-8"))))
