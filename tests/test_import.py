"""`import nontax`: cheap, complete, typed, and harmless in a subinterpreter."""

import inspect
import subprocess
import sys
import sysconfig
import types
from importlib.resources import files
from pathlib import Path

import pytest
from bills import bill
from processes import Talk, run

import nontax
from nontax.sandbox import Sandbox

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


def test_all_names_are_there_and_documented() -> None:
    assert len(nontax.__all__) == len(set(nontax.__all__))
    for name in nontax.__all__:
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
    assert public - {"TYPE_CHECKING"} == set(nontax.__all__)


@pytest.mark.parametrize("cls", [nontax.Client], ids=lambda cls: cls.__name__)
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


def use_subinterpreters(talk: Talk) -> None:
    """Import and use the package in interpreters beside the main one."""
    import json

    try:
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        talk.tell(skip=True)
        return

    program = """if True:
        import json, os
        def tell(**facts):
            os.write(1, (json.dumps(facts) + "\\n").encode())
        try:
            import nontax
        except ImportError as error:
            tell(refused=str(error))
        else:
            setup = json.loads({setup!r})
            client = nontax.Client(token_source=lambda stale: setup["token"], **setup["client"])
            tell(code=client.insert_bill(setup["bill"]).code)
            try:
                client.insert_bill(setup["bill"])
            except nontax.DuplicateBillError as error:
                tell(errcode=error.errcode)
    """
    main = talk.client(token_source=lambda _: talk.setup["token"])
    first, last, *theirs = talk.setup["bills"]
    talk.insert(main, first)
    for one in theirs:
        setup = {"client": talk.setup["client"], "token": talk.setup["token"], "bill": one}
        other = interpreters.create()
        interpreters.run_string(other, program.format(setup=json.dumps(setup)))
        interpreters.destroy(other)
    talk.insert(main, last)


def test_subinterpreters(sandbox: Sandbox) -> None:
    bills = [bill() for _ in range(5)]
    client = {"base_url": sandbox.base_url}
    told = run(use_subinterpreters, client=client, token=sandbox.access_token, bills=bills)
    if told == [{"skip": True}]:
        pytest.skip("this Python has no way to make them")
    first, *theirs, last = told
    codes = {order_id: there.code for order_id, there in sandbox.bills.items()}
    assert (first, last) == tuple({"code": codes[one["order_id"]]} for one in bills[:2])
    if "refused" in theirs[0]:
        assert len(theirs) == 3
        assert all("refused" in facts for facts in theirs)
    else:
        expected = [({"code": codes[one["order_id"]]}, {"errcode": 72056}) for one in bills[2:]]
        assert theirs == [facts for pair in expected for facts in pair]
