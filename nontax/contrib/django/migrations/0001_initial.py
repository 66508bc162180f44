import django.db.models.deletion
from django.db import migrations, models

import nontax.contrib.django.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.IntegerField(verbose_name="number")),
                ("slot", models.BigIntegerField(verbose_name="slot")),
                ("signed", models.SmallIntegerField(default=0, verbose_name="signed")),
                (
                    "signed_by",
                    models.CharField(default="", max_length=150, verbose_name="signed by"),
                ),
                ("back_to", models.CharField(max_length=16, verbose_name="state before")),
                ("claim", models.CharField(max_length=32, verbose_name="claim")),
                ("worker", models.CharField(default="", max_length=150, verbose_name="relay")),
                ("began_at", models.DateTimeField(verbose_name="began")),
                ("changed_at", models.DateTimeField(verbose_name="changed")),
                ("ended", models.SmallIntegerField(default=0, verbose_name="ended")),
                ("outcome", models.CharField(default="", max_length=16, verbose_name="outcome")),
                ("errcode", models.IntegerField(default=0, verbose_name="error code")),
                ("errmsg", models.TextField(default="", verbose_name="WeChat's words")),
                ("rid", models.CharField(default="", max_length=255, verbose_name="rid")),
                ("reason", models.TextField(default="", verbose_name="reason")),
                ("curl_code", models.IntegerField(default=0, verbose_name="curl code")),
                ("http_status", models.IntegerField(default=0, verbose_name="HTTP status")),
                ("transfers", models.IntegerField(default=0, verbose_name="transfers")),
                ("openid", models.CharField(default="", max_length=255, verbose_name="openid")),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "db_table": "nontax_attempt",
            },
        ),
        migrations.CreateModel(
            name="Bill",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "appid",
                    nontax.contrib.django.models.ExactField(
                        max_length=64, verbose_name="unit's AppID"
                    ),
                ),
                (
                    "order_id",
                    nontax.contrib.django.models.ExactField(max_length=128, verbose_name="order"),
                ),
                (
                    "account",
                    nontax.contrib.django.models.ExactField(max_length=64, verbose_name="account"),
                ),
                (
                    "card_id",
                    nontax.contrib.django.models.ExactField(max_length=64, verbose_name="card_id"),
                ),
                ("fee", models.BigIntegerField(verbose_name="amount (fen)")),
                (
                    "billing_no",
                    nontax.contrib.django.models.ExactField(
                        max_length=64, verbose_name="bill code"
                    ),
                ),
                (
                    "billing_code",
                    nontax.contrib.django.models.ExactField(
                        max_length=64, verbose_name="bill number"
                    ),
                ),
                ("digest", models.CharField(max_length=64, verbose_name="digest")),
                ("state", models.CharField(max_length=16, verbose_name="state")),
                ("attempt", models.IntegerField(default=0, verbose_name="attempts")),
                (
                    "claim",
                    models.CharField(
                        default="00000000000000000000000000000000",
                        max_length=32,
                        verbose_name="claim",
                    ),
                ),
                ("lease_until", models.BigIntegerField(default=0, verbose_name="lease until")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                (
                    "media_due",
                    models.BigIntegerField(default=4611686018427387904, verbose_name="PDF due"),
                ),
                (
                    "code",
                    nontax.contrib.django.models.ExactField(
                        default="-", max_length=255, verbose_name="code of the card"
                    ),
                ),
                ("code_unknown", models.SmallIntegerField(default=0, verbose_name="code unknown")),
                ("errcode", models.IntegerField(default=0, verbose_name="error code")),
                ("created_at", models.DateTimeField(verbose_name="handed in")),
                ("changed_at", models.DateTimeField(verbose_name="changed")),
            ],
            options={
                "verbose_name": "bill",
                "verbose_name_plural": "bills",
                "db_table": "nontax_bill",
                "permissions": (
                    ("view_pii", "Can see names and openids"),
                    ("resolve_bill", "Can settle, retry and withdraw bills"),
                    ("resend_bill", "Can resend bills in doubt"),
                ),
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "key_hash",
                    models.CharField(max_length=64, unique=True, verbose_name="hash of the key"),
                ),
                (
                    "account",
                    nontax.contrib.django.models.ExactField(max_length=64, verbose_name="account"),
                ),
                ("kind", models.CharField(max_length=32, verbose_name="kind")),
                ("succeeded", models.SmallIntegerField(verbose_name="succeeded")),
                (
                    "appid",
                    nontax.contrib.django.models.ExactField(
                        max_length=64, verbose_name="unit's AppID"
                    ),
                ),
                (
                    "order_id",
                    nontax.contrib.django.models.ExactField(max_length=128, verbose_name="order"),
                ),
                ("content", models.TextField(verbose_name="content")),
                ("received_at", models.DateTimeField(verbose_name="received")),
                ("error", models.CharField(default="", max_length=150, verbose_name="error")),
            ],
            options={
                "verbose_name": "event",
                "verbose_name_plural": "events",
                "db_table": "nontax_event",
            },
        ),
        migrations.CreateModel(
            name="Evidence",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(verbose_name="time")),
                ("kind", models.CharField(max_length=32, verbose_name="kind")),
                ("verdict", models.CharField(max_length=32, verbose_name="verdict")),
                ("who", models.CharField(default="", max_length=150, verbose_name="prepared by")),
                (
                    "checked_by",
                    models.CharField(default="", max_length=150, verbose_name="checked by"),
                ),
                ("note", models.TextField(default="", verbose_name="note")),
                ("detail", models.TextField(default="", verbose_name="detail")),
            ],
            options={
                "verbose_name": "evidence",
                "verbose_name_plural": "evidence",
                "db_table": "nontax_evidence",
            },
        ),
        migrations.CreateModel(
            name="Pace",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "account",
                    nontax.contrib.django.models.ExactField(max_length=64, verbose_name="account"),
                ),
                ("interface", models.CharField(max_length=32, verbose_name="interface")),
                ("minute", models.BigIntegerField(default=0, verbose_name="minute")),
                ("used", models.IntegerField(default=0, verbose_name="used")),
                ("day", models.IntegerField(default=0, verbose_name="day")),
                ("day_used", models.BigIntegerField(default=0, verbose_name="used on the day")),
                ("paused_until", models.BigIntegerField(default=0, verbose_name="paused until")),
                ("probe_at", models.BigIntegerField(default=0, verbose_name="probe at")),
                ("why", models.CharField(default="", max_length=255, verbose_name="why")),
                (
                    "turn",
                    nontax.contrib.django.models.ExactField(
                        default="", max_length=64, verbose_name="unit served last"
                    ),
                ),
            ],
            options={
                "verbose_name": "pace of an account",
                "verbose_name_plural": "paces of accounts",
                "db_table": "nontax_pace",
            },
        ),
        migrations.CreateModel(
            name="Relay",
            fields=[
                (
                    "worker",
                    models.CharField(
                        max_length=150, primary_key=True, serialize=False, verbose_name="relay"
                    ),
                ),
                ("host", models.CharField(max_length=150, verbose_name="host")),
                ("began_at", models.DateTimeField(verbose_name="began")),
                ("beat_at", models.DateTimeField(verbose_name="last seen")),
                ("version", models.CharField(max_length=32, verbose_name="version")),
            ],
            options={
                "verbose_name": "relay",
                "verbose_name_plural": "relays",
                "db_table": "nontax_relay",
            },
        ),
        migrations.CreateModel(
            name="Server",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=255, verbose_name="name")),
            ],
            options={
                "verbose_name": "server of the outbox",
                "verbose_name_plural": "server of the outbox",
                "db_table": "nontax_server",
            },
        ),
        migrations.CreateModel(
            name="Unit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "appid",
                    nontax.contrib.django.models.ExactField(
                        max_length=64, unique=True, verbose_name="unit's AppID"
                    ),
                ),
                (
                    "name",
                    models.CharField(blank=True, default="", max_length=255, verbose_name="name"),
                ),
                ("rate", models.FloatField(default=0, verbose_name="bills a second")),
                ("minute", models.BigIntegerField(default=0, verbose_name="minute")),
                ("used", models.IntegerField(default=0, verbose_name="used")),
            ],
            options={
                "verbose_name": "unit",
                "verbose_name_plural": "units",
                "db_table": "nontax_unit",
            },
        ),
        migrations.CreateModel(
            name="Content",
            fields=[
                (
                    "bill",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        serialize=False,
                        to="nontax.bill",
                        verbose_name="bill",
                    ),
                ),
                ("title", models.TextField(verbose_name="payer")),
                ("billing_time", models.BigIntegerField(verbose_name="issue time")),
                ("extra", models.TextField(default="", verbose_name="further fields")),
                ("shape", models.CharField(max_length=16, verbose_name="shape")),
                ("media_id", models.CharField(default="", max_length=255, verbose_name="media id")),
                ("pdf", models.TextField(default="", verbose_name="PDF")),
                (
                    "pdf_sha256",
                    models.CharField(default="", max_length=64, verbose_name="SHA-256 of the PDF"),
                ),
            ],
            options={
                "verbose_name": "content of a bill",
                "verbose_name_plural": "contents of bills",
                "db_table": "nontax_content",
            },
        ),
        migrations.CreateModel(
            name="Hold",
            fields=[
                (
                    "bill",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        serialize=False,
                        to="nontax.bill",
                        verbose_name="bill",
                    ),
                ),
                ("due_at", models.DateTimeField(verbose_name="asked about next")),
                ("asked", models.IntegerField(default=0, verbose_name="how often asked")),
            ],
            options={
                "verbose_name": "held bill",
                "verbose_name_plural": "held bills",
                "db_table": "nontax_hold",
            },
        ),
        migrations.AddIndex(
            model_name="bill",
            index=models.Index(
                fields=["state", "account", "-priority", "appid", "id"], name="nontax_bill_waiting"
            ),
        ),
        migrations.AddIndex(
            model_name="bill",
            index=models.Index(fields=["lease_until"], name="nontax_bill_leases"),
        ),
        migrations.AddIndex(
            model_name="bill",
            index=models.Index(fields=["billing_code", "billing_no"], name="nontax_bill_number"),
        ),
        migrations.AddIndex(
            model_name="bill",
            index=models.Index(fields=["card_id", "code"], name="nontax_bill_card"),
        ),
        migrations.AddConstraint(
            model_name="bill",
            constraint=models.UniqueConstraint(
                fields=("order_id", "appid"), name="nontax_bill_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="bill",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        (
                            "held",
                            "waiting",
                            "sending",
                            "inserted",
                            "rejected",
                            "not_sent",
                            "in_doubt",
                            "withdrawn",
                        ),
                    )
                ),
                name="nontax_bill_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="bill",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("lease_until__gt", 0),
                        ("state", "sending"),
                        models.Q(("claim", "00000000000000000000000000000000"), _negated=True),
                    ),
                    models.Q(
                        models.Q(("state", "sending"), _negated=True),
                        ("claim", "00000000000000000000000000000000"),
                        ("lease_until", 0),
                    ),
                    _connector="OR",
                ),
                name="nontax_bill_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="bill",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "inserted"), _negated=True),
                    ("code_unknown", 1),
                    models.Q(("code", "-"), _negated=True),
                    _connector="OR",
                ),
                name="nontax_bill_code",
            ),
        ),
        migrations.AddConstraint(
            model_name="bill",
            constraint=models.CheckConstraint(
                condition=models.Q(("code_unknown__in", (0, 1))), name="nontax_bill_unknown"
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="bill",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="attempts",
                to="nontax.bill",
                verbose_name="bill",
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["order_id"], name="nontax_event_order"),
        ),
        migrations.AddField(
            model_name="evidence",
            name="bill",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="evidence",
                to="nontax.bill",
                verbose_name="bill",
            ),
        ),
        migrations.AddConstraint(
            model_name="pace",
            constraint=models.UniqueConstraint(
                fields=("account", "interface"), name="nontax_pace_key"
            ),
        ),
        migrations.AddIndex(
            model_name="hold",
            index=models.Index(fields=["due_at"], name="nontax_hold_due"),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(
                fields=("bill", "number"), name="nontax_attempt_number"
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(fields=("bill", "slot"), name="nontax_attempt_slot"),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(("slot__lte", 0), ("signed", 1), _connector="OR"),
                name="nontax_attempt_signed",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(("signed__in", (0, 1))), name="nontax_attempt_flag"
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("slot__gte", -4611686018427387904), ("slot__lte", 4611686018427387904)
                ),
                name="nontax_attempt_range",
            ),
        ),
    ]
