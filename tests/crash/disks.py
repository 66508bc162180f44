"""Disks that fail, processes killed at every write, and what is left after a power loss."""

import ctypes
import errno
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
INSERTED = ("inserted", "in_doubt")


def build(folder: Path) -> Path:
    """The library that stands before the C library."""
    library = folder / "disk.so"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", str(HERE / "disk.c"), "-o", str(library), "-ldl"],
        check=True,
    )
    return library


def run_preloaded(library: Path, what: str, *arguments: str) -> dict[str, Any]:
    """Run a function of this file in a process with the library; the JSON that it prints."""
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-m", "crash.disks", what, str(library), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


# In the process with the library


def _arm(
    library: str,
    folder: str,
    *,
    log: str = "",
    kill: int = 0,
    fail: int = 0,
    error: int = 0,
    spare: str = "",
) -> None:
    disk = ctypes.CDLL(library)
    disk.disk_arm(
        folder.encode(), log.encode(), ctypes.c_long(kill), ctypes.c_long(fail), error,
        spare.encode(),
    )  # fmt: skip


class _World:
    """A bookkeeper, and children that each have a ledger of their own to try."""

    def __init__(self, library: str) -> None:
        from crash.bookkeeper import Bookkeeper

        self.library = library
        self.bookkeeper = Bookkeeper(0.0, 0.002)
        self.folder = tempfile.mkdtemp(dir="/dev/shm")

    def close(self) -> None:
        self.bookkeeper.close()
        shutil.rmtree(self.folder)

    def child(self, path: str, name: str, told: str, **arm: Any) -> int:
        """Run one small run of all kinds of sending; the process's end."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _arm(self.library, path, **arm)
                _small_run(path, self.bookkeeper.base_url, name, told)
                code = 0
            except BaseException as error:
                if os.environ.get("SHOW"):
                    print(name, type(error).__name__, error, file=sys.stderr)
            finally:
                os._exit(code)
        return os.waitpid(child, 0)[1]


def _small_run(path: str, base_url: str, name: str, told: str) -> None:
    import nontax
    from crash.workers import make_bill

    file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(order: str, outcome: str, code: str, kept: str) -> None:
        os.write(file, f"{order} {outcome} {code} {kept}\n".encode())

    client = nontax.Client(access_token="t", base_url=base_url, ledger=path)
    for number in range(2):
        inserted = client.insert_bill(make_bill(f"{name}-s{number}"))
        tell(f"{name}-s{number}", "inserted", inserted.code, "kept")
    bills = [make_bill(f"{name}-b{number}") for number in range(4)]
    for outcome in client.insert_bills(bills, concurrency=2):
        code = "-" if outcome.inserted is None else outcome.inserted.code
        tell(outcome.bill["order_id"], outcome.outcome, code, "kept")
    ledger = client.ledger
    assert ledger is not None
    report = ledger.deliver(
        client,
        [make_bill(f"{name}-d{number}") for number in range(3)],
        concurrency=2,
        progress=lambda one: tell(
            one.key.order_id,
            one.outcome.outcome,
            "-" if one.outcome.inserted is None else one.outcome.inserted.code,
            "kept",
        ),
    )
    if report.error is not None:
        raise report.error
    ledger.close()


def _check(path: str, received: list[str], told: str) -> None:
    """What the next process finds when the disk is well again."""
    from nontax.ledger import Ledger

    kept = {}
    if os.path.exists(path):
        with Ledger(path) as ledger:
            ledger.expire()
            kept = {bill.order_id: bill for bill in ledger.bills()}
            assert ledger.verify() == []
    for order in received:
        assert received.count(order) == 1, f"{order} was sent twice"
        assert order in kept, f"{order} was received and is not known"
        assert kept[order].state in INSERTED, f"{order} was received and is {kept[order].state}"
    if os.path.exists(told):
        for line in Path(told).read_text().splitlines():
            order, outcome, code, _ = line.split()
            if outcome == "inserted":
                assert (kept[order].state, kept[order].code) == ("inserted", code), line


def kill_everywhere(library: str, step: str) -> dict[str, Any]:
    """Kill a small run before its n-th write or sync, for each n."""
    world = _World(library)
    number, killed = 1, 0
    try:
        while True:
            path, told = f"{world.folder}/{number}.db", f"{world.folder}/{number}.told"
            status = world.child(path, f"k{number}", told, kill=number)
            _check(path, world.bookkeeper.received(), told)
            if not os.WIFSIGNALED(status):
                assert os.WEXITSTATUS(status) == 0
                return {"killed": killed, "events": number - 1}
            assert os.WTERMSIG(status) == signal.SIGKILL
            killed += 1
            number += int(step)
    finally:
        world.close()


def fail_everywhere(library: str, name: str, step: str, spare: str = "") -> dict[str, Any]:
    """From the n-th write or sync on the disk takes nothing, for each n; but in files so named."""
    world = _World(library)
    number, failed = 1, 0
    try:
        while True:
            path, told = f"{world.folder}/{number}.db", f"{world.folder}/{number}.told"
            status = world.child(
                path, f"{name}{number}", told, fail=number, error=getattr(errno, name), spare=spare
            )
            assert os.WIFEXITED(status), status
            _check(path, world.bookkeeper.received(), told)
            if os.WEXITSTATUS(status) == 0:
                return {"failed": failed, "events": number - 1}
            failed += 1
            number += int(step)
    finally:
        world.close()


def record(library: str, log: str, synchronous: str) -> dict[str, Any]:
    """Write down all that a small run does to its disk, and when each bill goes out."""
    from nontax.ledger import places

    connect = places.connect

    def connect_so(path: str, *, uri: str = "") -> Any:
        connection = connect(path, uri=uri)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        return connection

    places.connect = connect_so
    world = _World(library)
    path = f"{world.folder}/power.db"
    from nontax.ledger import Ledger

    Ledger(path)
    shutil.copyfile(path, f"{log}.base")
    try:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _arm(library, path, log=log)
                for number in range(3):
                    _small_run(path, world.bookkeeper.base_url, f"p{number}", "/dev/null")
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        return {"path": path}
    finally:
        world.close()


# After a power loss


class Event(NamedTuple):
    """One thing that happened: W write, S sync, T truncate, F room, N something went out."""

    kind: str
    name: str
    offset: int
    data: bytes


def read_log(log: Path) -> list[Event]:
    data = log.read_bytes()
    events, at = [], 0
    while at < len(data):
        kind = chr(data[at])
        (length,) = struct.unpack_from("<I", data, at + 1)
        name = data[at + 5 : at + 5 + length].decode()
        offset, size = struct.unpack_from("<qI", data, at + 5 + length)
        at += 5 + length + 12
        events.append(Event(kind, name, offset, data[at : at + size]))
        at += size
    return events


def sent_before(events: list[Event], cut: int) -> set[str]:
    """The orders of which anything may have left the machine."""
    found = set()
    for event in events[:cut]:
        if event.kind == "N":
            found |= set(re.findall(rb'"order_id":\s*"([^"]+)"', event.data))
    return {order.decode() for order in found}


def image(
    events: list[Event], cut: int, loss: str, chance: random.Random, base: dict[str, bytes]
) -> dict[str, bytes]:
    """What the disk has after a power loss before event `cut`.

    loss: of what was not synced, "all" is lost, or "half" of it by chance, or the last is "torn",
    or it is "across": all of some files and nothing of the others.
    """
    synced: dict[str, int] = {}
    for number, event in enumerate(events[:cut]):
        if event.kind == "S":
            synced[event.name] = number
    lucky = {name for name in {event.name for event in events} if chance.random() < 0.5}
    files = {name: bytearray(content) for name, content in base.items()}
    for number, event in enumerate(events[:cut]):
        if event.kind not in "WTF":
            continue
        content = files.setdefault(event.name, bytearray())
        safe = number < synced.get(event.name, -1)
        data = event.data
        if not safe:
            if loss == "all" or (loss == "half" and chance.random() < 0.5):
                continue
            if loss == "across" and event.name not in lucky:
                continue
            if loss == "torn":
                data = data[: chance.randrange(len(data) + 1) // 512 * 512]
        _apply(content, event, data)
    return {name: bytes(content) for name, content in files.items()}


def _apply(content: bytearray, event: Event, data: bytes) -> None:
    if event.kind == "T":
        content[event.offset :] = bytes(max(0, event.offset - len(content)))
    elif event.kind == "F":
        content.extend(bytes(max(0, event.offset - len(content))))
    else:
        content.extend(bytes(max(0, event.offset - len(content))))
        content[event.offset : event.offset + len(data)] = data


def states_in(path: str, files: dict[str, bytes], folder: Path) -> dict[str, str]:
    """The state of each bill that the ledger in this image knows, after the machine has started."""
    from nontax.ledger import Ledger

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        if not name.endswith("-shm"):
            (folder / Path(name).name).write_bytes(content)
            (folder / Path(name).name).chmod(0o600)
    with Ledger(folder / Path(path).name) as ledger:
        ledger.expire()
        return {bill.order_id: bill.state for bill in ledger.bills()}


def lose_power(
    path: str, log: Path, folder: Path, images: int, seed: int = 1
) -> tuple[int, list[str]]:
    """Rebuild the disk at every sync and between; how many images, and what they have forgotten."""
    events = read_log(log)
    base = Path(f"{log}.base").read_bytes()
    chance = random.Random(seed)
    # Each sync, and the moment before each bill goes out, is worth most.
    cuts = [n for n, event in enumerate(events) if event.kind in "SN"]
    cuts += [n + 1 for n in cuts]
    plan = [(cut, loss) for cut in cuts for loss in ("all", "half", "torn", "across")]
    chance.shuffle(plan)
    wrong = []
    for cut, loss in plan[:images]:
        files = image(events, cut, loss, chance, {path: base})
        try:
            states = states_in(path, files, folder)
        except Exception as error:
            wrong.append(f"event {cut}, {loss}: {type(error).__name__} {error}")
            continue
        for order in sent_before(events, cut):
            if states.get(order) not in INSERTED:
                wrong.append(f"event {cut}, {loss}: {order} was sent, is {states.get(order)}")
    return min(images, len(plan)), wrong


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    work: dict[str, Any] = {"kill": kill_everywhere, "fail": fail_everywhere, "record": record}
    print(json.dumps(work[what](*arguments)))
