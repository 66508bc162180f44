"""The command line at a terminal: progress, Ctrl-C, questions, width, colour, Chinese."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from offices import Office, check_ledger
from terminals import Terminal

from nontax import Ledger
from nontax.cli.output import width_of
from nontax.sandbox import Sandbox, faults

POST = "/nontax/insertbill"
CHINESE = {"LC_ALL": "zh_CN.UTF-8"}
NEW = ("--settle", "0", "--new-ledger")


@pytest.fixture
def office(tmp_path: Path, sandbox: Sandbox) -> Iterator[Office]:
    yield Office(tmp_path, sandbox)
    check_ledger(tmp_path)


def at(office: Office, *argv: str, **environment: str) -> Terminal:
    return Terminal(office.folder, office.environment | environment, *argv)


def slowly(office: Office, seconds: float = 0.02) -> None:
    office.sandbox.inject(faults.Delay(seconds), times=10_000, path=POST)


def test_progress_has_rate_and_time_left_and_leaves_no_trace(office: Office) -> None:
    slowly(office, 0.03)
    with at(office, "insert", office.list(count=100), *NEW, "--concurrency", "4") as terminal:
        assert terminal.end() == 0
    shown = [line for line in terminal.lines if " a second, " in line]
    assert shown
    for line in shown:
        assert re.fullmatch(r"\d+ of 100 bills, \d+ a second, \d+:\d\d left", line), line
    numbers = [int(line.split()[0]) for line in shown]
    assert numbers == sorted(numbers)
    assert terminal.text.rindex("\x1b[K") < terminal.text.index("100 bills inserted now")
    assert terminal.widest() <= 80


def test_quiet_has_no_progress(office: Office) -> None:
    slowly(office)
    with at(office, "insert", office.list(count=60), *NEW, "--quiet") as terminal:
        assert terminal.end() == 0
    assert "a second" not in terminal.text
    assert "\r\x1b[K" not in terminal.text


@pytest.mark.parametrize(("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour(office: Office, environment: dict[str, str], is_coloured: bool) -> None:
    office.insert(office.list(), "--new-ledger")
    with at(office, "cancel", "--order", "A1", "--yes", "1", **environment) as terminal:
        assert terminal.end() == 0
    assert ("\x1b[1;33m" in terminal.text) == is_coloured


def test_ctrl_c_ends_after_those_under_way_and_says_how_to_go_on(office: Office) -> None:
    slowly(office, 0.3)
    argv = ("insert", office.list(count=100), *NEW, "--concurrency", "4")
    with at(office, *argv) as terminal:
        office.sandbox.wait_for_requests(6)
        terminal.type("\x03")
        assert terminal.end() == 130
    said = terminal.text
    assert said.index("stopping: waiting for the answers") < said.index(
        "run the same command again"
    )
    with Ledger(office.folder / "bills.db", read_only=True) as ledger:
        counts = ledger.counts()
    assert set(counts) == {"inserted", "waiting"}
    assert counts["inserted"] == len(office.posts())
    office.sandbox.behave()
    assert office.insert("list.csv").code == 0
    assert set(office.posts().values()) == {1}
    assert len(office.sandbox.bills) == 100


def test_a_closed_window_ends_as_sigterm_does(office: Office) -> None:
    slowly(office, 0.2)
    with at(office, "insert", office.list(count=100), *NEW, "--concurrency", "4") as terminal:
        office.sandbox.wait_for_requests(6)
        terminal.hang_up()
        assert terminal.process.wait(30) == 143
    with Ledger(office.folder / "bills.db", read_only=True) as ledger:
        assert set(ledger.counts()) == {"inserted", "waiting"}
        assert ledger.runs()[-1].end_reason == "interrupted"


@pytest.mark.parametrize("environment", [{}, CHINESE], ids=["en", "zh"])
@pytest.mark.parametrize(
    "argv", [("list",), ("status",), ("doctor",), ("list", "--state", "inserted")], ids=" ".join
)
def test_a_table_cuts_nothing(
    office: Office, argv: tuple[str, ...], environment: dict[str, str]
) -> None:
    long = "开票订单" + "9" * 24
    office.insert(
        office.list(changes={1: {"订单号": long, "交款人": "某某市" * 20}}), "--new-ledger"
    )
    with at(office, *argv, **environment) as terminal:
        assert terminal.end() == 0
    lines = terminal.text.split("\r\n")
    table = [line for line in lines if not line.startswith("\x1b")]
    if argv[0] == "list":  # an order that is not whole cannot be typed again
        assert long in terminal.text
    elif argv[0] == "status":
        assert max(map(width_of, table)) <= 80
    columns = {line.index("已入卡包") for line in table[1:] if "已入卡包" in line}
    assert len(columns) <= 1 or environment == CHINESE


def test_cancel_asks_for_the_count(office: Office) -> None:
    office.insert(office.list(), "--new-ledger")
    for typed, code in (("y", 2), ("3", 0)):
        with at(office, "cancel", "list.csv", **CHINESE) as terminal:
            terminal.read_until("请输入该数字以继续")
            terminal.type(f"{typed}\n")
            assert terminal.end() == code
        assert "不会在财政票据系统冲红，只更新卡包状态" in terminal.lines[0]
    updates = [r for r in office.sandbox.requests if "updatestatus" in r.path.lower()]
    assert len(updates) == 3


def _doubt(office: Office, count: int) -> None:
    office.sandbox.inject(faults.Close("body", taken=True), times=count, path=POST)
    argv = ("insert", office.list(count=count), *NEW, "--concurrency", "1")
    assert office.run(*argv).code == 4


def _age(office: Office) -> None:
    """Have the attempts lie two minutes back: a resend waits for one."""
    import sqlite3

    connection = sqlite3.connect(office.folder / "bills.db")
    with connection:
        connection.execute("UPDATE attempt SET began = began - 120000, ended = ended - 120000")
    connection.close()


RESEND = ("resolve", "--resend", "--by", "王经办", "--checked-by", "李复核", "--note", "月末")


def test_a_resend_is_looked_at_before_the_others_follow(office: Office) -> None:
    _doubt(office, 3)
    with at(office, *RESEND) as terminal:  # at once
        terminal.read_until("less than 60 seconds old")
        terminal.read_until("type the number to go on: ")
        terminal.type("0\n")
        assert terminal.end() == 2
    assert set(office.posts().values()) == {1}
    _age(office)
    with at(office, *RESEND, **CHINESE) as terminal:
        shown = terminal.read_until("请输入该数字以继续：")
        assert "先单独重发第一张" in shown
        assert "72056" in shown
        assert "已入卡包" in shown
        assert office.posts() == {"A1": 2, "A2": 1, "A3": 1}
        terminal.type("2\n")
        assert terminal.end() == 0
    assert office.posts() == {"A1": 2, "A2": 2, "A3": 2}
    assert len(office.sandbox.bills) == 3
    shown = office.run("show", "A1", "--format", "table").out
    assert "王经办, checked by 李复核" in shown
    assert "signed by 王经办" in shown
    assert RESEND[-1] in shown  # the note


def test_a_resend_stops_at_what_every_bill_would_meet(office: Office) -> None:
    _doubt(office, 2)
    _age(office)
    office.sandbox.inject(faults.Errcode(45009), times=9, path=POST)
    with at(office, *RESEND) as terminal:
        assert terminal.end() == 5
    assert "every other bill would meet the same" in terminal.text
    assert office.posts() == {"A1": 2, "A2": 1}
    assert office.run("status").last["in_doubt"] == 2


def test_a_ledger_of_the_sandbox_is_not_resent_to_another_server(office: Office) -> None:
    _doubt(office, 1)
    _age(office)
    office.environment["NONTAX_BASE_URL"] = "https://api.weixin.qq.com"
    with at(office, *RESEND) as terminal:
        assert terminal.end() == 6
    assert "use another ledger" in terminal.text
    assert office.posts() == {"A1": 1}


def test_an_old_pdf_is_uploaded_again_before_a_resend(office: Office) -> None:
    import sqlite3

    from offices import COLUMNS, PDF

    (office.folder / "a.pdf").write_bytes(PDF)
    header = [*COLUMNS[:-1], "PDF文件名"]
    office.table("list.csv", header, [office.row(1, s_pdf_media_id="a.pdf")])
    office.sandbox.inject(faults.Close("body", taken=True), path=POST)
    assert office.insert("list.csv", "--new-ledger").code == 4
    _age(office)
    with at(office, *RESEND) as terminal:
        assert terminal.end() == 0
    assert len([r for r in office.sandbox.requests if "setpdf" in r.path]) == 1
    office.sandbox.inject(faults.Close("body", taken=True), path=POST)
    office.table("two.csv", header, [office.row(2, s_pdf_media_id="a.pdf")])
    assert office.insert("two.csv").code == 4
    connection = sqlite3.connect(office.folder / "bills.db")
    with connection:
        connection.execute("UPDATE bill SET pdf_uploaded = pdf_uploaded - 61 * 3600000")
    connection.close()
    _age(office)
    with at(office, *RESEND) as terminal:
        assert terminal.end() == 0
    assert len([r for r in office.sandbox.requests if "setpdf" in r.path]) == 3


def test_advice_is_shown_whole(office: Office) -> None:
    office.list()
    with at(office, "check", "list.csv", "--settle", "3600", **CHINESE) as terminal:
        assert terminal.end() == 2
    assert terminal.widest() <= 80
    assert "--settle 0" in terminal.text


def test_a_chinese_screen(office: Office) -> None:
    slowly(office, 0.05)
    office.list(count=40, changes={7: {"交款人": "张三"}})
    office.sandbox.inject(faults.Errcode(72038), skip=0, path=POST)
    with at(office, "insert", "list.csv", *NEW, "--concurrency", "4", **CHINESE) as terminal:
        assert terminal.end() in (0, 3)
    assert any(re.search(r"\d+/40 张，每秒 \d+ 张，剩余 \d+:\d\d", line) for line in terminal.lines)
    assert terminal.widest() <= 80 or "|" in terminal.text
    with at(office, "show", "A8", **CHINESE) as terminal:
        assert terminal.end() == 0
    for words in (
        "票据",
        "订单号: A8",
        "交款人: 张*",
        "状态: 已入卡包",
        "发送记录",
        "答复用户",
        "卡包",
    ):
        assert words in terminal.text
    assert time.strftime("%Y-") in terminal.text
