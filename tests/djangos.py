"""Django in the process of the tests, and an outbox for a test on whatever database."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.test import override_settings

from nontax.sandbox import Sandbox

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


def know(alias: str, database: dict[str, Any]) -> None:
    """Make a database known."""
    find_driver(database)
    connections.settings[alias] = connections.configure_settings(
        {"default": settings.DATABASES["default"], alias: dict(database)}
    )[alias]


def use(alias: str, database: dict[str, Any]) -> None:
    """Make a database known, with the tables of the outbox in it."""
    know(alias, database)
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


@contextmanager
def outbox_in(folder: Path, nontax: dict[str, Any]) -> Iterator[None]:
    """A site with these settings and an empty outbox in this folder, on SQLite."""
    use("outbox", sqlite(folder / "outbox.db"))
    try:
        with override_settings(NONTAX=nontax):
            yield
    finally:
        forget("outbox")


@contextmanager
def outbox_on(server: Any) -> Iterator[Any]:
    """A started server of `dbservers`, with the outbox in it; it is gone afterwards."""
    try:
        use("outbox", server.database)
        yield server
        forget("outbox")
    finally:
        server.remove()


@contextmanager
def emptied(sandbox: Sandbox) -> Iterator[None]:
    """An outbox that was used before, without rows, for a site with a sandbox's accounts."""
    empty("outbox")
    with override_settings(NONTAX=nontax_of(sandbox, "outbox")):
        yield


def states() -> dict[str, int]:
    """How many bills of the bureau are in each state."""
    return {str(s): n for s, n in OutboxStore("bureau", using="outbox").counts().items()}


def wait_for_states(wanted: dict[str, int], seconds: float = 60) -> None:
    """Wait until so many bills of the bureau are in these states, and none in others."""
    until = time.monotonic() + seconds
    while states() != wanted:
        assert time.monotonic() < until, (states(), wanted)
        time.sleep(0.05)


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


class Posts:
    """How often each order was sent: the independent count. It goes on where it was."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self._read = sandbox, 0
        self._bodiless: list[int] = []
        self._counts: Counter[str] = Counter()

    def count(self) -> "Counter[str]":
        requests = self._sandbox.requests
        # "" if its body is still on the way, or if the relay died before it
        new, self._bodiless = [*self._bodiless, *range(self._read, len(requests))], []
        self._read = len(requests)
        for index in new:
            request = requests[index]
            if request.path != "/nontax/insertbill":
                continue
            if request.body:
                self._counts[json.loads(request.body)["order_id"]] += 1
            else:
                self._bodiless.append(index)
        return self._counts

    def wait_for_more(self, count: int) -> None:
        """Until so many more have come."""
        least, until = self.count().total() + count, time.monotonic() + 30
        while self.count().total() < least:
            assert time.monotonic() < until
            time.sleep(0.005)


def count_posts(sandbox: Sandbox) -> "Counter[str]":
    """See Posts."""
    return Posts(sandbox).count()


def wait_for_posts(sandbox: Sandbox, count: int) -> None:
    """Until so many have come since the start."""
    posts, until = Posts(sandbox), time.monotonic() + 15
    while posts.count().total() < count:
        assert time.monotonic() < until
        time.sleep(0.01)


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


_PATH = [path for path in [os.environ.get("PYTHONPATH", "")] if path]


def site(database: dict[str, Any], nontax: dict[str, Any], **more: Any) -> dict[str, str]:
    """The environment of a process whose Django has this database and the setting NONTAX."""
    given = {"database": database, "nontax": nontax, **more}
    return os.environ | {
        "NONTAX_SITE": json.dumps(given),
        "DJANGO_SETTINGS_MODULE": "django_site",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *_PATH]),
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
