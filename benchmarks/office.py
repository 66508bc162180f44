"""Reconciliation of 1,000,000 rows with 1,000,000: nontax beside pandas, datacompy and polars.

make bench-office                       all, each in a process of its own
make bench-office ARGS="--rows 100000"  rough

All read the same two files, with the same differences planted in them. Reported are the CPU time
and the highest resident size of each process, with the imports and the reading, and what each says
of the differences. One of the files is in the order of issue, the other one is shuffled.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import office_sheets
from office_contestants import CONTESTANTS, Counts

HERE = Path(__file__).parent
HEADER = office_sheets.HEADER
EVERY = 1097  # rows from one planted difference of a kind to the next
PLANTED = ("missing", "unexpected", "amount", "name", "twice", "twice, otherwise")
CHINA = timezone(timedelta(hours=8))


def write_lists(folder: Path, rows: int) -> Counts:
    """Write listed.csv and other.csv; return how many differences of each kind they have."""
    planted = dict.fromkeys(PLANTED, 0)
    listed: list[list[str]] = []
    other: list[list[str]] = []
    for number, row in enumerate(office_sheets.rows(rows)):
        kind = PLANTED[number % EVERY] if number % EVERY < len(PLANTED) else ""
        if kind:
            planted[kind] += 1
        if kind != "unexpected":
            listed.append(row)
        if kind == "twice":
            listed.append(row)
        if kind == "twice, otherwise":
            listed.append([*row[:3], "0.01", *row[4:]])
        if kind == "amount":
            other.append([*row[:3], f"1{row[3]}", *row[4:]])
        elif kind == "name":
            other.append([*row[:5], "另一人"])
        elif kind != "missing":
            other.append(row)
    random.Random(1).shuffle(other)
    for name, content in (("listed.csv", listed), ("other.csv", other)):
        with open(folder / name, "w", encoding="utf-8") as file:
            file.write(",".join(HEADER) + "\n")
            file.writelines(",".join(row) + "\n" for row in content)
    return planted


def write_ledger(folder: Path) -> None:
    """Write a ledger with the bills of other.csv, all in the wallet."""
    from nontax.ledger import Ledger

    path = folder / "bills.db"
    Ledger(path).close()

    def bills() -> Iterator[tuple[object, ...]]:
        with open(folder / "other.csv", encoding="utf-8") as file:
            next(file)
            for number, line in enumerate(file):
                order, code, bill, amount, when, title = line.rstrip("\n").split(",")
                moment = datetime.fromisoformat(when).replace(tzinfo=CHINA)
                fee = int(amount.replace(".", ""))
                seconds = int(moment.timestamp())
                yield order, fee, title, seconds, code, bill, f"code{number}"

    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO bill (appid, card_id, shape, state, run, changed, order_id, fee, title, "
            "billing_time, billing_no, billing_code, code) "
            "VALUES ('wx1', 'pCard', 'flat', 'inserted', 1, 1, ?, ?, ?, ?, ?, ?, ?)",
            bills(),
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# What a row of the first column must at most be of one of the second.
GOALS = (
    ("nontax, two lists", "pandas.merge", "cpu", 0.6),
    ("nontax, two lists", "pandas.merge", "mib", 0.45),
    ("nontax, two lists", "datacompy", "cpu", 0.5),
)
LEDGER_CPU, LEDGER_MIB = 6.0, 400


def run(name: str, folder: Path, python: str) -> dict[str, object]:
    """Let one contestant run in a process of its own."""
    command = [python, str(HERE / "office_contestants.py"), name, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def main() -> None:
    """Measure all, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    others = str(HERE.parent / "build" / "office" / "bin" / "python")
    if options.rows >= 1_000_000:
        office_sheets.main()
    with TemporaryDirectory() as name:
        folder = Path(name)
        planted = write_lists(folder, options.rows)
        write_ledger(folder)
        print(f"planted in {options.rows:,} rows: {planted}")
        results: dict[str, list[dict[str, object]]] = {name: [] for name in CONTESTANTS}
        for _ in range(options.rounds):
            for name in CONTESTANTS:
                python = sys.executable if name.startswith("nontax") else others
                results[name].append(run(name, folder, python))
    print(f"load {os.getloadavg()[0]:.1f}; {time.strftime('%Y-%m-%d')}; Python {sys.version[:7]}")
    middle = {
        name: {part: median(float(str(one[part])) for one in of) for part in ("cpu", "mib")}
        for name, of in results.items()
    }
    for name, of in results.items():
        lowest, highest = (pick(float(str(one["cpu"])) for one in of) for pick in (min, max))
        print(
            f"{name:26}{middle[name]['cpu']:7.2f} s CPU ({lowest:.2f} to {highest:.2f})"
            f"{middle[name]['mib']:7.0f} MiB  {of[0]['found']}"
        )
    for one, other, part, goal in GOALS:
        ratio = median(
            float(str(ours[part])) / float(str(theirs[part]))
            for ours, theirs in zip(results[one], results[other], strict=True)
        )
        print(f"{one}, {part}: {ratio:.2f} of {other} (goal {goal})")
    ledger = middle["nontax, list and ledger"]
    print(f"list and ledger: goals {LEDGER_CPU} s, {LEDGER_MIB} MiB; {ledger}")


if __name__ == "__main__":
    main()
