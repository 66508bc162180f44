"""Profiles, secrets, languages, exit codes, and the command that is run on a failure."""

import io
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from canary import core
from offices import NAME, Office
from test_cli import TABLE

from nontax import Ledger, cli
from nontax.cli.exits import Exit, worst
from nontax.cli.output import Output, Value, cut, pad, width_of, wrap
from nontax.sandbox import Sandbox, faults

POST = "/nontax/insertbill"


@pytest.fixture
def office(tmp_path: Path, sandbox: Sandbox) -> Office:
    return Office(tmp_path, sandbox)


def without_credentials(office: Office) -> Office:
    for name in ("NONTAX_APPID", "NONTAX_SECRET"):
        office.environment[name] = ""
    return office


def profile_of(office: Office, name: str = "default", **more: object) -> str:
    account = office.sandbox.bureau
    values = {"appid": account.appid, "secret": account.secret} | more
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[profile.{name}]", *lines, ""])


# Exit codes


def test_precedence_of_exit_codes() -> None:
    order = (Exit(6), Exit(143), Exit(130), Exit(5), Exit(4), Exit(3), Exit(2), Exit(0))
    for left, right in itertools.combinations(order, 2):
        assert worst((left, right)) is left
        assert worst((right, left)) is left
    assert worst(order) is Exit(6)
    assert worst(()) is Exit.DONE


def test_an_error_of_all_bills_counts_more_than_doubt_and_doubt_more_than_work(
    office: Office,
) -> None:
    office.sandbox.inject(faults.Errcode(72031), path=POST)
    office.sandbox.inject(faults.Close("body"), path=POST)
    printed = office.insert(office.list(count=4), "--new-ledger", "--concurrency", "1")
    assert printed.code == 4
    assert printed.last["sent"] == {"rejected": 1, "in_doubt": 1, "inserted": 2}
    office.sandbox.inject(faults.Errcode(45009), times=9, path=POST)
    assert office.insert(office.list("more.csv", first=5)).code == 5


# Profiles


def test_a_profile_has_credentials_ledger_and_language(office: Office) -> None:
    without_credentials(office)
    ledger = str(office.folder / "kept" / "bills.db")
    os.mkdir(office.folder / "kept")
    text = 'lang = "zh"\n' + profile_of(office, ledger=ledger, base_url=office.sandbox.base_url)
    office.config(text)
    printed = office.insert(office.list(), "--new-ledger")
    assert (printed.code, "本次入卡包 3 张" in printed.err) == (0, True)
    assert os.path.exists(ledger)
    assert "张数" not in office.run("status", "--lang", "en", "--format", "table").out
    assert "张数" in office.run("status", "--format", "table").out


def test_a_named_profile_counts_alone(office: Office) -> None:
    text = profile_of(office, "unit", base_url=office.sandbox.base_url)
    office.config(text + "\n[profile.empty]\n" + f'base_url = "{office.sandbox.base_url}"\n')
    office.environment |= {"NONTAX_SECRET": "0" * 32, "NONTAX_BASE_URL": "http://127.0.0.1:9"}
    assert office.run("doctor", "--profile", "unit").code == 0
    assert office.run("doctor", NONTAX_PROFILE="unit").code == 0
    printed = office.run("upload", "a.pdf", "--profile", "empty")
    assert (printed.code, "profile empty has no credentials" in printed.err) == (2, True)


def test_the_environment_comes_before_the_default_profile(office: Office) -> None:
    office.config(profile_of(office, secret="0" * 32, base_url="http://127.0.0.1:9"))
    assert office.run("doctor").code == 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_may_read_is_refused(office: Office, mode: int) -> None:
    office.config(profile_of(office), mode)
    printed = office.run("status")
    assert (printed.code, "chmod 600" in printed.err) == (2, True)
    office.config("[profile.default]\nconcurrency = 4\n", mode)  # nothing secret is in it
    assert "chmod" not in office.run("status").err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secret = ", "Invalid value"),
        ('on_failure = "x"\nprofil = 1', "profil is not known; did you mean profile?"),
        ("[profile.a]\nsecrte = 'x'", "did you mean secret?"),
        ("[profile.a]\nconcurrency = '4'", "concurrency of profile a has the wrong type"),
        ("[profile.a]\nconcurrency = true", "wrong type"),
        ("[profile.a]\nledger = 'bills.db'", "must be an absolute path"),
        ("profile = 3", "[profile.NAME]"),
        ("[profile]\na = 3", "[profile.NAME]"),
    ],
)
def test_a_configuration_that_is_wrong(office: Office, text: str, said: str) -> None:
    office.config(text)
    printed = office.run("status")
    assert (printed.code, said in printed.err) == (2, True), printed


def test_a_relative_ledger_of_the_environment_is_refused(office: Office) -> None:
    printed = office.run("status", NONTAX_LEDGER="bills.db")
    assert (printed.code, "NONTAX_LEDGER must be an absolute path" in printed.err) == (2, True)


def test_a_gateway_has_a_ledger_of_weixin(office: Office) -> None:
    office.config(profile_of(office, server="weixin"))
    assert office.insert(office.list(), "--new-ledger").code == 0
    with Ledger(office.folder / "bills.db", read_only=True) as ledger:
        assert ledger.server == "weixin"


def test_a_secret_command(office: Office) -> None:
    without_credentials(office)
    secret = office.sandbox.bureau.secret
    script = office.folder / "secret.sh"
    script.write_text(f"#!/bin/sh\necho {secret}\n")
    script.chmod(0o700)

    def configure(command: object) -> None:
        office.config(profile_of(office, secret=None, secret_command=command))

    configure(str(script))
    assert office.run("doctor").code == 0
    configure([str(script)])
    assert office.run("doctor").code == 0
    script.write_text(f"#!/bin/sh\necho {secret} >&2\necho {secret}\nexit 3\n")
    printed = office.run("doctor")
    assert (printed.code, "exit status 3" in printed.out) == (2, True)
    assert secret not in printed.out + printed.err
    configure("/no/such/command")
    assert office.run("doctor").code == 2


# Nothing secret, and no name


TALKING = ("insert", "resume", "cancel", "reject", "upload", "auth", "doctor")


def test_nothing_prints_a_secret_or_a_name(office: Office) -> None:
    """Each command of the table, with a client that works and with one whose secret is wrong."""
    (office.folder / "a.pdf").write_bytes(b"%PDF-1.4\n")
    office.insert(office.list(), "--new-ledger")
    pappid = office.sandbox.bureau.s_pappid
    printed = ""
    commands = sorted({command for command, *_ in TABLE})
    talking = [one for one in commands if one.split() and one.split()[0] in TALKING]
    for secret, chosen in ((office.sandbox.bureau.secret, commands), (core(), talking)):
        office.environment["NONTAX_SECRET"] = secret
        for command in chosen:
            argv = [word.format(pappid=pappid) for word in command.split()]
            ran = office.run(*argv)
            printed += ran.out + ran.err
    account = office.sandbox.bureau
    secrets = [core(), account.secret, account.access_token]
    tickets = [request.parameters.get("ticket", "") for request in office.sandbox.requests]
    secrets += filter(None, tickets)
    for secret in secrets:
        assert secret not in printed
    assert NAME not in printed
    openids = [bill.openid for bill in office.sandbox.bills.values()]
    assert not [openid for openid in openids if openid in printed]
    for path in office.folder.rglob("*"):
        if path.is_file():
            kept = path.read_bytes()
            assert not [one for one in secrets if one.encode() in kept], path


def test_names_are_shown_when_asked_for(office: Office) -> None:
    office.insert(office.list(), "--new-ledger")
    for argv in (("list",), ("show", "A1"), ("show", "A1", "--format", "table")):
        assert NAME not in office.run(*argv).out
        assert NAME in office.run(*argv, "--show-names").out
    office.run("ledger", "export", "out.csv")
    assert NAME not in (office.folder / "out.csv").read_text("utf-8-sig")


# The command that is run on a failure


def test_on_failure_is_told_once_a_cause_and_hour(office: Office) -> None:
    told = office.folder / "told"
    program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n'); print('noise')"
    office.config(f"on_failure = {json.dumps([sys.executable, '-c', program, str(told)])}\n")
    office.sandbox.inject(faults.Errcode(45009), times=99, path=POST)
    printed = office.insert(office.list(), "--new-ledger")
    assert (printed.code, "noise" in printed.out) == (5, False)
    assert office.run("resume").code == 5
    assert office.run("resume").code == 5
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(line["command"], line["exit"]) for line in lines] == [("insert", 5), ("resume", 5)]
    assert lines[1]["waiting"] == 3
    state = office.folder / "state" / "nontax" / "failure.json"
    state.write_text(
        json.dumps({name: time.time() - 3700 for name in json.loads(state.read_text())})
    )
    assert office.run("resume").code == 5
    assert len(told.read_text().splitlines()) == 3
    state.write_text("broken")
    office.run("resume")
    assert len(told.read_text().splitlines()) == 4
    office.sandbox.behave()
    assert office.run("resume").code == 0
    assert len(told.read_text().splitlines()) == 4


def test_on_failure_that_cannot_be_run_changes_no_exit_code(office: Office) -> None:
    office.config('on_failure = "/no/such/command"\n')
    office.sandbox.inject(faults.Errcode(45009), times=99, path=POST)
    printed = office.insert(office.list(), "--new-ledger")
    assert (printed.code, "on_failure cannot be run" in printed.err) == (5, True)


# Details of insert and resume


def test_after_the_quota_one_bill_is_sent_to_see(office: Office) -> None:
    office.sandbox.inject(faults.Errcode(45009), times=999, path=POST)
    office.insert(office.list(count=50), "--new-ledger")
    before = office.posts().total()
    for _ in range(3):
        assert office.run("resume").code == 5
    assert office.posts().total() == before + 3
    office.sandbox.behave()
    assert office.run("resume").code == 0
    assert len(office.sandbox.bills) == 50


def test_skipped_rows_can_be_corrected_and_given_back(office: Office) -> None:
    changes = {1: {"金额（元）": "x"}, 3: {"票据号码": ""}}
    office.list(count=5, changes=changes)
    argv = ("list.csv", "--skip-bad", "--rejects", "退回.xlsx")
    printed = office.insert(*argv, "--new-ledger")
    assert (printed.code, len(office.posts())) == (3, 3)
    from nontax import sheets

    rejected = sheets.open_list(office.folder / "退回.xlsx", settle=0, unit="yuan")
    rows = [list(cells) for _, cells in rejected.rows()]
    assert [row[0] for row in rows] == ["A2", "A4"]
    assert rejected.headers[-1] in ("reason", "原因")
    rows[0][5], rows[1][4] = "12.34", "0000000004"
    office.table("corrected.csv", rejected.headers, rows)
    assert office.insert("corrected.csv").code == 0
    assert len(office.sandbox.bills) == 5
    assert office.insert("list.csv", "--skip-bad", "--rejects", "list.csv").code == 2


def test_conflicts_can_be_skipped_and_are_rejects(office: Office) -> None:
    office.insert(office.list(), "--new-ledger")
    office.list("next.csv", count=3, first=3, changes={0: {"金额（元）": "99.00"}})
    printed = office.insert("next.csv", "--skip-bad", "--rejects", "out.csv", "--lang", "zh")
    assert printed.code == 3
    assert "台账中同一订单的内容不同" in (office.folder / "out.csv").read_text("utf-8-sig")
    assert sorted(office.posts()) == ["A1", "A2", "A3", "A4", "A5"]


def test_each_list_is_in_the_history_of_its_bills(office: Office) -> None:
    office.list("one.csv", count=2)
    office.list("two.csv", count=2, first=3)
    assert office.insert("one.csv", "two.csv", "--new-ledger").code == 0
    for order, name, row in (("A2", "one.csv", 3), ("A3", "two.csv", 2)):
        shown = office.run("show", order, "--format", "table").out
        assert f"{name}, row {row}, SHA-256" in shown
    assert "nontax insert" in shown


def test_a_report_without_the_package_for_workbooks(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.list("one.csv")
    office.list("two.csv")
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    argv = ("--settle", "0", "--day", "all", "--against", "two.csv", "--out", "report")
    printed = office.run("reconcile", "one.csv", *argv)
    assert (printed.code, "report.xlsx was left out" in printed.err) == (0, True)
    written = {path.name for path in (office.folder / "report").iterdir()}
    assert "report.html" in written
    assert "report.xlsx" not in written


def test_what_a_broken_pipe_leaves_undone_is_nothing(office: Office) -> None:
    office.sandbox.inject(faults.Errcode(72031), times=40, path=POST)
    office.list(count=60)
    argv = ("insert", "list.csv", "--settle", "0", "--new-ledger", "--concurrency", "1")
    read, write = os.pipe()
    os.close(read)
    with office.start(*argv, stdout=write, stderr=write) as process:
        os.close(write)
        assert process.wait(30) == 3
    assert office.posts().total() == 60


def test_a_ledger_of_a_dead_process_is_settled_by_the_next(office: Office) -> None:
    office.list(count=40)
    office.sandbox.inject(faults.NeverAnswer(), times=9, path=POST)
    argv = ("insert", "list.csv", "--settle", "0", "--new-ledger", "--concurrency", "4")
    with office.start(*argv) as process:
        office.sandbox.wait_for_requests(5)  # a token's, and four bills'
        process.kill()
    office.sandbox.behave()
    printed = office.run("resume")
    assert (printed.code, printed.last["in_doubt"]) == (4, 4)
    assert set(office.posts().values()) == {1}


# What a collecting unit does


def as_the_unit(office: Office) -> str:
    unit = office.sandbox.unit
    office.environment |= {"NONTAX_APPID": unit.appid, "NONTAX_SECRET": unit.secret}
    return office.sandbox.bureau.s_pappid


def test_an_order_is_authorised_or_rejected(office: Office) -> None:
    pappid = as_the_unit(office)
    order = ("--order", "B1", "--s-pappid", pappid)
    printed = office.run("auth", "url", *order, "--amount", "12.34")
    assert printed.code == 0, printed
    assert printed.lines[0]["auth_url"].startswith("http")
    assert office.run("auth", "status", *order).code == 3
    office.sandbox.authorise("B1")
    printed = office.run("auth", "status", *order)
    assert (printed.code, printed.lines[0]["invoice_status"]) == (0, "auth success")
    refuse = ("reject", "--order", "B2", "--s-pappid", pappid, "--reason", "金额有误")
    assert office.run(*refuse).code == 2
    assert (
        office.run("auth", "url", "--order", "B2", "--s-pappid", pappid, "--amount", "1").code == 0
    )
    assert office.run(*refuse, "--yes", "1").code == 0
    assert office.sandbox.orders["B2"].status == "reject insert"


def test_a_rejected_order_is_in_the_ledger(office: Office) -> None:
    office.insert(office.list(count=1), "--new-ledger")
    pappid = as_the_unit(office)
    office.run("auth", "url", "--order", "B2", "--s-pappid", pappid, "--amount", "1")
    refuse = ("reject", "--order", "B2", "--s-pappid", pappid, "--reason", "x", "--yes", "1")
    assert office.run(*refuse, "--lang", "zh").code == 0
    connection = sqlite3.connect(office.folder / "bills.db")
    rows = connection.execute("SELECT source, order_id, outcome FROM change").fetchall()
    connection.close()
    assert rows == [("reject_bill", "B2", "inserted")]


# Output


def test_what_a_terminal_cannot_show_ends_nothing(office: Office) -> None:
    office.environment |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "zh_CN.UTF-8"}
    office.list(changes={1: {"订单号": "订单2"}})
    office.sandbox.inject(faults.Errcode(72031), times=3, path=POST)
    with office.start("insert", "list.csv", "--settle", "0", "--new-ledger") as process:
        out, err = process.communicate()
    assert process.returncode == 3, err
    assert "\\u672c\\u6b21" in err  # 本次
    assert json.loads(out.splitlines()[-1])["sent"] == {"rejected": 3}


def test_width_of_chinese() -> None:
    assert width_of("票据a") == 5
    assert cut("票据号码", 5) == "票据…"
    assert cut("票据号码", 8) == "票据号码"
    assert cut("abc", 2) == "a…"
    assert pad("票", 4, right=True) == "  票"


def test_a_cell_is_broken_between_words() -> None:
    said = "请等待导出完成，或使用 --settle 0"
    assert wrap(said, 14) == ["请等待导出完", "成，或使用", "--settle 0"]
    assert wrap("导出完成，", 8) == ["导出完", "成，"]  # a comma begins no line
    assert wrap("/a/path/that/is/longer x", 8) == ["/a/path/that/is/longer", "x"]
    assert wrap("", 8) == [""]


def test_csv_is_for_spreadsheets() -> None:
    out = io.StringIO()
    rows: list[dict[str, Value]] = [{"a": "=1+1", "b": 3}, {"a": "x,y", "b": None}]
    Output("csv", stdout=out).rows({"a": "A", "b": "B"}, rows)
    assert out.getvalue() == 'a,b\r\n\'=1+1,3\r\n"x,y",\r\n'


def test_a_table_has_numbers_on_the_right() -> None:
    out = io.StringIO()
    rows: list[dict[str, Value]] = [{"状态": "待核实", "张数": 5}, {"状态": "x", "张数": 1234}]
    Output("table", stdout=out).rows({"状态": "状态", "张数": "张数"}, rows)
    assert out.getvalue() == "状态    张数\n待核实     5\nx       1234\n"


def test_a_table_without_rows_has_no_heading() -> None:
    out = io.StringIO()
    Output("table", stdout=out).rows({"a": "A"}, [])
    assert out.getvalue() == ""


# The program


def test_it_starts_quickly(office: Office) -> None:
    """Counted, not timed: what `nontax --help` imports."""
    program = (
        "import sys; from nontax.cli import main; main(['--help']); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = done.stderr.split()
    for name in ("sqlite3", "ssl", "asyncio", "urllib.request", "nontax.sheets", "nontax.ledger",
                 "nontax.sandbox", "nontax.reconciliation", "subprocess", "tomllib"):  # fmt: skip
        assert name not in loaded, name
    assert len([name for name in loaded if name.startswith("nontax.cli.")]) < 12


def test_the_program_and_the_module_are_the_same(office: Office) -> None:
    program = Path(sys.executable).parent / "nontax"
    for argv in (["--version"], ["status"], ["--help"]):
        ran = [
            subprocess.run(
                [*command, *argv], cwd=office.folder, capture_output=True, text=True, check=False
            )
            for command in ([str(program)], [sys.executable, "-m", "nontax"])
        ]
        assert ran[0].stdout == ran[1].stdout
        assert ran[0].returncode == ran[1].returncode


def test_a_thread_may_run_a_command(office: Office) -> None:
    import threading

    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["--help"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_main_leaves_no_handlers(office: Office) -> None:
    import signal

    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    office.insert(office.list(), "--new-ledger")
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)] == before


def test_show_fits_a_page(office: Office) -> None:
    office.insert(office.list(), "--new-ledger")
    assert office.run("show", "A2", "--html", "A2.html", "--lang", "zh").code == 0
    page = (office.folder / "A2.html").read_text("utf-8")
    assert "size: A4" in page
    assert "<script" not in page
    assert NAME not in page
    assert "答复用户" in page
    assert page.index("发送记录") < page.index("答复用户")


def test_explained_differences_do_not_come_back(office: Office) -> None:
    office.sandbox.inject(faults.Errcode(72031), path=POST)
    office.insert(office.list(), "--new-ledger", "--concurrency", "1")
    compare = ("reconcile", "list.csv", "--settle", "0", "--day", "2026-11-29", "--out", "对账")
    printed = office.run(*compare)
    assert (printed.code, printed.lines) == (3, [{"class": "rejected", "rows": 1}])
    signed = ("--report", "对账", "--by", "王", "--note", "开票数据有误，已重开")
    assert office.run("explain", "A9", *signed).code == 2
    assert office.run("explain", "A1", *signed, "--checked-by", "王").code == 2
    printed = office.run("explain", "11010123+0000000001", *signed, "--checked-by", "李")
    assert printed.code == 0, printed
    assert office.run(*compare).code == 0
    assert "已重开" in office.run("show", "A1", "--format", "table").out
    assert "已重开" in (office.folder / "对账" / "report.html").read_text("utf-8")


def test_explanations_of_two_lists_are_in_a_file(office: Office) -> None:
    office.list("one.csv", count=3)
    office.list("two.csv", count=2)
    compare = ("reconcile", "one.csv", "--against", "two.csv", "--settle", "0", "--day",
               "2026-11-29", "--out", "r", "--grace", "0", "--explained", "why.jsonl")  # fmt: skip
    (office.folder / "why.jsonl").touch()
    assert office.run(*compare).code == 3
    signed = ("--report", "r", "--by", "王", "--note", "x", "--explained", "why.jsonl")
    assert office.run("explain", "A3", *signed).code == 0
    assert office.run(*compare).code == 0
    assert office.run("explain", "A3", "--report", "one.csv", "--by", "王", "--note", "x").code == 2


def test_pushes_that_were_forwarded_settle_bills(office: Office) -> None:
    office.sandbox.inject(faults.Close("body", taken=True), path=POST)
    assert office.insert(office.list(count=1), "--new-ledger").code == 4
    (bill,) = office.sandbox.bills.values()
    push = {
        "ToUserName": "gh_1", "FromUserName": bill.openid, "CreateTime": int(time.time()),
        "MsgType": "event", "Event": "update_invoice_status", "CardId": bill.card_id,
        "Code": bill.code, "Status": "INVOICE_REIMBURSE_INIT",
    }  # fmt: skip
    xml = "<xml>" + "".join(f"<{k}>{v}</{k}>" for k, v in push.items()) + "</xml>"
    chat = {"ToUserName": "gh_1", "FromUserName": "o1", "CreateTime": 1, "MsgType": "text"}
    lines = [json.dumps(push), json.dumps(xml), json.dumps(chat), "", "nonsense"]
    (office.folder / "pushes.jsonl").write_text("\n".join(lines) + "\n")
    printed = office.run("events", "import", "pushes.jsonl")
    assert printed.code == 3
    assert printed.last == {
        "exit": 3, "ended": "work_left", "taken": 2, "settled": 1, "others": 1, "refused": 1,
    }  # fmt: skip
    assert office.run("show", "A1").lines[0]["code"] == bill.code


def test_status_judges_runs_that_were_there_to_send(office: Office) -> None:
    office.sandbox.inject(faults.Errcode(45009), times=99, path=POST)
    office.insert(office.list(), "--new-ledger")
    office.run("insert", "list.csv", "--settle", "0", "--dry-run")
    office.run("withdraw", "A1", "--by", "王", "--note", "x")
    assert office.run("status", "--fresh", "1").code == 3
    office.sandbox.behave()
    office.run("resume")
    assert office.run("status", "--fresh", "1").code == 0
    connection = sqlite3.connect(office.folder / "bills.db")
    with connection:
        connection.execute("UPDATE run SET ended = ended - 7200000")
    connection.close()
    assert office.run("status", "--fresh", "1").code == 3
    assert office.run("status", "--fresh", "26").code == 0
