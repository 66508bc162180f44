"""nontax: fiscal e-bills (财政电子票据) into citizens' WeChat card wallets.

    import nontax
    nontax.insert_bill(bill, access_token="…")      # -> InsertedBill(code=…, openid=…)

    client = nontax.Client(appid="wx…", secret="…") # keeps its connections; serves all threads
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
from nontax.results import (
    AuthData,
    BillAuthUrl,
    BillCard,
    PdfUrl,
    PlatformId,
    Quota,
    RidInfo,
    Ticket,
    UploadedPdf,
)
from nontax.token import OrdinaryToken, StableToken

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
    "AuthData",
    "BillAuthUrl",
    "BillCard",
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
    "OrdinaryToken",
    "Outcome",
    "ParameterError",
    "PdfUrl",
    "PlatformId",
    "Quota",
    "QuotaError",
    "RidInfo",
    "StableToken",
    "SystemBusyError",
    "TLSError",
    "Ticket",
    "UploadedPdf",
    "WeChatError",
    "errcode",
    "insert_bill",
]
