"""The PDF of each row: found by a column or a name pattern, looked at and hashed."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from nontax.sheets.columns import squeeze
from nontax.sheets.problems import Problem, SheetError
from nontax.sheets.resolve import Columns, field_of

if TYPE_CHECKING:
    from nontax.sheets.reading import Batch, Reading

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class Pdf(NamedTuple):
    """A bill's PDF. path: where it is. sha256: of its content, in hexadecimal digits."""

    path: str
    sha256: str


class PdfFolder:
    """Finds the PDF of each row in one folder.

    pattern: a name such as "{票据代码}_{票据号码}.pdf", with headers or fields in braces; None: the
    list's own column of names.
    """

    def __init__(
        self, folder: str | os.PathLike[str], pattern: str | None, columns: Columns
    ) -> None:
        self._folder = os.path.realpath(os.fspath(folder))
        self._pattern = "{pdf}" if pattern is None else pattern
        self._fields = _fields(self._pattern, columns)
        self._seen: dict[str, str] = {}

    def find(self, batch: "Batch", reading: "Reading") -> "Batch":
        """Return the batch with a column `pdf_file`, without the rows whose PDF is not in order."""
        files = [
            self._file(row, kind, values, reading)
            for row, kind, values in zip(
                batch.rows, batch["kind"], self._values(batch), strict=True
            )
        ]
        keep = [
            file is not None or kind != "bill"
            for file, kind in zip(files, batch["kind"], strict=True)
        ]
        batch.columns["pdf_file"] = files
        if all(keep):
            return batch
        columns = {field: list(compress(column, keep)) for field, column in batch.columns.items()}
        return type(batch)(list(compress(batch.rows, keep)), columns)

    def _values(self, batch: "Batch") -> Sequence[Mapping[str, str]]:
        names = list(self._fields)
        columns = [batch[self._fields[name]] for name in names]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]

    def _file(
        self, row: int, kind: str, values: Mapping[str, str], reading: "Reading"
    ) -> Pdf | None:
        if kind != "bill":
            return None
        name = _PLACEHOLDER.sub(lambda found: values[found[1]], self._pattern)
        try:
            return self._look(name)
        except _PdfError as error:
            reading.problem(error.id, row, "", {"name": name, **error.values})
        return None

    def _look(self, name: str) -> Pdf:
        path = os.path.realpath(os.path.join(self._folder, name))
        if not name or os.path.commonpath([path, self._folder]) != self._folder:
            raise _PdfError("pdf_outside" if name else "pdf_missing")
        try:
            with open(path, "rb") as file:
                if file.read(5) != b"%PDF-":
                    raise _PdfError("pdf_not_pdf")
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise _PdfError("pdf_missing") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise _PdfError("pdf_unreadable", reason=reason) from None
        if self._seen.setdefault(path, digest) != digest:
            raise _PdfError("pdf_changed")
        return Pdf(path, digest)


class _PdfError(Exception):
    def __init__(self, id: str, **values: str) -> None:
        super().__init__(id)
        self.id = id
        self.values = values


def _fields(pattern: str, columns: Columns) -> dict[str, str]:
    """Return which field each placeholder means."""
    known = {
        squeeze(columns.headers[places[0]]): field for field, places in columns.indexes.items()
    }
    fields: dict[str, str] = {}
    problems = []
    for name in _PLACEHOLDER.findall(pattern):
        field = known.get(squeeze(name)) or field_of(name)
        if field not in columns.indexes:
            values = {"field": "pdf", "example": name}
            problems.append(Problem("missing_column", values))
        fields[name] = field
    if problems:
        raise SheetError(problems)
    return fields
