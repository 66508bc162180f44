"""A new bill in one statement, where the database has one for it: what every payment waits for.

The statement adds nothing if the order or the number is known, and raises nothing then: the
caller's transaction goes on without a savepoint.
"""

from functools import lru_cache
from typing import Any

from django.db import connections

from nontax.contrib.django import plain
from nontax.contrib.django.models import Bill, Content
from nontax.delivery.store import NUMBER_TAKEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TAKEN = ", ".join(f"'{state}'" for state in sorted(NUMBER_TAKEN))


def can_add(using: str) -> bool:
    """Whether the database has such a statement."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        return bool(connection.features.can_return_columns_from_insert)  # not before 3.35
    return plain.is_postgres(connection)


def add(
    using: str, bill: "Mapping[str, Any]", same: "Mapping[str, int | str]",
    content: "Mapping[str, Any]", *, allow_same_number: bool,
) -> int | None:  # fmt: skip
    """The new bill's id; None if its order or its number is known.

    bill, content: the fields of its rows. same: those that are the same for all new bills, which
    are texts without a quote, or numbers.
    """
    connection = connections[using]
    in_one = connection.vendor == "postgresql"
    first, second = _statements(
        using, tuple(bill), tuple(same.items()), tuple(content), allow_same_number, in_one
    )
    given = list(bill.values())
    if not allow_same_number:
        given += [bill["billing_code"], bill["billing_no"]]
    with connection.cursor() as cursor:
        cursor.execute(first, [*given, *content.values()] if in_one else given)
        made = cursor.fetchone()
        if made is not None and not in_one:
            cursor.execute(second, [made[0], *content.values()])
    return None if made is None else int(made[0])


@lru_cache
def _statements(
    using: str, bill: "Sequence[str]", same: "Sequence[tuple[str, int | str]]",
    content: "Sequence[str]", allow_same_number: bool, in_one: bool,
) -> tuple[str, str]:  # fmt: skip
    connection = connections[using]
    known = (
        f"NOT EXISTS (SELECT 1 FROM nontax_bill WHERE billing_code = %s AND billing_no = %s "
        f"AND state IN ({_TAKEN}))"
    )
    names = (*bill, *(name for name, _ in same))
    first = (
        f"{plain.insert_into(connection, Bill, names)} "
        f"SELECT {', '.join(['%s'] * len(bill))}, {', '.join(repr(value) for _, value in same)} "
        f"WHERE {'1 = 1' if allow_same_number else known} "
        f"ON CONFLICT (order_id, appid) DO NOTHING RETURNING id"
    )
    into = plain.insert_into(connection, Content, ("bill", *content))
    values = ", ".join(["%s"] * len(content))
    if not in_one:
        return first, f"{into} VALUES (%s, {values})"
    return f"WITH made AS ({first}) {into} SELECT id, {values} FROM made RETURNING bill_id", ""
