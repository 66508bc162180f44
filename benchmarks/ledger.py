"""What a ledger costs: `python benchmarks/ledger.py [--bills N] [--million]`.

Each figure is of a process of its own, against nginx on loopback HTTPS, or a server that answers
after 40 ms. Beside it stands what people write themselves: sqlite3 with its defaults, two commits a
bill.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server import REPLY, running_nginx

import nontax
from nontax.ledger import Ledger

LATENCY = 0.040


def make_bill(number: int) -> dict[str, Any]:
    return {
        "order_id": f"H20261130-{number:08}",
        "card_id": "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw",
        "appid": "wxc0b84a53ed8e8d29",
        "fee": 12300,
        "title": "张三",
        "billing_time": 1_700_000_000,
        "billing_no": "11010123",
        "billing_code": f"{number:010}",
        "s_pdf_media_id": "75195574948725301",
    }


@contextmanager
def slow_server() -> Iterator[str]:
    """Plain HTTP; each answer comes after 40 ms."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = REPLY.encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                length = int(request.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(LATENCY)
                writer.write(head + str(len(text)).encode() + b"\r\n\r\n" + text)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve(pipe: Any) -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=500)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=lambda: asyncio.run(serve(theirs)))
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def measure(work: Callable[[], int]) -> tuple[float, float, float]:
    """In a child: seconds, CPU seconds and peak MiB of work, which returns how many bills."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        began, cpu = time.perf_counter(), time.process_time()
        count = work()
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        os.write(writing, json.dumps([seconds / count, used / count, peak]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found: tuple[float, float, float] = tuple(json.loads(file.read()))
    os.waitpid(child, 0)
    return found


class Settings:
    """How a client reaches the server, and where its ledger is."""

    def __init__(self, base_url: str, ca_file: str | None, folder: str) -> None:
        self.base_url, self.ca_file, self.folder = base_url, ca_file, folder
        self._count = 0

    def client(self, *, ledger: bool) -> nontax.Client:
        self._count += 1
        return nontax.Client(
            access_token="t",
            base_url=self.base_url,
            ca_file=self.ca_file,
            ledger=self.path() if ledger else False,
        )

    def path(self) -> str:
        return f"{self.folder}/{os.getpid()}-{self._count}.db"


def bulk(settings: Settings, bills: int, concurrency: int, *, ledger: bool) -> int:
    client = settings.client(ledger=ledger)
    for outcome in client.insert_bills(map(make_bill, range(bills)), concurrency=concurrency):
        assert outcome.outcome == "inserted", outcome
    return bills


def own_code(settings: Settings, bills: int, concurrency: int) -> int:
    """As found in users' scripts: a row before, a row after, each with a commit."""
    client = settings.client(ledger=False)
    connection = sqlite3.connect(settings.path())
    connection.execute("CREATE TABLE sent (order_id TEXT PRIMARY KEY, state TEXT, code TEXT)")

    def written() -> Iterator[dict[str, Any]]:
        for bill in map(make_bill, range(bills)):
            connection.execute("INSERT INTO sent VALUES (?, 'sending', '')", (bill["order_id"],))
            connection.commit()
            yield bill

    for outcome in client.insert_bills(written(), concurrency=concurrency):
        assert outcome.inserted is not None
        connection.execute(
            "UPDATE sent SET state = 'inserted', code = ? WHERE order_id = ?",
            (outcome.inserted.code, outcome.bill["order_id"]),
        )
        connection.commit()
    return bills


def single(settings: Settings, bills: int, *, ledger: bool) -> int:
    client = settings.client(ledger=ledger)
    client.insert_bill(make_bill(0))
    for number in range(1, bills):
        client.insert_bill(make_bill(number))
    return bills


def best(work: Callable[[], int], rounds: int = 3) -> tuple[float, float, float]:
    """Of a few rounds the one with the least time."""
    return min(measure(work) for _ in range(rounds))


def sync_seconds(folder: str) -> float:
    """What one commit costs on this disk."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
        return (time.perf_counter() - began) / 50


def tell(name: str, plain: tuple[float, float, float], kept: tuple[float, float, float]) -> None:
    ratio, more = plain[0] / kept[0], (kept[1] - plain[1]) * 1e6
    print(
        f"{name:32} {1 / plain[0]:9.0f}/s {1 / kept[0]:9.0f}/s   x {ratio:4.2f}   "
        f"CPU {plain[1] * 1e6:6.1f} -> {kept[1] * 1e6:6.1f} us a bill (+{more:.1f})",
        flush=True,
    )


def million(folder: str, base_url: str, ca_file: str) -> None:
    """A million bills: memory, size, and the same list once more."""
    bills = 1_000_000

    def client_of(path: str) -> nontax.Client:
        return nontax.Client(
            access_token="t", base_url=base_url, ca_file=ca_file, ledger=path or False
        )

    def send(count: int, path: str) -> Callable[[], int]:
        def work() -> int:
            client = client_of(path)
            for _ in client.insert_bills(map(make_bill, range(count)), concurrency=64, keep=0):
                pass
            return count

        return work

    def again(path: str) -> int:
        client = client_of(path)
        assert client.ledger is not None
        report = client.ledger.deliver(client, map(make_bill, range(bills)))
        assert report.is_complete
        assert not report.counts
        return bills

    path = f"{folder}/million.db"
    small = measure(send(1_000, f"{folder}/small.db"))
    large = measure(send(bills, path))
    assert Ledger(path, read_only=True).counts() == {"inserted": bills}
    size = Path(path).stat().st_size / 1048576
    print(f"peak memory: {small[2]:.1f} MiB with 1,000 bills, {large[2]:.1f} MiB with 1,000,000")
    few, many = measure(send(1_000, "")), measure(send(bills, ""))
    print(f"without a ledger: {few[2]:.1f} MiB and {many[2]:.1f} MiB")
    print(f"the ledger: {size:.0f} MiB; {1 / large[0]:.0f} bills/s")
    for table, taken in sizes(path):
        print(f"    {table:28} {taken / 1048576:6.0f} MiB")
    seconds = measure(lambda: again(path))
    print(
        f"the same list once more: {seconds[0] * bills:.1f} s, CPU {seconds[1] * bills:.1f} s, "
        f"{seconds[2]:.0f} MiB"
    )


def sizes(path: str) -> list[tuple[str, int]]:
    """What each table and index takes, where SQLite tells it."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(
            "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 7"
        ).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bills", type=int, default=10_000)
    parser.add_argument("--folder", help="where the ledgers are made; default: a temporary folder")
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(dir=options.folder)
    print(f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}; a sync of this disk takes ")
    print(f"{sync_seconds(folder) * 1e3:.2f} ms; {'without':>20}    {'with':>6}")
    with running_nginx() as server:
        fast = Settings(server.base_url, server.ca_file, folder)
        if options.million:
            million(folder, server.base_url, server.ca_file)
            return
        n = options.bills
        plain = best(lambda: bulk(fast, n, 16, ledger=False))
        tell("bulk, 16 in flight", plain, best(lambda: bulk(fast, n, 16, ledger=True)))
        tell("the same, own sqlite3 code", plain, best(lambda: own_code(fast, n // 10, 16), 1))
        tell(
            "one at a time",
            best(lambda: single(fast, n // 10, ledger=False)),
            best(lambda: single(fast, n // 10, ledger=True)),
        )
    with slow_server() as base_url:
        slow = Settings(base_url, None, folder)
        for concurrency in (16, 64):
            count = concurrency * 60
            tell(
                f"40 ms away, {concurrency} in flight",
                best(lambda k=concurrency, c=count: bulk(slow, c, k, ledger=False)),  # type: ignore[misc]
                best(lambda k=concurrency, c=count: bulk(slow, c, k, ledger=True)),  # type: ignore[misc]
            )


if __name__ == "__main__":
    main()
