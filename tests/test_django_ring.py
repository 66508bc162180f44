"""Django's own tasks, rung by a doorbell. Celery's are in test_django_engines.py."""

from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from bills import bill
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from djangos import count_posts, nontax_of, outbox_in

from nontax.contrib.django import outbox, ringing
from nontax.sandbox import Sandbox


@pytest.fixture
def rows(tmp_path: Path, sandbox: Sandbox) -> Iterator[None]:
    with outbox_in(tmp_path, nontax_of(sandbox, "outbox", ring="tasks")):
        yield


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 is the first to have tasks")
def test_djangos_task_sends_what_waits(rows: None, sandbox: Sandbox) -> None:
    """Django's own backend, which does a task at once."""
    with transaction.atomic(using="outbox"):
        sent = [outbox.enqueue(bill(), account="bureau") for _ in range(3)]
        assert not sandbox.bills
    assert sandbox.bills.keys() == {row.order_id for row in sent}
    with transaction.atomic(using="outbox"):
        outbox.enqueue(bill(), account="bureau")
        transaction.set_rollback(True, using="outbox")
    assert count_posts(sandbox).total() == 3


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="it has tasks")
def test_a_ring_without_its_package_fails_no_payment(rows: None, sandbox: Sandbox) -> None:
    with transaction.atomic(using="outbox"):
        row = outbox.enqueue(bill(), account="bureau")
    row.refresh_from_db()
    assert row.state == "waiting"
    with pytest.raises(ImproperlyConfigured, match=r"manage\.py check"):
        ringing.ring()
