"""The sandbox: what it accepts and refuses, what a peer sees of each fault, what it records."""

import ast
import contextlib
import gc
import http.client
import io
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import nontax.sandbox
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates, make_certificates

PACKAGE = Path(nontax.sandbox.__file__).parent
BILL_FIELDS = {
    "fee": 123,
    "title": "张三",
    "billing_time": 1700000000,
    "billing_no": "11010123",
    "billing_code": "0000000001",
    "s_pdf_media_id": "75195574948725301",
}


def make_bill(order_id: str = "A1", *, flat: bool = False, **changes: Any) -> dict[str, Any]:
    bill_fields = BILL_FIELDS | changes
    user_card = bill_fields if flat else {"invoice_user_data": bill_fields}
    return {
        "order_id": order_id,
        "card_id": "pjZ8Yt9WoOePThU0NfUKz5-tBEWU",
        "appid": "wx0123456789abcdef",
        "card_ext": {"user_card": user_card},
    }


def encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def head_of(sandbox: Sandbox, length: int, *extra: str) -> bytes:
    lines = [
        f"POST /nontax/insertbill?access_token={sandbox.access_token} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        *extra,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def request_of(sandbox: Sandbox, order_id: str = "A1", *extra: str) -> bytes:
    body = encode(make_bill(order_id, billing_code=order_id))
    return head_of(sandbox, len(body), *extra) + body


def address_of(sandbox: Sandbox) -> tuple[str, int]:
    host, port = sandbox.base_url.split("://")[1].rsplit(":", 1)
    return host.strip("[]"), int(port)


class Peer:
    """A client that shows every byte."""

    def __init__(self, sandbox: Sandbox, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(address_of(sandbox))
        if tls is not None:
            # An end without close_notify is an SSLEOFError then.
            self.socket = tls.wrap_socket(
                self.socket, server_hostname="localhost", suppress_ragged_eofs=False
            )

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.socket.recv(size - len(data))):
            data += more
        return data

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end) and (more := self.socket.recv(1)):
            data += more
        return data

    def read_to_end(self) -> bytes:
        data = b""
        while more := self.socket.recv(65536):
            data += more
        return data

    def read_reply(self) -> tuple[bytes, bytes]:
        head = self.read_until(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        return head, self.read(int(length[1]))

    def is_reset(self) -> bool:
        # Underneath TLS, because Python's own TLS takes a reset for an end.
        try:
            while socket.socket.recv(self.socket, 65536):
                pass
        except ConnectionResetError:
            return True
        return False


def call(
    sandbox: Sandbox,
    body: bytes | dict[str, Any] | None = None,
    *,
    method: str = "POST",
    path: str = "/nontax/insertbill",
    query: str | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """One request on a connection of its own; the JSON of the reply."""
    connection = http.client.HTTPConnection(*address_of(sandbox))
    if query is None:
        query = f"?access_token={sandbox.access_token}"
    if headers is None:
        headers = {"Content-Type": "application/json"}
    data = encode(make_bill() if body is None else body) if not isinstance(body, bytes) else body
    try:
        connection.request(method, path + query, data, headers)
        reply = connection.getresponse()
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "application/json; encoding=utf-8"
        value = json.loads(reply.read())
    finally:
        connection.close()
    assert isinstance(value, dict)
    return value


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def peer(sandbox: Sandbox) -> Iterator[Peer]:
    with Peer(sandbox) as connected:
        yield connected


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


# The package


def test_it_imports_the_standard_library_and_itself_only() -> None:
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                # Level 1 is this package itself.
                assert node.level == 1 or node.module is not None
                assert node.level == 1 or str(node.module).split(".")[0] in sys.stdlib_module_names
            elif isinstance(node, ast.Import):
                for name in node.names:
                    assert name.name.split(".")[0] in sys.stdlib_module_names


def test_importing_nontax_leaves_it_alone() -> None:
    code = "import nontax, sys; sys.exit('nontax.sandbox' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], env=environment(), check=True)


# A bill in order


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("billing_time", [1700000000, "1700000000"])
def test_a_bill_is_inserted(sandbox: Sandbox, flat: bool, billing_time: int | str) -> None:
    bill = make_bill(flat=flat, billing_time=billing_time)
    reply = call(sandbox, bill)
    assert list(reply) == ["errcode", "errmsg", "code", "openid"]
    assert (reply["errcode"], reply["errmsg"]) == (0, "ok")
    assert re.fullmatch(r"\d{12}", reply["code"])
    assert re.fullmatch(r"o[\w-]{27}", reply["openid"])
    [(order_id, taken)] = sandbox.bills.items()
    assert (order_id, taken.order_id, taken.request) == ("A1", "A1", 1)
    assert (taken.code, taken.openid, taken.json) == (reply["code"], reply["openid"], bill)


def test_the_reply_is_compact_http(sandbox: Sandbox, peer: Peer) -> None:
    peer.send(request_of(sandbox))
    head, body = peer.read_reply()
    assert head == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json; encoding=utf-8\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    assert re.fullmatch(
        rb'\{"errcode":0,"errmsg":"ok","code":"\d{12}","openid":"o[\w-]{27}"\}', body
    )


def test_bills_are_told_apart(sandbox: Sandbox) -> None:
    replies = [call(sandbox, make_bill(str(n), billing_code=f"{n:010}")) for n in range(3)]
    assert len({reply["code"] for reply in replies}) == 3
    assert len({reply["openid"] for reply in replies}) == 3
    assert list(sandbox.bills) == ["0", "1", "2"]


@pytest.mark.parametrize("fee", [0, -5, 2**53 + 1, 10**40])
def test_integers_stay_exact(sandbox: Sandbox, fee: int) -> None:
    assert call(sandbox, make_bill(fee=fee))["errcode"] == 0
    fields = sandbox.bills["A1"].json["card_ext"]["user_card"]["invoice_user_data"]
    assert fields["fee"] == fee
    assert type(fields["fee"]) is int


def test_control_characters_may_be_escaped(sandbox: Sandbox) -> None:
    body = encode(make_bill(title="a\nb\\u4e2d")).replace(b"\\n", rb"\u000a\u007f\u0085")
    assert call(sandbox, body)["errcode"] == 0
    fields = sandbox.bills["A1"].json["card_ext"]["user_card"]["invoice_user_data"]
    assert fields["title"] == "a\n\x7f\x85b\\u4e2d"


# Orders


def test_one_order_is_inserted_once(sandbox: Sandbox) -> None:
    assert call(sandbox)["errcode"] == 0
    first = sandbox.bills["A1"]
    assert call(sandbox)["errcode"] == 72056
    assert sandbox.bills["A1"] == first
    assert [request.errcode for request in sandbox.requests] == [0, 72056]


def test_one_billing_pair_is_inserted_once(sandbox: Sandbox) -> None:
    assert call(sandbox, make_bill("A1"))["errcode"] == 0
    assert call(sandbox, make_bill("A2"))["errcode"] == 72042
    assert call(sandbox, make_bill("A2", billing_no="11010124"))["errcode"] == 0
    assert call(sandbox, make_bill("A3", billing_code="0000000002"))["errcode"] == 0


def test_a_rejected_order_is_dead(sandbox: Sandbox) -> None:
    sandbox.reject("A1")
    assert call(sandbox)["errcode"] == 72035
    with pytest.raises(ValueError, match="rejected"):
        sandbox.authorise("A1")
    with pytest.raises(ValueError, match="rejected"):
        sandbox.withdraw("A1")
    sandbox.reject("A1")
    assert call(sandbox)["errcode"] == 72035
    assert not sandbox.bills


def test_a_withdrawn_order_can_be_authorised(sandbox: Sandbox) -> None:
    sandbox.withdraw("A1")
    assert call(sandbox)["errcode"] == 72038
    sandbox.authorise("A1")
    assert call(sandbox)["errcode"] == 0
    sandbox.withdraw("A1")
    assert call(sandbox)["errcode"] == 72056


def test_strict_orders_must_be_authorised() -> None:
    with Sandbox(orders="strict") as sandbox:
        assert call(sandbox)["errcode"] == 72038
        sandbox.authorise("A1")
        assert call(sandbox)["errcode"] == 0


def test_orders_has_two_values() -> None:
    with pytest.raises(ValueError, match="orders"):
        Sandbox(orders="authorized")  # type: ignore[arg-type]


# Access tokens


def test_a_renewed_token_supersedes_the_one_before(sandbox: Sandbox) -> None:
    old = sandbox.access_token
    sandbox.renew_access_token()
    assert sandbox.access_token != old
    assert call(sandbox, query=f"?access_token={old}")["errcode"] == 40001
    assert call(sandbox)["errcode"] == 0


def test_an_expired_token_stays_expired(sandbox: Sandbox) -> None:
    old = sandbox.access_token
    sandbox.expire_access_token()
    assert sandbox.access_token == old
    assert call(sandbox)["errcode"] == 42001
    sandbox.renew_access_token()
    assert call(sandbox, query=f"?access_token={old}")["errcode"] == 42001
    assert call(sandbox)["errcode"] == 0


@pytest.mark.parametrize(
    ("query", "errcode", "shown"),
    [
        ("", 41001, ""),
        ("?access_token=", 41001, "access_token=***"),
        ("?token=foreign", 41001, "token=foreign"),
        ("?access_token=foreign", 40014, "access_token=***"),
        ("?access_token={token}x", 40014, "access_token=***"),
        ("?access_token={token}&access_token=", 40014, "access_token=***&access_token=***"),
        ("?access_token={token}&lang=zh", 0, "access_token=***&lang=zh"),
        ("?access%5Ftoken={escaped}", 0, "access%5Ftoken=***"),
        ("?x=?access_token={token}", 41001, "x=?access_token=***"),
    ],
)
def test_the_token_in_the_query(sandbox: Sandbox, query: str, errcode: int, shown: str) -> None:
    token = sandbox.access_token
    escaped = "".join(f"%{byte:02x}" for byte in token.encode())
    assert call(sandbox, query=query.format(token=token, escaped=escaped))["errcode"] == errcode
    assert sandbox.requests[0].query == shown


# Refusals before the bill is looked at


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"method": "GET"}, 43002),
        ({"method": "PUT"}, 43002),
        ({"path": "/nontax/insertbil"}, 40066),
        ({"path": "/nontax/insertbill/"}, 40066),
        ({"path": "/"}, 40066),
        ({"headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 40101),
        ({"headers": {"Content-Type": "text/plain"}}, 47001),
        ({"headers": {"Content-Type": "application/json; charset=gbk"}}, 47001),
        ({"headers": {}}, 47001),
        ({"headers": {"Content-Type": "application/json; charset=UTF-8"}}, 0),
        ({"headers": {"Content-Type": "application/json", "Content-Encoding": "gzip"}}, 40221),
        ({"body": b""}, 44002),
        ({"body": b" "}, 47001),
        ({"body": b"[]"}, 47001),
        ({"body": b"null"}, 47001),
        ({"body": encode(make_bill())[:-1]}, 47001),
        ({"body": encode(make_bill()) + b"x"}, 47001),
        ({"body": b"\xef\xbb\xbf" + encode(make_bill())}, 47001),
        ({"body": json.dumps(make_bill(), ensure_ascii=False).encode("gbk")}, 47001),
        ({"body": encode(make_bill(title="a\nb")).replace(b"\\n", b"\n")}, 47001),
        ({"body": encode(make_bill(fee=1)).replace(b'"fee": 1', b'"fee": NaN')}, 47001),
        ({"body": encode(make_bill(fee=1)).replace(b'"fee": 1', b'"fee": 1, "fee": 1')}, 47001),
        ({"body": b"[" * 100_000}, 47001),
        ({"body": b'{"order_id": ' + b"9" * 5000 + b"}"}, 47001),
        ({"body": json.dumps(make_bill()).encode()}, 47002),
        ({"body": encode(make_bill(title="a-b")).replace(b"a-b", rb"a\u003cb")}, 47002),
        ({"body": encode(make_bill(title="a-b")).replace(b"a-b", rb"a\\\u4e2db")}, 47002),
        ({"body": encode(make_bill(title="a-b")).replace(b"a-b", rb"a\ud800b")}, 47002),
    ],
    ids=str,
)
def test_a_request_is_refused(sandbox: Sandbox, changes: dict[str, Any], errcode: int) -> None:
    before = int(time.time())
    reply = call(sandbox, **changes)
    assert reply["errcode"] == errcode
    assert len(sandbox.bills) == (errcode == 0)
    assert sandbox.requests[0].errcode == errcode
    if errcode:
        assert list(reply) == ["errcode", "errmsg"]
        rid = re.search(r" rid: ([0-9a-f]{8})-[0-9a-f]{8}-[0-9a-f]{8}$", reply["errmsg"])
        assert rid is not None
        assert before <= int(rid[1], 16) <= time.time()


def test_each_refusal_has_a_rid_of_its_own(sandbox: Sandbox) -> None:
    texts = {call(sandbox, b"{")["errmsg"] for _ in range(5)}
    assert len(texts) == 5
    assert {text.split(" rid: ")[0] for text in texts} == {"data format error"}


# Refusals of bills


def without(path: str) -> dict[str, Any]:
    return changed(path, lambda container, name: container.pop(name))


def with_value(path: str, value: Any) -> dict[str, Any]:
    return changed(path, lambda container, name: container.update({name: value}))


def changed(path: str, change: Callable[[dict[str, Any], str], object]) -> dict[str, Any]:
    bill: dict[str, Any] = json.loads(encode(make_bill()))
    *parents, name = path.split(".")
    container = bill
    for parent in parents:
        container = container[parent]
    change(container, name)
    return bill


DATA = "card_ext.user_card.invoice_user_data"


@pytest.mark.parametrize(
    ("bill", "errcode", "text"),
    [
        ({}, 72031, "order_id is empty"),
        ({"info": make_bill()}, 72031, "order_id is empty"),
        (without("order_id"), 72031, "order_id is empty"),
        (without("card_id"), 41012, "missing card id: card_id"),
        (without("appid"), 40101, "missing parameter: appid"),
        (without("card_ext"), 41011, ": card_ext"),
        (without("card_ext.user_card"), 41011, ": card_ext.user_card"),
        (without(DATA), 41011, ": card_ext.user_card.billing_code"),
        *[(without(f"{DATA}.{name}"), 41011, f": {DATA}.{name}") for name in BILL_FIELDS],
        *[
            (with_value(path, value), code, text)
            for path in ("order_id", "card_id", "appid", f"{DATA}.title", f"{DATA}.billing_no")
            for value, code, text in [
                ("", 72031, f"{path.rsplit('.', 1)[-1]} is empty"),
                (1, 72031, f"{path.rsplit('.', 1)[-1]} must be a string"),
                (None, 72031, f"{path.rsplit('.', 1)[-1]} must be a string"),
            ]
        ],
        (with_value(f"{DATA}.billing_code", ""), 72031, "billing_code is empty"),
        (with_value(f"{DATA}.s_pdf_media_id", 75195574948725301), 72031, "s_pdf_media_id must"),
        *[
            (with_value(f"{DATA}.fee", fee), 72031, "fee must be an integer")
            for fee in (1.0, 1e2, 12.5, "123", True, None)
        ],
        *[
            (with_value(f"{DATA}.billing_time", value), 72031, "billing_time must be 10 digits")
            for value in (170000000, "17000000000", 1.7e9, "", "2023-11-14", True, None, "١" * 10)
        ],
        (with_value("card_ext", []), 40080, "card_ext must be an object"),
        (with_value("card_ext.user_card", "x"), 40080, "user_card must be an object"),
        (with_value(DATA, None), 40080, "invoice_user_data must be an object"),
        (with_value("card_ext.user_card.fee", 123), 40080, "beside invoice_user_data"),
        (with_value("s_pappid", "x"), 40097, "unknown field s_pappid"),
        (with_value("card_ext.nonce_str", "x"), 40097, "unknown field card_ext.nonce_str"),
        (with_value("card_ext.user_card.x", 1), 40097, "unknown field card_ext.user_card.x"),
        (with_value(f"{DATA}.fee ", 1), 40097, f"unknown field {DATA}.fee "),
    ],
    ids=str,
)
def test_a_bill_is_refused(sandbox: Sandbox, bill: Any, errcode: int, text: str) -> None:
    reply = call(sandbox, bill)
    assert reply["errcode"] == errcode
    assert text + " rid: " in reply["errmsg"] or f"{text} " in reply["errmsg"]
    assert not sandbox.bills


def test_a_fee_with_an_exponent_is_no_integer(sandbox: Sandbox) -> None:
    body = encode(make_bill(fee=7)).replace(b'"fee": 7', b'"fee": 1E2')
    assert call(sandbox, body)["errcode"] == 72031


# Records


def test_a_request_is_recorded(sandbox: Sandbox) -> None:
    call(
        sandbox,
        headers={"Content-Type": "application/json", "X-One": "1"},
        query="?a=b&access_token=T",
    )
    call(sandbox)
    first, second = sandbox.wait_for_requests(2, finished=True)
    assert (first.number, second.number) == (1, 2)
    assert (first.connection, second.connection, sandbox.connections) == (1, 2, 2)
    assert (first.method, first.path) == ("POST", "/nontax/insertbill")
    assert first.query == "a=b&access_token=***"
    assert first.access_token == "T"
    assert first.headers["x-one"] == "1"
    assert first.body == encode(make_bill())
    assert first.body_complete
    assert first.json == make_bill()
    assert first.order_id == "A1"
    assert (first.errcode, second.errcode) == (40014, 0)
    assert first.fault is None


def test_no_repr_shows_the_token(sandbox: Sandbox) -> None:
    token = sandbox.access_token
    call(
        sandbox, headers={"Content-Type": "application/json", "Referer": f"/?access_token={token}"}
    )
    [request] = sandbox.requests
    assert repr(request) == "<Request 1 on connection 1: 0>"
    assert token not in repr(sandbox)
    assert token not in repr(sandbox.bills)


def test_a_request_is_recorded_before_its_body_comes(sandbox: Sandbox, peer: Peer) -> None:
    peer.send(head_of(sandbox, 10) + b"12345")
    [request] = sandbox.wait_for_requests(1)
    assert not request.finished
    assert request.json is None
    peer.socket.close()
    sandbox.wait_for_requests(1, finished=True)
    assert (request.body, request.body_complete, request.errcode) == (b"12345", False, None)


def test_waiting_in_vain_raises(sandbox: Sandbox) -> None:
    call(sandbox)
    with pytest.raises(TimeoutError, match="1 of 2 requests"):
        sandbox.wait_for_requests(2, 0)


def test_a_body_that_is_not_json_has_no_json(sandbox: Sandbox) -> None:
    call(sandbox, b"{")
    [request] = sandbox.requests
    assert (request.body, request.json, request.order_id) == (b"{", None, None)


def test_log_lines() -> None:
    lines: list[str] = []
    text = io.StringIO()
    with Sandbox(log=lines.append) as sandbox, Sandbox(log=text) as other:
        token = sandbox.access_token
        escaped = "".join(f"%{byte:02x}" for byte in token.encode())
        query = f"?access_token={token}"
        sandbox.misbehave(faults.Errcode(45011))
        calls: list[dict[str, Any]] = [
            {},
            {},
            {"body": make_bill("a\n中")},
            {"body": make_bill(token)},
            {"path": f"/x{query}/"},
            {"path": f"/x/{token}/"},
            {"path": f"/x/{escaped}/", "query": ""},
            {"path": "/x", "query": "&access_token=foreign"},
            {"path": "/x", "query": "&access%5Ftoken=foreign"},
        ]
        for number, arguments in enumerate(calls, 1):
            call(sandbox, **arguments)
            sandbox.wait_for_requests(number, finished=True)
        with Peer(sandbox) as peer:
            peer.send(f"POST {query}\r\n\r\n".encode())
            peer.read_to_end()
        sandbox.wait_for_requests(len(calls) + 1, finished=True)
        call(other)
        other.wait_for_requests(1, finished=True)
    prefix = r"\d\d:\d\d:\d\d "
    insert = "POST /nontax/insertbill order_id="
    wanted = [
        f"{insert}'A1' fault=Errcode errcode=45011",
        f"{insert}'A1' errcode=0",
        f"{insert}'a\\n\\u4e2d' errcode=72042",
        f"{insert}'***' errcode=72042",
        "POST '/x' order_id='A1' errcode=40066",
        "POST '/x/***/' order_id='A1' errcode=40066",
        "POST '/x/***/' order_id='A1' errcode=40066",
        "POST '/x&access_token=***' order_id='A1' errcode=40066",
        "POST '/x&access_token=***' order_id='A1' errcode=40066",
        "not HTTP errcode=None",
    ]
    assert [re.sub(f"^{prefix}", "", line) for line in lines] == wanted
    assert re.fullmatch(f"{prefix}{insert}'A1' errcode=0\n", text.getvalue())


# HTTP


def test_a_connection_is_kept_alive(sandbox: Sandbox, peer: Peer) -> None:
    for order_id in ("1", "2", "3"):
        peer.send(request_of(sandbox, order_id))
        assert b'"errcode":0' in peer.read_reply()[1]
    assert sandbox.connections == 1
    assert [request.connection for request in sandbox.requests] == [1, 1, 1]


def test_pipelined_requests_are_answered_in_order(sandbox: Sandbox, peer: Peer) -> None:
    peer.send(request_of(sandbox, "1") + request_of(sandbox, "2") + request_of(sandbox, "1"))
    answers = [json.loads(peer.read_reply()[1])["errcode"] for _ in range(3)]
    assert answers == [0, 0, 72056]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_may_come_byte_by_byte(sandbox: Sandbox, peer: Peer, chunked: bool) -> None:
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = request_of(sandbox)
    if chunked:
        body = encode(make_bill())
        head = head_of(sandbox, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        request = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for byte in request:
        peer.send(bytes([byte]))
    assert b'"errcode":0' in peer.read_reply()[1]


@pytest.mark.parametrize("ending", [b"0\r\n\r\n", b"0;last\r\nX-Trailer: 1\r\n\r\n"])
def test_a_body_may_come_in_chunks(sandbox: Sandbox, peer: Peer, ending: bytes) -> None:
    body = encode(make_bill())
    head = head_of(sandbox, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    peer.send(head + chunks + ending)
    assert b'"errcode":0' in peer.read_reply()[1]
    assert sandbox.requests[0].body == body


def test_expect_100_continue(sandbox: Sandbox, peer: Peer) -> None:
    body = encode(make_bill())
    peer.send(head_of(sandbox, len(body), "Expect: 100-continue"))
    assert peer.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(body)
    assert b'"errcode":0' in peer.read_reply()[1]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_is_closed_on_request(sandbox: Sandbox, peer: Peer, version: str) -> None:
    extra = ["Connection: close"] if version == "1.1" else []
    request = request_of(sandbox, "A1", *extra)
    peer.send(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1))
    reply = peer.read_to_end()
    assert b"\r\nConnection: close\r\n" in reply
    assert b'"errcode":0' in reply


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/2\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000,
    ],
    ids=lambda data: repr(data[:60]),
)
def test_what_is_not_http_gets_400(sandbox: Sandbox, peer: Peer, data: bytes) -> None:
    peer.send(data)
    reply = peer.read_to_end()
    assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert reply.endswith(b"\r\n\r\n")
    [request] = sandbox.requests
    assert (request.errcode, request.body_complete) == (None, False)


def test_a_body_of_10_mb(sandbox: Sandbox) -> None:
    title = "票" * (10_000_000 // 3)
    assert call(sandbox, make_bill(title=title))["errcode"] == 0
    fields = sandbox.bills["A1"].json["card_ext"]["user_card"]["invoice_user_data"]
    assert fields["title"] == title


def test_64_connections_at_once(sandbox: Sandbox) -> None:
    together = threading.Barrier(64)

    def insert(lane: int) -> list[int]:
        with Peer(sandbox) as peer:
            together.wait()
            answers = []
            for order_id in (f"own {lane}", "shared"):
                peer.send(request_of(sandbox, order_id))
                answers.append(json.loads(peer.read_reply()[1])["errcode"])
            return answers

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(insert, range(64)))
    assert [own for own, _ in answers] == [0] * 64
    assert sorted(shared for _, shared in answers) == [0] + [72056] * 63
    assert len(sandbox.bills) == 65
    assert sandbox.connections == 64
    assert [request.number for request in sandbox.requests] == list(range(1, 129))


def test_listening_on_ipv6() -> None:
    with Sandbox(host="::1") as sandbox:
        assert sandbox.base_url.startswith("http://[::1]:")
        assert call(sandbox)["errcode"] == 0


# Faults


def test_faults_come_in_order_of_arrival(sandbox: Sandbox) -> None:
    sandbox.misbehave(faults.Errcode(1), times=2, skip=1)
    sandbox.misbehave(faults.Errcode(2))
    sandbox.misbehave(faults.Errcode(3), skip=1)
    assert sandbox.faults_left == 4
    assert [call(sandbox)["errcode"] for _ in range(7)] == [0, 1, 1, 2, 72056, 3, 72056]
    assert sandbox.faults_left == 0
    codes = [getattr(request.fault, "code", None) for request in sandbox.requests]
    assert codes == [None, 1, 1, 2, None, 3, None]


def test_faults_are_shared_out_among_threads(sandbox: Sandbox) -> None:
    sandbox.misbehave(faults.Errcode(7), times=10, skip=10)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: call(sandbox)["errcode"], range(40)))
    assert answers.count(7) == 10
    assert [request.fault is not None for request in sandbox.requests] == (
        [False] * 10 + [True] * 10 + [False] * 20
    )


def test_behave_forgets_the_faults(sandbox: Sandbox) -> None:
    sandbox.misbehave(faults.Errcode(45011), times=5)
    assert call(sandbox)["errcode"] == 45011
    sandbox.behave()
    assert call(sandbox)["errcode"] == 0


@pytest.mark.parametrize(("times", "skip"), [(0, 0), (1, -1)])
def test_times_and_skip_are_checked(sandbox: Sandbox, times: int, skip: int) -> None:
    with pytest.raises(ValueError, match="times"):
        sandbox.misbehave(faults.Errcode(1), times, skip)


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.Delay(-1),
        lambda: faults.Close("later"),  # type: ignore[arg-type]
        lambda: faults.Close("head", taken=True),
        lambda: faults.Reply(taken=False),
        lambda: faults.Reply(framing="none"),  # type: ignore[arg-type]
        lambda: faults.Reply(framing="chunked", length_delta=1),
        lambda: faults.Reply(framing="endless", body=b""),
        lambda: faults.Reply(piece=-1),
        lambda: faults.Reply(cut_after=-1),
    ],
)
def test_impossible_faults_are_refused(make: Callable[[], faults.Fault]) -> None:
    with pytest.raises(ValueError, match=r"must|needs|only|cannot"):
        make()


@pytest.mark.parametrize(
    ("fault", "errmsg"),
    [
        (faults.Errcode(40001), r"invalid credential, .* not latest rid: [0-9a-f-]{26}"),
        (faults.Errcode(45011), r"refused by the sandbox rid: [0-9a-f-]{26}"),
        (faults.Errcode(-1, "系统繁忙, hint: [x]"), r"系统繁忙, hint: \[x\]"),
    ],
)
def test_errcode(sandbox: Sandbox, fault: faults.Errcode, errmsg: str) -> None:
    sandbox.misbehave(fault)
    reply = call(sandbox)
    assert reply["errcode"] == fault.code
    assert re.fullmatch(errmsg, reply["errmsg"])
    assert not sandbox.bills
    [request] = sandbox.requests
    assert (request.errcode, request.fault, request.order_id) == (fault.code, fault, "A1")


def test_errcode_with_the_bill_taken(sandbox: Sandbox) -> None:
    sandbox.misbehave(faults.Errcode(-1, taken=True))
    assert call(sandbox)["errcode"] == -1
    assert list(sandbox.bills) == ["A1"]


def test_delay(sandbox: Sandbox) -> None:
    sandbox.misbehave(faults.Delay(0.01))
    assert call(sandbox)["errcode"] == 0
    assert sandbox.requests[0].fault == faults.Delay(0.01)


def test_stop_cuts_a_delay_short(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Delay(3600))
    peer.send(request_of(sandbox))
    [request] = sandbox.wait_for_requests(1)
    sandbox.stop()
    assert peer.read_to_end() == b""
    assert request.errcode is None


@pytest.mark.parametrize("taken", [False, True])
def test_never_answer_until_the_peer_leaves(sandbox: Sandbox, peer: Peer, taken: bool) -> None:
    sandbox.misbehave(faults.NeverAnswer(taken))
    peer.send(request_of(sandbox))
    sandbox.wait_for_requests(1)
    peer.socket.close()
    [request] = sandbox.wait_for_requests(1, finished=True)
    assert (request.body_complete, request.errcode) == (True, None)
    assert len(sandbox.bills) == taken


def test_never_answer_until_the_sandbox_stops(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.NeverAnswer())
    peer.send(request_of(sandbox))
    sandbox.wait_for_requests(1)
    sandbox.stop()
    assert peer.read_to_end() == b""


@pytest.mark.parametrize("first", ["new", "kept alive"])
def test_close_before_anything_is_read(sandbox: Sandbox, peer: Peer, first: str) -> None:
    if first == "kept alive":
        peer.send(request_of(sandbox, "0"))
        peer.read_reply()
    before = len(sandbox.requests)
    # Also when the connection is already waiting for its next request.
    sandbox.misbehave(faults.Close("nothing"))
    peer.send(request_of(sandbox))
    assert peer.is_reset()
    assert sandbox.faults_left == 0
    assert len(sandbox.requests) == before
    assert call(sandbox)["errcode"] == 0


def test_close_before_reading_waits_for_its_turn(sandbox: Sandbox) -> None:
    sandbox.misbehave(faults.Close("nothing"), skip=1)
    with Peer(sandbox) as peer:
        peer.send(request_of(sandbox, "1"))
        peer.read_reply()
        peer.send(request_of(sandbox, "2"))
        assert peer.is_reset()
    assert list(sandbox.bills) == ["1"]


def test_a_peer_that_leaves_takes_no_fault(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Close("nothing"))
    peer.socket.shutdown(socket.SHUT_WR)
    assert peer.read_to_end() == b""
    assert sandbox.faults_left == 1


def test_close_after_the_head(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Close("head"))
    peer.send(head_of(sandbox, 10_000_000, "Expect: 100-continue"))
    assert peer.read_to_end() == b""
    [request] = sandbox.requests
    assert (request.body, request.body_complete) == (b"", False)
    # An orderly end, so what is still being sent does not hurt.
    peer.send(b"x" * 10_000_000)
    peer.socket.shutdown(socket.SHUT_WR)
    sandbox.wait_for_requests(1, finished=True)


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("reset", [False, True])
def test_close_after_the_body(sandbox: Sandbox, peer: Peer, taken: bool, reset: bool) -> None:
    sandbox.misbehave(faults.Close("body", taken=taken, reset=reset))
    peer.send(request_of(sandbox))
    if reset:
        assert peer.is_reset()
    else:
        assert peer.read_to_end() == b""
    [request] = sandbox.wait_for_requests(1, finished=True)
    assert (request.body_complete, request.errcode, request.order_id) == (True, None, "A1")
    assert len(sandbox.bills) == taken
    assert call(sandbox)["errcode"] == (72056 if taken else 0)


def test_reset_after_the_head(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Close("head", reset=True))
    peer.send(head_of(sandbox, 10))
    assert peer.is_reset()


@pytest.mark.parametrize("cut_after", [0, 1, 40, 130])
def test_a_reply_that_is_cut(sandbox: Sandbox, peer: Peer, cut_after: int) -> None:
    sandbox.misbehave(faults.Reply(cut_after=cut_after))
    peer.send(request_of(sandbox))
    reply = peer.read_to_end()
    assert len(reply) == cut_after
    assert b"HTTP/1.1 200 OK\r\nContent-Type: application/json".startswith(reply[:40])
    [request] = sandbox.wait_for_requests(1, finished=True)
    assert request.errcode is None
    assert list(sandbox.bills) == ["A1"]


@pytest.mark.parametrize("delta", [7, -7])
def test_a_wrong_content_length(sandbox: Sandbox, peer: Peer, delta: int) -> None:
    sandbox.misbehave(faults.Reply(length_delta=delta))
    peer.send(request_of(sandbox))
    head, body = peer.read_to_end().split(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % (len(body) + delta) in head
    assert json.loads(body)["errcode"] == 0
    assert sandbox.requests[0].errcode == 0


@pytest.mark.parametrize("piece", [0, 1, 10])
def test_a_reply_in_chunks(sandbox: Sandbox, piece: int) -> None:
    sandbox.misbehave(faults.Reply(framing="chunked", piece=piece))
    connection = http.client.HTTPConnection(*address_of(sandbox))
    with contextlib.closing(connection):
        for errcode in (0, 72056):
            query = f"?access_token={sandbox.access_token}"
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"/nontax/insertbill{query}", encode(make_bill()), headers)
            reply = connection.getresponse()
            assert (reply.headers["Transfer-Encoding"] == "chunked") == (errcode == 0)
            assert json.loads(reply.read())["errcode"] == errcode
    assert sandbox.connections == 1


def test_a_reply_that_ends_with_the_connection(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Reply(framing="close"))
    peer.send(request_of(sandbox))
    head, body = peer.read_to_end().split(b"\r\n\r\n")
    assert b"Content-Length" not in head
    assert json.loads(body)["errcode"] == 0


def test_a_slow_reply_is_whole_in_the_end(sandbox: Sandbox) -> None:
    sandbox.misbehave(faults.Reply(piece=50, gap=0.001))
    assert call(sandbox)["errcode"] == 0


def test_a_slow_reply_comes_in_pieces(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Reply(piece=20, gap=3600))
    peer.send(request_of(sandbox))
    assert peer.read(20) == b"HTTP/1.1 200 OK\r\nCon"
    sandbox.stop()
    assert peer.read_to_end() == b""
    assert sandbox.requests[0].errcode is None


def test_an_endless_reply(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Reply(framing="endless", body=b" " * 1000))
    peer.send(request_of(sandbox))
    assert b"Transfer-Encoding: chunked" in peer.read_until(b"\r\n\r\n")
    chunk = b"3e8\r\n" + b" " * 1000 + b"\r\n"
    assert peer.read(2000 * len(chunk)) == 2000 * chunk
    peer.socket.close()
    [request] = sandbox.wait_for_requests(1, finished=True)
    assert request.errcode is None


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize(
    "body", [b"", b"<html>502</html>", "系统".encode("gbk"), b"\xef\xbb\xbf{}"]
)
def test_any_reply(sandbox: Sandbox, peer: Peer, body: bytes, taken: bool) -> None:
    headers = {"Content-Type": "text/html", "X-Extra": "1"}
    sandbox.misbehave(faults.Reply(502, headers, body, taken=taken))
    headers.clear()
    peer.send(request_of(sandbox))
    head, received = peer.read_reply()
    assert head == (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nX-Extra: 1\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    assert received == body
    assert len(sandbox.bills) == taken
    peer.send(request_of(sandbox, "A2"))
    assert b'"errcode":0' in peer.read_reply()[1]
    assert [request.errcode for request in sandbox.requests] == [None, 0]


def test_a_redirect(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Reply(307, {"Location": "http://127.0.0.1:1/"}, b"", taken=False))
    peer.send(request_of(sandbox))
    assert b"307 Temporary Redirect\r\n" in (head := peer.read_reply()[0])
    assert b"\r\nLocation: http://127.0.0.1:1/\r\n" in head


def test_a_status_nobody_has_heard_of(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.misbehave(faults.Reply(799, body=b""))
    peer.send(request_of(sandbox))
    assert peer.read_reply()[0].startswith(b"HTTP/1.1 799 Unknown\r\n")


def test_idle_connections_can_be_closed(sandbox: Sandbox) -> None:
    sandbox.misbehave(faults.NeverAnswer(), skip=1)
    with Peer(sandbox) as idle, Peer(sandbox) as busy:
        idle.send(request_of(sandbox, "1"))
        idle.read_reply()
        busy.send(request_of(sandbox, "2"))
        sandbox.wait_for_requests(2)
        assert sandbox.close_idle_connections() == 1
        assert idle.read_to_end() == b""
        assert sandbox.close_idle_connections() == 0
        sandbox.stop()
        assert busy.read_to_end() == b""
    assert list(sandbox.bills) == ["1"]


# TLS


def client_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates.ca_file)
    # Python 3.11.2 (Debian 12) takes a connection that breaks off for one that was ended.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context


def tls_sandbox(certificates: Certificates) -> Sandbox:
    return Sandbox(certfile=certificates.cert_file, keyfile=certificates.key_file)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls(certificates: Certificates, version: ssl.TLSVersion) -> None:
    context = client_context(certificates)
    context.minimum_version = context.maximum_version = version
    with tls_sandbox(certificates) as sandbox:
        assert sandbox.base_url.startswith("https://127.0.0.1:")
        with Peer(sandbox, context) as peer:
            peer.send(request_of(sandbox, "1"))
            assert b'"errcode":0' in peer.read_reply()[1]
            peer.send(request_of(sandbox, "2"))
            assert b'"errcode":0' in peer.read_reply()[1]
        # A goodbye is no request.
        sandbox.misbehave(faults.Close("nothing"))
        with Peer(sandbox, context) as peer:
            assert isinstance(peer.socket, ssl.SSLSocket)
            # Python's unwrap() waits for an answer: the sandbox just ends the connection.
            with contextlib.suppress(OSError):
                peer.socket.unwrap()
        assert sandbox.faults_left == 1
        with Peer(sandbox, context) as peer:
            peer.send(request_of(sandbox, "3"))
            assert peer.is_reset()
        assert sandbox.faults_left == 0
        assert list(sandbox.bills) == ["1", "2"]


def test_an_orderly_end_over_tls_is_announced(certificates: Certificates) -> None:
    with tls_sandbox(certificates) as sandbox:
        with Peer(sandbox, client_context(certificates)) as peer:
            peer.send(request_of(sandbox, "1", "Connection: close"))
            assert b'"errcode":0' in peer.read_to_end()
        sandbox.misbehave(faults.Close("body"))
        with Peer(sandbox, client_context(certificates)) as peer:
            peer.send(request_of(sandbox, "2"))
            with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
                peer.read_to_end()


def test_old_tls_is_refused(certificates: Certificates) -> None:
    context = client_context(certificates)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with tls_sandbox(certificates) as sandbox:
        with pytest.raises(ssl.SSLError):
            Peer(sandbox, context)
        assert not sandbox.requests


def test_plain_http_to_a_tls_sandbox_is_no_request(certificates: Certificates) -> None:
    with tls_sandbox(certificates) as sandbox, Peer(sandbox) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/1.1" not in peer.read_to_end()
        assert not sandbox.requests


def test_a_key_needs_a_certificate(certificates: Certificates) -> None:
    with pytest.raises(ValueError, match="certfile"):
        Sandbox(keyfile=certificates.key_file)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"expired": True}, "certificate has expired"),
        ({"names": ["example.org"], "addresses": []}, "Hostname mismatch"),
        ({"names": ["localhost"], "addresses": []}, None),
    ],
)
def test_certificates_can_be_wrong(
    tmp_path: Path, options: dict[str, Any], reason: str | None
) -> None:
    made = make_certificates(tmp_path, **options)
    with tls_sandbox(made) as sandbox:
        if reason is None:
            Peer(sandbox, client_context(made)).socket.close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                Peer(sandbox, client_context(made))


def test_certificates_of_two_calls_do_not_trust_each_other(
    certificates: Certificates, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path)
    with tls_sandbox(certificates) as sandbox:
        with pytest.raises(ssl.SSLCertVerificationError):
            Peer(sandbox, client_context(other))
        # An untrusting peer does not stop the others.
        Peer(sandbox, client_context(certificates)).socket.close()


def test_certificates_leave_three_files(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, addresses=["127.0.0.1", "::1"])
    assert sorted(tmp_path.iterdir()) == sorted([made.ca_file, made.cert_file, made.key_file])
    assert made.key_file.stat().st_mode & 0o077 == 0


def test_certificates_need_a_subject(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name or an address"):
        make_certificates(tmp_path, names=(), addresses=())
    with pytest.raises(RuntimeError, match="openssl x509 failed"):
        make_certificates(tmp_path, addresses=["no address"])


# Starting and stopping


def test_stop_ends_every_thread_whatever_it_does(certificates: Certificates) -> None:
    before = set(threading.enumerate())
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        secure = stack.enter_context(tls_sandbox(certificates))
        peers = [stack.enter_context(Peer(sandbox)) for _ in range(6)]
        sandbox.misbehave(faults.NeverAnswer())
        sandbox.misbehave(faults.Delay(3600))
        sandbox.misbehave(faults.Reply(framing="endless", body=b" " * 100_000))
        for number in range(3):
            peers[number].send(request_of(sandbox, str(number)))
            sandbox.wait_for_requests(number + 1)
        peers[3].send(head_of(sandbox, 10))
        peers[4].send(b"POST /nontax")
        sandbox.wait_for_requests(4)
        peers[5].send(request_of(sandbox, "5"))
        peers[5].read_reply()
        # One whose handshake never comes, and one that came later and is known to be accepted.
        stack.enter_context(Peer(secure))
        stack.enter_context(Peer(secure, client_context(certificates)))
        assert len(set(threading.enumerate()) - before) == 2 + 6 + 2
        sandbox.stop()
        secure.stop()
        assert set(threading.enumerate()) == before
        for peer in peers:
            with contextlib.suppress(ConnectionResetError):
                peer.read_to_end()
        with pytest.raises(ConnectionRefusedError):
            Peer(sandbox)
        sandbox.stop()
        assert len(sandbox.requests) == 5
    # Forgotten sockets would warn, and warnings are errors.
    gc.collect()


def test_stop_after_an_exception() -> None:
    before = set(threading.enumerate())
    with contextlib.suppress(ZeroDivisionError), Sandbox() as sandbox, Peer(sandbox) as peer:
        peer.send(request_of(sandbox))
        peer.read_reply()
        assert len(set(threading.enumerate()) - before) == 2
        raise ZeroDivisionError
    assert set(threading.enumerate()) == before


def test_stop_does_not_depend_on_forked_children() -> None:
    code = """if True:
        import os, signal, socket
        from nontax.sandbox import Sandbox
        with Sandbox() as sandbox:
            port = int(sandbox.base_url.rsplit(":", 1)[1])
            peer = socket.create_connection(("127.0.0.1", port))
            peer.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            assert peer.recv(65536)
            child = os.fork()
            if not child:
                signal.pause()
        try:
            assert peer.recv(1) == b""
            try:
                socket.create_connection(("127.0.0.1", port))
            except ConnectionRefusedError:
                print("refused")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == "refused\n"


def test_starting(tmp_path: Path, sandbox: Sandbox) -> None:
    before = set(threading.enumerate())
    other = Sandbox(port=address_of(sandbox)[1])
    with pytest.raises(RuntimeError, match="not started"):
        _ = other.base_url
    assert repr(other) == "<Sandbox not started>"
    with pytest.raises(OSError, match="in use"):
        other.start()
    with pytest.raises(FileNotFoundError):
        Sandbox(certfile=tmp_path / "none.pem").start()
    other.stop()
    with pytest.raises(RuntimeError, match="once"):
        sandbox.start()
    assert set(threading.enumerate()) == before
    assert repr(sandbox) == f"<Sandbox {sandbox.base_url}>"


# The command


def environment() -> dict[str, str]:
    # The copy under test, wherever it was imported from.
    return os.environ | {"PYTHONPATH": str(PACKAGE.parent.parent)}


@contextlib.contextmanager
def command(
    *arguments: str,
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str], list[str]]]:
    """The running command, what it says to export, and what it says besides."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "nontax.sandbox", "--port", "0", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            exports = {}
            notes = []
            while not (line := process.stdout.readline()).startswith("# One line per request"):
                if line.startswith("export "):
                    name, value = line.removeprefix("export ").rstrip("\n").split("=", 1)
                    exports[name] = value
                else:
                    assert line.startswith("# ")
                    notes.append(line)
            yield process, exports, notes
        finally:
            process.kill()


def insert_with(exports: dict[str, str]) -> int:
    scheme, address = exports["NONTAX_BASE_URL"].split("://")
    connection: http.client.HTTPConnection
    if scheme == "https":
        context = ssl.create_default_context(cafile=exports["NONTAX_CA_FILE"])
        connection = http.client.HTTPSConnection(address, context=context)
    else:
        connection = http.client.HTTPConnection(address)
    with contextlib.closing(connection):
        connection.request(
            "POST",
            f"/nontax/insertbill?access_token={exports['NONTAX_ACCESS_TOKEN']}",
            encode(make_bill()),
            {"Content-Type": "application/json"},
        )
        errcode = json.loads(connection.getresponse().read())["errcode"]
    assert isinstance(errcode, int)
    return errcode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_runs_until_a_signal(number: signal.Signals) -> None:
    with command() as (process, exports, _):
        assert list(exports) == [
            "NONTAX_BASE_URL",
            "NONTAX_ACCESS_TOKEN",
            "NONTAX_APPID",
            "NONTAX_SECRET",
        ]
        assert exports["NONTAX_BASE_URL"].startswith("http://127.0.0.1:")
        assert insert_with(exports) == 0
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d POST /nontax/insertbill order_id='A1' errcode=0\n", line
        )
        process.send_signal(number)
        rest, errors = process.communicate()
        assert (rest, errors, process.returncode) == ("", "", 0)


def test_the_command_makes_a_throw_away_certificate() -> None:
    with command("--tls", "--orders", "strict") as (process, exports, _):
        assert exports["NONTAX_BASE_URL"].startswith("https://127.0.0.1:")
        ca_file = Path(exports["NONTAX_CA_FILE"])
        assert insert_with(exports) == 72038
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert not ca_file.parent.exists()


def test_the_command_takes_a_certificate(certificates: Certificates) -> None:
    files = ("--cert", str(certificates.cert_file), "--key", str(certificates.key_file))
    with command(*files) as (process, exports, _):
        assert exports["NONTAX_CA_FILE"] == str(certificates.cert_file)
        exports["NONTAX_CA_FILE"] = str(certificates.ca_file)
        assert insert_with(exports) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_the_command_ends_when_nobody_reads_its_log() -> None:
    with command() as (process, exports, _):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert insert_with(exports) == 0
        assert process.stderr.read() == ""
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--key", "x"], 2, "--key needs --cert"),
        (["--tls", "--cert", "x"], 2, "--tls makes"),
        (["--orders", "lax"], 2, "invalid choice"),
        (["--cert", "/nowhere.pem"], 1, "nontax.sandbox: [Errno 2] No such file"),
    ],
)
def test_the_command_refuses(arguments: list[str], status: int, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nontax.sandbox", "--port", "0", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
