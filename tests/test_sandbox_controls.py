"""What can be set on a sandbox from outside: faults, pushes, accounts; and its ready client."""

import http.client
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from bills import bill
from sandboxes import Peer, command, environment, insert_with
from test_sandbox_flow import WeChat, sandbox, wechat
from test_sandbox_pages import Page, load

import nontax
from nontax.events import EventReader
from nontax.sandbox import Sandbox, faults, wire
from nontax.sandbox.certificates import Certificates

__all__ = ["sandbox", "wechat"]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFE"


# A client that is ready


def test_a_client_of_a_sandbox_that_nobody_has_started() -> None:
    client = Sandbox().client()
    assert client.insert_bill(bill()).code


def test_clients_of_accounts() -> None:
    with Sandbox() as sandbox:
        assert sandbox.client(sandbox.unit).get_ticket().ticket
        with pytest.raises(nontax.AccountError, match="48001"):
            sandbox.client().get_ticket()
        token = sandbox.client(access_token=sandbox.access_token, timeout=5)
        assert token.insert_bill(bill()).code
    assert [request.path for request in sandbox.requests if "token" in request.path] == [
        "/cgi-bin/stable_token"
    ] * 2


def test_a_client_over_tls(certificates: Certificates) -> None:
    with Sandbox(certfile=certificates.cert_file, keyfile=certificates.key_file) as sandbox:
        assert sandbox.client(ca_file=certificates.ca_file).insert_bill(bill()).code


# One account for both


def test_one_account_is_bureau_and_unit() -> None:
    with Sandbox(orders="strict", one_account=True) as sandbox:
        assert sandbox.bureau is sandbox.unit
        assert list(sandbox.accounts) == [sandbox.bureau.appid]
        client = sandbox.client()
        s_pappid = client.get_s_pappid().s_pappid
        client.get_bill_auth_url(s_pappid=s_pappid, order_id="H1", money=1200)
        sandbox.authorise("H1")
        card = client.create_bill_card(payee="某市人民医院", logo_url="https://x.example/")
        inserted = client.insert_bill(
            bill(
                order_id="H1",
                appid=sandbox.bureau.appid,
                card_id=card.card_id,
                s_pdf_media_id=client.upload_pdf(b"%PDF-1.7\n%%EOF\n").s_media_id,
            )
        )
        assert sandbox.bills["H1"].code == inserted.code


# Faults as text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Errcode(45011)", (faults.Errcode(45011), {})),
        (" Errcode(-1, taken=True) ", (faults.Errcode(-1, taken=True), {})),
        ("Delay(0.5, times=3)", (faults.Delay(0.5), {"times": 3})),
        (
            "Close('body', taken=True, times=2, skip=10)",
            (faults.Close("body", taken=True), {"times": 2, "skip": 10}),
        ),
        (
            'Reply(302, {"Location": "/"}, b"", taken=False)',
            (faults.Reply(302, {"Location": "/"}, b"", taken=False), {}),
        ),
        ("NeverAnswer()", (faults.NeverAnswer(), {})),
    ],
)
def test_a_fault_as_text(text: str, wanted: tuple[faults.Fault, dict[str, int]]) -> None:
    assert faults.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a fault"),
        ("Errcode", "not a fault"),
        ("Errcode(", "not a fault"),
        ("errcode(1)", "not a fault"),
        ("__import__('os')", "not a fault"),
        ("Errcode(__import__('os').getpid())", "not a fault"),
        ("Errcode(1).code", "not a fault"),
        ("faults.Errcode(1)", "not a fault"),
        ("(" * 5000, "not a fault"),
        ("Errcode()", "missing"),
        ("Errcode(1, 2, 3, 4)", "argument"),
        ("Errcode(1, wrong=2)", "wrong"),
        ("Delay(-1)", "must not be negative"),
        ("Close('later')", "after must be"),
        ("Errcode(1, times='2')", "times must be an integer"),
        ("Errcode(1, skip=True)", "skip must be an integer"),
        ("Errcode(1, path=1)", "path must be text"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_no_fault(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        faults.parse(text)


def test_a_fault_for_one_interface() -> None:
    with Sandbox() as sandbox:
        fault = faults.Errcode(45009)
        sandbox.inject(fault, skip=1, path="/nontax/insertbill")
        client = sandbox.client()
        assert client.get_quota("/nontax/insertbill").used == 0
        assert client.insert_bill(bill()).code
        assert sandbox.faults_left == 1
        with pytest.raises(nontax.QuotaError):
            client.insert_bill(bill())
        assert [r.path for r in sandbox.requests if r.fault] == ["/nontax/insertbill"]
        for times, skip in ((0, 0), (1, -1)):
            with pytest.raises(ValueError, match="times must be"):
                sandbox.inject(fault, times, skip)
        with pytest.raises(ValueError, match="unread"):
            sandbox.inject(faults.Close("nothing"), path="/nontax/insertbill")


# The page


def send(
    wechat: WeChat, path: str, fields: Mapping[str, str], **headers: str
) -> http.client.HTTPResponse:
    return wechat.fetch("POST", path, urlencode(fields).encode(), FORM | headers)[0]


def test_the_root_leads_to_the_page(sandbox: Sandbox, wechat: WeChat) -> None:
    reply, _ = wechat.fetch("GET", "/")
    assert (reply.status, reply.headers["Location"]) == (303, "/sandbox/")
    assert not sandbox.requests
    assert wechat.call("/", {})["errcode"] == 40066


def test_faults_from_the_page(sandbox: Sandbox, wechat: WeChat) -> None:
    page = load(wechat, sandbox.pages_url)
    assert "Forget" not in page.text
    [_] = [form for form in page.attributes("form") if form["action"] == "/sandbox/faults"]
    reply = send(wechat, "/sandbox/faults", {"fault": "Errcode(45009, times=2)"})
    assert (reply.status, reply.headers["Location"]) == (303, "/sandbox/")
    assert sandbox.faults_left == 2
    assert wechat.call("/card/invoice/seturl", {}, sandbox.bureau)["errcode"] == 45009
    page = load(wechat, sandbox.pages_url)
    assert "Forget (1)" in page.text
    send(wechat, "/sandbox/faults", {})
    assert sandbox.faults_left == 0
    reply, _ = wechat.fetch("POST", "/sandbox/faults", b"fault=Errcode(1,times=0)", FORM)
    assert reply.status == 400
    reply, body = wechat.fetch("POST", "/sandbox/faults", b"fault=%3Cb%3E", FORM)
    assert reply.status == 400
    assert "not a fault: '<b>'" in Page(body.decode()).text


def test_pushes_from_the_page(sandbox: Sandbox, wechat: WeChat) -> None:
    unit = sandbox.unit
    fields = {
        "appid": unit.appid,
        "url": "http://127.0.0.1:1/x",
        "token": "CanaryToken",
        "mode": "safe",
        "aes_key": AES_KEY,
        "format": "json",
    }
    assert send(wechat, "/sandbox/pushes", fields).status == 303
    assert (unit.push_url, unit.push_token) == ("http://127.0.0.1:1/x", "CanaryToken")
    assert (unit.push_aes_key, unit.push_format) == (AES_KEY, "json")
    reply, body = wechat.fetch("GET", "/sandbox/")
    assert reply.status == 200
    assert b"CanaryToken" not in body
    assert AES_KEY.encode() not in body
    chosen = [o["value"] for o in Page(body.decode()).attributes("option") if "selected" in o]
    assert chosen == ["plain", "xml", "safe", "json"]
    # What is not typed again stays.
    send(wechat, "/sandbox/pushes", {"appid": unit.appid, "mode": "safe"})
    assert (unit.push_url, unit.push_token, unit.push_aes_key) == (None, "CanaryToken", AES_KEY)
    send(wechat, "/sandbox/pushes", {"appid": unit.appid, "mode": "plain"})
    assert unit.push_aes_key is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"appid": "wx1"}, "no account"),
        ({"url": "ftp://x"}, "push_url must be"),
        ({"mode": "safe"}, "needs an EncodingAESKey"),
        ({"mode": "safe", "aes_key": "short"}, "43 characters"),
    ],
)
def test_pushes_that_cannot_be_set(
    sandbox: Sandbox, wechat: WeChat, fields: dict[str, str], words: str
) -> None:
    fields = {"appid": sandbox.bureau.appid} | fields
    reply, body = wechat.fetch("POST", "/sandbox/pushes", urlencode(fields).encode(), FORM)
    assert reply.status == 400
    assert words in Page(body.decode()).text
    assert sandbox.bureau.push_aes_key is None


@pytest.mark.parametrize("path", ["/sandbox/faults", "/sandbox/pushes", "/sandbox/authorise"])
def test_another_site_s_form_sets_nothing(sandbox: Sandbox, wechat: WeChat, path: str) -> None:
    fields = {"fault": "Errcode(1)", "appid": sandbox.unit.appid, "url": "http://evil.example/"}
    assert send(wechat, path, fields, Origin="https://evil.example").status == 403
    assert send(wechat, path, fields, Origin="null").status == 403
    assert (sandbox.faults_left, sandbox.unit.push_url) == (0, None)
    own = {"Origin": sandbox.base_url}
    assert send(wechat, "/sandbox/faults", fields, **own).status == 303
    assert sandbox.faults_left == 1


# Too much


@pytest.mark.parametrize("path", ["/nontax/insertbill", "/sandbox/faults"])
@pytest.mark.parametrize(
    "start",
    [
        b"Content-Length: %d\r\n\r\n" % (wire.MAX_BODY + 1),
        b"Content-Length: 999999999999999999\r\nExpect: 100-continue\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n%x\r\n" % wire.MAX_BODY,
    ],
    ids=["length", "expect", "chunks"],
)
def test_a_body_that_is_too_large(sandbox: Sandbox, path: str, start: bytes) -> None:
    with Peer(sandbox) as peer:
        peer.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode() + start)
        assert peer.read_to_end().startswith(b"HTTP/1.1 413 ")
    assert all(len(request.body) <= 5 for request in sandbox.requests)


# The command


def test_faults_and_safe_pushes_from_the_command_line() -> None:
    arguments = (
        *("--fault", "Errcode(45009)", "--fault", "Errcode(-1, skip=1)"),
        *("--unit-push-url", "http://127.0.0.1:1/x", "--push-aes-key", "new"),
        *("--push-format", "json"),
    )
    with command(*arguments) as (process, exports, notes):
        assert [insert_with(exports) for _ in range(4)] == [45009, 0, -1, 72056]
        [line] = [note for note in notes if "Pushed to" in note]
        settings = re.fullmatch(
            r"# Pushed to http://127.0.0.1:1/x: Token (\w+), EncodingAESKey (\S{43})\n", line
        )
        assert settings is not None
        EventReader(token=settings[1], aes_key=settings[2], appid="wx1")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_one_account_and_an_ip_list_from_the_command_line() -> None:
    arguments = ("--one-account", "--ip-list", "10.0.0.0/8, 127.0.0.1")
    with command(*arguments) as (_, exports, notes):
        assert not [note for note in notes if "NONTAX_" in note]
        client = nontax.Client(
            appid=exports["NONTAX_APPID"],
            secret=exports["NONTAX_SECRET"],
            base_url=exports["NONTAX_BASE_URL"],
        )
        assert client.get_ticket().ticket
        assert client.insert_bill(bill()).code


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fault", "Errcode"],
        ["--push-aes-key", "short"],
        ["--ip-list", "*"],
        ["--push-format", "yaml"],
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nontax.sandbox", "--port", "0", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()[-1]) > 20
