"""Certificates, handshakes and proxies: what cannot be trusted gets no byte of a bill."""

import base64
import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from processes import Talk, run
from servers import INSERTED, RawServer, Wire, json_reply, server_context
from tokens import INSERT, STABLE

import nontax
from nontax import _core
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates, make_certificates


def secure_sandbox(certificates: Certificates) -> Sandbox:
    return Sandbox(certfile=certificates.cert_file, keyfile=certificates.key_file)


@contextlib.contextmanager
def distrusted(client: nontax.Client) -> Iterator[pytest.ExceptionInfo[nontax.TLSError]]:
    with pytest.raises(nontax.TLSError) as caught:
        client.insert_bill(bill())
    assert caught.value.outcome == "not_sent"
    assert caught.value.curl_code
    assert not caught.value.timed_out
    yield caught


# Certificates


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_trusted_server(certificates: Certificates, version: ssl.TLSVersion) -> None:
    def behave(wire: Wire) -> None:
        wire.read_request()
        assert isinstance(wire.socket, ssl.SSLSocket)
        versions.append(wire.socket.version())
        wire.send(json_reply(INSERTED))

    versions: list[str | None] = []
    context = server_context(certificates)
    context.minimum_version = context.maximum_version = version
    with (
        RawServer(behave, context) as server,
        nontax.Client(
            access_token="token", base_url=server.base_url, ca_file=certificates.ca_file
        ) as client,
    ):
        assert client.insert_bill(bill()).code == "682000661927"
    assert versions == [version.name.replace("_", ".")]


def test_by_name(tls_sandbox: Sandbox, certificates: Certificates) -> None:
    base_url = tls_sandbox.base_url.replace("127.0.0.1", "localhost")
    with nontax.Client(
        access_token=tls_sandbox.access_token, base_url=base_url, ca_file=certificates.ca_file
    ) as client:
        client.insert_bill(bill())
    assert tls_sandbox.requests[0].headers["host"] == base_url.removeprefix("https://")


def test_the_systems_authorities_do_not_know_the_sandbox(tls_sandbox: Sandbox) -> None:
    with (
        nontax.Client(
            access_token=tls_sandbox.access_token, base_url=tls_sandbox.base_url
        ) as client,
        distrusted(client) as caught,
    ):
        assert caught.value.curl_code == 60
    assert_untouched(tls_sandbox)


def assert_untouched(sandbox: Sandbox) -> None:
    """One connection, and nothing on it: a TLSError is not repeated."""
    sandbox.stop()
    assert sandbox.connections == 1
    assert not sandbox.requests


@pytest.mark.parametrize(
    "options",
    [
        {"expired": True},
        {"names": ["example.org"], "addresses": []},
        {"names": ["localhost"], "addresses": ["127.0.0.2"]},
    ],
    ids=["expired", "other-name", "other-address"],
)
def test_a_wrong_certificate(tmp_path: Path, options: dict[str, Any]) -> None:
    made = make_certificates(tmp_path, **options)
    with (
        secure_sandbox(made) as sandbox,
        nontax.Client(
            access_token=sandbox.access_token, base_url=sandbox.base_url, ca_file=made.ca_file
        ) as client,
    ):
        with distrusted(client) as caught:
            assert caught.value.curl_code == 60
        assert_untouched(sandbox)


def test_a_certificate_of_another_authority(tls_sandbox: Sandbox, tmp_path: Path) -> None:
    other = make_certificates(tmp_path)
    with (
        nontax.Client(
            access_token=tls_sandbox.access_token,
            base_url=tls_sandbox.base_url,
            ca_file=other.ca_file,
        ) as client,
        distrusted(client) as caught,
    ):
        assert caught.value.curl_code == 60
    assert_untouched(tls_sandbox)


def test_a_ca_file_without_certificates(tls_sandbox: Sandbox, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("nothing of the kind\n")
    with (
        nontax.Client(
            access_token=tls_sandbox.access_token, base_url=tls_sandbox.base_url, ca_file=ca_file
        ) as client,
        distrusted(client),
    ):
        assert not tls_sandbox.requests


def test_the_client_goes_on_after_a_tls_error(certificates: Certificates, tmp_path: Path) -> None:
    expired = make_certificates(tmp_path, expired=True)
    with secure_sandbox(expired) as sandbox:
        port = int(sandbox.base_url.rsplit(":", 1)[1])
        ca_file = tmp_path / "both.pem"
        ca_file.write_bytes(expired.ca_file.read_bytes() + certificates.ca_file.read_bytes())
        client = nontax.Client(access_token="token", base_url=sandbox.base_url, ca_file=ca_file)
        for _ in range(3):
            with distrusted(client):
                pass
    with (
        client,
        Sandbox(
            port=port, certfile=certificates.cert_file, keyfile=certificates.key_file
        ) as renewed,
    ):
        with pytest.raises(nontax.AccessTokenError):
            client.insert_bill(bill())
        assert len(renewed.requests) == 1


# Handshakes

OLD_TLS_IS_WELCOME = """\
openssl_conf = all
[all]
ssl_conf = tls
[tls]
system_default = rules
[rules]
MinProtocol = TLSv1
CipherString = DEFAULT:@SECLEVEL=0
"""


def greet_and_insert(talk: Talk) -> None:
    import socket
    import ssl

    from bills import bill

    context = ssl.create_default_context(cafile=talk.setup["client"]["ca_file"])
    # Python has ciphers and a version of its own, whatever the machine's rules say.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    try:
        with (
            socket.create_connection(talk.setup["address"]) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            talk.tell(version=secure.version())
    except ssl.SSLError as error:
        talk.tell(version=None, reason=str(error))
    with talk.client() as client:
        talk.insert(client, bill())


def test_old_tls(certificates: Certificates, tmp_path: Path) -> None:
    def behave(wire: Wire) -> None:
        wire.read_request()
        wire.send(json_reply(INSERTED))

    # Where the machine's own rules refuse old TLS, too, it must still be nontax that does.
    rules = tmp_path / "openssl.cnf"
    rules.write_text(OLD_TLS_IS_WELCOME)
    context = server_context(certificates)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with RawServer(behave, context) as server:
        client = {
            "access_token": "old-token",
            "base_url": server.base_url,
            "ca_file": str(certificates.ca_file),
        }
        env = {"OPENSSL_CONF": str(rules)}
        greeted, told = run(greet_and_insert, env, client=client, address=server.address)
        server.stop()
    assert (told.get("type"), told.get("outcome")) == ("TLSError", "not_sent")
    assert [wire.received for wire in server.wires] == [b"", b""]
    if greeted["version"] is None:
        pytest.skip(f"this OpenSSL has no old TLS at all: {greeted['reason']}")
    assert greeted["version"] == "TLSv1.1"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_a_handshake_that_fails(answer: bytes) -> None:
    def behave(wire: Wire) -> None:
        wire.more()
        wire.send(answer)
        wire.wait_for_end()

    with RawServer(behave) as server:
        base_url = server.base_url.replace("http:", "https:")
        with nontax.Client(access_token="token", base_url=base_url) as client, distrusted(client):
            pass
        server.stop()
        assert server.accepted == 1


@pytest.mark.parametrize("reset", [False, True])
def test_a_handshake_that_is_cut_off(reset: bool) -> None:
    def behave(wire: Wire) -> None:
        wire.more()
        if reset:
            wire.reset()

    with RawServer(behave) as server:
        base_url = server.base_url.replace("http:", "https:")
        with nontax.Client(access_token="token", base_url=base_url, retries=0) as client:
            with pytest.raises(nontax.NotSentError) as caught:
                client.insert_bill(bill())
            assert not caught.value.timed_out
        server.stop()
        assert server.accepted == 1


def test_a_handshake_that_never_ends() -> None:
    with RawServer(Wire.wait_for_end) as server:
        base_url = server.base_url.replace("http:", "https:")
        with (
            nontax.Client(
                access_token="token", base_url=base_url, connect_timeout=0.3, retries=1
            ) as client,
            pytest.raises(nontax.NotSentError) as caught,
        ):
            client.insert_bill(bill())
        assert type(caught.value) is nontax.NotSentError
        assert caught.value.timed_out
        server.stop()
        assert server.accepted == 2
        # Greetings in TLS, and nothing of the request.
        assert not any(b"POST" in wire.received for wire in server.wires)


# Proxies. They are not asked about loopback addresses, so the server has a name that only the proxy
# knows.

HOST = "wechat.invalid"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For wechat.invalid."""
    return make_certificates(tmp_path_factory.mktemp("named"), names=[HOST], addresses=[])


@pytest.fixture
def hidden(named: Certificates) -> Iterator[Sandbox]:
    """A sandbox that is to be reached through a proxy."""
    with secure_sandbox(named) as sandbox:
        yield sandbox


class Tunnels:
    """What a proxy does that connects everybody to one sandbox, and the heads it was given."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.port = int(sandbox.base_url.rsplit(":", 1)[1])
        self.heads: list[bytes] = []

    def __call__(self, wire: Wire) -> None:
        self.heads.append(wire.read_head())
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        wire.tunnel(("127.0.0.1", self.port))


def behind(
    proxy: str | None, sandbox: Sandbox, named: Certificates, **settings: Any
) -> nontax.Client:
    return nontax.Client(
        access_token=sandbox.access_token,
        base_url=f"https://{HOST}",
        ca_file=named.ca_file,
        proxy=proxy,
        **settings,
    )


def test_through_a_proxy(hidden: Sandbox, named: Certificates) -> None:
    tunnels = Tunnels(hidden)
    with RawServer(tunnels) as proxy:
        with behind(proxy.base_url, hidden, named) as client:
            client.insert_bill(bill())
            client.insert_bill(bill())
        proxy.stop()
        assert len(hidden.bills) == 2
        assert proxy.accepted == hidden.connections == 1
        [head] = tunnels.heads
        assert head.startswith(b"CONNECT wechat.invalid:443 HTTP/1.1\r\n")
        # The proxy is told where to, and nothing else.
        assert b"token" not in head
        assert b"nontax/insertbill" not in head
        assert b"insertbill" not in proxy.wires[0].received


def test_a_token_is_fetched_through_the_proxy(hidden: Sandbox, named: Certificates) -> None:
    tunnels = Tunnels(hidden)
    account = hidden.bureau
    with RawServer(tunnels) as proxy:
        with nontax.Client(
            appid=account.appid,
            secret=account.secret,
            base_url=f"https://{HOST}",
            ca_file=named.ca_file,
            proxy=proxy.base_url,
        ) as client:
            client.insert_bill(bill())
        proxy.stop()
    assert [request.path for request in hidden.requests] == [STABLE, INSERT]
    # The token's fetch has a connection of its own.
    assert [head.split(b"\r\n")[0] for head in tunnels.heads] == [
        b"CONNECT wechat.invalid:443 HTTP/1.1"
    ] * 2


def test_a_proxy_with_a_password(hidden: Sandbox, named: Certificates) -> None:
    tunnels = Tunnels(hidden)
    with RawServer(tunnels) as proxy:
        url = proxy.base_url.replace("http://", "http://user:pass%40word@")
        with behind(url, hidden, named) as client:
            client.insert_bill(bill())
        credentials = base64.b64encode(b"user:pass@word")
        assert b"\r\nProxy-Authorization: Basic " + credentials in tunnels.heads[0]
    assert "proxy-authorization" not in hidden.requests[0].headers


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_the_environments_proxy(
    hidden: Sandbox, named: Certificates, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with RawServer(Tunnels(hidden)) as proxy:
        monkeypatch.setenv(variable, proxy.base_url)
        with behind(None, hidden, named) as client:
            client.insert_bill(bill())
        assert proxy.accepted == 1


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:se%cret@127.0.0.1:0x1",
        "http://user:se%cret",
        "user:se%cret",
        "http://user:1/se%cret@127.0.0.1:1",
        "nonsense://user:se%cret",
        "nonsense://se%cret",
    ],
)
def test_a_proxys_password_is_in_no_message(
    hidden: Sandbox, named: Certificates, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """Wherever it stands in what is no proper URL."""
    secret = "Zeisig7c1f"
    for value in (proxy.replace("%cret", secret), proxy.replace("se%cret", secret)):
        monkeypatch.setenv("https_proxy", value)
        with behind(None, hidden, named, retries=0) as client:
            with pytest.raises(nontax.NotSentError) as caught:
                client.insert_bill(bill())
        with pytest.raises((nontax.NotSentError, ValueError)) as named_one:
            behind(value, hidden, named, retries=0).insert_bill(bill())
        for error in (caught.value, named_one.value):
            assert secret not in f"{error} {error!r} {vars(error)}"


def test_a_named_proxy_comes_before_the_environment(
    hidden: Sandbox, named: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "*")
    with (
        RawServer(Tunnels(hidden)) as proxy,
        behind(proxy.base_url, hidden, named) as client,
    ):
        client.insert_bill(bill())
        assert proxy.accepted == 1


def test_no_proxy_at_all(
    hidden: Sandbox, named: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(Tunnels(hidden)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.base_url)
        with (
            behind("", hidden, named, retries=0, connect_timeout=2) as client,
            pytest.raises(nontax.NotSentError),
        ):
            client.insert_bill(bill())
        proxy.stop()
        assert proxy.accepted == 0


def test_loopback_needs_no_proxy(
    any_sandbox: Sandbox, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(Wire.wait_for_end) as proxy:
        for variable in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy.base_url)
        with nontax.Client(
            access_token=any_sandbox.access_token,
            base_url=any_sandbox.base_url,
            ca_file=certificates.ca_file,
        ) as client:
            client.insert_bill(bill())
        proxy.stop()
        assert proxy.accepted == 0


@pytest.mark.parametrize("status", [b"403 Forbidden", b"407 Proxy Authentication Required"])
def test_a_proxy_that_refuses(hidden: Sandbox, named: Certificates, status: bytes) -> None:
    def behave(wire: Wire) -> None:
        wire.read_head()
        header = b'Proxy-Authenticate: Basic realm="x"'
        wire.send(json_reply(INSERTED, header, b"Connection: close", status=status))

    with RawServer(behave) as proxy:
        with (
            behind(proxy.base_url, hidden, named, retries=1) as client,
            pytest.raises(nontax.NotSentError) as caught,
        ):
            client.insert_bill(bill())
        proxy.stop()
        assert type(caught.value) is nontax.NotSentError
        assert not caught.value.timed_out
        assert status[:3].decode() in caught.value.reason
        assert proxy.accepted == 2
        assert not any(b"insertbill" in wire.received for wire in proxy.wires)


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_how_often_a_lost_connection_to_the_proxy_is_repeated(
    hidden: Sandbox, named: Certificates, retries: int
) -> None:
    with RawServer(Wire.read_head) as proxy:
        with (
            behind(proxy.base_url, hidden, named, retries=retries) as client,
            pytest.raises(nontax.NotSentError),
        ):
            client.insert_bill(bill())
        proxy.stop()
        assert proxy.accepted == retries + 1


def test_a_repeat_that_succeeds(hidden: Sandbox, named: Certificates) -> None:
    def behave(wire: Wire) -> None:
        if proxy.accepted < 3:
            wire.read_head()
        else:
            tunnels(wire)

    tunnels = Tunnels(hidden)
    with RawServer(behave) as proxy, behind(proxy.base_url, hidden, named) as client:
        client.insert_bill(bill())
        assert proxy.accepted == 3
    assert len(hidden.requests) == 1


def test_a_proxy_that_hangs(hidden: Sandbox, named: Certificates) -> None:
    with RawServer(Wire.wait_for_end) as proxy:
        with (
            behind(proxy.base_url, hidden, named, connect_timeout=0.3, retries=0) as client,
            pytest.raises(nontax.NotSentError) as caught,
        ):
            client.insert_bill(bill())
        assert caught.value.timed_out
        proxy.stop()
        assert proxy.accepted == 1
        assert proxy.wires[0].received.startswith(b"CONNECT ")
        assert b"insertbill" not in proxy.wires[0].received


def test_a_proxy_that_is_not_there(hidden: Sandbox, named: Certificates) -> None:
    with RawServer(Wire.wait_for_end) as proxy:
        pass
    with behind(proxy.base_url, hidden, named, retries=0) as client:
        with pytest.raises(nontax.NotSentError) as caught:
            client.insert_bill(bill())
        assert type(caught.value) is nontax.NotSentError


def test_a_proxy_that_answers_in_the_servers_place(
    hidden: Sandbox, named: Certificates, certificates: Certificates
) -> None:
    """One that breaks TLS open has no certificate for the server."""

    def behave(wire: Wire) -> None:
        wire.read_head()
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        context = server_context(certificates)
        with context.wrap_socket(wire.socket, server_side=True) as secure:
            seen.append(secure.recv(1))

    seen: list[bytes] = []
    with RawServer(behave) as proxy:
        with behind(proxy.base_url, hidden, named) as client, distrusted(client) as caught:
            assert caught.value.curl_code == 60
        proxy.stop()
        assert proxy.accepted == 1
        assert not any(seen)


def with_tunnel(*steps: Callable[[Wire], object]) -> Callable[[Wire], None]:
    """What a proxy does that connects, and then lets this happen in the tunnel."""

    def proxy(wire: Wire) -> None:
        wire.read_head()
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for step in steps:
            step(wire)

    return proxy


# All of it before the server's certificate: the proxy has lost the server, or is restarted.
BREAKS: dict[str, list[Callable[[Wire], object]]] = {
    "at once": [],
    "reset": [Wire.reset],
    "after the greeting": [Wire.more],
    "reset after the greeting": [Wire.more, Wire.reset],
    "in the answer": [Wire.more, lambda wire: wire.send(b"\x16\x03\x03\x00\x7a\x02")],
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_tunnel_that_breaks_off(hidden: Sandbox, named: Certificates, how: str) -> None:
    """No certificate was refused: it is repeated like any lost connection, and no end of a run."""
    if how == "in the answer" and "GnuTLS" in str(_core.libraries()[1]):
        pytest.skip("GnuTLS says the same of half a record as of one that is no TLS")
    with (
        RawServer(with_tunnel(*BREAKS[how])) as proxy,
        behind(proxy.base_url, hidden, named, retries=1) as client,
    ):
        with pytest.raises(nontax.NotSentError) as caught:
            client.insert_bill(bill())
        assert type(caught.value) is nontax.NotSentError
        assert caught.value.retry == "yes"
        assert proxy.accepted == 2
        outcomes = list(client.insert_bills([bill(), bill()]))
        assert [type(outcome.error) for outcome in outcomes] == [nontax.NotSentError] * 2
        proxy.stop()


def test_a_tunnel_that_comes_back(hidden: Sandbox, named: Certificates) -> None:
    def behave(wire: Wire) -> None:
        if proxy.accepted > 1:
            wire.tunnel(("127.0.0.1", Tunnels(hidden).port))

    with (
        RawServer(with_tunnel(behave)) as proxy,
        behind(proxy.base_url, hidden, named) as client,
    ):
        assert client.insert_bill(bill("1")).code == hidden.bills["1"].code
        assert proxy.accepted == 2


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"],
    ids=["no TLS", "an alert"],
)
def test_a_handshake_that_fails_in_a_tunnel(
    hidden: Sandbox, named: Certificates, answer: bytes
) -> None:
    def behave(wire: Wire) -> None:
        wire.more()
        wire.send(answer)
        wire.wait_for_end()

    with (
        RawServer(with_tunnel(behave)) as proxy,
        behind(proxy.base_url, hidden, named) as client,
        pytest.raises(nontax.TLSError),
    ):
        client.insert_bill(bill())
    assert proxy.accepted == 1


@pytest.mark.parametrize("kind", ["untrusted", "expired", "another name"])
def test_a_certificate_that_is_refused_in_a_tunnel(
    hidden: Sandbox, named: Certificates, tmp_path: Path, kind: str
) -> None:
    names = ["else.invalid" if kind == "another name" else HOST]
    made = make_certificates(tmp_path, names=names, addresses=[], expired=kind == "expired")
    trusted = named if kind == "untrusted" else made
    with secure_sandbox(made) as server, RawServer(Tunnels(server)) as proxy:
        with behind(proxy.base_url, hidden, trusted) as client, pytest.raises(nontax.TLSError):
            client.insert_bill(bill())
        proxy.stop()
        assert proxy.accepted == 1
        assert not server.requests


def test_a_reply_lost_in_the_tunnel(hidden: Sandbox, named: Certificates) -> None:
    hidden.inject(faults.Close("body", taken=True))
    with RawServer(Tunnels(hidden)) as proxy, behind(proxy.base_url, hidden, named) as client:
        with pytest.raises(nontax.InDoubtError):
            client.insert_bill(bill("lost"))
        client.insert_bill(bill("after"))
        assert [request.order_id for request in hidden.requests] == ["lost", "after"]
        assert proxy.accepted == 2
