"""Forks: a client goes on in both processes, and neither touches the other's connections."""

import signal
import sys
from typing import Any

import pytest
from bills import bill
from marks import forking
from processes import CODE, Child, Server, Talk, run

from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import Certificates

pytestmark = forking

TOKEN = "fork-canary-3f60b7d2c8"


@pytest.fixture(params=["http", "tls"])
def world(request: pytest.FixtureRequest) -> Sandbox:
    """A sandbox, over plain HTTP and over TLS."""
    name = "sandbox" if request.param == "http" else "tls_sandbox"
    world: Sandbox = request.getfixturevalue(name)
    return world


def settings(world: Sandbox, certificates: Certificates) -> dict[str, Any]:
    return {
        "access_token": world.access_token,
        "base_url": world.base_url,
        "ca_file": str(certificates.ca_file),
    }


def connection_of(world: Sandbox, one: dict[str, Any]) -> int:
    """The number of the connection that the bill came on; it came once."""
    (request,) = (seen for seen in world.requests if seen.order_id == one["order_id"])
    return request.connection


# --- a warm connection ----------------------------------------------------------------------------


def insert_around_a_fork(talk: Talk) -> None:
    """Insert in the parent, in the child, and in the parent again."""
    import gc
    import os

    client = talk.client()
    before, child_s, after = talk.setup["bills"]
    talk.insert(client, before)
    pid = os.fork()
    if pid == 0:
        if talk.setup["leave"] != "unused":
            talk.insert(client, child_s)
        if talk.setup["leave"] == "close":
            client.close()
            del client
            gc.collect()
        if talk.setup["leave"] == "os._exit":
            os._exit(0)
        return
    assert os.waitpid(pid, 0) == (pid, 0)
    talk.insert(client, after)


@pytest.mark.parametrize("leave", ["return", "os._exit", "close", "unused"])
def test_parent_and_child_use_connections_of_their_own(
    world: Sandbox, certificates: Certificates, leave: str
) -> None:
    bills = [bill(), bill(), bill()]
    client = settings(world, certificates)
    told = run(insert_around_a_fork, client=client, bills=bills, leave=leave)
    if leave == "unused":
        del bills[1]
    assert told == [{"code": world.bills[one["order_id"]].code} for one in bills]
    connections = [connection_of(world, one) for one in bills]
    assert connections == ([1, 1] if leave == "unused" else [1, 2, 1])


def insert_in_the_parent_first(talk: Talk) -> None:
    """The parent goes on before the child has touched the client."""
    import os

    client = talk.client()
    before, parent_s, child_s, after = talk.setup["bills"]
    talk.insert(client, before)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        talk.insert(client, child_s)
        return
    talk.insert(client, parent_s)
    os.write(writer, b"x")
    assert os.waitpid(pid, 0) == (pid, 0)
    talk.insert(client, after)


def test_the_parent_may_be_first(world: Sandbox, certificates: Certificates) -> None:
    bills = [bill() for _ in range(4)]
    told = run(insert_in_the_parent_first, client=settings(world, certificates), bills=bills)
    assert told == [{"code": world.bills[one["order_id"]].code} for one in bills]
    assert [connection_of(world, one) for one in bills] == [1, 1, 2, 1]


def fork_the_fork(talk: Talk) -> None:
    """A chain of processes, each made by the one before."""
    import os

    client = talk.client()
    for one in talk.setup["bills"]:
        talk.insert(client, one)
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0) == (pid, 0)
            return


def test_a_chain_of_forks(world: Sandbox, certificates: Certificates) -> None:
    bills = [bill() for _ in range(4)]
    told = run(fork_the_fork, client=settings(world, certificates), bills=bills)
    assert told == [{"code": world.bills[one["order_id"]].code} for one in bills]
    assert [connection_of(world, one) for one in bills] == [1, 2, 3, 4]


def use_the_default_client(talk: Talk) -> None:
    """The module's own function, around a fork."""
    import os

    import nontax

    before, child_s, after = talk.setup["bills"]
    talk.tell(code=nontax.insert_bill(before).code)
    pid = os.fork()
    if pid == 0:
        talk.tell(code=nontax.insert_bill(child_s).code)
        return
    assert os.waitpid(pid, 0) == (pid, 0)
    talk.tell(code=nontax.insert_bill(after).code)


def test_the_default_client(world: Sandbox, certificates: Certificates) -> None:
    env = {f"NONTAX_{key.upper()}": text for key, text in settings(world, certificates).items()}
    bills = [bill(), bill(), bill()]
    told = run(use_the_default_client, env, bills=bills)
    assert told == [{"code": world.bills[one["order_id"]].code} for one in bills]
    assert [connection_of(world, one) for one in bills] == [1, 2, 1]


# --- servers that fork their workers --------------------------------------------------------------


def fork_workers(talk: Talk) -> None:
    """Like gunicorn with its application loaded early: one client, many workers."""
    import os

    client = talk.client()
    before, after, *shares = talk.setup["bills"]
    talk.insert(client, before[0])
    workers = []
    for share in shares:
        pid = os.fork()
        if pid == 0:
            for one in share:
                talk.insert(client, one)
            os._exit(0)
        workers.append(pid)
    for pid in workers:
        assert os.waitpid(pid, 0) == (pid, 0)
    talk.insert(client, after[0])


def test_workers_share_a_client_made_before_the_fork(
    world: Sandbox, certificates: Certificates
) -> None:
    shares = [[bill() for _ in range(8)] for _ in range(4)]
    before, after = bill(), bill()
    bills = [[before], [after], *shares]
    told = run(fork_workers, client=settings(world, certificates), bills=bills)
    assert {facts["code"] for facts in told} == {there.code for there in world.bills.values()}
    assert len(told) == len(world.requests) == 34
    used = [{connection_of(world, one) for one in share} for share in shares]
    assert all(len(connections) == 1 for connections in used)
    assert len(set.union(*used)) == 4
    assert connection_of(world, before) == connection_of(world, after) == 1


def use_multiprocessing(talk: Talk) -> None:
    """The same by way of the standard library."""
    import multiprocessing

    client = talk.client()
    before, after, *theirs = talk.setup["bills"]
    talk.insert(client, before)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=talk.insert, args=(client, one)) for one in theirs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    talk.insert(client, after)


def test_multiprocessing(sandbox: Sandbox, certificates: Certificates) -> None:
    bills = [bill() for _ in range(5)]
    told = run(use_multiprocessing, client=settings(sandbox, certificates), bills=bills)
    assert {facts["code"] for facts in told} == {there.code for there in sandbox.bills.values()}
    assert len(told) == len(sandbox.requests) == 5
    assert sorted(connection_of(sandbox, one) for one in bills) == [1, 1, 2, 3, 4]


# --- forks in the middle of things ----------------------------------------------------------------


def fork_under_load(talk: Talk) -> None:
    """Fork while other threads insert, close and make clients; each child inserts at once."""
    import os
    import threading

    from bills import bill

    import nontax

    def one() -> dict[str, object]:
        numbers.append(None)
        place = f"{os.getpid()}-{threading.get_ident()}-{len(numbers)}"
        return bill(place, billing_no=place)

    def insert() -> None:
        while not stop.is_set():
            inserted.append(client.insert_bill(one()))

    def disturb() -> None:
        while not stop.is_set():
            client.close()
            talk.client()

    numbers: list[None] = []
    inserted: list[nontax.InsertedBill] = []
    stop = threading.Event()
    client = talk.client()
    threads = [threading.Thread(target=target) for target in (insert, insert, disturb)]
    for thread in threads:
        thread.start()
    for _ in range(talk.setup["forks"]):
        pid = os.fork()
        if pid == 0:
            client.insert_bill(one())
            os._exit(0)
        assert os.waitpid(pid, 0) == (pid, 0)
    stop.set()
    for thread in threads:
        thread.join()
    talk.tell(inserted=len(inserted))


def test_forks_while_other_threads_are_in_a_call(
    world: Sandbox, certificates: Certificates
) -> None:
    (told,) = run(fork_under_load, client=settings(world, certificates), forks=60)
    assert len(world.requests) == len(world.bills) == told["inserted"] + 60


def fork_among_handshakes(talk: Talk) -> None:
    """Fork while other threads are inside the TLS library; each child needs it at once."""
    import os
    import threading

    import nontax

    def shake_hands() -> None:
        try:
            client.insert_bill(talk.setup["bill"])
        except nontax.TLSError:
            return
        raise AssertionError("the certificate is not to be trusted")

    def go_on() -> None:
        while not stop.is_set():
            shake_hands()

    stop = threading.Event()
    client = talk.client()
    threads = [threading.Thread(target=go_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(talk.setup["forks"]):
        pid = os.fork()
        if pid == 0:
            shake_hands()
            os._exit(0)
        assert os.waitpid(pid, 0) == (pid, 0)
    stop.set()
    for thread in threads:
        thread.join()


def test_forks_while_other_threads_shake_hands(tls_sandbox: Sandbox) -> None:
    client = {"access_token": TOKEN, "base_url": tls_sandbox.base_url}
    assert run(fork_among_handshakes, client=client, bill=bill(), forks=30) == []


def fork_in_the_token_source(talk: Talk) -> None:
    """The token source starts a process by os.fork(), and both come back from it."""
    import os

    def source(_: str | None) -> str:
        pids.append(os.fork())
        return str(talk.setup["token"])

    pids: list[int] = []
    client = talk.client(token_source=source)
    try:
        talk.tell(pid=1, code=client.insert_bill(talk.setup["bill"]).code)
    except Exception as error:
        talk.tell_error(error)
    if pids[0]:
        assert os.waitpid(pids[0], 0) == (pids[0], 0)


def test_a_fork_in_the_token_source_does_not_double_the_bill(sandbox: Sandbox) -> None:
    one = bill()
    client = {"base_url": sandbox.base_url}
    token = sandbox.access_token
    told = run(fork_in_the_token_source, client=client, bill=one, token=token)
    assert len(sandbox.requests) == 1
    (parent_s,) = (facts for facts in told if "code" in facts)
    (child_s,) = (facts for facts in told if "code" not in facts)
    assert parent_s["code"] == sandbox.bills[one["order_id"]].code
    assert (child_s["type"], child_s["outcome"]) == ("InDoubtError", "in_doubt")


def fork_in_a_handler(talk: Talk) -> None:
    """A signal handler forks while the call waits for its reply."""
    import os
    import signal

    signal.signal(signal.SIGUSR1, lambda *_: pids.append(os.fork()))
    pids: list[int] = []
    client = talk.client()
    first, second = talk.setup["bills"]
    talk.insert(client, first)
    if not pids[0]:
        talk.insert(client, second)
        os._exit(0)
    assert os.waitpid(pids[0], 0) == (pids[0], 0)


def test_a_fork_in_a_signal_handler_leaves_the_call_to_the_parent() -> None:
    first, second = bill(), bill()
    with Server() as server:
        client = {"access_token": TOKEN, "base_url": server.base_url}
        with Child(fork_in_a_handler, client=client, bills=[first, second]) as child:
            with server.accept() as connection:
                assert connection.read_request() == first
                child.signal(signal.SIGUSR1)
                raised = child.hear()
                assert (raised["type"], raised["outcome"]) == ("InDoubtError", "in_doubt")
                with server.accept() as childs:
                    assert childs.read_request() == second
                    childs.answer(errcode=0, errmsg="ok", code="2", openid="o")
                    assert child.hear() == {"code": "2"}
                connection.answer()
                assert child.hear() == {"code": CODE}
            assert child.finish() == ([], "")


def fork_in_a_handler_of_a_run(talk: Talk) -> None:
    """A signal handler forks while a bulk run waits."""
    import os
    import signal

    signal.signal(signal.SIGUSR1, lambda *_: pids.append(os.fork()))
    pids: list[int] = []
    run = talk.client().insert_bills(talk.setup["bills"])
    try:
        talk.tell(outcomes=[outcome.outcome for outcome in run], child=not pids[0])
    except RuntimeError as error:
        talk.tell(error=str(error), child=not pids[0])
    if not pids[0]:
        os._exit(0)
    assert os.waitpid(pids[0], 0) == (pids[0], 0)


def test_a_fork_in_a_signal_handler_leaves_a_run_to_the_parent() -> None:
    with Server() as server:
        client = {"access_token": TOKEN, "base_url": server.base_url}
        with (
            Child(fork_in_a_handler_of_a_run, client=client, bills=[bill()]) as child,
            server.accept() as connection,
        ):
            connection.read_request()
            child.signal(signal.SIGUSR1)
            told = child.hear()
            assert told["child"]
            assert "parent process" in told["error"]
            connection.answer()
            assert child.hear() == {"outcomes": ["inserted"], "child": False}
            assert child.finish() == ([], "")


def fork_in_an_exit_handler(talk: Talk) -> None:
    """One that was there before the first client, and so comes after what that leaves behind."""
    import ctypes

    libc = ctypes.CDLL(None)
    assert libc.on_exit(libc.fork, None) == 0
    talk.insert(talk.client(), talk.setup["bill"])


@pytest.mark.skipif(sys.platform != "linux", reason="has no on_exit()")
def test_a_fork_in_an_earlier_exit_handler(sandbox: Sandbox) -> None:
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    (told,) = run(fork_in_an_exit_handler, client=client, bill=bill())
    assert "code" in told


def drop_in_the_child(talk: Talk) -> None:
    """A child whose parent is in a call drops everything it has inherited."""
    import gc
    import os
    import threading

    client = talk.client()
    first, second = talk.setup["bills"]
    thread = threading.Thread(target=talk.insert, args=(client, first))
    thread.start()
    talk.wait()
    pid = os.fork()
    if pid == 0:
        client.close()
        talk.insert(talk.client(), second)
        del client, thread
        gc.collect()
        return
    assert os.waitpid(pid, 0) == (pid, 0)
    talk.tell(child="gone")
    thread.join()


def test_a_childs_end_does_not_disturb_the_parents_call(certificates: Certificates) -> None:
    first, second = bill(), bill()
    with Server() as server:
        client = {
            "access_token": TOKEN,
            "base_url": server.tls_url,
            "ca_file": str(certificates.ca_file),
        }
        with Child(drop_in_the_child, client=client, bills=[first, second]) as child:
            with server.accept() as connection:
                connection.start_tls(certificates)
                assert connection.read_request() == first
                child.go_on()
                with server.accept() as childs:
                    childs.start_tls(certificates)
                    assert childs.read_request() == second
                    childs.answer(errcode=0, errmsg="ok", code="2", openid="o")
                    assert child.hear() == {"code": "2"}
                assert child.hear() == {"child": "gone"}
                connection.answer()
                assert child.hear() == {"code": CODE}
            assert child.finish() == ([], "")


def start_a_program(talk: Talk) -> None:
    """Tell how many connections there are, and how many a program has that is started now."""
    import os
    import socket
    import subprocess

    client = talk.client()
    talk.insert(client, talk.setup["bill"])
    connections = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as copy:
                if copy.getpeername()[1] == talk.setup["port"]:
                    connections.add(os.readlink(f"/proc/self/fd/{name}"))
        except (OSError, IndexError):
            pass  # no connection
    listed = subprocess.run(
        ["/bin/ls", "-l", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE, check=True
    )
    told = listed.stdout.decode()
    talk.tell(mine=len(connections), theirs=sum(told.count(one) for one in connections))


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are listed in /proc")
def test_a_program_that_is_started_inherits_no_connection(sandbox: Sandbox) -> None:
    settings = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    port = int(sandbox.base_url.rpartition(":")[2])
    inserted, told = run(start_a_program, client=settings, bill=bill(), port=port)
    assert inserted["code"]
    assert told == {"mine": 1, "theirs": 0}


def count_descriptors(talk: Talk) -> None:
    """Fork again and again from one process."""
    import os

    client = talk.client()
    for one in talk.setup["bills"]:
        talk.insert(client, one)
        before = len(os.listdir("/proc/self/fd"))
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0) == (pid, 0)
        talk.tell(more=len(os.listdir("/proc/self/fd")) - before)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_forks_cost_the_parent_nothing(sandbox: Sandbox, certificates: Certificates) -> None:
    bills = [bill() for _ in range(5)]
    told = run(count_descriptors, client=settings(sandbox, certificates), bills=bills)
    assert [facts["more"] for facts in told if "more" in facts] == [0] * 5
    assert sandbox.connections == 1
