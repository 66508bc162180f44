"""Ctrl-C at chosen places of our code at which Python looks at its signals. For child processes:
Python 3.11 loses a little of its recursion limit with every press."""

import asyncio
import logging
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

from bills import bill

from nontax import aio

NOT_IN = (
    # In finalizers exceptions are only printed.
    "AsyncRun.__del__",
    "AsyncRun._kept",
    "AsyncRun._ended_by",
    # A result that has been handed over is out of our hands, as when any function returns.
    "Loops.call",
    # Where there is no descriptor, the beginning of a look is not made up for.
    "Driver._look",
)

# asyncio tells of every task that Ctrl-C has ended, and Python of what it has kept from beginning.
logging.disable()
warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


class Source:
    """Three bills, and how many were taken of them."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[Any]:
        for _ in range(3):
            self.taken += 1
            yield bill()

    async def slowly(self) -> AsyncIterator[Any]:
        for _ in range(3):
            await asyncio.sleep(0)
            self.taken += 1
            yield bill()


@contextmanager
def ctrl_c_at(place: int, file: str) -> Iterator[None]:
    """Press Ctrl-C at the so many-th place in that file or folder: where a function begins or goes
    on, or a call of a C function has returned."""
    left = place

    def look(frame: Any, event: str, _: object) -> None:
        nonlocal left
        while frame.f_code.co_name == "_is_idle":  # a part of whoever asks
            frame = frame.f_back
        code = frame.f_code
        ours = code.co_filename.startswith(file) and code.co_qualname not in NOT_IN
        if event in ("call", "c_return") and ours:
            left -= 1
            if left == 0:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)


def is_interrupted_at(
    place: int, loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]"
) -> bool:
    """Run a task with Ctrl-C at a place in nontax/aio/. False: the task ended before that."""
    try:
        with ctrl_c_at(place, aio.__path__[0]):
            loop.run_until_complete(task)
    except KeyboardInterrupt:
        return True
    return False


def end(loop: asyncio.AbstractEventLoop, work: Awaitable[Any]) -> Any:
    """Run it to its end, also if the loop was about to stop when Ctrl-C came, and stops now."""
    task = loop.create_task(asyncio.wait_for(work, 10))
    while True:
        try:
            return loop.run_until_complete(task)
        except RuntimeError:
            if task.done():
                raise
