"""Plain SQL of every database, for what Django's ORM does ten times as slowly: many rows at once.

It prepares each value of each row by itself. Keys, checks and fences are those of the tables.
"""

from typing import Any

from django.db import connections
from django.utils import timezone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

# Values in one statement, where Django knows of no limit: some drivers count them in 16 bits.
_MOST = 20_000


def now(using: str) -> Any:
    """The time, as a column takes it."""
    return connections[using].ops.adapt_datetimefield_value(timezone.now())


def insert(
    using: str, model: "type[Model]", names: "Sequence[str]", rows: "Sequence[Sequence[Any]]"
) -> None:
    """New rows, with as few statements as it takes. names: of the fields. All have to be there."""
    if not rows:
        return
    connection = connections[using]
    head, one = _insert_into(connection, model, names)
    page = max((connection.features.max_query_params or _MOST) // len(names), 1)
    with connection.cursor() as cursor:
        for begin in range(0, len(rows), page):
            part = rows[begin : begin + page]
            values = [value for row in part for value in row]
            cursor.execute(head + ", ".join([one] * len(part)), values)


def _insert_into(connection: Any, model: "type[Model]", names: "Sequence[str]") -> tuple[str, str]:
    """The statement's beginning, and the place of one row."""
    quote = connection.ops.quote_name
    columns = ", ".join(quote(model._meta.get_field(name).column) for name in names)
    head = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES "
    return head, f"({', '.join(['%s'] * len(names))})"


def insert_one(
    using: str, model: "type[Model]", names: "Sequence[str]", values: "Sequence[Any]"
) -> int:
    """One new row; its id."""
    connection = connections[using]
    sql = "".join(_insert_into(connection, model, names))
    returns = connection.features.can_return_columns_from_insert
    with connection.cursor() as cursor:
        if returns:
            cursor.execute(f"{sql} RETURNING {connection.ops.quote_name('id')}", values)
            return int(cursor.fetchone()[0])
        cursor.execute(sql, values)
        return int(connection.ops.last_insert_id(cursor, model._meta.db_table, "id"))


def update(
    using: str, model: "type[Model]", names: "Sequence[str]", where: "Sequence[str]",
    rows: "Sequence[Sequence[Any]]",
) -> int:  # fmt: skip
    """Change each row by itself; how many were there. rows: what is set, then what must be so."""
    connection = connections[using]
    quote = connection.ops.quote_name

    def column(name: str) -> str:
        return f"{quote(model._meta.get_field(name).column)} = %s"

    changes, conditions = map(column, names), map(column, where)
    table = quote(model._meta.db_table)
    sql = f"UPDATE {table} SET {', '.join(changes)} WHERE {' AND '.join(conditions)}"
    with connection.cursor() as cursor:
        cursor.executemany(sql, list(rows))
        return int(cursor.rowcount)
