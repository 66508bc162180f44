"""A nontax with a TLS of its own: which certificates it trusts on which machine."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bills import bill
from servers import RawServer, Wire, server_context

import nontax
from nontax import _core, certificates
from nontax.certificates import find_ca_file
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import Certificates, make_certificates


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Three places of which none exists, on a machine without certifi."""
    paths = [tmp_path / name for name in ("first.pem", "second.pem", "third.pem")]
    monkeypatch.setattr(certificates, "PLACES", tuple(map(str, paths)))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setitem(sys.modules, "certifi", None)
    return paths


@pytest.fixture
def own_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension takes itself for one with a TLS of its own."""
    monkeypatch.setattr(_core, "own_tls", True)


@pytest.fixture
def certifi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], None]:
    """Installs a certifi whose file is the one given."""

    def install(file: Path) -> None:
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "certifi.py").write_text(f"def where():\n    return {str(file)!r}\n", "utf-8")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "certifi")

    return install


def test_every_family_of_systems_is_looked_for() -> None:
    known = " ".join(certificates.PLACES)
    for part in ("/etc/ssl/certs/", "/etc/pki/", "/var/lib/ca-certificates/", "/etc/ssl/cert.pem"):
        assert part in known
    assert all(Path(place).is_absolute() for place in certificates.PLACES)


def test_the_first_that_can_be_used_is_taken(places: list[Path]) -> None:
    first, second, third = places
    third.write_text("certificates")
    assert find_ca_file(needed=True) == str(third)
    second.touch()
    first.mkdir()
    assert find_ca_file(needed=True) == str(third), "an empty file or a folder was taken"
    second.write_text("certificates")
    assert find_ca_file(needed=True) == str(second)


def test_a_link_to_nowhere_is_passed_over(places: list[Path]) -> None:
    places[0].symlink_to("nowhere")
    places[1].write_text("certificates")
    assert find_ca_file(needed=True) == str(places[1])


def test_the_environment_comes_first(
    places: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places[0].write_text("certificates")
    named = tmp_path / "named.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(named))
    with pytest.raises(ValueError, match=r"SSL_CERT_FILE names cannot be read: '.*named\.pem'"):
        find_ca_file(needed=True)
    assert find_ca_file(needed=False) is None
    named.write_text("certificates")
    assert find_ca_file(needed=True) == str(named)
    monkeypatch.setenv("SSL_CERT_FILE", "")
    assert find_ca_file(needed=True) == str(places[0])


def test_certifi_comes_last(
    places: list[Path], certifi: Callable[[Path], None], tmp_path: Path
) -> None:
    bundle = tmp_path / "cacert.pem"
    bundle.write_text("certificates")
    certifi(bundle)
    places[2].write_text("certificates")
    assert find_ca_file(needed=True) == str(places[2])
    assert "certifi" not in sys.modules, "it was imported where it was not needed"
    places[2].unlink()
    assert find_ca_file(needed=True) == str(bundle)


def test_all_that_was_tried_is_said(places: list[Path]) -> None:
    with pytest.raises(ValueError, match="no certificates found") as caught:
        find_ca_file(needed=True)
    told = str(caught.value)
    assert "SSL_CERT_FILE (not set)" in told
    assert all(str(place) in told for place in places)
    assert "certifi (not installed)" in told
    assert "ca_file" in told
    assert find_ca_file(needed=False) is None


def test_a_certifi_without_its_file_is_named(
    places: list[Path], certifi: Callable[[Path], None], tmp_path: Path
) -> None:
    certifi(tmp_path / "missing.pem")
    with pytest.raises(ValueError, match=r"certifi \(.*missing\.pem\)"):
        find_ca_file(needed=True)


def test_a_client_trusts_what_was_found(
    own_tls: None, places: list[Path], tls_sandbox: Sandbox, certificates: Certificates
) -> None:
    places[1].write_bytes(certificates.ca_file.read_bytes())
    base_url, access_token = tls_sandbox.base_url, tls_sandbox.access_token
    with nontax.Client(access_token=access_token, base_url=base_url) as client:
        assert client.insert_bill(bill()).code


def test_a_client_trusts_nothing_else(
    own_tls: None, places: list[Path], tls_sandbox: Sandbox, tmp_path: Path
) -> None:
    places[0].write_bytes(make_certificates(tmp_path).ca_file.read_bytes())
    base_url, access_token = tls_sandbox.base_url, tls_sandbox.access_token
    with nontax.Client(access_token=access_token, base_url=base_url) as client:
        with pytest.raises(nontax.TLSError):
            client.insert_bill(bill())
    assert not tls_sandbox.bills


def test_a_client_that_can_check_nothing_is_not_made(own_tls: None, places: list[Path]) -> None:
    with pytest.raises(ValueError, match="no certificates found"):
        nontax.Client(access_token="token")
    with pytest.raises(ValueError, match="no certificates found"):
        nontax.StableToken("wx123", "secret")


def test_a_client_that_needs_none(
    own_tls: None,
    places: list[Path],
    sandbox: Sandbox,
    tls_sandbox: Sandbox,
    certificates: Certificates,
) -> None:
    for there in (sandbox, tls_sandbox):
        ca_file = certificates.ca_file if there is tls_sandbox else None
        with nontax.Client(
            access_token=there.access_token, base_url=there.base_url, ca_file=ca_file
        ) as client:
            assert client.insert_bill(bill()).code


def test_a_private_authority_is_for_wechat_alone(
    own_tls: None, places: list[Path], certificates: Certificates, tmp_path: Path
) -> None:
    server = make_certificates(tmp_path, names=["wechat.invalid"], addresses=[])

    def tunnel(wire: Wire) -> None:
        wire.read_head()
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        wire.tunnel(("127.0.0.1", int(hidden.base_url.rsplit(":", 1)[1])))

    with (
        Sandbox(certfile=server.cert_file, keyfile=server.key_file) as hidden,
        RawServer(tunnel, tls=server_context(certificates)) as proxy,
    ):

        def insert(ca_file: Path | None) -> nontax.InsertedBill:
            with nontax.Client(
                access_token=hidden.access_token,
                base_url="https://wechat.invalid",
                proxy=proxy.base_url,
                ca_file=ca_file,
            ) as client:
                return client.insert_bill(bill())

        with pytest.raises(nontax.TLSError):
            insert(server.ca_file)
        places[0].write_bytes(certificates.ca_file.read_bytes())
        assert insert(server.ca_file).code
        with pytest.raises(nontax.TLSError):
            insert(None)
        proxy.stop()
    assert len(hidden.bills) == 1


def test_a_proxy_with_a_certificate_for_another_name(
    own_tls: None, places: list[Path], tmp_path: Path
) -> None:
    made = make_certificates(tmp_path, names=["wechat.invalid", "localhost"], addresses=[])
    places[0].write_bytes(made.ca_file.read_bytes())

    def tunnel(wire: Wire) -> None:
        wire.read_head()
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        wire.tunnel(("127.0.0.1", int(hidden.base_url.rsplit(":", 1)[1])))

    def insert(proxy: str) -> nontax.InsertedBill:
        with nontax.Client(
            access_token=hidden.access_token, base_url="https://wechat.invalid", proxy=proxy
        ) as client:
            return client.insert_bill(bill())

    with (
        Sandbox(certfile=made.cert_file, keyfile=made.key_file) as hidden,
        RawServer(tunnel, tls=server_context(made)) as proxy,
    ):
        with pytest.raises(nontax.TLSError):
            insert(proxy.base_url)
        # Nothing but its name was wrong.
        assert insert(proxy.base_url.replace("127.0.0.1", "localhost")).code
        proxy.stop()
        refused, taken = proxy.wires
        assert refused.received == b""
        assert taken.received.startswith(b"CONNECT wechat.invalid:443 ")
        assert hidden.connections == 1


@pytest.mark.skipif(_core.own_tls, reason="is about libcurl of the system")
def test_the_systems_libcurl_is_left_alone() -> None:
    program = (
        "import nontax, sys; nontax.Client(access_token='token')\n"
        "assert 'nontax.certificates' not in sys.modules"
    )
    environment = {**os.environ, "SSL_CERT_FILE": "/nowhere.pem"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_the_versions_are_shown() -> None:
    def show(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nontax", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = show("--version")
    curl, tls, cjson = _core.libraries()
    assert tls is not None
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"nontax {nontax.__version__}",
        f"libcurl {curl}",
        tls.replace("/", " "),
        f"cJSON {cjson}",
    ]
    assert "--version" in show().stdout
    assert show("--nonsense").returncode == 2
