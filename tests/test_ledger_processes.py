"""The ledger between processes: forks, kill -9, a stopped process, many at once."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from processes import GUARD

from nontax.delivery.contract import content
from nontax.delivery.states import Answer
from nontax.delivery.store import Claim, Known, Refused
from nontax.ledger import Ledger

INSERTED = Answer("inserted", code="C1", openid="o1")
BEGIN = """
import os, sys, time
from nontax.delivery.contract import content
from nontax.delivery.states import Answer
from nontax.ledger import Ledger
ledger = Ledger(sys.argv[1])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bills.db"


def _start(path: Path, program: str) -> "subprocess.Popen[str]":
    """Run a program until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + program, str(path)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


HOLDS_TWO = """
ledger.hand_in([content("A1"), content("A2")])
claims = ledger.reserve(2).claims
ledger.handed_over(claims[:1])
print("ready", flush=True)
sys.stdin.readline()
ledger.settle([(claims[0], Answer("inserted", code="C1", openid="o1"))])
print("settled", flush=True)
sys.stdin.readline()
"""


def test_kill_9(path: Path) -> None:
    process = _start(path, HOLDS_TWO)
    with Ledger(path) as ledger:
        assert ledger.expire() == []
        _end(process)
        assert ledger.expire() == [content("A1").key]
        assert ledger.counts() == {"in_doubt": 1, "waiting": 1}
        assert [run.end_reason for run in ledger.runs()] == ["died", ""]
    assert not list(path.parent.glob("*-run-*"))


def test_a_stopped_process_is_alive(path: Path) -> None:
    process = _start(path, HOLDS_TWO)
    process.send_signal(signal.SIGSTOP)
    with Ledger(path) as ledger:
        assert ledger.expire() == []
        assert ledger.counts() == {"sending": 2}
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        assert process.stdout is not None
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "settled\n"
        assert ledger.counts() == {"inserted": 1, "sending": 1}
        _end(process)
        ledger.expire()
        assert ledger.counts() == {"inserted": 1, "waiting": 1}


def test_a_child_that_outlives_its_parent_holds_nothing(path: Path) -> None:
    """It was forked, and keeps whatever it got: neither lock nor mapping are among it."""
    process = _start(
        path,
        """
ledger.hand_in([content("A1")])
ledger.handed_over(ledger.reserve(1).claims)
if os.fork() == 0:
    sys.stdin.readline()
    os._exit(0)
print("ready", flush=True)
sys.stdin.readline()
""",
    )
    process.kill()
    process.wait()
    with Ledger(path) as ledger:
        assert ledger.expire() == [content("A1").key]
    process.communicate()


def test_parent_and_child_go_on_with_runs_of_their_own(path: Path) -> None:
    ledger = Ledger(path)
    ledger.hand_in([content("A1"), content("A2")])
    (claim,) = ledger.reserve(1).claims
    ledger.handed_over([claim])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            (other,) = ledger.reserve(1).claims
            ledger.settle([(other, INSERTED)])
            ledger.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ledger.counts() == {"inserted": 1, "sending": 1}
    ledger.settle([(claim, INSERTED._replace(code="C2"))])
    ledger.close()
    assert [run.pid for run in ledger.runs()] == [os.getpid(), child]
    assert ledger.verify() == []


def test_a_run_ends_with_its_process_and_without_close(path: Path) -> None:
    process = _start(
        path,
        """
ledger.hand_in([content("A1")])
ledger.handed_over(ledger.reserve(1).claims)
print("ready", flush=True)
""",
    )
    process.communicate()
    assert process.returncode == 0
    ledger = Ledger(path, read_only=True)
    assert ledger.counts() == {"in_doubt": 1}
    (run,) = ledger.runs()
    assert run.end_reason == "the process has ended"
    assert not list(path.parent.glob("*-run-*"))


MANY = """
bills = [content(f"A{n}") for n in range(BILLS)]
print("ready", flush=True)
sys.stdin.readline()
mine = 0
for begin in range(0, BILLS, 100):
    ledger.hand_in(bills[begin : begin + 100])
while claims := ledger.reserve(32).claims:
    ledger.handed_over(claims)
    ledger.settle([(c, Answer("inserted", code=c.key.order_id, openid="o")) for c in claims])
    mine += len(claims)
ledger.close()
print(mine, flush=True)
"""


def test_many_processes_and_one_list(path: Path) -> None:
    """`make crash` does it with sixteen and 20,000 bills."""
    processes = int(os.environ.get("LEDGER_PROCESSES", "4"))
    bills = int(os.environ.get("LEDGER_BILLS", "400"))
    running = [_start(path, MANY.replace("BILLS", str(bills))) for _ in range(processes)]
    outputs = []
    for process in running:
        assert process.stdin is not None
        print(file=process.stdin, flush=True)
    for process in running:
        outputs.append(process.communicate()[0])
        assert process.returncode == 0
    assert sum(map(int, outputs)) == bills
    ledger = Ledger(path, read_only=True)
    assert ledger.counts() == {"inserted": bills}
    assert ledger.verify() == []
    assert set(Counter(bill.code for bill in ledger.bills()).values()) == {1}


def test_looking_into_a_ledger_needs_no_compiled_core(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.hand_in([content("A1")])
    program = """
import sys
sys.modules["nontax._core"] = None
from nontax.ledger import Ledger
ledger = Ledger(sys.argv[1], read_only=True)
assert [bill.order_id for bill in ledger.bills()] == ["A1"]
assert ledger.history("A1").bill.state == "waiting"
assert ledger.verify() == []
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


class Alarm:
    """Raises KeyboardInterrupt in the main thread while it is armed."""

    def __init__(self) -> None:
        self.armed = False
        self.rang = 0

    def ring(self, _number: int, _frame: object) -> None:
        if self.armed:
            self.rang += 1
            raise KeyboardInterrupt


def test_ctrl_c_while_the_disk_works_leaves_nothing_open(path: Path) -> None:
    """The claims of whoever was interrupted are given back, not left to the end of the run."""
    ledger = Ledger(path)
    ledger.hand_in([content("A1")])
    alarm = Alarm()
    before = signal.signal(signal.SIGUSR1, alarm.ring)
    for step in range(60):
        answers: list[Claim | Known | Refused] = []
        timer = threading.Timer(step * 0.0001, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        try:
            alarm.armed = True
            answers = ledger.open_attempts([content("A1")])
            alarm.armed = False
        except KeyboardInterrupt:
            pass
        alarm.armed = False
        timer.join()
        for claim in answers:
            assert isinstance(claim, Claim)
            ledger.settle([(claim, Answer("not_sent"))])
        for _ in range(2):  # the attempt that nobody waits for, and its end
            written = threading.Event()
            ledger._owner.submit(lambda connection: None, lambda *_, told=written: told.set())
            assert written.wait(GUARD)
        assert ledger.counts() == {"waiting": 1}
        if step % 10 == 9:
            ledger.close()  # also while claims are given back
    signal.signal(signal.SIGUSR1, before)
    assert alarm.rang > 0
    ledger.close()
