"""What the tests of tokens share: sources for the sandbox, its requests, and a server's answers."""

from collections.abc import Callable
from typing import Any

from processes import Connection, Server

from nontax.sandbox import Account, Request, Sandbox

STABLE = "/cgi-bin/stable_token"
PLAIN = "/cgi-bin/token"
INSERT = "/nontax/insertbill"


def settings_of(base_url: str, account: Account | None = None, **changes: Any) -> dict[str, Any]:
    """Arguments for a client or a source with the account's AppSecret, or with any."""
    appid, secret = ("wx1", "s") if account is None else (account.appid, account.secret)
    return {"base_url": base_url, "appid": appid, "secret": secret} | changes


def source_of(cls: Callable[..., Any], sandbox: Sandbox, **changes: Any) -> Any:
    return cls(**settings_of(sandbox.base_url, sandbox.bureau, **changes))


def sent(sandbox: Sandbox, path: str) -> list[Request]:
    return [request for request in sandbox.requests if request.path == path]


def forced(sandbox: Sandbox) -> list[Request]:
    return [request for request in sent(sandbox, STABLE) if "force_refresh" in request.json]


def serve_first(server: Server, token: str = "one") -> tuple[Connection, Connection]:
    """Answer a fetch and the first bill; their connections, which are not the same."""
    fetching = server.accept()
    fetching.read_request()
    fetching.answer(access_token=token, expires_in=7200)
    inserting = server.accept()
    assert inserting.read_token() == token
    inserting.answer()
    return fetching, inserting
