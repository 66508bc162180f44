"""A server that shares no code with nontax: takes bills, answers late, and keeps its own books."""

import asyncio
import json
import mmap
import multiprocessing
import os
import random
import socket
import struct
import tempfile
from typing import Any

# In memory that all processes see: bills received and not answered, bills received.
COUNTS = struct.Struct("<QQ")


class Bookkeeper:
    """The server's process. `received` tells how often each order has arrived."""

    def __init__(self, least: float = 0.005, most: float = 0.03) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (until close())
        os.ftruncate(self._file.fileno(), COUNTS.size)
        self._counts = mmap.mmap(self._file.fileno(), COUNTS.size)
        self._orders = tempfile.NamedTemporaryFile("r", dir="/dev/shm")  # noqa: SIM115
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._file.fileno(), self._orders.name, least, most)
        )
        self._process.start()
        self._port = ours.recv()
        self.base_url = f"http://127.0.0.1:{self._port}"

    def in_flight(self) -> int:
        """Bills that have arrived and are not answered."""
        return int(COUNTS.unpack_from(self._counts)[0])

    def arrived(self) -> int:
        """How many bills have arrived."""
        return int(COUNTS.unpack_from(self._counts)[1])

    def received(self) -> list[str]:
        """The orders that have arrived since the last look, each as often as it has.

        To be called when no client lives: what a dead one has sent may still wait to be read.
        """
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as barrier:
            barrier.sendall(b"GET /when-all-are-gone HTTP/1.1\r\n\r\n")
            assert barrier.recv(100)
        return self._orders.read().split()

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._counts.close()
        self._file.close()
        self._orders.close()


def _serve(pipe: Any, file: int, orders: str, least: float, most: float) -> None:
    asyncio.run(_Server(file, orders, least, most).run(pipe))


class _Server:
    def __init__(self, file: int, orders: str, least: float, most: float) -> None:
        self._counts = mmap.mmap(file, COUNTS.size)
        self._orders = os.open(orders, os.O_WRONLY | os.O_APPEND)
        self._least, self._most = least, most
        self._random = random.Random(7)
        self._known: dict[str, str] = {}
        self._now = self._all = self._open = 0

    async def run(self, pipe: Any) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=500)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    def _count(self, change: int) -> None:
        self._now += change
        self._all += change > 0
        COUNTS.pack_into(self._counts, 0, self._now, self._all)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET"):
                    while self._open > 1:
                        await asyncio.sleep(0.001)
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                    continue
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await self._answer(await reader.readexactly(length), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        order = json.loads(body)["order_id"]
        os.write(self._orders, f"{order}\n".encode())
        self._count(1)
        try:
            await asyncio.sleep(self._random.uniform(self._least, self._most))
            if order in self._known:
                reply = {"errcode": 72056, "errmsg": "order_id repeated"}
            else:
                self._known[order] = f"C{order}"
                reply = {"errcode": 0, "errmsg": "ok", "code": f"C{order}", "openid": "o"}
            text = json.dumps(reply).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                + f"Content-Length: {len(text)}\r\n\r\n".encode()
                + text
            )
            await writer.drain()
        finally:
            self._count(-1)
