"""A client with a ledger: single calls, bulk runs and their twins, written ahead."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import SHAPES, bill
from loops import Strict
from sandboxes import posts

import nontax
from nontax.delivery.content import FORM, bill_as_printed, bill_of, content_of
from nontax.delivery.servers import server_of
from nontax.ledger import Ledger
from nontax.sandbox import Sandbox, faults


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bills.db"


@pytest.fixture
def client(sandbox: Sandbox, path: Path) -> Iterator[nontax.Client]:
    with _client(sandbox, path) as client:
        yield client
    ledger = client.ledger
    assert ledger is not None
    ledger.close()
    assert ledger.verify() == []


def _client(sandbox: Sandbox, path: Path, **settings: Any) -> nontax.Client:
    return nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, ledger=path, **settings
    )


def _ledger(client: nontax.Client) -> Ledger:
    assert client.ledger is not None
    return client.ledger


# What is written down


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bill_is_kept_as_it_was_sent(client: nontax.Client, shape: str) -> None:
    given = bill(shape=shape)
    inserted = client.insert_bill(given)
    kept = _ledger(client).history(given["order_id"]).bill
    assert (kept.state, kept.code, kept.openid) == ("inserted", inserted.code, inserted.openid)
    assert kept.shape == ("table" if shape == "table" else "sample")
    assert (kept.fee, kept.title, kept.billing_time) == (123, "灌哥发票", 1511169724)


def test_what_is_kept_makes_the_same_body(sandbox: Sandbox) -> None:
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, extra="send"
    ) as client:
        for shape in SHAPES:
            given = bill(shape=shape, billing_time=1511169724, fee=1 << 60)
            place = given if shape == "flat" else given["card_ext"]["user_card"]
            place["remark"] = {"a": [1, "é"]}
            if shape == "sample":
                given["card_ext"]["nonce_str"] = "x"
                given["more"] = {}
            body = client._core.body("insertbill", given)
            again = client._core.body("insertbill", bill_of(content_of(body)))
            assert json.loads(again) == json.loads(body)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"fee": 10**17}, True),
        ({"fee": 1 << 60}, False),
        ({"title": 'a "b" c'}, False),
        ({"title": "a\\b"}, False),
        ({"billing_time": "1511169724"}, False),
    ],
)
def test_the_values_of_a_body_are_those_of_its_text(
    client: nontax.Client, shape: str, changes: dict[str, Any], fits: bool
) -> None:
    given = bill(shape=shape, **{"billing_time": 1511169724, **changes})
    printed = client._core.body("insertbill", given, FORM)
    assert isinstance(printed, tuple) == (fits and shape != "table")
    body = client._core.body("insertbill", given)
    assert content_of(printed) == content_of(body)
    assert client._core.body("insertbill", bill_as_printed(printed)) == body


def test_an_invalid_bill_has_no_row(client: nontax.Client) -> None:
    with pytest.raises(nontax.InvalidRequestError, match="fee is missing"):
        client.insert_bill({k: v for k, v in bill(shape="flat").items() if k != "fee"})
    outcomes = client.insert_bills([{"order_id": "x"}, bill(title=" x")]).collect()
    assert [outcome.outcome for outcome in outcomes] == ["not_sent", "not_sent"]
    assert list(_ledger(client).bills()) == []


def test_ignored_fields_are_no_content(sandbox: Sandbox, path: Path) -> None:
    with _client(sandbox, path, extra="ignore") as client:
        given = bill(shape="flat")
        client.insert_bill({**given, "remark": "one"})
        client.insert_bill({**given, "remark": "two"})
        assert _ledger(client).history(given["order_id"]).bill.extra == ""


# A bill that the ledger knows


def test_an_inserted_bill_comes_from_the_ledger(client: nontax.Client, sandbox: Sandbox) -> None:
    given = bill()
    first = client.insert_bill(given)
    assert client.insert_bill(given) == first
    (outcome,) = client.insert_bills([given]).collect()
    assert (outcome.outcome, outcome.from_ledger, outcome.inserted) == ("inserted", True, first)
    assert asyncio.run(client.ainsert_bill(given)) == first
    assert posts(sandbox)[given["order_id"]] == 1


def test_other_content_is_a_conflict(client: nontax.Client, sandbox: Sandbox) -> None:
    given = bill()
    client.insert_bill(given)
    number = given["card_ext"]["user_card"]["invoice_user_data"]["billing_code"]
    changed = bill(given["order_id"], billing_code=number, fee=9)
    with pytest.raises(nontax.ConflictError, match="fee differs from what the ledger has") as info:
        client.insert_bill(changed)
    assert info.value.fields == ["fee"]
    assert info.value.kept["fee"] == 123
    assert info.value.outcome == "not_sent"
    with pytest.raises(nontax.ConflictError, match="the same printed number is not sent twice"):
        client.insert_bill(bill(billing_code=number))
    outcomes = client.insert_bills([changed, bill(billing_code=number)]).collect()
    assert [type(outcome.error) for outcome in outcomes] == [nontax.ConflictError] * 2
    assert sum(posts(sandbox).values()) == 1


def test_a_bill_in_doubt_is_never_sent(client: nontax.Client, sandbox: Sandbox) -> None:
    given = bill()
    sandbox.inject(faults.Close("body", taken=True))
    with pytest.raises(nontax.InDoubtError):
        client.insert_bill(given)
    with pytest.raises(nontax.InDoubtError, match="an earlier attempt is in doubt") as info:
        client.insert_bill(given)
    assert info.value.from_ledger
    (outcome,) = client.insert_bills([given]).collect()
    assert (outcome.outcome, outcome.from_ledger) == ("in_doubt", True)
    with pytest.raises(nontax.InDoubtError):
        asyncio.run(client.ainsert_bill(given))
    assert posts(sandbox)[given["order_id"]] == 1
    _ledger(client).resolve(given["order_id"], "inserted", by="王", note="seen", code="C1")
    assert client.insert_bill(given).code == "C1"


def test_rejected_bills(client: nontax.Client, sandbox: Sandbox) -> None:
    given, other = bill(), bill()
    sandbox.inject(faults.Errcode(72056))
    sandbox.inject(faults.Errcode(40073))
    with pytest.raises(nontax.DuplicateBillError):
        client.insert_bill(given)
    with pytest.raises(nontax.WeChatError):
        client.insert_bill(other)
    with pytest.raises(nontax.DuplicateBillError) as info:
        client.insert_bill(given)
    assert info.value.from_ledger
    assert info.value.rid is not None
    client.insert_bill(other)
    assert posts(sandbox) == {given["order_id"]: 1, other["order_id"]: 2}


def test_what_was_not_sent_is_sent_again(client: nontax.Client, sandbox: Sandbox) -> None:
    given = bill()
    sandbox.inject(faults.Errcode(45009))
    with pytest.raises(nontax.QuotaError):
        client.insert_bill(given)
    assert _ledger(client).history(given["order_id"]).bill.state == "not_sent"
    client.insert_bill(given)
    assert [a.slot for a in _ledger(client).history(given["order_id"]).attempts] == [-1, 0]


def test_two_at_once_are_sent_once(client: nontax.Client, sandbox: Sandbox) -> None:
    given = bill()
    sandbox.inject(faults.Delay(0.3))
    codes: list[str] = []
    threads = [
        threading.Thread(target=lambda: codes.append(client.insert_bill(given).code))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(codes)) == 1
    assert len(codes) == 5
    assert posts(sandbox)[given["order_id"]] == 1


# Bulk runs


def test_a_bulk_run_gives_one_outcome_for_each(client: nontax.Client, sandbox: Sandbox) -> None:
    known = bill()
    client.insert_bill(known)
    fresh = [bill() for _ in range(60)]
    given = [*fresh[:30], known, {"order_id": "invalid"}, *fresh[30:], fresh[0], fresh[0]]
    run = client.insert_bills(iter(given), concurrency=8)
    outcomes = run.collect()
    assert [outcome.index for outcome in outcomes] == list(range(64))
    assert all(outcome.bill is given[outcome.index] for outcome in outcomes)
    assert Counter((o.outcome, o.from_ledger) for o in outcomes) == {
        ("inserted", False): 60, ("inserted", True): 3, ("not_sent", False): 1,
    }  # fmt: skip
    assert run.error is None
    assert set(posts(sandbox).values()) == {1}
    assert _ledger(client).counts() == {"inserted": 61}
    assert client.last_run is not None
    assert client.last_run.outcomes == outcomes


def test_the_same_in_a_loop_and_by_iterating(client: nontax.Client, run: Strict) -> None:
    given = [bill() for _ in range(40)]

    async def by_collect() -> list[nontax.Outcome]:
        return await client.ainsert_bills(given, concurrency=8).collect()

    async def by_iterating() -> list[nontax.Outcome]:
        async def source() -> Any:
            for each in given:
                await asyncio.sleep(0)
                yield each

        return [outcome async for outcome in client.ainsert_bills(source(), concurrency=8)]

    first = run(by_collect())
    assert Counter((o.outcome, o.from_ledger) for o in first) == {("inserted", False): 40}
    second = run(by_iterating())
    assert Counter((o.outcome, o.from_ledger) for o in second) == {("inserted", True): 40}
    third = list(client.insert_bills(given))
    assert Counter((o.outcome, o.from_ledger) for o in third) == {("inserted", True): 40}
    codes = {o.index: o.inserted for o in first}
    assert {o.index: o.inserted for o in second} == codes
    assert {o.index: o.inserted for o in third} == codes


def test_an_outcome_is_in_the_ledger_before_it_is_seen(client: nontax.Client) -> None:
    given = [bill() for _ in range(30)]
    seen = 0
    for outcome in client.insert_bills(given, concurrency=4):
        assert outcome.inserted is not None
        kept = _ledger(client).history(outcome.bill["order_id"]).bill
        assert (kept.state, kept.code) == ("inserted", outcome.inserted.code)
        assert client.last_run is not None
        for told in client.last_run.outcomes[-3:]:
            assert _ledger(client).history(told.bill["order_id"]).bill.state == "inserted"
        seen += 1
    assert seen == 30


def test_trouble_ends_a_run_and_leaves_nothing_open(
    client: nontax.Client, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(45009), times=50, skip=5)
    given = [bill() for _ in range(60)]
    run = client.insert_bills(given, concurrency=4)
    outcomes = run.collect()
    assert isinstance(run.error, nontax.QuotaError)
    assert len(outcomes) < 60
    counts = _ledger(client).counts()
    assert "sending" not in counts
    assert sum(counts.values()) == len(outcomes)
    with pytest.raises(nontax.QuotaError):
        for _ in client.insert_bills([bill() for _ in range(30)], concurrency=4):
            pass
    assert "sending" not in _ledger(client).counts()


def test_closing_a_run_settles_all(client: nontax.Client, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Delay(5), times=4)
    given = [bill() for _ in range(20)]
    run = client.insert_bills(given, concurrency=4)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(run)
    timer.join()
    outcomes = run.close()
    counts = Counter(outcome.outcome for outcome in outcomes)
    assert counts["in_doubt"] == 4
    assert set(counts) <= {"in_doubt", "not_sent"}
    kept = _ledger(client).counts()
    assert kept["in_doubt"] == 4
    assert "sending" not in kept


def test_an_iterable_that_raises(client: nontax.Client) -> None:
    def source() -> Iterator[dict[str, Any]]:
        yield bill()
        yield bill()
        raise OSError("the file is gone")

    run = client.insert_bills(source())
    outcomes = run.collect()
    assert [outcome.outcome for outcome in outcomes] == ["inserted", "inserted"]
    assert isinstance(run.error, OSError)
    with pytest.raises(OSError, match="the file is gone"):
        for _ in client.insert_bills(source()):
            pass


def test_the_minutes_quota_is_waited_for_with_nothing_open(
    client: nontax.Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.inject(faults.Errcode(45011))
    monkeypatch.setattr("nontax.gate.QUOTA_PAUSE", 0.2)
    given = [bill() for _ in range(6)]
    outcomes = client.insert_bills(given, concurrency=2).collect()
    assert [outcome.outcome for outcome in outcomes] == ["inserted"] * 6
    attempts = [len(_ledger(client).history(b["order_id"]).attempts) for b in given]
    assert (min(attempts), max(attempts)) == (1, 2)
    sandbox.inject(faults.Errcode(45011))
    (outcome,) = client.insert_bills([bill()], minute_quota="outcome").collect()
    assert isinstance(outcome.error, nontax.QuotaError)


def test_a_run_that_is_dropped_leaves_nothing_open(client: nontax.Client, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Delay(2), times=4, skip=1)
    run = client.insert_bills([bill() for _ in range(12)], concurrency=4)
    next(run)
    with pytest.warns(RuntimeWarning, match="a run was left with"):
        del run
    assert "sending" not in _ledger(client).counts()


# Single calls in a loop


def test_a_cancelled_task_is_settled(client: nontax.Client, sandbox: Sandbox, run: Strict) -> None:
    given = bill()
    sandbox.inject(faults.Delay(5))

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.ainsert_bill(given)

    run(cancelled())
    assert _ledger(client).history(given["order_id"]).bill.state == "in_doubt"


def test_many_tasks(client: nontax.Client, sandbox: Sandbox, run: Strict) -> None:
    given = [bill() for _ in range(150)]

    async def all_of_them() -> list[nontax.InsertedBill]:
        return await asyncio.gather(*map(client.ainsert_bill, given))

    codes = [inserted.code for inserted in run(all_of_them())]
    assert len(set(codes)) == 150
    assert _ledger(client).counts() == {"inserted": 150}


# Changes


def test_changes_are_written_ahead(client: nontax.Client, sandbox: Sandbox) -> None:
    given = bill()
    inserted = client.insert_bill(given)
    change = {
        "card_id": given["card_id"], "code": inserted.code,
        "reimburse_status": "INVOICE_REIMBURSE_CANCEL",
    }  # fmt: skip
    client.update_bill_status(**change)
    asyncio.run(client.aupdate_bill_status(**change))
    sandbox.inject(faults.Close("body", taken=True))
    with pytest.raises(nontax.InDoubtError):
        client.update_bill_status(**change)
    changes = _ledger(client).history(given["order_id"]).changes
    assert [row.outcome for row in changes] == ["inserted", "inserted", "in_doubt"]
    assert {row.reimburse_status for row in changes} == {"INVOICE_REIMBURSE_CANCEL"}


# Which ledger


def test_servers() -> None:
    assert server_of("https://api.weixin.qq.com") == "weixin"
    assert server_of("https://api2.weixin.qq.com/") == "weixin"
    assert server_of("https://sh.api.weixin.qq.com") == "weixin"
    assert server_of("https://api.weixin.qq.com.evil.example") != "weixin"
    assert server_of("http://127.0.0.1:8080/x") == "http://127.0.0.1:8080"


def test_a_sandboxs_ledger_is_not_for_wechat(client: nontax.Client, path: Path) -> None:
    client.insert_bill(bill())
    with pytest.raises(nontax.LedgerError, match=r"is of http://127.*sends to WeChat"):
        nontax.Client(access_token="x", ledger=path)


def test_a_gateway_may_stand_for_wechat(sandbox: Sandbox, path: Path) -> None:
    ledger = Ledger(path, server="weixin")
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, ledger=ledger
    ) as client:
        client.insert_bill(bill())
    ledger.close()
    assert ledger.server == "weixin"
    assert nontax.Client(access_token="x", ledger=path).ledger is not None


def test_the_environment_names_a_ledger(
    sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NONTAX_LEDGER", str(path))
    with nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url) as client:
        assert _ledger(client).path == str(path)
        other = nontax.Client(access_token="x", base_url=sandbox.base_url)
        assert other.ledger is client.ledger
    assert nontax.Client(access_token="x", ledger=False).ledger is None
    monkeypatch.setenv("NONTAX_LEDGER", "bills.db")
    with pytest.raises(ValueError, match="must be an absolute path"):
        nontax.Client(access_token="x")


def test_the_default_client_has_it_too(sandbox: Sandbox, path: Path) -> None:
    program = f"""
import json, sys, nontax
bill = json.loads(sys.argv[1])
nontax.insert_bill(bill, access_token={sandbox.access_token!r})
"""
    given = bill()
    environment = os.environ | {
        "NONTAX_LEDGER": str(path), "NONTAX_BASE_URL": sandbox.base_url,
    }  # fmt: skip
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", program, json.dumps(given)], check=True, env=environment
        )
    assert posts(sandbox)[given["order_id"]] == 1
    assert Ledger(path).counts() == {"inserted": 1}


def test_no_secret_is_in_the_ledgers_files(client: nontax.Client, sandbox: Sandbox) -> None:
    client.insert_bills([bill() for _ in range(10)]).collect()
    sandbox.inject(faults.Errcode(40001))
    client.insert_bills([bill()]).collect()
    _ledger(client)._owner.spool_answers([], nontax.LedgerError(reason="full"))
    folder = Path(_ledger(client).path).parent
    for file in folder.iterdir():
        assert sandbox.access_token.encode() not in file.read_bytes(), file


# Connections


def test_a_run_that_has_ended_leaves_its_connections(
    client: nontax.Client, sandbox: Sandbox, run: Strict
) -> None:
    kept: list[object] = []  # a run need not be forgotten for that
    for _ in range(2):
        collected = client.insert_bills([bill() for _ in range(4)], concurrency=1)
        assert len(collected.collect()) == 4
        stopped = client.insert_bills([bill() for _ in range(4)], concurrency=1)
        next(stopped)
        stopped.stop()
        assert sorted(stopped, key=lambda o: o.index) == stopped.outcomes[1:]
        kept += [collected, stopped]

    async def in_a_loop() -> None:
        for _ in range(2):
            collected = client.ainsert_bills([bill() for _ in range(4)], concurrency=1)
            assert len(await collected.collect()) == 4
            read = client.ainsert_bills([bill()], concurrency=1)
            assert len([outcome async for outcome in read]) == 1
            kept.extend([collected, read])

    run(in_a_loop())
    client.insert_bill(bill())
    assert len({request.connection for request in sandbox.requests}) == 1
