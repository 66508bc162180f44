"""Where a test cannot be made: conditions and marks for several files."""

import os

import pytest

ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")

forking = pytest.mark.skipif(
    not hasattr(os, "fork") or ASAN,
    reason="nothing forks here, or ASan's own allocator can deadlock in the forked child",
)
