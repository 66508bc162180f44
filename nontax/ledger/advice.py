"""Where the ledger keeps what WeChat's own record says of attempts in doubt."""

import json
import sqlite3

from nontax.delivery.advice import KEPT_MS, facts_of
from nontax.ledger.books import now_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax.delivery.advice import Record


def to_ask(connection: sqlite3.Connection, limit: int) -> list[tuple[int, str]]:
    """Attempts (id, rid) of bills in doubt about which WeChat was not asked; the latest first."""
    return connection.execute(
        "SELECT attempt.id, attempt.rid FROM bill JOIN attempt ON attempt.bill = bill.id "
        "WHERE bill.state = 'in_doubt' AND length(attempt.rid) > 0 AND attempt.ended > ? "
        "AND coalesce(length(attempt.rid_info), 0) = 0 ORDER BY attempt.id DESC LIMIT ?",
        (now_ms() - KEPT_MS, limit),
    ).fetchall()


def keep(connection: sqlite3.Connection, attempt: int, info: str) -> None:
    """Keep what WeChat has said of an attempt."""
    connection.execute("UPDATE attempt SET rid_info = ? WHERE id = ?", (info, attempt))


def text_of(info: "Record | None") -> str:
    """What is kept, as JSON. None: WeChat has no record."""
    return json.dumps({} if info is None else facts_of(info), ensure_ascii=False)
