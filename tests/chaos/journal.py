"""The journals: append-only files of JSON lines, one fact a line, that outlive a killed writer."""

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Journal:
    """Each line is one write to the file: threads and forked children share a journal."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **facts: Any) -> None:
        os.write(self._file, (json.dumps(facts) + "\n").encode())


def read(path: Path) -> Iterator[Line]:
    with path.open(encoding="ascii") as lines:
        for line in lines:
            yield json.loads(line)


def bill(order: str) -> Line:
    """The bill that belongs to an order's id. Some are long, so that they do not go out at once."""
    number = int(order[-8:])
    length = 20_000 + number * 7919 % 180_000 if number % 29 == 7 else number % 40 + 1
    return {
        "order_id": order,
        "card_id": "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw",
        "appid": "wxc0b84a53ed8e8d29",
        "fee": number * 13 + 1,
        "title": "灌哥发票" * (length // 4) + "é" * (length % 4),
        "billing_time": 1511169724 + number,
        "billing_no": f"{number % 97:08}",
        "billing_code": f"{number:010}",
        "s_pdf_media_id": f"{75195574948725301 + number}",
    }


def digest(fields: Line) -> int:
    """A sum over the nine fields of a flat bill, in which 14 is not "14"."""
    return zlib.crc32(json.dumps(fields, sort_keys=True).encode())
