"""The whole way of a fiscal e-bill, from nothing to a wallet, and what comes after.

Try it: `.venv/bin/python examples/full_flow.py`. Two accounts take part, as with WeChat: the
finance bureau, which issues the bills, and a collecting unit (here a hospital), whose citizens
receive them. In life they are two programs in two places. All ten of WeChat's interfaces for fiscal
e-bills are called, in the order in which they are needed, against a sandbox that is as strict as
WeChat.
"""

import base64
import http.server
import os
import queue
import ssl
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import nontax
from nontax.events import AuthorizationEvent, Event, EventReader, UntrustedEventError
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import make_certificates

# An empty page. In life it is the bill that the bureau has signed and stamped.
PDF = b"""%PDF-1.4
1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842]>> endobj
trailer <</Root 1 0 R /Size 4>>
%%EOF
"""


class EventServer:
    """The hospital's own small web server, to which WeChat pushes its events.

    Any web framework will do: an EventReader needs the query and the body, and nothing else.
    """

    def __init__(self, reader: EventReader) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        events = self.events
        seen: set[str] = set()  # in life a unique column of a table, for all processes

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    event = reader.read(dict(parse_qsl(urlsplit(self.path).query)), body)
                except UntrustedEventError:
                    self.send_error(403)  # nothing shows that this came from WeChat
                    return
                if event.key not in seen:  # WeChat repeats what was not answered in 5 seconds
                    seen.add(event.key)
                    events.put(event)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"success")

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/wechat/events"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def press_the_button(auth_url: str, ca_file: Path) -> None:
    """Do what the citizen does on WeChat's authorisation page."""
    query = urlsplit(auth_url).query
    request = urllib.request.Request(auth_url.removesuffix(f"?{query}"), query.encode())
    context = ssl.create_default_context(cafile=ca_file)
    with urllib.request.urlopen(request, context=context, timeout=10) as page:
        page.read()


def run(sandbox: Sandbox, ca_file: Path) -> None:
    """Go the whole way. With WeChat, `base_url` and `ca_file` would be left out."""
    bureau = nontax.Client(
        appid=sandbox.bureau.appid,
        secret=sandbox.bureau.secret,
        base_url=sandbox.base_url,
        ca_file=ca_file,
    )
    hospital = nontax.Client(
        appid=sandbox.unit.appid,
        secret=sandbox.unit.secret,
        base_url=sandbox.base_url,
        ca_file=ca_file,
    )

    print("Once, before the first bill:")
    platform = bureau.get_s_pappid()
    print(f"  The bureau's s_pappid, which it tells its units: {platform.s_pappid}")
    card = bureau.create_bill_card(
        payee="某市人民医院", logo_url="https://mmbiz.qpic.cn/mmbiz_png/bureau-logo/0"
    )
    print(f"  The template of the hospital's bills: {card.card_id}\n")

    # Set in WeChat's admin pages: the URL, and the token and the key (安全模式) that prove a push.
    aes_key = base64.b64encode(os.urandom(32)).decode().rstrip("=")
    reader = EventReader(token=sandbox.unit.push_token, aes_key=aes_key, appid=sandbox.unit.appid)
    sandbox.unit.push_aes_key = aes_key
    with EventServer(reader) as server:
        sandbox.unit.push_url = server.url

        print("A citizen pays 12.00 yuan at the hospital:")
        order_id = "H20231115-0001"
        ticket = hospital.get_ticket()  # kept for its two hours; the next call asks by itself, too
        print(f"  A ticket, good for {ticket.expires_in} s")
        page = hospital.get_bill_auth_url(
            s_pappid=platform.s_pappid, order_id=order_id, money=1200, source="web"
        )
        print(f"  The authorisation page, to be shown to the citizen: {page.auth_url}")
        before = hospital.get_auth_data(s_pappid=platform.s_pappid, order_id=order_id)
        print(f"  Before the citizen presses the button: {before.invoice_status}")
        press_the_button(page.auth_url, ca_file)
        event = server.events.get(timeout=10)
        assert isinstance(event, AuthorizationEvent)
        print(f"  Pushed by WeChat: order {event.order_id}, succeeded: {event.succeeded}")
        # A push can get lost: who has none after a while asks.
        after = hospital.get_auth_data(s_pappid=platform.s_pappid, order_id=order_id)
        print(f"  Asked, WeChat says the same: {after.invoice_status}\n")

    print("The bureau issues the bill:")
    pdf = bureau.upload_pdf(PDF, filename="电子票据 0012345678.pdf")
    print(f"  The PDF is at WeChat's, for three days: {pdf.s_media_id}")
    link = bureau.get_pdf_url(pdf.s_media_id)
    print(f"  To be looked at for {link.pdf_url_expire_time} s: {link.pdf_url}")
    bill = {
        "order_id": event.order_id,
        "card_id": card.card_id,
        "appid": event.authorize_appid,  # the account that asked for the authorisation
        "fee": 1200,
        "title": "张三",
        "billing_time": int(time.time()),
        "billing_no": "11010123",
        "billing_code": "0012345678",
        "s_pdf_media_id": pdf.s_media_id,
    }
    # Write it down before it is sent: whatever happens then, somebody knows that it may be there.
    try:
        inserted = bureau.insert_bill(bill)
    except nontax.InDoubtError as error:
        print(f"  Do not send it again; ask first: {error}")
        raise
    print(f"  In the wallet of {inserted.openid}; its card code, to be kept: {inserted.code}\n")

    print("The citizen gets the money back, and the bureau red-flushes the bill (冲红):")
    bureau.update_bill_status(
        card_id=card.card_id, code=inserted.code, reimburse_status="INVOICE_REIMBURSE_CANCEL"
    )
    print(f"  In the wallet it is now: {sandbox.bills[order_id].status}\n")

    print("Another order, which the hospital rejects (for good):")
    other_id = "H20231115-0002"
    hospital.get_bill_auth_url(s_pappid=platform.s_pappid, order_id=other_id, money=800)
    hospital.reject_bill(
        s_pappid=platform.s_pappid, order_id=other_id, reason="订单已退款，不再开具票据"
    )
    rejected = hospital.get_auth_data(s_pappid=platform.s_pappid, order_id=other_id)
    print(f"  Its status: {rejected.invoice_status}")
    try:
        bureau.insert_bill({**bill, "order_id": other_id, "billing_code": "0012345679"})
    except nontax.BillStateError as error:
        print(f"  A bill for it: {error}\n")


TEN = (
    "/card/invoice/seturl",
    "/nontax/createbillcard",
    "/cgi-bin/ticket/getticket",
    "/nontax/getbillauthurl",
    "/card/invoice/getauthdata",
    "/card/invoice/platform/setpdf",
    "/card/invoice/platform/getpdf",
    "/nontax/insertbill",
    "/card/invoice/platform/updatestatus",
    "/card/invoice/rejectinsert",
)


def main() -> int:
    """Run it; 0 if everything went as it should."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_certificates(folder)
        with Sandbox(certfile=made.cert_file, keyfile=made.key_file, orders="strict") as sandbox:
            print(f"A sandbox of WeChat's server listens at {sandbox.base_url}\n")
            run(sandbox, made.ca_file)
            called = {request.path for request in sandbox.requests}
            print(f"Of the ten interfaces, {len(called.intersection(TEN))} were called.")
            good = called.issuperset(TEN) and len(sandbox.bills) == 1
            return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
