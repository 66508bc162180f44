"""Further hosts: one is tried only when nothing could be sent to those before it."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bills import bill
from servers import RawServer

import nontax
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates


@pytest.fixture
def second() -> Iterator[Sandbox]:
    with Sandbox() as second:
        yield second


def client_of(*urls: str, **settings: Any) -> nontax.Client:
    given: dict[str, Any] = {"access_token": "t", "retries": 0} | settings
    return nontax.Client(base_url=urls[0], fallback_base_urls=urls[1:], **given)


# --- when to go on --------------------------------------------------------------------------------


def test_a_host_where_nobody_listens(sandbox: Sandbox, dead: str) -> None:
    client = client_of(dead, sandbox.base_url, access_token=sandbox.access_token)
    client.insert_bill(bill())
    client.upload_pdf(b"%PDF-")
    assert client.get_s_pappid().s_pappid == sandbox.bureau.s_pappid
    assert [outcome.outcome for outcome in client.insert_bills([bill(), bill()])] == [
        "inserted"
    ] * 2
    assert len(sandbox.requests) == 5


def test_the_third_host(sandbox: Sandbox, dead: str) -> None:
    client = client_of(dead, dead, sandbox.base_url, access_token=sandbox.access_token)
    client.insert_bill(bill())
    assert len(sandbox.requests) == 1


def test_a_certificate_that_is_not_trusted(
    tls_sandbox: Sandbox, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from nontax.sandbox.certificates import make_certificates

    other = make_certificates(tmp_path_factory.mktemp("others"))
    with Sandbox(certfile=other.cert_file, keyfile=other.key_file) as stranger:
        client = client_of(
            stranger.base_url,
            tls_sandbox.base_url,
            access_token=tls_sandbox.access_token,
            ca_file=certificates.ca_file,
        )
        client.insert_bill(bill())
        assert stranger.requests == ()
    assert len(tls_sandbox.requests) == 1


def test_a_host_that_breaks_off_the_handshake(
    tls_sandbox: Sandbox, certificates: Certificates
) -> None:
    with RawServer(lambda wire: wire.more()) as server:
        client = client_of(
            server.base_url.replace("http:", "https:"),
            tls_sandbox.base_url,
            access_token=tls_sandbox.access_token,
            ca_file=certificates.ca_file,
        )
        client.insert_bill(bill())
        assert server.accepted == 1
    assert len(tls_sandbox.requests) == 1


def test_a_host_that_does_not_let_anybody_in(sandbox: Sandbox) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        # Its queue is full, and further connections are not answered at all.
        others = []
        for _ in range(4):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(address)
            others.append(other)
        client = client_of(
            f"http://127.0.0.1:{address[1]}",
            sandbox.base_url,
            access_token=sandbox.access_token,
            connect_timeout=1,
        )
        client.insert_bill(bill())
        for other in others:
            other.close()
    assert len(sandbox.requests) == 1


def test_nobody_listens_anywhere(dead: str) -> None:
    with pytest.raises(nontax.NotSentError) as caught:
        client_of(dead, dead, dead).insert_bill(bill())
    assert type(caught.value) is nontax.NotSentError
    assert caught.value.curl_code == 7


# --- when to stay ---------------------------------------------------------------------------------

TAKEN: dict[str, faults.Fault] = {
    "closed": faults.Close("body", taken=True),
    "reset": faults.Close("body", reset=True),
    "cut": faults.Reply(cut_after=40),
    "page": faults.Reply(502, body=b"<html>"),
    "redirect": faults.Reply(302, {"Location": "/"}, b"", taken=False),
    "no errcode": faults.Reply(body=b"{}"),
    "busy": faults.Errcode(-1, taken=True),
    "no answer": faults.NeverAnswer(taken=True),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_may_have_been_taken_goes_to_no_other_host(
    sandbox: Sandbox, second: Sandbox, kind: str
) -> None:
    sandbox.inject(TAKEN[kind])
    client = client_of(
        sandbox.base_url, second.base_url, access_token=sandbox.access_token, retries=2, timeout=0.5
    )
    with pytest.raises(nontax.NontaxError) as caught:
        client.insert_bill(bill())
    assert caught.value.outcome == "in_doubt"
    assert len(sandbox.requests) == 1
    assert second.requests == ()


@pytest.mark.parametrize("errcode", [45011, 45009, 48001, 40222, 48017, 72038, 99999])
def test_a_refusal_is_an_answer(sandbox: Sandbox, second: Sandbox, errcode: int) -> None:
    sandbox.inject(faults.Errcode(errcode))
    client = client_of(sandbox.base_url, second.base_url, access_token=sandbox.access_token)
    with pytest.raises(nontax.WeChatError):
        client.insert_bill(bill())
    assert second.requests == ()


def test_an_invalid_bill_goes_nowhere(sandbox: Sandbox, second: Sandbox) -> None:
    client = client_of(sandbox.base_url, second.base_url)
    with pytest.raises(nontax.InvalidRequestError):
        client.insert_bill({})
    assert sandbox.requests == second.requests == ()


def test_a_read_stays_where_it_was_asked(sandbox: Sandbox, second: Sandbox) -> None:
    sandbox.inject(faults.Close("body"))
    client = client_of(
        sandbox.base_url, second.base_url, access_token=sandbox.unit.access_token, retries=1
    )
    client.get_auth_data(s_pappid=sandbox.bureau.s_pappid, order_id="1")
    assert len(sandbox.requests) == 2
    assert second.requests == ()


def test_a_kept_connection_that_has_died_is_opened_again(sandbox: Sandbox, second: Sandbox) -> None:
    client = client_of(
        sandbox.base_url, second.base_url, access_token=sandbox.access_token, retries=2
    )
    client.insert_bill(bill())
    sandbox.close_idle_connections()
    client.insert_bill(bill())
    assert len(sandbox.requests) == 2
    assert second.requests == ()


# --- and afterwards -------------------------------------------------------------------------------


def test_a_host_that_was_dead_is_passed_over_for_a_while(
    tls_sandbox: Sandbox, certificates: Certificates
) -> None:
    with RawServer(lambda wire: wire.more()) as first:
        client = client_of(
            first.base_url.replace("http:", "https:"),
            tls_sandbox.base_url,
            access_token=tls_sandbox.access_token,
            ca_file=certificates.ca_file,
        )
        for _ in range(5):
            client.insert_bill(bill())
        assert first.accepted == 1
    assert len(tls_sandbox.bills) == 5


def test_the_preferred_host_dies_and_the_first_is_back() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with Sandbox() as second:
            current = second
            client = client_of(
                f"http://127.0.0.1:{port}",
                second.base_url,
                access_token=None,
                token_source=lambda _: current.access_token,
            )
            client.insert_bill(bill())
    with Sandbox(port=port) as first:
        current = first
        client.insert_bill(bill())
    assert len(first.bills) == len(second.bills) == 1


def test_many_threads(sandbox: Sandbox, dead: str) -> None:
    client = client_of(dead, sandbox.base_url, access_token=sandbox.access_token)
    with ThreadPoolExecutor(16) as pool:
        codes = list(
            pool.map(lambda one: client.insert_bill(one).code, [bill() for _ in range(200)])
        )
    assert len(set(codes)) == 200
    assert set(Counter(request.order_id for request in sandbox.requests).values()) == {1}


def test_the_token_too_comes_from_the_host_that_answers(sandbox: Sandbox, dead: str) -> None:
    client = nontax.Client(
        appid=sandbox.bureau.appid,
        secret=sandbox.bureau.secret,
        base_url=dead,
        fallback_base_urls=[sandbox.base_url],
    )
    client.insert_bill(bill())
    assert [request.path for request in sandbox.requests] == [
        "/cgi-bin/stable_token",
        "/nontax/insertbill",
    ]


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("urls", "error"),
    [
        ("https://a.example", TypeError),
        ([None], TypeError),
        ([7], TypeError),
        (7, TypeError),
        ([b"https://a.example"], TypeError),
        ([""], ValueError),
        (["ftp://a.example"], ValueError),
        (["https://"], ValueError),
        (["https://a.example\0"], ValueError),
        (["http://192.0.2.1"], ValueError),
        (["https://a.example/?a=b"], ValueError),
        (["https://u:p@a.example"], ValueError),
        (["https://a.example", "http://192.0.2.1"], ValueError),
        (["http://127.0.0.1"], ValueError),
    ],
)
def test_hosts_that_cannot_be_used(urls: Any, error: type[Exception]) -> None:
    make: Callable[[], object] = lambda: nontax.Client(  # noqa: E731
        access_token="t", base_url="https://a.example", fallback_base_urls=urls
    )
    with pytest.raises(error, match=r"fallback_base_urls|iterable"):
        make()


def test_a_generator_of_hosts(sandbox: Sandbox, dead: str) -> None:
    client = nontax.Client(
        access_token=sandbox.access_token,
        base_url=dead,
        fallback_base_urls=(url for url in [sandbox.base_url]),  # type: ignore[arg-type]
    )
    client.insert_bill(bill())
