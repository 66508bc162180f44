"""What runs out besides memory: descriptors and the disk; and clocks that jump."""

import errno
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from bills import bill
from processes import Talk, run
from servers import INSERTED, RawServer, Wire, json_reply, server_context

import nontax
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import Certificates

# --- descriptors ----------------------------------------------------------------------------------


def run_out_of_descriptors(talk: Talk) -> None:
    """Insert bills with ever more free descriptors, from none at all, until all goes well."""
    import asyncio
    import gc
    import os
    import resource
    from typing import Any

    import nontax
    import nontax.aio.calls  # loaded at the first call otherwise, which needs a descriptor
    import nontax.aio.runs

    what = talk.setup["what"]
    bills = iter(talk.setup["bills"])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    loop = asyncio.new_event_loop()
    talk.client().insert_bill(next(bills))  # opens what stays open

    def attempt(client: nontax.Client, one: Any) -> None:
        if what == "insert":
            client.insert_bill(one)
        elif what == "ainsert":
            loop.run_until_complete(client.ainsert_bill(one))
        else:
            (outcome,) = client.insert_bills([one])
            if outcome.error is not None:
                raise outcome.error

    def descriptors() -> list[str]:
        return os.listdir("/proc/self/fd")

    before = len(descriptors())
    said = []
    for spare in range(30):
        one = next(bills)
        # One more: the list of descriptors has one itself.
        limit = max(map(int, descriptors())) + spare
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            client = talk.client()
            attempt(client, one)
        except nontax.NontaxError as error:
            outcome, reason = error.outcome, f"{type(error).__name__}: {error.reason}"
        else:
            outcome, reason = "inserted", ""
        said.append([one["order_id"], outcome, reason])
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        client.insert_bill(next(bills))  # the client is as good as ever
        client.close()
        if outcome == "inserted":
            break
    del client
    loop.close()
    gc.collect()
    talk.tell(said=said, more=len(descriptors()) - before)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("what", ["insert", "ainsert", "bulk"])
def test_no_descriptors(any_sandbox: Sandbox, certificates: Certificates, what: str) -> None:
    client = {
        "access_token": any_sandbox.access_token,
        "base_url": any_sandbox.base_url,
        "ca_file": str(certificates.ca_file),
        "retries": 0,
    }
    bills = [bill() for _ in range(61)]
    (told,) = run(run_out_of_descriptors, client=client, what=what, bills=bills)
    said = told["said"]
    taken = any_sandbox.bills
    assert len(said) > 1
    assert said[-1][1] == "inserted"
    for order_id, outcome, reason in said[:-1]:
        assert outcome == "not_sent"
        assert reason.startswith("NotSentError: no file descriptor is left (EMFILE)")
        assert order_id not in taken
    assert told["more"] <= 0


def leave_idle_lanes(talk: Talk) -> None:
    """Have threads leave idle connections behind, and then no descriptor for another one."""
    import asyncio
    import os
    import resource
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    threads = 6
    together = Barrier(threads)
    client = talk.client()
    bills = iter(talk.setup["bills"])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.ainsert_bill(next(bills)))

    def insert(one: object) -> None:
        together.wait()
        client.insert_bill(one)  # type: ignore[arg-type]

    async def insert_many(count: int) -> None:
        await asyncio.gather(*(client.ainsert_bill(next(bills)) for _ in range(count)))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(insert, [next(bills) for _ in range(threads)]))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    lowest_free = min(set(range(max(used) + 2)) - used)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    if talk.setup["what"] == "a run":
        (outcome,) = client.insert_bills([next(bills)])
        talk.tell(outcome=outcome.outcome, error=str(outcome.error))
    else:
        loop.run_until_complete(insert_many(3))
        talk.tell(outcome="inserted")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("what", ["a run", "more connections"])
def test_idle_connections_make_room(sandbox: Sandbox, what: str) -> None:
    client = {
        "access_token": sandbox.access_token,
        "base_url": sandbox.base_url,
        "retries": 0,
    }
    bills = [bill() for _ in range(12)]
    (told,) = run(leave_idle_lanes, client=client, what=what, bills=bills)
    assert told["outcome"] == "inserted", told


def test_what_has_failed_is_the_last_to_be_used_again(certificates: Certificates) -> None:
    """A thread that could not connect leaves a place behind that has no connection."""
    asked, answer, end = Event(), Event(), Event()

    def behave(wire: Wire) -> None:
        if server.accepted == 2:
            end.wait()
            return
        with server_context(certificates).wrap_socket(wire.socket, server_side=True) as secure:
            inner = Wire(secure)
            while True:
                inner.read_request()
                asked.set()
                answer.wait()
                inner.send(json_reply(INSERTED))

    with RawServer(behave) as server, ThreadPoolExecutor(2) as pool:
        client = nontax.Client(
            access_token="token",
            base_url=server.base_url.replace("http:", "https:"),
            ca_file=certificates.ca_file,
            retries=0,
        )
        taken = pool.submit(client.insert_bill, bill())
        asked.wait()
        failed = pool.submit(client.insert_bill, bill())
        while server.accepted < 2:
            time.sleep(0.001)
        answer.set()
        assert taken.result().code
        end.set()
        assert isinstance(failed.exception(), nontax.NotSentError)
        client.insert_bill(bill())
        client.close()
        assert server.accepted == 2


# --- the disk -------------------------------------------------------------------------------------


def fill_the_disk(talk: Talk) -> None:
    """Upload what must be copied to the disk first, where there is no room for it."""
    import ctypes
    import os
    import resource
    import signal
    import tempfile

    class Large:
        """A file without a descriptor."""

        def __init__(self) -> None:
            self.left = b"%PDF-1.4" + b"x" * 1_000_000

        def read(self, size: int = -1) -> bytes:
            taken, self.left = self.left[:size], self.left[size:]
            return taken

    def mount_a_small_disk() -> None:
        new_user, new_mounts = 0x10000000, 0x20000
        libc = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        if libc.unshare(new_user | new_mounts) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        for name, text in [
            ("uid_map", f"0 {user} 1"),
            ("setgroups", "deny"),
            ("gid_map", f"0 {group} 1"),
        ]:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        folder = tempfile.gettempdir().encode()
        if libc.mount(b"none", folder, b"tmpfs", 0, b"size=64k") != 0:
            raise OSError(ctypes.get_errno(), "mount")

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if talk.setup["what"] == "disk":
        try:
            mount_a_small_disk()
        except OSError as error:
            talk.tell(impossible=str(error))
            return
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    client = talk.client()
    try:
        client.upload_pdf(Large())  # type: ignore[arg-type]
    except OSError as error:
        talk.tell(errno=error.errno, left=os.listdir(tempfile.gettempdir()))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    uploaded = client.upload_pdf(b"%PDF-1.4")  # the client is as good as ever
    talk.tell(s_media_id=uploaded.s_media_id)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk as Linux does")
@pytest.mark.parametrize(("what", "reason"), [("disk", errno.ENOSPC), ("quota", errno.EFBIG)])
def test_no_room_on_the_disk(sandbox: Sandbox, tmp_path: Path, what: str, reason: int) -> None:
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    told = run(fill_the_disk, {"TMPDIR": str(tmp_path)}, client=client, what=what)
    if "impossible" in told[0]:
        pytest.skip(f"nobody may mount a disk here: {told[0]['impossible']}")
    refused, uploaded = told
    assert refused == {"errno": reason, "left": []}
    assert list(sandbox.pdfs) == [uploaded["s_media_id"]]


# --- clocks ---------------------------------------------------------------------------------------


def let_the_clock_jump(talk: Talk) -> None:
    """Insert bills before and after."""
    import time
    from functools import partial

    true_time = time.time

    def sum_of(jump: float) -> float:
        return true_time() + jump

    client = talk.client()
    for jump, one in zip([0, -1e8, 1e8], talk.setup["bills"], strict=True):
        time.time = partial(sum_of, jump)
        (outcome,) = client.insert_bills([one])
        talk.tell(outcome=outcome.outcome)


def test_the_clock_on_the_wall_jumps(sandbox: Sandbox) -> None:
    """A token that is there stays, and no call is shorter for it (see also test_clock.c)."""
    client = {
        "appid": sandbox.bureau.appid,
        "secret": sandbox.bureau.secret,
        "base_url": sandbox.base_url,
    }
    told = run(let_the_clock_jump, client=client, bills=[bill() for _ in range(3)])
    assert told == [{"outcome": "inserted"}] * 3
    fetches = [one for one in sandbox.requests if one.path == "/cgi-bin/stable_token"]
    assert len(fetches) == 1
