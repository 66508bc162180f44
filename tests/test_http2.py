"""Bulk runs over HTTP/2: the promises hold on shared connections, too."""

import asyncio
import threading
from itertools import count
from typing import Any

import h2.errors
import pytest
from bills import bill
from http2 import TIMES_TAKEN, Behaviour, Conversation, Http2Server, take_and_answer
from servers import INSERTED, RawServer, Wire, json_reply, server_context

import nontax
from nontax import Outcome, _core
from nontax.sandbox.certificates import Certificates

Errors = h2.errors.ErrorCodes


def client_of(server: Http2Server, **settings: Any) -> nontax.Client:
    return nontax.Client(
        access_token="token-of-the-tests",
        base_url=server.base_url,
        ca_file=server.ca_file,
        **settings,
    )


def run(server: Http2Server, number: int, concurrency: int = 8, **settings: Any) -> list[Outcome]:
    """Insert so many bills, and compare the books."""
    with client_of(server, **settings) as client:
        bills = [bill() for _ in range(number)]
        outcomes = list(client.insert_bills(bills, concurrency=concurrency))
    assert sorted(outcome.index for outcome in outcomes) == list(range(number))
    check_books(server, outcomes)
    return outcomes


def check_books(server: Http2Server, outcomes: list[Outcome]) -> None:
    """What the server took must be what was told."""
    for outcome in outcomes:
        assert isinstance(outcome.bill, dict)
        times = server.taken[outcome.bill["order_id"]]
        assert times in TIMES_TAKEN[outcome.outcome], (outcome, times)


def kinds(outcomes: list[Outcome]) -> set[str]:
    return {outcome.outcome for outcome in outcomes}


def test_many_bills_share_one_connection(certificates: Certificates) -> None:
    with Http2Server(certificates) as server:
        assert kinds(run(server, 200, concurrency=16)) == {"inserted"}
        assert server.connections == 1
        assert server.begun == 200


def test_single_calls_do_not_need_http2(certificates: Certificates) -> None:
    # The server speaks nothing else: the handshake finds no common protocol, or a broken reply.
    with Http2Server(certificates) as server:
        with client_of(server, retries=0) as client, pytest.raises(nontax.NontaxError):
            client.insert_bill(bill())
        assert server.begun == 0


def sometimes(other: Behaviour, every: int) -> Behaviour:
    """take_and_answer, and another behaviour for every so-manieth request."""
    numbers = count(1)

    def behave(conversation: Conversation, stream: int) -> None:
        (other if next(numbers) % every == 0 else take_and_answer)(conversation, stream)

    return behave


@pytest.mark.parametrize(
    "code", [Errors.REFUSED_STREAM, Errors.CANCEL, Errors.INTERNAL_ERROR, Errors.ENHANCE_YOUR_CALM]
)
@pytest.mark.parametrize("taken", [False, True])
def test_a_stream_is_reset_after_its_request(
    certificates: Certificates, code: Errors, taken: bool
) -> None:
    def reset(conversation: Conversation, stream: int) -> None:
        if taken:
            conversation.take(stream)
        conversation.state.reset_stream(stream, code)

    with Http2Server(certificates, sometimes(reset, 5)) as server:
        outcomes = run(server, 40)
    assert kinds(outcomes) == {"inserted", "in_doubt"}
    assert sum(outcome.outcome == "in_doubt" for outcome in outcomes) <= 8


@pytest.mark.parametrize("code", [Errors.REFUSED_STREAM, Errors.CANCEL])
def test_a_stream_is_reset_at_its_head(certificates: Certificates, code: Errors) -> None:
    numbers = count(1)

    def reset(conversation: Conversation, stream: int) -> None:
        if next(numbers) % 5 == 0:
            conversation.state.reset_stream(stream, code)

    def answer(conversation: Conversation, stream: int) -> None:
        if not conversation.state.streams[stream].closed:
            take_and_answer(conversation, stream)

    with Http2Server(certificates, answer, reset) as server:
        outcomes = run(server, 40)
    assert "inserted" in kinds(outcomes)


@pytest.mark.parametrize("taken", [False, True])
def test_goaway_in_the_middle(certificates: Certificates, taken: bool) -> None:
    """The server goes away, and names the last stream that it will still answer."""

    def go_away(conversation: Conversation, stream: int) -> None:
        if taken:
            take_and_answer(conversation, stream)
        conversation.state.close_connection(
            error_code=Errors.NO_ERROR, last_stream_id=stream if taken else stream - 2
        )
        conversation.flush()
        raise EOFError

    with Http2Server(certificates, sometimes(go_away, 10)) as server:
        outcomes = run(server, 60)
        assert server.connections > 1
    assert "inserted" in kinds(outcomes)


@pytest.mark.parametrize("taken", [False, True])
def test_the_connection_ends_in_the_middle(certificates: Certificates, taken: bool) -> None:
    def end(conversation: Conversation, stream: int) -> None:
        if taken:
            conversation.take(stream)
        raise EOFError

    with Http2Server(certificates, sometimes(end, 10)) as server:
        outcomes = run(server, 60)
        assert server.connections > 1
    assert "in_doubt" in kinds(outcomes)
    assert "inserted" in kinds(outcomes)


def test_a_stream_that_is_never_answered(certificates: Certificates) -> None:
    def swallow(conversation: Conversation, stream: int) -> None:
        conversation.take(stream)

    with Http2Server(certificates, sometimes(swallow, 7)) as server:
        outcomes = run(server, 21, timeout=2)
        assert server.connections == 1
    late = [outcome for outcome in outcomes if outcome.outcome == "in_doubt"]
    assert len(late) == 3
    assert all(getattr(outcome.error, "timed_out", False) for outcome in late)


def test_a_first_stream_that_is_never_answered(certificates: Certificates) -> None:
    """Those that wait to learn from it what the connection carries go elsewhere in good time."""

    def swallow_first(conversation: Conversation, stream: int) -> None:
        if conversation.server.begun == 1:
            conversation.take(stream)
        else:
            take_and_answer(conversation, stream)

    with Http2Server(certificates, swallow_first) as server:
        outcomes = run(server, 8, timeout=4)
        assert server.connections > 1
    assert sorted(outcome.outcome for outcome in outcomes) == ["in_doubt"] + ["inserted"] * 7


def test_answers_out_of_order_reach_their_own_bills(certificates: Certificates) -> None:
    waiting: list[int] = []

    def answer(conversation: Conversation, stream: int) -> None:
        order_id = conversation.take(stream)
        body = b'{"errcode":0,"errmsg":"ok","code":"%s","openid":"o"}' % order_id.encode()
        conversation.answer(stream, body)

    def collect(conversation: Conversation, stream: int) -> None:
        waiting.append(stream)
        # The first one tells the client that it may share the connection.
        if stream == 1 or len(waiting) == 8:
            for each in reversed(waiting):
                answer(conversation, each)
            waiting.clear()

    with Http2Server(certificates, collect) as server:
        outcomes = run(server, 1 + 64)
    for outcome in outcomes:
        assert outcome.inserted is not None
        assert isinstance(outcome.bill, dict)
        assert outcome.inserted.code == outcome.bill["order_id"]


def test_no_more_streams_than_the_server_allows(certificates: Certificates) -> None:
    # h2 itself ends a connection with more of them.
    with Http2Server(certificates, max_streams=5) as server:
        assert kinds(run(server, 300, concurrency=20)) == {"inserted"}
        assert 1 < server.connections <= 20


def test_from_an_event_loop(certificates: Certificates) -> None:
    async def insert(client: nontax.Client) -> None:
        bills = [bill() for _ in range(100)]
        outcomes = [outcome async for outcome in client.ainsert_bills(bills)]
        assert kinds(outcomes) == {"inserted"}
        await asyncio.gather(*(client.ainsert_bill(bill()) for _ in range(100)))

    with Http2Server(certificates) as server, client_of(server) as client:
        asyncio.run(insert(client))
        # One for the run, one for the single calls.
        assert server.connections == 2
        assert set(server.taken.values()) == {1}
        assert len(server.taken) == 200


# Seen with libcurl 8.14 and 8.21, not with 7.88 and 8.23: requests are held back until the first
# answer has shown the server's version.
@pytest.mark.skipif(
    (8, 14) <= tuple(map(int, _core.libraries()[0].split(".")[:2])) <= (8, 21),
    reason="with this libcurl they wait for the first",
)
@pytest.mark.parametrize("protocols", [[], ["http/1.1"]], ids=["no ALPN", "http/1.1"])
def test_without_http2_bills_do_not_wait_for_each_other(
    certificates: Certificates, protocols: list[str]
) -> None:
    """No answer comes before all requests are there, each on a connection of its own."""
    all_there = threading.Barrier(8)

    def answer(wire: Wire) -> None:
        wire.read_request()
        all_there.wait(20)
        wire.send(json_reply(INSERTED))
        wire.wait_for_end()

    context = server_context(certificates)
    if protocols:
        context.set_alpn_protocols(protocols)
    with RawServer(answer, context) as server:
        client = nontax.Client(
            access_token="token-of-the-tests",
            base_url=server.base_url,
            ca_file=certificates.ca_file,
        )
        with client:
            outcomes = list(client.insert_bills([bill() for _ in range(8)], concurrency=8))
    assert kinds(outcomes) == {"inserted"}
