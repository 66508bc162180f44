"""Where a test cannot be made, and how its cases are called: for several files."""

import os
import sys

import pytest

ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")
# A debug build of Python.
DEBUG = hasattr(sys, "gettotalrefcount")

forking = pytest.mark.skipif(
    not hasattr(os, "fork") or ASAN,
    reason="nothing forks here, or ASan's own allocator can deadlock in the forked child",
)

# Seen without nontax, too, with 3.11: in open(), traceback.walk_stack(), a comprehension.
survived_by_release_builds = pytest.mark.skipif(
    DEBUG, reason="without memory, assertions of a debug build of Python fail in Python's own code"
)


def shown(value: object) -> str:
    """For the names of tests, the same in each process: not every value can be shown in full."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return "huge"
    return ascii(value).partition(" at 0x")[0][:40]
