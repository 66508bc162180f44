from django.contrib import admin

from hospital.models import Payment


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    list_display = ("order_id", "yuan", "paid_at", "bill_number", "card_code")
