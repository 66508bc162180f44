"""`nontax doctor`: what stands between this machine and its first bill. Changes nothing."""

import os
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from nontax.cli.books import STATES
from nontax.cli.exits import Exit, StopError, worst
from nontax.cli.words import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nontax import Client
    from nontax.cli.desk import Desk
    from nontax.cli.words import Words

# A signature or a certificate is judged by the clock; minutes do not matter, hours do.
_CLOCK_OFF = 60
_SLOW_SYNC = 0.05

OK, WARNING, FAILED = mark("ok"), mark("warning"), mark("failed")


class Finding(NamedTuple):
    """What one examination found. topic and state are sentences; words is said already."""

    topic: str
    state: str
    words: str
    code: Exit = Exit.STOPPED


def arguments(parser: "ArgumentParser", words: "Words") -> None:
    parser.add_argument(
        "--offline", action="store_true", help=words("check this machine only, send nothing")
    )


def run(desk: "Desk") -> Exit:
    words = desk.words
    headings = {"topic": words("topic"), "state": words("result"), "finding": words("finding")}
    findings = list(_examine(desk))
    table = desk.out.form == "table"
    desk.out.rows(
        headings,
        (
            {
                "topic": words.plain(found.topic) if table else found.topic,
                "state": words.plain(found.state) if table else found.state,
                "finding": found.words,
            }
            for found in findings
        ),
    )
    failed = [found for found in findings if found.state == FAILED]
    desk.count(failed=len(failed))
    if not failed:
        desk.say("no problems found")
    return worst(found.code for found in failed)


def _examine(desk: "Desk") -> Iterator[Finding]:
    yield _versions()
    yield from _configuration(desk)
    yield from _ledger(desk)
    if desk.args.offline:
        return
    try:
        client = desk.client()
    except StopError as stop:
        yield Finding(mark("credentials"), FAILED, stop.sentence, Exit.USAGE)
        return
    except ImportError as error:
        yield Finding(mark("credentials"), FAILED, str(error))
        return
    with client:
        yield Finding(mark("credentials"), OK, _kind_of_token(desk))
        yield from _whose_ledger(desk, client)
        reached = list(_server(desk, client))
        yield from reached
        if all(found.state != FAILED for found in reached):
            yield from _account(desk, client)


# This machine


def _versions() -> Finding:
    import sqlite3

    from nontax.__main__ import versions

    python = ".".join(map(str, sys.version_info[:3]))
    topic = mark("versions")
    try:
        ours = versions().replace("\n", ", ")
    except ImportError as error:
        return Finding(topic, FAILED, str(error))
    return Finding(topic, OK, f"{ours}, Python {python}, SQLite {sqlite3.sqlite_version}")


def _configuration(desk: "Desk") -> Iterator[Finding]:
    words, topic = desk.words, mark("configuration")
    if desk.config.path.exists():
        name = desk.profile_name or "default"
        said = words("{path}, profile {name}", path=desk.config.path, name=name)
        yield Finding(topic, OK, said)
    else:
        said = words("no {path}: using environment variables", path=desk.config.path)
        yield Finding(topic, OK, said)


def _ledger(desk: "Desk") -> Iterator[Finding]:
    from nontax.errors import LedgerError
    from nontax.ledger import Ledger

    words, topic = desk.words, mark("ledger")
    path = desk.ledger_path()
    if path is None or not path.exists():
        yield Finding(topic, WARNING, words("there is none yet ({path})", path=path or "bills.db"))
    else:
        try:
            with Ledger(path, read_only=True) as ledger:
                counts = ledger.counts()
                server = ledger.server
        except LedgerError as error:
            yield Finding(topic, FAILED, words.error(error), Exit.LEDGER)
            return
        shown = ", ".join(f"{words(STATES[state])} {count}" for state, count in counts.items())
        yield Finding(topic, OK, f"{path}, {server or '-'}: {shown or 0}")
    yield from _sqlite(desk)
    folder = str(path.parent) if path else "."
    seconds = _sync_seconds(folder)
    if seconds is None:
        said = words("{folder} is not writable", folder=folder)
        yield Finding(mark("disk"), FAILED, said, Exit.LEDGER)
    else:
        state = WARNING if seconds > _SLOW_SYNC else OK
        took = words("one fsync takes {ms} ms", ms=round(seconds * 1e3, 1))
        yield Finding(mark("disk"), state, took)


def _sqlite(desk: "Desk") -> Iterator[Finding]:
    """Say it where SQLite has the error with several connections that the ledger avoids."""
    import sqlite3

    from nontax.ledger.places import has_wal_reset_bug

    if has_wal_reset_bug():
        said = desk.words(
            "{version} has an error (WAL reset) that the ledger works around; newer ones do not",
            version=sqlite3.sqlite_version,
        )
        yield Finding(mark("SQLite"), OK, said)


def _sync_seconds(folder: str) -> float | None:
    """How long the disk takes to keep a page: the median of five."""
    import tempfile

    times = []
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".nontax-doctor-") as file:
            for _ in range(5):
                began = time.monotonic()
                os.write(file.fileno(), bytes(4096))
                os.fsync(file.fileno())
                times.append(time.monotonic() - began)
    except OSError:
        return None
    return sorted(times)[2]


# The way to the server


def _whose_ledger(desk: "Desk", client: "Client") -> Iterator[Finding]:
    """A ledger is of one server: what only a sandbox has must never count as delivered."""
    from nontax.errors import LedgerError
    from nontax.ledger import Ledger

    path = desk.ledger_path()
    if path is None or not path.exists() or desk.profile.get("server"):
        return
    try:
        with Ledger(path, read_only=True) as ledger:
            ledger.use_server_of(client)
    except LedgerError as error:
        yield Finding(mark("ledger"), FAILED, desk.words.error(error), Exit.LEDGER)


def _server(desk: "Desk", client: "Client") -> Iterator[Finding]:
    """Name, TLS and clock, asked as any HTTP client would."""
    import socket
    from urllib.parse import urlsplit

    words = desk.words
    url = client._base_url
    host = urlsplit(url).hostname or ""
    if _proxies(desk).get(urlsplit(url).scheme):
        yield Finding(mark("proxy"), OK, words("in use"))
    else:
        try:
            address = socket.getaddrinfo(host, None)[0][4][0]
        except OSError as error:
            said = words("{host}: {reason}", host=host, reason=error.strerror or error)
            yield Finding(mark("name"), FAILED, said)
            return
        yield Finding(mark("name"), OK, f"{host}: {address}")
    began = time.time()
    try:
        date = _date_of(desk, url)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        said = words("{host}: {reason}", host=host, reason=reason)
        yield Finding(mark("connection"), FAILED, said)
        return
    yield Finding(mark("connection"), OK, url)
    if date is not None:
        off = round(date - began)
        state = OK if abs(off) <= _CLOCK_OFF else FAILED
        said = words("{seconds} s different from the server's", seconds=off)
        yield Finding(mark("clock"), state, said)


def _proxies(desk: "Desk") -> dict[str, str]:
    import urllib.request

    proxy = desk.profile.get("proxy")
    if proxy is None:
        return urllib.request.getproxies()
    return {"https": str(proxy), "http": str(proxy)} if proxy else {}


def _date_of(desk: "Desk", url: str) -> float | None:
    """What time it is at the server; None if it does not say. Raises OSError or ValueError."""
    import ssl
    import urllib.error
    import urllib.request
    from email.utils import parsedate_to_datetime

    profile = desk.profile
    ca_file = profile.get("ca_file") or os.environ.get("NONTAX_CA_FILE")
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(_proxies(desk)),
        urllib.request.HTTPSHandler(context=context),
    )
    try:
        with opener.open(urllib.request.Request(url, method="HEAD"), timeout=10) as reply:
            date = reply.headers.get("Date")
    except urllib.error.HTTPError as error:
        date = error.headers.get("Date")  # any answer shows that the way is open
    return parsedate_to_datetime(date).timestamp() if date else None


# The account


def _kind_of_token(desk: "Desk") -> str:
    from_environment = not desk.profile_name and any(map(os.environ.get, _VARIABLES))
    profile = {} if from_environment else desk.profile
    by_secret = "appid" in profile or os.environ.get("NONTAX_SECRET")
    if by_secret:
        return desk.words("AppID and AppSecret: stable tokens are fetched")
    return desk.words("an access token, which ends after two hours at most")


_VARIABLES = ("NONTAX_SECRET", "NONTAX_ACCESS_TOKEN")


def _account(desk: "Desk", client: "Client") -> Iterator[Finding]:
    """Token and IP list, permission, quota: each a call that changes nothing."""
    from nontax import errors

    try:
        client.get_quota("/cgi-bin/token")
    except errors.WeChatError as error:
        # 76021 and 76022, about the path, came behind a token that was taken.
        if error.errcode not in (76021, 76022):
            yield Finding(mark("token and IP list"), FAILED, desk.words.error(error))
            return
    except errors.NontaxError as error:
        yield Finding(mark("token and IP list"), FAILED, desk.words.error(error))
        return
    yield Finding(mark("token and IP list"), OK, desk.words("WeChat accepts them"))
    yield _permission(desk, client)
    yield _quota(desk, client)


def _permission(desk: "Desk", client: "Client") -> Finding:
    from nontax import errors

    topic = mark("permission")
    try:
        return Finding(topic, OK, client.get_s_pappid().s_pappid)
    except errors.NontaxError as error:
        said = desk.words.error(error)
        if isinstance(error, errors.AccountError):
            hint = desk.words(
                "this asks for the finance bureau's permission: with a collecting unit's account, "
                "try `nontax auth url`"
            )
            said = f"{said} | {hint}"
        return Finding(topic, FAILED, said)


def _quota(desk: "Desk", client: "Client") -> Finding:
    from nontax import errors

    topic = mark("quota")
    try:
        quota = client.get_quota("/nontax/insertbill")
    except errors.NontaxError as error:
        # Whether WeChat counts this path in the look-up is not documented.
        return Finding(topic, WARNING, desk.words.error(error))
    said = desk.words(
        "{used} of {limit} calls used today", used=quota.used, limit=quota.daily_limit
    )
    return Finding(topic, OK, said)
