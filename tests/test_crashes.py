"""kill -9, full and broken disks, power loss: short forms of `make crash`."""

import os
from pathlib import Path

import pytest
from crash import disks, kills

from nontax.ledger import marks

pytestmark = pytest.mark.build  # the library before the C library would be before ASan's, too

# `make crash` sets these.
KILLS = int(os.environ.get("CRASH_KILLS", "14"))
STEP = os.environ.get("CRASH_STEP", "25")  # of the writes and syncs at which something happens
IMAGES = int(os.environ.get("CRASH_IMAGES", "60"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disks.build(tmp_path_factory.mktemp("disk"))


def test_kill_9() -> None:
    result = kills.run(KILLS, int(os.environ.get("CRASH_SEED", "1")))
    print(result)
    kills.check(result)


def test_kill_9_before_each_write_and_sync(library: Path) -> None:
    result = disks.run_preloaded(library, "kill", STEP)
    print(result)
    assert result["killed"] >= 5


@pytest.mark.parametrize(
    ("error", "spare"), [("ENOSPC", "-spool"), ("ENOSPC", ""), ("EDQUOT", ""), ("EIO", "")]
)
def test_the_disk_takes_nothing_from_some_moment_on(library: Path, error: str, spare: str) -> None:
    """The spool has room that was set aside; or has not, on a disk that is broken."""
    result = disks.run_preloaded(library, "fail", error, STEP, spare)
    print(error, result)
    assert result["failed"] >= 5


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_power_loss(
    library: Path, tmp_path: Path, synchronous: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With FULL nothing that was sent is forgotten. With NORMAL this test sees that it is."""
    log = tmp_path / "log"
    path = disks.run_preloaded(library, "record", str(log), synchronous)["path"]
    monkeypatch.setattr(marks, "boot_id", lambda: "after the power loss")
    images, wrong = disks.lose_power(path, log, tmp_path / "image", IMAGES)
    print(synchronous, images, len(wrong))
    assert images >= 50
    if synchronous == "FULL":
        assert wrong == []
    else:
        assert wrong != []
