"""How fast lists are read and checked: part of `make bench-office`.

python benchmarks/office_sheets.py      rows of CSV and of XLSX, CPU seconds each
"""

import csv
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from nontax import sheets

HEADER = ["订单号", "票据代码", "票据号码", "金额（元）", "开票时间", "交款人"]
GIVEN = {"card_id": "pBenchmark", "appid": "wx0000000000000000"}


class Measured(NamedTuple):
    """What one task took. seconds: CPU. limit: the goal in CPU seconds. mib: the process's peak."""

    task: str
    rows: int
    seconds: float
    limit: float
    mib: float


def rows(count: int, seed: int = 7) -> Iterator[list[str]]:
    """Make rows of six columns; the same seed makes the same ones."""
    choose = random.Random(seed)
    moment = datetime(2026, 11, 1)
    for number in range(count):
        fee = choose.randrange(1, 5_000_000)
        moment += timedelta(seconds=2)
        yield [
            f"HIS2026113000{number:08}",
            "33060126",
            f"{number:010}",
            f"{fee // 100}.{fee % 100:02}",
            f"{moment:%Y-%m-%d %H:%M:%S}",
            f"测试{number % 1000}",
        ]


def write_list(path: Path, count: int) -> None:
    """Write a list, .csv or .xlsx by its name."""
    if path.suffix == ".xlsx":
        sheets.write_rows(path, HEADER, rows(count))
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(rows(count))


def measure(folder: Path, csv_rows: int = 1_000_000, xlsx_rows: int = 100_000) -> list[Measured]:
    """Read and check lists made in a folder."""
    big, book = folder / "list.csv", folder / "list.xlsx"
    write_list(big, csv_rows)
    write_list(book, xlsx_rows)

    def opened(path: Path) -> sheets.BillList:
        return sheets.open_list(path, settle=0, require=sheets.INSERT)

    def read(path: Path) -> int:
        return opened(path).check().count

    def check(path: Path) -> int:
        bills = opened(path)
        assert sheets.check_bills(bills, GIVEN) == []
        return bills.count

    return [
        _measured("XLSX read", xlsx_rows, 1.0, lambda: read(book)),
        _measured("CSV read", csv_rows, 2.0, lambda: read(big)),
        _measured("CSV checked by the interface's rules", csv_rows, 10.0, lambda: check(big)),
    ]


def _measured(task: str, count: int, limit: float, work: Callable[[], int]) -> Measured:
    began = time.process_time()
    done = work()
    seconds = time.process_time() - began
    assert done == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(task, count, seconds, limit, peak)


def main() -> None:
    with TemporaryDirectory() as folder:
        for one in measure(Path(folder)):
            print(
                f"{one.task:40} {one.rows:>9,} rows {one.seconds:6.2f} s CPU "
                f"(goal {one.limit:.1f}) {one.mib:6.0f} MiB",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
