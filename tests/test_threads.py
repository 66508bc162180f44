"""Threads: many share a client, none waits for another, and none outlives the interpreter."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bills import bill
from processes import CODE, Child, Server, Talk, run

import nontax
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates

THREADS = 32
TOKEN = "threads-canary-90ad3e17f4"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


def outcome(client: nontax.Client, one: dict[str, Any]) -> nontax.InsertedBill | Exception:
    try:
        return client.insert_bill(one)
    except nontax.NontaxError as error:
        return error


# --- one run, many threads ------------------------------------------------------------------------


def test_a_run_serves_one_thread_at_a_time(sandbox: Sandbox, client: nontax.Client) -> None:
    """Others are turned away; what they say is not lost, nor said twice."""
    outcomes = client.insert_bills((bill() for _ in range(60)), concurrency=8)
    start = threading.Barrier(4)
    seen: list[int] = []
    refused: list[str] = []

    def take() -> None:
        start.wait()
        while True:
            try:
                seen.append(next(outcomes).index)
            except StopIteration:
                return
            except ValueError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(60))
    assert set(refused) <= {"this run is in use, by another thread or around its own iterable"}
    assert len(sandbox.requests) == 60


# --- one client, many threads ---------------------------------------------------------------------


def test_each_bill_is_inserted_once_over_no_more_connections_than_threads(
    sandbox: Sandbox, client: nontax.Client, pool: ThreadPoolExecutor
) -> None:
    bills = [bill() for _ in range(2000)]
    inserted = list(pool.map(client.insert_bill, bills))
    taken = sandbox.bills
    assert Counter(request.order_id for request in sandbox.requests) == Counter(
        one["order_id"] for one in bills
    )
    for one, result in zip(bills, inserted, strict=True):
        there = taken[one["order_id"]]
        assert (result.code, result.openid) == (there.code, there.openid)
        assert there.json == one
    assert sandbox.connections <= THREADS


def test_the_same_over_tls(
    tls_sandbox: Sandbox, tls_client: nontax.Client, pool: ThreadPoolExecutor
) -> None:
    bills = [bill() for _ in range(320)]
    inserted = list(pool.map(tls_client.insert_bill, bills))
    taken = tls_sandbox.bills
    assert [result.code for result in inserted] == [taken[one["order_id"]].code for one in bills]
    assert len(tls_sandbox.requests) == len(bills)
    assert tls_sandbox.connections <= THREADS


def test_mixed_outcomes_do_not_mix(sandbox: Sandbox, pool: ThreadPoolExecutor) -> None:
    # What each bill meets depends on its turn; the sandbox's record tells which it was.
    for _ in range(20):
        sandbox.inject(faults.Errcode(45011), skip=7)
        sandbox.inject(faults.Close("body", taken=True), skip=3)
        sandbox.inject(faults.Errcode(-1, taken=True), skip=2)
        sandbox.inject(faults.Reply(502, body=b"<html>"), skip=5)
    bills = [bill() for _ in range(600)]
    for one in bills[::10]:
        sandbox.reject(one["order_id"])
    for one in bills[1::10]:
        one["order_id"] = ""
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, retries=0
    ) as client:
        results = list(pool.map(lambda one: outcome(client, one), bills))
    assert sandbox.faults_left == 0
    # Every bill that was sent at all was sent once.
    met = {request.order_id: request for request in sandbox.requests}
    assert len(met) == len(sandbox.requests) == 540
    for one, result in zip(bills, results, strict=True):
        request = met.get(one["order_id"])
        if request is None:
            assert isinstance(result, nontax.InvalidRequestError)
        elif request.errcode is None:
            assert isinstance(result, nontax.InDoubtError)
        elif request.errcode == 0:
            assert isinstance(result, nontax.InsertedBill)
            assert result.code == sandbox.bills[one["order_id"]].code
        else:
            assert isinstance(result, nontax.WeChatError)
            assert result.errcode == request.errcode
    kinds = Counter(type(result).__name__ for result in results)
    assert kinds["InvalidRequestError"] == 60
    assert kinds["InDoubtError"] == 40
    assert kinds["QuotaError"] == kinds["SystemBusyError"] == 20


def test_two_calls_run_side_by_side(server: Server, pool: ThreadPoolExecutor) -> None:
    first, second = bill(), bill()
    with nontax.Client(access_token=TOKEN, base_url=server.base_url) as client:
        slow = pool.submit(client.insert_bill, first)
        with server.accept() as withheld:
            assert withheld.read_request() == first
            quick = pool.submit(client.insert_bill, second)
            with server.accept() as connection:
                assert connection.read_request() == second
                connection.answer(errcode=0, errmsg="ok", code="2", openid="o")
                assert quick.result().code == "2"
            assert not slow.done()
            withheld.answer(errcode=0, errmsg="ok", code="1", openid="o")
            assert slow.result().code == "1"


def test_python_goes_on_while_a_call_waits(server: Server) -> None:
    counted = []

    def count() -> None:
        counted.append(sum(range(1_000_000)))

    with (
        nontax.Client(access_token=TOKEN, base_url=server.base_url) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        call = pool.submit(client.insert_bill, bill())
        with server.accept() as connection:
            connection.read_request()
            # The call gets its answer only after another thread has done its sums.
            pool.submit(count).result()
            assert counted == [499999500000]
            assert not call.done()
            connection.answer()
            assert call.result().code == CODE


def test_closing_while_others_insert_disturbs_nobody(
    sandbox: Sandbox, client: nontax.Client, pool: ThreadPoolExecutor
) -> None:
    calls = [pool.submit(client.insert_bill, bill()) for _ in range(300)]
    codes = set()
    for call in calls:
        client.close()
        codes.add(call.result().code)
    assert codes == {there.code for there in sandbox.bills.values()}
    assert len(sandbox.requests) == 300


def test_clients_come_and_go_in_many_threads(sandbox: Sandbox, pool: ThreadPoolExecutor) -> None:
    def insert(one: dict[str, Any]) -> str:
        client = nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url)
        return client.insert_bill(one).code

    codes = list(pool.map(insert, [bill() for _ in range(200)]))
    assert sorted(codes) == sorted(there.code for there in sandbox.bills.values())
    assert len(sandbox.requests) == 200


def test_a_dropped_client_lives_as_long_as_its_calls(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        client = nontax.Client(access_token=TOKEN, base_url=server.base_url)
        call = pool.submit(client.insert_bill, bill())
        with server.accept() as connection:
            connection.read_request()
            del client
            connection.answer()
            assert call.result().code == CODE


# --- token sources --------------------------------------------------------------------------------


def test_the_token_source_is_asked_by_many_threads_at_once(sandbox: Sandbox) -> None:
    together = threading.Barrier(8)
    askers = set()

    def source(stale: str | None) -> str:
        assert stale is None
        together.wait()
        askers.add(threading.get_ident())
        return sandbox.access_token

    with (
        nontax.Client(token_source=source, base_url=sandbox.base_url) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        codes = list(pool.map(lambda one: client.insert_bill(one).code, [bill() for _ in range(8)]))
    assert len(askers) == 8
    assert set(codes) == {there.code for there in sandbox.bills.values()}


def test_a_token_that_ends_under_load_is_renewed_for_every_thread(sandbox: Sandbox) -> None:
    old = sandbox.access_token
    refused = []

    def source(stale: str | None) -> str:
        if stale is not None:
            refused.append(stale)
            return sandbox.access_token
        return old

    bills = [bill() for _ in range(200)]
    with (
        nontax.Client(token_source=source, base_url=sandbox.base_url) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        calls = [pool.submit(client.insert_bill, one) for one in bills[:100]]
        sandbox.wait_for_requests(20)
        sandbox.renew_access_token()
        calls += [pool.submit(client.insert_bill, one) for one in bills[100:]]
        codes = [call.result().code for call in calls]
    taken = sandbox.bills
    assert codes == [taken[one["order_id"]].code for one in bills]
    # One more for each refusal, and each with the token that was refused.
    assert len(refused) == len(sandbox.requests) - 200 >= 100
    assert set(refused) == {old}


def test_each_thread_gets_its_own_token_sources_exception(sandbox: Sandbox) -> None:
    together = threading.Barrier(8)

    def source(_: str | None) -> str:
        together.wait()
        raise LookupError(threading.get_ident())

    def cause(one: dict[str, Any]) -> tuple[object, int]:
        error = outcome(client, one)
        assert isinstance(error, nontax.NotSentError)
        assert isinstance(error.__cause__, LookupError)
        return error.__cause__.args[0], threading.get_ident()

    with (
        nontax.Client(token_source=source, base_url=sandbox.base_url) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        threads = list(pool.map(cause, [bill() for _ in range(8)]))
    assert len(set(threads)) == 8
    assert all(raised == here for raised, here in threads)
    assert sandbox.requests == ()


# --- the end of the interpreter -------------------------------------------------------------------


def leave_calls_behind(talk: Talk) -> None:
    """End the program while threads are in a call."""
    import threading
    from typing import Any

    def insert(one: dict[str, Any]) -> None:
        talk.tell(code=client.insert_bill(one).code)

    client = talk.client()
    for one in talk.setup["bills"]:
        threading.Thread(target=insert, args=(one,), daemon=talk.setup["daemon"]).start()
    talk.wait()
    talk.tell(last="word")


def leave(base_url: str, count: int, *, daemon: bool, **settings: Any) -> Child:
    settings |= {"access_token": TOKEN, "base_url": base_url, "timeout": 300}
    bills = [bill() for _ in range(count)]
    return Child(leave_calls_behind, client=settings, bills=bills, daemon=daemon)


def test_daemon_threads_in_a_call_end_with_the_interpreter(server: Server) -> None:
    with leave(server.base_url, 4, daemon=True) as child:
        connections = [server.accept() for _ in range(4)]
        for connection in connections:
            connection.read_request()
        child.go_on()
        assert child.finish() == ([{"last": "word"}], "")
        for connection in connections:
            connection.wait_for_end()
            connection.close()


@pytest.mark.parametrize("phase", ["handshake", "waiting", "reply"])
def test_daemon_threads_in_tls_end_with_the_interpreter(
    server: Server, certificates: Certificates, phase: str
) -> None:
    with leave(server.tls_url, 1, daemon=True, ca_file=str(certificates.ca_file)) as child:
        with server.accept() as connection:
            if phase == "handshake":
                assert connection.read_some()
            else:
                connection.start_tls(certificates)
                connection.read_request()
            if phase == "reply":
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n{")
            child.go_on()
            assert child.finish() == ([{"last": "word"}], "")


def shake_hands_to_the_end(talk: Talk) -> None:
    """End the program while threads are inside the TLS library."""
    import threading

    import nontax

    def insert() -> None:
        while True:
            try:
                client.insert_bill(talk.setup["bill"])
            except nontax.TLSError:
                busy.release()

    client = talk.client()
    busy = threading.Semaphore(0)
    for _ in range(6):
        threading.Thread(target=insert, daemon=True).start()
    for _ in range(8):
        busy.acquire()


def test_the_tls_library_outlives_the_threads_that_are_in_it(tls_sandbox: Sandbox) -> None:
    # The sandbox's certificate is not trusted: handshakes are all that there is.
    client = {"access_token": TOKEN, "base_url": tls_sandbox.base_url}
    for _ in range(6):
        assert run(shake_hands_to_the_end, client=client, bill=bill()) == []


def test_other_threads_in_a_call_hold_the_interpreter_up(server: Server) -> None:
    with leave(server.base_url, 1, daemon=False) as child, server.accept() as connection:
        connection.read_request()
        child.go_on()
        assert child.hear() == {"last": "word"}
        connection.answer()
        assert child.finish() == ([{"code": CODE}], "")


def leave_clients_around(talk: Talk) -> None:
    """End the program with clients in every kind of place."""
    import sys

    import nontax

    class Holder:
        """Refers to itself, so that only the end of the interpreter finds it."""

        def __init__(self) -> None:
            self.client = talk.client(access_token=None, token_source=self.token)

        def token(self, _: str | None) -> str:
            return str(talk.setup["client"]["access_token"])

    holder = Holder()
    sys.modules["elsewhere"] = talk.client()  # type: ignore[assignment]
    first, second, third = talk.setup["bills"]
    talk.insert(holder.client, first)
    talk.insert(sys.modules["elsewhere"], second)  # type: ignore[arg-type]
    talk.tell(code=nontax.insert_bill(third).code)


def test_clients_with_warm_connections_may_outlive_everything(
    tls_sandbox: Sandbox, certificates: Certificates
) -> None:
    settings = {
        "access_token": tls_sandbox.access_token,
        "base_url": tls_sandbox.base_url,
        "ca_file": str(certificates.ca_file),
    }
    env = {f"NONTAX_{name.upper()}": value for name, value in settings.items()}
    bills = [bill() for _ in range(3)]
    with Child(leave_clients_around, env, client=settings, bills=bills) as child:
        told, stderr = child.finish()
    assert stderr == ""
    codes = {there.code for there in tls_sandbox.bills.values()}
    assert {facts["code"] for facts in told} == codes
    assert len(codes) == 3
