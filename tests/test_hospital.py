"""examples/hospital as people use it, in Chromium: cashier, citizen, WeChat, admin."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_sandbox_browser import CHROMIUM, Browser, browser

__all__ = ["browser"]

START = Path(__file__).parent.parent / "examples" / "hospital" / "start.py"
PATIENT = "赵钱孙"
# Where to put pictures for the docs; read before the tests' environment is cleaned.
PICTURES = os.environ.get("NONTAX_PICTURES")

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("NONTAX_TEST_PAGES"), reason="only in make test-all: takes long"
    ),
    pytest.mark.timeout(300),
]


class Hospital:
    """The running command. cashier, admin, wechat: its addresses."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(START), "--port", "0", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        said = ""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said += line
            if line.startswith("WeChat"):
                break
        found = re.findall(r"^(\w+) +(http://\S+)(?: +boss, (\w+))?", said, re.MULTILINE)
        assert [name for name, _, _ in found] == ["cashier", "admin", "WeChat"], said
        self.cashier, self.admin, self.wechat = (address for _, address, _ in found)
        self.password = found[1][2]

    def stop(self) -> None:
        """As Ctrl-C does; nothing is left running."""
        self._process.send_signal(signal.SIGINT)
        out, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, out
        group = subprocess.run(
            ["pgrep", "-s", str(self._process.pid)], capture_output=True, text=True, check=False
        )
        assert group.stdout == ""


@pytest.fixture(params=["sqlite", "servers"])
def hospital(request: pytest.FixtureRequest) -> Iterator[Hospital]:
    assert CHROMIUM is not None, "make deps installs chromium"
    running = Hospital(*(["--servers"] if request.param == "servers" else []))
    try:
        yield running
    finally:
        running.stop()


def _wait_for(browser: Browser, url: str, text: str) -> str:
    until = time.monotonic() + 60
    while True:
        browser.go_to(url)
        page = browser.html()
        if text in page:
            return page
        assert time.monotonic() < until, page
        time.sleep(0.3)


def _picture(browser: Browser, name: str) -> None:
    if PICTURES:
        browser.take_picture(Path(PICTURES) / name)


def _pay(browser: Browser, hospital: Hospital, patient: str, yuan: str) -> str:
    """The cashier takes a payment; the citizen's page."""
    browser.go_to(hospital.cashier)
    browser.type("#id_patient", patient)
    browser.type("#id_yuan", yuan)
    browser.click("button")
    page = browser.html()
    assert "待用户授权" in page
    found = re.search(r"/bill/([^/]+)/authorise/", page)
    assert found is not None
    return f"{hospital.cashier}bill/{found[1]}/"


def test_from_the_cashier_to_the_wallet_and_the_admin(hospital: Hospital, browser: Browser) -> None:
    browser.open_tab()
    browser.resize(400, 560)
    held = _pay(browser, hospital, "李四", "8.00")
    citizen = _pay(browser, hospital, PATIENT, "1234.50")
    browser.go_to(citizen)
    browser.click("a.button")
    assert "¥1234.50" in browser.html()
    browser.click("button")  # WeChat's own: authorise, and back to the hospital's page
    page = _wait_for(browser, citizen, "已入卡包")
    assert "¥1234.50" in page
    _picture(browser, "hospital-citizen.png")
    assert "待用户授权" in _wait_for(browser, held, "李四")

    browser.resize(1280, 700)
    browser.go_to(f"{hospital.admin}nontax/bill/")
    browser.type("#id_username", "boss")
    browser.type("#id_password", hospital.password)
    browser.click("input[type=submit]")
    page = browser.html()
    assert "待核实：0" in page
    assert "已入卡包" in page
    assert "待用户授权" in page
    assert PATIENT not in page
    _picture(browser, "hospital-admin.png")
    order = citizen.rstrip("/").rpartition("/")[2]
    browser.go_to(f"{hospital.admin}nontax/bill/?q={order}")
    browser.click("th.field-order_id a")
    page = browser.html()
    assert "赵**" in page
    assert "微信推送" in page  # the event that has authorised it
    assert PATIENT not in page
    _picture(browser, "hospital-bill.png")
    browser.click("a.nontax-names")
    assert PATIENT in browser.html()
    # The hospital's own signal receiver has kept the card's code.
    browser.go_to(f"{hospital.admin}hospital/payment/")
    found = re.search(r'field-card_code">(\w+)<', browser.html())
    assert found is not None

    # A person withdraws the bill that nobody has authorised.
    browser.go_to(f"{hospital.admin}nontax/bill/?state=held")
    browser.choose("select[name=action]", "withdraw")
    browser.click("input[name=_selected_action]", leads_on=False)
    browser.click("button[name=index]")
    assert "李四" not in browser.html()
    browser.type("#id_note", "已退费")
    browser.click("form input[type=submit].default")
    assert "1 张票据：已处理" in browser.html()
    assert "已撤回" in _wait_for(browser, held, "已撤回")
