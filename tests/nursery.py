"""A process with Django and nontax in it, which forks: a relay is there at once.

Each line on its input is what a child does: "send WINDOW", "send-later WINDOW" (a relay of a later
version), "drain", "worker" (Celery's, alone in its process), "pool" (Celery's, with a pool of one
process, as is usual). The answer is the child's id. "wait ID" is answered when that child has
ended.
"""

import ctypes
import importlib
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from typing import Any


class Nursery:
    """Of a test: children that are killed. Use it as a context manager."""

    def __init__(self, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=env, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        if kind is not None:  # a test has failed, and a child may be there
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate(timeout=60)

    def begin(self, *what: object) -> int:
        """A new child; its id."""
        return int(self._ask(" ".join(map(str, what))))

    def end(self, pid: int, number: int) -> None:
        """Send the child a signal, and wait for its end. SIGKILL: also what it has forked."""
        (os.killpg if number == signal.SIGKILL else os.kill)(pid, number)
        assert self._ask(f"wait {pid}") == "ended"

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def _do(what: str, *args: str) -> None:
    from nontax.contrib.django.draining import drain
    from nontax.contrib.django.relay import Relay

    if what == "send-and-forget":
        import nontax.contrib.django.store as store

        # As if the line that forces commits were not there.
        vars(store)["force_commits"] = lambda using: None
    if what == "send-and-sleep":
        _suspend(args[1])
    if what == "send-later":
        from later import know_later

        know_later()
    if what.startswith("send"):
        Relay(window=int(args[0]), poll=0.02).run()
    elif what == "drain":
        drain()
    elif what in ("worker", "pool"):
        from celery_site import app

        # A name of its own: RabbitMQ lets two of one name have no queue for commands.
        pool = ["--pool=solo"] if what == "worker" else ["--pool=prefork", "--concurrency=1"]
        app.worker_main(["worker", *pool, "--loglevel=ERROR", "--without-gossip",
                         "--without-mingle", "--without-heartbeat",
                         f"--hostname=worker{os.getpid()}@%h"])  # fmt: skip


def _suspend(path: str) -> None:
    """As if the machine had been suspended for as many seconds as the file says."""
    import nontax.contrib.django.store as store
    import nontax.delivery.deliver as deliver

    def boot_time() -> float:
        with open(path) as file:
            return time.clock_gettime(time.CLOCK_BOOTTIME) + float(file.read())

    vars(store)["boot_time"] = vars(deliver)["boot_time"] = boot_time


def _end_with_parent() -> None:
    """Also if it is killed: PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _sleep(seconds: Any) -> None:
    select.select((), (), (), seconds)


def _begin(line: str) -> int:
    pid = os.fork()
    if pid == 0:
        _end_with_parent()
        os.setpgid(0, 0)
        sys.stdin = open(os.devnull)  # noqa: SIM115
        os.dup2(2, 1)
        try:
            _do(*line.split())
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.setpgid(pid, pid)  # whoever is first: it may be ended at once
    return pid


def _main() -> None:
    import django

    if "FAKETIME" in os.environ:
        # libfaketime refuses sleeps until a given time, which Python's are.
        time.sleep = _sleep
    _end_with_parent()
    django.setup()
    importlib.import_module("nontax.contrib.django.relay")  # so that no child has to
    if "TEST_BROKER" in os.environ:
        importlib.import_module("celery.bin.worker")
        importlib.import_module("celery_site")

    for line in sys.stdin:
        if line.startswith("wait "):
            os.waitpid(int(line.split()[1]), 0)
            print("ended", flush=True)
        else:
            print(_begin(line), flush=True)


if __name__ == "__main__":
    _main()
