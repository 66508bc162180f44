"""The events that WeChat pushes to an account's URL: checked, decrypted and read.

Works on the query and the body alone, so it fits any web framework. Not part of `import nontax`.

    from nontax.events import AuthorizationEvent, EventReader, InvalidEventError

    reader = EventReader(token="…", aes_key="…", appid="wx…")   # one per account, for all threads

    answer = reader.echo(query)           # GET: WeChat checks the URL when it is set
    event = reader.read(query, body)      # POST: an AuthorizationEvent, StatusEvent or OtherEvent

Send the answer to the GET as text/plain. Answer every POST within 5 seconds with `success`, also
those that do not concern you; this answer needs no encryption. Otherwise WeChat pushes the event
again, three times in total.

De-duplicate by `event.key`, in the store that all your processes share, together with the work
done for the event. The reader itself remembers nothing: refusing what looks like a repetition would
lose an event whose first handling failed.

Use the safe mode (安全模式) if you can. In the plain mode (明文模式) the signature covers the time
and a nonce but not the body: whoever sees one push can send another body with it until `max_age`
is over. In the compatible mode (兼容模式) a reader with `aes_key` believes only the encrypted part.

The rules of signature and encryption are those of
https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html
and the events belong to
https://developers.weixin.qq.com/doc/service/guide/product/weixin_invoice/Nontax_Bill/Introduction.html
"""

from nontax.events.errors import EventError, InvalidEventError, UntrustedEventError
from nontax.events.model import AuthorizationEvent, Event, OtherEvent, StatusEvent
from nontax.events.reader import EventReader

__all__ = [
    "AuthorizationEvent",
    "Event",
    "EventError",
    "EventReader",
    "InvalidEventError",
    "OtherEvent",
    "StatusEvent",
    "UntrustedEventError",
]
