"""Real servers for tests: as an ordinary user, in folders of their own, gone when they are done.

PostgreSQL, MariaDB, and Celery's brokers: Redis and RabbitMQ.
"""

import glob
import importlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

# Whoever the tests are: neither server runs as root.
_NOBODY = 65534
WANTED = os.environ.get("DJANGO_SERVERS") == "required"


def _find(program: str) -> str | None:
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{program}"))
    return found[-1] if found else shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")


def need(program: str, driver: str, package: str) -> str:
    """The program's path. The test is skipped unless servers are asked for: they take minutes."""
    if not WANTED:
        pytest.skip("make pytest-databases runs the tests with servers")
    path = _find(program)
    if path is None:
        pytest.fail(f"{program} is not installed: apt install {package}")
    if importlib.util.find_spec(driver) is None:
        pytest.fail(f"{driver} is not installed: pip install -r requirements/databases.txt")
    return path


def _as_user(folder: Path) -> list[str]:
    """What a server's command begins with. It ends with the tests, even if these are killed."""
    alone = ["setpriv", "--pdeathsig=KILL"]
    if os.getuid() != 0:
        return alone
    os.chown(folder, _NOBODY, _NOBODY)
    return [*alone, f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]


class _Server:
    """A server that is started, crashed and started again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nontax-db-", dir="/tmp"))
        self._user = _as_user(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (self.folder / "log").open("ab")

    def call(self, *command: str) -> None:
        done = subprocess.run(
            [*self._user, *command], cwd=self.folder, capture_output=True, text=True, check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def _begin(self, *command: str, more: "dict[str, str] | None" = None) -> None:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            [*self._user, *command], cwd=self.folder, stdout=self._log, stderr=self._log,
            env=env | (more or {}), start_new_session=True,
        )  # fmt: skip

    def _end(self, number: int) -> None:
        assert self._process is not None
        if number == signal.SIGKILL:
            os.killpg(self._process.pid, number)  # what a script has started, too
        else:
            self._process.send_signal(number)
        self._process.wait(60)

    def wait(self, connect: Any, seconds: float = 60) -> None:
        """Until it takes connections."""
        until = time.monotonic() + seconds
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                connect().close()
            except Exception:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGKILL)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(_Server):
    """Its commits are on disk, unless a role says otherwise; WAL is written late."""

    def __init__(self) -> None:
        program = need("postgres", "psycopg", "postgresql")
        super().__init__()
        self._program = program
        self._make()
        self.start()

    def _make(self) -> None:
        initdb = str(Path(self._program).with_name("initdb"))
        self.call(initdb, "-D", "data", "-A", "trust", "-U", "nontax", "-E", "UTF8", "-N")

    def start(self) -> None:
        options = ("listen_addresses=", "wal_writer_delay=10s", "autovacuum=off",
                   f"unix_socket_directories={self.folder}")  # fmt: skip
        given = [word for option in options for word in ("-c", option)]
        self._begin(self._program, "-D", "data", *given)
        self.wait(self.connect)

    def connect(self) -> Any:
        import psycopg

        return psycopg.connect(
            host=str(self.folder), user="nontax", dbname="postgres", autocommit=True
        )

    def lose(self) -> None:
        """All its processes end at once; what was not written is lost."""
        self._end(signal.SIGQUIT)

    def crash(self) -> None:
        """It is lost, and starts again."""
        self.lose()
        self.start()

    @property
    def database(self) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "nontax",
            "HOST": str(self.folder),
        }


class MariaDB(_Server):
    """With its own defaults."""

    def __init__(self) -> None:
        program = need("mariadbd", "pymysql", "mariadb-server")
        super().__init__()
        self._program = program
        self.call(
            "mariadb-install-db", "--no-defaults", f"--datadir={self.folder}/data",
            f"--tmpdir={self.folder}",  # two at a time have the same names for their tables
            "--auth-root-authentication-method=normal", "--skip-test-db",
        )  # fmt: skip
        self.start()
        with self.connect() as connection, connection.cursor() as cursor:
            # A collation that takes "a1" for "A1", as is usual.
            cursor.execute("CREATE DATABASE nontax COLLATE utf8mb4_general_ci")

    def start(self) -> None:
        (self.folder / "socket").unlink(missing_ok=True)
        self._begin(
            self._program, "--no-defaults", f"--datadir={self.folder}/data",
            f"--socket={self.folder}/socket", "--skip-networking",
            f"--tmpdir={self.folder}", f"--pid-file={self.folder}/pid",
            "--innodb-buffer-pool-size=32M",
        )  # fmt: skip
        self.wait(self.connect)

    def connect(self) -> Any:
        import pymysql

        # PyMySQL leaks the socket of a connection that is refused.
        if not (self.folder / "socket").exists():
            raise ConnectionRefusedError
        return pymysql.connect(unix_socket=f"{self.folder}/socket", user="root", autocommit=True)

    def lose(self) -> None:
        """It ends at once."""
        self._end(signal.SIGKILL)

    @property
    def database(self) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "nontax",
            "USER": "root",
            "HOST": "localhost",
            "OPTIONS": {"unix_socket": f"{self.folder}/socket", "charset": "utf8mb4"},
        }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Redis(_Server):
    """A broker that forgets all when it is killed."""

    def __init__(self) -> None:
        self._program = need("redis-server", "celery", "redis-server")
        super().__init__()
        self.start()

    @property
    def broker(self) -> str:
        return f"redis+socket://{self.folder}/socket"

    def start(self) -> None:
        (self.folder / "socket").unlink(missing_ok=True)
        self._begin(self._program, "--port", "0", "--unixsocket", f"{self.folder}/socket",
                    "--save", "", "--appendonly", "no", "--unixsocketperm", "777")  # fmt: skip
        self.wait(self._connect)

    def _connect(self) -> Any:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(f"{self.folder}/socket")
        except OSError:
            connection.close()
            raise
        return connection

    def lose(self) -> None:
        """It ends at once."""
        self._end(signal.SIGKILL)


class RabbitMQ(_Server):
    """With a name server of its own, which ends with it."""

    def __init__(self) -> None:
        self._program = need("rabbitmq-server", "celery", "rabbitmq-server")
        super().__init__()
        self._port, distribution, names = _free_ports(3)
        self._env = {
            "RABBITMQ_NODENAME": f"nontax{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": f"{self.folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{self.folder}/logs",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/plugins",
            "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbit.conf",
            "RABBITMQ_PID_FILE": f"{self.folder}/pid",
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        (self.folder / "rabbit.conf").write_text("log.console.level = error\n")
        self._names = subprocess.Popen(
            [*self._user, "epmd", "-port", str(names), "-address", "127.0.0.1"],
            stdout=self._log, stderr=self._log, cwd=self.folder,
        )  # fmt: skip
        try:
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def broker(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        self._begin("/usr/lib/rabbitmq/bin/rabbitmq-server", more=self._env)
        self.wait(self._connect, 240)

    def _connect(self) -> Any:
        kombu = importlib.import_module("kombu")

        connection = kombu.Connection(self.broker)
        try:
            connection.ensure_connection(max_retries=1, timeout=2)
        except BaseException:
            connection.release()
            raise
        return connection

    def lose(self) -> None:
        """It ends at once."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        super().remove()
        self._names.kill()
        self._names.wait()
