"""Secrets: an access token is nowhere to be read, whatever happens to it or to its bill."""

import contextlib
import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from bills import bill
from canary import (
    BROKEN,
    ERRCODES,
    IN_ENVIRONMENT,
    RID,
    Insert,
    assert_clean,
    assert_clean_record,
    core,
    echoing,
    everything_inside,
    family,
    in_doubt,
    long_token,
    raised_by,
    raised_for,
    token,
)
from processes import Child, Server, Talk

import nontax
import nontax.client
from nontax.sandbox import Sandbox, faults

pytestmark = pytest.mark.usefixtures("nothing_is_printed")


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
    # What these two say comes from the ledger: its tests look there.
    of_the_ledger = {nontax.ConflictError, nontax.LedgerError}
    assert public == OTHERS | of_the_ledger | ERRCODES.keys()


@pytest.mark.parametrize("cls", ERRCODES, ids=lambda cls: cls.__name__)
def test_refusals(loud: Sandbox, way: Callable[..., Insert], cls: type[nontax.WeChatError]) -> None:
    # A token of a source that is refused is tried once more.
    loud.inject(echoing(token(), ERRCODES[cls]), times=2)
    error = raised_for(way(token, {"base_url": loud.base_url, "retries": 0}), bill())
    assert type(error) is cls
    assert error.rid == RID
    assert_clean(error)


def test_a_system_error(loud: Sandbox, way: Callable[..., Insert]) -> None:
    loud.inject(echoing(token(), -1))
    error = raised_for(way(token, {"base_url": loud.base_url}), bill())
    assert isinstance(error, nontax.SystemBusyError)
    assert error.outcome == "in_doubt"
    assert_clean(error)


def test_a_success_that_repeats_the_token(loud: Sandbox, way: Callable[..., Insert]) -> None:
    loud.inject(echoing(token(), 0))
    assert_clean_record(way(token, {"base_url": loud.base_url})(bill()))


# What went over the wire, and what some machine in between has made of it.
ECHOES: dict[str, Callable[[], str]] = {
    "as sent": lambda: quote(token(), safe=""),
    "in lower case": lambda: quote(token(), safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "in part": lambda: quote(token(), safe="/+=~"),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_refusal_with_the_token_percent_encoded(loud: Sandbox, echo: str) -> None:
    loud.inject(echoing(ECHOES[echo](), 45011))
    error = raised_for(by_argument(token, {"base_url": loud.base_url}), bill())
    assert type(error) is nontax.QuotaError
    assert error.rid == RID
    assert_clean(error)


@pytest.mark.parametrize("echo", ECHOES)
def test_a_success_with_the_token_percent_encoded(loud: Sandbox, echo: str) -> None:
    loud.inject(echoing(ECHOES[echo](), 0))
    assert_clean_record(by_argument(token, {"base_url": loud.base_url})(bill()))


@pytest.mark.parametrize("kind", in_doubt(b"x"))
def test_doubts(loud: Sandbox, kind: str) -> None:
    loud.inject(in_doubt(token().encode())[kind])
    error = raised_for(by_argument(token, {"base_url": loud.base_url}), bill())
    assert type(error) is nontax.InDoubtError
    assert_clean(error)


def test_no_answer_in_time(loud: Sandbox, way: Callable[..., Insert]) -> None:
    loud.inject(faults.NeverAnswer())
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
    loud.inject(echoing(token(), 40001))
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

    loud.inject(echoing(token(), 42001))
    client = nontax.Client(token_source=source, base_url=loud.base_url)
    error = raised_for(client.insert_bill, bill())
    assert type(error) is nontax.AccessTokenError
    assert_clean(error)


def test_a_newer_token_that_is_refused_as_well(loud: Sandbox) -> None:
    def source(stale: str | None) -> str:
        return token() if stale is None else f"newer-{token()}"

    loud.inject(echoing(token(), 42001))
    loud.inject(echoing(f"newer-{token()}", 42001))
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


# Given what makes the proxy's URL: no frame of the test may hold that itself.
WITH_PROXY: dict[str, Callable[..., object]] = {
    "token": lambda proxy, more: nontax.Client(access_token="t", proxy=proxy(), **more),
    "secret": lambda proxy, more: nontax.Client(appid="wx1", secret="s", proxy=proxy(), **more),
    "stable": lambda proxy, more: nontax.StableToken("wx1", "s", proxy=proxy(), **more),
    "ordinary": lambda proxy, more: nontax.AccessToken("wx1", "s", proxy=proxy(), **more),
}


@pytest.mark.parametrize(
    ("proxy", "more"),
    [
        ("http://u:{}@h:1", {"ca_file": "/no/such/file"}),
        ("http://u:{}@h:1", {"timeout": 0}),
        ("http://u:{}@h:1", {"base_url": "http://192.0.2.1"}),
        ("http://u:{}@h:1\n", {}),
        ("http://u:{}@h:99999", {}),
        ("nonsense://u:{}@h:1", {}),
        ("http://u:{}@", {}),
    ],
)
@pytest.mark.parametrize("kind", WITH_PROXY)
def test_the_password_of_a_proxy(kind: str, proxy: str, more: dict[str, Any]) -> None:
    error = raised_by(lambda: WITH_PROXY[kind](lambda: proxy.format(core()), more))
    assert isinstance(error, ValueError)
    assert_clean(error)


@pytest.mark.parametrize("proxy", ["ftp://u:{}@h:1", "http://a u:{}@h:1", "u:{}@h:99999"])
def test_the_password_of_the_environments_proxy(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy.format(core()))
    error = raised_for(nontax.Client(access_token="t" * 20, retries=0).insert_bill, bill())
    assert isinstance(error, nontax.NotSentError)
    assert "proxy" in error.reason
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
    loud.inject(echoing(token(), 45011), times=2)
    client = {"access_token": token(), "base_url": loud.base_url}
    with Child(fail_untended, client=client, bill=bill()) as child:
        told, stderr = child.finish(1)
    assert told == []
    assert stderr.count("it has failed") == 2
    assert stderr.count(core()) == 0
