"""HTML for the sandbox's pages: everything that comes from outside is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei",
    sans-serif;
  margin: 0 auto; padding: 1rem; max-width: 70rem; color: #1c1c1c; background: #f6f6f6; }
body.narrow { max-width: 26rem; }
h1 { font-size: 1.4rem; margin: 1rem 0; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .5rem; }
p { margin: .6rem 0; }
section { background: #fff; border-radius: 8px; padding: 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .5rem 1.2rem; margin: 0 0 1.2rem; }
dt { color: #6a6a6a; }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; background: #fff; border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem; overflow-wrap: break-word;
  border-top: 1px solid #e7e7e7; }
th { color: #6a6a6a; font-weight: 500; border-top: 0; white-space: nowrap; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.good { color: #067a3d; } .bad { color: #b3261e; } .dim { color: #6a6a6a; font-size: .85rem; }
.big { font-size: 1.6rem; font-weight: 600; }
button, a.button { display: block; width: 100%; box-sizing: border-box; padding: .8rem; border: 0;
  border-radius: 8px; background: #067a3d; color: #fff; font: inherit; font-weight: 600;
  text-align: center; text-decoration: none; cursor: pointer; }
form.row { display: flex; flex-wrap: wrap; gap: .6rem; margin: .6rem 0; align-items: center; }
form.row input { flex: 1 1 12rem; min-width: 0; padding: .45rem .6rem; font: inherit; }
form.row select { padding: .45rem; font: inherit; }
form.row button { width: auto; padding: .45rem 1.2rem; }
button:focus-visible, a:focus-visible { outline: 3px solid #0b57d0; outline-offset: 2px; }
@media (prefers-color-scheme: dark) {
  body { color: #eee; background: #181818; }
  section, .scroll { background: #242424; }
  th, td { border-color: #3a3a3a; }
  dt, th, .dim { color: #aaa; } .good { color: #5dd493; } .bad { color: #ff9b92; }
  a { color: #8ab4f8; }
}"""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def html(text: str) -> Html:
    """`text` as HTML; HTML stays as it is."""
    return text if isinstance(text, Html) else Html(escape(text))


def element(tag: str, content: str = "", **attributes: str) -> Html:
    """One element. A trailing underscore in an attribute's name keeps it apart from a keyword."""
    shown = "".join(
        f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items() if value
    )
    return Html(f"<{tag}{shown}>{html(content)}</{tag}>")


def input_field(kind: str, name: str, value: str = "", **attributes: str) -> Html:
    """An input, which has no end tag."""
    whole = element("input", type=kind, name=name, value=value, **attributes)
    return Html(whole.removesuffix("</input>"))


def joined(pieces: Iterable[Html], between: str = "\n") -> Html:
    return Html(between.join(pieces))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int]) -> Html:
    """A table; the columns in `numbers` are set to the right. Without rows, a word about that."""
    if not rows:
        return element("p", "还没有 None yet", class_="dim")
    lines = [joined((element("th", head, scope="col") for head in heads), "")]
    for row in rows:
        cells = (
            element("td", cell, class_="number" if place in numbers else "")
            for place, cell in enumerate(row)
        )
        lines.append(joined(cells, ""))
    body = joined(element("tr", line) for line in lines)
    return element("div", element("table", body), class_="scroll")


def definitions(pairs: Iterable[tuple[str, str]]) -> Html:
    """A list of names and what they are."""
    return element(
        "dl",
        joined(joined((element("dt", name), element("dd", value)), "") for name, value in pairs),
    )


def document(title: str, body: Html, *, narrow: bool = False) -> bytes:
    """A whole page."""
    kind = ' class="narrow"' if narrow else ""
    # The empty icon keeps browsers from asking for one, which would count as a request.
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n"
        f"<body{kind}>\n<h1>{escape(title)}</h1>\n{body}\n"
        "</body>\n</html>\n"
    ).encode("utf-8", "replace")
