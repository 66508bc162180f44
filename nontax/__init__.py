"""nontax: fiscal e-bills (财政电子票据) into citizens' WeChat card wallets.

    import nontax
    nontax.insert_bill(bill, access_token="…")      # -> InsertedBill(code=…, openid=…)

    client = nontax.Client(access_token="…")        # keeps its connections; serves all threads
    client.insert_bill(bill)

Every error is a `NontaxError` with an `outcome`: "rejected", "not_sent" or "in_doubt".
"""

from nontax import _core
from nontax.bill import InsertedBill, Outcome
from nontax.client import Client, insert_bill
from nontax.errcodes import ErrorCode, errcode
from nontax.errors import (
    AccessTokenError,
    AccountError,
    BillStateError,
    DuplicateBillError,
    InDoubtError,
    InvalidRequestError,
    NontaxError,
    NotAuthorizedError,
    NotSentError,
    ParameterError,
    QuotaError,
    SystemBusyError,
    TLSError,
    WeChatError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax.bill import Bill as Bill
    from nontax.bill import FlatBill as FlatBill
    from nontax.bill import NestedBill as NestedBill
    from nontax.bill import TableBill as TableBill

__version__ = _core.version

__all__ = [
    "AccessTokenError",
    "AccountError",
    "BillStateError",
    "Client",
    "DuplicateBillError",
    "ErrorCode",
    "InDoubtError",
    "InsertedBill",
    "InvalidRequestError",
    "NontaxError",
    "NotAuthorizedError",
    "NotSentError",
    "Outcome",
    "ParameterError",
    "QuotaError",
    "SystemBusyError",
    "TLSError",
    "WeChatError",
    "errcode",
    "insert_bill",
]
