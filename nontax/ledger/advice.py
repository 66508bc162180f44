"""What WeChat's own record says of attempts in doubt: advice for a person. It settles nothing."""

import json
import sqlite3

from nontax.ledger.books import now_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Record(Protocol):
        """What `Client.get_rid_info` returns."""

        @property
        def invoke_time(self) -> int | None: ...
        @property
        def cost_in_ms(self) -> int | None: ...
        @property
        def response_body(self) -> str | None: ...


# WeChat keeps the record of a request for seven days.
_KEPT = 7 * 86_400_000
# It does not know the rid any more, or not of this account: it need not be asked again.
NOT_KNOWN = frozenset({76001, 76002, 76003})


def to_ask(connection: sqlite3.Connection, limit: int) -> list[tuple[int, str]]:
    """Attempts (id, rid) of bills in doubt about which WeChat was not asked; the latest first."""
    return connection.execute(
        "SELECT attempt.id, attempt.rid FROM bill JOIN attempt ON attempt.bill = bill.id "
        "WHERE bill.state = 'in_doubt' AND length(attempt.rid) > 0 AND attempt.ended > ? "
        "AND coalesce(length(attempt.rid_info), 0) = 0 ORDER BY attempt.id DESC LIMIT ?",
        (now_ms() - _KEPT, limit),
    ).fetchall()


def keep(connection: sqlite3.Connection, attempt: int, info: str) -> None:
    """Keep what WeChat has said of an attempt."""
    connection.execute("UPDATE attempt SET rid_info = ? WHERE id = ?", (info, attempt))


def text_of(info: "Record | None") -> str:
    """What is kept: when it was, how long it took and what the answer was, as JSON.

    Nothing else of it: the bodies have the payer's name and the citizen's openid. None: WeChat has
    no record.
    """
    if info is None:
        return "{}"
    kept: dict[str, object] = {"invoke_time": info.invoke_time, "cost_in_ms": info.cost_in_ms}
    try:
        answer = json.loads(info.response_body or "")
        kept |= {name: answer[name] for name in ("errcode", "errmsg") if name in answer}
    except (ValueError, TypeError):
        pass
    return json.dumps(kept, ensure_ascii=False)
