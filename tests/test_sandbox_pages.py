"""The sandbox's pages: what they show, the citizen's button, and that they disturb nothing."""

import base64
import html.parser
import http.client
import re
import signal
from urllib.parse import urlencode, urlsplit

import pytest
from sandboxes import Peer, command
from test_sandbox_flow import PDF, WeChat, sandbox, wechat

from nontax.sandbox import Sandbox, faults

__all__ = ["sandbox", "wechat"]

VOID = {"meta", "link", "input"}
NASTY = "<script>alert(1)</script>\"'&"


class Page(html.parser.HTMLParser):
    """A page taken apart; it must be well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def press(self, wechat: WeChat) -> http.client.HTTPResponse:
        """Send the only form as a browser does without JavaScript."""
        [form], [button] = self.attributes("form"), self.attributes("button")
        assert (form["method"], button["type"]) == ("post", "submit")
        fields = {str(field["name"]): str(field["value"]) for field in self.attributes("input")}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return wechat.fetch("POST", str(form["action"]), urlencode(fields).encode(), headers)[0]


def status_of(sandbox: Sandbox, order_id: str) -> str:
    return sandbox.orders[order_id].status


def load(wechat: WeChat, url: str, status: int = 200) -> Page:
    reply, body = wechat.fetch("GET", url.removeprefix(wechat.sandbox.base_url))
    assert reply.status == status
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    text = body.decode("utf-8")
    # Neither scripts nor anything from elsewhere.
    page = Page(text)
    assert not page.attributes("script")
    assert not [tag for tag in page.tags if "src" in tag[1]]
    assert [link["href"] for link in page.attributes("link")] == ["data:,"]
    return page


# The citizen's page


def test_the_button_authorises(sandbox: Sandbox, wechat: WeChat) -> None:
    url = wechat.auth_url("票-1", money=123456)
    page = load(wechat, url)
    for text in ("财政电子票据授权", "票-1", "¥1234.56", sandbox.unit.appid, "授权并领取"):
        assert text in page.text
    # Looking is not pressing.
    assert status_of(sandbox, "票-1") == "never auth"
    pressed = page.press(wechat)
    assert (pressed.status, pressed.headers["Location"]) == (
        303,
        urlsplit(url)._replace(scheme="", netloc="").geturl(),
    )
    assert status_of(sandbox, "票-1") == "auth success"
    after = load(wechat, url)
    assert "授权成功" in after.text
    assert not after.attributes("form")


@pytest.mark.parametrize(
    ("redirect_url", "location"),
    [
        ("https://x.example/done?a=1&b=%2F#top", "https://x.example/done?a=1&b=%2F#top"),
        ("http://x.example/完成", "http://x.example/%E5%AE%8C%E6%88%90"),
    ],
)
def test_the_citizen_is_sent_on(wechat: WeChat, redirect_url: str, location: str) -> None:
    url = wechat.auth_url("A1", redirect_url=redirect_url)
    for _ in range(2):
        pressed = wechat.press(url)
        assert (pressed.status, pressed.headers["Location"]) == (303, location)
    [link] = load(wechat, url).attributes("a")
    assert link["href"] == redirect_url


def test_an_expired_link(sandbox: Sandbox, wechat: WeChat) -> None:
    url = wechat.auth_url("A1")
    sandbox.clock.advance(7200)
    assert "已过期" in load(wechat, url, 410).text
    wechat.press(url)
    assert status_of(sandbox, "A1") == "never auth"
    sandbox.unit.renew_access_token()
    load(wechat, wechat.auth_url("A1")).press(wechat)
    assert status_of(sandbox, "A1") == "auth success"
    assert "授权成功" in load(wechat, url).text


def test_a_rejected_order(sandbox: Sandbox, wechat: WeChat) -> None:
    url = wechat.auth_url("A1")
    wechat.reject("A1", reason=NASTY, url='https://x.example/?a="b')
    page = load(wechat, url)
    assert "已拒绝开票" in page.text
    assert NASTY in page.text
    assert page.attributes("a")[0]["href"] == 'https://x.example/?a="b'
    wechat.press(url)
    assert status_of(sandbox, "A1") == "reject insert"


def test_a_reason_url_that_is_no_link(wechat: WeChat) -> None:
    url = wechat.auth_url("A1")
    wechat.reject("A1", url="javascript:alert(1)")
    assert not load(wechat, url).attributes("a")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/sandbox/authorise", 404),
        ("GET", "/sandbox/authorise?key=x", 404),
        ("GET", "/sandbox/pdf?key=x", 404),
        ("GET", "/sandbox/nothing", 404),
        ("POST", "/sandbox/", 405),
        ("PUT", "/sandbox/authorise", 405),
        ("GET", "/sandbox", 303),
        ("POST", "/sandbox/authorise", 303),
    ],
)
def test_other_paths_and_methods(wechat: WeChat, method: str, path: str, status: int) -> None:
    assert wechat.fetch(method, path, b"key=\xff&key")[0].status == status


# The developer's page


def test_the_index(sandbox: Sandbox, wechat: WeChat) -> None:
    wechat.press(wechat.auth_url("A1"))
    card_id = wechat.card()
    bill = wechat.bill("A1", card_id, wechat.pdf(), title=NASTY, fee=-5)
    inserted = wechat.insert(bill)
    wechat.auth_url(NASTY, money=7)
    sandbox.unit.push_url = "http://127.0.0.1:1/"
    sandbox.fail_authorisation(NASTY)
    sandbox.wait_for_pushes(1)
    sandbox.inject(faults.Errcode(45011))
    wechat.insert(bill)
    page = load(wechat, sandbox.pages_url)
    bills, orders, requests, pushes, accounts = (table[1:] for table in page.tables)
    number = bill["card_ext"]["user_card"]["invoice_user_data"]["billing_code"]
    code, openid = inserted["code"], inserted["openid"]
    assert bills == [[openid, NASTY, "-¥0.05", f"11010123 {number}", code, "未锁定 INIT", "A1"]]
    unit = f"unit {sandbox.unit.appid}"
    assert orders[0] == [NASTY, unit, "¥0.07", "未授权 never auth", "", "授权页 open"]
    assert orders[1][:4] == ["A1", unit, "¥12.00", "已授权 auth success"]
    assert [row[0] for row in requests] == [str(n) for n in range(len(requests), 0, -1)]
    assert requests[0][2:] == ["POST /nontax/insertbill", "A1", "45011", "Errcode"]
    assert pushes == [["1", "user_authorize_invoice", unit, ", ".join(["Connection refused"] * 3)]]
    assert [row[0] for row in accounts] == ["bureau", "unit"]
    [link] = page.attributes("a")
    assert NASTY in load(wechat, str(link["href"])).text


def test_an_empty_index(sandbox: Sandbox, wechat: WeChat) -> None:
    page = load(wechat, sandbox.pages_url)
    assert page.text.count("还没有") == 4
    assert len(page.tables) == 1


def test_the_index_shows_nothing_confidential(sandbox: Sandbox, wechat: WeChat) -> None:
    ticket, foreign = wechat.ticket(), "foreign-token"
    wechat.call(f"/x/{ticket}", {"order_id": sandbox.unit.secret})
    wechat.call(f"/x/{foreign}", token=foreign)
    bill = wechat.bill("A1", "c", "1", title=sandbox.bureau.access_token)
    sandbox.authorise("A1")
    wechat.insert(bill)
    text = load(wechat, sandbox.pages_url).text
    assert "POST /x/***" in text
    for account in sandbox.accounts.values():
        for secret in account.confidential():
            assert secret not in text
    assert foreign not in text


def test_long_texts_and_lists_are_cut(wechat: WeChat) -> None:
    with Sandbox() as lenient:
        other = WeChat(lenient)
        for number in range(101):
            bill = wechat.bill(f"A{number}", "c", "1", title="长" * 1000, billing_code=str(number))
            other.insert(bill)
        bills, *_ = load(other, lenient.pages_url).tables
        assert len(bills) == 101
        assert bills[1][1] == "长" * 60 + "…"
        assert [bills[1][6], bills[100][6]] == ["A100", "A1"]


def test_pages_leave_no_record_and_take_no_fault(sandbox: Sandbox, wechat: WeChat) -> None:
    url = wechat.auth_url("A1")
    before = sandbox.requests
    sandbox.inject(faults.Errcode(1))
    load(wechat, sandbox.pages_url)
    load(wechat, url).press(wechat)
    assert sandbox.requests == before
    assert sandbox.faults_left == 1


def test_a_body_that_is_not_http_gets_400_here_too(sandbox: Sandbox) -> None:
    with Peer(sandbox) as peer:
        peer.send(b"POST /sandbox/authorise HTTP/1.1\r\nHost: x\r\n")
        peer.send(b"Transfer-Encoding: chunked\r\n\r\nx\r\n")
        assert peer.read_to_end().startswith(b"HTTP/1.1 400 ")
    assert not sandbox.requests


def test_pages_and_interfaces_share_a_connection(sandbox: Sandbox, wechat: WeChat) -> None:
    del wechat
    connection = http.client.HTTPConnection(urlsplit(sandbox.base_url).netloc)
    try:
        for path, wanted in [("/sandbox/", b"nontax sandbox"), ("/x", b"40066")] * 2:
            connection.request("GET", path)
            assert wanted in connection.getresponse().read()
    finally:
        connection.close()
    assert sandbox.connections == 1


def test_a_file_is_never_taken_for_a_page(sandbox: Sandbox, wechat: WeChat) -> None:
    media_id = wechat.upload(b"<script>", 'form-data; name="pdf"; filename="a\\"\r.pdf"')
    assert media_id["errcode"] == 0
    payload = {"action": "get_url", "s_media_id": media_id["s_media_id"]}
    url = wechat.call("/card/invoice/platform/getpdf", payload, sandbox.bureau)["pdf_url"]
    reply, body = wechat.fetch("GET", url.removeprefix(sandbox.base_url))
    assert body == b"<script>" != PDF
    assert reply.headers["Content-Type"] == "application/pdf"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Disposition"] == "inline; filename*=UTF-8''a%22%0D.pdf"


# The command


def test_the_command_names_both_accounts_and_the_pages() -> None:
    pushes = ("--unit-push-url", "http://127.0.0.1:1/", "--push-token", "T")
    with command("--orders", "strict", *pushes) as (process, exports, notes):
        text = "\n".join(notes)
        names = re.findall(r"^# export (\w+)=\S+$", text, re.MULTILINE)
        assert names == ["NONTAX_ACCESS_TOKEN", "NONTAX_APPID", "NONTAX_SECRET"]
        assert f"{exports['NONTAX_BASE_URL']}/sandbox/\n" in text
        assert f"{exports['NONTAX_BASE_URL']}/sandbox/authorise?key=" in text
        appid = re.search(r"NONTAX_APPID=(\w+)", text)
        assert appid is not None
        s_pappid = f"{base64.urlsafe_b64encode(exports['NONTAX_APPID'].encode()).decode()}_"
        assert f"s_pappid that getbillauthurl needs: {s_pappid}" in text
        assert appid[1] != exports["NONTAX_APPID"]
        connection = http.client.HTTPConnection(urlsplit(exports["NONTAX_BASE_URL"]).netloc)
        connection.request("GET", "/sandbox/")
        with connection.getresponse() as reply:
            page = Page(reply.read().decode())
        connection.close()
        rows = page.tables[-1][1:]
        assert [row[1] for row in rows] == [exports["NONTAX_APPID"], appid[1]]
        assert [row[3] for row in rows] == ["", "http://127.0.0.1:1/"]
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
