"""A file's bytes and its text: settled, whole, hashed, in a decided encoding."""

import codecs
import hashlib
import os
import time
from collections.abc import Iterator
from typing import BinaryIO

from nontax.sheets.problems import Problem, SheetError

# A few hundred rows: their cells still lie in the processor's cache when they are converted.
BLOCK = 3 << 14

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
NAMES = {"utf-8": "UTF-8", "gb18030": "GB18030", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}


class InputFile:
    """One file that a list is read from, as often as wanted; each time it must be the same.

    Raises `SheetError` for a file that is not there, was just changed, or changes meanwhile.
    """

    def __init__(self, path: str | os.PathLike[str], settle: float) -> None:
        self.path = os.fspath(path)
        self.name = os.path.basename(self.path)
        self.sha256 = ""
        try:
            stat = os.stat(self.path)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise (self.error("no_file") if missing else self._unreadable(error)) from None
        if os.path.isdir(self.path):
            raise self.error("not_a_file")
        # A copy may keep the time of the original, but not the time its own inode was changed.
        age = time.time() - max(stat.st_mtime, stat.st_ctime)
        if settle and age < settle:
            raise self.error("just_changed", seconds=max(0, int(age)))
        if not stat.st_size:
            raise self.error("empty_file")
        self.size = stat.st_size
        self._state = _state(stat)

    def error(self, id: str, row: int = 0, **values: str | int) -> SheetError:
        return SheetError([Problem(id, values, self.name, row=row)])

    def _unreadable(self, error: OSError) -> SheetError:
        return self.error("cannot_read", reason=error.strerror or type(error).__name__)

    def open(self) -> BinaryIO:
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise self._unreadable(error) from None

    def verify(self) -> None:
        """Raise if the file is another one than when it was first seen."""
        try:
            state = _state(os.stat(self.path))
        except OSError:
            state = ()
        if state != self._state:
            raise self.error("changed_while_read")

    def read(self) -> bytes:
        with self.open() as file:
            content = file.read()
        self.verify()
        self.sha256 = hashlib.sha256(content).hexdigest()
        return content

    def magic(self) -> bytes:
        with self.open() as file:
            return file.read(8)

    def blocks(self) -> Iterator[bytes]:
        """Yield the content cut behind line ends, and hash it.

        For encodings in which the byte 10 is a line end wherever it stands.
        """
        digest = hashlib.sha256()
        rest = b""
        with self.open() as file:
            while block := file.read(BLOCK):
                digest.update(block)
                end = block.rfind(b"\n") + 1
                if end:
                    yield rest + block[:end]
                    rest = block[end:]
                else:
                    rest += block
            if rest:
                yield rest
        self.verify()
        self.sha256 = digest.hexdigest()


def _state(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


class TextFile:
    """A text file: which encodings it may have, and its text in one of them."""

    def __init__(self, file: InputFile) -> None:
        self.file = file
        self.encoding = ""
        self._mark = b""
        with file.open() as opened:
            start = opened.read(4)
        for mark, encoding in _MARKS:
            if start.startswith(mark):
                self.encoding, self._mark = encoding, mark

    def ends_with_line_end(self) -> bool:
        line_end = "\n".encode(self.encoding or "ascii")
        with self.file.open() as opened:
            opened.seek(max(0, self.file.size - len(line_end)))
            return opened.read() == line_end

    def encodings(self) -> tuple[str, ...]:
        """List the encodings to try, in this order."""
        return (self.encoding,) if self.encoding else ("utf-8", "gb18030")

    def head(self, encoding: str, size: int = 1 << 16) -> tuple[str, int]:
        """Return whole lines from the start of the text, as far as it is in this encoding.

        And the offset of the first byte that is not, or -1.
        """
        with self.file.open() as opened:
            content = opened.read(size)[len(self._mark) :]
        if len(content) + len(self._mark) == size:
            end = content.rfind("\n".encode(encoding)) + 1
            content = content[: end if end else len(content)]
            if encoding.startswith("utf-16"):
                content = content[: len(content) // 2 * 2]
        try:
            return content.decode(encoding), -1
        except UnicodeDecodeError as error:
            text = content[: error.start].decode(encoding)
            return text[: text.rfind("\n") + 1], len(self._mark) + error.start

    def fits(self, encoding: str) -> bool:
        """Whether the whole file is in this encoding: for headers that do not tell."""
        decoder = codecs.getincrementaldecoder(encoding)()
        with self.file.open() as opened:
            try:
                while block := opened.read(1 << 20):
                    decoder.decode(block)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return False
        return True

    def blocks(self, encoding: str) -> Iterator[str]:
        """Yield the text cut behind line ends; raise `SheetError` where it is no such text."""
        if encoding.startswith("utf-16"):
            yield from self._wide_blocks(encoding)
            return
        position = 0
        for block in self.file.blocks():
            start = len(self._mark) if position == 0 else 0
            if b"\0" in block:
                raise self.file.error("zero_byte")
            try:
                yield block[start:].decode(encoding) if start else block.decode(encoding)
            except UnicodeDecodeError as error:
                raise self.file.error(
                    "mixed_encoding",
                    encoding=NAMES[encoding],
                    offset=position + start + error.start,
                ) from None
            position += len(block)

    def _wide_blocks(self, encoding: str) -> Iterator[str]:
        content = self.file.read()
        try:
            text = content[len(self._mark) :].decode(encoding)
        except UnicodeDecodeError as error:
            raise self.file.error(
                "mixed_encoding", encoding=NAMES[encoding], offset=len(self._mark) + error.start
            ) from None
        if "\0" in text:
            raise self.file.error("zero_byte")
        start = 0
        while start < len(text):
            end = text.rfind("\n", start, start + BLOCK) + 1 or text.find("\n", start) + 1
            end = end or len(text)
            yield text[start:end]
            start = end
