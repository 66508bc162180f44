"""The file of a run: who is alive, and what was handed over.

A run is one open ledger in one process. Its file stands beside the ledger and is opened twice: once
for the lock, which the system gives back when the process ends in whatever way, and once for the
mapping, into which the last attempt is written that was handed over. The mapping is memory of the
machine: it outlives kill -9, and not the machine, whose boot id therefore stands in it.
"""

import fcntl
import mmap
import os
import struct
from contextlib import suppress

SIZE = 64
_MARK = struct.Struct("<Q")
_BOOT_AT = 8


def boot_id() -> str:
    """Of this start of the machine; "" where it is not told."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def path_of(ledger: str, run: int) -> str:
    return f"{ledger}-run-{run}"


class RunFile:
    """Of a run of this process. Made, locked and mapped before the run's row is committed."""

    def __init__(self, ledger: str, run: int) -> None:
        self.path = path_of(ledger, run)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        # One that is there is of a run whose row was never committed.
        self._lock = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, _MARK.pack(0) + boot_id().encode()[: SIZE - _BOOT_AT], 0)
            os.posix_fallocate(self._lock, 0, SIZE)
            mapped = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._map = mmap.mmap(mapped, SIZE)
            finally:
                os.close(mapped)
        except BaseException:
            os.close(self._lock)
            raise
        self.mark = 0

    def handed_over(self, attempt: int) -> None:
        """These bytes may leave the machine from now on. Call it under the ledger's lock."""
        if attempt > self.mark:
            self.mark = attempt
            _MARK.pack_into(self._map, 0, attempt)

    def end(self) -> None:
        """After the run's end is committed: unlinked while it is locked."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        finally:
            self.forget()

    def forget(self) -> None:
        """Close it and leave it where it is: in a forked child, whose parent goes on with it."""
        self._map.close()
        os.close(self._lock)


class OtherRun:
    """The file of a run that has no end. Use it in a `with`: a dead one stays locked meanwhile.

    dead: whether nobody holds its lock. mark: the last attempt that was handed over, or -1 if
    that is not known: everything may have been.
    """

    def __init__(self, ledger: str, run: int) -> None:
        self.path = path_of(ledger, run)
        self.dead, self.mark = True, -1
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            self._file = -1

    def __enter__(self) -> "OtherRun":
        if self._file < 0:
            return self
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.dead = False
            return self
        data = os.pread(self._file, SIZE, 0)
        boot = data[_BOOT_AT:].rstrip(b"\0").decode("ascii", "replace")
        if len(data) == SIZE and boot and boot == boot_id():
            (self.mark,) = _MARK.unpack_from(data)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def unlink(self) -> None:
        """Remove the file of a dead run whose end is committed."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
