"""What is killed: each way of sending bills with a ledger, until the process dies."""

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import nontax

CONCURRENCY = 8


def make_bill(order: str) -> dict[str, Any]:
    return {
        "order_id": order,
        "card_id": "pCard",
        "appid": "wx0123456789abcdef",
        "fee": 100,
        "title": "张三",
        "billing_time": 1_700_000_000,
        "billing_no": "11010123",
        "billing_code": f"N{order}",
        "s_pdf_media_id": "1",
    }


class Worker:
    """One process's work. `tell` writes an outcome down as a caller would: after it has seen it."""

    def __init__(self, path: str, base_url: str, name: str, told: int) -> None:
        self.path, self.name, self._told = path, name, told
        self.client = nontax.Client(access_token="t", base_url=base_url, ledger=path)

    def bills(self) -> Iterator[dict[str, Any]]:
        for number in itertools.count():
            yield make_bill(f"{self.name}-{number}")

    def tell(self, order: str, outcome: str, code: str) -> None:
        os.write(self._told, f"{order} {outcome} {code}\n".encode())

    def single(self) -> None:
        for bill in self.bills():
            self._one(bill)

    def _one(self, bill: dict[str, Any]) -> None:
        inserted = self.client.insert_bill(bill)
        self.tell(bill["order_id"], "inserted", inserted.code)

    def threads(self) -> None:
        bills, lock = self.bills(), threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    bill = next(bills)
                self._one(bill)

        threads = [threading.Thread(target=work) for _ in range(CONCURRENCY)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def bulk(self) -> None:
        for outcome in self.client.insert_bills(self.bills(), concurrency=CONCURRENCY):
            self._outcome(outcome)

    def _outcome(self, outcome: nontax.Outcome) -> None:
        code = "" if outcome.inserted is None else outcome.inserted.code
        self.tell(outcome.bill["order_id"], outcome.outcome, code or "-")

    def tasks(self) -> None:
        async def work(bills: Iterator[dict[str, Any]]) -> None:
            for bill in bills:
                inserted = await self.client.ainsert_bill(bill)
                self.tell(bill["order_id"], "inserted", inserted.code)

        async def all_of_them() -> None:
            bills = self.bills()
            await asyncio.gather(*(work(bills) for _ in range(CONCURRENCY)))

        asyncio.run(all_of_them())

    def abulk(self) -> None:
        async def work() -> None:
            async for outcome in self.client.ainsert_bills(self.bills(), concurrency=CONCURRENCY):
                self._outcome(outcome)

        asyncio.run(work())

    def deliver(self) -> None:
        bills = [make_bill(f"{self.name}-{number}") for number in range(200)]
        ledger = self.client.ledger
        assert ledger is not None
        ledger.deliver(
            self.client,
            bills,
            concurrency=CONCURRENCY,
            progress=lambda told: self._outcome(told.outcome),
        )


WAYS: dict[str, Callable[[Worker], None]] = {
    "single": Worker.single,
    "threads": Worker.threads,
    "bulk": Worker.bulk,
    "tasks": Worker.tasks,
    "abulk": Worker.abulk,
    "deliver": Worker.deliver,
    "two": Worker.deliver,  # by two processes, the same list
}
