"""One accepted connection of the server, and the ways in which it can end."""

import asyncio
import contextlib
import socket
import struct
from random import Random

# How long a client is waited for that should have left: more than its own time.
PATIENCE = 4.0


class Gone(Exception):  # noqa: N818  (no error: clients leave)
    """The client has left, or the connection has ended."""


class Line:
    """number: counted from 1 in the server's life. rng: decides what does not depend on a bill."""

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rng: Random,
    ) -> None:
        self.number = number
        self.rng = rng
        self.reader = reader
        self._socket = sock
        self._writer = writer

    async def read(self, size: int) -> bytes:
        """Read up to `size` bytes. Raises Gone at the end."""
        try:
            data = await self.reader.read(size)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        return data

    @property
    def closing(self) -> bool:
        return self._writer.is_closing()

    async def write(self, data: bytes) -> None:
        """Write, and wait until it is out. Raises Gone; then nothing is written if `closing`."""
        if self.closing:
            raise Gone
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Gone from error

    async def end(self, how: str) -> None:
        """End the connection: "close" as TLS wants it, "drop" without its last word, "reset",
        "half-close", or "stall": nothing, until the client leaves.
        """
        if how == "close":
            self._writer.close()
            # The last word must be out before the connection is forgotten.
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._writer.wait_closed(), PATIENCE)
        elif how == "half-close":
            self.shut()
        elif how == "reset":
            self.reset()
        if how in ("half-close", "stall"):
            with contextlib.suppress(Gone, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    while True:
                        await self.read(65536)
        self.drop()

    def shut(self) -> None:
        """Send the end of the stream, and go on receiving."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        linger_for_nothing(self._socket)
        self.drop()

    def drop(self) -> None:
        # In Python 3.11.2 (Debian 12) a TLS transport that has gone already cannot be aborted.
        with contextlib.suppress(AttributeError):
            self._writer.transport.abort()


def linger_for_nothing(sock: socket.socket) -> None:
    """Make closing the socket a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
