"""A bill in doubt is sent once more, because a person has signed for it."""

from nontax.contrib.django import accounts, conf
from nontax.contrib.django.models import Bill, Content
from nontax.contrib.django.rows import learn, now_ms
from nontax.contrib.django.store import OutboxStore
from nontax.delivery.deliver import Delivered, upload
from nontax.delivery.resolve import resend as resend_from
from nontax.delivery.servers import server_of
from nontax.delivery.store import Key, PdfDue

# Seconds since the last attempt was given up: an answer of its own may still come.
AT_LEAST = 600.0
# Bills at a time, for people who look at the answers.
MOST = 100


def resend(
    using: str, bill: Bill, *, by: str, checked_by: str, note: str
) -> tuple[Delivered, bool]:
    """Send it, in the calling thread; what it has come to, and whether others can follow.

    An answer that WeChat has the bill counts as delivered. Call it outside transactions. Raises
    ValueError if the bill is not in doubt or its last attempt is too young, OSError and ValueError
    for its PDF, NontaxError if that cannot be uploaded, and ImproperlyConfigured.
    """
    client = accounts.client(bill.account)
    store = OutboxStore(
        bill.account,
        using=using,
        lease=conf.outbox().lease,
        timeout=conf.timeout_of(conf.account(bill.account)),
    )
    key = Key(bill.appid, bill.order_id)
    store.use_server(server_of(client._base_url))
    try:
        content = Content.objects.using(using).get(pk=bill.pk)
        if content.pdf and bill.media_due <= now_ms():
            upload(store, client, PdfDue(key, content.pdf, content.pdf_sha256))
        done = resend_from(store, client, key, by=by, checked_by=checked_by, at_least=AT_LEAST)
        learn(bill.pk, using, "person", "resend", by=by, checked_by=checked_by, note=note)
        return done
    finally:
        store.close()
