"""Django's outbox in Chinese: everything that it says, and nothing else, is in its catalogue."""

import ast
import re
import shutil
import string
import subprocess
from pathlib import Path

import djangos
import pytest
from django.core.management import ManagementUtility
from django.utils import translation

from nontax.contrib.django import words
from nontax.language import read_po

__all__ = ["djangos"]
APP = Path(words.__file__).parent
_TAG = re.compile(r"{% say \"([^\"]+)\"")


def _said() -> set[str]:
    found = set()
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("words", "say"):
                text = node.args[0]
                if isinstance(text, ast.Constant):
                    found.add(str(text.value))
    for path in APP.rglob("*.html"):
        found |= {*_TAG.findall(path.read_text("utf-8"))}
    return found


def _fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_everything_is_there_in_chinese_with_the_same_values() -> None:
    pairs = list(read_po(words.PO.read_text("utf-8")))
    known = dict(pairs)
    assert len(known) == len(pairs)
    said = _said()
    assert len(said) > 100
    assert said - known.keys() == set()
    assert known.keys() - said == {""}
    for english, chinese in known.items():
        if english:
            assert chinese
            assert _fields(english) == _fields(chinese)
            assert re.search("[一-鿿]", chinese) or chinese in ("openid", "rid"), english


def test_the_catalogue_is_a_catalogue() -> None:
    msgfmt = shutil.which("msgfmt")
    text = words.PO.read_text("utf-8")
    assert "fuzzy" not in text
    assert "#~" not in text
    if msgfmt is None:
        pytest.skip("there is no msgfmt")
    done = subprocess.run(
        [msgfmt, "--check", "--statistics", "-o", "/dev/null", str(words.PO)],
        capture_output=True, text=True, check=False, env={"LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "untranslated" not in done.stderr
    assert "fuzzy" not in done.stderr


def test_the_language_is_that_of_the_request() -> None:
    lazy = words.STATES["in_doubt"]
    shown = {"en": "in doubt", "zh-hans": "待核实", "zh-cn": "待核实", "fr": "in doubt"}
    for language, text in shown.items():
        with translation.override(language):
            assert str(lazy) == text
    with translation.override(None):
        assert str(lazy) == "in doubt"


def test_a_command_speaks_the_language_of_the_site(capsys: pytest.CaptureFixture[str]) -> None:
    for language, text in (("en", "how many bills"), ("zh-hans", "按账号和状态显示票据张数")):
        with translation.override(language), pytest.raises(SystemExit):
            ManagementUtility(["manage.py", "nontax_status", "--help"]).execute()
        assert text in capsys.readouterr().out
