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
                ("number", models.IntegerField()),
                ("slot", models.BigIntegerField()),
                ("signed", models.SmallIntegerField(default=0)),
                ("signed_by", models.CharField(default="", max_length=150)),
                ("back_to", models.CharField(max_length=16)),
                ("claim", models.CharField(max_length=32)),
                ("worker", models.CharField(default="", max_length=150)),
                ("began_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
                ("ended", models.SmallIntegerField(default=0)),
                ("outcome", models.CharField(default="", max_length=16)),
                ("errcode", models.IntegerField(default=0)),
                ("errmsg", models.TextField(default="")),
                ("rid", models.CharField(default="", max_length=255)),
                ("reason", models.TextField(default="")),
                ("curl_code", models.IntegerField(default=0)),
                ("http_status", models.IntegerField(default=0)),
                ("transfers", models.IntegerField(default=0)),
                ("openid", models.CharField(default="", max_length=255)),
            ],
            options={
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
                ("appid", nontax.contrib.django.models.ExactField(max_length=64)),
                ("order_id", nontax.contrib.django.models.ExactField(max_length=128)),
                ("account", nontax.contrib.django.models.ExactField(max_length=64)),
                ("card_id", nontax.contrib.django.models.ExactField(max_length=64)),
                ("fee", models.BigIntegerField()),
                ("billing_no", nontax.contrib.django.models.ExactField(max_length=64)),
                ("billing_code", nontax.contrib.django.models.ExactField(max_length=64)),
                ("digest", models.CharField(max_length=64)),
                ("state", models.CharField(max_length=16)),
                ("attempt", models.IntegerField(default=0)),
                (
                    "claim",
                    models.CharField(default="00000000000000000000000000000000", max_length=32),
                ),
                ("lease_until", models.BigIntegerField(default=0)),
                ("priority", models.SmallIntegerField(default=0)),
                ("media_due", models.BigIntegerField(default=4611686018427387904)),
                ("code", nontax.contrib.django.models.ExactField(default="-", max_length=255)),
                ("code_unknown", models.SmallIntegerField(default=0)),
                ("errcode", models.IntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "nontax_bill",
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
                ("key_hash", models.CharField(max_length=64, unique=True)),
                ("account", nontax.contrib.django.models.ExactField(max_length=64)),
                ("kind", models.CharField(max_length=32)),
                ("succeeded", models.SmallIntegerField()),
                ("appid", nontax.contrib.django.models.ExactField(max_length=64)),
                ("order_id", nontax.contrib.django.models.ExactField(max_length=128)),
                ("content", models.TextField()),
                ("received_at", models.DateTimeField()),
                ("error", models.CharField(default="", max_length=150)),
            ],
            options={
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
                ("at", models.DateTimeField()),
                ("kind", models.CharField(max_length=32)),
                ("verdict", models.CharField(max_length=32)),
                ("who", models.CharField(default="", max_length=150)),
                ("checked_by", models.CharField(default="", max_length=150)),
                ("note", models.TextField(default="")),
                ("detail", models.TextField(default="")),
            ],
            options={
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
                ("account", nontax.contrib.django.models.ExactField(max_length=64)),
                ("interface", models.CharField(max_length=32)),
                ("minute", models.BigIntegerField(default=0)),
                ("used", models.IntegerField(default=0)),
                ("day", models.IntegerField(default=0)),
                ("day_used", models.BigIntegerField(default=0)),
                ("paused_until", models.BigIntegerField(default=0)),
                ("probe_at", models.BigIntegerField(default=0)),
                ("why", models.CharField(default="", max_length=255)),
                ("turn", nontax.contrib.django.models.ExactField(default="", max_length=64)),
            ],
            options={
                "db_table": "nontax_pace",
            },
        ),
        migrations.CreateModel(
            name="Relay",
            fields=[
                ("worker", models.CharField(max_length=150, primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=150)),
                ("began_at", models.DateTimeField()),
                ("beat_at", models.DateTimeField()),
                ("version", models.CharField(max_length=32)),
            ],
            options={
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
                ("name", models.CharField(max_length=255)),
            ],
            options={
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
                ("appid", nontax.contrib.django.models.ExactField(max_length=64, unique=True)),
                ("name", models.CharField(blank=True, default="", max_length=255)),
                ("rate", models.FloatField(default=0)),
                ("minute", models.BigIntegerField(default=0)),
                ("used", models.IntegerField(default=0)),
            ],
            options={
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
                    ),
                ),
                ("title", models.TextField()),
                ("billing_time", models.BigIntegerField()),
                ("extra", models.TextField(default="")),
                ("shape", models.CharField(max_length=16)),
                ("media_id", models.CharField(default="", max_length=255)),
                ("pdf", models.TextField(default="")),
                ("pdf_sha256", models.CharField(default="", max_length=64)),
            ],
            options={
                "db_table": "nontax_content",
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
            index=models.Index(fields=["state", "lease_until"], name="nontax_bill_leases"),
        ),
        migrations.AddIndex(
            model_name="bill",
            index=models.Index(fields=["billing_no", "billing_code"], name="nontax_bill_number"),
        ),
        migrations.AddIndex(
            model_name="bill",
            index=models.Index(fields=["card_id", "code"], name="nontax_bill_card"),
        ),
        migrations.AddConstraint(
            model_name="bill",
            constraint=models.UniqueConstraint(
                fields=("appid", "order_id"), name="nontax_bill_key"
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
            ),
        ),
        migrations.AddConstraint(
            model_name="pace",
            constraint=models.UniqueConstraint(
                fields=("account", "interface"), name="nontax_pace_key"
            ),
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
