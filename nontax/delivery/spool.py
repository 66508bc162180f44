"""Where answers go that the store cannot take: its disk is full or broken, its database away.

A file of a fixed size, made while there is room. Each answer is appended and synced before it is
told; whoever opens the store next reads them back before anything else. It holds card codes and
openids, and no credential.
"""

import fcntl
import json
import os
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZE = 1 << 20
_HEAD = 18  # "%08x %08x " of length and checksum


class SpoolError(Exception):
    """The spool cannot take any more."""


class Spool:
    """One file, shared by all processes that use the store."""

    def __init__(self, path: str) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the file, with all its room. Raises OSError if there is none."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self.path, flags, 0o600)
        try:
            if os.fstat(file).st_size < SIZE:
                os.posix_fallocate(file, 0, SIZE)
                os.fsync(file)
        finally:
            os.close(file)

    def add(self, entries: "Sequence[object]") -> None:
        """Append values that JSON can hold; they are on disk when this returns.

        Raises SpoolError or OSError if they are not.
        """
        data = b"".join(map(_encode, entries))
        file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _end_of(_read(file))
            if end + len(data) > max(SIZE, os.fstat(file).st_size):
                raise SpoolError(f"{self.path} is full")
            _write(file, data, end)
            os.fsync(file)
        finally:
            os.close(file)

    def is_empty(self) -> bool:
        """Whether there is nothing to be read back."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return True
        try:
            return os.read(file, 1) in (b"", b"\0")
        finally:
            os.close(file)

    def read_back(self, take: "Callable[[list[object]], None]") -> int:
        """Give all entries to `take`, and forget them when it has returned; how many there were.

        A last one that was not written to its end is none: it was told to nobody.
        """
        if self.is_empty():
            return 0
        file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            data = _read(file)
            entries = _decode(data)
            take(entries)
            # What is behind the last whole entry goes, too.
            _write(file, bytes(len(data.rstrip(b"\0"))), 0)
            os.fsync(file)
            return len(entries)
        finally:
            os.close(file)


def _write(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written


def _read(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _encode(entry: object) -> bytes:
    text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %08x " % (len(text), crc32(text)) + text


def _whole(data: bytes, at: int) -> bytes | None:
    """The text of the entry that begins there, if it is whole."""
    try:
        length, check = int(data[at : at + 8], 16), int(data[at + 9 : at + 17], 16)
    except ValueError:
        return None
    text = data[at + _HEAD : at + _HEAD + length]
    return text if len(text) == length and crc32(text) == check else None


def _end_of(data: bytes) -> int:
    at = 0
    while (text := _whole(data, at)) is not None:
        at += _HEAD + len(text)
    return at


def _decode(data: bytes) -> list[object]:
    entries, at = [], 0
    while (text := _whole(data, at)) is not None:
        entries.append(json.loads(text))
        at += _HEAD + len(text)
    return entries
