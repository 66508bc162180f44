"""The database's clock: the only one by which leases are measured. Machines may be a day off."""

from typing import Any

from django.db.models import BigIntegerField, Func


class DatabaseMs(Func):
    """The database's time in Unix milliseconds."""

    arity = 0
    output_field = BigIntegerField()
    template = "CAST(EXTRACT(EPOCH FROM CURRENT_TIMESTAMP) * 1000 AS BIGINT)"

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # Not CURRENT_TIMESTAMP: that is when the transaction began.
        template = "CAST(EXTRACT(EPOCH FROM CLOCK_TIMESTAMP()) * 1000 AS BIGINT)"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # In UTC: a session's time zone does not matter.
        template = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6)) DIV 1000)"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
        return self.as_sql(compiler, connection, template=template, **extra)
