"""The doorbell: somebody is told that bills wait. Lost, late and doubled ones change no outcome.

The row is the letter. Whoever comes looks into the outbox, and finds what waits, or nothing.
"""

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.utils.module_loading import import_string

from nontax.contrib.django import conf

# Seconds after which a doorbell that nobody has heard need not be heard any more.
EXPIRES = 60
# Tasks are called by their names: they stand above whoever rings.
_TASKS = {
    "celery": "nontax.contrib.django.tasks.celery_task",
    "tasks": "nontax.contrib.django.tasks.django_task",
}


def ring_on_commit(using: str) -> None:
    """Ring when the transaction is committed: once, however many bills it has."""
    if conf.outbox().ring is None:
        return
    if any(entry[1] is ring for entry in connections[using].run_on_commit):
        return
    # A function with a name: Django cannot log what a partial one raises.
    transaction.on_commit(ring, using=using, robust=True)


def ring() -> None:
    """Ring at once, as the setting RING says.

    Raises ImproperlyConfigured if its package is missing, and what the queue raises.
    """
    how = conf.outbox().ring
    if how is None:
        return
    task = import_string(_TASKS[how]) if how in _TASKS else None
    if task is None:
        raise ImproperlyConfigured(f'NONTAX["OUTBOX"]["RING"] is {how!r}: see manage.py check')
    if how == "celery":
        # Not tried again: a request does not wait for a queue that is away.
        task.apply_async(expires=EXPIRES, ignore_result=True, retry=False)
    else:
        task.enqueue()
