"""What a failing server has taken, compared with what its clients were told.

A run's seed is in each violation; `make chaos ARGS="--seed ..."` makes the same choices again.
"""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from chaos import comparison, driver, faults, journal
from chaos.errcodes import QUOTA
from chaos.journal import Line
from chaos.run import HERE, Plan, run
from marks import ASAN

# ASan takes its time, and its allocator can deadlock in a forked child.
BILLS = 400 if ASAN else 800
FORKS = 0.0 if ASAN else 0.01

# What a client must have met. These lists stand here once more so that none gets lost there.
CONNECTION = {
    *("accept-close", "accept-reset", "accept-half-close"),
    *("hello-close", "hello-reset", "hello-garbage", "hello-stall"),
    *("handshake-close", "handshake-drop", "handshake-reset", "handshake-half-close"),
}
SERVER = {"refuse", "restart", "kill"}
REQUEST = {
    # The connection ends, or the client waits in vain, at every point of a request.
    *("head-close", "head-drop", "head-reset", "head-half-close", "head-stall"),
    *("body-close", "body-drop", "body-reset", "body-half-close", "body-stall"),
    *("early-refusal", "early-status"),
    # ... at every point of a reply, or before it.
    *("close", "drop", "reset", "half-close", "silence", "cut"),
    # ... between two bills.
    *("idle-close", "idle-drop", "idle-reset", "idle-half-close", "idle-half-close-takes"),
    "idle-bytes",
    *("late", "drip", "drip-late"),
    *("surplus-success", "surplus-refusal", "surplus-line-break", "surplus-farewell"),
    *("length-too-long", "length-too-short", "twice", "garbage", "informational"),
    *("json-odd", "redirect", "status"),
    *("minus-one", "busy", "token-refused-for-nothing", "token-refused"),
    *("errcode", "errcode-of-account", "quota"),
    *("chunked", "chunked-wrong", "until-close", "until-drop", "status-line-wrong", "farewell"),
}

UNDRAWN = {"token-refused"}  # follows from when a token ends


def balance(folder: Path, mode: str, **changes: Any) -> comparison.Report:
    """Make a run, and show its report where a test fails."""
    plan: dict[str, Any] = {
        "mode": mode,
        "bills": BILLS,
        "seed": "20171120",
        "forks": FORKS,
        # In a bulk run each would be a pause until the next minute.
        "quota": 0 if mode in driver.BULK_MODES else 1_000_000,
        "timeout": 1.0 if ASAN else 0.6,
        "seconds": 120.0,
    }
    report = run(Plan(**(plan | changes)), folder)
    print(comparison.text(report))
    return report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], comparison.Report]:
    """The report of one run, which is made once for all tests."""

    @functools.cache
    def report(mode: str) -> comparison.Report:
        return balance(tmp_path_factory.mktemp(mode), mode)

    return report


@pytest.mark.parametrize("mode", driver.MODES)
def test_every_bill_is_accounted_for(made: Callable[[str], comparison.Report], mode: str) -> None:
    report = made(mode)
    assert report.violations == []
    assert set(report.outcomes) == set(comparison.OUTCOMES)
    assert report.outcomes.total() + report.unsaid == BILLS
    # Many bills came through: how many, with which timing, is chance.
    assert report.outcomes["inserted"] > BILLS * 0.1
    assert {f"server {name}" for name in SERVER} <= set(report.faults)
    assert report.events["KeyboardInterrupt"] or report.events["CancelledError"]
    assert ASAN or report.events["forks"]


def test_the_runs_together_meet_every_fault(
    made: Callable[[str], comparison.Report], tmp_path: Path
) -> None:
    wanted = {f"request {name}": name for name in REQUEST}
    wanted |= {f"connection {name}": name for name in CONNECTION}
    total = comparison.Report()
    for mode in driver.MODES:
        total.add(made(mode))
    # Other faults of its connection, or Ctrl-C, may have come before one. It gets a run of its own.
    only = frozenset(wanted[name] for name in wanted.keys() - total.faults.keys())
    assert len(only) < len(wanted) / 4
    if only:
        quiet = {"interrupts": 0.0, "kills": 0.0, "lulls": 0.1}
        report = balance(tmp_path, "abulk", bills=200, only=only, **quiet)
        assert report.violations == []
        total.add(report)
    assert wanted.keys() - total.faults.keys() == set()


# --- the server and the comparison, without nontax ------------------------------------------------


def test_the_tables_hold_every_fault() -> None:
    tables = (faults.HEAD_FAULTS, faults.IDLE_FAULTS, faults.REPLY_FAULTS)
    assert faults.CONNECTION_FAULTS.keys() == CONNECTION
    assert {name for table in tables for name in table} == REQUEST - UNDRAWN


def test_a_deck_deals_everything_before_chance_decides() -> None:
    def first(seed: str) -> list[str]:
        deck = faults.Deck(seed, 1e-9, faults.REPLY_FAULTS, rounds=2, every=3)
        rng = Random(1)
        return [deck.deal(number, rng) for number in range(6 * len(faults.REPLY_FAULTS) + 30)]

    dealt = Counter(filter(None, first("a")))
    assert dealt == dict.fromkeys(faults.REPLY_FAULTS, 2)
    assert first("a") == first("a")
    assert first("a") != first("b")


def test_a_client_that_repeats_what_is_in_doubt_is_found(tmp_path: Path) -> None:
    report = balance(tmp_path, "threads", bills=300, bug="resend", kills=0.0)
    assert any("taken 2 times" in violation for violation in report.violations)
    assert any("sent again while attempt 1" in violation for violation in report.violations)
    assert all("[seed 20171120, threads]" in violation for violation in report.violations)


def test_the_server_shares_nothing_with_the_package() -> None:
    shared = {"driver.py", "run.py", "page.py", "__main__.py"}
    for path in HERE.glob("*.py"):
        if path.name not in shared:
            assert "import nontax" not in path.read_text("utf-8"), path
            assert "from nontax" not in path.read_text("utf-8"), path


@pytest.mark.parametrize("mode", ["threads", "aio"])
def test_the_same_seed_makes_the_same_choices(tmp_path: Path, mode: str) -> None:
    met: list[dict[tuple[str, int], str]] = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        balance(folder, mode, bills=300, faults=0.15, interrupts=0.0, kills=0.0, forks=0.0)
        requests = [
            line for line in journal.read(folder / "server.jsonl") if line["e"] == "request"
        ]
        # When a token ends depends on how many requests came before.
        met.append(
            {
                (line["order"], line["attempt"]): line["fault"]
                for line in requests
                if line["fault"] != "token-refused"
            }
        )
    one, two = met
    both = one.keys() & two.keys()
    assert len(both) > 40
    assert len({one[attempt] for attempt in both}) > 15
    assert all(one[attempt] == two[attempt] for attempt in both)


ORDER = "planted-00000005"


def request(**changes: Any) -> Line:
    """A request that was taken and answered: two lines of the server's journal in one.

    out: None if nobody knows whether the answer went out; KILLED if the second line is missing.
    """
    line = {
        "e": "request",
        "order": ORDER,
        "attempt": 1,
        "line": 1,
        "fault": "",
        "takes": True,
        "errcode": 0,
        "out": True,
        "whole": True,
        "code": "61",
        "openid": "o",
        "content": journal.digest(journal.bill(ORDER)),
    }
    return line | changes


def refused(errcode: int | None = 72036, **changes: Any) -> Line:
    return request(**{"takes": False, "errcode": errcode, "fault": "busy"} | changes)


def told(outcome: str, **changes: Any) -> Line:
    return {"e": "outcome", "order": ORDER, "outcome": outcome, "how": None, **changes}


INSERTED = told("inserted", code="61", openid="o")
LIFE = {"e": "life"}
KILLED = "killed"
PART = request(e="part", fault="", takes=False, errcode=None, out=KILLED)


def compare(
    server: Iterable[Line], clients: Iterable[Line], orders: Iterable[str] = (ORDER,)
) -> comparison.Report:
    lines = []
    for number, line in enumerate(server):
        lines.append(line | {"number": number})
        if line.get("out", KILLED) != KILLED:
            after = {name: line[name] for name in ("out", "whole", "fault")}
            lines.append(after | {"e": "answered", "number": number})
    return comparison.compare(orders, lines, clients, seed="4711")


@pytest.mark.parametrize(
    ("server", "clients"),
    [
        ([request()], [INSERTED]),
        ([refused(), refused(), request()], [INSERTED]),
        ([refused(40001), request()], [INSERTED]),
        ([refused(QUOTA), request()], [INSERTED]),
        ([request(out=False)], [told("in_doubt")]),
        ([refused(out=None), request()], [INSERTED]),
        # Killed before it could write that the refusal had gone out.
        ([LIFE, refused(out=KILLED), LIFE, request()], [INSERTED]),
        ([LIFE, refused(out=KILLED), LIFE], [told("rejected", errcode=72036)]),
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
    assert compare(server, clients).violations == []


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
        ([refused(), refused(None)], [told("rejected", errcode=72036)], "not said last"),
        ([refused(), PART], [told("rejected", errcode=72036)], "which was not said last"),
        ([refused(out=False)], [told("rejected", errcode=72036)], "which was not said last"),
        ([refused(out=False)], [told("not_sent")], "some of it has come"),
        ([*[refused()] * 3, request()], [INSERTED], "sent again 3 times (retry)"),
        ([*[refused(40001)] * 2, request()], [INSERTED], "sent again 2 times (token)"),
        ([*[refused(QUOTA)] * 11, request()], [INSERTED], "sent again 11 times (quota)"),
        ([refused(-1)], [told("rejected", errcode=-1)], "does not say that it was not taken"),
        ([PART, request()], [INSERTED], "while attempt 1 was in doubt"),
        # What the server meant to say did not go out.
        ([refused(out=False), request()], [INSERTED], "while attempt 1 was in doubt"),
        ([LIFE, refused(out=KILLED), request()], [INSERTED], "while attempt 1 was in doubt"),
        # Whatever became of the answers of a killed server, what it took it has taken.
        ([LIFE, request(out=KILLED), LIFE, request()], [INSERTED], "taken 2 times"),
        ([LIFE, request(out=KILLED), LIFE], [told("not_sent")], "not_sent, but taken"),
        ([refused(72018), request()], [INSERTED], "while attempt 1 was in doubt"),
        ([refused(), refused(-1), request()], [INSERTED], "while attempt 2 was in doubt"),
        ([request(content=1)], [INSERTED], "not the bill that was handed in"),
        ([request()], [], "0 outcomes"),
        ([request()], [INSERTED, INSERTED], "2 outcomes"),
        ([request()], [told("ValueError: no")], "no such outcome"),
        ([request()], [told("unsaid", how="CancelledError")], "says nothing of its bill"),
        ([], [told("unsaid", how="CancelledError")], "says nothing of its bill"),
        ([{"e": "bug", "what": "a crash"}], [told("not_sent")], "the server stumbled"),
        ([{"e": "garbled", "what": "half"}], [told("in_doubt")], "not a bill: half"),
        ([], [told("not_sent"), {"e": "problem", "what": "a hang"}], "a hang"),
    ],
)
def test_books_that_do_not_balance(server: list[Line], clients: list[Line], what: str) -> None:
    violations = compare(server, clients).violations
    assert any(what in violation for violation in violations)
    assert all("[seed 4711]" in violation for violation in violations)


def test_a_violation_tells_what_the_bill_has_met() -> None:
    idle = {"e": "fault", "fault": "idle-bytes", "line": 1, "where": "request"}
    server = [idle, refused(out=False, fault="half-close"), request(fault="late", out=None)]
    violations = compare(server, [told("in_doubt", reason="why"), INSERTED]).violations
    assert violations[-1] == (
        f"{ORDER}: 2 outcomes | server: idle-bytes+half-close: took not, did not say 72036; "
        "idle-bytes+late: took, perhaps said 0 | client: in_doubt why; inserted [seed 4711]"
    )


def test_a_bill_that_nobody_has_handed_in() -> None:
    (violation,) = compare([request()], [], orders=[]).violations
    assert "nobody has handed in" in violation


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
def test_interrupts_that_say_nothing_are_few(seen: bool) -> None:
    """Also where nothing came to the server: the caller cannot know that."""
    orders = [f"planted-{number:08}" for number in range(3)]
    silent = [told("unsaid", how="KeyboardInterrupt") | {"order": order} for order in orders]
    server = [request(order=order, content=journal.digest(journal.bill(order))) for order in orders]
    few = compare(server[:2] if seen else [], silent[:2], orders[:2])
    assert (few.violations, few.unsaid, few.outcomes.total()) == ([], 2, 0)
    (violation,) = compare(server if seen else [], silent, orders).violations
    assert "3 of 3 interrupts say nothing" in violation


@pytest.mark.parametrize(
    ("server", "count"),
    [
        ([], 1),
        ([request()], 1),
        ([request(whole=False)], 0),
        ([request(out=False)], 0),
        ([request(out=None)], 0),
        ([LIFE, request(out=KILLED), LIFE], 0),
        ([refused(-1)], 0),
        ([PART], 0),
    ],
)
def test_what_need_not_have_been_in_doubt_is_counted(server: list[Line], count: int) -> None:
    report = compare(server, [told("in_doubt")])
    assert (report.needless.total(), report.broken_off.total()) == (count, 0)


@pytest.mark.parametrize("how", comparison.BROKEN_OFF)
def test_what_the_driver_itself_has_ended_is_counted_apart(how: str) -> None:
    report = compare([request()], [told("in_doubt", how=how)])
    assert (report.needless.total(), report.broken_off) == (0, {how: 1})


def test_a_fault_that_was_not_met_is_not_counted() -> None:
    met = compare([request(fault="cut")], [INSERTED])
    assert met.faults == {"request cut": 1}
    assert compare([request(fault="cut", out=KILLED)], [INSERTED]).faults == {}


@pytest.mark.skipif(sys.platform != "linux", reason="lists processes in /proc")
def test_a_run_leaves_no_process_behind(tmp_path: Path) -> None:
    balance(tmp_path, "threads", bills=50)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path).encode() not in process.read_bytes()
        except OSError:
            continue  # it has just ended
