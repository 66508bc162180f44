"""PostgreSQL and Redis in a folder of their own, as an ordinary user, for as long as start.py runs.

For trying out. In production PostgreSQL has a synchronous standby (see docs/django.md).
"""

import contextlib
import glob
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# Root may not run PostgreSQL.
NOBODY = 65534


def _find(program: str, package: str) -> str:
    places = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{program}"))
    found = places[-1] if places else shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        sys.exit(f"{program} is missing: apt install {package}")
    return found


def _needs(module: str, package: str) -> None:
    try:
        __import__(module)
    except ImportError:
        sys.exit(f"{package} is missing: pip install '{package}'")


@contextlib.contextmanager
def _running(folder: Path, *command: str) -> Iterator[None]:
    user = _user()
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [*user, *command], cwd=folder, stdout=log, stderr=log, process_group=0
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def _user() -> list[str]:
    if os.getuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def _folder(parent: Path, name: str) -> Path:
    parent.chmod(0o711)
    folder = parent / name
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder


def _wait(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > until:
            sys.exit(f"no server has made {path}: see {path.parent / 'log'}")
        time.sleep(0.05)


@contextlib.contextmanager
def started(parent: Path) -> Iterator[dict[str, object]]:
    """Both servers; how Django finds them."""
    _needs("psycopg", "psycopg[binary]")
    _needs("redis", "redis")
    _needs("celery", "celery")
    postgres, redis = _find("postgres", "postgresql"), _find("redis-server", "redis-server")
    with contextlib.ExitStack() as stack:
        data = _folder(parent, "postgres")
        initdb = [str(Path(postgres).with_name("initdb")), "-D", "data", "-A", "trust"]
        subprocess.run(
            [*_user(), *initdb, "-U", "hospital", "-E", "UTF8", "--locale", "C.UTF-8"],
            cwd=data, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        stack.enter_context(
            _running(data, postgres, "-D", "data", "-c", "listen_addresses=",
                     "-c", f"unix_socket_directories={data}")
        )  # fmt: skip
        kept = _folder(parent, "redis")
        stack.enter_context(
            _running(kept, redis, "--port", "0", "--unixsocket", str(kept / "socket"),
                     "--unixsocketperm", "777", "--save", "", "--dir", str(kept))
        )  # fmt: skip
        _wait(kept / "socket")
        _wait(data / ".s.PGSQL.5432")
        yield {
            "database": {"HOST": str(data), "USER": "hospital", "NAME": "postgres"},
            "cache": f"unix://{kept}/socket",
            "broker": f"redis+socket://{kept}/socket",
        }
