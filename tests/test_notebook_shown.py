"""`nontax.notebook.reconcile`, what a notebook shows, and what works without the extra."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest
from notebooks import GIVEN, INSERT, client, frame_of, row, write_list

import nontax
import nontax.notebook as nb
from nontax.sandbox import Sandbox, faults

__all__ = ["client"]

# ---- reconciling


def test_a_list_against_the_ledger_of_a_client(client: nontax.Client, sandbox: Sandbox) -> None:
    sandbox.inject(faults.Close("body", taken=True), times=2, path=INSERT)
    frame = frame_of([4, 2, 3, 1, 5])
    nb.insert(client, frame.iloc[:4], defaults=GIVEN, concurrency=1)
    late = {"开票时间": "2026-12-02 10:00:00"}
    frame = pandas.concat([frame, frame_of([2]), frame_of([8], **late)])
    frame.index = pandas.Index(range(70, 0, -10))
    report = nb.reconcile(frame, client, day="2026-11-29")
    assert report.open == {"in_doubt": 2, "missing": 1, "duplicate_list": 1}
    made = report.frame
    assert list(made.index) == list(range(70, 0, -10))
    assert dict(zip(made["票据号码"].str[-1], made["reconciled"], strict=True)) == {
        "4": "in_doubt", "2": "duplicate_list", "3": "matched", "1": "matched", "5": "missing",
        "8": "",
    }  # fmt: skip
    assert made["reconciled"].iloc[1] == "in_doubt"
    differences = report.difference_frame
    assert list(differences["class"]) == ["in_doubt", "in_doubt", "missing", "duplicate_list"]
    assert list(differences["list_yuan"]) == ["2.50", "4.50", "5.50", "2.50"]


def test_a_file_against_another_one_and_what_was_read_before(
    client: nontax.Client, tmp_path: Path
) -> None:
    one = write_list(tmp_path / "医院.csv", [row(1), row(2), row(3)])
    other = write_list(tmp_path / "平台.csv", [row(1), row(2, **{"金额（元）": "9.00"}), row(4)])
    first = nb.read(one, defaults=GIVEN, settle=0)
    second = nb.read(other, settle=0)
    report = nb.reconcile(first, second, day="2026-11-29")
    assert report.open == {"amount_mismatch": 1, "missing": 1, "unexpected": 1}
    assert list(report.frame["reconciled"]) == ["matched", "amount_mismatch", "missing"]
    assert isinstance(report, nontax.reconciliation.Report)
    by_paths = nb.reconcile(one, other, day="2026-11-29", settle=0)
    assert by_paths.open == report.open
    nb.insert(client, first)
    assert nb.reconcile(first, client, day="2026-11-29").ok
    assert nb.reconcile(first, tmp_path / "bills.db", day="2026-11-29").ok


def test_a_client_without_a_ledger_is_no_other_side(sandbox: Sandbox) -> None:
    with sandbox.client() as client, pytest.raises(nontax.LedgerError, match="no ledger"):
        nb.reconcile(frame_of([1]), client, day="all")


def test_rows_that_were_carried_over_are_matched(client: nontax.Client, tmp_path: Path) -> None:
    frame = frame_of([1, 2], 开票时间="2026-11-29 23:59:00")
    nb.insert(client, frame.iloc[:1], defaults=GIVEN)
    report = nb.reconcile(frame, client, day="2026-11-29")
    assert list(report.frame["reconciled"]) == ["matched", "carried_over"]
    report.write(tmp_path / "out", formats=["jsonl"])
    nb.insert(client, frame, defaults=GIVEN)
    carried = tmp_path / "out" / "carried.jsonl"
    later = pandas.concat([frame, frame_of([3], 开票时间="2026-11-30 10:00:00")])
    nb.insert(client, later, defaults=GIVEN)
    report = nb.reconcile(later, client, day="2026-11-30", carried=carried)
    assert list(report.frame["reconciled"]) == ["", "matched", "matched"]


# ---- what is shown


class Checked(HTMLParser):
    """Elements and attributes of what is shown, and whether all that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag != "rect" or self.get_starttag_text() is None:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_html_is_escaped_masked_and_stands_alone(
    lang: str, client: nontax.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.inject(faults.Errcode(72038, errmsg="<img src=x>"), path=INSERT)
    sandbox.inject(faults.Close("body", taken=True), path=INSERT)
    rows = [row(number) for number in range(1, 31)]
    rows += [row(3), row(99, **{"金额（元）": "<b>"}), row(40, 票据号码="<i>4</i>")]
    path = write_list(tmp_path / "<a>.csv", rows)
    bills = nb.read(path, defaults=GIVEN, settle=0, lang=lang)
    result = nb.insert(client, bills, skip_bad=True)
    good = pandas.DataFrame([each for each in rows if each["金额（元）"] != "<b>"][:31])
    report = nb.reconcile(good, client, day="2026-11-29", lang=lang)
    for thing in (bills, result, report):
        html = thing._repr_html_()
        found = Checked(html)
        assert not found.tags & {"script", "link", "img", "iframe", "a", "b", "i"}
        assert not {name for name in found.names if name.startswith("on")} | (
            found.names & {"src", "href"}
        )
        assert "url(" not in html
        assert "http" not in html
        assert "三丰" not in html
        assert f'lang="{"zh-CN" if lang == "zh" else "en"}"' in html
        assert len(html) < 30_000
    for outcome in sandbox.bills.values():
        assert outcome.openid not in result._repr_html_()
    assert "三丰" not in repr([bills, result, report, result.rows])
    assert re.search(r"&lt;\*\*", result._repr_html_())


def test_a_long_list_shows_its_beginning(client: nontax.Client) -> None:
    frame = pandas.DataFrame([row(1) for _ in range(50)])
    bills = nb.read(frame, defaults=GIVEN, lang="en")
    assert "20 of 98 rows are shown." in bills._repr_html_()
    result = nb.insert(client, bills, skip_bad=True)
    assert "20 of 49 rows are shown." in result._repr_html_()


# ---- what is not installed


def run_without(modules: str, program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    hide = f"import sys\nfor name in {modules.split()!r}: sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", hide + program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


PROGRAM = """\
import nontax
import nontax.notebook as nb
from nontax.sandbox import Sandbox
rows = [{"order_id": "1", "billing_no": "1", "billing_code": "2", "fee": "12", "title": "x",
         "billing_time": "2026-11-29 09:00:00"}]
given = {"card_id": "p1", "appid": "wx0000000000000000", "s_pdf_media_id": "1"}
with Sandbox() as sandbox, sandbox.client(ledger="bills.db") as client:
    result = nb.insert(client, rows, defaults=given, unit="fen")
    report = nb.reconcile(rows, client, day="all", unit="fen")
    client.ledger.close()
print(result, report.ok, len(result._repr_html_() + report._repr_html_()) > 1000)
try:
    print(result.frame)
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        ("narwhals", "making a frame needs narwhals: run pip install 'nontax[notebook]'"),
        ("tqdm tqdm.auto pandas polars", "making a frame needs pandas: run pip install 'pandas'"),
    ],
)
def test_without_the_extra_all_but_frames_works(
    modules: str, sentence: str, tmp_path: Path
) -> None:
    done = run_without(modules, PROGRAM, tmp_path)
    assert done.stderr == ""
    assert done.stdout == f"<Inserted: 1 inserted> True True\nMissingExtra {sentence}\n"


def test_plot_without_matplotlib_is_one_sentence(
    client: nontax.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = nb.reconcile(frame_of([1]), client, day="all")
    with pytest.raises(ImportError, match="drawing a plot needs matplotlib: run pip install"):
        report.plot()


def test_plot(client: nontax.Client) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    nb.insert(client, frame_of([1, 2]), defaults=GIVEN)
    report = nb.reconcile(frame_of([1, 2, 3]), client, day="all", lang="en")
    axes = report.plot()
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "in the list, not in the ledger"
    ]
    axes = report.plot("day", ax=axes.figure.subplots())
    assert [bar.get_width() for bar in axes.patches] == [2, 1]
