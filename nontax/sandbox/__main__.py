"""`python -m nontax.sandbox`: runs a sandbox in a terminal until Ctrl-C or SIGTERM."""

import argparse
import contextlib
import ipaddress
import os
import shlex
import signal
import sys
import tempfile
import threading
from pathlib import Path

from .accounts import Account
from .authorisation import AUTHORISE_PATH
from .certificates import make_certificates
from .server import Sandbox


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m nontax.sandbox",
        description="A local imitation of WeChat's server. Prints what to export for nontax to use "
        "it, then one line per request.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8443, help="0: any free one (%(default)s)")
    parser.add_argument("--tls", action="store_true", help="https with a throw-away certificate")
    parser.add_argument("--cert", metavar="FILE", help="https with this certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", help="its key, if that is a file of its own")
    parser.add_argument(
        "--orders",
        choices=("authorised", "strict"),
        default="authorised",
        help="what an order counts as that nothing was said about; strict: as never authorised, "
        "like with WeChat (%(default)s)",
    )
    parser.add_argument(
        "--unit-push-url", metavar="URL", help="where the collecting unit's events are pushed to"
    )
    parser.add_argument(
        "--bureau-push-url", metavar="URL", help="where the finance bureau's events are pushed to"
    )
    parser.add_argument("--push-token", metavar="TEXT", help="what pushes are signed with")
    arguments = parser.parse_args()
    if arguments.key and not arguments.cert:
        parser.error("--key needs --cert")
    if arguments.tls and arguments.cert:
        parser.error("--tls makes a certificate of its own: leave out --cert")
    return arguments


class _Log:
    """Prints log lines as long as anybody reads them."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()

    def __call__(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # Python would try, and complain, once more at its exit.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            self.abandoned.set()


def _subject(host: str) -> tuple[list[str], list[str]]:
    """The names and the addresses that a certificate for a sandbox on `host` is made out to."""
    names, addresses = ["localhost"], ["127.0.0.1", "::1"]
    if not host:
        return names, addresses
    try:
        ipaddress.ip_address(host)
    except ValueError:
        names.append(host)
    else:
        addresses.append(host)
    return names, addresses


def _set_up_pushes(sandbox: Sandbox, arguments: argparse.Namespace) -> None:
    sandbox.unit.push_url = arguments.unit_push_url
    sandbox.bureau.push_url = arguments.bureau_push_url
    if arguments.push_token is not None:
        sandbox.unit.push_token = sandbox.bureau.push_token = arguments.push_token


def _credentials(account: Account) -> list[str]:
    return [
        f"export NONTAX_ACCESS_TOKEN={account.access_token}",
        f"export NONTAX_APPID={account.appid}",
        f"export NONTAX_SECRET={account.secret}",
    ]


def _run(arguments: argparse.Namespace) -> None:
    log = _Log()
    with contextlib.ExitStack() as stack:
        certfile, keyfile, ca_file = arguments.cert, arguments.key, arguments.cert
        if arguments.tls:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="nontax-sandbox-"))
            names, addresses = _subject(arguments.host)
            made = make_certificates(directory, names=names, addresses=addresses)
            certfile, keyfile, ca_file = made.cert_file, made.key_file, made.ca_file
        sandbox = stack.enter_context(
            Sandbox(
                host=arguments.host,
                port=arguments.port,
                certfile=certfile,
                keyfile=keyfile,
                orders=arguments.orders,
                log=log,
            )
        )
        _set_up_pushes(sandbox, arguments)
        print(f"export NONTAX_BASE_URL={sandbox.base_url}")
        print("\n".join(_credentials(sandbox.bureau)))
        if ca_file is not None:
            print(f"export NONTAX_CA_FILE={shlex.quote(str(Path(ca_file).resolve()))}")
        print("# This is the finance bureau. The collecting unit, for another terminal:")
        for line in _credentials(sandbox.unit):
            print(f"# {line}")
        print(f"# The s_pappid that getbillauthurl needs: {sandbox.bureau.s_pappid}")
        print(f"# Wallets, orders, requests: {sandbox.pages_url}")
        print(f"# Authorisation pages: {sandbox.base_url}{AUTHORISE_PATH}?key=... (getbillauthurl)")
        print("# One line per request follows; Ctrl-C ends the sandbox.", flush=True)
        log.abandoned.wait()


def main() -> int:
    """Run until a signal comes or nobody reads the log any more; the exit status."""
    arguments = _arguments()
    # A shell starts background jobs with SIGINT ignored; here both always end the sandbox.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(arguments)
    except KeyboardInterrupt:
        return 0
    except (OSError, RuntimeError, ValueError) as error:
        print(f"nontax.sandbox: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
