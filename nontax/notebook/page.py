"""HTML for a notebook: escaped, without scripts and links, in the colours of its surroundings."""

from collections.abc import Iterable, Sequence
from html import escape

# Text and background are the notebook's own, so that it is right in light and in dark ones. What
# is important has to win over Jupyter's own style of tables and lists.
STYLE = """<style>
div.nontax { font-size: 13px; line-height: 1.5; color: inherit; max-width: 100%; overflow-x: auto; }
div.nontax h2 { font-size: 14px; font-weight: 600; margin: 10px 0 4px; }
div.nontax p { margin: 2px 0; }
div.nontax dl { display: grid !important; grid-template-columns: max-content 1fr; gap: 0 12px;
  margin: 4px 0; }
div.nontax dt, div.nontax dd { float: none !important; width: auto !important; margin: 0; }
div.nontax dt { opacity: .7; font-weight: normal; white-space: nowrap; }
div.nontax dd { overflow-wrap: anywhere; }
div.nontax table { border-collapse: collapse; margin: 2px 0 8px; color: inherit; }
div.nontax table tr, div.nontax table td { background: transparent !important; }
div.nontax table th, div.nontax table td { border: 1px solid rgba(128, 128, 128, .45) !important;
  padding: 2px 8px; text-align: left !important; vertical-align: top; color: inherit;
  max-width: 40em; white-space: normal; }
div.nontax table th { background: rgba(128, 128, 128, .15) !important; font-weight: 600; }
div.nontax table th, div.nontax table td:first-child { white-space: nowrap; }
div.nontax table td.n { text-align: right !important; font-variant-numeric: tabular-nums; }
div.nontax .note { opacity: .7; }
div.nontax .good, div.nontax .bad { padding-left: 8px; border-left: 4px solid #2e9e5b; }
div.nontax .bad { border-left-color: #d98200; }
div.nontax svg { display: block; max-width: 100%; }
div.nontax svg text { font-size: 12px; fill: currentColor; }
</style>"""


def page(title: str, lang: str, parts: Iterable[str]) -> str:
    """The whole of what is shown. parts: HTML, already escaped."""
    lang = {"zh": "zh-CN"}.get(lang, lang)
    head = f'{STYLE}<div class="nontax" lang="{lang}"><h2>{escape(title)}</h2>'
    return f"{head}{''.join(parts)}</div>"


def line(text: str, kind: str = "") -> str:
    """A paragraph. kind: "good", "bad", "note" or ""."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def fact(name: str, value: str, kind: str = "") -> str:
    """A line of a list of facts (dl). kind: as for `line`."""
    of = f' class="{kind}"' if kind else ""
    return f"<dt>{escape(name)}</dt><dd{of}>{escape(value)}</dd>"


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """A table; "" where it has no rows. Numbers (int) stand to the right."""
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    if not lines:
        return ""
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    above = f"<h2>{escape(title)}</h2>" if title else ""
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(value: str | int) -> str:
    if isinstance(value, int):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{escape(value)}</td>"
