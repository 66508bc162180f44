"""Raw-socket servers for what the sandbox cannot do: odd bytes, proxies, silence."""

import contextlib
import fcntl
import os
import re
import selectors
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from nontax.sandbox.certificates import Certificates
from nontax.sandbox.listener import Listener


class Wire:
    """One accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = b""
        self._read = 0

    def more(self) -> None:
        """Wait for further bytes. Raises EOFError at the end."""
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.received += data

    def read_head(self) -> bytes:
        """The next request's head, without the empty line."""
        while (end := self.received.find(b"\r\n\r\n", self._read)) < 0:
            self.more()
        head = self.received[self._read : end]
        self._read = end + 4
        return head

    def read_request(self) -> tuple[bytes, bytes]:
        """The next request: head and body."""
        head = self.read_head()
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        size = int(length[1]) if length else 0
        while len(self.received) < self._read + size:
            self.more()
        body = self.received[self._read : self._read + size]
        self._read += size
        return head, body

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def settle(self) -> None:
        """Wait until the peer's system has all that was sent. Raises OSError if it never will."""
        while any(fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4))):
            # What a reset has come for stays in the queue.
            if error := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error))
            time.sleep(0.001)

    def wait_for_end(self) -> None:
        """Read until the peer, or the server's stop(), ends the connection."""
        while True:
            self.more()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def tunnel(self, address: tuple[str, int]) -> None:
        """Carry bytes to and from another server until either side ends."""
        other = socket.create_connection(address)
        with other, selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ, other)
            selector.register(other, selectors.EVENT_READ, self.socket)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)


class RawServer:
    """Gives each connection to `behave` in a thread of its own and closes it afterwards.

    `behave` may end with EOFError or OSError: the peer has gone. `tls`: the handshake is done
    first.
    """

    def __init__(self, behave: Callable[[Wire], object], tls: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._tls = tls
        self._threads: list[threading.Thread] = []
        self.wires: list[Wire] = []
        self._listener = Listener("127.0.0.1", 0, self._accepted)
        self.address = ("127.0.0.1", self._listener.port)
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Accept no more, end all connections and threads. The wires can still be looked at."""
        self._listener.stop()
        for wire in self.wires:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(wire.socket, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> int:
        """How many connections there were."""
        return len(self.wires)

    def _accepted(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        wire = Wire(sock)
        thread = threading.Thread(target=self._run, args=(wire,), daemon=True)
        self.wires.append(wire)
        self._threads.append(thread)
        thread.start()

    def _run(self, wire: Wire) -> None:
        with wire.socket, contextlib.suppress(OSError, EOFError):
            if isinstance(wire.socket, ssl.SSLSocket):
                wire.socket.do_handshake()
            self._behave(wire)


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """For RawServer's `tls`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert_file, certificates.key_file)
    return context


def json_reply(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole reply."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


INSERTED = b'{"errcode":0,"errmsg":"ok","code":"682000661927","openid":"oA1"}'
