"""The events that WeChat pushes: what is read, what is refused, and what never leaks."""

import base64
import copy
import hashlib
import json
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import Talk, run

from nontax.events import (
    AuthorizationEvent,
    Event,
    EventError,
    EventReader,
    InvalidEventError,
    OtherEvent,
    StatusEvent,
    UntrustedEventError,
)
from nontax.events.parse import MAX_DEPTH, MAX_VALUES
from nontax.events.reader import MAX_BODY

NOW = 1_700_000_000
TOKEN = "CanaryToken9f2a"
AES_KEY = "CanaryKey0123456789abcdefghijklmnopqrstuvwx"
APPID = "wx0123456789abcdef"
NONCE = "415670741"
RAW_KEY = base64.b64decode(AES_KEY + "=")

AUTHORIZATION = {
    "ToUserName": "gh_0123456789ab",
    "FromUserName": "oZI8Fj040-be6rlDohc6gkoPOQTQ",
    "CreateTime": "1700000000",
    "MsgType": "event",
    "Event": "user_authorize_invoice",
    "SuccOrderId": "1202933957956",
    "FailOrderId": "",
    "AuthorizeAppId": "wxf83dd777cffa4eab",
    "Source": "web",
    "SPAppId": "d3hmODNkZDc3",
}
STATUS = {
    "ToUserName": "gh_0123456789ab",
    "FromUserName": "oZI8Fj040-be6rlDohc6gkoPOQTQ",
    "CreateTime": "1700000000",
    "MsgType": "event",
    "Event": "update_invoice_status",
    "Status": "INVOICE_REIMBURSE_LOCK",
    "CardId": "pjZ8Yt9WoOePThU0NfUKz5-tBEWU",
    "Code": "186921658591",
}


def sign(*signed: str, token: str = TOKEN) -> str:
    return hashlib.sha1("".join(sorted([token, *signed])).encode()).hexdigest()


def make_query(*signed: str, timestamp: str = str(NOW), nonce: str = NONCE) -> dict[str, str]:
    name = "msg_signature" if signed else "signature"
    return {name: sign(timestamp, nonce, *signed), "timestamp": timestamp, "nonce": nonce}


def make_xml(fields: dict[str, str], form: str = "<{0}><![CDATA[{1}]]></{0}>") -> bytes:
    elements = "".join(form.format(name, value) for name, value in fields.items())
    return f"<xml>{elements}</xml>".encode()


def make_json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def encrypt_raw(padded: bytes, key: bytes = RAW_KEY) -> str:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def pad(content: bytes) -> bytes:
    missing = 32 - len(content) % 32
    return content + bytes([missing]) * missing


def encrypt(
    message: bytes,
    *,
    appid: str = APPID,
    key: bytes = RAW_KEY,
    prefix: bytes = b"0123456789abcdef",
) -> str:
    length = len(message).to_bytes(4, "big")
    return encrypt_raw(pad(prefix + length + message + appid.encode()), key)


def make_plain_reader(**changes: Any) -> EventReader:
    defaults: dict[str, Any] = {"token": TOKEN, "clock": lambda: NOW}
    return EventReader(**(defaults | changes))


def make_safe_reader(**changes: Any) -> EventReader:
    return make_plain_reader(**({"aes_key": AES_KEY, "appid": APPID} | changes))


def read(body: bytes) -> Event:
    return make_plain_reader().read(make_query(), body)


def read_encrypted(encrypted: str) -> Event:
    return make_safe_reader().read(make_query(encrypted), make_json({"Encrypt": encrypted}))


def read_fields(fields: dict[str, Any]) -> Event:
    return read(make_json(fields))


# --- WeChat's own examples ------------------------------------------------------------------------

# https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html
PAGE_ENCRYPTED = (
    "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcv"
    "ZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3F"
    "n2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSe"
    "OBrebufAlr7F9mFUPAJGj04="
)


def test_the_page_s_check_of_the_url() -> None:
    reader = EventReader(token="AAAAA", clock=lambda: 1714036504)
    query = {
        "signature": "f464b24fc39322e44b38aa78f5edd27bd1441696",
        "echostr": "4375120948345356249",
        "timestamp": "1714036504",
        "nonce": "1514711492",
    }
    assert reader.echo(query) == "4375120948345356249"


def test_the_page_s_plain_push() -> None:
    reader = EventReader(token="AAAAA", clock=lambda: 1714037059)
    query = {
        "signature": "899cf89e464efb63f54ddac96b0a0a235f53aa78",
        "timestamp": "1714037059",
        "nonce": "486452656",
    }
    body = (
        b'{"ToUserName": "gh_97417a04a28d", "FromUserName": "o9AgO5Kd5ggOC-bXrbNODIiE3bGY",'
        b'"CreateTime": 1714037059, "MsgType": "event", "Event": "debug_demo",'
        b'"debug_str": "hello world"}'
    )
    assert reader.read(query, body) == OtherEvent(
        name="debug_demo",
        msg_type="event",
        from_user="o9AgO5Kd5ggOC-bXrbNODIiE3bGY",
        to_user="gh_97417a04a28d",
        create_time=1714037059,
        extra={"debug_str": "hello world"},
    )


def test_the_page_s_encrypted_push() -> None:
    reader = EventReader(
        token="AAAAA", aes_key="A" * 43, appid="wxba5fad812f8e6fb9", clock=lambda: 1714112445
    )
    query = {
        "signature": "6c5c811b55cc85e0e1b54100749188c20beb3f5d",
        "timestamp": "1714112445",
        "nonce": "415670741",
        "openid": "o9AgO5Kd5ggOC-bXrbNODIiE3bGY",
        "encrypt_type": "aes",
        "msg_signature": "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3",
    }
    event = reader.read(
        query, make_json({"ToUserName": "gh_97417a04a28d", "Encrypt": PAGE_ENCRYPTED})
    )
    assert isinstance(event, OtherEvent)
    assert (event.name, event.create_time) == ("debug_demo", 1714112445)
    assert event.extra == {"debug_str": "hello world"}


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        make_xml(AUTHORIZATION),
        make_xml(AUTHORIZATION, "\n  <{0}> <![CDATA[ {1} ]]>\n</{0}>"),
        make_xml(AUTHORIZATION, "<{0}>{1}</{0}>"),
        make_xml(dict(reversed(AUTHORIZATION.items()))),
        b'\n<?xml version="1.0" encoding="utf-8"?>\n' + make_xml(AUTHORIZATION) + b"\n",
        make_json(AUTHORIZATION),
        make_json(AUTHORIZATION | {"CreateTime": 1700000000}),
        make_json(AUTHORIZATION | {"CreateTime": " 1700000000 ", "FailOrderId": None}),
        b"\xef\xbb\xbf" + make_json(AUTHORIZATION),
    ],
)
def test_an_authorization_is_read_in_every_form(body: bytes) -> None:
    assert read(body) == AuthorizationEvent(
        order_id="1202933957956",
        succeeded=True,
        from_user="oZI8Fj040-be6rlDohc6gkoPOQTQ",
        to_user="gh_0123456789ab",
        create_time=1700000000,
        authorize_appid="wxf83dd777cffa4eab",
        source="web",
        s_pappid="d3hmODNkZDc3",
        extra={},
    )


def test_a_failed_authorization() -> None:
    event = read_fields(AUTHORIZATION | {"SuccOrderId": " ", "FailOrderId": "B7"})
    assert isinstance(event, AuthorizationEvent)
    assert (event.order_id, event.succeeded) == ("B7", False)


@pytest.mark.parametrize("absent", ["AuthorizeAppId", "Source", "SPAppId", "FailOrderId"])
def test_a_field_that_may_be_absent(absent: str) -> None:
    fields = AUTHORIZATION.copy()
    del fields[absent]
    assert read(make_xml(fields)) == read(make_xml(fields | {absent: " "}))


@pytest.mark.parametrize(
    ("fields", "appid", "extra"),
    [
        ({"AuthorizeAppId": "wx1"}, "wx1", {}),
        ({"AppId": "wx2"}, "wx2", {}),
        ({"AuthorizeAppId": "", "AppId": "wx2"}, "wx2", {}),
        ({"AuthorizeAppId": "wx1", "AppId": "wx2"}, "wx1", {"AppId": "wx2"}),
        ({"AppId": ""}, "", {}),
    ],
)
def test_the_old_name_of_the_appid(fields: dict[str, str], appid: str, extra: Any) -> None:
    common = {name: value for name, value in AUTHORIZATION.items() if name != "AuthorizeAppId"}
    event = read(make_xml(common | fields))
    assert isinstance(event, AuthorizationEvent)
    assert (event.authorize_appid, event.extra) == (appid, extra)


@pytest.mark.parametrize("fields", [AUTHORIZATION, STATUS, {"MsgType": "text"}])
def test_unknown_fields_are_kept_without_the_blanks_around_them(fields: dict[str, Any]) -> None:
    event = read_fields(fields | {"New": " 张三 ", "More": [1, {"a": None, "b": ["\nx\n"]}]})
    assert event.extra == {"New": "张三", "More": [1, {"a": None, "b": ["x"]}]}


@pytest.mark.parametrize("body", [make_xml(STATUS), make_json(STATUS)])
def test_a_status_event(body: bytes) -> None:
    assert read(body) == StatusEvent(
        status="INVOICE_REIMBURSE_LOCK",
        card_id="pjZ8Yt9WoOePThU0NfUKz5-tBEWU",
        code="186921658591",
        from_user="oZI8Fj040-be6rlDohc6gkoPOQTQ",
        to_user="gh_0123456789ab",
        create_time=1700000000,
    )


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"MsgType": "event", "Event": "subscribe"}, "subscribe"),
        ({"MsgType": "text", "Content": "user_authorize_invoice"}, ""),
        ({"MsgType": "text", "Event": "user_authorize_invoice"}, "user_authorize_invoice"),
        ({"action": "CheckContainerPath"}, ""),
        ({"Event": {"odd": 1}, "MsgType": ["event"], "FromUserName": 1.5, "CreateTime": "x"}, ""),
        ({}, ""),
    ],
)
def test_anything_else_is_another_event(fields: dict[str, Any], name: str) -> None:
    event = read_fields(fields)
    assert isinstance(event, OtherEvent)
    assert event.name == name
    assert event.create_time is None
    kept = {"MsgType", "Event"} if isinstance(fields.get("MsgType"), str) else set()
    assert event.extra == {key: value for key, value in fields.items() if key not in kept}


def test_elements_in_an_element() -> None:
    event = read(
        b"<xml><MsgType>event</MsgType><Event>pic_sysphoto</Event>"
        b"<CreateTime>1700000007</CreateTime>"
        b"<Info><Count>2</Count>\n<List><item><Sum>a</Sum></item><item><Sum>b</Sum></item>"
        b"<item>c</item></List></Info><Empty/></xml>"
    )
    assert event == OtherEvent(
        name="pic_sysphoto",
        msg_type="event",
        from_user="",
        to_user="",
        create_time=1700000007,
        extra={
            "Info": {"Count": "2", "List": {"item": [{"Sum": "a"}, {"Sum": "b"}, "c"]}},
            "Empty": "",
        },
    )


# --- events as objects ----------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [AUTHORIZATION, STATUS, {"MsgType": "text", "Content": "hi"}])
def test_events_can_be_pickled_hashed_and_not_changed(fields: dict[str, str]) -> None:
    event = read_fields(fields)
    assert pickle.loads(pickle.dumps(event)) == event
    assert copy.deepcopy(event) == event
    assert hash(event) == hash(read_fields(fields))
    with pytest.raises(FrozenInstanceError):
        event.from_user = "someone else"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        (AUTHORIZATION, {"FromUserName": "other"}),
        (AUTHORIZATION, {"CreateTime": "1700000001"}),
        (AUTHORIZATION, {"SuccOrderId": "other"}),
        (AUTHORIZATION, {"SuccOrderId": "", "FailOrderId": "1202933957956"}),
        (AUTHORIZATION, {"Event": "subscribe"}),
        (STATUS, {"Status": "INVOICE_REIMBURSE_INIT"}),
        (STATUS, {"CardId": "other"}),
        (STATUS, {"Code": "other"}),
        ({"MsgType": "text", "MsgId": "1", "Content": "a"}, {"MsgId": "2"}),
        ({"MsgType": "text", "MsgId": "1"}, {"MsgType": "voice"}),
    ],
)
def test_the_key_is_that_of_a_repetition_and_of_nothing_else(
    fields: dict[str, str], change: dict[str, str]
) -> None:
    assert read(make_xml(fields)).key == read(make_json(dict(reversed(fields.items())))).key
    assert read_fields(fields).key != read_fields(fields | change).key


# --- signed, but not to be understood -------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (AUTHORIZATION, "FromUserName"),
        (AUTHORIZATION, "ToUserName"),
        (AUTHORIZATION, "CreateTime"),
        (STATUS, "FromUserName"),
        (STATUS, "ToUserName"),
        (STATUS, "CreateTime"),
        (STATUS, "Status"),
        (STATUS, "CardId"),
        (STATUS, "Code"),
    ],
)
def test_a_required_field(fields: dict[str, str], name: str) -> None:
    absent = {key: value for key, value in fields.items() if key != name}
    for bad in ({}, {name: " "}, {name: {"a": "b"}}, {name: True}, {name: None}):
        with pytest.raises(InvalidEventError, match=name):
            read_fields(absent | bad)


@pytest.mark.parametrize("value", ["-1", "1.5", "1e9", "٣", "1" * 13, "x", -5, 1.5])
def test_a_create_time_that_is_no_time(value: object) -> None:
    with pytest.raises(InvalidEventError, match="CreateTime"):
        read_fields(AUTHORIZATION | {"CreateTime": value})


@pytest.mark.parametrize(
    ("succeeded", "failed", "words"),
    [("A1", "A1", "both"), ("A1", "B2", "both"), ("", "", "neither"), (" ", "\n", "neither")],
)
def test_exactly_one_order(succeeded: str, failed: str, words: str) -> None:
    with pytest.raises(InvalidEventError, match=words):
        read_fields(AUTHORIZATION | {"SuccOrderId": succeeded, "FailOrderId": failed})


def test_an_order_that_is_no_text_is_not_overlooked() -> None:
    with pytest.raises(InvalidEventError, match="FailOrderId"):
        read_fields(AUTHORIZATION | {"FailOrderId": ["B2"]})


LAUGHS = b"".join(
    b'<!ENTITY l%d "%s">' % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "neither XML nor JSON"),
        (b"hello", "neither XML nor JSON"),
        (b"[1]", "neither XML nor JSON"),
        (b"\xff\xfe<\x00x\x00", "neither XML nor JSON"),
        (b"<!DOCTYPE xml><xml><A>1</A></xml>", "document type"),
        (b'<!DOCTYPE x [<!ENTITY l0 "ha">%s]><xml><A>&l9;</A></xml>' % LAUGHS, "document type"),
        (
            b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><xml><A>&e;</A></xml>',
            "document type",
        ),
        (b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x"><xml><A>1</A></xml>', "document type"),
        (b"<xml><A>&e;</A></xml>", "undefined entity"),
        (b"<xml><?php 1?><A>1</A></xml>", "processing instruction"),
        (b'<?xml-stylesheet href="x"?><xml><A>1</A></xml>', "processing instruction"),
        (b"<xml><A>1</A>", "not XML"),
        (b"<xml><A>1</B></xml>", "not XML"),
        (b"<xml><A>1</A></xml><xml><A>1</A></xml>", "not XML"),
        (b"<xml><A>&#0;</A></xml>", "not XML"),
        (b"<xml>text</xml>", "no elements"),
        (b"<xml/>", "no elements"),
        (b"<html><A>1</A></html>", "root element"),
        (b"<xml><A>1</A><A>1</A></xml>", "<A> twice"),
        (b"<xml><A>1</A>text</xml>", "text beside"),
        (b"<xml><A>1<B>2</B></A></xml>", "text beside"),
        (b"<xml>" + b"<a>" * 200_000, "deeper than"),
        (b"<xml>" + b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH + b"</xml>", "deeper than"),
        (b"<xml><A>" + b"<a/>" * MAX_VALUES + b"</A></xml>", "more than"),
        (b"{", "not JSON"),
        (b'{"A": 1} 2', "not JSON"),
        (b"{'A': 1}", "not JSON"),
        (b'{"A": 1, "A": 1}', "twice"),
        (b'{"A": {"B": 1, "B": 2}}', "twice"),
        (b'{"A": NaN}', "number"),
        (b'{"A": -Infinity}', "number"),
        (b'{"A": 1e999}', "number"),
        (b'{"A": [-1.5E+400]}', "number"),
        (b'{"A": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"A":' + b"[" * 500_000, "not JSON"),
        (b'{"A":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "deeper than"),
        (b'{"A": [' + b"0," * MAX_VALUES + b"0]}", "more than"),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else value,
)
def test_hostile_and_broken_bodies(body: bytes, words: str) -> None:
    for event in (read(body), read_encrypted(encrypt(body))):
        assert isinstance(event, OtherEvent)
        assert re.search(words, event.problem)
        assert (event.name, event.extra, event.raw) == ("", {}, body)
        assert "raw" not in repr(event)
    with pytest.raises(UntrustedEventError, match=words):
        make_safe_reader().read(make_query("x"), body)


def test_what_cannot_be_read_has_a_key_of_its_own() -> None:
    assert read(b"<xml>").key == read(b"<xml>").key != read(b"<xml><a>").key


@pytest.mark.parametrize("fields", [AUTHORIZATION, STATUS])
@pytest.mark.parametrize("make_body", [make_xml, make_json])
def test_a_broken_one_of_ours_is_for_a_person(
    fields: dict[str, str], make_body: Callable[[dict[str, str]], bytes]
) -> None:
    broken = make_body(fields)[:-1]
    with pytest.raises(InvalidEventError, match=r"not (XML|JSON)"):
        read(broken)
    with pytest.raises(InvalidEventError, match=r"not (XML|JSON)"):
        read_encrypted(encrypt(broken))
    text = make_body({"MsgType": "text", "Content": fields["Event"]})[:-1]
    assert isinstance(read(text), OtherEvent)


# --- what citizens write --------------------------------------------------------------------------

CHAT = {
    "ToUserName": "gh_0123456789ab",
    "FromUserName": "oZI8Fj040-be6rlDohc6gkoPOQTQ",
    "CreateTime": str(NOW),
    "MsgType": "text",
    "MsgId": "6054768590064713728",
}
WRITTEN = {
    **{f"control {code:#x}": chr(code) for code in (*range(9), 11, 12, *range(14, 32), 127, 0x85)},
    "no characters": "\ufffe\uffff",
    "emoji": "😀",
    "markup": "</Content><Event>user_authorize_invoice</Event>",
}
ALL_MODES: dict[str, Callable[[bytes], Event]] = {
    "plain": read,
    "safe": lambda message: read_encrypted(encrypt(message)),
    "compatible": lambda message: make_safe_reader().read(
        make_query(encrypt(message)),
        message.replace(b"</xml>", b"<Encrypt>%b</Encrypt></xml>" % encrypt(message).encode())
        if message.startswith(b"<")
        else message[:-1] + b', "Encrypt": "%b"}' % encrypt(message).encode(),
    ),
}


def write_raw_json(fields: dict[str, str]) -> bytes:
    """JSON as a careless writer makes it: nothing in the texts is escaped."""
    return ("{" + ", ".join(f'"{name}": "{text}"' for name, text in fields.items()) + "}").encode()


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("make_body", [make_xml, make_json, write_raw_json])
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_what_a_citizen_writes_never_raises(
    mode: str, make_body: Callable[[dict[str, str]], bytes], written: str
) -> None:
    event = ALL_MODES[mode](make_body(CHAT | {"Content": f"你{written}好"}))
    assert isinstance(event, OtherEvent)
    assert (event.msg_type, event.from_user, event.create_time) == (
        "text",
        CHAT["FromUserName"],
        NOW,
    )
    assert not event.problem
    content = event.extra["Content"]
    assert isinstance(content, str)
    assert content in (f"你{written}好", "你" + "\ufffd" * len(written) + "好")
    content.encode()


@pytest.mark.parametrize("mode", ["plain", "safe"])
@pytest.mark.parametrize(
    "body",
    [
        make_xml(CHAT | {"Content": "X"}).replace(b"X", b"\xed\xa0\xbd"),
        make_xml(CHAT | {"Content": "X"}).replace(b"X", "张三".encode("gbk")),
        make_json(CHAT | {"Content": "X"}).replace(b"X", rb"\ud83d"),
        make_json(CHAT | {"Content": ["X"]}).replace(b"X", rb"\u0000"),
        make_json(CHAT | {"Content": {"X": 1}}).replace(b"X", rb"\udfff"),
    ],
)
def test_broken_text_never_raises(mode: str, body: bytes) -> None:
    event = ALL_MODES[mode](body)
    assert isinstance(event, OtherEvent)
    assert not event.problem
    assert "\ufffd" in str(event.extra["Content"])
    event.key.encode()


@pytest.mark.parametrize(
    ("fields", "name"),
    [(AUTHORIZATION, "SuccOrderId"), (AUTHORIZATION, "FromUserName"), (STATUS, "Code")],
)
def test_no_replaced_character_gets_into_a_field_of_ours(fields: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidEventError, match=name):
        read(make_xml(fields | {name: "1\x082"}))
    event = read(make_xml(fields | {"More": "1\x082"}))
    assert event.extra == {"More": "1\ufffd2"}


def test_what_just_fits() -> None:
    levels = MAX_DEPTH - 1
    deep = b"<xml>" + b"<a>" * levels + b"</a>" * levels + b"</xml>"
    assert isinstance(read(deep), OtherEvent)
    assert isinstance(read(b'{"A":' + b"[" * levels + b"]" * levels + b"}"), OtherEvent)
    # The root and <A> count as well.
    wide = b"<xml><A>" + b"<a/>" * (MAX_VALUES - 2) + b"</A></xml>"
    assert isinstance(read(wide), OtherEvent)
    # The root, the name and the list count as well.
    assert isinstance(read(b'{"A":[' + b"0," * (MAX_VALUES - 4) + b"0]}"), OtherEvent)


def test_another_declared_encoding_changes_nothing() -> None:
    body = '<?xml version="1.0" encoding="GBK"?><xml><A>张三</A></xml>'.encode()
    assert read(body).extra == {"A": "张三"}


def test_the_largest_push() -> None:
    body = make_json(AUTHORIZATION)
    assert isinstance(read(body.ljust(MAX_BODY)), AuthorizationEvent)
    for reader in (make_plain_reader(), make_safe_reader()):
        with pytest.raises(UntrustedEventError, match="larger"):
            reader.read(make_query(), body.ljust(MAX_BODY + 1))


# --- not from WeChat, or not of now ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["signature", "timestamp", "nonce"])
@pytest.mark.parametrize("value", [None, "", "0" * 40, "张三", "\udc80", NONCE + "0", " " + NONCE])
def test_a_query_that_is_not_signed(name: str, value: str | None) -> None:
    query = make_query() | {"echostr": "123"}
    del query[name]
    if value is not None:
        query[name] = value
    for ask in (
        lambda: make_plain_reader().read(query, make_json(AUTHORIZATION)),
        lambda: make_plain_reader().echo(query),
        lambda: make_safe_reader().echo(query),
    ):
        with pytest.raises(UntrustedEventError, match=r"signature|timestamp|nonce"):
            ask()


def test_a_signature_with_another_token() -> None:
    query = make_query() | {"signature": sign(str(NOW), NONCE, token="other")}
    with pytest.raises(UntrustedEventError, match="signature is wrong"):
        make_plain_reader().read(query, make_json(AUTHORIZATION))


@pytest.mark.parametrize("drift", [-300, 0, 300])
def test_a_time_within_max_age(drift: int) -> None:
    reader = make_plain_reader(clock=lambda: NOW + drift)
    assert isinstance(reader.read(make_query(), make_json(AUTHORIZATION)), AuthorizationEvent)


@pytest.mark.parametrize(("drift", "words"), [(-301, "in the future"), (301, "301 seconds ago")])
def test_a_time_beyond_max_age(drift: int, words: str) -> None:
    reader = make_plain_reader(clock=lambda: NOW + drift)
    with pytest.raises(UntrustedEventError, match=words):
        reader.read(make_query(), make_json(AUTHORIZATION))
    with pytest.raises(UntrustedEventError, match=words):
        reader.echo(make_query() | {"echostr": "123"})


def test_without_max_age_every_time_is_right() -> None:
    reader = make_plain_reader(max_age=None)
    query = make_query(timestamp="1")
    body = make_json(AUTHORIZATION | {"CreateTime": "1"})
    assert isinstance(reader.read(query, body), AuthorizationEvent)


@pytest.mark.parametrize("lag", [-600, 600])
def test_a_plain_push_of_about_the_signed_time(lag: int) -> None:
    body = make_json(AUTHORIZATION | {"CreateTime": NOW + lag})
    assert isinstance(read(body), AuthorizationEvent)


@pytest.mark.parametrize("fields", [AUTHORIZATION, STATUS, {"MsgType": "text"}])
@pytest.mark.parametrize("lag", [-601, 601])
def test_a_plain_push_of_another_time(fields: dict[str, str], lag: int) -> None:
    body = make_json(fields | {"CreateTime": NOW + lag})
    with pytest.raises(UntrustedEventError, match="10 minutes apart"):
        read(body)
    # In safe mode the signature covers the message.
    assert read_encrypted(encrypt(body)).create_time == NOW + lag


def test_an_old_body_is_not_taken_when_time_and_nonce_change_places() -> None:
    """The signature does not say which of its parts is the time."""
    later = str(NOW + 90 * 24 * 3600)
    swapped = make_query(nonce=later) | {"timestamp": later, "nonce": str(NOW)}
    reader = make_plain_reader(clock=lambda: int(later))
    with pytest.raises(UntrustedEventError, match="10 minutes apart"):
        reader.read(swapped, make_json(AUTHORIZATION))


def test_a_stranger_does_not_learn_about_the_time() -> None:
    query = make_query(timestamp="1") | {"signature": "0" * 40}
    with pytest.raises(UntrustedEventError, match="signature is wrong"):
        make_plain_reader().read(query, make_json(AUTHORIZATION))


def test_wrong_argument_types_are_the_caller_s_errors() -> None:
    reader = make_plain_reader()
    with pytest.raises(TypeError, match="body must be bytes"):
        reader.read(make_query(), "{}")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a str, not list"):
        reader.read({"signature": ["0" * 40]}, b"{}")  # type: ignore[dict-item]


# --- the check of the URL -------------------------------------------------------------------------


@pytest.mark.parametrize("make_reader", [make_plain_reader, make_safe_reader])
def test_echo(make_reader: Callable[[], EventReader]) -> None:
    assert make_reader().echo(make_query() | {"echostr": "8236_+/=-z"}) == "8236_+/=-z"


@pytest.mark.parametrize("echostr", ["", "<script>", "a b", "a&b", "é", "1" * 257])
def test_echo_sends_back_no_markup(echostr: str) -> None:
    with pytest.raises(UntrustedEventError, match="echostr"):
        make_plain_reader().echo(make_query() | {"echostr": echostr})


def test_echo_needs_something_to_send_back() -> None:
    with pytest.raises(UntrustedEventError, match="no echostr"):
        make_plain_reader().echo(make_query())


# --- encrypted pushes -----------------------------------------------------------------------------


@pytest.mark.parametrize("message", [make_xml(AUTHORIZATION), make_json(AUTHORIZATION)])
@pytest.mark.parametrize("make_envelope", [make_xml, make_json])
@pytest.mark.parametrize("surplus", range(0, 33, 8))
def test_an_encrypted_push(
    message: bytes, make_envelope: Callable[[dict[str, str]], bytes], surplus: int
) -> None:
    encrypted = encrypt(message + b" " * surplus)
    envelope = make_envelope({"ToUserName": "gh_0123456789ab", "Encrypt": f" {encrypted}\n"})
    event = make_safe_reader().read(make_query(encrypted), envelope)
    assert event == read(message)


def test_beside_the_encrypted_part_nothing_is_believed() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    forged = AUTHORIZATION | {"SuccOrderId": "FORGED", "New": "FORGED"}
    event = make_safe_reader().read(
        make_query(encrypted), make_xml(forged | {"Encrypt": encrypted})
    )
    assert event == read_fields(AUTHORIZATION)


def test_a_plain_push_for_a_reader_with_a_key() -> None:
    query = make_query() | make_query("")
    for body in (make_json(AUTHORIZATION), make_json(AUTHORIZATION | {"Encrypt": ""})):
        with pytest.raises(UntrustedEventError, match="not encrypted"):
            make_safe_reader().read(query, body)


def test_an_encrypted_push_for_a_reader_without_a_key() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    query = make_query() | make_query(encrypted)
    for fields in ({}, AUTHORIZATION):
        with pytest.raises(InvalidEventError, match="give the reader aes_key"):
            make_plain_reader().read(query, make_json(fields | {"Encrypt": encrypted}))


def test_the_plain_signature_is_not_enough_for_an_encrypted_push() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    body = make_json({"Encrypt": encrypted})
    with pytest.raises(UntrustedEventError, match="no msg_signature"):
        make_safe_reader().read(make_query(), body)
    query = make_query() | {"msg_signature": sign(str(NOW), NONCE)}
    with pytest.raises(UntrustedEventError, match="msg_signature is wrong"):
        make_safe_reader().read(query, body)


def test_an_old_encrypted_push() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    reader = make_safe_reader(clock=lambda: NOW + 301)
    with pytest.raises(UntrustedEventError, match="seconds ago"):
        reader.read(make_query(encrypted), make_json({"Encrypt": encrypted}))


def test_the_signature_covers_the_encrypted_part() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    other = encrypt(make_json(AUTHORIZATION | {"SuccOrderId": "FORGED"}))
    with pytest.raises(UntrustedEventError, match="msg_signature is wrong"):
        make_safe_reader().read(make_query(encrypted), make_json({"Encrypt": other}))


def test_the_first_blocks_cannot_be_moved_into_the_nonce() -> None:
    # Joined without separators, "y" and "zzz…" give the same as "yzz…z" and the rest.
    prefixes = (b"%016d" % number for number in range(10_000))
    hidden = next(
        encrypted
        for encrypted in (encrypt(b"{}", prefix=prefix) for prefix in prefixes)
        if encrypted.startswith("z")
    )
    signed = "z" * 64 + hidden
    query = make_query(signed, nonce="y")
    moved = query | {"nonce": "y" + "z" * 64}
    assert query["msg_signature"] == sign(hidden, moved["nonce"], moved["timestamp"])
    assert isinstance(read_encrypted(hidden), OtherEvent)
    with pytest.raises(UntrustedEventError, match="msg_signature is wrong"):
        make_safe_reader().read(moved, make_json({"Encrypt": hidden}))


CONTENT = b"0123456789abcdef" + b"\0\0\0\2{}" + APPID.encode()


@pytest.mark.parametrize(
    "encrypted",
    [
        encrypt(b"{}", appid="wx_another_account"),
        encrypt(b"{}", appid=APPID + "x"),
        encrypt(b"{}", appid=""),
        encrypt(b"{}", key=bytes(32)),
        encrypt_raw(CONTENT.ljust(64, b"\0")),
        encrypt_raw(CONTENT.ljust(64, b"\x21")),
        encrypt_raw(pad(CONTENT)[:-1] + b"\x01"),
        encrypt_raw(pad(CONTENT)[:-2] + b"\0" + pad(CONTENT)[-1:]),
        encrypt_raw(CONTENT.ljust(48, bytes([48 - len(CONTENT)]))),
        encrypt_raw(pad(b"0123456789abcdef" + b"\xff" * 4 + b"{}" + APPID.encode())),
        encrypt_raw(pad(b"0123456789abcdef" + b"\0\0\0\xff" + b"{}" + APPID.encode())),
        encrypt_raw(pad(b"0123456789abcdef")),
        encrypt_raw(pad(b"")),
        encrypt(b"{}")[:-4],
        encrypt(b"{}")[:-1],
        encrypt(b"{}") + "=",
        "*" + encrypt(b"{}"),
        "张三",
        "=",
        "AAAA",
    ],
)
def test_all_failures_of_decryption_look_alike(encrypted: str) -> None:
    with pytest.raises(UntrustedEventError) as caught:
        read_encrypted(encrypted)
    assert str(caught.value) == (
        "the push cannot be decrypted: check that aes_key and appid are this account's"
    )
    assert caught.value.__context__ is None


# --- the reader's settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token": ""}, "token"),
        ({"token": TOKEN + "\n"}, "token"),
        ({"token": None}, "token"),
        ({"token": TOKEN.encode()}, "token"),
        ({"aes_key": None}, "together"),
        ({"appid": None}, "together"),
        ({"aes_key": AES_KEY + "="}, "43"),
        ({"aes_key": AES_KEY[1:]}, "43"),
        ({"aes_key": AES_KEY[1:] + "!"}, "43"),
        ({"aes_key": AES_KEY.encode()}, "43"),
        ({"appid": ""}, "appid"),
        ({"appid": " " + APPID}, "appid"),
        ({"max_age": 0}, "max_age"),
        ({"max_age": float("nan")}, "max_age"),
        ({"max_age": float("inf")}, "max_age"),
        ({"max_age": 10**400}, "max_age"),
        ({"max_age": "300"}, "max_age"),
    ],
)
def test_settings_that_cannot_be_right(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        make_safe_reader(**changes)
    assert_no_secret(show_frames(caught.value))


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(ImportError, match=r"pip install nontax\[events\]") as caught:
        make_safe_reader()
    assert_no_secret(show_frames(caught.value))
    assert isinstance(read_fields(AUTHORIZATION), AuthorizationEvent)


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = """if True:
        import sys, nontax
        assert "nontax.events" not in sys.modules
        from nontax.events import EventReader
        EventReader(token="t")
        assert "cryptography" not in sys.modules
        EventReader(token="t", aes_key="A" * 43, appid="wx1")
        assert "cryptography" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- secrets --------------------------------------------------------------------------------------


def show_frames(error: BaseException) -> str:
    """All that a crash report of the package's own frames could show."""
    lines = [repr(error), repr(error.args), *traceback.format_exception(error)]
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals["__name__"].startswith("nontax."):
            lines += map(repr, trace.tb_frame.f_locals.values())
        trace = trace.tb_next
    for other in (error.__cause__, error.__context__):
        if other is not None:
            lines.append(show_frames(other))
    return "\n".join(lines)


def assert_no_secret(text: str) -> None:
    for secret in (TOKEN, AES_KEY, AES_KEY[1:], repr(RAW_KEY)[2:-1], RAW_KEY.hex()):
        assert secret not in text


def make_failures() -> dict[str, Callable[[], object]]:
    encrypted = encrypt(make_json(AUTHORIZATION))
    unsigned = make_query() | {"signature": "0" * 40, "msg_signature": "0" * 40, "echostr": "1"}
    envelope = make_json({"Encrypt": encrypted})
    plain, safe = make_plain_reader(), make_safe_reader()
    late = make_safe_reader(clock=lambda: NOW + 999)
    return {
        "plain signature": lambda: plain.read(unsigned, b"{}"),
        "echo signature": lambda: safe.echo(unsigned),
        "encrypted signature": lambda: safe.read(unsigned, envelope),
        "no signature": lambda: safe.read({}, envelope),
        "late": lambda: late.read(make_query(encrypted), envelope),
        "broken envelope": lambda: safe.read(make_query(), b"<xml>"),
        "not encrypted": lambda: safe.read(make_query(), b"{}"),
        "not decrypted": lambda: read_encrypted("AAAA"),
        "another appid": lambda: read_encrypted(encrypt(b"{}", appid="wx1")),
        "broken message": lambda: read_encrypted(encrypt(make_xml(AUTHORIZATION)[:-1])),
        "another time": lambda: read(make_json(AUTHORIZATION | {"CreateTime": 1})),
        "no order": lambda: read_encrypted(encrypt(make_json(AUTHORIZATION | {"SuccOrderId": ""}))),
    }


@pytest.mark.parametrize("failure", make_failures())
def test_no_failure_shows_a_secret(failure: str) -> None:
    with pytest.raises(EventError) as caught:
        make_failures()[failure]()
    shown = show_frames(caught.value)
    assert "EventReader" in shown
    assert_no_secret(shown)
    if failure.endswith(" signature"):
        assert sign(str(NOW), NONCE) not in shown
        assert sign(str(NOW), NONCE, encrypt(make_json(AUTHORIZATION))) not in shown
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


def press_in_a_reader(talk: Talk) -> None:
    """Ctrl-C at each place in turn where a reader is made, and where it reads."""
    import itertools
    from functools import partial
    from pathlib import Path

    from interrupts import ctrl_c_at

    import nontax.events
    from nontax.events import EventReader

    folder = str(Path(nontax.events.__file__).parent)
    given = talk.setup["reader"] | {"clock": lambda: talk.setup["now"]}
    for work in ("make", "read"):
        # Where a function begins, nothing of it has been done: what it was given can be seen.
        for place in itertools.count(2 if work == "make" else 1):
            make = partial(EventReader, **given)
            reader = make()
            read = partial(reader.read, talk.setup["query"], talk.setup["body"].encode())
            pressed = False
            try:
                with ctrl_c_at(place, folder):
                    make() if work == "make" else read()
            except KeyboardInterrupt as error:
                # Without this frame, which has the secrets themselves.
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                pressed = True
                talk.tell_error(error)
            if not pressed:
                break


@pytest.mark.parametrize("kind", ["plain", "safe"])
def test_ctrl_c_anywhere_shows_no_secret(kind: str) -> None:
    reader, body, query = {"token": TOKEN}, make_json(AUTHORIZATION), make_query()
    if kind == "safe":
        encrypted = encrypt(body)
        reader |= {"aes_key": AES_KEY, "appid": APPID}
        body, query = make_json({"Encrypt": encrypted}), make_query(encrypted)
    told = run(press_in_a_reader, reader=reader, now=NOW, query=query, body=body.decode())
    assert {one["type"] for one in told} == {"KeyboardInterrupt"}
    assert len(told) > 30
    for one in told:
        assert_no_secret(json.dumps(one))


def test_an_error_keeps_nothing_of_the_body() -> None:
    for body in (b'{"A": "SECRET', b"<xml>SECRET", b"SECRET\xff", make_xml({"A": "SECRET\b"})[:-1]):
        with pytest.raises(InvalidEventError) as caught:
            read(body + b"update_invoice_status")
        error: BaseException = caught.value
        assert error.__context__ is None
        assert b"SECRET" not in pickle.dumps(error)


@pytest.mark.parametrize("make_reader", [make_plain_reader, make_safe_reader])
def test_a_reader_shows_and_gives_away_no_secret(make_reader: Callable[[], EventReader]) -> None:
    reader = make_reader()
    assert_no_secret(repr(reader) + str(reader) + f"{reader}")
    assert not hasattr(reader, "__dict__")
    for give_away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secrets"):
            give_away(reader)


# --- anything at all ------------------------------------------------------------------------------

NAMES = st.sampled_from([*AUTHORIZATION, *STATUS, "AppId", "Encrypt", "MsgId"]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(NAMES, parts),
    max_leaves=10,
)
BODIES = st.one_of(
    st.binary(),
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(
        lambda common, fields: json.dumps(common | fields).encode(),
        st.sampled_from([{}, AUTHORIZATION, STATUS]),
        st.dictionaries(NAMES, VALUES),
    ),
    st.builds(
        lambda common, fields, form: make_xml(common | fields, form),
        st.sampled_from([{}, AUTHORIZATION, STATUS]),
        st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]))),
        st.sampled_from(["<{0}><![CDATA[{1}]]></{0}>", "<{0}>{1}</{0}>", "<a><{0}>{1}</{0}></a>"]),
    ),
)


def check_anything(ask: Callable[[], Event]) -> None:
    try:
        event = ask()
    except EventError:
        return
    assert pickle.loads(pickle.dumps(event)).key == event.key
    event.key.encode()
    if isinstance(event, AuthorizationEvent):
        assert event.order_id.strip() == event.order_id != ""


def damage(body: bytes, position: int, junk: bytes) -> bytes:
    position %= len(body) + 1
    return body[:position] + junk + body[position + len(junk) :]


@given(body=BODIES)
def test_any_signed_body_is_an_event_or_an_event_error(body: bytes) -> None:
    check_anything(lambda: read(body))
    check_anything(lambda: read_encrypted(encrypt(body)))
    check_anything(lambda: make_safe_reader().read(make_query(), body))


@given(
    body=st.sampled_from([make_xml(AUTHORIZATION), make_json(STATUS)]),
    position=st.integers(min_value=0),
    junk=st.binary(max_size=4),
)
@settings(max_examples=200)
def test_any_damaged_body_is_an_event_or_an_event_error(
    body: bytes, position: int, junk: bytes
) -> None:
    check_anything(lambda: read(damage(body, position, junk)))


@given(position=st.integers(min_value=0), junk=st.binary(min_size=1, max_size=40))
def test_any_damaged_cipher_text_is_an_event_or_an_event_error(position: int, junk: bytes) -> None:
    raw = damage(base64.b64decode(encrypt(make_json(AUTHORIZATION))), position, junk)
    check_anything(lambda: read_encrypted(base64.b64encode(raw).decode()))


@given(
    query=st.dictionaries(
        st.sampled_from(["signature", "msg_signature", "timestamp", "nonce", "echostr"]),
        st.text() | st.from_regex(r"[0-9a-f]{40}", fullmatch=True) | st.just(str(NOW)),
    )
)
def test_no_guessed_query_is_trusted(query: dict[str, str]) -> None:
    body = make_json({"Encrypt": encrypt(make_json(AUTHORIZATION))})
    for ask in (make_plain_reader().read, make_safe_reader().read):
        with pytest.raises(UntrustedEventError):
            ask(query, body)
    with pytest.raises(UntrustedEventError):
        make_plain_reader().echo(query)
