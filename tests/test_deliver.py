"""Lists that are delivered from a ledger, and bills in doubt that a person has resent."""

import hashlib
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bills import bill
from sandboxes import posts

import nontax
from nontax.delivery.content import content_of
from nontax.delivery.contract import RESEND
from nontax.delivery.deliver import Delivered, Delivery
from nontax.delivery.resolve import resend
from nontax.delivery.store import Key
from nontax.ledger import Ledger
from nontax.ledger import owner as owner_module
from nontax.sandbox import Sandbox, faults


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "bills.db") as ledger:
        yield ledger
    assert "sending" not in ledger.counts()
    assert ledger.verify() == []


def _key(given: dict[str, object]) -> Key:
    return Key(str(given["appid"]), str(given["order_id"]))


def test_a_list_is_sent_once_however_often_it_is_delivered(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox
) -> None:
    given = [bill() for _ in range(50)]
    told: list[Delivered] = []
    report = ledger.deliver(client, given, concurrency=8, progress=told.append)
    assert report.counts == {"inserted": 50}
    assert report.is_complete
    assert len(told) == 50
    again = ledger.deliver(client, [*given, bill()])
    assert again.counts == {"inserted": 1}
    assert set(posts(sandbox).values()) == {1}
    assert ledger.counts() == {"inserted": 51}


def test_progress_is_told_what_is_kept(ledger: Ledger, client: nontax.Client) -> None:
    def kept(told: Delivered) -> None:
        assert ledger.history(told.key.order_id).bill.state == told.state

    ledger.deliver(client, [bill() for _ in range(10)], progress=kept)


def test_one_invalid_bill_and_none_is_taken(ledger: Ledger, client: nontax.Client) -> None:
    with pytest.raises(nontax.InvalidRequestError, match=r"\[1\]\.\S+title"):
        ledger.deliver(client, [bill(), bill(title=""), bill()])
    assert ledger.counts() == {}


def test_other_content_is_named_with_its_place(ledger: Ledger, client: nontax.Client) -> None:
    given = bill()
    ledger.deliver(client, [given])
    number = given["card_ext"]["user_card"]["invoice_user_data"]["billing_code"]
    changed = bill(given["order_id"], billing_code=number, fee=9)
    with pytest.raises(nontax.ConflictError, match=r"\[1\]\.fee differs"):
        ledger.deliver(client, [bill(), changed])


def test_trouble_stops_it_and_the_rest_is_sent_the_next_day(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(45009), times=100, skip=5)
    given = [bill() for _ in range(30)]
    report = ledger.deliver(client, given, concurrency=4)
    assert isinstance(report.error, nontax.QuotaError)
    assert report.waiting == 25
    assert not report.is_complete
    sandbox.behave()
    assert ledger.deliver(client).counts == {"inserted": 25}
    assert ledger.counts() == {"inserted": 30}


def test_what_is_rejected_and_in_doubt_is_not_sent_again(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(72038))
    sandbox.inject(faults.Close("body", taken=True))
    given = [bill() for _ in range(6)]
    report = ledger.deliver(client, given, concurrency=1)
    assert report.counts == {"rejected": 1, "in_doubt": 1, "inserted": 4}
    assert ledger.deliver(client, given).counts == {}
    assert ledger.deliver(client, given, again=True).counts == {"inserted": 1}
    assert sorted(posts(sandbox).values()) == [1, 1, 1, 1, 1, 2]


def test_ctrl_c_settles_what_is_under_way_and_the_rest_waits(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox
) -> None:
    def press() -> None:
        while len(posts(sandbox)) < 4:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    sandbox.inject(faults.Delay(1), times=4)
    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ledger.deliver(client, [bill() for _ in range(20)], concurrency=4)
    thread.join()
    assert ledger.counts() == {"inserted": 4, "waiting": 16}


def test_stop_begins_nothing_more(ledger: Ledger, client: nontax.Client) -> None:
    def stop_at_three(told: Delivered) -> None:
        if len(seen) == 2:
            delivery.stop()
        seen.append(told)

    seen: list[Delivered] = []
    delivery = Delivery(ledger, client, concurrency=1, progress=stop_at_three)
    ledger.hand_in([])
    from nontax.delivery.lists import take

    take(ledger, client, [bill() for _ in range(10)], again=False, allow_same_number=False)
    delivery.run()
    assert 3 <= len(seen) <= 5
    assert ledger.counts()["waiting"] == 10 - len(seen)


def test_an_answer_that_cannot_be_kept_goes_into_the_spool(
    ledger: Ledger, client: nontax.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    given = [bill() for _ in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(owner_module, "settle", full)
        patch.setattr("nontax.ledger.store.settle", full)
        ledger.deliver(client, given, concurrency=3)
    assert ledger.deliver(client, given).counts == {}
    assert ledger.counts() == {"inserted": 3}


# PDFs


def test_pdfs_are_uploaded_first_and_again_when_they_are_old(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "bill.pdf"
    file.write_bytes(b"%PDF-1.4 one")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    contents = [content_of(client._core.body("insertbill", bill())) for _ in range(3)]
    missing = str(tmp_path / "missing.pdf")
    ledger.hand_in(contents, pdfs=[(str(file), digest), (missing, digest), (str(file), "0" * 64)])
    report = ledger.deliver(client)
    assert report.counts == {"inserted": 1}
    assert report.waiting == 2
    problems = {key.order_id: words for key, words in report.pdf_problems}
    assert "No such file" in problems[contents[1].order_id]
    assert "has changed" in problems[contents[2].order_id]
    kept = ledger.history(contents[0].order_id).bill
    assert kept.s_pdf_media_id != contents[0].s_pdf_media_id
    (sent,) = (json.loads(r.body) for r in sandbox.requests if r.path == "/nontax/insertbill")
    assert sent["card_ext"]["user_card"]["invoice_user_data"]["s_pdf_media_id"] == (
        kept.s_pdf_media_id
    )


def test_a_list_with_its_pdfs(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "bill.pdf"
    file.write_bytes(b"%PDF-1.4 one")
    flat = bill(shape="flat")
    del flat["s_pdf_media_id"]
    nested = bill(s_pdf_media_id="uploaded before")
    with pytest.raises(ValueError, match="2 bills and 1 PDFs"):
        ledger.deliver(client, [flat, nested], pdfs=[file])
    with pytest.raises(FileNotFoundError, match=r"missing\.pdf"):
        ledger.deliver(client, [flat], pdfs=[tmp_path / "missing.pdf"])
    (tmp_path / "text.pdf").write_text("no PDF")
    with pytest.raises(ValueError, match=r"text\.pdf is no PDF"):
        ledger.deliver(client, [flat], pdfs=[tmp_path / "text.pdf"])
    assert ledger.counts() == {}
    report = ledger.deliver(client, [flat, nested], pdfs=[file, None])
    assert report.counts == {"inserted": 2}
    one, two = ledger.bills()
    assert (one.pdf_path, two.pdf_path) == (str(file), "")
    assert one.s_pdf_media_id not in ("later", two.s_pdf_media_id)
    assert len([r for r in sandbox.requests if "setpdf" in r.path]) == 1


def test_wechats_record_of_what_is_in_doubt_is_kept(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(-1))
    given = bill(title="测试保密")
    ledger.deliver(client, [given, bill()], concurrency=1)
    history = ledger.history(given["order_id"])
    assert history.bill.state == "in_doubt"
    (attempt,) = history.attempts
    record = json.loads(attempt.rid_info)
    assert record["errcode"] == -1
    assert record["invoke_time"] > 0
    assert "测试保密" not in attempt.rid_info
    # It settles nothing, and WeChat is asked once.
    ledger.deliver(client)
    assert len([r for r in sandbox.requests if "rid" in r.path]) == 1


def test_what_wechat_does_not_remember_is_asked_once(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(-1))
    sandbox.inject(faults.Errcode(76001), path="/cgi-bin/openapi/rid/get")
    given = bill()
    for _ in range(2):
        ledger.deliver(client, [given])
    assert ledger.history(given["order_id"]).attempts[0].rid_info == "{}"
    assert len([r for r in sandbox.requests if "rid" in r.path]) == 1


def test_a_bill_that_is_handed_in_again_keeps_its_upload(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "bill.pdf"
    file.write_bytes(b"%PDF-1.4 one")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    one = content_of(client._core.body("insertbill", bill(s_pdf_media_id="later")))
    ledger.hand_in([one], pdfs=[(str(file), digest)])
    sandbox.inject(faults.Errcode(45009), path="/nontax/insertbill")
    assert ledger.deliver(client).waiting == 1
    ledger.hand_in([one], pdfs=[(str(file), digest)])
    assert ledger.deliver(client).counts == {"inserted": 1}
    sent = [json.loads(r.body) for r in sandbox.requests if r.path == "/nontax/insertbill"]
    ids = [each["card_ext"]["user_card"]["invoice_user_data"]["s_pdf_media_id"] for each in sent]
    assert ids == [ledger.history(one.order_id).bill.s_pdf_media_id] * 2
    assert len([r for r in sandbox.requests if "setpdf" in r.path]) == 1


@pytest.mark.parametrize("limit", [0, 1, 3, 9])
def test_no_more_bills_than_asked_for(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox, limit: int
) -> None:
    report = ledger.deliver(client, [bill() for _ in range(5)], limit=limit)
    sent = min(limit, 5)
    assert (sum(report.counts.values()), report.waiting) == (sent, 5 - sent)
    assert len(posts(sandbox)) == sent


# Where nothing can be sent


@pytest.mark.parametrize(
    ("bills", "concurrency", "limit"), [(100, 1, None), (100, 16, None), (2, 16, None), (9, 16, 1)]
)
def test_a_server_that_is_down_ends_it(
    ledger: Ledger, sandbox: Sandbox, bills: int, concurrency: int, limit: int | None
) -> None:
    """What could not be sent waits again: without an end it would be tried for ever."""
    given = [bill() for _ in range(bills)]
    sandbox.stop()
    with nontax.Client(access_token="x" * 32, base_url=sandbox.base_url, retries=0) as client:
        report = ledger.deliver(client, given, concurrency=concurrency, limit=limit)
    assert isinstance(report.error, nontax.NotSentError)
    assert not report.is_complete
    assert report.waiting == bills
    assert report.counts["waiting"] <= (limit or 2 * max(concurrency, 3))


def test_a_certificate_that_is_not_trusted_ends_it(ledger: Ledger, tls_sandbox: Sandbox) -> None:
    with nontax.Client(access_token="x" * 32, base_url=tls_sandbox.base_url) as client:
        report = ledger.deliver(client, [bill() for _ in range(9)], concurrency=1)
    assert isinstance(report.error, nontax.TLSError)
    assert report.counts == {"waiting": 1}


# Pauses


def test_a_pause_hears_that_it_is_to_stop(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Errcode(45011), times=100)
    ledger.hand_in([content_of(client._core.body("insertbill", bill())) for _ in range(9)])
    told: list[int] = []

    def pause(error: nontax.NontaxError) -> float:
        told.append(error.errcode if isinstance(error, nontax.WeChatError) else 0)
        threading.Timer(0.1, delivery.stop).start()
        return 60.0

    delivery = Delivery(ledger, client, concurrency=4, pause=pause)
    assert delivery.run().waiting == 9
    assert told == [45011]


# Resends


@pytest.mark.parametrize(
    ("errcode", "state"),
    [(0, "inserted"), (72056, "inserted"), (72018, "inserted"), (72042, "inserted"),
     (72035, "in_doubt"), (72036, "in_doubt"), (72038, "in_doubt"), (72013, "in_doubt"),
     (72050, "in_doubt"), (-1, "in_doubt"), (40001, "in_doubt"), (45009, "in_doubt")],
)  # fmt: skip
def test_what_a_resend_of_an_arrived_bill_settles(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox, errcode: int, state: str
) -> None:
    """Over the wire: the first one arrived and its answer was lost; WeChat then says this."""
    given = bill()
    sandbox.inject(faults.Close("body", taken=True))
    assert ledger.deliver(client, [given]).counts == {"in_doubt": 1}
    with pytest.raises(ValueError, match="less than 60 seconds old"):
        resend(ledger, client, _key(given), by="王")
    if errcode in (40001, 45009, 72036):
        sandbox.inject(faults.Errcode(errcode), times=9)
    else:
        sandbox.answer_repeats_with(errcode)
    told, goes_on = resend(ledger, client, _key(given), by="王", checked_by="李", at_least=0)
    assert told.state == state
    assert goes_on == (errcode not in (40001, 45009))
    assert told.shown == (errcode in (72035, 72038, 72013, 72050))
    kept = ledger.history(given["order_id"])
    assert kept.bill.state == state
    assert kept.bill.code == (sandbox.bills[given["order_id"]].code if errcode == 0 else "")
    assert kept.bill.code_unknown == (state == "inserted" and errcode != 0)
    assert kept.attempts[-1].signed_by == "王"


def test_a_resend_of_a_bill_that_had_not_arrived(
    ledger: Ledger, client: nontax.Client, sandbox: Sandbox
) -> None:
    given = bill()
    sandbox.inject(faults.Close("body", taken=False))
    assert ledger.deliver(client, [given]).counts == {"in_doubt": 1}
    told, _ = resend(ledger, client, _key(given), by="王", at_least=0)
    assert told.state == "inserted"
    assert ledger.history(given["order_id"]).bill.code == sandbox.bills[given["order_id"]].code


def test_the_contract_has_every_row() -> None:
    codes = {answer.errcode for answer, _, _ in RESEND}
    assert codes >= {0, 72056, 72018, 72042, 72035, 72036, 72054, -1, 72038, 72013, 72050}
