"""Makes throw-away TLS certificates with the `openssl` program (3.0 or newer)."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path

# Everything is said here, so that nothing depends on the machine's own openssl.cnf.
_CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = nontax sandbox
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {subject}
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: a certificate authority to trust, and a server's certificate and key."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def make_certificates(
    directory: str | PathLike[str],
    *,
    names: Sequence[str] = ("localhost",),
    addresses: Sequence[str] = ("127.0.0.1",),
    days: int = 30,
    expired: bool = False,
) -> Certificates:
    """Make a certificate authority and a server certificate signed by it.

    The authority's key is deleted afterwards. Two calls make two authorities that do not trust each
    other, so one's `ca_file` with the other's server gives an untrusted certificate.

    Args:
        directory: an existing directory; `ca.pem`, `server.pem` and `server.key` are written to it.
        names: DNS names the server's certificate is for.
        addresses: IP addresses it is for. There must be at least one name or address.
        days: how long both are valid, from now on.
        expired: whether the server's certificate ended a day ago.

    Raises:
        ValueError: neither a name nor an address was given.
        FileNotFoundError: there is no openssl program, or no such directory.
        RuntimeError: openssl failed; the message has what it said.
    """
    subject = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    if not subject:
        raise ValueError("a certificate needs a name or an address")
    folder = Path(directory)
    config = folder / "openssl.cnf"
    ca_key = folder / "ca.key"
    server_request = folder / "server.csr"
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-sha256")
    config.write_text(_CONFIG.format(subject=", ".join(subject)), "utf-8")
    try:
        _openssl(
            *("req", "-config", config, "-x509", "-extensions", "ca", "-days", days),
            *(*new_key, "-subj", "/CN=nontax sandbox CA"),
            *("-keyout", ca_key, "-out", made.ca_file),
        )
        _openssl(
            *("req", "-config", config, "-new", *new_key),
            *("-keyout", made.key_file, "-out", server_request),
        )
        _openssl(
            *("x509", "-req", "-in", server_request, "-out", made.cert_file, "-sha256"),
            *("-CA", made.ca_file, "-CAkey", ca_key, "-set_serial", 1),
            *(_ended_yesterday() if expired else ("-days", days)),
            *("-extfile", config, "-extensions", "server"),
        )
    finally:
        for path in (config, ca_key, server_request):
            path.unlink(missing_ok=True)
    return made


def _ended_yesterday() -> tuple[str, ...]:
    # OpenSSL 3.4 has begun to take dates, 3.6 has ended to take a negative number of days.
    if "-not_before" not in _run("x509", "-help").stderr.decode(errors="replace"):
        return ("-days", "-1")
    now = datetime.now(UTC)
    start, end = (f"{now - timedelta(days=days):%Y%m%d%H%M%SZ}" for days in (2, 1))
    return ("-not_before", start, "-not_after", end)


def _run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)


def _openssl(*arguments: object) -> None:
    done = _run(*arguments)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.decode(errors='replace')}")
