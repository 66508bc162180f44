"""`nontax.notebook.read` and `insert`: frames in and out, and nothing is sent twice."""

import ast
import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas
import pytest
from notebooks import GIVEN, INSERT, client, frame_of, posts, row, write_list

import nontax
import nontax.notebook as nb
from nontax.sandbox import Sandbox, faults
from nontax.sheets import SheetError

__all__ = ["client"]

# ---- reading


def test_a_file_as_hospitals_export_it(tmp_path: Path) -> None:
    rows = [row(1), row(2, **{"金额（元）": "1,204.00"}), row(1), row(5)]
    path = write_list(tmp_path / "清单.csv", rows, "合计,,,9999.99,,\n")
    bills = nb.read(path, defaults=GIVEN, settle=0)
    assert [(one.row, one.id) for one in bills.problems] == [
        (4, "duplicate_order_id"),
        (4, "duplicate_billing_code"),
        (6, "total_differs"),
    ]
    assert [one.bill["fee"] for one in bills.ready] == [150, 120400, 550]
    assert repr(bills) == "<Bills of 清单.csv: 3 ready, 3 problems>"


def test_the_frame_of_a_file(tmp_path: Path) -> None:
    rows = [row(1), row(2), row(3, **{"金额（元）": "x"}), row(2)]
    bills = nb.read(write_list(tmp_path / "a.csv", rows), defaults=GIVEN, settle=0, lang="en")
    frame = bills.frame
    assert list(frame["row"]) == [2, 3, 5]
    assert list(frame["billing_code"]) == ["0000000001", "0000000002", "0000000002"]
    assert list(frame["fee_fen"]) == [150, 250, 250]
    assert str(frame["billing_time"][0]) == "2026-11-29 09:01:00"
    assert [bool(text) for text in frame["problem"]] == [False, False, True]
    assert list(bills.problem_frame["row"]) == [4, 5, 5]


def test_lost_zeros_are_refused() -> None:
    frame = frame_of(range(3)).astype({"票据号码": int})
    with pytest.raises(SheetError, match="lose leading zeros"):
        nb.read(frame, defaults=GIVEN)


def test_what_is_not_for_a_wallet_stays_out_also_from_a_filtered_frame(
    client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    types = ("正常电子", "电子红票", "换开纸质", "换开纸质红票", "空白纸质")
    kinds = [(type, "正常") for type in types]
    kinds += [("正常电子", status) for status in ("已冲红", "作废", "已换开")]
    rows = [
        row(number, 数据类型=type, 状态=status) for number, (type, status) in enumerate(kinds, 1)
    ]
    bills = nb.read(write_list(tmp_path / "a.csv", rows), defaults=GIVEN, settle=0)
    kept = bills.frame[bills.frame["fee_fen"] > 0]
    again = nb.read(kept, defaults=GIVEN)
    assert again.list.totals == bills.list.totals
    assert len(again.list.totals) == len(kinds)
    result = nb.insert(client, again)
    assert list(result.frame["outcome"]) == ["inserted"] + ["not_for_wallet"] * 7
    assert list(posts(sandbox)) == ["HIS000001"]


@pytest.mark.parametrize("missing", ["card_id", "appid", "s_pdf_media_id"])
def test_a_list_that_lacks_a_column_says_so_and_is_not_sent(
    missing: str, client: nontax.Client, sandbox: Sandbox
) -> None:
    given = {name: value for name, value in GIVEN.items() if name != missing}
    bills = nb.read(frame_of(range(1, 3)), defaults=given)
    assert [problem.id for problem in bills.problems] == ["missing_column"]
    with pytest.raises(SheetError, match="there is no column"):
        nb.insert(client, bills, skip_bad=True)
    assert posts(sandbox) == {}


def test_a_list_for_reconciling_alone_can_be_read() -> None:
    bills = nb.read(frame_of(range(1, 3)).drop(columns=["交款人", "开票时间"]))
    assert len(bills) == 0
    assert {str(problem.values["field"]) for problem in bills.problems} == {
        "title", "billing_time", "s_pdf_media_id",
    }  # fmt: skip


def test_dicts_are_a_list_too(client: nontax.Client) -> None:
    result = nb.insert(client, (row(number) for number in range(1, 4)), defaults=GIVEN)
    assert result.ok
    assert list(result.frame["order_id"]) == ["HIS000001", "HIS000002", "HIS000003"]


# ---- inserting


def test_a_client_without_a_ledger_is_refused(sandbox: Sandbox) -> None:
    with sandbox.client() as client, pytest.raises(nontax.LedgerError, match='"Run All"'):
        nb.insert(client, frame_of(range(1, 3)), defaults=GIVEN)
    with sandbox.client() as client, pytest.raises(nontax.LedgerError, match='"Run All"'):
        asyncio.run(nb.ainsert(client, frame_of(range(1, 3)), defaults=GIVEN))
    assert posts(sandbox) == {}


def test_run_all_twice_sends_nothing_twice(client: nontax.Client, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Close("body", taken=True), times=5, path=INSERT)
    sandbox.inject(faults.Errcode(72038), path=INSERT)
    frame = frame_of(range(1, 41))
    results = [nb.insert(client, frame.copy(), defaults=GIVEN) for _ in range(3)]
    results.append(asyncio.run(nb.ainsert(client, frame, defaults=GIVEN)))
    counts = {"inserted": 34, "rejected": 1, "in_doubt": 5}
    assert [result.counts for result in results] == [counts] * 4
    assert sorted(posts(sandbox).values()) == [1] * 40
    assert [sum(row.from_ledger for row in result.rows) for result in results] == [0, 40, 40, 40]
    first, *_, last = (result.frame for result in results)
    assert list(first["card_code"]) == list(last["card_code"])
    assert set(last[last["outcome"] == "in_doubt"]["reason"]) == {
        f"an earlier attempt is in doubt: {reason}"
        for reason in first[first["outcome"] == "in_doubt"]["reason"]
    }


def test_another_client_and_another_notebook_send_nothing_twice(
    client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    nb.insert(client, frame_of(range(1, 21)), defaults=GIVEN)
    with sandbox.client(ledger=tmp_path / "bills.db") as other:
        result = nb.insert(other, frame_of(range(1, 31)), defaults=GIVEN)
    assert result.counts == {"inserted": 30}
    assert set(posts(sandbox).values()) == {1}
    assert len(posts(sandbox)) == 30


OTHER = """\
import sys
import nontax
import nontax.notebook as nb
rows = [dict(zip(("order_id", "billing_code"), pair)) for pair in eval(sys.argv[2])]
given = {**eval(sys.argv[1]), "title": "x", "billing_time": "2026-11-29 09:00:00"}
rows = [{**given, **row, "billing_no": "33060126", "fee": "100"} for row in rows]
with nontax.Client(ledger="bills.db") as client:
    print("ready", flush=True)
    sys.stdin.readline()
    print(nb.insert(client, rows, unit="fen", concurrency=4).counts)
    client.ledger.close()
"""


def test_two_notebooks_at_once_send_nothing_twice(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.inject(faults.Delay(0.01), times=1000, path=INSERT)
    bills = [(f"HIS{number:06}", f"{number:010}") for number in range(60)]
    settings = {
        "NONTAX_BASE_URL": sandbox.base_url,
        "NONTAX_ACCESS_TOKEN": sandbox.access_token,
    }
    others = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", OTHER, repr(GIVEN), repr(bills)],
            cwd=tmp_path,
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    told = []
    for other in others:
        assert other.stdin is not None
        other.stdin.write("go\n")
        other.stdin.flush()
    for other in others:
        told.append(ast.literal_eval(other.communicate(timeout=40)[0]))
        assert other.returncode == 0
    assert len(posts(sandbox)) == 60
    assert set(posts(sandbox).values()) == {1}
    for counts in told:  # what the other one has under way is not waited for
        assert counts.keys() <= {"inserted", "sending"}
        assert counts["inserted"] >= 60 - 2 * 4
        assert sum(counts.values()) == 60


def test_order_and_index_of_a_frame_are_kept(client: nontax.Client) -> None:
    frame = frame_of([7, 3, 9, 1])
    frame.index = pandas.Index(["a", "b", "b", "c"])
    before = frame.copy(deep=True)
    made = nb.insert(client, frame, defaults=GIVEN).frame
    assert list(made.index) == ["a", "b", "b", "c"]
    assert list(made["订单号"]) == ["HIS000007", "HIS000003", "HIS000009", "HIS000001"]
    assert list(made.columns[:6]) == list(frame.columns)
    assert set(made["outcome"]) == {"inserted"}
    assert len(set(made["card_code"])) == 4
    pandas.testing.assert_frame_equal(frame, before)


def test_a_frame_that_is_turned_round_in_place_meanwhile(client: nontax.Client) -> None:
    frame = frame_of([7, 3, 9])
    bills = nb.read(frame, defaults=GIVEN)
    report = nb.reconcile(frame, nb.read(frame_of([9])), day="all")
    frame.loc[:] = frame.iloc[::-1].to_numpy()
    assert frame["订单号"][0] == "HIS000009"
    made = nb.insert(client, bills).frame
    assert list(made["订单号"]) == ["HIS000007", "HIS000003", "HIS000009"]
    assert client.ledger is not None
    codes = {bill.order_id: bill.code for bill in client.ledger.bills()}
    assert dict(zip(made["订单号"], made["card_code"], strict=True)) == codes
    assert list(report.frame["reconciled"]) == ["missing", "missing", "matched"]


def test_a_polars_frame_stays_one(client: nontax.Client) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame([row(number) for number in (5, 2, 8)])
    result = nb.insert(client, frame, defaults=GIVEN)
    assert isinstance(result.frame, polars.DataFrame)
    assert result.frame["订单号"].to_list() == frame["订单号"].to_list()
    assert result.frame["outcome"].to_list() == ["inserted"] * 3
    report = nb.reconcile(frame, client, day="2026-11-29")
    assert report.frame["reconciled"].to_list() == ["matched"] * 3


def test_rows_with_problems_stop_it_or_are_skipped(
    client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    frame = pandas.concat([frame_of([1, 2, 1]), frame_of([4], **{"金额（元）": "0.001"})])
    with pytest.raises(SheetError, match="row 3, column 订单号"):
        nb.insert(client, frame, defaults=GIVEN)
    assert posts(sandbox) == {}
    assert client.ledger is not None
    assert client.ledger.counts() == {}
    sandbox.inject(faults.Errcode(72038), skip=1, path=INSERT)
    result = nb.insert(client, frame, defaults=GIVEN, skip_bad=True, concurrency=1, lang="en")
    assert list(result.frame["outcome"]) == ["inserted", "rejected", "not_sent", "not_sent"]
    assert result.frame["reason"].iloc[2].startswith("the order is also in row 1")
    assert result.write_rejects(tmp_path / "rejects.csv") == 3
    text = (tmp_path / "rejects.csv").read_text("utf-8-sig").splitlines()
    assert text[0].endswith(",reason")
    assert "72038" in text[1]
    assert "HIS000001" in text[2]
    assert text[3].count("more than two decimals") == 1


def test_what_the_ledger_knows_with_other_content_is_a_conflict(
    client: nontax.Client, sandbox: Sandbox
) -> None:
    nb.insert(client, frame_of([1, 2]), defaults=GIVEN)
    frame = pandas.concat([frame_of([3]), frame_of([2], **{"金额（元）": "9.99"})])
    with pytest.raises(nontax.ConflictError, match=r"row 2, fee differs"):
        nb.insert(client, frame, defaults=GIVEN)
    assert client.ledger is not None
    assert client.ledger.counts() == {"inserted": 2}
    result = nb.insert(client, frame, defaults=GIVEN, skip_bad=True)
    assert list(result.frame["outcome"]) == ["inserted", "not_sent"]
    assert "fee differs" in result.frame["reason"].iloc[1]
    assert set(posts(sandbox).values()) == {1}


def test_what_would_stop_every_bill_is_told_and_the_rest_waits(
    client: nontax.Client, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(45009), times=50, skip=4, path=INSERT)
    frame = frame_of(range(1, 21))
    result = nb.insert(client, frame, defaults=GIVEN, concurrency=2)
    assert isinstance(result.error, nontax.QuotaError)
    assert result.counts == {"inserted": 4, "waiting": 16}
    assert "45009" in result._repr_html_()
    assert all("45009" in reason for reason in result.frame["reason"][result.frame.index > 5])
    sandbox.behave()
    result = nb.insert(client, frame, defaults=GIVEN)
    assert result.ok
    assert sorted(posts(sandbox).values())[:18] == [1] * 18


def test_bills_of_earlier_lists_are_counted(client: nontax.Client, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(45009), times=50, path=INSERT)
    nb.insert(client, frame_of(range(1, 11)), defaults=GIVEN)
    sandbox.behave()
    result = nb.insert(client, frame_of(range(11, 16)), defaults=GIVEN, lang="en")
    assert (result.counts, result.others) == ({"inserted": 5}, 10)
    assert "10 bills of earlier lists" in result._repr_html_()


def pdf_options(folder: Path, numbers: range) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"33060126_{number:010}.pdf").write_bytes(b"%PDF-1.7\n%" + str(number).encode())
    given = {name: GIVEN[name] for name in ("card_id", "appid")}
    return {"defaults": given, "pdf_dir": folder, "pdf_name": "{票据代码}_{票据号码}.pdf"}


def test_pdfs_are_uploaded_once_and_their_media_ids_are_sent(
    client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    options = pdf_options(tmp_path / "pdf", range(1, 9))
    sandbox.inject(faults.Errcode(45009), times=50, skip=3, path=INSERT)
    frame = frame_of(range(1, 9))
    assert nb.insert(client, frame, **options).counts["waiting"] == 5
    sandbox.behave()
    assert nb.insert(client, frame, **options).ok
    assert len(sandbox.pdfs) == 8
    assert {bill.fields["s_pdf_media_id"] for bill in sandbox.bills.values()} == set(sandbox.pdfs)


def test_a_pdf_that_is_gone_leaves_its_bill_waiting(
    client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    options = pdf_options(tmp_path / "pdf", range(1, 4))
    bills = nb.read(frame_of(range(1, 4)), **options)
    (tmp_path / "pdf" / "33060126_0000000002.pdf").unlink()
    result = nb.insert(client, bills)
    assert list(result.frame["outcome"]) == ["inserted", "waiting", "inserted"]
    assert "33060126_0000000002.pdf" in result.frame["reason"][1]


# ---- Ctrl-C


def test_ctrl_c_shows_and_keeps_what_there_is(
    client: nontax.Client, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.inject(faults.Delay(0.6), times=4, path=INSERT)
    frame = frame_of(range(1, 21))

    def press() -> None:
        sandbox.wait_for_requests(5)  # the first one fetches the token
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        nb.insert(client, frame, defaults=GIVEN, concurrency=4)
    pressing.join()
    kept = nb.last()
    assert kept is not None
    assert kept.interrupted
    assert kept.counts == {"inserted": 4, "waiting": 16}
    assert "<Inserted: 4 inserted, 16 waiting; interrupted>" in capsys.readouterr().err
    assert list(kept.frame["outcome"][:4]) == ["inserted"] * 4
    result = nb.insert(client, frame, defaults=GIVEN)
    assert result.ok
    assert nb.last() is result
    assert set(posts(sandbox).values()) == {1}


def test_the_loop_goes_on_while_bills_are_sent(client: nontax.Client, sandbox: Sandbox) -> None:
    async def main() -> tuple[nb.Inserted, int]:
        sending = asyncio.ensure_future(nb.ainsert(client, frame_of(range(1, 4)), defaults=GIVEN))
        turns = 0
        while not sending.done():
            await asyncio.sleep(0.01)
            turns += 1
        return sending.result(), turns

    sandbox.inject(faults.Delay(0.3), times=1, path=INSERT)
    result, turns = asyncio.run(main())
    assert result.ok
    assert turns > 5


def test_a_cancelled_task_keeps_what_there_is(
    client: nontax.Client, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.inject(faults.Delay(0.4), times=2, path=INSERT)
    frame = frame_of(range(1, 11))

    async def main() -> None:
        sending = asyncio.ensure_future(nb.ainsert(client, frame, defaults=GIVEN, concurrency=2))
        await asyncio.to_thread(sandbox.wait_for_requests, 3)
        for _ in range(3):
            sending.cancel()
            await asyncio.sleep(0.02)
        await sending

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    kept = nb.last()
    assert kept is not None
    assert kept.interrupted
    assert kept.counts == {"inserted": 2, "waiting": 8}
    assert "interrupted" in capsys.readouterr().err
    assert asyncio.run(nb.ainsert(client, frame, defaults=GIVEN)).ok
    assert set(posts(sandbox).values()) == {1}


# ---- progress


def test_a_kernel_gets_a_progress_bar_and_a_file_none(
    client: nontax.Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nb.insert(client, frame_of(range(1, 4)), defaults=GIVEN, lang="en")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    nb.insert(client, frame_of(range(4, 10)), defaults=GIVEN, lang="en")
    assert "Bills sent: 100%" in capsys.readouterr().err
    asyncio.run(nb.ainsert(client, frame_of(range(10, 20)), defaults=GIVEN, lang="zh"))
    assert "10/10" in capsys.readouterr().err
    nb.insert(client, frame_of(range(20, 22)), defaults=GIVEN, progress_bar=False)
    assert capsys.readouterr().err == ""
