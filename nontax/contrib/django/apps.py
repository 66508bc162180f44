"""The app, under the label "nontax"."""

try:
    import django
    from django.apps import AppConfig
except ImportError as error:
    raise ImportError("nontax.contrib.django needs Django: pip install 'nontax[django]'") from error

if django.VERSION < (5, 2):
    raise ImportError("nontax.contrib.django needs Django 5.2 or newer")


from nontax.contrib.django.words import words


class NontaxConfig(AppConfig):
    """The outbox."""

    name = "nontax.contrib.django"
    label = "nontax"
    verbose_name = words("fiscal e-bills")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from nontax.contrib.django import checks, databases

        del checks, databases
