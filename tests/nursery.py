"""A process with Django and nontax in it, which forks: a relay is there at once.

Each line on its input is what a child does: "send WINDOW", "drain", "worker" (Celery's, alone in
its process). Its answer is the child's id, then "ended" when that one has ended.
"""

import ctypes
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
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, what)) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def wait(self) -> None:
        """Until the child has ended."""
        assert self._read() == "ended"

    def end(self, pid: int, number: int) -> None:
        """Send the child a signal, and wait for its end."""
        os.kill(pid, number)
        self.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _do(what: str, *args: str) -> None:
    from nontax.contrib.django.draining import drain
    from nontax.contrib.django.relay import Relay

    if what == "send-and-forget":
        import nontax.contrib.django.store as store

        # As if the line that forces commits were not there.
        vars(store)["force_commits"] = lambda using: None
    if what.startswith("send"):
        Relay(window=int(args[0]), poll=0.02).run()
    elif what == "drain":
        drain()
    elif what == "worker":
        from celery_site import app

        # A name of its own: RabbitMQ lets two of one name have no queue for commands.
        app.worker_main(["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip",
                         "--without-mingle", "--without-heartbeat",
                         f"--hostname=worker{os.getpid()}@%h"])  # fmt: skip


def _end_with_parent() -> None:
    """Also if it is killed: PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _sleep(seconds: Any) -> None:
    select.select((), (), (), seconds)


def _main() -> None:
    import django

    if "FAKETIME" in os.environ:
        # libfaketime refuses sleeps until a given time, which Python's are.
        time.sleep = _sleep
    _end_with_parent()
    django.setup()
    import nontax.contrib.django.relay  # noqa: F401 so that no child has to

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _end_with_parent()
            sys.stdin = open(os.devnull)  # noqa: SIM115
            os.dup2(2, 1)
            try:
                _do(*line.split())
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    _main()
