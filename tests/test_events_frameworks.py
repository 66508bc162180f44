"""The recipes for Django, FastAPI and Flask, against what the sandbox pushes."""

import base64
import contextlib
import hashlib
import http.client
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from bills import bill

import nontax
from nontax.sandbox import Sandbox

RECIPES = Path(__file__).parent.parent / "examples" / "events"
AES_KEY = base64.b64encode(bytes(range(32))).decode().rstrip("=")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert server.poll() is None
        time.sleep(0.05)
    raise AssertionError("the recipe does not listen")


@pytest.fixture(params=["django", "fastapi", "flask"])
def port(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Iterator[int]:
    """Where a recipe serves the collecting unit's events, in safe mode."""
    port = free_port()
    environment = {
        **os.environ,
        "EVENTS_DATABASE": str(tmp_path / "events.db"),
        "WECHAT_PUSH_TOKEN": sandbox.unit.push_token,
        "WECHAT_PUSH_AES_KEY": AES_KEY,
        "WECHAT_APPID": sandbox.unit.appid,
    }
    program = str(RECIPES / f"with_{request.param}.py")
    with (tmp_path / "output").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, program, str(port)], env=environment, stdout=output, stderr=output
        )
    try:
        wait_for(port, server)
        sandbox.unit.push_aes_key = AES_KEY
        sandbox.unit.push_url = f"http://127.0.0.1:{port}/wechat"
        yield port
    finally:
        server.terminate()
        server.wait()


def ask(port: int, method: str, target: str, body: bytes = b"") -> tuple[int, str, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request(method, target, body or None)
        reply = connection.getresponse()
        return reply.status, reply.headers.get_content_type(), reply.read()


def check_query(token: str) -> str:
    now = str(int(time.time()))
    signature = hashlib.sha1("".join(sorted((token, now, "7"))).encode()).hexdigest()
    query = {"signature": signature, "timestamp": now, "nonce": "7", "echostr": "4375120948345356"}
    return urlencode(query)


def test_a_recipe(port: int, sandbox: Sandbox, tmp_path: Path) -> None:
    # WeChat checks the URL: the echo is nothing but the text.
    good = check_query(sandbox.unit.push_token)
    assert ask(port, "GET", f"/wechat?{good}") == (200, "text/plain", b"4375120948345356")
    assert ask(port, "GET", f"/wechat?{check_query('another')}")[0] == 403
    assert ask(port, "GET", "/wechat")[0] == 403
    assert ask(port, "POST", "/wechat", b"<xml/>")[0] == 403

    # An order is authorised, in both formats; what a citizen writes is answered, too.
    unit = nontax.Client(
        appid=sandbox.unit.appid, secret=sandbox.unit.secret, base_url=sandbox.base_url
    )
    s_pappid = sandbox.bureau.s_pappid
    for order_id in ("H1", "H2"):
        unit.get_bill_auth_url(s_pappid=s_pappid, order_id=order_id, money=1)
    sandbox.authorise("H1")
    sandbox.unit.push_format = "json"
    sandbox.fail_authorisation("H2")
    sandbox.unit.push_format = "xml"
    sandbox.chat("你\x08好")

    # A bureau's event at the same URL.
    sandbox.bureau.push_url = sandbox.unit.push_url
    sandbox.bureau.push_token = sandbox.unit.push_token
    bureau = nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url)
    code = bureau.insert_bill(bill(order_id="H1")).code
    sandbox.reimburse(code, "INVOICE_REIMBURSE_LOCK")

    pushes = sandbox.wait_for_pushes(4)
    assert [push.attempts for push in pushes[:3]] == [("success",)] * 3
    # It is not encrypted for this account, so the recipe refuses it: one reader an account.
    assert pushes[3].attempts == ("HTTP status 403",) * 3

    # WeChat repeats a push: it is written down once.
    target = pushes[0].url.partition(f":{port}")[2]
    assert ask(port, "POST", target, pushes[0].body) == (200, "text/plain", b"success")
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as database:
        rows = database.execute("SELECT about, news FROM events ORDER BY about").fetchall()
    assert rows == [("H1", "authorised"), ("H2", "authorisation failed")]
    assert sandbox.unit.push_token not in (tmp_path / "output").read_text("utf-8")
