"""HTTP/1.1 for the server, with every reply on it."""

import asyncio
from random import Random
from typing import Protocol

from chaos import faults
from chaos.errcodes import BUSY, TOKEN_REFUSED
from chaos.faults import Reply
from chaos.line import Gone, Line

UNASKED = (
    b"\r\n",
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"\x00\x01garbage\r\n\r\n",
)


class World(Protocol):
    """What a connection needs of the server."""

    late: float

    def deal(self, kind: str, line: Line) -> str: ...

    def fault(self, name: str, line: Line) -> None: ...

    def part(self, body: bytes, line: Line, *, errcode: int | None = None) -> int: ...

    def receive(self, target: str, body: bytes, line: Line) -> Reply: ...

    def answered(self, number: int, *, out: bool | None, reply: Reply | None = None) -> None: ...

    def bug(self) -> None: ...


def message(reply: Reply) -> bytes:
    """The reply without a flaw of its own."""
    extra = (
        "Location: /nontax/insertbill?access_token=chaos\r\n" if reply.status // 100 == 3 else ""
    )
    return (
        f"HTTP/1.1 {reply.status} Said\r\nContent-Type: application/json; encoding=utf-8\r\n{extra}"
        f"Content-Length: {len(reply.text)}\r\n\r\n"
    ).encode() + reply.text


class Http1:
    def __init__(self, world: World, line: Line) -> None:
        self.world = world
        self.line = line

    async def serve(self) -> None:
        """Serve requests until the connection ends. Raises Gone."""
        mute = False
        idle = ""
        while True:
            if idle:
                mute = await self._idle(idle) or mute
            head = await self._head()
            target, length = head.split(b" ", 2)[1].decode("ascii"), _length(head)
            fault = self.world.deal("head", self.line)
            if fault:
                await self._spoil(fault, length)
            body = await self._body(length)
            reply = self.world.receive(target, body, self.line)
            try:
                if not mute:
                    await self._reply(reply)
            finally:
                self.world.answered(reply.number, out=reply.out, reply=reply)
            idle = self.world.deal("idle", self.line)

    async def _head(self) -> bytes:
        try:
            return await self.line.reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Gone from error

    async def _body(self, size: int) -> bytes:
        """Read the first `size` bytes; what a client leaves behind is written down."""
        body = b""
        try:
            while len(body) < size:
                body += await self.line.read(size - len(body))
        except (Gone, asyncio.CancelledError):  # the latter is a restart's
            self.world.part(body, self.line)
            raise
        return body

    async def _idle(self, fault: str) -> bool:
        """Wait a little and do what should not happen. Returns whether no reply can be sent now."""
        await asyncio.sleep(self.line.rng.choice((0, 0, 0.002, 0.02)))
        self.world.fault(fault, self.line)
        if fault == "idle-bytes":
            await self.line.write(self.line.rng.choice(UNASKED))
            return False
        if fault == "idle-half-close-takes":
            self.line.shut()
            return True
        await self.line.end(fault.removeprefix("idle-"))
        raise Gone

    async def _spoil(self, fault: str, length: int) -> None:
        size = int(self.line.rng.random() * length) if fault.startswith("body-") else 0
        body = await self._body(size)
        if fault == "early-refusal":
            # Said before the body is read: it is refused all the same.
            reply = faults.refusal(fault, self.line.rng.choice((*BUSY, 47001)))
        elif fault == "early-status":
            reply = Reply(
                fault, False, None, b"<html>", status=self.line.rng.choice(faults.STATUSES)
            )
        else:
            self.world.part(body, self.line)
            self.world.fault(fault, self.line)
            await self.line.end(fault.partition("-")[2])
            raise Gone
        # The order's id is in the first bytes, if they are there; none is read beyond them.
        body = await self._body(min(length, 200))
        self.world.fault(fault, self.line)
        reply.number = self.world.part(body, self.line, errcode=reply.errcode)
        try:
            data = message(reply).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            await self._say(data, reply)
        finally:
            self.world.answered(reply.number, out=reply.out)
        await self.line.end(self.line.rng.choice(("close", "drop", "reset", "half-close")))
        raise Gone

    async def _say(self, data: bytes, reply: Reply) -> None:
        """Write the end of the reply's text."""
        if self.line.closing:
            raise Gone
        reply.out = None
        await self.line.write(data)
        reply.out = reply.met = True

    async def _end(self, how: str, reply: Reply) -> None:
        """End the connection as a part of the reply. Raises Gone."""
        reply.met = reply.met or not self.line.closing
        await self.line.end(how)
        raise Gone

    async def _reply(self, reply: Reply) -> None:
        line = self.line
        data = message(reply)
        match reply.fault:
            case "close" | "drop" | "reset" | "half-close":
                await self._end(reply.fault, reply)
            case "silence":
                await self._end("stall", reply)
            case "late":
                await asyncio.sleep(self.world.late * 0.6)
                reply.met = True  # now the client gives up, and may leave
                await asyncio.sleep(self.world.late * 0.4)
            case "drip" | "drip-late":
                await self._drip(
                    data, self.world.late if reply.fault == "drip-late" else 0.05, reply
                )
                return
            case "cut":
                await line.write(data[: int(reply.place * len(data))])
                await self._end(reply.ending, reply)
            case "length-too-long":
                data = _with_length(reply, len(reply.text) + 1 + int(reply.place * 50))
                await self._say(data, reply)
                await self._end(reply.ending, reply)
            case "length-too-short":
                data = _with_length(reply, int(reply.place * len(reply.text)))
            case "chunked":
                data = _chunked(reply.text, reply.place)
            case "chunked-wrong":
                data = _chunked(reply.text, reply.place)
                await line.write(data[: data.index(b"\r\n\r\n") + 5] + b"xyz\r\n" + data[-30:-5])
                await self._end(reply.ending, reply)
            case "until-close" | "until-drop":
                await self._say(b"HTTP/1.1 200 OK\r\n\r\n" + reply.text, reply)
                await self._end(reply.fault.removeprefix("until-"), reply)
            case "farewell":
                await self._say(data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), reply)
                await self._end("close", reply)
            case "twice":
                data += data
            case "surplus-success" | "surplus-refusal" | "surplus-line-break" | "surplus-farewell":
                await self._say_too_much(reply)
                return
            case "garbage":
                data = line.rng.randbytes(60)
            case "status-line-wrong":
                data = line.rng.choice((b"HTTP/7.3", b"HTTP/1.1", b"ICY")) + data[8:]
                data = data.replace(b" 200 ", line.rng.choice((b" 2000 ", b" abc ", b" ")), 1)
            case "informational":
                first = line.rng.choice((b"100 Continue", b"102 Processing", b"103 Early Hints"))
                before = b"HTTP/1.1 " + first + b"\r\nX-Chaos: 1\r\n\r\n"
                data = before * line.rng.choice((1, 2, 20)) + data
        await self._say(data, reply)
        if reply.fault in ("garbage", "status-line-wrong"):
            await self._end(reply.ending, reply)

    async def _say_too_much(self, reply: Reply) -> None:
        """Say the reply, and in the record that ends it also a part of the surplus, or all of it.

        From the end of the reply on the client may begin its next request: what came only later
        could not be told from the answer to that.
        """
        rng = self.line.rng
        framed = message(reply) if rng.random() < 0.5 else _chunked(reply.text, reply.place)
        surplus = _surplus(reply.fault, rng)
        body = framed.index(b"\r\n\r\n") + 4
        cut = body + int(reply.place * (len(framed) - body))
        more = rng.choice((len(surplus), rng.randint(1, len(surplus))))
        await self.line.write(framed[:cut])
        await self._say(framed[cut:] + surplus[:more], reply)
        if surplus[more:]:
            await self.line.write(surplus[more:])

    async def _drip(self, data: bytes, seconds: float, reply: Reply) -> None:
        pieces = [data[start : start + 16] for start in range(0, len(data), 16)]
        for piece in pieces[:-1]:
            await self.line.write(piece)
            reply.met = True
            await asyncio.sleep(seconds / len(pieces))
        await self._say(pieces[-1], reply)


def _surplus(fault: str, rng: Random) -> bytes:
    match fault:
        case "surplus-success":
            text = faults.answer(0, code="of another bill", openid="of another citizen")
            return message(Reply(fault, True, 0, text))
        case "surplus-refusal":
            code = rng.choice((*BUSY, *TOKEN_REFUSED, 72038))
            return message(faults.refusal(fault, code))
        case "surplus-line-break":
            return b"\r\n"
        case _:
            farewell = message(Reply(fault, False, None, b"", status=400))
            return farewell.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def _length(head: bytes) -> int:
    for field in head.lower().split(b"\r\n"):
        if field.startswith(b"content-length:"):
            return int(field.partition(b":")[2])
    return 0


def _with_length(reply: Reply, length: int) -> bytes:
    right = f"Content-Length: {len(reply.text)}\r\n".encode()
    return message(reply).replace(right, f"Content-Length: {length}\r\n".encode(), 1)


def _chunked(text: bytes, place: float) -> bytes:
    middle = int(place * (len(text) - 1)) + 1
    chunks = [text[:middle], text[middle:], b""] if middle < len(text) else [text, b""]
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks
    )
