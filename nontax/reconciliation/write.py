"""Writes a report's files: the same report gives the same bytes."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from nontax.reconciliation import as_csv, as_html, as_jsonl, as_xlsx
from nontax.reconciliation.report import Report
from nontax.reconciliation.words import Words
from nontax.sheets import mask_name
from nontax.sheets.writing import replacing

FORMATS = ("jsonl", "csv", "xlsx", "html")


def write(
    report: Report,
    folder: str | os.PathLike[str],
    *,
    formats: Iterable[str],
    lang: str,
    show_names: bool,
) -> list[str]:
    """See `Report.write`."""
    wanted = list(dict.fromkeys(formats))
    for name in wanted:
        if name not in FORMATS:
            raise ValueError(f"{name!r} is no format; give some of: {', '.join(FORMATS)}")
    words = Words(lang, ledger=report.ledger)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    shown: Callable[[str], str] = str if show_names else mask_name
    paths = []
    if "jsonl" in wanted:
        paths.append(_text(place / "report.jsonl", as_jsonl.lines(report, shown)))
    if "csv" in wanted:
        paths += as_csv.write(report, place, words, shown)
    if "xlsx" in wanted:
        paths.append(as_xlsx.write(report, place / "report.xlsx", words, shown))
    if "html" in wanted:
        paths.append(_text(place / "report.html", as_html.page(report, words, shown)))
    carried = (json.dumps(row, ensure_ascii=False) + "\n" for row in report.carried())
    paths.append(_text(place / "carried.jsonl", carried))
    return paths


def _text(path: Path, parts: Iterable[str]) -> str:
    with replacing(path) as out:
        for part in parts:
            out.write(part.encode())
    return str(path)
