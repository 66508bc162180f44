from django.apps import AppConfig


class HospitalConfig(AppConfig):
    name = "hospital"
    verbose_name = "某市第一医院"

    def ready(self):
        from hospital import receivers  # noqa: F401
