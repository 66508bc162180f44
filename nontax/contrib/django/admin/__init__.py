"""The admin's pages: bills, what became of them, and what people may order."""

from nontax.contrib.django.admin.bills import BillAdmin
from nontax.contrib.django.admin.units import UnitAdmin

__all__ = ["BillAdmin", "UnitAdmin"]
