"""Knowledge points downwards only: the core knows no Python, the extension no rule about bills."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import nontax._core

CSRC = Path(__file__).resolve().parent.parent / "csrc"
CORE = sorted((CSRC / "core").glob("*.*"))
EXTENSION = sorted((CSRC / "python").glob("*.*"))

# The fields of insertbill that mean nothing elsewhere; `appid` and `title` are common words too.
BILL_FIELDS = {
    "order_id",
    "card_id",
    "card_ext",
    "user_card",
    "invoice_user_data",
    "fee",
    "billing_time",
    "billing_no",
    "billing_code",
    "s_pdf_media_id",
}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_knows_no_python(path: Path) -> None:
    assert not re.search(r"#\s*include\s.*\bPython\.h", path.read_text("utf-8"))


@pytest.mark.parametrize("path", EXTENSION, ids=lambda path: path.name)
def test_the_extension_names_no_field_of_a_bill(path: Path) -> None:
    assert not BILL_FIELDS.intersection(re.findall(r"\w+", path.read_text("utf-8")))


PACKAGE = CSRC.parent / "nontax"
# What works where there is no nontax._core: in a source tree, on a machine for reports.
WITHOUT_CORE = (
    "bill",
    "errors",
    "events",
    "ledger",
    "reconciliation",
    "results",
    "sandbox",
    "sheets",
    "shapes",
    "values",
)


@pytest.mark.parametrize("room", WITHOUT_CORE)
def test_a_room_that_works_without_the_core(room: str) -> None:
    if not (PACKAGE / room).exists() and not (PACKAGE / f"{room}.py").exists():
        pytest.skip("it is not built yet")
    program = f"import sys; sys.modules['nontax._core'] = None; import nontax.{room}"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.build
def test_the_extension_exports_its_init_function_only() -> None:
    printed = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix", nontax._core.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [line.split()[0] for line in printed.splitlines()] == ["PyInit__core"]
