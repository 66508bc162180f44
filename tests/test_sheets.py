"""Lists of bills: CSV in, columns and problems out."""

from pathlib import Path

import pytest

from nontax import sheets

HEADER = "订单号,票据代码,票据号码,金额（元）,开票时间,交款人"
ROW = "HIS1,44030126,0000000001,388.50,2026-11-30 09:15:00,张三"


def save(path: Path, *lines: str, encoding: str = "utf-8", end: str = "\r\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return path


def open_now(path: Path, **options: object) -> sheets.BillList:
    return sheets.open_list(path, settle=0, **options)  # type: ignore[arg-type]


def ids(bills: sheets.BillList) -> list[tuple[str, int, str]]:
    return [(problem.id, problem.row, problem.column) for problem in bills.problems]


def test_a_clean_list(tmp_path: Path) -> None:
    bills = open_now(save(tmp_path / "a.csv", HEADER, ROW))
    [batch] = bills.batches()
    assert list(batch.rows) == [2]
    assert batch.columns == {
        "order_id": ["HIS1"],
        "billing_no": ["44030126"],
        "billing_code": ["0000000001"],
        "fee": [38850],
        "billing_time": [1796001300],
        "title": ["张三"],
        "kind": ["bill"],
    }
    assert bills.totals == {"bill": (1, 38850)}
    assert (bills.problems, bills.notes) == ([], [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    bills = open_now(save(tmp_path / "a.csv", HEADER, ROW, encoding=encoding))
    assert [batch["title"] for batch in bills.batches()] == [["张三"]]
