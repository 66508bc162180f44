"""Pushes events to the accounts' URLs, as WeChat does, in a thread of its own."""

import contextlib
import http.client
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from .accounts import Account
from .clock import Clock
from .events import Fields, message

_TRIES = 3
_MAX_REPLY = 65536


class Push:
    """One event, or a citizen's message, on its way to an account. Read only.

    Attributes:
        number: int, counts from 1.
        appid: str, the account it is for. event: str, such as "user_authorize_invoice", or "text".
        fields: dict, what the event says.
        url: str, with the signature. body: bytes, as sent; "" and b"" before the first try.
        attempts: tuple of str, how each try ended: "success", or what was wrong.
        finished: bool, whether no further try comes. delivered: bool, whether it arrived.
    """

    __slots__ = (
        "appid",
        "attempts",
        "body",
        "delivered",
        "event",
        "fields",
        "finished",
        "number",
        "url",
    )

    def __init__(self, number: int, appid: str, fields: Fields) -> None:
        self.number = number
        self.appid = appid
        self.event = str(fields.get("Event", fields["MsgType"]))
        self.fields = dict(fields)
        self.url = ""
        self.body = b""
        self.attempts: tuple[str, ...] = ()
        self.finished = False
        self.delivered = False

    def __repr__(self) -> str:
        return f"<Push {self.number} {self.event} to {self.appid}: {', '.join(self.attempts)}>"


class Pusher:
    """A queue of events and the thread that delivers them, one after the other.

    `finished` is called in that thread with each event that is delivered or given up.
    """

    def __init__(self, clock: Clock, finished: Callable[[Push], None]) -> None:
        self.timeout = 5.0
        self._clock = clock
        self._finished = finished
        self._changed = threading.Condition()
        self._pushes: list[Push] = []
        self._queue: queue.SimpleQueue[tuple[Push, Account] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._socket: socket.socket | None = None

    def push(self, account: Account, fields: Fields) -> None:
        """Deliver an event in the background; nothing happens for an account without a URL."""
        if account.push_url is None:
            return
        with self._changed:
            if self._stopped:
                return
            push = Push(len(self._pushes) + 1, account.appid, fields)
            self._pushes.append(push)
            self._queue.put((push, account))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="nontax-sandbox-push", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Cut off what is under way and wait for the thread."""
        with self._changed:
            self._stopped = True
            thread = self._thread
            self._interrupt()
        self._queue.put(None)
        if thread is not None:
            thread.join()

    def pushes(self) -> tuple[Push, ...]:
        with self._changed:
            return tuple(self._pushes)

    def wait(self, count: int, timeout: float) -> tuple[Push, ...]:
        """Wait until `count` pushes are finished. Raises TimeoutError."""

        def enough() -> bool:
            return sum(push.finished for push in self._pushes) >= count

        with self._changed:
            if not self._changed.wait_for(enough, timeout):
                raise TimeoutError(
                    f"fewer than {count} pushes finished within {timeout} s: {self._pushes}"
                )
            return tuple(self._pushes)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            push, account = item
            self._deliver(push, account)
            try:
                self._finished(push)
            finally:
                with self._changed:
                    push.finished = True
                    self._changed.notify_all()

    def _deliver(self, push: Push, account: Account) -> None:
        try:
            push.url, push.body = message(account, push.fields, int(self._clock.time()))
        except ImportError:
            push.attempts = ("no package cryptography to encrypt it with",)
            return
        content_type = "text/xml" if account.push_format == "xml" else "application/json"
        while not push.delivered and len(push.attempts) < _TRIES and not self._stopped:
            outcome = self._try(push, content_type)
            push.attempts += (outcome,)
            push.delivered = outcome == "success"

    def _try(self, push: Push, content_type: str) -> str:
        """One POST, answered within the timeout from its beginning to its end."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            with self._changed:
                self._interrupt()

        timer = threading.Timer(self.timeout, give_up)
        timer.daemon = True
        timer.start()
        try:
            outcome = self._post(push, content_type)
        except TimeoutError:  # a single step took as long as all may take together
            late.set()
        except (OSError, ValueError, http.client.HTTPException) as error:
            outcome = getattr(error, "strerror", None) or str(error) or type(error).__name__
        finally:
            timer.cancel()
            timer.join()
        if late.is_set():
            return f"no answer within {self.timeout:g} s"
        return outcome

    def _post(self, push: Push, content_type: str) -> str:
        parts = urlsplit(push.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        *others, last = [
            (family, address)
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ]
        # "localhost" may be ::1 first, where the server need not listen.
        for family, address in others:
            with contextlib.suppress(ConnectionRefusedError):
                return self._post_to(family, address, push, content_type)
        return self._post_to(*last, push, content_type)

    def _post_to(
        self, family: int, address: tuple[object, ...], push: Push, content_type: str
    ) -> str:
        parts = urlsplit(push.url)
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            if secure:
                context = ssl.create_default_context()
                wrapped = context.wrap_socket(
                    sock, server_hostname=host, do_handshake_on_connect=False
                )
                sock = stack.enter_context(wrapped)
            with self._changed:
                if self._stopped:
                    return "the sandbox stopped"
                self._socket = sock
            stack.callback(self._forget_socket)
            # For when the time was up before there was a socket to interrupt.
            sock.settimeout(self.timeout)
            sock.connect(address)
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            connection = http.client.HTTPConnection(host, parts.port)
            connection.sock = sock
            target = f"{parts.path or '/'}?{parts.query}"
            connection.request("POST", target, push.body, {"Content-Type": content_type})
            with connection.getresponse() as reply:
                body = reply.read(_MAX_REPLY)
                if reply.status != 200:
                    return f"HTTP status {reply.status}"
        if body.strip() not in (b"", b"success"):
            return "neither an empty reply nor success"
        return "success"

    def _forget_socket(self) -> None:
        with self._changed:
            self._socket = None

    def _interrupt(self) -> None:
        if self._socket is not None:
            # Underneath TLS: another thread is using the TLS object.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
