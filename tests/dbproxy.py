"""A proxy before PostgreSQL or MariaDB that knows where each statement and its answer end.

It does one thing to one statement, the n-th that passes it, and then lets all others pass.
"""

import contextlib
import re
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

# before: the statement does not reach the server. torn: half of it does. after: it is carried out,
# and its answer does not reach the client. between: the answer does, and then the connection ends.
How = Literal["before", "torn", "after", "between"]
HOWS: tuple[How, ...] = ("before", "torn", "after", "between")

_VALUES = re.compile(r"'(?:[^'\\]|''|\\.)*'|\b\d+(?:\.\d+)?\b|\bNULL\b")
_LISTS = re.compile(r"\(\?(?:, \?)*\)(?:, \(\?(?:, \?)*\))*")


class _EndError(Exception):
    """One side has closed the connection."""


class _Stream:
    """The bytes of one side."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                more = self._connection.recv(count - len(data))
            except OSError:
                more = b""
            if not more:
                raise _EndError
            data += more
        return bytes(data)

    def send(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError:
            raise _EndError from None


class _Postgres:
    """Messages have a type and a length; whatever is asked ends with ReadyForQuery."""

    def greet(self, ours: _Stream, theirs: _Stream) -> None:
        length = ours.take(4)
        theirs.send(length + ours.take(struct.unpack("!I", length)[0] - 4))
        ours.send(self.answer(theirs))

    @staticmethod
    def _message(stream: _Stream) -> bytes:
        head = stream.take(5)
        return head + stream.take(struct.unpack("!I", head[1:])[0] - 4)

    def ask(self, ours: _Stream) -> tuple[bytes, str]:
        """All up to the message that is answered, and its SQL."""
        data, text = b"", ""
        while True:
            message = self._message(ours)
            data += message
            if message[:1] == b"Q":
                return data, message[5:-1].decode()
            if message[:1] == b"P" and not text:
                text = message[5:].split(b"\0")[1].decode()
            if message[:1] in (b"S", b"X"):
                return data, text

    def answer(self, theirs: _Stream) -> bytes:
        data = b""
        while True:
            message = self._message(theirs)
            data += message
            if message[:1] == b"Z":
                return data


class _MySQL:
    """Packets have a length and a number. A table's rows end with the second packet "EOF"."""

    @staticmethod
    def _packet(stream: _Stream) -> bytes:
        head = stream.take(4)
        return head + stream.take(int.from_bytes(head[:3], "little"))

    def greet(self, ours: _Stream, theirs: _Stream) -> None:
        ours.send(self._packet(theirs))
        theirs.send(self._packet(ours))
        while True:
            packet = self._packet(theirs)
            ours.send(packet)
            if packet[4] != 0xFE:  # else it wants another way of logging in
                return
            theirs.send(self._packet(ours))

    def ask(self, ours: _Stream) -> tuple[bytes, str]:
        packet = self._packet(ours)
        return packet, packet[5:].decode() if packet[4] == 3 else ""

    def answer(self, theirs: _Stream) -> bytes:
        data = packet = self._packet(theirs)
        ends = 0 if packet[4] not in (0, 0xFF) else 2
        while ends < 2:
            packet = self._packet(theirs)
            data += packet
            if packet[4] == 0xFF:
                break
            ends += packet[4] == 0xFE and len(packet) < 13
        return data


class Proxy:
    """Lies before a server's socket; see the head of this file.

    database: Django's settings of the server. Its own `database` leads through it.
    """

    def __init__(self, database: "dict[str, Any]") -> None:
        self._at, self._only = 0, ""
        self._how: How | Callable[[], None] = "before"
        self._folder = Path(tempfile.mkdtemp(prefix="nontax-proxy-", dir="/tmp"))
        self._protocol: _Postgres | _MySQL
        if database["ENGINE"].endswith("mysql"):
            self._protocol, path = _MySQL(), self._folder / "socket"
            self._target = database["OPTIONS"]["unix_socket"]
            options = database["OPTIONS"] | {"unix_socket": str(path)}
            self.database = database | {"OPTIONS": options}
        else:
            self._protocol, path = _Postgres(), self._folder / ".s.PGSQL.5432"
            self._target = f"{database['HOST']}/.s.PGSQL.5432"
            self.database = database | {"HOST": str(self._folder)}
        # Of all statements that have passed, without their values.
        self.seen: list[str] = []
        # The one to which it was done.
        self.hit = ""
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def arm(self, at: int, how: "How | Callable[[], None]", only: str = "") -> None:
        """Count from 1 on anew.

        how: what is done to statement number `at`, or a function that is called when it has been
        carried out and its answer is not passed on yet. only: count those that begin so.
        """
        with self._lock:
            self._at, self._how, self._only = at, how, only
            self.seen, self.hit = [], ""

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for each in (self._listener, *self._open):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        for thread in self._threads:
            thread.join()
        self._listener.close()
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.socket(socket.AF_UNIX)
            try:
                theirs.connect(self._target)
            except OSError:
                ours.close()
                theirs.close()
                continue
            with self._lock:
                self._open += [ours, theirs]
            thread = threading.Thread(target=self._pass_on, args=(ours, theirs))
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, ours: socket.socket, theirs: socket.socket) -> None:
        try:
            self._talk(_Stream(ours), _Stream(theirs))
        except _EndError:
            pass
        finally:
            with self._lock:
                for each in (ours, theirs):
                    self._open.remove(each)
                    each.close()

    def _talk(self, ours: _Stream, theirs: _Stream) -> None:
        self._protocol.greet(ours, theirs)
        while True:
            data, text = self._protocol.ask(ours)
            how = self._what(text)
            if how == "before":
                return
            theirs.send(data[: len(data) // 2] if how == "torn" else data)
            if how == "torn":
                return
            answer = self._protocol.answer(theirs)
            if how == "after":
                return
            if callable(how):
                how()
            ours.send(answer)
            if how == "between":
                return

    def _what(self, text: str) -> "How | Callable[[], None] | None":
        if not text:
            return None
        shape = _LISTS.sub("(…)", _VALUES.sub("?", text))
        with self._lock:
            if text.startswith(self._only):
                self.seen.append(shape)
                if len(self.seen) == self._at:
                    self.hit = shape
                    return self._how
        return None
