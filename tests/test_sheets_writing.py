"""Lists out: no cell of a file that nontax writes is a formula, and ids stay text."""

import zipfile
from pathlib import Path

import pytest
from python_calamine import load_workbook
from test_sheets import HEADER, ROW, ids, open_now, save

from nontax import sheets

FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "＝1+1",
    '=HYPERLINK("http://x","y")',
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_csv_cell_is_no_formula(text: str) -> None:
    assert sheets.csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "张三", "00123", "-12.50", "+1", "a=1", "1-2"])
def test_other_csv_cells_stay_as_they_are(text: str) -> None:
    assert sheets.csv_cell(text) == text


def test_what_is_written_reads_the_same(tmp_path: Path) -> None:
    header = HEADER.split(",")
    rows = [["=1+1", "44030126", "0000000001", "388.50", "2026-11-30 09:15:00", "=张三"]]
    for name in ("a.csv", "a.tsv", "a.xlsx", "a.jsonl"):
        sheets.write_rows(tmp_path / name, header, rows)
        bills = open_now(tmp_path / name)
        [batch] = bills.batches()
        assert bills.problems == []
        assert batch["order_id"] == ["=1+1"], name
        assert batch["title"] == ["=张三"], name
        assert batch["fee"] == [38850]


def test_a_workbook_has_text_cells_only(tmp_path: Path) -> None:
    rows = [[text, "20261130000000000017", 5, None] for text in FORMULAS]
    sheets.write_rows(tmp_path / "a.xlsx", ["a", "b", "c", "d"], rows)
    with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert sheet.count('t="inlineStr"') == 4 + 2 * len(FORMULAS)
    assert "numberStoredAsText" in sheet


def test_nor_does_what_others_write_into_it(tmp_path: Path) -> None:
    with sheets.workbook(tmp_path / "a.xlsx") as book:
        sheet = book.add_worksheet("a")
        sheet.write_row(0, 0, ["=1+1", "007", "https://example.com"])
    with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
        written = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in written
    assert written.count('t="inlineStr"') == 3
    assert "hyperlink" not in written


def test_a_workbook_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.xlsx", "b.xlsx"):
        sheets.write_rows(tmp_path / name, ["a"], [["1"]])
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
        assert "2000-01-01T00:00:00Z" in book.read("docProps/core.xml").decode()


def test_a_new_worksheet_when_one_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nontax.sheets.writing._SHEET_ROWS", 2)
    for rows, names in ((4, ["Sheet1", "Sheet1 (2)"]), (0, ["Sheet1"])):
        sheets.write_rows(tmp_path / "a.xlsx", ["订单号"], [[str(row)] for row in range(rows)])
        book = load_workbook(str(tmp_path / "a.xlsx"))
        assert book.sheet_names == names
        written = [book.get_sheet_by_name(name).to_python() for name in names]
        assert [row for sheet in written for row in sheet[1:]] == [[str(r)] for r in range(rows)]


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    sheets.write_rows(path, ["a"], [["old"]])

    def rows() -> object:
        yield ["new"]
        raise RuntimeError("stop")

    for name in ("a.csv", "a.xlsx", "a.jsonl"):
        with pytest.raises(RuntimeError, match="stop"):
            sheets.write_rows(tmp_path / name, ["a"], rows())  # type: ignore[arg-type]
    assert [found.name for found in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_bytes() == b"\xef\xbb\xbfa\r\nold\r\n"


def test_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(sheets.SheetError, match=r"\.doc: give \.csv"):
        sheets.write_rows(tmp_path / "a.doc", ["a"], [])


def test_rejects_have_the_same_columns_and_the_reason(tmp_path: Path) -> None:
    bad = ROW.replace("388.50", "388.505").replace("HIS1", "HIS2")
    more = ROW.replace("HIS1", "HIS3")
    bills = open_now(save(tmp_path / "a.csv", HEADER, ROW, bad, more)).check()
    count = sheets.write_rejects(tmp_path / "r.xlsx", bills, {4: "72038 未授权"}, lang="en")
    assert count == 2
    again = open_now(tmp_path / "r.xlsx")
    assert again.headers == (*bills.headers, "reason")
    assert [cells[-1] for _, cells in again.rows()] == [
        "the amount has more than two decimals: fen are the smallest unit",
        "72038 未授权",
    ]
    [batch] = again.batches()
    assert batch["order_id"] == ["HIS3"]
    assert ids(again) == [("amount_decimals", 2, "金额（元）")]


def test_rejects_are_all_rows_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nontax.sheets.reading.KEPT", 1)
    bad = ROW.replace("388.50", "388.505")
    bills = open_now(save(tmp_path / "a.csv", HEADER, bad, bad)).check()
    assert (len(bills.problems), bills.problem_count) == (1, 2)
    with pytest.raises(sheets.SheetError, match="problems: 2; only the first 1"):
        sheets.write_rejects(tmp_path / "r.csv", bills)
    assert not (tmp_path / "r.csv").exists()


def test_the_template_keeps_ids_as_text(tmp_path: Path) -> None:
    sheets.template(tmp_path / "t.xlsx")
    bills = open_now(tmp_path / "t.xlsx", require=sheets.INSERT)
    assert {*sheets.INSERT, "card_id", "appid", "pdf"} <= bills.fields
    assert bills.check().problems == []
    with zipfile.ZipFile(tmp_path / "t.xlsx") as book:
        assert 'numFmtId="49"' in book.read("xl/styles.xml").decode()


def test_names_are_masked() -> None:
    assert list(map(sheets.mask_name, ["", "张", "张三", "张三丰", "某某市第一中学"])) == [
        "",
        "张",
        "张*",
        "张**",
        "某**",
    ]
