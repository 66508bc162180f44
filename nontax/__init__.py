"""nontax: fiscal e-bills (财政电子票据) into citizens' WeChat card wallets.

    import nontax
    nontax.insert_bill(bill, access_token="…")      # -> InsertedBill(code=…, openid=…)

    client = nontax.Client(appid="wx…", secret="…") # keeps its connections; serves all threads
    client.insert_bill(bill)

Every error is a `NontaxError` with an `outcome`: "rejected", "not_sent" or "in_doubt".
"""

from nontax.errors import (
    AccessTokenError,
    AccountError,
    BillStateError,
    ConflictError,
    DuplicateBillError,
    InDoubtError,
    InvalidRequestError,
    LedgerError,
    NontaxError,
    NotAuthorizedError,
    NotSentError,
    ParameterError,
    QuotaError,
    SystemBusyError,
    TLSError,
    WeChatError,
)
from nontax.outcomes import InsertedBill, Outcome
from nontax.problems import Problem
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
from nontax.values import billing_time, fen, order_id_of

# Errors, values, sheets and reports work without the compiled core: see __getattr__().
try:
    import nontax._core
except ImportError as error:
    _core_error: str | None = str(error)
    del error
else:
    from nontax.client import Client, insert_bill
    from nontax.errcodes import ErrorCode, errcode
    from nontax.token import AccessToken, StableToken
    from nontax.uploads import UploadOutcome
    from nontax.validation import validate_bill, validate_bills

    _core_error = None
    __version__ = nontax._core.version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax.aio.runs import AsyncRun
    from nontax.ledger import Ledger
    from nontax.reconciliation.run import reconcile
    from nontax.runs import Run, RunRecord
    from nontax.shapes import Bill, FlatBill, NestedBill, TableBill

__all__ = [
    "AccessToken",
    "AccessTokenError",
    "AccountError",
    "AsyncRun",
    "AuthData",
    "Bill",
    "BillAuthUrl",
    "BillCard",
    "BillStateError",
    "Client",
    "ConflictError",
    "DuplicateBillError",
    "ErrorCode",
    "FlatBill",
    "InDoubtError",
    "InsertedBill",
    "InvalidRequestError",
    "Ledger",
    "LedgerError",
    "NestedBill",
    "NontaxError",
    "NotAuthorizedError",
    "NotSentError",
    "Outcome",
    "ParameterError",
    "PdfUrl",
    "PlatformId",
    "Problem",
    "Quota",
    "QuotaError",
    "RidInfo",
    "Run",
    "RunRecord",
    "StableToken",
    "SystemBusyError",
    "TLSError",
    "TableBill",
    "Ticket",
    "UploadOutcome",
    "UploadedPdf",
    "WeChatError",
    "billing_time",
    "errcode",
    "fen",
    "insert_bill",
    "order_id_of",
    "reconcile",
    "validate_bill",
    "validate_bills",
]

_LAZY = {
    "AsyncRun": "aio.runs",
    "Bill": "shapes",
    "FlatBill": "shapes",
    "Ledger": "ledger",
    "NestedBill": "shapes",
    "Run": "runs",
    "RunRecord": "runs",
    "TableBill": "shapes",
    "reconcile": "reconciliation.run",
}
_WITHOUT_CORE = ("ledger", "reconciliation.run", "shapes")

if not TYPE_CHECKING:  # with a __getattr__, a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        # Who inserts one bill shall not wait for what these import.
        needs_core = (
            name in ("_core", "__version__", *__all__) and _LAZY.get(name) not in _WITHOUT_CORE
        )
        if _core_error is not None and needs_core:
            from nontax import uncompiled

            if name == "__version__":
                return uncompiled.version()
            raise ImportError(uncompiled.cure(_core_error), name="nontax._core")
        if name in _LAZY:
            from importlib import import_module

            return getattr(import_module(f"nontax.{_LAZY[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
