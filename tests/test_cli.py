"""Each command in each situation: its exit code, what it prints, what it has sent."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from offices import COLUMNS, NAME, PDF, Office, Printed

from nontax.sandbox import Sandbox, faults

POST = "/nontax/insertbill"
SIGNED = ("--by", "王经办", "--note", "电话核实")


@pytest.fixture
def office(tmp_path: Path, sandbox: Sandbox) -> Office:
    return Office(tmp_path, sandbox)


def doubt(office: Office, count: int = 1) -> Printed:
    """Have bills end in doubt: WeChat takes them and says nothing."""
    office.sandbox.inject(faults.Close("body", taken=True), times=count, path=POST)
    return office.insert(office.list(count=count), "--new-ledger", "--concurrency", "1")


def ready(office: Office) -> Printed:
    """A list is inserted."""
    return office.insert(office.list(), "--new-ledger")


def nothing(office: Office) -> None:
    """A folder without anything."""


def empty_list(office: Office) -> None:
    office.table("list.csv", COLUMNS, [])


def listed(office: Office) -> None:
    office.list()


def bad_row(office: Office) -> None:
    office.list(changes={1: {"金额（元）": "zwölf"}})


def refused(office: Office) -> None:
    """WeChat refuses the second bill."""
    office.list()
    office.sandbox.inject(faults.Errcode(72031), skip=1, path=POST)


def no_quota(office: Office) -> None:
    office.list()
    office.sandbox.inject(faults.Errcode(45009), times=99, path=POST)


def waiting(office: Office) -> None:
    """Bills wait, because the day's calls were used up."""
    no_quota(office)
    office.insert("list.csv", "--new-ledger")
    office.sandbox.behave()


def waiting_without_quota(office: Office) -> None:
    no_quota(office)
    office.insert("list.csv", "--new-ledger")


def no_server(office: Office) -> None:
    office.list()
    office.sandbox.stop()


def waiting_without_server(office: Office) -> None:
    waiting(office)
    office.sandbox.stop()


def token_without_server(office: Office) -> None:
    no_server(office)
    office.environment["NONTAX_ACCESS_TOKEN"] = "x" * 32
    office.environment["NONTAX_APPID"] = office.environment["NONTAX_SECRET"] = ""


def waiting_for_the_network(office: Office) -> None:
    waiting(office)
    token_without_server(office)


def known_otherwise(office: Office) -> None:
    ready(office)
    office.list("other.csv", changes={0: {"金额（元）": "99.00"}})


def in_doubt(office: Office) -> None:
    doubt(office)


def other_server(office: Office) -> None:
    ready(office)
    office.environment["NONTAX_BASE_URL"] = "https://api.weixin.qq.com"


def damaged(office: Office) -> None:
    ready(office)
    (office.folder / "bills.db").write_bytes(b"SQLite format 3\0" + bytes(4080))


def newer_ledger(office: Office) -> None:
    ready(office)
    with sqlite3.connect(office.folder / "bills.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def open_ledger(office: Office) -> None:
    """Others may read the ledger."""
    ready(office)
    (office.folder / "bills.db").chmod(0o644)


def two_lists(office: Office) -> None:
    office.list("one.csv")
    office.list("two.csv", first=3)


def lists_in_conflict(office: Office) -> None:
    office.list("one.csv")
    office.list("two.csv", changes={0: {"金额（元）": "1.00"}})


def pdf(office: Office) -> None:
    (office.folder / "a.pdf").write_bytes(PDF)


def wrong_secret(office: Office) -> None:
    office.list()
    office.environment["NONTAX_SECRET"] = "0" * 32


def the_units_account(office: Office) -> None:
    account = office.sandbox.unit
    office.environment |= {"NONTAX_APPID": account.appid, "NONTAX_SECRET": account.secret}


def no_credentials(office: Office) -> None:
    office.list()
    office.environment["NONTAX_SECRET"] = office.environment["NONTAX_APPID"] = ""


def reversed_bill(office: Office) -> None:
    ready(office)


def code_unknown(office: Office) -> None:
    doubt(office)
    office.run("resolve", "--inserted", "A1", *SIGNED)


def backed_up(office: Office) -> None:
    ready(office)
    office.run("ledger", "backup", "copy.db")
    (office.folder / "bills.db").rename(office.folder / "lost.db")


def restored(office: Office) -> None:
    backed_up(office)
    office.run("ledger", "restore", "copy.db", "--ledger", "bills.db")


def without_appid(office: Office) -> None:
    header = [name for name in COLUMNS if name != "AppID"]
    office.table("no_appid.csv", header, [office.row(1)[:2] + office.row(1)[3:]])


def strict(office: Office) -> None:
    office.list()
    office.sandbox.inject(faults.Errcode(72038), times=3, path=POST)
    office.insert("list.csv", "--new-ledger")


# In these WeChat has refused bills, which then are sent again.
REFUSED_FIRST = (no_quota, waiting, waiting_without_quota, waiting_for_the_network, strict)
Situation = Callable[[Office], object]

# command, situation, exit code, what must stand on stderr or stdout.
TABLE: list[tuple[str, Situation, int, str]] = [
    # check
    ("check no_appid.csv --settle 0", without_appid, 2, "or give --bill-appid"),
    ("check list.csv --settle 0", listed, 0, "3 bills can be inserted"),
    ("check list.csv --settle 0", bad_row, 2, "problems: 1; correct"),
    ("check list.csv", listed, 2, "--settle 0"),
    ("check none.csv", nothing, 2, "does not exist"),
    ("check none*.csv", nothing, 2, "no file matches none*.csv"),
    ("check list.csv --settle 0 --expect-count 3 --expect-amount 37.02", listed, 0, ""),
    ("check list.csv --settle 0 --expect-count 4", listed, 2, "list.csv"),
    ("check", nothing, 2, "the following arguments are required: FILE"),
    ("check list.csv --sett 0", listed, 2, "unrecognized arguments"),
    # insert
    ("insert list.csv --settle 0", listed, 2, "there is no ledger"),
    ("insert list.csv --settle 0 --ledger none.db", listed, 2, "there is no ledger none.db"),
    ("insert list.csv --settle 0 --new-ledger", listed, 0, "3 bills inserted now"),
    ("insert list.csv --settle 0 --new-ledger", ready, 2, "exists already"),
    ("insert list.csv --settle 0", ready, 0, "inserted before: 3"),
    ("insert list.csv --settle 0 --dry-run", ready, 0, "to send: 0"),
    ("insert list.csv --settle 0 --new-ledger --dry-run", listed, 0, "to send: 3"),
    ("insert list.csv --settle 0 --new-ledger", bad_row, 2, "nothing was sent"),
    ("insert list.csv --settle 0 --new-ledger --skip-bad", bad_row, 3, "2 bills inserted now"),
    ("insert list.csv --settle 0 --new-ledger --rejects x.csv", listed, 2, "--skip-bad"),
    ("insert list.csv --settle 0 --new-ledger", refused, 3, "72031"),
    ("insert list.csv --settle 0 --new-ledger", no_quota, 5, "45009"),
    ("insert list.csv --settle 0 --new-ledger", no_server, 5, "nothing was sent"),
    ("insert list.csv --settle 0 --new-ledger", wrong_secret, 5, "40001"),
    ("insert list.csv --settle 0 --new-ledger", no_credentials, 2, "no credentials"),
    ("insert other.csv --settle 0", known_otherwise, 2, "other content for it (the amount)"),
    ("insert list.csv --settle 0", in_doubt, 4, "in doubt: 1"),
    ("insert list.csv --settle 0 --dry-run", in_doubt, 4, "in doubt: 1"),
    ("insert list.csv --settle 0", other_server, 6, "use another ledger"),
    ("insert list.csv --settle 0", damaged, 6, "bills.db"),
    ("insert list.csv --settle 0", newer_ledger, 6, "newer"),
    ("insert list.csv --settle 0", open_ledger, 6, "bills.db"),
    ("insert list.csv --settle 0", restored, 6, "accept-restored"),
    ("insert *.csv --settle 0 --new-ledger", two_lists, 0, "5 bills inserted now"),
    ("insert *.csv --settle 0 --new-ledger", lists_in_conflict, 2, "other content"),
    ("insert list.csv --settle 0", strict, 3, "--again"),
    ("insert list.csv --settle 0 --again", strict, 0, "3 bills inserted now"),
    ("insert list.csv --settle 0 --new-ledger --concurrency 0", listed, 2, "concurrency"),
    ("insert list.csv --settle 0 --new-ledger --rate x", listed, 2, "invalid float value"),
    # resume
    ("resume", nothing, 2, "there is no ledger"),
    ("resume", ready, 0, "waiting: 0"),
    ("resume", waiting, 0, "3 bills inserted now"),
    ("resume", waiting_without_quota, 5, "45009"),
    ("resume", waiting_without_server, 5, "nothing was sent"),
    ("resume", waiting_for_the_network, 5, "nothing was sent"),
    ("insert list.csv --settle 0 --new-ledger", token_without_server, 5, "continue with"),
    ("resume", in_doubt, 4, "in doubt: 1"),
    ("resume", damaged, 6, "bills.db"),
    ("resume", other_server, 6, "use another ledger"),
    ("resume --lang zh", other_server, 6, "请使用另一个台账"),
    ("resume --lang zh", restored, 6, "是从备份恢复的"),
    # status, list, show
    ("status", nothing, 2, "there is no ledger"),
    ("status", ready, 0, '"inserted": 3'),
    ("status", waiting, 3, '"waiting": 3'),
    ("status", in_doubt, 4, '"in_doubt": 1'),
    ("status", damaged, 6, "bills.db"),
    ("status --fresh 1", ready, 0, ""),
    ("status --fresh 0", ready, 3, "no run has succeeded"),
    ("status --fresh 1", waiting_without_quota, 3, "no run has succeeded"),
    ("list", ready, 0, "A3"),
    ("list --state waiting", ready, 0, '"bills": 0'),
    ("list --state waiting", ready, 0, "no such bills"),
    ("list --state lost", ready, 2, "invalid choice"),
    ("list --since 2026-13-01", ready, 2, "--since"),
    ("list --since 2020-01-01", ready, 0, '"bills": 3'),
    ("list", nothing, 2, "there is no ledger"),
    ("show A2", ready, 0, "Your bill was put into the card wallet"),
    ("show 11010123+0000000002", ready, 0, '"A2"'),
    ("show 0000000002", ready, 0, '"A2"'),
    ("show A1", in_doubt, 0, "verifying"),
    ("show A1", waiting, 0, "pjcy.mof.gov.cn"),
    ("show A9", ready, 2, "A9 is not in the ledger"),
    ("show A2 --html out.html", ready, 0, "written to out.html"),
    # resolve
    ("resolve --inserted A1 --by 王 --note x", in_doubt, 0, "A1 is inserted now"),
    ("resolve --not-taken A1 --by 王 --note x", in_doubt, 0, "A1 is waiting now"),
    ("resolve --inserted A1 --by 王 --note x", ready, 2, "only a bill in doubt"),
    ("resolve --inserted A9 --by 王 --note x", ready, 2, "A9 is not in the ledger"),
    ("resolve --inserted A1 --note x", in_doubt, 2, "--by"),
    ("resolve --resend --by 王 --note x", in_doubt, 2, "needs a terminal"),
    ("resolve --by 王 --note x", in_doubt, 2, "is required"),
    ("resolve --inserted A1 --by 王 --checked-by 王 --note x", in_doubt, 2, "another person"),
    ("explain A1 --report none --by 王 --note x", ready, 2, "no such file"),
    ("resolve --inserted A1 --by 王 --note x", nothing, 2, "there is no ledger"),
    # reconcile
    ("reconcile list.csv --settle 0 --day 2026-11-29 --out r", ready, 0, "both sides tie"),
    ("reconcile list.csv --settle 0 --day 2026-11-29 --out r", waiting, 3, "open differences: "),
    ("reconcile list.csv --settle 0 --day 2026-11-29 --out r", listed, 2, "there is no ledger"),
    ("reconcile list.csv --settle 0 --day 2026-11-29 --out r --against list.csv", listed, 0, ""),
    ("reconcile list.csv --settle 0 --day 1.2.3 --out r", ready, 2, ""),
    ("reconcile list.csv --settle 0 --day 2020-01-01 --out r", ready, 2, ""),
    ("reconcile list.csv --settle 0 --day 2026-11-29 --out r", bad_row, 2, "there is no ledger"),
    ("reconcile none.csv --settle 0 --day 2026-11-29 --out r", ready, 2, "does not exist"),
    ("reconcile list.csv --settle 0 --day 2026-11-29 --out r", damaged, 6, "bills.db"),
    # withdraw
    ("withdraw A1 --by 王 --note x", waiting, 0, "1 bills withdrawn"),
    ("withdraw list.csv --by 王 --note x", waiting, 0, "3 bills withdrawn"),
    ("withdraw A1 --by 王 --note x", ready, 3, "A1 is inserted and was not changed"),
    ("withdraw A9 --by 王 --note x", ready, 2, "A9 is not in the ledger"),
    ("withdraw A1 --by 王 --note x", nothing, 2, "there is no ledger"),
    # cancel, reject
    ("cancel --order A1 --yes 1", reversed_bill, 0, "1 of 1 bills updated"),
    ("cancel list.csv --yes 3", reversed_bill, 0, "3 of 3 bills updated"),
    ("cancel list.csv --yes 2", reversed_bill, 2, "not confirmed"),
    ("cancel list.csv", reversed_bill, 2, "confirm it with --yes 3"),
    ("cancel", reversed_bill, 2, "either a list or --order"),
    ("cancel --order A1 --yes 1", code_unknown, 2, "card code of 1 bills is not known"),
    ("cancel --order A9 --yes 1", reversed_bill, 2, "A9 is not in the ledger"),
    ("cancel --order A1 --yes 1", nothing, 2, "there is no ledger"),
    ("reject --order B1 --reason x --yes 1", nothing, 2, "--s-pappid"),
    ("reject --order B1 --reason x --s-pappid {pappid}", nothing, 2, "--yes 1"),
    ("reject --order B1 --reason x --s-pappid {pappid} --yes 1", nothing, 5, "48001"),
    ("reject --order B1 --s-pappid {pappid} --yes 1", nothing, 2, "--reason"),
    # upload, auth, events
    ("upload a.pdf", pdf, 0, "s_media_id"),
    ("upload b.pdf", nothing, 3, "b.pdf"),
    ("upload *.pdf", nothing, 2, "no file matches"),
    ("auth status --order B1", nothing, 2, "--s-pappid"),
    ("auth url --order B1 --s-pappid {pappid}", nothing, 2, "--amount"),
    ("auth url --order B1 --s-pappid {pappid} --amount x", nothing, 2, "--amount"),
    ("auth url --order B1 --s-pappid {pappid} --amount 1.50", nothing, 5, ""),
    ("events import none.jsonl", ready, 2, "none.jsonl"),
    ("events import list.csv", ready, 3, "0 pushes taken"),
    # ledger
    ("ledger verify", ready, 0, "the ledger is intact"),
    ("ledger verify --digest 3", ready, 0, '"digest"'),
    ("ledger verify", damaged, 6, "bills.db"),
    ("ledger verify", nothing, 2, "there is no ledger"),
    ("ledger backup copy.db", ready, 0, "copied to copy.db"),
    ("ledger backup bills.db", ready, 2, "name another file"),
    ("ledger restore copy.db --ledger bills.db", backed_up, 0, "accept-restored"),
    ("ledger restore copy.db --ledger lost.db", backed_up, 2, "move it away"),
    ("ledger restore copy.db", backed_up, 2, "--ledger"),
    ("ledger accept-restored --by 王 --note x", restored, 0, "0 bills are in doubt"),
    ("ledger accept-restored --by 王 --note x", nothing, 2, "--ledger"),
    ("ledger import list.csv --settle 0 --by 王 --note x", listed, 2, "--new-ledger"),
    ("ledger import list.csv --settle 0 --new-ledger --by 王 --note x", listed, 0, "3 of 3"),
    ("ledger import list.csv --settle 0 --by 王 --note x", ready, 0, "0 of 3"),
    ("ledger import list.csv --settle 0 --new-ledger --by 王 --note x", bad_row, 2, "list.csv"),
    ("ledger export out.csv", ready, 0, "written to out.csv"),
    ("ledger export out.xlsx", ready, 0, "written to out.xlsx"),
    ("ledger export out.pdf", ready, 2, ".pdf"),
    ("ledger prune --days 0", ready, 0, "names removed from 3 bills"),
    ("ledger prune --days 1", ready, 0, "names removed from 0 bills"),
    ("ledger", nothing, 2, "required"),
    ("ledger burn", nothing, 2, "invalid choice"),
    # doctor, template
    ("doctor", ready, 0, "no problems found"),
    ("doctor", nothing, 0, "there is none yet"),
    ("doctor", damaged, 6, "bills.db"),
    ("doctor", wrong_secret, 5, "40001"),
    ("doctor", the_units_account, 5, "nontax auth url"),
    ("doctor", no_server, 5, "connection"),
    ("doctor", no_credentials, 2, "no credentials"),
    ("doctor --lang zh", no_credentials, 2, "没有凭据"),
    ("doctor", other_server, 6, "another ledger"),
    ("doctor --offline", no_server, 0, "no problems found"),
    ("template new.xlsx", nothing, 0, "nontax check new.xlsx"),
    ("template a.csv", nothing, 0, "a.csv is ready"),
    ("template a.pdf", nothing, 2, ".pdf"),
    ("template list.csv", listed, 2, "exists already"),
    # at large
    ("", nothing, 0, "usage: nontax"),
    ("--help", nothing, 0, "usage: nontax"),
    ("insert --help", nothing, 0, "--new-ledger"),
    ("--version", nothing, 0, "libcurl"),
    ("burn", nothing, 2, "invalid choice"),
    ("status --format xml", ready, 2, "invalid choice"),
    ("status --profile none", ready, 2, "no profile none"),
    ("--lang zh status", waiting, 3, '"waiting": 3'),
    ("status --lang zh --ledger none.db", nothing, 2, "找不到台账"),
]


@pytest.mark.parametrize(
    ("command", "situation", "code", "said"),
    TABLE,
    ids=[f"{command}-{situation.__name__}" for command, situation, _, _ in TABLE],
)
def test_command_in_a_situation(
    office: Office, command: str, situation: Situation, code: int, said: str
) -> None:
    situation(office)
    before = office.posts()
    pappid = office.sandbox.bureau.s_pappid
    printed = office.run(*(word.format(pappid=pappid) for word in command.split()))
    assert (printed.code, said in printed.out + printed.err) == (code, True), printed
    assert "Traceback" not in printed.err
    if code == 2:
        assert office.posts() == before
    if printed.out.startswith("{") or code:
        assert printed.last["exit"] == code
    # Whatever happened: no order was sent twice that was not refused in between.
    if situation not in REFUSED_FIRST:
        assert not [order for order, times in office.posts().items() if times > 1]
    if "--show-names" not in command:
        assert NAME not in printed.out + printed.err
