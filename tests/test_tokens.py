"""Token sources of our own: one fetch for all, renewed in time, never a storm."""

import asyncio
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from bills import bill
from processes import CODE, Server
from tokens import INSERT, PLAIN, STABLE, forced, sent, serve_first, settings_of, source_of

import nontax
import nontax.cached
import nontax.client
import nontax.token
from nontax.sandbox import Sandbox, faults
from nontax.sandbox.certificates import Certificates

REFUSALS = (40001, 40014, 42001)
MANY = 100


class Time:
    """The client's clock, which a test can move."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = monotonic

    def __call__(self) -> float:
        return self._real() + self.ahead

    def stop(self) -> None:
        """From here on nothing but the test moves it."""
        now = self._real()
        self._real = lambda: now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(nontax.cached, "monotonic", time)
    monkeypatch.setattr(nontax.token, "monotonic", time)
    return time


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(MANY) as pool:
        yield pool


@pytest.fixture
def keyed(sandbox: Sandbox) -> nontax.Client:
    """A client with the bureau's AppID and AppSecret."""
    return client_of(sandbox)


def client_of(sandbox: Sandbox, **changes: Any) -> nontax.Client:
    return nontax.Client(**settings_of(sandbox.base_url, sandbox.bureau, **changes))


def raised(call: Callable[[], object]) -> nontax.NontaxError:
    with pytest.raises(nontax.NontaxError) as caught:
        call()
    return caught.value


# --- the request ----------------------------------------------------------------------------------


def test_nothing_is_fetched_before_a_token_is_needed(
    sandbox: Sandbox, keyed: nontax.Client
) -> None:
    with keyed:
        keyed.close()
    with pytest.raises(nontax.InvalidRequestError):
        keyed.insert_bill({})
    assert sandbox.requests == ()
    assert sandbox.bureau.stable_token is None


def test_the_request_to_stable_token(sandbox: Sandbox, keyed: nontax.Client) -> None:
    keyed.insert_bill(bill())
    fetch, insert = sandbox.requests
    account = sandbox.bureau
    assert (fetch.method, fetch.path, fetch.query) == ("POST", STABLE, "")
    assert fetch.headers["content-type"] == "application/json"
    assert fetch.json == {
        "grant_type": "client_credential",
        "appid": account.appid,
        "secret": account.secret,
    }
    assert (insert.path, insert.access_token) == (INSERT, account.stable_token)


def test_the_request_to_token(sandbox: Sandbox) -> None:
    source = source_of(nontax.AccessToken, sandbox)
    before = sandbox.access_token
    nontax.Client(token_source=source, base_url=sandbox.base_url).insert_bill(bill())
    fetch, insert = sandbox.requests
    account = sandbox.bureau
    assert (fetch.method, fetch.path, fetch.body) == ("GET", PLAIN, b"")
    assert "content-type" not in fetch.headers
    assert fetch.parameters == {
        "grant_type": "client_credential",
        "appid": account.appid,
        "secret": account.secret,
    }
    assert insert.access_token == sandbox.access_token != before


def test_the_fetch_has_the_clients_certificate_and_environment(
    tls_sandbox: Sandbox, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nontax.client, "_default", {})
    account = tls_sandbox.bureau
    monkeypatch.setenv("NONTAX_APPID", account.appid)
    monkeypatch.setenv("NONTAX_SECRET", account.secret)
    monkeypatch.setenv("NONTAX_BASE_URL", tls_sandbox.base_url)
    monkeypatch.setenv("NONTAX_CA_FILE", str(certificates.ca_file))
    # The secret is the stronger credential: it goes on when the token has ended.
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", "x")
    nontax.insert_bill(bill())
    nontax.insert_bill(bill())
    nontax.Client().insert_bill(bill())
    assert nontax.StableToken(account.appid, account.secret)() == account.stable_token
    assert [request.path for request in tls_sandbox.requests] == [
        *(STABLE, INSERT, INSERT),
        *(STABLE, INSERT),
        STABLE,
    ]
    assert {request.access_token for request in sent(tls_sandbox, INSERT)} == {account.stable_token}


def test_a_token_of_the_call_comes_before_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nontax.client, "_default", {})
    monkeypatch.setenv("NONTAX_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("NONTAX_APPID", sandbox.bureau.appid)
    monkeypatch.setenv("NONTAX_SECRET", sandbox.bureau.secret)
    nontax.insert_bill(bill(), access_token=sandbox.access_token)
    error = raised(lambda: nontax.insert_bill(bill(), access_token="another"))
    # It is not replaced by another credential.
    assert isinstance(error, nontax.AccessTokenError)
    assert [request.path for request in sandbox.requests] == [INSERT, INSERT]


def test_an_appid_without_a_secret_leaves_the_token_of_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nontax.client, "_default", {})
    monkeypatch.setenv("NONTAX_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("NONTAX_APPID", sandbox.bureau.appid)
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", sandbox.access_token)
    nontax.insert_bill(bill())
    nontax.Client().insert_bill(bill())
    assert [request.path for request in sandbox.requests] == [INSERT, INSERT]


FULL = {"NONTAX_APPID": "wx2", "NONTAX_SECRET": "s2", "NONTAX_ACCESS_TOKEN": "t2"}


@pytest.mark.parametrize("environment", [{}, FULL], ids=["empty", "full"])
@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"appid": "wx1"}, TypeError, "^secret is missing: give appid and secret, or neither"),
        ({"secret": "s"}, TypeError, "^appid is missing: give appid and secret, or neither"),
        ({"appid": "", "secret": "s"}, ValueError, "^appid is empty"),
        ({"appid": "wx1", "secret": ""}, ValueError, "^secret is empty"),
    ],
)
def test_half_a_credential_is_never_completed(
    arguments: dict[str, Any],
    error: type[Exception],
    match: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for cls in (nontax.Client, nontax.StableToken, nontax.AccessToken):
        with pytest.raises(error, match=match):
            cls(**arguments)


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        ({"NONTAX_APPID": "wx1"}, "NONTAX_APPID is set, but NONTAX_SECRET is not"),
        ({"NONTAX_SECRET": "s"}, "NONTAX_SECRET is set, but NONTAX_APPID is not"),
        ({"NONTAX_APPID": "", "NONTAX_SECRET": "s"}, "but NONTAX_APPID is not"),
        ({}, "or set NONTAX_APPID and NONTAX_SECRET, or NONTAX_ACCESS_TOKEN"),
    ],
)
def test_half_a_credential_of_the_environment(
    environment: dict[str, str], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"^no credentials: .*{match}"):
        nontax.Client()
    for cls in (nontax.StableToken, nontax.AccessToken):
        with pytest.raises(ValueError, match=r"^no credentials: .* set NONTAX_APPID and"):
            cls()


def test_a_token_source_with_the_credentials_of_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NONTAX_APPID", sandbox.bureau.appid)
    monkeypatch.setenv("NONTAX_SECRET", sandbox.bureau.secret)
    source = nontax.StableToken(base_url=sandbox.base_url)
    assert source.appid == sandbox.bureau.appid
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    assert client.appid == sandbox.bureau.appid
    client.insert_bill(bill())


@pytest.mark.parametrize("other", [{"access_token": "t"}, {"token_source": lambda _: "t"}])
def test_two_credentials_at_once(other: dict[str, Any]) -> None:
    credentials: tuple[dict[str, Any], ...] = ({"appid": "wx1", "secret": "s"}, {"secret": "s"})
    for one in credentials:
        with pytest.raises(TypeError, match="appid and secret, or access_token, or token_source"):
            nontax.Client(**one, **other)
    with pytest.raises(TypeError, match="appid may stand beside any"):
        nontax.Client(access_token="t", token_source=lambda _: "t")


@pytest.mark.parametrize("way", ["access_token", "token_source"])
def test_an_appid_beside_a_token_names_the_account(sandbox: Sandbox, way: str) -> None:
    wrong: dict[str, Any] = {"access_token": "wrong-token", "token_source": lambda _: "wrong-token"}
    with nontax.Client(appid="wx1", base_url=sandbox.base_url, **{way: wrong[way]}) as client:
        assert client.appid == "wx1"
        assert repr(client) == f"<nontax.Client of wx1 for {sandbox.base_url}>"
        error = raised(lambda: client.insert_bill(bill()))
        assert isinstance(error, nontax.AccessTokenError)
        assert error.appid == "wx1"
        assert str(error).endswith(" (account wx1)")
        assert pickle.loads(pickle.dumps(error)).appid == "wx1"
        error = raised(lambda: client.insert_bill(bill(fee=-1)))
        assert error.appid == "wx1"
        assert "wx1" not in str(error)
    nonsense: tuple[Any, ...] = ("w x", "", 5)
    for appid in nonsense:
        with pytest.raises((TypeError, ValueError), match=r"^appid "):
            nontax.Client(appid=appid, **{way: wrong[way]})


def test_a_fetch_that_is_refused_names_the_account(sandbox: Sandbox) -> None:
    with nontax.Client(appid="wx1", secret="wrong", base_url=sandbox.base_url) as client:
        error = raised(lambda: client.insert_bill(bill()))
    assert isinstance(error, nontax.AccountError)
    assert str(error).endswith(" (account wx1)")


@pytest.mark.parametrize("cls", [nontax.StableToken, nontax.AccessToken])
@pytest.mark.parametrize("name", ["appid", "secret"])
@pytest.mark.parametrize(
    "value", [None, 7, b"wx", "", " ", "a b", "a\n", "a\0", "票", "\udcff", "'wx1'", '"wx1"']
)
def test_credentials_that_cannot_be_one(cls: Callable[..., Any], name: str, value: object) -> None:
    settings = {"appid": "wx1", "secret": "s", name: value}
    with pytest.raises((TypeError, ValueError), match=f"^{name} "):
        cls(**settings)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"base_url": "http://192.0.2.1"}, "base_url"),
        ({"fallback_base_urls": "https://a"}, "fallback_base_urls"),
        ({"fallback_base_urls": ["http://192.0.2.1"]}, "fallback_base_urls"),
        ({"ca_file": "/no/such/file"}, "ca_file"),
        ({"proxy": 7}, "proxy"),
    ],
)
def test_settings_of_a_source_that_cannot_be_used(changes: dict[str, Any], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        nontax.StableToken(**({"appid": "wx1", "secret": "s"} | changes))


# --- kept and renewed -----------------------------------------------------------------------------


def test_it_is_fetched_once_and_kept(sandbox: Sandbox, keyed: nontax.Client) -> None:
    for _ in range(3):
        keyed.insert_bill(bill())
    assert len(sent(sandbox, STABLE)) == 1
    assert list(keyed.insert_bills([bill(), bill()]))[1].outcome == "inserted"
    assert len(sent(sandbox, STABLE)) == 1
    assert len(sandbox.bills) == 5


def test_a_bulk_run_fetches_it_once(sandbox: Sandbox, keyed: nontax.Client) -> None:
    outcomes = list(keyed.insert_bills([bill() for _ in range(50)], concurrency=8))
    assert Counter(outcome.outcome for outcome in outcomes) == {"inserted": 50}
    assert len(sent(sandbox, STABLE)) == 1


def test_it_is_renewed_in_its_last_five_minutes(
    sandbox: Sandbox, keyed: nontax.Client, time: Time
) -> None:
    keyed.insert_bill(bill())
    first = sandbox.bureau.stable_token
    time.ahead = 7200 - 300 - 60
    sandbox.clock.advance(time.ahead)
    keyed.insert_bill(bill())
    assert len(sent(sandbox, STABLE)) == 1
    time.ahead += 70
    sandbox.clock.advance(70)
    keyed.insert_bill(bill())
    second = sandbox.bureau.stable_token
    assert second != first
    assert [request.access_token for request in sent(sandbox, INSERT)] == [first, first, second]
    # Nothing was ever refused.
    assert {request.errcode for request in sandbox.requests} == {0}


@pytest.mark.parametrize(("expires_in", "fetches"), [(300, 1), (7200, 1), (2, 1), (0, 2), (-5, 2)])
def test_a_lifetime_that_is_short(
    sandbox: Sandbox, keyed: nontax.Client, expires_in: int, fetches: int, time: Time
) -> None:
    # WeChat's shortest is 300. With less there is no loop, only one more fetch for each call.
    keyed.insert_bill(bill())
    token = sandbox.bureau.stable_token
    time.ahead = 1e6
    body = f'{{"access_token": "{token}", "expires_in": {expires_in}}}'.encode()
    sandbox.inject(faults.Reply(body=body))
    keyed.insert_bill(bill())
    keyed.insert_bill(bill())
    assert len(sent(sandbox, STABLE)) == 1 + fetches
    assert len(sandbox.bills) == 3


def test_a_renewal_that_fails_leaves_the_token_that_is_still_good(
    sandbox: Sandbox, keyed: nontax.Client, time: Time
) -> None:
    keyed.insert_bill(bill())
    time.ahead = 7200 - 200
    sandbox.inject(faults.Errcode(45009))
    keyed.insert_bill(bill())
    keyed.insert_bill(bill())
    assert len(sent(sandbox, STABLE)) == 2  # not once for each bill
    assert len(sandbox.bills) == 3
    time.ahead += 6
    keyed.insert_bill(bill())
    assert len(sent(sandbox, STABLE)) == 3


def test_a_token_that_has_ended_is_not_used_when_its_renewal_fails(
    sandbox: Sandbox, keyed: nontax.Client, time: Time
) -> None:
    keyed.insert_bill(bill())
    time.ahead = 7201
    sandbox.inject(faults.Errcode(45009))
    assert isinstance(raised(lambda: keyed.insert_bill(bill())), nontax.QuotaError)
    assert len(sandbox.bills) == 1


def test_others_use_the_old_token_while_one_renews_it(server: Server, time: Time) -> None:
    client = nontax.Client(appid="wx1", secret="s", base_url=server.base_url)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.insert_bill, bill())
        fetching, inserting = serve_first(server)
        assert first.result().code == CODE
        time.ahead = 7200 - 200
        renewing = pool.submit(client.insert_bill, bill())
        fetching.read_request()
        other = pool.submit(client.insert_bill, bill())
        assert inserting.read_token() == "one"
        inserting.answer()
        assert other.result().code == CODE
        assert not renewing.done()
        fetching.answer(access_token="two", expires_in=7200)
        assert inserting.read_token() == "two"
        inserting.answer()
        assert renewing.result().code == CODE
        fetching.close()
        inserting.close()


# --- clocks that jump -----------------------------------------------------------------------------


def test_a_machine_that_slept_finds_its_token_ended(sandbox: Sandbox, keyed: nontax.Client) -> None:
    # While a machine sleeps its monotonic clock may stand still.
    keyed.insert_bill(bill())
    sandbox.clock.advance(3 * 24 * 3600)
    keyed.insert_bill(bill())
    assert len(sandbox.bills) == 2
    assert [request.errcode for request in sent(sandbox, INSERT)] == [0, 42001, 0]
    assert len(sent(sandbox, STABLE)) == 2
    assert forced(sandbox) == []


def test_a_jump_far_ahead_costs_one_fetch(
    sandbox: Sandbox, keyed: nontax.Client, time: Time
) -> None:
    keyed.insert_bill(bill())
    time.ahead = 1e9
    keyed.insert_bill(bill())
    keyed.insert_bill(bill())
    assert len(sent(sandbox, STABLE)) == 2
    assert [request.errcode for request in sent(sandbox, INSERT)] == [0, 0, 0]


@pytest.mark.parametrize("jump", [-1e9, 1e9], ids=["back", "ahead"])
def test_the_clock_on_the_wall_does_not_matter(
    server: Server, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    import time

    client = nontax.Client(appid="wx1", secret="s", base_url=server.base_url)
    real = time.time
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.insert_bill, bill())
        fetching, inserting = serve_first(server)
        assert call.result().code == CODE
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        call = pool.submit(client.insert_bill, bill())
        assert inserting.read_token() == "one"
        inserting.answer()
        assert call.result().code == CODE
    fetching.close()
    inserting.close()


# --- a fetch that fails ---------------------------------------------------------------------------


def test_an_address_that_is_not_on_the_ip_list(
    sandbox: Sandbox, keyed: nontax.Client, time: Time
) -> None:
    sandbox.bureau.ip_list = ["192.0.2.1"]
    errors = [raised(lambda: keyed.insert_bill(bill())) for _ in range(3)]
    for error in errors:
        assert isinstance(error, nontax.AccountError)
        assert (error.errcode, error.outcome, error.interface) == (
            40164,
            "not_sent",
            "stable_token",
        )
        assert "127.0.0.1" in error.errmsg
        assert "IP list" in error.advice
        assert "127.0.0.1" in str(error)
        assert error.rid
    assert len({id(error) for error in errors}) == 3
    assert len(sandbox.requests) == 1  # asking again could have the address blocked for longer
    sandbox.bureau.ip_list = ["127.0.0.1"]
    time.ahead = 6
    keyed.insert_bill(bill())
    assert len(sandbox.requests) == 3


@pytest.mark.parametrize("cls", [nontax.StableToken, nontax.AccessToken])
@pytest.mark.parametrize(
    ("errcode", "error", "advice"),
    [
        (40001, nontax.AccountError, "AppSecret"),
        (40013, nontax.AccountError, "AppID"),
        (40125, nontax.AccountError, "AppSecret"),
        (40164, nontax.AccountError, "IP list"),
        (40243, nontax.AccountError, "unfreeze"),
        (45009, nontax.QuotaError, "quota"),
        (45011, nontax.QuotaError, "next minute"),
        (89501, nontax.AccountError, "administrator"),
        (89503, nontax.AccountError, "administrator"),
        (89506, nontax.AccountError, "24 hours"),
        (89507, nontax.AccountError, "one hour"),
        (99999, nontax.WeChatError, ""),
    ],
)
def test_a_fetch_that_is_refused(
    sandbox: Sandbox, cls: Callable[..., Any], errcode: int, error: type, advice: str
) -> None:
    client = nontax.Client(token_source=source_of(cls, sandbox), base_url=sandbox.base_url)
    sandbox.inject(faults.Errcode(errcode))
    found = raised(lambda: client.insert_bill(bill()))
    assert isinstance(found, nontax.WeChatError)
    assert type(found) is error
    assert (found.errcode, found.outcome) == (errcode, "not_sent")
    assert found.interface == ("stable_token" if cls is nontax.StableToken else "token")
    assert advice in found.advice
    assert "the bill" not in found.advice
    assert type(raised(lambda: client.insert_bill(bill()))) is error
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("appid", "secret", "errcode"),
    [("wx0000000000000000", ..., 40013), (..., "0" * 32, 40001), (..., "short", 40125)],
    ids=["appid", "secret", "odd secret"],
)
def test_wrong_credentials(sandbox: Sandbox, appid: Any, secret: Any, errcode: int) -> None:
    changes = {"appid": appid, "secret": secret}
    client = client_of(sandbox, **{key: value for key, value in changes.items() if value != ...})
    error = raised(lambda: client.insert_bill(bill()))
    assert type(error) is nontax.AccountError
    assert (error.errcode, error.outcome, error.retry) == (errcode, "not_sent", "no")
    assert len(sandbox.requests) == 1


ODD = {
    "no token": b'{"expires_in": 7200}',
    "empty token": b'{"access_token": "", "expires_in": 7200}',
    "list for a token": b'{"access_token": [7], "expires_in": 7200}',
    "null": b'{"access_token": null, "expires_in": 7200}',
    "two tokens": b'{"access_token": "a", "access_token": "b", "expires_in": 7200}',
    "no lifetime": b'{"access_token": "a"}',
    "words for a lifetime": b'{"access_token": "a", "expires_in": "two hours"}',
    "half a second": b'{"access_token": "a", "expires_in": 0.5}',
    "for ever": b'{"access_token": "a", "expires_in": 1e300}',
    "infinity": b'{"access_token": "a", "expires_in": 1e999}',
    "true": b'{"access_token": "a", "expires_in": true}',
    "list": b'[{"access_token": "a", "expires_in": 7200}]',
    "page": b"<html>",
    "empty": b"",
    "nul": b'{"access_token": "a\\u0000b", "expires_in": 7200}',
    "errcode 0": b'{"errcode": 0, "errmsg": "ok"}',
    "odd errcode": b'{"errcode": "x", "access_token": "a", "expires_in": 7200}',
    "blank in it": b'{"access_token": "a b", "expires_in": 7200}',
    "line break": b'{"access_token": "a\\r\\nb", "expires_in": 7200}',
    "chinese": '{"access_token": "票", "expires_in": 7200}'.encode(),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_answer_to_a_fetch(sandbox: Sandbox, kind: str, time: Time) -> None:
    # This interface is asked once; stable_token, which only reads, again.
    source = source_of(nontax.AccessToken, sandbox)
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    sandbox.inject(faults.Reply(body=ODD[kind]))
    error = raised(lambda: client.insert_bill(bill()))
    assert type(error) is nontax.NotSentError
    assert (error.outcome, error.interface) == ("not_sent", "token")
    assert "no access token could be fetched" in error.reason
    assert "before you know" not in str(error)
    assert [request.path for request in sandbox.requests] == [PLAIN]
    # And it is not kept.
    time.ahead = 2
    client.insert_bill(bill())
    assert len(sandbox.bills) == 1


@pytest.mark.parametrize(
    ("fault", "seconds"), [(faults.Errcode(45009), 5), (faults.Reply(body=b"<html>"), 1)]
)
def test_how_long_a_fetch_that_failed_is_not_tried_again(
    sandbox: Sandbox, fault: faults.Fault, seconds: int, time: Time
) -> None:
    time.stop()
    source = source_of(nontax.AccessToken, sandbox)
    sandbox.inject(fault)
    first = raised(source)
    time.ahead = seconds - 0.1
    assert str(raised(source)) == str(first)
    assert len(sandbox.requests) == 1
    time.ahead = seconds + 0.1
    assert source() == sandbox.access_token
    assert len(sandbox.requests) == 2


@pytest.mark.parametrize("fault", [faults.Reply(body=b"<html>"), faults.Errcode(-1)])
def test_a_stable_token_is_asked_for_again(
    sandbox: Sandbox, keyed: nontax.Client, fault: faults.Fault
) -> None:
    sandbox.inject(fault)
    keyed.insert_bill(bill())
    assert [request.path for request in sandbox.requests] == [STABLE, STABLE, INSERT]


@pytest.mark.parametrize("cls", [nontax.StableToken, nontax.AccessToken])
def test_a_fetch_without_an_answer_is_about_the_token_and_not_the_bill(
    sandbox: Sandbox, cls: Callable[..., Any]
) -> None:
    source = source_of(cls, sandbox)
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    sandbox.inject(faults.Errcode(-1), times=3)
    error = raised(lambda: client.insert_bill(bill()))
    assert type(error) is nontax.NotSentError
    assert "-1" in error.reason
    assert "rid: " in error.reason
    for wrong in ("do not send", "before you know", "taken the bill"):
        assert wrong not in str(error)
    assert sent(sandbox, INSERT) == []
    assert len(sandbox.requests) == (3 if cls is nontax.StableToken else 1)


def test_nobody_listens(server: Server) -> None:
    url = server.base_url
    server.__exit__(None, None, None)
    source = nontax.StableToken("wx1", "s", base_url=url, timeout=0.2)
    error = raised(lambda: nontax.Client(token_source=source, base_url=url).insert_bill(bill()))
    assert type(error) is nontax.NotSentError
    assert error.curl_code
    assert error.interface == "stable_token"


def test_a_certificate_that_is_not_trusted(tls_sandbox: Sandbox) -> None:
    client = client_of(tls_sandbox)
    error = raised(lambda: client.insert_bill(bill()))
    assert type(error) is nontax.TLSError
    assert (error.outcome, error.interface) == ("not_sent", "stable_token")


@pytest.mark.parametrize("which", ["its own", "the call's"])
def test_a_fetch_that_is_not_answered_in_time(sandbox: Sandbox, which: str) -> None:
    sandbox.inject(faults.NeverAnswer(), times=5)
    if which == "its own":
        source = source_of(nontax.StableToken, sandbox, timeout=0.2)
        client = nontax.Client(token_source=source, base_url=sandbox.base_url, timeout=3000)
    else:
        client = client_of(sandbox, timeout=0.2)
    error = raised(lambda: client.insert_bill(bill()))
    assert type(error) is nontax.NotSentError
    assert error.timed_out
    assert sent(sandbox, INSERT) == []


def test_the_fetch_is_within_the_calls_time(sandbox: Sandbox) -> None:
    # Each alone would be in time, both together are not. (A stable_token would be asked again.)
    sandbox.inject(faults.Delay(0.6), times=2)
    source = source_of(nontax.AccessToken, sandbox)
    client = nontax.Client(token_source=source, base_url=sandbox.base_url, timeout=1)
    error = raised(lambda: client.insert_bill(bill()))
    assert isinstance(error, nontax.InDoubtError | nontax.NotSentError)
    assert error.timed_out


def test_a_call_that_had_no_time_left_speaks_for_nobody_else(sandbox: Sandbox) -> None:
    sandbox.inject(faults.NeverAnswer())
    source = source_of(nontax.StableToken, sandbox)
    hasty = nontax.Client(token_source=source, base_url=sandbox.base_url, timeout=0.05)
    patient = nontax.Client(token_source=source, base_url=sandbox.base_url)
    assert raised(lambda: hasty.insert_bill(bill())).outcome == "not_sent"
    sandbox.behave()
    patient.insert_bill(bill())
    assert len(sandbox.bills) == 1


@pytest.mark.parametrize("errcode", [40164, 45009])
def test_a_bulk_run_ends_when_no_token_can_be_had(
    sandbox: Sandbox, keyed: nontax.Client, errcode: int
) -> None:
    sandbox.inject(faults.Errcode(errcode))
    taken = []

    def bills() -> Iterator[dict[str, Any]]:
        for _ in range(1000):
            taken.append(bill())
            yield taken[-1]

    outcomes: list[nontax.Outcome] = []
    with pytest.raises(nontax.WeChatError) as caught:
        outcomes.extend(keyed.insert_bills(bills(), concurrency=4))
    assert caught.value.errcode == errcode
    assert len(taken) <= 8
    assert len(sandbox.requests) == 1
    assert sandbox.bills == {}


# --- many threads ---------------------------------------------------------------------------------


def all_at_once(pool: ThreadPoolExecutor, client: nontax.Client, count: int = MANY) -> list[Any]:
    together = threading.Barrier(count)

    def insert(one: dict[str, Any]) -> object:
        together.wait()
        try:
            return client.insert_bill(one)
        except nontax.NontaxError as error:
            return error

    return list(pool.map(insert, [bill() for _ in range(count)]))


def test_a_hundred_threads_without_a_token_fetch_it_once(
    sandbox: Sandbox, keyed: nontax.Client, pool: ThreadPoolExecutor
) -> None:
    inserted = all_at_once(pool, keyed)
    assert len(sent(sandbox, STABLE)) == 1
    assert len({one.code for one in inserted}) == MANY
    assert len(sent(sandbox, INSERT)) == len(sandbox.bills) == MANY
    assert {request.access_token for request in sent(sandbox, INSERT)} == {
        sandbox.bureau.stable_token
    }


def test_a_hundred_threads_share_one_refused_fetch(
    sandbox: Sandbox, keyed: nontax.Client, pool: ThreadPoolExecutor
) -> None:
    sandbox.bureau.ip_list = []
    errors = all_at_once(pool, keyed)
    assert len(sandbox.requests) == 1
    assert {(type(error), error.errcode) for error in errors} == {(nontax.AccountError, 40164)}
    assert len({id(error) for error in errors}) == MANY


def test_a_hundred_threads_share_one_fetch_without_an_answer(
    sandbox: Sandbox, pool: ThreadPoolExecutor
) -> None:
    sandbox.inject(faults.NeverAnswer(), times=MANY)
    source = source_of(nontax.StableToken, sandbox, timeout=0.4)
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    errors = all_at_once(pool, client)
    assert {(type(error), error.timed_out) for error in errors} == {(nontax.NotSentError, True)}
    # Nobody who has waited asks again when the first one gives up.
    assert len(sandbox.requests) <= 3


def test_a_token_that_is_refused_for_a_hundred_is_renewed_once(
    sandbox: Sandbox, keyed: nontax.Client, pool: ThreadPoolExecutor
) -> None:
    keyed.insert_bill(bill())
    old = sandbox.bureau.stable_token
    sandbox.bureau.renew_stable_token()
    results = all_at_once(pool, keyed)
    assert len({one.code for one in results}) == MANY
    assert len(sent(sandbox, STABLE)) == 2
    assert forced(sandbox) == []
    taken = Counter(request.order_id for request in sent(sandbox, INSERT) if request.errcode == 0)
    assert set(taken.values()) == {1}
    assert len(taken) == len(sandbox.bills) == MANY + 1
    assert max(Counter(request.order_id for request in sent(sandbox, INSERT)).values()) == 2
    for request in sent(sandbox, INSERT)[1:]:
        assert (request.errcode == 0) == (request.access_token != old)


def test_a_token_that_is_refused_and_not_replaced_is_forced_once(
    sandbox: Sandbox, keyed: nontax.Client, pool: ThreadPoolExecutor
) -> None:
    keyed.insert_bill(bill())
    # WeChat refuses what it still hands out.
    old = sandbox.bureau.stable_token
    sandbox.inject(faults.Errcode(42001), times=1)
    results = all_at_once(pool, keyed)
    assert len({one.code for one in results}) == MANY
    assert len(forced(sandbox)) == 1
    assert len(sandbox.bills) == MANY + 1
    assert sandbox.bureau.stable_token != old


# --- many tasks -----------------------------------------------------------------------------------


def all_tasks(client: nontax.Client, calls: Callable[[int], Any]) -> list[Any]:
    async def together() -> list[Any]:
        return await asyncio.gather(
            *(calls(number) for number in range(MANY)), return_exceptions=True
        )

    return asyncio.run(together())


def test_a_hundred_tasks_without_a_token_fetch_it_once(
    sandbox: Sandbox, keyed: nontax.Client
) -> None:
    inserted = all_tasks(keyed, lambda _: keyed.ainsert_bill(bill()))
    assert len({one.code for one in inserted}) == MANY
    assert len(sent(sandbox, STABLE)) == 1
    assert len(sent(sandbox, INSERT)) == len(sandbox.bills) == MANY


def test_a_hundred_tasks_share_one_refused_fetch(sandbox: Sandbox, keyed: nontax.Client) -> None:
    sandbox.bureau.ip_list = []
    errors = all_tasks(keyed, lambda _: keyed.ainsert_bill(bill()))
    assert {(type(error), error.errcode, error.outcome) for error in errors} == {
        (nontax.AccountError, 40164, "not_sent")
    }
    assert len(sandbox.requests) == 1
    assert len({id(error) for error in errors}) == MANY


def test_a_token_that_is_refused_for_a_hundred_tasks_is_renewed_once(
    sandbox: Sandbox, keyed: nontax.Client
) -> None:
    keyed.insert_bill(bill())
    sandbox.bureau.renew_stable_token()
    inserted = all_tasks(keyed, lambda _: keyed.ainsert_bill(bill()))
    assert len({one.code for one in inserted}) == MANY
    assert len(sent(sandbox, STABLE)) == 2
    assert forced(sandbox) == []
    counts = Counter(request.order_id for request in sent(sandbox, INSERT) if not request.errcode)
    assert len(counts) == len(sandbox.bills) == MANY + 1
    assert set(counts.values()) == {1}


def test_threads_and_tasks_share_one_fetch(
    sandbox: Sandbox, keyed: nontax.Client, pool: ThreadPoolExecutor
) -> None:
    threads = [pool.submit(keyed.insert_bill, bill()) for _ in range(40)]
    inserted = all_tasks(keyed, lambda _: keyed.ainsert_bill(bill()))
    inserted += [thread.result() for thread in threads]
    assert len({one.code for one in inserted}) == MANY + 40
    assert len(sent(sandbox, STABLE)) == 1


def test_a_hundred_tasks_fetch_one_ticket(sandbox: Sandbox) -> None:
    account = sandbox.unit
    unit = client_of(sandbox, appid=account.appid, secret=account.secret)
    links = all_tasks(
        unit,
        lambda number: unit.aget_bill_auth_url(
            s_pappid=sandbox.bureau.s_pappid, order_id=f"{number}", money=1
        ),
    )
    assert len({link.auth_url for link in links}) == MANY
    assert len(sent(sandbox, "/cgi-bin/ticket/getticket")) == 1
    assert len(sent(sandbox, STABLE)) == 1


# --- a token that is refused ----------------------------------------------------------------------


@pytest.mark.parametrize("errcode", REFUSALS)
def test_the_bill_is_sent_once_more_with_a_newer_token(
    sandbox: Sandbox, keyed: nontax.Client, errcode: int
) -> None:
    keyed.insert_bill(bill())
    sandbox.inject(faults.Errcode(errcode))
    sandbox.bureau.renew_stable_token()
    one = bill()
    keyed.insert_bill(one)
    assert [request.path for request in sandbox.requests[2:]] == [INSERT, STABLE, INSERT]
    first, second = [seen for seen in sandbox.requests if seen.order_id == one["order_id"]]
    assert first.body == second.body
    assert first.access_token != second.access_token == sandbox.bureau.stable_token


@pytest.mark.parametrize("errcode", REFUSALS)
def test_forced_mode_only_when_normal_mode_has_nothing_newer(
    sandbox: Sandbox, keyed: nontax.Client, errcode: int
) -> None:
    keyed.insert_bill(bill())
    old = sandbox.bureau.stable_token
    # The first one may pass by itself: the same token is tried once more.
    tries = 2 if errcode == 40001 else 1
    sandbox.inject(faults.Errcode(errcode))
    if tries == 2:
        sandbox.inject(faults.Errcode(errcode), skip=1)  # the fetch
    keyed.insert_bill(bill())
    *normal, force = sent(sandbox, STABLE)[1:]
    assert len(normal) == tries
    assert all("force_refresh" not in one.json for one in normal)
    assert force.json == normal[0].json | {"force_refresh": True}
    assert sandbox.bureau.stable_token != old
    tokens = [request.access_token for request in sent(sandbox, INSERT)]
    assert tokens == [old] * (1 + tries) + [sandbox.bureau.stable_token]


def one_by_one(client: nontax.Client, bills: list[dict[str, Any]]) -> list[str]:
    return [client.insert_bill(one).code for one in bills]


def in_bulk(client: nontax.Client, bills: list[dict[str, Any]]) -> list[str]:
    outcomes = client.insert_bills(bills, concurrency=1)
    return [outcome.inserted.code for outcome in outcomes if outcome.inserted is not None]


def in_a_loop(client: nontax.Client, bills: list[dict[str, Any]]) -> list[str]:
    async def main() -> list[str]:
        return [(await client.ainsert_bill(one)).code for one in bills]

    return asyncio.run(main())


@pytest.mark.parametrize("insert", [one_by_one, in_bulk, in_a_loop])
def test_a_momentary_refusal(
    sandbox: Sandbox,
    keyed: nontax.Client,
    insert: Callable[[nontax.Client, list[dict[str, Any]]], list[str]],
) -> None:
    """The token is as good as ever a second later: nobody's is ended by a forced one."""
    sandbox.inject(faults.Errcode(40001), skip=1)
    begun = monotonic()
    assert len(insert(keyed, [bill(), bill()])) == 2
    assert monotonic() - begun >= 1
    assert len(sandbox.bills) == 2
    assert forced(sandbox) == []
    assert len(sent(sandbox, STABLE)) == 2
    tokens = [request.access_token for request in sent(sandbox, INSERT)]
    assert tokens == [sandbox.bureau.stable_token] * 3


def test_a_source_of_the_callers_is_asked_again(sandbox: Sandbox) -> None:
    asked: list[str | None] = []

    def source(stale: str | None) -> str:
        asked.append(stale)
        return sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    sandbox.inject(faults.Errcode(40001))
    client.insert_bill(bill())
    assert asked == [None, sandbox.access_token]
    sandbox.inject(faults.Errcode(40001), times=2)
    error = raised(lambda: client.insert_bill(bill()))
    assert type(error) is nontax.AccessTokenError
    assert error.outcome == "rejected"
    token = sandbox.access_token
    assert asked == [None, token, None, token, token]
    assert len(sandbox.bills) == 1


def test_a_momentary_refusal_when_there_is_no_time_left(sandbox: Sandbox) -> None:
    client = client_of(sandbox, timeout=0.9)
    client.insert_bill(bill())
    sandbox.inject(faults.Errcode(40001))
    error = raised(lambda: client.insert_bill(bill()))
    assert type(error) is nontax.AccessTokenError
    assert len(sent(sandbox, INSERT)) == 2


def test_never_more_than_one_repeat(sandbox: Sandbox, keyed: nontax.Client) -> None:
    keyed.insert_bill(bill())
    sandbox.bureau.renew_stable_token()
    sandbox.inject(faults.Errcode(40001))
    sandbox.inject(faults.Errcode(42001), skip=1)  # the fetch
    error = raised(lambda: keyed.insert_bill(bill()))
    assert type(error) is nontax.AccessTokenError
    assert (error.errcode, error.outcome) == (42001, "rejected")
    assert len(sent(sandbox, INSERT)) == 3
    assert len(sandbox.bills) == 1


def test_forced_mode_at_most_every_thirty_seconds(sandbox: Sandbox, time: Time) -> None:
    # Also when there are several clients for the account.
    time.stop()
    clients = [client_of(sandbox), client_of(sandbox)]
    for client in clients:
        client.insert_bill(bill())

    def refuse(client: nontax.Client) -> nontax.InsertedBill:
        sandbox.inject(faults.Errcode(42001))
        return client.insert_bill(bill())

    refuse(clients[0])
    assert len(forced(sandbox)) == 1
    # The other's token was ended by that, and normal mode has a newer one.
    clients[1].insert_bill(bill())
    assert len(forced(sandbox)) == 1
    for client in clients:
        before = len(sent(sandbox, INSERT))
        error = raised(lambda client=client: refuse(client))  # type: ignore[misc]
        assert type(error) is nontax.AccessTokenError
        assert len(forced(sandbox)) == 1
        # With the same token the bill is not sent again.
        assert len(sent(sandbox, INSERT)) == before + 1
        # For a few seconds nobody asks for the newest one, which is known.
        fetches = len(sent(sandbox, STABLE))
        assert isinstance(raised(lambda client=client: refuse(client)), nontax.AccessTokenError)  # type: ignore[misc]
        assert len(sent(sandbox, STABLE)) == fetches
    time.ahead = 29
    sandbox.clock.advance(29)
    assert isinstance(raised(lambda: refuse(clients[1])), nontax.AccessTokenError)
    assert len(forced(sandbox)) == 1
    time.ahead = 31
    sandbox.clock.advance(2)
    refuse(clients[0])
    assert len(forced(sandbox)) == 2


def test_a_token_of_another_account_may_be_forced_at_once(sandbox: Sandbox) -> None:
    other = sandbox.add_account("other bureau", roles=("bureau",))
    for account in (sandbox.bureau, other):
        client = client_of(sandbox, appid=account.appid, secret=account.secret)
        client.insert_bill(bill())
        sandbox.inject(faults.Errcode(42001))
        client.insert_bill(bill())
    assert [request.json["appid"] for request in forced(sandbox)] == [
        sandbox.bureau.appid,
        other.appid,
    ]


def test_an_ordinary_token_is_fetched_anew(sandbox: Sandbox) -> None:
    source = source_of(nontax.AccessToken, sandbox)
    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    client.insert_bill(bill())
    sandbox.renew_access_token()
    client.insert_bill(bill())
    assert [request.path for request in sandbox.requests] == [PLAIN, INSERT, INSERT, PLAIN, INSERT]
    assert len(sandbox.bills) == 2


def test_a_renewal_that_fails_is_reported_and_the_bill_was_rejected(
    sandbox: Sandbox, keyed: nontax.Client
) -> None:
    keyed.insert_bill(bill())
    sandbox.bureau.expire_stable_token()
    sandbox.bureau.ip_list = []
    error = raised(lambda: keyed.insert_bill(bill()))
    assert type(error) is nontax.AccountError
    assert (error.errcode, error.interface) == (40164, "stable_token")
    assert error.outcome == "rejected"  # with its first token
    refusal = error.__context__
    assert type(refusal) is nontax.AccessTokenError
    assert (refusal.errcode, refusal.outcome) == (42001, "rejected")
    assert len(sandbox.bills) == 1


@pytest.mark.parametrize("errcode", [41001, 42007, 40164, 61007])
def test_other_refusals_ask_for_no_token(
    sandbox: Sandbox, keyed: nontax.Client, errcode: int
) -> None:
    keyed.insert_bill(bill())
    sandbox.inject(faults.Errcode(errcode))
    error = raised(lambda: keyed.insert_bill(bill()))
    assert isinstance(error, nontax.WeChatError)
    assert error.errcode == errcode
    assert len(sandbox.requests) == 3


def test_a_refused_token_in_a_bulk_run(sandbox: Sandbox, keyed: nontax.Client) -> None:
    keyed.insert_bill(bill())
    sandbox.bureau.renew_stable_token()
    outcomes = list(keyed.insert_bills([bill() for _ in range(60)], concurrency=20))
    assert Counter(outcome.outcome for outcome in outcomes) == {"inserted": 60}
    assert len(sent(sandbox, STABLE)) == 2
    assert len(sandbox.bills) == 61


class VaultError(nontax.NontaxError):
    """A caller's own, which says nothing of a bill."""


def test_a_source_that_raises_an_error_of_its_own(sandbox: Sandbox) -> None:
    def source(stale: str | None) -> str:
        raise VaultError("the vault is down")

    with nontax.Client(token_source=source, base_url=sandbox.base_url) as client:
        with pytest.raises(nontax.NotSentError) as caught:
            client.insert_bill(bill())
        assert isinstance(caught.value.__cause__, VaultError)
        outcomes = client.insert_bills([bill()])
        assert next(outcomes).outcome == "not_sent"
    assert sandbox.requests == ()


def test_a_subclass_with_a_way_of_its_own(sandbox: Sandbox) -> None:
    class Shared(nontax.StableToken):
        def __call__(self, stale: str | None = None) -> str:
            return sandbox.access_token

    source = Shared("wx1", "secret", base_url=sandbox.base_url)
    nontax.Client(token_source=source, base_url=sandbox.base_url).insert_bill(bill())
    assert [request.path for request in sandbox.requests] == ["/nontax/insertbill"]
