"""Lists as they come from real systems: each a file, how it is opened, and nothing else.

python tests/sheets_corpus.py       writes tests/golden/sheets/*.txt anew: read the difference
"""

import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import xlsxwriter
from biff import compound, xls

from nontax import sheets

GOLDEN = Path(__file__).parent / "golden" / "sheets"
LISTS = Path(__file__).parent.parent / "examples" / "lists"

HEADER = "订单号,票据代码,票据号码,金额（元）,开票时间,交款人"
NOW = "2026-11-30 09:15:00"
LINES = [
    HEADER,
    f"HIS1,33060126,0000000001,388.50,{NOW},测试甲",
    f"HIS2,33060126,0000000002,0.01,{NOW},测试乙",
]

Entry = tuple[str, bytes, dict[str, Any]]
Make = Callable[[], Entry]
Rows = Sequence[Sequence[Any]]
CORPUS: dict[str, Make] = {}


def entry(make: Make) -> Make:
    CORPUS[make.__name__] = make
    return make


def text(lines: list[str], encoding: str = "utf-8", end: str = "\r\n") -> bytes:
    return "".join(line + end for line in lines).encode(encoding)


def xlsx(*sheets_rows: Rows, merge: Sequence[tuple[int, int, int, int, str]] = ()) -> bytes:
    """Make a workbook; a str becomes a text cell, an int or a float a number, a date a date."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"strings_to_numbers": False}) as book:
        formats = {
            datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            date: book.add_format({"num_format": "yyyy/m/d;@"}),
            time: book.add_format({"num_format": "hh:mm:ss"}),
        }
        for rows in sheets_rows:
            sheet = book.add_worksheet()
            for number, row in enumerate(rows):
                for column, value in enumerate(row):
                    if isinstance(value, str):
                        sheet.write_string(number, column, value)
                    elif type(value) in formats:
                        sheet.write_datetime(number, column, value, formats[type(value)])
                    elif value is not None:
                        sheet.write(number, column, value)
            for merged in merge:
                sheet.merge_range(*merged)
    return content.getvalue()


def cells(lines: list[str]) -> list[list[Any]]:
    return [line.split(",") for line in lines]


# ---- encodings


@entry
def gbk() -> Entry:
    return "a.csv", text([*LINES, f"HIS3,33060126,0000000003,5.00,{NOW},某㐂镇小学"], "gb18030"), {}


@entry
def byte_order_mark() -> Entry:
    return "a.csv", text(LINES, "utf-8-sig"), {}


@entry
def utf_16() -> Entry:
    return "a.txt", text(["\t".join(line.split(",")) for line in LINES], "utf-16"), {}


@entry
def english_header_chinese_rows_in_gbk() -> Entry:
    rows = [f"HIS{number},33060126,{number:010},1.00,测试联通" for number in range(1, 4)]
    return (
        "a.csv",
        text(["orderId,billBatchCode,billNo,totalAmt,payer", *rows], "gbk"),
        {"unit": "yuan"},
    )


@entry
def encoding_changes_below_the_header() -> Entry:
    return "a.csv", text(LINES[:2]) + text(LINES[2:], "gbk"), {}


@entry
def no_text_at_all() -> Entry:
    return "a.csv", bytes(range(128, 256)) * 4 + b"\n", {}


# ---- cut files


@entry
def no_line_end() -> Entry:
    return "a.csv", text(LINES)[:-2], {}


@entry
def no_line_end_but_the_totals_are_known() -> Entry:
    return "a.csv", text(LINES)[:-2], {"expect_count": 2, "expect_amount": "388.51"}


@entry
def cut_in_the_middle_of_an_amount() -> Entry:
    content = text(LINES)
    cut = content[: content.index(b"8.50")]
    return "a.csv", cut, {"expect_count": 2, "expect_amount": "388.51"}


@entry
def cut_inside_quotation_marks() -> Entry:
    line = f'HIS3,33060126,0000000003,5.00,{NOW},"测试丙,'
    return "a.csv", text([*LINES, line]), {}


@entry
def zeros_where_the_disk_was_full() -> Entry:
    return "a.csv", text(LINES) + bytes(512) + b"\n", {}


@entry
def too_few_rows() -> Entry:
    return "a.csv", text(LINES[:2]), {"expect_count": 2, "expect_amount": "388.51"}


# ---- what spreadsheet programs do


@entry
def number_cells() -> Entry:
    row: list[Any] = ["HIS1", 33060126, 104501, 388.5, datetime(2026, 11, 30, 9, 15), "测试甲"]
    sums = ["HIS2", "33060126", "0000104502", 0.1 + 0.2, 45991.385, 7]
    more = ["HIS3", "33060126", "0000104503", 1.005, date(2026, 11, 30), "#N/A"]
    return "a.xlsx", xlsx([HEADER.split(","), row, sums, more]), {}


@entry
def twenty_digits() -> Entry:
    header = "订单号,票据代码,票据号码,校验码,金额（元）"
    lines = [
        header,
        "20261130000000000017,33060126,0000000001,589e80,1.00",
        "2.0261130E+19,33060126,0000000002,5.89E+82,1.00",
        "20261130000000000000,33060126.0,0000000003,589d80,1.00",
    ]
    return "a.csv", text(lines), {}


@entry
def excel_97() -> Entry:
    rows: list[list[str | float | None]] = [
        ["票据明细", None, None, None],
        ["票据代码", "票据号码", "金额（元）", "交款人"],
        ["33060126", "0000000001", 388.5, "测试甲"],
        ["33060126", 2.0, "0.01", "测试乙"],
        ["合计", None, 388.51, None],
    ]
    return "a.xls", xls(rows), {}


@entry
def wps() -> Entry:
    """WPS writes inline and shared strings, results of formulas, and times with a @ behind."""
    return "a.xlsx", _wps(), {}


@entry
def open_document() -> Entry:
    return "a.ods", _ods(cells([*LINES, "合计,,,388.51,,"])), {}


@entry
def merged_header() -> Entry:
    rows: Rows = [
        ["电子票据明细表", None, None, None, None],
        ["订单号", "票据", None, "金额（元）", "开票"],
        [None, "代码", "号码", None, "时间"],
        ["HIS1", "33060126", "0000000001", "388.50", NOW],
    ]
    merge = [(0, 0, 0, 4, "电子票据明细表"), (1, 1, 1, 2, "票据"), (1, 0, 2, 0, "订单号")]
    return "a.xlsx", xlsx(rows, merge=merge), {}


@entry
def line_breaks_in_cells() -> Entry:
    header = '订单号,"金额\n（元）",开票时间,"交款\r\n人"'
    rows = [f'HIS1,1.00,{NOW},"测试\n甲"', f'"HIS2",1.00,"{NOW}","测试乙, 丙"']
    return "a.csv", text(["电子票据明细,,,", header, *rows]), {}


@entry
def list_that_begins_at_c4() -> Entry:
    rows: list[list[Any]] = [[], [], []]
    rows += [[None, None, *line] for line in cells(LINES)]
    return "a.xlsx", xlsx(rows), {}


@entry
def two_sheets() -> Entry:
    return "a.xlsx", xlsx(cells(LINES), [["说明"]], cells(LINES[:2])), {}


@entry
def one_of_two_sheets() -> Entry:
    return "a.xlsx", xlsx(cells(LINES), cells(LINES[:2])), {"sheet": "Sheet2"}


@entry
def xls_that_is_a_web_page() -> Entry:
    return "a.xls", "<html><table><tr><td>订单号</td></tr></table></html>\n".encode("gbk"), {}


@entry
def xls_that_is_text_with_tabs() -> Entry:
    return "a.xls", text(["\t".join(line.split(",")) for line in LINES], "gbk"), {}


@entry
def encrypted() -> Entry:
    return "a.xlsx", compound({"EncryptionInfo": b"", "EncryptedPackage": b""}), {}


@entry
def half_a_workbook() -> Entry:
    return "a.xlsx", xlsx(cells(LINES))[:2000], {}


# ---- spellings


@entry
def backticks_equals_and_full_width() -> Entry:
    header = "订单号,票据代码,票据号码,金额（元）,开票时间,交款人"
    lines = [
        header,
        f"`HIS1,\t33060126\t,００００００００01,￥1234.50元,{NOW},测试甲 ",
        ' HIS2,"=""33060126""",="0000000002",１２.５０,2026/11/30 9:15,\u3000测试乙',
        "HIS3,33060126,'=0000000003,12,2026年11月30日 09:15:00,测试丙\u200b",
        "HIS 4,33060126,0000000004,12.345,2026-02-30 09:15:00,测\t试",
        'HIS5,33060126,0000000005,"12,34.5",30/11/2026 09:15,测试戊',
        "HIS6,33060126,0000000006,12.5万,09:15:00,测试己",
    ]
    return "a.csv", text(lines), {}


@entry
def formula_injection() -> Entry:
    rows = [
        f"HIS1,33060126,0000000001,1.00,{NOW},=HYPERLINK(1)",
        f"=1+1,33060126,0000000002,1.00,{NOW},@SUM(A1)",
        f"'=1+1,33060126,0000000003,1.00,{NOW},'=2+2",
    ]
    return "a.csv", text([HEADER, *rows]), {}


@entry
def days_and_clocks() -> Entry:
    header = "结算ID,金额/元,IvcDate,IvcTime"
    lines = [
        header,
        "1,1.00,2026-11-30,09:15:00",
        "2,1.00,2026-11-30 00:00:00,09:15:00",
        "3,1.00,20261130,091500",
        "4,1.00,2026/11/30,2026/11/30 09:15:00",
        "5,1.00,2026-11-30,2026-12-01 09:15:00",
        "6,1.00,2026-11-30,",
        "7,1.00,,",
    ]
    return "a.csv", text(lines), {}


@entry
def days_and_clocks_as_cells() -> Entry:
    rows: Rows = [
        ["结算ID", "金额（元）", "开票日期", "开票时间"],
        ["1", 1, date(2026, 11, 30), time(9, 15)],
        ["2", 1, datetime(2026, 11, 30), datetime(2026, 11, 30, 9, 15)],
        ["3", 1, date(2026, 11, 30), "9:15"],
    ]
    return "a.xlsx", xlsx(rows), {}


@entry
def days_alone() -> Entry:
    lines = [
        "订单号,金额（元）,开票日期",
        "1,1.00,2026-11-30",
        "2,1.00,20261201",
        "3,1.00,2026年12月2日",
    ]
    return "a.csv", text(lines), {}


@entry
def days_alone_are_not_enough_to_insert() -> Entry:
    lines = [HEADER.replace("开票时间", "开票日期"), LINES[1].replace(NOW, "2026-11-30")]
    return "a.csv", text(lines), {"require": sheets.INSERT}


@entry
def fen() -> Entry:
    lines = ["订单号,金额(分)", "1,38850", "2,388.50", "3,１２", "4,", "5,-1"]
    return "a.csv", text(lines), {}


# ---- totals, kinds, columns


@entry
def wrong_totals() -> Entry:
    lines = [*LINES, "合计：3 笔,,,388.52,,", "合计 3 笔 388.51 元,,,,,", "合计,,,,,"]
    lines += ["合计,,,388.515,,", '"合计 38,8.51 元",,,,,']
    return "a.csv", text(lines), {}


@entry
def total_with_a_count_in_the_key_column() -> Entry:
    lines = ["序号,订单号,金额（元）", "1,HIS1,1.00", "2,HIS2,2.00", "合计,2,3.00", "总计,3,4.00"]
    return "a.csv", text(lines), {}


@entry
def pages() -> Entry:
    lines = [
        HEADER,
        LINES[1],
        "本页小计,,,388.50,,",
        ",,,,,",
        HEADER,
        LINES[2],
        "本页小计,,,0.01,,",
        "总计,,,388.51,,",
        "制表人：测试员,,,,,",
    ]
    return "a.csv", text(lines), {}


@entry
def short_and_long_rows() -> Entry:
    lines = [*LINES, "HIS3,33060126", f"{LINES[1]},,,", f"{LINES[1]},x", "", LINES[2]]
    return "a.csv", text(lines), {}


@entry
def lines_with_both_ends() -> Entry:
    return "a.csv", text(LINES[:2]) + text(LINES[2:], end="\n") + text(LINES[1:2]), {}


@entry
def kinds_by_word() -> Entry:
    header = "票据代码,票据号码,金额（元）,数据类型,票据状态,关联票据号码"
    words = [
        ("正常电子", "正常", ""),
        ("正常电子", "已冲红", ""),
        ("电子红票", "正常", "0000000002"),
        ("换开纸质", "正常", "0000000001"),
        ("换开纸质红票", "正常", "0000000001"),
        ("空白纸质", "作废", ""),
        ("正常电子", "已换开", ""),
        ("正常电子", "待审核", ""),
        ("1", "正常", ""),
        ("", "", ""),
    ]
    lines = [f"33060126,{n:010},{n}.00,{a},{b},{c}" for n, (a, b, c) in enumerate(words, 1)]
    return "a.csv", text([header, *lines]), {}


@entry
def kinds_by_number_with_a_map() -> Entry:
    header = "票据代码,票据号码,金额（元）,状态,关联票据号码"
    words = {"values": {"status": {"1": "正常", "2": "冲红", "3": "void"}}}
    rows = ["1,", "2,", "2,0000000002", "3,", "4,"]
    lines = [f"33060126,{n:010},1.00,{row}" for n, row in enumerate(rows, 1)]
    return "a.csv", text([header, *lines]), {"map": words}


@entry
def negative_without_a_kind() -> Entry:
    return "a.csv", text(["订单号,金额（元）", "1,5.00", "2,-5.00", "3,", ",1.00"]), {}


@entry
def ambiguous_columns() -> Entry:
    lines = ["订单号,总金额（元）,开票金额（元）,交款人,患者姓名", "1,1.00,1.00,测试甲,测试乙"]
    return "a.csv", text(lines), {}


@entry
def ambiguous_columns_with_a_map() -> Entry:
    lines = ["订单号,总金额（元）,开票金额（元）,交款人,患者姓名", "1,1.00,2.00,测试甲,测试乙"]
    mapping = {"columns": {"fee": "开票金额（元）"}, "ignore": ["患者姓名", "总金额（元）"]}
    return "a.csv", text(lines), {"map": mapping}


@entry
def double_column() -> Entry:
    return "a.csv", text(["订单号,金额（元）,订单号", "1,1.00,1"]), {}


@entry
def no_unit() -> Entry:
    return "a.csv", text(["订单号,金额", "1,1.00"]), {}


@entry
def unknown_header() -> Entry:
    return "a.csv", text(["单号,钱数", "1,1.00"]), {}


@entry
def unknown_header_with_a_map() -> Entry:
    mapping = {"unit": "yuan", "columns": {"order_id": "单号", "fee": "钱数"}}
    return "a.csv", text(["单号,钱数", "1,1.00"]), {"map": mapping}


@entry
def swapped_columns() -> Entry:
    lines = [f"{n:010},33060126,1.00" for n in range(1, 12)]
    return "a.csv", text(["票据代码,票据号码,金额（元）", *lines]), {}


@entry
def missing_columns() -> Entry:
    return "a.csv", text(["订单号,金额（元）", "1,1.00"]), {"require": sheets.INSERT}


# ---- statements and JSON


@entry
def statement_with_a_missing_row() -> Entry:
    lines = example_lists().statement().split("\n")
    del lines[2]
    return "a.csv", text(lines[:-1]), {"unit": "yuan", "key": "商户订单号"}


@entry
def statement_without_its_end() -> Entry:
    lines = example_lists().statement().split("\n")
    return "a.csv", text(lines[:-3]), {"unit": "yuan", "key": "微信订单号"}


@entry
def statement_without_key_and_unit() -> Entry:
    return "a.csv", text(example_lists().statement().split("\n")[:-1]), {}


@entry
def statement_saved_by_a_spreadsheet_program() -> Entry:
    lines = example_lists().statement().split("\n")[:-1]
    rows = [line.split(",`" if line.startswith("`") else ",") for line in lines]
    return "a.xlsx", xlsx(rows), {"unit": "yuan", "key": "商户订单号"}


@entry
def json_lines() -> Entry:
    data = {"fee": 1, "title": "测试甲", "billing_time": 1796001300, "billing_no": "33060126"}
    nested = {"order_id": "2", "card_ext": {"user_card": {"invoice_user_data": data}}}
    lines = [
        '{"order_id":"1","fee":38850,"billing_no":"33060126","billing_code":"0000000001"}',
        json.dumps(nested),
        '{"order_id":3,"fee":38850.5,"status":"作废"}',
    ]
    return "a.jsonl", text(lines), {"unit": "fen"}


@entry
def json_lines_cut() -> Entry:
    return "a.jsonl", text(['{"order_id":"1","fee":1}', '{"order_id":"2"']), {"unit": "fen"}


# ---- the lists that are shown in the documentation


@entry
def hospital() -> Entry:
    return "hospital.csv", _example("hospital.csv"), {"map": LISTS / "hospital.toml"}


@entry
def platform() -> Entry:
    return "platform.csv", _example("platform.csv"), {"map": LISTS / "platform.toml"}


@entry
def wechat() -> Entry:
    return "wechat.csv", _example("wechat.csv"), {"unit": "yuan", "key": "商户订单号"}


def _example(name: str) -> bytes:
    return (LISTS / name).read_bytes()


def example_lists() -> Any:
    """Import examples/lists/make_lists.py, which is no package."""
    spec = importlib.util.spec_from_file_location("example_lists", LISTS / "make_lists.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- formats that xlsxwriter does not write


def _zip(parts: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part)
    return content.getvalue()


_NO_CELL = "<table:table-cell/>"


def _ods(rows: list[list[str]]) -> bytes:
    full = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    cells = ["".join(full.format(cell) if cell else _NO_CELL for cell in row) for row in rows]
    table = "".join(f"<table:table-row>{row}</table:table-row>" for row in cells)
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    table = f'<table:table table:name="表1">{table}</table:table>'
    body = f"<office:spreadsheet>{table}</office:spreadsheet>"
    namespace = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    return _zip(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": f"<office:document-content {names}><office:body>{body}</office:body>"
            "</office:document-content>",
            "META-INF/manifest.xml": f'<m:manifest xmlns:m="{namespace}"/>',
        }
    )


def _wps() -> bytes:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    shared = "".join(f"<si><t>{name}</t></si>" for name in (*HEADER.split(","), "HIS1", "测试甲"))
    head = "".join(f'<c r="{letter}1" t="s"><v>{n}</v></c>' for n, letter in enumerate("ABCDEF"))
    row = (
        '<c r="A2" t="s"><v>6</v></c><c r="B2" t="inlineStr"><is><t>33060126</t></is></c>'
        '<c r="C2" t="str"><f>TEXT(1,"0000000000")</f><v>0000000001</v></c>'
        '<c r="D2"><v>388.5</v></c><c r="E2" s="1"><v>46356.385416666664</v></c>'
        '<c r="F2" t="s"><v>7</v></c>'
    )
    sheet = f'<row r="1" spans="1:6">{head}</row><row r="2" spans="1:6">{row}</row>'
    styles = (
        '<numFmts count="1">'
        '<numFmt numFmtId="176" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss;@"/></numFmts>'
        '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="176" applyNumberFormat="1"/></cellXfs>'
    )
    kinds = "http://schemas.openxmlformats.org/package/2006/content-types"
    return _zip(
        {
            "[Content_Types].xml": f'<Types xmlns="{kinds}"/>',
            "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="rId1" '
            f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
            '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">'
            f'<Relationship Id="rId1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/>'
            f'<Relationship Id="rId2" Type="{office}/sharedStrings" Target="sharedStrings.xml"/>'
            f'<Relationship Id="rId3" Type="{office}/styles" Target="styles.xml"/></Relationships>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{sheet}</sheetData>'
            "</worksheet>",
            "xl/sharedStrings.xml": f'<sst xmlns="{main}">{shared}</sst>',
            "xl/styles.xml": f'<styleSheet xmlns="{main}">{styles}</styleSheet>',
        }
    )


# ---- what nontax says of them


def describe(make: Make, folder: Path) -> str:
    """Say all that is seen of one list, in both languages."""
    name, content, options = make()
    path = folder / name
    path.write_bytes(content)
    try:
        bills = sheets.open_list(path, settle=0, **options)
        rows = list(_rows(bills))
    except sheets.SheetError as error:
        return f"refused\n{error.words('en')}\n{error.words('zh')}\n"
    said = [
        f"{bills.format} {bills.encoding or '-'} {bills.unit}, key {' + '.join(bills.key)}",
        *(f"  {field}: {' + '.join(headers)}" for field, headers in bills.columns.items()),
        *rows,
        f"all rows: {bills.count}, {sheets.yuan(bills.amount)}; in batches: {_totals(bills)}",
        *([f"days only: {', '.join(sorted(bills.dates_only))}"] if bills.dates_only else []),
    ]
    for title, found in (("problem", bills.problems), ("note", bills.notes)):
        for problem in found:
            said += [
                f"{title} {problem.where(lang)} | {problem.words(lang)}" for lang in ("en", "zh")
            ]
    return "\n".join([*said, ""])


def _totals(bills: sheets.BillList) -> str:
    said = [f"{kind} {rows} {sheets.yuan(fee)}" for kind, (rows, fee) in bills.totals.items()]
    return ", ".join(said) or "none"


def _rows(bills: sheets.BillList) -> Iterator[str]:
    for batch in bills.batches():
        for place, row in enumerate(batch.rows):
            values = [f"{field}={column[place]!r}" for field, column in batch.columns.items()]
            yield f"{row}: {' '.join(values)}"


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for old in GOLDEN.glob("*.txt"):
        old.unlink()
    for name, make in CORPUS.items():
        with TemporaryDirectory() as folder:
            (GOLDEN / f"{name}.txt").write_text(describe(make, Path(folder)), "utf-8")
    print(len(CORPUS), "lists", file=sys.stderr)


if __name__ == "__main__":
    main()
