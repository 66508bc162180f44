"""A report as one HTML file without scripts: to be read, printed on A4 and signed."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import islice

from nontax.reconciliation import tables
from nontax.reconciliation.facts import facts, title
from nontax.reconciliation.report import Report
from nontax.reconciliation.tables import Cell, Column, Table
from nontax.reconciliation.words import Words

# What a person reads; all rows stand in the other files.
_ROWS = 2000
_BAR = 360
_STEP = 18

_STYLE = """
@page { size: A4; margin: 12mm; }
@page wide { size: A4 landscape; margin: 12mm; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 16px; color: #1a1a1a; background: #fff;
  font: 13px/1.5 "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC",
  SimSun, sans-serif; }
h1 { font-size: 20px; text-align: center; margin: 4px 0 12px; }
h2 { font-size: 15px; margin: 18px 0 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 0; }
dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; }
dd.result { font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid #b9c0c9; padding: 3px 6px; text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
th { background: #e8eef7; font-weight: 600; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.n { white-space: normal; }
.id { white-space: nowrap; }
.note { color: #555; }
svg { display: block; max-width: 100%; }
svg text { font-size: 12px; fill: #1a1a1a; }
.foot { display: flex; gap: 16px; margin-top: 30px; }
.foot span { flex: 1; border-bottom: 1px solid #1a1a1a; padding-bottom: 18px; }
.first { break-after: page; }
.first td:first-child { white-space: nowrap; }
.wide { page: wide; font-size: 11px; }
.wide th, .wide td { padding: 2px 4px; }
@media print {
  body { max-width: none; padding: 0; font-size: 11px; line-height: 1.35; }
  h1 { margin: 0 0 8px; font-size: 18px; }
  h2 { margin: 8px 0 3px; font-size: 13px; }
  th, td { padding: 1px 5px; }
  svg { height: auto; width: 72%; }
  .foot { margin-top: 14px; }
}
"""


def page(report: Report, words: Words, shown: Callable[[str], str]) -> Iterator[str]:
    """The parts of the file. shown: how a payer's name is written."""
    lang = {"zh": "zh-CN"}.get(words.lang, words.lang)
    yield f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
    yield f"<title>{escape(title(report, words))}</title>\n<style>{_STYLE}</style>\n"
    yield '</head>\n<body>\n<section class="first">\n'
    yield from _first_page(report, words)
    yield "</section>\n"
    yield from _differences(report, words, shown)
    for table in (*tables.all_groups(report, words), tables.ranges(report, words)):
        yield from html_table(table, words)
    yield from html_table(tables.gaps(report, words), words)
    yield "</body>\n</html>\n"


def _first_page(report: Report, words: Words) -> Iterator[str]:
    yield f"<h1>{escape(title(report, words))}</h1>\n<dl>\n"
    found = facts(report, words)
    for name, value in found:
        kind = ' class="result"' if (name, value) == found[-1] else ""
        yield f"<dt>{escape(name)}</dt><dd{kind}>{escape(value)}</dd>\n"
    yield "</dl>\n"
    yield from html_table(tables.totals(report, words), words)
    yield from html_table(tables.classes(report, words), words)
    yield from html_chart(report, words)
    names = ("Prepared by", "Checked by", "Approved by", "Unit (seal)")
    spans = "".join(f"<span>{escape(words(name))}：</span>" for name in names)
    yield f'<div class="foot">{spans}</div>\n'


def html_chart(report: Report, words: Words) -> Iterator[str]:
    """Open differences by class, as bars."""
    open_ = report.open
    if not open_:
        return
    most = max(open_.values())
    height = _STEP * len(open_) + 4
    heading = escape(words("Open differences by class"))
    yield f'<h2>{heading}</h2>\n<svg viewBox="0 0 720 {height}" width="720" height="{height}" '
    yield f'role="img" aria-label="{heading}">\n'
    for at, (name, count) in enumerate(open_.items()):
        y = _STEP * at
        width = max(2, _BAR * count // most)
        yield f'<text x="0" y="{y + 13}">{escape(words.name(name))}</text>'
        yield f'<rect x="240" y="{y + 3}" width="{width}" height="{_STEP - 6}" fill="#c77700"/>'
        yield f'<text x="{248 + width}" y="{y + 13}">{count:,}</text>\n'
    yield "</svg>\n"


def _differences(report: Report, words: Words, shown: Callable[[str], str]) -> Iterator[str]:
    table = tables.differences(report, words, shown)
    rows = (row[: table.main] for row in table.rows)
    yield '<section class="wide">\n'
    yield from html_table(table._replace(columns=table.columns[: table.main], rows=rows), words)
    yield "</section>\n"


def html_table(table: Table, words: Words, most: int = _ROWS) -> Iterator[str]:
    """A heading and a table of at most so many rows."""
    yield f"<h2>{escape(table.title)}</h2>\n"
    if not table.size:
        yield f'<p class="note">{escape(words("No rows."))}</p>\n'
        return
    yield "<table>\n<thead><tr>"
    for column in table.columns:
        yield f"<th{_kind(column)}>{escape(column.title)}</th>"
    yield "</tr></thead>\n<tbody>\n"
    for row in islice(table.rows, most):
        yield f"<tr>{_cells(row, table.columns)}</tr>\n"
    yield "</tbody>\n</table>\n"
    if table.size > most:
        text = words(
            "{shown} of {count} rows are shown; the others are in the Excel and CSV files.",
            shown=most,
            count=table.size,
        )
        yield f'<p class="note">{escape(text)}</p>\n'


def _kind(column: Column) -> str:
    return {"text": "", "id": ' class="id"'}.get(column.kind, ' class="n"')


def _cells(row: Sequence[Cell], columns: Sequence[Column]) -> str:
    return "".join(
        f"<td{_kind(column)}>{escape(_text(cell, column.kind))}</td>"
        for cell, column in zip(row, columns, strict=True)
    )


def _text(cell: Cell, kind: str) -> str:
    if not isinstance(cell, int):
        return cell or ""
    if kind != "yuan":
        return f"{cell:,}"
    whole, _, rest = tables.text_of(cell, kind).partition(".")
    return f"{int(whole):,}.{rest}" if whole != "-0" else f"-0.{rest}"
