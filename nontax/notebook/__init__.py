"""Lists of bills in a notebook: read, insert, reconcile, with frames of your own library.

    import nontax.notebook as nb

    bills = nb.read("票据清单.csv", map="hospital.toml", pdf_dir="pdf")
    result = nb.insert(client, bills)           # the client has a ledger: nothing is sent twice
    report = nb.reconcile(bills, client, day="2026-11-29")

What is returned shows itself: counts, problems, reasons; payers' names are masked. Its `.frame` is
a frame of pandas, polars or what else narwhals knows. Frames and progress bars need
`nontax[notebook]`.
"""

from nontax.notebook.listed import Bills, read
from nontax.notebook.reconciling import Report, reconcile
from nontax.notebook.result import Inserted, Row
from nontax.notebook.sending import ainsert, insert, last

__all__ = ["Bills", "Inserted", "Report", "Row", "ainsert", "insert", "last", "read", "reconcile"]
