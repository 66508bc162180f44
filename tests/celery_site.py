"""Celery's app of a site for tests. TEST_BROKER: where its queue is.

`plain` is what people write without an outbox: a task that sends one bill.
"""

import os
from typing import Any

from celery import Celery

from nontax.contrib.django import accounts, tasks

app = Celery("site", broker=os.environ["TEST_BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    # So that a test sees soon what Redis does after an hour.
    broker_transport_options={"visibility_timeout": 4, "unacked_restore_limit": 1000},
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
)
app.set_default()
assert tasks.celery_task is not None


def _send(bill: "dict[str, Any]") -> None:
    accounts.client("bureau").insert_bill(bill)


plain_late = app.task(name="plain_late", acks_late=True, reject_on_worker_lost=True)(_send)
plain = app.task(name="plain", acks_late=False)(_send)
