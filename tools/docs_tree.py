"""Lays out the pages as the site's two sources: usage: docs_tree.py FOLDER [SITE].

FOLDER: gets en/ and zh/: each language's pages, what they show, and the files they link to. A page
that exists in one language only stands in both. Links are turned to where their files are then, and
the line breaks of Chinese paragraphs taken out; nothing else is changed.
SITE: a built site instead; every link of its pages must lead to a file in it.
"""

import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Pages that stand outside docs/, since a repository has them at its top; all in English.
OUTSIDE = ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
# A line break between two Chinese characters would become a blank.
BREAK = re.compile(r"(?<=[\u2e80-\u9fff\uff00-\uffef])\n(?=[\u2e80-\u9fff\uff00-\uffef])")
CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def pages_of(language: str) -> dict[Path, Path]:
    """Each page's source and its place in the language's tree."""
    english = {
        path: path.relative_to(DOCS)
        for path in DOCS.rglob("*.md")
        if DOCS / "zh" not in path.parents
    }
    chinese = {path: path.relative_to(DOCS / "zh") for path in (DOCS / "zh").rglob("*.md")}
    own = english if language == "en" else chinese
    there = set(own.values())
    alone = {path: place for path, place in english.items() if place not in there}
    outside = {ROOT / name: Path(name.replace("/README", "").lower()) for name in OUTSIDE}
    return own | alone | outside


def other_page(source: Path, language: str) -> Path | None:
    """Where the other language's site has a page that is no page of this one."""
    if language == "zh":
        inside = source.is_relative_to(DOCS) and not source.is_relative_to(DOCS / "zh")
        return Path("..") / source.relative_to(DOCS) if inside else None
    return source.relative_to(DOCS) if source.is_relative_to(DOCS / "zh") else None


def lay_out(language: str, folder: Path) -> None:
    """Write one language's tree."""
    pages = pages_of(language)
    readme = ROOT / ("README.md" if language == "en" else "README.zh-CN.md")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DOCS / "site.css", folder / "site.css")
    files: set[Path] = set()

    def turned(source: Path, place: Path, target: str) -> str:
        file = (source.parent / unquote(target)).resolve()
        if not file.is_relative_to(ROOT) or not file.exists():
            raise SystemExit(f"{source.relative_to(ROOT)}: the link {target} leads nowhere")
        if file in (ROOT / "README.md", ROOT / "README.zh-CN.md"):
            to = Path("index.md") if file == readme else Path("..", "index.html")
        elif file in pages:
            to = pages[file]
        elif elsewhere := other_page(file, language) if file.suffix == ".md" else None:
            to = elsewhere.with_suffix(".html")
        else:
            if file.is_dir():
                raise SystemExit(f"{source.relative_to(ROOT)}: name a file of the folder {target}")
            files.add(file)
            to = Path("files") / file.relative_to(ROOT)
        return Path(os.path.relpath(to, place.parent)).as_posix()

    for source, place in pages.items():
        parts = CODE.split(source.read_text("utf-8"))
        for number in range(0, len(parts), 2):
            parts[number] = LINK.sub(
                lambda link, source=source, place=place: (
                    link[0]
                    if urlsplit(link[2]).scheme
                    else f"{link[1]}{turned(source, place, link[2])}{link[3] or ''}{link[4]}"
                ),
                parts[number],
            )
            parts[number] = BREAK.sub("", parts[number])
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(parts), "utf-8")
    for file in files:
        path = folder / "files" / file.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, path)


class Links(HTMLParser):
    """What a page links to and shows."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if name in ("href", "src") and value]


def dead_links(site: Path) -> list[str]:
    """Return each link of a built site that leads to no file of it, or out to fetch something."""
    dead = []
    for page in sorted(site.rglob("*.html")):
        if page.name == "404.html":
            continue
        links = Links()
        links.feed(page.read_text("utf-8"))
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme in ("http", "https", "mailto") or not parts.path:
                continue
            file = page.parent / unquote(parts.path)
            if not (file / "index.html" if file.is_dir() else file).is_file():
                dead.append(f"{page.relative_to(site)}: {target}")
    return dead


def main() -> int:
    """Lay out, or look at a built site; 1 if a link is dead."""
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        dead = dead_links(Path(sys.argv[2]))
        for line in dead:
            print(line, file=sys.stderr)
        return 1 if dead else 0
    for language in ("en", "zh"):
        shutil.rmtree(folder / language, ignore_errors=True)
        lay_out(language, folder / language)
    return 0


if __name__ == "__main__":
    sys.exit(main())
