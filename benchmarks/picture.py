"""Draws a report as an SVG: plain bars with their range, on a card of its own, light and dark."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from report import HEADINGS, TITLES, Report, Spread

WIDTH = 760
MARGIN = 24
LABELS = 190
VALUES = 90
BARS = WIDTH - 2 * MARGIN - LABELS - VALUES
ROW = 24
HEADING = 54
FOOTER = 44

STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
.heading { font-size: 15px; font-weight: 600 }
.faint { fill: #57606a; font-size: 12px }
.card { fill: #ffffff; stroke: #d0d7de }
.ours { fill: #2b6cb0 } .floor { fill: #6e7781 } .peer { fill: #b6c2cf }
.range { stroke: #24292f; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #9198a1 } .card { fill: #0d1117; stroke: #3d444d }
  .ours { fill: #4493f8 } .floor { fill: #9198a1 } .peer { fill: #4a5563 }
  .range { stroke: #e6edf3 }
}"""


@dataclass(frozen=True)
class Panel:
    """Bars under one heading: label, kind ("ours", "floor" or "peer") and value of each."""

    heading: str
    remark: str
    digits: int
    bars: list[tuple[str, str, Spread]]

    @property
    def height(self) -> int:
        return HEADING + ROW * len(self.bars)


def kind(name: str) -> str:
    if name.startswith("nontax"):
        return "ours"
    return "floor" if name.startswith(("bare", "floor")) else "peer"


def panels(report: Report) -> Iterator[Panel]:
    for in_flight, titles in TITLES.items():
        names = [name for name in titles if name in report.costs]
        bars = [(titles[name], kind(name), report.cpu_us(name)) for name in names]
        yield Panel(
            HEADINGS[in_flight], "client's CPU time per bill in µs; less is better", 0, bars
        )
        names = [name for name in names if name in report.speeds]
        bars = [(titles[name], kind(name), report.per_second(name)) for name in names]
        yield Panel(HEADINGS[in_flight], "bills per second on two cores; more is better", 0, bars)
    bars = [
        (name, kind(name), Spread.of(report.import_ms(name)))
        for name in report.imports_ms
        if name != "pass"
    ]
    yield Panel("Import", "CPU time added to the start of Python in ms; less is better", 1, bars)


def draw_panel(panel: Panel, top: int) -> Iterator[str]:
    heading = f'<tspan class="heading">{escape(panel.heading)}</tspan>'
    remark = f'<tspan class="faint" dx="8">{escape(panel.remark)}</tspan>'
    yield f'<text x="{MARGIN}" y="{top + 36}">{heading}{remark}</text>'
    left = MARGIN + LABELS
    scale = BARS / max(spread.high for _, _, spread in panel.bars)
    for number, (label, style, spread) in enumerate(panel.bars):
        y = top + HEADING + ROW * number
        end = left + spread.median * scale
        low, high = left + spread.low * scale, left + spread.high * scale
        value = f"{spread.median:,.{panel.digits}f}"
        yield f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
        yield (
            f'<rect class="{style}" x="{left}" y="{y}" '
            f'width="{max(1.0, end - left):.1f}" height="{ROW - 6}"/>'
        )
        yield f'<path class="range" d="M{low:.1f} {y + 9}H{high:.1f}"/>'
        yield f'<text x="{max(end, high) + 8:.1f}" y="{y + 13}">{value}</text>'


def draw(report: Report) -> str:
    """Return the whole picture. Panels without a bar are left out."""
    shown = [panel for panel in panels(report) if panel.bars]
    height = sum(panel.height for panel in shown) + FOOTER
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label="nontax benchmarks">',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
    ]
    top = 0
    for panel in shown:
        lines += draw_panel(panel, top)
        top += panel.height
    machine = f"{report.machine['CPU']}; {report.machine['placed']}; lines: lowest to highest round"
    lines += [
        f'<text class="faint" x="{MARGIN}" y="{height - 16}">{escape(machine)}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
