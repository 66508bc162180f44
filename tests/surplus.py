"""A server that takes every bill, answers it with success, and sends bytes behind that answer."""

import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

from servers import RawServer, Wire, json_reply

# Also on systems without it; then what was to be one segment may be two.
TCP_CORK = getattr(socket, "TCP_CORK", None)


def reply(errcode: int, **fields: str) -> bytes:
    return json_reply(json.dumps({"errcode": errcode, "errmsg": "said", **fields}).encode())


# What follows an answer that is complete.
KINDS: dict[str, bytes] = {
    "success": reply(0, code="of another bill", openid="of another citizen"),
    "72054": reply(72054),
    "72038": reply(72038),
    "40001": reply(40001),
    "line break": b"\r\n",
    "farewell": json_reply(b"", b"Connection: close", status=b"400 Bad Request"),
}

# Where the answer is cut: each piece is a write, and so over TLS a record. The surplus is always
# in one piece with the end.
PLACES: dict[str, Callable[[bytes, bytes, bytes], list[bytes]]] = {
    "one record": lambda head, body, surplus: [head + body + surplus],
    "before the body": lambda head, body, surplus: [head, body + surplus],
    "in the body": lambda head, body, surplus: [head + body[:20], body[20:] + surplus],
    "at the end of the body": lambda head, body, surplus: [head + body, surplus],
}


class SurplusServer:
    """taken: how often it took each order. codes: what it answered.

    pause: whether the client can read a piece before the next one comes. every: which answers have
    a surplus behind them: all, each second one, ... chunked: without a Content-Length; and when a
    further request comes on the connection, the surplus comes once more before its answer.
    """

    def __init__(
        self,
        kind: str,
        place: str,
        *,
        pause: bool = False,
        every: int = 1,
        chunked: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.taken: Counter[str] = Counter()
        self.codes: dict[str, str] = {}
        self._surplus, self._cut = KINDS[kind], PLACES[place]
        self._pause, self._every, self._chunked = pause, every, chunked
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._said = threading.Semaphore(0)
        self._server = RawServer(self._serve, tls)
        self.base_url, self.address = self._server.base_url, self._server.address

    def __enter__(self) -> "SurplusServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def connections(self) -> int:
        """How many there were."""
        return self._server.accepted

    def wait(self) -> None:
        """Wait until the client's system has an answer with its surplus, one for each call.

        What comes after the next request has begun cannot be told from its answer.
        """
        assert self._said.acquire(timeout=20)

    def _take(self, order: str) -> tuple[bytes, bytes]:
        """Write the bill down; its answer, and what follows that."""
        with self._lock:
            number = next(self._numbers)
            self.taken[order] += 1
            self.codes[order] = f"code-{number}"
            surplus = b"" if number % self._every else self._surplus
            return reply(0, code=self.codes[order], openid=f"openid-{number}"), surplus

    def _serve(self, wire: Wire) -> None:
        for number in count():
            _, body = wire.read_request()
            answer, surplus = self._take(json.loads(body)["order_id"])
            head, end, body = answer.partition(b"\r\n\r\n")
            if self._chunked:
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
                head = surplus + head if number else head
            try:
                self._send(wire, self._cut(head + end, body, surplus))
            finally:
                self._said.release()

    def _send(self, wire: Wire, pieces: list[bytes]) -> None:
        if TCP_CORK is not None and not self._pause:
            wire.socket.setsockopt(socket.IPPROTO_TCP, TCP_CORK, 1)
        for number, piece in enumerate(pieces):
            if number and self._pause:
                wire.settle()
                time.sleep(0.005)
            if piece:
                wire.send(piece)
        if TCP_CORK is not None and not self._pause:
            wire.socket.setsockopt(socket.IPPROTO_TCP, TCP_CORK, 0)
        wire.settle()


def cases() -> Iterator[tuple[str, str, bool]]:
    """Kind, place, pause."""
    for kind in KINDS:
        for place in PLACES:
            for pause in (False, True):
                if not (pause and place == "one record"):
                    yield kind, place, pause
