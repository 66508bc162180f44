"""The SQLite store: every bill known after any crash, never sent twice across crashes."""

from nontax.ledger.ledger import Ledger as Ledger
from nontax.ledger.upkeep import accept_restored as accept_restored
from nontax.ledger.upkeep import restore as restore
