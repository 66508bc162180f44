"""`make demo`: a fiscal e-bill in a sandbox wallet, two that are refused, and an office's day."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nontax
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import make_certificates

# The bill of WeChat's own page:
# https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
BILL = {
    "order_id": "1511169724",
    "card_id": "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw",
    "appid": "wxc0b84a53ed8e8d29",
    "card_ext": {
        "user_card": {
            "invoice_user_data": {
                "fee": 123,
                "title": "灌哥发票",
                "billing_time": "1511169724",
                "billing_no": "1511169724",
                "billing_code": "aabbccdd",
                "s_pdf_media_id": "s_pdf_media_id",
            }
        }
    },
}


def with_two_mistakes() -> dict[str, object]:
    """Return the bill with its amount in yuan and without a title."""
    wrong = json.loads(json.dumps(BILL))
    data = wrong["card_ext"]["user_card"]["invoice_user_data"]
    data["fee"] = 1.23
    data["title"] = ""
    return dict(wrong)


def single_bills(client: nontax.Client, sandbox: Sandbox) -> None:
    """Insert one bill, and show two that are refused."""
    inserted = client.insert_bill(BILL)
    print("1. The bill of WeChat's page, over HTTPS:")
    print(f"   in the wallet of {inserted.openid}, with the card code {inserted.code}\n")

    print("2. The same bill with two mistakes:")
    try:
        client.insert_bill(with_two_mistakes())
    except nontax.InvalidRequestError as error:
        print(f"   {type(error).__name__}: {error}\n".replace("\n  ", "\n     "))

    print("3. Another bill, with an access token that has ended:")
    sandbox.expire_access_token()
    try:
        client.insert_bill({**BILL, "order_id": "1511169725"})
    except nontax.AccessTokenError as error:
        print(f"   {type(error).__name__}: {error}\n")
    sandbox.renew_access_token()


BILLS = 240
HEADER = "订单号,卡券模板ID,AppID,票据代码,票据号码,金额（元）,开票时间,交款人,s_pdf_media_id"


def write_list(path: Path, *, spoilt: bool) -> None:
    """Write the list of a day as hospitals export it: GB18030, amounts in yuan. One is spoilt."""
    lines = [HEADER]
    for number in range(1, BILLS + 1):
        amount = f"{number}.505" if spoilt and number == 7 else f"{number}.50"
        lines.append(
            f"HIS{number:06},pExampleCard,wx0000000000000000,33060126,{number:010},{amount},"
            f"2026-11-30 09:{number // 60:02}:{number % 60:02},测试{number},75195574948725301"
        )
    path.write_text("\n".join([*lines, ""]), "gb18030")


class Office:
    """A desk with a folder, at which somebody types commands."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        kept = {name: text for name, text in os.environ.items() if not name.startswith("NONTAX_")}
        none = {"NONTAX_CONFIG": str(folder / "none.toml"), "LC_ALL": "C.UTF-8"}
        self.environment = {**kept, **none, **environment}

    def begin(self, *words: str) -> "subprocess.Popen[bytes]":
        """Type a command."""
        print(f"   $ nontax {' '.join(words)}", flush=True)
        command = [sys.executable, "-m", "nontax", *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stderr=subprocess.STDOUT
        )

    def type(self, *words: str) -> int:
        """Type a command and wait for its end; its exit code."""
        return self.begin(*words).wait()


def day(office: Office, sandbox: Sandbox) -> bool:
    """Check a list, insert it, kill that, type it again, reconcile. Whether all came right."""
    list_ = office.folder / "bills.csv"
    print(f"4. A list of {BILLS} bills from a hospital, with a mistake in one row:")
    write_list(list_, spoilt=True)
    spoilt = office.type("check", "bills.csv", "--settle", "0")
    print("   The hospital corrects it:")
    write_list(list_, spoilt=False)
    clean = office.type("check", "bills.csv", "--settle", "0")

    print("\n5. Inserted, and killed in the middle (kill -9):")
    sandbox.inject(faults.Delay(0.05), times=BILLS, path="/nontax/insertbill")
    before = len(sandbox.bills)
    insert = ("insert", "bills.csv", "--settle", "0", "--concurrency", "4")
    running = office.begin(*insert, "--new-ledger")
    while len(sandbox.bills) < before + BILLS // 3 and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    killed = running.wait()
    sandbox.behave()
    print(f"\n   Killed. The sandbox has {len(sandbox.bills) - before} of the bills.")

    print("\n6. The same command again goes on where it stopped:")
    again = office.type(*insert)
    print(
        "   Bills that were under way when it was killed are in doubt. They may be in the wallet,"
    )
    print("   so they are not sent again until somebody has found out (nontax resolve).")

    print("\n7. The list against the ledger, to the fen:")
    reconcile = ("reconcile", "bills.csv", "--settle", "0", "--day", "2026-11-30")
    books = office.type(*reconcile, "--out", "report")
    posted = Counter(
        each.order_id for each in sandbox.requests if each.path == "/nontax/insertbill"
    )
    twice = sum(posted[f"HIS{number:06}"] > 1 for number in range(1, BILLS + 1))
    print(f"   In the wallets: {len(sandbox.bills) - before} of {BILLS}; sent twice: {twice}.\n")
    codes = (spoilt, clean, killed, again, books)
    return codes in ((2, 0, -9, 4, 3), (2, 0, -9, 0, 0)) and not twice


NEXT = """\
What to type next:
  {python} -m nontax --help              all commands
  {python} -m nontax sandbox             a sandbox of your own; it prints how to use it
  {python} -m nontax template bills.xlsx an empty list to fill in
The same in Python: examples/month_end.ipynb. One bill's whole way: examples/full_flow.py."""


def main() -> int:
    """Run the demonstration; 0 if everything went as it should."""
    with tempfile.TemporaryDirectory() as folder:
        certificates = make_certificates(Path(folder))
        with Sandbox(certfile=certificates.cert_file, keyfile=certificates.key_file) as sandbox:
            print(f"A sandbox of WeChat's server listens at {sandbox.base_url}\n")
            client = nontax.Client(
                access_token=sandbox.access_token,
                base_url=sandbox.base_url,
                ca_file=certificates.ca_file,
                ledger=False,
            )
            single_bills(client, sandbox)
            came_right = list(sandbox.bills) == [BILL["order_id"]]
            office = Office(
                Path(folder),
                {
                    "NONTAX_BASE_URL": sandbox.base_url,
                    "NONTAX_CA_FILE": str(certificates.ca_file),
                    "NONTAX_ACCESS_TOKEN": sandbox.access_token,
                },
            )
            came_right = day(office, sandbox) and came_right
    print(NEXT.format(python=os.path.relpath(sys.executable)))
    return 0 if came_right else 1


if __name__ == "__main__":
    sys.exit(main())
