"""The logger `nontax`: what it is told, what it is never told, and that nobody pays for it."""

import asyncio
import contextlib
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bills import bill
from canary import core, echoing, in_doubt, token

import nontax
from nontax.sandbox import Sandbox, faults


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What the logger gets from INFO on."""
    kept: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    logger, keeper = logging.getLogger("nontax"), Keeper()
    before = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    yield kept
    logger.removeHandler(keeper)
    logger.setLevel(before)


def lines(records: list[logging.LogRecord]) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in records]


# What it is told


def insert_one(client: nontax.Client) -> None:
    client.insert_bill(bill())


def insert_in_bulk(client: nontax.Client) -> None:
    assert [outcome.outcome for outcome in client.insert_bills([bill()])] == ["inserted"]


def insert_in_a_loop(client: nontax.Client) -> None:
    asyncio.run(client.ainsert_bill(bill()))


def insert_in_bulk_in_a_loop(client: nontax.Client) -> None:
    async def insert() -> None:
        async for outcome in client.ainsert_bills([bill()]):
            assert outcome.outcome == "inserted"

    asyncio.run(insert())


WAYS = [insert_one, insert_in_bulk, insert_in_a_loop, insert_in_bulk_in_a_loop]


@pytest.mark.parametrize("insert", WAYS)
def test_tokens_and_repeats(
    insert: Callable[[nontax.Client], None],
    sandbox: Sandbox,
    records: list[logging.LogRecord],
) -> None:
    client = sandbox.client()
    sandbox.inject(faults.Errcode(72036), skip=1)
    insert(client)
    sandbox.bureau.expire_stable_token()
    insert(client)
    appid = sandbox.bureau.appid
    told = lines(records)
    assert told[0] == f"INFO {appid}: fetched the access token from stable_token"
    assert told[1].startswith(f"INFO {appid}: insertbill: errcode 72036; repeat 1 in 0.")
    assert told[2:] == [
        f"WARNING {appid}: insertbill: WeChat refuses the access token (errcode 42001); asking for "
        "a newer one",
        f"INFO {appid}: fetched the access token from stable_token",
    ]
    assert {record.name for record in records} == {"nontax"}


def test_hosts(sandbox: Sandbox, dead: str, records: list[logging.LogRecord]) -> None:
    client = nontax.Client(
        access_token=sandbox.access_token, base_url=f"{dead}/private", retries=1,
        fallback_base_urls=[sandbox.base_url],
    )  # fmt: skip
    client.insert_bill(bill())
    [failed, chosen] = lines(records)
    name, other = dead.removeprefix("http://"), sandbox.base_url.removeprefix("http://")
    assert failed.startswith(f"WARNING nontax: insertbill: nothing could be sent to {name}: ")
    assert failed.endswith("; trying the next host")
    assert chosen == f"INFO nontax: {other} answers; it is first for a while"
    assert "private" not in failed


def test_a_token_that_cannot_be_had(sandbox: Sandbox, records: list[logging.LogRecord]) -> None:
    client = sandbox.client()
    sandbox.bureau.ip_list = ["10.0.0.1"]
    with pytest.raises(nontax.AccountError):
        client.insert_bill(bill())
    assert lines(records) == [
        f"WARNING {sandbox.bureau.appid}: no access token from stable_token: errcode 40164"
    ]


def test_a_token_that_is_forced(sandbox: Sandbox, records: list[logging.LogRecord]) -> None:
    client = sandbox.client()
    client.insert_bill(bill())
    records.clear()
    sandbox.inject(faults.Errcode(40001))
    client.insert_bill(bill())
    told = lines(records)
    assert "asking for a newer one" in told[0]
    forced = [line for line in told if "forcing" in line]
    assert len(forced) == sum(b"true" in request.body for request in sandbox.requests)


def test_a_ticket(sandbox: Sandbox, records: list[logging.LogRecord]) -> None:
    unit = sandbox.client(sandbox.unit)
    unit.get_bill_auth_url(s_pappid=sandbox.bureau.s_pappid, order_id="H1", money=1)
    assert lines(records)[1:] == [f"INFO {sandbox.unit.appid}: fetched the ticket from getticket"]


def test_a_pause_is_told_when_it_begins(sandbox: Sandbox, records: list[logging.LogRecord]) -> None:
    sandbox.inject(faults.Errcode(45011), skip=1)
    client = sandbox.client()

    async def pause() -> None:
        outcomes = client.ainsert_bills([bill()])
        waiting = asyncio.ensure_future(anext(outcomes))
        while not any("pausing" in line for line in lines(records)):
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert len(await outcomes.aclose()) == 1

    asyncio.run(pause())
    [pause_line] = [line for line in lines(records) if "pausing" in line]
    assert pause_line.startswith(
        f"WARNING {sandbox.bureau.appid}: insertbill: the quota of calls per minute is used up "
        "(errcode 45011); pausing for "
    )


# What it is never told


def test_no_credential_title_or_openid(
    sandbox: Sandbox, dead: str, records: list[logging.LogRecord]
) -> None:
    """Each fault that repeats the token, in an answer, a head or a page, met by each way."""
    title, openid, order_id = "Kanarivogel-Titel", "oKanarivogelOpenid", "Kanari-Order"
    replies = [
        *in_doubt(token().encode()).values(),
        *(echoing(token(), code) for code in (40001, 42001, 45011, 72036, 72054, 40164, 72038)),
        faults.Errcode(72036, f"{title} {openid} {order_id} {token()}"),
        faults.Reply(body=f'{{"errcode":0,"openid":"{openid}","code":"x"}}'.encode()),
    ]
    settings: dict[str, Any] = {"base_url": sandbox.base_url, "retries": 1, "timeout": 5}
    client = nontax.Client(token_source=lambda stale: token() + ("2" if stale else ""), **settings)
    other = nontax.Client(access_token=token(), **settings | {"base_url": dead})
    for reply in replies:
        for ask in (
            lambda: client.insert_bill(bill(title=title, order_id=order_id)),
            lambda: client.get_ticket(),
            lambda: client.get_auth_data(s_pappid="p", order_id=order_id),
        ):
            sandbox.inject(reply, times=3)
            with contextlib.suppress(nontax.NontaxError):
                ask()
            sandbox.behave()
    with pytest.raises(nontax.NotSentError):
        other.insert_bill(bill(title=title, order_id=order_id))
    assert len(records) > len(replies)
    for record in records:
        data = pickle.dumps(vars(record)).decode("latin-1") + repr(vars(record))
        for secret in (core(), title, openid, order_id, sandbox.bureau.secret, dead + "/"):
            assert secret not in record.getMessage()
            assert secret not in data


def test_no_app_secret(sandbox: Sandbox, records: list[logging.LogRecord]) -> None:
    secret = "Kanari" + "0" * 26
    client = nontax.Client(appid=sandbox.bureau.appid, secret=secret, base_url=sandbox.base_url)
    with pytest.raises(nontax.AccountError):
        client.insert_bill(bill())
    [record] = records
    assert "Kanari" not in repr(vars(record))


# What it costs


def test_nobody_pays_who_has_no_log(sandbox: Sandbox) -> None:
    """Without the module logging there is no log, and it is not imported, whatever happens."""
    program = (
        "import sys, nontax\n"
        "client = nontax.Client(access_token='t', base_url=sys.argv[1], retries=1, timeout=5)\n"
        "try:\n"
        "    client.insert_bill({'order_id': '1', 'card_id': 'c', 'appid': 'a', 'fee': 1,\n"
        "        'title': 't', 'billing_time': 1700000000, 'billing_no': '1',\n"
        "        'billing_code': '1', 's_pdf_media_id': '1'})\n"
        "except nontax.NontaxError: pass\n"
        "assert 'logging' not in sys.modules\n"
    )
    sandbox.inject(faults.Errcode(72036), times=2)
    done = subprocess.run(
        [sys.executable, "-c", program, sandbox.base_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(sandbox.requests) == 2


def test_nothing_is_printed_where_nobody_has_set_up_logging(sandbox: Sandbox) -> None:
    program = (
        "import logging, sys, nontax\n"
        "client = nontax.Client(access_token='t', base_url=sys.argv[1])\n"
        "try: client.get_s_pappid()\n"
        "except nontax.NontaxError: print('ok')\n"
    )
    sandbox.bureau.ip_list = []
    done = subprocess.run(
        [sys.executable, "-c", program, sandbox.base_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


@pytest.mark.parametrize("insert", WAYS)
def test_a_handler_that_fails_costs_no_bill(
    insert: Callable[[nontax.Client], None], sandbox: Sandbox
) -> None:
    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise ValueError(record)

    logger, broken = logging.getLogger("nontax"), Broken()
    logger.addFilter(broken)
    try:
        sandbox.inject(faults.Errcode(72036), times=1)
        insert(sandbox.client(access_token=sandbox.access_token))
    finally:
        logger.removeFilter(broken)
    assert len(sandbox.bills) == 1


@pytest.mark.parametrize("way", ["one", "bulk"])
def test_ctrl_c_in_a_handler_loses_no_outcome(way: str, sandbox: Sandbox) -> None:
    class Interrupting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyboardInterrupt

    logger, handler = logging.getLogger("nontax"), Interrupting()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    client = sandbox.client(access_token=sandbox.access_token)
    sandbox.inject(faults.Errcode(72036))
    try:
        if way == "one":
            with pytest.raises(KeyboardInterrupt) as caught:
                client.insert_bill(bill())
            known = caught.value.__context__
            notes = getattr(caught.value, "__notes__", [])
            assert isinstance(known, nontax.NontaxError) or "WeChat has taken" in notes[0]
        else:
            run = client.insert_bills([bill()])
            with pytest.raises(KeyboardInterrupt):
                next(run)
            assert [outcome.outcome for outcome in run] == ["inserted"]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
