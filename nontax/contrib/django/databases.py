"""System checks of the outbox's database. They run with `manage.py check --database ALIAS`."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections
from django.utils import timezone

from nontax.contrib.django import conf
from nontax.contrib.django.models import Relay, Server
from nontax.delivery.servers import server_of
from nontax.settings import from_environment

# What must be so that a commit survives a crash: query, values that are right.
_POSTGRES = (
    ("SHOW fsync", ("on",)),
    ("SHOW full_page_writes", ("on",)),
)
_MYSQL = (
    ("SELECT @@innodb_flush_log_at_trx_commit", ("1",)),
    ("SELECT @@log_bin = 0 OR @@sync_binlog = 1", ("1",)),
)
_SQLITE = (("PRAGMA synchronous", ("2", "3")),)
_KEEPS: "dict[str, Any]" = {"postgresql": _POSTGRES, "mysql": _MYSQL, "sqlite": _SQLITE}
_STANDBYS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async'"
_ISOLATION = "SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')"
_SILENT = timedelta(minutes=5)


@register(Tags.database)
def check_database(databases: Any = None, **_: Any) -> "list[CheckMessage]":
    """E010, E011, W006 to W008, I001."""
    try:
        outbox = conf.outbox()
    except ImproperlyConfigured:
        return []
    using = outbox.database
    if using not in (databases or ()) or using not in connections:
        return []
    found = [*_commits(using), *_locks(using), *_texts(using)]
    try:
        found += [*_servers(using), *_silence(outbox)]
    except DatabaseError:  # there are no tables yet
        connections[using].close()
    return found


def _ask(using: str, query: str) -> "tuple[Any, ...]":
    with connections[using].cursor() as cursor:
        cursor.execute(query)
        row: tuple[Any, ...] = cursor.fetchone()
        return row


def _commits(using: str) -> "Iterator[CheckMessage]":
    """W006: the database may forget a commit. A bill would be sent twice, and no row shows it."""
    vendor = connections[using].vendor
    for query, right in _KEEPS.get(vendor, ()):
        value = str(_ask(using, query)[0])
        if value not in right:
            yield _forgets(f"{query} is {value}, and must be {' or '.join(right)}")
    if vendor != "postgresql":
        return
    if _ask(using, _STANDBYS)[0]:
        yield _forgets("it has an asynchronous standby, which must not be promoted")
    elif (
        _ask(using, "SELECT count(*) FROM pg_stat_replication")[0]
        and not _ask(using, "SHOW synchronous_standby_names")[0]
    ):
        yield _forgets("it has standbys, and synchronous_standby_names is empty")


def _forgets(why: str) -> CheckMessage:
    return Warning(
        f"the outbox's database may forget a commit: {why}",
        hint="a bill whose row is forgotten is sent twice: see docs/django.md",
        id="nontax.W006",
    )


def _locks(using: str) -> "Iterator[CheckMessage]":
    connection = connections[using]
    features = connection.features
    if features.has_select_for_update and not features.has_select_for_update_skip_locked:
        yield Warning(
            "the outbox's database has no SKIP LOCKED: relays wait for one another",
            id="nontax.W007",
        )
    if connection.vendor == "mysql":
        level = str(_ask(using, _ISOLATION)[1]).upper().replace(" ", "-")
        if level != "READ-COMMITTED":
            yield Warning(
                f"the outbox's database has the isolation level {level}: relays block enqueue()",
                hint='DATABASES: "OPTIONS": {"isolation_level": "read committed"}',
                id="nontax.W008",
            )


def _texts(using: str) -> "Iterator[CheckMessage]":
    suffix = connections[using].features.bare_select_suffix
    if _ask(using, f"SELECT CASE WHEN '' IS NULL THEN 1 ELSE 0 END{suffix}")[0]:
        yield Error(
            "'' is NULL in the outbox's database: its keys and checks would hold nothing",
            hint="openGauss: CREATE DATABASE … DBCOMPATIBILITY 'PG'",
            id="nontax.E010",
        )


def _servers(using: str) -> "Iterator[CheckMessage]":
    """E011: what only a sandbox has would count as delivered."""
    kept = Server.objects.using(using).first()
    for alias in conf.aliases() if kept else ():
        try:
            url = conf.account(alias).get("BASE_URL") or from_environment("base_url", [])
        except ImproperlyConfigured:
            continue
        mine = server_of(url) if url else "weixin"
        if kept is not None and mine != kept.name:
            yield Error(
                f"the outbox has bills of {kept.name}, and {alias!r} sends to {mine}",
                hint="use another database for another server",
                id="nontax.E011",
            )


def _silence(outbox: conf.Outbox) -> "Iterator[CheckMessage]":
    beats = Relay.objects.using(outbox.database).filter(beat_at__gt=timezone.now() - _SILENT)
    if outbox.ring is None and not beats.exists():
        yield Info(
            "nobody sends what waits: there is no RING, and no nontax_send has been heard of",
            hint="run manage.py nontax_send, on two machines for example",
            id="nontax.I001",
        )
