import sys
from pathlib import Path

import nontax
import nontax.notebook as nb

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
client = nontax.Client(ledger=folder / "bills.db")
bills = nb.read(
    source,
    map={"columns": {"order_id": "结算ID"}},
    defaults={"appid": "wx0000000000000000", "card_id": "pExampleCard000000000000000"},
    pdf_dir=folder / "pdf",
    pdf_name="{票据代码}_{票据号码}.pdf",
    settle=0,
)
bills.write_rejects(folder / "rejects.csv")
result = nb.insert(client, bills, skip_bad=True)
ready = bills.frame[bills.frame["problem"] == ""]
report = nb.reconcile(ready, client, day="all")
report.write(folder / "report")
print(result.counts)
