"""The tables. Their keys and checks alone forbid that a bill is sent twice.

In keys and checks no NULL and no '' carries meaning: both are the same on openGauss and databases
like Oracle, and a NULL passes a CHECK.
"""

from typing import Any

from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.utils import timezone

from nontax.contrib.django.words import words
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

    name = models.CharField(words("name"), max_length=255)

    class Meta:
        db_table = "nontax_server"
        verbose_name = words("server of the outbox")
        verbose_name_plural = words("server of the outbox")


class Bill(models.Model):
    """A bill, by its appid and order.

    account: alias in the settings. attempt: the number of its last attempt; answers of older ones
    change nothing. claim, lease_until: whose it is while it is sending, and until when, in Unix
    milliseconds of the database's clock. media_due: when its PDF has to be uploaded.
    """

    appid = ExactField(words("unit's AppID"), max_length=64)
    order_id = ExactField(words("order"), max_length=128)
    account = ExactField(words("account"), max_length=64)
    card_id = ExactField(words("card_id"), max_length=64)
    fee = models.BigIntegerField(words("amount (fen)"))
    billing_no = ExactField(words("bill code"), max_length=64)
    billing_code = ExactField(words("bill number"), max_length=64)
    digest = models.CharField(words("digest"), max_length=64)
    state = models.CharField(words("state"), max_length=16)
    attempt = models.IntegerField(words("attempts"), default=0)
    claim = models.CharField(words("claim"), max_length=32, default=NO_CLAIM)
    lease_until = models.BigIntegerField(words("lease until"), default=0)
    priority = models.SmallIntegerField(words("priority"), default=0)
    media_due = models.BigIntegerField(words("PDF due"), default=NEVER)
    code = ExactField(words("code of the card"), max_length=255, default=NO_CODE)
    code_unknown = models.SmallIntegerField(words("code unknown"), default=0)
    errcode = models.IntegerField(words("error code"), default=0)
    created_at = models.DateTimeField(words("handed in"))
    changed_at = models.DateTimeField(words("changed"))

    class Meta:
        db_table = "nontax_bill"
        verbose_name = words("bill")
        verbose_name_plural = words("bills")
        permissions = (
            ("view_pii", "Can see names and openids"),
            ("resolve_bill", "Can settle, retry and withdraw bills"),
            ("resend_bill", "Can resend bills in doubt"),
        )
        constraints = (
            # The order first: events and people name it alone.
            UniqueConstraint(fields=("order_id", "appid"), name="nontax_bill_key"),
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
            Index(fields=("lease_until",), name="nontax_bill_leases"),
            Index(fields=("billing_code", "billing_no"), name="nontax_bill_number"),
            Index(fields=("card_id", "code"), name="nontax_bill_card"),
        )

    def __str__(self) -> str:
        return f"{self.order_id} ({self.appid})"

    def to_dict(self) -> "dict[str, Any]":
        """A row of an answer or a table: what is known of the bill, without a name or an openid.

        code and errcode are None if there is none.
        """
        names = ("appid", "order_id", "account", "card_id", "fee", "billing_no", "billing_code",
                 "state")  # fmt: skip
        return {
            **{name: getattr(self, name) for name in names},
            "code": None if self.code == NO_CODE else self.code,
            "errcode": self.errcode or None,
            "attempts": self.attempt,
            "created_at": self.created_at,
            "changed_at": self.changed_at,
        }


class Content(models.Model):
    """What is sent of a bill and not needed to know it again: here stands who has paid."""

    bill = models.OneToOneField(Bill, models.PROTECT, primary_key=True, verbose_name=words("bill"))
    title = models.TextField(words("payer"))
    billing_time = models.BigIntegerField(words("issue time"))
    extra = models.TextField(words("further fields"), default="")
    shape = models.CharField(words("shape"), max_length=16)
    media_id = models.CharField(words("media id"), max_length=255, default="")
    pdf = models.TextField(words("PDF"), default="")
    pdf_sha256 = models.CharField(words("SHA-256 of the PDF"), max_length=64, default="")

    class Meta:
        db_table = "nontax_content"
        verbose_name = words("content of a bill")
        verbose_name_plural = words("contents of bills")


class Hold(models.Model):
    """When a held bill's order is asked about next: the push about it may have got lost.

    asked: how often it was.
    """

    bill = models.OneToOneField(Bill, models.PROTECT, primary_key=True, verbose_name=words("bill"))
    due_at = models.DateTimeField(words("asked about next"))
    asked = models.IntegerField(words("how often asked"), default=0)

    class Meta:
        db_table = "nontax_hold"
        verbose_name = words("held bill")
        verbose_name_plural = words("held bills")
        indexes = (Index(fields=("due_at",), name="nontax_hold_due"),)


class Attempt(models.Model):
    """One sending of a bill, written down before it happens.

    slot: 0 for the first, n for the n-th resend that a person has signed, -id when it is proved
    that WeChat has not taken the bill: so there is one open attempt, and no unsigned second one.
    """

    bill = models.ForeignKey(
        Bill, models.PROTECT, related_name="attempts", verbose_name=words("bill")
    )
    number = models.IntegerField(words("number"))
    slot = models.BigIntegerField(words("slot"))
    signed = models.SmallIntegerField(words("signed"), default=0)
    signed_by = models.CharField(words("signed by"), max_length=150, default="")
    back_to = models.CharField(words("state before"), max_length=16)
    claim = models.CharField(words("claim"), max_length=32)
    worker = models.CharField(words("relay"), max_length=150, default="")
    began_at = models.DateTimeField(words("began"))
    changed_at = models.DateTimeField(words("changed"))
    ended = models.SmallIntegerField(words("ended"), default=0)
    outcome = models.CharField(words("outcome"), max_length=16, default="")
    errcode = models.IntegerField(words("error code"), default=0)
    errmsg = models.TextField(words("WeChat's words"), default="")
    rid = models.CharField(words("rid"), max_length=255, default="")
    reason = models.TextField(words("reason"), default="")
    curl_code = models.IntegerField(words("curl code"), default=0)
    http_status = models.IntegerField(words("HTTP status"), default=0)
    transfers = models.IntegerField(words("transfers"), default=0)
    openid = models.CharField(words("openid"), max_length=255, default="")

    class Meta:
        db_table = "nontax_attempt"
        verbose_name = words("attempt")
        verbose_name_plural = words("attempts")
        constraints = (
            UniqueConstraint(fields=("bill", "number"), name="nontax_attempt_number"),
            UniqueConstraint(fields=("bill", "slot"), name="nontax_attempt_slot"),
            CheckConstraint(condition=Q(slot__lte=0) | Q(signed=1), name="nontax_attempt_signed"),
            CheckConstraint(condition=Q(signed__in=(0, 1)), name="nontax_attempt_flag"),
            CheckConstraint(
                condition=Q(slot__gte=-_MOST, slot__lte=_MOST), name="nontax_attempt_range"
            ),
        )

    def __str__(self) -> str:
        return str(self.number)


class Evidence(models.Model):
    """What has been learned of a bill besides its attempts' answers. Never changed."""

    bill = models.ForeignKey(
        Bill, models.PROTECT, related_name="evidence", verbose_name=words("bill")
    )
    at = models.DateTimeField(words("time"))
    kind = models.CharField(words("kind"), max_length=32)
    verdict = models.CharField(words("verdict"), max_length=32)
    who = models.CharField(words("prepared by"), max_length=150, default="")
    checked_by = models.CharField(words("checked by"), max_length=150, default="")
    note = models.TextField(words("note"), default="")
    detail = models.TextField(words("detail"), default="")

    class Meta:
        db_table = "nontax_evidence"
        verbose_name = words("evidence")
        verbose_name_plural = words("evidence")

    def __str__(self) -> str:
        return f"{timezone.localtime(self.at):%Y-%m-%d %H:%M}"

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

    key_hash = models.CharField(words("hash of the key"), max_length=64, unique=True)
    account = ExactField(words("account"), max_length=64)
    kind = models.CharField(words("kind"), max_length=32)
    succeeded = models.SmallIntegerField(words("succeeded"))
    appid = ExactField(words("unit's AppID"), max_length=64)
    order_id = ExactField(words("order"), max_length=128)
    content = models.TextField(words("content"))
    received_at = models.DateTimeField(words("received"))
    error = models.CharField(words("error"), max_length=150, default="")

    class Meta:
        db_table = "nontax_event"
        verbose_name = words("event")
        verbose_name_plural = words("events")
        indexes = (Index(fields=("order_id",), name="nontax_event_order"),)


class Unit(models.Model):
    """A collecting unit, by the appid of its bills. Relays add the ones that they meet.

    name: for people, from the settings of the office. rate: bills a second, or 0 for UNIT_RATE of
    the settings. minute, used: how many of its bills relays have taken in that minute, which is
    counted as in Pace.
    """

    appid = ExactField(words("unit's AppID"), max_length=64, unique=True)
    name = models.CharField(words("name"), max_length=255, default="", blank=True)
    rate = models.FloatField(words("bills a second"), default=0)
    minute = models.BigIntegerField(words("minute"), default=0)
    used = models.IntegerField(words("used"), default=0)

    class Meta:
        db_table = "nontax_unit"
        verbose_name = words("unit")
        verbose_name_plural = words("units")


class Pace(models.Model):
    """How fast all relays together call one interface of an account. By the database's clock.

    interface: "insertbill" or "setpdf". minute, used: calls that were granted in that minute since
    1970. day, day_used: the same for a day of UTC+8. paused_until: no call before, in Unix
    milliseconds; why: for people. probe_at: when one call may be tried all the same, or 0. turn:
    the appid of the unit that was served last.
    """

    account = ExactField(words("account"), max_length=64)
    interface = models.CharField(words("interface"), max_length=32)
    minute = models.BigIntegerField(words("minute"), default=0)
    used = models.IntegerField(words("used"), default=0)
    day = models.IntegerField(words("day"), default=0)
    day_used = models.BigIntegerField(words("used on the day"), default=0)
    paused_until = models.BigIntegerField(words("paused until"), default=0)
    probe_at = models.BigIntegerField(words("probe at"), default=0)
    why = models.CharField(words("why"), max_length=255, default="")
    turn = ExactField(words("unit served last"), max_length=64, default="")

    class Meta:
        db_table = "nontax_pace"
        verbose_name = words("pace of an account")
        verbose_name_plural = words("paces of accounts")
        constraints = (UniqueConstraint(fields=("account", "interface"), name="nontax_pace_key"),)


class Relay(models.Model):
    """A relay that is at work, or was. For people alone: no rule reads it."""

    worker = models.CharField(words("relay"), max_length=150, primary_key=True)
    host = models.CharField(words("host"), max_length=150)
    began_at = models.DateTimeField(words("began"))
    beat_at = models.DateTimeField(words("last seen"))
    version = models.CharField(words("version"), max_length=32)

    class Meta:
        db_table = "nontax_relay"
        verbose_name = words("relay")
        verbose_name_plural = words("relays")


# All attempts of a bill are given back: WeChat is proved not to have it.
FREED = -F("id")
