"""`python -m nontax.sandbox`: runs a sandbox in a terminal until Ctrl-C or SIGTERM."""

import argparse
import base64
import contextlib
import errno
import ipaddress
import os
import secrets
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .accounts import Account
from .authorisation import AUTHORISE_PATH
from .certificates import make_certificates
from .faults import Fault, parse
from .server import Sandbox


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _fault(text: str) -> tuple[Fault, dict[str, Any]]:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _arguments(
    argv: Sequence[str] | None = None, prog: str = "python -m nontax.sandbox"
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
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
    parser.add_argument(
        "--push-aes-key",
        metavar="KEY",
        help="push in safe mode, with this EncodingAESKey of 43 characters; new: with a new one",
    )
    parser.add_argument(
        "--push-format", choices=("xml", "json"), default="xml", help="of pushes (%(default)s)"
    )
    parser.add_argument(
        "--one-account",
        action="store_true",
        help="one account is both finance bureau and collecting unit",
    )
    parser.add_argument(
        "--ip-list",
        metavar="ADDRESSES",
        help="the accounts' IP list: addresses and ranges, with commas between",
    )
    parser.add_argument(
        "--fault",
        metavar="FAULT",
        type=_fault,
        action="append",
        default=[],
        help="a fault to play, as nontax.sandbox.faults has it; may be given several times: "
        "'Errcode(45011)', 'Close(\"body\", taken=True, times=3, skip=10)'",
    )
    arguments = parser.parse_args(argv)
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


def _set_up(sandbox: Sandbox, arguments: argparse.Namespace) -> None:
    key = arguments.push_aes_key
    if key == "new":
        key = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    for account, url in (
        (sandbox.bureau, arguments.bureau_push_url),
        (sandbox.unit, arguments.unit_push_url),
    ):
        account.push_url = url or account.push_url  # of one account, either
        account.push_token = arguments.push_token or account.push_token
        account.push_aes_key = key
        account.push_format = arguments.push_format
        if arguments.ip_list is not None:
            account.ip_list = [entry.strip() for entry in arguments.ip_list.split(",")]
    for fault, due in arguments.fault:
        sandbox.inject(fault, **due)


def _push_settings(account: Account) -> str:
    key = "" if account.push_aes_key is None else f", EncodingAESKey {account.push_aes_key}"
    return f"# Pushed to {account.push_url}: Token {account.push_token}{key}"


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
                one_account=arguments.one_account,
            )
        )
        _set_up(sandbox, arguments)
        print(f"export NONTAX_BASE_URL={sandbox.base_url}")
        print("\n".join(_credentials(sandbox.bureau)))
        if ca_file is not None:
            print(f"export NONTAX_CA_FILE={shlex.quote(str(Path(ca_file).resolve()))}")
        if arguments.one_account:
            print("# This is the finance bureau and the collecting unit.")
        else:
            print("# This is the finance bureau. The collecting unit, for another terminal:")
            for line in _credentials(sandbox.unit):
                print(f"# {line}")
        print(f"# The s_pappid that getbillauthurl needs: {sandbox.bureau.s_pappid}")
        for account in sandbox.accounts.values():
            if account.push_url is not None:
                print(_push_settings(account))
        print(f"# Wallets, orders, requests: {sandbox.pages_url}")
        print(f"# Authorisation pages: {sandbox.base_url}{AUTHORISE_PATH}?key=... (getbillauthurl)")
        print("# One line per request follows; Ctrl-C ends the sandbox.", flush=True)
        # A signal that comes just before Python begins to wait does not wake it: without the GIL,
        # one in a hundred did not.
        while not log.abandoned.wait(0.5):
            pass


def main(argv: Sequence[str] | None = None, prog: str = "python -m nontax.sandbox") -> int:
    """Run until a signal comes or nobody reads the log any more; the exit status.

    argv: the options (list of str); None: those of this process. prog: how it was called.
    """
    arguments = _arguments(argv, prog)
    # A shell starts background jobs with SIGINT ignored; here both always end the sandbox.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(arguments)
    except KeyboardInterrupt:
        return 0
    except (OSError, RuntimeError, ValueError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        hint = "; give another port, such as --port 0 (any free one)" if taken else ""
        print(f"nontax.sandbox: {error}{hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
