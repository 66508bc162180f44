"""The server that all contestants meet: nginx on loopback HTTPS, with one fixed reply."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from contestants import PATH

from nontax.sandbox.certificates import make_certificates

REPLY = '{"errcode":0,"errmsg":"ok","code":"682000661927","openid":"ojZ8Ytz4lESxxxx_R1TvB2Kds"}'
SLOW = "/slow"
SLOW_BILLS_PER_SECOND = 160

# `mirror` is what makes nginx read the body before it replies; empty_gif refuses a POST at no cost,
# which leads to the reply. Below SLOW replies are handed out at a fixed pace: requests queue.
CONFIG = """\
{user}
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    log_format session "$connection $ssl_session_reused";
    access_log {log};
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    limit_req_zone $server_port zone=pace:32k rate={pace}r/s;
    server {{
        listen {address}:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols {protocol};
        ssl_session_cache shared:sessions:1m;
        location = {path} {{ mirror /read; empty_gif; error_page 405 = @reply; }}
        location = {slow}{path} {{
            limit_req zone=pace burst=1000;
            mirror /read; empty_gif; error_page 405 = @reply;
        }}
        location @reply {{ return 200 '{reply}'; }}
        location = /read {{ internal; return 204; }}
    }}
}}
"""


@dataclass(frozen=True)
class Server:
    """A running nginx. log: a line per reply, with "r" if TLS was resumed."""

    base_url: str
    ca_file: str
    pid: int
    log: Path


def forget_environment() -> None:
    """Nothing of the caller's environment may touch one contestant and not another."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("NONTAX_", "PYTHON")):
            del os.environ[name]
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        os.environ.pop(name, None)


def find_nginx() -> str:
    """Return the program's path; SystemExit with what to install if there is none."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("The benchmarks need nginx:\n    sudo apt install nginx-light")
    return program


def nginx_version() -> str:
    done = subprocess.run([find_nginx(), "-v"], capture_output=True, text=True, check=True)
    return done.stderr.strip().removeprefix("nginx version: ")


@contextmanager
def running_nginx(
    address: str = "127.0.0.1", protocol: str = "TLSv1.2 TLSv1.3", *, logging: bool = False
) -> Iterator[Server]:
    """Start nginx on a free port of `address`, and end it afterwards."""
    program = find_nginx()
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    with TemporaryDirectory(prefix="nontax-bench-") as name:
        folder = Path(name)
        log = folder / "sessions.log"
        made = make_certificates(folder, addresses=[address])
        config = folder / "nginx.conf"
        config.write_text(
            CONFIG.format(
                folder=folder,
                # Its usual other user does not exist in a namespace without real root.
                user="user root;" if os.geteuid() == 0 else "",
                log=f"{log} session" if logging else "off",
                pace=SLOW_BILLS_PER_SECOND,
                address=address,
                port=port,
                certificate=made.cert_file,
                key=made.key_file,
                protocol=protocol,
                path=PATH,
                slow=SLOW,
                reply=REPLY,
            ),
            "utf-8",
        )
        process = subprocess.Popen(
            [program, "-e", "stderr", "-p", folder, "-c", config], stdin=subprocess.DEVNULL
        )
        try:
            wait_until_it_listens(process, address, port)
            yield Server(f"https://{address}:{port}", str(made.ca_file), process.pid, log)
        finally:
            process.terminate()
            process.wait()


def wait_until_it_listens(process: subprocess.Popen[bytes], address: str, port: int) -> None:
    while process.poll() is None:
        try:
            socket.create_connection((address, port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise SystemExit("nginx ended at once; what it said stands above")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
