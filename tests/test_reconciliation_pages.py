"""A report as pages: in LibreOffice and in Chromium. For `make test-all`."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from reconciling import DAY, LISTS, Fields, bill, side

from nontax.reconciliation import Report
from nontax.reconciliation.period import period
from nontax.reconciliation.rows import OTHER
from nontax.reconciliation.run import compare

PROGRAMS = ("soffice", "chromium", "pdftotext", "pdfinfo")
pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("NONTAX_TEST_PAGES"), reason="only in make test-all: takes long"
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def report() -> Report:
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    assert not missing, f"make deps installs {missing}"
    ones: list[Fields] = [bill(1)]
    others: list[Fields] = [bill(1)]
    for number, case in enumerate(LISTS.values(), 1):
        mine, theirs, _ = case(100 * number)
        ones, others = ones + mine, others + theirs
    # So many that a table needs a second page.
    ones += [bill(10_000 + number) for number in range(80)]
    return compare(side(ones), side(others, OTHER), period(DAY))


def text_of(pdf: Path, page: int | None = None) -> str:
    pages = ["-f", str(page), "-l", str(page)] if page else []
    command = ["pdftotext", "-layout", *pages, str(pdf), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def size_of(pdf: Path) -> list[str]:
    command = ["pdfinfo", "-f", "1", "-l", "99", str(pdf)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.findall(r"Page +\d+ size: +(.*)", told)


def check(pdf: Path, report: Report, lang: str) -> None:
    """All pages are A4, the first has the totals and the foot, and each row is on one."""
    assert len(size_of(pdf)) >= 4
    for size in size_of(pdf):
        width, height = (round(float(part)) for part in re.findall(r"[\d.]+", size)[:2])
        assert sorted((width, height)) == [595, 842]
    first = text_of(pdf, 1)
    listed = sum(both.list.fen for both in report.classes.values())
    assert f"{listed / 100:,.2f}" in first
    foot = ("制表", "复核", "负责人", "公章") if lang == "zh" else ("Prepared by", "Unit (seal)")
    assert all(word in first for word in foot)
    assert "###" not in text_of(pdf)
    whole = text_of(pdf)
    for row in report.differences():
        assert row.billing_code in whole


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_workbook_in_libreoffice(report: Report, tmp_path: Path, lang: str) -> None:
    report.write(tmp_path, formats=["xlsx"], lang=lang)
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    subprocess.run(
        ["soffice", "--headless", profile, "--convert-to", "pdf", "report.xlsx"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=200,
    )
    check(tmp_path / "report.pdf", report, lang)
    second, third = (text_of(tmp_path / "report.pdf", page) for page in (2, 3))
    # The header stands on each page.
    header = "票据号码" if lang == "zh" else "Bill number"
    assert header in second
    assert header in third


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_page_in_chromium(report: Report, tmp_path: Path, lang: str) -> None:
    report.write(tmp_path, formats=["html"], lang=lang)
    subprocess.run(
        [
            "chromium",
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"),
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--print-to-pdf={tmp_path / 'report.pdf'}",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True,
        check=True,
        timeout=200,
    )
    check(tmp_path / "report.pdf", report, lang)
