"""The sandbox on the wire: HTTP, what a peer sees of each fault, and TLS."""

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sandboxes import (
    Peer,
    address_of,
    call,
    client_context,
    encode,
    head_of,
    make_bill,
    request_of,
    tls_sandbox,
)

from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates, make_certificates

# HTTP


def test_a_connection_is_kept_alive(sandbox: Sandbox, peer: Peer) -> None:
    for order_id in ("1", "2", "3"):
        peer.send(request_of(sandbox, order_id))
        assert b'"errcode":0' in peer.read_reply()[1]
    assert sandbox.connections == 1
    assert [request.connection for request in sandbox.requests] == [1, 1, 1]


def test_pipelined_requests_are_answered_in_order(sandbox: Sandbox, peer: Peer) -> None:
    peer.send(request_of(sandbox, "1") + request_of(sandbox, "2") + request_of(sandbox, "1"))
    answers = [json.loads(peer.read_reply()[1])["errcode"] for _ in range(3)]
    assert answers == [0, 0, 72056]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_may_come_byte_by_byte(sandbox: Sandbox, peer: Peer, chunked: bool) -> None:
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = request_of(sandbox)
    if chunked:
        body = encode(make_bill())
        head = head_of(sandbox, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        request = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for byte in request:
        peer.send(bytes([byte]))
    assert b'"errcode":0' in peer.read_reply()[1]


@pytest.mark.parametrize("ending", [b"0\r\n\r\n", b"0;last\r\nX-Trailer: 1\r\n\r\n"])
def test_a_body_may_come_in_chunks(sandbox: Sandbox, peer: Peer, ending: bytes) -> None:
    body = encode(make_bill())
    head = head_of(sandbox, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    peer.send(head + chunks + ending)
    assert b'"errcode":0' in peer.read_reply()[1]
    assert sandbox.requests[0].body == body


def test_expect_100_continue(sandbox: Sandbox, peer: Peer) -> None:
    body = encode(make_bill())
    peer.send(head_of(sandbox, len(body), "Expect: 100-continue"))
    assert peer.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(body)
    assert b'"errcode":0' in peer.read_reply()[1]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_is_closed_on_request(sandbox: Sandbox, peer: Peer, version: str) -> None:
    extra = ["Connection: close"] if version == "1.1" else []
    request = request_of(sandbox, "A1", *extra)
    peer.send(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1))
    reply = peer.read_to_end()
    assert b"\r\nConnection: close\r\n" in reply
    assert b'"errcode":0' in reply


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/2\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000,
    ],
    ids=lambda data: repr(data[:60]),
)
def test_what_is_not_http_gets_400(sandbox: Sandbox, peer: Peer, data: bytes) -> None:
    peer.send(data)
    reply = peer.read_to_end()
    assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert reply.endswith(b"\r\n\r\n")
    [request] = sandbox.requests
    assert (request.errcode, request.body_complete) == (None, False)


def test_a_body_of_10_mb(sandbox: Sandbox) -> None:
    title = "票" * (10_000_000 // 3)
    assert call(sandbox, make_bill(title=title))["errcode"] == 0
    fields = sandbox.bills["A1"].json["card_ext"]["user_card"]["invoice_user_data"]
    assert fields["title"] == title


def test_64_connections_at_once(sandbox: Sandbox) -> None:
    together = threading.Barrier(64)

    def insert(lane: int) -> list[int]:
        with Peer(sandbox) as peer:
            together.wait()
            answers = []
            for order_id in (f"own {lane}", "shared"):
                peer.send(request_of(sandbox, order_id))
                answers.append(json.loads(peer.read_reply()[1])["errcode"])
            return answers

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(insert, range(64)))
    assert [own for own, _ in answers] == [0] * 64
    assert sorted(shared for _, shared in answers) == [0] + [72056] * 63
    assert len(sandbox.bills) == 65
    assert sandbox.connections == 64
    assert [request.number for request in sandbox.requests] == list(range(1, 129))


def test_listening_on_ipv6() -> None:
    with Sandbox(host="::1") as sandbox:
        assert sandbox.base_url.startswith("http://[::1]:")
        assert call(sandbox)["errcode"] == 0


# Faults


def test_faults_come_in_order_of_arrival(sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(1), times=2, skip=1)
    sandbox.inject(faults.Errcode(2))
    sandbox.inject(faults.Errcode(3), skip=1)
    assert sandbox.faults_left == 4
    assert [call(sandbox)["errcode"] for _ in range(7)] == [0, 1, 1, 2, 72056, 3, 72056]
    assert sandbox.faults_left == 0
    codes = [getattr(request.fault, "code", None) for request in sandbox.requests]
    assert codes == [None, 1, 1, 2, None, 3, None]


def test_faults_are_shared_out_among_threads(sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(7), times=10, skip=10)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: call(sandbox)["errcode"], range(40)))
    assert answers.count(7) == 10
    assert [request.fault is not None for request in sandbox.requests] == (
        [False] * 10 + [True] * 10 + [False] * 20
    )


def test_behave_forgets_the_faults(sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(45011), times=5)
    assert call(sandbox)["errcode"] == 45011
    sandbox.behave()
    assert call(sandbox)["errcode"] == 0


@pytest.mark.parametrize(("times", "skip"), [(0, 0), (1, -1)])
def test_times_and_skip_are_checked(sandbox: Sandbox, times: int, skip: int) -> None:
    with pytest.raises(ValueError, match="times"):
        sandbox.inject(faults.Errcode(1), times, skip)


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.Delay(-1),
        lambda: faults.Close("later"),  # type: ignore[arg-type]
        lambda: faults.Close("head", taken=True),
        lambda: faults.Reply(taken=False),
        lambda: faults.Reply(framing="none"),  # type: ignore[arg-type]
        lambda: faults.Reply(framing="chunked", length_delta=1),
        lambda: faults.Reply(framing="endless", body=b""),
        lambda: faults.Reply(piece=-1),
        lambda: faults.Reply(cut_after=-1),
    ],
)
def test_impossible_faults_are_refused(make: Callable[[], faults.Fault]) -> None:
    with pytest.raises(ValueError, match=r"must|needs|only|cannot"):
        make()


@pytest.mark.parametrize(
    ("fault", "errmsg"),
    [
        (faults.Errcode(40001), r"invalid credential, .* not latest rid: [0-9a-f-]{26}"),
        (faults.Errcode(45011), r"refused by the sandbox rid: [0-9a-f-]{26}"),
        (faults.Errcode(-1, "系统繁忙, hint: [x]"), r"系统繁忙, hint: \[x\]"),
    ],
)
def test_errcode(sandbox: Sandbox, fault: faults.Errcode, errmsg: str) -> None:
    sandbox.inject(fault)
    reply = call(sandbox)
    assert reply["errcode"] == fault.code
    assert re.fullmatch(errmsg, reply["errmsg"])
    assert not sandbox.bills
    [request] = sandbox.requests
    assert (request.errcode, request.fault, request.order_id) == (fault.code, fault, "A1")


def test_errcode_with_the_bill_taken(sandbox: Sandbox) -> None:
    sandbox.inject(faults.Errcode(-1, taken=True))
    assert call(sandbox)["errcode"] == -1
    assert list(sandbox.bills) == ["A1"]


def test_delay(sandbox: Sandbox) -> None:
    sandbox.inject(faults.Delay(0.01))
    assert call(sandbox)["errcode"] == 0
    assert sandbox.requests[0].fault == faults.Delay(0.01)


def test_stop_cuts_a_delay_short(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Delay(3600))
    peer.send(request_of(sandbox))
    [request] = sandbox.wait_for_requests(1)
    sandbox.stop()
    assert peer.read_to_end() == b""
    assert request.errcode is None


@pytest.mark.parametrize("taken", [False, True])
def test_never_answer_until_the_peer_leaves(sandbox: Sandbox, peer: Peer, taken: bool) -> None:
    sandbox.inject(faults.NeverAnswer(taken))
    peer.send(request_of(sandbox))
    sandbox.wait_for_requests(1)
    peer.socket.close()
    [request] = sandbox.wait_for_requests(1, finished=True)
    assert (request.body_complete, request.errcode) == (True, None)
    assert len(sandbox.bills) == taken


def test_never_answer_until_the_sandbox_stops(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.NeverAnswer())
    peer.send(request_of(sandbox))
    sandbox.wait_for_requests(1)
    sandbox.stop()
    assert peer.read_to_end() == b""


@pytest.mark.parametrize("first", ["new", "kept alive"])
def test_close_before_anything_is_read(sandbox: Sandbox, peer: Peer, first: str) -> None:
    if first == "kept alive":
        peer.send(request_of(sandbox, "0"))
        peer.read_reply()
    before = len(sandbox.requests)
    # Also when the connection is already waiting for its next request.
    sandbox.inject(faults.Close("nothing"))
    peer.send(request_of(sandbox))
    assert peer.is_reset()
    assert sandbox.faults_left == 0
    assert len(sandbox.requests) == before
    assert call(sandbox)["errcode"] == 0


def test_close_before_reading_waits_for_its_turn(sandbox: Sandbox) -> None:
    sandbox.inject(faults.Close("nothing"), skip=1)
    with Peer(sandbox) as peer:
        peer.send(request_of(sandbox, "1"))
        peer.read_reply()
        peer.send(request_of(sandbox, "2"))
        assert peer.is_reset()
    assert list(sandbox.bills) == ["1"]


def test_a_peer_that_leaves_takes_no_fault(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Close("nothing"))
    peer.socket.shutdown(socket.SHUT_WR)
    assert peer.read_to_end() == b""
    assert sandbox.faults_left == 1


def test_close_after_the_head(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Close("head"))
    peer.send(head_of(sandbox, 10_000_000, "Expect: 100-continue"))
    assert peer.read_to_end() == b""
    [request] = sandbox.requests
    assert (request.body, request.body_complete) == (b"", False)
    # An orderly end, so what is still being sent does not hurt.
    peer.send(b"x" * 10_000_000)
    peer.socket.shutdown(socket.SHUT_WR)
    sandbox.wait_for_requests(1, finished=True)


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("reset", [False, True])
def test_close_after_the_body(sandbox: Sandbox, peer: Peer, taken: bool, reset: bool) -> None:
    sandbox.inject(faults.Close("body", taken=taken, reset=reset))
    peer.send(request_of(sandbox))
    if reset:
        assert peer.is_reset()
    else:
        assert peer.read_to_end() == b""
    [request] = sandbox.wait_for_requests(1, finished=True)
    assert (request.body_complete, request.errcode, request.order_id) == (True, None, "A1")
    assert len(sandbox.bills) == taken
    assert call(sandbox)["errcode"] == (72056 if taken else 0)


def test_reset_after_the_head(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Close("head", reset=True))
    peer.send(head_of(sandbox, 10))
    assert peer.is_reset()


@pytest.mark.parametrize("cut_after", [0, 1, 40, 130])
def test_a_reply_that_is_cut(sandbox: Sandbox, peer: Peer, cut_after: int) -> None:
    sandbox.inject(faults.Reply(cut_after=cut_after))
    peer.send(request_of(sandbox))
    reply = peer.read_to_end()
    assert len(reply) == cut_after
    assert b"HTTP/1.1 200 OK\r\nContent-Type: application/json".startswith(reply[:40])
    [request] = sandbox.wait_for_requests(1, finished=True)
    assert request.errcode is None
    assert list(sandbox.bills) == ["A1"]


@pytest.mark.parametrize("delta", [7, -7])
def test_a_wrong_content_length(sandbox: Sandbox, peer: Peer, delta: int) -> None:
    sandbox.inject(faults.Reply(length_delta=delta))
    peer.send(request_of(sandbox))
    head, body = peer.read_to_end().split(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % (len(body) + delta) in head
    assert json.loads(body)["errcode"] == 0
    assert sandbox.requests[0].errcode == 0


@pytest.mark.parametrize("piece", [0, 1, 10])
def test_a_reply_in_chunks(sandbox: Sandbox, piece: int) -> None:
    sandbox.inject(faults.Reply(framing="chunked", piece=piece))
    connection = http.client.HTTPConnection(*address_of(sandbox))
    with contextlib.closing(connection):
        for errcode in (0, 72056):
            query = f"?access_token={sandbox.access_token}"
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"/nontax/insertbill{query}", encode(make_bill()), headers)
            reply = connection.getresponse()
            assert (reply.headers["Transfer-Encoding"] == "chunked") == (errcode == 0)
            assert json.loads(reply.read())["errcode"] == errcode
    assert sandbox.connections == 1


def test_a_reply_that_ends_with_the_connection(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Reply(framing="close"))
    peer.send(request_of(sandbox))
    head, body = peer.read_to_end().split(b"\r\n\r\n")
    assert b"Content-Length" not in head
    assert json.loads(body)["errcode"] == 0


def test_a_slow_reply_is_whole_in_the_end(sandbox: Sandbox) -> None:
    sandbox.inject(faults.Reply(piece=50, gap=0.001))
    assert call(sandbox)["errcode"] == 0


def test_a_slow_reply_comes_in_pieces(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Reply(piece=20, gap=3600))
    peer.send(request_of(sandbox))
    assert peer.read(20) == b"HTTP/1.1 200 OK\r\nCon"
    sandbox.stop()
    assert peer.read_to_end() == b""
    assert sandbox.requests[0].errcode is None


def test_an_endless_reply(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Reply(framing="endless", body=b" " * 1000))
    peer.send(request_of(sandbox))
    assert b"Transfer-Encoding: chunked" in peer.read_until(b"\r\n\r\n")
    chunk = b"3e8\r\n" + b" " * 1000 + b"\r\n"
    assert peer.read(2000 * len(chunk)) == 2000 * chunk
    peer.socket.close()
    [request] = sandbox.wait_for_requests(1, finished=True)
    assert request.errcode is None


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize(
    "body", [b"", b"<html>502</html>", "系统".encode("gbk"), b"\xef\xbb\xbf{}"]
)
def test_any_reply(sandbox: Sandbox, peer: Peer, body: bytes, taken: bool) -> None:
    headers = {"Content-Type": "text/html", "X-Extra": "1"}
    sandbox.inject(faults.Reply(502, headers, body, taken=taken))
    headers.clear()
    peer.send(request_of(sandbox))
    head, received = peer.read_reply()
    assert head == (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nX-Extra: 1\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    assert received == body
    assert len(sandbox.bills) == taken
    peer.send(request_of(sandbox, "A2"))
    assert b'"errcode":0' in peer.read_reply()[1]
    assert [request.errcode for request in sandbox.requests] == [None, 0]


def test_a_redirect(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Reply(307, {"Location": "http://127.0.0.1:1/"}, b"", taken=False))
    peer.send(request_of(sandbox))
    assert b"307 Temporary Redirect\r\n" in (head := peer.read_reply()[0])
    assert b"\r\nLocation: http://127.0.0.1:1/\r\n" in head


def test_a_status_nobody_has_heard_of(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.inject(faults.Reply(799, body=b""))
    peer.send(request_of(sandbox))
    assert peer.read_reply()[0].startswith(b"HTTP/1.1 799 Unknown\r\n")


def test_idle_connections_can_be_closed(sandbox: Sandbox) -> None:
    sandbox.inject(faults.NeverAnswer(), skip=1)
    with Peer(sandbox) as idle, Peer(sandbox) as busy:
        idle.send(request_of(sandbox, "1"))
        idle.read_reply()
        busy.send(request_of(sandbox, "2"))
        sandbox.wait_for_requests(2)
        assert sandbox.close_idle_connections() == 1
        assert idle.read_to_end() == b""
        assert sandbox.close_idle_connections() == 0
        sandbox.stop()
        assert busy.read_to_end() == b""
    assert list(sandbox.bills) == ["1"]


# TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls(certificates: Certificates, version: ssl.TLSVersion) -> None:
    context = client_context(certificates)
    context.minimum_version = context.maximum_version = version
    with tls_sandbox(certificates) as sandbox:
        assert sandbox.base_url.startswith("https://127.0.0.1:")
        with Peer(sandbox, context) as peer:
            peer.send(request_of(sandbox, "1"))
            assert b'"errcode":0' in peer.read_reply()[1]
            peer.send(request_of(sandbox, "2"))
            assert b'"errcode":0' in peer.read_reply()[1]
        # A goodbye is no request.
        sandbox.inject(faults.Close("nothing"))
        with Peer(sandbox, context) as peer:
            assert isinstance(peer.socket, ssl.SSLSocket)
            # Python's unwrap() waits for an answer: the sandbox just ends the connection.
            with contextlib.suppress(OSError):
                peer.socket.unwrap()
        assert sandbox.faults_left == 1
        with Peer(sandbox, context) as peer:
            peer.send(request_of(sandbox, "3"))
            assert peer.is_reset()
        assert sandbox.faults_left == 0
        assert list(sandbox.bills) == ["1", "2"]


def test_an_orderly_end_over_tls_is_announced(certificates: Certificates) -> None:
    with tls_sandbox(certificates) as sandbox:
        with Peer(sandbox, client_context(certificates)) as peer:
            peer.send(request_of(sandbox, "1", "Connection: close"))
            assert b'"errcode":0' in peer.read_to_end()
        sandbox.inject(faults.Close("body"))
        with Peer(sandbox, client_context(certificates)) as peer:
            peer.send(request_of(sandbox, "2"))
            with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
                peer.read_to_end()


def test_old_tls_is_refused(certificates: Certificates) -> None:
    context = client_context(certificates)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with tls_sandbox(certificates) as sandbox:
        with pytest.raises(ssl.SSLError):
            Peer(sandbox, context)
        assert not sandbox.requests


def test_plain_http_to_a_tls_sandbox_is_no_request(certificates: Certificates) -> None:
    with tls_sandbox(certificates) as sandbox, Peer(sandbox) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/1.1" not in peer.read_to_end()
        assert not sandbox.requests


def test_a_key_needs_a_certificate(certificates: Certificates) -> None:
    with pytest.raises(ValueError, match="certfile"):
        Sandbox(keyfile=certificates.key_file)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"expired": True}, "certificate has expired"),
        ({"names": ["example.org"], "addresses": []}, "Hostname mismatch"),
        ({"names": ["localhost"], "addresses": []}, None),
    ],
)
def test_certificates_can_be_wrong(
    tmp_path: Path, options: dict[str, Any], reason: str | None
) -> None:
    made = make_certificates(tmp_path, **options)
    with tls_sandbox(made) as sandbox:
        if reason is None:
            Peer(sandbox, client_context(made)).socket.close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                Peer(sandbox, client_context(made))


def test_certificates_of_two_calls_do_not_trust_each_other(
    certificates: Certificates, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path)
    with tls_sandbox(certificates) as sandbox:
        with pytest.raises(ssl.SSLCertVerificationError):
            Peer(sandbox, client_context(other))
        # An untrusting peer does not stop the others.
        Peer(sandbox, client_context(certificates)).socket.close()


def test_certificates_leave_three_files(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, addresses=["127.0.0.1", "::1"])
    assert sorted(tmp_path.iterdir()) == sorted([made.ca_file, made.cert_file, made.key_file])
    assert made.key_file.stat().st_mode & 0o077 == 0


def test_certificates_need_a_subject(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name or an address"):
        make_certificates(tmp_path, names=(), addresses=())
    with pytest.raises(RuntimeError, match="openssl x509 failed"):
        make_certificates(tmp_path, addresses=["no address"])
