"""Building nontax: how setup.py finds its libraries, and what a source distribution gives."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import nontax

pytestmark = pytest.mark.build

ROOT = Path(__file__).resolve().parent.parent

# Answers like pkg-config for the libraries whose versions stand in FAKE_LIBCURL and FAKE_LIBCJSON.
FAKE_PKG_CONFIG = """\
#!/bin/sh
echo asked >>"$FAKE_DIR/asked"
case "$*" in
*libcurl*) [ -n "$FAKE_LIBCURL" ] || exit 1 ;;
esac
case "$*" in
*libcjson*) [ -n "$FAKE_LIBCJSON" ] || exit 1 ;;
esac
case "$1" in
--modversion) echo "$FAKE_LIBCURL" ;;
--atleast-version=*) [ "$FAKE_LIBCURL" != 7.74.0 ] ;;
--cflags) [ -z "$FAKE_BROKEN" ] && echo "-DFAKE_CFLAGS='one two'" ;;
--libs) echo "-lfake_libs" ;;
esac
"""

# Notes its arguments, one a line, and makes the file that -o names.
FAKE_COMPILER = """\
#!/bin/sh
for word in "$@"; do
    echo "$word" >>"$FAKE_DIR/compiled"
    [ "$previous" != -o ] || : >"$word"
    previous=$word
done
"""


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without build switches, then with `changes`."""
    switches = ("NONTAX_", "CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(switches)}
    return kept | changes


def run(*command: str | Path, cwd: Path = ROOT, **changes: str) -> str:
    """Run a command that must succeed and return what it printed."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class FakeSystem:
    """A machine made of two fake programs, on which setup.py looks for its libraries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in [("fake-pkg-config", FAKE_PKG_CONFIG), ("compiler", FAKE_COMPILER)]:
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def build(self, *launcher: str, **changes: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "FAKE_DIR": str(self.folder),
            "FAKE_LIBCURL": "7.85.0",
            "FAKE_LIBCJSON": "1.7.15",
            "FAKE_BROKEN": "",
            "NONTAX_PKG_CONFIG": "fake-pkg-config",
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CC": str(self.folder / "compiler"),
            "LDSHARED": str(self.folder / "compiler"),
        }
        output = [f"--build-lib={self.folder}/lib", f"--build-temp={self.folder}/temp"]
        return subprocess.run(
            [sys.executable, *(launcher or ["setup.py"]), "-q", "build_ext", *output],
            cwd=ROOT,
            env=environment(**settings | changes),
            capture_output=True,
            text=True,
            check=False,
        )

    def noted(self, name: str) -> list[str]:
        note = self.folder / name
        return note.read_text().splitlines() if note.exists() else []


@pytest.fixture
def system(tmp_path: Path) -> FakeSystem:
    return FakeSystem(tmp_path)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return what setup.py says is missing; it must say so plainly, and only once."""
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert printed.startswith("nontax cannot be built. Missing: ")
    assert "Traceback" not in printed
    for word in ["apt", "dnf", "apk", "brew", "NONTAX_CFLAGS", "NONTAX_LIBS", "NONTAX_PKG_CONFIG"]:
        assert word in printed
    return printed.splitlines()[0].removeprefix("nontax cannot be built. Missing: ")


def test_what_pkg_config_says_reaches_the_compiler(system: FakeSystem) -> None:
    done = system.build()
    assert done.returncode == 0, done.stderr
    assert "-DFAKE_CFLAGS=one two" in system.noted("compiled")
    assert "-lfake_libs" in system.noted("compiled")


def test_with_both_overrides_pkg_config_is_not_asked(system: FakeSystem) -> None:
    done = system.build(NONTAX_CFLAGS="-DMINE", NONTAX_LIBS="-lmine -lother", FAKE_LIBCURL="")
    assert done.returncode == 0, done.stderr
    assert {"-DMINE", "-lmine", "-lother"}.issubset(system.noted("compiled"))
    assert system.noted("asked") == []


def test_one_override_replaces_its_half_only(system: FakeSystem) -> None:
    done = system.build(NONTAX_LIBS="-lmine")
    assert done.returncode == 0, done.stderr
    assert {"-DFAKE_CFLAGS=one two", "-lmine"}.issubset(system.noted("compiled"))
    assert "-lfake_libs" not in system.noted("compiled")


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (
            {"NONTAX_PKG_CONFIG": "no-such-program"},
            "the program no-such-program, to find libcurl and cJSON.",
        ),
        ({"FAKE_LIBCURL": ""}, "libcurl 7.85.0 or newer."),
        ({"FAKE_LIBCURL": "7.74.0"}, "libcurl 7.85.0 or newer (found 7.74.0)."),
        ({"FAKE_LIBCJSON": ""}, "cJSON (libcjson)."),
        (
            {"FAKE_LIBCURL": "", "FAKE_LIBCJSON": ""},
            "libcurl 7.85.0 or newer; cJSON (libcjson).",
        ),
        (
            {"FAKE_BROKEN": "yes"},
            "what fake-pkg-config --cflags --libs libcurl libcjson asks for.",
        ),
        ({"CC": "no-such-compiler"}, "a C compiler (no-such-compiler)."),
    ],
)
def test_what_is_missing_is_named(
    system: FakeSystem, settings: dict[str, str], missing: str
) -> None:
    assert refusal(system.build(**settings)) == missing
    assert system.noted("compiled") == []


def test_an_old_libcurl_is_told_of_the_wheel(system: FakeSystem) -> None:
    cure = "pip install --only-binary nontax nontax"
    assert cure in system.build(FAKE_LIBCURL="7.74.0").stderr
    assert cure not in system.build(FAKE_LIBCURL="").stderr


def test_missing_python_headers_are_named(system: FakeSystem) -> None:
    without_headers = (
        "import runpy, setuptools, distutils.sysconfig as found\n"
        "found.get_python_inc = lambda *args, **kwargs: '/nonexistent'\n"
        "runpy.run_path('setup.py')"
    )
    assert "(Python.h)" in refusal(system.build("-c", without_headers))


@pytest.mark.parametrize(
    ("free_threaded", "switch", "limited"), [(0, "", True), (0, "0", False), (1, "", False)]
)
def test_macro_flag_and_tag_of_the_limited_api_agree(
    free_threaded: int, switch: str, limited: bool
) -> None:
    inspect = (
        "import sysconfig, json\n"
        f"sysconfig.get_config_vars()['Py_GIL_DISABLED'] = {free_threaded}\n"
        "import setuptools\n"
        "from distutils.core import run_setup\n"
        "dist = run_setup('setup.py', stop_after='init')\n"
        "[ext] = dist.ext_modules\n"
        "macros = dict(ext.define_macros)\n"
        "tag = dist.get_option_dict('bdist_wheel').get('py_limited_api')\n"
        "print(json.dumps([macros.get('Py_LIMITED_API'), ext.py_limited_api, tag and tag[1]]))"
    )
    found = json.loads(run(sys.executable, "-c", inspect, NONTAX_LIMITED_API=switch))
    assert found == (["0x030B0000", True, "cp311"] if limited else [None, False, None])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from the unpacked source distribution."""
    folder = tmp_path_factory.mktemp("release")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT)
    [sdist] = folder.glob("nontax-*.tar.gz")
    run("tar", "-xzf", sdist, "-C", folder)
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    pip_wheel = ["-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    run(sys.executable, *pip_wheel, "--wheel-dir", folder, unpacked, cwd=unpacked)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_is_for_every_python_from_3_11(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name


def test_the_wheel_holds_the_types_and_no_sources(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"nontax/py.typed", "nontax/_core.pyi", "nontax/_core.abi3.so"}.issubset(names)
    assert not [name for name in names if not name.startswith(("nontax/", "nontax-"))]
    assert not [name for name in names if name.endswith((".c", ".h"))]


def test_the_page_of_an_index_links_to_this_version(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(name).decode()
    source = "https://github.com/nontax/nontax"
    assert f"Project-URL: Source, {source}\n" in metadata
    links = re.findall(r"\]\(([^)\s]+)\)", metadata)
    assert len(links) > 40
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert f"{source}/blob/v{nontax.__version__}/docs/tutorial.md" in links
    assert f"{source}/raw/v{nontax.__version__}/benchmarks/report.svg" in links


def test_the_wheel_keeps_to_the_stable_abi(wheel: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("abi3audit")
    run(program, "--strict", wheel, XDG_CACHE_HOME=str(tmp_path))


def test_the_wheel_works_in_a_clean_venv(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    run(*pip, "install", "-q", "--no-index", "--no-deps", wheel)
    show = "import nontax, importlib.metadata as m; print(nontax.__file__, m.version('nontax'))"
    file, version = run(python, "-I", "-c", show, cwd=tmp_path).split()
    assert Path(file).is_relative_to(tmp_path)
    assert f"nontax-{version}-" in wheel.name
