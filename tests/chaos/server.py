"""A program that takes bills over TLS, fails at random, and writes down what it took and did.

It knows of nontax nothing but what WeChat documents. Run with tests/ on PYTHONPATH; it prints
"ready PORT". Its choices follow from the seed: those about a bill from its order's id and the
number of the attempt, those about a connection from its number, those about the head of a request
and the time after a reply from how many came before. Which bill meets which connection is up to the
machine.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import math
import os
import re
import signal
import socket
import ssl
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chaos import errcodes, faults, journal
from chaos.faults import Reply
from chaos.http1 import Http1
from chaos.line import PATIENCE, Gone, Line, linger_for_nothing

_ORDER = re.compile(rb'"order_id"\s*:\s*"([^"]*)"')


class Server:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.share: float = options.faults
        self.late: float = options.late
        self._numbers = 0
        self._attempts: dict[str, int] = {}
        self._quota_left: int = options.quota
        self._lines = 0
        self._life = 1
        self._tokens = [""]
        # All is counted in requests: a slow machine meets no more of it than a fast one.
        self._requests = self._refused_from = self._token_until = 0
        self._changes = 0  # of the token
        self._pause = asyncio.Event()
        self._pause_from = math.inf
        if options.journal.exists():
            self._remember()
        self._journal = journal.Journal(options.journal)
        self._journal.write(e="life")
        self._rng = Random(f"{options.seed}/life/{self._life}")
        self._serving: set[asyncio.Task[None]] = set()
        # What a bill meets is not to depend on how often the server was killed before.
        self._bills = faults.Deck(
            options.seed, self.share, self._wanted(faults.REPLY_FAULTS), rounds=3, every=4
        )
        self._decks = {
            "connection": self._deck("connection", 1, faults.CONNECTION_FAULTS),
            "head": self._deck("head", 0.12, faults.HEAD_FAULTS),
            "idle": self._deck("idle", 0.15, faults.IDLE_FAULTS),
        }
        self._dealt = Counter[str]()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(options.cert, options.key)

    def _remember(self) -> None:
        """Go on where an earlier life of the server was killed."""
        for line in journal.read(self.options.journal):
            if line["e"] == "life":
                self._life += 1
            elif line["e"] == "request":
                self._attempts[line["order"]] = line["attempt"]
                self._quota_left -= line["fault"] == "quota"
            elif line["e"] == "token":
                self._tokens.append(line["token"])

    def _wanted(self, table: Mapping[str, float]) -> dict[str, float]:
        """What is left of a table if only some are wanted."""
        only = set(filter(None, self.options.only.split(",")))
        return {name: weight for name, weight in table.items() if not only or name in only}

    def _deck(self, name: str, share: float, table: Mapping[str, float]) -> faults.Deck:
        seed = f"{self.options.seed}/{self._life}/{name}"
        # What is wanted alone is to come often, wherever it belongs.
        if self.options.only:
            share = 1
        return faults.Deck(seed, self.share * share, self._wanted(table))

    # --- what connections need --------------------------------------------------------------------

    def deal(self, kind: str, line: Line) -> str:
        """The fault of a "head" or of an "idle" connection; "" for none."""
        self._dealt[kind] += 1
        return self._decks[kind].deal(self._dealt[kind] - 1, line.rng)

    def fault(self, name: str, line: Line) -> None:
        self._write_fault(name, line.number, "request")

    def _write_fault(self, name: str, line: int, where: str) -> None:
        self._journal.write(e="fault", fault=name, line=line, where=where)

    def part(self, body: bytes, line: Line, *, errcode: int | None = None) -> int:
        """A request ends before its body is complete. Returns its number in the journal.

        errcode: what it is to be told.
        """
        if not body:
            return 0  # nothing of a bill has come
        found = _ORDER.search(body)
        self._numbers += 1
        self._journal.write(
            e="part",
            number=self._numbers,
            order=found[1].decode() if found else None,
            size=len(body),
            line=line.number,
            errcode=errcode,
        )
        return self._numbers

    def answered(self, number: int, *, out: bool | None, reply: Reply | None = None) -> None:
        """What was to be told of a request has gone `out`, has not, or nobody knows (None).

        Written after it was sent. Without this line the server was killed in between.
        """
        if not number:
            return
        facts: dict[str, Any] = {}
        if reply is not None:
            facts["fault"] = reply.fault if reply.met else ""
            facts["whole"] = reply.fault in faults.FLAWLESS
        self._journal.write(e="answered", number=number, out=out, **facts)

    def bug(self) -> None:
        """Write down an error of this program: no comparison may go on as if nothing was."""
        self._journal.write(e="bug", what=traceback.format_exc())

    def receive(self, target: str, body: bytes, line: Line) -> Reply:
        """Decide about a request that is complete, and write it down before anybody can know."""
        split = urlsplit(target)
        try:
            fields = json.loads(body)
            order = fields["order_id"]
            data = fields.pop("card_ext")["user_card"]["invoice_user_data"]
            content = journal.digest(fields | data)
        except (ValueError, LookupError, TypeError) as error:
            why = f"{type(error).__name__}, line {line.number}"
            self._journal.write(e="garbled", what=f"{why}: {body[:120]!r}")
            return faults.refusal("not-a-bill", 47001)
        if split.path != "/nontax/insertbill":
            self._journal.write(e="garbled", what=f"a request for {split.path}")
        self._count()
        attempt = self._attempts[order] = self._attempts.get(order, 0) + 1
        rng = Random(f"{self.options.seed}/{order}/{attempt}")
        code, openid = f"6{attempt}{order[-8:]}", f"oChaos{order[-8:]}"
        # The first requests of all bills meet each fault a few times.
        fault = self._bills.deal(int(order[-8:]), rng) if attempt == 1 else self._bills.draw(rng)
        reply = faults.choose(rng, fault, code, openid)
        if fault == "quota":
            if self._quota_left <= 0:
                reply = faults.refusal("busy", errcodes.BUSY[0])
            self._quota_left -= 1
        if not self._valid(parse_qs(split.query).get("access_token", [""])[0]):
            reply = faults.refusal("token-refused", rng.choice(errcodes.TOKEN_REFUSED))
        self._numbers += 1
        reply.number = self._numbers
        self._journal.write(
            e="request",
            number=reply.number,
            order=order,
            attempt=attempt,
            line=line.number,
            fault=reply.fault,
            takes=reply.takes,
            errcode=reply.errcode,
            code=code,
            openid=reply.openid,
            content=content,
        )
        return reply

    # --- tokens -----------------------------------------------------------------------------------

    def _valid(self, token: str) -> bool:
        if token == self._tokens[-1]:
            return True
        return token == self._tokens[-2] and self._requests < self._refused_from

    def _new_token(self) -> None:
        """Publish a token; the one before stays good for some requests, or none."""
        token = f"chaos-{self._rng.randrange(10**12):012}-{len(self._tokens)}"
        self._changes += 1
        # The first change of a life comes early and at once: also a short run meets it.
        self._refused_from = self._requests
        self._token_until = self._requests + 40
        if self._changes > 1:
            self._token_until = self._requests + self._rng.randint(50, 1000)
        if self._changes > 2:
            self._refused_from += self._rng.choice((0, 20, 100))
        self._tokens.append(token)
        self._journal.write(e="token", token=token)
        fresh = self.options.token.with_suffix(".new")
        fresh.write_text(token, "ascii")
        fresh.replace(self.options.token)

    # --- connections ------------------------------------------------------------------------------

    def _listen(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.options.port))
        listener.listen(256)
        listener.setblocking(False)
        self.options.port = listener.getsockname()[1]
        return listener

    async def run(self) -> None:
        """Listen, with pauses in which connections are refused, until cancelled."""
        listener = self._listen()
        self._new_token()
        print(f"ready {self.options.port}", flush=True)
        first = self._rng.randrange(2)
        pauses = self.share > 0 and not self.options.only
        try:
            for number in itertools.count():
                if pauses:
                    # The first two come early: also a short run meets both.
                    gap = 90 / self.share * self._rng.uniform(0.5, 1.5) if number > 1 else 40
                    self._pause_from = self._requests + gap
                await self._accept_until_pause(listener)
                listener.close()
                restart = (first + number) % 2 == 0
                self._write_fault("restart" if restart else "refuse", 0, "server")
                if restart:
                    for task in self._serving:
                        task.cancel()
                await asyncio.sleep(self._rng.uniform(0.01, 0.1))
                listener = self._listen()
        finally:
            listener.close()
            for task in self._serving:
                task.cancel()

    def _count(self) -> None:
        self._requests += 1
        if self._requests >= self._token_until:
            self._new_token()
        if self._requests >= self._pause_from:
            self._pause.set()

    async def _accept_until_pause(self, listener: socket.socket) -> None:
        self._pause.clear()
        accepting = asyncio.create_task(self._accept(listener))
        pause = asyncio.create_task(self._pause.wait())
        try:
            await asyncio.wait((accepting, pause), return_when=asyncio.FIRST_COMPLETED)
            if accepting.done():
                accepting.result()
        finally:
            accepting.cancel()
            pause.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(self._connection(sock))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _connection(self, sock: socket.socket) -> None:
        self._lines += 1
        rng = Random(f"{self.options.seed}/line/{self._life}/{self._lines}")
        line: Line | None = None
        try:
            line = await self._open(sock, rng)
            if line is not None:
                await Http1(self, line).serve()
        except Gone:
            pass
        except Exception:
            self.bug()
        finally:
            if line is not None:
                line.drop()

    async def _open(self, sock: socket.socket, rng: Random) -> Line | None:
        """Do the handshake. None: a fault has ended the connection."""
        number = self._lines
        fault = self._decks["connection"].deal(number - 1, rng)
        if fault:
            self._write_fault(fault, number, "connection")
        point, _, how = fault.partition("-")
        if point in ("accept", "hello"):
            with sock:
                await self._refuse(sock, point, how, rng)
            return None
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=PATIENCE,
                ssl_shutdown_timeout=PATIENCE,
            )
        except (OSError, TimeoutError):
            return None  # the client has left
        except asyncio.CancelledError:
            # Its transport closes it: if we did, another connection would get its number before.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        line = Line(number, sock, reader, writer, rng)
        if point == "handshake":
            await line.end(how)
            raise Gone
        return line

    async def _refuse(self, sock: socket.socket, point: str, how: str, rng: Random) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                if point == "hello":
                    await loop.sock_recv(sock, 65536)
                if how == "garbage":
                    await loop.sock_sendall(sock, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                elif how == "reset":
                    linger_for_nothing(sock)
                elif how == "half-close":
                    sock.shutdown(socket.SHUT_WR)
                if how in ("half-close", "stall"):
                    while await loop.sock_recv(sock, 65536):
                        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--journal", type=Path, required=True, help="written to the end of")
    parser.add_argument("--token", type=Path, required=True, help="where the token is published")
    parser.add_argument("--cert", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", type=float, default=0.15, help="share of requests with one")
    parser.add_argument("--only", default="", help="these, and no pauses: names with commas")
    parser.add_argument("--late", type=float, default=1.5, help="seconds after a client's timeout")
    parser.add_argument("--quota", type=int, default=1_000_000, help="how many 45011 at most")
    server = Server(parser.parse_args())
    if "nontax" in sys.modules:
        sys.exit("the server must share nothing with nontax")
    loop = asyncio.new_event_loop()
    # asyncio reports broken connections in both ways; they are this program's trade.
    logging.getLogger("asyncio").disabled = True
    loop.set_exception_handler(lambda *_: None)
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    task = loop.create_task(server.run())
    task.add_done_callback(lambda _: loop.stop())
    loop.run_forever()
    if task.done():
        task.result()
    os._exit(0)


if __name__ == "__main__":
    main()
