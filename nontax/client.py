"""The client: what people call to insert bills."""

import os

from nontax import _core
from nontax.bill import InsertedBill
from nontax.errors import InvalidRequestError, make_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from nontax.bill import Bill

    TokenSource = Callable[[str | None], str]

BASE_URL = "https://api.weixin.qq.com"


class Client:
    """Inserts bills, over connections that it keeps open between calls.

    access_token: str; a token that you have fetched. Without it, `token_source` is asked.
    token_source: callable `source(stale) -> str`. Called with None it returns the current access
        token; called with a token that WeChat has refused, a newer one. It is called from the
        thread that inserts, possibly from several at once.
    base_url: str; "https://…". "http://…" is allowed to this machine itself only (the sandbox).
    ca_file: path of a PEM file with a private CA, trusted in place of the system's.
    proxy: str; URL of an HTTP proxy. None: as the environment says (https_proxy). "": none.
    connect_timeout: seconds for one connection, TLS included.
    timeout: seconds for one whole call, repeats included.
    retries: how often a call is repeated that was certainly not taken: nothing could be sent, or
        WeChat answered 72036 or 72054 (busy). What may have been taken is never repeated.
    allow_extra: send fields that WeChat's page does not name, instead of refusing them.

    What is not given is read from NONTAX_ACCESS_TOKEN, NONTAX_BASE_URL and NONTAX_CA_FILE, if set.

    One client serves all threads of a process, each on a connection of its own, and goes on in both
    processes after a fork. It is a context manager; leaving it closes its connections.

    Raises ValueError or TypeError if a setting cannot be used; nothing is connected to yet.
    """

    __slots__ = ("_base_url", "_core")

    def __init__(
        self,
        *,
        access_token: str | None = None,
        token_source: "TokenSource | None" = None,
        base_url: str | None = None,
        ca_file: "str | os.PathLike[str] | None" = None,
        proxy: str | None = None,
        connect_timeout: float = 5.0,
        timeout: float = 30.0,
        retries: int = 2,
        allow_extra: bool = False,
    ) -> None:
        try:
            if access_token is not None and token_source is not None:
                raise TypeError("give access_token or token_source, not both")
            if access_token is None and token_source is None:
                access_token = os.environ.get("NONTAX_ACCESS_TOKEN") or None
                if access_token is None:
                    raise ValueError(
                        "no credentials: give access_token or token_source, "
                        "or set NONTAX_ACCESS_TOKEN"
                    )
            self._base_url = base_url or os.environ.get("NONTAX_BASE_URL") or BASE_URL
            if ca_file is None:
                ca_file = os.environ.get("NONTAX_CA_FILE") or None
            self._core = _core.Client(
                make_error=make_error,
                access_token=access_token,
                token_source=token_source,
                base_url=self._base_url,
                ca_file=None if ca_file is None else os.fspath(ca_file),
                proxy=proxy,
                connect_timeout=connect_timeout,
                timeout=timeout,
                retries=retries,
                allow_extra=allow_extra,
            )
        finally:
            # A traceback that shows local variables must not show the token.
            del access_token

    def insert_bill(self, bill: "Bill") -> InsertedBill:
        """Insert one fiscal e-bill into the wallet of the citizen who authorised its order.

        bill: a mapping in one of three shapes, told apart by where the bill's six fields stand:
            under card_ext.user_card.invoice_user_data, under card_ext.user_card, or flat beside
            order_id, card_id and appid. See `nontax.Bill` for the fields and their types. It is
            copied before anything is sent, and never changed.

        The token must be the finance bureau's. The bill is sent once, and again by itself only when
        it was certainly not taken (see `Client`).

        Raises:
            InvalidRequestError: the bill breaks WeChat's rules; nothing was sent.
            NotSentError, TLSError: nothing was sent.
            InDoubtError: it was sent and no usable answer came; it may be in the wallet.
            WeChatError or one of its subclasses: WeChat answered with an errcode.
            Whatever a signal handler raises (KeyboardInterrupt); its `__context__` is then the
            error that tells what is known of the bill.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
        """
        return InsertedBill._from_reply(self._core.call("insertbill", bill, None))

    def close(self) -> None:
        """Close the connections that are idle now. The client stays usable."""
        self._core.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<nontax.Client for {self._base_url}>"


_default: dict[str, Client] = {}


def _no_credentials(_stale: str | None) -> str:
    raise InvalidRequestError(
        problems=[("access_token", "is missing: pass access_token=..., or set NONTAX_ACCESS_TOKEN")]
    )


def _default_client() -> Client:
    if "client" not in _default:
        known = os.environ.get("NONTAX_ACCESS_TOKEN")
        # Two threads may both come here; the first one's client stays.
        _default.setdefault("client", Client(token_source=None if known else _no_credentials))
    return _default["client"]


def insert_bill(bill: "Bill", *, access_token: str | None = None) -> InsertedBill:
    """Insert one fiscal e-bill with the process's default client; see `Client.insert_bill`.

    access_token: str; None: NONTAX_ACCESS_TOKEN. NONTAX_BASE_URL and NONTAX_CA_FILE count, too;
        the environment is read at the first call.
    """
    try:
        reply = _default_client()._core.call("insertbill", bill, access_token)
    finally:
        # A traceback that shows local variables must not show the token.
        del access_token
    return InsertedBill._from_reply(reply)
