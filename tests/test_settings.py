"""What a client is made with: settings, the environment, and the client of the module itself."""

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from bills import Index, bill
from marks import shown

import nontax
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import Certificates

# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("timeout", "connect_timeout")
            for value in (
                *(0, -1, -0.0, 1e-9, 86_401, 1e300, 10**400),
                *(float("nan"), float("inf"), float("-inf")),
                *("5", None, b"5", 1j, [5]),
            )
        ),
        *(("retries", value) for value in (-1, 101, 2**31, 10**30, 1.0, "2", None, float("nan"))),
        *(
            ("base_url", value)
            for value in (
                *("x", "api.weixin.qq.com", "//api.weixin.qq.com", "https:api.weixin.qq.com"),
                *("http://api.weixin.qq.com", "http://10.0.0.1", "http://0.0.0.0"),
                *("http://127.0.0.1.example.org", "http://localhost.example.org"),
                *("http://localhost@example.org", "http://example.org/localhost"),
                *("ftp://localhost", "file:///etc/passwd", "javascript:1", "https://"),
                *("https://user@localhost", "https://user:password@localhost"),
                *("https://localhost?a=b", "https://localhost/?"),
                *("https://localhost#a", "https://localhost/#"),
                *("https://localhost:99999", "https://localhost:x", "https://local host"),
                *("https://localhost\n", "https://localhost/\r\nX: y", " https://localhost"),
                *("https://local\0host", "https://\udc80", 5, b"https://localhost"),
            )
        ),
        *(("ca_file", value) for value in ("/nowhere.pem", "", 5, "a\0b", "\udc80")),
        *(("ca_file", value) for value in (Path("/nowhere.pem"), Path("/"), b"/nowhere.pem")),
        *(("proxy", value) for value in (5, b"http://localhost", "a\0b", "\udc80")),
        *(("proxy", value) for value in ("nonsense://x", "http://", "http://localhost:99999")),
        *(("access_token", value) for value in ("", " ", "a b", "a\n", "a\0", "令牌", "\udc80")),
        *(("access_token", value) for value in (5, b"token", ["token"])),
        *(("token_source", value) for value in (5, "token", [str])),
    ],
    ids=shown,
)
def test_bad_settings(name: str, value: object) -> None:
    settings: dict[str, Any] = {"access_token": "token", name: value}
    if name == "token_source":
        del settings["access_token"]
    with pytest.raises((ValueError, TypeError)) as caught:
        nontax.Client(**settings)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.weixin.qq.com",
        "HTTPS://API.WEIXIN.QQ.COM/",
        "https://sz.api.weixin.qq.com:8443/gateway",
        "http://localhost",
        "http://LOCALHOST:8080",
        "http://127.0.0.1",
        "http://127.1.2.3:1",
        "http://[::1]",
        "http://[::1]:8080",
        "https://[2001:db8::1]",
    ],
)
def test_good_base_urls(base_url: str) -> None:
    client = nontax.Client(access_token="token", base_url=base_url)
    assert repr(client) == f"<nontax.Client for {base_url}>"


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 1, "connect_timeout": 86_400},
        {"timeout": 0.001, "connect_timeout": Fraction(1, 2)},
        {"timeout": Decimal("0.5")},
        {"timeout": Index(1)},
        {"retries": 0},
        {"retries": 100},
        {"retries": Index(3)},
        {"proxy": ""},
        {"proxy": "http://user:password@localhost:8080"},
        {"proxy": "localhost:8080"},
        {"proxy": "socks5h://localhost"},
    ],
    ids=shown,
)
def test_good_settings(settings: dict[str, Any]) -> None:
    nontax.Client(access_token="token", **settings).close()


def test_a_ca_file_by_path(tls_sandbox: Sandbox, certificates: Certificates) -> None:
    for ca_file in (certificates.ca_file, str(certificates.ca_file)):
        with nontax.Client(
            access_token=tls_sandbox.access_token, base_url=tls_sandbox.base_url, ca_file=ca_file
        ) as client:
            client.insert_bill(bill())


@pytest.mark.parametrize("token", [5, b"token", ["token"]], ids=repr)
def test_a_token_of_another_type(token: Any) -> None:
    with pytest.raises(TypeError, match="access_token must be a str"):
        nontax.Client(access_token=token)


def test_no_fallbacks() -> None:
    nontax.Client(access_token="token", fallback_base_urls=None)
    nontax.StableToken("wx1", "s", fallback_base_urls=None)
    for fallbacks in ("https://a.example", b"https://a.example", 5):
        with pytest.raises(TypeError, match="fallback_base_urls must be a sequence of URLs"):
            nontax.Client(access_token="token", fallback_base_urls=fallbacks)  # type: ignore[arg-type]


def test_credentials_are_given_once() -> None:
    with pytest.raises(TypeError, match="give appid and secret, or access_token, or token_source"):
        nontax.Client(access_token="token", token_source=lambda _: "token")
    with pytest.raises(ValueError, match="NONTAX_ACCESS_TOKEN"):
        nontax.Client()
    with pytest.raises(TypeError):
        nontax.Client("token")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="secrte"):
        nontax.Client(access_token="token", secrte="x")  # type: ignore[call-arg]


# The environment and the default client


@pytest.fixture
def fresh_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module-level functions as in a process that has just begun."""
    default: dict[str, nontax.Client] = {}
    monkeypatch.setattr("nontax.client._default", default)
    yield
    for client in default.values():
        client.close()


def test_a_client_from_the_environment(
    tls_sandbox: Sandbox, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", tls_sandbox.access_token)
    monkeypatch.setenv("NONTAX_BASE_URL", tls_sandbox.base_url)
    monkeypatch.setenv("NONTAX_CA_FILE", str(certificates.ca_file))
    with nontax.Client() as client:
        client.insert_bill(bill())
    assert tls_sandbox.requests[0].access_token == tls_sandbox.access_token


def test_arguments_come_before_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", "other-token")
    monkeypatch.setenv("NONTAX_BASE_URL", "https://wechat.invalid")
    with nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url) as client:
        client.insert_bill(bill())
    with nontax.Client(
        token_source=lambda _: sandbox.access_token, base_url=sandbox.base_url
    ) as client:
        client.insert_bill(bill())
    assert len(sandbox.bills) == 2


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (
            "NONTAX_ACCESS_TOKEN",
            "a b",
            "access_token (from NONTAX_ACCESS_TOKEN) contains characters ",
        ),
        ("NONTAX_BASE_URL", "http://example.org", "base_url (from NONTAX_BASE_URL) must begin "),
        ("NONTAX_BASE_URL", "https://a\tb", "base_url (from NONTAX_BASE_URL) has a character "),
        ("NONTAX_CA_FILE", "/nowhere.pem", "ca_file (from NONTAX_CA_FILE) cannot be read: "),
    ],
)
def test_a_bad_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", "token")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=re.escape(problem)):
        nontax.Client()
    # What is given is not taken from there.
    settings: dict[str, Any] = {problem.split()[0]: value}
    with pytest.raises(ValueError, match=problem.split()[0]) as caught:
        nontax.Client(**settings)
    assert name not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("NONTAX_APPID", "w x", "appid (from NONTAX_APPID) is empty or "),
        ("NONTAX_SECRET", "s\n", "secret (from NONTAX_SECRET) is empty or "),
        ("NONTAX_BASE_URL", "http://example.org", "base_url (from NONTAX_BASE_URL) must begin "),
        ("NONTAX_CA_FILE", "/nowhere.pem", "ca_file (from NONTAX_CA_FILE) cannot be read: "),
    ],
)
def test_a_bad_environment_of_a_token_source(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv("NONTAX_APPID", "wx1")
    monkeypatch.setenv("NONTAX_SECRET", "s")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=re.escape(problem)):
        nontax.Client()
    if name in ("NONTAX_BASE_URL", "NONTAX_CA_FILE"):
        with pytest.raises(ValueError, match=re.escape(problem)):
            nontax.StableToken("wx1", "s")


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NONTAX_BASE_URL", "NONTAX_CA_FILE", "NONTAX_ACCESS_TOKEN"):
        monkeypatch.setenv(name, "")
    assert repr(nontax.Client(access_token="token")).endswith("https://api.weixin.qq.com>")
    with pytest.raises(ValueError, match="no credentials"):
        nontax.Client()


@pytest.mark.usefixtures("fresh_default")
def test_the_shortest_way(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NONTAX_BASE_URL", sandbox.base_url)
    inserted = nontax.insert_bill(bill("1"), access_token=sandbox.access_token)
    assert inserted.code == sandbox.bills["1"].code
    nontax.insert_bill(bill("2"), access_token=sandbox.access_token)
    assert sandbox.connections == 1
    with pytest.raises(nontax.InvalidRequestError, match="access_token is missing"):
        nontax.insert_bill(bill("3"))
    with pytest.raises(nontax.AccessTokenError):
        nontax.insert_bill(bill("3"), access_token="other-token")
    assert len(sandbox.requests) == 3


@pytest.mark.usefixtures("fresh_default")
def test_the_shortest_way_with_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NONTAX_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", sandbox.access_token)
    nontax.insert_bill(bill("1"))
    with pytest.raises(nontax.AccessTokenError):
        nontax.insert_bill(bill("2"), access_token="other-token")
    nontax.insert_bill(bill("3"))
    assert list(sandbox.bills) == ["1", "3"]


@pytest.mark.usefixtures("fresh_default")
@pytest.mark.parametrize("name", ["NONTAX_ACCESS_TOKEN", "NONTAX_SECRET"])
def test_a_broken_token_of_the_environment_that_is_not_needed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("NONTAX_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("NONTAX_APPID", sandbox.bureau.appid)
    monkeypatch.setenv(name, "broken\n")
    nontax.insert_bill(bill("1"), access_token=sandbox.access_token)
    with pytest.raises(ValueError, match=f"from {name}"):
        nontax.insert_bill(bill("2"))
    nontax.insert_bill(bill("2"), access_token=sandbox.access_token)
    # Mended, it is read: nothing of it was kept.
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", sandbox.access_token)
    monkeypatch.delenv("NONTAX_SECRET", raising=False)
    nontax.insert_bill(bill("3"))
    nontax.insert_bill(bill("4"), access_token=sandbox.access_token)
    assert list(sandbox.bills) == ["1", "2", "3", "4"]


@pytest.mark.usefixtures("fresh_default")
@pytest.mark.parametrize("token", ["", "a b", "a\n", "令牌", 5, b"token"])
def test_a_bad_token_for_one_bill(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, token: Any
) -> None:
    monkeypatch.setenv("NONTAX_BASE_URL", sandbox.base_url)
    with pytest.raises(nontax.InvalidRequestError) as caught:
        nontax.insert_bill(bill(), access_token=token)
    [(path, _)] = caught.value.problems
    assert path == "access_token"
    assert sandbox.connections == 0
