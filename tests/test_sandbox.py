"""The sandbox: which bills, tokens and requests it accepts and refuses, and what it records."""

import ast
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from sandboxes import (
    BILL_FIELDS,
    PACKAGE,
    Peer,
    call,
    encode,
    environment,
    head_of,
    make_bill,
    request_of,
)

from nontax.sandbox import Sandbox, faults

# The package


def test_it_imports_the_standard_library_and_itself_only() -> None:
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                # Level 1 is this package itself.
                assert node.level == 1 or node.module is not None
                if path.name == "server.py" and node.module == "nontax":
                    assert [name.name for name in node.names] == ["Client"]  # for client() alone
                    continue
                assert node.level == 1 or str(node.module).split(".")[0] in sys.stdlib_module_names
            elif isinstance(node, ast.Import):
                for name in node.names:
                    assert name.name.split(".")[0] in sys.stdlib_module_names


def test_importing_nontax_leaves_it_alone() -> None:
    code = "import nontax, sys; sys.exit('nontax.sandbox' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], env=environment(), check=True)


# A bill in order


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("billing_time", [1700000000, "1700000000"])
def test_a_bill_is_inserted(sandbox: Sandbox, flat: bool, billing_time: int | str) -> None:
    bill = make_bill(flat=flat, billing_time=billing_time)
    reply = call(sandbox, bill)
    assert list(reply) == ["errcode", "errmsg", "code", "openid"]
    assert (reply["errcode"], reply["errmsg"]) == (0, "ok")
    assert re.fullmatch(r"\d{12}", reply["code"])
    assert re.fullmatch(r"o[\w-]{27}", reply["openid"])
    [(order_id, taken)] = sandbox.bills.items()
    assert (order_id, taken.order_id, taken.request) == ("A1", "A1", 1)
    assert (taken.code, taken.openid, taken.json) == (reply["code"], reply["openid"], bill)


def test_the_reply_is_compact_http(sandbox: Sandbox, peer: Peer) -> None:
    peer.send(request_of(sandbox))
    head, body = peer.read_reply()
    assert head == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json; encoding=utf-8\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    assert re.fullmatch(
        rb'\{"errcode":0,"errmsg":"ok","code":"\d{12}","openid":"o[\w-]{27}"\}', body
    )


def test_bills_are_told_apart(sandbox: Sandbox) -> None:
    replies = [call(sandbox, make_bill(str(n), billing_code=f"{n:010}")) for n in range(3)]
    assert len({reply["code"] for reply in replies}) == 3
    assert len({reply["openid"] for reply in replies}) == 3
    assert list(sandbox.bills) == ["0", "1", "2"]


@pytest.mark.parametrize("fee", [0, -5, 2**53 + 1, 10**40])
def test_integers_stay_exact(sandbox: Sandbox, fee: int) -> None:
    assert call(sandbox, make_bill(fee=fee))["errcode"] == 0
    fields = sandbox.bills["A1"].json["card_ext"]["user_card"]["invoice_user_data"]
    assert fields["fee"] == fee
    assert type(fields["fee"]) is int


def test_control_characters_may_be_escaped(sandbox: Sandbox) -> None:
    body = encode(make_bill(title="a\nb\\u4e2d")).replace(b"\\n", rb"\u000a\u007f\u0085")
    assert call(sandbox, body)["errcode"] == 0
    fields = sandbox.bills["A1"].json["card_ext"]["user_card"]["invoice_user_data"]
    assert fields["title"] == "a\n\x7f\x85b\\u4e2d"


# Orders


def test_one_order_is_inserted_once(sandbox: Sandbox) -> None:
    assert call(sandbox)["errcode"] == 0
    first = sandbox.bills["A1"]
    assert call(sandbox)["errcode"] == 72056
    assert sandbox.bills["A1"] == first
    assert [request.errcode for request in sandbox.requests] == [0, 72056]


def test_one_billing_pair_is_inserted_once(sandbox: Sandbox) -> None:
    assert call(sandbox, make_bill("A1"))["errcode"] == 0
    assert call(sandbox, make_bill("A2"))["errcode"] == 72042
    assert call(sandbox, make_bill("A2", billing_no="11010124"))["errcode"] == 0
    assert call(sandbox, make_bill("A3", billing_code="0000000002"))["errcode"] == 0


def test_a_rejected_order_is_dead(sandbox: Sandbox) -> None:
    sandbox.reject("A1")
    assert call(sandbox)["errcode"] == 72035
    with pytest.raises(ValueError, match="rejected"):
        sandbox.authorise("A1")
    with pytest.raises(ValueError, match="rejected"):
        sandbox.withdraw("A1")
    sandbox.reject("A1")
    assert call(sandbox)["errcode"] == 72035
    assert not sandbox.bills


def test_a_withdrawn_order_can_be_authorised(sandbox: Sandbox) -> None:
    sandbox.withdraw("A1")
    assert call(sandbox)["errcode"] == 72038
    sandbox.authorise("A1")
    assert call(sandbox)["errcode"] == 0
    sandbox.withdraw("A1")
    assert call(sandbox)["errcode"] == 72056


def test_strict_orders_must_be_authorised() -> None:
    with Sandbox(orders="strict") as sandbox:
        assert call(sandbox)["errcode"] == 72038
        sandbox.authorise("A1")
        assert call(sandbox)["errcode"] == 0


def test_orders_has_two_values() -> None:
    with pytest.raises(ValueError, match="orders"):
        Sandbox(orders="authorized")  # type: ignore[arg-type]


# Access tokens


def test_a_renewed_token_supersedes_the_one_before(sandbox: Sandbox) -> None:
    old = sandbox.access_token
    sandbox.renew_access_token()
    assert sandbox.access_token != old
    assert call(sandbox, query=f"?access_token={old}")["errcode"] == 40001
    assert call(sandbox)["errcode"] == 0


def test_an_expired_token_stays_expired(sandbox: Sandbox) -> None:
    old = sandbox.access_token
    sandbox.expire_access_token()
    assert sandbox.access_token == old
    assert call(sandbox)["errcode"] == 42001
    sandbox.renew_access_token()
    assert call(sandbox, query=f"?access_token={old}")["errcode"] == 42001
    assert call(sandbox)["errcode"] == 0


@pytest.mark.parametrize(
    ("query", "errcode", "shown"),
    [
        ("", 41001, ""),
        ("?access_token=", 41001, "access_token=***"),
        ("?token=foreign", 41001, "token=foreign"),
        ("?access_token=foreign", 40014, "access_token=***"),
        ("?access_token={token}x", 40014, "access_token=***"),
        ("?access_token={token}&access_token=", 40014, "access_token=***&access_token=***"),
        ("?access_token={token}&lang=zh", 0, "access_token=***&lang=zh"),
        ("?access%5Ftoken={escaped}", 0, "access%5Ftoken=***"),
        ("?x=?access_token={token}", 41001, "x=?access_token=***"),
    ],
)
def test_the_token_in_the_query(sandbox: Sandbox, query: str, errcode: int, shown: str) -> None:
    token = sandbox.access_token
    escaped = "".join(f"%{byte:02x}" for byte in token.encode())
    assert call(sandbox, query=query.format(token=token, escaped=escaped))["errcode"] == errcode
    assert sandbox.requests[0].query == shown


# Refusals before the bill is looked at


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"method": "GET"}, 43002),
        ({"method": "PUT"}, 43002),
        ({"path": "/nontax/insertbil"}, 40066),
        ({"path": "/nontax/insertbill/"}, 40066),
        ({"path": "/"}, 40066),
        ({"headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 40101),
        ({"headers": {"Content-Type": "text/plain"}}, 47001),
        ({"headers": {"Content-Type": "application/json; charset=gbk"}}, 47001),
        ({"headers": {}}, 47001),
        ({"headers": {"Content-Type": "application/json; charset=UTF-8"}}, 0),
        ({"headers": {"Content-Type": "application/json", "Content-Encoding": "gzip"}}, 40221),
        ({"body": b""}, 44002),
        ({"body": b" "}, 47001),
        ({"body": b"[]"}, 47001),
        ({"body": b"null"}, 47001),
        ({"body": encode(make_bill())[:-1]}, 47001),
        ({"body": encode(make_bill()) + b"x"}, 47001),
        ({"body": b"\xef\xbb\xbf" + encode(make_bill())}, 47001),
        ({"body": json.dumps(make_bill(), ensure_ascii=False).encode("gbk")}, 47001),
        ({"body": encode(make_bill(title="a\nb")).replace(b"\\n", b"\n")}, 47001),
        ({"body": encode(make_bill(fee=1)).replace(b'"fee": 1', b'"fee": NaN')}, 47001),
        ({"body": encode(make_bill(fee=1)).replace(b'"fee": 1', b'"fee": 1, "fee": 1')}, 47001),
        ({"body": b"[" * 100_000}, 47001),
        ({"body": b'{"order_id": ' + b"9" * 5000 + b"}"}, 47001),
        ({"body": json.dumps(make_bill()).encode()}, 47002),
        ({"body": encode(make_bill(title="a-b")).replace(b"a-b", rb"a\u003cb")}, 47002),
        ({"body": encode(make_bill(title="a-b")).replace(b"a-b", rb"a\\\u4e2db")}, 47002),
        ({"body": encode(make_bill(title="a-b")).replace(b"a-b", rb"a\ud800b")}, 47002),
    ],
    ids=str,
)
def test_a_request_is_refused(sandbox: Sandbox, changes: dict[str, Any], errcode: int) -> None:
    before = int(time.time())
    reply = call(sandbox, **changes)
    assert reply["errcode"] == errcode
    assert len(sandbox.bills) == (errcode == 0)
    assert sandbox.requests[0].errcode == errcode
    if errcode:
        assert list(reply) == ["errcode", "errmsg"]
        rid = re.search(r" rid: ([0-9a-f]{8})-[0-9a-f]{8}-[0-9a-f]{8}$", reply["errmsg"])
        assert rid is not None
        assert before <= int(rid[1], 16) <= time.time()


def test_each_refusal_has_a_rid_of_its_own(sandbox: Sandbox) -> None:
    texts = {call(sandbox, b"{")["errmsg"] for _ in range(5)}
    assert len(texts) == 5
    assert {text.split(" rid: ")[0] for text in texts} == {"data format error"}


# Refusals of bills


def without(path: str) -> dict[str, Any]:
    return changed(path, lambda container, name: container.pop(name))


def with_value(path: str, value: Any) -> dict[str, Any]:
    return changed(path, lambda container, name: container.update({name: value}))


def changed(path: str, change: Callable[[dict[str, Any], str], object]) -> dict[str, Any]:
    bill: dict[str, Any] = json.loads(encode(make_bill()))
    *parents, name = path.split(".")
    container = bill
    for parent in parents:
        container = container[parent]
    change(container, name)
    return bill


DATA = "card_ext.user_card.invoice_user_data"


@pytest.mark.parametrize(
    ("bill", "errcode", "text"),
    [
        ({}, 72031, "order_id is empty"),
        ({"info": make_bill()}, 72031, "order_id is empty"),
        (without("order_id"), 72031, "order_id is empty"),
        (without("card_id"), 41012, "missing card id: card_id"),
        (without("appid"), 40101, "missing parameter: appid"),
        (without("card_ext"), 41011, ": card_ext"),
        (without("card_ext.user_card"), 41011, ": card_ext.user_card"),
        (without(DATA), 41011, ": card_ext.user_card.billing_code"),
        *[(without(f"{DATA}.{name}"), 41011, f": {DATA}.{name}") for name in BILL_FIELDS],
        *[
            (with_value(path, value), code, text)
            for path in ("order_id", "card_id", "appid", f"{DATA}.title", f"{DATA}.billing_no")
            for value, code, text in [
                ("", 72031, f"{path.rsplit('.', 1)[-1]} is empty"),
                (1, 72031, f"{path.rsplit('.', 1)[-1]} must be a string"),
                (None, 72031, f"{path.rsplit('.', 1)[-1]} must be a string"),
            ]
        ],
        (with_value(f"{DATA}.billing_code", ""), 72031, "billing_code is empty"),
        (with_value(f"{DATA}.s_pdf_media_id", 75195574948725301), 72031, "s_pdf_media_id must"),
        *[
            (with_value(f"{DATA}.fee", fee), 72031, "fee must be an integer")
            for fee in (1.0, 1e2, 12.5, "123", True, None)
        ],
        *[
            (with_value(f"{DATA}.billing_time", value), 72031, "billing_time must be 10 digits")
            for value in (170000000, "17000000000", 1.7e9, "", "2023-11-14", True, None, "١" * 10)
        ],
        (with_value("card_ext", []), 40080, "card_ext must be an object"),
        (with_value("card_ext.user_card", "x"), 40080, "user_card must be an object"),
        (with_value(DATA, None), 40080, "invoice_user_data must be an object"),
        (with_value("card_ext.user_card.fee", 123), 40080, "beside invoice_user_data"),
        (with_value("s_pappid", "x"), 40097, "unknown field s_pappid"),
        (with_value("card_ext.nonce_str", "x"), 40097, "unknown field card_ext.nonce_str"),
        (with_value("card_ext.user_card.x", 1), 40097, "unknown field card_ext.user_card.x"),
        (with_value(f"{DATA}.fee ", 1), 40097, f"unknown field {DATA}.fee "),
    ],
    ids=str,
)
def test_a_bill_is_refused(sandbox: Sandbox, bill: Any, errcode: int, text: str) -> None:
    reply = call(sandbox, bill)
    assert reply["errcode"] == errcode
    assert text + " rid: " in reply["errmsg"] or f"{text} " in reply["errmsg"]
    assert not sandbox.bills


def test_a_fee_with_an_exponent_is_no_integer(sandbox: Sandbox) -> None:
    body = encode(make_bill(fee=7)).replace(b'"fee": 7', b'"fee": 1E2')
    assert call(sandbox, body)["errcode"] == 72031


# Records


def test_a_request_is_recorded(sandbox: Sandbox) -> None:
    call(
        sandbox,
        headers={"Content-Type": "application/json", "X-One": "1"},
        query="?a=b&access_token=T",
    )
    call(sandbox)
    first, second = sandbox.wait_for_requests(2, finished=True)
    assert (first.number, second.number) == (1, 2)
    assert (first.connection, second.connection, sandbox.connections) == (1, 2, 2)
    assert (first.method, first.path) == ("POST", "/nontax/insertbill")
    assert first.query == "a=b&access_token=***"
    assert first.access_token == "T"
    assert first.headers["x-one"] == "1"
    assert first.body == encode(make_bill())
    assert first.body_complete
    assert first.json == make_bill()
    assert first.order_id == "A1"
    assert (first.errcode, second.errcode) == (40014, 0)
    assert first.fault is None


def test_no_repr_shows_the_token(sandbox: Sandbox) -> None:
    token = sandbox.access_token
    call(
        sandbox, headers={"Content-Type": "application/json", "Referer": f"/?access_token={token}"}
    )
    [request] = sandbox.requests
    assert repr(request) == "<Request 1 on connection 1: 0>"
    assert token not in repr(sandbox)
    assert token not in repr(sandbox.bills)


def test_a_request_is_recorded_before_its_body_comes(sandbox: Sandbox, peer: Peer) -> None:
    peer.send(head_of(sandbox, 10) + b"12345")
    [request] = sandbox.wait_for_requests(1)
    assert not request.finished
    assert request.json is None
    peer.socket.close()
    sandbox.wait_for_requests(1, finished=True)
    assert (request.body, request.body_complete, request.errcode) == (b"12345", False, None)


def test_waiting_in_vain_raises(sandbox: Sandbox) -> None:
    call(sandbox)
    with pytest.raises(TimeoutError, match="1 of 2 requests"):
        sandbox.wait_for_requests(2, 0)


def test_a_body_that_is_not_json_has_no_json(sandbox: Sandbox) -> None:
    call(sandbox, b"{")
    [request] = sandbox.requests
    assert (request.body, request.json, request.order_id) == (b"{", None, None)


def test_log_lines() -> None:
    lines: list[str] = []
    text = io.StringIO()
    with Sandbox(log=lines.append) as sandbox, Sandbox(log=text) as other:
        token = sandbox.access_token
        escaped = "".join(f"%{byte:02x}" for byte in token.encode())
        query = f"?access_token={token}"
        sandbox.inject(faults.Errcode(45011))
        calls: list[dict[str, Any]] = [
            {},
            {},
            {"body": make_bill("a\n中")},
            {"body": make_bill(token)},
            {"path": f"/x{query}/"},
            {"path": f"/x/{token}/"},
            {"path": f"/x/{escaped}/", "query": ""},
            {"path": "/x", "query": "&access_token=foreign"},
            {"path": "/x", "query": "&access%5Ftoken=foreign"},
        ]
        for number, arguments in enumerate(calls, 1):
            call(sandbox, **arguments)
            sandbox.wait_for_requests(number, finished=True)
        with Peer(sandbox) as peer:
            peer.send(f"POST {query}\r\n\r\n".encode())
            peer.read_to_end()
        sandbox.wait_for_requests(len(calls) + 1, finished=True)
        call(other)
        other.wait_for_requests(1, finished=True)
    prefix = r"\d\d:\d\d:\d\d "
    insert = "POST /nontax/insertbill order_id="
    wanted = [
        f"{insert}'A1' fault=Errcode errcode=45011",
        f"{insert}'A1' errcode=0",
        f"{insert}'a\\n\\u4e2d' errcode=72042",
        f"{insert}'***' errcode=72042",
        "POST '/x' order_id='A1' errcode=40066",
        "POST '/x/***/' order_id='A1' errcode=40066",
        "POST '/x/***/' order_id='A1' errcode=40066",
        "POST '/x&access_token=***' order_id='A1' errcode=40066",
        "POST '/x&access_token=***' order_id='A1' errcode=40066",
        "not HTTP errcode=None",
    ]
    assert [re.sub(f"^{prefix}", "", line) for line in lines] == wanted
    assert re.fullmatch(f"{prefix}{insert}'A1' errcode=0\n", text.getvalue())
