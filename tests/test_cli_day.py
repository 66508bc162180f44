"""A new user's day, and what people do who type a command twice."""

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from offices import COLUMNS, PDF, Office, check_ledger

from nontax import Ledger, sheets
from nontax.sandbox import Sandbox, faults

POST = "/nontax/insertbill"
DAY = Path(__file__).resolve().parent.parent / "examples" / "day.py"
NEW = ("--settle", "0", "--new-ledger")


@pytest.fixture
def office(tmp_path: Path, sandbox: Sandbox) -> Iterator[Office]:
    yield Office(tmp_path, sandbox)
    check_ledger(tmp_path)


def test_a_new_users_day(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    done = subprocess.run(
        [sys.executable, str(DAY), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

    # The reports, opened again.
    text = (folder / "对账" / "report.jsonl").read_text("utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    total = next(one for one in records if one.get("type") == "total" and one["name"] == "issues")
    assert total["list_rows"] == total["other_rows"] == 200
    assert total["list_fen"] == total["other_fen"] == sum(n * 100 + 50 for n in range(1, 201))
    open_classes = {one["name"] for one in records if one.get("type") == "class" and one["open"]}
    assert open_classes <= {"code_unknown"}
    book = sheets.open_list(folder / "清单.xlsx", settle=0).check()
    assert book.totals == {"bill": (200, total["list_fen"])}
    assert (folder / "对账" / "report.xlsx").read_bytes().startswith(b"PK")
    assert "</html>" in (folder / "对账" / "report.html").read_text("utf-8")
    page = (folder / "JF000007.html").read_text("utf-8")
    assert "JF000007" in page
    assert "张三丰" not in page
    with Ledger(folder / "备份.db", read_only=True) as copy:
        assert copy.counts() == {"inserted": 200}


def test_the_same_command_in_two_terminals_sends_nothing_twice(office: Office) -> None:
    first = office.list("first.csv", count=1, first=1000)
    assert office.insert(first, "--new-ledger").code == 0
    office.sandbox.inject(faults.Delay(0.02), times=1000, path=POST)
    argv = ("insert", office.list(count=150), "--settle", "0", "--concurrency", "8")
    both = [office.start(*argv) for _ in range(3)]
    ended = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0, 0], ended
    lasts = [json.loads(out.splitlines()[-1]) for out, _ in ended]
    assert sum(last["sent"].get("inserted", 0) for last in lasts) == 150
    assert set(office.posts().values()) == {1}
    assert len(office.sandbox.bills) == 151


def test_two_new_ledgers_at_once_are_one(office: Office) -> None:
    office.list(count=40)
    both = [office.start("insert", "list.csv", *NEW) for _ in range(2)]
    ended = [process.communicate() for process in both]
    assert sorted(process.returncode for process in both) in ([0, 0], [0, 2]), ended
    assert set(office.posts().values()) == {1}
    assert len(office.sandbox.bills) == 40


def test_a_timer_and_a_person_at_once(office: Office) -> None:
    office.sandbox.inject(faults.Errcode(45009), times=999, path=POST)
    assert office.insert(office.list(count=60), "--new-ledger").code == 5
    before = office.posts()
    office.sandbox.behave()
    office.sandbox.inject(faults.Delay(0.02), times=1000, path=POST)
    processes = [
        office.start("resume"),
        office.start("insert", "list.csv", "--settle", "0"),
        office.start("resume"),
    ]
    ended = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ended
    assert set((office.posts() - before).values()) == {1}
    assert len(office.sandbox.bills) == 60


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_cleanly_and_the_same_command_goes_on(
    office: Office, number: signal.Signals, code: int
) -> None:
    office.sandbox.inject(faults.Delay(0.2), times=1000, path=POST)
    office.list(count=80)
    process = office.start("insert", "list.csv", *NEW, "--concurrency", "4")
    office.sandbox.wait_for_requests(6)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code, err
    assert json.loads(out.splitlines()[-1])["exit"] == code
    assert "run the same command again to continue" in err
    with Ledger(office.folder / "bills.db", read_only=True) as ledger:
        counts = ledger.counts()
        assert ledger.runs()[-1].end_reason == "interrupted"
    assert counts == {"inserted": len(office.posts()), "waiting": 80 - len(office.posts())}
    office.sandbox.behave()
    assert office.insert("list.csv").code == 0
    assert set(office.posts().values()) == {1}


def test_a_signal_before_anything_is_sent(office: Office) -> None:
    """It comes while the token is fetched."""
    office.sandbox.inject(faults.NeverAnswer())
    process = office.start("insert", office.list(count=30), *NEW, "--concurrency", "2")
    office.sandbox.wait_for_requests(1)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert len(office.posts()) <= 2
    assert office.insert("list.csv").code == 0
    assert set(office.posts().values()) == {1}


@pytest.mark.parametrize(
    "command", [("status",), ("list",), ("show", "A1"), ("ledger", "verify"), ("doctor",)]
)
def test_what_only_looks_answers_on_a_full_disk(office: Office, command: tuple[str, ...]) -> None:
    assert office.run("insert", office.list(), *NEW).code == 0
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{full}from nontax import cli; raise SystemExit(cli.main())",
            *command,
        ],
        cwd=office.folder,
        env={**os.environ, **office.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    # doctor says that nothing can be written.
    assert done.returncode in ((6,) if command[0] == "doctor" else (0, 3)), done.stderr
    assert "Traceback" not in done.stderr
    assert "A1" in done.stdout or command[0] not in ("list", "show")
    assert json.loads(done.stdout.splitlines()[-1])["exit"] == done.returncode


@pytest.mark.parametrize("kills", [3])
def test_killed_again_and_again(office: Office, kills: int) -> None:
    office.list(count=120)
    office.insert(office.list("zero.csv", count=1, first=900), "--new-ledger")
    office.sandbox.inject(faults.Delay(0.02), times=10_000, path=POST)
    for kill in range(kills):
        process = office.start("insert", "list.csv", "--settle", "0", "--concurrency", "4")
        office.sandbox.wait_for_requests(len(office.sandbox.requests) + 20 + kill)
        process.kill()
        process.communicate()
    printed = office.insert("list.csv")
    assert printed.code == 4
    assert printed.last["in_doubt"] <= 2 * 4 * kills
    assert set(office.posts().values()) == {1}
    for row in office.run("list", "--state", "in_doubt").lines:
        found = "--inserted" if row["order_id"] in office.sandbox.bills else "--not-taken"
        assert office.run("resolve", found, row["order_id"], "--by", "王", "--note", "x").code == 0
    assert office.run("resume").code == 0
    assert len(office.sandbox.bills) == 121


# What the documents and the examples say

ROOT = DAY.parent.parent
TIMER = ROOT / "examples" / "timer"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["docs/cli.md", "docs/zh/cli.md"])
def test_the_commands_of_the_page_run_in_their_order(office: Office, page: str) -> None:
    rows = [office.row(n, 订单号=f"H20261129-{n:04}") for n in range(1, 10)]
    office.table("清单.xlsx", COLUMNS, rows)
    lines = "".join(BLOCK.findall((ROOT / page).read_text("utf-8"))).splitlines()
    ran = []
    for line in lines:
        _, command, *rest = shlex.split(line, comments=True)
        # The list was written this moment.
        now = ["--settle", "0"] if command in ("check", "insert", "reconcile") else []
        ran.append(office.run(command, *rest, *now))
    assert len(ran) == 15
    assert [(line, one) for line, one in zip(lines, ran, strict=True) if one.code] == []
    assert office.posts().total() == 9


@pytest.mark.parametrize("page", ["docs/in-doubt.md", "docs/zh/in-doubt.md"])
def test_the_commands_about_doubt_run(office: Office, page: str) -> None:
    office.sandbox.inject(faults.Close("body", taken=True), path=POST)
    office.table("list.csv", COLUMNS, [office.row(8, 订单号="H20261129-0008")])
    assert office.insert("list.csv", "--new-ledger").code == 4
    lines = "".join(BLOCK.findall((ROOT / page).read_text("utf-8"))).splitlines()
    assert [office.run(*shlex.split(line, comments=True)[1:]).code for line in lines] == [0, 0]


def _unit(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((TIMER / name).read_text("utf-8"))
    return unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    services = ["nontax-resume.service", "nontax-fresh.service"]
    timers = ["nontax-resume.timer", "nontax-fresh.timer"]
    names = [*services, *timers]
    for name in names:
        text = (TIMER / name).read_text("utf-8")
        program = str(Path(sys.executable).parent / "nontax")
        (tmp_path / name).write_text(text.replace("/usr/local/bin/nontax", program))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for timer in timers:
        calendar = _unit(timer)["Timer"]["OnCalendar"]
        subprocess.run(["systemd-analyze", "calendar", calendar], check=True, capture_output=True)


def test_what_the_timer_runs(office: Office) -> None:
    office.sandbox.inject(faults.Errcode(45009), times=99, path=POST)
    assert office.insert(office.list(), "--new-ledger").code == 5
    resume = _unit("nontax-resume.service")["Service"]
    accepted = {0, *map(int, resume["SuccessExitStatus"].split())}
    command = resume["ExecStart"].split()[1:]
    assert office.run(*command).code not in accepted
    office.sandbox.behave()
    assert office.run(*command).code == 0
    fresh = _unit("nontax-fresh.service")["Service"]["ExecStart"].split()[1:]
    assert office.run(*fresh).code == 0


def test_cron_runs_it_in_another_folder(office: Office, tmp_path: Path) -> None:
    assert office.insert(office.list(), "--new-ledger").code == 0
    lines = (TIMER / "crontab").read_text("utf-8").splitlines()
    commands = [line.split(None, 6)[6] for line in lines if line[:1] in "*0123456789"]
    night = commands.pop(1)
    assert (TIMER / night.split()[0]).exists()
    assert len(commands) == 2
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = Path(sys.executable).parent
    for command, code in [(one, 0) for one in commands] + [(commands[0], 2)]:
        ledger = str(tmp_path / ("bills.db" if code == 0 else "none.db"))
        done = subprocess.run(
            ["sh", "-c", command.replace("/var/log/nontax", str(tmp_path))],
            cwd=elsewhere,
            env=office.environment | {"NONTAX_LEDGER": ledger, "PATH": f"{program}:/usr/bin:/bin"},
            check=False,
        )
        assert done.returncode == code
    assert not list(elsewhere.iterdir())
    assert '"exit": 0' in (tmp_path / "resume.jsonl").read_text()


def _night(office: Office, day: str) -> int:
    """Run examples/timer/nontax-night; the lists were written just now, so they are not settled."""
    bin_ = office.folder / "bin"
    bin_.mkdir(exist_ok=True)
    program = f'exec "{sys.executable}" -P -m nontax "$@"'  # a clone may be /nontax
    (bin_ / "nontax").write_text(
        f'#!/bin/sh\n[ "$1" = ledger ] || set -- "$@" --settle 0\n{program}\n'
    )
    (bin_ / "nontax").chmod(0o755)
    folders = {f"NONTAX_{name}": str(office.folder) for name in ("LISTS", "PDFS", "BACKUPS")}
    return subprocess.run(
        ["sh", str(TIMER / "nontax-night"), day],
        cwd="/",
        env=office.environment
        | folders
        | {"NONTAX_OUT": str(office.folder / "out"), "PATH": f"{bin_}:{os.environ['PATH']}"}
        | {"NONTAX_LEDGER": str(office.folder / "bills.db")},
        capture_output=True,
        check=False,
    ).returncode


def test_two_nights(office: Office) -> None:
    """What is carried over one night is judged the next; each night has its reports and backup."""
    header = [*COLUMNS[:-1], "PDF文件名"]

    def row(number: int, time: str) -> list[str]:
        (office.folder / f"11010123_{number:010}.pdf").write_bytes(PDF)
        name = f"11010123_{number:010}.pdf"
        return office.row(number, 开票时间=time, s_pdf_media_id=name)

    office.table("first.csv", header, [row(1, "2026-11-28 09:00:00")])
    assert office.insert("first.csv", "--new-ledger").code == 0
    office.table("2026-11-29.xlsx", header, [row(2, "2026-11-29 09:00:00")])
    office.table("2026-11-30.xlsx", header, [row(4, "2026-11-30 09:00:00")])
    # Near midnight, in the ledger, and on no list: carried over, then unexpected.
    office.table("late.csv", header, [row(3, "2026-11-29 23:58:00")])
    assert office.insert("late.csv").code == 0
    assert _night(office, "2026-11-29") == 0
    assert _night(office, "2026-11-29") == 0
    assert _night(office, "2026-11-30") == 3
    assert set(office.posts().values()) == {1}
    assert len(list(office.folder.glob("bills-*.db"))) == 3
    report = (office.folder / "out" / "2026-11-30" / "report.jsonl").read_text("utf-8")
    assert '"unexpected"' in report
    assert _night(office, "2026-12-01") == 2  # there is no list
