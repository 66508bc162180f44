"""Every Python example of the pages about lists runs, and prints what the page shows."""

import re
import shutil
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["docs/sheets.md", "docs/zh/sheets.md"])
def test_the_examples(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in (ROOT / "examples" / "lists").iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    later = time.time() + 3600
    monkeypatch.setattr("nontax.sheets.files.time.time", lambda: later)
    text = (ROOT / page).read_text("utf-8")
    names: dict[str, object] = {}
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert len(examples) == 8
    for number, example in enumerate(examples):
        exec(compile(example, f"{page}, example {number}", "exec"), names)
    assert names["problems"] == []
    printed = capsys.readouterr().out
    for shown in re.findall(r"^```text\n(.*?)^```$", text, re.M | re.S):
        assert all(line in printed for line in shown.splitlines() if line != "…")
