"""What fuzzing has kept as inputs, once more. Those for C are fed by `make fuzz-replay`."""

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parent.parent / "fuzz"


def test_pushes() -> None:
    folder = FUZZ / "corpus" / "events"
    assert any(folder.iterdir())
    command = [sys.executable, str(FUZZ / "fuzz_events.py"), "--replay", str(folder)]
    subprocess.run(command, check=True)
