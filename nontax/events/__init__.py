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

A citizen's chat message comes to the same URL, and is an OtherEvent, whatever is in it: an error
page in answer to it would tell the citizen that the service is out of order.

Use the safe mode (安全模式) if you can. The plain mode (明文模式) cannot promise that a push is
WeChat's: the signature covers a time and a nonce, but not the body, and not which of the two is
which. Whoever has seen one push can send another body with it, and if its nonce looks like a later
time, also when that time has come, even months later. A plain push is refused if its CreateTime
is more than 10 minutes from the signed time, which stops old bodies only. In plain mode take an
event as a hint, and ask `get_auth_data` before you act on it. In the compatible mode (兼容模式) a
reader with `aes_key` believes only the encrypted part.

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
