"""HTTP/2 for the server, on the h2 package, with every play on it."""

import asyncio
import contextlib
from collections.abc import Coroutine
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
from hyperframe.frame import DataFrame, GoAwayFrame

from chaos import plays
from chaos.errcodes import BUSY
from chaos.http1 import World
from chaos.line import PATIENCE, Gone, Line
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


EMPTY_FRAME = 9  # bytes
# Frames that end a connection: of an odd size, of a stream that cannot be, of no sense at all.
WRONG_FRAMES = (
    b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x",
    b"\x00\x00\x05\x04\x00\x00\x00\x00\x00chaos",
    b"\x00\x00\x08\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff",
)
# By the rules a frame of a type that is not known means nothing.
UNKNOWN_FRAME = b"\x00\x00\x05\x77\x00\x00\x00\x00\x00chaos"
WRONG_STATUSES = ("abc", "2000", "", "20", "-200")


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
    """mute: nothing more can be written. deaf: nothing that comes is looked at."""

    def __init__(self, world: World, line: Line) -> None:
        self.world = world
        self.line = line
        # What goes out is to be wrong at times.
        self.h2 = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        # The highest stream that was decided about, and the one that a GOAWAY has called the last.
        self.decided = 0
        self.last = 2**31 - 1
        self.farewell = False  # whether a GOAWAY has gone out
        self.streams: dict[int, Stream] = {}
        self.answering = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.window = asyncio.Event()
        self.mute = self.deaf = False
        self.idle = ""  # the fault of the next time without a stream

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
                if self.deaf:
                    continue
                for event in self.h2.receive_data(data):
                    # A stream may have been reset by the client meanwhile.
                    with contextlib.suppress(StreamClosedError):
                        await self._on(event)
                await self._flush()
        except H2Error as error:
            # A client that breaks the protocol is as good as gone; but it is worth a look.
            self.world.note(f"a client has broken HTTP/2: {type(error).__name__}")
            await self.line.end("close")
        finally:
            if self.idle:
                self.world.undeal("idle", self.idle, self.line)
            for stream in self.streams.values():
                self._left(stream)
            for task in self.tasks:
                task.cancel()

    async def _flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.mute:
            await self.line.write(data)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _on(self, event: Event) -> None:
        if isinstance(event, RequestReceived) and event.stream_id and event.headers:
            headers = {str(name): str(value) for name, value in event.headers}
            length = int(headers.get("content-length", "0"))
            late = event.stream_id > self.last
            fault = "" if late else self.world.deal("head", self.line)
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
                stream.ended = True
                await self._spoil(stream)
        elif isinstance(event, DataReceived) and event.stream_id and event.data is not None:
            found = self.streams.get(event.stream_id)
            if found is None:
                size = event.flow_controlled_length or 0
                self.h2.acknowledge_received_data(size, event.stream_id)
                return
            found.body += event.data
            if found.number > self.last:
                found.fault = ""
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
            self._refuse(stream)
            return
        latest = number > self.decided
        play = self.world.receive(stream.target, bytes(stream.body), self.line, latest=latest)
        if play.name == "goaway-refused" and latest:
            self.last = max(number - 2, self.decided)
        else:
            self.decided = max(number, self.decided)
            if play.name in ("goaway", "goaway-refused") or _alone(play):
                self.last = self.decided
        self.answering += 1
        self._start(self._answer(stream, play))

    def _left(self, stream: Stream) -> None:
        """Write down a request whose body will not be complete."""
        if stream.number > self.last:
            self._refuse(stream)
        else:
            self.world.part(bytes(stream.body), self.line)

    def _refuse(self, stream: Stream) -> None:
        """Write down a request that comes after the last one: a GOAWAY tells or has told so."""
        number = self.world.part(bytes(stream.body), self.line, unprocessed=True)
        self.world.answered(number, out=True if self.farewell else None)

    async def _spoil(self, stream: Stream) -> None:
        """Play the fault of a request whose body is not taken."""
        rng = self.line.rng
        self.world.fault(stream.fault, self.line)
        _, _, what = stream.fault.partition("-")
        if what == "stall":
            return  # the body is never asked for; the client must find out
        if what in ("refusal", "status"):
            del self.streams[stream.number]
            play = Play(stream.fault, False, None, b"<html>", status=rng.choice(plays.STATUSES))
            if what == "refusal":
                play = plays.refusal(stream.fault, rng.choice((*BUSY, 47001)))
            play.number = self.world.part(bytes(stream.body), self.line, errcode=play.errcode)
            self._headers(stream, play)
            self.h2.send_data(stream.number, play.text, end_stream=True)
            if len(stream.body) < stream.length:
                # It says that the rest of the body need not come.
                self.h2.reset_stream(stream.number, ErrorCodes.NO_ERROR)
            await self._tell(play)
            return
        if what in ("rst-stream", "refused-stream", "http11-required"):
            code = {
                "rst-stream": rng.choice(CODES),
                "refused-stream": ErrorCodes.REFUSED_STREAM,
                "http11-required": ErrorCodes.HTTP_1_1_REQUIRED,
            }[what]
            del self.streams[stream.number]
            refused = code == ErrorCodes.REFUSED_STREAM
            play = Play(stream.fault, False, None, b"", unprocessed=refused)
            play.number = self.world.part(bytes(stream.body), self.line, unprocessed=refused)
            self.h2.reset_stream(stream.number, code)
            await self._tell(play)
            return
        if what == "goaway":
            del self.streams[stream.number]
            self.last = min(self.last, max(stream.number - 2, self.decided))
            await self._goaway()
            self._left(stream)
            if rng.random() < 0.5:
                return
            what = "close"
        await self._flush()
        await self.line.end(what)
        raise Gone

    async def _tell(self, play: Play) -> None:
        """Send what a stream that is not taken is told."""
        try:
            await self._push(play)
        finally:
            self.world.answered(play.number, out=play.out)
        self._rest()

    async def _goaway(self) -> None:
        """Say that no later stream is processed. By itself h2 would end the connection, too."""
        code = self.line.rng.choice(GRACEFUL)
        await self._flush()
        if self.mute:
            return
        frame = GoAwayFrame(0, last_stream_id=self.last, error_code=int(code))
        await self.line.write(frame.serialize())
        self.farewell = True

    async def _end(self, how: str) -> None:
        """End the connection, while serve() still reads from it."""
        if how == "half-close":
            self.mute = True
            self.line.shut()
        elif how != "stall":
            await self.line.end(how)

    # --- nothing under way ------------------------------------------------------------------------

    def _rest(self) -> None:
        """If no stream is open now, let the fault of an idle connection come after a moment."""
        if self.streams or self.answering or self.mute:
            return
        self.idle = self.idle or self.world.deal("idle", self.line)
        if self.idle:
            self._start(self._spoil_rest())

    async def _spoil_rest(self) -> None:
        await asyncio.sleep(self.line.rng.choice((0, 0, 0.002, 0.02)))
        if self.streams or self.answering or self.mute or self.line.closing or not self.idle:
            return  # it waits for another time
        fault, self.idle = self.idle, ""
        with contextlib.suppress(Gone):
            await self._play_rest(fault)

    async def _play_rest(self, fault: str) -> None:
        self.world.fault(fault, self.line)
        match what := fault.removeprefix("idle-"):
            case "bytes":
                garbage = self.line.rng.randbytes(30)
                await self.line.write(self.line.rng.choice((garbage, UNKNOWN_FRAME, *WRONG_FRAMES)))
            case "goaway":
                self.last = self.decided
                await self._goaway()
                if self.line.rng.random() < 0.5:
                    await self.line.end("close")
            case "half-close-takes":
                await self._end("half-close")
            case "half-close":
                self.deaf = True
                await self._end("half-close")
                await asyncio.sleep(PATIENCE)
                self.line.drop()
            case _:
                await self.line.end(what)

    # --- replies ----------------------------------------------------------------------------------

    async def _answer(self, stream: Stream, play: Play) -> None:
        try:
            await self._reply(stream, play)
        except (Gone, H2Error):
            pass  # the client has left, or has reset this stream
        except Exception:
            self.world.bug()
        finally:
            self.answering -= 1
            self.world.answered(play.number, out=play.out, play=play)
        self._rest()

    async def _push(self, play: Play) -> None:
        """Send what there is to send, as the end of the play's answer."""
        if self.mute or self.line.closing:
            raise Gone
        play.out = None
        await self._flush()
        play.out = play.played = True

    async def _finish(self, how: str, play: Play) -> None:
        """End the connection as a part of the play."""
        play.played = play.played or not (self.mute or self.line.closing)
        await self._end(how)

    def _headers(self, stream: Stream, play: Play, length: int | None = None) -> None:
        """length: as stated, if it is not the right one; -1: not stated."""
        headers = [
            (":status", str(play.status)),
            ("content-type", "application/json; encoding=utf-8"),
        ]
        if length != -1:
            headers.append(("content-length", str(len(play.text) if length is None else length)))
        if play.status // 100 == 3:
            headers.append(("location", "/nontax/insertbill?access_token=chaos"))
        if play.name == "status-wrong":
            headers[0] = (":status", self.line.rng.choice(WRONG_STATUSES))
        self.h2.send_headers(stream.number, headers)

    async def _reply(self, stream: Stream, play: Play) -> None:
        rng = self.line.rng
        number = stream.number
        length: int | None = None
        match play.name:
            case "close" | "drop" | "reset" | "half-close":
                await self._flush()
                await self._finish(play.name, play)
                return
            case "silence":
                play.played = True
                return
            case "late":
                if _alone(play):
                    await self._goaway()
                await asyncio.sleep(self.world.late * 0.6)
                play.played = True  # now the client gives up, and may leave
                await asyncio.sleep(self.world.late * 0.4)
            case "rst-stream" | "refused-stream" | "http11-required":
                code = {
                    "rst-stream": rng.choice(CODES),
                    "refused-stream": ErrorCodes.REFUSED_STREAM,
                    "http11-required": ErrorCodes.HTTP_1_1_REQUIRED,
                }[play.name]
                self.h2.reset_stream(number, code)
                await self._push(play)
                return
            case "goaway":
                await self._goaway()
            case "goaway-refused":
                if self.mute:
                    return
                play.out = None
                await self._goaway()
                play.out = play.played = True
                if play.place < 0.5:
                    await self._end("close")
                return
            case "garbage":
                await self._flush()
                await self.line.write(rng.randbytes(60))
                await self._finish(play.ending, play)
                return
            case "informational":
                for _ in range(rng.choice((1, 2, 20))):
                    self.h2.send_headers(number, [(":status", rng.choice(("102", "103")))])
            case "cut":
                await self._cut(stream, play)
                return
            case "cut-rst-stream":
                self._headers(stream, play)
                self.h2.send_data(number, play.text[: int(play.place * len(play.text))])
                await self._flush()
                self.h2.reset_stream(number, rng.choice(CODES))
                play.played = not self.mute
                await self._flush()
                return
            case "frame-wrong":
                self._headers(stream, play)
                self.h2.send_data(number, play.text[: int(play.place * len(play.text))])
                await self._flush()
                await self.line.write(rng.choice(WRONG_FRAMES))
                await self._finish(play.ending, play)
                return
            case "length-too-long":
                length = len(play.text) + 1 + int(play.place * 50)
            case "length-too-short":
                length = int(play.place * len(play.text))
            case "frames" | "endless-close" | "endless-drop":
                length = -1
        self._headers(stream, play, length)
        await self._data(number, play)
        if play.name in ("endless-close", "endless-drop"):
            await self._push(play)
            await self._finish(play.name.removeprefix("endless-"), play)
            return
        self.h2.end_stream(number)
        await self._push(play)
        if play.name == "twice":
            again = DataFrame(number, data=play.text, flags=["END_STREAM"])
            await self.line.write(again.serialize())

    async def _cut(self, stream: Stream, play: Play) -> None:
        """Send any number of the bytes that make up the reply, and end the connection."""
        await self._flush()
        if self.mute:
            raise Gone
        self._headers(stream, play)
        self.h2.send_data(stream.number, play.text)
        self.h2.end_stream(stream.number)
        data = self.h2.data_to_send()
        size = int(play.place * len(data))
        # Nothing can be said after half a frame; but nothing else may come between its bytes.
        self.mute = True
        play.out = False if size < len(data) - EMPTY_FRAME else None
        await self.line.write(data[:size])
        play.played = True
        await self._end(play.ending)

    async def _data(self, number: int, play: Play) -> None:
        """Send the body as fast as the client's windows allow; in small pieces for a drip."""
        rest = play.text
        most = 16 if play.name in ("drip", "drip-late", "frames") else len(rest)
        pause = {"drip": 0.005, "drip-late": self.world.late * 16 / (len(rest) + 1)}.get(play.name)
        while rest:
            room = self.h2.local_flow_control_window(number)
            size = min(room, self.h2.max_outbound_frame_size, len(rest), most)
            if size <= 0:
                self.window.clear()
                await self.window.wait()
                continue
            self.h2.send_data(number, rest[:size])
            rest = rest[size:]
            if rest or pause is not None:
                await self._flush()
            if pause is not None:
                play.played = not self.mute
                await asyncio.sleep(pause)


def _alone(play: Play) -> bool:
    """Whether a GOAWAY keeps others off, whose faults would end the connection before the time."""
    return play.name == "late" and play.place < 0.7
