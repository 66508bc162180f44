"""A PDF to be uploaded, from whatever a caller has: a path, bytes or an open file."""

import os
from io import BytesIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO, Self

    PdfLike = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]


class Pdf:
    """A context in which the file is open.

    payload: what nontax._core takes: (name, bytes or descriptor, offset, size).
    """

    __slots__ = ("_opened", "payload")

    def __init__(self, pdf: "PdfLike", filename: str | None) -> None:
        self._opened: list[IO[bytes]] = []
        name = "bill.pdf"
        try:
            if isinstance(pdf, bytes | bytearray | memoryview):
                data = bytes(pdf)  # the very object, if it is bytes already
                source: tuple[object, int, int] = (data, 0, len(data))
            elif isinstance(pdf, str | os.PathLike):
                opened = open(pdf, "rb")  # noqa: SIM115  (__exit__ closes it)
                self._opened.append(opened)
                # A name on disk may be bytes that are no text.
                name = os.path.basename(os.fsencode(pdf)).decode("utf-8", "replace")
                source = self._part_of(opened)
            elif isinstance(pdf, BytesIO):
                data = pdf.getvalue()  # shared with it, not copied
                source = (data, min(pdf.tell(), len(data)), max(len(data) - pdf.tell(), 0))
            elif callable(getattr(pdf, "read", None)):
                path = getattr(pdf, "name", None)
                name = os.path.basename(path) if isinstance(path, str) and path else name
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
        try:
            descriptor = file.fileno()
            offset = file.tell()
            size = os.fstat(descriptor).st_size
        except (AttributeError, OSError, ValueError):
            return self._part_of(self._copy_of(file))
        if file.read(0) != b"":
            raise TypeError("pdf must be open for reading bytes, not text")
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
        for opened in self._opened:
            opened.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        self._close()
