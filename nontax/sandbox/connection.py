"""One accepted connection: reads requests, performs their faults, sends the replies."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from . import interfaces, pages, wire
from .faults import Close, Delay, Errcode, NeverAnswer, Reply
from .records import MASK, Request
from .traffic import Traffic
from .world import World

_READ_SIZE = 65536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _PeerLeftError(Exception):
    """The peer, or the sandbox's stop(), has ended the connection."""


class Connection:
    """A connection and the thread that serves it."""

    def __init__(
        self,
        sock: socket.socket,
        number: int,
        *,
        client_ip: str,
        world: World,
        traffic: Traffic,
        stopping: threading.Event,
        log: Callable[[str], object] | None,
    ) -> None:
        self._socket = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._world = world
        self._traffic = traffic
        self._stopping = stopping
        self._log = log
        self._number = number
        self._client_ip = client_ip
        self._buffer = b""
        # Held while the socket is closed or shut down from another thread, so that nobody touches
        # a descriptor that already belongs to somebody else.
        self._lock = threading.Lock()
        # Held from the first byte of an ordinary reply until the connection is idle again.
        self._replying = threading.Lock()
        self._idle = True
        self._gone = False
        self._thread = threading.Thread(
            target=self._run, name=f"nontax-sandbox-{self._number}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join()

    def interrupt(self) -> None:
        """Wake the thread out of whatever it is sending or waiting for, for good."""
        with self._lock:
            self._shut_down()

    def close_if_idle(self) -> bool:
        """Close the connection if no request is on it; a reply under way is sent first."""
        with self._replying, self._lock:
            idle = self._idle and not self._gone
            if idle:
                self._shut_down()
                self._gone = True
            return idle

    def _shut_down(self) -> None:
        # Not SSLSocket.shutdown: that also pulls the TLS object from under the other thread.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                self._shake_hands(self._socket)
            while self._serve_one():
                pass
        except _PeerLeftError:
            pass
        finally:
            self._close()

    def _shake_hands(self, sock: ssl.SSLSocket) -> None:
        try:
            sock.do_handshake()
        except OSError:
            # For example a peer that does not trust the certificate. It knows why; we need not.
            raise _PeerLeftError from None

    def _close(self) -> None:
        with self._lock:
            # Closing alone ends nothing while a forked child holds the descriptor, too.
            self._shut_down()
            self._socket.close()
            self._gone = True

    # Reading

    def _serve_one(self) -> bool:
        """Serve the next request; False when the connection is to be closed."""
        if not self._buffer and not self._first_byte():
            return False
        head: wire.Head | None
        status = 0
        try:
            head = wire.parse_head(self._read_until(b"\r\n\r\n", wire.MAX_HEAD))
            request = self._request(head.method, head.path, head.query, head.headers)
        except wire.BadRequestError as error:
            head = None
            status = error.status
            request = self._request("", "", "", {})
        if head is not None and pages.owns(head.method, head.path):
            return self._serve_page(request, head)
        self._traffic.arrived(request)
        try:
            if head is None:
                return self._answer_bad_request(status)
            if isinstance(request.fault, Close) and request.fault.after == "head":
                return self._reset() if request.fault.reset else self._linger()
            try:
                self._read_body(request, head)
            except wire.BadRequestError as error:
                return self._answer_bad_request(error.status)
            return self._answer(request, keep_alive=head.keep_alive)
        except _PeerLeftError:
            request.errcode = None
            return False
        finally:
            if self._log is not None:
                self._log(self._log_line(request))
            self._traffic.finished(request)

    def _request(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Request:
        return Request(
            self._number,
            method,
            path,
            query,
            headers,
            client_ip=self._client_ip,
            time=self._world.clock.time(),
        )

    def _serve_page(self, request: Request, head: wire.Head) -> bool:
        """Pages are for people: they leave no record, and no fault is meant for them."""
        try:
            self._read_body(request, head)
        except wire.BadRequestError as error:
            return self._answer_bad_request(error.status)
        page = pages.answer(self._world, self._traffic, request)
        framing = f"Content-Length: {len(page.body)}"
        start = wire.reply_head(page.status, page.headers, framing, keep_alive=head.keep_alive)
        with self._replying:
            self._send(start + page.body)
            return self._after_reply(keep_alive=head.keep_alive)

    def _first_byte(self) -> bool:
        """Wait for the next request; False if none comes or it is closed upon unread."""
        pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        if not pending:
            # Underneath TLS, where a look does not consume anything either.
            try:
                start = socket.socket.recv(self._socket, 5, socket.MSG_PEEK)
            except OSError:
                return False
            if not start:
                return False
            if not (self._tls and _is_alert(start)) and self._traffic.take_close_before_reading():
                return self._reset()
        with self._lock:
            self._idle = False
            return not self._gone

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(_READ_SIZE)
        except OSError:
            raise _PeerLeftError from None
        if not data:
            raise _PeerLeftError
        return data

    def _read_until(self, end: bytes, limit: int) -> bytes:
        """Read up to `end`, which is consumed and not part of the result.

        Raises BadRequestError after more than `limit` bytes, a half-arrived `end` included.
        """
        while True:
            data, found, rest = self._buffer.partition(end)
            if len(data) > limit:
                raise wire.BadRequestError("too long")
            if found:
                self._buffer = rest
                return data
            self._buffer += self._receive()

    def _read_body(self, request: Request, head: wire.Head) -> None:
        wire.check_size(head.content_length or 0)
        if head.expects_continue and not self._buffer:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        pieces: list[bytes] = []
        try:
            if head.content_length is not None:
                self._read_exactly(head.content_length, pieces)
            else:
                total = 0
                while size := wire.chunk_size(self._read_until(b"\r\n", 1024)):
                    total += size
                    wire.check_size(total)
                    self._read_exactly(size, pieces)
                    if self._read_until(b"\r\n", 1):
                        raise wire.BadRequestError("chunk end")
                # Trailers.
                while self._read_until(b"\r\n", wire.MAX_HEAD):
                    pass
            request.body_complete = True
        finally:
            request.body = b"".join(pieces)

    def _read_exactly(self, size: int, pieces: list[bytes]) -> None:
        while size:
            data = self._buffer or self._receive()
            pieces.append(data[:size])
            self._buffer = data[size:]
            size -= len(pieces[-1])

    # Answering

    def _answer(self, request: Request, *, keep_alive: bool) -> bool:
        fault = request.fault
        if fault is None:
            return self._answer_truly(request, keep_alive=keep_alive)
        if isinstance(fault, Reply):
            return self._answer_falsely(request, fault, keep_alive=keep_alive)
        if isinstance(fault, Delay):
            errcode, body = interfaces.answer(self._world, request)
            if self._stopping.wait(fault.seconds):
                return False
            return self._reply(request, errcode, body, keep_alive=keep_alive)
        if fault.taken:
            interfaces.answer(self._world, request)
        if isinstance(fault, Errcode):
            body = interfaces.fault_body(self._world, request, fault)
            return self._reply(request, fault.code, body, keep_alive=keep_alive)
        if isinstance(fault, NeverAnswer):
            self._drain()
            return False
        return self._reset() if fault.reset else False

    def _answer_truly(self, request: Request, *, keep_alive: bool) -> bool:
        errcode, body = interfaces.answer(self._world, request)
        return self._reply(request, errcode, body, keep_alive=keep_alive)

    def _reply(self, request: Request, errcode: int, body: bytes, *, keep_alive: bool) -> bool:
        data = wire.json_reply(body, keep_alive=keep_alive)
        # Before sending: whoever has the reply may look at the record.
        request.errcode = errcode
        with self._replying:
            self._send(data)
            return self._after_reply(keep_alive=keep_alive)

    def _after_reply(self, *, keep_alive: bool) -> bool:
        if keep_alive:
            self._idle = not self._buffer
        else:
            self._say_goodbye()
        return keep_alive

    def _answer_falsely(self, request: Request, fault: Reply, *, keep_alive: bool) -> bool:
        body = fault.body
        if fault.taken:
            errcode, true_body = interfaces.answer(self._world, request)
            if body is None:
                body = true_body
                if fault.cut_after is None and fault.framing != "endless":
                    request.errcode = errcode
        assert body is not None  # Reply sees to it.
        keep_alive = keep_alive and fault.framing != "close" and not fault.length_delta
        pieces = _pieces(_frame(fault, body, keep_alive=keep_alive)[: fault.cut_after], fault.piece)
        last = pieces.pop()
        for piece in pieces:
            self._send(piece)
            if self._stopping.wait(fault.gap):
                raise _PeerLeftError
        with self._replying:
            self._send(last)
            if fault.cut_after is not None or fault.length_delta:
                return False
            if fault.framing != "endless":
                return self._after_reply(keep_alive=keep_alive)
        while not self._stopping.wait(fault.gap):
            self._send(wire.chunk(body))
        return False

    def _answer_bad_request(self, status: int) -> bool:
        headers = {"Content-Type": "text/plain"}
        self._send(wire.reply_head(status, headers, "Content-Length: 0", keep_alive=False))
        return self._linger()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            raise _PeerLeftError from None

    # Leaving

    def _say_goodbye(self) -> None:
        """Announce over TLS that the end of the connection is no accident."""
        if isinstance(self._socket, ssl.SSLSocket):
            # Not waiting for the peer to say the same.
            self._socket.settimeout(0)
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()

    def _reset(self) -> bool:
        with self._lock:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._socket.close()
            self._gone = True
        return False

    def _linger(self) -> bool:
        """End our side and read on until the peer has ended its own.

        Closing with unread bytes around would reset the connection, and the peer could lose what
        it has not read yet.
        """
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
        self._drain()
        return False

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while socket.socket.recv(self._socket, _READ_SIZE):
                pass

    # Logging

    def _log_line(self, request: Request) -> str:
        line = time.strftime("%H:%M:%S")
        if not request.method:
            line += " not HTTP"
        elif request.path in interfaces.INTERFACES:
            line += f" {request.method} {request.path}"
        else:
            line += f" {request.method} {self._shown(request, unquote(request.path))}"
        if request.order_id is not None:
            line += f" order_id={self._shown(request, request.order_id)}"
        if request.fault is not None:
            line += f" fault={type(request.fault).__name__}"
        return f"{line} errcode={request.errcode}"

    def _shown(self, request: Request, text: str) -> str:
        """`text` from the peer on one line, without any token that it may contain by mistake."""
        text = self._world.masked(text)
        for token in filter(None, request.access_tokens):
            text = text.replace(token, MASK)
        return ascii(text[:80])


def _is_alert(start: bytes) -> bool:
    """Whether a TLS record is a goodbye and no request. TLS 1.3 only shows the size of either."""
    return start[0] == 0x15 or start[3:5] == b"\x00\x13"


def _frame(fault: Reply, body: bytes, *, keep_alive: bool) -> bytes:
    """A whole reply; of an endless one, the head and the first chunk."""
    framing = ""
    if fault.framing == "length":
        framing = f"Content-Length: {len(body) + fault.length_delta}"
    elif fault.framing in ("chunked", "endless"):
        framing = "Transfer-Encoding: chunked"
        chunks = [wire.chunk(piece) for piece in _pieces(body, fault.piece) if piece]
        if fault.framing == "chunked":
            chunks.append(wire.chunk(b""))
        body = b"".join(chunks)
    return wire.reply_head(fault.status, fault.headers, framing, keep_alive=keep_alive) + body


def _pieces(data: bytes, size: int) -> list[bytes]:
    """`data` cut into pieces of `size` bytes, at least one; 0 leaves it whole."""
    if not size or not data:
        return [data]
    return [data[start : start + size] for start in range(0, len(data), size)]
