"""Celery: a worker that is rung when a bill is committed, and looks once a minute by itself."""

from celery import Celery

app = Celery("hospital")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()  # nontax.contrib.django.tasks
# A doorbell may get lost; the row does not.
app.conf.beat_schedule = {"nontax": {"task": "nontax.send", "schedule": 60.0}}
