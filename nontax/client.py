"""The client: its settings, its runs, and its end. What calls WeChat is in nontax/calls.py."""

import os

import nontax
from nontax import _core
from nontax.awaited import AwaitedSource, is_async
from nontax.calls import ClientCalls
from nontax.credentials import Credentials
from nontax.errors import InvalidRequestError
from nontax.log import Notes
from nontax.outcomes import InsertedBill
from nontax.problems import Problem
from nontax.report import make_error
from nontax.settings import (
    base_urls_of,
    check_count,
    check_extra,
    check_path,
    check_seconds,
    check_text,
    from_environment,
    ledger_from_environment,
    name_variable,
    run_settings,
    system_ca_file,
)
from nontax.token import FetchedToken, StableToken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any, Literal

    from nontax.aio.runs import AsyncRun
    from nontax.credentials import TokenSource
    from nontax.ledger import Ledger
    from nontax.runs import Run, RunRecord
    from nontax.settings import Extra
    from nontax.shapes import Bill


class Client(ClientCalls):
    """All of WeChat's interfaces for fiscal e-bills, over connections that it keeps open.

    Its credentials are those of one account, given in one of three ways:

    appid, secret: str; of the account. Access tokens are then fetched by a `StableToken`.
    access_token: str; a token that you have fetched.
    token_source: callable `source(stale) -> str`. Called with None it returns the current access
        token; called with a token that WeChat has refused, a newer one. Where there is none, it may
        return the same again: after a 40001 that is tried once more a second later. It is called
        from the thread that makes a call, possibly from several at once. It may be an `async def`
        function, which is awaited in the event loop of the call; a blocking call then raises
        InvalidRequestError.

    appid may stand beside access_token or token_source, so that messages name the account.

    base_url: str; "https://…". "http://…" is allowed to this machine itself only (the sandbox).
    fallback_base_urls: sequence of further hosts, or None; each is tried when nothing could be sent
        to those before it. WeChat has https://api2.weixin.qq.com (for when the default cannot be
        reached), and sh., sz. and hk.api.weixin.qq.com; that they serve the /nontax interfaces is
        not confirmed. What may have been taken goes to no other host.
    ca_file: path of a PEM file with a private CA, trusted in place of the system's.
    proxy: str; URL of an HTTP proxy. None: as the environment says (https_proxy). "": none.
    connect_timeout: seconds for one connection, TLS included.
    timeout: seconds for one whole call, repeats and a token's fetch included.
    retries: how often a call is repeated that was certainly not taken: nothing could be sent, or
        WeChat answered 72036 or 72054 (busy). What may have been taken is never repeated, unless
        the interface only reads.
    extra: what becomes of a bill's fields that WeChat's page does not name: "refuse" (the bill),
        "ignore" (they are not sent, and may hold anything) or "send".

    ledger: path of a ledger, a `nontax.Ledger`, or False: none. With one every bill is on disk
        before it is sent, and every outcome before you see it; a bill that the ledger knows as
        inserted comes back with its kept code, and one in doubt is an InDoubtError and not sent.
        None: as NONTAX_LEDGER says, an absolute path.

    Without any of these credentials, NONTAX_APPID and NONTAX_SECRET are used, or else
    NONTAX_ACCESS_TOKEN; half of a pair is never completed from there. NONTAX_BASE_URL and
    NONTAX_CA_FILE stand in for base_url and ca_file.

    One client serves all threads of a process, each on a connection of its own, and goes on in both
    processes after a fork. It is a context manager; leaving it closes its connections. Make one and
    keep it: it holds the token and the ticket, too.

    All methods raise:
        InvalidRequestError: an argument breaks WeChat's rules; nothing was sent.
        NotSentError, TLSError: nothing was sent.
        InDoubtError: it was sent and no usable answer came.
        WeChatError or one of its subclasses: WeChat answered with an errcode, to this call or to
            the fetch of its access token (then `outcome` is "not_sent").
        Whatever a signal handler raises (KeyboardInterrupt); its `__context__` is then the error
        that tells what is known of the call.

    Raises ValueError or TypeError if a setting cannot be used; nothing is connected to yet.
    """

    __slots__ = ("_appid", "_base_url", "_last_run")

    def __init__(
        self,
        *,
        appid: str | None = None,
        secret: str | None = None,
        access_token: str | None = None,
        token_source: "TokenSource | None" = None,
        base_url: str | None = None,
        fallback_base_urls: "Sequence[str] | None" = (),
        ca_file: "str | os.PathLike[str] | None" = None,
        proxy: str | None = None,
        connect_timeout: float = 5.0,
        timeout: float = 30.0,
        retries: int = 2,
        extra: "Extra" = "refuse",
        ledger: "str | os.PathLike[str] | Ledger | Literal[False] | None" = None,
    ) -> None:
        taken: list[str] = []
        try:
            credentials = Credentials(appid, secret, access_token, token_source, taken)
            if base_url is None:
                base_url = from_environment("base_url", taken)
            base_urls = base_urls_of(base_url, fallback_base_urls)
            self._base_url = base_urls[0]
            if ca_file is None:
                ca_file = from_environment("ca_file", taken)
            self._timeout = check_seconds("timeout", timeout)
            source, own_source = self._source_of(credentials, base_urls, ca_file, proxy)
            super().__init__()
            self._last_run: RunRecord | None = None
            self._journal = None
            self._core = _core.Client(
                make_error=make_error,
                log_note=Notes(self._appid),
                appid=self._appid,
                access_token=credentials.access_token,
                token_source=source,
                own_source=own_source,
                base_urls=base_urls,
                ca_file=None if ca_file is None else check_path("ca_file", ca_file),
                system_ca_file=system_ca_file(ca_file, base_urls),
                proxy=None if proxy is None else check_text("proxy", proxy),
                connect_timeout=check_seconds("connect_timeout", connect_timeout),
                timeout=self._timeout,
                retries=check_count("retries", retries, 0, 100),
                extra=check_extra(extra),
            )
            if ledger is None:
                ledger = ledger_from_environment()
            if ledger is not None and ledger is not False:
                from nontax import journaled
                from nontax.ledger.shared import ledger_for

                kept_in = ledger_for(ledger, base_urls)
                self._journal = journaled.Journaled(self._core, kept_in, self._timeout)
        except ValueError as error:
            name_variable(error, taken)
            raise
        finally:
            # A traceback that shows local variables must not show a credential, also not one that
            # was given in the wrong place, nor a proxy's password.
            del appid, secret, access_token, token_source, proxy
            source = credentials = None  # type: ignore[assignment]

    def _source_of(
        self,
        credentials: Credentials,
        base_urls: tuple[str, ...],
        ca_file: "str | os.PathLike[str] | None",
        proxy: str | None,
    ) -> "tuple[Callable[..., Any] | None, bool]":
        """Where tokens come from, and whether that knows a call's time and returns its errors."""
        try:
            source = credentials.token_source
            if credentials.secret is not None:
                source = StableToken(
                    credentials.appid,
                    credentials.secret,
                    base_url=base_urls[0],
                    fallback_base_urls=base_urls[1:],
                    ca_file=ca_file,
                    proxy=proxy,
                    timeout=min(self._timeout, 10.0),
                )
            self._appid = credentials.appid
            if source is not None and is_async(source):
                return AwaitedSource(source, self._timeout), False
            if not isinstance(source, FetchedToken):
                return source, False
            self._appid = self._appid or source.appid
            # A subclass may hand out its tokens in a way of its own.
            own_source = type(source).__call__ is FetchedToken.__call__
            return (source._token_or_error if own_source else source), own_source
        finally:
            source = None
            del credentials, proxy

    @property
    def appid(self) -> str | None:
        """The account's AppID (str), or None where it is not known; see `Client`."""
        return self._appid

    @property
    def ledger(self) -> "Ledger | None":
        """The ledger, if the client has one."""
        return None if self._journal is None else self._journal.ledger

    # Many bills

    def insert_bills(
        self,
        bills: "Iterable[Bill]",
        *,
        concurrency: int = 16,
        rate: float | None = None,
        minute_quota: "Literal['pause', 'outcome']" = "pause",
        keep: int = 100_000,
    ) -> "Run":
        """Insert many bills, many at once, and give one honest outcome for each.

            run = client.insert_bills(bills)
            for outcome in run.collect():
                print(outcome.bill["order_id"], outcome.outcome)
            print(run.error)  # what ended the run before its last bill, or None

        bills: any iterable of bills as `insert_bill` takes them (of a DataFrame, take
            `df.to_dict("records")`; one bill is a TypeError). It is read as outcomes are asked for,
            and never more than `concurrency` bills ahead; with a ledger, about four times as many.
        concurrency: how many bills are under way at once, 1 to 1000.
        rate: bills per second, evenly spread; None: as fast as WeChat answers.
        minute_quota: what becomes of a bill that must wait, after errcode 45011 for the next
            minute, or for a newer access token (WeChat gives out at most one every 30 seconds):
            "pause": it waits, and the time does not count as its own. "outcome": it comes out at
            once, "rejected" if WeChat has answered it, else "not_sent", with `error.retry` "later".
        keep: how many outcomes, with their bills, are kept while you iterate; 0: none. Memory does
            not grow beyond that. `collect()` keeps all.

        Returns a `Run`: call its `collect()`, or iterate over it to get each `Outcome` as it comes.
        All of it happens in the calling thread, with the GIL released while it waits. All outcomes
        stay in its `outcomes` and in `last_run`, however it ends.

        A bad bill is an outcome, not the end of the run. What would hit every bill (a token that
        cannot be had, an account that may not, an IP list, a day's quota, a certificate) ends it:
        no more bills are taken from the iterable, and the outcomes of those under way are given
        out. Then a loop raises that error, once; `collect()` does not. If the iterable raises, its
        exception comes in the same way.

        Two bills with the same order_id, or the same billing_no and billing_code: WeChat takes one
        and refuses the other as a duplicate, whose `error.advice` says which bill it is a duplicate
        of (looked for among the last 100,000 of the run).

        Ctrl-C in a loop raises KeyboardInterrupt at once and loses nothing: the run goes on if it
        is asked for more. `stop()` takes no more bills; `close()` ends those under way, too, which
        are then in doubt, and returns the outcomes that were not read. A run that is dropped while
        bills are under way is closed, with a RuntimeWarning, as is one that nobody has iterated.
        Between two outcomes it may be left alone for any time; answers that arrive meanwhile are
        kept.
        """
        from nontax.runs import Run

        run = Run._begin(
            self._core,
            bills,
            ledger=self.ledger,
            timeout=self._timeout,
            **run_settings(bills, concurrency, rate, minute_quota, keep),
        )
        self._last_run = run._record
        return run

    def ainsert_bills(
        self,
        bills: "Iterable[Bill] | AsyncIterable[Bill]",
        *,
        concurrency: int = 16,
        rate: float | None = None,
        minute_quota: "Literal['pause', 'outcome']" = "pause",
        keep: int = 100_000,
    ) -> "AsyncRun":
        """`insert_bills` in an event loop.

            run = client.ainsert_bills(bills)
            outcomes = await run.collect()

        bills: an iterable, or an asynchronous one. Must be called in a running loop.

        All else is as for `insert_bills`; what is `close()` there is `await aclose()` here. If the
        task that iterates (`async for outcome in run`) is cancelled, nothing is lost: the run can
        be asked for more, or closed. `async with client.ainsert_bills(bills) as run` closes it in
        any case.
        """
        from nontax.aio.runs import AsyncRun

        run = AsyncRun(
            self._core,
            bills,
            ledger=self.ledger,
            timeout=self._timeout,
            **run_settings(bills, concurrency, rate, minute_quota, keep),
        )
        self._last_run = run._record
        return run

    def _begin_run(
        self,
        bills: "Iterable[Bill | None]",
        *,
        concurrency: int = 1,
        rate: float = 0.0,
        awaits_bills: bool = False,
    ) -> "Run":
        """What a delivery sends with: a store of its own has the bills, and no ledger is asked.

        awaits_bills: where the iterable gives None there is no bill until the run is woken.
        """
        from nontax.runs import Run

        return Run._begin(
            self._core, bills, concurrency=concurrency, rate=rate, keep=0, never_waits=True,
            awaits_bills=awaits_bills,
        )  # fmt: skip

    @property
    def last_run(self) -> "RunRecord | None":
        """What is known of the run that was begun last, also when that is gone; None: none was."""
        return self._last_run

    # The client itself

    def close(self) -> None:
        """Close the connections that are idle now. The client stays usable."""
        self._core.close()
        if self._loops is not None:
            self._loops.close_idle()

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
        account = f"of {self._appid} " if getattr(self, "_appid", None) else ""
        return f"<nontax.Client {account}for {getattr(self, '_base_url', 'nothing')}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(
            "a nontax.Client holds connections and a credential, and is not pickled: make one in "
            "each process, such as with Pool(initializer=…), and hand the bills over"
        )


_default: dict[str, Client] = {}


def _no_credentials(_stale: str | None) -> str:
    message = (
        "is missing: pass access_token=..., or set NONTAX_APPID and NONTAX_SECRET, or "
        "NONTAX_ACCESS_TOKEN"
    )
    raise InvalidRequestError(problems=[Problem("access_token", message, "token_missing")])


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name))


def _default_client(*, needs_token: bool) -> Client:
    name = "client"
    if not needs_token and name not in _default:
        # Another one: the environment's credentials, which may be broken, do not matter here.
        name = "without credentials"
    if name not in _default:
        by_secret = _is_set("NONTAX_APPID") and _is_set("NONTAX_SECRET")
        known = needs_token and (by_secret or _is_set("NONTAX_ACCESS_TOKEN"))
        # Two threads may both come here; the first one's client stays.
        _default.setdefault(name, Client(token_source=None if known else _no_credentials))
    return _default[name]


def insert_bill(bill: "nontax.Bill", *, access_token: str | None = None) -> InsertedBill:
    """Insert one fiscal e-bill with the process's default client; see `Client.insert_bill`.

    access_token: str; None: as the environment says (see `Client`), which is read at the first
        call that needs it.
    """
    try:
        client = _default_client(needs_token=access_token is None)
        if client._journal is not None:
            return client._journal.insert(bill, access_token)
        core = client._core
        return core.call("insertbill", bill, access_token, None, InsertedBill._from_reply)
    finally:
        # A traceback that shows local variables must not show the token.
        del access_token
