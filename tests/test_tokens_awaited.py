"""Token sources that are `async def`: awaited in the event loop, and refused in blocking calls."""

import asyncio
import functools
import threading
import time
from typing import Any

import pytest
from bills import bill
from loops import Strict

import nontax
from nontax.awaited import is_async
from nontax.sandbox import Sandbox

INSERT = "/nontax/insertbill"


class Vault:
    """Hands out the sandbox's token, from the loop's own thread."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.asked: list[str | None] = []
        self.thread = threading.get_ident()

    async def fetch(self, stale: str | None) -> str:
        assert threading.get_ident() == self.thread
        self.asked.append(stale)
        await asyncio.sleep(0.01)
        return self.sandbox.access_token if stale or len(self.asked) > 1 else "wrong-token"

    __call__ = fetch


async def _inner(vault: Vault, stale: str | None) -> str:
    return await vault.fetch(stale)


KINDS: dict[str, Any] = {
    "method": lambda vault: vault.fetch,
    "object": lambda vault: vault,
    "partial": lambda vault: functools.partial(_inner, vault),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_awaited_in_the_loop(sandbox: Sandbox, run: Strict, kind: str) -> None:
    vault = Vault(sandbox)
    client = nontax.Client(token_source=KINDS[kind](vault), base_url=sandbox.base_url)

    async def main() -> None:
        await asyncio.gather(*(client.ainsert_bill(bill()) for _ in range(5)))
        async for outcome in client.ainsert_bills([bill() for _ in range(5)]):
            assert outcome.outcome == "inserted"
        await client.aget_s_pappid()

    run(main())
    assert vault.asked[:2] == [None, "wrong-token"]


def test_what_it_raises_is_the_cause(sandbox: Sandbox, run: Strict) -> None:
    async def source(_: str | None) -> str:
        raise LookupError("the vault is shut")

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)

    async def main() -> None:
        with pytest.raises(
            nontax.NotSentError, match="the token source raised LookupError"
        ) as told:
            await client.ainsert_bill(bill())
        assert isinstance(told.value.__cause__, LookupError)

    run(main())
    assert sandbox.requests == ()


def test_it_may_take_no_longer_than_the_call(sandbox: Sandbox, run: Strict) -> None:
    ended = []

    async def source(_: str | None) -> str:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)
        return "never"

    client = nontax.Client(token_source=source, base_url=sandbox.base_url, timeout=0.2)

    async def main() -> None:
        begun = time.monotonic()
        with pytest.raises(nontax.NotSentError):
            await client.ainsert_bill(bill())
        while not ended:  # nothing of it is left in the loop
            await asyncio.sleep(0.01)
        assert time.monotonic() - begun < 20

    run(main())
    assert sandbox.requests == ()


def test_a_loop_that_ends_meanwhile(sandbox: Sandbox, run: Strict) -> None:
    async def source(_: str | None) -> str:
        await asyncio.sleep(30)
        return "never"

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)

    async def main() -> None:
        task = asyncio.create_task(client.ainsert_bill(bill()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())  # and its executor with it
    assert sandbox.requests == ()


def test_a_blocking_call_says_what_to_do(sandbox: Sandbox) -> None:
    async def source(_: str | None) -> str:
        return "token"

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    for call in (lambda: client.insert_bill(bill()), client.get_s_pappid):
        with pytest.raises(nontax.InvalidRequestError, match="call ainsert_bill") as caught:
            call()
        [(path, _)] = caught.value.problems
        assert path == "token_source"
    with pytest.raises(nontax.InvalidRequestError, match="call ainsert_bill"):
        list(client.insert_bills([bill()]))
    assert sandbox.requests == ()


def test_a_coroutine_that_nobody_awaits(sandbox: Sandbox, run: Strict) -> None:
    coroutines = []

    async def fetch(_: str | None) -> str:
        return "token"

    def source(stale: str | None) -> Any:
        coroutines.append(fetch(stale))
        return coroutines[-1]

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    with pytest.raises(nontax.InvalidRequestError, match="pass the async def function itself"):
        client.insert_bill(bill())
    coroutines.pop().close()


@pytest.mark.parametrize("source", [print, len, str, lambda _: "t", Vault.__init__, 5, "t", None])
def test_what_is_not_async(source: Any) -> None:
    assert not is_async(source)
