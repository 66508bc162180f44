"""What a later version adds to the tables while relays of this one are at work.

Each new column has a default in the database, or may be NULL.
"""

from typing import Any

from django.apps import apps
from django.db import migrations, models

from nontax.contrib.django import plain
from nontax.contrib.django.models import Attempt


def _fields() -> dict[str, Any]:
    return {
        "bill": models.CharField(max_length=20, null=True),
        "content": models.IntegerField(db_default=7),
        "attempt": models.SmallIntegerField(db_default=0),
        "evidence": models.TextField(null=True),
    }


class Later(migrations.Migration):  # type: ignore[misc]
    """The later version's migration."""

    operations = [  # noqa: RUF012
        *(migrations.AddField(name, "later", field) for name, field in _fields().items()),
        migrations.AddIndex(
            "attempt", models.Index(fields=("claim",), name="nontax_attempt_later")
        ),
        migrations.AddConstraint(
            "attempt",
            models.CheckConstraint(condition=models.Q(later__gte=0), name="nontax_attempt_since"),
        ),
    ]


def know_later() -> None:
    """This process is one of the later version: it knows the columns, and fills one."""
    for name, field in _fields().items():
        apps.get_model("nontax", name).add_to_class("later", field)
    insert_from = plain.insert_from

    def insert_more(source: Any, taken: Any, model: Any, same: Any, returning: Any) -> Any:
        more = {"later": 1} if model is Attempt else {}
        return insert_from(source, taken, model, same | more, returning)

    vars(plain)["insert_from"] = insert_more
