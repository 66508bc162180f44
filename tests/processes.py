"""Processes that a test starts and talks with, and a server that does only what a test tells it."""

import contextlib
import inspect
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nontax
from nontax.sandbox.certificates import Certificates

GUARD = 50.0  # Seconds; only so that a broken test ends.
CODE = "682000000001"
OPENID = "oSandboxScripted000000000000"

_PROGRAM = """\
from __future__ import annotations
import sys
sys.path.append({folder!r})
from processes import Talk
{source}
{name}(Talk())
"""


def without_preload() -> dict[str, str]:
    """The environment for compilers and servers: what is preloaded (ASan) is for nontax alone."""
    return {name: text for name, text in os.environ.items() if name != "LD_PRELOAD"}


class Talk:
    """The child's side of a `Child`.

    setup: what the parent gave. "client" in it, if given, holds arguments for nontax.Client.
    """

    def __init__(self) -> None:
        self.setup: dict[str, Any] = json.loads(sys.stdin.readline())

    def __repr__(self) -> str:
        return "<Talk>"

    def client(self, **changes: Any) -> nontax.Client:
        return nontax.Client(**(self.setup["client"] | changes))

    def tell(self, **facts: Any) -> None:
        # In one piece, and past Python's buffers: also forked children and signal handlers tell.
        os.write(1, (json.dumps(facts) + "\n").encode())

    def tell_error(self, error: BaseException) -> None:
        self.tell(**describe(error))

    def wait(self) -> None:
        """Wait until the parent says `go_on()`."""
        if not sys.stdin.readline():
            raise EOFError("the parent has gone")

    def insert(self, client: nontax.Client, bill: Mapping[str, Any]) -> None:
        """Insert the bill and tell what became of it."""
        try:
            inserted = client.insert_bill(bill)
        except BaseException as error:
            self.tell_error(error)
        else:
            self.tell(code=inserted.code)


def describe(error: BaseException) -> dict[str, Any]:
    """What a parent may want to know of an exception, in JSON's types."""
    context = error.__context__
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return {
        "type": type(error).__name__,
        "outcome": getattr(error, "outcome", None),
        "errcode": getattr(error, "errcode", None),
        "text": str(error),
        "notes": getattr(error, "__notes__", []),
        "context": None if context is None else describe(context),
        "traceback": "".join(shown.format()),
    }


class Child:
    """A Python process that runs one function of a test module, and the parent's end of the talk.

    function: gets a `Talk`. It is run from its source: it must import all that it needs itself.
    env: added to the environment. setup: for the child, as JSON; an access token in setup["client"]
    must occur nowhere in what the child prints.
    """

    def __init__(
        self, function: Callable[[Talk], None], env: Mapping[str, str] | None = None, **setup: Any
    ) -> None:
        self._token: str | None = setup.get("client", {}).get("access_token")
        self._told: list[str] = []
        self._ended = False
        program = _PROGRAM.format(
            folder=str(Path(__file__).parent),
            source=textwrap.dedent(inspect.getsource(function)),
            name=function.__name__,
        )
        # Python 3.12 warns of every fork of a process with threads.
        warnings = ("-Werror", "-Wignore:This process:DeprecationWarning")
        self.process = subprocess.Popen(
            [sys.executable, *warnings, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | dict(env or {}),
            # A process group of its own, so that processes which it forks end with it.
            start_new_session=True,
        )
        self._setup = json.dumps(setup)

    def __enter__(self) -> Self:
        # A child that cannot even begin is reported by whatever is expected of it next.
        with contextlib.suppress(BrokenPipeError):
            self._say(self._setup)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next thing that the child tells."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        assert line, f"the child has ended:\n{self.process.stderr.read()}"
        self._told.append(line)
        facts: dict[str, Any] = json.loads(line)
        return facts

    def go_on(self) -> None:
        self._say("go on")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def finish(self, status: int = 0) -> tuple[list[dict[str, Any]], str]:
        """Wait for the child's end: what it has told since `hear()`, and its stderr."""
        rest, stderr = self.process.communicate(timeout=GUARD)
        # Its pipes are closed: it has ended, and so has all that it has forked.
        self._ended = True
        assert self.process.returncode == status, stderr
        assert self._token is None or self._token not in "".join(self._told) + rest + stderr
        return [json.loads(line) for line in rest.splitlines()], stderr


def run(
    function: Callable[[Talk], None], env: Mapping[str, str] | None = None, /, **setup: Any
) -> list[dict[str, Any]]:
    """Run a function in a `Child` to its end: what it has told. It must print nothing else."""
    with Child(function, env, **setup) as child:
        told, stderr = child.finish()
    assert stderr == ""
    return told


class Connection:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def start_tls(self, certificates: Certificates) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert_file, certificates.key_file)
        self._socket = context.wrap_socket(self._socket, server_side=True)

    def read_some(self) -> bytes:
        """Wait for bytes; b"" if the peer has left instead."""
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            return b""
        self._buffer += data
        return data

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            assert self.read_some(), "the peer has left"
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def read_head(self) -> str:
        while b"\r\n\r\n" not in self._buffer:
            assert self.read_some(), "the peer has left"
        return self._take(self._buffer.index(b"\r\n\r\n") + 4).decode("ascii")

    def read_part_of_body(self) -> None:
        """Wait until at least one byte of the body is there."""
        while not self._buffer:
            assert self.read_some(), "the peer has left"

    def read_request(self) -> Any:
        """Read one whole request; its body, parsed."""
        return self._read_request()[1]

    def read_token(self) -> str:
        """Read one whole request; its access token."""
        return self._read_request()[0].partition("access_token=")[2].split()[0]

    def _read_request(self) -> tuple[str, Any]:
        head = self.read_head()
        length = head.lower().partition("content-length:")[2].split()[0]
        return head, json.loads(self._take(int(length)))

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self, *, close: bool = False, **fields: Any) -> None:
        """Send a reply; without fields that of a bill put into a wallet."""
        body = json.dumps(
            fields or {"errcode": 0, "errmsg": "ok", "code": CODE, "openid": OPENID}
        ).encode()
        connection = "Connection: close\r\n" if close else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{connection}\r\n"
        self.send(head.encode() + body)

    def wait_for_end(self) -> None:
        """Wait until the peer has closed the connection; what it still sends is thrown away."""
        while self.read_some():
            self._buffer = b""


class Server:
    """A listener whose every step is the test's: it accepts, reads and answers only when told."""

    def __init__(self, port: int = 0, backlog: int = 64, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(GUARD)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen(backlog)
        self.port: int = self._socket.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.tls_url = f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def accept(self) -> Connection:
        sock, _ = self._socket.accept()
        sock.settimeout(GUARD)
        # What was sent must be at the peer when the test goes on.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Connection(sock)
