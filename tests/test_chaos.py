"""The books balance: what a failing server took, against what its clients were told.

A run's seed is in each violation; `make chaos ARGS="--seed ..."` makes the same choices again.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
from chaos import books, driver, ledger
from chaos.ledger import Line
from chaos.plays import QUOTA
from chaos.run import HERE, Plan, run
from marks import ASAN

# ASan takes its time, and its allocator can deadlock in a forked child.
BILLS = 300 if ASAN else 2000
FORKS = 0.0 if ASAN else 0.005


def balance(folder: Path, mode: str, http: str, **changes: Any) -> books.Report:
    """Make a run, and show its report where a test fails."""
    plan: dict[str, Any] = {
        "mode": mode,
        "http": http,
        "bills": BILLS,
        "seed": "20171120",
        "forks": FORKS,
        # In a bulk run each would be a pause until the next minute.
        "quota": 0 if mode in driver.BULK_MODES else 1_000_000,
        "seconds": 50.0,
    }
    report = run(Plan(**(plan | changes)), folder)
    print(books.text(report))
    return report


@pytest.mark.parametrize("mode", driver.MODES)
def test_the_books_balance(tmp_path: Path, mode: str) -> None:
    report = balance(tmp_path, mode, "1")
    assert report.violations == []
    assert sum(report.outcomes.values()) == BILLS
    # Enough has happened, and many bills came through.
    assert report.outcomes["inserted"] > BILLS * 0.25
    assert report.outcomes["in_doubt"]
    assert len(report.faults) > 25
    assert ASAN or report.events["forks"]


@pytest.mark.parametrize("mode", driver.BULK_MODES)
def test_the_books_balance_where_http2_is_offered(tmp_path: Path, mode: str) -> None:
    report = balance(tmp_path, mode, "mix", seed="20180601", bills=BILLS // 2)
    assert report.violations == []
    # How many depends on when connections fall, and on how many share one.
    assert report.outcomes["inserted"] > BILLS // 2 * 0.25


# --- the server and the comparison, without nontax ------------------------------------------------


def test_the_server_s_http2(tmp_path: Path) -> None:
    """An honest client that is not nontax has books that balance, too."""
    report = balance(tmp_path, "plain", "2", bills=1000, interrupts=0.0, kills=0.0)
    assert report.violations == []
    assert set(report.protocols) == {"HTTP/2"}
    assert report.outcomes["inserted"] > 600
    assert {"rst-stream", "refused-stream", "goaway", "http11-required"} <= set(report.faults)


def test_a_client_that_repeats_what_is_in_doubt_is_found(tmp_path: Path) -> None:
    report = balance(tmp_path, "threads", "1", bills=300, bug="resend", kills=0.0)
    assert any("taken 2 times" in violation for violation in report.violations)
    assert any("sent again while attempt 1" in violation for violation in report.violations)
    assert all("[seed 20171120, threads]" in violation for violation in report.violations)


def test_the_server_shares_nothing_with_the_package() -> None:
    shared = {"driver.py", "plain.py", "run.py", "__main__.py"}
    for path in HERE.glob("*.py"):
        if path.name not in shared:
            assert "import nontax" not in path.read_text("utf-8"), path
            assert "from nontax" not in path.read_text("utf-8"), path


def test_the_same_seed_makes_the_same_choices(tmp_path: Path) -> None:
    plays: list[dict[tuple[str, int], str]] = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        balance(folder, "threads", "1", bills=200, faults=0.5, interrupts=0.0, forks=0.0)
        requests = [line for line in ledger.read(folder / "server.jsonl") if line["e"] == "request"]
        # When a token ends is a matter of time.
        plays.append(
            {
                (line["order"], line["attempt"]): line["fault"]
                for line in requests
                if line["fault"] != "token-refused"
            }
        )
    one, two = plays
    both = one.keys() & two.keys()
    assert len(both) > 50
    assert len({one[attempt] for attempt in both}) > 15
    assert all(one[attempt] == two[attempt] for attempt in both)


ORDER = "planted-00000005"


def request(**changes: Any) -> Line:
    """A request that was taken and answered."""
    line = {
        "e": "request",
        "order": ORDER,
        "attempt": 1,
        "line": 1,
        "http": "1.1",
        "fault": "",
        "takes": True,
        "errcode": 0,
        "said": True,
        "whole": True,
        "unprocessed": False,
        "code": "61",
        "openid": "o",
        "content": ledger.digest(ledger.bill(ORDER)),
    }
    return line | changes


def refused(errcode: int = 72036, **changes: Any) -> Line:
    return request(takes=False, errcode=errcode, fault="busy", **changes)


def told(outcome: str, **changes: Any) -> Line:
    return {"e": "outcome", "order": ORDER, "outcome": outcome, "how": None, **changes}


INSERTED = told("inserted", code="61", openid="o")
PART = {"e": "part", "order": ORDER, "line": 1, "http": "1.1", "size": 9, "errcode": None}
UNSAID = refused(errcode=None, said=False)  # type: ignore[arg-type]
UNPROCESSED = refused(errcode=None, unprocessed=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("server", "clients"),
    [
        ([request()], [INSERTED]),
        ([refused(), refused(), request()], [INSERTED]),
        ([refused(40001), request()], [INSERTED]),
        ([refused(QUOTA), request()], [INSERTED]),
        ([UNPROCESSED, request()], [INSERTED]),
        ([request(said=False)], [told("in_doubt")]),
        ([PART], [told("in_doubt")]),
        ([], [told("in_doubt")]),
        ([], [told("not_sent")]),
        ([refused()], [told("not_sent")]),
        ([refused()], [told("rejected", errcode=72036)]),
        ([refused(72018)], [told("rejected", errcode=72018)]),
        ([], [told("unsaid", how="KeyboardInterrupt")]),
    ],
)
def test_books_that_balance(server: list[Line], clients: list[Line]) -> None:
    assert books.compare([ORDER], server, clients).violations == []


@pytest.mark.parametrize(
    ("server", "clients", "what"),
    [
        ([request(), request()], [INSERTED], "taken 2 times"),
        ([request(), request()], [told("in_doubt")], "taken 2 times"),
        ([], [INSERTED], "inserted, but not taken"),
        ([request(code="62")], [INSERTED], "another bill's code"),
        ([request(openid="p")], [INSERTED], "another bill's code"),
        ([request(errcode=72018)], [told("rejected", errcode=72018)], "rejected, but taken"),
        ([request()], [told("not_sent")], "not_sent, but taken"),
        ([PART], [told("not_sent")], "some of it has come"),
        ([refused(72018)], [told("rejected", errcode=72036)], "which was not said last"),
        ([], [told("rejected", errcode=72036)], "which was not said last"),
        ([refused(), UNSAID], [told("rejected", errcode=72036)], "which was not said last"),
        ([refused(), PART], [told("rejected", errcode=72036)], "which was not said last"),
        ([refused(said=False)], [told("rejected", errcode=72036)], "which was not said last"),
        ([refused(said=False)], [told("not_sent")], "some of it has come"),
        ([*[refused()] * 3, request()], [INSERTED], "sent again 3 times (retry)"),
        ([*[refused(40001)] * 2, request()], [INSERTED], "sent again 2 times (token)"),
        ([*[refused(QUOTA)] * 11, request()], [INSERTED], "sent again 11 times (quota)"),
        ([refused(-1)], [told("rejected", errcode=-1)], "does not say that it was not taken"),
        ([PART, request()], [INSERTED], "while attempt 1 was in doubt"),
        ([refused(said=False), request()], [INSERTED], "while attempt 1 was in doubt"),
        ([refused(72018), request()], [INSERTED], "while attempt 1 was in doubt"),
        ([refused(), refused(-1), request()], [INSERTED], "while attempt 2 was in doubt"),
        ([request(content=1)], [INSERTED], "not the bill that was handed in"),
        ([request()], [], "0 outcomes"),
        ([request()], [INSERTED, INSERTED], "2 outcomes"),
        ([request()], [told("ValueError: no")], "no such outcome"),
        ([request()], [told("unsaid", how="CancelledError")], "of a bill under way"),
        ([{"e": "bug", "what": "a crash"}], [told("not_sent")], "the server stumbled"),
        ([{"e": "garbled", "what": "half"}], [told("in_doubt")], "not a bill: half"),
        ([], [told("not_sent"), {"e": "problem", "what": "a hang"}], "a hang"),
    ],
)
def test_books_that_do_not_balance(server: list[Line], clients: list[Line], what: str) -> None:
    violations = books.compare([ORDER], server, clients, seed="4711").violations
    assert any(what in violation for violation in violations)
    assert all("[seed 4711]" in violation for violation in violations)


def test_a_violation_tells_what_the_bill_has_met() -> None:
    server = [{"e": "fault", "fault": "idle-bytes", "line": 1}, request(fault="late")]
    doubt = told("in_doubt", reason="why")
    violations = books.compare([ORDER], server, [doubt, INSERTED]).violations
    assert violations == [
        f"{ORDER}: 2 outcomes | server: idle-bytes+late: took, said 0 | "
        "client: in_doubt why; inserted [seed ?]"
    ]


def test_a_bill_that_nobody_has_handed_in() -> None:
    (violation,) = books.compare([], [request()], []).violations
    assert "nobody has handed in" in violation


def test_interrupts_that_say_nothing_are_few() -> None:
    orders = [f"planted-{number:08}" for number in range(3)]
    silent = [told("unsaid", how="KeyboardInterrupt") | {"order": order} for order in orders]
    server = [request(order=order, content=ledger.digest(ledger.bill(order))) for order in orders]
    assert books.compare(orders[:2], server[:2], silent[:2]).violations == []
    (violation,) = books.compare(orders, server, silent).violations
    assert "3 of 3 interrupts say nothing" in violation


def test_what_need_not_have_been_in_doubt_is_counted() -> None:
    doubt = [told("in_doubt")]
    assert books.compare([ORDER], [], doubt).needless.total() == 1
    assert books.compare([ORDER], [request()], doubt).needless.total() == 1
    assert books.compare([ORDER], [UNPROCESSED], doubt).needless.total() == 1
    assert books.compare([ORDER], [request(whole=False)], doubt).needless.total() == 0
    assert books.compare([ORDER], [refused(-1)], doubt).needless.total() == 0
    assert books.compare([ORDER], [PART], doubt).needless.total() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="lists processes in /proc")
def test_a_run_leaves_no_process_behind(tmp_path: Path) -> None:
    balance(tmp_path, "threads", "1", bills=50)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path).encode() not in process.read_bytes()
        except OSError:
            continue  # it has just ended
