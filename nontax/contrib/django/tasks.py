"""The tasks that a doorbell starts: Celery's and Django's own, each if its package is there."""

from typing import Any

from nontax.contrib.django.draining import drain
from nontax.contrib.django.ringing import EXPIRES

celery_task: Any = None
django_task: Any = None

try:
    from celery import shared_task
except ImportError:
    pass
else:
    # Acknowledged before it begins: the rows know what is to be done, not the message.
    celery_task = shared_task(
        name="nontax.send", ignore_result=True, acks_late=False, expires=EXPIRES
    )(drain)

try:
    from django.tasks import task
except ImportError:
    pass
else:
    django_task = task()(drain)
