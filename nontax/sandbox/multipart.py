"""Takes a multipart/form-data body apart (RFC 7578)."""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_BOUNDARY = re.compile(
    r'multipart/form-data\s*;.*?\bboundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.I
)
_PARAMETER = re.compile(r';\s*([\w!#$&+^`|~.-]+\*?)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)', re.ASCII)
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One part; `filename` is None for one that is no file."""

    name: str
    filename: str | None
    content_type: str
    content: bytes


def parse(content_type: str, body: bytes) -> list[Part]:
    """The parts of a body with this Content-Type. Raises ValueError if it is malformed."""
    match = _BOUNDARY.match(content_type)
    if match is None:
        raise ValueError("no multipart/form-data with a boundary")
    delimiter = b"\r\n--" + (match[1] or match[2]).encode("latin-1")
    # The first boundary may stand at the very beginning.
    _, *pieces = (b"\r\n" + body).split(delimiter)
    if not pieces or not pieces[-1].startswith(b"--"):
        raise ValueError("no closing boundary")
    return [_part(piece) for piece in pieces[:-1]]


def _part(piece: bytes) -> Part:
    padding, line_end, rest = piece.partition(b"\r\n")
    # An empty line may follow at once: then the part has no headers, and so no name.
    head, blank, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if padding.strip(b" \t") or not line_end or not blank:
        raise ValueError("a part without a head")
    headers = {}
    # Raw UTF-8, as browsers and curl send it; UnicodeDecodeError is a ValueError.
    for line in head.decode("utf-8").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    disposition = headers.get("content-disposition", "")
    if disposition.partition(";")[0].strip().lower() != "form-data":
        raise ValueError("no Content-Disposition: form-data")
    parameters = {name.lower(): _unquoted(value) for name, value in _PARAMETER.findall(disposition)}
    if "name" not in parameters:
        raise ValueError("a part without a name")
    filename = parameters.get("filename")
    if "filename*" in parameters:
        filename = _decode_extended(parameters["filename*"])
    return Part(parameters["name"], filename, headers.get("content-type", ""), content)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1])


def _decode_extended(value: str) -> str:
    """The text of a parameter as in RFC 5987, such as UTF-8''%E5%8F%91.pdf."""
    match = _EXTENDED.fullmatch(value)
    if match is None:
        raise ValueError("filename* in an unknown form")
    return unquote_to_bytes(match[2]).decode(match[1])
