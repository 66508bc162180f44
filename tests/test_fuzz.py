"""What fuzzing has kept as inputs, once more. Those for C are fed by `make fuzz-replay`."""

import importlib
from collections import defaultdict
from pathlib import Path

import pytest

from nontax.events import EventError

FUZZ = Path(__file__).parent.parent / "fuzz"


def test_pushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FUZZ)
    target = importlib.import_module("fuzz_events")
    ends = defaultdict(set)
    for path in sorted((FUZZ / "corpus" / "events").iterdir()):
        for way, answer in target.check(path.read_bytes()).items():
            refused = isinstance(answer, EventError)
            ends[way].add(str(answer).partition(":")[0] if refused else "an event")
    # A target that no input gets through finds nothing, and says nothing of it.
    unreadable = "the push is neither XML nor JSON"
    undecipherable = "the push cannot be decrypted"
    assert ends["plain"] >= {"an event", unreadable}
    assert ends["message"] >= {"an event", unreadable}
    assert ends["body"] >= {"an event", unreadable, undecipherable}
    assert ends["size"] >= {"an event", undecipherable}
    assert ends["appid"] >= {"an event", undecipherable}
    assert ends["padding"] >= {"an event", undecipherable}
