"""Secrets: an access token is nowhere to be read, whatever happens to it or to its bill."""

import contextlib
import copy
import gc
import json
import pickle
import signal
import traceback
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from bills import bill
from processes import Child, Server, Talk
from servers import RawServer, Wire

import nontax
import nontax.client
from nontax.sandbox import Sandbox, faults

# In pieces, so that no line of this file and no variable in it contains the canary.
_PIECES = ("Zeisig7c1f", "e05ba9d3", "Kanari46")

RID = "61725984-6126f6f9-040f19c4"
Insert = Callable[[Any], nontax.InsertedBill]


def core() -> str:
    """What to look for: a token that was cut off or encoded is a leak, too."""
    return "".join(_PIECES)


def token() -> str:
    return core() + "+/=%25&~"


def long_token() -> str:
    """As long as WeChat asks to be ready for."""
    return token() + "x" * 512


@pytest.fixture(autouse=True)
def _nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The log of `loud`: nothing in it is secret."""
    lines: list[str] = []
    yield lines
    assert core() not in "\n".join(lines)


@pytest.fixture
def loud(log: list[str]) -> Iterator[Sandbox]:
    """A sandbox that logs."""
    with Sandbox(log=log.append) as sandbox:
        yield sandbox
    assert len(log) == len(sandbox.requests)


# --- looking everywhere ---------------------------------------------------------------------------


def raised_by(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raised_for(insert: Insert, one: Any) -> BaseException:
    try:
        insert(one)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def family(error: BaseException) -> list[BaseException]:
    """The exception and all that stand behind it."""
    found = [error]
    for one in found:
        for other in (one.__cause__, one.__context__):
            if other is not None and other not in found:
                found.append(other)
    return found


def shown(error: BaseException) -> str:
    """All that anybody, or anybody's crash reporter, could write down about an exception."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = ["".join(report.format()), "".join(traceback.format_exception(error))]
    for one in family(error):
        copies = [one]
        if isinstance(one, nontax.NontaxError):
            pickles = [pickle.dumps(one, protocol) for protocol in range(6)]
            texts += [data.decode("latin-1") for data in pickles]
            texts += [repr(json.loads(json.dumps(vars(one), default=repr)))]
            copies += [copy.copy(one), copy.deepcopy(one), *map(pickle.loads, pickles)]
        for each in copies:
            notes = getattr(each, "__notes__", [])
            texts += [str(each), repr(each), f"{each}", repr(each.args), repr(vars(each))]
            texts += [repr(notes)]
    return "\n".join(texts)


def assert_clean(error: BaseException) -> None:
    # A plain `assert x not in y` would print both.
    found = shown(error).count(core())
    assert not found, f"{type(error).__name__} shows the token {found} times"


def assert_clean_record(inserted: nontax.InsertedBill) -> None:
    texts = [repr(inserted), repr(inserted.extra), inserted.code, inserted.openid]
    texts += [pickle.dumps(inserted, protocol).decode("latin-1") for protocol in range(6)]
    found = sum(text.count(core()) for text in texts)
    assert not found, f"the inserted bill shows the token {found} times"


def everything_inside(thing: object) -> Iterator[object]:
    """What the garbage collector finds behind a thing, without types, modules and functions."""
    shared = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
    seen: dict[int, object] = {}
    todo = [thing]
    while todo:
        one = todo.pop()
        if id(one) not in seen and not isinstance(one, shared):
            seen[id(one)] = one
            todo += gc.get_referents(one)
            yield one


# --- the ways of a token into a call --------------------------------------------------------------


def by_argument(make: Callable[[], str], settings: dict[str, Any]) -> Insert:
    return nontax.Client(access_token=make(), **settings).insert_bill


def by_source(make: Callable[[], str], settings: dict[str, Any]) -> Insert:
    return nontax.Client(token_source=lambda *_: make(), **settings).insert_bill


def by_environment(make: Callable[[], str], settings: dict[str, Any]) -> Insert:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NONTAX_ACCESS_TOKEN", make())
        return nontax.Client(**settings).insert_bill


def by_call(make: Callable[[], str], settings: dict[str, Any]) -> Insert:
    def insert(one: Any) -> nontax.InsertedBill:
        with pytest.MonkeyPatch.context() as patch:
            # The default client is made once for a process; here its settings change.
            patch.setattr(
                nontax.client, "_default", {"client": nontax.Client(access_token="-", **settings)}
            )
            return nontax.insert_bill(one, access_token=make())

    return insert


WAYS = [by_argument, by_source, by_environment, by_call]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest) -> Callable[..., Insert]:
    chosen: Callable[..., Insert] = request.param
    return chosen


# --- every class of exception ---------------------------------------------------------------------

ERRCODES = {
    nontax.WeChatError: 99999,
    nontax.AccessTokenError: 40001,
    nontax.AccountError: 40013,
    nontax.QuotaError: 45011,
    nontax.ParameterError: 40097,
    nontax.NotAuthorizedError: 72038,
    nontax.DuplicateBillError: 72056,
    nontax.BillStateError: 72035,
    nontax.SystemBusyError: 72054,
}
OTHERS = {
    nontax.InvalidRequestError,
    nontax.NotSentError,
    nontax.TLSError,
    nontax.InDoubtError,
}


def descendants(cls: type[BaseException]) -> set[type[BaseException]]:
    below = set(cls.__subclasses__())
    return below.union(*map(descendants, below))


def test_every_class_has_a_test_here() -> None:
    public = {cls for cls in descendants(nontax.NontaxError) if cls.__module__ == "nontax.errors"}
    assert public == OTHERS | ERRCODES.keys()


def echoing(echo: str, errcode: int) -> faults.Reply:
    """A reply that repeats the token wherever it can."""
    body = {
        "errcode": errcode,
        "errmsg": f"see https://api/?access_token={echo} and {echo}, rid: {RID}",
        "request": echo,
        f"about {echo}": {"deep": [echo, {echo: echo}]},
        "code": f"1{echo}",
        "openid": echo,
    }
    return faults.Reply(body=json.dumps(body).encode(), taken=False)


@pytest.mark.parametrize("cls", ERRCODES, ids=lambda cls: cls.__name__)
def test_refusals(loud: Sandbox, way: Callable[..., Insert], cls: type[nontax.WeChatError]) -> None:
    loud.misbehave(echoing(token(), ERRCODES[cls]))
    error = raised_for(way(token, {"base_url": loud.base_url, "retries": 0}), bill())
    assert type(error) is cls
    assert error.rid == RID
    assert_clean(error)


def test_a_system_error(loud: Sandbox, way: Callable[..., Insert]) -> None:
    loud.misbehave(echoing(token(), -1))
    error = raised_for(way(token, {"base_url": loud.base_url}), bill())
    assert isinstance(error, nontax.SystemBusyError)
    assert error.outcome == "in_doubt"
    assert_clean(error)


def test_a_success_that_repeats_the_token(loud: Sandbox, way: Callable[..., Insert]) -> None:
    loud.misbehave(echoing(token(), 0))
    assert_clean_record(way(token, {"base_url": loud.base_url})(bill()))


# What went over the wire, and what some machine in between has made of it.
ECHOES: dict[str, Callable[[], str]] = {
    "as sent": lambda: quote(token(), safe=""),
    "in lower case": lambda: quote(token(), safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "in part": lambda: quote(token(), safe="/+=~"),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_refusal_with_the_token_percent_encoded(loud: Sandbox, echo: str) -> None:
    loud.misbehave(echoing(ECHOES[echo](), 45011))
    error = raised_for(by_argument(token, {"base_url": loud.base_url}), bill())
    assert type(error) is nontax.QuotaError
    assert error.rid == RID
    assert_clean(error)


@pytest.mark.parametrize("echo", ECHOES)
def test_a_success_with_the_token_percent_encoded(loud: Sandbox, echo: str) -> None:
    loud.misbehave(echoing(ECHOES[echo](), 0))
    assert_clean_record(by_argument(token, {"base_url": loud.base_url})(bill()))


def in_doubt(echo: bytes) -> dict[str, faults.Close | faults.Reply]:
    """What leaves a bill in doubt, and repeats the token where it can."""
    location = {"Location": f"/x?access_token={echo.decode()}"}
    return {
        "closed": faults.Close("body", taken=True),
        "reset": faults.Close("body", reset=True),
        "page": faults.Reply(502, body=b"<html>" + echo),
        "text": faults.Reply(body=echo, headers={"Content-Type": echo.decode()}),
        "redirect": faults.Reply(302, location, echo),
        "no errcode": faults.Reply(body=b'{"errmsg": "%b", "%b": 1}' % (echo, echo)),
        "odd errcode": faults.Reply(body=b'{"errcode": "%b", "errmsg": "%b"}' % (echo, echo)),
        "two errcodes": faults.Reply(body=b'{"errcode": 0, "errcode": 1, "x": "%b"}' % echo),
        "no code": faults.Reply(body=b'{"errcode": 0, "openid": "%b"}' % echo),
        "odd code": faults.Reply(body=b'{"errcode": 0, "openid": "%b", "code": 1}' % echo),
        "two codes": faults.Reply(
            body=b'{"errcode": 0, "openid": "o", "code": "%b", "code": "%b"}' % (echo, echo)
        ),
        "nul": faults.Reply(body=b'{"errcode": 0, "openid": "o", "code": "%b\\u0000"}' % echo),
        "status": faults.Reply(500, body=b'{"errcode": 0, "code": "%b", "openid": "o"}' % echo),
        "cut": faults.Reply(body=b'{"errcode": 0, "code": "%b"' % echo, cut_after=90),
        "length": faults.Reply(body=b'{"errcode": 0, "code": "%b"}' % echo, length_delta=9),
        "too large": faults.Reply(body=echo * 1000, framing="endless"),
    }


@pytest.mark.parametrize("kind", in_doubt(b"x"))
def test_doubts(loud: Sandbox, kind: str) -> None:
    loud.misbehave(in_doubt(token().encode())[kind])
    error = raised_for(by_argument(token, {"base_url": loud.base_url}), bill())
    assert type(error) is nontax.InDoubtError
    assert_clean(error)


def test_no_answer_in_time(loud: Sandbox, way: Callable[..., Insert]) -> None:
    loud.misbehave(faults.NeverAnswer())
    error = raised_for(way(token, {"base_url": loud.base_url, "timeout": 0.05}), bill())
    assert isinstance(error, nontax.InDoubtError | nontax.NotSentError)
    assert error.timed_out
    assert_clean(error)
    # The request may not even have arrived; the log is to have a line for each that has.
    loud.wait_for_requests(len(loud.requests), finished=True)


@pytest.mark.parametrize("make", [token, long_token])
@pytest.mark.parametrize(
    "reply",
    [
        b"%b\r\n\r\n",
        b"HTTP/9.9 %b\r\n\r\n",
        b"HTTP/1.1 2%b\r\n\r\n",
        b"HTTP/1.1 200 %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n%b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=%b\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 401 no\r\nWWW-Authenticate: Digest realm=%b\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 407 no\r\nProxy-Authenticate: %b\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=lambda reply: reply.split(b"%b")[0].decode().split("\r\n")[-1],
)
def test_what_libcurl_says_of_a_broken_reply(reply: bytes, make: Callable[[], str]) -> None:
    with Server() as server, ThreadPoolExecutor(1) as pool:
        insert = by_argument(make, {"base_url": server.base_url})
        call = pool.submit(raised_for, insert, bill())
        with server.accept() as connection:
            connection.read_request()
            connection.send(reply.replace(b"%b", make().encode()))
        error = call.result()
    assert isinstance(error, nontax.InDoubtError)
    assert_clean(error)


def test_nobody_listens(way: Callable[..., Insert]) -> None:
    with Server() as server:
        base_url = server.base_url
    error = raised_for(way(token, {"base_url": base_url, "retries": 1}), bill())
    assert type(error) is nontax.NotSentError
    assert_clean(error)


def test_a_certificate_that_is_not_trusted(
    tls_sandbox: Sandbox, way: Callable[..., Insert]
) -> None:
    error = raised_for(way(token, {"base_url": tls_sandbox.base_url}), bill())
    assert type(error) is nontax.TLSError
    assert_clean(error)


def test_a_bill_that_is_refused(loud: Sandbox, way: Callable[..., Insert]) -> None:
    one = bill(fee=1.5) | {"acces_token": 1}
    del one["order_id"]
    error = raised_for(way(token, {"base_url": loud.base_url}), one)
    assert type(error) is nontax.InvalidRequestError
    assert len(error.problems) == 3
    assert_clean(error)
    assert loud.requests == ()


def test_a_token_that_was_put_into_the_bill(loud: Sandbox) -> None:
    insert = by_argument(token, {"base_url": loud.base_url})
    error = raised_for(insert, bill() | {"access_token": token()})
    assert type(error) is nontax.InvalidRequestError
    # The caller's own bill is among the local variables, with all that is in it.
    assert str(error).count(core()) == repr(vars(error)).count(core()) == 0


def test_the_sandbox_refuses_it(loud: Sandbox, way: Callable[..., Insert]) -> None:
    error = raised_for(way(token, {"base_url": loud.base_url}), bill())
    assert isinstance(error, nontax.AccessTokenError)
    assert error.errcode == 40014
    (request,) = loud.requests
    assert (request.access_token or "").count(core()) == 1
    assert repr(request).count(core()) == 0
    assert_clean(error)


# --- tokens that cannot be one --------------------------------------------------------------------


class Unprintable:
    """Not a str, and shows itself to everybody who asks."""

    def __repr__(self) -> str:
        return token()

    __str__ = __repr__


BROKEN: dict[str, Callable[[], Any]] = {
    "newline": lambda: token() + "\n",
    "inner newline": lambda: token() + "\r\nHost: x",
    "blank": lambda: "  " + token(),
    "tab": lambda: token() + "\t" + token(),
    "non-ascii": lambda: token() + "票",
    "latin": lambda: token() + "\xe9",
    "surrogate": lambda: token() + "\udcff",
    "high surrogate": lambda: "\ud800" + token(),
    "nul": lambda: token() + "\0",
    "delete": lambda: token() + "\x7f",
    "bytes": lambda: token().encode(),
    "bytearray": lambda: bytearray(token().encode()),
    "list": lambda: [token()],
    "object": Unprintable,
}
IN_ENVIRONMENT = ["newline", "inner newline", "blank", "tab", "non-ascii", "latin", "surrogate"]


@pytest.mark.parametrize("kind", BROKEN)
def test_an_argument_that_is_no_token(kind: str) -> None:
    error = raised_by(lambda: nontax.Client(access_token=BROKEN[kind]()))
    assert isinstance(error, ValueError | TypeError)
    assert "access_token" in str(error)
    assert_clean(error)


@pytest.mark.parametrize("kind", IN_ENVIRONMENT)
def test_a_variable_that_is_no_token(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", BROKEN[kind]())
    error = raised_by(lambda: nontax.Client())
    assert isinstance(error, ValueError)
    assert "access_token" in str(error)
    assert_clean(error)


@pytest.mark.parametrize("kind", IN_ENVIRONMENT)
def test_a_variable_that_is_no_token_for_the_default_client(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nontax.client, "_default", {})
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", BROKEN[kind]())
    error = raised_for(nontax.insert_bill, bill())
    assert isinstance(error, ValueError)
    assert "access_token" in str(error)
    assert_clean(error)


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("way", [by_source, by_call], ids=lambda way: way.__name__)
def test_a_call_with_what_is_no_token(loud: Sandbox, way: Callable[..., Insert], kind: str) -> None:
    error = raised_for(way(BROKEN[kind], {"base_url": loud.base_url}), bill())
    assert type(error) is nontax.InvalidRequestError
    ((path, _),) = error.problems
    assert path == "access_token"
    assert_clean(error)
    assert loud.requests == ()


# --- token sources --------------------------------------------------------------------------------


class Refuser:
    """A token source that fails when it is asked for a newer token."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, stale: str | None) -> str:
        first = stale is None
        # The source's own variables are its own affair; this one has none.
        del stale
        if not first:
            raise self.error
        return token()


@pytest.mark.parametrize(
    ("raised", "cls"),
    [
        (LookupError("none"), nontax.AccessTokenError),
        (nontax.NotSentError(reason="none"), nontax.NotSentError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_source_that_has_no_newer_token(
    loud: Sandbox, raised: BaseException, cls: type[BaseException]
) -> None:
    loud.misbehave(echoing(token(), 40001))
    client = nontax.Client(token_source=Refuser(raised), base_url=loud.base_url)
    error = raised_for(client.insert_bill, bill())
    assert type(error) is cls
    # One of ours comes as one for this call, with the outcome of its bill.
    assert raised in family(error) or (str(raised), "rejected") == (
        str(error),
        getattr(error, "outcome", None),
    )
    assert_clean(error)


def test_a_newer_token_that_is_none(loud: Sandbox) -> None:
    def source(stale: str | None) -> str:
        return token() if stale is None else f"{token()}\n"

    loud.misbehave(echoing(token(), 42001))
    client = nontax.Client(token_source=source, base_url=loud.base_url)
    error = raised_for(client.insert_bill, bill())
    assert type(error) is nontax.AccessTokenError
    assert_clean(error)


def test_a_newer_token_that_is_refused_as_well(loud: Sandbox) -> None:
    def source(stale: str | None) -> str:
        return token() if stale is None else f"newer-{token()}"

    loud.misbehave(echoing(token(), 42001))
    loud.misbehave(echoing(f"newer-{token()}", 42001))
    client = nontax.Client(token_source=source, base_url=loud.base_url)
    error = raised_for(client.insert_bill, bill())
    assert type(error) is nontax.AccessTokenError
    assert len(loud.requests) == 2
    assert_clean(error)


# --- settings that cannot be used -----------------------------------------------------------------

REFUSED: dict[str, Callable[[], object]] = {
    "both": lambda: nontax.Client(access_token=token(), token_source=lambda _: token()),
    "positional": lambda: nontax.Client(token()),  # type: ignore[call-arg]
    "misspelt": lambda: nontax.Client(acces_token=token()),  # type: ignore[call-arg]
    "source": lambda: nontax.Client(token_source=token()),  # type: ignore[arg-type]
    "scheme": lambda: nontax.Client(access_token=token(), base_url="ftp://localhost"),
    "cleartext": lambda: nontax.Client(access_token=token(), base_url="http://192.0.2.1"),
    "not a url": lambda: nontax.Client(access_token=token(), base_url="https://"),
    "surrogate": lambda: nontax.Client(access_token=token(), base_url="\udcff"),
    "nul": lambda: nontax.Client(access_token=token(), base_url="http://localhost\0"),
    "ca_file": lambda: nontax.Client(access_token=token(), ca_file="/no/such/file"),
    "ca_file type": lambda: nontax.Client(access_token=token(), ca_file=7),  # type: ignore[arg-type]
    "proxy": lambda: nontax.Client(access_token=token(), proxy=7),  # type: ignore[arg-type]
    "timeout": lambda: nontax.Client(access_token=token(), timeout=0),
    "timeout type": lambda: nontax.Client(access_token=token(), timeout="1"),  # type: ignore[arg-type]
    "retries": lambda: nontax.Client(access_token=token(), retries=-1),
    "retries type": lambda: nontax.Client(access_token=token(), retries=2**70),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_setting_that_cannot_be_used(what: str) -> None:
    error = raised_by(REFUSED[what])
    assert isinstance(error, TypeError | ValueError | OverflowError)
    assert_clean(error)


@pytest.mark.parametrize("name", ["NONTAX_BASE_URL", "NONTAX_CA_FILE"])
def test_a_variable_that_cannot_be_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nontax.client, "_default", {})
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", token())
    monkeypatch.setenv(name, "/no/such/thing")
    for error in (
        raised_by(lambda: nontax.Client()),
        raised_for(nontax.insert_bill, bill()),
        raised_by(lambda: nontax.insert_bill(bill(), access_token=token())),
        raised_by(lambda: nontax.Client(access_token=token())),
    ):
        assert isinstance(error, ValueError)
        assert_clean(error)


# --- the client itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("way", [by_argument, by_environment], ids=lambda way: way.__name__)
def test_nothing_that_python_can_see_of_a_client_has_it(
    loud: Sandbox, way: Callable[..., Insert], *, used: bool
) -> None:
    insert = way(token, {"base_url": loud.base_url})
    client: nontax.Client = insert.__self__  # type: ignore[attr-defined]
    if used:
        with contextlib.suppress(nontax.AccessTokenError):
            client.insert_bill(bill())
    assert loud.base_url in repr(client)
    assert not hasattr(client, "__dict__")
    attributes = [getattr(client, name) for name in dir(client)]
    attributes += [getattr(client._core, name) for name in dir(client._core)]
    things = [*everything_inside(client), *attributes]
    assert client._core in things
    assert sum(f"{thing!r} {thing!s}".count(core()) for thing in things) == 0


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_client_cannot_be_pickled(protocol: int) -> None:
    client = by_argument(token, {}).__self__  # type: ignore[attr-defined]
    for thing in (client, client._core):
        error = raised_by(lambda thing=thing: pickle.dumps(thing, protocol))  # type: ignore[misc]
        assert isinstance(error, TypeError)
        assert_clean(error)


def test_a_client_cannot_be_copied_deeply() -> None:
    client = by_argument(token, {}).__self__  # type: ignore[attr-defined]
    error = raised_for(copy.deepcopy, client)
    assert isinstance(error, TypeError)
    assert_clean(error)


def fail_untended(talk: Talk) -> None:
    """Fail in threads and in the main one, with nobody to catch it."""
    import logging
    import threading
    import warnings

    import nontax

    def fail() -> None:
        try:
            client.insert_bill(talk.setup["bill"])
        except nontax.NontaxError as error:
            logging.exception("it has failed")
            warnings.warn(str(error), stacklevel=1)

    logging.captureWarnings(True)
    client = talk.client()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    fail()


def test_what_a_program_prints_when_it_fails(loud: Sandbox) -> None:
    loud.misbehave(echoing(token(), 45011), times=2)
    client = {"access_token": token(), "base_url": loud.base_url}
    with Child(fail_untended, client=client, bill=bill()) as child:
        told, stderr = child.finish(1)
    assert told == []
    assert stderr.count("it has failed") == 2
    assert stderr.count(core()) == 0


# --- the AppSecret, and tokens that are fetched with it -------------------------------------------

FETCHERS = [nontax.StableToken, nontax.OrdinaryToken]


def fetcher(cls: Callable[..., Any], base_url: str, secret: Callable[[], str] = token) -> Any:
    return cls("wx0123456789abcdef", secret(), base_url=base_url, timeout=3)


def by_fetching(cls: Callable[..., Any], base_url: str) -> Insert:
    return nontax.Client(token_source=fetcher(cls, base_url), base_url=base_url).insert_bill


each_fetcher = pytest.mark.parametrize("cls", FETCHERS, ids=lambda cls: cls.__name__)


@each_fetcher
@pytest.mark.parametrize("error", ERRCODES, ids=lambda error: error.__name__)
def test_a_fetch_whose_refusal_repeats_the_secret(
    loud: Sandbox, cls: Callable[..., Any], error: type[nontax.WeChatError]
) -> None:
    loud.misbehave(echoing(token(), ERRCODES[error]), times=3)
    raised = raised_for(by_fetching(cls, loud.base_url), bill())
    if error in (nontax.AccessTokenError, nontax.SystemBusyError):
        # Of a secret, and of a fetch that was not answered.
        assert isinstance(raised, nontax.AccountError | nontax.NotSentError)
    else:
        assert type(raised) is error
    assert_clean(raised)


@each_fetcher
def test_a_fetch_that_the_sandbox_refuses(loud: Sandbox, cls: Callable[..., Any]) -> None:
    loud.add_account("mine", roles=("bureau",), appid="wx0123456789abcdef", secret="another")
    for secret in (token, long_token):
        source = fetcher(cls, loud.base_url, secret)
        error = raised_by(source)
        assert isinstance(error, nontax.AccountError)
        assert_clean(error)
        assert f"{source!r} {source}".count(core()) == 0


@pytest.mark.parametrize("kind", in_doubt(b"x"))
def test_a_fetch_without_an_answer_that_repeats_the_secret(loud: Sandbox, kind: str) -> None:
    # The older interface has it in its query, and is asked once.
    loud.misbehave(in_doubt(token().encode())[kind])
    error = raised_for(by_fetching(nontax.OrdinaryToken, loud.base_url), bill())
    assert type(error) is nontax.NotSentError
    assert_clean(error)
    assert len(loud.requests) == 1


@each_fetcher
@pytest.mark.parametrize(
    "reply",
    [
        b"%b\r\n\r\n",
        b"HTTP/1.1 2%b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
        b"HTTP/1.1 302 no\r\nLocation: /%b\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=lambda reply: reply.split(b"%b")[0].decode().split("\r\n")[-1],
)
def test_what_libcurl_says_of_a_fetchs_broken_reply(cls: Callable[..., Any], reply: bytes) -> None:
    def behave(wire: Wire) -> None:
        wire.read_request()
        wire.send(reply.replace(b"%b", token().encode()))

    with RawServer(behave) as server:
        error = raised_for(by_fetching(cls, server.base_url), bill())
    assert type(error) is nontax.NotSentError
    assert_clean(error)


@each_fetcher
def test_a_fetch_that_nobody_answers(loud: Sandbox, cls: Callable[..., Any]) -> None:
    source = cls("wx1", token(), base_url=loud.base_url, timeout=0.1)
    loud.misbehave(faults.NeverAnswer(), times=2)
    error = raised_by(source)
    assert isinstance(error, nontax.NotSentError)
    assert_clean(error)
    loud.wait_for_requests(len(loud.requests), finished=True)


# What is handed out is no token, but has one's characters.
NO_TOKENS = {
    "blank": '{"access_token": "%s x", "expires_in": 7200}',
    "lifetime": '{"access_token": "%s", "expires_in": "7200"}',
    "two": '{"access_token": "%s", "access_token": "%s", "expires_in": 7200}',
    "errcode": '{"errcode": 40013, "errmsg": "no", "access_token": "%s", "expires_in": 7200}',
    "busy": '{"errcode": -1, "errmsg": "no", "access_token": "%s", "expires_in": 7200}',
    "cut": '{"access_token": "%s"',
}


@each_fetcher
@pytest.mark.parametrize("kind", NO_TOKENS)
def test_a_token_that_is_handed_out_and_cannot_be_used(
    loud: Sandbox, cls: Callable[..., Any], kind: str
) -> None:
    body = NO_TOKENS[kind].replace("%s", token()).encode()
    loud.misbehave(faults.Reply(body=body, taken=False), times=3)
    source = cls("wx1", "secret-that-is-none", base_url=loud.base_url)
    client = nontax.Client(token_source=source, base_url=loud.base_url)
    error = raised_for(client.insert_bill, bill())
    assert isinstance(error, nontax.NotSentError | nontax.AccountError)
    assert_clean(error)


@pytest.mark.parametrize("cls", ERRCODES, ids=lambda cls: cls.__name__)
def test_a_fetched_token_in_a_refusal(loud: Sandbox, cls: type[nontax.WeChatError]) -> None:
    body = json.dumps({"access_token": token(), "expires_in": 7200}).encode()
    loud.misbehave(faults.Reply(body=body, taken=False))
    loud.misbehave(echoing(token(), ERRCODES[cls]))
    if cls is nontax.AccessTokenError:  # then normal mode, and forced mode, for the same again
        loud.misbehave(faults.Reply(body=body, taken=False), times=2)
    client = nontax.Client(appid="wx1", secret="s", base_url=loud.base_url, retries=0)
    error = raised_for(client.insert_bill, bill())
    assert type(error) is cls
    assert_clean(error)


@pytest.mark.parametrize("kind", ["refusal", "in doubt", "success", "refusal in part"])
def test_the_first_token_in_the_answer_to_the_second_attempt(loud: Sandbox, kind: str) -> None:
    loud.misbehave(echoing("x", 40001))
    loud.misbehave(
        {
            "refusal": echoing(token(), 45011),
            "in doubt": in_doubt(token().encode())["odd code"],
            "success": echoing(token(), 0),
            "refusal in part": echoing(quote(token(), safe="/+=~"), 42001),
        }[kind]
    )

    def source(stale: str | None) -> str:
        return token() if stale is None else "another-token-that-is-no-secret-here"

    client = nontax.Client(token_source=source, base_url=loud.base_url)
    if kind == "success":
        assert_clean_record(client.insert_bill(bill()))
    else:
        assert_clean(raised_for(client.insert_bill, bill()))
    assert len(loud.requests) == 2


def test_a_refused_token_and_a_renewal_that_fails(loud: Sandbox) -> None:
    secret = token()[::-1]
    tokens = json.dumps({"access_token": token(), "expires_in": 7200}).encode()
    loud.misbehave(faults.Reply(body=tokens, taken=False))
    loud.misbehave(echoing(token(), 40001))
    loud.misbehave(echoing(secret, 40164))
    client = nontax.Client(appid="wx1", secret=secret, base_url=loud.base_url)
    error = raised_for(client.insert_bill, bill())
    assert isinstance(error, nontax.AccountError)
    assert error.outcome == "rejected"
    assert isinstance(error.__context__, nontax.AccessTokenError)
    assert_clean(error)
    assert core()[::-1] not in shown(error)


@pytest.mark.parametrize("kind", ["appid", "secret", "both", "swapped", "third"])
def test_a_secret_in_the_wrong_place(kind: str) -> None:
    wrong: dict[str, Callable[[], object]] = {
        "appid": lambda: nontax.Client(appid=token()),
        "secret": lambda: nontax.Client(secret=token()),
        "both": lambda: nontax.Client(appid="wx1", secret=token(), access_token="t"),
        "swapped": lambda: nontax.Client(appid=token() + "\n", secret="wx1"),
        "third": lambda: nontax.StableToken("wx1", "s", token()),  # type: ignore[call-arg]
    }
    error = raised_by(wrong[kind])
    assert isinstance(error, TypeError | ValueError)
    assert_clean(error)


@pytest.mark.parametrize("kind", BROKEN)
@each_fetcher
def test_an_argument_that_is_no_secret(cls: Callable[..., Any], kind: str) -> None:
    error = raised_by(lambda: cls("wx1", BROKEN[kind]()))
    assert isinstance(error, TypeError | ValueError)
    assert str(error).startswith("secret ")
    assert_clean(error)
    error = raised_by(lambda: nontax.Client(appid="wx1", secret=BROKEN[kind]()))
    assert isinstance(error, TypeError | ValueError)
    assert_clean(error)


@pytest.mark.parametrize("kind", IN_ENVIRONMENT)
def test_a_variable_that_is_no_secret(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nontax.client, "_default", {})
    monkeypatch.setenv("NONTAX_APPID", "wx1")
    monkeypatch.setenv("NONTAX_SECRET", BROKEN[kind]())
    for error in (raised_by(lambda: nontax.Client()), raised_for(nontax.insert_bill, bill())):
        assert isinstance(error, ValueError)
        assert "secret" in str(error)
        assert_clean(error)


@each_fetcher
def test_a_source_can_be_shown_and_not_pickled(loud: Sandbox, cls: Callable[..., Any]) -> None:
    source = fetcher(cls, loud.base_url)
    client = nontax.Client(token_source=source, base_url=loud.base_url)
    keyed = nontax.Client(appid="wx1", secret=token(), base_url=loud.base_url)
    for thing in (source, client, keyed):
        assert f"{thing!r} {thing} {[thing]}".count(core()) == 0
        assert not hasattr(thing, "__dict__")
        for action in (copy.deepcopy, pickle.dumps):
            error = raised_by(lambda action=action, thing=thing: action(thing))  # type: ignore[misc]
            assert isinstance(error, TypeError)
            assert_clean(error)


# --- the ticket -----------------------------------------------------------------------------------


def ticket_reply() -> faults.Reply:
    body = json.dumps({"errcode": 0, "errmsg": "ok", "ticket": token(), "expires_in": 7200})
    return faults.Reply(body=body.encode(), taken=False)


TICKETS: dict[str, Callable[[], Any]] = {
    "text": token,
    "record": lambda: nontax.Ticket(ticket=token(), expires_in=7200),
    "fetched": lambda: None,
}


def ask_for_link(base_url: str, kind: str, **settings: Any) -> Callable[[], object]:
    client = nontax.Client(access_token="-" * 20, base_url=base_url, **settings)

    def ask() -> object:
        return client.get_bill_auth_url(s_pappid="s", order_id="1", money=1, ticket=TICKETS[kind]())

    return ask


@pytest.mark.parametrize("kind", TICKETS)
@pytest.mark.parametrize("cls", ERRCODES, ids=lambda cls: cls.__name__)
def test_a_ticket_in_a_refusal(loud: Sandbox, cls: type[nontax.WeChatError], kind: str) -> None:
    if kind == "fetched":
        loud.misbehave(ticket_reply())
    loud.misbehave(echoing(token(), ERRCODES[cls]))
    error = raised_by(ask_for_link(loud.base_url, kind, retries=0))
    assert type(error) is cls
    assert_clean(error)


@pytest.mark.parametrize("kind", TICKETS)
@pytest.mark.parametrize("doubt", ["closed", "page", "text", "redirect", "odd errcode", "status"])
def test_a_ticket_in_doubt(loud: Sandbox, kind: str, doubt: str) -> None:
    if kind == "fetched":
        loud.misbehave(ticket_reply())
    loud.misbehave(in_doubt(token().encode())[doubt])
    error = raised_by(ask_for_link(loud.base_url, kind))
    assert type(error) is nontax.InDoubtError
    assert_clean(error)


# A ticket goes into the body: any text can be one.
@pytest.mark.parametrize(
    "kind", ["surrogate", "high surrogate", "nul", "bytes", "bytearray", "list", "object"]
)
def test_what_is_no_ticket(loud: Sandbox, kind: str) -> None:
    client = nontax.Client(access_token="-" * 20, base_url=loud.base_url)

    def ask() -> object:
        return client.get_bill_auth_url(s_pappid="s", order_id="1", money=1, ticket=BROKEN[kind]())

    error = raised_by(ask)
    assert isinstance(error, nontax.InvalidRequestError)
    assert_clean(error)
    assert loud.requests == ()


@pytest.mark.parametrize("kind", TICKETS)
def test_a_ticket_with_a_link_that_repeats_it(loud: Sandbox, kind: str) -> None:
    if kind == "fetched":
        loud.misbehave(ticket_reply())
    body: dict[str, Any] = {
        "errcode": 0,
        "errmsg": "ok",
        "auth_url": f"https://a/?ticket={token()}",
    }
    body |= {"expire_time": 7200, "more": {token(): [token()]}}
    loud.misbehave(faults.Reply(body=json.dumps(body).encode(), taken=False))
    link = ask_for_link(loud.base_url, kind)()
    assert f"{link!r}".count(core()) == 0


def test_an_odd_ticket(loud: Sandbox) -> None:
    for body in (
        {"ticket": token()},
        {"ticket": token(), "expires_in": "7200"},
        {"ticket": [token()], "expires_in": 7200},
    ):
        text = json.dumps({"errcode": 0, "errmsg": "ok"} | body)
        loud.misbehave(faults.Reply(body=text.encode(), taken=False))
        client = nontax.Client(access_token="-" * 20, base_url=loud.base_url, retries=0)
        error = raised_by(client.get_ticket)
        assert type(error) is nontax.InDoubtError
        assert_clean(error)


def test_nothing_that_is_shown_of_a_client_has_its_ticket(loud: Sandbox) -> None:
    loud.misbehave(ticket_reply())
    client = nontax.Client(access_token="-" * 20, base_url=loud.base_url)
    ticket = client.get_ticket()
    assert ticket.ticket.count(core()) == 1
    attributes = [getattr(client, name) for name in dir(client)]
    shown_texts = [f"{thing!r} {thing!s}" for thing in [client, ticket, *attributes]]
    assert sum(text.count(core()) for text in shown_texts) == 0


def interrupt_a_link(talk: Talk) -> None:
    """Ctrl-C comes while a link with a ticket is asked for in an event loop."""
    import asyncio
    import logging

    import nontax
    from nontax import aio

    class Interrupting:
        def __index__(self) -> int:
            raise KeyboardInterrupt

    logging.disable()  # asyncio tells of every task that Ctrl-C has ended
    aio.CALLS_AT_ONCE = 1
    client = talk.client()
    if talk.setup["kind"] == "fetched":
        client.get_ticket()
    kinds: dict[str, Callable[[], Any]] = {
        "text": lambda: talk.setup["ticket"],
        "record": lambda: nontax.Ticket(ticket=talk.setup["ticket"], expires_in=7200),
        "fetched": lambda: None,
    }
    loop = asyncio.new_event_loop()
    tasks: list[asyncio.Task[Any]] = []
    if talk.setup["waits"]:
        # It is begun by the loop itself, when this one has ended.
        tasks.append(loop.create_task(client.aget_auth_data(s_pappid="s", order_id="1")))
    link = client.aget_bill_auth_url(
        s_pappid="s", order_id="1", money=Interrupting(), ticket=kinds[talk.setup["kind"]]()
    )
    tasks.append(loop.create_task(link))
    for _ in range(5):  # out of the loop, and out of the task
        try:
            loop.run_until_complete(asyncio.wait(tasks))
        except KeyboardInterrupt as error:
            talk.tell_error(error)
        else:
            break
    loop.close()


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("kind", TICKETS)
def test_a_ticket_in_an_event_loop_and_ctrl_c(loud: Sandbox, kind: str, *, waits: bool) -> None:
    if kind == "fetched":
        loud.misbehave(ticket_reply())
    client = {"access_token": "-" * 20, "base_url": loud.base_url}
    setup: dict[str, Any] = {"kind": kind, "waits": waits, "ticket": token()}
    with Child(interrupt_a_link, client=client, **setup) as child:
        told, stderr = child.finish()
    assert {one["type"] for one in told} == {"KeyboardInterrupt"}
    assert (json.dumps(told) + stderr).count(core()) == 0


def press_while_it_arrives(talk: Talk) -> None:
    """Ctrl-C at each place in turn between the arrival of a credential and its being kept."""
    import asyncio
    import itertools
    from contextlib import suppress
    from functools import partial
    from pathlib import Path

    from presses import ctrl_c_at, end

    import nontax

    url, rid = talk.setup["base_url"], "61725984-6126f6f9-040f19c4"
    for place in itertools.count(1):
        loop = asyncio.new_event_loop()
        token = nontax.StableToken("wx1", "s" * 20, base_url=url)
        client = nontax.Client(access_token="-" * 20, base_url=url)
        task: asyncio.Task[object] | None = None
        fetch: Callable[[], object]
        if talk.setup["what"] == "token":
            fetch = token
        elif talk.setup["what"] == "ticket":
            fetch = client.get_ticket
        elif talk.setup["what"] == "rid":
            fetch = partial(client.get_rid_info, rid)
        else:
            is_rid = talk.setup["what"] == "arid"
            work = client.aget_rid_info(rid) if is_rid else client.aget_ticket()
            task = loop.create_task(work)
            fetch = partial(loop.run_until_complete, task)
        pressed = False
        try:
            with ctrl_c_at(place, str(Path(nontax.__file__).parent)):
                fetch()
        except KeyboardInterrupt as error:
            pressed = True
            talk.tell_error(error)
        while task is not None and not task.done():
            with suppress(KeyboardInterrupt):
                end(loop, task)
        loop.close()
        if not pressed:
            break


@pytest.mark.parametrize("what", ["token", "ticket", "aticket", "rid", "arid"])
def test_a_credential_and_ctrl_c_anywhere(what: str) -> None:
    text = f"access_token={token()}"
    fields = {
        "token": {"access_token": token(), "expires_in": 7200},
        "ticket": {"errcode": 0, "ticket": token(), "expires_in": 7200},
        "rid": {"errcode": 0, "request": {"request_url": text, "request_body": text}},
    }[what.removeprefix("a")]
    with Sandbox() as sandbox:
        sandbox.misbehave(faults.Reply(body=json.dumps(fields).encode(), taken=False), times=1000)
        with Child(press_while_it_arrives, base_url=sandbox.base_url, what=what) as child:
            told, stderr = child.finish()
    assert stderr == ""
    # The asynchronous ticket is fetched in a thread, to which signals do not come.
    assert len(told) > (4 if what == "aticket" else 10)
    assert json.dumps(told).count(core()) == 0


# --- Ctrl-C while a credential arrives ------------------------------------------------------------


def interrupt_when_it_is_there(talk: Talk) -> None:
    """The handler raises when the reply has arrived."""
    import signal

    import nontax

    def handler(number: int, _: object) -> None:
        talk.tell(signal=number)
        talk.wait()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    url = talk.setup["base_url"]
    fixed = {"access_token": "-" * 20, "base_url": url, "timeout": 300}
    keyed = {"appid": "wx1", "secret": "s" * 20, "base_url": url, "timeout": 300}
    try:
        if talk.setup["what"] == "token":
            nontax.Client(**keyed).insert_bill(talk.setup["bill"])
        elif talk.setup["what"] == "ticket":
            nontax.Client(**fixed).get_ticket()
        elif talk.setup["what"] == "ticket for a link":
            nontax.Client(**fixed).get_bill_auth_url(s_pappid="s", order_id="1", money=1)
        else:
            nontax.Client(**fixed).get_rid_info("61725984-6126f6f9-040f19c4")
    except KeyboardInterrupt as error:
        talk.tell_error(error)


@pytest.mark.parametrize(
    "what",
    ["token", "ticket", "ticket for a link", "request"],
)
def test_a_credential_that_arrives_with_ctrl_c(what: str) -> None:
    fields: dict[str, Any] = {"errcode": 0, "errmsg": "ok", "expires_in": 7200}
    if what == "token":
        fields = {"access_token": token(), "expires_in": 7200}
    elif what == "request":
        fields["request"] = {"request_url": f"/x?access_token={token()}"}
    else:
        fields["ticket"] = token()
    with Server() as server:
        setup: dict[str, Any] = {"base_url": server.base_url, "what": what, "bill": bill()}
        with Child(interrupt_when_it_is_there, **setup) as child, server.accept() as connection:
            head = connection.read_head()
            if "POST" in head:
                connection.read_part_of_body()
            child.signal(signal.SIGINT)
            assert child.hear() == {"signal": signal.SIGINT}
            connection.answer(**fields)
            child.go_on()
            told = child.hear()
            assert told["type"] == "KeyboardInterrupt"
            assert json.dumps(told).count(core()) == 0
            assert child.finish() == ([], "")
