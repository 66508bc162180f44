"""Rows that were not sent, in a file with the same columns and why; and a list to fill in."""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal

from nontax.language import words
from nontax.sheets.listing import BillList
from nontax.sheets.problems import Problem, SheetError
from nontax.sheets.writing import Cell, workbook, write_rows, write_sheet

REASON = "reason"

_TEMPLATE = (
    "订单号",
    "卡券模板ID",
    "AppID",
    "票据代码",
    "票据号码",
    "金额（元）",
    "开票时间",
    "交款人",
    "PDF文件名",
)


def write_rejects(
    path: str | os.PathLike[str],
    bills: BillList,
    reasons: Mapping[int, str] | None = None,
    lang: str = "zh",
) -> int:
    """Write the rows of a list that have problems, with its own columns and a last one: 原因.

    path: .xlsx (ids stay text), .csv, .tsv or .jsonl. bills: a list that has been read; its file is
    read again. reasons: further rows (row number → why), such as what WeChat did not accept.
    lang: "zh" or "en", of the reasons.

    Returns how many rows were written (int). Corrected, the file can be read as a list again: its
    last column is not looked at. Raises `SheetError` if there were too many problems to keep.
    """
    if bills.problem_count > len(bills.problems):
        values = {"count": bills.problem_count, "kept": len(bills.problems)}
        raise SheetError([Problem("too_many_problems", values, bills.name)])
    said: dict[int, list[str]] = {}
    for problem in bills.problems:
        if problem.row:
            said.setdefault(problem.row, []).append(problem.words(lang))
    for row, reason in (reasons or {}).items():
        said.setdefault(row, []).append(reason)
    gettext = words(lang).gettext
    header = [*(text or " " for text in bills.headers), gettext(REASON)]
    semicolon = gettext("; ")
    count = 0

    def rows() -> Iterator[Sequence[Cell]]:
        nonlocal count
        width = len(bills.headers)
        for number, cells in bills.rows():
            if number in said:
                count += 1
                shown = [_as_text(cell) for cell in (*cells, *[""] * (width - len(cells)))]
                yield [*shown[:width], semicolon.join(said[number])]

    write_rows(path, header, rows())
    return count


def _as_text(cell: object) -> str:
    """Write a cell as a person would type it."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float):
        return f"{cell:.15g}"
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(cell, date | time):
        return cell.isoformat()
    return f"{cell:f}" if isinstance(cell, Decimal) else str(cell)


def template(path: str | os.PathLike[str]) -> None:
    """Write an empty list whose columns are text, so that no id becomes a number.

    path: .xlsx, or what `write_rows` takes; only a workbook keeps a column as text. Fill in the
    rows, delete columns that are not needed, and read it with `open_list`.
    """
    if not os.fspath(path).lower().endswith(".xlsx"):
        write_rows(path, _TEMPLATE, ())
        return
    with workbook(path) as book:
        write_sheet(book, "票据", _TEMPLATE, ())
