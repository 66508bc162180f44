"""Where a test cannot be made, and how its cases are called: for several files."""

import os

import pytest

ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")

forking = pytest.mark.skipif(
    not hasattr(os, "fork") or ASAN,
    reason="nothing forks here, or ASan's own allocator can deadlock in the forked child",
)


def shown(value: object) -> str:
    """For the names of tests, the same in each process: not every value can be shown in full."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return "huge"
    return ascii(value).partition(" at 0x")[0][:40]
