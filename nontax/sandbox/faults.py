"""Faults that the sandbox can play. Given to `Sandbox.inject`; each value applies to one request.

Everything here is immutable. "Taken" means: the request is checked as always, and if it is in order
the bill is in the wallet (or what else its interface is there for is done), whatever the peer is
told.

Common faults, spelled out:

    Errcode(45011)                          a minute quota is used up
    Errcode(-1, taken=True)                 "system error", but the bill is in the wallet
    Delay(2.0)                              two seconds late
    NeverAnswer()                           silence
    Close("nothing")                        a kept-alive connection dies under the next request
    Close("head")                           gone while the body is still on its way
    Close("body")                           read, thrown away, gone
    Close("body", taken=True)               taken, gone without a word
    Close("body", reset=True)               the same with a TCP reset
    Reply(cut_after=40)                     taken, gone in the middle of the reply
    Reply(length_delta=7)                   Content-Length promises seven bytes too many
    Reply(framing="chunked")                a correct reply in chunks
    Reply(piece=1, gap=0.05)                a correct reply, byte by byte
    Reply(framing="endless", body=b" ")     a reply that never ends
    Reply(502, body=b"<html>")              a page of some machine in between
    Reply(302, {"Location": "/"}, b"", taken=False)     a redirect
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Errcode:
    """An error code is answered instead of the true reply.

    code: the errcode. errmsg: sent exactly as given; None for the usual text with a rid.
    taken: whether the bill is taken all the same.
    """

    code: int
    errmsg: str | None = None
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """The bill is taken at once, the true reply is held back for so many seconds."""

    seconds: float

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ValueError("seconds must not be negative")


@dataclass(frozen=True, slots=True)
class NeverAnswer:
    """The whole request is read and no reply is sent until the peer or the sandbox leaves."""

    taken: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is closed instead of a reply.

    after:
        "nothing": as soon as the first byte of the next request is there, without reading it. The
            peer sees a TCP reset, as always when unread bytes are thrown away. No `Request` is
            recorded.
        "head": once the head was read; what comes of the body is thrown away.
        "body": once the whole request was read.
    taken: whether the bill is taken; only with "body".
    reset: a TCP reset instead of an orderly end. Over TLS an orderly end, too, comes without
        close_notify, as from a machine that died.
    """

    after: Literal["nothing", "head", "body"]
    taken: bool = False
    reset: bool = False

    def __post_init__(self) -> None:
        if self.after not in ("nothing", "head", "body"):
            raise ValueError('after must be "nothing", "head" or "body"')
        if self.taken and self.after != "body":
            raise ValueError('a bill can only be taken after the "body"')


@dataclass(frozen=True, slots=True)
class Reply:
    """Any reply at all, well or badly made.

    status: HTTP status. headers: further headers, sent as given; a Content-Type among them replaces
        the usual one.
    body: bytes, sent as they are; None for the body of the true reply.
    taken: whether the bill is taken; it is unless one says otherwise, the worst case for a client.
    framing:
        "length": with Content-Length.
        "chunked": in chunks of `piece` bytes.
        "close": the end of the connection ends the reply.
        "endless": chunks with the same body again and again, until the peer or the sandbox leaves.
    length_delta: added to Content-Length; the connection is closed after the body.
    cut_after: close after so many bytes of the reply, its head included.
    piece, gap: send so many bytes at a time (0: all at once), with so many seconds between.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    taken: bool = True
    framing: Literal["length", "chunked", "close", "endless"] = "length"
    length_delta: int = 0
    cut_after: int | None = None
    piece: int = 0
    gap: float = 0.0

    def __post_init__(self) -> None:
        if self.body is None and not self.taken:
            raise ValueError("the true reply cannot be had without taking the bill: give a body")
        if self.framing not in ("length", "chunked", "close", "endless"):
            raise ValueError('framing must be "length", "chunked", "close" or "endless"')
        if self.length_delta and self.framing != "length":
            raise ValueError('length_delta needs framing="length"')
        if self.framing == "endless" and self.body == b"":
            raise ValueError("an endless reply needs a body to repeat")
        if self.piece < 0 or self.gap < 0 or (self.cut_after or 0) < 0:
            raise ValueError("piece, gap and cut_after must not be negative")
        # A copy, so that a dict changed later does not change the fault.
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))


Fault = Errcode | Delay | NeverAnswer | Close | Reply
_KINDS = {kind.__name__: kind for kind in (Errcode, Delay, NeverAnswer, Close, Reply)}


def parse(text: str) -> tuple[Fault, dict[str, Any]]:
    """Read a fault as it is written in Python; returns it and what else `inject` is given.

    text: such as `Errcode(45011)` or `Close("body", taken=True, times=3, skip=10)` (str); also
        with `path="/nontax/insertbill"`.

    Raises ValueError, which says what is wrong.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError
        kind = _KINDS[call.func.id]
        values = [ast.literal_eval(value) for value in call.args]
        settings = {str(pair.arg): ast.literal_eval(pair.value) for pair in call.keywords}
    except (KeyError, SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(
            f"not a fault: {text!r}; write it as in Python, such as Errcode(45011), "
            'Close("body", taken=True) or Delay(2, times=3, skip=10)'
        ) from None
    due: dict[str, Any] = {
        name: settings.pop(name) for name in ("times", "skip", "path") if name in settings
    }
    for name, kinds in (("times", int), ("skip", int), ("path", str)):
        if name in due and type(due[name]) is not kinds:
            raise ValueError(f"{name} must be {'text' if kinds is str else 'an integer'}")
    try:
        fault: Fault = kind(*values, **settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text!r}: {error}") from None
    return fault, due
