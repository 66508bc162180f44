"""`import nontax`: cheap, complete and typed."""

import inspect
import pickle
import shutil
import subprocess
import sys
import sysconfig
import types
import typing
from importlib.resources import files
from pathlib import Path

import pytest

import nontax

ROOT = Path(nontax.__file__).parent.parent
COSTLY = {
    "asyncio",
    "dataclasses",
    "http",
    "inspect",
    "json",
    "logging",
    "re",
    "socket",
    "ssl",
    "threading",
    "typing",
    "urllib",
}


def imported_by(program: str) -> set[str]:
    """The modules that a bare interpreter imports for a program."""
    # Without `site`: what the environment imports at every start would hide what we import.
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    command = [sys.executable, "-S", "-X", "importtime", "-c", path + program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_the_import_brings_in_nothing_costly() -> None:
    more = imported_by("import nontax") - imported_by("pass")
    assert "nontax._core" in more
    assert not COSTLY & {name.partition(".")[0] for name in more}
    assert not any(name.startswith(("nontax.sandbox", "nontax.events")) for name in more)


def test_the_measurement_would_notice() -> None:
    assert {"json", "re"} <= imported_by("import nontax, json") - imported_by("pass")


SHAPES = {"Bill", "FlatBill", "NestedBill", "TableBill"}
RUNS = {"AsyncRun", "Run", "RunRecord"}
ROOMS = {"Ledger", "reconcile"}


def test_the_shapes_are_there_when_somebody_asks() -> None:
    assert set(nontax.__all__) <= set(dir(nontax))
    for name in SHAPES:
        program = f"import nontax; from nontax import {name}; assert nontax.{name} is {name}"
        assert "typing" in imported_by(program)
    for function in (nontax.insert_bill, nontax.Client.insert_bill, nontax.Client.ainsert_bill):
        hints = typing.get_type_hints(function)
        assert hints["bill"] == nontax.Bill
        assert hints["return"] is nontax.InsertedBill
    assert nontax.FlatBill.__required_keys__ >= {"order_id", "fee"}
    with pytest.raises(AttributeError, match="module 'nontax' has no attribute 'Bil'"):
        getattr(nontax, "Bil")  # noqa: B009  (a type checker knows it)


def test_the_runs_are_loaded_by_the_first_one() -> None:
    before = imported_by("import nontax")
    for name in RUNS:
        program = f"from nontax import {name}; assert {name}.__doc__"
        assert {"collections", "warnings"} <= imported_by(program) - before


def test_all_names_are_there_and_documented() -> None:
    assert len(nontax.__all__) == len(set(nontax.__all__))
    for name in set(nontax.__all__) - {"Bill"}:  # which is a union of three and any mapping
        thing = getattr(nontax, name)
        assert isinstance(thing, type) or inspect.isfunction(thing), name
        # A docstring of its own, not that of a base class.
        assert vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__, name


def test_all_public_names_are_listed() -> None:
    public = {
        name
        for name, thing in vars(nontax).items()
        if not name.startswith("_") and not isinstance(thing, types.ModuleType)
    }
    assert public - {"TYPE_CHECKING"} == set(nontax.__all__) - SHAPES - RUNS - ROOMS


@pytest.mark.parametrize("cls", [nontax.Client, nontax.RunRecord], ids=lambda cls: cls.__name__)
def test_all_public_methods_are_documented(cls: type) -> None:
    methods = [thing for name, thing in vars(cls).items() if not name.startswith("_")]
    assert methods
    assert all(inspect.getdoc(method) for method in methods)


def test_the_package_is_marked_as_typed() -> None:
    package = files(nontax)
    assert package.joinpath("py.typed").is_file()
    assert package.joinpath("_core.pyi").is_file()


def test_the_import_starts_nothing() -> None:
    program = (
        "import os, sys, nontax\n"
        "assert len(os.listdir('/proc/self/task')) == 1\n"
        "assert not any('socket' in os.readlink(f'/proc/self/fd/{number}')\n"
        "    for number in map(int, os.listdir('/proc/self/fd'))\n"
        "    if os.path.lexists(f'/proc/self/fd/{number}'))\n"
    )
    if sys.platform != "linux":
        pytest.skip("looks into /proc")
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has its GIL for good"
)
def test_the_import_leaves_the_gil_off() -> None:
    program = "import sys, nontax; sys.exit(sys._is_gil_enabled())"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


# --- without the compiled core --------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with the package in it, without nontax._core."""
    source = Path(nontax.__file__).parent
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "sandbox", "events")
    shutil.copytree(source, tmp_path / "nontax", ignore=ignored)
    return tmp_path


def bare_python(folder: Path, program: str) -> "subprocess.CompletedProcess[str]":
    # In that folder, as somebody does who has typed `python` in a checkout. Without `site`: what an
    # editable installation has there would find the core.
    command = [sys.executable, "-S", "-c", program]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_without_the_core_what_needs_none_works(bare: Path) -> None:
    refusal = pickle.dumps(nontax.AccountError(errcode=40164, errmsg="invalid ip"))
    program = (
        "import pickle, sys, nontax\n"
        "assert nontax.fen('388.50') == 38850\n"
        "assert nontax.billing_time('2026-11-30 09:15:00') == 1796001300\n"
        "assert nontax.InvalidRequestError(problems=[('fee', '')]).outcome == 'not_sent'\n"
        f"error = pickle.loads({refusal!r})\n"
        "assert (error.errcode, error.retry) == (40164, 'no')\n"
        "assert nontax.InsertedBill(code='1', openid='o').code == '1'\n"
        "assert nontax.FlatBill and nontax.__version__ and 'Client' in dir(nontax)\n"
        "print(nontax.__file__)\n"
    )
    done = bare_python(bare, program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(bare / "nontax" / "__init__.py")


NEEDS_CORE = [
    "nontax.Client",
    "nontax.insert_bill",
    "nontax.errcode(40001)",
    "nontax.StableToken",
    "nontax.AccountError(errcode=40164)",
]


@pytest.mark.parametrize("name", NEEDS_CORE)
def test_the_first_name_that_needs_the_core_says_what_to_do(bare: Path, name: str) -> None:
    (bare / "csrc").mkdir()
    done = bare_python(bare, f"import nontax; {name}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: nontax's compiled part is missing in {bare / 'nontax'}, which is a source "
        "tree. To use the nontax that you have installed, run Python in another folder. To use "
        "this one, build it: pip install -e ."
    )
    assert "circular" not in done.stderr


def test_other_ways_to_the_core_say_it_too(bare: Path) -> None:
    (bare / "csrc").mkdir()
    for program in (
        "from nontax import Client",
        "from nontax import _core",
        "import nontax.client",
    ):
        done = bare_python(bare, program)
        assert "build it: pip install -e ." in done.stderr.splitlines()[-1]
        assert "circular" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-S", "-m", "nontax", "--version"],
        cwd=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("nontax's compiled part is missing")


def test_a_core_for_another_python_and_a_broken_one(bare: Path) -> None:
    done = bare_python(bare, "import nontax; nontax.Client")
    assert f"{sys.executable} -m pip install --force-reinstall nontax" in done.stderr
    assert "is missing" in done.stderr
    (bare / "nontax" / "_core.cpython-39-x86_64-linux-gnu.so").touch()
    done = bare_python(bare, "import nontax; nontax.Client")
    assert "was built for another Python than this" in done.stderr
    (bare / "nontax" / "_core.abi3.so").touch()
    done = bare_python(bare, "import nontax; nontax.Client")
    assert "cannot be loaded: " in done.stderr
    assert "apt install libcurl4 libcjson1" in done.stderr
    assert "AttributeError" in bare_python(bare, "import nontax; nontax.Nothing").stderr
