"""A command at a terminal of 80 columns, which a test reads and types at."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from nontax.cli.output import width_of

GUARD = 30.0
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Terminal:
    """A process whose stdin, stdout and stderr are one terminal."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *argv: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

        def become_leader() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "nontax", *argv],
            cwd=folder,
            env=os.environ | dict(environment),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=become_leader,
        )
        os.close(slave)
        self._bytes = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._master >= 0:
            os.close(self._master)

    @property
    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self._master)
        self._master = -1

    def read_until(self, wanted: str) -> str:
        """Read until this stands on the screen."""
        until = time.monotonic() + GUARD
        while wanted not in self.text:
            assert time.monotonic() < until, self.text
            assert self._read() or wanted in self.text, self.text
        return self.text

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(GUARD)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], GUARD)
        assert ready, self.text
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the process has closed its side
            return False
        self._bytes += data
        return bool(data)

    @property
    def lines(self) -> list[str]:
        """Every line that stood on the screen, also those that another one has replaced."""
        plain = _ESCAPE.sub("", self.text)
        return [line for line in re.split(r"[\r\n]+", plain) if line]

    def widest(self) -> int:
        return max(map(width_of, self.lines))
