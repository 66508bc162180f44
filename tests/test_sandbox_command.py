"""The sandbox as a program: starting and stopping, and the command."""

import contextlib
import gc
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sandboxes import (
    Peer,
    address_of,
    client_context,
    command,
    environment,
    head_of,
    insert_with,
    make_bill,
    request_of,
    tls_sandbox,
)

import nontax
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates

# Starting and stopping


def test_stop_ends_every_thread_whatever_it_does(certificates: Certificates) -> None:
    before = set(threading.enumerate())
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        secure = stack.enter_context(tls_sandbox(certificates))
        peers = [stack.enter_context(Peer(sandbox)) for _ in range(6)]
        sandbox.inject(faults.NeverAnswer())
        sandbox.inject(faults.Delay(3600))
        sandbox.inject(faults.Reply(framing="endless", body=b" " * 100_000))
        for number in range(3):
            peers[number].send(request_of(sandbox, str(number)))
            sandbox.wait_for_requests(number + 1)
        peers[3].send(head_of(sandbox, 10))
        peers[4].send(b"POST /nontax")
        sandbox.wait_for_requests(4)
        peers[5].send(request_of(sandbox, "5"))
        peers[5].read_reply()
        # One whose handshake never comes, and one that came later and is known to be accepted.
        stack.enter_context(Peer(secure))
        stack.enter_context(Peer(secure, client_context(certificates)))
        assert len(set(threading.enumerate()) - before) == 2 + 6 + 2
        sandbox.stop()
        secure.stop()
        assert set(threading.enumerate()) == before
        for peer in peers:
            with contextlib.suppress(ConnectionResetError):
                peer.read_to_end()
        with pytest.raises(ConnectionRefusedError):
            Peer(sandbox)
        sandbox.stop()
        assert len(sandbox.requests) == 5
    # Forgotten sockets would warn, and warnings are errors.
    gc.collect()


def test_stop_after_an_exception() -> None:
    before = set(threading.enumerate())
    with contextlib.suppress(ZeroDivisionError), Sandbox() as sandbox, Peer(sandbox) as peer:
        peer.send(request_of(sandbox))
        peer.read_reply()
        assert len(set(threading.enumerate()) - before) == 2
        raise ZeroDivisionError
    assert set(threading.enumerate()) == before


def test_stop_does_not_depend_on_forked_children() -> None:
    code = """if True:
        import os, signal, socket
        from nontax.sandbox import Sandbox
        with Sandbox() as sandbox:
            port = int(sandbox.base_url.rsplit(":", 1)[1])
            peer = socket.create_connection(("127.0.0.1", port))
            peer.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            assert peer.recv(65536)
            child = os.fork()
            if not child:
                signal.pause()
        try:
            assert peer.recv(1) == b""
            try:
                socket.create_connection(("127.0.0.1", port))
            except ConnectionRefusedError:
                print("refused")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == "refused\n"


def test_starting(tmp_path: Path, sandbox: Sandbox) -> None:
    before = set(threading.enumerate())
    other = Sandbox(port=address_of(sandbox)[1])
    with pytest.raises(RuntimeError, match="not started"):
        _ = other.base_url
    assert repr(other) == "<Sandbox not started>"
    with pytest.raises(OSError, match="in use"):
        other.start()
    with pytest.raises(FileNotFoundError):
        Sandbox(certfile=tmp_path / "none.pem").start()
    other.stop()
    with pytest.raises(RuntimeError, match="once"):
        sandbox.start()
    assert set(threading.enumerate()) == before
    assert repr(sandbox) == f"<Sandbox {sandbox.base_url}>"
    done = subprocess.run(
        [sys.executable, "-m", "nontax.sandbox", "--port", str(address_of(sandbox)[1])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "--port 0" in done.stderr


# The command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_runs_until_a_signal(number: signal.Signals) -> None:
    with command() as (process, exports, _):
        assert list(exports) == [
            "NONTAX_BASE_URL",
            "NONTAX_ACCESS_TOKEN",
            "NONTAX_APPID",
            "NONTAX_SECRET",
        ]
        assert exports["NONTAX_BASE_URL"].startswith("http://127.0.0.1:")
        assert insert_with(exports) == 0
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d POST /nontax/insertbill order_id='A1' errcode=0\n", line
        )
        process.send_signal(number)
        rest, errors = process.communicate()
        assert (rest, errors, process.returncode) == ("", "", 0)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("0.0.0.0", "://127.0.0.1:"),
        ("0", "://127.0.0.1:"),
        ("", "://127.0.0.1:"),
        ("::", "://[::1]:"),
        ("localhost", "://localhost:"),
    ],
)
def test_a_client_reaches_a_command_that_listens_everywhere(
    host: str, base_url: str, *, tls: bool
) -> None:
    with command("--host", host, *(["--tls"] if tls else [])) as (_, exports, notes):
        assert base_url in exports["NONTAX_BASE_URL"]
        assert all(base_url in note for note in notes if "://" in note)
        with nontax.Client(
            base_url=exports["NONTAX_BASE_URL"],
            access_token=exports["NONTAX_ACCESS_TOKEN"],
            ca_file=exports.get("NONTAX_CA_FILE"),
        ) as client:
            client.insert_bill(make_bill())


def test_the_command_makes_a_throw_away_certificate() -> None:
    with command("--tls", "--orders", "strict") as (process, exports, _):
        assert exports["NONTAX_BASE_URL"].startswith("https://127.0.0.1:")
        ca_file = Path(exports["NONTAX_CA_FILE"])
        assert insert_with(exports) == 72038
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert not ca_file.parent.exists()


def test_the_command_takes_a_certificate(certificates: Certificates) -> None:
    files = ("--cert", str(certificates.cert_file), "--key", str(certificates.key_file))
    with command(*files) as (process, exports, _):
        assert exports["NONTAX_CA_FILE"] == str(certificates.cert_file)
        exports["NONTAX_CA_FILE"] = str(certificates.ca_file)
        assert insert_with(exports) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_the_command_ends_when_nobody_reads_its_log() -> None:
    with command() as (process, exports, _):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert insert_with(exports) == 0
        assert process.stderr.read() == ""
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--key", "x"], 2, "--key needs --cert"),
        (["--tls", "--cert", "x"], 2, "--tls makes"),
        (["--orders", "lax"], 2, "invalid choice"),
        (["--port", "65536"], 2, "argument --port: must be a number from 0 to 65535"),
        (["--port", "-1"], 2, "argument --port: "),
        (["--port", "00099999"], 2, "argument --port: "),
        (["--port", "9" * 5000], 2, "argument --port: must be a number from 0 to 65535"),
        (["--port", "http"], 2, "argument --port: must be a number from 0 to 65535"),
        (["--cert", "/nowhere.pem"], 1, "No such file or directory: '/nowhere.pem'"),
        (["--cert", __file__, "--key", "/nowhere.key"], 1, "directory: '/nowhere.key'"),
        (["--cert", __file__], 1, f"no certificate with its key can be read from {__file__}: "),
        (["--cert", __file__, "--key", "/dev/null"], 1, f" read from {__file__} and /dev/null: "),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_the_command_refuses(arguments: list[str], status: int, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nontax.sandbox", "--port", "0", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
