"""The client: what people call to insert bills."""

import os

from nontax import _core
from nontax.bill import InsertedBill, Outcome
from nontax.errors import InvalidRequestError, make_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import SupportsFloat, SupportsIndex

    from nontax._core import Run
    from nontax.bill import Bill

    TokenSource = Callable[[str | None], str]

BASE_URL = "https://api.weixin.qq.com"


# Settings are checked here because here their names are known.


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str")
    if not value.isprintable():
        raise ValueError(f"{name} has a character that cannot be in it")
    return value


def _path(name: str, value: "str | os.PathLike[str]") -> str:
    try:
        return _text(name, os.fspath(value))
    except TypeError:
        raise TypeError(f"{name} must be a str or a path") from None


def _seconds(name: str, value: "SupportsFloat") -> float:
    if isinstance(value, str | bytes | bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number of seconds")
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0.001 <= seconds <= 86_400:
        raise ValueError(f"{name} must be between a millisecond and a day")
    return seconds


def _count(name: str, value: "SupportsIndex", lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int")
    count = value.__index__()
    if not lowest <= count <= highest:
        raise ValueError(f"{name} must be between {lowest} and {highest}")
    return count


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
            if base_url is None:
                base_url = os.environ.get("NONTAX_BASE_URL") or BASE_URL
            if ca_file is None:
                ca_file = os.environ.get("NONTAX_CA_FILE") or None
            self._base_url = _text("base_url", base_url)
            self._core = _core.Client(
                make_error=make_error,
                access_token=access_token,
                token_source=token_source,
                base_url=self._base_url,
                ca_file=None if ca_file is None else _path("ca_file", ca_file),
                proxy=None if proxy is None else _text("proxy", proxy),
                connect_timeout=_seconds("connect_timeout", connect_timeout),
                timeout=_seconds("timeout", timeout),
                retries=_count("retries", retries, 0, 100),
                allow_extra=allow_extra,
            )
        finally:
            # A traceback that shows local variables must not show the token, also not one that was
            # given as the source by mistake.
            del access_token, token_source

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

    def insert_bills(
        self, bills: "Iterable[Bill]", *, concurrency: int = 16, rate: float | None = None
    ) -> "Run":
        """Insert many bills, many at once, and give one honest outcome for each.

        bills: any iterable of bills as `insert_bill` takes them. It is read as outcomes are asked
            for, and never more than `concurrency` bills ahead; memory does not grow with it.
        concurrency: how many bills are under way at once, 1 to 1000.
        rate: bills per second, evenly spread; None: as fast as WeChat answers.

        Returns an iterator of `Outcome` in order of completion. All of it happens in the calling
        thread, with the GIL released while it waits.

        A bad bill is an outcome, not the end of the run. After errcode 45011 (calls per minute) the
        run pauses until the next minute and goes on. What would hit every bill (a token that cannot
        be had, an account that may not, an IP list, a day's quota, a certificate) ends it: no more
        bills are taken from the iterable, the outcomes of those under way are given out, and then
        that error is raised, once. If the iterable raises, its exception comes in the same way.

        Ctrl-C raises KeyboardInterrupt and loses nothing: the iterator goes on if it is asked for
        more. `close()` ends it and returns the outcomes of all bills that had none yet. Between two
        outcomes it may be left alone for any time; answers that arrive meanwhile are kept.
        """
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float)):
            raise TypeError("rate must be a number of bills per second")
        if rate is not None and not 0 < rate <= 1e6:
            raise ValueError("rate must be more than 0 and at most 1e6 bills per second")
        return _core.Run(
            client=self._core,
            make_outcome=Outcome._from_core,
            bills=bills,
            concurrency=_count("concurrency", concurrency, 1, 1000),
            rate=0.0 if rate is None else float(rate),
            quota_pause=0.0,
        )

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
        # A traceback with local variables may show a client that could not be made.
        return f"<nontax.Client for {getattr(self, '_base_url', 'nothing')}>"


_default: dict[str, Client] = {}


def _no_credentials(_stale: str | None) -> str:
    raise InvalidRequestError(
        problems=[("access_token", "is missing: pass access_token=..., or set NONTAX_ACCESS_TOKEN")]
    )


def _default_client() -> Client:
    if "client" not in _default:
        known = bool(os.environ.get("NONTAX_ACCESS_TOKEN"))
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
