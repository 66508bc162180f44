"""Leaks: memory, objects, references and descriptors stay level however often a call fails."""

import os
import sys
from functools import reduce
from operator import getitem

import pytest
from bills import bill
from processes import Talk, run

from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

TOKEN = "leaks-canary-417c0be95d"

# AddressSanitizer keeps freed memory back, to catch its late use; a little of it is enough here.
ENV = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"}


def fail_in_every_way(talk: Talk) -> None:
    """Fail, and succeed, in all ways there are, again and again; measure from time to time."""
    import ctypes
    import gc
    import os
    import resource
    import sys
    import tracemalloc
    from collections.abc import Callable
    from typing import Any

    import nontax
    import nontax._core
    import nontax.errors

    setup: dict[str, Any] = talk.setup
    one = setup["bill"]

    class SourceError(Exception):
        pass

    def no_token(_: str | None) -> str:
        raise SourceError

    def broken_token(_: str | None) -> str:
        return "a b"

    def interrupted(_: str | None) -> str:
        raise KeyboardInterrupt

    def same_token(_: str | None) -> str:
        return str(setup["client"]["access_token"])

    def newer_token(stale: str | None) -> str:
        return "newer" if stale else "older-than-that"

    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise SourceError

    class Interrupting(dict[str, Any]):
        def items(self) -> Any:
            raise KeyboardInterrupt

    def source(function: Any, **changes: Any) -> nontax.Client:
        return talk.client(access_token=None, token_source=function, **changes)

    base = talk.client(retries=0)
    quiet = talk.client(timeout=0.001)
    nobody = talk.client(base_url=setup["nobody"], retries=0)
    untrusted = talk.client(base_url=setup["tls"], retries=0)
    extra = talk.client(extra="send", base_url=setup["nobody"], retries=0)
    sources = [source(function) for function in (no_token, broken_token, interrupted)]
    refused = [source(function) for function in (same_token, newer_token)]
    nested: dict[str, Any] = {}
    nested["nested"] = [nested, {1: 2}, (Broken(),), "\ud800", "a\0b", 1 << 200, float("nan"), b""]

    def attempt(client: nontax.Client, bill: Any) -> None:
        try:
            client.insert_bill(bill)
        except (nontax.NontaxError, KeyboardInterrupt):
            return
        raise AssertionError("it should have failed")

    def make(**settings: Any) -> None:
        try:
            talk.client(**settings)
        except (ValueError, TypeError):
            return
        raise AssertionError("it should have failed")

    def local_round() -> int:
        """What needs no server."""
        bills = [one | {"fee": 1.5}, {}, None, [], 7, nested, Broken(), Interrupting(), {"a": one}]
        bills += [one | {"title": ""}, one | nested]
        for each in bills:
            attempt(base, each)
        for client in sources:
            attempt(client, one)
        attempt(nobody, one)
        attempt(extra, one | {"more": [1, 2.5, None, True, {"a": "b"}]})
        for settings in (
            {"access_token": "a b"},
            {"access_token": "\ud800"},
            {"base_url": "ftp://localhost"},
            {"ca_file": "/no/such/file"},
            {"timeout": 0},
            {"retries": "1"},
            {"token_source": 7, "access_token": None},
        ):
            make(**settings)
        return len(bills) + len(sources) + 2

    def server_round() -> int:
        """What the sandbox refuses, breaks off or takes, according to its queue of faults."""
        for _ in range(setup["faults"]):
            attempt(base, one)
        for client in refused:
            attempt(client, one)
        attempt(untrusted, one)
        attempt(quiet, one)
        base.close()
        return int(setup["faults"]) + 4

    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    class Mallinfo2(ctypes.Structure):
        _fields_ = [(f"f{number}", ctypes.c_size_t) for number in range(10)]

    def allocated() -> int:
        """Bytes that C code has got from malloc() and not given back; 0 where nobody knows."""
        mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
        if mallinfo2 is None:
            return 0
        mallinfo2.restype = Mallinfo2
        figures = mallinfo2()
        return int(figures.f4) + int(figures.f7)  # hblkhd, uordblks

    def references() -> dict[str, int]:
        things = {
            "None": None,
            "True": True,
            "False": False,
            "Client": nontax._core.Client,
            "make_error": nontax.report.make_error,
            "error": nontax.InvalidRequestError,
            "bill": one,
            "source": no_token,
        }
        return {name: sys.getrefcount(thing) for name, thing in things.items()}

    def weigh() -> dict[str, Any]:
        for client in (base, quiet, nobody, untrusted, extra, *sources, *refused):
            client.close()
        gc.collect()
        return {
            "objects": len(gc.get_objects()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "allocated": allocated(),
            "blocks": sys.getallocatedblocks(),
            "references": references(),
            # Only a debug build of Python counts them all.
            "all_references": getattr(sys, "gettotalrefcount", int)(),
        }

    def repeat(rounds: int, each: Callable[[], int]) -> int:
        return sum(each() for _ in range(rounds))

    each = {"local": local_round, "server": server_round}[setup["round"]]
    calls = setup["rounds"]
    repeat(calls // 4, each)
    weighed, memory = [weigh()], resident()
    for _ in range(2):
        count = repeat(calls, each)
        weighed.append(weigh())
    talk.tell(count=count, weighed=weighed, memory=resident() - memory)
    tracemalloc.start()
    repeat(2, each)
    gc.collect()
    traced = [tracemalloc.get_traced_memory()[0]]
    for _ in range(2):
        count = repeat(calls // 4, each)
        gc.collect()
        traced.append(tracemalloc.get_traced_memory()[0])
    talk.tell(count=count, traced=traced)


def check(told: list[dict[str, object]], at_least: int) -> None:
    """Next to nothing may have become more; one thing for every call is a leak."""
    measured, traced = told
    count, weighed = measured["count"], measured["weighed"]
    assert isinstance(count, int)
    assert isinstance(weighed, list)
    assert count >= at_least

    def smaller(start: int, middle: int, end: int) -> int:
        """Of two growths: a leak is there each time, and a table grows once in a while."""
        return min(middle - start, end - middle)

    def growth(name: str, *path: str) -> int:
        return smaller(*(reduce(getitem, path, each[name]) for each in weighed))

    few = count // 20  # Fewer than there are rounds: one kind of failure would be enough.
    assert weighed[0]["descriptors"] == weighed[2]["descriptors"]
    assert growth("objects") < few
    assert growth("blocks") < few
    assert growth("all_references") < few
    assert growth("allocated") < 16 << 10
    for name in weighed[0]["references"]:
        assert growth("references", name) < few, name
    assert isinstance(measured["memory"], int)
    assert measured["memory"] < 4 << 20
    assert isinstance(traced["traced"], list)
    assert isinstance(traced["count"], int)
    assert smaller(*traced["traced"]) < 16 * traced["count"]


def test_failures_without_a_server(certificates: Certificates, dead: str) -> None:
    client = {"access_token": TOKEN, "base_url": dead, "ca_file": str(certificates.ca_file)}
    told = run(
        fail_in_every_way,
        ENV,
        client=client,
        bill=bill(),
        nobody=dead,
        tls=dead,
        round="local",
        rounds=300,
    )
    check(told, 4800)


def test_failures_with_a_server(
    sandbox: Sandbox, tls_sandbox: Sandbox, certificates: Certificates, dead: str
) -> None:
    kinds: list[faults.Fault] = [
        faults.Errcode(45011),
        faults.Errcode(-1, taken=True),
        faults.Errcode(99999, errmsg=f"票{TOKEN}"),
        faults.Close("body"),
        faults.Close("body", reset=True),
        faults.Close("head"),
        faults.Reply(502, body=b"<html>"),
        faults.Reply(302, {"Location": "/"}, b""),
        faults.Reply(cut_after=120),
        faults.Reply(length_delta=5),
        faults.Reply(body=b'{"errcode": 0, "errmsg": "ok", "openid": "o"}'),
        faults.Reply(body=b'{"errcode": 1, "deep": [{"a": [1, 2.5, null, true, "x"]}]}'),
        faults.Reply(body=b"{" * 2000),
    ]
    one = bill()
    sandbox.reject(one["order_id"])
    rounds = 60
    client = {
        "access_token": sandbox.access_token,
        "base_url": sandbox.base_url,
        "ca_file": str(certificates.ca_file),
    }
    for _ in range(3 * rounds):
        for kind in kinds:
            sandbox.inject(kind)
    told = run(
        fail_in_every_way,
        ENV,
        client=client,
        bill=one,
        nobody=dead,
        tls=tls_sandbox.base_url.replace("127.0.0.1", "127.0.0.2"),
        round="server",
        rounds=rounds,
        faults=len(kinds),
    )
    check(told, 1000)
    assert tls_sandbox.requests == ()


def make_and_drop(talk: Talk) -> None:
    """Two hundred clients, each with a connection, each dropped in another way."""
    import gc
    import os
    import sys
    import weakref
    from typing import Any

    import nontax
    import nontax._core

    class Source:
        """Hands out the token; in some rounds it also holds its client, and so itself."""

        def __init__(self) -> None:
            self.client: nontax.Client | None = None

        def __call__(self, _: str | None) -> str:
            return str(talk.setup["token"])

    def use(number: int) -> Any:
        source = Source()
        client = talk.client(token_source=source)
        if number % 4 == 0:
            with client:
                client.insert_bill(talk.setup["bills"][number])
        elif number % 4 == 1:
            client.insert_bill(talk.setup["bills"][number])
        elif number % 4 == 2:
            source.client = client
            client.insert_bill(talk.setup["bills"][number])
        return weakref.ref(source)

    def weigh() -> list[int]:
        gc.collect()
        return [
            len(os.listdir("/proc/self/fd")),
            len(gc.get_objects()),
            sys.getrefcount(nontax._core.Client),
        ]

    gc.disable()
    sources = [use(number) for number in range(8)]
    gc.collect()
    before = weigh()
    sources = [use(number) for number in range(8, 200)]
    # Without a cycle nothing waits for the collector.
    held = sum(source() is not None for source in sources)
    gc.collect()
    still_held = sum(source() is not None for source in sources)
    del sources
    talk.tell(held=held, still_held=still_held, before=before, after=weigh())


def test_clients_leave_nothing_behind(tls_sandbox: Sandbox, certificates: Certificates) -> None:
    client = {"base_url": tls_sandbox.base_url, "ca_file": str(certificates.ca_file)}
    bills = [bill() for _ in range(200)]
    (told,) = run(make_and_drop, client=client, bills=bills, token=tls_sandbox.access_token)
    assert len(tls_sandbox.bills) == tls_sandbox.connections == 150
    assert told["held"] == 48
    assert told["still_held"] == 0
    descriptors, objects, references = (
        after - before for after, before in zip(told["after"], told["before"], strict=True)
    )
    assert descriptors == 0
    assert objects < 50
    assert references == 0


def drop_exceptions(talk: Talk) -> None:
    """Catch exceptions of every kind and let them go."""
    import gc
    import weakref
    from typing import Any

    import nontax

    class SourceError(Exception):
        pass

    def source(stale: str | None) -> str:
        if stale is not None:
            raise SourceError
        return "an-old-token"

    def fetch(client: nontax.Client, one: Any) -> tuple[str, Any, Any]:
        try:
            client.insert_bill(one)
        except Exception as error:
            # A variable for the cause would hold itself, by way of this frame.
            cause = weakref.ref(error.__cause__) if error.__cause__ else None
            return type(error).__name__, weakref.ref(error), cause
        raise AssertionError("it should have failed")

    clients = [
        talk.client(),
        talk.client(base_url=talk.setup["nobody"], retries=0),
        talk.client(access_token=None, token_source=source),
    ]
    gc.collect()
    gc.disable()
    for client, one in zip([0, 0, 0, 1, 2], [None, {}, talk.setup["bill"]] * 2, strict=False):
        name, error, cause = fetch(clients[client], one or talk.setup["bill"])
        talk.tell(name=name, gone=error() is None, cause_gone=cause is None or cause() is None)


def test_exceptions_do_not_hold_themselves(sandbox: Sandbox, dead: str) -> None:
    sandbox.inject(faults.Close("body"))
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    one = bill()
    sandbox.reject(one["order_id"])
    told = run(drop_exceptions, client=client, bill=one, nobody=dead)
    assert [facts["name"] for facts in told] == [
        "InDoubtError",
        "BillStateError",
        "BillStateError",
        "NotSentError",
        "AccessTokenError",
    ]
    assert [facts for facts in told if not (facts["gone"] and facts["cause_gone"])] == []


def make_modules(talk: Talk) -> None:
    """Load the extension again and again, as each subinterpreter does, and use its types."""
    import gc
    import importlib.machinery
    import importlib.util
    import sys
    import weakref
    from typing import Any

    import nontax._core
    from nontax.report import make_error

    path = nontax._core.__file__

    def load() -> list[Any]:
        loader = importlib.machinery.ExtensionFileLoader("nontax._core", path)
        spec = importlib.util.spec_from_file_location("nontax._core", path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        client = module.Client(
            make_error=make_error,
            log_note=print,
            appid=None,
            access_token="a",
            token_source=None,
            own_source=False,
            base_urls=("https://api.weixin.qq.com",),
            ca_file=None,
            system_ca_file=None,
            proxy=None,
            connect_timeout=1.0,
            timeout=1.0,
            retries=0,
            extra=0,
        )
        run = module.Run(
            client=client,
            make_outcome=print,
            kept=None,
            bills=[],
            concurrency=1,
            rate=0.0,
            quota_pause=0.0,
            bulk=True,
            never_waits=False,
        )
        assert list(run) == []
        assert module.Client is not nontax._core.Client
        return [weakref.ref(thing) for thing in (module, module.Client, module.Run)]

    def held() -> int:
        things = [thing for _ in range(200) for thing in load()]
        gc.collect()
        return sum(thing() is not None for thing in things)

    held()
    blocks = sys.getallocatedblocks()
    talk.tell(held=held(), blocks=sys.getallocatedblocks() - blocks)


def test_modules_and_types_end() -> None:
    (told,) = run(make_modules)
    assert told["held"] == 0
    assert told["blocks"] < 200  # one for each would be a leak
