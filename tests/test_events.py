"""The events that WeChat pushes: what is read of them."""

import copy
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from pushes import (
    AUTHORIZATION,
    NOW,
    STATUS,
    encrypt,
    make_json,
    make_plain_reader,
    make_query,
    make_safe_reader,
    make_xml,
    read,
    read_encrypted,
    read_fields,
)

from nontax.events import (
    AuthorizationEvent,
    Event,
    EventReader,
    InvalidEventError,
    OtherEvent,
    StatusEvent,
    UntrustedEventError,
)
from nontax.events.parse import MAX_DEPTH, MAX_VALUES
from nontax.events.reader import MAX_BODY

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
