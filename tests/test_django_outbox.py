"""Django's outbox as it is used: rows of a transaction, relays, kills, a database that is away."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from djangos import count_posts, manage, nontax_of, outbox_in, site, sqlite, states, wait_for_posts
from figures import Record, tell
from kills import kill_relays

import nontax
from nontax.contrib.django import accounts, conf, outbox
from nontax.contrib.django.models import Attempt, Bill, Evidence
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.store import Key
from nontax.sandbox import Sandbox, faults


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def rows(place: Path, sandbox: Sandbox) -> Iterator[None]:
    """A site with an empty outbox, whose account is the sandbox's bureau."""
    with outbox_in(place.parent, nontax_of(sandbox, "outbox", spool=str(place.parent))):
        yield


def _enqueue(count: int = 1) -> list[str]:
    given = [bill() for _ in range(count)]
    outbox.enqueue_many(given, account="bureau", durable=False)
    return [one["order_id"] for one in given]


# Handing in


def test_sqlite_that_returns_nothing_from_an_insert(
    rows: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before 3.35, which Django 5.2 still takes."""
    features = connections["outbox"].features
    monkeypatch.setattr(features, "can_return_columns_from_insert", False)
    with CaptureQueriesContext(connections["outbox"]) as queries:
        given = bill()
        row = outbox.enqueue(given, account="bureau", durable=False)
        assert outbox.enqueue(given, account="bureau", durable=False).pk == row.pk
    assert not any("RETURNING" in query["sql"] for query in queries)
    assert states() == {"waiting": 1}


def test_a_rollback_leaves_no_row(rows: None, sandbox: Sandbox) -> None:
    with transaction.atomic(using="outbox"):
        outbox.enqueue(bill(), account="bureau")
        assert states() == {"waiting": 1}
        transaction.set_rollback(True, using="outbox")
    assert states() == {}
    Relay().run(once=True)
    assert count_posts(sandbox) == {}


def test_what_is_committed_is_sent_once(rows: None, sandbox: Sandbox) -> None:
    with transaction.atomic(using="outbox"):
        row = outbox.enqueue(bill(), account="bureau")
    assert (row.state, row.account) == ("waiting", "bureau")
    assert Relay().run(once=True) == []
    row.refresh_from_db()
    assert row.state == "inserted"
    assert row.code == sandbox.bills[row.order_id].code
    Relay().run(once=True)
    assert count_posts(sandbox) == {row.order_id: 1}


def test_a_bill_as_a_dict_has_no_name(rows: None) -> None:
    given = bill(title="赵钱孙李")
    row = outbox.enqueue(given, account="bureau", durable=False)
    waiting = row.to_dict()
    assert (waiting["state"], waiting["code"], waiting["errcode"]) == ("waiting", None, None)
    assert Relay().run(once=True) == []
    row.refresh_from_db()
    told = row.to_dict()
    assert told.keys() == waiting.keys()
    assert (told["order_id"], told["fee"], told["attempts"]) == (given["order_id"], 123, 1)
    assert (told["state"], told["code"]) == ("inserted", row.code)
    assert "赵钱孙李" not in str(told)
    assert Attempt.objects.using("outbox").get().openid not in str(told)


def test_a_units_account_sends_no_bills(rows: None, sandbox: Sandbox) -> None:
    given = nontax_of(sandbox, "outbox")
    given["ACCOUNTS"]["unit"]["ROLE"] = "unit"
    with override_settings(NONTAX=given):
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured, match='has the ROLE "unit"'):
                outbox.enqueue(bill(), account="unit", durable=False)
        outbox.enqueue(bill(), account="bureau", durable=False)
    assert states() == {"waiting": 1}


def test_outside_a_transaction_is_an_error(rows: None) -> None:
    with pytest.raises(RuntimeError, match=r"inside transaction.atomic"):
        outbox.enqueue(bill(), account="bureau")
    assert states() == {}


def test_the_same_bill_again_changes_nothing(rows: None, sandbox: Sandbox) -> None:
    given = bill()
    first = outbox.enqueue(given, account="bureau", durable=False)
    assert outbox.enqueue(given, account="bureau", durable=False).pk == first.pk
    Relay().run(once=True)
    again = outbox.enqueue(given, account="bureau", durable=False)
    assert (again.pk, again.state) == (first.pk, "inserted")
    assert count_posts(sandbox) == {first.order_id: 1}


def test_other_content_is_named(rows: None) -> None:
    given = bill()
    number = given["card_ext"]["user_card"]["invoice_user_data"]["billing_code"]
    changed = bill(given["order_id"], billing_code=number, fee=9)
    outbox.enqueue(given, account="bureau", durable=False)
    with pytest.raises(nontax.ConflictError, match="the outbox has") as raised:
        outbox.enqueue(changed, account="bureau", durable=False)
    assert raised.value.fields == ["fee"]
    assert outbox.enqueue(changed, account="bureau", durable=False, replace=True).fee == 9
    Relay().run(once=True)
    with pytest.raises(nontax.ConflictError):
        outbox.enqueue(given, account="bureau", durable=False, replace=True)
    with pytest.raises(nontax.ConflictError, match="not sent twice"):
        outbox.enqueue(bill(billing_no="1511169724", billing_code=number), account="bureau",
                       durable=False)  # fmt: skip


def test_all_problems_before_anything_is_kept(rows: None) -> None:
    with pytest.raises(nontax.InvalidRequestError, match=r"\[1\]\.\S*title"):
        outbox.enqueue_many([bill(), bill(title="")], account="bureau", durable=False)
    with pytest.raises(nontax.InvalidRequestError, match="longer than the 128"):
        outbox.enqueue(bill("x" * 129), account="bureau", durable=False)
    assert states() == {}


def test_many_or_none(rows: None) -> None:
    known = bill()
    outbox.enqueue(known, account="bureau", durable=False)
    changed = bill(known["order_id"], fee=9)
    with pytest.raises(nontax.ConflictError, match=r"\[600\]\.fee"):
        outbox.enqueue_many(
            [*(bill() for _ in range(600)), changed], account="bureau", durable=False
        )
    assert states() == {"waiting": 1}
    assert outbox.enqueue_many([bill(), known, bill()], account="bureau", durable=False) == 3
    assert states() == {"waiting": 3}


def test_case_counts_in_an_order(rows: None) -> None:
    outbox.enqueue(bill("caseA"), account="bureau", durable=False)
    outbox.enqueue(bill("casea"), account="bureau", durable=False)
    assert states() == {"waiting": 2}


def test_from_asynchronous_code(rows: None) -> None:
    row = asyncio.run(outbox.aenqueue(bill(), account="bureau"))
    assert row.state == "waiting"


def test_higher_priorities_go_first(rows: None) -> None:
    old = [outbox.enqueue(bill(), account="bureau", durable=False).order_id for _ in range(3)]
    citizen = outbox.enqueue(bill(), account="bureau", durable=False, priority=9).order_id
    claims = OutboxStore("bureau", using="outbox").reserve(2).claims
    assert [claim.key.order_id for claim in claims] == [citizen, old[0]]


# Relays


def test_pdfs_are_uploaded_first(rows: None, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 one")
    good = outbox.enqueue(bill(), account="bureau", durable=False, pdf=tmp_path / "a.pdf")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 two")
    changed = outbox.enqueue(bill(), account="bureau", durable=False, pdf=tmp_path / "b.pdf")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 other")
    Relay().run(once=True)
    good.refresh_from_db()
    changed.refresh_from_db()
    assert (good.state, changed.state) == ("inserted", "waiting")
    sent = sandbox.requests[-1]
    assert good.content.media_id in sandbox.pdfs
    assert good.content.media_id in sent.body.decode()


def test_bills_of_another_server_are_not_sent(rows: None, caplog: pytest.LogCaptureFixture) -> None:
    OutboxStore("bureau", using="outbox").use_server("weixin")
    _enqueue()
    assert Relay().run(once=True) == ["bureau"]
    assert "the outbox has bills of weixin" in caplog.text
    assert states() == {"waiting": 1}


def test_a_reservation_whose_commit_was_not_answered_is_sent_later(
    rows: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was carried out, and its owner does not know: nothing of it is sent before it is found."""
    _enqueue(3)
    store = OutboxStore("bureau", using="outbox")
    write = OutboxStore._write

    def lost(self: OutboxStore, work: object, *, durable: bool = False) -> object:
        found = write(self, work, durable=durable)  # type: ignore[arg-type,var-annotated]
        if durable:
            raise ConnectionError("between COMMIT and its answer")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(OutboxStore, "_write", lost)
        with pytest.raises(ConnectionError):
            store.reserve(3)
    assert states() == {"sending": 3}
    assert len(store.reserve(2).claims) == 2
    assert states() == {"sending": 2, "waiting": 1}
    assert set(Attempt.objects.using("outbox").values_list("number", "ended")) == {
        (1, 1),
        (2, 0),
    }


def test_what_is_sent_is_what_was_there_when_it_was_taken(rows: None) -> None:
    given = bill(shape="flat", fee=1, title="甲")
    outbox.enqueue(given, account="bureau", durable=False)
    replaced: list[object] = []

    def replace(execute: Any, sql: str, *args: Any) -> object:
        """Another one's change, at the last moment; with locks nobody comes so late."""
        if sql.startswith('UPDATE "nontax_bill"') and not replaced:
            replaced.append(sql)
            changed = {**given, "fee": 9, "title": "乙"}
            outbox.enqueue(changed, account="bureau", durable=False, replace=True)
        return execute(sql, *args)

    with connections["outbox"].execute_wrapper(replace):
        (claim,) = OutboxStore("bureau", using="outbox").reserve(1).claims
    assert (claim.content.fee, claim.content.title, len(replaced)) == (9, "乙", 1)


def test_two_relays_and_each_bill_once(rows: None, place: Path, sandbox: Sandbox) -> None:
    orders = _enqueue(200)
    env = site(sqlite(place), nontax_of(sandbox))
    relays = [manage(env, "nontax_send", "--once", "--window", "8") for _ in range(2)]
    told = [relay.communicate(timeout=50) for relay in relays]
    assert [relay.returncode for relay in relays] == [0, 0], told
    assert sum(int(out.split()[0]) for out, _ in told) == 200
    assert states() == {"inserted": 200}
    assert count_posts(sandbox) == dict.fromkeys(orders, 1)


def test_sigterm_waits_for_what_is_in_flight(rows: None, place: Path, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Delay(0.7), times=4, path="/nontax/insertbill")
    _enqueue(12)
    relay = manage(site(sqlite(place), nontax_of(sandbox)), "nontax_send", "--window", "8")
    wait_for_posts(sandbox, 4)
    relay.send_signal(signal.SIGTERM)
    out, err = relay.communicate(timeout=50)
    assert (relay.returncode, out) == (0, "4 bills sent\n"), err
    assert states() == {"inserted": 4, "waiting": 8}


@pytest.mark.timeout(3600)
def test_kill_9_of_relays(
    rows: None, place: Path, sandbox: Sandbox, record_property: Record
) -> None:
    kills = int(os.environ.get("DJANGO_KILLS", "4"))
    told = kill_relays("outbox", sqlite(place), sandbox, "relay on SQLite", kills=kills)
    tell(record_property, told)


def test_answers_are_held_until_the_database_is_back(
    rows: None, place: Path, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Delay(1), times=2, path="/nontax/insertbill")
    _enqueue(2)
    database = sqlite(place)
    database["OPTIONS"]["timeout"] = 0.1
    relay = manage(site(database, nontax_of(sandbox)), "nontax_send", "--once")
    wait_for_posts(sandbox, 2)
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(2)
    assert relay.poll() is None
    other.execute("ROLLBACK")
    other.close()
    _, err = relay.communicate(timeout=50)
    assert relay.returncode == 0, err
    assert states() == {"inserted": 2}


def test_answers_go_into_the_spool_when_the_relay_has_to_end(
    rows: None, place: Path, sandbox: Sandbox
) -> None:
    sandbox.inject(faults.Delay(1), times=2, path="/nontax/insertbill")
    _enqueue(2)
    database = sqlite(place)
    database["OPTIONS"]["timeout"] = 0.1
    env = site(database, nontax_of(sandbox, spool=str(place.parent)))
    relay = manage(env, "nontax_send")
    wait_for_posts(sandbox, 2)
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    relay.send_signal(signal.SIGTERM)
    _, err = relay.communicate(timeout=50)
    other.execute("ROLLBACK")
    other.close()
    assert relay.returncode == 0, err
    assert states() == {"sending": 2}
    _enqueue(1)
    assert Relay().run(once=True) == []
    assert states() == {"inserted": 3}
    assert set(count_posts(sandbox).values()) == {1}


# The rest


def test_status(rows: None, capsys: pytest.CaptureFixture[str]) -> None:
    _enqueue(3)
    call_command("nontax_status", format="jsonl")
    told = json.loads(capsys.readouterr().out)
    assert (told["account"], told["state"], told["bills"]) == ("bureau", "waiting", 3)
    call_command("nontax_status", format="prometheus")
    assert 'nontax_bills{account="bureau",state="waiting"} 3' in capsys.readouterr().out
    with translation.override("zh-hans"):
        call_command("nontax_status")
    assert re.search("3  待发送，最早的已有 [0-9]+ 秒\n", capsys.readouterr().out)


def test_a_relay_for_an_unknown_account(rows: None) -> None:
    with pytest.raises(CommandError, match="no account 'bureu'"):
        call_command("nontax_send", "--once", "--account", "bureu")


def test_no_name_and_no_openid_is_told(
    rows: None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    outbox.enqueue(bill(title="赵钱孙李"), account="bureau", durable=False)
    with caplog.at_level("DEBUG"):
        call_command("nontax_send", once=True)
    call_command("nontax_status")
    said = caplog.text + "".join(capfd.readouterr())
    openid = Attempt.objects.using("outbox").get().openid
    assert openid
    assert "赵钱孙李" not in said
    assert openid not in said


def test_evidence_is_never_changed(rows: None) -> None:
    row = outbox.enqueue(bill(), account="bureau", durable=False)
    OutboxStore("bureau", using="outbox").withdraw(_key(row), by="王", note="refund")
    (told,) = Evidence.objects.using("outbox").all()
    with pytest.raises(TypeError, match="never changed"):
        told.save()
    with pytest.raises(TypeError, match="never deleted"):
        told.delete()


def _key(row: Bill) -> Key:
    return Key(row.appid, row.order_id)


def test_settings_that_cannot_be() -> None:
    account = {"APPID": "wx1", "SECRET": "canary-secret"}
    for given, words in (
        ({}, "no account 'bureau'"),
        ({"ACCOUNT": {}}, "do you mean ACCOUNTS"),
        ({"ACCOUNTS": {"bureau": account | {"BASEURL": "x"}}}, "do you mean BASE_URL"),
        ({"ACCOUNTS": {"bureau": {"APPID": "wx1"}}}, "needs APPID, and SECRET"),
        ({"ACCOUNTS": {"bureau": account}, "OUTBOX": {"LEASE": 30}}, "LEASE"),
    ):
        with override_settings(NONTAX=given):
            with pytest.raises(ImproperlyConfigured, match=words) as raised:
                accounts.client("bureau")
        assert "canary-secret" not in str(raised.value)
    with override_settings(NONTAX={"ACCOUNTS": "djangos.vault"}):
        assert conf.account("any")["APPID"] == "any"


def test_the_migration_is_whole_and_goes_both_ways(rows: None) -> None:
    call_command("check", databases=["outbox"])
    call_command("makemigrations", "nontax", check=True, dry_run=True, verbosity=0)
    call_command("migrate", "nontax", "zero", database="outbox", verbosity=0)
    assert "nontax_bill" not in connections["outbox"].introspection.table_names()
    call_command("migrate", "nontax", database="outbox", verbosity=0)
    _enqueue()


def test_without_django_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['django'] = None; import nontax.contrib.django.apps"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "pip install 'nontax[django]'" in done.stderr
