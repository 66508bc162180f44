"""The ledger of a client: one for each file in a process, however many clients have it."""

import os
from weakref import WeakValueDictionary

from nontax.delivery.servers import server_of
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
