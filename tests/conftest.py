"""What many tests need: sandboxes and clients for them, servers, event loops."""

import logging
import os
import signal
import socket
from collections.abc import Iterator

import hypothesis
import pytest
from canary import core
from figures import pytest_terminal_summary as pytest_terminal_summary
from loops import FACTORIES, Complaints, Strict
from processes import Server
from sandboxes import Peer

import nontax
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import Certificates, make_certificates

# A run must be the same today and tomorrow, and learn nothing from the one before.
hypothesis.settings.register_profile("nontax", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("nontax")


def pytest_sessionstart() -> None:
    """Say once what would otherwise fail hundreds of tests."""
    try:
        socket.getaddrinfo("localhost", None)
    except OSError:
        pytest.exit(
            'the tests need the name "localhost": add the line "127.0.0.1 localhost" to /etc/hosts',
            returncode=1,
        )


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Neither NONTAX_... nor a proxy, nor how the tests are started, has a say in them."""
    # A shell ignores Ctrl-C for what it starts in the background, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("NONTAX_") or name.lower().endswith("_proxy"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For localhost and 127.0.0.1."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def peer(sandbox: Sandbox) -> Iterator[Peer]:
    with Peer(sandbox) as connected:
        yield connected


@pytest.fixture
def tls_sandbox(certificates: Certificates) -> Iterator[Sandbox]:
    with Sandbox(certfile=certificates.cert_file, keyfile=certificates.key_file) as sandbox:
        yield sandbox


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def dead() -> Iterator[str]:
    """A host where nobody listens: bound, so that no other test's server can, and refusing."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[nontax.Client]:
    with nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url) as client:
        yield client


@pytest.fixture
def tls_client(tls_sandbox: Sandbox, certificates: Certificates) -> Iterator[nontax.Client]:
    with nontax.Client(
        access_token=tls_sandbox.access_token,
        base_url=tls_sandbox.base_url,
        ca_file=certificates.ca_file,
    ) as client:
        yield client


@pytest.fixture(params=["http", "https"])
def any_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Over plain HTTP, then over TLS."""
    name = {"http": "sandbox", "https": "tls_sandbox"}[request.param]
    sandbox = request.getfixturevalue(name)
    assert isinstance(sandbox, Sandbox)
    return sandbox


@pytest.fixture
def any_client(any_sandbox: Sandbox, certificates: Certificates) -> Iterator[nontax.Client]:
    with nontax.Client(
        access_token=any_sandbox.access_token,
        base_url=any_sandbox.base_url,
        ca_file=certificates.ca_file,
    ) as client:
        yield client


@pytest.fixture(params=FACTORIES)
def run(request: pytest.FixtureRequest) -> Iterator[Strict]:
    """Runs a coroutine in asyncio's own loop, then in uvloop's. Nothing may be logged meanwhile."""
    complaints = Complaints()
    logging.getLogger("asyncio").addHandler(complaints)
    yield Strict(FACTORIES[request.param])
    logging.getLogger("asyncio").removeHandler(complaints)
    assert complaints.lines == []


@pytest.fixture
def nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The log of `loud`: nothing in it is secret."""
    lines: list[str] = []
    yield lines
    assert core() not in "\n".join(lines)


@pytest.fixture
def loud(log: list[str]) -> Iterator[Sandbox]:
    """A sandbox that logs."""
    with Sandbox(log=log.append) as sandbox:
        yield sandbox
    assert len(log) == len(sandbox.requests)
