"""A ledger that cannot be written to: nothing is sent, and it can still be read."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bills import bill

import nontax
from nontax.sandbox import Sandbox

# In a process that cannot write: what each way of sending says, and what can be read.
PROGRAM = """
import json, sys
import nontax
from nontax.ledger import Ledger

url, token, path, given = sys.argv[1:]
bill = json.loads(given)
said = []
for send in (
    lambda client: client.insert_bill(bill),
    lambda client: list(client.insert_bills([bill])),
    lambda client: client.ledger.deliver(client, [bill]),
):
    try:
        send(nontax.Client(access_token=token, base_url=url, ledger=path))
    except nontax.LedgerError as error:
        said.append([error.outcome, str(error)])
print(json.dumps([Ledger(path, read_only=True).counts(), said]))
"""
# Root may write into any file, unless it cannot get that right any more (PR_CAPBSET_DROP).
AS_OTHERS = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def _read_only_file(path: Path) -> list[str]:
    path.chmod(0o400)
    return [sys.executable, "-c", AS_OTHERS]


def _read_only_mount(path: Path) -> list[str]:
    folder = str(path.parent)
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", *user, "sh", "-c", mount, folder]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
    return [*command, sys.executable]


@pytest.mark.parametrize("made", [_read_only_file, _read_only_mount])
def test_it_is_told_in_words_and_nothing_is_sent(
    made: Callable[[Path], list[str]], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "ledger" / "bills.db"
    path.parent.mkdir()
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, ledger=path
    ) as client:
        client.insert_bill(bill())
        assert client.ledger is not None
        client.ledger.close()
    before = len(sandbox.requests)
    printed = subprocess.run(
        [*made(path), "-c", PROGRAM, sandbox.base_url, sandbox.access_token, str(path),
         json.dumps(bill())],
        stdout=subprocess.PIPE, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    counts, said = json.loads(printed)
    assert counts == {"inserted": 1}
    assert [outcome for outcome, _ in said] == ["not_sent"] * 3
    for _, words in said:
        assert "cannot be" in words or "Read-only file system" in words, words
    assert len(sandbox.requests) == before
