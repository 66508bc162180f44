"""Who reconciles in `make bench-office`. Each runs in a process of its own, with its own Python.

python office_contestants.py NAME FOLDER     reads FOLDER, prints what it took and what it found
"""

import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

KEY, AMOUNT, NAME = "订单号", "金额（元）", "交款人"

Counts = dict[str, int]


def with_nontax(folder: Path) -> Counts:
    """Our own, list against list."""
    return _nontax(folder, "other.csv")


def with_ledger(folder: Path) -> Counts:
    """Our own, list against ledger."""
    return _nontax(folder, "bills.db")


def _nontax(folder: Path, other: str) -> Counts:
    from nontax.reconciliation import reconcile

    report = reconcile(folder / "listed.csv", folder / other, day="all", settle=0)
    found = dict(report.open)
    for row in report.differences():
        if row.detail:
            name = f"{row.name}, {row.detail}"
            found[name] = found.get(name, 0) + 1
    return found


def with_pandas(folder: Path) -> Counts:
    """pandas.merge; ids stay text."""
    import pandas

    one, two = (pandas.read_csv(folder / name, dtype=str) for name in ("listed.csv", "other.csv"))
    both = one.merge(two, on=KEY, how="outer", indicator=True, suffixes=("", "_"))
    sides = both["_merge"].value_counts()
    paired = both[both["_merge"] == "both"]
    amount, name = AMOUNT, NAME
    return {
        "left_only": int(sides["left_only"]),
        "right_only": int(sides["right_only"]),
        "pairs whose amounts differ": int((paired[amount] != paired[f"{amount}_"]).sum()),
        "pairs whose names differ": int((paired[name] != paired[f"{name}_"]).sum()),
    }


def with_datacompy(folder: Path) -> Counts:
    """datacompy's comparison of two pandas frames."""
    import datacompy
    import pandas

    one, two = (pandas.read_csv(folder / name, dtype=str) for name in ("listed.csv", "other.csv"))
    compared = datacompy.PandasCompare(one, two, join_columns=[KEY])
    return {
        "only in the first": len(compared.df1_unq_rows),
        "only in the second": len(compared.df2_unq_rows),
        "pairs that differ": len(compared.intersect_rows) - int(compared.count_matching_rows()),
    }


def with_polars(folder: Path) -> Counts:
    """polars' join."""
    import polars

    one, two = (
        polars.read_csv(folder / name, infer_schema=False) for name in ("listed.csv", "other.csv")
    )
    paired = one.join(two, on=KEY, how="inner")
    amount, name = AMOUNT, NAME
    return {
        "only in the first": one.join(two, on=KEY, how="anti").height,
        "only in the second": two.join(one, on=KEY, how="anti").height,
        "pairs whose amounts differ": int((paired[amount] != paired[f"{amount}_right"]).sum()),
        "pairs whose names differ": int((paired[name] != paired[f"{name}_right"]).sum()),
    }


CONTESTANTS: dict[str, Callable[[Path], Counts]] = {
    "nontax, two lists": with_nontax,
    "nontax, list and ledger": with_ledger,
    "pandas.merge": with_pandas,
    "datacompy": with_datacompy,
    "polars": with_polars,
}


def contestant(name: str, folder: Path) -> None:
    """Run one, and print what it took."""
    counts = CONTESTANTS[name](folder)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    # getrusage would give the peak of the process that started this one, if that was higher.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"cpu": cpu, "mib": int(peak[1]) / 1024, "found": counts}))


if __name__ == "__main__":
    contestant(sys.argv[1], Path(sys.argv[2]))
