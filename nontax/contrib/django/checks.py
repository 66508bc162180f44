"""System checks. Those of the settings need nothing; those of the database run with --database."""

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from nontax.contrib.django import conf

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


@register()
def check_settings(**_: Any) -> "list[CheckMessage]":
    """E001: the setting NONTAX cannot be used."""
    try:
        outbox, aliases = conf.outbox(), conf.aliases()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="nontax.E001")]
    found: list[CheckMessage] = []
    for alias in aliases:
        try:
            conf.account(alias)
        except ImproperlyConfigured as error:
            found.append(Error(str(error), id="nontax.E002"))
    if outbox.database not in connections:
        words = f'NONTAX["OUTBOX"]["DATABASE"] is {outbox.database!r}, which DATABASES has not'
        found.append(Error(words, id="nontax.E006"))
    return found


@register(Tags.database)
def check_commits(databases: Any = None, **_: Any) -> "list[CheckMessage]":
    """W006: the database may forget a commit. A bill would be sent twice, and no row shows it."""
    try:
        using = conf.outbox().database
    except ImproperlyConfigured:
        return []
    if using not in (databases or ()) or using not in connections:
        return []
    connection = connections[using]
    found: list[CheckMessage] = []
    with connection.cursor() as cursor:
        for query, right in _KEEPS.get(connection.vendor, ()):
            cursor.execute(query)
            value = str(cursor.fetchone()[0])
            if value not in right:
                found.append(_forgets(f"{query} is {value}, and must be {' or '.join(right)}"))
        if connection.vendor == "postgresql":
            cursor.execute(_STANDBYS)
            if cursor.fetchone()[0]:
                found.append(_forgets("it has an asynchronous standby, which must not be promoted"))
    return found


def _forgets(why: str) -> CheckMessage:
    return Warning(
        f"the outbox's database may forget a commit: {why}",
        hint="a bill whose row is forgotten is sent twice: see docs/django.md",
        id="nontax.W006",
    )
