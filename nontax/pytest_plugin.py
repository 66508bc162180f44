"""Fixtures for the tests of Django projects with an outbox. pytest loads them by itself.

    def test_a_payment_becomes_a_bill(db, nontax_outbox):
        pay(order_id="A1")
        nontax_outbox.drain()
        nontax_outbox.assert_inserted("A1")

Nothing is imported before a fixture is used, so that other tests start as fast as before.

PYTEST_DONT_REWRITE
"""

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from nontax.sandbox import Sandbox
    from nontax.sandbox.faults import Fault

# What of an account's settings would lead past the sandbox.
_ELSEWHERE = ("FALLBACK_BASE_URLS", "CA_FILE", "PROXY", "TOKEN_SOURCE", "CACHE", "CLIENT")


@pytest.fixture
def nontax_sandbox() -> "Iterator[Sandbox]":
    """A sandbox that stands in for WeChat during one test."""
    from nontax.sandbox import Sandbox

    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def nontax_accounts(nontax_sandbox: "Sandbox") -> "Iterator[dict[str, Any]]":
    """The setting NONTAX with all its accounts at the sandbox; what it is then.

    An account whose ROLE is "unit", or that is called so, is the sandbox's collecting unit; the
    others are its finance bureau. Accounts that a function has become "bureau" and "unit".
    """
    try:
        from django.conf import settings
        from django.test import override_settings
    except ImportError:
        pytest.fail("the fixture needs Django: pip install 'nontax[django]'")
    given = dict(getattr(settings, "NONTAX", {}))
    accounts = given.get("ACCOUNTS")
    if not isinstance(accounts, dict) or not accounts:
        accounts = {"bureau": {}, "unit": {}}
    given["ACCOUNTS"] = {
        alias: _at(nontax_sandbox, alias, account) for alias, account in accounts.items()
    }
    with override_settings(NONTAX=given):
        yield given


def _at(sandbox: "Sandbox", alias: str, given: "dict[str, Any]") -> "dict[str, Any]":
    role = given.get("ROLE", "unit" if alias == "unit" else "bureau")
    account = sandbox.unit if role == "unit" else sandbox.bureau
    kept = {name: value for name, value in given.items() if name not in _ELSEWHERE}
    if "EVENTS" in given:
        kept["EVENTS"] = {**given["EVENTS"], "TOKEN": account.push_token}
    return {
        **kept,
        "APPID": account.appid,
        "SECRET": account.secret,
        "BASE_URL": sandbox.base_url,
    }


class Outbox:
    """The project's outbox, whose bills go to a sandbox.

    sandbox: the `nontax.sandbox.Sandbox`.
    """

    def __init__(self, sandbox: "Sandbox") -> None:
        self.sandbox = sandbox

    def drain(self) -> "dict[str, int]":
        """Send all that waits, in the test's own thread and transaction; counts by new state."""
        from nontax.contrib.django import testing

        return testing.drain()

    def authorise(self, order_id: str, *, account: str = "unit") -> None:
        """A citizen authorises the order, and WeChat pushes it."""
        from nontax.contrib.django import testing

        self.sandbox.authorise(order_id)
        testing.authorise(order_id, account=account)

    def inject(self, fault: "Fault", *, times: int = 1, path: str = "/nontax/insertbill") -> None:
        """The next bills meet a fault of `nontax.sandbox.faults`."""
        self.sandbox.inject(fault, times=times, path=path)

    def assert_inserted(self, order_id: str) -> None:
        """The order's bill is in the citizen's wallet, and the outbox knows its card code."""
        from nontax.contrib.django import conf
        from nontax.contrib.django.models import Bill

        rows = Bill.objects.using(conf.outbox().database).filter(order_id=order_id)
        states = {row.state for row in rows}
        assert states == {"inserted"}, f"order {order_id} is {', '.join(states) or 'not there'}"
        codes = {row.code for row in rows}
        arrived = self.sandbox.bills.get(order_id)
        assert arrived is not None, f"the sandbox has no bill of order {order_id}"
        assert arrived.code in codes, f"the outbox has another card code for order {order_id}"


@pytest.fixture
def nontax_outbox(nontax_accounts: "dict[str, Any]", nontax_sandbox: "Sandbox") -> Outbox:
    """The outbox. Ask for pytest-django's `db` beside it."""
    del nontax_accounts
    return Outbox(nontax_sandbox)
