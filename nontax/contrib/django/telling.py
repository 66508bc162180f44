"""What a relay says about itself, and about bills that it has settled."""

import logging
import socket
from os import getpid

from nontax.contrib.django import signals
from nontax.contrib.django.models import Bill
from nontax.delivery.store import Settled

_log = logging.getLogger("nontax.delivery")


def worker_name() -> str:
    """Of this process, for people."""
    return f"{socket.gethostname()}:{getpid()}"[:150]


def tell(settled: Settled) -> None:
    """The answer is on disk: whoever wants to know is told."""
    about = {**settled.key._asdict(), "state": settled.state}
    told = signals.bill_settled.send_robust(sender=Bill, **about)
    if settled.state == "in_doubt":
        told += signals.bill_in_doubt.send_robust(sender=Bill, **about)
    for receiver, error in told:
        if isinstance(error, Exception):
            _log.error("the receiver %r has failed: %s", receiver, type(error).__name__)
