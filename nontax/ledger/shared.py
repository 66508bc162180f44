"""The ledger of a client: one for each file in a process, however many clients have it."""

import os
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from nontax.ledger.ledger import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_open: "WeakValueDictionary[str, Ledger]" = WeakValueDictionary()


def ledger_for(ledger: "Ledger | str | os.PathLike[str]", base_urls: "Sequence[str]") -> Ledger:
    """The ledger that was given, or that of a path, for a client of these hosts.

    Raises LedgerError if it cannot be used, or has another server's bills.
    """
    if not isinstance(ledger, Ledger):
        path = os.path.realpath(os.fspath(ledger))
        found = _open.get(path)
        if found is None:
            found = _open.setdefault(path, Ledger(path))
        ledger = found
    ledger.use_server(server_of(base_urls[0]))
    return ledger


def server_of(base_url: str) -> str:
    """Whose bills go there: "weixin" for all hosts of WeChat's, else scheme and host."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").rstrip(".")
    if host == "api.weixin.qq.com" or host.endswith(".api.weixin.qq.com"):
        return "weixin"
    if host in ("api2.weixin.qq.com",):
        return "weixin"
    return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2].lower()}"
