"""Run as root in a throw-away system: does the wheel trust what such a system keeps in each place?

usage: check_certificates.py CERTIFI_WHEEL
"""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

import nontax
from nontax import _core
from nontax.certificates import PLACES, find_ca_file
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import make_certificates

BILL = {
    "order_id": "1511169724",
    "card_id": "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw",
    "appid": "wxc0b84a53ed8e8d29",
    "fee": 123,
    "title": "灌哥发票",
    "billing_time": 1511169724,
    "billing_no": "1511169724",
    "billing_code": "aabbccdd",
    "s_pdf_media_id": "75195574948725301",
}


def insert(sandbox: Sandbox, order_id: str) -> str:
    """Insert a bill with a client that was told of no certificate; return its card code."""
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, retries=0
    ) as client:
        return client.insert_bill({**BILL, "order_id": order_id, "billing_no": order_id}).code


def refusal(sandbox: Sandbox) -> str:
    """Return why no client can be made, or no bill inserted."""
    try:
        insert(sandbox, "refused")
    except (ValueError, nontax.TLSError) as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("a bill was inserted though nobody vouched for the server")


def main() -> int:
    """Check each place, then SSL_CERT_FILE, then certifi; 0 if all is well."""
    assert _core.own_tls, "this nontax uses the system's libcurl"
    # The places are this program's to fill and to empty only where none of them is in use.
    assert not any(os.path.lexists(place) for place in PLACES), "the system has certificates"
    with tempfile.TemporaryDirectory() as folder:
        made = make_certificates(Path(folder))
        with Sandbox(certfile=made.cert_file, keyfile=made.key_file) as sandbox:
            for number, place in enumerate(PLACES):
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                Path(place).write_bytes(made.ca_file.read_bytes())
                assert insert(sandbox, f"place-{number}")
                Path(place).unlink()
            told = refusal(sandbox)
            assert told.startswith("ValueError: "), told
            assert all(place in told for place in PLACES), told
            os.environ["SSL_CERT_FILE"] = str(made.ca_file)
            assert insert(sandbox, "named")
            del os.environ["SSL_CERT_FILE"]
            with zipfile.ZipFile(sys.argv[1]) as certifi:
                certifi.extractall(folder)
            sys.path.append(folder)
            found = find_ca_file(needed=True)
            assert found is not None
            assert found.endswith("certifi/cacert.pem"), found
            assert refusal(sandbox).startswith("TLSError: "), "certifi knows the sandbox?"
            assert len(sandbox.bills) == len(PLACES) + 1
    print(f"trusts what is in {', '.join(PLACES)}, SSL_CERT_FILE and certifi")
    return 0


if __name__ == "__main__":
    sys.exit(main())
