"""Reconciliation of real files, and what a report is written as."""

import csv
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import python_calamine
from reconciling import DAY

import nontax
from nontax.reconciliation import Report, as_xlsx, explain
from nontax.reconciliation.words import Words
from nontax.sheets import MissingExtra, SheetError, mask_name

HOSPITAL = """\
业务流水号,订单号,票据代码,票据号码,开票金额（元）,开票日期,开票时间,患者姓名,开票点,数据类型,关联票据代码,关联票据号码
B001,H001,11010126,0000000001,12.50,2026-11-29,09:15:00,张三,窗口1,正常电子,,
B002,H002,11010126,0000000002,"1,234.00",2026-11-29,09:16:00,=HYPERLINK(1),窗口1,正常电子,,
B003,H003,11010126,0000000003,70.10,2026-11-29,10:00:00,欧阳锋,窗口2,正常电子,,
B004,H003,11010126,0000000004,-70.10,2026-11-29,11:00:00,欧阳锋,窗口2,电子红票,11010126,0000000003
B005,H005,11010126,0000000007,3.00,2026-11-29,23:59:00,赵六,窗口2,正常电子,,
"""
PLATFORM = """\
order_id,billing_no,billing_code,fee,billing_time,title
H001,11010126,0000000001,1250,2026-11-29 09:15:00,张三
H001,11010126,0000000001,1250,2026-11-29 09:15:00,张三
H002,11010126,0000000002,123401,2026-11-29 09:16:00,李四
H003,11010126,0000000003,7010,2026-11-29 10:00:00,欧阳峰
H009,11010126,0000000009,5,2026-11-29 12:00:00,<b>王五</b>
"""


@pytest.fixture
def lists(tmp_path: Path) -> tuple[str, Any]:
    (tmp_path / "医院.csv").write_bytes(HOSPITAL.encode("gb18030"))
    (tmp_path / "平台.csv").write_text(PLATFORM, "utf-8")
    other = nontax_sheets().open_list(tmp_path / "平台.csv", unit="fen", settle=0)
    return str(tmp_path / "医院.csv"), other


def nontax_sheets() -> Any:
    from nontax import sheets

    return sheets


@pytest.fixture
def report(lists: tuple[str, Any], tmp_path: Path) -> Report:
    listed, other = lists
    found = nontax.reconcile(listed, other, day=DAY, settle=0)
    [row] = [row for row in found.differences() if row.name == "duplicate_ledger"]
    explain(tmp_path / "explained.jsonl", row, by="赵经办", checked_by="钱复核", note="=重开")
    explained = tmp_path / "explained.jsonl"
    return nontax.reconcile(listed, other, day=DAY, settle=0, explained=explained)


def test_two_files(report: Report) -> None:
    assert report.open == {"amount_mismatch": 1, "unexpected": 1, "field_mismatch": 1} | {
        "cancel_missing": 1
    }
    assert report.explained == {"duplicate_ledger": 1}
    assert report.classes["carried_over"].list == (1, 300)
    assert report.totals["issues"] == ((4, 131960), (5, 132916))
    assert report.totals["refunds"] == ((1, -7010), (0, 0))
    assert report.sources[0].name == "医院.csv"
    assert len(report.sources[0].digest) == 64
    assert repr(report) == (
        f"<Report of {DAY}: amount_mismatch=1, unexpected=1, field_mismatch=1, cancel_missing=1>"
    )


def test_a_row_that_cannot_be_read_makes_no_report(lists: tuple[str, Any]) -> None:
    listed, other = lists
    Path(listed).write_bytes(HOSPITAL.replace("12.50", "12.5O").encode("gb18030"))
    with pytest.raises(SheetError) as caught:
        nontax.reconcile(listed, other, day=DAY, settle=0)
    assert [problem.row for problem in caught.value.problems] == [2]


def test_rows_and_frames() -> None:
    import pandas

    rows = [
        {"order_id": "1", "fee": 5, "billing_time": 1_795_924_800},
        {"order_id": "2", "fee": 6, "billing_time": 1_795_924_800},
    ]
    frame = pandas.DataFrame(rows[:1])
    report = nontax.reconcile(iter(rows), frame, day="all", unit="fen")
    assert report.open == {"missing": 1}
    assert report.classes["missing"].list == (1, 6)


def test_the_key_of_a_file_that_has_two(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("订单号,业务流水号,金额（元）\n1,B1,1.00\n2,,2.00\n", "utf-8")
    (tmp_path / "b.csv").write_text("业务流水号,金额（元）\nB1,1.00\n", "utf-8")
    with pytest.raises(SheetError) as caught:
        nontax.reconcile(tmp_path / "a.csv", tmp_path / "b.csv", day="all", settle=0)
    [problem] = caught.value.problems
    assert (problem.row, problem.column) == (3, "业务流水号")


def test_a_statement_of_payments() -> None:
    lists = Path(__file__).parent.parent / "examples" / "lists"
    sheets = nontax_sheets()
    hospital = sheets.open_list(lists / "hospital.csv", map=lists / "hospital.toml", settle=0)
    paid = sheets.open_list(lists / "wechat.csv", unit="yuan", key="商户订单号", settle=0)
    report = nontax.reconcile(hospital, paid, day="2026-11-30")
    # A payment's time is not its bill's, and its refund has no number: nothing is said of either.
    assert report.open == {"missing": 2, "unexpected": 1}
    assert report.classes["matched"].list == report.classes["matched"].other == (3, 160750)
    assert report.totals["refunds"] == ((0, 0), (1, -1500))


# What is written


def written(report: Report, folder: Path, **options: Any) -> dict[str, Path]:
    return {Path(path).name: Path(path) for path in report.write(folder, **options)}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_same_report_gives_the_same_bytes(
    lists: tuple[str, Any], report: Report, tmp_path: Path, lang: str
) -> None:
    listed, other = lists
    again = nontax.reconcile(
        listed, other, day=DAY, settle=0, explained=tmp_path / "explained.jsonl"
    )
    first = written(report, tmp_path / "1", lang=lang)
    second = written(again, tmp_path / "2", lang=lang)
    assert list(first) == [
        "report.jsonl",
        "summary.csv",
        "numbers.csv",
        "differences.csv",
        "report.xlsx",
        "report.html",
        "carried.jsonl",
    ]
    for name, path in first.items():
        assert path.read_bytes() == second[name].read_bytes(), name


class Tables(HTMLParser):
    """The tables of a page, cell by cell, and the names of all its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.elements: set[str] = set()
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[-1][-1][-1] += data


def test_all_files_have_the_same_numbers(report: Report, tmp_path: Path) -> None:
    paths = written(report, tmp_path / "out")
    lines = [json.loads(line) for line in paths["report.jsonl"].read_text("utf-8").splitlines()]
    with open(paths["summary.csv"], encoding="utf-8-sig", newline="") as file:
        summary = list(csv.reader(file))[1:]
    with open(paths["differences.csv"], encoding="utf-8-sig", newline="") as file:
        differences = list(csv.reader(file))
    book = python_calamine.load_workbook(str(paths["report.xlsx"]))
    assert book.sheet_names == ["汇总", "差异明细", "分组", "票号段", "断号"]
    page = Tables()
    page.feed(paths["report.html"].read_text("utf-8"))

    words = Words("zh", ledger=False)
    for line in lines:
        if line["type"] == "class" and (line["list_rows"] or line["other_rows"]):
            name = words.name(line["name"])
            numbers = [line["list_rows"], line["list_fen"], line["other_rows"], line["other_fen"]]
            [in_csv] = [row[2:] for row in summary if row[:2] == ["对明细账", name]]
            assert list(as_numbers(in_csv)) == numbers
            [in_book] = [
                row for row in book.get_sheet_by_name("汇总").to_python() if row[0] == name
            ]
            assert list(as_numbers(map(str, in_book[1:5]))) == numbers
            [in_page] = [row for row in page.tables[1] if row[0] == name]
            assert list(as_numbers(cell.replace(",", "") for cell in in_page[1:5])) == numbers
    rows = [line for line in lines if line["type"] == "difference"]
    sheet = book.get_sheet_by_name("差异明细").to_python()
    assert len(rows) == len(differences) - 1 == len(sheet) - 1 == 6
    for row, in_csv, cells in zip(rows, differences[1:], sheet[1:], strict=True):
        for at, name in ((8, "list_fen"), (9, "other_fen")):
            shown = "" if row[name] is None else f"{row[name] / 100:.2f}"
            assert in_csv[at] == shown
            assert cells[at] == (float(shown) if shown else "")
        # An id is text: it keeps its zeros.
        assert cells[5] == in_csv[5] == row["billing_code"]


def as_numbers(cells: Iterator[str] | list[str]) -> Iterator[int]:
    """Counts and amounts, in turn; amounts in fen."""
    for at, cell in enumerate(cells):
        yield round(float(cell) * (100 if at % 2 else 1))


def test_names_are_masked_unless_asked_for(report: Report, tmp_path: Path) -> None:
    names = ("张三", "欧阳锋", "欧阳峰", "赵六", "王五")
    for lang in ("zh", "en"):
        for path in report.write(tmp_path / "masked", lang=lang):
            content = Path(path).read_bytes()
            assert not any(name.encode() in content for name in names), path
        book = python_calamine.load_workbook(str(tmp_path / "masked" / "report.xlsx"))
        assert not any(name in str(book.get_sheet_by_index(1).to_python()) for name in names)
    paths = written(report, tmp_path / "shown", show_names=True)
    for name in ("report.jsonl", "differences.csv", "report.html"):
        assert "欧阳锋" in paths[name].read_text("utf-8")
        assert "欧阳峰" in paths[name].read_text("utf-8")
    assert mask_name("欧阳锋") in (tmp_path / "masked" / "report.html").read_text("utf-8")


def test_the_page_is_one_file_without_scripts(report: Report, tmp_path: Path) -> None:
    [path, _] = report.write(tmp_path, formats=["html"], lang="zh", show_names=True)
    text = Path(path).read_text("utf-8")
    page = Tables()
    page.feed(text)
    assert not page.elements & {"script", "link", "img", "iframe", "b"}
    assert "&lt;b&gt;王五" in text
    assert not re.search(r"https?:|url\(|@import", text)
    for word in ("制表", "复核", "负责人", "单位（公章）", "1,319.60", DAY):
        assert word in text


def test_no_cell_is_a_formula(report: Report, tmp_path: Path) -> None:
    paths = written(report, tmp_path, show_names=True)
    with open(paths["differences.csv"], encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=HYPERLINK(1)" in cells
    assert "'=重开" in cells
    assert not any(cell.startswith("=") for cell in cells)
    book = python_calamine.load_workbook(str(paths["report.xlsx"]))
    values = [cell for row in book.get_sheet_by_name("差异明细").to_python() for cell in row]
    assert {"=HYPERLINK(1)", "=重开"} <= set(values)
    assert b"<f>" not in paths["report.xlsx"].read_bytes()


def test_a_long_table_goes_on_on_another_sheet(report: Report, tmp_path: Path) -> None:
    words = Words("en", ledger=False)
    as_xlsx.write(report, tmp_path / "long.xlsx", words, mask_name, rows_a_sheet=4)
    book = python_calamine.load_workbook(str(tmp_path / "long.xlsx"))
    sheets = ["Differences", "Differences 2"]
    assert [name for name in book.sheet_names if name.startswith("Diff")] == sheets
    first, second = (book.get_sheet_by_name(name).to_python() for name in sheets)
    assert (len(first), len(second)) == (5, 3)
    assert first[0] == second[0]
    assert [row[0] for row in first[1:] + second[1:]] == [1, 2, 3, 4, 5, 6]


def test_a_workbook_needs_an_extra(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xlsxwriter", None)
    with pytest.raises(MissingExtra, match=r"pip install 'nontax\[excel\]'") as caught:
        report.write(tmp_path / "out")
    assert str(caught.value).count("\n") == 0
    assert not (tmp_path / "out" / "report.xlsx").exists()
    assert len(report.write(tmp_path / "out", formats=["csv", "html"])) == 5


def test_only_known_formats_and_languages(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'pdf' is no format; give some of: jsonl, csv"):
        report.write(tmp_path / "out", formats=["pdf"])
    with pytest.raises(ValueError, match='give "en" or "zh"'):
        report.write(tmp_path / "out", lang="fr")
    assert not (tmp_path / "out").exists()


def test_the_carried_file_is_taken(report: Report, tmp_path: Path) -> None:
    paths = written(report, tmp_path / "out", formats=[])
    (tmp_path / "next.csv").write_text(
        "订单号,票据代码,票据号码,金额（元）,开票时间\n"
        "H010,11010126,0000000010,1.00,2026-11-30 08:00:00\n",
        "utf-8",
    )
    following = nontax.reconcile(
        tmp_path / "next.csv",
        tmp_path / "next.csv",
        day="2026-11-30",
        settle=0,
        carried=paths["carried.jsonl"],
    )
    assert following.open == {"missing": 1}
    [row] = following.differences()
    assert (row.order_id, row.list_fen) == ("H005", 300)
