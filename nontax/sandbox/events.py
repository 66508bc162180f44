"""Events as WeChat writes them: XML or JSON, signed, and encrypted if an account wants it.

https://developers.weixin.qq.com/doc/oplatform/en/Third-party_Platforms/Message_Encryption/Technical_Plan.html
"""

import base64
import hashlib
import importlib
import json
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from .accounts import Account

Fields = Mapping[str, str | int]

# What WeChat pads with PKCS#7 is a multiple of this, not of the cipher's 16.
_ENCRYPTED_BLOCK = 32


def message(account: Account, fields: Fields, timestamp: int) -> tuple[str, bytes]:
    """The URL to push to and the body.

    Raises ImportError for an account with `push_aes_key` when there is no package `cryptography`.
    """
    nonce = str(secrets.randbelow(10**10))
    write = _json if account.push_format == "json" else _xml
    body = write(fields)
    query = {
        "signature": _signature(account.push_token, str(timestamp), nonce),
        "timestamp": str(timestamp),
        "nonce": nonce,
        "openid": str(fields["FromUserName"]),
    }
    if account.push_aes_key is not None:
        encrypted = _encrypt(body, account.push_aes_key, account.appid)
        query["encrypt_type"] = "aes"
        query["msg_signature"] = _signature(account.push_token, str(timestamp), nonce, encrypted)
        body = write({"ToUserName": account.gh_id, "Encrypt": encrypted})
    assert account.push_url is not None
    separator = "&" if "?" in account.push_url else "?"
    return f"{account.push_url}{separator}{urlencode(query)}", body


def _signature(*parts: str) -> str:
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


def _xml(fields: Fields) -> bytes:
    lines = ["<xml>"]
    for name, value in fields.items():
        text = str(value)
        if not isinstance(value, int):
            text = "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"
        lines.append(f"<{name}>{text}</{name}>")
    return "\n".join([*lines, "</xml>"]).encode()


def _json(fields: Fields) -> bytes:
    # As in a real sample, CreateTime is a string here.
    texts = {name: str(value) for name, value in fields.items()}
    return json.dumps(texts, ensure_ascii=False).encode()


def _encrypt(body: bytes, aes_key: str, appid: str) -> str:
    # Imported by name: everything else in the sandbox works without this package.
    ciphers = importlib.import_module("cryptography.hazmat.primitives.ciphers")
    key = base64.b64decode(aes_key + "=")
    plain = secrets.token_bytes(16) + len(body).to_bytes(4, "big") + body + appid.encode()
    padding = _ENCRYPTED_BLOCK - len(plain) % _ENCRYPTED_BLOCK
    plain += bytes([padding]) * padding
    encryptor = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode("ascii")
