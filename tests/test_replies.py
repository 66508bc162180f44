"""What WeChat, or something in its place, may answer: an honest outcome for each."""

import gzip
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from processes import Talk, run
from servers import INSERTED, RawServer, Wire, json_reply

import nontax
from nontax import _core
from nontax.sandbox import Sandbox, faults

RID = "61725984-6126f6f9-040f19c4"
MIB = 1024 * 1024


def answer(client: nontax.Client, sandbox: Sandbox, body: bytes, **more: Any) -> Any:
    """What becomes of a bill when this is the reply: the InsertedBill, or the error."""
    sent = len(sandbox.requests)
    sandbox.inject(faults.Reply(body=body, taken=False, **more))
    try:
        return client.insert_bill(bill())
    except nontax.NontaxError as error:
        return error
    finally:
        assert len(sandbox.requests) == sent + 1


def success(**changes: Any) -> bytes:
    reply = {"errcode": 0, "errmsg": "ok", "code": "682000661927", "openid": "oA1"} | changes
    reply = {name: value for name, value in reply.items() if value is not ...}
    return json.dumps(reply, ensure_ascii=False).encode()


def doubtful(result: object, reason: str = "") -> nontax.InDoubtError:
    assert isinstance(result, nontax.InDoubtError), result
    assert result.outcome == "in_doubt"
    assert not result.timed_out
    assert reason in result.reason
    return result


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"OK",
        b"null",
        b"0",
        b'"errcode"',
        b"[]",
        b"[" + INSERTED + b"]",
        b"{}",
        b'{"errmsg":"ok"}',
        b"<html><body>502 Bad Gateway</body></html>",
        b"<xml><errcode>0</errcode></xml>",
        b"errcode=0&code=1&openid=2",
        INSERTED + INSERTED,
        INSERTED + b"x",
        b"callback(" + INSERTED + b")",
        INSERTED.replace(b'"', b"'"),
        INSERTED.replace(b'"', b""),
        INSERTED.replace(b"}", b",}"),
        gzip.compress(INSERTED, mtime=0),
        INSERTED.decode().encode("utf-16"),
        INSERTED.decode().encode("utf-16-le"),
        b"\0" + INSERTED,
        b'{"errcode":0,"errcode":0,"code":"1","openid":"2"}',
        b'{"errcode":40001,"errcode":0,"code":"1","openid":"2"}',
        b'{"errcode":0,"errmsg":"\\ud800","code":"1","openid":"2"}',
        b'{"code":"1","openid":"2"}',
        b'{"Errcode":0,"code":"1","openid":"2"}',
        b'{"data":' + INSERTED + b"}",
    ],
)
def test_bodies_that_tell_nothing(sandbox: Sandbox, client: nontax.Client, body: bytes) -> None:
    error = doubtful(answer(client, sandbox, body))
    assert error.http_status == 200
    assert error.curl_code == 0
    client.insert_bill(bill())
    # What comes behind an empty body libcurl drops: nobody knows whether that was all.
    assert sandbox.connections == (1 if body else 2)


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + INSERTED,
        b"\r\n\t " + INSERTED + b" \r\n",
        INSERTED.replace(b",", b" ,\n").replace(b":", b" : "),
        INSERTED.replace(b"ok", b"\xe6\x88\x90\xe5\x8a\x9f"),
        INSERTED.replace(b"ok", b"\\u6210\\u529f\\/\\ud83d\\ude00"),
        INSERTED.replace(b"oA1", b"o\\u00411"),
        INSERTED.replace(b'"ok"', b"null"),
        INSERTED.replace(b'"errmsg":"ok",', b""),
        INSERTED.replace(b'"errcode":0', b'"errcode":"0"'),
        INSERTED.replace(b'"errcode":0', b'"errcode":0.0'),
        b'{"openid":"oA1","code":"682000661927","errcode":0}',
    ],
)
def test_bodies_that_tell_success(sandbox: Sandbox, client: nontax.Client, body: bytes) -> None:
    result = answer(client, sandbox, body)
    assert result == nontax.InsertedBill(code="682000661927", openid="oA1")


def test_every_truncated_body_is_in_doubt(sandbox: Sandbox, client: nontax.Client) -> None:
    for size in range(len(INSERTED)):
        doubtful(answer(client, sandbox, INSERTED[:size]))
    assert isinstance(answer(client, sandbox, INSERTED), nontax.InsertedBill)


def test_every_reply_cut_off_is_in_doubt(sandbox: Sandbox, client: nontax.Client) -> None:
    whole = json_reply(INSERTED, b"Content-Type: application/json; encoding=utf-8")
    for size in range(len(whole)):
        doubtful(answer(client, sandbox, INSERTED, cut_after=size))
    assert isinstance(answer(client, sandbox, INSERTED, cut_after=len(whole)), nontax.InsertedBill)


@pytest.mark.parametrize("value", [..., None, "", True, [], ["1"], {}, {"code": "1"}, "a\0b", "\0"])
def test_success_without_a_usable_code(
    sandbox: Sandbox, client: nontax.Client, value: object
) -> None:
    body = success(code=value)
    error = doubtful(answer(client, sandbox, body))
    assert "says success" in error.reason or "NUL character" in error.reason
    assert error.reply == body.decode()
    client.insert_bill(bill())


@pytest.mark.parametrize(
    ("literal", "code"),
    [
        (b"682000661927", "682000661927"),
        (b"0", "0"),
        (b"-0", "-0"),
        (b"0682000661927", "0682000661927"),
        (b"12345678901234567890123", "12345678901234567890123"),
        (b"9007199254740993", "9007199254740993"),
        (b"682000661927.0", "682000661927.0"),
        (b"6.82000661927e11", "6.82000661927e11"),
    ],
)
def test_a_code_that_is_a_number(
    sandbox: Sandbox, client: nontax.Client, literal: bytes, code: str
) -> None:
    """Exactly as it was written: a double has 53 bits, and no leading zeros."""
    body = INSERTED.replace(b'"682000661927"', literal)
    assert answer(client, sandbox, body) == nontax.InsertedBill(code=code, openid="oA1")
    body = b'{"a":[-1.5e3,"4\\"5\\\\",7],"b":{"c":1},"code" : %b ,"errcode":0}' % literal
    assert answer(client, sandbox, body).code == code


@pytest.mark.parametrize(
    ("value", "openid", "extra"),
    [
        (..., None, {}),
        (None, None, {}),
        ("", None, {"openid": ""}),
        (0, "0", {}),
        (12345678901234567890, "12345678901234567890", {}),
        (1.5, "1.5", {}),
        (True, None, {"openid": True}),
        ([], None, {"openid": []}),
        (["o"], None, {"openid": ["o"]}),
        ({"a": 1}, None, {"openid": {"a": 1}}),
    ],
)
def test_a_code_without_a_usable_openid(
    sandbox: Sandbox, client: nontax.Client, value: object, openid: object, extra: object
) -> None:
    """The code is told only once: the bill is inserted, and nothing of the reply is thrown away."""
    inserted = answer(client, sandbox, success(openid=value))
    assert (inserted.code, inserted.openid) == ("682000661927", openid)
    assert inserted.extra == extra
    sandbox.inject(faults.Reply(body=success(openid=value), taken=False))
    (outcome,) = client.insert_bills([bill()])
    assert outcome.inserted == inserted


def test_a_code_with_all_else_missing_or_odd(sandbox: Sandbox, client: nontax.Client) -> None:
    for body in (
        b'{"errcode":0,"code":"682000661927"}',
        b'{"errcode":"0","errmsg":5,"code":"682000661927","code":"682000661927"}',
        b'{"errcode":0,"errmsg":[],"code":"682000661927","openid":"\xff"}',
        b'{"errcode":0,"errmsg":null,"code":"682000661927","openid":"a","openid":null}',
    ):
        assert answer(client, sandbox, body).code == "682000661927"


def test_large_integers_in_unknown_fields_are_exact(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    large = {"a": 2**53 + 1, "b": [-(10**30)], "c": 1e300, "d": 7200.0}
    result = answer(client, sandbox, success(**large))
    assert result.extra == large
    assert [type(value) for value in result.extra.values()] == [int, list, float, int]


@pytest.mark.parametrize("name", [b'"code":'])
@pytest.mark.parametrize(
    "value", [b'"\xd6\xd0"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"a\0b"', b'"\\ud800"']
)
def test_success_with_broken_text(
    sandbox: Sandbox, client: nontax.Client, name: bytes, value: bytes
) -> None:
    body = re.sub(re.escape(name) + rb'"\w+"', lambda _: name + value, INSERTED)
    assert value in body
    doubtful(answer(client, sandbox, body))


@pytest.mark.parametrize("other", [b'"2"', b"2", b"682000661927", b"null"])
def test_success_with_two_codes(sandbox: Sandbox, client: nontax.Client, other: bytes) -> None:
    """One of them would be another bill's."""
    body = INSERTED.replace(b"}", b',"code":%b}' % other)
    error = doubtful(answer(client, sandbox, body), "more than one code")
    assert error.reply == body.decode()


def test_unknown_fields_are_kept(sandbox: Sandbox, client: nontax.Client) -> None:
    extra = {
        "unionid": "oU1",
        "名称": '值 \U0001f600 " \\',
        "number": 12,
        "negative": -1,
        "large": 2**53 - 1,
        "fraction": 0.5,
        "yes": True,
        "no": False,
        "none": None,
        "empty": [{}, []],
        "nested": {"list": [1, "2", {"three": [3.0]}]},
        "": "no name",
        "control": "a\nb\tc\x01",
    }
    result = answer(client, sandbox, success(**extra))
    assert result.extra == extra
    assert type(result.extra["number"]) is int
    assert (result.code, result.openid) == ("682000661927", "oA1")


def test_broken_text_in_unknown_fields_is_no_reason_to_doubt(
    sandbox: Sandbox, client: nontax.Client
) -> None:
    body = INSERTED.replace(b"}", b',"note":"\xd6\xd0","\xff":1}').replace(b"ok", b"\xd6\xd0")
    result = answer(client, sandbox, body)
    assert result.code == "682000661927"
    assert set(result.extra) == {"note", "�"}


@pytest.mark.parametrize("depth", [63, 64, 990, 100_000])
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_deeply_nested_replies(
    sandbox: Sandbox, client: nontax.Client, depth: int, pair: str
) -> None:
    opening = '{"a":' if pair == "{}" else "["
    nested = opening * depth + "1" + pair[1] * depth
    result = answer(client, sandbox, INSERTED.replace(b"}", f',"deep":{nested}}}'.encode()))
    if depth > 63:  # the reply itself is one more
        error = doubtful(result, "nested deeper than 64")
        assert error.reply is not None
        assert error.reply.startswith(INSERTED[:-1].decode())
        return
    value = result.extra["deep"]
    for _ in range(depth):
        value = value["a" if pair == "{}" else 0]
    assert value == 1


# Size


def padded(size: int) -> bytes:
    return INSERTED.replace(b"}", b',"pad":"') + b"x" * (size - len(INSERTED) - 9) + b'"}'


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_the_largest_reply(sandbox: Sandbox, client: nontax.Client, framing: str) -> None:
    body = padded(MIB)
    assert len(body) == MIB
    result = answer(client, sandbox, body, framing=framing, piece=30_000)
    assert result.code == "682000661927"
    assert len(result.extra["pad"]) == MIB - len(INSERTED) - 9


@pytest.mark.parametrize("framing", ["length", "chunked", "close", "endless"])
def test_a_larger_reply(sandbox: Sandbox, client: nontax.Client, framing: str) -> None:
    error = doubtful(answer(client, sandbox, padded(MIB + 1), framing=framing), "1 MiB")
    assert error.curl_code == 23
    client.insert_bill(bill())


def test_an_endless_reply(any_sandbox: Sandbox, any_client: nontax.Client) -> None:
    doubtful(answer(any_client, any_sandbox, b" " * 1000, framing="endless"), "1 MiB")
    any_client.insert_bill(bill())
    assert any_sandbox.connections == 2


def answered_by(*pieces: bytes) -> Callable[[Wire], None]:
    """What a server does that answers every request so, and ends the connection."""

    def behave(wire: Wire) -> None:
        wire.read_request()
        for piece in pieces:
            wire.send(piece)

    return behave


def ask(*pieces: bytes) -> Any:
    """What becomes of a bill when the server sends these bytes."""
    with (
        RawServer(answered_by(*pieces)) as server,
        nontax.Client(access_token="token", base_url=server.base_url) as client,
    ):
        try:
            return client.insert_bill(bill())
        except nontax.NontaxError as error:
            return error
        finally:
            server.stop()
            assert sum(b"insertbill" in wire.received for wire in server.wires) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 400_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: xxxxxxxxxxxxxx\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"",
        b"\0" * 100,
        b"SSH-2.0-OpenSSH\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_heads_that_tell_nothing(head: bytes) -> None:
    doubtful(ask(head))


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 " + b"O" * 400_000, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400_000]
)
def test_a_line_without_end_is_no_lack_of_memory(head: bytes) -> None:
    error = doubtful(ask(head + b"\r\n\r\n"))
    assert "memory" not in str(error)
    assert "a header line of the reply is too long" in error.reason


def test_a_body_without_its_last_chunk() -> None:
    """Whole as it looks, the rest may have said something else."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (len(INSERTED), INSERTED)
    doubtful(ask(head + chunk))
    assert isinstance(ask(head + chunk + b"0\r\n\r\n"), nontax.InsertedBill)


# What came, where it was no answer


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"<html>\r\n<h1>502</h1>", "<html>\r\n<h1>502</h1>"),
        (b'{"errcode":0,"code":"682000661927"', '{"errcode":0,"code":"682000661927"'),
        (INSERTED + b"x", INSERTED.decode() + "x"),
        (b"a\0b\x1b[31m\x7f\xff\xd6", r"a\x00b\x1b[31m\x7f\xff\xd6"),
        ("票据".encode(), "票据"),
        ("\u0085".encode(), r"\xc2\x85"),
    ],
)
@pytest.mark.parametrize("status", [200, 302, 502])
def test_what_came_is_kept(
    sandbox: Sandbox, client: nontax.Client, body: bytes, shown: str, status: int
) -> None:
    error = doubtful(answer(client, sandbox, body, status=status))
    assert error.reply == shown
    assert error.http_status == status
    assert shown not in str(error)
    assert shown not in repr(error)
    assert pickle.loads(pickle.dumps(error)).reply == shown
    sandbox.inject(faults.Reply(status, body=body, taken=False))
    (outcome,) = client.insert_bills([bill()])
    assert isinstance(outcome.error, nontax.InDoubtError)
    assert outcome.error.reply == shown


def test_what_came_of_a_reply_that_was_cut_off(sandbox: Sandbox, client: nontax.Client) -> None:
    whole = json_reply(INSERTED, b"Content-Type: application/json; encoding=utf-8")
    head = len(whole) - len(INSERTED)
    for size in range(head + 1, len(whole)):
        error = doubtful(answer(client, sandbox, INSERTED, cut_after=size))
        assert error.reply == INSERTED[: size - head].decode()
    assert doubtful(answer(client, sandbox, b"", cut_after=head)).reply is None


def test_what_came_until_the_time_was_over(sandbox: Sandbox) -> None:
    settings: Any = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    with nontax.Client(timeout=0.3, **settings) as client:
        sandbox.inject(faults.Reply(body=INSERTED, length_delta=9, taken=False))
        with pytest.raises(nontax.InDoubtError) as caught:
            client.insert_bill(bill())
    assert caught.value.reply == INSERTED.decode()


def test_credentials_are_masked_in_what_came(sandbox: Sandbox) -> None:
    token = "68_to/ken+value="
    body = (
        f"<p>{token} 68_to%2Fken%2Bvalue%3D 68_to\\/ken\\u002bvalue= 68_to&#47;ken&#x2b;value="
        '","code":"x68_to/ken+value=","code":"682000661927"'
    ).encode()
    with nontax.Client(access_token=token, base_url=sandbox.base_url) as client:
        error = doubtful(answer(client, sandbox, body))
    assert error.reply == '<p>*** *** *** ***","code":"x***","code":"682000661927"'


@pytest.mark.parametrize("token", ["682000661927", "68200066", "6820006619271234"])
def test_a_code_is_never_masked(sandbox: Sandbox, token: str) -> None:
    with nontax.Client(access_token=token, base_url=sandbox.base_url) as client:
        assert answer(client, sandbox, INSERTED).code == "682000661927"
        error = doubtful(answer(client, sandbox, b"=" + INSERTED))
    assert error.reply == "=" + INSERTED.decode()


@pytest.mark.parametrize(
    "form",
    [
        '{"code":"%s"}',
        '{"code" : %s}',
        r'"{\"code\":\"%s\"}"',
        "{'code':'%s'}",
        "{&quot;code&quot;:&quot;%s&quot;}",
        "<code>%s</code>",
        "?code=%s&",
    ],
)
@pytest.mark.parametrize("place", [0, 4_085, 4_096, 5_000, 900_000])
def test_a_code_is_never_cut_off(
    sandbox: Sandbox, client: nontax.Client, form: str, place: int
) -> None:
    text = form % "682000661927"
    error = doubtful(answer(client, sandbox, b"x " * (place // 2) + text.encode() + b"y " * 5_000))
    assert error.reply is not None
    assert len(error.reply) < 6_000
    found = re.findall(r"682000661927", error.reply)
    assert len(found) == 1


def test_nothing_is_kept_of_what_may_have_a_credential_in_it(sandbox: Sandbox) -> None:
    settings: Any = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    sandbox.inject(faults.Reply(body=b'{"errcode":0,"ticket":"t-1"}', taken=False))
    with (
        nontax.Client(retries=0, **settings) as client,
        pytest.raises(nontax.InDoubtError) as caught,
    ):
        client.get_ticket()
    assert caught.value.reply is None


def test_a_refusal_with_more_than_its_errcode(sandbox: Sandbox, client: nontax.Client) -> None:
    body = b'{"errcode":72042,"errmsg":"already","code":"682000661927"}'
    error = answer(client, sandbox, body)
    assert isinstance(error, nontax.DuplicateBillError)
    assert error.reply == body.decode()
    assert answer(client, sandbox, b'{"errcode":72042,"errmsg":"already"}').reply is None


def read_on_a_small_stack(talk: Talk) -> None:
    """Insert bills in a thread with the smallest stack that Python allows."""
    import threading

    import nontax

    client = talk.client()

    def insert() -> None:
        for one in talk.setup["bills"]:
            try:
                client.insert_bill(one)
            except nontax.InDoubtError as error:
                talk.tell(reason=error.reason)
            else:
                talk.tell(reason="")

    threading.stack_size(64 * 1024)
    thread = threading.Thread(target=insert)
    thread.start()
    thread.join()


@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_deep_replies_on_a_small_stack(sandbox: Sandbox, pair: str) -> None:
    opening = '{"a":' if pair == "{}" else "["
    for depth in (63, 990):
        deep = opening * depth + "1" + pair[1] * depth
        sandbox.inject(faults.Reply(body=success().replace(b"}", f',"a":{deep}}}'.encode())))
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    first, second = run(read_on_a_small_stack, client=client, bills=[bill(), bill()])
    assert first["reason"] == ""
    assert "nested deeper than 64" in second["reason"]


# Ways of delivering it


@pytest.mark.parametrize(
    "fault",
    [
        faults.Reply(framing="chunked"),
        faults.Reply(framing="chunked", piece=1),
        faults.Reply(framing="close"),
        faults.Reply(piece=1, gap=0.0001),
        faults.Reply(framing="close", piece=7, gap=0.0001),
        faults.Reply(headers={"Connection": "close"}),
        faults.Reply(headers={"Set-Cookie": "a=b; Domain=localhost", "Refresh": "0; url=/"}),
        faults.Reply(headers={"Content-Type": "text/html; charset=gbk"}),
        faults.Reply(headers={"Content-Type": ""}),
        faults.Reply(headers={"Strict-Transport-Security": "max-age=31536000"}),
        faults.Reply(headers={"Alt-Svc": 'h3=":443"'}),
        faults.Reply(201),
        faults.Reply(299),
        faults.Delay(0.05),
    ],
    ids=str,
)
def test_odd_ways_of_saying_yes(
    any_sandbox: Sandbox, any_client: nontax.Client, fault: faults.Reply | faults.Delay
) -> None:
    any_sandbox.inject(fault, times=2)
    for order_id in ("1", "2", "3"):
        inserted = any_client.insert_bill(bill(order_id))
        assert inserted.code == any_sandbox.bills[order_id].code
    assert len(any_sandbox.requests) == 3
    assert "cookie" not in any_sandbox.requests[-1].headers


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n",
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_interim_replies(first: bytes, together: bool) -> None:
    final = json_reply(INSERTED)
    result = ask(first + final) if together else ask(first, final)
    assert result == nontax.InsertedBill(code="682000661927", openid="oA1")


def test_http_1_0() -> None:
    assert ask(b"HTTP/1.0 200 OK\r\n\r\n" + INSERTED).code == "682000661927"
    doubtful(ask(b"HTTP/1.0 200 OK\r\n\r\n" + INSERTED[:-1]))


def test_http_0_9() -> None:
    doubtful(ask(INSERTED))


# Statuses


@pytest.mark.parametrize("status", [200, 400, 403, 404, 413, 429, 500, 502, 503, 504, 599])
def test_pages_of_machines_in_between(sandbox: Sandbox, client: nontax.Client, status: int) -> None:
    page = b"<html><head><title>Error</title></head></html>"
    error = doubtful(
        answer(client, sandbox, page, status=status, headers={"Content-Type": "text/html"})
    )
    assert error.http_status == status
    assert str(status) in error.reason


@pytest.mark.parametrize("status", [400, 401, 404, 500, 502, 503])
def test_success_with_an_error_status(sandbox: Sandbox, client: nontax.Client, status: int) -> None:
    error = doubtful(answer(client, sandbox, INSERTED, status=status), "says success")
    assert error.http_status == status


@pytest.mark.parametrize("status", [200, 400, 412, 500, 503])
def test_an_errcode_with_an_error_status(
    sandbox: Sandbox, client: nontax.Client, status: int
) -> None:
    body = b'{"errcode":72038,"errmsg":"invoice order never auth"}'
    error = answer(client, sandbox, body, status=status)
    assert type(error) is nontax.NotAuthorizedError
    assert error.http_status == status
    assert error.outcome == "rejected"


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_errcode_of_a_machine_in_between(
    sandbox: Sandbox, client: nontax.Client, status: int
) -> None:
    """Which does not know what the server behind it has done."""
    body = b'{"errcode":%d,"errmsg":"upstream timed out"}' % status
    error = doubtful(answer(client, sandbox, body, status=status), "not WeChat's")
    assert error.http_status == status


# Errcodes as they are written


@pytest.mark.parametrize("literal", ["72038", '"72038"', "72038.0", "7.2038e4"])
def test_errcodes_in_several_spellings(
    sandbox: Sandbox, client: nontax.Client, literal: str
) -> None:
    error = answer(client, sandbox, f'{{"errcode":{literal},"errmsg":"x"}}'.encode())
    assert type(error) is nontax.NotAuthorizedError
    assert error.errcode == 72038


@pytest.mark.parametrize(
    "literal",
    [
        '""',
        '"-"',
        '" 72038"',
        '"72038 "',
        '"+72038"',
        '"0x1"',
        '"ok"',
        '"99999999999999999999"',
        "null",
        "true",
        "false",
        "[]",
        "[0]",
        "{}",
        "0.5",
        "72038.5",
        "1e400",
        "2147483648",
        "-2147483649",
        "99999999999999999999",
    ],
)
def test_errcodes_that_are_none(sandbox: Sandbox, client: nontax.Client, literal: str) -> None:
    body = INSERTED.replace(b'"errcode":0', f'"errcode":{literal}'.encode())
    doubtful(answer(client, sandbox, body), "unusable errcode")


# What WeChat says beside an errcode


def refused(client: nontax.Client, sandbox: Sandbox, errmsg: bytes) -> nontax.WeChatError:
    error = answer(client, sandbox, b'{"errcode":72038,"errmsg":%b}' % errmsg)
    assert isinstance(error, nontax.WeChatError)
    assert error.errcode == 72038
    return error


@pytest.mark.parametrize(
    "errmsg",
    [
        f"invalid credential rid: {RID}",
        f"invalid ip 1.2.3.4, not in whitelist, rid: {RID}",
        f"x hint: [MO0693er74] rid: {RID}",
        f"x rid:{RID}",
        f"x rid: {RID}.",
        f"rid: none, rid: {RID} (again)",
    ],
)
def test_the_rid_in_errmsg(sandbox: Sandbox, client: nontax.Client, errmsg: str) -> None:
    error = refused(client, sandbox, json.dumps(errmsg).encode())
    assert error.rid == RID
    assert error.errmsg == errmsg


@pytest.mark.parametrize(
    "errmsg",
    [
        "",
        "ok",
        "x hint: [MO0693er74]",
        "x hints: [ req_id: xxx ]",
        "rid: 61725984-6126f6f9",
        "rid: 61725984-6126f6f9-040f19cg",
        "rid:",
    ],
)
def test_no_rid_in_errmsg(sandbox: Sandbox, client: nontax.Client, errmsg: str) -> None:
    error = refused(client, sandbox, json.dumps(errmsg).encode())
    assert error.rid is None
    assert error.errmsg == errmsg


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("系统繁忙，此时请开发者稍候再试".encode(), "系统繁忙，此时请开发者稍候再试"),
        (b"a\nb\tc\x01d\x1b[31m\x7f", "a?b?c?d?[31m?"),
        (b"a\\nb\\u001b[2J\\u0085", "a?b?[2J?"),
        ("财政".encode("gbk"), "????"),
        (b"\xe7\xb3", "??"),
        (b"caf\xe9 \xff\xfe", "caf? ??"),
    ],
)
def test_odd_text_in_errmsg(
    sandbox: Sandbox, client: nontax.Client, sent: bytes, shown: str
) -> None:
    error = refused(client, sandbox, b'"' + sent + b'"')
    assert error.errmsg == shown
    assert str(error).isprintable()


@pytest.mark.parametrize("errmsg", [b"null", b"[]", b"{}", b"true"])
def test_an_errmsg_that_is_no_text(sandbox: Sandbox, client: nontax.Client, errmsg: bytes) -> None:
    assert refused(client, sandbox, errmsg).errmsg == ""


def test_an_errmsg_that_is_a_number(sandbox: Sandbox, client: nontax.Client) -> None:
    assert refused(client, sandbox, b"12345678901234567890").errmsg == "12345678901234567890"


def test_a_long_errmsg(sandbox: Sandbox, client: nontax.Client) -> None:
    """It is shortened, between two characters; the rid at its end is not lost."""
    error = refused(client, sandbox, f'"{"票" * 10_000} rid: {RID}"'.encode())
    assert set(error.errmsg) == {"票"}
    assert 100 < len(error.errmsg) < 1000
    assert error.rid == RID


def test_no_errmsg_at_all(sandbox: Sandbox, client: nontax.Client) -> None:
    error = answer(client, sandbox, b'{"errcode":72038}')
    assert (error.errcode, error.errmsg, error.rid) == (72038, "", None)


# Each errcode

CLASSES = {
    "BUSY": nontax.SystemBusyError,
    "ACCESS_TOKEN": nontax.AccessTokenError,
    "ACCOUNT": nontax.AccountError,
    "QUOTA": nontax.QuotaError,
    "PARAMETER": nontax.ParameterError,
    "NOT_AUTHORIZED": nontax.NotAuthorizedError,
    "DUPLICATE": nontax.DuplicateBillError,
    "STATE": nontax.BillStateError,
}
TABLE = {
    int(code): (name, category, retry)
    for code, name, category, retry in re.findall(
        r"^ERRCODE\((-?\d+), (\w+), (\w+), (\w+), ",
        Path(__file__).parents[1].joinpath("csrc/core/errcodes.def").read_text("utf-8"),
        re.MULTILINE,
    )
}


def test_the_whole_table_is_compiled_in() -> None:
    assert _core.errcodes() == sorted(TABLE)
    assert len(TABLE) > 150


@pytest.mark.parametrize("code", [code for code in sorted(TABLE) if code])
def test_every_errcode(sandbox: Sandbox, code: int) -> None:
    name, category, retry = TABLE[code]
    sandbox.inject(faults.Errcode(code, taken=code == -1))
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, retries=0
    ) as client:
        with pytest.raises(nontax.WeChatError) as caught:
            client.insert_bill(bill("1"))
        error = caught.value
        assert type(error) is CLASSES[category]
        assert error.outcome == ("in_doubt" if code == -1 else "rejected")
        assert (error.errcode, error.name, error.retry) == (code, name, retry.lower())
        assert error.http_status == 200
        assert error.rid
        assert error.errmsg.endswith(error.rid)
        assert error.advice == nontax.errcode(code).advice
        assert error.advice.endswith(".")
        assert str(code) in str(error)
        assert name in str(error)
        assert error.advice in str(error)
        client.insert_bill(bill("2"))
        assert [request.order_id for request in sandbox.requests] == ["1", "2"]


@pytest.mark.parametrize("code", [1, -2, 40000, 99999, 268435456, 2147483647, -2147483648])
def test_unknown_errcodes(sandbox: Sandbox, client: nontax.Client, code: int) -> None:
    sandbox.inject(faults.Errcode(code))
    with pytest.raises(nontax.WeChatError) as caught:
        client.insert_bill(bill())
    assert type(caught.value) is nontax.WeChatError
    assert (caught.value.errcode, caught.value.name) == (code, "UNKNOWN")
    assert caught.value.outcome == "rejected"
    assert caught.value.retry == "no"
    assert len(sandbox.requests) == 1


def test_the_sandboxs_own_refusals(sandbox: Sandbox, client: nontax.Client) -> None:
    client.insert_bill(bill("1"))
    with pytest.raises(nontax.DuplicateBillError) as caught:
        client.insert_bill(bill("1"))
    assert caught.value.errcode == 72056
    sandbox.withdraw("2")
    with pytest.raises(nontax.NotAuthorizedError):
        client.insert_bill(bill("2"))
    sandbox.reject("3")
    with pytest.raises(nontax.BillStateError):
        client.insert_bill(bill("3"))


# Repeats


@pytest.mark.parametrize("taken", [False, True])
def test_system_busy_is_sent_once(sandbox: Sandbox, client: nontax.Client, taken: bool) -> None:
    sandbox.inject(faults.Errcode(-1, taken=taken))
    with pytest.raises(nontax.SystemBusyError) as caught:
        client.insert_bill(bill("1"))
    assert caught.value.outcome == "in_doubt"
    assert "doubt" in str(caught.value)
    client.insert_bill(bill("2"))
    assert [request.order_id for request in sandbox.requests] == ["1", "2"]


@pytest.mark.parametrize("code", [72036, 72054])
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_busy_bills_are_sent_again(sandbox: Sandbox, code: int, retries: int) -> None:
    sandbox.inject(faults.Errcode(code), times=retries + 1)
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, retries=retries
    ) as client:
        with pytest.raises(nontax.SystemBusyError) as caught:
            client.insert_bill(bill("1"))
        assert (caught.value.errcode, caught.value.outcome) == (code, "rejected")
        assert [request.order_id for request in sandbox.requests] == ["1"] * (retries + 1)
        bodies = {request.body for request in sandbox.requests}
        assert len(bodies) == 1
        assert not sandbox.bills


@pytest.mark.parametrize("code", [72036, 72054])
def test_busy_bills_are_inserted_in_the_end(
    sandbox: Sandbox, client: nontax.Client, code: int
) -> None:
    sandbox.inject(faults.Errcode(code))
    assert client.insert_bill(bill("1")).code == sandbox.bills["1"].code
    assert len(sandbox.requests) == 2


def test_a_doubtful_repeat_ends_the_repeats(sandbox: Sandbox, client: nontax.Client) -> None:
    sandbox.inject(faults.Errcode(72054))
    sandbox.inject(faults.Close("body", taken=True))
    with pytest.raises(nontax.InDoubtError):
        client.insert_bill(bill("1"))
    assert len(sandbox.requests) == 2


@pytest.mark.parametrize(
    "code",
    [
        code
        for code, (_, _, retry) in sorted(TABLE.items())
        if retry in ("YES", "LATER") and code not in (72036, 72054)
    ],
)
def test_nothing_else_is_sent_again(sandbox: Sandbox, client: nontax.Client, code: int) -> None:
    sandbox.inject(faults.Errcode(code))
    with pytest.raises(nontax.WeChatError):
        client.insert_bill(bill())
    assert len(sandbox.requests) == 1


# Access tokens

REFUSALS = [40001, 40014, 42001]


class Source:
    """A token source that hands out what it was given, and remembers what it was asked."""

    def __init__(self, *tokens: Any) -> None:
        self.tokens = list(tokens)
        self.asked: list[str | None] = []

    def __call__(self, stale: str | None) -> str:
        self.asked.append(stale)
        token = self.tokens.pop(0)
        if isinstance(token, BaseException):
            raise token
        return token  # type: ignore[no-any-return]


def sourced(sandbox: Sandbox, source: Source) -> nontax.Client:
    return nontax.Client(token_source=source, base_url=sandbox.base_url)


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refused_token_is_replaced_once(sandbox: Sandbox, code: int) -> None:
    source = Source("old-token", sandbox.access_token)
    sandbox.inject(faults.Errcode(code))
    with sourced(sandbox, source) as client:
        assert client.insert_bill(bill("1")).code == sandbox.bills["1"].code
    assert source.asked == [None, "old-token"]
    assert [request.access_token for request in sandbox.requests] == [
        "old-token",
        sandbox.access_token,
    ]
    assert {request.order_id for request in sandbox.requests} == {"1"}


def test_an_expired_and_a_renewed_token(sandbox: Sandbox) -> None:
    old = sandbox.access_token
    sandbox.expire_access_token()
    sandbox.renew_access_token()
    source = Source(old, sandbox.access_token)
    with sourced(sandbox, source) as client:
        client.insert_bill(bill())
    assert source.asked == [None, old]
    assert [request.errcode for request in sandbox.requests] == [42001, 0]


@pytest.mark.parametrize("code", REFUSALS)
def test_a_second_refused_token_is_not_replaced(sandbox: Sandbox, code: int) -> None:
    source = Source("token-1", "token-2", "token-3")
    sandbox.inject(faults.Errcode(code), times=3)
    with sourced(sandbox, source) as client, pytest.raises(nontax.AccessTokenError) as caught:
        client.insert_bill(bill())
    assert caught.value.errcode == code
    assert source.asked == [None, "token-1"]
    assert len(sandbox.requests) == 2


@pytest.mark.parametrize("code", REFUSALS)
def test_a_fixed_token_is_not_replaced(sandbox: Sandbox, client: nontax.Client, code: int) -> None:
    sandbox.inject(faults.Errcode(code))
    with pytest.raises(nontax.AccessTokenError) as caught:
        client.insert_bill(bill())
    assert caught.value.errcode == code
    assert caught.value.retry == "after_token_refresh"
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("code", REFUSALS)
def test_the_same_token_again(sandbox: Sandbox, code: int) -> None:
    """40001 may be for a moment only: it is tried once more, but no third time."""
    tries = 2 if code == 40001 else 1
    source = Source(*["token-1"] * (tries + 1))
    sandbox.inject(faults.Errcode(code), times=tries)
    with sourced(sandbox, source) as client, pytest.raises(nontax.AccessTokenError) as caught:
        client.insert_bill(bill())
    assert caught.value.errcode == code
    assert source.asked == [None, *["token-1"] * tries]
    assert len(sandbox.requests) == tries


def test_other_codes_about_tokens_do_not_ask_the_source(sandbox: Sandbox) -> None:
    source = Source("token-1")
    sandbox.inject(faults.Errcode(41001))
    with sourced(sandbox, source) as client, pytest.raises(nontax.AccessTokenError):
        client.insert_bill(bill())
    assert source.asked == [None]


def test_a_repeat_uses_the_new_token(sandbox: Sandbox) -> None:
    source = Source("token-1", sandbox.access_token)
    sandbox.inject(faults.Errcode(40001))
    sandbox.inject(faults.Errcode(72054))
    with sourced(sandbox, source) as client:
        client.insert_bill(bill())
    assert [request.access_token for request in sandbox.requests] == [
        "token-1",
        sandbox.access_token,
        sandbox.access_token,
    ]


def test_the_source_is_asked_for_every_bill(sandbox: Sandbox) -> None:
    source = Source(*[sandbox.access_token] * 3)
    with sourced(sandbox, source) as client:
        for _ in range(3):
            client.insert_bill(bill())
    assert source.asked == [None] * 3


def test_the_source_is_not_asked_for_an_invalid_bill(sandbox: Sandbox) -> None:
    source = Source()
    with sourced(sandbox, source) as client, pytest.raises(nontax.InvalidRequestError):
        client.insert_bill({})
    assert source.asked == []


@pytest.mark.parametrize("late", [False, True], ids=["first", "after-a-refusal"])
@pytest.mark.parametrize("raised", [RuntimeError("vault"), KeyError("x"), OSError(5, "y")])
def test_a_source_that_raises(sandbox: Sandbox, late: bool, raised: Exception) -> None:
    source = Source(*["token-1"] * late, raised)
    sandbox.inject(faults.Errcode(40001))
    with sourced(sandbox, source) as client, pytest.raises(nontax.NontaxError) as caught:
        client.insert_bill(bill())
    error = caught.value
    assert error.__cause__ is raised
    if late:
        assert isinstance(error, nontax.AccessTokenError)
        assert error.outcome == "rejected"
    else:
        assert isinstance(error, nontax.NotSentError)
        assert error.outcome == "not_sent"
        assert type(raised).__name__ in error.reason
    assert len(sandbox.requests) == late
    assert not sandbox.bills


@pytest.mark.parametrize("late", [False, True], ids=["first", "after-a-refusal"])
def test_a_source_that_raises_an_error_of_ours(sandbox: Sandbox, late: bool) -> None:
    """It comes out as it is, but what it says of the outcome is about this bill."""
    raised = nontax.AccountError(errcode=40125, errmsg="invalid appsecret")
    source = Source(*["token-1"] * late, raised)
    sandbox.inject(faults.Errcode(40001))
    with sourced(sandbox, source) as client, pytest.raises(nontax.AccountError) as caught:
        client.insert_bill(bill())
    assert caught.value.errcode == 40125
    assert caught.value.outcome == ("rejected" if late else "not_sent")
    assert isinstance(caught.value.__context__, nontax.AccessTokenError) == late
    # Each call that waits for the token has an exception of its own.
    assert caught.value is not raised
    assert raised.outcome == "rejected"
    assert len(sandbox.requests) == late


@pytest.mark.parametrize("late", [False, True], ids=["first", "after-a-refusal"])
@pytest.mark.parametrize(
    "raised",
    [nontax.InDoubtError(reason="no answer"), nontax.SystemBusyError(errcode=-1)],
    ids=lambda error: type(error).__name__,
)
def test_a_source_that_is_in_doubt(
    sandbox: Sandbox, late: bool, raised: nontax.NontaxError
) -> None:
    """Its doubt is not the bill's."""
    source = Source(*["token-1"] * late, raised)
    sandbox.inject(faults.Errcode(40001))
    expected = nontax.AccessTokenError if late else nontax.NotSentError
    with sourced(sandbox, source) as client, pytest.raises(expected) as caught:
        client.insert_bill(bill())
    assert caught.value.outcome == ("rejected" if late else "not_sent")
    assert caught.value.__cause__ is raised
    assert len(sandbox.requests) == late


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_a_source_that_is_interrupted(sandbox: Sandbox, raised: BaseException) -> None:
    with sourced(sandbox, Source(raised)) as client, pytest.raises(type(raised)) as caught:
        client.insert_bill(bill())
    assert caught.value is raised
    assert isinstance(raised.__context__, nontax.NotSentError)
    assert not sandbox.requests


@pytest.mark.parametrize("late", [False, True], ids=["first", "after-a-refusal"])
@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (None, "not a str"),
        (b"token", "not a str"),
        (5, "not a str"),
        ("", "empty"),
        ("token\n", "line break"),
        (" token", "blank"),
        ("to ken", "blank"),
        ("token\0", "characters"),
        ("令牌", "characters"),
        ("tok\udc80en", "characters"),
        ("token\x7f", "characters"),
    ],
)
def test_a_source_that_returns_no_token(
    sandbox: Sandbox, late: bool, token: object, problem: str
) -> None:
    source = Source(*["token-1"] * late, token)
    sandbox.inject(faults.Errcode(40001))
    with sourced(sandbox, source) as client, pytest.raises(nontax.NontaxError) as caught:
        client.insert_bill(bill())
    error = caught.value
    if late:
        assert isinstance(error, nontax.AccessTokenError)
        assert error.outcome == "rejected"
        [message] = error.__notes__
    else:
        assert isinstance(error, nontax.InvalidRequestError)
        assert error.outcome == "not_sent"
        [(path, message)] = error.problems
        assert path == "access_token"
    assert problem in message
    assert len(sandbox.requests) == late
