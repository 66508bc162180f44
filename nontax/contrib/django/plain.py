"""Plain SQL of every database, for what Django's ORM does ten times as slowly: many rows at once.

It prepares each value of each row by itself. Keys, checks and fences are those of the tables.
"""

from typing import Any

from django.db import connections
from django.utils import timezone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model, QuerySet

# Values in one statement, where Django knows of no limit: some drivers count them in 16 bits.
_MOST = 20_000


def now(using: str) -> Any:
    """The time, as a column takes it."""
    return connections[using].ops.adapt_datetimefield_value(timezone.now())


def insert(
    using: str, model: "type[Model]", names: "Sequence[str]", rows: "Sequence[Sequence[Any]]",
    returning: "Sequence[str]" = (),
) -> "list[tuple[Any, ...]] | None":  # fmt: skip
    """New rows, with as few statements as it takes. names: of the fields. All have to be there.

    returning: the fields of each new row that are returned, in any order; None if the database
    cannot.
    """
    connection = connections[using]
    if returning and not connection.features.can_return_rows_from_bulk_insert:
        insert(using, model, names, rows)
        return None
    head = insert_into(connection, model, names)
    tail = f" RETURNING {_columns(connection, model, returning)}" if returning else ""
    page = max((connection.features.max_query_params or _MOST) // len(names), 1)
    make = _of_arrays if len(rows) > 1 and is_postgres(connection) else _of_values
    made: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for begin in range(0, len(rows), page):
            sql, given = make(model, names, rows[begin : begin + page])
            cursor.execute(f"{head} {sql}{tail}", given)
            made += cursor.fetchall() if returning else ()
    return made


def is_postgres(connection: Any) -> bool:
    """Whether it is PostgreSQL itself: openGauss and Kingbase call themselves older ones."""
    return connection.vendor == "postgresql" and connection.pg_version >= 140000


def _of_values(
    _: "type[Model]", names: "Sequence[str]", rows: "Sequence[Sequence[Any]]"
) -> "tuple[str, list[Any]]":
    one = f"({', '.join(['%s'] * len(names))})"
    return "VALUES " + ", ".join([one] * len(rows)), [value for row in rows for value in row]


def _of_arrays(
    model: "type[Model]", names: "Sequence[str]", rows: "Sequence[Sequence[Any]]"
) -> "tuple[str, list[Any]]":
    """A column of values is one value to the driver, which looks at each, and to the server."""
    shown: list[str] = []
    arrays: list[str] = []
    same: list[Any] = []
    given: list[Any] = []
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        if arrays and all(value == values[0] for value in values):
            shown.append("%s")
            same.append(values[0])
        else:
            shown.append(f"c{len(arrays)}")
            arrays.append(f"%s::{_ARRAYS[model._meta.get_field(name).get_internal_type()]}[]")
            given.append(list(values))
    columns = ", ".join(f"c{number}" for number in range(len(arrays)))
    sql = f"SELECT {', '.join(shown)} FROM unnest({', '.join(arrays)}) AS given ({columns})"
    return sql, [*same, *given]


# No cast to a type with a length: that cuts off what is too long.
_ARRAYS = {
    "CharField": "text", "ExactField": "text", "TextField": "text", "OneToOneField": "bigint",
    "ForeignKey": "bigint", "BigIntegerField": "bigint", "IntegerField": "bigint",
    "SmallIntegerField": "bigint", "DateTimeField": "timestamptz",
}  # fmt: skip


def insert_from(
    source: "QuerySet[Any]", taken: "dict[str, str]", model: "type[Model]", same: "dict[str, Any]",
    returning: "Sequence[str]",
) -> "list[tuple[Any, ...]] | None":  # fmt: skip
    """A new row for each one of a query. taken: fields, and which one of the query's they get.

    same: the other fields. returning: as for `insert`.
    """
    using = source.db
    connection = connections[using]
    returns = connection.features.can_return_rows_from_bulk_insert
    query = source.order_by().values(*taken.values()).query
    select, given = query.get_compiler(using).as_sql()
    quote = connection.ops.quote_name
    fields = [quote(source.model._meta.get_field(name).column) for name in taken.values()]
    sql = (
        f"{insert_into(connection, model, (*taken, *same))} "
        f"SELECT {', '.join(fields)}{', %s' * len(same)} FROM ({select}) taken"
    )
    if returns:
        sql += f" RETURNING {_columns(connection, model, returning)}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [*same.values(), *given])
        return cursor.fetchall() if returns else None


def _columns(connection: Any, model: "type[Model]", names: "Sequence[str]") -> str:
    quote = connection.ops.quote_name
    return ", ".join(quote(model._meta.get_field(name).column) for name in names)


def insert_into(connection: Any, model: "type[Model]", names: "Sequence[str]") -> str:
    """The statement's beginning."""
    table = connection.ops.quote_name(model._meta.db_table)
    return f"INSERT INTO {table} ({_columns(connection, model, names)})"


def insert_one(
    using: str, model: "type[Model]", names: "Sequence[str]", values: "Sequence[Any]"
) -> int:
    """One new row; its id."""
    connection = connections[using]
    sql = f"{insert_into(connection, model, names)} {_of_values(model, names, [values])[0]}"
    returns = connection.features.can_return_columns_from_insert
    with connection.cursor() as cursor:
        if returns:
            cursor.execute(f"{sql} RETURNING {connection.ops.quote_name('id')}", values)
            return int(cursor.fetchone()[0])
        cursor.execute(sql, values)
        return int(connection.ops.last_insert_id(cursor, model._meta.db_table, "id"))


def update(
    using: str, model: "type[Model]", names: "Sequence[str]", fence: "Sequence[str]",
    rows: "Sequence[Sequence[Any]]",
) -> int:  # fmt: skip
    """Change many rows with as few statements as it takes; how many were there and as expected.

    rows: what is set (names), what must be so (fence), and last the row's id.
    """
    connection = connections[using]
    most = connection.features.max_query_params or _MOST
    page = max(most // (len(names) + len(fence)), 1)
    done = 0
    with connection.cursor() as cursor:
        for begin in range(0, len(rows), page):
            cursor.execute(*_update(connection, model, names, fence, rows[begin : begin + page]))
            done += cursor.rowcount
    return done


def _update(
    connection: Any, model: "type[Model]", names: "Sequence[str]", fence: "Sequence[str]",
    rows: "Sequence[Sequence[Any]]",
) -> "tuple[str, list[Any]]":  # fmt: skip
    """One statement. What is the same in all rows is given once, the rest by the row's id."""
    quote = connection.ops.quote_name
    ids = [int(row[-1]) for row in rows]
    parts: list[str] = []
    given: list[Any] = []
    for name, values in zip((*names, *fence), zip(*rows, strict=True), strict=False):
        column = quote(model._meta.get_field(name).column)
        if all(value == values[0] for value in values):
            parts.append(f"{column} = %s")
            given.append(values[0])
        else:
            choices = " ".join(f"WHEN {pk} THEN %s" for pk in ids)
            parts.append(f"{column} = CASE id {choices} END")
            given += values
    conditions = [*parts[len(names) :], f"id IN ({', '.join(map(str, ids))})"]
    sql = (
        f"UPDATE {quote(model._meta.db_table)} SET {', '.join(parts[: len(names)])} "
        f"WHERE {' AND '.join(conditions)}"
    )
    return sql, given
