"""What each column of one file is: its header, a map file, and what the caller said."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nontax.sheets.columns import (
    ALIASES,
    CLOCKS,
    DAYS,
    FIELD_OF,
    INFORMATION,
    KEYS,
    MONEY,
    STATEMENT,
    STATEMENT_FIELD_OF,
    TIMES,
    is_statement,
    split_unit,
    squeeze,
)
from nontax.sheets.maps import Map
from nontax.sheets.problems import Problem, SheetError


class Columns(NamedTuple):
    """What was made of a header.

    indexes: field → the places of its columns (dict of str to tuple of int). unit: "yuan", "fen".
    key: the fields that tell rows apart.
    """

    headers: tuple[str, ...]
    indexes: dict[str, tuple[int, ...]]
    unit: str
    key: tuple[str, ...]
    statement: bool


def field_of(header: object, mapping: Map | None = None, statement: bool = False) -> str:
    """Name the field that a header stands for, or ""."""
    text = squeeze(header)
    if mapping and text in mapping.ignored:
        return ""
    if mapping and text in mapping.field_of:
        return mapping.field_of[text]
    table = STATEMENT_FIELD_OF if statement else FIELD_OF
    return table.get(text) or _money_field(text, table)


def _money_field(text: str, table: Mapping[str, str]) -> str:
    name, unit = split_unit(text)
    field = table.get(name, "") if unit else ""
    return field if field in MONEY else ""


def resolve(headers: Sequence[str], mapping: Map, unit: str | None, key: str | None) -> Columns:
    """Decide what each column is; raise `SheetError` with all that is not clear."""
    return _Resolver(headers, mapping).resolve(unit or mapping.unit, key or mapping.key)


class _Resolver:
    def __init__(self, headers: Sequence[str], mapping: Map) -> None:
        self.headers = tuple(headers)
        self.mapping = mapping
        self.squeezed = [squeeze(header) for header in headers]
        self.statement = is_statement(headers)
        self.problems: list[Problem] = []
        self.unclear: dict[str, list[str]] = {}
        self.indexes: dict[str, tuple[int, ...]] = {}

    def resolve(self, unit: str | None, key: str | None) -> Columns:
        self._map_columns()
        self._find_columns()
        fields = self._key(key)
        unit = self._unit(unit)
        if self.problems:
            raise SheetError(self.problems, self._map_to_write())
        return Columns(self.headers, self.indexes, unit, fields, self.statement)

    def _problem(self, id: str, column: str = "", **values: str) -> None:
        self.problems.append(Problem(id, values, column=column))

    def _map_columns(self) -> None:
        for field, names in self.mapping.columns.items():
            places = []
            for name in names:
                places += self._places(name, field)
            if len(places) == len(names):
                self.indexes[field] = tuple(places)

    def _places(self, header: str, field: str) -> list[int]:
        places = [place for place, text in enumerate(self.squeezed) if text == squeeze(header)]
        if not places:
            self._problem("map_no_column", header=header, field=field)
        if len(places) > 1:
            self._problem("double_column", header, header=header)
        return places[:1]

    def _find_columns(self) -> None:
        found: dict[str, list[int]] = {}
        for place, header in enumerate(self.headers):
            field = field_of(header, self.mapping, self.statement)
            if field and field not in self.mapping.columns:
                found.setdefault(field, []).append(place)
        for field, places in found.items():
            self.indexes[field] = self._choose(field, places)

    def _choose(self, field: str, places: list[int]) -> tuple[int, ...]:
        if len(places) == 1:
            return tuple(places)
        names = [self.squeezed[place] for place in places]
        if len(set(names)) < len(names):
            twice = next(place for place in places if names.count(self.squeezed[place]) > 1)
            self._problem(
                "double_column", self.headers[twice], header=self.headers[twice], field=field
            )
            return tuple(places[:1])
        if self.statement or field in INFORMATION:
            table = STATEMENT if self.statement else ALIASES
            order = [squeeze(header) for header in (*table.get(field, ()), field)]
            bare = {place: split_unit(self.squeezed[place])[0] for place in places}
            return (min(places, key=lambda place: order.index(self._known(bare, order, place))),)
        if field in TIMES and len(places) == 2:
            days = [place for place in places if self.squeezed[place] in DAYS]
            clocks = [place for place in places if self.squeezed[place] in CLOCKS]
            if len(days) == len(clocks) == 1:
                return (days[0], clocks[0])
        self.unclear[field] = [self.headers[place] for place in places]
        self._problem("ambiguous_column", field=field, headers=", ".join(self.unclear[field]))
        return tuple(places[:1])

    def _known(self, bare: Mapping[int, str], order: Sequence[str], place: int) -> str:
        return self.squeezed[place] if self.squeezed[place] in order else bare[place]

    def _key(self, key: str | None) -> tuple[str, ...]:
        if key and key not in ("billing", *(name for fields in KEYS for name in fields)):
            return self._key_column(key)
        if self.statement and not key and "order_id" not in self.indexes:
            self._problem("statement_key")
            return ("order_id",)
        wanted = [fields for fields in KEYS if not key or key in ("+".join(fields), *fields)]
        wanted = [KEYS[1]] if key == "billing" else wanted
        for fields in wanted:
            if all(field in self.indexes for field in fields):
                return fields
        if key:
            self._problem("key_missing", key=key, headers=", ".join(self.headers))
        else:
            self._problem("key_unknown")
        return KEYS[0]

    def _key_column(self, key: str) -> tuple[str, ...]:
        if key in ("+".join(fields) for fields in KEYS):
            return self._key("billing")
        if squeeze(key) in self.squeezed:
            self.indexes["order_id"] = (self.squeezed.index(squeeze(key)),)
        else:
            self._problem("key_missing", key=key, headers=", ".join(self.headers))
        return ("order_id",)

    def _unit(self, unit: str | None) -> str:
        if unit not in (None, "yuan", "fen"):
            raise ValueError(f'unit is {unit!r}; give "yuan" or "fen"')
        said = {
            split_unit(self.squeezed[place])[1]
            for field in MONEY
            for place in self.indexes.get(field, ())
        } - {""}
        if len(said) > 1 or (unit and said - {unit}):
            self._problem("unit_conflict", header_unit=" / ".join(sorted(said)), unit=unit or "?")
        if said:
            return said.pop()
        if unit is None and "fee" in self.indexes:
            self._problem("unit_unknown")
        return unit or "yuan"

    def _map_to_write(self) -> str:
        if not self.unclear:
            return ""
        lines = ["[columns]"]
        for field, headers in self.unclear.items():
            first, *rest = [f"{field} = {_toml_text(header)}" for header in headers]
            lines += [first, *(f"# {line}" for line in rest)]
        return "\n".join([*lines, ""])


def _toml_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
