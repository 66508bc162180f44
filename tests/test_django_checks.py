"""System checks of the outbox: each fires where it must, and nowhere else."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings
from djangos import forget, nontax_of, sqlite, use

from nontax.contrib.django.beats import Beats
from nontax.contrib.django.store import OutboxStore
from nontax.sandbox import Sandbox

GOOD = {"APPID": "wx0123456789abcdef", "SECRET": "0123456789abcdef0123456789abcdef"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    use("outbox", sqlite(tmp_path / "outbox.db"))
    yield "outbox"
    forget("outbox")


def _ids(nontax: Any, **more: Any) -> "set[str]":
    with override_settings(NONTAX=nontax, **more):
        found = run_checks(databases=["outbox"])
    told = " ".join(f"{each.msg} {each.hint}" for each in found)
    assert GOOD["SECRET"] not in told
    return {str(each.id)[7:] for each in found if str(each.id).startswith("nontax.")}


def _account(**more: Any) -> "dict[str, Any]":
    return {"ACCOUNTS": {"bureau": {**GOOD, **more}}, "OUTBOX": {"DATABASE": "outbox"}}


def _outbox(**more: Any) -> "dict[str, Any]":
    return {"ACCOUNTS": {"bureau": GOOD}, "OUTBOX": {"DATABASE": "outbox", **more}}


@pytest.mark.parametrize(
    ("nontax", "expected"),
    [
        ({}, "E001"),
        (_account(SECRET=""), "E002"),
        ({"ACCOUNTS": {"bureau": {"APPID": GOOD["SECRET"], "SECRET": GOOD["APPID"]}}}, "E002"),
        (_account(ROLE="burau"), "E003"),
        (_account(BASEURL="https://x"), "E003"),
        (_outbox(RATE=0), "E003"),
        (_outbox(KEEP_CONTENT_DAYS=0), "E003"),
        (_outbox(RING="celary"), "E003"),
        (_account(BASE_URL="http://api.weixin.qq.com"), "E004"),
        (_account(EVENTS={"TOKEN": "t" * 8, "AES_KEY": "short"}), "E005"),
        (_account(EVENTS={"TOKEN": "t" * 8}), "W002"),
        (_outbox(DATABASE="no"), "E006"),
        (_outbox(LEASE=50), "E007"),
        (_account(CLIENT="nontax.contrib.django.testing.RecordingClient"), "E009"),
        (_account(CACHE="default"), "W001"),
        ({**_account(TIMEOUT=61), "OUTBOX": {"DATABASE": "outbox", "LEASE": 120}}, "W004"),
    ],
)
def test_a_setting_that_is_wrong(database: str, nontax: Any, expected: str) -> None:
    assert expected in _ids(nontax)


def test_what_is_right_is_not_complained_of(database: str) -> None:
    assert _ids(_outbox()) == {"I001"}
    # The sandbox and a proxy on this machine are no strangers.
    assert _ids(_account(BASE_URL="http://127.0.0.1:8000")) == {"I001"}


def test_the_nearest_name_is_told(database: str) -> None:
    with override_settings(NONTAX=_account(ROLE="burau")):
        assert any("do you mean 'bureau'?" in each.msg for each in run_checks())


class Elsewhere:
    """A router."""

    def db_for_write(self, model: Any, **_: Any) -> str:
        return "default"


def test_a_router_that_sends_bills_elsewhere(database: str) -> None:
    assert "E006" in _ids(_outbox(), DATABASE_ROUTERS=["test_django_checks.Elsewhere"])


def test_a_ring_without_its_package(database: str) -> None:
    import django

    assert ("E008" in _ids(_outbox(RING="tasks"))) == (django.VERSION < (6, 0))


def test_a_logger_that_tells_too_much(database: str) -> None:
    logger = logging.getLogger("nontax")
    logger.setLevel(logging.DEBUG)
    try:
        assert "W005" in _ids(_outbox())
    finally:
        logger.setLevel(logging.NOTSET)


def test_connections_that_are_kept_unchecked(database: str) -> None:
    connections.settings["outbox"]["CONN_MAX_AGE"] = 60
    assert "W009" in _ids(_outbox())
    connections.settings["outbox"]["CONN_HEALTH_CHECKS"] = True
    assert "W009" not in _ids(_outbox())


def test_bills_of_another_server(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    OutboxStore("bureau", using="outbox").use_server("http://127.0.0.1:1")
    assert "E011" in _ids(_outbox())
    assert "E011" not in _ids(_account(BASE_URL="http://127.0.0.1:1"))
    monkeypatch.setenv("NONTAX_BASE_URL", "http://127.0.0.1:1")  # as clients take it, too
    assert "E011" not in _ids(_outbox())
    monkeypatch.setenv("NONTAX_BASE_URL", "http://127.0.0.1:2")
    assert "E011" in _ids(_outbox())


def test_a_database_that_may_forget(database: str, sandbox: Sandbox) -> None:
    Beats("outbox").beat()
    with connections["outbox"].cursor() as cursor:
        cursor.execute("PRAGMA synchronous=OFF")
    assert _ids(_outbox()) == {"W006"}
    with override_settings(NONTAX=nontax_of(sandbox, "outbox"), DEBUG=settings.DEBUG):
        call_command("nontax_check")
        with pytest.raises(CommandError, match="1 of these"):
            call_command("nontax_check", "--strict")
        with pytest.raises(CommandError, match="may forget a commit"):
            call_command("nontax_send", "--once", "--strict")
        assert not sandbox.requests
        call_command("nontax_send", "--once")


def test_a_relay_is_heard_of(database: str) -> None:
    beats = Beats("outbox")
    beats.beat()
    assert _ids(_outbox()) == set()
    beats.end()
    assert _ids(_outbox()) == {"I001"}
