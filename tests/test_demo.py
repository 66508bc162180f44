"""What the README promises of the examples: the demo, the whole way of a bill, the one in C."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bills import bill

from nontax.sandbox import Sandbox, faults

ROOT = Path(__file__).parent.parent


def test_the_demo() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "with the card code" in done.stdout
    assert "fee must be an integer" in done.stdout
    assert "nothing was sent, 2 problems" in done.stdout
    assert "title is empty" in done.stdout
    assert "AccessTokenError: rejected: 42001" in done.stdout
    # The office's day.
    assert "problems: 1; correct the list before it is inserted" in done.stdout
    assert "no problems: 240 bills can be inserted" in done.stdout
    killed, again = done.stdout.split("6. The same command again")
    assert "nontax insert bills.csv --settle 0 --concurrency 4 --new-ledger" in killed
    told = re.search(r"inserted before: (\d+); in doubt: (\d+)", again)
    assert told is not None
    before, doubted = map(int, told.groups())
    assert before + doubted >= 80
    assert doubted <= 2 * 4
    assert f"{240 - before - doubted} bills inserted now; waiting: 0" in again
    assert "In the wallets: 240 of 240; sent twice: 0." in done.stdout
    assert "What to type next:" in done.stdout


def test_the_whole_way_of_a_bill() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "full_flow.py")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Before the citizen presses the button: never auth" in done.stdout
    assert "Pushed by WeChat: order H20231115-0001, succeeded: True" in done.stdout
    assert "Asked, WeChat says the same: auth success" in done.stdout
    assert "In the wallet it is now: INVOICE_REIMBURSE_CANCEL" in done.stdout
    assert "Its status: reject insert" in done.stdout
    assert "A bill for it: rejected: 72035" in done.stdout
    assert "Of the ten interfaces, 10 were called." in done.stdout


def _run_in_c(sandbox: Sandbox, folder: Path, order_id: str) -> "subprocess.CompletedProcess[str]":
    program = ROOT / "build" / "examples" / "insert_bill"
    if not program.exists():
        pytest.fail("build/examples/insert_bill is not built: run `make core`")
    file = folder / "bill.json"
    file.write_text(json.dumps(bill(order_id=order_id), ensure_ascii=False), encoding="utf-8")
    environment = {
        **os.environ,
        "NONTAX_BASE_URL": sandbox.base_url,
        "NONTAX_ACCESS_TOKEN": sandbox.access_token,
    }
    return subprocess.run(
        [str(program), str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment,
    )


def test_the_c_example(sandbox: Sandbox, tmp_path: Path) -> None:
    for status, word in ((0, "inserted"), (1, "rejected")):
        done = _run_in_c(sandbox, tmp_path, "from-c")
        assert (done.returncode, done.stdout.split()[0]) == (status, word)
    assert list(sandbox.bills) == ["from-c"]


@pytest.mark.parametrize(
    ("reply", "status", "lines"),
    [
        (b'{"errcode":0,"code":"123"}', 0, ["inserted", "code   123", "openid "]),
        (b'{"errcode":0}', 3, ["in_doubt", "the reply says success, but has no code"]),
    ],
)
def test_the_c_example_with_an_incomplete_reply(
    sandbox: Sandbox, tmp_path: Path, reply: bytes, status: int, lines: list[str]
) -> None:
    sandbox.inject(faults.Reply(body=reply), path="/nontax/insertbill")
    done = _run_in_c(sandbox, tmp_path, "from-c")
    assert (done.returncode, done.stdout.splitlines()) == (status, lines)
