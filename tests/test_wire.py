"""What goes over the wire and how often: requests, lost connections, timeouts, redirects."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import SHAPES, bill, reshape
from hypothesis import given
from hypothesis import strategies as st
from processes import Talk, run
from servers import INSERTED, RawServer, Wire, json_reply, server_context

import nontax
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates

# As it stands on the interface's page.
SAMPLE = """{
    "order_id": "1511169724",
    "card_id": "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw",
    "appid": "wxc0b84a53ed8e8d29",
    "card_ext": {
        "user_card": {
            "invoice_user_data": {
                "fee": 123,
                "title": "灌哥发票",
                "billing_time": "1511169724",
                "billing_no": "1511169724",
                "billing_code": "aabbccdd",
                "s_pdf_media_id": "s_pdf_media_id"
            }
        }
    }
}"""
VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))


def flat_sample() -> dict[str, Any]:
    sample: dict[str, Any] = json.loads(SAMPLE)
    fields: dict[str, Any] = sample.pop("card_ext")["user_card"]["invoice_user_data"]
    return sample | fields


def typed(value: Any) -> Any:
    """`value` with its types spelled out, so that 1, 1.0 and True differ, but not key order."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return type(value), value


def client_for(sandbox: Sandbox | RawServer, **settings: Any) -> nontax.Client:
    token = getattr(sandbox, "access_token", "token")
    return nontax.Client(access_token=token, base_url=sandbox.base_url, **settings)


# What is sent


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sample_goes_out_as_it_is(
    any_sandbox: Sandbox, any_client: nontax.Client, shape: str
) -> None:
    inserted = any_client.insert_bill(reshape(flat_sample(), shape))
    [request] = any_sandbox.requests
    sent_shape = "table" if shape == "table" else "sample"
    assert typed(request.json) == typed(reshape(flat_sample(), sent_shape))
    taken = any_sandbox.bills["1511169724"]
    assert (inserted.code, inserted.openid, inserted.extra) == (taken.code, taken.openid, {})


def test_the_samples_own_json(sandbox: Sandbox, client: nontax.Client) -> None:
    client.insert_bill(json.loads(SAMPLE))
    assert typed(sandbox.requests[0].json) == typed(json.loads(SAMPLE))


def test_the_request_byte_by_byte() -> None:
    requests = []

    def behave(wire: Wire) -> None:
        while True:
            requests.append(wire.read_request())
            wire.send(json_reply(INSERTED))

    with (
        RawServer(behave) as server,
        nontax.Client(access_token=VISIBLE_ASCII, base_url=server.base_url) as client,
    ):
        client.insert_bill(json.loads(SAMPLE))
        client.insert_bill(bill())
        assert server.accepted == 1
    head, body = requests[0]
    line, *headers = head.decode("ascii").split("\r\n")
    method, target, version = line.split(" ")
    assert (method, version) == ("POST", "HTTP/1.1")
    encoded = "".join(
        char if char.isalnum() or char in "-._~" else f"%{ord(char):02X}" for char in VISIBLE_ASCII
    )
    assert target == f"/nontax/insertbill?access_token={encoded}"
    assert dict(header.split(": ", 1) for header in headers) == {
        "Host": server.base_url.removeprefix("http://"),
        "User-Agent": f"nontax/{nontax.__version__}",
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    compact = json.dumps(json.loads(SAMPLE), ensure_ascii=False, separators=(",", ":"))
    assert body.decode("utf-8") == compact
    assert requests[1][0].split(b"Content-Length")[0] == head.split(b"Content-Length")[0]


def test_large_bodies_are_not_announced_with_expect(
    any_sandbox: Sandbox, any_client: nontax.Client
) -> None:
    title = "票" * 3_500_000
    any_client.insert_bill(bill(title=title))
    [request] = any_sandbox.requests
    assert "expect" not in request.headers
    assert "transfer-encoding" not in request.headers
    assert request.json["card_ext"]["user_card"]["invoice_user_data"]["title"] == title


def test_the_token_arrives_as_it_is(sandbox: Sandbox) -> None:
    with nontax.Client(access_token=VISIBLE_ASCII, base_url=sandbox.base_url) as client:
        with pytest.raises(nontax.AccessTokenError):
            client.insert_bill(bill())
        assert sandbox.requests[0].access_token == VISIBLE_ASCII
        assert sandbox.requests[0].query == "access_token=***"


def insert_one(talk: Talk) -> None:
    from bills import bill

    with talk.client() as client:
        talk.insert(client, bill())


def test_a_login_of_the_users_is_not_sent(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A login for the host would be for whatever else the user does there.
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password word\n")
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    [told] = run(insert_one, {"HOME": str(tmp_path)}, client=client)
    assert "code" in told
    [request] = sandbox.requests
    assert "authorization" not in request.headers


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_slashes_at_the_end_of_base_url(sandbox: Sandbox, end: str) -> None:
    base_url = sandbox.base_url + end
    with nontax.Client(access_token=sandbox.access_token, base_url=base_url) as client:
        client.insert_bill(bill())
    assert sandbox.requests[0].path == "/nontax/insertbill"


def test_a_path_in_base_url(sandbox: Sandbox) -> None:
    base_url = sandbox.base_url + "/gateway/wechat/"
    with (
        nontax.Client(access_token=sandbox.access_token, base_url=base_url) as client,
        pytest.raises(nontax.ParameterError),
    ):
        client.insert_bill(bill())
    assert sandbox.requests[0].path == "/gateway/wechat/nontax/insertbill"


@pytest.mark.parametrize(
    "title",
    [
        "灌哥发票",
        "北京市财政局（市本级）",
        "👩‍👩‍👧‍👦 \U0001f600\U0010ffff",
        "quotes \" and ' and ` and “”",
        "back\\slash \\u4e2d \\n \\\\ \\",
        "x" + "".join(map(chr, range(1, 0x21))) + "x",
        "x\x7f\x80\x85\x9f\xa0x",
        "line\u2028separator\u2029\ufeff\ufffe\uffff",
        "</script>&amp;%41+",
        "blanks  within",
    ],
)
def test_titles_survive(sandbox: Sandbox, client: nontax.Client, title: str) -> None:
    client.insert_bill(bill(title=title, billing_no=title))
    fields = sandbox.requests[0].json["card_ext"]["user_card"]["invoice_user_data"]
    assert fields["title"] == fields["billing_no"] == title


@pytest.fixture(scope="module")
def long_lived() -> Iterator[tuple[Sandbox, nontax.Client]]:
    """For tests that send a great many bills."""
    with Sandbox() as sandbox, client_for(sandbox) as client:
        yield sandbox, client


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


# Nothing may be lost within a text; at its ends blanks and invisible characters are refused.
@given(title=TEXT.map("票{}据".format))
def test_any_text_survives(long_lived: tuple[Sandbox, nontax.Client], title: str) -> None:
    sandbox, client = long_lived
    client.insert_bill(bill(title=title))
    request = sandbox.requests[-1]
    assert request.json["card_ext"]["user_card"]["invoice_user_data"]["title"] == title
    # Nothing but control characters may be escaped: WeChat refuses the rest with 47002.
    assert title.isprintable() <= (b"\\u" not in request.body.replace(b"\\\\", b""))
    assert all(char < " " or char in '"\\' or char in request.body.decode() for char in title)


# The same connection again


def test_a_connection_serves_many_bills(any_sandbox: Sandbox, any_client: nontax.Client) -> None:
    for _ in range(10):
        any_client.insert_bill(bill())
    assert any_sandbox.connections == 1
    assert len(any_sandbox.bills) == len(any_sandbox.requests) == 10


def test_a_connection_that_ended_while_idle_is_not_used(
    any_sandbox: Sandbox, any_client: nontax.Client
) -> None:
    for count in range(1, 6):
        any_client.insert_bill(bill())
        assert any_sandbox.connections == count
        assert any_sandbox.close_idle_connections() == 1
    assert len(any_sandbox.requests) == 5


def test_close_ends_idle_connections(any_sandbox: Sandbox, any_client: nontax.Client) -> None:
    any_client.insert_bill(bill())
    any_client.close()
    any_client.close()
    any_client.insert_bill(bill())
    assert any_sandbox.connections == 2
    with any_client:
        any_client.insert_bill(bill())
    assert any_sandbox.connections == 2
    any_client.insert_bill(bill())
    assert any_sandbox.connections == 3


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("when", ["with-the-first", "later"])
def test_a_reply_that_nobody_asked_for_answers_no_bill(
    certificates: Certificates, scheme: str, when: str
) -> None:
    """Whatever still arrives on a connection after a reply is not about the next bill."""

    def behave(wire: Wire) -> None:
        wire.read_request()
        if server.accepted > 1:
            wire.send(json_reply(INSERTED.replace(b"oA1", b"oA2")))
            return
        wire.send(json_reply(INSERTED) * (2 if when == "with-the-first" else 1))
        assert answered.wait(10)
        if when == "later":
            wire.send(json_reply(INSERTED))
        wire.settle()
        sent.set()
        wire.wait_for_end()

    sent, answered = threading.Event(), threading.Event()
    context = server_context(certificates) if scheme == "https" else None
    with (
        RawServer(behave, context) as server,
        client_for(server, ca_file=certificates.ca_file, timeout=5) as client,
    ):
        assert client.insert_bill(bill()).openid == "oA1"
        answered.set()
        assert sent.wait(10)
        assert client.insert_bill(bill()).openid == "oA2"


# Lost connections: the bill goes out once at most, and the client goes on

LOST: dict[str, faults.Close | faults.Reply] = {
    "before-reading": faults.Close("nothing"),
    "after-the-head": faults.Close("head"),
    "after-the-head-reset": faults.Close("head", reset=True),
    "after-the-body": faults.Close("body"),
    "after-the-body-reset": faults.Close("body", reset=True),
    "taken": faults.Close("body", taken=True),
    "taken-reset": faults.Close("body", taken=True, reset=True),
    "in-the-status-line": faults.Reply(cut_after=5),
    "in-the-headers": faults.Reply(cut_after=40),
    "in-the-body": faults.Reply(cut_after=120),
    "too-long-a-length": faults.Reply(length_delta=7),
    "too-short-a-length": faults.Reply(length_delta=-7),
    "in-a-chunk": faults.Reply(framing="chunked", piece=10, cut_after=150),
    "cut-where-the-end-is-the-end": faults.Reply(framing="close", cut_after=120),
}


def deliveries(sandbox: Sandbox, client: nontax.Client, order_id: str) -> int:
    """How often any part of a bill has arrived, now that nothing can come any more."""
    client.close()
    sandbox.stop()
    return sum(order_id.encode() in request.body for request in sandbox.requests)


def outcome_of(client: nontax.Client, given: dict[str, Any]) -> str:
    try:
        client.insert_bill(given)
    except (nontax.InDoubtError, nontax.NotSentError) as error:
        lost = error
    else:
        return "inserted"
    assert not lost.timed_out
    assert lost.reason
    return lost.outcome


@pytest.mark.parametrize("kept_alive", [False, True], ids=["new", "kept-alive"])
@pytest.mark.parametrize("name", LOST)
def test_a_lost_connection(
    any_sandbox: Sandbox, certificates: Certificates, name: str, kept_alive: bool
) -> None:
    fault = LOST[name]
    with client_for(any_sandbox, ca_file=certificates.ca_file, retries=0) as client:
        if kept_alive:
            client.insert_bill(bill("-before-"))
        any_sandbox.inject(fault)
        outcome = outcome_of(client, bill("-lost-"))
        client.insert_bill(bill("-after-"))
        arrived = deliveries(any_sandbox, client, "-lost-")
    taken = "-lost-" in any_sandbox.bills
    if isinstance(fault, faults.Close) and fault.after != "body":
        # The end may come while the body is still here. Then nothing of the bill was sent, and on
        # a connection that was used before libcurl begins once more.
        assert taken == (outcome == "inserted")
        assert taken <= arrived <= (outcome != "not_sent")
    else:
        assert outcome == "in_doubt"
        assert arrived == 1
        assert taken == getattr(fault, "taken", False) or isinstance(fault, faults.Reply)
    assert [*any_sandbox.bills][-1] == "-after-"


@pytest.mark.parametrize("name", LOST)
def test_a_lost_connection_with_retries(
    any_sandbox: Sandbox, any_client: nontax.Client, name: str
) -> None:
    """Repeats happen only when nothing of the body had left."""
    any_client.insert_bill(bill("-before-"))
    any_sandbox.inject(LOST[name], times=2)
    inserted = None
    with contextlib.suppress(nontax.InDoubtError):
        inserted = any_client.insert_bill(bill("-lost-"))
    assert deliveries(any_sandbox, any_client, "-lost-") <= 1
    assert inserted is None or any_sandbox.bills["-lost-"].code == inserted.code


@pytest.mark.parametrize("length", [2, 6])
def test_many_losses_in_a_row(any_sandbox: Sandbox, any_client: nontax.Client, length: int) -> None:
    any_sandbox.inject(faults.Close("body"), times=length, skip=1)
    any_client.insert_bill(bill())
    for _ in range(length):
        with pytest.raises(nontax.InDoubtError):
            any_client.insert_bill(bill())
    any_client.insert_bill(bill())
    any_client.close()
    any_sandbox.stop()
    ids = [request.order_id for request in any_sandbox.requests]
    assert len(set(ids)) == len(ids) == length + 2


def test_a_large_body_cut_off_on_its_way() -> None:
    def behave(wire: Wire) -> None:
        wire.read_head()
        wire.more()
        wire.reset()

    with RawServer(behave) as server, client_for(server) as client:
        with pytest.raises(nontax.InDoubtError) as caught:
            client.insert_bill(bill(title="票" * 3_000_000))
        assert not caught.value.timed_out
        server.stop()
        assert server.accepted == 1


def test_a_refusal_before_the_whole_body_was_read() -> None:
    def behave(wire: Wire) -> None:
        wire.read_head()
        wire.send(json_reply(b'{"errcode":45002,"errmsg":"content size out of limit"}'))
        wire.wait_for_end()

    with RawServer(behave) as server, client_for(server) as client:
        with pytest.raises(nontax.ParameterError) as caught:
            client.insert_bill(bill(title="票" * 3_000_000))
        assert caught.value.errcode == 45002
        server.stop()
        assert server.accepted == 1


# Timeouts


def test_an_answer_that_never_comes(any_sandbox: Sandbox, certificates: Certificates) -> None:
    any_sandbox.inject(faults.NeverAnswer(taken=True), skip=1)
    with client_for(any_sandbox, ca_file=certificates.ca_file, timeout=1) as client:
        client.insert_bill(bill("1"))
        with pytest.raises(nontax.InDoubtError) as caught:
            client.insert_bill(bill("2"))
        assert caught.value.timed_out
        assert caught.value.curl_code == 28
        assert caught.value.http_status is None
        client.insert_bill(bill("3"))
    assert [request.order_id for request in any_sandbox.requests] == ["1", "2", "3"]
    assert any_sandbox.connections == 2


def test_an_answer_that_never_ends_in_time(sandbox: Sandbox) -> None:
    sandbox.inject(faults.Reply(framing="endless", body=b" ", gap=0.05))
    with client_for(sandbox, timeout=1) as client:
        with pytest.raises(nontax.InDoubtError) as caught:
            client.insert_bill(bill())
        assert caught.value.timed_out
        assert caught.value.http_status == 200
        client.insert_bill(bill())
    assert len(sandbox.requests) == 2


def test_a_server_that_reads_nothing() -> None:
    ended = threading.Event()
    with (
        RawServer(lambda _: ended.wait(10)) as server,
        # The time counts from the call, and so has the copying of a large bill in it.
        client_for(server, timeout=2) as client,
    ):
        with pytest.raises(nontax.InDoubtError) as caught:
            client.insert_bill(bill(title="票" * 5_000_000))
        assert caught.value.timed_out
        ended.set()
        server.stop()
        assert server.accepted == 1


@pytest.mark.parametrize("size", [1, 300_000])
def test_a_success_before_anything_was_sent(certificates: Certificates, size: int) -> None:
    """It comes with the end of the handshake, and then the server has no more to say.

    It is believed of a body that has gone out whole: no client can tell it from a quick answer.
    """
    context = server_context(certificates)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in which the server has its last word
    requests: list[bytes] = []
    torn: list[OSError] = []

    def answer_at_once(wire: Wire) -> None:
        arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(arrived, leaving, server_side=True)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            wire.send(leaving.read())
            arrived.write(wire.socket.recv(65536))
        tls.write(json_reply(INSERTED, b"Connection: close"))
        wire.send(leaving.read())
        requests.append(b"")
        try:
            wire.socket.shutdown(socket.SHUT_WR)
            while data := wire.socket.recv(65536):
                arrived.write(data)
                with contextlib.suppress(ssl.SSLError):
                    while record := tls.read(65536):
                        requests[-1] += record
        except OSError as error:  # a reset, and with it goes what was not read
            torn.append(error)

    ca_file = certificates.ca_file
    with RawServer(answer_at_once) as server:
        base_url = server.base_url.replace("http:", "https:")
        client = nontax.Client(access_token="token", base_url=base_url, ca_file=ca_file)
        try:
            client.insert_bill(bill(title="x" * size))
            outcome = "inserted"
        except nontax.NontaxError as error:
            outcome = error.outcome
        client.close()
    bodies = [request.partition(b"\r\n\r\n")[2] for request in requests]
    if torn:
        assert outcome in ("inserted", "in_doubt", "not_sent")
    elif any(body.endswith(b"}") for body in bodies):
        assert outcome in ("inserted", "in_doubt")
    elif any(bodies):
        assert outcome == "in_doubt"
    else:
        assert outcome in ("not_sent", "in_doubt")


def test_a_success_for_half_a_body() -> None:
    """Whoever has not read a bill cannot have taken it, but may have what is left of it read."""

    def answer_early(wire: Wire) -> None:
        received = b""
        while not received.partition(b"\r\n\r\n")[2]:
            received += wire.socket.recv(65536)
        wire.send(json_reply(INSERTED, b"Connection: close"))
        wire.socket.shutdown(socket.SHUT_WR)
        ended.wait(30)

    ended = threading.Event()
    with RawServer(answer_early) as server:
        client = nontax.Client(access_token="token", base_url=server.base_url)
        with pytest.raises(nontax.InDoubtError) as caught:
            client.insert_bill(bill(title="x" * 20_000_000))  # more than sockets hold
        ended.set()
        client.close()
    assert "before the request was sent" in str(caught.value)


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """The port of a listener that answers no further connection."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_never_comes_about(scheme: str) -> None:
    with (
        full_backlog() as port,
        nontax.Client(
            access_token="token",
            base_url=f"{scheme}://127.0.0.1:{port}",
            connect_timeout=0.2,
            retries=0,
        ) as client,
    ):
        with pytest.raises(nontax.NotSentError) as caught:
            client.insert_bill(bill())
        assert type(caught.value) is nontax.NotSentError
        assert caught.value.timed_out
        assert caught.value.curl_code == 28
        assert caught.value.outcome == "not_sent"


def test_the_timeout_ends_repeats() -> None:
    with (
        full_backlog() as port,
        nontax.Client(
            access_token="token",
            base_url=f"http://127.0.0.1:{port}",
            timeout=0.3,
            retries=100,
        ) as client,
    ):
        with pytest.raises(nontax.NotSentError) as caught:
            client.insert_bill(bill())
        assert caught.value.timed_out


# No connection


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert isinstance(port, int)
    return port


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_connection(scheme: str) -> None:
    base_url = f"{scheme}://127.0.0.1:{unused_port()}"
    with (
        nontax.Client(access_token="token", base_url=base_url, retries=1) as client,
        pytest.raises(nontax.NotSentError) as caught,
    ):
        client.insert_bill(bill())
    assert type(caught.value) is nontax.NotSentError
    assert caught.value.curl_code == 7
    assert not caught.value.timed_out
    assert str(caught.value.reason)


def test_a_refused_connection_is_tried_again() -> None:
    """The server starts while the client is already trying."""
    port = unused_port()
    outcome: list[object] = []

    def source(_: str | None) -> str:
        asked.set()
        return "token"

    def insert() -> None:
        try:
            outcome.append(client.insert_bill(bill("again")))
        except nontax.NontaxError as error:
            outcome.append(error)

    asked = threading.Event()
    with nontax.Client(
        token_source=source, base_url=f"http://127.0.0.1:{port}", retries=20
    ) as client:
        thread = threading.Thread(target=insert)
        thread.start()
        assert asked.wait(10)
        with Sandbox(port=port) as sandbox:
            thread.join()
            [error] = outcome
            # The sandbox does not know the token; what counts is that the bill came, and once.
            assert isinstance(error, nontax.AccessTokenError)
            assert [request.order_id for request in sandbox.requests] == ["again"]


def test_an_unknown_host() -> None:
    with (
        nontax.Client(
            access_token="token",
            base_url="https://wechat.invalid",
            proxy="",
            connect_timeout=2,
            retries=0,
        ) as client,
        pytest.raises(nontax.NotSentError) as caught,
    ):
        client.insert_bill(bill())
    assert type(caught.value) is nontax.NotSentError
    # 28 where the resolver takes its time.
    assert caught.value.curl_code in (6, 28)


# Redirects


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
@pytest.mark.parametrize("where", ["same", "other"])
@pytest.mark.parametrize("taken", [False, True])
def test_redirects_are_not_followed(
    sandbox: Sandbox, client: nontax.Client, status: int, where: str, taken: bool
) -> None:
    with Sandbox() as other:
        target = sandbox if where == "same" else other
        headers = {"Location": f"{target.base_url}/nontax/insertbill"}
        body = None if taken else b""
        sandbox.inject(faults.Reply(status, headers, body, taken=taken))
        with pytest.raises(nontax.InDoubtError) as caught:
            client.insert_bill(bill())
        assert caught.value.http_status == status
        assert "redirect" in caught.value.reason
        assert not caught.value.timed_out
        client.insert_bill(bill())
        assert len(sandbox.requests) == 2
        assert other.connections == 0


def test_redirects_to_other_protocols(any_sandbox: Sandbox, any_client: nontax.Client) -> None:
    targets = ["file:///etc/passwd", "http://127.0.0.1:1/", "//localhost/", "/", "ftp://localhost"]
    for target in targets:
        any_sandbox.inject(faults.Reply(302, {"Location": target}, INSERTED, taken=False))
        with pytest.raises(nontax.InDoubtError):
            any_client.insert_bill(bill())
    assert len(any_sandbox.requests) == len(targets)
