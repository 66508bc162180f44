"""The sandbox's pushed events: what they say, how they are signed, how often they are tried."""

import base64
import hashlib
import http.server
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from test_sandbox_flow import WeChat, sandbox, wechat

import nontax.sandbox
from nontax.sandbox import Account, Sandbox
from nontax.sandbox.certificates import make_certificates

__all__ = ["sandbox", "wechat"]

PACKAGE = Path(nontax.sandbox.__file__).parent
Handler = http.server.BaseHTTPRequestHandler
AES_KEY = base64.b64encode(bytes(range(32))).decode().rstrip("=")


class Receiver:
    """An account's server: keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.answer: Callable[[Handler], None] = lambda handler: reply(handler)
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        # Set when those who keep a push waiting may go.
        self.released = threading.Event()
        receiver = self

        class Answering(Handler):
            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((self.path, dict(self.headers), body))
                receiver.answer(self)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/events?lang=zh"

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def query(self, number: int = 0) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.received[number][0]).query))

    def fields(self, number: int = 0) -> dict[str, str]:
        return parse_xml(self.received[number][2])


def parse_xml(data: bytes) -> dict[str, str]:
    root = ET.fromstring(data)
    assert root.tag == "xml"
    return {child.tag: child.text or "" for child in root}


def reply(handler: Handler, status: int = 200, body: bytes = b"success") -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def signature(*parts: str) -> str:
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def unit(sandbox: Sandbox, receiver: Receiver) -> Account:
    sandbox.unit.push_url = receiver.url
    return sandbox.unit


# What they say


def test_an_authorisation_is_pushed(
    sandbox: Sandbox, wechat: WeChat, unit: Account, receiver: Receiver
) -> None:
    order_id = "A<1>]]>&票"
    wechat.press(wechat.auth_url(order_id))
    [push] = sandbox.wait_for_pushes(1)
    assert (push.event, push.appid) == ("user_authorize_invoice", unit.appid)
    assert (push.attempts, push.delivered, push.finished) == (("success",), True, True)
    [(path, headers, body)] = receiver.received
    assert path.startswith("/events?lang=zh&signature=")
    assert headers["Content-Type"] == "text/xml"
    assert body == push.body
    fields = receiver.fields()
    assert fields == {
        "ToUserName": unit.gh_id,
        "FromUserName": fields["FromUserName"],
        "CreateTime": str(sandbox.orders[order_id].auth_time),
        "MsgType": "event",
        "Event": "user_authorize_invoice",
        "SuccOrderId": order_id,
        "FailOrderId": "",
        "AuthorizeAppId": unit.appid,
        "Source": "web",
        "SPAppId": sandbox.bureau.s_pappid,
    }
    query = receiver.query()
    assert query["signature"] == signature(unit.push_token, query["timestamp"], query["nonce"])
    assert query["openid"] == fields["FromUserName"]
    bill = wechat.insert(wechat.bill(order_id, wechat.card(), wechat.pdf()))
    assert bill["openid"] == fields["FromUserName"]


def test_a_citizen_s_message_is_pushed_as_it_is(
    sandbox: Sandbox, unit: Account, receiver: Receiver
) -> None:
    sandbox.chat("你\x08好", openid="o1")
    sandbox.chat("to nobody", account=sandbox.bureau)
    [push] = sandbox.wait_for_pushes(1)
    assert (push.event, push.appid, push.delivered) == ("text", unit.appid, True)
    assert "<Content><![CDATA[你\x08好]]></Content>".encode() in receiver.received[0][2]
    assert b"<FromUserName><![CDATA[o1]]></FromUserName>" in receiver.received[0][2]
    assert receiver.query()["openid"] == "o1"


def test_an_authorisation_is_pushed_once(
    sandbox: Sandbox, wechat: WeChat, unit: Account, receiver: Receiver
) -> None:
    url = wechat.auth_url("A1")
    wechat.press(url)
    wechat.press(url)
    sandbox.authorise("A1")
    # An order that no unit asked for, and another one's event as proof that nothing else came.
    sandbox.authorise("by hand")
    wechat.auth_url("A2")
    sandbox.authorise("A2")
    sandbox.wait_for_pushes(2)
    assert [receiver.fields(n)["SuccOrderId"] for n in range(2)] == ["A1", "A2"]
    assert {push.appid for push in sandbox.pushes} == {unit.appid}
    assert len(receiver.received) == 2


def test_json(sandbox: Sandbox, wechat: WeChat, unit: Account, receiver: Receiver) -> None:
    unit.push_format = "json"
    wechat.press(wechat.auth_url("票1"))
    sandbox.wait_for_pushes(1)
    [(_, headers, body)] = receiver.received
    assert headers["Content-Type"] == "application/json"
    fields = json.loads(body)
    assert fields["SuccOrderId"] == "票1"
    assert fields["CreateTime"] == str(sandbox.orders["票1"].auth_time)


def test_a_failed_authorisation(
    sandbox: Sandbox, wechat: WeChat, unit: Account, receiver: Receiver
) -> None:
    wechat.auth_url("A1", source="app")
    sandbox.fail_authorisation("A1")
    sandbox.wait_for_pushes(1)
    fields = receiver.fields()
    assert (fields["SuccOrderId"], fields["FailOrderId"], fields["Source"]) == ("", "A1", "app")
    assert fields["ToUserName"] == unit.gh_id
    assert sandbox.orders["A1"].status == "never auth"
    sandbox.authorise("A1")
    sandbox.wait_for_pushes(2)
    for order_id in ("A1", "unknown"):
        with pytest.raises(ValueError, match="waiting"):
            sandbox.fail_authorisation(order_id)


def test_a_status_is_pushed_to_the_bureau(
    sandbox: Sandbox, wechat: WeChat, receiver: Receiver
) -> None:
    wechat.press(wechat.auth_url("A1"))
    card_id = wechat.card()
    inserted = wechat.insert(wechat.bill("A1", card_id, wechat.pdf()))
    sandbox.bureau.push_url = receiver.url
    # What the bureau does itself it need not be told.
    lock = "INVOICE_REIMBURSE_LOCK"
    wechat.update_status(card_id, inserted["code"], lock)
    sandbox.reimburse(inserted["code"], "INVOICE_REIMBURSE_CLOSURE")
    [push] = sandbox.wait_for_pushes(1)
    assert push.delivered
    assert receiver.fields() | {"CreateTime": ""} == {
        "ToUserName": sandbox.bureau.gh_id,
        "FromUserName": inserted["openid"],
        "CreateTime": "",
        "MsgType": "event",
        "Event": "update_invoice_status",
        "Status": "INVOICE_REIMBURSE_CLOSURE",
        "CardId": card_id,
        "Code": inserted["code"],
    }


def test_without_a_url_nothing_is_pushed(sandbox: Sandbox, wechat: WeChat) -> None:
    wechat.press(wechat.auth_url("A1"))
    assert sandbox.pushes == ()
    with pytest.raises(TimeoutError, match="fewer than 1"):
        sandbox.wait_for_pushes(1, 0)


# Encryption


@pytest.mark.skipif(
    importlib.util.find_spec("cryptography") is None, reason="needs the package cryptography"
)
def test_encryption(sandbox: Sandbox, wechat: WeChat, unit: Account, receiver: Receiver) -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    unit.push_aes_key = AES_KEY
    order_id = "A1" * 20
    wechat.press(wechat.auth_url(order_id))
    assert sandbox.wait_for_pushes(1)[0].delivered
    query, fields = receiver.query(), receiver.fields()
    assert list(fields) == ["ToUserName", "Encrypt"]
    assert query["encrypt_type"] == "aes"
    parts = (unit.push_token, query["timestamp"], query["nonce"])
    assert query["signature"] == signature(*parts)
    assert query["msg_signature"] == signature(*parts, fields["Encrypt"])
    key = bytes(range(32))
    decryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    plain = decryptor.update(base64.b64decode(fields["Encrypt"])) + decryptor.finalize()
    assert len(plain) % 32 == 0
    assert 1 <= plain[-1] <= 32
    plain = plain[16 : -plain[-1]]
    size = int.from_bytes(plain[:4], "big")
    assert plain[4 + size :].decode() == unit.appid
    assert parse_xml(plain[4 : 4 + size])["SuccOrderId"] == order_id


def test_encryption_without_the_package(
    sandbox: Sandbox, wechat: WeChat, unit: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    unit.push_aes_key = AES_KEY
    wechat.press(wechat.auth_url("A1"))
    [push] = sandbox.wait_for_pushes(1)
    assert not push.delivered
    assert push.attempts == ("no package cryptography to encrypt it with",)


# Tries


def hang(receiver: Receiver) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        receiver.released.wait(30)
        handler.close_connection = True

    return answer


def drip(receiver: Receiver) -> Callable[[Handler], None]:
    """A reply of which something comes all the time, and the end never."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not receiver.released.wait(0.01):
                handler.wfile.write(b" ")
        except OSError:
            handler.close_connection = True

    return answer


def close(_: Receiver) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.close_connection = True

    return answer


def replying(status: int, body: bytes) -> Callable[[Receiver], Callable[[Handler], None]]:
    return lambda _: lambda handler: reply(handler, status, body)


@pytest.mark.parametrize(
    ("behaviour", "attempt"),
    [
        (hang, "no answer within 0.3 s"),
        (drip, "no answer within 0.3 s"),
        (close, "Remote end closed connection without response"),
        (replying(500, b""), "HTTP status 500"),
        (replying(302, b""), "HTTP status 302"),
        (replying(200, b"ok"), "neither an empty reply nor success"),
    ],
)
def test_an_event_is_tried_three_times(
    sandbox: Sandbox,
    wechat: WeChat,
    unit: Account,
    receiver: Receiver,
    behaviour: Callable[[Receiver], Callable[[Handler], None]],
    attempt: str,
) -> None:
    assert sandbox.push_timeout == 5
    if attempt.startswith("no answer"):
        sandbox.push_timeout = 0.3
    receiver.answer = behaviour(receiver)
    wechat.press(wechat.auth_url("A1"))
    [push] = sandbox.wait_for_pushes(1)
    assert push.attempts == (attempt,) * 3
    assert not push.delivered
    assert f"to {unit.appid}: {attempt}, " in repr(push)
    # Each of them as the first was.
    assert len(receiver.received) == 3
    assert len({(path, body) for path, _, body in receiver.received}) == 1


@pytest.mark.parametrize("body", [b"", b"success", b"success\n"])
def test_what_ends_the_tries(
    sandbox: Sandbox, wechat: WeChat, unit: Account, receiver: Receiver, body: bytes
) -> None:
    answers = iter([replying(503, b"")(receiver), replying(200, body)(receiver)])
    receiver.answer = lambda handler: next(answers)(handler)
    wechat.press(wechat.auth_url("A1"))
    [push] = sandbox.wait_for_pushes(1)
    assert push.attempts == ("HTTP status 503", "success")
    assert push.appid == unit.appid
    assert push.delivered


def test_nobody_listens(sandbox: Sandbox, wechat: WeChat) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    sandbox.unit.push_url = f"http://127.0.0.1:{port}"
    wechat.press(wechat.auth_url("A1"))
    [push] = sandbox.wait_for_pushes(1)
    assert push.attempts == ("Connection refused",) * 3


HTTPS = """if True:
    import http.client, http.server, json, ssl, sys, threading
    from nontax.sandbox import Sandbox
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
        def log_message(self, *_):
            pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with Sandbox() as sandbox:
        sandbox.unit.push_url = f"https://localhost:{server.server_port}/"
        def call(method, path, body=None):
            connection = http.client.HTTPConnection(sandbox.base_url.removeprefix("http://"))
            connection.request(method, path, body, {"Content-Type": "application/json"})
            with connection.getresponse() as reply:
                return json.loads(reply.read())
        token = f"access_token={sandbox.unit.access_token}"
        ticket = call("GET", f"/cgi-bin/ticket/getticket?{token}&type=wx_card")["ticket"]
        order = dict(s_pappid=sandbox.bureau.s_pappid, order_id="A1", money=1,
                     timestamp=1700000000, source="web", ticket=ticket)
        call("POST", f"/nontax/getbillauthurl?{token}", json.dumps(order))
        sandbox.authorise("A1")
        print(*sandbox.wait_for_pushes(1)[0].attempts, sep=chr(10))
    server.shutdown()
    thread.join()
    server.server_close()
"""


@pytest.mark.parametrize("trusted", [True, False])
def test_https(tmp_path: Path, trusted: bool) -> None:
    """In a process of its own, whose environment says whom to trust."""
    made = make_certificates(tmp_path, addresses=[])
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent.parent)}
    environment["SSL_CERT_FILE"] = str(made.ca_file if trusted else tmp_path / "none.pem")
    done = subprocess.run(
        [sys.executable, "-P", "-c", HTTPS, str(made.cert_file), str(made.key_file)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    attempts = done.stdout.splitlines()
    if trusted:
        assert attempts == ["success"]
    else:
        assert len(attempts) == 3
        assert all("certificate verify failed" in attempt for attempt in attempts)


# Stopping


def test_stop_ends_a_push(sandbox: Sandbox, wechat: WeChat, unit: Account) -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unit.push_url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for order_id in ("A1", "A2"):
            wechat.press(wechat.auth_url(order_id))
        peer, _ = listener.accept()
        with peer:
            assert peer.recv(1) == b"P"
            sandbox.stop()
    assert not set(threading.enumerate()) - before
    first, second = sandbox.pushes
    assert (len(first.attempts), first.delivered, first.finished) == (1, False, True)
    assert (second.attempts, second.delivered, second.finished) == ((), False, True)
    # Afterwards nothing is pushed any more.
    wechat.sandbox.withdraw("A1")
    wechat.sandbox.authorise("A1")
    assert len(sandbox.pushes) == 2


def test_log_lines_of_pushes(receiver: Receiver) -> None:
    lines: list[str] = []
    with Sandbox(log=lines.append) as sandbox:
        sandbox.unit.push_url = receiver.url
        wechat = WeChat(sandbox)
        wechat.press(wechat.auth_url("A1"))
        sandbox.wait_for_pushes(1)
    assert [line[9:] for line in lines if "push" in line] == ["push user_authorize_invoice success"]
