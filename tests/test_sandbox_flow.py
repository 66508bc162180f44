"""The sandbox's interfaces for fiscal e-bills, right and wrong, and the whole way of a bill."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from nontax.sandbox import Account, Sandbox

JSON = {"Content-Type": "application/json"}
PDF = b"%PDF-1.7\r\n--not the boundary\r\n\r\n\x00\xff%%EOF"


class WeChat:
    """Calls a sandbox's interfaces with the right account, ticket, card and PDF by default."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._count = 0

    def fetch(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.sandbox.base_url).netloc)
        try:
            connection.request(method, target, body, headers or {})
            reply = connection.getresponse()
            return reply, reply.read()
        finally:
            connection.close()

    def call(
        self,
        path: str,
        payload: Any = None,
        account: Account | None = None,
        *,
        token: str | None = None,
        method: str = "POST",
        query: str = "",
        headers: dict[str, str] = JSON,
    ) -> dict[str, Any]:
        """One request; `payload` is bytes, or something to be written as JSON, or None."""
        if account is not None:
            token = account.access_token
        if token is not None:
            query = f"access_token={token}&{query}".rstrip("&")
        body = payload if isinstance(payload, bytes) else encode(payload)
        reply, data = self.fetch(method, f"{path}?{query}", body, headers)
        assert reply.status == 200
        value = json.loads(data)
        assert isinstance(value, dict)
        return value

    def card(self) -> str:
        payload = {"invoice_info": {"payee": "某市财政局", "base_info": {"logo_url": "http://x/"}}}
        card_id = self.call("/nontax/createbillcard", payload, self.sandbox.bureau)["card_id"]
        assert isinstance(card_id, str)
        return card_id

    def ticket(self, kind: str = "wx_card") -> str:
        reply = self.call(
            "/cgi-bin/ticket/getticket", None, self.sandbox.unit, method="GET", query=f"type={kind}"
        )
        ticket = reply["ticket"]
        assert isinstance(ticket, str)
        return ticket

    def request_order(self, order_id: str, /, **changes: Any) -> dict[str, Any]:
        """getbillauthurl; a change to None leaves the field out."""
        fields = {
            "s_pappid": self.sandbox.bureau.s_pappid,
            "order_id": order_id,
            "money": 1200,
            "timestamp": 1700000000,
            "source": "web",
            "ticket": "" if "ticket" in changes else self.ticket(),
        } | changes
        payload = {name: value for name, value in fields.items() if value is not None}
        return self.call("/nontax/getbillauthurl", payload, self.sandbox.unit)

    def auth_url(self, order_id: str, **changes: Any) -> str:
        url = self.request_order(order_id, **changes)["auth_url"]
        assert isinstance(url, str)
        return url

    def upload(
        self,
        content: bytes = PDF,
        disposition: str = 'form-data; name="pdf"; filename="a.pdf"',
        *,
        account: Account | None = None,
    ) -> dict[str, Any]:
        head = f"Content-Disposition: {disposition}\r\nContent-Type: application/pdf"
        body = b"--b\r\n%b\r\n\r\n%b\r\n--b--\r\n" % (head.encode(), content)
        return self.upload_body(body, account=account)

    def upload_body(
        self,
        body: bytes,
        content_type: str = "multipart/form-data; boundary=b",
        *,
        account: Account | None = None,
    ) -> dict[str, Any]:
        return self.call(
            "/card/invoice/platform/setpdf",
            body,
            account or self.sandbox.bureau,
            headers={"Content-Type": content_type},
        )

    def pdf(self, content: bytes = PDF) -> str:
        media_id = self.upload(content)["s_media_id"]
        assert isinstance(media_id, str)
        return media_id

    def bill(self, order_id: str, card_id: str, media_id: str, **changes: Any) -> dict[str, Any]:
        self._count += 1
        fields: dict[str, Any] = {
            "fee": 1200,
            "title": "张三",
            "billing_time": 1700000000,
            "billing_no": "11010123",
            "billing_code": f"{self._count:010}",
            "s_pdf_media_id": media_id,
        }
        top: dict[str, Any] = {
            "order_id": order_id,
            "card_id": card_id,
            "appid": changes.pop("appid", self.sandbox.unit.appid),
        }
        return top | {"card_ext": {"user_card": {"invoice_user_data": fields | changes}}}

    def insert(self, bill: dict[str, Any], account: Account | None = None) -> dict[str, Any]:
        return self.call("/nontax/insertbill", bill, account or self.sandbox.bureau)

    def auth_data(self, order_id: str, account: Account | None = None) -> dict[str, Any]:
        payload = {"s_pappid": self.sandbox.bureau.s_pappid, "order_id": order_id}
        return self.call("/card/invoice/getauthdata", payload, account or self.sandbox.unit)

    def reject(self, order_id: str, **changes: Any) -> dict[str, Any]:
        payload = {
            "s_pappid": self.sandbox.bureau.s_pappid,
            "order_id": order_id,
            "reason": "已退款",
        }
        return self.call("/card/invoice/rejectinsert", payload | changes, self.sandbox.unit)

    def update_status(self, card_id: str, code: str, status: str) -> dict[str, Any]:
        payload = {"card_id": card_id, "code": code, "reimburse_status": status}
        return self.call("/card/invoice/platform/updatestatus", payload, self.sandbox.bureau)

    def press(self, auth_url: str) -> http.client.HTTPResponse:
        """What the button on the authorisation page does."""
        parts = urlsplit(auth_url)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.fetch("POST", parts.path, parts.query.encode(), headers)[0]


def encode(value: Any) -> bytes:
    return b"" if value is None else json.dumps(value, ensure_ascii=False).encode()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(orders="strict") as running:
        yield running


@pytest.fixture
def wechat(sandbox: Sandbox) -> WeChat:
    return WeChat(sandbox)


# The whole way


def test_the_whole_way_of_a_bill(sandbox: Sandbox, wechat: WeChat) -> None:
    reply = wechat.call("/card/invoice/seturl", {}, sandbox.bureau)
    assert parse_qs(urlsplit(reply["invoice_url"]).query)["s_pappid"] == [sandbox.bureau.s_pappid]
    card_id, media_id = wechat.card(), wechat.pdf()
    reply = wechat.request_order("A1", redirect_url="https://hospital.example/done")
    assert (reply["errcode"], reply["expire_time"]) == (0, 7200)
    bill = wechat.bill("A1", card_id, media_id)
    assert wechat.insert(bill)["errcode"] == 72038
    assert wechat.auth_data("A1") == {
        "errcode": 0,
        "errmsg": "ok",
        "invoice_status": "never auth",
    }
    before = int(time.time())
    pressed = wechat.press(reply["auth_url"])
    assert (pressed.status, pressed.headers["Location"]) == (303, "https://hospital.example/done")
    data = wechat.auth_data("A1")
    assert data["invoice_status"] == "auth success"
    assert before <= data["auth_time"] <= time.time()
    reply = wechat.insert(bill)
    assert reply["errcode"] == 0
    assert sandbox.bills["A1"].issuer == sandbox.bureau.appid
    assert sandbox.pdfs[media_id].order_id == "A1"
    cancelled = "INVOICE_REIMBURSE_CANCEL"
    assert wechat.update_status(card_id, reply["code"], cancelled)["errcode"] == 0
    assert sandbox.bills["A1"].status == cancelled
    assert wechat.insert(bill)["errcode"] == 72056


# Which account may call what

BUREAU = [
    "/nontax/createbillcard",
    "/card/invoice/platform/setpdf",
    "/card/invoice/seturl",
    "/card/invoice/platform/getpdf",
    "/card/invoice/platform/updatestatus",
    "/nontax/insertbill",
]
UNIT = [
    "/nontax/getbillauthurl",
    "/card/invoice/getauthdata",
    "/card/invoice/rejectinsert",
    "/cgi-bin/ticket/getticket",
]


@pytest.mark.parametrize(
    ("path", "role"), [(path, "bureau") for path in BUREAU] + [(path, "unit") for path in UNIT]
)
def test_the_token_of_the_other_account(
    sandbox: Sandbox, wechat: WeChat, path: str, role: str
) -> None:
    right, wrong = sandbox.bureau, sandbox.unit
    if role == "unit":
        right, wrong = wrong, right
    method = "GET" if path.endswith("getticket") else "POST"
    refused = wechat.call(path, {}, wrong, method=method)
    assert refused["errcode"] == 48001
    assert re.fullmatch(r"api unauthorized rid: [0-9a-f-]{26}", refused["errmsg"])
    assert wechat.call(path, {}, right, method=method)["errcode"] != 48001
    right.permissions.remove(path)
    assert wechat.call(path, {}, right, method=method)["errcode"] == 48001
    other = sandbox.add_account("both", roles=("bureau", "unit"))
    assert wechat.call(path, {}, other, method=method)["errcode"] != 48001


@pytest.mark.parametrize("path", [*BUREAU, *UNIT])
def test_the_wrong_method_and_no_token(wechat: WeChat, path: str) -> None:
    get = path.endswith("getticket")
    assert wechat.call(path, {}, method="POST" if get else "GET")["errcode"] == (
        43001 if get else 43002
    )
    assert wechat.call(path, {}, method="GET" if get else "POST")["errcode"] == 41001


@pytest.mark.parametrize("path", [path for path in (*BUREAU, *UNIT) if "ticket" not in path])
def test_bodies_that_cannot_be_read(sandbox: Sandbox, wechat: WeChat, path: str) -> None:
    account = sandbox.bureau if path in BUREAU else sandbox.unit
    assert wechat.call(path, b"", account)["errcode"] == 44002
    assert wechat.call(path, b"[]", account)["errcode"] == 47001
    if not path.endswith("setpdf"):
        escaped = wechat.call(path, b'{"order_id":"\\u4e2d"}', account)
        assert escaped["errcode"] == 47002
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert wechat.call(path, {}, account, headers=form)["errcode"] == 40101


# createbillcard and seturl


def test_seturl_answers_the_same_each_time(sandbox: Sandbox, wechat: WeChat) -> None:
    first = wechat.call("/card/invoice/seturl", {}, sandbox.bureau)
    assert wechat.call("/card/invoice/seturl", {}, sandbox.bureau) == first
    assert wechat.call("/card/invoice/seturl", {"x": 1}, sandbox.bureau)["errcode"] == 40097


def test_createbillcard(sandbox: Sandbox, wechat: WeChat) -> None:
    first, second = wechat.card(), wechat.card()
    assert first != second
    assert re.fullmatch(r"p[\w-]{27}", first)
    assert sandbox.cards[first].appid == sandbox.bureau.appid
    assert sandbox.cards[first].payee == "某市财政局"


@pytest.mark.parametrize(
    ("payload", "errcode", "text"),
    [
        ({}, 41011, ": invoice_info "),
        ({"payee": "a", "base_info": {"logo_url": "u"}}, 41011, ": invoice_info "),
        ({"invoice_info": []}, 72031, "invoice_info must be an object"),
        ({"invoice_info": {"base_info": {}}}, 41011, ": invoice_info.payee "),
        ({"invoice_info": {"payee": "a"}}, 41011, ": invoice_info.base_info "),
        ({"invoice_info": {"payee": "a", "base_info": {}}}, 41011, "base_info.logo_url"),
        ({"invoice_info": {"payee": "", "base_info": {"logo_url": "u"}}}, 72031, "payee is empty"),
        ({"invoice_info": {"payee": "a", "base_info": {"logo_url": 1}}}, 72031, "logo_url must"),
        ({"invoice_info": {"payee": "a", "base_info": {"logo_url": "u"}}, "x": 1}, 40097, " x "),
    ],
)
def test_createbillcard_refuses(
    sandbox: Sandbox, wechat: WeChat, payload: Any, errcode: int, text: str
) -> None:
    reply = wechat.call("/nontax/createbillcard", payload, sandbox.bureau)
    assert reply["errcode"] == errcode
    assert text in reply["errmsg"]
    assert not sandbox.cards


# setpdf and getpdf


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        ('filename="a.pdf"', "a.pdf"),
        ("filename=a.pdf", "a.pdf"),
        ('filename="电子 票据;1.pdf"', "电子 票据;1.pdf"),
        (r'filename="a\"b.pdf"', 'a"b.pdf'),
        ("filename*=UTF-8''%E7%A5%A8%E6%8D%AE.pdf", "票据.pdf"),
        ("filename=\"x.pdf\"; filename*=utf-8'zh'%E7%A5%A8.pdf", "票.pdf"),
    ],
)
def test_setpdf(sandbox: Sandbox, wechat: WeChat, parameters: str, filename: str) -> None:
    reply = wechat.upload(PDF, f'form-data; name="pdf"; {parameters}')
    assert reply["errcode"] == 0
    assert 2**53 < int(reply["s_media_id"]) < 2**63
    pdf = sandbox.pdfs[reply["s_media_id"]]
    assert (pdf.filename, pdf.content, pdf.content_type) == (filename, PDF, "application/pdf")
    assert repr(PDF) not in repr(pdf)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'--b\r\nContent-Disposition: form-data; name="pdf"; filename="a"\r\n\r\nx\r\n', None),
        (b"--b--\r\n", None),
        (b"--b\r\n\r\nx\r\n--b--\r\n", None),
        (b"--bx\r\n--b--\r\n", None),
        (b"--b\r\nContent-Disposition\r\n\r\nx\r\n--b--\r\n", None),
        (b'--b\r\nContent-Disposition: file; name="pdf"\r\n\r\nx\r\n--b--\r\n', None),
        (b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n--b--\r\n', None),
        (
            b'--b\r\nContent-Disposition: form-data; name="pdf"; filename="\xff"\r\n\r\nx'
            b"\r\n--b--\r\n",
            None,
        ),
        (
            b"--b\r\nContent-Disposition: form-data; name=pdf; filename*=gbk''%C6.pdf\r\n\r\nx"
            b"\r\n--b--\r\n",
            None,
        ),
        (PDF, "application/pdf"),
        (PDF, "multipart/form-data"),
    ],
)
def test_setpdf_refuses_malformed_bodies(
    sandbox: Sandbox, wechat: WeChat, body: bytes, content_type: str | None
) -> None:
    reply = wechat.upload_body(body, content_type or "multipart/form-data; boundary=b")
    assert reply["errcode"] == 47001
    assert not sandbox.pdfs


@pytest.mark.parametrize(
    ("content", "disposition", "errcode"),
    [
        (PDF, 'form-data; name="media"; filename="a.pdf"', 47001),
        (PDF, 'form-data; name="pdf"', 47001),
        (PDF, 'form-data; name="pdf"; filename=""', 47001),
        (b"", 'form-data; name="pdf"; filename="a.pdf"', 44006),
        (b"no PDF at all", 'form-data; name="pdf"; filename="a.pdf"', 0),
    ],
)
def test_setpdf_looks_at_the_part_and_not_into_the_file(
    wechat: WeChat, content: bytes, disposition: str, errcode: int
) -> None:
    assert wechat.upload(content, disposition)["errcode"] == errcode


def test_setpdf_takes_one_part(wechat: WeChat) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="pdf"; filename="a"\r\n\r\nx\r\n'
    assert wechat.upload_body(part + part + b"--b--")["errcode"] == 47001
    quoted = wechat.upload_body(part + b"--b--", 'multipart/form-data; boundary="b"')
    assert quoted["errcode"] == 0


def get_pdf(wechat: WeChat, payload: dict[str, Any]) -> dict[str, Any]:
    return wechat.call("/card/invoice/platform/getpdf", payload, wechat.sandbox.bureau)


def test_getpdf(sandbox: Sandbox, wechat: WeChat) -> None:
    media_id = wechat.upload(PDF, 'form-data; name="pdf"; filename="票.pdf"')["s_media_id"]
    reply = get_pdf(wechat, {"action": "get_url", "s_media_id": media_id})
    assert reply["pdf_url_expire_time"] == 7200
    target = reply["pdf_url"].removeprefix(sandbox.base_url)
    page, content = wechat.fetch("GET", target)
    assert (page.status, content) == (200, PDF)
    assert page.headers["Content-Type"] == "application/pdf"
    assert page.headers["Content-Disposition"] == "inline; filename*=UTF-8''%E7%A5%A8.pdf"
    sandbox.clock.advance(7199)
    assert wechat.fetch("GET", target)[0].status == 200
    sandbox.clock.advance(1)
    assert wechat.fetch("GET", target)[0].status == 404


def test_getpdf_refuses(sandbox: Sandbox, wechat: WeChat) -> None:
    media_id = wechat.pdf()
    assert get_pdf(wechat, {"s_media_id": media_id})["errcode"] == 41011
    assert get_pdf(wechat, {"action": "get", "s_media_id": media_id})["errcode"] == 72027
    assert get_pdf(wechat, {"action": "get_url", "s_media_id": "1"})["errcode"] == 40007
    assert get_pdf(wechat, {"action": "get_url", "s_media_id": int(media_id)})["errcode"] == 72031
    other = sandbox.add_account("other", roles=("bureau",))
    foreign = wechat.upload(account=other)["s_media_id"]
    assert get_pdf(wechat, {"action": "get_url", "s_media_id": foreign})["errcode"] == 40007


def test_a_pdf_is_kept_for_three_days_unless_a_bill_has_it(
    sandbox: Sandbox, wechat: WeChat
) -> None:
    kept, lost = wechat.pdf(), wechat.pdf()
    wechat.auth_url("A1")
    sandbox.authorise("A1")
    assert wechat.insert(wechat.bill("A1", wechat.card(), kept))["errcode"] == 0
    sandbox.clock.advance(3 * 86400)
    sandbox.bureau.renew_access_token()
    assert list(sandbox.pdfs) == [kept]
    assert get_pdf(wechat, {"action": "get_url", "s_media_id": lost})["errcode"] == 40007
    assert get_pdf(wechat, {"action": "get_url", "s_media_id": kept})["errcode"] == 0
