"""WeChat's own record of requests in doubt: asked for once, and kept without a name."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from bills import bill
from django.db.models import F
from django.test import override_settings
from djangos import nontax_of, outbox_in

from nontax.contrib.django import doubts, outbox
from nontax.contrib.django.models import Attempt, Bill, Evidence
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.store import Key
from nontax.sandbox import Sandbox, faults

ASK = "/cgi-bin/openapi/rid/get"
_SECRET = "测试保密"


@pytest.fixture(autouse=True)
def _rows(tmp_path: Path, sandbox: Sandbox) -> Iterator[None]:
    with outbox_in(tmp_path, nontax_of(sandbox, "outbox")):
        yield


def _in_doubt(sandbox: Sandbox) -> Bill:
    sandbox.inject(faults.Errcode(-1), path="/nontax/insertbill")
    row = outbox.enqueue(bill(title=_SECRET), account="bureau", durable=False)
    Relay().run(once=True)
    row.refresh_from_db()
    assert row.state == "in_doubt"
    return row


def _asked(sandbox: Sandbox) -> int:
    return sum(request.path == ASK for request in sandbox.requests)


def _records() -> list[Evidence]:
    return list(Evidence.objects.using("outbox").filter(kind="get_rid_info"))


def test_it_is_asked_for_once_and_settles_nothing(sandbox: Sandbox) -> None:
    row = _in_doubt(sandbox)
    for _ in range(2):
        Relay().run(once=True)
    row.refresh_from_db()
    (record,) = _records()
    assert _asked(sandbox) == 1
    assert (row.state, record.bill_id, record.verdict) == ("in_doubt", row.pk, "shown")
    assert record.note == Attempt.objects.using("outbox").get().rid
    assert " ms: -1 " in record.detail
    kept = str(list(Evidence.objects.using("outbox").values()))
    assert _SECRET not in kept
    assert "openid" not in kept


def test_what_wechat_does_not_remember_is_asked_once(sandbox: Sandbox) -> None:
    _in_doubt(sandbox)
    sandbox.inject(faults.Errcode(76001), path=ASK)
    for _ in range(2):
        Relay().run(once=True)
    assert [(record.verdict, record.detail) for record in _records()] == [("none", "")]
    assert _asked(sandbox) == 1


def test_a_quota_that_is_used_up_loses_nothing(sandbox: Sandbox) -> None:
    first, second = _in_doubt(sandbox), _in_doubt(sandbox)
    Evidence.objects.using("outbox").filter(kind="get_rid_info")._raw_delete("outbox")
    before = _asked(sandbox)
    sandbox.inject(faults.Errcode(45009), path=ASK)
    asker = doubts.Asker("outbox")
    for _ in range(3):
        assert asker.ask() == 0
    # The account is left alone for a while: one call, and neither bill is changed by it.
    assert _asked(sandbox) == before + 1
    states = Bill.objects.using("outbox").values_list("state", flat=True)
    assert set(states) == {"in_doubt"}
    assert doubts.Asker("outbox").ask() == 2
    assert {record.bill_id for record in _records()} == {first.pk, second.pk}


def test_accounts_that_cannot_be_had(sandbox: Sandbox) -> None:
    _in_doubt(sandbox)
    with override_settings(NONTAX={**nontax_of(sandbox, "outbox"), "ACCOUNTS": {}}):
        assert doubts.Asker("outbox").ask() == 0


def test_what_is_settled_or_too_old_is_not_asked_about(sandbox: Sandbox) -> None:
    settled, old = _in_doubt(sandbox), _in_doubt(sandbox)
    Evidence.objects.using("outbox").filter(kind="get_rid_info")._raw_delete("outbox")
    before = _asked(sandbox)
    key = Key(settled.appid, settled.order_id)
    OutboxStore("bureau", using="outbox").resolve(key, "inserted", by="王", note="seen")
    mine = Attempt.objects.using("outbox").filter(bill=old)
    mine.update(changed_at=F("changed_at") - timedelta(days=8))
    assert doubts.Asker("outbox").ask() == 0
    assert _asked(sandbox) == before


def test_two_relays_keep_one_record(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    _in_doubt(sandbox)
    Evidence.objects.using("outbox").filter(kind="get_rid_info")._raw_delete("outbox")
    one, other = doubts.Asker("outbox"), doubts.Asker("outbox")
    seen = other._due()
    assert one.ask() == 1
    monkeypatch.setattr(other, "_due", lambda: seen)
    assert other.ask() == 0
    assert len(_records()) == 1
