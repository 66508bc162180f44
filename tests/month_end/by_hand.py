import csv
import sqlite3
import sys
from pathlib import Path

import nontax

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
client = nontax.Client(ledger=False)
kept = sqlite3.connect(folder / "by_hand.db", isolation_level=None)
kept.execute(
    "CREATE TABLE IF NOT EXISTS bill "
    "(order_id TEXT PRIMARY KEY, fee INTEGER, state TEXT, code TEXT, reason TEXT)"
)
kept.execute("UPDATE bill SET state = 'in_doubt' WHERE state = 'sending'")
bills, rejects, seen = {}, [], set()
with source.open(encoding="gb18030", newline="") as file:
    next(file)
    for row in csv.DictReader(file):
        if row["结算ID"] == "合计":
            continue
        row = {name: text.strip(" \t") for name, text in row.items()}
        order_id, number = row["结算ID"], row["票据代码"] + "_" + row["票据号码"]
        try:
            bill = {
                "order_id": order_id,
                "appid": "wx0000000000000000",
                "card_id": "pExampleCard000000000000000",
                "fee": nontax.fen(row["总金额（元）"].replace(",", "")),
                "title": row["患者姓名"],
                "billing_time": nontax.billing_time(row["开票时间"]),
                "billing_no": row["票据代码"],
                "billing_code": row["票据号码"],
                "s_pdf_media_id": "later",
            }
            problems = [str(problem) for problem in nontax.validate_bill(bill)]
        except ValueError as error:
            problems = [str(error)]
        if order_id in seen or number in seen:
            problems.append("twice in the list")
        seen |= {order_id, number}
        if not (folder / "pdf" / f"{number}.pdf").exists():
            problems.append("there is no PDF")
        if problems:
            rejects.append([*row.values(), "; ".join(problems)])
        else:
            bills[order_id] = (bill, folder / "pdf" / f"{number}.pdf")
with (folder / "by_hand_rejects.csv").open("w", encoding="utf-8-sig", newline="") as file:
    csv.writer(file).writerows(rejects)
for order_id, (bill, pdf) in bills.items():
    known = kept.execute("SELECT state FROM bill WHERE order_id = ?", (order_id,)).fetchone()
    if known and known[0] in ("inserted", "in_doubt"):
        continue
    bill["s_pdf_media_id"] = client.upload_pdf(pdf).s_media_id
    entry = (order_id, bill["fee"], "sending", "", "")
    kept.execute("INSERT OR REPLACE INTO bill VALUES (?, ?, ?, ?, ?)", entry)
    try:
        answer = ("inserted", client.insert_bill(bill).code, "", order_id)
    except nontax.NontaxError as error:
        answer = (error.outcome, "", error.reason, order_id)
    kept.execute("UPDATE bill SET state = ?, code = ?, reason = ? WHERE order_id = ?", answer)
states = {
    order_id: (fee, state)
    for order_id, fee, state in kept.execute("SELECT order_id, fee, state FROM bill")
}
with (folder / "by_hand_differences.csv").open("w", encoding="utf-8-sig", newline="") as file:
    differences = csv.writer(file)
    for order_id in sorted(bills.keys() | states.keys()):
        fee = bills[order_id][0]["fee"] if order_id in bills else None
        if (fee, "inserted") != states.get(order_id):
            differences.writerow([order_id, fee, *states.get(order_id, ("", "missing"))])
counts = [state for _, state in states.values()]
print({state: counts.count(state) for state in sorted(set(counts))})
