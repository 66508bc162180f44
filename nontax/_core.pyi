from collections.abc import Callable, Iterable
from typing import Any, Self, final

from nontax.bill import Outcome

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
        token_source: Callable[..., str] | None,
        timed_source: bool,
        base_urls: tuple[str, ...],
        ca_file: str | None,
        proxy: str | None,
        connect_timeout: float,
        timeout: float,
        retries: int,
        allow_extra: bool,
    ) -> Client: ...
    def call(
        self,
        interface: str,
        payload: object,
        access_token: str | None,
        seconds: float | None,
        /,
    ) -> dict[str, Any]: ...
    def close(self) -> None: ...

@final
class Run:
    def __new__(
        cls,
        *,
        client: Client,
        make_outcome: Callable[..., Outcome],
        bills: Iterable[object],
        concurrency: int,
        rate: float,
        quota_pause: float,
    ) -> Run: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Outcome: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def close(self) -> list[Outcome]: ...
