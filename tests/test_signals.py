"""Signals: Ctrl-C ends a call at once wherever it stands, and nothing about its bill is lost."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from processes import CODE, Child, Connection, Server, Talk, run, without_preload

from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates, make_certificates

TOKEN = "signals-canary-5c1fd09ab3"
LARGE = "票" * 4_000_000  # More than any socket's buffers hold.

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, or preloads")


def insert_each(talk: Talk) -> None:
    """Insert the bills with one client, one after another, and tell what became of each."""
    client = talk.client()
    for one in talk.setup["bills"]:
        talk.insert(client, one)
        talk.wait()


def start(base_url: str, *bills: Any, env: dict[str, str] | None = None, **settings: Any) -> Child:
    settings = {"access_token": TOKEN, "base_url": base_url, "timeout": 300} | settings
    return Child(insert_each, env, client=settings, bills=bills or [bill(), bill()])


def interrupt(child: Child) -> dict[str, Any]:
    """Ctrl-C: it comes out as KeyboardInterrupt; what stands behind it."""
    child.signal(signal.SIGINT)
    raised = child.hear()
    assert raised["type"] == "KeyboardInterrupt"
    assert raised["notes"] == []
    context: dict[str, Any] = raised["context"]
    return context


def insert_next(child: Child, connection: Connection) -> None:
    """The client's next bill goes through on the given connection."""
    connection.read_request()
    connection.answer()
    assert child.hear() == {"code": CODE}
    child.go_on()
    assert child.finish() == ([], "")


# --- Ctrl-C, phase by phase ----------------------------------------------------------------------


@on_linux
def test_ctrl_c_while_connecting() -> None:
    with Server(backlog=0) as server, socket.create_connection(("127.0.0.1", server.port)):
        # The one place in the queue is taken: the kernel answers no further SYN.
        connecting = re.compile(rf": [0-9A-F]+:[0-9A-F]+ [0-9A-F]+:{server.port:04X} 02 ")
        with start(server.base_url, connect_timeout=300) as child:
            while not connecting.search(Path("/proc/net/tcp").read_text()):
                assert child.process.poll() is None
            context = interrupt(child)
            assert (context["type"], context["outcome"]) == ("NotSentError", "not_sent")
            server.accept().close()
            child.go_on()
            with server.accept() as connection:
                insert_next(child, connection)


RESOLVER = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* To look up "slow.test" takes as long as there are pipes whose other ends nobody opens; it gives
 * 127.0.0.1. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    if (node && strcmp(node, "slow.test") == 0) {
        close(open(getenv("RESOLVER_BEGUN"), O_WRONLY));
        close(open(getenv("RESOLVER_GO_ON"), O_RDONLY));
        node = "127.0.0.1";
    }
    return real(node, service, hints, found);
}
"""


@pytest.fixture
def resolver(tmp_path: Path) -> Path:
    """A library to preload: its look-up of "slow.test" hangs as long as the test wants."""
    library = tmp_path / "resolver.so"
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-xc", "-", "-o", str(library)]
    command.append("-ldl")
    subprocess.run(command, input=RESOLVER, text=True, check=True, env=without_preload())
    return library


def slow_look_up(resolver: Path, folder: Path) -> tuple[dict[str, str], Path, Path]:
    """The environment for a slow look-up, and its two pipes."""
    begun, go_on = folder / "begun", folder / "go_on"
    os.mkfifo(begun)
    os.mkfifo(go_on)
    env = {
        "LD_PRELOAD": f"{os.environ.get('LD_PRELOAD', '')}:{resolver}".strip(":"),
        "RESOLVER_BEGUN": str(begun),
        "RESOLVER_GO_ON": str(go_on),
    }
    return env, begun, go_on


def let_go_on(pipe: Path) -> None:
    """Whoever waits there. Newer libcurls may have ended the look-up: then nobody comes."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            time.sleep(0.01)
        else:
            return


def accept_over_tls(server: Server, certificates: Certificates) -> Connection:
    """The first connection that lasts: what an interrupted call has begun may come first."""
    while True:
        connection = server.accept()
        try:
            connection.start_tls(certificates)
        except OSError:
            connection.close()
        else:
            return connection


@on_linux
def test_ctrl_c_while_resolving(resolver: Path, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, names=["slow.test"])
    env, begun, go_on = slow_look_up(resolver, tmp_path)
    ca_file = str(certificates.ca_file)
    with Server() as server:
        base_url = f"https://slow.test:{server.port}"
        with start(base_url, env=env, ca_file=ca_file, proxy="") as child:
            begun.read_bytes()
            context = interrupt(child)
            assert (context["type"], context["outcome"]) == ("NotSentError", "not_sent")
            let_go_on(go_on)
            begun.unlink()
            go_on.unlink()
            child.go_on()
            with accept_over_tls(server, certificates) as connection:
                insert_next(child, connection)


def test_ctrl_c_during_the_tls_handshake(server: Server, certificates: Certificates) -> None:
    with start(server.tls_url, ca_file=str(certificates.ca_file)) as child:
        with server.accept() as connection:
            assert connection.read_some()
            context = interrupt(child)
            assert (context["type"], context["outcome"]) == ("NotSentError", "not_sent")
            connection.wait_for_end()
        child.go_on()
        with server.accept() as connection:
            connection.start_tls(certificates)
            insert_next(child, connection)


def test_ctrl_c_while_sending() -> None:
    with (
        Server(receive_buffer=4096) as server,
        start(server.base_url, bill(title=LARGE), bill()) as child,
    ):
        with server.accept() as connection:
            connection.read_head()
            connection.read_part_of_body()
            context = interrupt(child)
            assert (context["type"], context["outcome"]) == ("InDoubtError", "in_doubt")
            connection.wait_for_end()
        child.go_on()
        with server.accept() as connection:
            insert_next(child, connection)


@pytest.mark.parametrize("warm", [False, True], ids=["first", "kept-alive"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
def test_ctrl_c_while_waiting_for_the_reply(
    server: Server, certificates: Certificates, *, warm: bool, tls: bool
) -> None:
    bills = [bill() for _ in range(2 + warm)]
    base_url = server.tls_url if tls else server.base_url
    with start(base_url, *bills, ca_file=str(certificates.ca_file)) as child:
        with server.accept() as connection:
            if tls:
                connection.start_tls(certificates)
            if warm:
                connection.read_request()
                connection.answer()
                assert child.hear() == {"code": CODE}
                child.go_on()
            connection.read_request()
            context = interrupt(child)
            assert (context["type"], context["outcome"]) == ("InDoubtError", "in_doubt")
            # Whatever comes on this connection now would be taken for another bill's reply.
            connection.wait_for_end()
        child.go_on()
        with server.accept() as connection:
            if tls:
                connection.start_tls(certificates)
            insert_next(child, connection)


def test_ctrl_c_in_the_middle_of_the_reply(server: Server) -> None:
    with start(server.base_url) as child:
        with server.accept() as connection:
            connection.read_request()
            connection.send(b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"errcode":0,')
            context = interrupt(child)
            assert (context["type"], context["outcome"]) == ("InDoubtError", "in_doubt")
            connection.wait_for_end()
        child.go_on()
        with server.accept() as connection:
            insert_next(child, connection)


def test_ctrl_c_between_two_attempts() -> None:
    with Server() as server, start(server.base_url, retries=100) as child:
        with server.accept() as connection:
            connection.read_request()
            # From here on nobody listens: every further attempt ends at once, and the next pause is
            # longer, so that the child is between two attempts, whenever the signal comes.
            server.__exit__(None, None, None)
            connection.answer(close=True, errcode=72054, errmsg="invoices is inserting")
            connection.wait_for_end()
        context = interrupt(child)
        assert (context["type"], context["outcome"], context["errcode"]) in (
            ("SystemBusyError", "rejected", 72054),
            ("NotSentError", "not_sent", None),
        )
        with Server(port=server.port) as again:
            child.go_on()
            with again.accept() as connection:
                insert_next(child, connection)


def wait_in_the_token_source(talk: Talk) -> None:
    """Ask for the token as late as the test allows."""

    def source(stale: str | None) -> str:
        if (stale is not None) is talk.setup["stale"] and not waited:
            waited.append(True)
            talk.tell(stale=stale is not None)
            del stale
            # Not in a lock: Python can miss a signal that comes on the way into one.
            while True:
                pass
        return str(talk.setup["tokens"][len(waited)])

    waited: list[bool] = []
    client = talk.client(token_source=source)
    for one in talk.setup["bills"]:
        talk.insert(client, one)
        talk.wait()


@pytest.mark.parametrize("stale", [False, True], ids=["first", "newer"])
def test_ctrl_c_inside_the_token_source(sandbox: Sandbox, *, stale: bool) -> None:
    bills = [bill(), bill()]
    tokens = [TOKEN, sandbox.access_token]
    settings = {"base_url": sandbox.base_url}
    with Child(
        wait_in_the_token_source, client=settings, bills=bills, stale=stale, tokens=tokens
    ) as child:
        assert child.hear() == {"stale": stale}
        context = interrupt(child)
        assert context["outcome"] == ("rejected" if stale else "not_sent")
        assert context["type"] == ("AccessTokenError" if stale else "NotSentError")
        child.go_on()
        order_id = bills[1]["order_id"]
        assert child.hear() == {"code": sandbox.bills[order_id].code}
        child.go_on()
        assert child.finish() == ([], "")
    assert [request.order_id for request in sandbox.requests if not request.errcode] == [order_id]


def insert_without_a_net(talk: Talk) -> None:
    """Insert a bill and catch nothing."""
    talk.client().insert_bill(talk.setup["bill"])


@on_linux
def test_ctrl_c_ends_the_process_while_a_look_up_hangs(resolver: Path, tmp_path: Path) -> None:
    env, begun, _ = slow_look_up(resolver, tmp_path)
    settings = {"access_token": TOKEN, "base_url": "https://slow.test:1", "proxy": ""}
    with Child(insert_without_a_net, env, client=settings, bill=bill()) as child:
        begun.read_bytes()
        child.signal(signal.SIGINT)
        told, stderr = child.finish(-signal.SIGINT)
    assert told == []
    assert "nothing was sent" in stderr


def test_ctrl_c_ends_the_process_while_the_answer_is_withheld(server: Server) -> None:
    settings = {"access_token": TOKEN, "base_url": server.base_url, "timeout": 300}
    with (
        Child(insert_without_a_net, client=settings, bill=bill()) as child,
        server.accept() as connection,
    ):
        connection.read_request()
        child.signal(signal.SIGINT)
        told, stderr = child.finish(-signal.SIGINT)
    assert told == []
    assert "KeyboardInterrupt" in stderr
    assert "the bill may or may not have been inserted" in stderr


# --- what else can come of a signal ---------------------------------------------------------------


def interrupt_late(talk: Talk) -> None:
    """The handler raises when the reply is already there."""
    import signal

    def handler(number: int, _: object) -> None:
        talk.tell(signal=number)
        talk.wait()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    talk.insert(talk.client(), talk.setup["bill"])


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
def test_a_reply_that_is_already_there_counts(
    server: Server, certificates: Certificates, *, tls: bool
) -> None:
    settings = {
        "access_token": TOKEN,
        "base_url": server.tls_url if tls else server.base_url,
        "ca_file": str(certificates.ca_file),
    }
    with (
        Child(interrupt_late, client=settings, bill=bill()) as child,
        server.accept() as connection,
    ):
        if tls:
            connection.start_tls(certificates)
        connection.read_request()
        child.signal(signal.SIGINT)
        assert child.hear() == {"signal": signal.SIGINT}
        connection.answer(errcode=0, errmsg="ok", code=CODE, openid="o1", echo=f"<{TOKEN}>")
        child.go_on()
        raised = child.hear()
        assert raised["type"] == "KeyboardInterrupt"
        assert raised["context"] is None
        (note,) = raised["notes"]
        assert CODE in note
        assert "o1" in note
        assert child.finish() == ([], "")


def interrupt_a_refusal(talk: Talk) -> None:
    """The handler raises when WeChat's refusal of the token is already there."""
    import signal

    def handler(number: int, _: object) -> None:
        talk.tell(signal=number)
        talk.wait()
        raise KeyboardInterrupt

    def source(stale: str | None) -> str:
        talk.tell(stale=stale is not None)
        return "t" * 20

    signal.signal(signal.SIGINT, handler)
    talk.insert(talk.client(token_source=source), talk.setup["bill"])


def test_ctrl_c_when_a_refused_token_comes_back(server: Server) -> None:
    """The source is not asked any more, and nothing is sent once more."""
    settings = {"base_url": server.base_url}
    with (
        Child(interrupt_a_refusal, client=settings, bill=bill()) as child,
        server.accept() as connection,
    ):
        assert child.hear() == {"stale": False}
        connection.read_request()
        child.signal(signal.SIGINT)
        assert child.hear() == {"signal": signal.SIGINT}
        connection.answer(errcode=40001, errmsg="invalid credential")
        child.go_on()
        raised = child.hear()
        assert raised["type"] == "KeyboardInterrupt"
        assert (raised["context"]["type"], raised["context"]["errcode"]) == (
            "AccessTokenError",
            40001,
        )
        assert child.finish() == ([], "")
        connection.wait_for_end()


def interrupt_the_result(talk: Talk) -> None:
    """A time limit (of Celery's kind) is over while the result is being made."""
    import signal

    import nontax

    class LimitError(Exception):
        pass

    def handler(*_: object) -> None:
        raise LimitError("the time is over")

    def make(reply: dict[str, object]) -> object:
        signal.raise_signal(signal.SIGUSR1)
        return true(reply)

    signal.signal(signal.SIGUSR1, handler)
    true = nontax.InsertedBill._from_reply
    nontax.InsertedBill._from_reply = make  # type: ignore[assignment]
    client = talk.client()
    first, second = talk.setup["bills"]
    talk.insert(client, first)

    async def insert() -> None:
        try:
            await client.ainsert_bill(second)
        except LimitError as error:
            talk.tell_error(error)

    import asyncio

    asyncio.run(insert())


def test_a_time_limit_while_the_result_is_made(sandbox: Sandbox) -> None:
    settings = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    bills = [bill(), bill()]
    for one, raised in zip(
        bills, run(interrupt_the_result, client=settings, bills=bills), strict=True
    ):
        assert raised["type"] == "LimitError"
        (note,) = raised["notes"]
        assert sandbox.bills[one["order_id"]].code in note


def interrupt_the_payload(talk: Talk) -> None:
    """Ctrl-C is pressed while the payload is read."""
    import signal

    class Row(dict[str, object]):
        def items(self) -> object:  # type: ignore[override]
            signal.raise_signal(signal.SIGINT)
            return super().items()

    talk.insert(talk.client(), Row(talk.setup["bill"]))


def test_ctrl_c_while_the_payload_is_read(sandbox: Sandbox) -> None:
    settings = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    (raised,) = run(interrupt_the_payload, client=settings, bill=bill())
    assert raised["type"] == "KeyboardInterrupt"
    assert (raised["context"]["type"], raised["context"]["outcome"]) == ("NotSentError", "not_sent")
    assert not sandbox.requests


def interrupt_the_error(talk: Talk) -> None:
    """Ctrl-C comes while the exception is being made of what became of the call."""
    import signal
    from typing import Any

    import nontax.client
    from nontax.report import make_error

    if talk.setup["limit"]:

        def handler(*_: object) -> None:
            raise TimeoutError("the time is over")

        signal.signal(signal.SIGINT, handler)
    pressed = set[int]()

    def make_interrupted(report: Any) -> Exception:
        if report.cause != "memory" and len(pressed) < 2:
            pressed.add(len(pressed))
            signal.raise_signal(signal.SIGINT)
        return make_error(report)

    vars(nontax.client)["make_error"] = make_interrupted  # for the client that is made now
    talk.insert(talk.client(), talk.setup["bill"])


@pytest.mark.parametrize("limit", [False, True])
def test_ctrl_c_while_the_error_is_made(server: Server, *, limit: bool) -> None:
    settings = {"access_token": TOKEN, "base_url": server.base_url}
    with (
        Child(interrupt_the_error, client=settings, bill=bill(), limit=limit) as child,
        server.accept() as connection,
    ):
        connection.read_request()
        connection.close()
        raised = child.hear()
        child.finish()
    assert raised["type"] == ("TimeoutError" if limit else "KeyboardInterrupt")
    assert raised["context"]["type"] == "InDoubtError"


def interrupt_while_handling(talk: Talk) -> None:
    """Insert a bill in the course of handling another exception."""
    client = talk.client()
    try:
        raise LookupError("an earlier trouble")
    except LookupError:
        talk.insert(client, talk.setup["bill"])


def test_what_is_known_of_the_bill_outlives_an_earlier_exception(server: Server) -> None:
    settings = {"access_token": TOKEN, "base_url": server.base_url}
    with Child(interrupt_while_handling, client=settings, bill=bill()) as child:
        with server.accept() as connection:
            connection.read_request()
            context = interrupt(child)
        assert (context["type"], context["outcome"]) == ("InDoubtError", "in_doubt")
        assert context["context"]["type"] == "LookupError"
        assert child.finish() == ([], "")


def raise_on_sigterm(talk: Talk) -> None:
    """SIGTERM raises what the test wants."""
    import signal

    class ShutdownError(Exception):
        pass

    def handler(*_: object) -> None:
        if talk.setup["kind"] == "SystemExit":
            raise SystemExit(3)
        raise ShutdownError("now") from ValueError("why")

    signal.signal(signal.SIGTERM, handler)
    client = talk.client()
    talk.insert(client, talk.setup["bill"])
    talk.wait()
    talk.insert(client, talk.setup["bill"])


@pytest.mark.parametrize("kind", ["SystemExit", "ShutdownError"])
def test_a_sigterm_handler_that_raises(server: Server, kind: str) -> None:
    settings = {"access_token": TOKEN, "base_url": server.base_url}
    with Child(raise_on_sigterm, client=settings, bill=bill(), kind=kind) as child:
        with server.accept() as connection:
            connection.read_request()
            child.signal(signal.SIGTERM)
            raised = child.hear()
            connection.wait_for_end()
        assert raised["type"] == kind
        assert raised["context"]["outcome"] == "in_doubt"
        child.go_on()
        with server.accept() as connection:
            connection.read_request()
            connection.answer()
            assert child.hear() == {"code": CODE}
        assert child.finish() == ([], "")


def count_alarms(talk: Talk) -> None:
    """SIGALRM is told and otherwise harmless."""
    import signal

    signal.signal(signal.SIGALRM, lambda number, _: talk.tell(signal=number))
    talk.insert(talk.client(), talk.setup["bill"])


def test_a_handler_that_returns_does_not_end_the_call(server: Server) -> None:
    settings = {"access_token": TOKEN, "base_url": server.base_url}
    with (
        Child(count_alarms, client=settings, bill=bill()) as child,
        server.accept() as connection,
    ):
        connection.read_request()
        for _ in range(20):
            child.signal(signal.SIGALRM)
            assert child.hear() == {"signal": signal.SIGALRM}
        connection.answer()
        assert child.hear() == {"code": CODE}
        assert child.finish() == ([], "")


def insert_in_the_handler(talk: Talk) -> None:
    """The handler inserts another bill with the same client."""
    import signal

    client = talk.client()
    inner, outer = talk.setup["bills"]
    signal.signal(signal.SIGALRM, lambda *_: talk.insert(client, inner))
    talk.insert(client, outer)


def test_a_handler_may_insert_another_bill(server: Server) -> None:
    settings = {"access_token": TOKEN, "base_url": server.base_url}
    inner, outer = bill(), bill()
    with (
        Child(insert_in_the_handler, client=settings, bills=[inner, outer]) as child,
        server.accept() as first,
    ):
        assert first.read_request() == outer
        child.signal(signal.SIGALRM)
        with server.accept() as second:
            assert second.read_request() == inner
            second.answer(errcode=0, errmsg="ok", code="1", openid="o")
            assert child.hear() == {"code": "1"}
            first.answer(errcode=0, errmsg="ok", code="2", openid="o")
            assert child.hear() == {"code": "2"}
        assert child.finish() == ([], "")


def interrupt_the_main_thread(talk: Talk) -> None:
    """The call runs in another thread; the main one is what Ctrl-C reaches."""
    import threading

    thread = threading.Thread(target=talk.insert, args=(talk.client(), talk.setup["bill"]))
    try:
        thread.start()
        # Not in a lock: Python can miss a signal that comes on the way into one.
        while True:
            pass
    except KeyboardInterrupt as error:
        talk.tell_error(error)
    thread.join()


def test_ctrl_c_leaves_calls_of_other_threads_alone(server: Server) -> None:
    settings = {"access_token": TOKEN, "base_url": server.base_url}
    with (
        Child(interrupt_the_main_thread, client=settings, bill=bill()) as child,
        server.accept() as connection,
    ):
        connection.read_request()
        assert interrupt(child) is None
        connection.answer()
        assert child.hear() == {"code": CODE}
        assert child.finish() == ([], "")


def raise_many_times(talk: Talk) -> None:
    """Be interrupted again and again; then say what it has cost."""
    import gc
    import os
    import signal

    class InterruptError(Exception):
        pass

    def handler(*_: object) -> None:
        raise InterruptError

    def insert() -> None:
        try:
            client.insert_bill(talk.setup["bill"])
        except InterruptError:
            talk.tell(raised=True)
        else:
            talk.tell(raised=False)

    def weigh() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), len(os.listdir("/proc/self/fd"))

    signal.signal(signal.SIGUSR1, handler)
    client = talk.client()
    for _ in range(5):
        insert()
    before = weigh()
    for _ in range(40):
        insert()
    after = weigh()
    talk.tell(objects=after[0] - before[0], descriptors=after[1] - before[1])


@on_linux
def test_interrupts_leave_nothing_behind(sandbox: Sandbox) -> None:
    sandbox.inject(faults.NeverAnswer(), times=45)
    settings = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    with Child(raise_many_times, client=settings, bill=bill()) as child:
        for count in range(1, 46):
            sandbox.wait_for_requests(count)
            child.signal(signal.SIGUSR1)
            assert child.hear() == {"raised": True}
        left = child.hear()
        assert left["objects"] < 40  # One for each would be a leak; a few come and go.
        assert left["descriptors"] == 0
        assert child.finish() == ([], "")
