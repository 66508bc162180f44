"""A run of the core that an event loop drives: what single calls and bulk runs stand on."""

import asyncio
import weakref

from nontax.awaited import ask_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nontax._core import Run

# Where there is no descriptor (all systems but Linux), a loop looks so often while calls are under
# way.
LOOK_EVERY = 0.01


class Driver:
    """A run of the core, and the event loop that drives it while calls are under way."""

    def __init__(self, run: "Run[Any]", loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._descriptor = run._fileno()
        # Weak: the loop must be able to end while a client remembers its run.
        self._loop = weakref.ref(loop)
        # What the run has told and nobody has taken: always the same list.
        self._completed: list[Any] = run._poll()
        self._turn_is_due = False
        self._reading = False
        self._looking = False

    def _began(self) -> None:
        """One more call is under way."""
        if not self._run._is_ours():
            # Before anything is added: such a loop has its selector in common with the parent's.
            raise RuntimeError("this event loop was begun before a fork: make a new one")
        loop = self._loop()
        assert loop is not None
        if self._descriptor >= 0:
            if not self._reading:
                # It stays readable until the run has done what is due. So all that begin in this
                # turn of the loop share one turn of the run, and a turn that Ctrl-C has ended is
                # made up for.
                loop.add_reader(self._descriptor, self._turn)
                self._reading = True
            return
        if not self._looking:
            loop.call_later(LOOK_EVERY, self._look, loop)
            self._looking = True
        if not self._turn_is_due:
            self._turn_once_more()
            self._turn_is_due = True

    def _turn_once_more(self) -> None:
        """Have a turn, although nothing may happen on any connection."""
        if self._descriptor >= 0:
            self._run._wakeup()
        else:
            asyncio.get_running_loop().call_soon(self._turn)

    def _ended(self) -> None:
        loop = self._loop()
        idle = self._reading and self._is_idle()
        if idle and loop is not None and not loop.is_closed():
            # An idle run is not held by the loop, and ends with its client.
            self._reading = False  # first: to add it once more does no harm
            loop.remove_reader(self._descriptor)

    def _is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self._run._under_way() == 0

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = not self._is_idle()
        if self._looking:
            loop.call_later(LOOK_EVERY, self._look, loop)
            self._turn()

    def _turn(self) -> None:
        self._turn_is_due = False
        try:
            self._completed = self._run._poll()
            self._run._ask_for_token(self._in_a_thread)
            self._deliver()
            self._ended()
        except BaseException:
            # Ctrl-C came in between, or there was no memory: what was left undone is done in
            # another turn. In C if it can be, before which no second signal comes.
            self._run._wakeup()
            self._turn_once_more()
            raise

    def _in_a_thread(self, fetch_token: "Callable[[], None]") -> None:
        # A token source may block. It is asked once for all calls, so that a thread is cheap.
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(None, ask_for, loop, fetch_token)
        asked.add_done_callback(self._run._fetch_ended)

    def _deliver(self) -> None:
        """Hand on what the run has told, if anything; once more, if that was interrupted."""
        raise NotImplementedError
