"""A small HTTP/2 client with the face of nontax.Client, but nothing of it inside.

With it the server's HTTP/2 and the comparison are tried apart from nontax.
"""

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error

import nontax

REPEATED = (72036, 72054)
TOKEN = (40001, 40014, 42001)


class RefusedError(Exception):
    """The server says that it has not processed the request."""


class _Connection:
    """One request at a time."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        self.process = os.getpid()
        raw = socket.create_connection((host, port), timeout)
        self._socket = context.wrap_socket(raw, server_hostname=host)
        if self._socket.selected_alpn_protocol() != "h2":
            raise OSError("the server offers no HTTP/2")
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self.sent = 0  # bytes of the body under way
        self._stream = 0
        self._status = ""
        self._text = b""
        self._ended = False

    def close(self) -> None:
        self._socket.close()

    def post(self, host: str, target: str, body: bytes) -> tuple[str, bytes]:
        """The reply's status and body. Raises OSError, H2Error, RefusedError."""
        self.sent, self._status, self._text, self._ended = 0, "", b"", False
        self._stream = self._h2.get_next_available_stream_id()
        fields = {":method": "POST", ":scheme": "https", ":authority": host, ":path": target}
        fields |= {"content-type": "application/json", "content-length": str(len(body))}
        self._h2.send_headers(self._stream, list(fields.items()))
        while not self._ended:
            window = self._h2.local_flow_control_window(self._stream)
            piece = body[self.sent :][: min(window, self._h2.max_outbound_frame_size)]
            if piece:
                last = self.sent + len(piece) == len(body)
                self._h2.send_data(self._stream, piece, end_stream=last)
                self.sent += len(piece)
            self._socket.sendall(self._h2.data_to_send())
            if not piece:
                self._receive()
        self._socket.sendall(self._h2.data_to_send())
        return self._status, self._text

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError("the connection ended")
        for event in self._h2.receive_data(data):
            self._on(event)

    def _on(self, event: Event) -> None:
        if isinstance(event, ResponseReceived) and event.headers:
            self._status = dict(event.headers)[":status"]  # type: ignore[assignment,index]
        elif isinstance(event, DataReceived) and event.data is not None:
            self._text += event.data
            size = event.flow_controlled_length or 0
            self._h2.acknowledge_received_data(size, event.stream_id or 0)
        elif isinstance(event, StreamEnded):
            self._ended = event.stream_id == self._stream
        elif isinstance(event, StreamReset) and event.stream_id == self._stream:
            if event.error_code == ErrorCodes.REFUSED_STREAM:
                raise RefusedError
            raise OSError(f"the stream was reset with {event.error_code}")
        elif isinstance(event, ConnectionTerminated):
            if (event.last_stream_id or 0) < self._stream:
                raise RefusedError
            raise OSError(f"the server has said farewell with {event.error_code}")


class Client:
    """Each thread has a connection of its own, until something is wrong with it."""

    def __init__(
        self, *, token_source: Callable[[str | None], str], url: str, ca: Path, timeout: float
    ) -> None:
        split = urlsplit(url)
        self._host, self._port = split.hostname or "", split.port or 443
        self._timeout = timeout
        self._token = token_source
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.set_alpn_protocols(["h2"])
        self._local = threading.local()

    def insert_bill(self, bill: Mapping[str, object]) -> nontax.InsertedBill:
        """As nontax.Client.insert_bill."""
        body = json.dumps(bill, ensure_ascii=False).encode()
        stale: str | None = None
        for last in (False, False, True):
            try:
                token = self._token(stale)
            except LookupError as error:
                raise nontax.NotSentError(reason="no token") from error
            try:
                return self._once(token, body)
            except nontax.NotSentError:
                if last:
                    raise
                time.sleep(0.1)
            except nontax.WeChatError as error:
                refused = error.errcode in TOKEN and stale is None
                if last or not (refused or error.errcode in REPEATED):
                    raise
                stale = token if refused else None
        raise AssertionError("the last attempt returns or raises")

    def _once(self, token: str, body: bytes) -> nontax.InsertedBill:
        connection: _Connection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None and connection.process != os.getpid():
            connection = None  # the parent's
        try:
            if connection is None:
                connection = _Connection(self._host, self._port, self._context, self._timeout)
            target = f"/nontax/insertbill?access_token={token}"
            status, text = connection.post(self._host, target, body)
        except RefusedError:
            raise nontax.NotSentError(reason="the server has not processed it") from None
        except (OSError, EOFError, H2Error) as error:
            if connection is None or connection.sent == 0:
                raise nontax.NotSentError(reason=repr(error)) from error
            raise nontax.InDoubtError(reason=repr(error)) from error
        self._local.connection = connection
        return _read(status, text)


def _read(status: str, text: bytes) -> nontax.InsertedBill:
    try:
        reply = json.loads(text)
        errcode, code, openid = reply["errcode"], reply.get("code"), reply.get("openid")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise nontax.InDoubtError(reason=f"not a reply: {status} {text[:60]!r}") from None
    if status != "200" or type(errcode) is not int:
        raise nontax.InDoubtError(reason=f"not WeChat's reply: {status} {text[:60]!r}")
    if errcode:
        raise nontax.WeChatError(errcode=errcode)
    if not (isinstance(code, str) and isinstance(openid, str) and code and openid):
        raise nontax.InDoubtError(reason="no code")
    return nontax.InsertedBill(code=code, openid=openid)
