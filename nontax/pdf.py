"""A PDF to be uploaded, from whatever a caller has: a path, bytes or an open file."""

import io
import os

from nontax.errors import InvalidRequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO, Self

    PdfLike = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]


def _name_of(path: "str | bytes | os.PathLike[str] | os.PathLike[bytes]") -> str:
    # A name on disk may be bytes that are no text.
    return os.path.basename(os.fsencode(path)).decode("utf-8", "replace")


def _check_name(filename: str) -> None:
    if not isinstance(filename, str):
        raise TypeError("filename must be a str")
    # Everything else the core can check; this would not even get there.
    problem = None
    if "\0" in filename:
        problem = "has a NUL character in it"
    elif any("\ud800" <= character <= "\udfff" for character in filename):
        problem = "has half of a surrogate pair in it, which is no text"
    if problem is not None:
        error = InvalidRequestError(problems=[("filename", problem)])
        error.interface = "setpdf"
        raise error


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
            elif isinstance(pdf, io.BytesIO):
                data = pdf.getvalue()  # shared with it, not copied
                source = (data, min(pdf.tell(), len(data)), max(len(data) - pdf.tell(), 0))
            elif callable(getattr(pdf, "read", None)):
                path = getattr(pdf, "name", None)
                name = (_name_of(path) if isinstance(path, str | bytes) else "") or name
                source = self._part_of(pdf)
            else:
                raise TypeError(
                    "pdf must be a path, bytes or a file that is open for reading bytes"
                )
        except BaseException:
            self._close()
            raise
        self.payload = (name if filename is None else filename, *source)

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
