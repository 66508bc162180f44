"""Pushes that another system has received and passes on, signed with a key of your own.

An account has one URL for its pushes. Where that is another vendor's, they pass on the body as
WeChat sent it, decrypted, with the headers that `sign` makes.
"""

import hashlib
import hmac
import time

from nontax.events import UntrustedEventError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TIMESTAMP, SIGNATURE = "X-Nontax-Timestamp", "X-Nontax-Signature"
# How far the signed time may be from now, both ways, in seconds. A repeat changes nothing anyway.
MAX_AGE = 300


def _digest(key: str, timestamp: str, body: bytes) -> str:
    try:
        signed = timestamp.encode() + b"." + body
        return hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
    finally:
        del key


def sign(key: str, body: bytes, *, timestamp: int | None = None) -> dict[str, str]:
    """The two headers for a body: its time in Unix seconds, and HMAC-SHA256 of "time.body"."""
    try:
        seconds = str(int(time.time()) if timestamp is None else timestamp)
        return {TIMESTAMP: seconds, SIGNATURE: _digest(key, seconds, body)}
    finally:
        del key


def check(key: str, headers: "Mapping[str, str]", body: bytes) -> None:
    """Raises UntrustedEventError unless the body was signed with this key just now."""
    try:
        timestamp = headers.get(TIMESTAMP, "")
        given = headers.get(SIGNATURE, "").lower()
        expected = _digest(key, timestamp, body)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise UntrustedEventError(f"{SIGNATURE} is wrong or missing")
        if not (timestamp.isascii() and timestamp.isdecimal()):
            raise UntrustedEventError(f"{TIMESTAMP} is not a time in Unix seconds")
        if abs(time.time() - int(timestamp)) > MAX_AGE:
            raise UntrustedEventError(f"{TIMESTAMP} is more than {MAX_AGE} seconds from now")
    finally:
        expected = ""
        del key
