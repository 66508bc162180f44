"""Excel workbooks of all ages, and ODS, read by python-calamine (`nontax[excel]`)."""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from nontax.sheets.files import InputFile
from nontax.sheets.problems import MissingExtra
from nontax.sheets.tables import Block, OddRow, Row, by_columns

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

HEAD_ROWS = 20
_AT_ONCE = 512
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def is_workbook(magic: bytes) -> bool:
    """Whether a file that begins with these 8 bytes is a workbook, whatever its name."""
    return magic.startswith(_ZIP) or magic == _OLE


class WorkbookFile:
    """A workbook that is read whole; its worksheets are tables."""

    def __init__(self, file: InputFile) -> None:
        try:
            import python_calamine
        except ImportError:
            raise MissingExtra("python-calamine", "nontax[excel]", "read_workbook") from None
        self._file = file
        content = file.read()
        try:
            self._book: CalamineWorkbook = python_calamine.load_workbook(io.BytesIO(content))
        except python_calamine.PasswordError:
            raise file.error("encrypted_workbook") from None
        except (python_calamine.CalamineError, OSError) as error:
            if "EncryptedPackage".encode("utf-16-le") in content:
                raise file.error("encrypted_workbook") from None
            raise file.error("damaged_workbook", reason=str(error)) from None
        self.format = _format(content)
        self.names = [
            sheet.name
            for sheet in self._book.sheets_metadata
            if sheet.visible == python_calamine.SheetVisibleEnum.Visible
            and sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
        ]

    def table(self, name: str) -> "SheetTable":
        from python_calamine import CalamineError

        try:
            return SheetTable(self._book.get_sheet_by_name(name), name, self.format)
        except CalamineError as error:
            raise self._file.error("damaged_workbook", reason=str(error)) from None


def _format(content: bytes) -> str:
    if content.startswith(_OLE):
        return "xls"
    return "ods" if b"mimetypeapplication/vnd.oasis" in content[:100] else "xlsx"


class SheetTable:
    """One worksheet. Cells are str, float, int, bool, or of datetime; an empty one is ""."""

    encoding = ""

    def __init__(self, sheet: "CalamineSheet", name: str, format: str) -> None:
        self.sheet = name
        self.format = format
        self._sheet = sheet

    def _rows(self, skip: int = 0) -> Iterator[Row]:
        return enumerate(islice(self._sheet.iter_rows(), skip, None), skip + 1)

    def head(self) -> Sequence[Row]:
        return list(islice(self._rows(), HEAD_ROWS))

    def blocks(self, header: int, width: int) -> Iterator[Block | OddRow]:
        rows = self._rows(header + 1)
        while some := list(islice(rows, _AT_ONCE)):
            yield from by_columns(some, width)
