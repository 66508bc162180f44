from collections.abc import Callable
from typing import Any, final

version: str

def errcode(code: int, /) -> tuple[bool, str, str, str, str]: ...
def errcodes() -> list[int]: ...
def libraries() -> tuple[str, str | None, str]: ...

@final
class Client:
    def __new__(
        cls,
        *,
        make_error: Callable[..., BaseException],
        access_token: str | None,
        token_source: Callable[[str | None], str] | None,
        base_url: str,
        ca_file: str | None,
        proxy: str | None,
        connect_timeout: float,
        timeout: float,
        retries: int,
        allow_extra: bool,
    ) -> Client: ...
    def call(
        self, interface: str, payload: object, access_token: str | None, /
    ) -> dict[str, Any]: ...
    def close(self) -> None: ...
