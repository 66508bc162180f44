"""WeChat's side of things: accounts, orders, cards, PDFs, bills. Knows nothing about HTTP."""

import base64
import hashlib
import itertools
import secrets
import threading
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from .accounts import Account, Accounts
from .clock import Clock
from .errcodes import RefusalError
from .events import Fields
from .orders import Order, Orders
from .pushes import Pusher
from .records import INITIAL_STATUS, MASK, Bill, Request, mask_pairs
from .stock import Card, Pdf, Stock

CLOSURE = "INVOICE_REIMBURSE_CLOSURE"
CANCEL = "INVOICE_REIMBURSE_CANCEL"
STATUSES = (INITIAL_STATUS, "INVOICE_REIMBURSE_LOCK", CLOSURE, CANCEL)
_FINAL = {CLOSURE: 72061, CANCEL: 72060}


class World:
    """Everything that outlives a request. Every method may be called from any thread."""

    def __init__(
        self, *, all_authorised: bool, clock: Clock, pusher: Pusher, paths: Collection[str]
    ) -> None:
        self.clock = clock
        self.paths = paths
        self.pushes = pusher.pushes
        self.accounts = Accounts()
        self.base_url = ""
        self.card_ready_after = 0.0
        self._pusher = pusher
        self._all_authorised = all_authorised
        self._lock = threading.Lock()
        self._orders = Orders(clock)
        self._stock = Stock(clock)
        self.repeat_answer = 72056  # to an order whose bill is in a wallet; 0: its code again
        self._bills: dict[str, Bill] = {}
        self._order_ids_by_code: dict[str, str] = {}
        self._billing_pairs: set[tuple[str, str]] = set()
        # A different start in every sandbox, so that a code cannot match by accident.
        self._codes = itertools.count(682_000_000_000 + secrets.randbelow(10**9))
        self._requests_by_rid: dict[str, tuple[Request, bytes, int]] = {}

    def masked(self, text: str) -> str:
        """`text` without any token, AppSecret or ticket that it may contain."""
        text = mask_pairs(text)
        for account in self.accounts.all().values():
            for secret in account.confidential():
                if secret:
                    text = text.replace(secret, MASK)
        return text

    # Request ids

    def remember_rid(self, rid: str, request: Request, reply: bytes) -> None:
        cost = int((self.clock.time() - request.time) * 1000)
        request.rid = rid
        with self._lock:
            self._requests_by_rid[rid] = (request, reply, cost)

    def request_with_rid(self, rid: str) -> tuple[Request, bytes, int] | None:
        """The request answered with `rid`, the body of that reply, and how many ms it took."""
        with self._lock:
            return self._requests_by_rid.get(rid)

    # Orders

    def orders(self) -> dict[str, Order]:
        with self._lock:
            return self._orders.all()

    def auth_links(self) -> dict[str, str]:
        with self._lock:
            return self._orders.links()

    def authorise(self, order_id: str) -> None:
        with self._lock:
            self._authorise(order_id)

    def withdraw(self, order_id: str) -> None:
        with self._lock:
            self._orders.set_status(order_id, "never auth")

    def reject(self, order_id: str) -> None:
        with self._lock:
            self._orders.set_status(order_id, "reject insert")

    def fail_authorisation(self, order_id: str) -> None:
        with self._lock:
            order = self._orders.get(order_id)
            if order is None or not order.appid or order.status != "never auth":
                raise ValueError("no unit is waiting for the authorisation of this order")
            self._push_authorisation(order, succeeded=False)

    def request_authorisation(self, wanted: Order) -> str:
        """The key of the authorisation page for an order. Raises RefusalError."""
        with self._lock:
            if wanted.order_id in self._bills:
                raise RefusalError(72056)
            return self._orders.request(wanted)

    def behind_link(self, key: str) -> tuple[Order | None, bool]:
        """The order behind an authorisation link, and whether the link is still good."""
        with self._lock:
            return self._orders.behind(key)

    def press(self, key: str) -> tuple[Order | None, bool]:
        """The citizen presses the button behind a link; what is behind it afterwards."""
        with self._lock:
            order, good = self._orders.behind(key)
            if order is not None and good and order.status == "never auth":
                order = self._authorise(order.order_id)
            return order, good

    def _authorise(self, order_id: str) -> Order:
        before = self._orders.get(order_id)
        order = self._orders.set_status(order_id, "auth success")
        if order.appid and before is not None and before.status != order.status:
            self._push_authorisation(order, succeeded=True)
        return order

    def order_of_unit(self, unit: Account, s_pappid: str, order_id: str) -> Order | None:
        """The order if it is known and the unit and the bureau are the right ones."""
        with self._lock:
            return self._order_of_unit(unit, s_pappid, order_id)

    def _order_of_unit(self, unit: Account, s_pappid: str, order_id: str) -> Order | None:
        order = self._orders.get(order_id)
        if order is None or (order.appid, order.s_pappid) in (("", ""), (unit.appid, s_pappid)):
            return order
        return None

    def reject_by_unit(
        self, unit: Account, s_pappid: str, order_id: str, reason: str, url: str
    ) -> None:
        """The unit will not have a bill for this order. Raises RefusalError."""
        with self._lock:
            if order_id in self._bills:
                raise RefusalError(72024)
            order = self._order_of_unit(unit, s_pappid, order_id)
            unknown = self._orders.get(order_id) is None
            if order is None and not (unknown and self._all_authorised):
                raise RefusalError(72038)
            if order is not None and order.status == "reject insert":
                raise RefusalError(72035)
            self._orders.set_status(order_id, "reject insert", reason=reason, reason_url=url)

    def _push_authorisation(self, order: Order, *, succeeded: bool) -> None:
        unit = self.accounts.get(order.appid)
        assert unit is not None
        outcome = {
            "SuccOrderId": order.order_id if succeeded else "",
            "FailOrderId": "" if succeeded else order.order_id,
            "AuthorizeAppId": order.appid,
            "Source": order.source,
            "SPAppId": order.s_pappid,
        }
        self._push(unit, order.order_id, "user_authorize_invoice", outcome)

    def _push(self, account: Account, order_id: str, event: str, fields: Fields) -> None:
        common: dict[str, str | int] = {
            "ToUserName": account.gh_id,
            "FromUserName": _openid(order_id),
            "CreateTime": int(self.clock.time()),
            "MsgType": "event",
            "Event": event,
        }
        self._pusher.push(account, {**common, **fields})

    def chat(self, account: Account, text: str, openid: str) -> None:
        """A citizen writes to an account."""
        message: dict[str, str | int] = {
            "ToUserName": account.gh_id,
            "FromUserName": openid,
            "CreateTime": int(self.clock.time()),
            "MsgType": "text",
            "Content": text,
            "MsgId": secrets.randbits(62),
        }
        self._pusher.push(account, message)

    # Cards and PDFs

    def cards(self) -> dict[str, Card]:
        with self._lock:
            return dict(self._stock.cards)

    def pdfs(self) -> dict[str, Pdf]:
        with self._lock:
            return self._stock.pdfs()

    def add_card(self, bureau: Account, payee: str, logo_url: str) -> Card:
        with self._lock:
            return self._stock.add_card(bureau.appid, payee, logo_url)

    def add_pdf(self, bureau: Account, filename: str, content_type: str, content: bytes) -> Pdf:
        with self._lock:
            return self._stock.add_pdf(bureau.appid, filename, content_type, content)

    def pdf_key(self, bureau: Account, s_media_id: str) -> str:
        """A key under which a PDF can be fetched. Raises RefusalError."""
        with self._lock:
            return self._stock.make_url_key(bureau.appid, s_media_id)

    def pdf_behind(self, key: str) -> Pdf | None:
        with self._lock:
            return self._stock.behind(key)

    # Bills

    def bills(self) -> dict[str, Bill]:
        with self._lock:
            return dict(self._bills)

    def insert(
        self, bureau: Account, payload: dict[str, Any], bill_fields: dict[str, Any], request: int
    ) -> Bill:
        """Put a checked bill into its user's wallet, or raise RefusalError."""
        order_id = payload["order_id"]
        pair = (bill_fields["billing_no"], bill_fields["billing_code"])
        with self._lock:
            if order_id in self._bills:
                if self.repeat_answer:
                    raise RefusalError(self.repeat_answer)
                return self._bills[order_id]
            order = self._orders.get(order_id)
            if order is not None and order.status == "reject insert":
                raise RefusalError(72035)
            if not self._all_authorised if order is None else order.status == "never auth":
                raise RefusalError(72038)
            # Of an order that no unit has asked for, nothing is known that could be compared.
            pdf = None
            if order is not None and order.appid and not self._all_authorised:
                pdf = self._compare(bureau, order, payload, bill_fields["s_pdf_media_id"])
            if pair in self._billing_pairs:
                raise RefusalError(72042)
            code = str(next(self._codes))
            bill = Bill(order_id, code, _openid(order_id), payload, request, bureau.appid)
            self._bills[order_id] = bill
            self._order_ids_by_code[code] = order_id
            self._billing_pairs.add(pair)
            if pdf is not None:
                self._stock.keep(replace(pdf, order_id=order_id))
        return bill

    def _compare(
        self, bureau: Account, order: Order, payload: dict[str, Any], s_media_id: str
    ) -> Pdf:
        """Check accounts, card and PDF of a bill against its order; returns the PDF."""
        if (order.appid, order.s_pappid) != (payload["appid"], bureau.s_pappid):
            raise RefusalError(72038)
        card = self._stock.cards.get(payload["card_id"])
        if card is None or card.appid != bureau.appid:
            raise RefusalError(40073)
        if self.clock.time() - card.created < self.card_ready_after:
            raise RefusalError(40078)
        pdf = self._stock.pdf(s_media_id)
        if pdf is None or pdf.appid != bureau.appid:
            raise RefusalError(72040)
        if pdf.order_id:
            raise RefusalError(72042)
        return pdf

    def update_status(self, bureau: Account, card_id: str, code: str, status: str) -> None:
        """The issuer changes the status of a bill. Raises RefusalError."""
        with self._lock:
            bill = self._bill_with(code)
            if bill is None or bill.issuer != bureau.appid:
                raise RefusalError(72038)
            if bill.card_id != card_id:
                raise RefusalError(40073)
            self._change_status(bill, status)

    def reimburse(self, code: str, status: str) -> None:
        if status not in STATUSES or status == CANCEL:
            raise ValueError("the reimbursing side knows INVOICE_REIMBURSE_INIT, _LOCK, _CLOSURE")
        with self._lock:
            bill = self._bill_with(code)
            if bill is None:
                raise ValueError("no bill has this card code")
            try:
                self._change_status(bill, status)
            except RefusalError as refusal:
                raise ValueError(refusal.text) from None
            issuer = self.accounts.get(bill.issuer)
            assert issuer is not None
            change = {"Status": status, "CardId": bill.card_id, "Code": bill.code}
            self._push(issuer, bill.order_id, "update_invoice_status", change)

    def _bill_with(self, code: str) -> Bill | None:
        return self._bills.get(self._order_ids_by_code.get(code, ""))

    def _change_status(self, bill: Bill, status: str) -> None:
        if bill.status in _FINAL and status != bill.status:
            raise RefusalError(_FINAL[bill.status])
        self._bills[bill.order_id] = replace(bill, status=status)


def _openid(order_id: str) -> str:
    digest = hashlib.sha256(order_id.encode()).digest()
    return "o" + base64.urlsafe_b64encode(digest)[:27].decode("ascii")
