"""The hospital as one command: website, relay and a sandbox that stands in for WeChat.

    python examples/hospital/start.py                 on SQLite
    python examples/hospital/start.py --servers       on PostgreSQL, Redis and Celery

Needs `pip install 'nontax[django]'`; with --servers also Debian's packages postgresql and
redis-server, and `pip install celery redis 'psycopg[binary]'`. All lies in a folder of its own,
which is removed at the end. Ctrl-C ends it.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nontax.sandbox import Sandbox

HERE = Path(__file__).resolve().parent
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until the website answers."""
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                sys.exit("the website has not come up")
            time.sleep(0.1)
        else:
            return


def environment(folder: Path, sandbox: Sandbox) -> dict[str, str]:
    """What a hospital has in its environment: accounts and secrets."""
    with sandbox.client(sandbox.bureau) as bureau:
        card = bureau.create_bill_card(
            payee="某市第一医院", logo_url="https://example.com/logo.png"
        )
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "hospital.settings",
        "HOSPITAL_FOLDER": str(folder),
        "HOSPITAL_SECRET_KEY": secrets.token_hex(32),
        "HOSPITAL_CARD_ID": card.card_id,
        "WECHAT_BASE_URL": sandbox.base_url,
        "BUREAU_APPID": sandbox.bureau.appid,
        "BUREAU_SECRET": sandbox.bureau.secret,
        "BUREAU_S_PAPPID": sandbox.bureau.s_pappid,
        "UNIT_APPID": sandbox.unit.appid,
        "UNIT_SECRET": sandbox.unit.secret,
        "UNIT_PUSH_TOKEN": sandbox.unit.push_token,
        "UNIT_PUSH_AES_KEY": AES_KEY,
    }


class Processes:
    """Programs that run until the end, and are ended in turn."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, env: dict[str, str]) -> None:
        """Without its greetings: what it logs comes by the other way."""
        # A group of its own: Ctrl-C reaches this program alone, which ends them in turn.
        process = subprocess.Popen(
            command, cwd=HERE, env=env, stdout=subprocess.DEVNULL, process_group=0
        )
        self._running.append(process)

    def wait(self) -> None:
        """Until one of them ends."""
        while all(process.poll() is None for process in self._running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running[0].wait(0.5)

    def stop(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description="A hospital whose bills go into WeChat's wallets.")
    parser.add_argument("--port", type=int, default=8000, help="of the website; 0: any free one")
    parser.add_argument("--servers", action="store_true", help="on PostgreSQL, Redis and Celery")
    arguments = parser.parse_args()
    port = arguments.port or free_port()
    # So that these end everything as Ctrl-C does; SIGHUP comes when the terminal is closed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    python, processes = sys.executable, Processes()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hospital-")))
        sandbox = stack.enter_context(Sandbox(orders="strict"))
        sandbox.unit.push_aes_key = AES_KEY
        sandbox.unit.push_url = f"http://127.0.0.1:{port}/wechat/unit/"
        env = environment(folder, sandbox)
        if arguments.servers:
            import engines

            print(f"starting PostgreSQL and Redis in {folder}", flush=True)
            env["HOSPITAL_SERVERS"] = json.dumps(stack.enter_context(engines.started(folder)))
        stack.callback(processes.stop)
        password = secrets.token_hex(4)
        print("making the tables", flush=True)
        for command in (
            ["migrate", "--verbosity", "0"],
            ["check", "--database", "default"],
            ["createsuperuser", "--no-input", "--username", "boss", "--email", "boss@example.com"],
        ):
            subprocess.run(
                [python, "manage.py", *command], cwd=HERE, check=True, stdout=subprocess.DEVNULL,
                env=env | {"DJANGO_SUPERUSER_PASSWORD": password},
            )  # fmt: skip
        address = f"127.0.0.1:{port}"
        print("starting the website and what sends its bills", flush=True)
        processes.start(python, "manage.py", "runserver", "--noreload", address, env=env)
        if arguments.servers:
            # One worker is enough: a task has WINDOW bills in flight.
            celery = [python, "-m", "celery", "-A", "hospital.tasks"]
            processes.start(*celery, "worker", "--concurrency=1", "--loglevel=warning", env=env)
            schedule = str(folder / "beat")
            processes.start(*celery, "beat", "--loglevel=warning", "-s", schedule, env=env)
        else:
            processes.start(python, "manage.py", "nontax_send", "--poll", "0.2", env=env)
        wait_for(port)
        print(f"cashier  http://{address}/")
        print(f"admin    http://{address}/admin/     boss, {password}")
        print(f"WeChat   {sandbox.pages_url}")
        print("Ctrl-C ends it.", flush=True)
        processes.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
