"""Lists of bills in: rows, maps, files that settle, totals, PDFs, dicts and frames."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas
import pytest

from nontax import sheets
from nontax.sheets.columns import ALIASES, STATEMENT, squeeze

HEADER = "订单号,票据代码,票据号码,金额（元）,开票时间,交款人"
ROW = "HIS1,33060126,0000000001,388.50,2026-11-30 09:15:00,测试甲"


def save(path: Path, *lines: str, encoding: str = "utf-8", end: str = "\r\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return path


def open_now(source: object, **options: Any) -> sheets.BillList:
    return sheets.open_list(source, settle=0, **options)


def ids(bills: sheets.BillList) -> list[tuple[str, int, str]]:
    return [(problem.id, problem.row, problem.column) for problem in bills.problems]


def refusal(source: object, **options: Any) -> list[str]:
    with pytest.raises(sheets.SheetError) as refused:
        open_now(source, **options).check()
    return [problem.id for problem in refused.value.problems]


# ---- reading


def test_a_clean_list(tmp_path: Path) -> None:
    bills = open_now(save(tmp_path / "a.csv", HEADER, ROW))
    [batch] = bills.batches()
    assert list(batch.rows) == [2]
    assert batch.columns == {
        "order_id": ["HIS1"],
        "billing_no": ["33060126"],
        "billing_code": ["0000000001"],
        "fee": [38850],
        "billing_time": [1796001300],
        "title": ["测试甲"],
        "kind": ["bill"],
    }
    assert batch.keys(("billing_no", "billing_code")) == ["33060126 0000000001"]
    assert bills.totals == {"bill": (1, 38850)}
    assert (bills.problems, bills.notes) == ([], [])


def test_many_blocks_keep_their_row_numbers(tmp_path: Path) -> None:
    rows = [ROW.replace("HIS1", f"HIS{number}") for number in range(2, 3001)]
    rows[2000] = rows[2000].replace("388.50", "388.505")
    bills = open_now(save(tmp_path / "a.csv", HEADER, *rows))
    batches = list(bills.batches())
    assert len(batches) > 3
    assert all(
        order == f"HIS{row}"
        for batch in batches
        for row, order in zip(batch.rows, batch["order_id"], strict=True)
    )
    assert ids(bills) == [("amount_decimals", 2002, "金额（元）")]
    assert bills.totals["bill"][0] == 2998


def test_it_can_be_read_again(tmp_path: Path) -> None:
    bills = open_now(save(tmp_path / "a.csv", HEADER, ROW, ROW.replace("388.50", "")))
    first = bills.check().problems
    assert bills.check().problems == first != []


def test_equal_codes_are_one_object(tmp_path: Path) -> None:
    rows = [ROW.replace("HIS1", f"HIS{number}") for number in range(2, 3001)]
    bills = open_now(save(tmp_path / "a.csv", HEADER, *rows))
    assert len({id(code) for batch in bills.batches() for code in batch["billing_no"]}) == 1


def test_bills_for_the_wallet(tmp_path: Path) -> None:
    lines = [f"{HEADER},状态", f"{ROW},正常", f"{ROW},作废", f"{ROW.replace('HIS1', 'HIS2')},正常"]
    bills = open_now(save(tmp_path / "a.csv", *lines), require=sheets.INSERT)
    found = list(bills.bills({"card_id": "pCard", "appid": "wx0000000000000000"}))
    assert [(bill.row, bill.bill["order_id"], bill.pdf) for bill in found] == [
        (2, "HIS1", None),
        (4, "HIS2", None),
    ]
    assert found[0].bill == {
        "order_id": "HIS1",
        "card_id": "pCard",
        "appid": "wx0000000000000000",
        "fee": 38850,
        "title": "测试甲",
        "billing_time": 1796001300,
        "billing_no": "33060126",
        "billing_code": "0000000001",
    }


def test_constants_of_a_map_file(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('[constants]\ncard_id = "pCard"\n', "utf-8")
    bills = open_now(save(tmp_path / "a.csv", HEADER, ROW), map=tmp_path / "m.toml")
    assert "card_id" in bills.fields
    assert [bill.bill["card_id"] for bill in bills.bills()] == ["pCard"]


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ("[columns]\nfee = 1\n", "columns.fee is neither a text nor a list"),
        ("[columns]\nfees = 'x'\n", "has columns.fees, which is none of"),
        ("[columns]\nfee = ['a', 'b']\n", "names 2 columns"),
        ("[constants]\norder_id = 'x'\n", "has constants.order_id"),
        ("unit = 'dollar'\n", "unit is none of yuan, fen"),
        ("[values.status]\n1 = 1\n", "values.status.1 is not a text in quotation marks"),
        ("[values.status]\n1 = '好'\n", "values.status.1 is 好, which is not a known status"),
        ("columns = 1\n", "columns is no table"),
        ("key = \n", "Invalid value"),
    ],
)
def test_a_broken_map_file(tmp_path: Path, toml: str, reason: str) -> None:
    (tmp_path / "m.toml").write_text(toml, "utf-8")
    path = save(tmp_path / "a.csv", HEADER, ROW)
    with pytest.raises(sheets.SheetError, match=reason.replace("(", r"\(")):
        open_now(path, map=tmp_path / "m.toml")


def test_a_map_file_as_windows_saves_it(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_bytes('key = "billing"\r\n'.encode("utf-8-sig"))
    path = save(tmp_path / "a.csv", HEADER, ROW)
    assert open_now(path, map=tmp_path / "m.toml").key == ("billing_no", "billing_code")


def test_no_header_stands_for_two_fields() -> None:
    for table in (ALIASES, STATEMENT):
        names = [
            squeeze(header)
            for field, headers in table.items()
            for header in {squeeze(header) for header in (*headers, field)}
        ]
        assert len(names) == len(set(names))


def test_keys(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", f"{HEADER},业务流水号", f"{ROW},1")
    assert open_now(path).key == ("order_id",)
    assert open_now(path, key="billing").key == ("billing_no", "billing_code")
    assert open_now(path, key="business_no").key == ("business_no",)
    bills = open_now(path, key="交款人")
    assert bills.key == ("order_id",)
    assert bills.columns["order_id"] == ("交款人",)
    assert refusal(path, key="结算号") == ["key_missing"]


def test_a_unit_against_the_header(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    assert refusal(path, unit="fen") == ["unit_conflict"]
    with pytest.raises(ValueError, match='give "yuan" or "fen"'):
        open_now(path, unit="元")


def test_a_list_of_orders_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", "订单号", "HIS1", "", "HIS2")
    bills = open_now(path, require=("order_id",))
    found = [order for batch in bills.batches() for order in batch["order_id"]]
    assert (found, bills.problems) == (["HIS1", "HIS2"], [])
    assert refusal(path) == ["missing_column"]


def test_an_amount_that_is_not_required(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", "订单号,金额（元）", "HIS1,", "HIS2,1.00")
    bills = open_now(path, require=("order_id",)).check()
    assert (bills.problems, bills.amount) == ([], 100)
    assert ids(open_now(path).check()) == [("missing_value", 2, "金额（元）")]


# ---- files


def test_a_file_must_settle(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    with pytest.raises(sheets.SheetError) as refused:
        sheets.open_list(path)
    [problem] = refused.value.problems
    assert problem.id == "just_changed"
    assert int(problem.values["seconds"]) < 60


def test_an_old_time_does_not_settle_a_new_copy(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    os.utime(path, (time.time() - 3600,) * 2)
    with pytest.raises(sheets.SheetError, match="was changed"):
        sheets.open_list(path)


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    rows = [ROW.replace("HIS1", f"HIS{number}") for number in range(2000)]
    path = save(tmp_path / "a.csv", HEADER, *rows)
    batches = open_now(path).batches()
    next(batches)
    with path.open("ab") as file:
        file.write(f"{ROW}\r\n".encode())
    with pytest.raises(sheets.SheetError, match="changed while it was read"):
        list(batches)


def test_a_file_that_is_replaced_between_two_readings(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    bills = open_now(path).check()
    os.replace(save(tmp_path / "b.csv", HEADER, ROW.replace("388.50", "488.50")), path)
    with pytest.raises(sheets.SheetError, match="changed while it was read"):
        bills.check()


def test_a_workbook_that_is_replaced_between_two_readings(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    sheets.write_rows(path, HEADER.split(","), [ROW.split(",")])
    bills = open_now(path).check()
    sheets.write_rows(path, HEADER.split(","), [ROW.replace("388.50", "488.50").split(",")])
    with pytest.raises(sheets.SheetError, match="changed while it was read"):
        bills.check()


def test_the_first_chinese_character_may_be_far_down(tmp_path: Path) -> None:
    header = "orderId,totalAmt,payer"
    rows = [f"HIS{number},1.00,Someone" for number in range(5000)]
    path = save(tmp_path / "a.csv", header, *rows, "HIS9,1.00,测试甲", encoding="gb18030")
    bills = open_now(path, unit="yuan")
    assert [batch["title"][-1] for batch in bills.batches()][-1] == "测试甲"
    assert bills.encoding == "gb18030"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "a.pdf").write_bytes(b"%PDF-\n")
    assert refusal(tmp_path / "missing.csv") == ["no_file"]
    assert refusal(tmp_path) == ["not_a_file"]
    assert refusal(tmp_path / "empty.csv") == ["empty_file"]
    assert refusal(tmp_path / "a.pdf") == ["unknown_format"]
    assert refusal(7) == ["not_a_list"]
    assert refusal([7]) == ["not_a_dict"]


@pytest.mark.parametrize(
    ("toml", "found"),
    [
        ('count = 1\namount = "388.50"\n', []),
        ('"总笔数" = 1\n"总金额" = "388.50"\n', []),
        ("count = 2\n", ["count_differs"]),
        ('amount = "388.51"\n', ["amount_differs"]),
        (f'count = 1\nsha256 = "{"0" * 64}"\n', ["sha256_differs"]),
    ],
)
def test_a_totals_file_beside_the_list(tmp_path: Path, toml: str, found: list[str]) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    (tmp_path / "a.csv.totals.toml").write_text(toml, "utf-8")
    assert [problem.id for problem in open_now(path).check().problems] == found


@pytest.mark.parametrize("toml", ["", "rows = 1\n", "count = '1'\n", "amount = 1.5\n", "count =\n"])
def test_a_broken_totals_file(tmp_path: Path, toml: str) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    (tmp_path / "a.csv.totals.toml").write_text(toml, "utf-8")
    assert refusal(path) == ["sidecar_broken"]


def test_what_the_caller_expects_is_exact(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    bills = open_now(path, expect_count=1, expect_amount=Decimal("388.50"))
    assert bills.check().problems == []
    with pytest.raises(ValueError, match="float"):
        open_now(path, expect_amount=388.5)


# ---- PDFs


def test_pdfs(tmp_path: Path) -> None:
    for name, content in {"1": b"%PDF-1.7 a", "2": b"%PDF-1.7 b", "3": b"<html>"}.items():
        (tmp_path / f"33060126_000000000{name}.pdf").write_bytes(content)
    rows = [ROW.replace("0000000001", f"000000000{number}") for number in (1, 2, 3, 4)]
    void = ROW.replace("0000000001", "0000000009")
    lines = [f"{HEADER},状态", *(f"{row},正常" for row in rows), f"{void},作废"]
    path = save(tmp_path / "a.csv", *lines)
    bills = open_now(path, pdf_dir=tmp_path, pdf_name="{票据代码}_{票据号码}.pdf")
    found = list(bills.bills())
    assert ids(bills) == [("pdf_not_pdf", 4, ""), ("pdf_missing", 5, "")]
    assert [bill.row for bill in found] == [2, 3]
    digest = hashlib.sha256(b"%PDF-1.7 a").hexdigest()
    assert found[0].pdf == sheets.Pdf(str(tmp_path / "33060126_0000000001.pdf"), digest)
    (tmp_path / "33060126_0000000002.pdf").write_bytes(b"%PDF-1.7 c")
    assert [bill.row for bill in bills.bills()] == [2]
    assert ("pdf_changed", 3, "") in ids(bills)


def test_a_folder_without_any_of_the_pdfs(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    bills = open_now(path, pdf_dir=tmp_path, pdf_name="{票据号码}.pdf")
    assert (list(bills.bills()), ids(bills)) == ([], [("pdf_missing", 2, "")])


def test_a_pdf_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "pdfs").mkdir()
    (tmp_path / "secret.pdf").write_bytes(b"%PDF-")
    (tmp_path / "pdfs" / "link.pdf").symlink_to(tmp_path / "secret.pdf")
    names = ["../secret.pdf", str(tmp_path / "secret.pdf"), "link.pdf", "a\0.pdf", ""]
    lines = [f"{HEADER},PDF文件名", *(f"{ROW},{name}" for name in names if "\0" not in name)]
    bills = open_now(save(tmp_path / "a.csv", *lines), pdf_dir=tmp_path / "pdfs").check()
    assert [problem.id for problem in bills.problems] == ["pdf_outside"] * 3 + ["pdf_missing"]


def test_a_pattern_with_an_unknown_column(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    assert refusal(path, pdf_dir=tmp_path, pdf_name="{校验码}.pdf") == ["missing_column"]


# ---- the rules of the interface

GIVEN = {"card_id": "pCard", "appid": "wx0000000000000000"}


def checked(path: Path, given: dict[str, str] | None = None) -> list[tuple[str, int, str]]:
    bills = open_now(path, require=sheets.INSERT)
    found = sheets.check_bills(bills, GIVEN if given is None else given)
    return [(problem.id, problem.row, problem.column) for problem in found]


def test_bills_are_checked_by_the_rules_of_the_interface(tmp_path: Path) -> None:
    names = ["order_id", "billing_no", "billing_code", "fee", "billing_time", "title"]
    first: dict[str, object] = dict(
        zip(names, ROW.replace("388.50", "38850").split(","), strict=True)
    )
    rows: list[dict[str, object]] = [
        first,
        {**first, "order_id": "HIS2"},
        {**first, "billing_code": "0000000003"},
        {**first, "order_id": "HIS4", "billing_code": "0000000004", "fee": 10**20},
        first,
    ]
    path = save(tmp_path / "a.jsonl", *map(json.dumps, rows))
    bills = open_now(path, require=sheets.INSERT, unit="fen")
    found = sheets.check_bills(bills, GIVEN)
    assert [(problem.id, problem.row, problem.values.get("first")) for problem in found] == [
        ("duplicate_billing_code", 2, 1),
        ("duplicate_order_id", 3, 1),
        ("core.integer_range", 4, None),
        ("duplicate_order_id", 5, 1),
        ("duplicate_billing_code", 5, 1),
    ]
    assert found[2].words("en") == "the amount is too large for a 64-bit integer"
    assert found[2].words("zh") == "金额超出 64 位整数范围"
    assert str(found[1]) == "a.jsonl, row 3, column order_id: the order is also in row 1: " + (
        "one order takes one bill"
    )


def test_what_no_row_can_have_is_said_once(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW, ROW.replace("388.50", "x"))
    assert checked(path, {}) == [
        ("missing_column", 0, ""),
        ("missing_column", 0, ""),
        ("amount_character", 3, "金额（元）"),
    ]
    assert checked(path) == [("amount_character", 3, "金额（元）")]


def test_a_number_that_has_lost_its_zeros(tmp_path: Path) -> None:
    """As a spreadsheet program saves a CSV file: the number is a text, and shorter."""
    path = save(tmp_path / "a.csv", HEADER, ROW.replace("0000000001", "104501"), encoding="gbk")
    assert checked(path) == [("short_number", 2, "票据号码")]
    other = save(tmp_path / "b.csv", HEADER, ROW.replace("33060126,0000000001", "330601,104501"))
    assert checked(other) == []  # of a system that numbers otherwise
    named = open_now(path, require=sheets.INSERT, map={"columns": {"billing_code": "票据号码"}})
    assert sheets.check_bills(named, GIVEN) == []


# ---- dicts and frames

RECORD = {"order_id": "HIS1", "fee": "388.50", "billing_time": "2026-11-30 09:15:00"}


@pytest.mark.parametrize("lazy", [False, True])
def test_dicts(lazy: bool) -> None:
    rows = [RECORD, {**RECORD, "order_id": 7, "fee": Decimal("1.505")}, {**RECORD, "fee": 388}]
    bills = open_now(iter(rows) if lazy else rows, unit="yuan")
    for _ in range(2):
        [batch] = bills.batches()
        assert list(batch.rows) == [1, 3]
        assert batch["fee"] == [38850, 38800]
        assert ids(bills) == [("number_in_id", 2, "order_id"), ("amount_decimals", 2, "fee")]


def test_a_key_that_only_a_late_row_has() -> None:
    bills = open_now([RECORD] * 2000 + [{**RECORD, "status": "作废"}], unit="yuan")
    assert "status" in bills.fields


def test_a_pandas_frame() -> None:
    frame = pandas.DataFrame(
        {
            "订单号": ["HIS1", "HIS2", None],
            "金额（元）": [388.5, 0.1 + 0.2, 1.005],
            "开票时间": pandas.to_datetime(["2026-11-30 09:15:00", "", "2026-12-01 00:00:00"]),
        },
        index=[7, 8, 9],
    )
    bills = open_now(frame)
    [batch] = bills.batches()
    assert batch["fee"] == [38850, 30]
    assert batch["billing_time"] == [1796001300, 0]
    assert ids(bills) == [("amount_inexact", 3, "金额（元）")]


def test_a_frame_with_a_column_of_numbers() -> None:
    frame = pandas.DataFrame({"订单号": [1, 2], "金额（元）": ["1.00", "2.00"]})
    with pytest.raises(sheets.SheetError, match="dtype=str"):
        open_now(frame)


def test_errors_can_be_pickled(tmp_path: Path) -> None:
    with pytest.raises(sheets.SheetError) as refused:
        open_now(tmp_path / "a.csv")
    for error in (
        refused.value,
        sheets.MissingExtra("XlsxWriter", "nontax[excel]", "write_workbook"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.outcome) == (str(error), "not_sent")
    assert refused.value.reason == "the file does not exist"


# ---- what is not installed


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("library", "call", "sentence"),
    [
        (
            "python_calamine",
            "open_list(path, settle=0)",
            "reading a workbook needs python-calamine: run pip install 'nontax[excel]'",
        ),
        (
            "narwhals",
            "open_list(__import__('pandas').DataFrame())",
            "reading a frame needs narwhals: run pip install 'nontax[notebook]'",
        ),
        (
            "xlsxwriter",
            "template(path)",
            "writing a workbook needs XlsxWriter: run pip install 'nontax[excel]'",
        ),
    ],
)
def test_a_missing_extra_is_one_sentence(
    tmp_path: Path, library: str, call: str, sentence: str
) -> None:
    path = tmp_path / "a.xlsx"
    sheets.template(path)
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        f"from nontax import sheets; path = {str(path)!r}\n"
        f"try: sheets.{call}\nexcept ImportError as error: print(error)"
    )
    assert run(program).stdout == f"{sentence}\n"


def test_a_clean_csv_needs_no_library(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", HEADER, ROW)
    program = (
        "import sys\n"
        "for name in ('python_calamine', 'xlsxwriter', 'narwhals', 'pandas', 'nontax._core'):\n"
        "    sys.modules[name] = None\n"
        f"from nontax import sheets; bills = sheets.open_list({str(path)!r}, settle=0)\n"
        "print(bills.check().totals)"
    )
    assert run(program).stdout == "{'bill': (1, 38850)}\n"
