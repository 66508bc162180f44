"""Whole columns and whole blocks of lines are converted at once: as cell by cell, line by line."""

import csv
import io
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from nontax.sheets import delimited
from nontax.sheets.amounts import FenColumn, YuanColumn
from nontax.sheets.cells import Column, IdColumn, TextColumn
from nontax.sheets.moments import TimeColumn

DIRT = st.sampled_from(["", " ", "\t", "`", "'", "\u3000", "\u200b", '"', "=", "=1+1", "元", "E+1"])
CELLS = {
    "id": st.from_regex(r"[0-9A-Za-z._-]{0,20}", fullmatch=True),
    "text": st.text("测试甲 a=·'", max_size=6),
    "yuan": st.from_regex(r"-?([0-9]{1,3}|[0-9]{1,3},[0-9]{3})(\.[0-9]{0,3})?", fullmatch=True),
    "fen": st.from_regex(r"-?[0-9]{0,20}", fullmatch=True),
    "time": st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat(" "))
    | st.sampled_from(["2026-W48-1 09:15:00", "20261130091500", "2026-11-30"]),
}
COLUMNS: dict[str, Callable[[], Column[Any]]] = {
    "id": lambda: IdColumn("order_id"),
    "text": lambda: TextColumn("title"),
    "yuan": lambda: YuanColumn("fee"),
    "fen": lambda: FenColumn("fee"),
    "time": lambda: TimeColumn("billing_time", days=True),
}


OTHERS: list[st.SearchStrategy[Any]] = [
    *(st.none(), st.integers(), st.floats(), st.booleans(), st.decimals()),
    *(st.datetimes(), st.dates(), st.times(), st.timedeltas()),
]


@st.composite
def columns(draw: DrawFn) -> tuple[str, list[object]]:
    kind = draw(st.sampled_from(sorted(CELLS)))
    clean = draw(st.lists(CELLS[kind], max_size=4))
    if draw(st.booleans()):
        return kind, list(clean)
    dirty = st.tuples(DIRT, CELLS[kind], DIRT).map("".join)
    return kind, draw(st.lists(st.one_of(CELLS[kind], dirty, *OTHERS), max_size=4))


@given(columns())
@example(("time", ["2026-W48-1 09:15:00"]))
@example(("time", ["20261130 09:15:00.1"]))
@example(("time", ["0001-01-01 00:00:00"]))
@example(("yuan", ["1.00,2.00"]))
@example(("yuan", ["1.00", "1,234.50"]))
@example(("yuan", ["1.00\n2,222.00"]))
@example(("yuan", ["12,34.50"]))
@example(("fen", ["", "1"]))
@example(("id", ["\t1", "2`", "3", " "]))
@example(("id", ["\t1\t2"]))
@example(("fen", [Decimal("NaN"), Decimal("1E+999999"), float("inf"), Decimal("5.00"), 5.5]))
@example(("time", [datetime.max, timedelta.max]))
@example(("text", ["a\nb"]))
def test_a_column_at_once_is_as_cell_by_cell(column: tuple[str, list[object]]) -> None:
    kind, cells = column
    at_once = COLUMNS[kind]()
    values = at_once.convert(cells)
    for place, cell in enumerate(cells):
        alone = COLUMNS[kind]()
        value = alone._one_by_one([cell])[0]
        flaws = [flaw._replace(place=0) for flaw in at_once.flaws if flaw.place == place]
        assert flaws == alone.flaws
        assert flaws or values[place] == value
    alone_corrected = [COLUMNS[kind]() for _ in cells]
    for cell, one in zip(cells, alone_corrected, strict=True):
        one._one_by_one([cell])
    assert at_once.corrected == sum(one.corrected for one in alone_corrected)


CLOCKS = ["", "2026-11-30", "2026-11-30 00:00:00", "20261130", "09:15:00", "091500"]
MOMENTS: st.SearchStrategy[Any] = st.one_of(st.sampled_from(CLOCKS), *OTHERS)


@given(st.lists(st.tuples(MOMENTS, MOMENTS), min_size=1, max_size=3))
def test_a_day_and_a_clock_make_a_moment_or_a_flaw(pairs: list[tuple[object, object]]) -> None:
    column = TimeColumn("billing_time", days=True)
    values = column.convert_two(*map(list, zip(*pairs, strict=True)))
    wrong = {flaw.place for flaw in column.flaws} | set(column.empties)
    assert all((place in wrong) == (value == 0) for place, value in enumerate(values))


LINE_CELLS = st.text('a1,"`\n\r 票', max_size=4)


@example([["a"], ["b", "c", "d"]], "\n", 2)
@given(
    st.lists(st.lists(LINE_CELLS, min_size=1, max_size=4), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 3),
)
def test_lines_are_cut_as_the_csv_module_reads_them(
    rows: list[list[str]], end: str, width: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows(rows)
    lines = text.getvalue()
    if '"' in lines or "\r" in lines.replace(end, ""):
        return
    block = delimited._cut(lines, 2, width, ",", "")
    read = list(csv.reader(io.StringIO(lines, newline="")))
    if block is not None:
        assert [list(cells) for cells in zip(*block.columns, strict=True)] == read
    elif read:
        assert any(len(cells) != width for cells in read)
