"""kill -9 in every way of sending, and what the books of the server and the ledger say of it."""

import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from crash.bookkeeper import Bookkeeper
from crash.workers import CONCURRENCY, WAYS, Worker
from nontax.ledger import Ledger

# A ledger serves so many kills, so that looking into it stays quick.
KILLS_A_LEDGER = 40


class Result(NamedTuple):
    """What all kills have come to."""

    kills: int
    in_flight: int  # kills that hit at least one bill in flight
    received: int
    told: int
    doubt: int
    most_doubt: int


def run(kills: int, seed: int = 1) -> Result:
    """Raises AssertionError for the first bill that was sent twice, lost, or is not known."""
    chance = random.Random(seed)
    bookkeeper = Bookkeeper()
    total = Counter[str]()
    most = received = 0
    arrived: Counter[str] = Counter()  # at the server, of the bills of one ledger
    doubtful: set[str] = set()
    try:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            for number in range(kills):
                path = f"{folder}/bills-{number // KILLS_A_LEDGER}.db"
                if number % KILLS_A_LEDGER == 0:
                    received += len(arrived)
                    arrived, doubtful = Counter(), set()
                way = list(WAYS)[number % len(WAYS)]
                name = f"K{number}"
                told, hit = _kill_one(path, bookkeeper, way, name, chance)
                arrived.update(bookkeeper.received())
                now = _compare(path, name, way, arrived, told)
                doubt, doubtful = len(now - doubtful), now
                total.update(in_flight=hit, told=len(told), doubt=doubt)
                most = max(most, doubt)
                if number % KILLS_A_LEDGER == KILLS_A_LEDGER - 1:
                    assert Ledger(path, read_only=True).verify() == []
    finally:
        bookkeeper.close()
    received += len(arrived)
    return Result(kills, total["in_flight"], received, total["told"], total["doubt"], most)


def _begin(path: str, bookkeeper: Bookkeeper, way: str, name: str, told: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            WAYS[way](Worker(path, bookkeeper.base_url, name, told))
        finally:
            os._exit(1 if way not in ("deliver", "two") else 0)
    return child


def _kill_one(
    path: str, bookkeeper: Bookkeeper, way: str, name: str, chance: random.Random
) -> tuple[dict[str, tuple[str, str]], bool]:
    """What the process had told when it was killed, and whether a bill was in flight."""
    before = bookkeeper.arrived()
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as told:
        children = [
            _begin(path, bookkeeper, way, name, told.fileno())
            for _ in range(2 if way == "two" else 1)
        ]
        wanted = before + chance.randrange(1, 40)
        until = time.monotonic() + 20
        while bookkeeper.arrived() < wanted and time.monotonic() < until:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.01))
        for _ in range(200):  # at a moment at which something is under way
            if bookkeeper.in_flight():
                break
            time.sleep(0.0002)
        os.kill(children[0], signal.SIGKILL)
        hit = bookkeeper.in_flight() > 0
        for child in children[1:]:
            if chance.random() < 0.5:
                os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        while bookkeeper.in_flight():  # the server answers into the void
            time.sleep(0.001)
        lines = Path(told.name).read_text().splitlines()
    return {line.split()[0]: (line.split()[1], line.split()[2]) for line in lines}, hit


def _compare(
    path: str, name: str, way: str, arrived: "Counter[str]", told: dict[str, tuple[str, str]]
) -> set[str]:
    """Compare both books of one ledger; the bills that are in doubt in it."""
    with Ledger(path) as ledger:
        ledger.expire()
        kept = {bill.order_id: bill for bill in ledger.bills()}
    for order, times in arrived.items():
        assert times == 1, f"{way}: {order} was sent {times} times"
        assert order in kept, f"{way}: {order} was received and the ledger does not know it"
        assert kept[order].state in ("inserted", "in_doubt"), (
            f"{way}: {order} was received and is {kept[order].state}"
        )
    for order, (outcome, code) in told.items():
        assert order in kept, f"{way}: {order} was told, and is not known"
        if outcome == "inserted":
            assert (kept[order].state, kept[order].code) == ("inserted", code), (
                f"{way}: {order} was told as inserted and is {kept[order].state}"
            )
    assert not any(bill.state == "sending" for bill in kept.values())
    if way in ("deliver", "two"):
        listed = sum(order.startswith(f"{name}-") for order in kept)
        assert listed in (0, 200), f"{way}: {listed} of 200 bills are left"
    return {order for order, bill in kept.items() if bill.state == "in_doubt"}


def check(result: Result) -> None:
    """What must be so of the sums."""
    assert result.in_flight >= 0.9 * result.kills, result
    assert result.most_doubt <= 2 * 2 * CONCURRENCY, result
    assert result.doubt <= 1.2 * CONCURRENCY * result.kills * 8 / 7, result
