"""What the cashier takes."""

from django.db import models


class Payment(models.Model):
    """One payment, for which one bill is issued."""

    order_id = models.CharField("订单号", max_length=64, unique=True)
    patient = models.CharField("患者姓名", max_length=100)
    fen = models.PositiveIntegerField("金额（分）")
    paid_at = models.DateTimeField("缴费时间")
    bill_number = models.CharField("票据号码", max_length=10, unique=True)
    pdf = models.FileField("票据 PDF", upload_to="bills")
    card_code = models.CharField("卡券 code", max_length=255, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = "缴费记录"

    def __str__(self):
        return self.order_id

    @property
    def yuan(self):
        return f"{self.fen // 100}.{self.fen % 100:02}"
