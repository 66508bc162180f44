"""One run: a server, the clients of one mode, kills and Ctrl-C between them, and the comparison."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from chaos import comparison, driver, journal

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run is made of.

    mode: one of driver.MODES. faults:
    share of requests with one. interrupts, kills: how often in a thousand bills the clients meet
    Ctrl-C and the server SIGKILL; a rate that is not 0 means one at least. forks: share of bills
    with one. quota: how many 45011 at most; each stops a bulk run until the next minute. seconds:
    after which it has failed. only: the names of the faults that are wanted, all unless given.
    lulls: share of bills before which the clients pause for a moment.
    """

    mode: str
    bills: int
    seed: str
    faults: float = 0.15
    interrupts: float = 8.0
    kills: float = 0.5
    forks: float = 0.002
    quota: int = 1_000_000
    timeout: float = 1.0
    seconds: float = 3600.0
    bug: str = ""
    only: frozenset[str] = frozenset()
    lulls: float = 0.005


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that is its own authority, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-noenc", "-days", "30", "-subj", "/CN=chaos", "-keyout", key, "-out", cert),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


class Server:
    """The server's process, which can be killed and started again."""

    def __init__(self, plan: Plan, folder: Path, cert: Path, key: Path) -> None:
        self.journal = folder / "server.jsonl"
        self.token = folder / "token"
        self.port = 0
        self._command = [
            *(sys.executable, str(HERE / "server.py"), "--seed", plan.seed),
            *("--journal", str(self.journal), "--token", str(self.token)),
            *("--cert", str(cert), "--key", str(key), "--faults", str(plan.faults)),
            *("--late", str(plan.timeout * 1.5), "--quota", str(plan.quota)),
            *("--only", ",".join(sorted(plan.only))),
        ]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        env = os.environ | {"PYTHONPATH": str(HERE.parent)}
        # A sanitizer that watches the clients is none of the server's business.
        env.pop("LD_PRELOAD", None)
        self._process = subprocess.Popen(
            [*self._command, "--port", str(self.port)], stdout=subprocess.PIPE, text=True, env=env
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said.startswith("ready "), f"the server has not started: {said!r}"
        self.port = int(said.split()[1])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Idempotent."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.communicate()
            self._process = None


def run(plan: Plan, folder: Path) -> comparison.Report:
    """Make a run with its files in `folder`, an empty directory, and compare the journals."""
    cert, key = make_certificate(folder)
    server = Server(plan, folder, cert, key)
    written, hold = folder / "clients.jsonl", folder / "hold"
    client: subprocess.Popen[str] | None = None
    try:
        server.start()
        client = subprocess.Popen(
            [
                # Python 3.12 warns of every fork of a process with threads.
                *(sys.executable, "-Wignore:This process:DeprecationWarning"),
                *(str(HERE / "driver.py"), "--mode", plan.mode, "--seed", plan.seed),
                *("--bills", str(plan.bills), "--journal", str(written), "--ca", str(cert)),
                *("--token", str(server.token), "--url", f"https://127.0.0.1:{server.port}"),
                *("--timeout", str(plan.timeout), "--forks", str(plan.forks), "--bug", plan.bug),
                *("--hold", str(hold), "--lulls", str(plan.lulls)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": _python_path()},
            # Ctrl-C for this program is not for the clients, and their children end with them.
            start_new_session=True,
        )
        problems = _disturb(plan, server, client, Progress(written), hold)
    finally:
        if client is not None:
            _end_group(client)
        server.stop()
    orders = driver.orders(plan.mode, plan.bills)
    name = f"{plan.seed}, {plan.mode}"
    report = comparison.compare(
        orders, journal.read(server.journal), journal.read(written), seed=name
    )
    report.violations += problems
    return report


def _python_path() -> str:
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(HERE.parent)]))


class Progress:
    """How far the clients are: the lines of their journals, read as they grow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines = 0

    def lines(self) -> int:
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as lines:
            lines.seek(self._offset)
            grown = lines.read()
            self._offset += len(grown)
            self._lines += grown.count(b"\n")
        return self._lines


def _moments(rng: Random, plan: Plan, rate: float, first: float, last: float) -> list[int]:
    """After how many bills something happens, in shares of all from `first` to `last`."""
    count = max(1, round(rate * plan.bills / 1000)) if rate else 0
    return [int(rng.uniform(first, last) * plan.bills) for _ in range(count)]


def _disturb(
    plan: Plan, server: Server, client: subprocess.Popen[str], progress: Progress, hold: Path
) -> list[str]:
    """Send Ctrl-C to the clients and SIGKILL to the server until the clients end.

    When follows from the number of bills, not from the clock: a slow machine meets no more of it.
    """
    rng = Random(f"{plan.seed}/disturb")
    assert client.stdout is not None
    if client.stdout.readline() != "ready\n":
        return [f"the clients have not started [seed {plan.seed}, {plan.mode}]"]
    # A server has met its first faults before it is killed.
    moments = [(bills, "kill") for bills in _moments(rng, plan, plan.kills, 0.4, 0.8)]
    moments += [(bills, "Ctrl-C") for bills in _moments(rng, plan, plan.interrupts, 0.0, 0.95)]
    moments.sort(reverse=True)
    deadline = time.monotonic() + plan.seconds
    while time.monotonic() < deadline:
        try:
            status = client.wait(0.01)
        except subprocess.TimeoutExpired:
            pass
        else:
            if status == 0:
                return []
            return [f"the clients ended with status {status} [seed {plan.seed}, {plan.mode}]"]
        if not moments or progress.lines() < moments[-1][0]:
            continue
        _, what = moments.pop()
        if what == "Ctrl-C":
            client.send_signal(signal.SIGINT)
            continue
        server.stop(signal.SIGKILL)
        enough = progress.lines() + rng.randrange(40)
        while progress.lines() < enough and client.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        # How long a server takes to start must not decide how many bills find none.
        hold.touch()
        server.start()
        hold.unlink()
    return [f"the clients did not end in time [seed {plan.seed}, {plan.mode}]"]


def _end_group(client: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(client.pid, signal.SIGKILL)
    client.communicate()
