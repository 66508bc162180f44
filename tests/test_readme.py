"""Every Python example of the READMEs runs, in its order, against a sandbox."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from bills import bill as new_bill

import nontax
from nontax.sandbox import Sandbox
from nontax.sandbox.events import message

ROOT = Path(__file__).parent.parent
ORDER_ID = "H20231115-0001"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def blocks_of(readme: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / readme).read_text("utf-8"), re.M | re.S)


def filled_in(block: str, sandbox: Sandbox) -> str:
    """The example with a reader's own values in it: the unit's where its name stands."""
    lines = []
    for line in block.splitlines():
        account = sandbox.bureau
        if line.startswith(("unit =", "reader =")) or line.startswith('    "appid"'):
            account = sandbox.unit
        values = {
            "wx…": account.appid,
            "AppSecret": account.secret,
            "ACCESS_TOKEN": sandbox.access_token,
            "Token": account.push_token,
            "EncodingAESKey": AES_KEY,
            "https://api2.weixin.qq.com": sandbox.base_url,
        }
        for name, value in values.items():
            line = line.replace(f'"{name}"', repr(value))
        lines.append(line)
    return "\n".join(lines)


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A folder with a PDF, and what `python -m nontax.sandbox` says to export."""
    (tmp_path / "bill.pdf").write_bytes(b"%PDF-1.7\n%%EOF\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nontax.client._default", {})
    with Sandbox() as sandbox:
        monkeypatch.setenv("NONTAX_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("NONTAX_APPID", sandbox.bureau.appid)
        monkeypatch.setenv("NONTAX_SECRET", sandbox.bureau.secret)
        yield sandbox


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_examples(readme: str, at_home: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    saved: list[str] = []
    noted: list[str] = []
    names: dict[str, Any] = {
        # What is the reader's own in the examples.
        "ask_token_server": lambda renew: at_home.access_token,
        "read_bills": lambda: [new_bill(shape="flat") for _ in range(3)],
        "save": lambda order_id, code: saved.append(order_id),
        "report": lambda order_id, outcome, error: pytest.fail(f"{order_id}: {error}"),
        "note_authorised": lambda key, order_id: noted.append(order_id),
    }
    blocks = blocks_of(readme)
    assert len(blocks) > 10
    for number, block in enumerate(blocks):
        exec(compile(filled_in(block, at_home), f"{readme}, example {number}", "exec"), names)
        if ORDER_ID in at_home.orders and at_home.orders[ORDER_ID].status == "never auth":
            at_home.authorise(ORDER_ID)  # the citizen presses the button

    printed = capsys.readouterr().out
    assert "72056 ORDER_ID_REPEATED" in printed
    assert "RidInfo(" in printed
    assert at_home.access_token not in printed
    assert len(saved) == 4
    assert at_home.bills[ORDER_ID].status == "INVOICE_REIMBURSE_CANCEL"
    assert at_home.orders["H20231115-0002"].status == "reject insert"
    assert "1511169725" in at_home.bills

    # What the examples only define.
    assert names["token_source"](None) == at_home.access_token
    for name, thing in names.items():
        if name.startswith("test_"):
            thing()
    at_home.unit.push_aes_key = AES_KEY
    at_home.unit.push_url = "http://127.0.0.1:1/"
    event: dict[str, str | int] = {
        "ToUserName": at_home.unit.gh_id,
        "FromUserName": "o1",
        "CreateTime": 1700000000,
        "MsgType": "event",
        "Event": "user_authorize_invoice",
        "SuccOrderId": ORDER_ID,
        "FailOrderId": "",
        "AuthorizeAppId": at_home.unit.appid,
        "Source": "web",
    }
    url, body = message(at_home.unit, event, int(at_home.clock.time()))
    query = dict(parse_qsl(urlsplit(url).query))
    assert names["on_post"](query, body) == (200, "success")
    assert names["on_post"]({}, body)[0] == 403
    assert noted == [ORDER_ID]
    query["echostr"] = "1234"
    assert names["on_get"](query) == "1234"


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_every_method_is_in_it(readme: str) -> None:
    text = (ROOT / readme).read_text("utf-8")
    for name in nontax.__all__:
        if name.endswith("Error"):
            assert name in text, name
    for name in vars(nontax.Client):
        twin = f"a{name}"
        if not name.startswith("_") and hasattr(nontax.Client, twin):
            assert name in text, name


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_its_links(readme: str) -> None:
    text = (ROOT / readme).read_text("utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in headings, target
        else:
            assert (ROOT / target).exists(), target
