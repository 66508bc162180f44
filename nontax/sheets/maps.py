"""Map files: TOML that says what the headers and words of one system mean.

unit = "yuan"
key = "business_no"
ignore = ["患者姓名"]

[columns]
fee = "总金额"
billing_time = ["开票日期", "开票时间"]

[constants]
card_id = "p…"

[values.status]
"1" = "正常"
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nontax.sheets.columns import ALIASES, STATEMENT, TIMES, squeeze
from nontax.sheets.kinds import meaning
from nontax.sheets.problems import Problem, SheetError

_KNOWN = ("unit", "key", "ignore", "columns", "constants", "values")
_FIELDS = tuple({**ALIASES, **STATEMENT})
# A constant that tells rows apart would make them all the same one.
_CONSTANTS = ("card_id", "appid", "unit_name", "point", "bill_type")
_WORDS = ("data_type", "status")


class Map(NamedTuple):
    """A map file that was read. field_of, ignored: by the headers as `columns.squeeze` has them."""

    columns: dict[str, tuple[str, ...]]
    field_of: dict[str, str]
    ignored: frozenset[str]
    constants: dict[str, str]
    values: dict[str, dict[str, str]]
    unit: str | None
    key: str | None


def read_map(source: str | os.PathLike[str] | Mapping[str, object] | None) -> Map:
    """Read a map file, or take the same as a dict; None is an empty one.

    Raises `SheetError` with all that is wrong with it.
    """
    if isinstance(source, Mapping) or source is None:
        return _Reader("").read(source or {})
    name = os.path.basename(os.fspath(source))
    return _Reader(name).read(_load(source, name))


def _load(path: str | os.PathLike[str], name: str) -> dict[str, object]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return tomllib.loads(file.read())
    except OSError as error:
        reason = error.strerror or str(error)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = str(error)
    raise SheetError([Problem("map_broken", {"reason": reason}, name)])


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []

    def read(self, content: Mapping[str, object]) -> Map:
        self._known("", content, _KNOWN)
        columns = {
            field: self._texts(f"columns.{field}", headers)
            for field, headers in self._table("columns", content.get("columns", {}), _FIELDS)
        }
        result = Map(
            columns,
            {squeeze(header): field for field, headers in columns.items() for header in headers},
            frozenset(map(squeeze, self._texts("ignore", content.get("ignore", ())))),
            {
                field: self._text(f"constants.{field}", value)
                for field, value in self._table(
                    "constants", content.get("constants", {}), _CONSTANTS
                )
            },
            dict(self._words(content.get("values", {}))),
            self._choice("unit", content.get("unit"), ("yuan", "fen")),
            None if content.get("key") is None else self._text("key", content["key"]),
        )
        if self.problems:
            raise SheetError(self.problems)
        return result

    def _words(self, values: object) -> Iterator[tuple[str, dict[str, str]]]:
        for field, words in self._table("values", values, _WORDS):
            name = f"values.{field}"
            if not isinstance(words, Mapping):
                self._broken(f"{name} is no table")
                continue
            said = {str(word): self._text(f"{name}.{word}", text) for word, text in words.items()}
            for word, text in said.items():
                if not meaning(field, text):
                    self._broken(f"{name}.{word} is {text}, which is not a known {field}")
            yield field, said

    def _table(
        self, name: str, table: object, known: tuple[str, ...]
    ) -> Iterator[tuple[str, object]]:
        if not isinstance(table, Mapping):
            self._broken(f"{name} is no table")
            return
        self._known(f"{name}.", table, known)
        yield from ((key, value) for key, value in table.items() if key in known)

    def _texts(self, name: str, value: object) -> tuple[str, ...]:
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(one, str) for one in texts):
            self._broken(f"{name} is neither a text nor a list of texts")
            return ()
        table, _, field = name.partition(".")
        if table == "columns" and len(texts) not in ((1, 2) if field in TIMES else (1,)):
            self._broken(f"{name} names {len(texts)} columns; only a time can have two")
            return ()
        return tuple(texts)

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            self._broken(f'{name} is not a text in quotation marks ("…")')
        return str(value)

    def _choice(self, name: str, value: object, choices: tuple[str, ...]) -> str | None:
        if value is not None and value not in choices:
            self._broken(f"{name} is none of {', '.join(choices)}")
        return None if value is None else str(value)

    def _known(self, prefix: str, table: Mapping[str, object], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                values = {"name": f"{prefix}{name}", "known": ", ".join(known)}
                self.problems.append(Problem("map_unknown", values, self.name))

    def _broken(self, reason: str) -> None:
        self.problems.append(Problem("map_broken", {"reason": reason}, self.name))
