"""A lock for `with` that Ctrl-C does not leave taken."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING or sys.version_info < (3, 14):
    from threading import RLock as Lock
else:
    from _thread import RLock

    class Lock(RLock):
        """Since Python 3.14 `with` looks at signals after it has taken a lock, and before it sees
        to giving it back.
        """

        __slots__ = ()

        def __enter__(self):
            count = self._recursion_count()
            try:
                return self.acquire()
            except BaseException:
                if self._recursion_count() > count:
                    self.release()
                raise


__all__ = ["Lock"]
