"""HTTP/1.1 on the wire: request heads in, reply heads and chunks out. No sockets here."""

import http
import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_HEAD = 65536
# Larger than any PDF of a bill. WeChat's own limit is not documented.
MAX_BODY = 64 * 1024 * 1024
JSON_TYPE = "application/json; encoding=utf-8"

_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.([01])")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DIGITS = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class BadRequestError(Exception):
    """What the peer sent is not HTTP/1.1, or is too large. status: what to answer."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


def check_size(size: int) -> None:
    """Raises BadRequestError for more than the sandbox keeps of a body."""
    if size > MAX_BODY:
        raise BadRequestError("body", 413)


@dataclass(frozen=True, slots=True)
class Head:
    """A request head. `content_length` is None for a body in chunks."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    content_length: int | None
    keep_alive: bool
    expects_continue: bool


def parse_head(data: bytes) -> Head:
    """Parse a request head, given without the empty line at its end. Raises BadRequestError."""
    lines = data.decode("latin-1").split("\r\n")
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise BadRequestError("request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or _HEADER_NAME.fullmatch(name) is None:
            raise BadRequestError("header line")
        name = name.lower()
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "host" not in headers and match[3] == "1":
        raise BadRequestError("no Host")
    path, _, query = match[2].partition("?")
    return Head(
        method=match[1],
        path=path,
        query=query,
        headers=headers,
        content_length=_content_length(headers),
        keep_alive=match[3] == "1" and headers.get("connection", "").lower() != "close",
        expects_continue=headers.get("expect", "").lower() == "100-continue",
    )


def _content_length(headers: Mapping[str, str]) -> int | None:
    length = headers.get("content-length")
    if "transfer-encoding" in headers:
        if length is not None or headers["transfer-encoding"].lower() != "chunked":
            raise BadRequestError("Transfer-Encoding")
        return None
    if length is None:
        return 0
    if _DIGITS.fullmatch(length) is None:
        raise BadRequestError("Content-Length")
    return int(length)


def chunk_size(line: bytes) -> int:
    """The size in the first line of a chunk. Raises BadRequestError."""
    match = _CHUNK_SIZE.fullmatch(line)
    if match is None:
        raise BadRequestError("chunk size")
    return int(match[1], 16)


def reply_head(status: int, headers: Mapping[str, str], framing: str, *, keep_alive: bool) -> bytes:
    """A reply head; `framing` is the header line that says where the body ends, or ""."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}"]
    if not any(name.lower() == "content-type" for name in headers):
        lines.append(f"Content-Type: {JSON_TYPE}")
    lines.extend(f"{name}: {value}" for name, value in headers.items())
    if framing:
        lines.append(framing)
    if not keep_alive:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_reply(body: bytes, *, keep_alive: bool) -> bytes:
    """The ordinary reply, whole."""
    connection = b"" if keep_alive else b"Connection: close\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
        JSON_TYPE.encode(),
        connection,
        len(body),
        body,
    )


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body; empty data ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
