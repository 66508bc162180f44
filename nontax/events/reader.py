"""EventReader: is a push from WeChat, and what does it say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import sys
import time
from binascii import a2b_base64
from typing import TYPE_CHECKING, NoReturn

from nontax.events.errors import InvalidEventError, UntrustedEventError
from nontax.events.model import Event, read_event
from nontax.events.parse import SECONDS, parse, take_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC

MAX_BODY = 1024 * 1024
# How far apart, in seconds, a plain push's CreateTime and its signed time may be.
MAX_LAG = 600

_SIGNATURE = re.compile(r"[0-9a-f]{40}")
# The signed values are joined without separators, so a part of one could pass for a part of its
# neighbour. 64 characters are too few to take the first cipher blocks out of `Encrypt`.
_NONCE = re.compile(r"[!-~]{1,64}")
# `echostr` is not signed: no markup may come back from our own site.
_ECHO = re.compile(r"[0-9A-Za-z_+/=.-]{1,256}")
_TOKEN = re.compile(r"[!-~]+")
_AES_KEY = re.compile(r"[0-9A-Za-z+/]{43}")


class EventReader:
    """Reads the events of one account. Immutable; may be used by several threads.

    token: the account's Token of the message settings (str).
    aes_key: its EncodingAESKey, 43 characters, if the account is in safe or compatible mode (str);
        then plain pushes are refused. Without it, encrypted ones are.
    appid: the account's AppID (str); given with aes_key, and only then. A message encrypted for
        another AppID is refused.
    max_age: how far the signed time may be from now, both ways, in seconds; None: any time.
    clock: gives the current Unix time in seconds.

    Raises ValueError for settings that cannot be right, and ImportError if aes_key is given and
    `cryptography` is missing (`pip install nontax[events]`).

    Neither its repr nor an error shows token or aes_key. It cannot be pickled or copied.
    """

    __slots__ = ("_appid", "_cipher", "_clock", "_max_age", "_token")

    _appid: str | None
    _cipher: Cipher[CBC] | None
    _clock: Callable[[], float]
    _max_age: float | None
    _token: str

    def __init__(
        self,
        *,
        token: str,
        aes_key: str | None = None,
        appid: str | None = None,
        max_age: float | None = 300,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            self._max_age = _check_max_age(max_age)
            self._clock = clock
            self._cipher = None
            # What a caller without a type checker gives may be anything.
            if not isinstance(token, str) or not _TOKEN.fullmatch(token):  # type: ignore[redundant-expr]
                raise ValueError("token must be text without blanks")
            if (aes_key is None) != (appid is None):
                raise ValueError("aes_key and appid must be given together, or neither")
            if appid is not None and not (
                isinstance(appid, str) and _TOKEN.fullmatch(appid)  # type: ignore[redundant-expr]
            ):
                raise ValueError("appid must be text without blanks")
            self._appid = appid
            if aes_key is not None:
                if not isinstance(aes_key, str) or not _AES_KEY.fullmatch(aes_key):  # type: ignore[redundant-expr]
                    raise ValueError("aes_key must be the 43 letters and digits of EncodingAESKey")
                algorithms, modes, cipher = _ciphers()
                self._cipher = cipher(
                    algorithms.AES(a2b_base64(aes_key + "=")),
                    modes.CBC(a2b_base64(aes_key + "=")[:16]),
                )
            self._token = token
        finally:
            # A traceback may be shown with its local variables. For the same reason the two are
            # given to no function of ours, and what is made of them gets no name.
            del token, aes_key

    def read(self, query: Mapping[str, str], body: bytes) -> Event:
        """Check a push and read what is in it.

        query: the parameters of the URL, decoded, one str each (mapping).
        body: the request's body as it came, XML or JSON (bytes).

        Raises UntrustedEventError (signature wrong or missing, too old, plain where it must be
        encrypted, cannot be decrypted, over 1 MiB; in plain mode a CreateTime more than 10 minutes
        from the signed time) or InvalidEventError (signed, and one of the two events as far as can
        be seen, but broken; or encrypted for a reader without a key); both are EventError. All else
        that is signed is an OtherEvent, whatever a citizen has written. TypeError if an argument is
        of another type.
        """
        if not isinstance(body, bytes):
            raise TypeError(f"body must be bytes, not {type(body).__name__}")
        if len(body) > MAX_BODY:
            raise UntrustedEventError(f"the push is larger than {MAX_BODY} bytes")
        if self._cipher is not None:
            return read_event(self._open(query, body, self._cipher))
        self._verify(query, "signature")
        event = read_event(body)
        if "Encrypt" in event.extra:
            raise InvalidEventError("the push is encrypted: give the reader aes_key and appid")
        signed = int(_get_parameter(query, "timestamp"))
        if event.create_time is not None and abs(event.create_time - signed) > MAX_LAG:
            raise UntrustedEventError(
                f"CreateTime and the signed time are more than {MAX_LAG // 60} minutes apart: "
                "another push may have been sent under this signature"
            )
        return event

    def echo(self, query: Mapping[str, str]) -> str:
        """Answer the GET request with which WeChat checks the URL; the same in every mode.

        query: the parameters of the URL, decoded, one str each (mapping).
        Returns what to send back, as text/plain (str).

        Raises UntrustedEventError if the signature is wrong or missing, or its time too old.
        """
        self._verify(query, "signature")
        answer = _get_parameter(query, "echostr")
        if not _ECHO.fullmatch(answer):
            raise UntrustedEventError("echostr is too long, or more than letters and digits")
        return answer

    def _verify(self, query: Mapping[str, str], parameter: str, *signed: str) -> None:
        """Raise UntrustedEventError unless the query's signature covers `signed` and is of now."""
        signature = _get_parameter(query, parameter)
        timestamp = _get_parameter(query, "timestamp")
        nonce = _get_parameter(query, "nonce")
        if (
            not _SIGNATURE.fullmatch(signature)
            or not SECONDS.fullmatch(timestamp)
            or not _NONCE.fullmatch(nonce)
            or not self._is_signature(signature, timestamp, nonce, *signed)
        ):
            raise UntrustedEventError(f"{parameter} is wrong: not from WeChat, or another token")
        age = self._clock() - int(timestamp)
        if self._max_age is not None and not abs(age) <= self._max_age:
            when = "in the future" if age < 0 else "ago"
            raise UntrustedEventError(
                f"the push was signed {abs(age):.0f} seconds {when}, more than max_age: "
                "a repetition by a stranger, or this machine's clock is wrong"
            )

    def _is_signature(self, given: str, *signed: str) -> bool:
        # Without a name for what is hashed: a signal's exception would show it with this frame.
        return hmac.compare_digest(
            hashlib.sha1("".join(sorted((self._token, *signed))).encode()).hexdigest(), given
        )

    def _open(self, query: Mapping[str, str], body: bytes, cipher: Cipher[CBC]) -> bytes:
        """Return the message that the envelope `body` holds."""
        try:
            envelope = parse(body)
        except InvalidEventError as error:
            raise UntrustedEventError(str(error)) from None
        encrypted = take_text(envelope, "Encrypt")
        if not encrypted:
            raise UntrustedEventError(
                "the push is not encrypted, but the reader has an aes_key: "
                "set the account to safe mode (安全模式), or make the reader without aes_key"
            )
        self._verify(query, "msg_signature", encrypted)
        message = _decrypt(cipher, encrypted, self._appid)
        if message is None:
            raise UntrustedEventError(
                "the push cannot be decrypted: check that aes_key and appid are this account's"
            )
        return message

    def __repr__(self) -> str:
        # A traceback with local variables may show one that could not be made.
        if not hasattr(self, "_token"):
            return "<EventReader of nobody>"
        mode = "plain" if self._cipher is None else f"encrypted, appid={self._appid!r}"
        return f"<EventReader {mode}, max_age={self._max_age!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an EventReader holds secrets: it can be neither pickled nor copied")


def _check_max_age(max_age: object) -> float | None:
    if max_age is None:
        return None
    if not isinstance(max_age, int | float) or not 0 < max_age <= sys.float_info.max:
        raise ValueError("max_age must be a number of seconds above 0, or None")
    return max_age


def _ciphers() -> tuple[ModuleType, ModuleType, type[Cipher[CBC]]]:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        raise ImportError(
            "encrypted events need the package cryptography: pip install nontax[events]"
        ) from None
    return algorithms, modes, Cipher


def _decrypt(cipher: Cipher[CBC], encrypted: str, appid: str | None) -> bytes | None:
    """Return the message in `encrypted`, or None: nobody shall learn which step failed.

    Inside are 16 random bytes, the message's length in 4 bytes, the message, and the AppID.
    """
    from cryptography.hazmat.primitives.padding import PKCS7

    decryptor = cipher.decryptor()
    unpadder = PKCS7(256).unpadder()
    try:
        padded = decryptor.update(base64.b64decode(encrypted, validate=True))
        padded += decryptor.finalize()
        content = unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        return None
    end = 20 + int.from_bytes(content[16:20], "big")
    if appid is None or content[end:] != appid.encode():
        return None
    return content[20:end]


def _get_parameter(query: Mapping[str, str], name: str) -> str:
    value: object = query.get(name)
    if value is None:
        raise UntrustedEventError(f"the query has no {name}")
    if not isinstance(value, str):
        raise TypeError(f"query[{name!r}] must be a str, not {type(value).__name__}")
    return value
