"""Event loops for tests: strict ones that end, and a server whose answers wait for a word."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop
from servers import INSERTED, RawServer, Wire, json_reply

import nontax
from nontax import _core

T = TypeVar("T")
GUARD = 30.0  # Seconds; only so that a broken test ends.

FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Strict:
    """Runs coroutines in new loops of one kind, in asyncio's debug mode.

    Whatever asyncio complains of is an error: forgotten exceptions, tasks that were lost, callbacks
    that raised.
    """

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.factory = factory

    def __call__(self, main: Coroutine[Any, Any, T]) -> T:
        complaints: list[object] = []
        try:
            with asyncio.Runner(debug=True, loop_factory=self.factory) as runner:
                loop = runner.get_loop()
                # A machine under load is no fault.
                loop.slow_callback_duration = GUARD
                loop.set_exception_handler(lambda _, context: complaints.append(context))
                return runner.run(asyncio.wait_for(main, GUARD))
        finally:
            gc.collect(1)  # what nobody has asked for is complained of when it is freed
            assert complaints == []


class Complaints(logging.Handler):
    """What asyncio logs, from warnings up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def until(condition: Callable[[], object]) -> None:
    """Wait until it is true."""
    while not condition():
        await asyncio.sleep(0.002)


async def cancelled(task: "asyncio.Task[Any]") -> asyncio.CancelledError:
    """Cancel the task; how it ended."""
    task.cancel()
    try:
        result = await task
    except asyncio.CancelledError as error:
        return error
    raise AssertionError(f"it has a result: {result}")


def known(error: BaseException) -> nontax.NontaxError:
    """What the exception tells of its call."""
    assert isinstance(error.__cause__, nontax.NontaxError)
    return error.__cause__


def has_descriptor(client: nontax.Client) -> bool:
    """Whether this build has a descriptor for loops; the portable one looks now and then."""
    run: _core.Run[object] = _core.Run(
        client=client._core,
        make_outcome=object,
        kept=None,
        bills=None,
        concurrency=1,
        rate=0.0,
        quota_pause=0.0,
        never_waits=False,
        bulk=False,
    )
    return run._fileno() >= 0


class Gate(RawServer):
    """Answers the requests, one on each connection, when it is told.

    replies: by order of arrival; afterwards success.
    """

    def __init__(self, *replies: bytes) -> None:
        self._replies = list(replies)
        self._lock = threading.Lock()
        self._gates: list[threading.Event] = []
        self._sent: list[threading.Event] = []
        self.bodies: list[bytes] = []
        super().__init__(self._serve)

    def _serve(self, wire: Wire) -> None:
        while True:
            _, body = wire.read_request()
            with self._lock:
                number = len(self.bodies)
                gate, sent = threading.Event(), threading.Event()
                self._gates.append(gate)
                self._sent.append(sent)
                self.bodies.append(body)
            gate.wait(GUARD)
            reply = self._replies[number] if number < len(self._replies) else INSERTED
            wire.send(json_reply(reply))
            sent.set()

    def answer(self, number: int) -> None:
        """Answer the request of this number, and wait, outside any loop, until it has gone out."""
        self._gates[number].set()
        assert self._sent[number].wait(GUARD)

    def stop(self) -> None:
        for gate in self._gates:
            gate.set()
        super().stop()
