"""Accounts of the setting NONTAX: roles, vaults, and credentials that processes share in Redis."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from canary import core
from django.core.cache import caches
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.test.utils import setup_test_environment, teardown_test_environment
from djangos import manage, nontax_of, site, sqlite
from test_token_sources import connection, store

import nontax
from nontax.contrib.django import accounts, conf
from nontax.contrib.django.shared import SharedCredential
from nontax.errors import NontaxError, NotSentError
from nontax.sandbox import Account, Sandbox

__all__ = ["connection", "store"]


@pytest.fixture
def redis_caches(store: Path, connection: redis.Redis) -> Iterator[dict[str, Any]]:
    given = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"unix://{store}",
        }
    }
    with override_settings(CACHES=given):
        yield given
        caches["default"].close()


def _settings(sandbox: Sandbox, **more: Any) -> dict[str, Any]:
    nontax = nontax_of(sandbox)
    nontax["ACCOUNTS"]["unit"] |= {"CACHE": "default", "ROLE": "unit"} | more
    return nontax


def _fetches(sandbox: Sandbox, path: str) -> int:
    return sum(request.path == path for request in sandbox.requests)


TICKET = "/cgi-bin/ticket/getticket"
_PROGRAM = """
import sys, django
django.setup()
from nontax.contrib.django.accounts import client
print("ready", flush=True)
sys.stdin.readline()
client("unit").get_ticket()
print("had both")
"""


def test_processes_fetch_both_once(sandbox: Sandbox, redis_caches: dict[str, Any]) -> None:
    nontax = _settings(sandbox, TOKEN_SOURCE="nontax.AccessToken")
    env = site(sqlite(Path(":memory:")), nontax, caches=redis_caches)
    children = [manage(env, _PROGRAM, program=("-c",)) for _ in range(3)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        out, err = child.communicate(timeout=50)
        assert out == "had both\n", err
    assert (_fetches(sandbox, TICKET), _fetches(sandbox, "/cgi-bin/token")) == (1, 1)


def test_what_lies_in_the_cache_is_sealed(
    sandbox: Sandbox, redis_caches: dict[str, Any], connection: redis.Redis
) -> None:
    with override_settings(NONTAX=_settings(sandbox, TOKEN_SOURCE="nontax.AccessToken")):
        ticket = accounts.client("unit").get_ticket().ticket
    kept = b"".join(connection.dump(key) + key for key in connection.scan_iter())
    assert kept.count(b"nontax:ticket:") == kept.count(b"nontax:token:") == 2
    for secret in (ticket, sandbox.unit.access_token, sandbox.unit.secret):
        assert secret.encode() not in kept


def _shared(account: Account, server: str = "s", kind: str = "token") -> SharedCredential:
    return SharedCredential("default", kind, account.appid, account.secret, server)


class _Fetch:
    """Gives out another credential each time."""

    def __init__(self, *, lifetime: float = 7200, fails: bool = False) -> None:
        self.count, self._lifetime, self._fails = 0, lifetime, fails

    def __call__(self, seconds: float) -> tuple[str, float] | NontaxError:
        assert seconds > 0
        self.count += 1
        if self._fails:
            return NotSentError(reason="no network")
        return f"credential {self.count}", self._lifetime


def _value(got: tuple[str, float] | NontaxError) -> str:
    assert not isinstance(got, NontaxError), got
    return got[0]


def test_a_refused_one_is_replaced_once(sandbox: Sandbox, redis_caches: dict[str, Any]) -> None:
    fetch = _Fetch()
    first = _value(_shared(sandbox.unit).get(fetch, None, 5))
    with ThreadPoolExecutor(8) as pool:
        got = pool.map(lambda _: _value(_shared(sandbox.unit).get(fetch, first, 5)), range(8))
    assert {*got} == {"credential 2"}
    assert _value(_shared(sandbox.unit).get(fetch, None, 5)) == "credential 2"


def test_the_old_one_is_used_while_another_process_renews_it(
    sandbox: Sandbox, redis_caches: dict[str, Any], connection: redis.Redis
) -> None:
    shared, fetch, cache = _shared(sandbox.unit), _Fetch(), caches["default"]
    key = f"nontax:token:{sandbox.unit.appid}"
    assert _value(shared.get(fetch, None, 5)) == "credential 1"
    assert 7000 < connection.ttl(cache.make_key(key)) <= 7140
    assert 6800 < connection.ttl(cache.make_key(f"{key}:fresh")) <= 6900
    cache.delete(f"{key}:fresh")  # its last minutes have begun
    cache.add(f"{key}:lock", "another process", 30)
    assert _value(shared.get(fetch, None, 5)) == "credential 1"
    refused = shared.get(fetch, "credential 1", 0.2)
    assert isinstance(refused, NotSentError)
    assert refused.timed_out
    assert cache.get(f"{key}:lock") == "another process"
    assert fetch.count == 1
    cache.delete(f"{key}:lock")
    # As long as it lives it is better than none.
    assert _value(shared.get(_Fetch(fails=True), None, 5)) == "credential 1"
    assert _value(shared.get(fetch, None, 5)) == "credential 2"
    assert cache.get(f"{key}:lock") is None


def test_a_lock_that_was_over_overwrites_nothing(
    sandbox: Sandbox, redis_caches: dict[str, Any]
) -> None:
    shared, other, cache = _shared(sandbox.unit), _shared(sandbox.unit), caches["default"]
    key = f"nontax:token:{sandbox.unit.appid}:lock"

    def slow(seconds: float) -> tuple[str, float]:
        cache.delete(key)  # the lock's time is over
        assert _value(other.get(lambda _: ("the other's", 7200), None, 5)) == "the other's"
        cache.add(key, "a third", 30)
        return "mine, too late", 7200

    assert _value(shared.get(slow, None, 5)) == "the other's"
    assert cache.get(key) == "a third"


@pytest.mark.parametrize("kept", ["rubbish", 7, "of another server"])
def test_what_cannot_be_opened_is_replaced(
    sandbox: Sandbox,
    redis_caches: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    kept: object,
) -> None:
    fetch = _Fetch()
    if kept == "of another server":
        _shared(sandbox.unit, "sandbox").get(fetch, None, 5)
    else:
        caches["default"].set(f"nontax:token:{sandbox.unit.appid}", kept, 90)
    before = fetch.count
    assert _value(_shared(sandbox.unit).get(fetch, None, 5)) == f"credential {before + 1}"
    assert "cannot be opened" in caplog.text
    assert core() not in caplog.text


def _away(tmp_path: Path) -> Any:
    backend = "django.core.cache.backends.redis.RedisCache"
    return override_settings(
        CACHES={"default": {"BACKEND": backend, "LOCATION": f"unix://{tmp_path}/nobody"}}
    )


def test_a_cache_that_is_away(sandbox: Sandbox, tmp_path: Path) -> None:
    with _away(tmp_path), override_settings(NONTAX=_settings(sandbox)):
        with pytest.raises(NotSentError, match="the cache 'default' cannot be used"):
            accounts.client("unit").get_ticket()
    assert _fetches(sandbox, TICKET) == 0


def test_one_that_was_fetched_counts_although_the_cache_goes_away(
    sandbox: Sandbox, redis_caches: dict[str, Any], tmp_path: Path
) -> None:
    away = _away(tmp_path)

    def fetch(seconds: float) -> tuple[str, float]:
        away.enable()
        return "fetched", 7200

    try:
        assert _value(_shared(sandbox.unit).get(fetch, None, 5)) == "fetched"
    finally:
        away.disable()


def test_a_ticket_of_the_cache_is_a_ticket(sandbox: Sandbox, redis_caches: dict[str, Any]) -> None:
    with override_settings(NONTAX=_settings(sandbox)):
        first = accounts.client("unit")
        kept = first.get_ticket().ticket
        accounts._forget(setting="NONTAX")
        second = accounts.client("unit")
        assert second is not first
        assert second.get_ticket().ticket == kept
        url = second.get_bill_auth_url(s_pappid=sandbox.bureau.s_pappid, order_id="A", money=1)
        assert url.auth_url
    assert _fetches(sandbox, TICKET) == 1


def test_no_secret_in_frames(sandbox: Sandbox, redis_caches: dict[str, Any]) -> None:
    secret = sandbox.unit.secret
    for more in (
        {"CACHE": "nowhere"},
        {"TIMEOUT": -1.0},
        {"TOKEN_SOURCE": "nontax.AccessToken", "PROXY": 5},
        {"BASE_URL": "ftp://x"},
    ):
        with override_settings(NONTAX=_settings(sandbox, **more)):
            with pytest.raises((ImproperlyConfigured, TypeError, ValueError)) as raised:
                accounts.client("unit")
        trace = raised.tb
        while trace is not None:
            if "contrib/django" in trace.tb_frame.f_code.co_filename:
                assert secret not in repr(trace.tb_frame.f_locals), trace.tb_frame
            trace = trace.tb_next  # type: ignore[assignment]


def test_roles(sandbox: Sandbox) -> None:
    given = _settings(sandbox)
    given["ACCOUNTS"]["bureau"]["ROLE"] = "bureau"
    with override_settings(NONTAX=given):
        assert conf.unit_of(sandbox.unit.appid) == "unit"
        assert conf.unit_of(sandbox.bureau.appid) is None
        assert conf.unit_of("wx0") is None
    for more, words in (({"ROLE": "clerk"}, "must be one of"), ({"SECRET": ""}, "needs SECRET")):
        more = {"TOKEN_SOURCE": "builtins.str"} | more
        with override_settings(NONTAX=_settings(sandbox, **more)):
            with pytest.raises(ImproperlyConfigured, match=words):
                accounts.client("unit")


class OwnClient(nontax.Client):
    """Of a project."""


def test_accounts_of_a_function_and_a_client_of_a_project(sandbox: Sandbox) -> None:
    given = nontax_of(sandbox)["ACCOUNTS"]["unit"]
    given["CLIENT"] = "test_django_accounts.OwnClient"

    def vault(alias: str) -> dict[str, Any] | None:
        return given if alias in ("hospital", given["APPID"]) else None

    with override_settings(NONTAX={"ACCOUNTS": vault}):
        assert type(accounts.client("hospital")) is OwnClient
        assert conf.unit_of(given["APPID"]) == given["APPID"]
        assert conf.aliases() == []
        with pytest.raises(ImproperlyConfigured, match="no account 'bureau'"):
            accounts.client("bureau")


def test_the_client_that_records_is_for_tests(sandbox: Sandbox) -> None:
    given = nontax_of(sandbox)
    given["ACCOUNTS"]["bureau"]["CLIENT"] = "nontax.contrib.django.testing.RecordingClient"
    with override_settings(NONTAX=given):
        assert "nontax.E009" in {message.id for message in run_checks()}
        setup_test_environment()
        try:
            assert "nontax.E009" not in {message.id for message in run_checks()}
        finally:
            teardown_test_environment()
