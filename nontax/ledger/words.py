"""What is wrong with a ledger, in words that say what to do."""

import sqlite3

from nontax.errors import LedgerError

# Parts of SQLite's messages, and what to tell of them.
_CAUSES = (
    ("database or disk is full", "the disk is full: free some space, then run the same again"),
    (
        "disk I/O error",
        "the disk does not take it (full, over quota, or broken): look at the system's log",
    ),
    ("readonly database", "it cannot be written: check the permissions of the file and its folder"),
    ("unable to open database file", "it cannot be opened: check its folder and the permissions"),
    ("database is locked", "another process has kept it locked for 30 seconds"),
    ("malformed", "it is damaged: run `nontax ledger verify`, and restore a backup"),
    ("not a database", "it is no ledger, or it is damaged"),
)


# What an office meets, and reads in its own language.
SENTENCES = {
    "restored": (
        "{path} was restored from a backup: bills that were sent since then are not in it. It is "
        "read-only until `nontax ledger accept-restored`"
    ),
    "other_server": (
        "the ledger {path} is of {server}, and this client sends to {other}: use another ledger"
    ),
    "network": (
        "{folder} is on a network or shared file system ({kind}), whose locks do not hold: put the "
        "ledger on a local disk; backups may go there"
    ),
    "mode": "other users may read {path} (mode {mode}), in which there are names: chmod 600 {path}",
}


def said(id: str, **values: str) -> LedgerError:
    """A LedgerError with one of `SENTENCES`."""
    error = LedgerError(reason=SENTENCES[id].format_map(values))
    error.sentence, error.values = SENTENCES[id], values
    return error


def other_server(path: str, server: str, other: str) -> LedgerError:
    """The ledger is of one server, and the client sends to another."""
    names = ["WeChat" if each == "weixin" else each for each in (server, other)]
    return said("other_server", path=path, server=names[0], other=names[1])


def unusable(error: BaseException, path: str = "") -> BaseException:
    """A LedgerError for what SQLite has raised; any other exception as it is.

    Broken keys stay what they are: they are a fault of ours, or two writers, and never the disk.
    """
    if not isinstance(error, sqlite3.Error | OSError) or isinstance(error, sqlite3.IntegrityError):
        return error
    text = str(error)
    words = next((words for part, words in _CAUSES if part in text), text)
    made = LedgerError(reason=f"the ledger{path and f' {path}'} cannot be used: {words}")
    made.__cause__ = error
    return made


def damaged(path: str, what: str) -> LedgerError:
    """The ledger contradicts itself: nothing may be concluded from it."""
    return LedgerError(
        reason=f"the ledger {path} is damaged ({what}): nothing is sent. Run `nontax ledger "
        "verify`, and "
        "restore a backup"
    )
