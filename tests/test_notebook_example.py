"""examples/month_end.ipynb, run cell by cell as a kernel runs it, and shown as it shows it."""

import ast
import json
import re
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nontax.sandbox import Sandbox, faults

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "month_end.ipynb"
SCRIPTS = ROOT / "tests" / "month_end"


def cells() -> list[dict[str, Any]]:
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    found: list[dict[str, Any]] = notebook["cells"]
    return found


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; its last expression's value is what a notebook shows."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    names: dict[str, Any] = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield names
    if "temporary" in names:
        names["sandbox"].stop()
        names["temporary"].cleanup()


def test_the_file_is_a_notebook_without_outputs() -> None:
    ids = [cell["id"] for cell in cells()]
    assert len(set(ids)) == len(ids)
    for cell in cells():
        assert set(cell) >= {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_it_tells_the_end_of_a_month(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    shown = []
    for cell in cells():
        if cell["cell_type"] == "code":
            value = run("".join(cell["source"]), names)
            if hasattr(value, "_repr_html_"):
                shown.append(value._repr_html_())
    printed = capsys.readouterr().out
    assert "票据号码: the bill's number is a column of numbers, which lose leading zeros" in printed
    assert "0 requests; <Inserted: 34 inserted, 3 not_sent, 5 in_doubt>" in printed
    read, inserted, groups, corrected, report, difference = shown
    assert "39 bills for the wallet" in read
    assert "34 of 42 bills are in card wallets; 34 were sent now." in inserted
    assert "in_doubt" in groups
    assert "39 of 40 bills are in card wallets; 1 were sent now." in corrected
    assert "The sums tie; open differences: 1." in report
    assert "JS202611" in difference
    assert names["report"].open == {"in_doubt": 1}
    assert names["report"].totals["issues"].list == (40, 1275 * 41 * 20)
    assert set(names["sandbox"].bills) == {f"JS202611{number:06}" for number in range(1, 41)}
    posted = [each for each in names["sandbox"].requests if each.path == "/nontax/insertbill"]
    assert len(posted) == 40


# ---- the same job without and with nontax.notebook


def lines_of(script: str) -> int:
    text = (SCRIPTS / script).read_text("utf-8")
    assert "#" not in text
    return sum(bool(line.strip()) for line in text.splitlines())


@pytest.mark.parametrize("page", ["docs/notebook.md", "docs/zh/notebook.md"])
def test_the_figures_of_the_documentation(page: str) -> None:
    told = re.findall(r"\| `(\w+\.py)` \| (\d+) \|", (ROOT / page).read_text("utf-8"))
    assert told == [(name, str(lines_of(name))) for name in ("by_hand.py", "with_nontax.py")]


@pytest.mark.parametrize("script", ["by_hand.py", "with_nontax.py"])
def test_both_scripts_do_the_job(
    script: str,
    names: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("".join(cells()[2]["source"]), names)  # makes the lists
    sandbox: Sandbox = names["sandbox"]
    folder: Path = names["folder"]
    sandbox.inject(faults.Close("body", taken=True), times=5, path="/nontax/insertbill")
    monkeypatch.setattr(sys, "argv", [script, str(folder / "十一月.csv"), str(folder)])
    monkeypatch.setenv("NONTAX_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("NONTAX_ACCESS_TOKEN", sandbox.access_token)
    for _ in range(2):
        left = runpy.run_path(str(SCRIPTS / script))
        if "kept" in left:
            left["kept"].close()  # by_hand.py leaves that to the end of the process
        counts: dict[str, int] = ast.literal_eval(capsys.readouterr().out)
        assert (counts["inserted"], counts["in_doubt"]) == (34, 5)
    posted = [each.order_id for each in sandbox.requests if each.path == "/nontax/insertbill"]
    assert len(posted) == len(set(posted)) == 39
    (rejects,) = folder.glob("*rejects.csv")
    assert rejects.read_text("utf-8-sig").count("JS202611") == 3
