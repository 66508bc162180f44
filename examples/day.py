"""An office's day at the command line, in the sandbox: `python examples/day.py FOLDER`.

A list in Excel is checked and inserted; the machine dies in the middle; the same command is typed
again; what is in doubt is settled; a citizen at the window is answered; the list and the ledger
are reconciled. Each command is printed before it runs. FOLDER must be empty, or not there yet.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from nontax import sheets
from nontax.sandbox import Sandbox, faults

COLUMNS = (
    "订单号", "卡券模板ID", "AppID", "票据代码", "票据号码", "金额（元）", "开票时间", "交款人",
    "PDF文件名",
)  # fmt: skip
BILLS = 200
SIGNED = ("--by", "王经办", "--checked-by", "李复核", "--note", "请用户查看了卡包")


class Desk:
    """Runs commands in a folder, with the sandbox's credentials."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "NONTAX_BASE_URL": sandbox.base_url,
            "NONTAX_APPID": sandbox.bureau.appid,
            "NONTAX_SECRET": sandbox.bureau.secret,
        }

    def start(self, *argv: str) -> subprocess.Popen[str]:
        print("$ nontax", *argv, flush=True)
        return subprocess.Popen(
            [sys.executable, "-m", "nontax", *argv],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *argv: str, expect: int = 0) -> str:
        process = self.start(*argv)
        out, _ = process.communicate()
        print(out, end="", flush=True)
        if process.returncode != expect:
            raise SystemExit(f"exit code {process.returncode} in place of {expect}")
        return out


def write_list(folder: Path, appid: str) -> None:
    """Write 清单.xlsx and the bills' PDFs."""
    rows = [
        (f"JF{n:06}", "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw", appid, "11010126", f"{n:010}",
         f"{n}.50", "2026-11-29 09:15:00", "张三丰", f"{n % 4}.pdf")
        for n in range(1, BILLS + 1)
    ]  # fmt: skip
    sheets.write_rows(folder / "清单.xlsx", COLUMNS, rows)
    for number in range(4):
        (folder / f"{number}.pdf").write_bytes(b"%%PDF-1.4\n%% %d\n" % number)


def day(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty")
    with Sandbox() as sandbox:
        desk = Desk(folder, sandbox)
        write_list(folder, sandbox.unit.appid)
        insert = ("insert", "清单.xlsx", "--settle", "0", "--concurrency", "4")

        desk.run("doctor")
        desk.run("check", "清单.xlsx", "--settle", "0", "--expect-count", str(BILLS))

        # The machine dies while bills are on their way.
        sandbox.inject(faults.Delay(0.02), times=10_000, path="/nontax/insertbill")
        process = desk.start(*insert, "--new-ledger")
        sandbox.wait_for_requests(len(sandbox.requests) + BILLS + 60, timeout=60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        sandbox.behave()

        # The same command again: nothing is sent twice. What was on its way is in doubt.
        desk.run(*insert, expect=4)
        doubtful = desk.run("list", "--state", "in_doubt", "--format", "csv").splitlines()[1:]
        for order in (line.split(",")[0] for line in doubtful):
            # Ask the citizen; here, look into the sandbox's wallets.
            found = "--inserted" if order in sandbox.bills else "--not-taken"
            desk.run("resolve", found, order, *SIGNED)
        desk.run("resume")
        desk.run("status", "--fresh", "1")

        desk.run("show", "JF000007", "--format", "table")
        desk.run("show", "JF000007", "--html", "JF000007.html")
        desk.run("reconcile", "清单.xlsx", "--settle", "0", "--day", "2026-11-29", "--out", "对账",
                 expect=3 if doubtful else 0)  # fmt: skip
        desk.run("ledger", "verify")
        desk.run("ledger", "backup", "备份.db")
        if len(sandbox.bills) != BILLS:
            raise SystemExit("not every bill is in its wallet")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/day.py FOLDER")
    day(Path(sys.argv[1]))
