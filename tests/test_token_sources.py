"""Token sources of other people's: the documented examples, on real servers, and broken ones."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from bills import bill
from processes import Child, Talk, without_preload
from redis.backoff import NoBackoff
from redis.retry import Retry

import nontax
from nontax.sandbox import Sandbox, faults

sys.path.append(str(Path(__file__).parent.parent / "examples"))
from token_sources import CentralToken, DjangoToken, RedisToken, StoredToken

KEY = "key-of-the-token-server"
INSERT = "/nontax/insertbill"


def stable(sandbox: Sandbox) -> nontax.StableToken:
    account = sandbox.bureau
    return nontax.StableToken(account.appid, account.secret, base_url=sandbox.base_url)


def inserts(sandbox: Sandbox) -> list[int | None]:
    return [request.errcode for request in sandbox.requests if request.path == INSERT]


class Keeper:
    """The one program that fetches tokens: writes the current one every few milliseconds."""

    def __init__(self, stored: StoredToken, source: Callable[[str | None], str]) -> None:
        self._ending = threading.Event()
        self._stored = stored
        self._source = source
        stored.keep(source)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ending.wait(0.01):
            self._stored.keep(self._source)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()


# --- a central token server -----------------------------------------------------------------------


@pytest.fixture
def central(sandbox: Sandbox) -> Iterator[str]:
    """The address of a token server on StableToken."""
    source = stable(sandbox)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.headers["Authorization"] == f"Bearer {KEY}"
            body = json.dumps({"access_token": source(asked["stale"])} if known else {}).encode()
            self.send_response(200 if known else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 100

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/wechat"
        server.shutdown()
        thread.join()


def test_a_central_token_server(sandbox: Sandbox, central: str) -> None:
    client = nontax.Client(token_source=CentralToken(central, KEY), base_url=sandbox.base_url)
    client.insert_bill(bill())
    sandbox.bureau.renew_stable_token()
    client.insert_bill(bill())
    assert inserts(sandbox) == [0, 40001, 0]
    # Refused by WeChat, and handed out by it all the same: the server forces a newer one.
    sandbox.inject(faults.Errcode(42001))
    client.insert_bill(bill())
    assert inserts(sandbox) == [0, 40001, 0, 42001, 0]


def test_many_threads_and_a_central_token_server(sandbox: Sandbox, central: str) -> None:
    client = nontax.Client(token_source=CentralToken(central, KEY), base_url=sandbox.base_url)
    client.insert_bill(bill())
    sandbox.bureau.renew_stable_token()
    with ThreadPoolExecutor(20) as pool:
        inserted = list(pool.map(client.insert_bill, [bill() for _ in range(60)]))
    assert len({one.code for one in inserted}) == 60
    assert sum(request.path != INSERT for request in sandbox.requests) == 2


@pytest.mark.parametrize("trouble", ["wrong key", "nobody listens"])
def test_a_central_token_server_that_gives_none(
    sandbox: Sandbox, central: str, trouble: str
) -> None:
    if trouble == "wrong key":
        source = CentralToken(central, "x")
    else:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            source = CentralToken(f"http://127.0.0.1:{sock.getsockname()[1]}", KEY)
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    with pytest.raises(nontax.NotSentError, match="token source raised") as caught:
        client.insert_bill(bill())
    cause = caught.value.__cause__
    assert isinstance(cause, OSError)
    if isinstance(cause, urllib.error.HTTPError):
        cause.close()
    assert sandbox.requests == ()


# --- Redis ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a real Redis."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("there is no redis-server: run `make deps`")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "socket"
    settings = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder)]
    settings += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    with subprocess.Popen(
        [program, *settings], stdout=subprocess.PIPE, text=True, env=without_preload()
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break
        else:
            pytest.fail("redis-server did not start")
        yield path
        process.terminate()
        process.stdout.read()


@pytest.fixture
def connection(store: Path) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(store)) as connection:
        connection.flushall()
        yield connection


def test_redis(sandbox: Sandbox, connection: redis.Redis) -> None:
    source = RedisToken(connection)
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    with Keeper(RedisToken(connection), stable(sandbox)):
        client.insert_bill(bill())
        sandbox.bureau.renew_stable_token()
        client.insert_bill(bill())
    assert inserts(sandbox) == [0, 40001, 0]
    assert sum(request.path != INSERT for request in sandbox.requests) == 2


def test_redis_with_text(sandbox: Sandbox, store: Path, connection: redis.Redis) -> None:
    RedisToken(connection).keep(stable(sandbox))
    with redis.Redis(unix_socket_path=str(store), decode_responses=True) as text:
        client = nontax.Client(token_source=RedisToken(text), base_url=sandbox.base_url)
        client.insert_bill(bill())
    assert inserts(sandbox) == [0]


def test_a_hundred_bills_while_redis_has_a_new_token(
    sandbox: Sandbox, connection: redis.Redis
) -> None:
    client = nontax.Client(token_source=RedisToken(connection), base_url=sandbox.base_url)
    with Keeper(RedisToken(connection), stable(sandbox)), ThreadPoolExecutor(20) as pool:
        client.insert_bill(bill())
        sandbox.bureau.expire_stable_token()
        inserted = list(pool.map(client.insert_bill, [bill() for _ in range(100)]))
    assert len({one.code for one in inserted}) == 100
    assert len(sandbox.bills) == 101
    assert sum(request.path != INSERT for request in sandbox.requests) == 2


def test_redis_without_a_token(sandbox: Sandbox, connection: redis.Redis) -> None:
    client = nontax.Client(token_source=RedisToken(connection), base_url=sandbox.base_url)
    with pytest.raises(nontax.NotSentError, match="LookupError") as caught:
        client.insert_bill(bill())
    assert isinstance(caught.value.__cause__, LookupError)
    assert sandbox.requests == ()


def test_redis_without_a_newer_token(sandbox: Sandbox, connection: redis.Redis) -> None:
    connection.set("wechat-access-token", "ended")
    source = RedisToken(connection, patience=0.1)
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    with pytest.raises(nontax.AccessTokenError) as caught:
        client.insert_bill(bill())
    assert caught.value.errcode == 40014
    assert len(sandbox.requests) == 1
    assert connection.get("wechat-access-token-refused") == b"ended"


def test_redis_is_down(sandbox: Sandbox, tmp_path: Path) -> None:
    once = Retry(NoBackoff(), 0)
    with redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=once) as connection:
        client = nontax.Client(token_source=RedisToken(connection), base_url=sandbox.base_url)
        with pytest.raises(nontax.NotSentError, match="ConnectionError"):
            client.insert_bill(bill())
    assert sandbox.requests == ()


# --- Django ---------------------------------------------------------------------------------------


def insert_with_django(talk: Talk) -> None:
    """One process of a Django site."""
    import sys

    from django.conf import settings

    sys.path.append(talk.setup["examples"])
    settings.configure(
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                "LOCATION": talk.setup["folder"],
            }
        }
    )
    from django.core.cache import caches
    from token_sources import DjangoToken

    import nontax

    source = DjangoToken(caches["default"], patience=0.2)
    account = nontax.StableToken(**talk.setup["account"])
    if talk.setup["keeper"]:
        source.keep(account)
        talk.tell(keeping=True)
        talk.wait()
        source.keep(account)
        talk.tell(keeping=True)
        return
    client = nontax.Client(token_source=source, base_url=talk.setup["account"]["base_url"])
    for one in talk.setup["bills"]:
        talk.insert(client, one)
        talk.wait()


def test_djangos_cache(sandbox: Sandbox, tmp_path: Path) -> None:
    account = sandbox.bureau
    setup: dict[str, Any] = {
        "examples": str(Path(__file__).parent.parent / "examples"),
        "folder": str(tmp_path),
        "account": {
            "appid": account.appid,
            "secret": account.secret,
            "base_url": sandbox.base_url,
        },
    }
    bills = [bill(), bill(), bill()]
    with (
        Child(insert_with_django, keeper=True, **setup) as keeper,
        Child(insert_with_django, keeper=False, bills=bills, **setup) as site,
    ):
        # They begin together: the first bill may find no token yet.
        assert keeper.hear() == {"keeping": True}
        told = site.hear()
        assert told.get("outcome", "not_sent") == "not_sent"
        account.renew_stable_token()
        site.go_on()
        # Refused, and no newer one there in time.
        assert site.hear()["errcode"] == 40001
        keeper.go_on()
        assert keeper.hear() == {"keeping": True}
        site.go_on()
        assert "code" in site.hear()
        site.go_on()
        keeper.finish()
        site.finish()


def test_djangos_cache_in_this_process(sandbox: Sandbox) -> None:
    from django.core.cache.backends.locmem import LocMemCache

    cache = LocMemCache("token-sources", {})
    client = nontax.Client(token_source=DjangoToken(cache), base_url=sandbox.base_url)
    with pytest.raises(nontax.NotSentError, match="LookupError"):
        client.insert_bill(bill())
    with Keeper(DjangoToken(cache), stable(sandbox)):
        client.insert_bill(bill())
        sandbox.bureau.renew_stable_token()
        client.insert_bill(bill())
    assert inserts(sandbox) == [0, 40001, 0]


# --- broken ones ----------------------------------------------------------------------------------


class Token(str):
    """A str of a kind of its own."""

    __slots__ = ()


def test_a_kind_of_str(sandbox: Sandbox) -> None:
    client = nontax.Client(
        token_source=lambda _: Token(sandbox.access_token), base_url=sandbox.base_url
    )
    client.insert_bill(bill())
    assert inserts(sandbox) == [0]


NONSENSE: list[Any] = [None, "", " ", b"token", 7, True, ["t"], ("t", 7200), {"access_token": "t"}]
NONSENSE += ["a b", "a\n", "票", "\udcff", "a\0", object(), iter("t")]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", ["insertbill", "seturl", "setpdf"])
def test_a_source_that_returns_nonsense(sandbox: Sandbox, name: str, nonsense: Any) -> None:
    client = nontax.Client(token_source=lambda _: nonsense, base_url=sandbox.base_url)
    call: dict[str, Callable[[], object]] = {
        "insertbill": lambda: client.insert_bill(bill()),
        "seturl": client.get_s_pappid,
        "setpdf": lambda: client.upload_pdf(b"%PDF-"),
    }
    with pytest.raises(nontax.InvalidRequestError) as caught:
        call[name]()
    ((path, message),) = caught.value.problems
    assert path == "access_token"
    assert message
    assert caught.value.interface == name
    assert sandbox.requests == ()


@pytest.mark.parametrize(
    "raises",
    [LookupError("none"), ValueError("x"), OSError(2, "x"), StopIteration(), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_a_source_that_raises(sandbox: Sandbox, raises: Exception) -> None:
    def source(_: str | None) -> str:
        raise raises

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    with pytest.raises(nontax.NotSentError, match=type(raises).__name__) as caught:
        client.get_s_pappid()
    assert caught.value.__cause__ is raises
    assert caught.value.interface == "seturl"
    assert caught.value.outcome == "not_sent"
    assert sandbox.requests == ()


@pytest.mark.parametrize(
    "source",
    [lambda: "t", lambda a, b: "t", lambda *, stale: "t", int],
    ids=["none", "two", "keyword", "type"],
)
def test_a_source_with_other_arguments(sandbox: Sandbox, source: Any) -> None:
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    with pytest.raises(nontax.NotSentError, match="TypeError"):
        client.insert_bill(bill())
    assert sandbox.requests == ()


@pytest.mark.parametrize("source", ["t", 7, [], object()])
def test_a_source_that_is_not_callable(source: Any) -> None:
    with pytest.raises(TypeError, match="callable"):
        nontax.Client(token_source=source)


def test_a_source_that_inserts_a_bill_itself(sandbox: Sandbox) -> None:
    inner = nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url)

    def source(_: str | None) -> str:
        inner.insert_bill(bill())
        return sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    client.insert_bill(bill())
    assert inserts(sandbox) == [0, 0]


def test_a_source_is_asked_for_each_call_and_once_more(sandbox: Sandbox) -> None:
    asked = []

    def source(stale: str | None) -> str:
        asked.append(stale)
        return "wrong" if stale is None else sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    client.insert_bill(bill())
    client.insert_bill(bill())
    assert asked == [None, "wrong"] * 2
    assert inserts(sandbox) == [40014, 0] * 2
