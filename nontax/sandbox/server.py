"""The sandbox as its users see it: starting, stopping, watching and upsetting it."""

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from . import interfaces, pages
from .accounts import Account, Role
from .clock import Clock
from .connection import Connection
from .faults import Fault
from .listener import Listener
from .orders import Order
from .pushes import Push, Pusher
from .records import Bill, Request
from .stock import Card, Pdf
from .traffic import Traffic
from .world import World

if TYPE_CHECKING:
    from nontax import Client

# Where to reach what listens on all addresses.
LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class _Writable(Protocol):
    def write(self, text: str, /) -> object: ...


class Sandbox:
    """A local imitation of WeChat's server, for trying and testing.

    It answers WeChat's interfaces for fiscal e-bills as WeChat's documentation has them, remembers
    every request and every bill, and injects faults on demand. At `/sandbox/` it shows people what
    is going on. Use it in a `with` statement, or call `start()` and `stop()`. Every method may be
    called from any thread, but not from a forked child.

    Args:
        host: address to listen on.
        port: port to listen on; 0 for any free one.
        certfile, keyfile: PEM files; with them the sandbox speaks TLS 1.2 or newer, and only that.
            See `nontax.sandbox.certificates` for throw-away ones.
        orders: what an order counts as that nothing was said about: "authorised", or with "strict"
            never authorised (72038), as with WeChat. With "authorised" insertbill takes any
            card_id, appid and s_pdf_media_id; with "strict" they must belong to an order that came
            from getbillauthurl, and to each other.
        one_account: whether one account is both finance bureau and collecting unit (自建平台).
        log: one line per request is given to it, a callable, or written to it, a text file. No line
            contains an access token, an AppSecret or a ticket.

    Attributes:
        bureau, unit: Account, a finance bureau's and a collecting unit's; the same if there is one.
        clock: Clock, the time that tokens, tickets, links, PDFs and quotas go by.

    Raises:
        ValueError: for an unknown `orders`, or a keyfile without a certfile.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        certfile: str | PathLike[str] | None = None,
        keyfile: str | PathLike[str] | None = None,
        orders: Literal["authorised", "strict"] = "authorised",
        log: Callable[[str], object] | _Writable | None = None,
        *,
        one_account: bool = False,
    ) -> None:
        if orders not in ("authorised", "strict"):
            raise ValueError('orders must be "authorised" or "strict"')
        if keyfile is not None and certfile is None:
            raise ValueError("a keyfile needs a certfile")
        self._host = host
        self._port = port
        self._certfile = certfile
        self._keyfile = keyfile
        self._log = _line_writer(log)
        self.clock = Clock()
        self._pusher = Pusher(self.clock, self._pushed)
        self._world = World(
            all_authorised=orders == "authorised",
            clock=self.clock,
            pusher=self._pusher,
            paths=interfaces.INTERFACES,
        )
        if one_account:
            self.bureau = self.unit = self.add_account("bureau and unit", roles=("bureau", "unit"))
        else:
            self.bureau = self.add_account("bureau", roles=("bureau",))
            self.unit = self.add_account("unit", roles=("unit",))
        self._traffic = Traffic()
        self._stopping = threading.Event()
        self._tls: ssl.SSLContext | None = None
        self._listener: Listener | None = None
        self._connections: list[Connection] = []
        self._connections_lock = threading.Lock()

    def answer_repeats_with(self, errcode: int) -> None:
        """Set what insertbill answers for an order whose bill is in a wallet already.

        WeChat's own answer is not documented. errcode: 72056 as long as nothing else was set;
        72018, 72042, 72035 and so on; 0 answers as for the first one, with its code.
        """
        self._world.repeat_answer = errcode

    # Starting and stopping

    def start(self) -> Self:
        """Listen, and serve in threads of its own.

        Raises:
            OSError: the address cannot be listened on, or a PEM file cannot be used.
            RuntimeError: it was started before.
        """
        if self._listener is not None:
            raise RuntimeError("a sandbox can be started only once")
        if self._certfile is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            self._tls.set_alpn_protocols(["http/1.1"])
            self._load_certificate(self._tls, self._certfile)
        self._listener = Listener(self._host, self._port, self._accepted)
        self._world.base_url = self.base_url
        return self

    def _load_certificate(self, tls: ssl.SSLContext, certfile: str | PathLike[str]) -> None:
        # What ssl itself says of them names no file.
        files = [certfile] if self._keyfile is None else [certfile, self._keyfile]
        for file in files:
            with open(file, "rb"):
                pass
        try:
            tls.load_cert_chain(certfile, self._keyfile)
        except ssl.SSLError as error:
            names = " and ".join(os.fspath(file) for file in files)
            raise OSError(
                f"no certificate with its key can be read from {names}: {error}"
            ) from None

    def stop(self) -> None:
        """Close the listener and all connections, and wait for all threads.

        Replies and pushes under way are cut off. Records and bills can still be read. Harmless when
        it is not running.
        """
        self._stopping.set()
        if self._listener is not None:
            self._listener.stop()
        with self._connections_lock:
            connections = self._connections
            self._connections = []
        for connection in connections:
            connection.interrupt()
        for connection in connections:
            connection.join()
        # Last: until now a connection could have had something to push.
        self._pusher.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Sandbox {self.base_url if self._listener is not None else 'not started'}>"

    def _accepted(self, sock: socket.socket) -> None:
        number = self._traffic.connected()
        try:
            client_ip = sock.getpeername()[0]
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                # The handshake belongs into the connection's thread.
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            # The peer has gone already.
            sock.close()
            return
        connection = Connection(
            sock,
            number,
            client_ip=client_ip,
            world=self._world,
            traffic=self._traffic,
            stopping=self._stopping,
            log=self._log,
        )
        # Listed before it can serve: whoever has seen a reply may close its connection.
        with self._connections_lock:
            self._connections = [other for other in self._connections if other.is_alive()]
            self._connections.append(connection)
            connection.start()

    # Where it is and what it takes

    @property
    def base_url(self) -> str:
        """ "http://HOST:PORT", or https with a certificate. RuntimeError before the start.

        If it listens on all addresses of this machine, the loopback's: a client takes plain http
        to that alone.
        """
        if self._listener is None:
            raise RuntimeError("the sandbox was not started")
        scheme = "http" if self._certfile is None else "https"
        host = LOOPBACKS.get(self._listener.address, self._host)
        host = f"[{host}]" if ":" in host else host
        return f"{scheme}://{host}:{self._listener.port}"

    @property
    def pages_url(self) -> str:
        """The page for people: wallets, orders, requests. RuntimeError before the start."""
        return self.base_url + pages.INDEX_PATH

    @property
    def access_token(self) -> str:
        """The bureau's current access token; there are more things to do with it at `bureau`."""
        return self.bureau.access_token

    def client(self, account: Account | None = None, **settings: Any) -> "Client":
        """A client that is ready for use; starts the sandbox, if that was not done.

        Args:
            account: whose client; None for the bureau's.
            settings: further ones of `nontax.Client`; with TLS, `ca_file` is by default the
                sandbox's certfile.

        Raises:
            ImportError, ValueError, TypeError: as `nontax.Client` does.
        """
        # Not at the top: the sandbox itself shares nothing with the client.
        from nontax import Client

        if self._listener is None:
            self.start()
        account = self.bureau if account is None else account
        credentials = {"access_token", "token_source", "appid", "secret"}
        if credentials.isdisjoint(settings):
            settings |= {"appid": account.appid, "secret": account.secret}
        settings.setdefault("base_url", self.base_url)
        if self._certfile is not None:
            settings.setdefault("ca_file", self._certfile)
        return Client(**settings)

    def renew_access_token(self) -> None:
        """Make a new current token; the one before answers 40001 from now on."""
        self.bureau.renew_access_token()

    def expire_access_token(self) -> None:
        """The current token answers 42001 from now on, until it is renewed."""
        self.bureau.expire_access_token()

    def add_account(
        self,
        name: str,
        *,
        roles: Iterable[Role],
        appid: str | None = None,
        secret: str | None = None,
    ) -> Account:
        """Make another account.

        Args:
            name: for the pages.
            roles: "bureau", "unit" or both; they decide which interfaces it may call.
            appid, secret: None for new ones.

        Raises:
            ValueError: an unknown role, or an AppID that is taken.
        """
        roles = frozenset(roles)
        if not roles <= {"bureau", "unit"}:
            raise ValueError('roles must be "bureau" and "unit"')
        account = interfaces.make_account(name, roles, self.clock, appid, secret)
        self._world.accounts.add(account)
        return account

    @property
    def accounts(self) -> Mapping[str, Account]:
        """All accounts by AppID. A copy."""
        return MappingProxyType(self._world.accounts.all())

    @property
    def push_timeout(self) -> float:
        """Seconds an account has to answer a push; 5 as with WeChat. May be set."""
        return self._pusher.timeout

    @push_timeout.setter
    def push_timeout(self, seconds: float) -> None:
        self._pusher.timeout = seconds

    @property
    def card_ready_after(self) -> float:
        """Seconds after createbillcard in which its card answers 40078 with `orders="strict"`.

        0 unless set: WeChat says that there is such a time, and not how long it is.
        """
        return self._world.card_ready_after

    @card_ready_after.setter
    def card_ready_after(self, seconds: float) -> None:
        self._world.card_ready_after = seconds

    def authorise(self, order_id: str) -> None:
        """The user has authorised the order. ValueError if it was rejected, which is final.

        For an order from getbillauthurl this is the same as pressing the button on its page: the
        unit is pushed the event. About any other order nothing is known but that it is authorised;
        with `orders="strict"`, too, its bill is taken with any card, unit and PDF.
        """
        self._world.authorise(order_id)

    def fail_authorisation(self, order_id: str) -> None:
        """The user's authorisation has failed; the unit is pushed the event with `FailOrderId`.

        ValueError unless the order is from getbillauthurl and not authorised or rejected yet.
        """
        self._world.fail_authorisation(order_id)

    def withdraw(self, order_id: str) -> None:
        """The order was never authorised (72038). ValueError if it was rejected."""
        self._world.withdraw(order_id)

    def reject(self, order_id: str) -> None:
        """The collecting unit has rejected the order, for good (72035)."""
        self._world.reject(order_id)

    def reimburse(self, code: str, status: str) -> None:
        """A reimbursing organisation changes the status of a bill; its bureau is pushed the event.

        Args:
            code: the card code.
            status: "INVOICE_REIMBURSE_INIT", "INVOICE_REIMBURSE_LOCK" or
                "INVOICE_REIMBURSE_CLOSURE".

        Raises:
            ValueError: another status, no such bill, or one that was written off or red-flushed.
        """
        self._world.reimburse(code, status)

    def chat(self, text: str, *, account: Account | None = None, openid: str = "o-citizen") -> None:
        """A citizen writes to an account, which is pushed the message at its `push_url`.

        Args:
            text: any text, with control characters, too: WeChat passes them on as they are.
            account: None for the collecting unit.
            openid: the citizen's.
        """
        self._world.chat(self.unit if account is None else account, text, openid)

    # Watching it

    @property
    def requests(self) -> tuple[Request, ...]:
        """The requests that have arrived so far, in order. A copy of the list."""
        return self._traffic.requests()

    @property
    def bills(self) -> Mapping[str, Bill]:
        """The bills in wallets by order_id, in the order they were taken. A copy."""
        return MappingProxyType(self._world.bills())

    @property
    def orders(self) -> Mapping[str, Order]:
        """The orders that anything was said about, by order_id. A copy."""
        return MappingProxyType(self._world.orders())

    @property
    def cards(self) -> Mapping[str, Card]:
        """The cards made by createbillcard, by card_id. A copy."""
        return MappingProxyType(self._world.cards())

    @property
    def pdfs(self) -> Mapping[str, Pdf]:
        """The files from setpdf that are still there, by s_media_id. A copy."""
        return MappingProxyType(self._world.pdfs())

    @property
    def pushes(self) -> tuple[Push, ...]:
        """The events for accounts with a `push_url`, in order. A copy of the list."""
        return self._pusher.pushes()

    def wait_for_pushes(self, count: int, timeout: float = 10.0) -> tuple[Push, ...]:
        """Wait until `count` pushes have been delivered or given up, and return all there are.

        Raises:
            TimeoutError: they were not within `timeout` seconds.
        """
        return self._pusher.wait(count, timeout)

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted so far."""
        return self._traffic.connections()

    def wait_for_requests(
        self, count: int, timeout: float = 10.0, *, finished: bool = False
    ) -> tuple[Request, ...]:
        """Wait until `count` requests have arrived since the start, and return all there are.

        Args:
            count: how many.
            timeout: seconds to wait at most.
            finished: whether the sandbox must also be done with the first `count` of them: the
                reply is sent or the connection ended, the log line written.

        Raises:
            TimeoutError: they did not come in time.
        """
        return self._traffic.wait(count, timeout, finished=finished)

    # Upsetting it

    def inject(
        self, fault: Fault, times: int = 1, skip: int = 0, *, path: str | None = None
    ) -> None:
        """Put a fault into the queue: see `nontax.sandbox.faults`.

        Requests take faults in order of arrival. The first in the queue leaves out `skip` requests,
        then applies to `times` requests, then the next in the queue has its turn.

        Args:
            path: the only interface that it is meant for, such as "/nontax/insertbill"; requests
                for others are not counted. None: all, the fetch of an access token, too.

        Raises:
            ValueError: times is below 1 or skip below 0, or a path with `Close("nothing")`.
        """
        self._traffic.inject(fault, times, skip, path)

    def behave(self) -> None:
        """Forget all faults that are still in the queue."""
        self._traffic.behave()

    @property
    def faults_left(self) -> int:
        """How many requests will still meet a fault."""
        return self._traffic.faults_left()

    def close_idle_connections(self) -> int:
        """Close the connections on which no request is being served, and say how many.

        A reply that is just being sent is finished first, so that after a client has its reply,
        the connection counts as idle. The peer sees an orderly end, over TLS without close_notify.
        """
        with self._connections_lock:
            connections = list(self._connections)
        return sum(connection.close_if_idle() for connection in connections)

    def _pushed(self, push: Push) -> None:
        if self._log is not None:
            tries = self._world.masked(", ".join(push.attempts))
            self._log(f"{time.strftime('%H:%M:%S')} push {push.event} {tries or 'not tried'}")


def _line_writer(
    log: Callable[[str], object] | _Writable | None,
) -> Callable[[str], object] | None:
    """`log` as a callable; lines of several connections do not mix."""
    if log is None:
        return None
    lock = threading.Lock()

    def write(line: str) -> None:
        with lock:
            if callable(log):
                log(line)
            else:
                log.write(line + "\n")

    return write
