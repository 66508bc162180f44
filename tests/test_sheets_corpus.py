"""What nontax makes of lists as they come from real systems, word for word.

After a change that is wanted: python tests/sheets_corpus.py, and read the difference.
"""

from pathlib import Path

import pytest
from sheets_corpus import CORPUS, GOLDEN, LISTS, Make, describe, example_lists


@pytest.mark.parametrize("make", CORPUS.values(), ids=CORPUS.keys())
def test_the_golden_result(make: Make, tmp_path: Path) -> None:
    golden = (GOLDEN / f"{make.__name__}.txt").read_text("utf-8")
    assert describe(make, tmp_path).splitlines() == golden.splitlines()


def test_there_is_no_result_of_another_list() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CORPUS)


def test_the_example_lists_are_what_their_script_makes(tmp_path: Path) -> None:
    example_lists().make(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {name: (LISTS / name).read_bytes() for name in made}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_no_payer_and_no_openid_is_in_what_is_said(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    said = [line for line in lines if line.startswith(("problem", "note"))]
    assert not [line for line in said if "测试" in line or "oExample" in line]
