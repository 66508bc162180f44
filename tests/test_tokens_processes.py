"""Tokens in several processes, over forks and handlers, and when Ctrl-C comes during a fetch."""

import signal
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from bills import bill
from marks import forking
from processes import CODE, Child, Server, Talk, run
from servers import json_reply
from tokens import INSERT, STABLE, forced, sent, serve_first, settings_of, source_of

import nontax
from nontax.sandbox import Sandbox, faults


def insert_on_demand(talk: Talk) -> None:
    """Insert a bill each time the parent says so."""
    client = talk.client()
    for one in talk.setup["bills"]:
        talk.wait()
        talk.insert(client, one)


def insert_in_turns(sandbox: Sandbox, *before: Callable[[], object]) -> None:
    """After each of these calls two processes insert a bill each, one after the other."""
    settings = settings_of(sandbox.base_url, sandbox.bureau)
    bills = [[bill() for _ in before] for _ in range(2)]
    with (
        Child(insert_on_demand, client=settings, bills=bills[0]) as one,
        Child(insert_on_demand, client=settings, bills=bills[1]) as two,
    ):
        for call in before:
            call()
            for child in (one, two):
                child.go_on()
                assert "code" in child.hear()
        one.finish()
        two.finish()
    assert len(sandbox.bills) == 2 * len(before)


def test_two_processes_do_not_end_each_others_tokens(sandbox: Sandbox) -> None:
    # The third bills come when the first token is in its last five minutes: by the sandbox's clock
    # only, as if the processes' own were slow.
    insert_in_turns(sandbox, *(partial(sandbox.clock.advance, by) for by in (0, 6000, 800)))
    assert [request.errcode for request in sent(sandbox, INSERT)] == [0] * 6
    assert forced(sandbox) == []
    assert len({request.access_token for request in sent(sandbox, INSERT)}) == 1


def test_two_processes_after_a_token_was_lost(sandbox: Sandbox) -> None:
    nothing = partial(sandbox.clock.advance, 0)
    insert_in_turns(sandbox, nothing, sandbox.bureau.renew_stable_token, nothing)
    # Each process was refused once, asked once, and went on with the same token as the other.
    assert Counter(request.errcode for request in sent(sandbox, INSERT)) == {0: 6, 40001: 2}
    assert len(sent(sandbox, STABLE)) == 4
    assert forced(sandbox) == []


def test_two_sources_on_the_older_interface_do_end_each_others(sandbox: Sandbox) -> None:
    # As the class warns; each recovers all the same.
    clients = [
        nontax.Client(
            token_source=source_of(nontax.AccessToken, sandbox), base_url=sandbox.base_url
        )
        for _ in range(2)
    ]
    for client in clients:
        client.insert_bill(bill())
    sandbox.clock.advance(301)
    clients[0].insert_bill(bill())
    assert [request.errcode for request in sent(sandbox, INSERT)] == [0, 0, 40001, 0]


def fork_while_a_thread_fetches(talk: Talk) -> None:
    """The child must not wait for a thread that it does not have."""
    import os
    import threading

    client = talk.client()
    parent_s, child_s = talk.setup["bills"]
    thread = threading.Thread(target=talk.insert, args=(client, parent_s))
    thread.start()
    talk.wait()
    pid = os.fork()
    if pid == 0:
        talk.insert(client, child_s)
        os._exit(0)
    assert os.waitpid(pid, 0) == (pid, 0)
    talk.tell(child="has ended")
    thread.join()


@forking
def test_a_fork_while_another_thread_fetches(server: Server) -> None:
    settings = settings_of(server.base_url, timeout=300)
    with Child(fork_while_a_thread_fetches, client=settings, bills=[bill(), bill()]) as child:
        with server.accept() as parent_s:
            parent_s.read_request()
            child.go_on()
            fetching, inserting = serve_first(server, "child-s")
            assert child.hear() == {"code": CODE}
            assert child.hear() == {"child": "has ended"}
            fetching.close()
            inserting.close()
            parent_s.answer(access_token="parent-s", expires_in=7200)
            with server.accept() as connection:
                assert connection.read_token() == "parent-s"
                connection.answer()
                assert child.finish() == ([{"code": CODE}], "")


def fork_with_a_token(talk: Talk) -> None:
    """A token that was fetched before serves both processes."""
    import os

    client = talk.client()
    before, child_s, after = talk.setup["bills"]
    talk.insert(client, before)
    pid = os.fork()
    if pid == 0:
        talk.insert(client, child_s)
        os._exit(0)
    assert os.waitpid(pid, 0) == (pid, 0)
    talk.insert(client, after)


@forking
def test_a_fork_keeps_the_token(sandbox: Sandbox) -> None:
    bills = [bill() for _ in range(3)]
    told = run(fork_with_a_token, client=settings_of(sandbox.base_url, sandbox.bureau), bills=bills)
    assert [facts["code"] for facts in told] == [
        sandbox.bills[one["order_id"]].code for one in bills
    ]
    assert len(sent(sandbox, STABLE)) == 1


def fork_in_a_handler_during_a_fetch(talk: Talk) -> None:
    """The copy of the call in the child must end, and the client go on in both."""
    import os
    import signal

    import nontax

    children = []

    def fork(*_: object) -> None:
        pid = os.fork()
        children.append(pid)
        if pid == 0 and talk.setup["use"]:
            talk.insert(client, talk.setup["bills"][2])

    client = talk.client()
    signal.signal(signal.SIGUSR1, fork)
    first, second, _ = talk.setup["bills"]
    try:
        code = client.insert_bill(first).code
    except nontax.NontaxError as error:
        assert children == [0]
        talk.tell(child=type(error).__name__, text=str(error))
        os._exit(0)
    except BaseException as error:
        talk.tell(child=type(error).__name__)
        os._exit(0)
    assert os.waitpid(children[0], 0) == (children[0], 0)
    talk.tell(code=code)
    talk.insert(client, second)


@forking
@pytest.mark.parametrize("use", [False, True], ids=["idle", "used"])
def test_a_handler_that_forks_during_a_fetch(server: Server, *, use: bool) -> None:
    bills = [bill(), bill(), bill()]
    settings = settings_of(server.base_url, timeout=300)
    with Child(fork_in_a_handler_during_a_fetch, client=settings, bills=bills, use=use) as child:
        with server.accept() as fetching:
            fetching.read_request()
            child.signal(signal.SIGUSR1)
            if use:
                connections = serve_first(server, "child-s")
                assert child.hear() == {"code": CODE}
                for connection in connections:
                    connection.close()
            told = child.hear()
            assert told["child"] == "NotSentError"
            assert "this process was forked" in told["text"]
            fetching.answer(access_token="parent-s", expires_in=7200)
            with server.accept() as inserting:
                inserting.read_request()
                inserting.answer()
                assert child.hear() == {"code": CODE}
                inserting.read_request()
                inserting.answer()
                assert child.finish() == ([{"code": CODE}], "")


def insert_in_a_handler(talk: Talk) -> None:
    """A handler that inserts a bill cannot wait for the very thread that it has interrupted."""
    import signal

    client = talk.client()
    first, second, third = talk.setup["bills"]
    signal.signal(signal.SIGUSR1, lambda *_: talk.insert(client, second))
    talk.insert(client, first)
    talk.insert(client, third)


def test_a_handler_that_inserts_a_bill_during_a_fetch(server: Server) -> None:
    bills = [bill(), bill(), bill()]
    settings = settings_of(server.base_url, timeout=300)
    with Child(insert_in_a_handler, client=settings, bills=bills) as child:
        with server.accept() as fetching:
            fetching.read_request()
            child.signal(signal.SIGUSR1)
            told = child.hear()
            assert told["type"] == "NotSentError"
            assert "a signal handler cannot wait" in told["text"]
            fetching.answer(access_token="one", expires_in=7200)
            with server.accept() as inserting:
                for one in (bills[0], bills[2]):
                    assert inserting.read_request() == one
                    inserting.answer()
                assert child.finish() == ([{"code": CODE}] * 2, "")


# --- Ctrl-C ---------------------------------------------------------------------------------------


def insert_twice(talk: Talk) -> None:
    """Insert the bills one after another, whatever becomes of the first."""
    client = talk.client()
    for one in talk.setup["bills"]:
        talk.insert(client, one)


def test_ctrl_c_during_a_fetch(server: Server) -> None:
    settings = settings_of(server.base_url, timeout=300)
    with Child(insert_twice, client=settings, bills=[bill(), bill()]) as child:
        with server.accept() as fetching:
            fetching.read_request()
            child.signal(signal.SIGINT)
            told = child.hear()
            assert told["type"] == "KeyboardInterrupt"
            # What is known of the bill stands behind it: nothing of it was sent.
            context = told["context"]
            outcomes = []
            while context is not None:
                outcomes.append((context["type"], context["outcome"]))
                context = context["context"]
            assert ("NotSentError", "not_sent") in outcomes
            fetching.wait_for_end()
        fetching, inserting = serve_first(server)
        assert child.finish() == ([{"code": CODE}], "")
        fetching.close()
        inserting.close()


def limit_a_fetch(talk: Talk) -> None:
    """A time limit of Celery's kind, whose exception is an Exception, is over during a fetch."""
    import signal

    import nontax

    class LimitError(Exception):
        pass

    class OurLimitError(nontax.NotSentError):
        """One of nontax's own, which must not pass for what became of the fetch."""

    def handler(*_: object) -> None:
        raise OurLimitError(reason="the handler's") if talk.setup["ours"] else LimitError

    signal.signal(signal.SIGTERM, handler)
    client = talk.client()
    run = client.insert_bills([talk.setup["bill"]]) if talk.setup["bulk"] else None
    for _ in range(2):
        try:
            if run is not None:
                talk.tell(code=getattr(next(run).inserted, "code", None))
            else:
                talk.tell(code=client.insert_bill(talk.setup["bill"]).code)
        except (LimitError, OurLimitError) as error:
            talk.tell_error(error)


@pytest.mark.parametrize("ours", [False, True], ids=["theirs", "ours"])
@pytest.mark.parametrize("bulk", [False, True], ids=["single", "bulk"])
def test_a_time_limit_during_a_fetch(server: Server, *, bulk: bool, ours: bool) -> None:
    settings = settings_of(server.base_url, timeout=300)
    with Child(limit_a_fetch, client=settings, bill=bill(), bulk=bulk, ours=ours) as child:
        with server.accept() as fetching:
            fetching.read_request()
            child.signal(signal.SIGTERM)
            told = child.hear()
            assert told["type"] == ("OurLimitError" if ours else "LimitError")
            assert told["context"]["outcome"] != "inserted"
            fetching.wait_for_end()
        fetching, inserting = serve_first(server)
        assert child.finish() == ([{"code": CODE}], "")
        fetching.close()
        inserting.close()


def limit_a_ticket(talk: Talk) -> None:
    """A signal handler raises one of nontax's own errors while a ticket is fetched."""
    import signal

    import nontax

    def handler(*_: object) -> None:
        raise nontax.QuotaError(errcode=45009, errmsg="the handler's")

    signal.signal(signal.SIGTERM, handler)
    client = talk.client()
    for _ in range(2):
        try:
            client.get_ticket()
            talk.tell(got="a ticket")
        except nontax.QuotaError as error:
            talk.tell(got=error.errmsg)


def test_a_handlers_error_is_not_taken_for_a_tickets(server: Server) -> None:
    """Or else it would be told to everybody for some seconds."""
    client = {"base_url": server.base_url, "access_token": "t" * 20, "timeout": 300}
    ticket = b'{"errcode":0,"errmsg":"ok","ticket":"t-1","expires_in":7200}'
    with Child(limit_a_ticket, client=client) as child:
        with server.accept() as fetching:
            fetching.read_head()
            child.signal(signal.SIGTERM)
            assert child.hear() == {"got": "the handler's"}
        with server.accept() as fetching:
            fetching.read_head()
            fetching.send(json_reply(ticket))
            assert child.finish() == ([{"got": "a ticket"}], "")


def wait_for_another_threads_fetch(talk: Talk) -> None:
    """Ctrl-C comes when the main thread waits for a token that another one fetches."""
    import os
    import signal
    import sys
    import threading
    import time

    def watch(main: int) -> None:
        # The lock's acquire() is no frame of Python's: the one that calls it is on top.
        while sys._current_frames()[main].f_code.co_name != "get":
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    client = talk.client()
    others, mine, last = talk.setup["bills"]
    thread = threading.Thread(target=talk.insert, args=(client, others))
    thread.start()
    talk.wait()
    threading.Thread(target=watch, args=(threading.get_ident(),)).start()
    talk.insert(client, mine)
    talk.wait()
    talk.insert(client, last)
    thread.join()


def test_ctrl_c_while_waiting_for_another_threads_fetch(server: Server) -> None:
    settings = settings_of(server.base_url, timeout=300)
    bills = [bill(), bill(), bill()]
    with Child(wait_for_another_threads_fetch, client=settings, bills=bills) as child:
        with server.accept() as fetching:
            fetching.read_request()
            child.go_on()
            assert child.hear()["type"] == "KeyboardInterrupt"
            fetching.answer(access_token="one", expires_in=7200)
            with server.accept() as inserting:
                assert inserting.read_request() == bills[0]
                inserting.answer()
                assert child.hear() == {"code": CODE}
                child.go_on()
                assert inserting.read_request() == bills[2]
                inserting.answer()
                assert child.finish() == ([{"code": CODE}], "")


def interrupt_the_one_that_fetches(talk: Talk) -> None:
    """The main thread fetches, others wait for it."""
    import threading

    client = talk.client()
    mine, *others = talk.setup["bills"]
    threads = [threading.Thread(target=talk.insert, args=(client, one)) for one in others]

    def start() -> None:
        talk.wait()
        for thread in threads:
            thread.start()
        talk.tell(others="started")

    starter = threading.Thread(target=start)
    starter.start()
    talk.insert(client, mine)
    starter.join()
    for thread in threads:
        thread.join()


def press_while_it_is_cached(talk: Talk) -> None:
    """Press Ctrl-C at each place of a fetch in turn; who comes afterwards must not have to wait."""
    import itertools
    from concurrent.futures import ThreadPoolExecutor

    from interrupts import ctrl_c_at

    from nontax import cached

    def fetch(_stale: str | None, _seconds: float, _may_keep: bool) -> tuple[str, float]:
        return "t" * 20, 7200.0

    for place in itertools.count(1):
        one: cached.Cached[str] = cached.Cached()
        try:
            with ctrl_c_at(place, cached.__file__):
                one.get(fetch, None, 5.0)
        except KeyboardInterrupt:
            with ThreadPoolExecutor() as pool:  # it would be free to this thread in any case
                free = pool.submit(one._lock.acquire, blocking=False).result()
            talk.tell(free=free, owner=one._owner)
        else:
            break


def test_ctrl_c_anywhere_in_a_fetch_leaves_no_lock() -> None:
    told = run(press_while_it_is_cached)
    assert len(told) > 5
    assert all(one == {"free": True, "owner": 0} for one in told)


def test_ctrl_c_in_the_thread_that_fetches_leaves_the_others_one_fetch(sandbox: Sandbox) -> None:
    sandbox.inject(faults.NeverAnswer())
    settings = settings_of(sandbox.base_url, sandbox.bureau, timeout=300)
    bills = [bill() for _ in range(9)]
    with Child(interrupt_the_one_that_fetches, client=settings, bills=bills) as child:
        sandbox.wait_for_requests(1)
        child.go_on()
        assert child.hear() == {"others": "started"}
        child.signal(signal.SIGINT)
        told, stderr = child.finish()
    assert stderr == ""
    assert Counter(facts.get("type", "inserted") for facts in told) == {
        "KeyboardInterrupt": 1,
        "inserted": 8,
    }
    assert len(sent(sandbox, STABLE)) == 2
    assert len(sandbox.bills) == 8
