"""Where the machine keeps the certificates it trusts, for a libcurl that was built elsewhere."""

import os

# Each system's own place for all of them in one file.
PLACES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, UOS, Arch; Alpine with ca-certificates
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL, Fedora, openEuler, Anolis, Kylin
    "/etc/pki/tls/certs/ca-bundle.crt",  # RHEL and its like, older
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/var/lib/ca-certificates/ca-bundle.pem",  # SUSE, newer
    "/etc/ssl/cert.pem",  # Alpine
)


def _is_usable(path: str) -> bool:
    try:
        return os.path.isfile(path) and os.path.getsize(path) > 0 and os.access(path, os.R_OK)
    except (OSError, ValueError):
        return False


def _certifi() -> str | None:
    try:
        import certifi
    except ImportError:
        return None
    path: str = certifi.where()
    return path


def find_ca_file(*, needed: bool) -> str | None:
    """Return the path of a PEM file with the certificates that this machine trusts.

    It is the one that SSL_CERT_FILE names, as OpenSSL has it; else the first that exists of
    `PLACES`; else certifi's, if that is installed.

    needed: whether nothing works without it. If not, None is returned where there is none.

    Raises ValueError if it is needed and there is none; the message says what was tried.
    """
    named = os.environ.get("SSL_CERT_FILE")
    if named:
        # No other is taken: whoever names one may want to trust less than the system does.
        if _is_usable(named):
            return named
        if needed:
            raise ValueError(f"the file that SSL_CERT_FILE names cannot be read: {named!r}")
        return None
    for path in PLACES:
        if _is_usable(path):
            return path
    last = _certifi()
    if last is not None and _is_usable(last):
        return last
    if needed:
        raise ValueError(
            "no certificates found to check WeChat's with. Install the system's package "
            "ca-certificates, or certifi, or give ca_file. Tried: SSL_CERT_FILE (not set), "
            f"{', '.join(PLACES)}, certifi ({last or 'not installed'})"
        )
    return None
