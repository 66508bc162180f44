from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Payment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("order_id", models.CharField(max_length=64, unique=True, verbose_name="订单号")),
                ("patient", models.CharField(max_length=100, verbose_name="患者姓名")),
                ("fen", models.PositiveIntegerField(verbose_name="金额（分）")),
                ("paid_at", models.DateTimeField(verbose_name="缴费时间")),
                (
                    "bill_number",
                    models.CharField(max_length=10, unique=True, verbose_name="票据号码"),
                ),
                ("pdf", models.FileField(upload_to="bills", verbose_name="票据 PDF")),
                (
                    "card_code",
                    models.CharField(blank=True, max_length=255, verbose_name="卡券 code"),
                ),
            ],
            options={
                "verbose_name": "缴费记录",
                "verbose_name_plural": "缴费记录",
            },
        ),
    ]
