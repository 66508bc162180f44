"""The client: what people call."""

import os

import nontax
from nontax import _core, interfaces
from nontax.awaited import AwaitedSource, is_async
from nontax.cached import Cached
from nontax.credentials import Credentials
from nontax.errors import InvalidRequestError, NontaxError
from nontax.log import Notes
from nontax.outcomes import InsertedBill
from nontax.pdf import Pdf
from nontax.problems import Problem
from nontax.report import make_error
from nontax.results import Ticket
from nontax.settings import (
    base_urls_of,
    check_bills,
    check_choice,
    check_count,
    check_extra,
    check_path,
    check_rate,
    check_seconds,
    check_text,
    from_environment,
    ledger_from_environment,
    name_variable,
    system_ca_file,
)
from nontax.token import FetchedToken, StableToken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Any, Literal, SupportsIndex

    from nontax.aio.calls import Loops
    from nontax.aio.runs import AsyncRun
    from nontax.credentials import TokenSource
    from nontax.interfaces import Request, T
    from nontax.journaled import Journaled
    from nontax.ledger import Ledger
    from nontax.pdf import PdfLike
    from nontax.results import (
        AuthData,
        BillAuthUrl,
        BillCard,
        PdfUrl,
        PlatformId,
        Quota,
        RidInfo,
        UploadedPdf,
    )
    from nontax.runs import Run, RunRecord
    from nontax.settings import Extra
    from nontax.shapes import Bill
    from nontax.uploads import Pdfs, UploadOutcome


MOST_KEPT = 1_000_000_000  # outcomes of a run: as good as all


class Client:
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

    __slots__ = (
        "_appid", "_base_url", "_core", "_journal", "_last_run", "_loops", "_ticket", "_timeout",
    )  # fmt: skip

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
            self._ticket: Cached[Ticket] = Cached()
            self._loops: Loops | None = None
            self._last_run: RunRecord | None = None
            self._journal: Journaled | None = None
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

    def _call(self, request: "Request[T]") -> "T":
        name, payload, make_result = request
        try:
            return self._core.call(name, payload, None, None, make_result)
        finally:
            del request, payload  # there may be a ticket in it

    async def _acall(self, request: "Request[T]") -> "T":
        try:
            if self._loops is None:
                from nontax.aio.calls import Loops

                self._loops = Loops(self._core)
            return await self._loops.call(request)
        finally:
            del request

    @property
    def ledger(self) -> "Ledger | None":
        """The ledger, if the client has one."""
        return None if self._journal is None else self._journal.ledger

    # The finance bureau

    def insert_bill(self, bill: "nontax.Bill") -> InsertedBill:
        """Insert one fiscal e-bill into the wallet of the citizen who authorised its order.

        bill: a mapping in one of three shapes, told apart by where the bill's six fields stand:
            under card_ext.user_card.invoice_user_data, under card_ext.user_card, or flat beside
            order_id, card_id and appid. See `nontax.Bill` for the fields and their types. It is
            copied before anything is sent, and never changed.

        The token must be the finance bureau's. The bill is sent once, and again by itself only when
        it was certainly not taken (see `Client`).

        Raises as `Client` says. After InDoubtError the bill may be in the wallet.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
        """
        if self._journal is not None:
            return self._journal.insert(bill)
        return self._call(interfaces.insert_bill(bill))

    async def ainsert_bill(self, bill: "nontax.Bill") -> InsertedBill:
        """`insert_bill` in an event loop.

        The transfer is driven by the loop itself, without a thread; a token source is asked in the
        loop's executor. At most 100 calls of a client are under way in one loop; more wait, and the
        timeout of each counts from its turn.

        If the task is cancelled, the transfer is ended, and the CancelledError's `__cause__` is the
        error that tells what is known of the bill. There is none if the task had not begun, and if
        the bill was inserted, which a note in `__notes__` tells.
        """
        if self._journal is not None:
            from nontax.gated_aio import insert

            return await insert(self._journal, self._acall, bill)
        return await self._acall(interfaces.insert_bill(bill))

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
            and never more than `concurrency` bills ahead.
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

        check_bills(bills)
        never_waits = check_choice("minute_quota", minute_quota, "pause", "outcome") == "outcome"
        if self._journal is not None:
            from nontax.gated import LedgerRun

            run: Run = LedgerRun._begin_with(
                self._core,
                self._journal.ledger,
                bills,
                concurrency=check_count("concurrency", concurrency, 1, 1000),
                rate=check_rate(rate),
                keep=check_count("keep", keep, 0, MOST_KEPT),
                timeout=self._timeout,
                never_waits=never_waits,
            )
            self._last_run = run._record
            return run
        run = Run._begin(
            self._core,
            bills,
            concurrency=check_count("concurrency", concurrency, 1, 1000),
            rate=check_rate(rate),
            keep=check_count("keep", keep, 0, MOST_KEPT),
            never_waits=never_waits,
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

        check_bills(bills)
        never_waits = check_choice("minute_quota", minute_quota, "pause", "outcome") == "outcome"
        if self._journal is not None:
            from nontax.gated_aio import AsyncLedgerRun

            run: AsyncRun = AsyncLedgerRun(
                self._core,
                self._journal.ledger,
                bills,
                concurrency=check_count("concurrency", concurrency, 1, 1000),
                rate=check_rate(rate),
                keep=check_count("keep", keep, 0, MOST_KEPT),
                timeout=self._timeout,
                never_waits=never_waits,
            )
            self._last_run = run._record
            return run
        run = AsyncRun(
            self._core,
            bills,
            concurrency=check_count("concurrency", concurrency, 1, 1000),
            rate=check_rate(rate),
            keep=check_count("keep", keep, 0, MOST_KEPT),
            never_waits=never_waits,
        )
        self._last_run = run._record
        return run

    @property
    def last_run(self) -> "RunRecord | None":
        """What is known of the run that was begun last, also when that is gone; None: none was."""
        return self._last_run

    def create_bill_card(self, *, payee: str, logo_url: str) -> "BillCard":
        """Create the template of one collecting unit's bills; once, and keep its `card_id`.

        payee: str; full name of the payee, shown in the bill's details. logo_url: str; the bureau's
        logo, a URL from WeChat's image upload.

        The token must be the finance bureau's. Bills inserted very soon afterwards may be refused
        with 40078. Raises as `Client` says.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoicecreatecard.html
        """
        return self._call(interfaces.create_bill_card(payee, logo_url))

    async def acreate_bill_card(self, *, payee: str, logo_url: str) -> "BillCard":
        """`create_bill_card` in an event loop."""
        return await self._acall(interfaces.create_bill_card(payee, logo_url))

    def upload_pdf(self, pdf: "PdfLike", *, filename: str | None = None) -> "UploadedPdf":
        """Upload a bill's PDF; its `s_media_id` goes into the bill's `s_pdf_media_id`.

        pdf: a path, bytes, a file open for reading bytes, or a web framework's uploaded file
            (Starlette, FastAPI, Django, Flask). A file is sent from where it stands; one that was
            read to its end is refused, and where it stands afterwards is not said. It is sent piece
            by piece; a large file on a slow line needs a client with a longer `timeout`.
        filename: str; None: the path's or the file's own name, or "bill.pdf".

        WeChat keeps it for three days, unless it gets into a bill. That the upload went well says
        nothing about the content, which is checked when the bill is inserted (72040, 72082).

        The token must be the finance bureau's. Raises as `Client` says, TypeError for anything
        else, and OSError if the file cannot be opened.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoiceplatformsetpdf.html
        """
        with Pdf(pdf, filename) as opened:
            return self._call(interfaces.upload_pdf(opened.payload))

    async def aupload_pdf(self, pdf: "PdfLike", *, filename: str | None = None) -> "UploadedPdf":
        """`upload_pdf` in an event loop. The file is read in the loop's thread, piece by piece."""
        with Pdf(pdf, filename) as opened:
            return await self._acall(interfaces.upload_pdf(opened.payload))

    def upload_pdfs(self, pdfs: "Pdfs", *, concurrency: int = 4) -> "Iterator[UploadOutcome]":
        """Upload many PDFs, a few at once, and give one outcome for each.

        pdfs: an iterable of what `upload_pdf` takes, or a mapping such as {order_id: path}. It is
            read as outcomes are asked for, never more than `concurrency` files ahead.
        concurrency: how many are under way at once, 1 to 100; each has a thread and an open file.

        Returns an iterator of `UploadOutcome` in the order of the PDFs, each with its key. A file
        that is missing, no PDF or refused is an outcome, never an exception. After errcode 45011
        (calls per minute) an upload waits for the next minute. What every upload would meet (the
        token, the account, a day's quota, a certificate) ends the run: those after it are not
        tried, and their error says so. If the iterable raises, its exception comes after the
        outcomes of those under way.

        The token must be the finance bureau's.
        """
        from nontax.uploads import upload_all

        return upload_all(self.upload_pdf, pdfs, check_count("concurrency", concurrency, 1, 100))

    def aupload_pdfs(self, pdfs: "Pdfs", *, concurrency: int = 4) -> "AsyncIterator[UploadOutcome]":
        """`upload_pdfs` in an event loop: `async for outcome in client.aupload_pdfs(pdfs)`."""
        from nontax.uploads import aupload_all, items_of

        count = check_count("concurrency", concurrency, 1, 100)
        return aupload_all(self.aupload_pdf, items_of(pdfs), count)

    def get_s_pappid(self) -> "PlatformId":
        """Get the finance bureau's `s_pappid`, which its collecting units need.

        The token must be the finance bureau's. Raises as `Client` says; InDoubtError also if there
        is none in WeChat's answer.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_setinvoiceurl.html
        """
        return self._call(interfaces.get_s_pappid())

    async def aget_s_pappid(self) -> "PlatformId":
        """`get_s_pappid` in an event loop."""
        return await self._acall(interfaces.get_s_pappid())

    def get_pdf_url(self, s_media_id: str) -> "PdfUrl":
        """Get a link to an uploaded PDF, good for two hours.

        The token must be that of the finance bureau which uploaded it. Raises as `Client` says.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoiceplatformgetpdf.html
        """
        return self._call(interfaces.get_pdf_url(s_media_id))

    async def aget_pdf_url(self, s_media_id: str) -> "PdfUrl":
        """`get_pdf_url` in an event loop."""
        return await self._acall(interfaces.get_pdf_url(s_media_id))

    def update_bill_status(self, *, card_id: str, code: str, reimburse_status: str) -> None:
        """Report a bill's status that has changed outside WeChat.

        card_id: str; the template's. code: str; the card code that `insert_bill` returned, not a
            code printed on the bill (72038).
        reimburse_status: "INVOICE_REIMBURSE_CANCEL" (red-flushed, 冲红), "INVOICE_REIMBURSE_INIT"
            (open), "INVOICE_REIMBURSE_LOCK" (locked) or "INVOICE_REIMBURSE_CLOSURE" (written off,
            for good).

        The token must be the finance bureau's. Raises as `Client` says.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoicekpupdatainvoicestatus.html
        """
        request = interfaces.update_bill_status(card_id, code, reimburse_status)
        if self._journal is not None:
            what = {"source": "update_bill_status", "card_id": card_id, "code": code}
            what["status"] = reimburse_status
            return self._journal.change(what, lambda: self._call(request))
        return self._call(request)

    async def aupdate_bill_status(self, *, card_id: str, code: str, reimburse_status: str) -> None:
        """`update_bill_status` in an event loop."""
        request = interfaces.update_bill_status(card_id, code, reimburse_status)
        if self._journal is not None:
            from nontax.gated_aio import change

            what = {"source": "update_bill_status", "card_id": card_id, "code": code}
            what["status"] = reimburse_status
            return await change(self._journal, what, lambda: self._acall(request))
        return await self._acall(request)

    # The collecting unit

    def get_ticket(self) -> Ticket:
        """Get the account's card ticket, which `get_bill_auth_url` needs and asks for by itself.

        It is fetched once and kept for its lifetime (two hours): WeChat lets it be fetched only a
        few times. The token must be the collecting unit's. Raises as `Client` says.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_getticket.html
        """
        ticket = self._ticket.get(self._fetch_ticket, None, self._timeout)
        if isinstance(ticket, NontaxError):
            raise ticket
        return ticket

    def _fetch_ticket(
        self, _stale: Ticket | None, _seconds: float, _may_keep: bool
    ) -> "tuple[Ticket, float] | NontaxError":
        name, payload, make_result = interfaces.get_ticket()
        ticket = self._core.ask(name, payload, None, None, make_result)
        return ticket if isinstance(ticket, NontaxError) else (ticket, float(ticket.expires_in))

    async def aget_ticket(self) -> Ticket:
        """`get_ticket` in an event loop, by way of its executor where it must be fetched."""
        ticket = self._ticket.current()
        if ticket is None:
            import asyncio

            ticket = await asyncio.get_running_loop().run_in_executor(None, self.get_ticket)
        return ticket

    def get_bill_auth_url(
        self,
        *,
        s_pappid: str,
        order_id: str,
        money: "SupportsIndex",
        source: str = "web",
        redirect_url: str | None = None,
        timestamp: "SupportsIndex | datetime | None" = None,
        ticket: "str | Ticket | None" = None,
    ) -> "BillAuthUrl":
        """Get the page on which a citizen authorises an order; show it to the citizen.

        s_pappid: str; the finance bureau's. order_id: str; a number of yours, one for each bill.
        money: int; the order's amount in fen.
        source: "web" (an official account's page) or "app".
        redirect_url: str; the page that follows a successful authorisation.
        timestamp: int, Unix seconds, or an aware datetime; None: now.
        ticket: str or Ticket; None: from `get_ticket`.

        The token must be the collecting unit's. What became of it comes as an event (see
        `nontax.events`) or from `get_auth_data`. Raises as `Client` says.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoicegetauthurl.html
        """
        try:
            request = interfaces.get_bill_auth_url(
                s_pappid,
                order_id,
                money,
                source,
                redirect_url,
                timestamp,
                self.get_ticket() if ticket is None else ticket,
            )
        finally:
            del ticket  # whoever looks into the frames of a call must not see it
        return self._call(request)

    async def aget_bill_auth_url(
        self,
        *,
        s_pappid: str,
        order_id: str,
        money: "SupportsIndex",
        source: str = "web",
        redirect_url: str | None = None,
        timestamp: "SupportsIndex | datetime | None" = None,
        ticket: "str | Ticket | None" = None,
    ) -> "BillAuthUrl":
        """`get_bill_auth_url` in an event loop."""
        try:
            request = interfaces.get_bill_auth_url(
                s_pappid,
                order_id,
                money,
                source,
                redirect_url,
                timestamp,
                await self.aget_ticket() if ticket is None else ticket,
            )
        finally:
            del ticket
        return await self._acall(request)

    def get_auth_data(self, *, s_pappid: str, order_id: str) -> "AuthData":
        """Ask what became of an order's authorisation.

        s_pappid: str; the finance bureau's. order_id: str; the order's.

        The token must be the collecting unit's. Raises as `Client` says.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoicebizgetauthdata.html
        """
        return self._call(interfaces.get_auth_data(s_pappid, order_id))

    async def aget_auth_data(self, *, s_pappid: str, order_id: str) -> "AuthData":
        """`get_auth_data` in an event loop."""
        return await self._acall(interfaces.get_auth_data(s_pappid, order_id))

    def reject_bill(
        self, *, s_pappid: str, order_id: str, reason: str, url: str | None = None
    ) -> None:
        """Irreversible: reject an order, which can never be inserted afterwards (72035).

        s_pappid: str; the finance bureau's. order_id: str; the order's. reason: str; shown to the
        citizen, who is notified. url: str; a link for the citizen's next step.

        The citizen then needs a new order_id and a new authorisation. The token must be the
        collecting unit's. Raises as `Client` says.

        WeChat's page:
        https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoicebizrejectinsert.html
        """
        request = interfaces.reject_bill(s_pappid, order_id, reason, url)
        if self._journal is not None:
            what = {"source": "reject_bill", "order_id": order_id}
            return self._journal.change(what, lambda: self._call(request))
        return self._call(request)

    async def areject_bill(
        self, *, s_pappid: str, order_id: str, reason: str, url: str | None = None
    ) -> None:
        """`reject_bill` in an event loop."""
        request = interfaces.reject_bill(s_pappid, order_id, reason, url)
        if self._journal is not None:
            from nontax.gated_aio import change

            what = {"source": "reject_bill", "order_id": order_id}
            return await change(self._journal, what, lambda: self._acall(request))
        return await self._acall(request)

    # Looking things up

    def get_rid_info(self, rid: str) -> "RidInfo":
        """Look up a request by the `rid` of an error: what WeChat received, and what it answered.

        rid: str; three groups of eight hexadecimal digits, not older than seven days, of the same
        account. Raises as `Client` says.

        WeChat's page: https://developers.weixin.qq.com/doc/service/openApi/get_rid_info.html
        """
        return self._call(interfaces.get_rid_info(rid))

    async def aget_rid_info(self, rid: str) -> "RidInfo":
        """`get_rid_info` in an event loop."""
        return await self._acall(interfaces.get_rid_info(rid))

    def get_quota(self, cgi_path: str) -> "Quota":
        """Look up how often the account may call an interface, and did.

        cgi_path: str; the interface's path, such as "/nontax/insertbill". That WeChat knows the
        /nontax paths here is not confirmed. Raises as `Client` says.

        WeChat's page: https://developers.weixin.qq.com/doc/service/openApi/clear_quota.html
        """
        return self._call(interfaces.get_quota(cgi_path))

    async def aget_quota(self, cgi_path: str) -> "Quota":
        """`get_quota` in an event loop."""
        return await self._acall(interfaces.get_quota(cgi_path))

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
