"""What a doorbell's task does."""

import threading

from nontax.contrib.django import conf
from nontax.contrib.django.relay import Relay, waiting
from nontax.contrib.django.ringing import ring

# One task holds a worker no longer.
_MOST_BILLS = 2_000
_MOST_SECONDS = 20.0


def drain() -> int:
    """Send what waits, for a while; how many bills. If more are left, ring again."""
    relay = Relay(limit=_MOST_BILLS)
    timer = threading.Timer(_MOST_SECONDS, relay.stop)
    timer.daemon = True
    timer.start()
    try:
        failed = relay.run(once=True)
    finally:
        timer.cancel()
    if relay.sent and set(waiting(conf.outbox().database)) - set(failed):
        ring()
    return relay.sent
