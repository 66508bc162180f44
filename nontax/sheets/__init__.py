"""Lists of bills: CSV, Excel, ODS, JSONL, frames and iterables in; CSV and Excel out.

    bills = nontax.sheets.open_list("票据清单.csv", require=nontax.sheets.INSERT)
    for problem in bills.check().problems:
        print(problem.where("zh"), problem.words("zh"))

Works without the C extension. Workbooks need `nontax[excel]`, frames `nontax[notebook]`.
"""

from nontax.sheets.amounts import yuan
from nontax.sheets.checking import check_bills
from nontax.sheets.listing import INSERT, BillList, ListedBill, open_list
from nontax.sheets.masking import mask_name
from nontax.sheets.pdfs import Pdf
from nontax.sheets.problems import MissingExtra, Problem, SheetError
from nontax.sheets.reading import Batch
from nontax.sheets.rejects import template, write_rejects
from nontax.sheets.writing import csv_cell, workbook, write_csv, write_rows, write_sheet

__all__ = [
    "INSERT",
    "Batch",
    "BillList",
    "ListedBill",
    "MissingExtra",
    "Pdf",
    "Problem",
    "SheetError",
    "check_bills",
    "csv_cell",
    "mask_name",
    "open_list",
    "template",
    "workbook",
    "write_csv",
    "write_rejects",
    "write_rows",
    "write_sheet",
    "yuan",
]
