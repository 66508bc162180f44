"""The clients' side: inserts bills under Ctrl-C and forks, and writes down what it hears.

Run with tests/ on PYTHONPATH; it prints "ready" when it can be interrupted. Each bill's outcome is
written before the next bill is taken. Ctrl-C is let in only while nontax works: what Python does
around it is not what is tried here.
"""

import argparse
import ast
import asyncio
import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from random import Random
from typing import Any

import nontax
from chaos import journal

BLOCK, UNBLOCK = signal.SIG_BLOCK, signal.SIG_UNBLOCK
CTRL_C = {signal.SIGINT}
THREADS = 16
CHILD_SECONDS = 60.0
HELD_SECONDS = 60.0
LULL_SECONDS = 0.03
BULK_MODES = ("bulk", "abulk")
MODES = ("threads", "bulk", "aio", "abulk")
CLOSED = "closed run"
_NOTE = "nontax: WeChat has processed the call: "


class Driver:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.journal = journal.Journal(options.journal)
        self.rng = Random(f"{options.seed}/driver")
        self.children: list[int] = []
        self._orders = iter(orders(options.mode, options.bills))
        self._last: nontax.Outcome | None = None
        self._asked = itertools.count()
        # Both are taken by all threads.
        self._next = threading.Lock()
        self.client = self._client()

    def _client(self) -> nontax.Client:
        options = self.options
        return nontax.Client(
            token_source=self._token,
            base_url=options.url,
            ca_file=options.ca,
            connect_timeout=options.timeout / 2,
            timeout=options.timeout,
            retries=2,
        )

    def _token(self, stale: str | None) -> str:
        if Random(f"{self.options.seed}/token/{next(self._asked)}").random() < 0.0005:
            raise LookupError("no token today")
        return str(self.options.token.read_text("ascii"))

    # --- bills and outcomes -----------------------------------------------------------------------

    def order(self) -> str | None:
        with self._next:
            # Nobody unlinks it any more if the program that made it has died.
            for _ in range(int(HELD_SECONDS / 0.005)):
                if not self.options.hold.exists():
                    break
                time.sleep(0.005)
            order = next(self._orders, None)
            if order is not None and self.chance(order, "lull") < self.options.lulls:
                # All that is under way is answered meanwhile, and connections are idle.
                time.sleep(LULL_SECONDS)
            return order

    def bill(self, order: str) -> dict[str, Any]:
        bill = journal.bill(order)
        if self.chance(order, "shape") < 0.5:
            return bill
        top = {name: bill.pop(name) for name in ("order_id", "card_id", "appid")}
        return top | {"card_ext": {"user_card": {"invoice_user_data": bill}}}

    def chance(self, *what: object) -> float:
        """From 0 to 1, the same for the same seed and words."""
        return Random(f"{self.options.seed}/{what}").random()

    def event(self, what: str) -> None:
        self.journal.write(e="event", what=what)

    def problem(self, what: str) -> None:
        self.journal.write(e="problem", what=what)

    def write(self, order: str, told: object, how: str | None = None) -> None:
        """Write down a bill's outcome: an InsertedBill, or what was raised; None: nothing.

        how: this program itself has ended the call.
        """
        if isinstance(told, KeyboardInterrupt | asyncio.CancelledError):
            # The reply may have been there already; then a note tells it.
            how = type(told).__name__
            told = told.__context__ or _noted(told)
        facts: dict[str, Any]
        if isinstance(told, nontax.InsertedBill):
            facts = {"outcome": "inserted", "code": told.code, "openid": told.openid}
        elif isinstance(told, nontax.NontaxError):
            errcode = told.errcode if isinstance(told, nontax.WeChatError) else None
            facts = {"outcome": told.outcome, "errcode": errcode, "reason": str(told)}
        elif told is None:
            facts = {"outcome": "unsaid"}
        else:
            facts = {"outcome": f"{type(told).__name__}: {told}"}
        self.journal.write(e="outcome", order=order, how=how, pid=os.getpid(), **facts)

    # --- one call ---------------------------------------------------------------------------------

    def insert(self, order: str) -> None:
        told: object
        try:
            told = self.client.insert_bill(self.bill(order))
        except Exception as error:
            told = error
        if self.options.bug == "resend" and isinstance(told, nontax.InDoubtError):
            self.insert(order)
            return
        self.write(order, told)

    def insert_interruptibly(self, order: str) -> None:
        """The main thread's way: Ctrl-C is let in for the call, and told of as it comes out."""
        bill = self.bill(order)
        # Nothing, if Ctrl-C comes before nontax has begun or after it has returned.
        told: object = None
        begun = False
        while True:
            try:
                if not begun:
                    signal.pthread_sigmask(UNBLOCK, CTRL_C)
                    begun = True
                    # Nothing in here may call a function between nontax's return and the next line.
                    try:
                        told = self.client.insert_bill(bill)
                    except BaseException as error:
                        told = error
                signal.pthread_sigmask(BLOCK, CTRL_C)
                break
            except KeyboardInterrupt:
                continue
        self.write(order, told)

    # --- forks ------------------------------------------------------------------------------------

    def fork(self) -> None:
        """Fork; the child inserts a few bills with the same client, and leaves."""
        with self._next:
            few = list(itertools.islice(self._orders, 2))
        with _ctrl_c_blocked():
            pid = os.fork()
            if pid:
                self.children.append(pid)
                return
            try:
                self.event("forks")
                for order in few:
                    self.insert(order)
            except BaseException as error:
                self.problem(f"a forked child raised {error!r}")
            finally:
                os._exit(0)

    def wait_for_children(self) -> None:
        deadline = time.monotonic() + CHILD_SECONDS
        for pid in self.children:
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    self.problem("a forked child hangs")
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    break
                time.sleep(0.02)

    # --- the modes --------------------------------------------------------------------------------

    def threads(self) -> None:
        """Single calls from many threads at once; the main one is interrupted."""

        def work(insert: Any) -> None:
            try:
                while (order := self.order()) is not None:
                    if self.chance(order, "fork") < self.options.forks:
                        self.fork()
                    insert(order)
            except BaseException as error:
                self.problem(f"a thread ended with {error!r}")

        others = [threading.Thread(target=work, args=(self.insert,)) for _ in range(THREADS - 1)]
        for thread in others:
            thread.start()
        work(self.insert_interruptibly)
        for thread in others:
            thread.join()

    def bulk(self) -> None:
        """Bulk runs, each going on where the last one ended."""
        bills = Bills(self)
        while not bills.ended:
            self._run(bills)

    def _run(self, bills: "Bills") -> None:
        run = self.client.insert_bills(bills, concurrency=16)
        outcome: nontax.Outcome | None = None
        while True:
            try:
                signal.pthread_sigmask(UNBLOCK, CTRL_C)
                for outcome in run:
                    signal.pthread_sigmask(BLOCK, CTRL_C)
                    self.write_outcome(outcome)
                    signal.pthread_sigmask(UNBLOCK, CTRL_C)
                signal.pthread_sigmask(BLOCK, CTRL_C)
                return
            except KeyboardInterrupt:
                _block_ctrl_c()
                self.event("KeyboardInterrupt")
                # It may have come when the outcome was already ours.
                if outcome is not None and outcome is not self._last:
                    self.write_outcome(outcome)
                if self.rng.random() < 0.5:
                    self._close(run)
                    return
            except nontax.NontaxError as error:
                _block_ctrl_c()
                self.event(f"runs ended by {type(error).__name__}")
                return

    def aio(self) -> None:
        """Single calls of many tasks in one event loop after another."""
        Loops(self).calls()

    def abulk(self) -> None:
        """Bulk runs in one event loop after another."""
        Loops(self).bulk()

    def _close(self, run: Any) -> None:
        self.event("closed runs")
        for outcome in run.close():
            self.write_outcome(outcome, CLOSED)

    def write_outcome(self, outcome: nontax.Outcome, how: str | None = None) -> None:
        self._last = outcome
        bill: Any = outcome.bill
        order = bill["order_id"]
        told = outcome.inserted or outcome.error
        stated = "inserted" if outcome.inserted else getattr(outcome.error, "outcome", None)
        if outcome.outcome != stated:
            self.problem(f"{order}: outcome {outcome.outcome} with {outcome.error!r}")
        self.write(order, told, how)
        if self.chance(order, "fork") < self.options.forks:
            self.fork()


class Loops:
    """The asynchronous modes: one event loop after another, each until Ctrl-C cancels its task."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._client: nontax.Client = driver.client
        self._deaf = True  # to Ctrl-C

    async def _listening(self, segment: Coroutine[Any, Any, None]) -> None:
        """Run a part of the work; Ctrl-C cancels it, as asyncio.Runner would do it."""
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(segment)

        def cancel(*_: object) -> None:
            if not self._deaf:
                task.cancel()
                loop.call_soon_threadsafe(int)  # wakes the loop

        signal.signal(signal.SIGINT, cancel)
        self._deaf = False
        signal.pthread_sigmask(UNBLOCK, CTRL_C)
        # A part takes cancellation itself, but for its first and last moment: it has no bill then.
        with contextlib.suppress(asyncio.CancelledError):
            await task
        signal.pthread_sigmask(BLOCK, CTRL_C)

    # --- single calls -----------------------------------------------------------------------------

    def calls(self) -> None:
        left = True
        self._kept: list[str] = []

        async def segment() -> None:
            nonlocal left
            self._stopping = False
            workers = [asyncio.ensure_future(self._work()) for _ in range(THREADS)]
            try:
                await asyncio.wait(workers)
                left = False
            except asyncio.CancelledError:
                self._deaf = self._stopping = True
                for worker in workers:
                    worker.cancel()
            await asyncio.gather(*workers)

        while left or self._kept:
            asyncio.run(self._listening(segment()))

    async def _work(self) -> None:
        driver = self._driver
        while not self._stopping:
            order = self._kept.pop() if self._kept else driver.order()
            if order is None:
                return
            if driver.chance(order, "fork") < driver.options.forks:
                driver.fork()
            if driver.chance(order, "cancel") < 0.02:
                await self._cancelled(order)
            else:
                driver.write(order, await self._told(driver.bill(order)))

    async def _told(self, bill: dict[str, Any]) -> object:
        try:
            return await self._client.ainsert_bill(bill)
        except (Exception, asyncio.CancelledError) as told:
            return told

    async def _cancelled(self, order: str) -> None:
        """Insert a bill in a task that is cancelled after a moment."""
        driver = self._driver
        task = asyncio.ensure_future(self._told(driver.bill(order)))
        delay = driver.chance(order, "delay") * 0.05
        asyncio.get_running_loop().call_later(delay, task.cancel)
        try:
            driver.write(order, await task)
        except asyncio.CancelledError:
            if task.done() and not task.cancelled():
                driver.write(order, task.result())  # it had ended when we were cancelled, too
            else:
                self._kept.append(order)  # it was not begun

    # --- bulk runs --------------------------------------------------------------------------------

    def bulk(self) -> None:
        bills = Bills(self._driver)
        while not bills.ended:
            asyncio.run(self._listening(self._run(bills)))

    async def _run(self, bills: "Bills") -> None:
        driver = self._driver
        source: Any = bills if driver.rng.random() < 0.5 else Arriving(bills)
        outcomes = self._client.ainsert_bills(source, concurrency=16)
        while True:
            try:
                async for outcome in outcomes:
                    driver.write_outcome(outcome)
                return
            except asyncio.CancelledError:
                driver.event("CancelledError")
                if driver.rng.random() < 0.5:
                    self._deaf = True
                    driver.event("closed runs")
                    for outcome in await outcomes.aclose():
                        driver.write_outcome(outcome, CLOSED)
                    return
            except nontax.NontaxError as error:
                driver.event(f"runs ended by {type(error).__name__}")
                return


class Arriving:
    """Bills that come asynchronously, some of them after a while."""

    def __init__(self, bills: "Bills") -> None:
        self._bills = bills

    def __aiter__(self) -> "Arriving":
        return self

    async def __anext__(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        bill = next(self._bills, None)
        if bill is None:
            raise StopAsyncIteration
        return bill


class Bills:
    """The bills for bulk runs. It is asked while Ctrl-C is let in, and loses none by it."""

    def __init__(self, driver: Driver) -> None:
        self.ended = False
        self._driver = driver
        self._kept: dict[str, Any] | None = None

    def __iter__(self) -> "Bills":
        return self

    def __next__(self) -> dict[str, Any]:
        before = signal.pthread_sigmask(BLOCK, CTRL_C)
        if self._kept is None:
            order = self._driver.order()
            self.ended = order is None
            self._kept = None if order is None else self._driver.bill(order)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # From here on nothing is called, so no KeyboardInterrupt can come in.
        bill = self._kept
        self._kept = None
        if bill is None:
            raise StopIteration
        return bill


def orders(mode: str, bills: int) -> Iterator[str]:
    return (f"{mode}-{number:08}" for number in range(bills))


def _noted(interrupt: BaseException) -> nontax.InsertedBill | None:
    """What an interrupt's note tells of a reply that was already there."""
    for note in getattr(interrupt, "__notes__", []):
        if note.startswith(_NOTE):
            fields = ast.literal_eval(note.removeprefix(_NOTE))
            return nontax.InsertedBill(code=fields["code"], openid=fields.get("openid"))
    return None


def _block_ctrl_c() -> None:
    while True:
        try:
            signal.pthread_sigmask(BLOCK, CTRL_C)
            return
        except KeyboardInterrupt:
            continue


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(BLOCK, CTRL_C)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main() -> None:
    signal.pthread_sigmask(BLOCK, CTRL_C)
    # What a shell starts in the background begins with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--bills", type=int, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--journal", type=Path, required=True, help="written to the end of")
    parser.add_argument("--token", type=Path, required=True, help="where the current one stands")
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds")
    parser.add_argument("--forks", type=float, default=0.002, help="share of bills with a fork")
    parser.add_argument("--hold", type=Path, required=True, help="while it exists, none is begun")
    parser.add_argument("--lulls", type=float, default=0.005, help="share of bills with one")
    parser.add_argument("--bug", choices=("", "resend"), default="", help="plant one")
    options = parser.parse_args()
    driver = Driver(options)
    print("ready", flush=True)
    getattr(driver, options.mode)()
    driver.wait_for_children()


if __name__ == "__main__":
    main()
