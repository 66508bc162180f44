"""No memory in the core, over TLS: each allocation of a bulk run fails once.

All other ways of a call, without TLS: tests/core/test_memory.c.
"""

import os
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from processes import without_preload

from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import Certificates

# Building the core takes its time, too, beside other tests on a slow machine.
pytestmark = pytest.mark.timeout(240)

HERE = Path(__file__).parent
CORE = HERE.parent / "csrc" / "core"

# By outcome: how often the server may have taken such a bill.
TIMES_TAKEN = {"inserted": (1,), "rejected": (0,), "not_sent": (0,), "in_doubt": (0, 1)}


def pkg_config(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["pkg-config", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program tests/memory/over_tls.c, built with the core."""
    program = tmp_path_factory.mktemp("over_tls") / "over_tls"
    libraries = pkg_config("--cflags", "--libs", "libcurl", "libcjson", "cmocka").stdout
    sources = [HERE / name for name in ("memory/over_tls.c", "core/sweep.c", "core/support.c")]
    command = [os.environ.get("CC", "cc"), "-std=c11", "-D_DEFAULT_SOURCE", "-O1", "-g"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += ['-DNONTAX_VERSION="0"', f"-I{CORE}", f"-I{HERE / 'core'}", "-o", str(program)]
    command += [str(source) for source in [*sources, *sorted(CORE.glob("*.c"))]]
    command += [*shlex.split(libraries), "-lpthread", "-ldl", "-lm"]
    subprocess.run(command, check=True, env=without_preload())
    return program


def sweep(program: Path, base_url: str, certificates: Certificates, token: str) -> dict[str, str]:
    """Return each order's outcome."""
    done = subprocess.run(
        [program, base_url, certificates.ca_file, token],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(line.split() for line in done.stdout.splitlines())


def check(told: dict[str, str], taken: Counter[str]) -> None:
    for order, outcome in told.items():
        assert taken[order] in TIMES_TAKEN[outcome], (order, outcome, taken[order])
    assert taken.keys() <= told.keys()
    assert len(told) > 300
    assert {"inserted", "not_sent", "in_doubt"} <= set(told.values())


def test_each_allocation_fails_once(
    over_tls: Path, tls_sandbox: Sandbox, certificates: Certificates
) -> None:
    told = sweep(over_tls, tls_sandbox.base_url, certificates, tls_sandbox.access_token)
    # Without the memory for it libcurl 7.88 leaves the URL's query out, and the token with it: that
    # is refused.
    requests = [one for one in tls_sandbox.requests if one.errcode != 41001]
    check(told, Counter(one.order_id for one in requests if one.order_id is not None))
