"""Frames of the caller's library, made and given further columns. Order and index stay."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from nontax.sheets import MissingExtra

LIBRARIES = ("pandas", "polars")


def _narwhals(action: str = "make_frame") -> Any:
    try:
        import narwhals
    except ImportError:
        raise MissingExtra("narwhals", "nontax[notebook]", action) from None
    return narwhals


def copy(frame: Any) -> Any:
    """The frame as it is now: it may be sorted or cut in place before its rows are asked for."""
    return _narwhals("read_frame").from_native(frame, eager_only=True).clone().to_native()


def library(name: str | None = None) -> str:
    """The library that makes a frame of a file: the one named, else imported, else installed."""
    if name is not None:
        return name
    for found in (sys.modules.get, find_spec):
        for known in LIBRARIES:
            if found(known):
                return known
    raise MissingExtra("pandas", "pandas", "make_frame")


def make(columns: Mapping[str, Sequence[object]], name: str | None = None) -> Any:
    """A frame of columns, each of text, int or datetime."""
    narwhals = _narwhals()
    schema = {title: _type(narwhals, values) for title, values in columns.items()}
    return narwhals.from_dict(dict(columns), schema, backend=library(name)).to_native()


def with_columns(frame: Any, columns: Mapping[str, Sequence[object]]) -> Any:
    """The caller's frame with further columns; those of the same name are replaced."""
    narwhals = _narwhals()
    of = narwhals.from_native(frame, eager_only=True)
    series = [
        narwhals.new_series(title, values, _type(narwhals, values), backend=of.implementation)
        for title, values in columns.items()
    ]
    return of.with_columns(*series).to_native()


def _type(narwhals: Any, values: Sequence[object]) -> Any:
    kinds = {*map(type, values)} - {type(None)}
    if kinds == {int}:
        return narwhals.Int64
    return narwhals.Datetime("us") if kinds == {datetime} else narwhals.String
