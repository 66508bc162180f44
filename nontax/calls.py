"""WeChat's interfaces as methods, each with its twin for event loops."""

import nontax
from nontax import interfaces
from nontax.cached import Cached
from nontax.errors import NontaxError
from nontax.outcomes import InsertedBill
from nontax.pdf import Pdf
from nontax.results import Ticket
from nontax.settings import check_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from datetime import datetime
    from typing import Any, SupportsIndex

    from nontax import _core
    from nontax.aio.calls import Loops
    from nontax.interfaces import Request, T
    from nontax.journaled import Journaled
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
    from nontax.uploads import Pdfs, UploadOutcome


class ClientCalls:
    """The part of `Client` in which each method calls one interface.

    `Client` makes the connection and the journal before any of them is called.
    """

    __slots__ = ("_core", "_journal", "_loops", "_ticket", "_timeout")

    _core: "_core.Client"
    _journal: "Journaled | None"
    _timeout: float

    def __init__(self) -> None:
        self._ticket: Cached[Ticket] = Cached()
        self._loops: Loops | None = None

    def _call(self, request: "Request[T]") -> "T":
        name, payload, make_result = request
        try:
            return self._core.call(name, payload, None, None, make_result)
        finally:
            del request, payload  # there may be a ticket in it

    def _acall(self, request: "Request[T]") -> "Coroutine[Any, Any, T]":
        # No coroutine itself: each one that is waited through costs a call a hundredth.
        try:
            if self._loops is None:
                from nontax.aio.calls import Loops

                self._loops = Loops(self._core)
            return self._loops.call(request)
        finally:
            del request

    def _change(self, request: "Request[None]", source: str, **what: str) -> None:
        """Call an interface that changes a bill's state, which a ledger keeps."""
        if self._journal is None:
            return self._call(request)
        return self._journal.change({"source": source, **what}, lambda: self._call(request))

    async def _achange(self, request: "Request[None]", source: str, **what: str) -> None:
        if self._journal is None:
            return await self._acall(request)
        from nontax.aio.journaled import change

        what["source"] = source
        return await change(self._journal, what, lambda: self._acall(request))

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
        # Past _call(): there is no secret in a bill, and each frame costs this call a hundredth.
        return self._core.call("insertbill", bill, None, None, InsertedBill._from_reply)

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
            from nontax.aio.journaled import insert

            return await insert(self._journal, self._acall, bill)
        return await self._acall(interfaces.insert_bill(bill))

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
        self._change(
            request, "update_bill_status", card_id=card_id, code=code, status=reimburse_status
        )

    async def aupdate_bill_status(self, *, card_id: str, code: str, reimburse_status: str) -> None:
        """`update_bill_status` in an event loop."""
        request = interfaces.update_bill_status(card_id, code, reimburse_status)
        await self._achange(
            request, "update_bill_status", card_id=card_id, code=code, status=reimburse_status
        )

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
        self._change(request, "reject_bill", order_id=order_id)

    async def areject_bill(
        self, *, s_pappid: str, order_id: str, reason: str, url: str | None = None
    ) -> None:
        """`reject_bill` in an event loop."""
        request = interfaces.reject_bill(s_pappid, order_id, reason, url)
        await self._achange(request, "reject_bill", order_id=order_id)

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
        """Look up how often the account may call an interface today, and has.

        cgi_path: str; the interface's path, such as "/nontax/insertbill". Whether WeChat knows the
        /nontax paths here is not confirmed. Raises as `Client` says.

        WeChat's page: https://developers.weixin.qq.com/doc/offiaccount/openApi/get_api_quota.html
        """
        return self._call(interfaces.get_quota(cgi_path))

    async def aget_quota(self, cgi_path: str) -> "Quota":
        """`get_quota` in an event loop."""
        return await self._acall(interfaces.get_quota(cgi_path))
