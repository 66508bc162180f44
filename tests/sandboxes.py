"""What tests of the sandbox share: a peer that shows every byte, and the sandbox as a command."""

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nontax.sandbox
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import Certificates

PACKAGE = Path(nontax.sandbox.__file__).parent
BILL_FIELDS = {
    "fee": 123,
    "title": "张三",
    "billing_time": 1700000000,
    "billing_no": "11010123",
    "billing_code": "0000000001",
    "s_pdf_media_id": "75195574948725301",
}


def posts(sandbox: Sandbox) -> "Counter[str]":
    """How often each order was sent, as far as any of its body has arrived."""
    return Counter(
        json.loads(request.body)["order_id"]
        for request in sandbox.requests
        if request.path == "/nontax/insertbill" and request.body  # "" if it is still on the way
    )


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


def client_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates.ca_file)
    # Python 3.11.2 (Debian 12) takes a connection that breaks off for one that was ended.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context


def tls_sandbox(certificates: Certificates) -> Sandbox:
    return Sandbox(certfile=certificates.cert_file, keyfile=certificates.key_file)


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
