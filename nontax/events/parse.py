"""From the bytes of a push, XML or JSON, to its fields; hostile input is refused.

Citizens' chat messages come to the same URL. What they may contain and XML may not (control
characters, halves of surrogate pairs, bytes that are not UTF-8) is replaced by U+FFFD.
"""

from __future__ import annotations

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

# In place of a character that cannot be kept; also what Python puts in place of broken UTF-8.
REPLACEMENT = "\ufffd"

# What XML forbids, and databases dislike.
_BAD_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def parse(body: bytes) -> dict[str, object]:
    """Read XML or JSON; raises InvalidEventError, which keeps nothing of the body."""
    text = body.decode("utf-8-sig", "replace").strip()
    if text.startswith("<"):
        return _parse_xml(_BAD_CHARACTER.sub(REPLACEMENT, text))
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
            strict=False,
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
    return _Mender().mend(fields, depth=1)


class _Mender:
    """Copies what JSON has brought, counts it, and replaces the characters that cannot be kept."""

    def __init__(self) -> None:
        self._count = 0

    def mend(self, fields: dict[str, object], depth: int) -> dict[str, object]:
        self._see(depth)
        return {
            self._mend_text(name, depth + 1): self._mend_value(value, depth + 1)
            for name, value in fields.items()
        }

    def _mend_value(self, value: object, depth: int) -> object:
        if isinstance(value, dict):
            return self.mend(value, depth)
        if isinstance(value, str):
            return self._mend_text(value, depth)
        self._see(depth)
        if isinstance(value, list):
            return [self._mend_value(part, depth + 1) for part in value]
        return value

    def _mend_text(self, text: str, depth: int) -> str:
        self._see(depth)
        return _BAD_CHARACTER.sub(REPLACEMENT, text)

    def _see(self, depth: int) -> None:
        self._count += 1
        _check_size(self._count, depth)


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
