"""Reads a request body as JSON, as strictly as WeChat's documentation allows."""

import json
import re
from typing import Any

from .errcodes import RefusalError

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def parse(body: bytes) -> Any:
    """Parse `body`; integers stay exact, numbers with a fraction or an exponent become floats.

    Raises ValueError when it is not UTF-8 (a byte order mark counts as such), not JSON, nested too
    deeply to be read, or when a key occurs twice in one object.
    """
    try:
        return _decoder.decode(body.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_strictly(body: bytes) -> Any:
    """Like `parse`, with WeChat's codes.

    Raises RefusalError: 44002 for an empty body, 47001 for one that `parse` does not read, 47002
    when text stands in it as \\uXXXX escapes (section 1.2 of the reference). Control characters
    have no other form in JSON and may be escaped.
    """
    if not body:
        raise RefusalError(44002)
    try:
        value = parse(body)
    except ValueError:
        raise RefusalError(47001) from None
    if b"\\u" in body:
        # A backslash can only stand inside a string here, so reading escape by escape is enough to
        # tell \uXXXX from an escaped backslash followed by a u.
        for match in _ESCAPE.finditer(body):
            if match[1] is not None and not _is_control(int(match[1], 16)):
                raise RefusalError(47002)
    return value


def _is_control(codepoint: int) -> bool:
    return codepoint < 0x20 or 0x7F <= codepoint < 0xA0
