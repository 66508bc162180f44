"""Reconciliation of a list with a ledger: states, reversals, and what the ledger keeps."""

import hashlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reconciling import ALL, DAY, NOON, Fields, bill, red, side

import nontax
from nontax.ledger import Ledger
from nontax.ledger.upkeep import digest
from nontax.reconciliation import Report, TieError
from nontax.reconciliation.ledger_side import LedgerSide
from nontax.reconciliation.period import period
from nontax.reconciliation.run import compare

LISTED = tuple(name for name in ALL if name != "business_no")
CANCEL = "INVOICE_REIMBURSE_CANCEL"
OLD = (NOON - 10 * 86400) * 1000


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger without bills, to be copied."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def ledger(empty: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty, tmp_path / "bills.db"))


def put(path: Path, rows: list[Fields]) -> None:
    """Write bills into a ledger as they would stand there. told: the wallet knows of a reversal."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT OR IGNORE INTO card VALUES ('card', 'wx1', '某某医院', '')")
        for row in rows:
            told = row.pop("told", "")
            for name in ("appid", "card_id", "billing_no", "shape"):
                if row.get(name):
                    connection.execute("INSERT OR IGNORE INTO word (text) VALUES (?)", (row[name],))
                    (row[name],) = connection.execute(
                        "SELECT id FROM word WHERE text = ?", (row[name],)
                    ).fetchone()
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            number = connection.execute(
                f"INSERT INTO bill ({names}) VALUES ({marks})", list(row.values())
            ).lastrowid
            if told == "call":
                connection.execute(
                    "INSERT INTO change (bill, at, reimburse_status, source, outcome) "
                    f"VALUES (?, 1, '{CANCEL}', 'update_bill_status', 'inserted')",
                    (number,),
                )
            elif told == "failed":
                connection.execute(
                    "INSERT INTO change (bill, at, reimburse_status, source, outcome) "
                    f"VALUES (?, 1, '{CANCEL}', 'update_bill_status', 'in_doubt')",
                    (number,),
                )
            elif told == "event":
                connection.execute(
                    "INSERT INTO event (key, at, kind, card_id, code, status) "
                    f"VALUES (?, 1, 'update_invoice_status', 'card', ?, '{CANCEL}')",
                    (str(number), row["code"]),
                )
        connection.commit()


def sent(number: int, state: str = "inserted", **changed: Any) -> Fields:
    """The same bill in the ledger."""
    row = {name: bill(number)[name] for name in ("order_id", "billing_no", "billing_code")}
    rest = {
        "appid": "wx1",
        "card_id": "card",
        "fee": 100 + number,
        "title": f"张三{number}",
        "billing_time": NOON + number,
        "shape": "flat",
        "state": state,
        "code": f"code{number}" if state == "inserted" else "",
        "run": 1,
        "changed": 1,
    }
    return {**row, **rest, **changed}


Case = Callable[[int], tuple[list[Fields], list[Fields], list[tuple[str, str]]]]


def _case(
    ones: list[Fields], others: list[Fields], *found: tuple[str, str]
) -> tuple[list[Fields], list[Fields], list[tuple[str, str]]]:
    return ones, others, list(found)


def _of_state(state: str, name: str, **changed: Any) -> Case:
    return lambda n: _case([bill(n)], [sent(n, state, **changed)], (name, ""))


def _reversed(name: str, state: str = "inserted", fields: str = "", **changed: Any) -> Case:
    """The original and its red row; the original has the class of its state, if any."""
    own = {
        "waiting": [("waiting", "")],
        "in_doubt": [("in_doubt", "")],
        "rejected": [("rejected", "")],
    }.get(state, [])
    if changed.get("code_unknown"):
        own = [("code_unknown", "")]
    return lambda n: _case(
        [bill(n), red(n + 1, bill(n))], [sent(n, state, **changed)], (name, fields), *own
    )


LEDGER: dict[str, Case] = {
    "inserted": lambda n: _case([bill(n)], [sent(n)]),
    "pruned": lambda n: _case([bill(n)], [sent(n, title="", pruned=1)]),
    "held": _of_state("held", "not_authorised"),
    "waiting": _of_state("waiting", "waiting"),
    "sending": _of_state("sending", "waiting"),
    "not sent": _of_state("not_sent", "waiting"),
    "expired": _of_state("waiting", "expired_pdf", pdf_uploaded=OLD),
    "to be uploaded again": _of_state("waiting", "waiting", pdf_uploaded=OLD, pdf_path="a.pdf"),
    "rejected": _of_state("rejected", "rejected", errcode=40035),
    "not authorised": _of_state("rejected", "not_authorised", errcode=72038),
    "in doubt": _of_state("in_doubt", "in_doubt"),
    "withdrawn": _of_state("withdrawn", "withdrawn"),
    "code unknown": _of_state("inserted", "code_unknown", code="", code_unknown=1),
    "missing": lambda n: _case([bill(n)], [], ("missing", "")),
    "unexpected": lambda n: _case([], [sent(n)], ("unexpected", "")),
    "long ago": lambda n: _case([], [sent(n, billing_time=NOON - 999999)]),
    "amount": lambda n: _case([bill(n)], [sent(n, fee=7)], ("amount_mismatch", "fee")),
    "amount in doubt": lambda n: _case(
        [bill(n)], [sent(n, "in_doubt", fee=7)], ("amount_mismatch", "fee")
    ),
    "number": lambda n: _case(
        [bill(n)], [sent(n, billing_code="1")], ("field_mismatch", "billing_code")
    ),
    "other order": lambda n: _case([bill(n)], [sent(n, order_id=f"X{n}")], ("other_order", "")),
    "other order, long ago": lambda n: _case(
        [bill(n)], [sent(n, order_id=f"X{n}", billing_time=NOON - 999999)], ("other_order", "")
    ),
    "under two accounts": lambda n: _case(
        [bill(n)], [sent(n), sent(n, appid="wx2")], ("duplicate_ledger", "")
    ),
    "told": _reversed("cancelled", told="call"),
    "told by another": _reversed("cancelled", told="event"),
    "not told": _reversed("cancel_missing"),
    "telling failed": _reversed("cancel_missing", told="failed"),
    "reversed in doubt": _reversed("cancel_impossible", "in_doubt"),
    "reversed before it was sent": _reversed("cancel_impossible", "waiting"),
    "reversed without a code": _reversed("cancel_impossible", code="", code_unknown=1),
    "reversed and rejected": _reversed("not_for_wallet", "rejected", errcode=1),
    "reversed, original not listed": lambda n: _case(
        [red(n + 1, bill(n))], [sent(n, billing_time=NOON - 999999)], ("cancel_missing", "")
    ),
    "reversed and never sent": lambda n: _case(
        [bill(n), red(n + 1, bill(n))], [], ("not_for_wallet", ""), ("not_for_wallet", "")
    ),
    "only marked": lambda n: _case([bill(n, kind="cancelled")], [sent(n)], ("cancel_missing", "")),
    "only marked, told": lambda n: _case(
        [bill(n, kind="void")], [sent(n, told="call")], ("cancelled", "")
    ),
    "told, and not reversed": lambda n: _case(
        [bill(n)], [sent(n, told="call")], ("field_mismatch", "status")
    ),
    "red of nothing": lambda n: _case([red(n + 1, bill(n))], [], ("red_unpaired", "")),
    "red without a number": lambda n: _case(
        [bill(n), {**red(n + 1, bill(n)), "related_no": ""}], [sent(n)], ("red_unpaired", "")
    ),
    "paper": lambda n: _case([bill(n, kind="paper")], [], ("not_for_wallet", "")),
    "paper of the same order": lambda n: _case(
        [bill(n, kind="exchanged"), bill(n, kind="paper", billing_code=f"9{n}")],
        [sent(n)],
        ("not_for_wallet", ""),
    ),
}


def reconciled(ones: list[Fields], path: Path, **options: Any) -> Report:
    with closing(LedgerSide(str(path))) as ledger:
        return compare(side(ones, fields=LISTED), ledger, period(DAY), **options)


def found(report: Report) -> Counter[tuple[str, str]]:
    return Counter((row.name, ",".join(row.fields)) for row in report.differences())


def test_each_planted_difference(empty: Path, tmp_path: Path) -> None:
    for name, case in LEDGER.items():
        ones, others, expected = case(10)
        path = Path(shutil.copy(empty, tmp_path / "case.db"))
        put(path, [sent(1), *others])
        assert found(reconciled([bill(1), *ones], path)) == Counter(expected), name


Plan = tuple[list[Fields], list[Fields], Counter[tuple[str, str]]]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = draw(st.lists(st.sampled_from(sorted(LEDGER)), max_size=15))
    ones, others = [bill(1)], [sent(1)]
    expected: Counter[tuple[str, str]] = Counter()
    for number, name in enumerate(names, 1):
        mine, theirs, classes = LEDGER[name](10 * number)
        # One number that two bills have would be a difference of its own.
        theirs = [
            {**row, "billing_code": f"1{number}"} if row["billing_code"] == "1" else row
            for row in theirs
        ]
        ones, others = ones + mine, others + theirs
        expected.update(classes)
    return draw(st.permutations(ones)), draw(st.permutations(others)), expected


@settings(max_examples=40)
@given(plan=plans())
def test_planted_differences_give_the_plan_in_any_order(
    empty: Path, tmp_path_factory: pytest.TempPathFactory, plan: Plan
) -> None:
    ones, others, expected = plan
    path = Path(shutil.copy(empty, tmp_path_factory.mktemp("plan") / "bills.db"))
    put(path, [dict(row) for row in others])
    report = reconciled(ones, path)
    assert found(report) == expected
    for at, rows in enumerate((ones, others)):
        sums = [report.outside[at], *(both[at] for both in report.classes.values())]
        assert sum(total.rows for total in sums) == len(rows)
        assert sum(total.fen for total in sums) == sum(row["fee"] for row in rows)


def test_the_sums_of_the_database_must_tie(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ledger, [sent(1), sent(2)])
    chunks = LedgerSide.chunks

    def all_but_one(self: LedgerSide, plan: Any) -> Iterator[Any]:
        for chunk in chunks(self, plan):
            yield chunk._replace(**{name: getattr(chunk, name)[1:] for name in chunk._fields[:7]})

    assert reconciled([bill(1), bill(2)], ledger).ok
    monkeypatch.setattr(LedgerSide, "chunks", all_but_one)
    with pytest.raises(TieError, match=r"bills.db: it has 2 rows with 203 fen; .* have 1 with 102"):
        reconciled([bill(1), bill(2)], ledger)


def test_totals_and_groups(ledger: Path) -> None:
    put(ledger, [sent(1), sent(2, told="call")])
    report = reconciled([bill(1), bill(2), red(3, bill(2)), bill(4)], ledger)
    assert report.totals["issues"] == ((3, 307), (2, 203))
    # The red row of which the wallet was told.
    assert report.totals["refunds"] == ((1, -102), (1, -102))
    assert [line.value for line in report.by("card")] == ["", "card"]
    assert [line.value for line in report.by("unit")] == ["某某医院"]
    assert report.by("unit")[0].sums == ((4, 205), (2, 203))


def test_the_key_is_the_number_where_the_list_has_no_order(ledger: Path) -> None:
    put(ledger, [sent(1), sent(2, "rejected", order_id="old"), sent(2), sent(3, "in_doubt")])
    rows = [bill(n) for n in (1, 2, 3)]
    fields = tuple(name for name in LISTED if name != "order_id")
    with closing(LedgerSide(str(ledger))) as other:
        report = compare(side(rows, fields=fields), other, period(DAY))
    # A rejected try with the same number is no duplicate.
    assert found(report) == {("in_doubt", ""): 1, ("rejected", ""): 1}


def test_a_file_with_a_ledger(ledger: Path, tmp_path: Path) -> None:
    put(ledger, [sent(1), sent(2, "in_doubt")])
    (tmp_path / "list.csv").write_text(
        "订单号,票据代码,票据号码,金额（元）,开票时间\n"
        "H00001,11010126,0000000001,1.01,2026-11-29 12:00:01\n"
        "H00002,11010126,0000000002,1.02,2026-11-29 12:00:02\n",
        "utf-8",
    )
    before = ledger.read_bytes()
    opened = Ledger(ledger, read_only=True)
    for other in (ledger, str(ledger), opened):
        report = nontax.reconcile(tmp_path / "list.csv", other, day=DAY, settle=0)
        assert report.open == {"in_doubt": 1}
    source = report.sources[1]
    assert (source.name, source.kind, source.upto) == ("bills.db", "ledger", 2)
    assert source.digest == digest(str(ledger), 2)
    assert ledger.read_bytes() == before
    text = Path(report.write(tmp_path / "out", formats=["html"], lang="en")[0]).read_text("utf-8")
    assert f"SHA-256 {source.digest}  |  up to bill id 2" in text
    assert "in doubt" in text


def test_the_digest_is_over_what_a_report_is_about(ledger: Path) -> None:
    put(ledger, [sent(1), sent(2), sent(3, fee=7)])
    rows = [
        ("1", "wx1", "H00001", "101", "11010126", "0000000001", str(NOON + 1)),
        ("2", "wx1", "H00002", "102", "11010126", "0000000002", str(NOON + 2)),
    ]
    text = "".join("\x1f".join(row) + "\n" for row in rows)
    assert digest(str(ledger), 2) == hashlib.sha256(text.encode()).hexdigest()


def test_explanations_of_the_ledger(ledger: Path) -> None:
    put(ledger, [sent(1, "in_doubt"), sent(2, fee=7)])
    with closing(sqlite3.connect(ledger)) as connection:
        for key, name, fee in (("H00001", "in_doubt", 101), ("H00002", "amount_mismatch", 95)):
            connection.execute(
                "INSERT INTO explanation (key, class, fee, at, who, note) "
                "VALUES (?, ?, ?, 1796014800000, '赵经办', '已电话核实')",
                (key, name, fee),
            )
        connection.commit()
    with closing(LedgerSide(str(ledger))) as other:
        rows = [bill(1), bill(2)]
        explanations = list(other.explanations())
        report = compare(side(rows, fields=LISTED), other, period(DAY), explanations=explanations)
    assert report.explained == {"in_doubt": 1, "amount_mismatch": 1}
    assert report.ok
    notes = {row.explained.note for row in report.differences() if row.explained}
    assert notes == {"已电话核实"}


def test_carried_over_by_a_ledger(ledger: Path, tmp_path: Path) -> None:
    import json

    near = NOON + 12 * 3600 - 60
    put(ledger, [sent(1), sent(2, billing_time=near)])
    first = reconciled([bill(1)], ledger)
    assert found(first) == {("carried_over", ""): 1}
    file = tmp_path / "carried.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in first.carried()))
    with closing(LedgerSide(str(ledger))) as other:
        later = side([bill(3, billing_time=near + 120)], fields=LISTED)
        second = compare(later, other, period("2026-11-30"), carried=file)
    assert found(second) == {("missing", ""): 1, ("unexpected", ""): 1}
