"""Whatever a file holds: a list, or a SheetError. Never another exception, never half a row."""

import random
from pathlib import Path

import pytest
from sheets_corpus import CORPUS, Make, describe


@pytest.mark.parametrize("make", CORPUS.values(), ids=CORPUS.keys())
def test_damaged_files(make: Make, tmp_path: Path) -> None:
    choose = random.Random(make.__name__)
    name, content, options = make()

    def damaged() -> tuple[str, bytes, dict[str, object]]:
        broken = bytearray(content)
        for _ in range(choose.randrange(4)):
            broken[choose.randrange(len(broken))] = choose.randrange(256)
        if choose.random() < 0.3:
            del broken[choose.randrange(len(broken)) :]
        return name, bytes(broken), options

    for _ in range(8):
        assert describe(damaged, tmp_path)
