"""Bytes behind a whole answer are never taken for the next bill's answer."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from processes import without_preload
from servers import RawServer, Wire, server_context
from surplus import SurplusServer, cases

import nontax
from nontax import _core
from nontax.sandbox.certificates import Certificates, make_certificates

BILLS = 3
HERE = Path(__file__).parent

Insert = Callable[[nontax.Client, SurplusServer], dict[str, nontax.InsertedBill]]


def insert_blocking(client: nontax.Client, server: SurplusServer) -> dict[str, nontax.InsertedBill]:
    inserted = {}
    for _ in range(BILLS):
        one = bill()
        inserted[one["order_id"]] = client.insert_bill(one)
        server.wait()
    return inserted


def insert_in_bulk(client: nontax.Client, server: SurplusServer) -> dict[str, nontax.InsertedBill]:
    def bills() -> Iterator[dict[str, Any]]:
        for number in range(BILLS):
            if number:
                server.wait()
            yield bill()

    inserted = {}
    for outcome in client.insert_bills(bills(), concurrency=1):
        assert isinstance(outcome.bill, dict)
        assert outcome.inserted is not None, outcome
        inserted[outcome.bill["order_id"]] = outcome.inserted
    return inserted


def insert_in_a_loop(
    client: nontax.Client, server: SurplusServer
) -> dict[str, nontax.InsertedBill]:
    async def insert() -> dict[str, nontax.InsertedBill]:
        inserted = {}
        for _ in range(BILLS):
            one = bill()
            inserted[one["order_id"]] = await client.ainsert_bill(one)
            server.wait()
        return inserted

    return asyncio.run(insert())


WAYS: dict[str, Insert] = {
    "blocking": insert_blocking,
    "bulk": insert_in_bulk,
    "asyncio": insert_in_a_loop,
}


def client_of(server: SurplusServer, certificates: Certificates, **settings: Any) -> nontax.Client:
    tokens = iter(f"token-{number}" for number in range(100))
    return nontax.Client(
        token_source=lambda _stale: next(tokens),
        ca_file=certificates.ca_file,
        **({"base_url": server.base_url} | settings),
    )


def check_books(server: SurplusServer, inserted: dict[str, nontax.InsertedBill]) -> None:
    """Each bill was taken once, and has the code of its own answer."""
    assert len(inserted) == BILLS
    assert server.taken == dict.fromkeys(inserted, 1)
    assert {order: one.code for order, one in inserted.items()} == server.codes


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
@pytest.mark.parametrize(
    ("kind", "place", "pause"),
    [
        pytest.param(kind, place, pause, id=f"{kind}, {place}{', pause' if pause else ''}")
        for kind, place, pause in cases()
    ],
)
def test_each_bill_gets_its_own_answer(
    certificates: Certificates, kind: str, place: str, pause: bool, tls: bool, way: str
) -> None:
    context = server_context(certificates) if tls else None
    with (
        SurplusServer(kind, place, pause=pause, tls=context) as server,
        client_of(server, certificates) as client,
    ):
        check_books(server, WAYS[way](client, server))
        # What was left over cost a connection, and nothing else.
        assert server.connections == BILLS


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["before the body", "in the body"])
@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
def test_a_connection_with_nothing_left_is_used_again(
    certificates: Certificates, place: str, tls: bool, way: str
) -> None:
    """Also over TLS 1.3, whose session tickets come at any time."""
    context = server_context(certificates) if tls else None
    with (
        SurplusServer("success", place, every=1000, tls=context) as server,
        client_of(server, certificates) as client,
    ):
        check_books(server, WAYS[way](client, server))
        assert server.connections == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
@pytest.mark.parametrize("place", ["one record", "in the body"])
def test_behind_the_last_chunk(certificates: Certificates, place: str, tls: bool, way: str) -> None:
    """libcurl drops it, and more may follow when the next request has begun."""
    context = server_context(certificates) if tls else None
    with (
        SurplusServer("success", place, chunked=True, tls=context) as server,
        client_of(server, certificates) as client,
    ):
        check_books(server, WAYS[way](client, server))
        assert server.connections == BILLS


# --- where a layer of TLS cannot be asked what it holds back --------------------------------------


@pytest.fixture
def wechat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Certificates:
    """For wechat.invalid, which is not this machine and so is reached through a proxy; and for the
    proxy, whose certificate is looked for where those of the system are.
    """
    made = make_certificates(tmp_path, names=["wechat.invalid"], addresses=["127.0.0.1"])
    monkeypatch.setattr(_core, "own_tls", True)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca_file))
    return made


@pytest.mark.parametrize("named", ["proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("layers", [1, 2], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize("every", [1, 1000], ids=["surplus", "none"])
def test_through_a_proxy(
    wechat: Certificates, monkeypatch: pytest.MonkeyPatch, every: int, layers: int, named: str
) -> None:
    """The surplus is a record of its own, and in one record of the proxy's with the end."""

    def tunnel(wire: Wire) -> None:
        wire.read_head()
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        wire.tunnel(server.address)

    context = server_context(wechat)
    # libcurl with GnuTLS (seen with 7.88) does not notice an answer that came in one record of the
    # proxy's with a session ticket of TLS 1.3, and waits for it in vain.
    if "GnuTLS" in str(_core.libraries()[1]):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        SurplusServer("success", "at the end of the body", every=every, tls=context) as server,
        RawServer(tunnel, context if layers == 2 else None) as proxy,
    ):
        settings = {"base_url": "https://wechat.invalid"}
        if named == "proxy":
            settings["proxy"] = proxy.base_url
        else:
            monkeypatch.setenv(named, proxy.base_url)
        with client_of(server, wechat, **settings) as client:
            check_books(server, insert_blocking(client, server))
            used_again = every > 1 and layers == 1
            assert server.connections == (1 if used_again else BILLS)
        proxy.stop()


@pytest.mark.skipif(_core.own_tls, reason="its TLS library is linked in, and is always found")
def test_a_tls_library_that_is_not_found(certificates: Certificates, tmp_path: Path) -> None:
    """Its connections are not used again."""
    source, library = tmp_path / "hide.c", tmp_path / "hide.so"
    source.write_text("int dladdr(const void *a, void *b) { return (void)a, (void)b, 0; }")
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, env=without_preload())
    preload = ":".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)]))
    program = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "import bills, json, nontax\n"
        "client = nontax.Client(access_token='token', base_url=sys.argv[2], ca_file=sys.argv[3])\n"
        "told = [client.insert_bill(bills.bill()).code for _ in range(3)]\n"
        "print(json.dumps(told))"
    )
    with SurplusServer(
        "success", "in the body", every=1000, tls=server_context(certificates)
    ) as server:
        arguments = [str(HERE), server.base_url, str(certificates.ca_file)]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=os.environ | {"LD_PRELOAD": preload},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == list(server.codes.values())
        assert server.connections == 3
