"""Pushes as WeChat makes them, plain and encrypted, and readers of them."""

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from nontax.events import (
    Event,
    EventReader,
)

NOW = 1_700_000_000
TOKEN = "CanaryToken9f2a"
AES_KEY = "CanaryKey0123456789abcdefghijklmnopqrstuvwx"
APPID = "wx0123456789abcdef"
NONCE = "415670741"
RAW_KEY = base64.b64decode(AES_KEY + "=")

AUTHORIZATION = {
    "ToUserName": "gh_0123456789ab",
    "FromUserName": "oZI8Fj040-be6rlDohc6gkoPOQTQ",
    "CreateTime": "1700000000",
    "MsgType": "event",
    "Event": "user_authorize_invoice",
    "SuccOrderId": "1202933957956",
    "FailOrderId": "",
    "AuthorizeAppId": "wxf83dd777cffa4eab",
    "Source": "web",
    "SPAppId": "d3hmODNkZDc3",
}
STATUS = {
    "ToUserName": "gh_0123456789ab",
    "FromUserName": "oZI8Fj040-be6rlDohc6gkoPOQTQ",
    "CreateTime": "1700000000",
    "MsgType": "event",
    "Event": "update_invoice_status",
    "Status": "INVOICE_REIMBURSE_LOCK",
    "CardId": "pjZ8Yt9WoOePThU0NfUKz5-tBEWU",
    "Code": "186921658591",
}


def sign(*signed: str, token: str = TOKEN) -> str:
    return hashlib.sha1("".join(sorted([token, *signed])).encode()).hexdigest()


def make_query(*signed: str, timestamp: str = str(NOW), nonce: str = NONCE) -> dict[str, str]:
    name = "msg_signature" if signed else "signature"
    return {name: sign(timestamp, nonce, *signed), "timestamp": timestamp, "nonce": nonce}


def make_xml(fields: dict[str, str], form: str = "<{0}><![CDATA[{1}]]></{0}>") -> bytes:
    elements = "".join(form.format(name, value) for name, value in fields.items())
    return f"<xml>{elements}</xml>".encode()


def make_json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def encrypt_raw(padded: bytes, key: bytes = RAW_KEY) -> str:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def pad(content: bytes) -> bytes:
    missing = 32 - len(content) % 32
    return content + bytes([missing]) * missing


def encrypt(
    message: bytes,
    *,
    appid: str = APPID,
    key: bytes = RAW_KEY,
    prefix: bytes = b"0123456789abcdef",
) -> str:
    length = len(message).to_bytes(4, "big")
    return encrypt_raw(pad(prefix + length + message + appid.encode()), key)


def make_plain_reader(**changes: Any) -> EventReader:
    defaults: dict[str, Any] = {"token": TOKEN, "clock": lambda: NOW}
    return EventReader(**(defaults | changes))


def make_safe_reader(**changes: Any) -> EventReader:
    return make_plain_reader(**({"aes_key": AES_KEY, "appid": APPID} | changes))


def read(body: bytes) -> Event:
    return make_plain_reader().read(make_query(), body)


def read_encrypted(encrypted: str) -> Event:
    return make_safe_reader().read(make_query(encrypted), make_json({"Encrypt": encrypted}))


def read_fields(fields: dict[str, Any]) -> Event:
    return read(make_json(fields))
