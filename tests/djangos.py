"""Django in the process of the tests, and an outbox for a test on whatever database."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import django
from bills import bill
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.test import override_settings

from nontax.sandbox import Sandbox, faults

AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


ADMIN_APPS = ("admin", "auth", "contenttypes", "messages", "sessions", "staticfiles")


def set_up() -> None:
    """Once in a process, whoever else has configured Django in it."""
    if not settings.configured:
        settings.configure(
            SECRET_KEY="of tests",
            ALLOWED_HOSTS=["*"],
            USE_TZ=True,
            INSTALLED_APPS=[
                *(f"django.contrib.{name}" for name in ADMIN_APPS),
                "nontax.contrib.django",
            ],
            MIDDLEWARE=[
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware",
            ],
            TEMPLATES=[
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "APP_DIRS": True,
                    "OPTIONS": {
                        "context_processors": [
                            "django.template.context_processors.request",
                            "django.contrib.auth.context_processors.auth",
                            "django.contrib.messages.context_processors.messages",
                        ]
                    },
                }
            ],
            ROOT_URLCONF="django_admin_urls",
            STATIC_URL="/static/",
            PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            NONTAX={"ACCOUNTS": {}},
            LOGGING_CONFIG=None,
        )
    if not apps.ready:
        django.setup()


set_up()

from nontax.contrib.django import outbox  # noqa: E402
from nontax.contrib.django.models import (  # noqa: E402
    Attempt,
    Bill,
    Content,
    Event,
    Evidence,
    Hold,
    Pace,
    Server,
    Unit,
)
from nontax.contrib.django.models import Relay as RelayRow  # noqa: E402
from nontax.contrib.django.relay import Relay  # noqa: E402
from nontax.contrib.django.store import OutboxStore  # noqa: E402
from nontax.delivery.store import Key, Store  # noqa: E402


def sqlite(path: Path) -> dict[str, Any]:
    """The settings of a file's database."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {"timeout": 30, "init_command": "PRAGMA journal_mode=WAL;"
                    "PRAGMA synchronous=FULL;"},
    }  # fmt: skip


_template: list[bytes] = []


def find_driver(database: dict[str, Any]) -> None:
    """PyMySQL under the name that Django looks for."""
    if database["ENGINE"].endswith("mysql"):
        import pymysql

        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()


def use(alias: str, database: dict[str, Any]) -> None:
    """Make a database known, with the tables of the outbox in it."""
    find_driver(database)
    connections.settings[alias] = connections.configure_settings(
        {"default": settings.DATABASES["default"], alias: dict(database)}
    )[alias]
    is_sqlite = database["ENGINE"].endswith("sqlite3")
    if is_sqlite and _template:  # four times as fast
        Path(database["NAME"]).write_bytes(_template[0])
        return
    call_command("migrate", database=alias, verbosity=0)
    if is_sqlite:
        with connections[alias].cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _template.append(Path(database["NAME"]).read_bytes())


def forget(alias: str) -> None:
    connections[alias].close()
    del connections[alias]
    del connections.settings[alias]


def empty(alias: str) -> None:
    """Take all rows away."""
    for model in (Event, Evidence, Attempt, Content, Hold, Bill, Server, Pace, RelayRow, Unit):
        rows = model.objects.using(alias).all()
        rows._raw_delete(alias)


class DjangoHarness:
    """See `nontax.delivery.contract.Harness`."""

    proves = False
    refused: type[Exception] = DatabaseError

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def open(self) -> Store:
        return OutboxStore("bureau", using=self.alias)

    def kill(self, store: Store) -> None:
        """It is not heard of again, and its leases are over."""
        assert isinstance(store, OutboxStore)
        claims = [claim.attempt for claim in store._open.values()]
        mine = Attempt.objects.using(self.alias).filter(pk__in=claims).values_list("claim")
        pass_leases(self.alias, claim__in=[claim for (claim,) in mine])

    def put_attempt(self, key: Key, slot: object, signed: object) -> None:
        bill = Bill.objects.using(self.alias).get(appid=key.appid, order_id=key.order_id)
        with connections[self.alias].cursor() as cursor:
            cursor.execute(
                "INSERT INTO nontax_attempt (bill_id, number, slot, signed, signed_by, back_to, "
                "claim, worker, began_at, changed_at, ended, outcome, errcode, errmsg, rid, "
                "reason, curl_code, http_status, transfers, openid) VALUES (%s, %s, %s, %s, '', "
                "'waiting', 'x', '', %s, %s, 0, '', 0, '', '', '', 0, 0, 0, '')",
                [bill.pk, 99, slot, signed, bill.created_at.replace(tzinfo=None),
                 bill.created_at.replace(tzinfo=None)],
            )  # fmt: skip


def count_posts(sandbox: Sandbox) -> "Counter[str]":
    """How often each order was sent: the independent count."""
    return Counter(
        json.loads(request.body)["order_id"]
        for request in sandbox.requests
        if request.path == "/nontax/insertbill" and request.body  # "" if the relay died before it
    )


def wait_for_posts(sandbox: Sandbox, count: int) -> None:
    until = time.monotonic() + 15
    while sum(count_posts(sandbox).values()) < count:
        assert time.monotonic() < until
        time.sleep(0.01)


def kill_relays(
    alias: str, database: dict[str, Any], sandbox: Sandbox, *, kills: int, window: int = 4
) -> dict[str, int]:
    """Kill -9 relays with bills in flight, then have the rest sent; what became of it.

    What the sandbox has counted says the truth: the outbox must know it, or be in doubt.
    """
    sandbox.inject(faults.Delay(0.15), times=1_000_000, path="/nontax/insertbill")
    env = site(database, nontax_of(sandbox))
    given = [bill() for _ in range(15 * kills)]
    in_flight = 0
    with override_settings(NONTAX=nontax_of(sandbox, alias)):
        outbox.enqueue_many(given, account="bureau", durable=False)
        for _ in range(kills):
            relay = manage(env, "nontax_send", "--window", str(window))
            try:
                wait_for_posts(sandbox, sum(count_posts(sandbox).values()) + 2)
            finally:
                relay.kill()
                relay.communicate()
            pass_leases(alias)
            doubtful = OutboxStore("", using=alias).expire()
            assert len(doubtful) <= window
            in_flight += bool(doubtful)
        sandbox.behave()
        assert Relay().run(once=True) == []
    posts = count_posts(sandbox)
    known = dict(Bill.objects.using(alias).values_list("order_id", "state"))
    assert known.keys() == {one["order_id"] for one in given}
    assert max(posts.values()) == 1  # none was sent twice
    assert {known[order] for order in sandbox.bills} <= {"inserted", "in_doubt"}
    assert {order for order, state in known.items() if state == "inserted"} <= posts.keys()
    assert set(known.values()) == {"inserted", "in_doubt"}
    told = Evidence.objects.using(alias).filter(kind="lease ended").count()
    doubt = Counter(known.values())["in_doubt"]
    assert told == doubt
    return {"kills": kills, "in_flight": in_flight, "in_doubt": doubt, "bills": len(given)}


def pass_leases(alias: str, **which: Any) -> None:
    """As if the database's clock had gone on past the leases."""
    Bill.objects.using(alias).filter(state="sending", **which).update(lease_until=1)


def nontax_of(sandbox: Sandbox, database: str = "default", **outbox: Any) -> dict[str, Any]:
    """The setting NONTAX, with the two accounts of a sandbox."""
    account = {
        "APPID": sandbox.bureau.appid,
        "SECRET": sandbox.bureau.secret,
        "BASE_URL": sandbox.base_url,
    }
    unit = {
        "APPID": sandbox.unit.appid,
        "SECRET": sandbox.unit.secret,
        "BASE_URL": sandbox.base_url,
        "EVENTS": {"TOKEN": sandbox.unit.push_token, "AES_KEY": AES_KEY},
    }
    names = {name.upper(): value for name, value in outbox.items()}
    return {
        "ACCOUNTS": {"bureau": account, "unit": unit},
        "OUTBOX": {"DATABASE": database, **names},
    }


def site(database: dict[str, Any], nontax: dict[str, Any], **more: Any) -> dict[str, str]:
    """The environment of a process whose Django has this database and the setting NONTAX."""
    given = {"database": database, "nontax": nontax, **more}
    return os.environ | {
        "NONTAX_SITE": json.dumps(given),
        "DJANGO_SETTINGS_MODULE": "django_site",
        "PYTHONPATH": str(Path(__file__).parent),
    }


def manage(
    env: dict[str, str], *command: str, program: Sequence[str] = ("-m", "django")
) -> "subprocess.Popen[str]":
    """`manage.py COMMAND` as a process."""
    return subprocess.Popen(
        [sys.executable, *program, *command],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def vault(alias: str) -> dict[str, str]:
    """Accounts that are not in the settings."""
    return {"APPID": alias, "SECRET": "of the vault"}
