"""What Django's outbox costs on PostgreSQL: `python benchmarks/backend.py [--rows N …]`.

A server of its own, with its defaults, in a folder of its own. WeChat is a server that answers
after 40 ms. Rows that are there already are filled in by SQL. CPU is that of the process that
calls, or of the relays; the server's comes on top.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from dbservers import Postgres
from django.db import connections, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.test import override_settings
from djangos import use
from ledger import make_bill, slow_server

import nontax
from nontax.contrib.django import outbox, turns
from nontax.contrib.django.models import Bill
from nontax.contrib.django.relay import Relay
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.states import Answer

WINDOW = 128
_FILL = """
INSERT INTO nontax_bill (appid, order_id, account, card_id, fee, billing_no, billing_code, digest,
    state, attempt, claim, lease_until, priority, media_due, code, code_unknown, errcode,
    created_at, changed_at)
SELECT 'wxc0b84a53ed8e8d29', 'old-' || n, 'bureau', 'pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw', 12300,
    '11010122', lpad(n::text, 10, '0'), repeat('0', 64), 'inserted', 1, repeat('0', 32), 0, 0,
    4611686018427387904, lpad(n::text, 12, '0'), 0, 0, now(), now()
FROM generate_series(%s, %s) AS n
"""
_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'nontax_bill'
AND indexname NOT IN (SELECT conname FROM pg_constraint WHERE conrelid = 'nontax_bill'::regclass)
"""


# The indexes of waiting bills and of leases: of all bills, as they are, and of those alone.
_WHOLE = (
    "CREATE INDEX nontax_bill_waiting ON nontax_bill (state, account, priority DESC, appid, id)",
    "CREATE INDEX nontax_bill_leases ON nontax_bill (lease_until)",
)
_PARTIAL = (
    "CREATE INDEX nontax_bill_waiting ON nontax_bill (account, priority DESC, appid, id) "
    "WHERE state = 'waiting'",
    "CREATE INDEX nontax_bill_leases ON nontax_bill (lease_until) WHERE state = 'sending'",
)


def _token(_stale: str | None) -> str:
    return "t" * 32


class Bills:
    """New ones, each with an order and a number of its own."""

    def __init__(self) -> None:
        self._next = 0

    def make(self, count: int) -> list[dict[str, Any]]:
        self._next += count
        return [make_bill(number) for number in range(self._next - count, self._next)]

    def enqueue(self, count: int) -> tuple[float, float]:
        """Seconds, and seconds of CPU."""
        given = self.make(count)
        began, cpu = time.perf_counter(), time.process_time()
        outbox.enqueue_many(given, account="bureau", durable=False)
        return time.perf_counter() - began, time.process_time() - cpu


def _each(work: Callable[[], object], times: int) -> tuple[float, float]:
    """The median, and the mean of CPU, in milliseconds."""
    found, cpu = [], time.process_time()
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - began))
    return median(found), 1000 * (time.process_time() - cpu) / times


def measure_enqueue(bills: Bills) -> None:
    given = iter(bills.make(2_000))

    def alone() -> None:
        with connections["outbox"].cursor() as cursor:
            cursor.execute("SELECT 1")

    with transaction.atomic(using="outbox"):
        one, cpu = _each(lambda: outbox.enqueue(next(given), account="bureau"), 2_000)
        nothing, least = _each(alone, 2_000)
    print(f"enqueue, in the caller's transaction: {one:.2f} ms, {cpu:.2f} ms of CPU (goal 0.3; "
          f"a statement that does nothing: {nothing:.2f} and {least:.2f})")  # fmt: skip
    seconds, cpu = min(bills.enqueue(5_000) for _ in range(5))
    print(f"enqueue_many: {5_000 / seconds:,.0f} rows/s, {1e6 * cpu / 5_000:.0f} µs of CPU a row "
          "(goal 10,000 rows/s)")  # fmt: skip


def measure_claims(bills: Bills, rows: int) -> None:
    bills.enqueue(64 * 30)
    store = OutboxStore("bureau", using="outbox")
    took, settled = [], []
    for _ in range(30):
        began = time.perf_counter()
        claims = store.reserve(64).claims
        middle = time.perf_counter()
        store.settle(
            [(claim, Answer("inserted", code=f"C{claim.attempt}", openid="o")) for claim in claims]
        )
        took.append(1000 * (middle - began))
        settled.append(1000 * (time.perf_counter() - middle))
    print(f"{rows:>10,} rows: claim of 64 {median(took):.1f} ms (least {min(took):.1f}), settling "
          f"{median(settled):.1f} ms (least {min(settled):.1f}); goal: the same")  # fmt: skip


def explain_claim() -> None:
    """How PostgreSQL finds the next bills."""
    waiting = turns.waiting("outbox", "bureau", int(time.time() * 1000))
    ordered = waiting.order_by("-priority", "appid", "pk").values_list("priority", "pk", "appid")
    print(ordered[:64].explain(analyze=True, buffers=True))


def compare_indexes(bills: Bills, rows: int, rounds: int = 4) -> None:
    """In alternation, as what goes before makes the next slower or quicker."""
    bills.enqueue(64 * 30 * 2 * rounds)
    for _ in range(rounds):
        for name, made in (("of all bills", _WHOLE), ("partial", _PARTIAL)):
            with connections["outbox"].cursor() as cursor:
                cursor.execute("DROP INDEX nontax_bill_waiting, nontax_bill_leases")
                for statement in (*made, "ANALYZE nontax_bill", "CHECKPOINT"):
                    cursor.execute(statement)
                cursor.execute("SELECT pg_relation_size('nontax_bill_waiting'), "
                               "pg_relation_size('nontax_bill_leases')")  # fmt: skip
                sizes = [size / 1e6 for size in cursor.fetchone()]
            print(f"indexes {name}: {sizes[0]:.1f} and {sizes[1]:.1f} MB; ", end="")
            measure_claims(bills, rows)


def fill(have: int, rows: int) -> None:
    """So many settled bills. Their indexes are made afterwards, all but those of keys."""
    page = 500_000
    with connections["outbox"].cursor() as cursor:
        cursor.execute(_INDEXES)
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        for begin in range(have, rows, page):
            cursor.execute(_FILL, [begin + 1, min(begin + page, rows)])
        cursor.execute("SET maintenance_work_mem = '256MB'")
        for _, definition in indexes:
            cursor.execute(definition)
        cursor.execute("ANALYZE nontax_bill")


def measure_relays(bills: Bills, relays: int, seconds: float) -> None:
    """Bills that are settled in so many seconds, when all relays are at work."""
    bills.enqueue(int(2_500 * (seconds + 3)))
    connections.close_all()
    children = []
    for _ in range(relays):
        child = os.fork()
        if child == 0:
            Relay(window=WINDOW).run()
            os._exit(0)
        children.append(child)
    before_all = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        time.sleep(2)
        done = Bill.objects.using("outbox").filter(state="inserted", order_id__startswith="H")
        before, began = done.count(), time.perf_counter()
        time.sleep(seconds)
        count, took = done.count() - before, time.perf_counter() - began
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    after_all = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(after_all[:2]) - sum(before_all[:2])
    sent = done.count()
    print(f"{relays} relays, window {WINDOW}, 40 ms: {count / took:,.0f} bills/s, "
          f"{1e6 * cpu / max(sent, 1):.0f} µs of CPU a bill (goal 800 with one relay)")  # fmt: skip
    rest = Bill.objects.using("outbox").filter(state__in=("waiting", "sending"))
    rest.update(state="withdrawn", claim="0" * 32, lease_until=0)
    done.update(order_id=Concat(Value("done-"), F("order_id")))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=[0, 1_000_000, 3_000_000])
    parser.add_argument("--relays", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--partial", action="store_true", help="compare with partial indexes")
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, nontax {nontax.__version__}")
    server = Postgres()
    try:
        use("outbox", server.database)
        with slow_server() as url:
            account = {"APPID": "wx0123456789abcdef", "BASE_URL": url,
                       "TOKEN_SOURCE": _token}  # fmt: skip
            settings = {"ACCOUNTS": {"bureau": account}, "OUTBOX": {"DATABASE": "outbox"}}
            with override_settings(NONTAX=settings):
                bills = Bills()
                bills.enqueue(100)
                if given.relays:
                    measure_enqueue(bills)
                for relays in given.relays:
                    measure_relays(bills, relays, given.seconds)
                have = 0
                for rows in given.rows:
                    fill(have, rows)
                    have = rows
                    measure_claims(bills, rows)
                if given.partial:
                    compare_indexes(bills, have)
                elif have:
                    bills.enqueue(64 * 30)
                    explain_claim()
    finally:
        connections.close_all()
        server.remove()


if __name__ == "__main__":
    main()
