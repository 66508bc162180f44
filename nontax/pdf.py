"""A PDF to be uploaded, from whatever a caller has: a path, bytes or an open file."""

import io
import os

from nontax.awaited import is_async
from nontax.errors import InvalidRequestError
from nontax.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO, Any, Self

    PdfLike = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]


MARK = b"%PDF-"
LOOK_AT = 1024  # as many bytes as the core looks at


def _name_of(path: "str | bytes | os.PathLike[str] | os.PathLike[bytes]") -> str:
    # A name on disk may be bytes that are no text.
    return os.path.basename(os.fsencode(path)).decode("utf-8", "replace")


def _check_name(filename: str) -> None:
    if not isinstance(filename, str):
        raise TypeError("filename must be a str")
    # Everything else the core can check; this would not even get there.
    if "\0" in filename:
        raise _refusal("filename", "contains a NUL character", "has_nul")
    if any("\ud800" <= character <= "\udfff" for character in filename):
        raise _refusal("filename", "contains an unpaired surrogate", "has_surrogate")


def _refusal(path: str, message: str, id: str) -> InvalidRequestError:
    error = InvalidRequestError(problems=[Problem(path, message, id)])
    error.interface = "setpdf"
    return error


def _was_read(file: "IO[bytes]", source: object, offset: int, size: int) -> bool:
    """Whether the part that is left is none because somebody has read what was before it."""
    if size == 0:
        try:
            return file.tell() > 0
        except (AttributeError, OSError, ValueError):  # it has no place (a pipe)
            return False
    return offset > 0 and MARK in _head(source, 0) and MARK not in _head(source, offset)


def _head(source: object, offset: int) -> bytes:
    if isinstance(source, bytes):
        return source[offset : offset + LOOK_AT]
    assert isinstance(source, int)
    return os.pread(source, LOOK_AT, offset)


def _opened_upload(pdf: "Any") -> tuple["Any", str]:
    """What is open of a web framework's uploaded file, and the name that came with it.

    Starlette's and FastAPI's `read` is a coroutine, and aiohttp's has none; with Flask, `name` is
    the form's field.
    """
    file, read = getattr(pdf, "file", None), getattr(pdf, "read", None)
    if callable(getattr(file, "read", None)) and (not callable(read) or is_async(read)):
        name, opened = "filename", file
    else:
        name, opened = "filename" if hasattr(pdf, "stream") else "name", pdf
    given = getattr(pdf, name, None)
    return opened, _name_of(given) if isinstance(given, str | bytes) else ""


class Pdf:
    """A context in which the file is open.

    payload: what nontax._core takes: (name, bytes or descriptor, offset, size).
    """

    __slots__ = ("_opened", "payload")

    def __init__(self, pdf: "PdfLike", filename: str | None) -> None:
        self._opened: list[IO[bytes]] = []
        if filename is not None:
            _check_name(filename)
        name = "bill.pdf"
        try:
            if isinstance(pdf, bytes | bytearray | memoryview):
                data = bytes(pdf)  # the very object, if it is bytes already
                source: tuple[object, int, int] = (data, 0, len(data))
            elif isinstance(pdf, str | os.PathLike):
                opened = open(pdf, "rb")  # noqa: SIM115  (__exit__ closes it)
                self._opened.append(opened)
                name = _name_of(pdf)
                source = self._part_of(opened)
            else:
                file, given_name = _opened_upload(pdf)
                name = given_name or name
                source = self._open_part_of(file)
        except BaseException:
            self._close()
            raise
        self.payload = (name if filename is None else filename, *source)

    def _open_part_of(self, pdf: "IO[bytes]") -> tuple[object, int, int]:
        if not callable(getattr(pdf, "read", None)):
            raise TypeError("pdf must be a path, bytes or a file that is open for reading bytes")
        if is_async(pdf.read):
            raise TypeError("pdf has an async read(): read it first, and give the bytes")
        if isinstance(pdf, io.BytesIO):
            data = pdf.getvalue()  # shared with it, not copied
            offset = min(pdf.tell(), len(data))
            part: tuple[object, int, int] = (data, offset, len(data) - offset)
        else:
            part = self._part_of(pdf)
        if _was_read(pdf, *part):
            raise _refusal("pdf", "was read before: call its seek(0) first", "file_was_read")
        return part

    def _part_of(self, file: "IO[bytes]") -> tuple[object, int, int]:
        """What is still to be read of an open file: descriptor, offset and size."""
        # Others may have a descriptor that gives something else (gzip: what is compressed).
        if not isinstance(getattr(file, "raw", file), io.FileIO):
            return self._part_of(self._copy_of(file))
        try:
            descriptor = file.fileno()
            offset = file.tell()
            size = os.fstat(descriptor).st_size
        except (AttributeError, OSError, ValueError):
            return self._part_of(self._copy_of(file))
        if file.read(0) != b"":
            raise TypeError("pdf must be open for reading bytes, not text")
        if file not in self._opened:
            # If its owner closes it meanwhile, its number can become another file's, which would
            # then go out.
            own = open(os.dup(descriptor), "rb", buffering=0)  # noqa: SIM115  (see above)
            self._opened.append(own)
            descriptor = own.fileno()
        return descriptor, offset, max(size - offset, 0)

    def _copy_of(self, file: "IO[bytes]") -> "IO[bytes]":
        """Copy a file that has no descriptor (a member of a ZIP file, an open URL)."""
        import shutil
        import tempfile

        copy = tempfile.TemporaryFile()  # noqa: SIM115  (__exit__ closes it)
        self._opened.append(copy)
        try:
            shutil.copyfileobj(file, copy)
        except TypeError:
            raise TypeError("pdf must be open for reading bytes, not text") from None
        copy.flush()
        copy.seek(0)
        return copy

    def _close(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        try:  # noqa: SIM105  (contextlib.suppress needs memory)
            self._close()
        except MemoryError:
            pass  # the file is closed when it is dropped; what became of its upload must get out
