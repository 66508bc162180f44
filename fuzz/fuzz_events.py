"""Any bytes as a push: the event reader answers with an event or an EventError. Needs atheris."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nontax.events import Event, EventError, EventReader

# Not what an input could hold by chance.
TOKEN = "FuzzToken9f2a"
AES_KEY = "FuzzKey0123456789abcdefghijklmnopqrstuvwxyz"
APPID = "wx0123456789abcdef"
NOISE = b"0123456789abcdef"


def check(data: bytes) -> dict[str, Event | EventError]:
    """Read the bytes as a push that is signed, in plain mode and in safe mode.

    In safe mode they are the body; then the message, with all around it right; then what is
    encrypted, with less and less around it right. Returns the answer to each.

    Raises what the reader must not raise.
    """
    from nontax.events import EventError, EventReader

    plain = EventReader(token=TOKEN, max_age=None)
    safe = EventReader(token=TOKEN, aes_key=AES_KEY, appid=APPID, max_age=None)
    appid = APPID.encode()
    size = len(data).to_bytes(4, "big")
    answers = {
        "plain": read(plain, data),
        "body": read(safe, data),
        "message": read(safe, seal(pad(NOISE + size + data + appid))),
        "size": read(safe, seal(pad(data + appid))),
        "appid": read(safe, seal(pad(data))),
        "padding": read(safe, seal(data[: len(data) // 16 * 16])),
    }
    assert isinstance(answers["plain"], EventError) or answers["plain"] == answers["message"]
    return answers


def read(reader: EventReader, body: bytes) -> Event | EventError:
    """Ask the reader about a body that bears the signatures of both modes."""
    from nontax.events import EventError

    query = {"timestamp": "1", "nonce": "2"}
    query["signature"] = sign("1", "2")
    query["msg_signature"] = sign("1", "2", find_encrypted(body))
    answer: Event | EventError
    try:
        answer = reader.read(query, body)
        assert isinstance(answer.key, str)
    except EventError as error:
        answer = error
    assert TOKEN not in repr(answer)
    assert AES_KEY not in repr(answer)
    return answer


def sign(*signed: str) -> str:
    """Sign as WeChat does."""
    return hashlib.sha1("".join(sorted([TOKEN, *signed])).encode()).hexdigest()


def find_encrypted(body: bytes) -> str:
    """Return what the signature of safe mode covers, "" if there is no such thing."""
    from nontax.events import EventError
    from nontax.events.parse import parse, take_text

    try:
        return take_text(parse(body), "Encrypt") or ""
    except EventError:
        return ""


def pad(content: bytes) -> bytes:
    """Fill to whole blocks of 32 bytes, as WeChat does."""
    missing = 32 - len(content) % 32
    return content + bytes([missing]) * missing


def seal(blocks: bytes) -> bytes:
    """Return the body of a push in safe mode that holds these blocks."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = base64.b64decode(AES_KEY + "=")
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    encrypted = base64.b64encode(encryptor.update(blocks) + encryptor.finalize())
    return json.dumps({"Encrypt": encrypted.decode()}).encode()


def main() -> None:
    """Fuzz, as the arguments of libFuzzer say."""
    import atheris

    with atheris.instrument_imports(include=["nontax"]):
        import nontax.events  # noqa: F401
    # To merge, libFuzzer starts itself again, and knows no other name for that than the first word.
    atheris.Setup([f"{sys.executable} {sys.argv[0]}", *sys.argv[1:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
