"""The exit codes: a contract, as scripts and timers act on them."""

from enum import IntEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Exit(IntEnum):
    """How a command ended. 1 is left to Python: a traceback is a fault of ours."""

    DONE = 0
    USAGE = 2  # wrong arguments or a bad file; nothing was sent
    WORK_LEFT = 3  # something waits, was refused, or differs
    IN_DOUBT = 4
    STOPPED = 5  # what every bill would meet: account, quota, network
    LEDGER = 6  # the ledger cannot be used
    INTERRUPTED = 130
    TERMINATED = 143


# Several may be true at once; the one that needs a person soonest wins.
_PRECEDENCE = (
    Exit.LEDGER,
    Exit.TERMINATED,
    Exit.INTERRUPTED,
    Exit.STOPPED,
    Exit.IN_DOUBT,
    Exit.WORK_LEFT,
    Exit.USAGE,
)


def worst(codes: "Iterable[Exit]") -> Exit:
    """Return the code that counts where several are true; DONE for none."""
    found = set(codes)
    return next((code for code in _PRECEDENCE if code in found), Exit.DONE)


class StopError(Exception):
    """Ends the command with a sentence for the person and an exit code."""

    def __init__(self, code: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
