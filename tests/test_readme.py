"""The READMEs and the pages under docs/: every block runs as it stands, and every link leads on."""

import codeop
import os
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import nontax
from nontax.cli.parsing import parser_for
from nontax.cli.words import Words
from nontax.report import refusal_of
from nontax.sandbox import __main__ as sandbox_command

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.zh-CN.md"]
# Written by the commands that they name; they have no examples.
REPORTS = {"docs/chaos.md", "docs/coverage.md", "docs/matrix.md", "docs/pythons.md"}
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
GUIDES = [path for path in DOCS if path not in REPORTS]
PAGES = [*READMES, *GUIDES]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
END = "\x1e"
# What is checked by other tests, or leads out of this machine.
OTHER_COMMANDS = {"apt", "git", "install", "ln", "mkdir", "pip", "python3", "useradd"}


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Each fenced block's language and text."""
    return BLOCK.findall(read(page))


def without_blocks(page: str) -> str:
    return BLOCK.sub("", read(page))


def program_of(page: str) -> str:
    """The page's Python, as a reader types it, and then the tests that it defines."""
    lines = [f"{text}\nprint({END!r})\n" for kind, text in blocks_of(page) if kind == "python"]
    lines.append("[thing() for name, thing in list(globals().items()) if name[:5] == 'test_']\n")
    return "".join(lines)


def pattern_of(shown: str) -> str:
    """What a page shows as printed; an ellipsis stands for anything."""
    return re.escape(shown.strip()).replace("…", ".*?")


def has_python(page: str) -> bool:
    return any(kind == "python" for kind, _ in blocks_of(page))


@pytest.mark.parametrize("page", [page for page in PAGES if has_python(page)])
def test_every_block_runs_as_it_stands(page: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program_of(page)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("NONTAX")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.split(END + "\n")
    number, before = -1, ""
    for kind, text in blocks_of(page):
        if kind == "python":
            number += 1
        elif kind == "text" and before == "python":
            assert re.fullmatch(pattern_of(text), printed[number].strip(), re.DOTALL), text
        before = kind


@pytest.mark.parametrize("page", [*READMES, "docs/tutorial.md", "docs/zh/tutorial.md"])
def test_it_can_be_typed_line_by_line(page: str) -> None:
    # Before Python 3.13, a line that follows an indented one without a blank one is an error there.
    for kind, text in blocks_of(page):
        typed: list[str] = []
        for line in [*text.splitlines(), ""] if kind == "python" else ():
            typed.append(line)
            if codeop.compile_command("\n".join(typed), page, "single") is not None:
                typed = []
        assert typed == [], text


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    assert all(kind for kind, _ in blocks_of(page))
    assert read(page).count("```") == 2 * len(blocks_of(page))


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    makefiles = "".join(
        path.read_text("utf-8") for path in (ROOT / "Makefile", *ROOT.glob("make/*.mk"))
    )
    for kind, text in blocks_of(page):
        for line in text.splitlines() if kind == "sh" else ():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", makefiles, re.MULTILINE), line
            elif words[:3] == ["python", "-m", "nontax.sandbox"]:
                monkeypatch.setattr(sys, "argv", words[2:])
                sandbox_command._arguments()
            elif words[:2] == ["python", "-m"]:
                assert words[2].partition(".")[0] == "nontax", line
            elif words[0] == "nontax":
                parser_for(Words("en"), words[1:]).parse_args(words[1:])
            else:
                assert words[0].rpartition("/")[2] in OTHER_COMMANDS, line


@pytest.mark.parametrize("readme", READMES)
def test_a_readme_is_a_door(readme: str) -> None:
    assert len(read(readme).splitlines()) <= 150
    for name in nontax.__all__:
        if name.endswith("Error"):
            assert name in read(readme), name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_method_is_in_it(language: str) -> None:
    pages = [
        page
        for page in PAGES
        if ("/zh/" in page or page == "README.zh-CN.md") == (language == "zh")
    ]
    text = "\n".join(map(read, pages))
    for name in dir(nontax.Client):
        twin = f"a{name}"
        if not name.startswith("_") and hasattr(nontax.Client, twin):
            assert name in text, name


def anchors_of(page: Path) -> set[str]:
    headings = HEADING.findall(BLOCK.sub("", page.read_text("utf-8")))
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", [*READMES, *DOCS, "SECURITY.md"])
def test_its_links(page: str) -> None:
    for target in LINK.findall(without_blocks(page)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors_of(file), target


@pytest.mark.parametrize("page", GUIDES)
def test_both_languages_have_it(page: str) -> None:
    other = (
        page.replace("docs/zh/", "docs/") if "/zh/" in page else page.replace("docs/", "docs/zh/")
    )
    assert other in GUIDES
    # The same examples, but for words.
    kinds = [kind for kind, _ in blocks_of(page)]
    assert kinds == [kind for kind, _ in blocks_of(other)]


# The site

SITE = runpy.run_path(str(ROOT / "tools" / "docs_tree.py"))


def test_the_site_has_every_page_once(tmp_path: Path) -> None:
    for language, file in (("en", "mkdocs.yml"), ("zh", "mkdocs.zh.yml")):
        SITE["lay_out"](language, tmp_path / language)
        laid_out = {
            path.relative_to(tmp_path / language).as_posix()
            for path in (tmp_path / language).rglob("*.md")
        }
        named = re.findall(r": (\S+\.md)$", read(file), re.MULTILINE)
        assert sorted(named) == sorted(page for page in laid_out if page[:6] != "files/")


def test_a_link_of_the_site_leads_where_the_page_went(tmp_path: Path) -> None:
    SITE["lay_out"]("zh", tmp_path)
    page = (tmp_path / "errcodes" / "72042.md").read_text("utf-8")
    assert "(../../errcodes/72042.html)" in page  # the English site is one level up
    page = (tmp_path / "upgrading.md").read_text("utf-8")
    assert "(changelog.md)" in page
    assert (tmp_path / "files" / "examples" / "token_sources.py").exists()


def test_a_dead_link_of_the_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<a href="a.html#x">a</a><img src="b.png"><a href="#y">')
    (tmp_path / "a.html").write_text("")
    assert SITE["dead_links"](tmp_path) == ["index.html: b.png"]


def test_the_api_page_has_every_public_name() -> None:
    named = re.findall(r"^::: (\S+)$", read("docs/api.md"), re.MULTILINE)
    assert named == re.findall(r"^::: (\S+)$", read("docs/zh/api.md"), re.MULTILINE)
    shown = [pkgutil.resolve_name(name) for name in named]
    modules = {thing.__name__ for thing in shown if isinstance(thing, ModuleType)}
    types = {"Bill", "FlatBill", "NestedBill", "TableBill"}  # of a type checker
    for name in set(nontax.__all__) - types:
        thing = getattr(nontax, name)
        assert thing in shown or thing.__module__ in modules, name
        assert f"`{name}`" in read("docs/zh/api.md"), name  # where Chinese says what it is for


def test_names_of_the_c_pages_stand_in_the_header() -> None:
    header = read("csrc/core/nontax.h")
    for page in ("docs/c-api.md", "docs/zh/c-api.md"):
        for name in set(re.findall(r"`(nontax_\w+)`", read(page))):
            assert re.search(rf"\b{name}\b", header), name


@pytest.mark.parametrize("page", [page for page in DOCS if "errcodes/" in page])
def test_a_page_about_a_code_says_what_the_core_knows(page: str) -> None:
    rows = re.findall(r"^\| (-?\d+) \| `(\w+)` \| `[^`]+` \| `(\w+)` \|$", read(page), re.MULTILINE)
    title = read(page).splitlines()[0]
    assert rows
    for code, name, error in rows:
        assert code in title
        assert nontax.errcode(int(code)).name == name
        assert type(refusal_of(int(code), "", "")).__name__ == error


@pytest.mark.parametrize("language", ["docs", "docs/zh"])
def test_every_page_about_a_code_is_in_the_list(language: str) -> None:
    listed = re.findall(
        r"^\| \[([^]]+)\]\((errcodes/\S+)\)", read(f"{language}/errcodes.md"), re.MULTILINE
    )
    pages = {path.name for path in (ROOT / language / "errcodes").glob("*.md")}
    assert {name.partition("/")[2] for _, name in listed} == pages
    for codes, name in listed:
        title = read(f"{language}/{name}").splitlines()[0]
        assert all(code in title for code in re.findall(r"-?\d+", codes)), name
