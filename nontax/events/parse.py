"""From the bytes of a push, XML or JSON, to its fields; hostile input is refused."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any, NoReturn

# The standard library's expat rather than defusedxml: that one's last release is of 2021, and it
# limits neither depth nor width nor repeated elements, so handlers would be needed all the same.
from xml.parsers import expat

from nontax.events.errors import InvalidEventError

# Far more than any event has: the deepest known ones have 5 levels.
MAX_DEPTH = 10
MAX_VALUES = 10_000

# Unix seconds, in a query or a field.
SECONDS = re.compile(r"[0-9]{1,12}")

# What XML forbids as well, and databases dislike.
_BAD_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def parse(body: bytes) -> dict[str, object]:
    """Read XML or JSON; raises InvalidEventError, which keeps nothing of the body."""
    text = None
    with contextlib.suppress(UnicodeDecodeError):
        text = body.decode("utf-8-sig").strip()
    if text is None:
        raise InvalidEventError("the push is not UTF-8")
    if text.startswith("<"):
        return _parse_xml(text)
    if text.startswith("{"):
        return _parse_json(text)
    raise InvalidEventError("the push is neither XML nor JSON")


class _Element:
    """An element that is still open."""

    __slots__ = ("children", "text")

    def __init__(self) -> None:
        self.children: dict[str, Any] = {}
        self.text: list[str] = []


def _parse_xml(text: str) -> dict[str, object]:
    """Return the elements in the root element <xml>."""
    document = _Element()
    open_elements = [document]
    count = 0

    def start(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        _check_size(count, len(open_elements))
        open_elements.append(_Element())

    def end(name: str) -> None:
        element = open_elements.pop()
        text = "".join(element.text)
        if element.children and text.strip():
            raise InvalidEventError(f"the push has text beside the elements in <{name[:40]}>")
        siblings = open_elements[-1].children
        value = element.children or text
        if name not in siblings:
            siblings[name] = value
        elif len(open_elements) == 2:
            raise InvalidEventError(f"the push has <{name[:40]}> twice")
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]

    def refuse(*_: object) -> NoReturn:
        raise InvalidEventError("the push has a document type or a processing instruction")

    # Given a str, it ignores the encoding that the document declares.
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: open_elements[-1].text.append(text)
    # Entities and external references can only be declared in a document type.
    parser.StartDoctypeDeclHandler = refuse
    parser.ProcessingInstructionHandler = refuse
    problem = ""
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        problem = f"the push is not XML: {error}"
    if problem:
        raise InvalidEventError(problem)
    fields = document.children.get("xml")
    if not isinstance(fields, dict):
        raise InvalidEventError("the push has no elements in a root element <xml>")
    return fields


def _parse_json(text: str) -> dict[str, object]:
    """Return the members of the JSON object."""
    fields = None
    try:
        fields = json.loads(
            text,
            object_pairs_hook=_make_object,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
        )
    except InvalidEventError:
        raise
    except (ValueError, RecursionError):
        pass
    if not isinstance(fields, dict):
        raise InvalidEventError("the push is not JSON")
    count = 0
    unchecked: list[tuple[int, object]] = [(1, fields)]
    while unchecked:
        depth, value = unchecked.pop()
        count += 1
        _check_size(count, depth)
        if isinstance(value, dict):
            unchecked += ((depth + 1, part) for pair in value.items() for part in pair)
        elif isinstance(value, list):
            unchecked += ((depth + 1, part) for part in value)
        elif isinstance(value, str) and _BAD_CHARACTER.search(value):
            raise InvalidEventError("the push has control characters or broken text")
    return fields


def _make_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidEventError("the push has a JSON object with a name twice")
    return members


def _refuse_constant(_name: str) -> NoReturn:
    raise InvalidEventError("the push has a number that JSON does not know")


def _parse_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise InvalidEventError("the push has a number that is too large")
    return number


def _check_size(count: int, depth: int) -> None:
    if count > MAX_VALUES or depth > MAX_DEPTH:
        raise InvalidEventError(
            f"the push has more than {MAX_VALUES} values, or is deeper than {MAX_DEPTH} levels"
        )


def take_text(fields: dict[str, object], name: str) -> str | None:
    """Take a field out: without blanks around it, "" if absent; None, and left, if not text."""
    value = fields.get(name, "")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    elif value is None:
        value = ""
    if not isinstance(value, str):
        return None
    fields.pop(name, None)
    return value.strip()
