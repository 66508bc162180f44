"""Secrets: an AppSecret, and the tokens and tickets that are fetched, are nowhere to be read."""

import asyncio
import copy
import json
import pickle
import signal
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from bills import bill
from canary import (
    BROKEN,
    ERRCODES,
    IN_ENVIRONMENT,
    Insert,
    assert_clean,
    assert_clean_record,
    core,
    echoing,
    family,
    in_doubt,
    long_token,
    raised_by,
    raised_for,
    shown,
    token,
)
from processes import Child, Server, Talk
from servers import RawServer, Wire

import nontax
import nontax.client
from nontax.sandbox import Sandbox, faults

pytestmark = pytest.mark.usefixtures("nothing_is_printed")


# --- the AppSecret, and tokens that are fetched with it -------------------------------------------

FETCHERS = [nontax.StableToken, nontax.AccessToken]


def fetcher(cls: Callable[..., Any], base_url: str, secret: Callable[[], str] = token) -> Any:
    return cls("wx0123456789abcdef", secret(), base_url=base_url, timeout=3)


def by_fetching(cls: Callable[..., Any], base_url: str) -> Insert:
    return nontax.Client(token_source=fetcher(cls, base_url), base_url=base_url).insert_bill


each_fetcher = pytest.mark.parametrize("cls", FETCHERS, ids=lambda cls: cls.__name__)


@each_fetcher
@pytest.mark.parametrize("error", ERRCODES, ids=lambda error: error.__name__)
def test_a_fetch_whose_refusal_repeats_the_secret(
    loud: Sandbox, cls: Callable[..., Any], error: type[nontax.WeChatError]
) -> None:
    loud.inject(echoing(token(), ERRCODES[error]), times=3)
    raised = raised_for(by_fetching(cls, loud.base_url), bill())
    if error in (nontax.AccessTokenError, nontax.SystemBusyError):
        # Of a secret, and of a fetch that was not answered.
        assert isinstance(raised, nontax.AccountError | nontax.NotSentError)
    else:
        assert type(raised) is error
    assert_clean(raised)


@each_fetcher
def test_a_fetch_that_the_sandbox_refuses(loud: Sandbox, cls: Callable[..., Any]) -> None:
    loud.add_account("mine", roles=("bureau",), appid="wx0123456789abcdef", secret="another")
    for secret in (token, long_token):
        source = fetcher(cls, loud.base_url, secret)
        error = raised_by(source)
        assert isinstance(error, nontax.AccountError)
        assert_clean(error)
        assert f"{source!r} {source}".count(core()) == 0


@pytest.mark.parametrize("kind", in_doubt(b"x"))
def test_a_fetch_without_an_answer_that_repeats_the_secret(loud: Sandbox, kind: str) -> None:
    # The older interface has it in its query, and is asked once.
    loud.inject(in_doubt(token().encode())[kind])
    error = raised_for(by_fetching(nontax.AccessToken, loud.base_url), bill())
    assert type(error) is nontax.NotSentError
    assert_clean(error)
    assert len(loud.requests) == 1


@each_fetcher
@pytest.mark.parametrize(
    "reply",
    [
        b"%b\r\n\r\n",
        b"HTTP/1.1 2%b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
        b"HTTP/1.1 302 no\r\nLocation: /%b\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=lambda reply: reply.split(b"%b")[0].decode().split("\r\n")[-1],
)
def test_what_libcurl_says_of_a_fetchs_broken_reply(cls: Callable[..., Any], reply: bytes) -> None:
    def behave(wire: Wire) -> None:
        wire.read_request()
        wire.send(reply.replace(b"%b", token().encode()))

    with RawServer(behave) as server:
        error = raised_for(by_fetching(cls, server.base_url), bill())
    assert type(error) is nontax.NotSentError
    assert_clean(error)


@each_fetcher
def test_a_fetch_that_nobody_answers(loud: Sandbox, cls: Callable[..., Any]) -> None:
    source = cls("wx1", token(), base_url=loud.base_url, timeout=0.1)
    loud.inject(faults.NeverAnswer(), times=2)
    error = raised_by(source)
    assert isinstance(error, nontax.NotSentError)
    assert_clean(error)
    loud.wait_for_requests(len(loud.requests), finished=True)


# What is handed out is no token, but has one's characters.
NO_TOKENS = {
    "blank": '{"access_token": "%s x", "expires_in": 7200}',
    "lifetime": '{"access_token": "%s", "expires_in": "7200s"}',
    "two": '{"access_token": "%s", "access_token": "1%s", "expires_in": 7200}',
    "errcode": '{"errcode": 40013, "errmsg": "no", "access_token": "%s", "expires_in": 7200}',
    "busy": '{"errcode": -1, "errmsg": "no", "access_token": "%s", "expires_in": 7200}',
    "cut": '{"access_token": "%s"',
}


@each_fetcher
@pytest.mark.parametrize("kind", NO_TOKENS)
def test_a_token_that_is_handed_out_and_cannot_be_used(
    loud: Sandbox, cls: Callable[..., Any], kind: str
) -> None:
    body = NO_TOKENS[kind].replace("%s", token()).encode()
    loud.inject(faults.Reply(body=body, taken=False), times=3)
    source = cls("wx1", "secret-that-is-none", base_url=loud.base_url)
    client = nontax.Client(token_source=source, base_url=loud.base_url)
    error = raised_for(client.insert_bill, bill())
    assert isinstance(error, nontax.NotSentError | nontax.AccountError)
    assert_clean(error)


@pytest.mark.parametrize("cls", ERRCODES, ids=lambda cls: cls.__name__)
def test_a_fetched_token_in_a_refusal(loud: Sandbox, cls: type[nontax.WeChatError]) -> None:
    body = json.dumps({"access_token": token(), "expires_in": 7200}).encode()
    loud.inject(faults.Reply(body=body, taken=False))
    loud.inject(echoing(token(), ERRCODES[cls]))
    if cls is nontax.AccessTokenError:
        # Then normal mode for the same again, which is tried once more; and both modes.
        loud.inject(faults.Reply(body=body, taken=False))
        loud.inject(echoing(token(), ERRCODES[cls]))
        loud.inject(faults.Reply(body=body, taken=False), times=2)
    client = nontax.Client(appid="wx1", secret="s", base_url=loud.base_url, retries=0)
    error = raised_for(client.insert_bill, bill())
    assert type(error) is cls
    assert_clean(error)


@pytest.mark.parametrize("kind", ["refusal", "in doubt", "success", "refusal in part"])
def test_the_first_token_in_the_answer_to_the_second_attempt(loud: Sandbox, kind: str) -> None:
    loud.inject(echoing("x", 40001))
    loud.inject(
        {
            "refusal": echoing(token(), 45011),
            "in doubt": in_doubt(token().encode())["odd code"],
            "success": echoing(token(), 0),
            "refusal in part": echoing(quote(token(), safe="/+=~"), 42001),
        }[kind]
    )

    def source(stale: str | None) -> str:
        return token() if stale is None else "another-token-that-is-no-secret-here"

    client = nontax.Client(token_source=source, base_url=loud.base_url)
    if kind == "success":
        assert_clean_record(client.insert_bill(bill()))
    else:
        assert_clean(raised_for(client.insert_bill, bill()))
    assert len(loud.requests) == 2


def test_a_refused_token_and_a_renewal_that_fails(loud: Sandbox) -> None:
    secret = token()[::-1]
    tokens = json.dumps({"access_token": token(), "expires_in": 7200}).encode()
    loud.inject(faults.Reply(body=tokens, taken=False))
    loud.inject(echoing(token(), 40001))
    loud.inject(echoing(secret, 40164))
    client = nontax.Client(appid="wx1", secret=secret, base_url=loud.base_url)
    error = raised_for(client.insert_bill, bill())
    assert isinstance(error, nontax.AccountError)
    assert error.outcome == "rejected"
    assert isinstance(error.__context__, nontax.AccessTokenError)
    assert_clean(error)
    assert core()[::-1] not in shown(error)


@pytest.mark.parametrize("kind", ["appid", "secret", "both", "swapped", "third"])
def test_a_secret_in_the_wrong_place(kind: str) -> None:
    wrong: dict[str, Callable[[], object]] = {
        "appid": lambda: nontax.Client(appid=token()),
        "secret": lambda: nontax.Client(secret=token()),
        "both": lambda: nontax.Client(appid="wx1", secret=token(), access_token="t"),
        "swapped": lambda: nontax.Client(appid=token() + "\n", secret="wx1"),
        "third": lambda: nontax.StableToken("wx1", "s", token()),  # type: ignore[call-arg]
    }
    error = raised_by(wrong[kind])
    assert isinstance(error, TypeError | ValueError)
    assert_clean(error)


@pytest.mark.parametrize("kind", BROKEN)
@each_fetcher
def test_an_argument_that_is_no_secret(cls: Callable[..., Any], kind: str) -> None:
    error = raised_by(lambda: cls("wx1", BROKEN[kind]()))
    assert isinstance(error, TypeError | ValueError)
    assert str(error).startswith("secret ")
    assert_clean(error)
    error = raised_by(lambda: nontax.Client(appid="wx1", secret=BROKEN[kind]()))
    assert isinstance(error, TypeError | ValueError)
    assert_clean(error)


@pytest.mark.parametrize("kind", IN_ENVIRONMENT)
def test_a_variable_that_is_no_secret(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nontax.client, "_default", {})
    monkeypatch.setenv("NONTAX_APPID", "wx1")
    monkeypatch.setenv("NONTAX_SECRET", BROKEN[kind]())
    for error in (raised_by(lambda: nontax.Client()), raised_for(nontax.insert_bill, bill())):
        assert isinstance(error, ValueError)
        assert "secret" in str(error)
        assert_clean(error)


@each_fetcher
def test_a_fetch_that_fails_leaves_the_callers_exception_alone(
    loud: Sandbox, cls: Callable[..., Any]
) -> None:
    loud.inject(echoing(token(), 40164), times=3)
    try:
        raise LookupError("the caller's own")
    except LookupError as own:
        error = raised_for(by_fetching(cls, loud.base_url), bill())
        is_context, is_whole = family(error)[-1] is own, own.__traceback__ is not None
    assert is_context
    assert is_whole
    assert_clean(error)


@each_fetcher
def test_a_source_can_be_shown_and_not_pickled(loud: Sandbox, cls: Callable[..., Any]) -> None:
    source = fetcher(cls, loud.base_url)
    client = nontax.Client(token_source=source, base_url=loud.base_url)
    keyed = nontax.Client(appid="wx1", secret=token(), base_url=loud.base_url)
    for thing in (source, client, keyed):
        assert f"{thing!r} {thing} {[thing]}".count(core()) == 0
        assert not hasattr(thing, "__dict__")
        for action in (copy.deepcopy, pickle.dumps):
            error = raised_by(lambda action=action, thing=thing: action(thing))  # type: ignore[misc]
            assert isinstance(error, TypeError)
            assert_clean(error)


# --- the ticket -----------------------------------------------------------------------------------


def ticket_reply() -> faults.Reply:
    body = json.dumps({"errcode": 0, "errmsg": "ok", "ticket": token(), "expires_in": 7200})
    return faults.Reply(body=body.encode(), taken=False)


TICKETS: dict[str, Callable[[], Any]] = {
    "text": token,
    "record": lambda: nontax.Ticket(ticket=token(), expires_in=7200),
    "fetched": lambda: None,
}


def ask_for_link(base_url: str, kind: str, **settings: Any) -> Callable[[], object]:
    client = nontax.Client(access_token="-" * 20, base_url=base_url, **settings)

    def ask() -> object:
        return client.get_bill_auth_url(s_pappid="s", order_id="1", money=1, ticket=TICKETS[kind]())

    return ask


@pytest.mark.parametrize("kind", TICKETS)
@pytest.mark.parametrize("cls", ERRCODES, ids=lambda cls: cls.__name__)
def test_a_ticket_in_a_refusal(loud: Sandbox, cls: type[nontax.WeChatError], kind: str) -> None:
    if kind == "fetched":
        loud.inject(ticket_reply())
    loud.inject(echoing(token(), ERRCODES[cls]))
    error = raised_by(ask_for_link(loud.base_url, kind, retries=0))
    assert type(error) is cls
    assert_clean(error)


@pytest.mark.parametrize("kind", TICKETS)
@pytest.mark.parametrize("doubt", ["closed", "page", "text", "redirect", "odd errcode", "status"])
def test_a_ticket_in_doubt(loud: Sandbox, kind: str, doubt: str) -> None:
    if kind == "fetched":
        loud.inject(ticket_reply())
    loud.inject(in_doubt(token().encode())[doubt])
    error = raised_by(ask_for_link(loud.base_url, kind))
    assert type(error) is nontax.InDoubtError
    assert_clean(error)


@pytest.mark.parametrize("kind", ["text", "record"])
@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_ticket_is_in_no_frame_of_a_call(loud: Sandbox, how: str, kind: str) -> None:
    """Whatever looks into the frames of all threads while a call waits finds none."""
    loud.inject(faults.Delay(0.5))
    client = nontax.Client(access_token="-" * 20, base_url=loud.base_url)
    arguments: dict[str, Any] = {"s_pappid": "s", "order_id": "1", "money": 1}

    async def ask() -> None:
        asking = client.aget_bill_auth_url(ticket=TICKETS[kind](), **arguments)
        task = asyncio.ensure_future(asking)
        while not loud.requests:
            await asyncio.sleep(0.01)
        looked.append(frames_of(asking))
        with pytest.raises(nontax.AccessTokenError):
            await task

    def frames_of(coroutine: Any) -> str:
        found = []
        while coroutine is not None and getattr(coroutine, "cr_frame", None) is not None:
            found.append(repr(coroutine.cr_frame.f_locals))
            coroutine = coroutine.cr_await
        assert len(found) > 1
        return "\n".join(found)

    def frames_of_threads() -> str:
        found = []
        for frame in sys._current_frames().values():
            each: types.FrameType | None = frame
            while each is not None:
                if each.f_code.co_filename.startswith(str(Path(nontax.__file__).parent)):
                    found.append(f"{each.f_code.co_name}: {each.f_locals!r}")
                each = each.f_back
        assert any("get_bill_auth_url" in line for line in found)
        return "\n".join(found)

    looked: list[str] = []
    if how == "async":
        asyncio.run(ask())
    else:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(
                lambda: client.get_bill_auth_url(ticket=TICKETS[kind](), **arguments)
            )
            loud.wait_for_requests(1)
            looked.append(frames_of_threads())
            assert isinstance(asked.exception(), nontax.AccessTokenError)
    (text,) = looked
    assert text.count(core()) == 0


# A ticket goes into the body: any text can be one.
@pytest.mark.parametrize(
    "kind", ["surrogate", "high surrogate", "nul", "bytes", "bytearray", "list", "object"]
)
def test_what_is_no_ticket(loud: Sandbox, kind: str) -> None:
    client = nontax.Client(access_token="-" * 20, base_url=loud.base_url)

    def ask() -> object:
        return client.get_bill_auth_url(s_pappid="s", order_id="1", money=1, ticket=BROKEN[kind]())

    error = raised_by(ask)
    assert isinstance(error, nontax.InvalidRequestError)
    assert_clean(error)
    assert loud.requests == ()


@pytest.mark.parametrize("kind", TICKETS)
def test_a_ticket_with_a_link_that_repeats_it(loud: Sandbox, kind: str) -> None:
    if kind == "fetched":
        loud.inject(ticket_reply())
    body: dict[str, Any] = {
        "errcode": 0,
        "errmsg": "ok",
        "auth_url": f"https://a/?ticket={token()}",
    }
    body |= {"expire_time": 7200, "more": {token(): [token()]}}
    loud.inject(faults.Reply(body=json.dumps(body).encode(), taken=False))
    link = ask_for_link(loud.base_url, kind)()
    assert f"{link!r}".count(core()) == 0


def test_an_odd_ticket(loud: Sandbox) -> None:
    for body in (
        {"ticket": token()},
        {"ticket": token(), "expires_in": "7200s"},
        {"ticket": [token()], "expires_in": 7200},
    ):
        text = json.dumps({"errcode": 0, "errmsg": "ok"} | body)
        loud.inject(faults.Reply(body=text.encode(), taken=False))
        client = nontax.Client(access_token="-" * 20, base_url=loud.base_url, retries=0)
        error = raised_by(client.get_ticket)
        assert type(error) is nontax.InDoubtError
        assert_clean(error)


def test_nothing_that_is_shown_of_a_client_has_its_ticket(loud: Sandbox) -> None:
    loud.inject(ticket_reply())
    client = nontax.Client(access_token="-" * 20, base_url=loud.base_url)
    ticket = client.get_ticket()
    assert ticket.ticket.count(core()) == 1
    attributes = [getattr(client, name) for name in dir(client)]
    shown_texts = [f"{thing!r} {thing!s}" for thing in [client, ticket, *attributes]]
    assert sum(text.count(core()) for text in shown_texts) == 0


def interrupt_a_link(talk: Talk) -> None:
    """Ctrl-C comes while a link with a ticket is asked for in an event loop."""
    import asyncio
    import logging

    import nontax
    from nontax.aio import calls

    class Interrupting:
        def __index__(self) -> int:
            raise KeyboardInterrupt

    logging.disable()  # asyncio tells of every task that Ctrl-C has ended
    calls.CALLS_AT_ONCE = 1
    client = talk.client()
    if talk.setup["kind"] == "fetched":
        client.get_ticket()
    kinds: dict[str, Callable[[], Any]] = {
        "text": lambda: talk.setup["ticket"],
        "record": lambda: nontax.Ticket(ticket=talk.setup["ticket"], expires_in=7200),
        "fetched": lambda: None,
    }
    loop = asyncio.new_event_loop()
    tasks: list[asyncio.Task[Any]] = []
    if talk.setup["waits"]:
        # It is begun by the loop itself, when this one has ended.
        tasks.append(loop.create_task(client.aget_auth_data(s_pappid="s", order_id="1")))
    link = client.aget_bill_auth_url(
        s_pappid="s", order_id="1", money=Interrupting(), ticket=kinds[talk.setup["kind"]]()
    )
    tasks.append(loop.create_task(link))
    for _ in range(5):  # out of the loop, and out of the task
        try:
            loop.run_until_complete(asyncio.wait(tasks))
        except KeyboardInterrupt as error:
            talk.tell_error(error)
        else:
            break
    loop.close()


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("kind", TICKETS)
def test_a_ticket_in_an_event_loop_and_ctrl_c(loud: Sandbox, kind: str, *, waits: bool) -> None:
    if kind == "fetched":
        loud.inject(ticket_reply())
    client = {"access_token": "-" * 20, "base_url": loud.base_url}
    setup: dict[str, Any] = {"kind": kind, "waits": waits, "ticket": token()}
    with Child(interrupt_a_link, client=client, **setup) as child:
        told, stderr = child.finish()
    assert {one["type"] for one in told} == {"KeyboardInterrupt"}
    assert (json.dumps(told) + stderr).count(core()) == 0


def press_while_it_arrives(talk: Talk) -> None:
    """Ctrl-C at each place in turn between the arrival of a credential and its being kept."""
    import asyncio
    import itertools
    from contextlib import suppress
    from functools import partial
    from pathlib import Path

    from interrupts import ctrl_c_at, end

    import nontax

    url, rid = talk.setup["base_url"], "61725984-6126f6f9-040f19c4"
    for place in itertools.count(1):
        loop = asyncio.new_event_loop()
        token = nontax.StableToken("wx1", "s" * 20, base_url=url)
        client = nontax.Client(access_token="-" * 20, base_url=url)
        task: asyncio.Task[object] | None = None
        fetch: Callable[[], object]
        if talk.setup["what"] == "token":
            fetch = token
        elif talk.setup["what"] == "ticket":
            fetch = client.get_ticket
        elif talk.setup["what"] == "rid":
            fetch = partial(client.get_rid_info, rid)
        else:
            is_rid = talk.setup["what"] == "arid"
            work = client.aget_rid_info(rid) if is_rid else client.aget_ticket()
            task = loop.create_task(work)
            fetch = partial(loop.run_until_complete, task)
        pressed = False
        try:
            with ctrl_c_at(place, str(Path(nontax.__file__).parent)):
                fetch()
        except KeyboardInterrupt as error:
            pressed = True
            talk.tell_error(error)
        while task is not None and not task.done():
            with suppress(KeyboardInterrupt):
                end(loop, task)
        loop.close()
        if not pressed:
            break


@pytest.mark.parametrize("what", ["token", "ticket", "aticket", "rid", "arid"])
def test_a_credential_and_ctrl_c_anywhere(what: str) -> None:
    text = f"access_token={token()}"
    fields = {
        "token": {"access_token": token(), "expires_in": 7200},
        "ticket": {"errcode": 0, "ticket": token(), "expires_in": 7200},
        "rid": {"errcode": 0, "request": {"request_url": text, "request_body": text}},
    }[what.removeprefix("a")]
    with Sandbox() as sandbox:
        sandbox.inject(faults.Reply(body=json.dumps(fields).encode(), taken=False), times=1000)
        with Child(press_while_it_arrives, base_url=sandbox.base_url, what=what) as child:
            told, stderr = child.finish()
    assert stderr == ""
    # The asynchronous ticket is fetched in a thread, to which signals do not come.
    assert len(told) > (4 if what == "aticket" else 10)
    assert json.dumps(told).count(core()) == 0


# --- Ctrl-C while a credential arrives ------------------------------------------------------------


def interrupt_when_it_is_there(talk: Talk) -> None:
    """The handler raises when the reply has arrived."""
    import signal

    import nontax

    def handler(number: int, _: object) -> None:
        talk.tell(signal=number)
        talk.wait()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    url = talk.setup["base_url"]
    fixed = {"access_token": "-" * 20, "base_url": url, "timeout": 300}
    keyed = {"appid": "wx1", "secret": "s" * 20, "base_url": url, "timeout": 300}
    try:
        if talk.setup["what"] == "token":
            nontax.Client(**keyed).insert_bill(talk.setup["bill"])
        elif talk.setup["what"] == "ticket":
            nontax.Client(**fixed).get_ticket()
        elif talk.setup["what"] == "ticket for a link":
            nontax.Client(**fixed).get_bill_auth_url(s_pappid="s", order_id="1", money=1)
        else:
            nontax.Client(**fixed).get_rid_info("61725984-6126f6f9-040f19c4")
    except KeyboardInterrupt as error:
        talk.tell_error(error)


@pytest.mark.parametrize(
    "what",
    ["token", "ticket", "ticket for a link", "request"],
)
def test_a_credential_that_arrives_with_ctrl_c(what: str) -> None:
    fields: dict[str, Any] = {"errcode": 0, "errmsg": "ok", "expires_in": 7200}
    if what == "token":
        fields = {"access_token": token(), "expires_in": 7200}
    elif what == "request":
        fields["request"] = {"request_url": f"/x?access_token={token()}"}
    else:
        fields["ticket"] = token()
    with Server() as server:
        setup: dict[str, Any] = {"base_url": server.base_url, "what": what, "bill": bill()}
        with Child(interrupt_when_it_is_there, **setup) as child, server.accept() as connection:
            head = connection.read_head()
            if "POST" in head:
                connection.read_part_of_body()
            child.signal(signal.SIGINT)
            assert child.hear() == {"signal": signal.SIGINT}
            connection.answer(**fields)
            child.go_on()
            told = child.hear()
            assert told["type"] == "KeyboardInterrupt"
            assert json.dumps(told).count(core()) == 0
            assert child.finish() == ([], "")
