"""Where a ledger may stand, and how its file is made and opened."""

import os
import sqlite3
import stat
import struct
from contextlib import closing, suppress
from uuid import uuid4

from nontax.errors import LedgerError
from nontax.ledger import schema
from nontax.ledger.words import said, unusable
from nontax.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# File systems whose locks or shared memory do not hold between machines, or at all.
_NETWORK = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "drvfs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs3",
        "nfs4",
        "ocfs2",
        "prl_fs",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "vmhgfs",
    ]
)
# The write-ahead log of these and newer ones is safe with several connections.
_SAFE = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
OLDEST = (3, 26)
# A ledger of at most so many bytes is checked as a whole when it is opened.
CHECKED_SIZE = 16 << 20


def has_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite can make a log forget a commit when two connections meet."""
    if version >= _SAFE[0]:
        return False
    return not any(version[:2] == safe[:2] and version >= safe for safe in _SAFE[1:])


def check_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    if version < OLDEST:
        have = ".".join(map(str, version))
        raise LedgerError(reason=f"a ledger needs SQLite 3.26 or newer; this Python has {have}")


def file_system_of(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """The type of the file system on which a path stands; "" if that is not told."""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    best, found = -1, ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = fields.split(" ")[4].encode("latin-1", "replace").decode("unicode_escape")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, found = len(point), rest.split(" ")[0]
    return found


def check_place(path: str, mountinfo: str = "/proc/self/mountinfo") -> None:
    """Raise LedgerError if no ledger can stand there."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise LedgerError(reason=f"there is no folder {folder} for the ledger")
    kind = file_system_of(folder, mountinfo)
    if kind in _NETWORK:
        raise said("network", folder=folder, kind=kind)


# Files whose head this process has read, by device and inode.
_read: set[tuple[int, int]] = set()
_reading = Lock()


def head_of(path: str) -> bytes | None:
    """The first 100 bytes of a file; None if this process has read them before. Raises OSError.

    A file that this process may have open in SQLite must never be opened here: to close it would
    take all of SQLite's locks from it (POSIX). Another process would then believe itself alone,
    and remove the log with what was committed. Whoever opens a ledger has come by here before.
    """
    with _reading:
        found = os.stat(path)
        if (found.st_dev, found.st_ino) in _read:
            return None
        with open(path, "rb") as file:
            head = file.read(100)
        if _is_database(head):
            _read.add((found.st_dev, found.st_ino))
        return head


def _is_database(head: bytes) -> bool:
    return len(head) == 100 and head.startswith(b"SQLite format 3\0")


def is_database(path: "str | os.PathLike[str]") -> bool:
    """Whether there is an SQLite database, which may be a ledger that this process uses."""
    try:
        head = head_of(os.fspath(path))
    except OSError:
        return False
    return head is None or _is_database(head)


def check_file(path: str) -> None:
    """Raise LedgerError if the file cannot be a ledger, or others may read it."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise LedgerError(reason=f"{path} is no file")
        head = head_of(path)
    except OSError as error:
        raise unusable(error, path) from error
    if found.st_mode & 0o077:
        raise said("mode", path=path, mode=f"{stat.S_IMODE(found.st_mode):04o}")
    if head is None:
        return
    if not _is_database(head):
        raise LedgerError(reason=f"{path} is no ledger, or it is damaged: restore a backup")
    (application,) = struct.unpack_from(">I", head, 68)
    if application != schema.APPLICATION_ID:
        raise LedgerError(reason=f"{path} is a database of another program, not a ledger")


def connect(path: str, *, uri: str = "") -> sqlite3.Connection:
    """A connection as all of ours are."""
    connection = sqlite3.connect(
        f"file:{_quoted(path)}?{uri}" if uri else path,
        uri=bool(uri),
        isolation_level=None,
        timeout=30,
        check_same_thread=False,
        cached_statements=300,  # those of groups differ with their size
    )
    try:
        for pragma in (
            "busy_timeout = 30000",
            "synchronous = FULL",
            "fullfsync = ON",
            "wal_autocheckpoint = 0",
            "cell_size_check = ON",
            "mmap_size = 0",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def sync_folder(path: str) -> None:
    """Have the disk know the names in a file's folder."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def create(path: str, server: str, now: int) -> None:
    """Make an empty ledger. It appears whole, or not at all; somebody else's is left alone."""
    fresh = f"{path}-new-{os.getpid()}-{uuid4().hex[:8]}"
    try:
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(connect(fresh)) as connection:
            connection.execute("PRAGMA page_size = 4096")
            connection.execute("BEGIN IMMEDIATE")
            for version in sorted(schema.MIGRATIONS):
                for statement in schema.statements(schema.MIGRATIONS[version]):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {schema.VERSION}")
            connection.execute(
                "INSERT INTO meta (id, ledger, server, created) VALUES (1, ?, ?, ?)",
                (uuid4().hex, server, now),
            )
            connection.execute("COMMIT")
            # Not before: what is in a log beside it would not be linked.
            connection.execute("PRAGMA journal_mode = WAL")
        check_file(fresh)
        with suppress(FileExistsError):  # another process was faster
            os.link(fresh, path)
        sync_folder(path)
    except (OSError, sqlite3.Error) as error:
        raise unusable(error, path) from error
    finally:
        for name in (fresh, f"{fresh}-wal", f"{fresh}-shm", f"{fresh}-journal"):
            with suppress(FileNotFoundError):
                os.unlink(name)


def check_version(
    connection: sqlite3.Connection, path: str, migrate: "Callable[[int], None] | None"
) -> None:
    """Raise LedgerError for a newer ledger; make a new one of an older one, if that is wanted."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > schema.VERSION:
        raise LedgerError(
            reason=f"{path} was written by a newer nontax (version {version} of the ledger, this "
            "one "
            f"knows {schema.VERSION}): install that one"
        )
    if version < schema.VERSION and migrate is not None:
        migrate(version)


def check_whole(connection: sqlite3.Connection, path: str, *, size: int) -> None:
    """Raise LedgerError if a ledger that is not large is damaged."""
    if size > CHECKED_SIZE:
        return
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
    if problems != ["ok"]:
        raise LedgerError(
            reason=f"the ledger {path} is damaged ({problems[0]}): nothing is sent. Restore a "
            "backup"
        )
