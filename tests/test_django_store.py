"""Django's outbox against the contract of stores, and what only it has: leases, SQL, rollbacks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from djangos import DjangoHarness, forget, sqlite, use

from nontax.delivery.contract import Harness, StoreContract


@pytest.fixture
def alias(tmp_path: Path) -> Iterator[str]:
    use("outbox", sqlite(tmp_path / "outbox.db"))
    yield "outbox"
    forget("outbox")


class TestDjangoStore(StoreContract):
    @pytest.fixture
    def harness(self, alias: str) -> Harness:
        return DjangoHarness(alias)
