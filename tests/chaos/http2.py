"""HTTP/2 for the server, on the h2 package, with every play on it."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error, StreamClosedError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from chaos import plays
from chaos.http1 import World
from chaos.line import Gone, Line
from chaos.plays import Play

CODES = (
    ErrorCodes.NO_ERROR,
    ErrorCodes.PROTOCOL_ERROR,
    ErrorCodes.INTERNAL_ERROR,
    ErrorCodes.FLOW_CONTROL_ERROR,
    ErrorCodes.STREAM_CLOSED,
    ErrorCodes.CANCEL,
    ErrorCodes.ENHANCE_YOUR_CALM,
)
GRACEFUL = (ErrorCodes.NO_ERROR, ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.INTERNAL_ERROR)


@dataclass(slots=True)
class Stream:
    """One request. fault: what happens to it before its body is complete, after `stop` bytes."""

    number: int
    target: str
    length: int
    fault: str
    stop: int
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False


class Http2:
    def __init__(self, world: World, line: Line) -> None:
        self.world = world
        self.line = line
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        # The highest stream that was decided about, and the one that a GOAWAY has called the last.
        self.decided = 0
        self.last = 2**31 - 1
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.window = asyncio.Event()
        self.mute = False

    async def serve(self) -> None:
        """Serve requests until the connection ends. Raises Gone."""
        self.h2.initiate_connection()
        self.h2.update_settings(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: self.line.rng.choice((3, 100, 100)),
                SettingCodes.INITIAL_WINDOW_SIZE: self.line.rng.choice((64, 4096, 65535, 65535)),
            }
        )
        await self._flush()
        try:
            while True:
                data = await self.line.read(65536)
                for event in self.h2.receive_data(data):
                    # A stream may have been reset by the client meanwhile.
                    with contextlib.suppress(StreamClosedError):
                        await self._on(event)
                await self._flush()
        except H2Error as error:
            # A client that breaks the protocol is as good as gone; but it is worth a look.
            self.world.fault(f"client-broke-http2 {type(error).__name__}", self.line)
            await self.line.end("close")
        finally:
            for stream in self.streams.values():
                self._left(stream)
            for task in self.tasks:
                task.cancel()

    async def _flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.mute:
            await self.line.write(data)

    async def _on(self, event: Event) -> None:
        if isinstance(event, RequestReceived) and event.stream_id and event.headers:
            headers = {str(name): str(value) for name, value in event.headers}
            length = int(headers.get("content-length", "0"))
            share = self.world.share * 0.2
            fault = plays.draw(
                self.line.rng, share, plays.HEAD_FAULTS, plays.HTTP2_HEAD_FAULTS, plays.IDLE_FAULTS
            )
            at_body = fault.startswith("body-")
            stream = Stream(
                event.stream_id,
                headers[":path"],
                length,
                fault,
                int(self.line.rng.random() * length) if at_body else 0,
            )
            self.streams[stream.number] = stream
            if fault and not at_body and not fault.startswith("early-"):
                await self._spoil(stream)
        elif isinstance(event, DataReceived) and event.stream_id and event.data is not None:
            found = self.streams.get(event.stream_id)
            if found is None:
                size = event.flow_controlled_length or 0
                self.h2.acknowledge_received_data(size, event.stream_id)
                return
            found.body += event.data
            if not found.fault or len(found.body) < found.stop:
                size = event.flow_controlled_length or 0
                self.h2.acknowledge_received_data(size, found.number)
            elif not found.ended:
                found.ended = True
                await self._spoil(found)
        elif isinstance(event, StreamEnded) and event.stream_id in self.streams:
            found = self.streams[event.stream_id]
            if not found.ended and not found.fault:
                del self.streams[found.number]
                self._decide(found)
        elif isinstance(event, StreamReset) and event.stream_id in self.streams:
            self._left(self.streams.pop(event.stream_id))
        elif isinstance(event, WindowUpdated):
            self.window.set()

    def _decide(self, stream: Stream) -> None:
        """Take the complete request or not, and begin to answer it."""
        number = stream.number
        if number > self.last:
            self.world.refused(bytes(stream.body), None, self.line, "2", unprocessed=True)
            return
        latest = number > self.decided
        play = self.world.receive(stream.target, bytes(stream.body), self.line, "2", latest=latest)
        if play.fault == "goaway-refused" and latest:
            self.last = max(number - 2, self.decided)
        else:
            self.decided = max(number, self.decided)
            if play.fault in ("goaway", "goaway-refused"):
                self.last = self.decided
        task = asyncio.create_task(self._answer(stream, play))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _left(self, stream: Stream) -> None:
        """Write down a request whose body will not be complete."""
        self.world.partial(bytes(stream.body), stream.length, self.line, "2")

    async def _spoil(self, stream: Stream) -> None:
        """Play the fault of a request whose body is not taken."""
        rng = self.line.rng
        self.world.fault(stream.fault, self.line)
        _, _, what = stream.fault.partition("-")
        if what in ("stall", "half-close-takes"):
            return  # the body is never asked for; the client must find out
        if what == "bytes":
            await self._flush()
            await self.line.write(rng.randbytes(30))
            return
        if what in ("refusal", "status"):
            errcode = rng.choice((*plays.BUSY, 47001)) if what == "refusal" else None
            self.world.refused(bytes(stream.body), errcode, self.line, "2")
            del self.streams[stream.number]
            play = Play(stream.fault, False, None, b"<html>", status=rng.choice(plays.STATUSES))
            if errcode is not None:
                play = plays.refusal(stream.fault, errcode)
            self._headers(stream, play)
            self.h2.send_data(stream.number, play.text, end_stream=True)
            if len(stream.body) < stream.length:
                # It says that the rest of the body need not come.
                self.h2.reset_stream(stream.number, ErrorCodes.NO_ERROR)
            return
        if what in ("rst-stream", "refused-stream", "http11-required"):
            code = {
                "rst-stream": rng.choice(CODES),
                "refused-stream": ErrorCodes.REFUSED_STREAM,
                "http11-required": ErrorCodes.HTTP_1_1_REQUIRED,
            }[what]
            self._forget(stream, refused=code == ErrorCodes.REFUSED_STREAM)
            self.h2.reset_stream(stream.number, code)
            return
        if what == "goaway":
            self.last = min(self.last, max(stream.number - 2, self.decided))
            self._forget(stream, refused=stream.number > self.last)
            await self._goaway()
            if rng.random() < 0.5:
                return
            what = "close"
        await self._flush()
        await self.line.end(what)
        raise Gone

    def _forget(self, stream: Stream, *, refused: bool) -> None:
        del self.streams[stream.number]
        if refused:
            self.world.refused(bytes(stream.body), None, self.line, "2", unprocessed=True)
        else:
            self._left(stream)

    async def _goaway(self) -> None:
        """Say that no later stream is processed. By itself h2 would end the connection, too."""
        code = self.line.rng.choice(GRACEFUL)
        await self._flush()
        frame = GoAwayFrame(0, last_stream_id=self.last, error_code=int(code))
        await self.line.write(frame.serialize())

    async def _answer(self, stream: Stream, play: Play) -> None:
        try:
            await self._reply(stream, play)
            await self._flush()
        except (Gone, H2Error):
            pass  # the client has left, or has reset this stream
        except Exception:
            self.world.bug()

    async def _end(self, how: str) -> None:
        """End the connection, while serve() still reads from it."""
        if how == "half-close":
            self.mute = True
            self.line.shut()
        elif how != "stall":
            await self.line.end(how)

    def _headers(self, stream: Stream, play: Play, length: int | None = None) -> None:
        headers = [
            (":status", str(play.status)),
            ("content-type", "application/json; encoding=utf-8"),
            ("content-length", str(len(play.text) if length is None else length)),
        ]
        if play.status // 100 == 3:
            headers.append(("location", "/nontax/insertbill?access_token=chaos"))
        self.h2.send_headers(stream.number, headers)

    async def _reply(self, stream: Stream, play: Play) -> None:
        rng = self.line.rng
        number = stream.number
        length: int | None = None
        match play.fault:
            case "close" | "drop" | "reset" | "half-close":
                await self._flush()
                await self._end(play.fault)
                return
            case "silence":
                return
            case "late" | "drip-late":
                await asyncio.sleep(self.world.late)
            case "rst-stream":
                self.h2.reset_stream(number, rng.choice(CODES))
                return
            case "refused-stream":
                self.h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
                return
            case "http11-required":
                self.h2.reset_stream(number, ErrorCodes.HTTP_1_1_REQUIRED)
                return
            case "goaway":
                await self._goaway()
            case "goaway-refused":
                await self._goaway()
                if play.place < 0.5:
                    await self._end("close")
                return
            case "garbage":
                await self._flush()
                await self.line.write(rng.randbytes(60))
                await self._end(play.ending)
                return
            case "informational":
                for _ in range(rng.choice((1, 2, 20))):
                    self.h2.send_headers(number, [(":status", rng.choice(("102", "103")))])
            case "cut":
                self._headers(stream, play)
                self.h2.send_data(number, play.text[: int(play.place * len(play.text))])
                await self._flush()
                if rng.random() < 0.5:
                    self.h2.reset_stream(number, rng.choice(CODES))
                else:
                    await self._end(play.ending)
                return
            case "length-too-long":
                length = len(play.text) + 1 + int(play.place * 50)
            case "length-too-short":
                length = int(play.place * len(play.text))
        self._headers(stream, play, length)
        await self._data(number, play)
        self.h2.end_stream(number)

    async def _data(self, number: int, play: Play) -> None:
        """Send the body as fast as the client's windows allow; in small pieces for a drip."""
        rest = play.text
        while rest:
            room = self.h2.local_flow_control_window(number)
            size = min(room, self.h2.max_outbound_frame_size, len(rest))
            if play.fault == "drip":
                size = min(size, 16)
            if size <= 0:
                self.window.clear()
                await self.window.wait()
                continue
            self.h2.send_data(number, rest[:size])
            rest = rest[size:]
            await self._flush()
            if play.fault == "drip":
                await asyncio.sleep(0.005)
