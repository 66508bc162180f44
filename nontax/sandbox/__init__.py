"""A local imitation of WeChat's server, for people without a WeChat account and for tests.

    from nontax.sandbox import Sandbox, faults

    with Sandbox() as sandbox:
        client = sandbox.client()
        sandbox.inject(faults.Errcode(45011), path="/nontax/insertbill")
        ...  # insert bills
        sandbox.requests, sandbox.bills

`sandbox.bureau` and `sandbox.unit` are the two accounts that take part; `sandbox.clock.advance()`
lets time pass. `python -m nontax.sandbox` runs one in a terminal. Nothing in it is shared with the
client: it was written from WeChat's documentation alone, so that the two check each other.
"""

from . import faults
from .accounts import Account
from .clock import Clock
from .orders import Order
from .pushes import Push
from .records import Bill, Request
from .server import Sandbox
from .stock import Card, Pdf

__all__ = [
    "Account",
    "Bill",
    "Card",
    "Clock",
    "Order",
    "Pdf",
    "Push",
    "Request",
    "Sandbox",
    "faults",
]
