"""The tables. Their keys and checks alone forbid that a bill is sent twice.

In keys and checks no NULL and no '' carries meaning: both are the same on openGauss and databases
like Oracle, and a NULL passes a CHECK.
"""

from typing import Any

from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint

from nontax.delivery.states import STATES

NO_CLAIM = "0" * 32
NO_CODE = "-"
# Of a bill whose PDF need not be uploaded.
NEVER = 1 << 62
# On SQLite a text is greater than every number; this refuses it.
_MOST = 1 << 62


class ExactField(models.CharField):
    """A text in which case and blanks count: MySQL's usual collations take "a1" for "A1"."""

    def db_parameters(self, connection: Any) -> "dict[str, Any]":
        found: dict[str, Any] = super().db_parameters(connection)
        if connection.vendor == "mysql":
            found["collation"] = "utf8mb4_bin"
        return found


class Server(models.Model):
    """Whose bills the outbox has, in one row: "weixin", or scheme and host."""

    name = models.CharField(max_length=255)

    class Meta:
        db_table = "nontax_server"


class Bill(models.Model):
    """A bill, by its appid and order.

    account: alias in the settings. attempt: the number of its last attempt; answers of older ones
    change nothing. claim, lease_until: whose it is while it is sending, and until when, in Unix
    milliseconds of the database's clock. media_due: when its PDF has to be uploaded.
    """

    appid = ExactField(max_length=64)
    order_id = ExactField(max_length=128)
    account = ExactField(max_length=64)
    card_id = ExactField(max_length=64)
    fee = models.BigIntegerField()
    billing_no = ExactField(max_length=64)
    billing_code = ExactField(max_length=64)
    digest = models.CharField(max_length=64)
    state = models.CharField(max_length=16)
    attempt = models.IntegerField(default=0)
    claim = models.CharField(max_length=32, default=NO_CLAIM)
    lease_until = models.BigIntegerField(default=0)
    priority = models.SmallIntegerField(default=0)
    media_due = models.BigIntegerField(default=NEVER)
    code = ExactField(max_length=255, default=NO_CODE)
    code_unknown = models.SmallIntegerField(default=0)
    errcode = models.IntegerField(default=0)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        db_table = "nontax_bill"
        constraints = (
            UniqueConstraint(fields=("appid", "order_id"), name="nontax_bill_key"),
            CheckConstraint(condition=Q(state__in=STATES), name="nontax_bill_state"),
            CheckConstraint(
                condition=(Q(state="sending", lease_until__gt=0) & ~Q(claim=NO_CLAIM))
                | (~Q(state="sending") & Q(lease_until=0, claim=NO_CLAIM)),
                name="nontax_bill_lease",
            ),
            CheckConstraint(
                condition=~Q(state="inserted") | Q(code_unknown=1) | ~Q(code=NO_CODE),
                name="nontax_bill_code",
            ),
            CheckConstraint(condition=Q(code_unknown__in=(0, 1)), name="nontax_bill_unknown"),
        )
        indexes = (
            Index(
                fields=("state", "account", "-priority", "appid", "id"), name="nontax_bill_waiting"
            ),
            Index(fields=("state", "lease_until"), name="nontax_bill_leases"),
            Index(fields=("billing_no", "billing_code"), name="nontax_bill_number"),
            Index(fields=("card_id", "code"), name="nontax_bill_card"),
        )


class Content(models.Model):
    """What is sent of a bill and not needed to know it again: here stands who has paid."""

    bill = models.OneToOneField(Bill, models.PROTECT, primary_key=True)
    title = models.TextField()
    billing_time = models.BigIntegerField()
    extra = models.TextField(default="")
    shape = models.CharField(max_length=16)
    media_id = models.CharField(max_length=255, default="")
    pdf = models.TextField(default="")
    pdf_sha256 = models.CharField(max_length=64, default="")

    class Meta:
        db_table = "nontax_content"


class Attempt(models.Model):
    """One sending of a bill, written down before it happens.

    slot: 0 for the first, n for the n-th resend that a person has signed, -id when it is proved
    that WeChat has not taken the bill: so there is one open attempt, and no unsigned second one.
    """

    bill = models.ForeignKey(Bill, models.PROTECT, related_name="attempts")
    number = models.IntegerField()
    slot = models.BigIntegerField()
    signed = models.SmallIntegerField(default=0)
    signed_by = models.CharField(max_length=150, default="")
    back_to = models.CharField(max_length=16)
    claim = models.CharField(max_length=32)
    worker = models.CharField(max_length=150, default="")
    began_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    ended = models.SmallIntegerField(default=0)
    outcome = models.CharField(max_length=16, default="")
    errcode = models.IntegerField(default=0)
    errmsg = models.TextField(default="")
    rid = models.CharField(max_length=255, default="")
    reason = models.TextField(default="")
    curl_code = models.IntegerField(default=0)
    http_status = models.IntegerField(default=0)
    transfers = models.IntegerField(default=0)
    openid = models.CharField(max_length=255, default="")

    class Meta:
        db_table = "nontax_attempt"
        constraints = (
            UniqueConstraint(fields=("bill", "number"), name="nontax_attempt_number"),
            UniqueConstraint(fields=("bill", "slot"), name="nontax_attempt_slot"),
            CheckConstraint(condition=Q(slot__lte=0) | Q(signed=1), name="nontax_attempt_signed"),
            CheckConstraint(condition=Q(signed__in=(0, 1)), name="nontax_attempt_flag"),
            CheckConstraint(
                condition=Q(slot__gte=-_MOST, slot__lte=_MOST), name="nontax_attempt_range"
            ),
        )


class Evidence(models.Model):
    """What has been learned of a bill besides its attempts' answers. Never changed."""

    bill = models.ForeignKey(Bill, models.PROTECT, related_name="evidence")
    at = models.DateTimeField()
    kind = models.CharField(max_length=32)
    verdict = models.CharField(max_length=32)
    who = models.CharField(max_length=150, default="")
    checked_by = models.CharField(max_length=150, default="")
    note = models.TextField(default="")
    detail = models.TextField(default="")

    class Meta:
        db_table = "nontax_evidence"

    def save(self, *args: Any, **named: Any) -> None:
        """Only new rows. Raises TypeError for one that exists."""
        if self.pk is not None:
            raise TypeError("evidence is never changed")
        super().save(*args, **named)

    def delete(self, *_: Any, **__: Any) -> Any:
        """Raises TypeError."""
        raise TypeError("evidence is never deleted")


class Event(models.Model):
    """An event of WeChat's, under its key: a repeat is refused.

    error: what a receiver has raised; "" if all was done.
    """

    key_hash = models.CharField(max_length=64, unique=True)
    account = ExactField(max_length=64)
    kind = models.CharField(max_length=32)
    succeeded = models.SmallIntegerField()
    appid = ExactField(max_length=64)
    order_id = ExactField(max_length=128)
    content = models.TextField()
    received_at = models.DateTimeField()
    error = models.CharField(max_length=150, default="")

    class Meta:
        db_table = "nontax_event"
        indexes = (Index(fields=("order_id",), name="nontax_event_order"),)


class Unit(models.Model):
    """A collecting unit, by the appid of its bills. Relays add the ones that they meet.

    name: for people, from the settings of the office. rate: bills a second, or 0 for UNIT_RATE of
    the settings. minute, used: how many of its bills relays have taken in that minute, which is
    counted as in Pace.
    """

    appid = ExactField(max_length=64, unique=True)
    name = models.CharField(max_length=255, default="", blank=True)
    rate = models.FloatField(default=0)
    minute = models.BigIntegerField(default=0)
    used = models.IntegerField(default=0)

    class Meta:
        db_table = "nontax_unit"


class Pace(models.Model):
    """How fast all relays together call one interface of an account. By the database's clock.

    interface: "insertbill" or "setpdf". minute, used: calls that were granted in that minute since
    1970. day, day_used: the same for a day of UTC+8. paused_until: no call before, in Unix
    milliseconds; why: for people. probe_at: when one call may be tried all the same, or 0. turn:
    the appid of the unit that was served last.
    """

    account = ExactField(max_length=64)
    interface = models.CharField(max_length=32)
    minute = models.BigIntegerField(default=0)
    used = models.IntegerField(default=0)
    day = models.IntegerField(default=0)
    day_used = models.BigIntegerField(default=0)
    paused_until = models.BigIntegerField(default=0)
    probe_at = models.BigIntegerField(default=0)
    why = models.CharField(max_length=255, default="")
    turn = ExactField(max_length=64, default="")

    class Meta:
        db_table = "nontax_pace"
        constraints = (UniqueConstraint(fields=("account", "interface"), name="nontax_pace_key"),)


class Relay(models.Model):
    """A relay that is at work, or was. For people alone: no rule reads it."""

    worker = models.CharField(max_length=150, primary_key=True)
    host = models.CharField(max_length=150)
    began_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    version = models.CharField(max_length=32)

    class Meta:
        db_table = "nontax_relay"


# All attempts of a bill are given back: WeChat is proved not to have it.
FREED = -F("id")
