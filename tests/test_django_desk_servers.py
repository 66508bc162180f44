"""The admin, polling and figures on real PostgreSQL and MariaDB. For `make test-all`."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from bills import bill
from dbservers import MariaDB, Postgres
from django.core.management import call_command
from django.db import connections
from django.test import Client as Browser
from django.test import override_settings
from djangos import nontax_of
from test_django_admin import _browser, _sign, _tables, _text
from test_django_servers import server, started

from nontax.contrib.django import holding, metrics, outbox
from nontax.contrib.django.admin import counting
from nontax.contrib.django.models import Bill, Hold
from nontax.contrib.django.relay import Relay
from nontax.sandbox import Sandbox

__all__ = ["_tables", "server", "started"]


@pytest.fixture
def boss(server: Postgres | MariaDB, sandbox: Sandbox) -> Iterator[Browser]:
    with override_settings(NONTAX=nontax_of(sandbox, "outbox")):
        browser = _browser("resolve_bill")
        yield browser
    connections["default"].cursor().execute("DELETE FROM django_admin_log")
    connections["default"].cursor().execute("DELETE FROM auth_user_user_permissions")
    connections["default"].cursor().execute("DELETE FROM auth_user")


def test_the_list_counts_to_where_people_look(
    boss: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.enqueue_many([bill() for _ in range(300)], account="bureau", durable=False)
    call_command("nontax_send", once=True)
    rows = Bill.objects.using("outbox").order_by("-pk")
    assert counting.QuickPaginator(rows, 50).count == 300
    monkeypatch.setattr(counting, "MOST", 100)
    counted = {
        "all": counting.QuickPaginator(rows, 50).count,
        "some": counting.QuickPaginator(rows.filter(state="inserted"), 50).count,
        "few": counting.QuickPaginator(rows.filter(pk__lte=rows.last().pk + 9), 50).count,
    }
    assert counted == {"all": 100, "some": 100, "few": 10}
    if connections["outbox"].vendor == "postgresql":
        with connections["outbox"].cursor() as cursor:
            cursor.execute("ANALYZE nontax_bill")
        assert counting.QuickPaginator(rows, 50).count == 300


def test_what_people_do_in_the_admin(boss: Browser, sandbox: Sandbox) -> None:
    first, second = (
        outbox.enqueue(bill(billing_no="11010123"), account="bureau", durable=False)
        for _ in range(2)
    )
    for query in ({"q": first.order_id}, {"q": first.billing_no + first.billing_code}):
        page = _text(boss, **query)
        assert first.order_id in page
        assert f">{second.order_id}<" not in page
    for query in ({"state": "waiting"}, {"unit": first.appid}, {"account": "bureau"}):
        assert second.order_id in _text(boss, **query)
    assert "1 bills: done" in _sign(boss, "withdraw", [first])
    assert "1 bills: done" in _sign(boss, "retry", [first])
    Relay().run(once=True)
    assert {row.state for row in Bill.objects.using("outbox").all()} == {"inserted"}
    page = _text(boss, f"/admin/nontax/bill/{first.pk}/change/")
    assert "to be sent again" in page
    figures = {figure.name for figure in metrics.figures("outbox")}
    of_outbox = {name for name in metrics.HELP if not name.startswith("nontax_quota_")}
    assert figures >= of_outbox - {"nontax_relay_age_seconds"}


def test_held_bills_are_asked_about(boss: Browser, sandbox: Sandbox) -> None:
    row = outbox.enqueue(
        bill(appid=sandbox.unit.appid), account="bureau", when="authorised", durable=False
    )
    with sandbox.client(sandbox.unit) as unit:
        unit.get_bill_auth_url(s_pappid=sandbox.bureau.s_pappid, order_id=row.order_id, money=1)
    assert holding.poll("outbox") == 0
    earlier = row.created_at - timedelta(minutes=2)
    Hold.objects.using("outbox").update(due_at=earlier)
    assert holding.poll("outbox") == 0
    sandbox.authorise(row.order_id)
    Hold.objects.using("outbox").update(due_at=earlier)
    assert holding.poll("outbox") == 1
    row.refresh_from_db()
    assert row.state == "waiting"
