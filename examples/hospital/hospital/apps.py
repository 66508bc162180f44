from django.apps import AppConfig
from django.conf import settings


class HospitalConfig(AppConfig):
    name = "hospital"
    verbose_name = "某市第一医院"

    def ready(self):
        from hospital import receivers  # noqa: F401

        if settings.NONTAX["OUTBOX"].get("RING") == "celery":
            # So that the website, too, knows Celery's broker.
            from hospital import tasks  # noqa: F401
