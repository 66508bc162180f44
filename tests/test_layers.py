"""Knowledge points downwards only: the core knows no Python, the extension no rule about bills."""

import ast
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
    "errors",
    "events",
    "ledger",
    "notebook",
    "outcomes",
    "reconciliation",
    "results",
    "sandbox",
    "sheets",
    "shapes",
    "values",
)


@pytest.mark.parametrize("room", WITHOUT_CORE)
def test_a_room_that_works_without_the_core(room: str) -> None:
    program = f"import sys; sys.modules['nontax._core'] = None; import nontax.{room}"
    subprocess.run([sys.executable, "-c", program], check=True)


# What each file may import from nontax; a folder's line counts for what has no line of its own.
MAY_IMPORT = {
    "language.py": (),
    "sheets": ("errors", "language", "sheets", "values"),
    "sheets/checking.py": ("_core", "problems", "sheets", "validation"),
    "problems.py": (),
    "credentials.py": ("settings",),
    "awaited.py": ("errors", "problems"),
    "report.py": ("_core", "errors", "problems"),
    "validation.py": ("_core", "nontax", "problems", "settings", "values"),
    "uploads.py": ("errors", "pdf", "record", "results"),
    "delivery/states.py": (),
    "delivery/store.py": ("delivery.states",),
    "delivery/memory.py": ("delivery.states", "delivery.store"),
    "delivery/contract.py": ("delivery.states", "delivery.store"),
    "delivery/spool.py": (),
    "delivery/servers.py": (),
    "delivery/content.py": ("delivery.store",),
    "delivery/deliver.py": (
        "client",
        "delivery",
        "errors",
        "interfaces",
        "journaled",
        "outcomes",
        "pdf",
        "runs",
    ),
    "delivery/resolve.py": ("client", "delivery", "errors", "journaled", "outcomes"),
    "delivery/lists.py": ("client", "delivery", "errors", "journaled", "pdf"),
    # What a client with a ledger does. It knows the ledger only for annotations.
    "journaled.py": (
        "_core",
        "delivery.content",
        "delivery.states",
        "delivery.store",
        "errors",
        "interfaces",
        "ledger",
        "outcomes",
        "report",
    ),
    "ledger/ledger.py": (
        "client",
        "delivery",
        "errors",
        "ledger",
    ),
    "ledger": (
        "delivery.advice",
        "delivery.states",
        "delivery.store",
        "delivery.servers",
        "delivery.spool",
        "errors",
        "ledger",
        "locks",
        "uncompiled",
    ),
    "reconciliation": ("reconciliation", "ledger", "sheets", "language", "errors"),
    # Never the ledger: the two stores know nothing of each other.
    "contrib": (
        "cached",
        "client",
        "contrib",
        "delivery",
        "errcodes",
        "errors",
        "events",
        "interfaces",
        "journaled",
        "language",
        "nontax",
        "outcomes",
        "report",
        "results",
        "settings",
        "sheets.masking",
        "sheets.writing",
        "token",
    ),
    "notebook": (
        "client",
        "delivery",
        "errors",
        "journaled",
        "language",
        "ledger",
        "notebook",
        "reconciliation",
        "sheets",
    ),
    "reconciliation/match.py": (
        "reconciliation.compare",
        "reconciliation.rows",
        "reconciliation.shelf",
        "reconciliation.sums",
        "reconciliation.tally",
    ),
}


def _imports_of(path: Path) -> set[str]:
    """The modules of nontax that a file imports, at whatever place in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return {name.removeprefix("nontax.") for name in found if name.split(".")[0] == "nontax"}


def _rule_for(path: Path) -> tuple[str, ...] | None:
    name = path.relative_to(PACKAGE).as_posix()
    return MAY_IMPORT.get(name, MAY_IMPORT.get(name.split("/")[0]))


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if _rule_for(path) is not None],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_an_upper_room_imports_only_downwards(path: Path) -> None:
    allowed = _rule_for(path) or ()
    for name in _imports_of(path):
        assert any(name == one or name.startswith(f"{one}.") for one in allowed), name


def _importers_of(room: str) -> set[str]:
    """The folders and files of the package that import a room, without the room itself."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix().split("/")[0]
        imported = _imports_of(path)
        if any(one == room or one.startswith(f"{room}.") for one in imported):
            found.add(name)
    return found - {room}


def test_nothing_imports_the_command_line() -> None:
    assert _importers_of("cli") == {"__main__.py"}


def test_only_what_is_for_trying_out_imports_the_sandbox() -> None:
    assert _importers_of("sandbox") <= {"cli", "pytest_plugin.py"}


UPPER_ROOMS = ("delivery", "ledger", "sheets", "reconciliation", "cli", "notebook", "contrib")


def test_import_nontax_loads_no_upper_room() -> None:
    rooms = {f"nontax.{room}" for room in UPPER_ROOMS}
    program = f"import sys, nontax; assert not {rooms!r} & sys.modules.keys()"
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
