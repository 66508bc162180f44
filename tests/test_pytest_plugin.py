"""The fixtures for projects' tests, and the client that records: as a project uses them."""

import os
import subprocess
import sys
from pathlib import Path

SETTINGS = """
SECRET_KEY = "of a project"
USE_TZ = True
INSTALLED_APPS = ["nontax.contrib.django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "project.db"}}
RECORD = "nontax.contrib.django.testing.RecordingClient"
NONTAX = {
    "ACCOUNTS": {
        "city": {"APPID": "wx1", "SECRET": "s", "CLIENT": RECORD},
        "hospital": {"APPID": "wx2", "SECRET": "s", "ROLE": "unit"},
    },
}
"""
CONFTEST = """
import django
django.setup()
"""
COMMON = """
import os
import socket
from unittest import mock
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import TestCase
from nontax import InDoubtError, InvalidRequestError
from nontax.contrib.django import accounts, outbox, testing
from nontax.contrib.django.models import Bill

def bill(order_id="A1", **more):
    return {"order_id": order_id, "card_id": "p1", "appid": "wx2", "fee": 1200, "title": "Zhang",
            "billing_time": 1796001300, "billing_no": "11010123",
            "billing_code": order_id.rjust(10, "0"), "s_pdf_media_id": "1", **more}

def pay(order_id="A1", **more):
    return outbox.enqueue(bill(order_id), account="city", **{"durable": False, **more})

@pytest.fixture
def db():
    call_command("migrate", verbosity=0)
    yield
    connection.close()
    os.unlink("project.db")
"""
PLUGIN = """
from nontax.sandbox import faults

def test_a_bill_arrives(db, nontax_outbox):
    pay()
    assert nontax_outbox.drain() == {"inserted": 1}
    nontax_outbox.assert_inserted("A1")

def test_it_waits_for_the_citizen(db, nontax_outbox):
    pay(when="authorised")
    assert nontax_outbox.drain() == {}
    with pytest.raises(AssertionError, match="order A1 is held"):
        nontax_outbox.assert_inserted("A1")
    nontax_outbox.authorise("A1", account="hospital")
    nontax_outbox.drain()
    nontax_outbox.assert_inserted("A1")

def test_a_fault(db, nontax_outbox):
    nontax_outbox.inject(faults.Close("body", taken=True))
    pay()
    assert nontax_outbox.drain() == {"in_doubt": 1}
    with pytest.raises(AssertionError, match="order A1 is in_doubt"):
        nontax_outbox.assert_inserted("A1")

def test_the_accounts(nontax_accounts, nontax_sandbox):
    assert {alias: given["APPID"] for alias, given in nontax_accounts["ACCOUNTS"].items()} == {
        "city": nontax_sandbox.bureau.appid, "hospital": nontax_sandbox.unit.appid,
    }
    assert accounts.client("hospital").get_ticket().ticket
"""
RECORDING = """
class PaymentTests(TestCase):
    @classmethod
    def setUpClass(cls):
        call_command("migrate", verbosity=0)
        cls.addClassCleanup(os.unlink, "project.db")
        super().setUpClass()

    def setUp(self):
        testing.clear()
        patched = mock.patch.object(socket.socket, "connect", side_effect=AssertionError)
        patched.start()
        self.addCleanup(patched.stop)

    def test_it_is_recorded_inside_the_transaction(self):
        pay(durable=True)
        assert testing.drain() == {"inserted": 1}
        (bill,) = testing.sent
        assert bill["order_id"] == "A1"
        assert bill["card_ext"]["user_card"]["invoice_user_data"]["fee"] == 1200
        row = Bill.objects.get()
        assert (row.state, row.code) == ("inserted", "recorded-1")

    def test_what_an_order_meets(self):
        testing.answers["A1"] = 72038
        testing.answers["A2"] = InDoubtError(reason="cut off")
        for order in ("A1", "A2", "A3"):
            pay(order)
        assert testing.drain() == {"rejected": 1, "in_doubt": 1, "inserted": 1}
        del testing.answers["A1"]
        testing.authorise("A1", account="hospital")
        assert testing.drain() == {"inserted": 1}

    def test_the_client_alone(self):
        client = accounts.client("city")
        assert client.insert_bill(bill()).code == "recorded-1"
        with pytest.raises(InvalidRequestError, match="fee"):
            client.insert_bill(bill("A2", fee="x"))
        (repeated, fresh) = client.insert_bills([bill(), bill("A3")]).collect()
        assert (repeated.error.errcode, fresh.outcome) == (72056, "inserted")
        assert client.upload_pdf(b"%PDF-1.7").s_media_id == "recorded-pdf"
        assert client.get_s_pappid().s_pappid == "recorded"
        url = client.get_bill_auth_url(s_pappid="recorded", order_id="A1", money=1)
        assert url.auth_url
        assert [name for name, _ in testing.calls] == ["setpdf", "seturl", "getbillauthurl"]
        with pytest.raises(NotImplementedError, match="rid/get"):
            client.get_rid_info("1-2-3")

def test_a_pdf_is_uploaded_first(db, tmp_path):
    testing.clear()
    pdf = tmp_path / "a.pdf"
    pdf.write_bytes(b"%PDF-1.7")
    pay(pdf=pdf)
    testing.drain()
    assert testing.calls[0][0] == "setpdf"
    data = testing.sent[0]["card_ext"]["user_card"]["invoice_user_data"]
    assert data["s_pdf_media_id"] == "recorded-pdf"
"""


def _pytest(tmp_path: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, **env},
    )  # fmt: skip


def test_a_project_with_the_fixtures_and_the_client_that_records(tmp_path: Path) -> None:
    (tmp_path / "project_settings.py").write_text(SETTINGS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_project.py").write_text(COMMON + PLUGIN + RECORDING)
    done = _pytest(tmp_path, DJANGO_SETTINGS_MODULE="project_settings", PYTHONPATH=".")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_pytest_starts_without_what_only_the_fixtures_need() -> None:
    program = """
import sys, pytest
before = {*sys.modules}
import nontax.pytest_plugin
heavy = {"django", "nontax.contrib", "nontax.sandbox", "nontax.ledger", "cryptography", "sqlite3"}
loaded = heavy & (sys.modules.keys() - before)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_project_without_django_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(nontax_accounts): pass\n")
    (tmp_path / "conftest.py").write_text("import sys; sys.modules['django'] = None\n")
    done = _pytest(tmp_path)
    assert "pip install 'nontax[django]'" in done.stdout
