"""The admin: who sees which bills and which names, and what they may order."""

import csv
import html
import importlib
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import Q
from django.http import HttpRequest
from django.test import Client as Browser
from django.test import override_settings
from django.utils import timezone, translation
from djangos import count_posts, nontax_of, outbox_in

from nontax.contrib.django import outbox
from nontax.contrib.django.models import Attempt, Bill, Evidence, Pace, Unit
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.searching import first_since
from nontax.sandbox import Sandbox, faults

site = importlib.import_module("django.contrib.admin").site
LogEntry = apps.get_model("admin", "LogEntry")
Permission = apps.get_model("auth", "Permission")
User = apps.get_model("auth", "User")
PAYER = "赵钱孙李"
LIST = "/admin/nontax/bill/"


@pytest.fixture(scope="module", autouse=True)
def _tables() -> None:
    call_command("migrate", verbosity=0)
    connections["default"].cursor().execute("DELETE FROM auth_user")


@pytest.fixture
def rows(tmp_path: Path, sandbox: Sandbox) -> Iterator[None]:
    with outbox_in(tmp_path, nontax_of(sandbox, "outbox")):
        yield
    LogEntry.objects.all().delete()
    User.objects.all().delete()


def _browser(*permissions: str, name: str = "王会计") -> Browser:
    user = User.objects.create(username=name, is_staff=True)
    for codename in ("view_bill", *permissions):
        user.user_permissions.add(Permission.objects.get(codename=codename))
    browser = Browser()
    browser.force_login(user)
    return browser


def _text(browser: Browser, path: str = LIST, **query: Any) -> str:
    reply = browser.get(path, query)
    assert reply.status_code == 200, reply.headers
    return html.unescape(reply.content.decode())


def _bill(*, send: bool = False, **changes: Any) -> Bill:
    row = outbox.enqueue(bill(title=PAYER, **changes), account="bureau", durable=False)
    if send:
        Relay().run(once=True)
        row.refresh_from_db()
    return row


def _doubtful(sandbox: Sandbox, count: int = 1, *, taken: bool = False) -> list[Bill]:
    sandbox.inject(faults.Close("body", taken=taken), times=count, path="/nontax/insertbill")
    made = [_bill() for _ in range(count)]
    Relay().run(once=True)
    for row in made:
        row.refresh_from_db()
        assert row.state == "in_doubt"
    return made


def _order(browser: Browser, action: str, bills: list[Bill], **more: Any) -> str:
    """Post an action, and follow it to what it says."""
    data = {"action": action, "_selected_action": [row.pk for row in bills], **more}
    reply = browser.post(LIST, data, follow=True)
    assert reply.status_code == 200
    content = b"".join(reply) if reply.streaming else reply.content
    return html.unescape(content.decode())


def _sign(browser: Browser, action: str, bills: list[Bill], **more: Any) -> str:
    return _order(browser, action, bills, **{"confirmed": "yes", "note": "问过患者", **more})


# Looking


def test_nobody_edits_a_bill(rows: None) -> None:
    row = _bill()
    browser = _browser()
    assert row.order_id in _text(browser)
    page = f"{LIST}{row.pk}/change/"
    assert "名" not in _text(browser, page).replace(PAYER[:1], "")
    for path in (f"{LIST}add/", f"{LIST}{row.pk}/delete/"):
        assert browser.get(path).status_code == 403
    assert browser.post(page, {"state": "inserted"}).status_code == 403
    assert Browser().get(LIST).status_code == 302


def test_filters_and_search(rows: None, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(72031), path="/nontax/insertbill")
    rejected = _bill(send=True)
    waiting = _bill(billing_no="11010124", appid="wxother", billing_code="0012345678")
    Unit.objects.using("outbox").update_or_create(appid="wxother", defaults={"name": "第二医院"})
    browser = _browser()

    def shown(**query: Any) -> set[str]:
        page = _text(browser, **query)
        return {row.order_id for row in (rejected, waiting) if f">{row.order_id}</a>" in page}

    both = {rejected.order_id, waiting.order_id}
    today = f"{timezone.localdate():%F}"
    for query, found in (
        ({}, both),
        ({"state": "waiting"}, {waiting.order_id}),
        ({"state": "held"}, set()),
        ({"account": "bureau"}, both),
        ({"account": "unit"}, set()),
        ({"unit": "wxother"}, {waiting.order_id}),
        ({"errcode": "72031"}, {rejected.order_id}),
        ({"day": today}, both),
        ({"day": "2020-01-01"}, set()),
        ({"q": waiting.order_id}, {waiting.order_id}),
        ({"q": waiting.order_id[:-1]}, set()),
        ({"q": "0012345678"}, {waiting.order_id}),
        ({"q": "110101240012345678"}, {waiting.order_id}),
        ({"q": " 11010124 0012345678 "}, {waiting.order_id}),
        ({"q": "110101240012345679"}, set()),
    ):
        assert shown(**query) == found, query
    page = _text(browser)
    assert "第二医院" in page
    assert "72031" in page


def test_a_day_among_many(rows: None) -> None:
    made = [_bill().pk for _ in range(9)]
    bills, now = Bill.objects.using("outbox"), timezone.now()
    for place, pk in enumerate(made):
        bills.filter(pk=pk).update(created_at=now - timedelta(days=9 - place))
    for place in range(9):
        begin = first_since(bills, now - timedelta(days=9 - place))
        assert [row.pk for row in bills.filter(pk__gte=begin).order_by("pk")] == made[place:]
    assert first_since(bills, now) > made[-1]
    assert first_since(bills.none(), now) <= 1
    shown = _text(_browser(), day=f"{timezone.localdate() - timedelta(days=3):%F}")
    assert shown.count('class="action-select"') == 1


def test_a_user_sees_the_bills_of_one_hospital_alone(rows: None, sandbox: Sandbox) -> None:
    mine, other = _bill(appid="wxmine"), _bill(appid="wxother")
    Unit.objects.using("outbox").update_or_create(appid="wxother", defaults={"name": "第二医院"})

    def visible(request: HttpRequest) -> Q:
        assert request.user.is_authenticated
        return Q(appid="wxmine")

    with override_settings(NONTAX=nontax_of(sandbox, "outbox", visible=visible)):
        browser = _browser("resolve_bill", "resend_bill", "view_pii")
        page = _text(browser)
        assert mine.order_id in page
        for word in (other.order_id, "wxother", "第二医院"):
            assert word not in page
        assert "waiting: 1," in page
        assert browser.get(f"{LIST}{other.pk}/change/").status_code == 302
        assert browser.get(f"{LIST}{other.pk}/history/").status_code == 302
        assert browser.get(f"{LIST}{other.pk}/change/?names=1").status_code == 302
        assert LogEntry.objects.count() == 0
        _sign(browser, "withdraw", [mine, other])
        exported = _order(browser, "as_csv", [mine, other], confirmed="yes")
    assert {row.order_id: row.state for row in Bill.objects.using("outbox").all()} == {
        mine.order_id: "withdrawn",
        other.order_id: "waiting",
    }
    assert mine.order_id in exported
    assert other.order_id not in exported


def test_names_are_masked_until_somebody_asks_who_may(rows: None) -> None:
    row = _bill(send=True)
    openid = Attempt.objects.using("outbox").get().openid
    page = f"{LIST}{row.pk}/change/"
    clerk = _browser()
    shown = _text(clerk, page)
    assert f"{PAYER[0]}**" in shown
    assert f"{openid[:4]}…{openid[-4:]}" in shown
    for text in (shown, _text(clerk, page, names="1"), _text(clerk)):
        assert PAYER not in text
        assert openid not in text
    auditor = _browser("view_pii", name="李审计")
    assert PAYER not in _text(auditor, page)
    assert LogEntry.objects.count() == 0
    assert "?names=1" in _text(auditor, page)
    shown = _text(auditor, page, names="1")
    assert PAYER in shown
    assert openid in shown
    (entry,) = LogEntry.objects.all()
    assert (entry.user.username, entry.object_id, entry.change_message) == (
        "李审计", str(row.pk), "names shown",
    )  # fmt: skip
    assert PAYER not in entry.object_repr


def test_the_line_above_the_list(rows: None, sandbox: Sandbox) -> None:
    browser = _browser()
    assert "in doubt: 0" in _text(browser)
    _doubtful(sandbox)
    _bill()
    Bill.objects.using("outbox").filter(state="waiting").update(
        changed_at=timezone.now() - timedelta(hours=3)
    )
    until = timezone.now() + timedelta(hours=1)
    Pace.objects.using("outbox").update_or_create(
        account="bureau", interface="insertbill",
        defaults={"paused_until": int(until.timestamp() * 1000)},
    )  # fmt: skip
    page = _text(browser)
    assert "in doubt: 1 · waiting: 1, the oldest for 3 h · bureau pauses until" in page
    assert f"{timezone.localtime(until):%F %H:%M}" in page
    with translation.override("zh-hans"):
        assert "待核实：1" in _text(browser)


def test_units_get_names_and_rates(rows: None) -> None:
    unit = Unit.objects.using("outbox").create(appid="wx7", used=5)
    boss = _browser("view_unit", "change_unit")
    page = f"/admin/nontax/unit/{unit.pk}/change/"
    assert "wx7" in _text(boss, page)
    Unit.objects.using("outbox").update(used=6)  # a relay, meanwhile
    data = {"name": "第二医院", "rate": "2.5", "appid": "wxother"}
    assert boss.post(page, data).status_code == 302
    unit.refresh_from_db()
    assert (unit.appid, unit.name, unit.rate, unit.used) == ("wx7", "第二医院", 2.5, 6)
    assert boss.post(f"/admin/nontax/unit/{unit.pk}/delete/").status_code == 403


# Ordering


def test_settling_what_is_in_doubt(rows: None, sandbox: Sandbox) -> None:
    first, second, third = _doubtful(sandbox, 3)
    waiting = _bill()
    clerk = _browser(name="张")
    assert "settle_as_inserted" not in _text(clerk)
    _sign(clerk, "settle_as_inserted", [first])
    first.refresh_from_db()
    assert first.state == "in_doubt"
    boss = _browser("resolve_bill")
    page = _order(boss, "settle_as_inserted", [first])
    assert first.order_id in page
    assert "code of the card" in page.lower()
    first.refresh_from_db()
    assert first.state == "in_doubt"
    assert "This field is required" in _sign(boss, "settle_as_inserted", [first], note=" ")
    _sign(boss, "settle_as_inserted", [first], code="0123", checked_by="李复核")
    first.refresh_from_db()
    assert (first.state, first.code) == ("inserted", "0123")
    told = _sign(boss, "settle_as_not_taken", [second, third, waiting])
    assert f"{waiting.order_id}: the bill is waiting" in told
    assert "2 bills: done" in told
    assert {row.state for row in Bill.objects.using("outbox").exclude(pk=first.pk)} == {"waiting"}
    kept = Evidence.objects.using("outbox").filter(kind="person").order_by("pk")
    assert [(row.who, row.verdict, row.note, row.checked_by) for row in kept] == [
        ("王会计", "inserted", "问过患者", "李复核"),
        ("王会计", "not_taken", "问过患者", ""),
        ("王会计", "not_taken", "问过患者", ""),
    ]
    assert LogEntry.objects.filter(object_id=str(first.pk)).count() == 1
    Relay().run(once=True)
    assert max(count_posts(sandbox).values()) == 2  # settled as not taken, and sent again
    assert count_posts(sandbox)[first.order_id] == 1


def test_retrying_and_withdrawing(rows: None, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(72031), path="/nontax/insertbill")
    rejected = _bill(send=True)
    sandbox.inject(faults.Errcode(72035), path="/nontax/insertbill")
    final = _bill(send=True)
    boss = _browser("resolve_bill")
    told = _sign(boss, "retry", [rejected, final])
    assert f"order {final.order_id}: its order was rejected for good (72035)" in told
    rejected.refresh_from_db()
    assert rejected.state == "waiting"
    assert Evidence.objects.using("outbox").get(verdict="retry").who == "王会计"
    _sign(boss, "withdraw", [rejected])
    rejected.refresh_from_db()
    assert rejected.state == "withdrawn"
    _sign(boss, "retry", [rejected])
    Relay().run(once=True)
    rejected.refresh_from_db()
    assert rejected.state == "inserted"
    assert count_posts(sandbox) == {rejected.order_id: 2, final.order_id: 1}


def _make_old() -> None:
    """As if the last attempts had been given up eleven minutes ago."""
    Attempt.objects.using("outbox").update(changed_at=timezone.now() - timedelta(minutes=11))


def test_a_resend_shows_its_first_answer_before_the_others_follow(
    rows: None, sandbox: Sandbox
) -> None:
    bills = _doubtful(sandbox, 3, taken=True)
    settled = _bill()
    boss = _browser("resend_bill")
    assert "less than 600 seconds old" in _sign(boss, "resend_in_doubt", bills)
    assert sum(count_posts(sandbox).values()) == 3
    _make_old()
    page = _order(boss, "resend_in_doubt", [*bills, settled])
    assert settled.order_id not in page
    assert sum(count_posts(sandbox).values()) == 3
    # The rest without a first one, by a page that somebody has made himself.
    rest = {"confirmed": "rest", "count": 3, "first": bills[0].pk}
    _sign(boss, "resend_in_doubt", bills, **rest)
    assert sum(count_posts(sandbox).values()) == 3
    page = _sign(boss, "resend_in_doubt", bills, checked_by="李复核")
    assert f"{bills[0].order_id}: " in page
    assert "72056" in page
    assert count_posts(sandbox)[bills[0].order_id] == 2
    assert sum(count_posts(sandbox).values()) == 4
    data = dict(re.findall(r'name="(first|note|checked_by)" value="([^"]*)"', page))
    assert data == {"first": str(bills[0].pk), "note": "问过患者", "checked_by": "李复核"}
    wrong = _sign(boss, "resend_in_doubt", bills[1:], confirmed="rest", count=3, **data)
    assert "It is 2." in wrong
    assert sum(count_posts(sandbox).values()) == 4
    _sign(boss, "resend_in_doubt", bills[1:], confirmed="rest", count=2, **data)
    for row in bills:
        row.refresh_from_db()
        assert (row.state, row.code_unknown) == ("inserted", 1)
    assert count_posts(sandbox) == {row.order_id: 2 for row in bills}
    signed = Attempt.objects.using("outbox").filter(signed=1)
    assert {row.signed_by for row in signed} == {"王会计"}
    noted = Evidence.objects.using("outbox").filter(verdict="resend")
    assert {(row.note, row.checked_by) for row in noted} == {("问过患者", "李复核")}


def test_a_resend_stops_at_what_every_bill_would_meet(rows: None, sandbox: Sandbox) -> None:
    bills = _doubtful(sandbox, 2)
    _make_old()
    boss = _browser("resend_bill")
    sandbox.inject(faults.Errcode(48001), path="/nontax/insertbill")
    told = _sign(boss, "resend_in_doubt", bills)
    assert "Stopped: every other bill would meet the same." in told
    assert 'name="count"' not in told
    assert {row.state for row in Bill.objects.using("outbox").all()} == {"in_doubt"}
    assert count_posts(sandbox)[bills[1].order_id] == 1


def test_a_resend_is_committed_before_it_is_sent_whatever_atomic_requests_says(
    rows: None, sandbox: Sandbox
) -> None:
    (row,) = _doubtful(sandbox, taken=True)
    _make_old()
    # A project knows its databases before it has URLs; here another test may have loaded them.
    site.get_model_admin(Bill).get_urls()
    connections["outbox"].settings_dict["ATOMIC_REQUESTS"] = True
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    try:
        _sign(_browser("resend_bill"), "resend_in_doubt", [row])
    finally:
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = False
    row.refresh_from_db()
    assert row.state == "inserted"


def test_resending_at_a_terminal(
    rows: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    bills = _doubtful(sandbox, 3, taken=True)
    _make_old()
    signed = {"by": "王", "checked_by": "李", "note": "问过"}

    def resend(*orders: str, **typed: str) -> str:
        said = StringIO()
        monkeypatch.setattr("builtins.input", lambda _: typed["count"])
        call_command("nontax_resend", *orders, stdout=said, stderr=said, **signed)
        return said.getvalue()

    with pytest.raises(CommandError, match="only at a terminal"):
        resend()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    with pytest.raises(CommandError, match="It is 2"):
        resend(count="3")
    assert count_posts(sandbox)[bills[0].order_id] == 2
    assert sum(count_posts(sandbox).values()) == 4
    assert bills[1].order_id in resend(bills[1].order_id)
    assert "72056" in resend(count="1")
    assert "None of these" in resend()
    assert count_posts(sandbox) == {row.order_id: 2 for row in bills}


def test_after_a_restore_from_a_backup(rows: None, sandbox: Sandbox) -> None:
    """What docs/province.md has people do; then each bill can be settled or resent."""
    guide = (Path(__file__).parent.parent / "docs" / "province.md").read_text("utf-8")
    (statement,) = re.findall(r"UPDATE nontax_bill .*?;", guide, re.DOTALL)
    held = outbox.enqueue(bill(), account="bureau", when="authorised", durable=False)
    waiting, settled = _bill(), _bill()
    with connections["outbox"].cursor() as cursor:
        cursor.execute(statement)
    Relay().run(once=True)
    assert count_posts(sandbox) == {}
    assert {row.state for row in Bill.objects.using("outbox").all()} == {"in_doubt"}
    said = StringIO()
    call_command("nontax_resolve", stdout=said)
    assert f"{held.order_id}: the database was restored" in said.getvalue()
    boss = _browser("resend_bill", "resolve_bill")
    _sign(boss, "resend_in_doubt", [waiting])
    _sign(boss, "settle_as_inserted", [settled], code="1")
    _sign(boss, "settle_as_not_taken", [held])
    Relay().run(once=True)
    assert {row.state for row in Bill.objects.using("outbox").all()} == {"inserted"}
    assert count_posts(sandbox) == {waiting.order_id: 1, held.order_id: 1}


# Files, and what must stand nowhere


def test_a_file_for_excel(rows: None) -> None:
    row = _bill(order_id="=1+1", fee=123456)
    boss = _browser("view_pii")
    page = _order(boss, "as_csv", [row])
    assert "with names" in page.lower()
    text = _order(boss, "as_csv", [row], confirmed="yes")
    assert text.startswith("\ufeff")
    header, line = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    assert dict(zip(header, line, strict=True)).items() >= {
        "order": "'=1+1", "payer": "赵**", "amount (yuan)": "1234.56", "state": "waiting",
    }.items()  # fmt: skip
    assert PAYER in _order(boss, "as_csv", [row], confirmed="yes", names="on")
    assert PAYER not in _order(_browser(name="张"), "as_csv", [row], confirmed="yes", names="on")
    messages = [entry.change_message for entry in LogEntry.objects.order_by("pk")]
    assert messages == ["CSV without names: 1 chosen", "CSV with names: 1 chosen",
                        "CSV without names: 1 chosen"]  # fmt: skip


def test_the_whole_list_as_a_file(rows: None, sandbox: Sandbox) -> None:
    outbox.enqueue_many([bill() for _ in range(600)], account="bureau", durable=False)
    text = _order(_browser(), "as_csv", list(Bill.objects.using("outbox").all()[:1]),
                  select_across="1", confirmed="yes")  # fmt: skip
    lines = list(csv.reader(io.StringIO(text)))
    assert len({line[0] for line in lines}) == len(lines) == 601


def test_no_name_openid_or_token_stands_anywhere(
    rows: None, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    sent = _bill(send=True)
    (doubtful,) = _doubtful(sandbox)
    openid = Attempt.objects.using("outbox").exclude(openid="").get().openid
    boss = _browser("resolve_bill", "resend_bill")
    said = [_text(boss)]
    actions = ("settle_as_inserted", "retry", "withdraw", "resend_in_doubt", "as_csv")
    for row in (sent, doubtful):
        said += [_text(boss, f"{LIST}{row.pk}/{page}/") for page in ("change", "history")]
        said += [_order(boss, action, [row]) for action in actions]
    said.append(_order(boss, "as_csv", [sent, doubtful], confirmed="yes"))
    said.append(_sign(boss, "settle_as_inserted", [doubtful]))
    dumped = StringIO()
    call_command("dumpdata", "nontax.bill", "nontax.evidence", database="outbox", stdout=dumped)
    said += [dumped.getvalue(), caplog.text]
    said += [f"{entry} {entry.change_message}" for entry in LogEntry.objects.all()]
    everything = "".join(said)
    assert sent.order_id in dumped.getvalue()
    for secret in (PAYER, openid, sandbox.bureau.stable_token, sandbox.bureau.secret):
        assert secret
        assert secret not in everything
