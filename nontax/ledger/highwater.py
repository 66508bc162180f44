"""How far the ledger has come, in a file beside it: a ledger that is behind was put back.

The file is mapped, as a run's is: it outlives kill -9. After a power loss it may be behind the
ledger, which says nothing; it is never ahead, unless the ledger is an older copy.
"""

import mmap
import os
import struct

_STEP = struct.Struct("<Q")
SIZE = 64


class HighWater:
    """The last attempt that was handed over by any process."""

    def __init__(self, ledger: str) -> None:
        self.path = f"{ledger}-highwater"
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(file).st_size < SIZE:
                os.posix_fallocate(file, 0, SIZE)
            self._map = mmap.mmap(file, SIZE)
        finally:
            os.close(file)

    def is_ahead(self, ledger_id: str, attempts: int) -> bool:
        """Whether bills were sent of which this ledger knows nothing."""
        name = self._map[8:40].rstrip(b"\0").decode("ascii", "replace")
        if name != ledger_id:
            self._map[0:40] = _STEP.pack(0) + ledger_id.encode()[:32].ljust(32, b"\0")
            return False
        return self.mark > attempts

    @property
    def mark(self) -> int:
        (mark,) = _STEP.unpack_from(self._map)
        return int(mark)

    def reach(self, attempt: int) -> None:
        """This attempt is handed over. Another process may write here at the same time: it is then
        a little behind, which says nothing."""
        if attempt > self.mark:
            _STEP.pack_into(self._map, 0, attempt)

    def forget(self) -> None:
        """The ledger that is there now counts, however old it is."""
        self._map[0:8] = _STEP.pack(0)

    def close(self) -> None:
        self._map.close()
