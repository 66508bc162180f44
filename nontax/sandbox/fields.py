"""Checks that the fields of a request are there, known, and of the right type."""

from collections.abc import Collection
from typing import Any

from .errcodes import RefusalError


def check_fields(
    payload: Any,
    *,
    texts: Collection[str] = (),
    integers: Collection[str] = (),
    optional_texts: Collection[str] = (),
) -> None:
    """Raise RefusalError unless `payload` is an object with these fields and no others."""
    if not isinstance(payload, dict):
        raise RefusalError(47001)
    for name in (*texts, *integers):
        if name not in payload:
            if name == "order_id":
                # As seen for a body in one wrapper too many and for a misspelt key.
                raise RefusalError(72031, text="order_id is empty")
            raise RefusalError(41011, name)
    refuse_unknown(payload, frozenset((*texts, *integers, *optional_texts)), "")
    for name in (*texts, *(name for name in optional_texts if name in payload)):
        check_text(payload, name)
    for name in integers:
        check_integer(payload, name)


def check_text(container: dict[str, Any], name: str) -> None:
    value = container[name]
    if not isinstance(value, str):
        raise RefusalError(72031, f"{name} must be a string")
    if not value:
        raise RefusalError(72031, text=f"{name} is empty")


def check_integer(container: dict[str, Any], name: str) -> None:
    # type() and not isinstance(): a JSON true is no amount.
    if type(container[name]) is not int:
        raise RefusalError(72031, f"{name} must be an integer")


def refuse_unknown(container: dict[str, Any], known: frozenset[str], path: str) -> None:
    # What WeChat itself does with an unknown field is unconfirmed (section 4.5). The sandbox is
    # strict because such a field is mostly a typing error that should show up here and not there.
    if not container.keys() <= known:
        name = next(key for key in container if key not in known)
        raise RefusalError(40097, f"unknown field {path}{name}")
