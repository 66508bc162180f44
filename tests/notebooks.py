"""What the tests of `nontax.notebook` share: rows with dirt in them, a client with a ledger."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

import nontax
from nontax.sandbox import Sandbox

INSERT = "/nontax/insertbill"
GIVEN = {
    "card_id": "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw",
    "appid": "wxc0b84a53ed8e8d29",
    "s_pdf_media_id": "75195574948725301",
}
TITLE = "<script>张三丰</script>"


@pytest.fixture
def client(sandbox: Sandbox, tmp_path: Path) -> Iterator[nontax.Client]:
    with sandbox.client(ledger=tmp_path / "bills.db") as client:
        yield client
        assert client.ledger is not None
        assert "sending" not in client.ledger.counts()
        client.ledger.close()


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "订单号": f"HIS{number:06}",
        "票据代码": "33060126",
        "票据号码": f"{number:010}",
        "金额（元）": f"{number}.50",
        "开票时间": f"2026-11-29 09:{number % 60:02}:00",
        "交款人": TITLE,
        **changes,
    }


def frame_of(numbers: "range | list[int]", **changes: Any) -> pandas.DataFrame:
    return pandas.DataFrame([row(number, **changes) for number in numbers])


def posts(sandbox: Sandbox) -> "Counter[str]":
    return Counter(
        json.loads(request.body)["order_id"]
        for request in sandbox.requests
        if request.path == INSERT
    )


def write_list(path: Path, rows: list[dict[str, Any]], last: str = "") -> Path:
    header = list(rows[0])
    lines = [header, *([f'"{each[name]}"' for name in header] for each in rows)]
    text = "".join(",".join(line) + "\n" for line in lines) + last
    path.write_bytes(text.encode("gb18030"))
    return path
