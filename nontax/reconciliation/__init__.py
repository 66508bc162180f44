"""Reconciliation (对账): a list of bills against the ledger, or against another list, to the fen.

    report = nontax.reconcile("票据清单.csv", "bills.db", day="2026-11-29")
    report.write("对账")          # report.html, report.xlsx, differences.csv, report.jsonl …

A report is made only if both sides' counts and amounts are the sums of its rows' classes.
Works without the C extension; list against list also without a ledger.
"""

from nontax.reconciliation.carried import CarriedError
from nontax.reconciliation.explain import Explanation, ExplanationError, explain
from nontax.reconciliation.period import Period, PeriodError
from nontax.reconciliation.report import Both, Difference, GroupLine, Report, TieError
from nontax.reconciliation.run import reconcile
from nontax.reconciliation.sides import NoCommonKeyError, Source
from nontax.reconciliation.sums import Sum

__all__ = [
    "Both",
    "CarriedError",
    "Difference",
    "Explanation",
    "ExplanationError",
    "GroupLine",
    "NoCommonKeyError",
    "Period",
    "PeriodError",
    "Report",
    "Source",
    "Sum",
    "TieError",
    "explain",
    "reconcile",
]
