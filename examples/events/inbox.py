"""What to do with WeChat's requests to your URL, whatever the web framework.

The settings are those of the account's console: URL, Token, EncodingAESKey, safe mode (安全模式).
They are read from WECHAT_PUSH_TOKEN, WECHAT_PUSH_AES_KEY and WECHAT_APPID. Each event is written to
a table once, however often WeChat pushes it, and from however many of your processes.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Mapping

from nontax.events import (
    AuthorizationEvent,
    EventReader,
    InvalidEventError,
    StatusEvent,
    UntrustedEventError,
)

DATABASE = os.environ.get("EVENTS_DATABASE", "events.db")

log = logging.getLogger(__name__)
reader = EventReader(
    token=os.environ["WECHAT_PUSH_TOKEN"],
    aes_key=os.environ.get("WECHAT_PUSH_AES_KEY"),
    appid=os.environ.get("WECHAT_APPID") if "WECHAT_PUSH_AES_KEY" in os.environ else None,
)


def answer_get(query: Mapping[str, str]) -> tuple[int, str]:
    """WeChat checks the URL when it is set. Returns status and text, to be sent as text/plain."""
    try:
        return 200, reader.echo(query)
    except UntrustedEventError:
        return 403, ""


def answer_post(query: Mapping[str, str], body: bytes) -> tuple[int, str]:
    """Handle a push, within 5 seconds. Returns status and text, to be sent as text/plain.

    Raises what the database raises: the framework answers 500 then, and WeChat pushes it again.
    """
    try:
        event = reader.read(query, body)
    except UntrustedEventError as error:
        log.warning("refused a push: %s", error)
        return 403, ""
    except InvalidEventError as error:
        log.error("an event may be lost: %s", error)
        return 200, "success"
    if isinstance(event, AuthorizationEvent):
        outcome = "authorised" if event.succeeded else "authorisation failed"
        remember(event.key, event.order_id, outcome)
    elif isinstance(event, StatusEvent):
        remember(event.key, event.code, event.status)
    return 200, "success"  # also for chat messages and all else: see OtherEvent


def remember(key: str, about: str, news: str) -> None:
    """Your work begins here, in the same transaction: the same key comes in only once."""
    with contextlib.closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS events (key TEXT PRIMARY KEY, about, news)")
        database.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", (key, about, news))
