"""The admin's pages: bills, what became of them, and what people may order."""

from nontax.contrib.django.admin.bills import BillAdmin

__all__ = ["BillAdmin"]
