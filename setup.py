"""The extension nontax._core: its sources, its libraries and its build switches; the index's page.

Environment variables, all optional:

NONTAX_PKG_CONFIG         the pkg-config program to ask for libcurl and cJSON
NONTAX_CFLAGS NONTAX_LIBS used in place of pkg-config's answer; with both set it is not asked
NONTAX_LIMITED_API=0      build for this Python version alone, not for the stable ABI
NONTAX_WERROR=1           -Wall -Wextra -Werror
NONTAX_SANITIZE=LIST      sanitizers, as in "address,undefined"
NONTAX_COVERAGE=1         count executed lines (gcov)
NONTAX_OWN_TLS=1          libcurl and TLS are linked in: find the system's certificates at run time
NONTAX_POLL=1             the portable driver (curl_multi_poll) on every system
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CURL_MINIMUM = "7.85.0"

MISSING = """\
nontax cannot be built. Missing: {missing}.

Install what it needs, then try again:
    Debian, Ubuntu  apt install gcc pkg-config python3-dev libcurl4-openssl-dev libcjson-dev
    Fedora, RHEL    dnf install gcc pkgconf-pkg-config python3-devel libcurl-devel cjson-devel
    Alpine          apk add gcc musl-dev pkgconf python3-dev curl-dev cjson-dev
    macOS           brew install pkgconf curl cjson

Libraries in an unusual place: set NONTAX_CFLAGS and NONTAX_LIBS to the compiler and linker
options for libcurl and cJSON, or NONTAX_PKG_CONFIG to another pkg-config program."""

# Ubuntu 22.04 has 7.81, RHEL 9 has 7.76.
TOO_OLD = """

This system's libcurl is too old. The ready-made wheel brings its own:
    pip install --upgrade pip && pip install --only-binary nontax nontax"""


def index_page() -> str:
    """Return the README with links that lead somewhere from an index, which shows nothing else."""
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    source = project["urls"]["Source"]

    def absolute(link: re.Match[str]) -> str:
        kind = "raw" if link[1].startswith("!") else "blob"
        return f"{link[1]}{source}/{kind}/v{project['version']}/{link[2]})"

    text = Path("README.md").read_text("utf-8")
    return re.sub(r"(!?\[[^]]*\]\()(?!https?://|#)([^)\s]+)\)", absolute, text)


def switched_on(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def ask(*command: str) -> str | None:
    """Return what a pkg-config command printed, or None if it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def find_libraries() -> tuple[list[str], list[str], list[str]]:
    """Return compiler options, linker options and the names of what is missing."""
    cflags = os.environ.get("NONTAX_CFLAGS")
    libs = os.environ.get("NONTAX_LIBS")
    if cflags is None or libs is None:
        program = os.environ.get("NONTAX_PKG_CONFIG", "pkg-config")
        if shutil.which(program) is None:
            return [], [], [f"the program {program}, to find libcurl and cJSON"]
        missing = []
        curl_version = ask(program, "--modversion", "libcurl")
        if curl_version is None:
            missing.append(f"libcurl {CURL_MINIMUM} or newer")
        elif ask(program, f"--atleast-version={CURL_MINIMUM}", "libcurl") is None:
            missing.append(f"libcurl {CURL_MINIMUM} or newer (found {curl_version})")
        if ask(program, "--modversion", "libcjson") is None:
            missing.append("cJSON (libcjson)")
        if missing:
            return [], [], missing
        if cflags is None:
            cflags = ask(program, "--cflags", "libcurl", "libcjson")
        if libs is None:
            libs = ask(program, "--libs", "libcurl", "libcjson")
        if cflags is None or libs is None:
            return [], [], [f"what {program} --cflags --libs libcurl libcjson asks for"]
    return shlex.split(cflags), shlex.split(libs), []


def is_current(obj: Path, command: str) -> bool:
    """Whether an object was compiled by this command from the sources as they are now."""
    with contextlib.suppress(OSError):
        made = obj.stat().st_mtime
        rule = obj.with_suffix(".d").read_text().replace("\\\n", " ")
        sources = shlex.split(rule.partition(":")[2])
        return obj.with_suffix(".cmd").read_text() == command and all(
            Path(source).stat().st_mtime <= made for source in sources
        )
    return False


class BuildExt(build_ext):
    """Looks for the libraries only when something is compiled: metadata and sdist need none."""

    def build_extension(self, ext: Extension) -> None:
        cflags, libs, missing = find_libraries()
        compiler = self.compiler.compiler_so[0]
        if shutil.which(compiler) is None:
            missing.append(f"a C compiler ({compiler})")
        if not any(Path(folder, "Python.h").is_file() for folder in self.compiler.include_dirs):
            missing.append(f"the C headers of Python {sysconfig.get_python_version()} (Python.h)")
        if missing:
            old = TOO_OLD if any("(found" in one for one in missing) else ""
            raise SystemExit(MISSING.format(missing="; ".join(missing)) + old)
        version = self.distribution.get_version()
        ext.define_macros.append(("NONTAX_VERSION", f'"{version}"'))
        ext.extra_compile_args += [*cflags, "-MMD"]  # for is_current()
        ext.extra_link_args += libs
        if self.editable_mode:
            self.build_temp = "build/editable"  # pip's own folder would be gone after each build
        compile_one = self.compiler._compile

        def compile_if_changed(
            obj: str, src: str, suffix: str, cc_args: list[str], extra: list[str], macros: list[str]
        ) -> None:
            command = shlex.join([*cc_args, *extra])
            if not is_current(Path(obj), command):
                compile_one(obj, src, suffix, cc_args, extra, macros)
                Path(obj).with_suffix(".cmd").write_text(command)

        self.compiler._compile = compile_if_changed
        super().build_extension(ext)


compile_args = ["-std=c11", "-fvisibility=hidden", "-O2"]
link_args = []
# Strict C11 hides POSIX (clocks, pipes) in the system's headers; this shows it again.
macros: list[tuple[str, str | None]] = [("_DEFAULT_SOURCE", None)]

if switched_on("NONTAX_WERROR"):
    compile_args += ["-Wall", "-Wextra", "-Werror"]
if sanitizers := os.environ.get("NONTAX_SANITIZE"):
    flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    compile_args += [*flags, "-g", "-O1", "-fno-omit-frame-pointer"]
    link_args += flags
if switched_on("NONTAX_COVERAGE"):
    compile_args.append("--coverage")
    link_args.append("--coverage")
if switched_on("NONTAX_OWN_TLS"):
    macros.append(("NONTAX_OWN_TLS", None))
if switched_on("NONTAX_POLL"):
    macros.append(("NONTAX_PORTABLE_POLL", None))

# Libraries linked statically must not show through: PyInit__core is the only exported symbol.
if sys.platform == "darwin":
    link_args.append("-Wl,-exported_symbol,_PyInit__core")
else:
    # dlsym() stands in a library of its own before glibc 2.34.
    link_args += ["-Wl,--exclude-libs,ALL", "-ldl"]

# The macro, the extension's flag and the wheel's tag must agree; free threading has no stable ABI.
limited_api = os.environ.get("NONTAX_LIMITED_API") != "0" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)
if limited_api:
    macros.append(("Py_LIMITED_API", "0x030B0000"))

setup(
    long_description=index_page(),
    long_description_content_type="text/markdown",
    ext_modules=[
        Extension(
            "nontax._core",
            sources=sorted(glob("csrc/core/*.c") + glob("csrc/python/*.c")),
            depends=[*glob("csrc/*/*.h"), *glob("csrc/*/*.def"), "setup.py", "pyproject.toml"],
            include_dirs=["csrc/core"],
            define_macros=macros,
            extra_compile_args=compile_args,
            extra_link_args=link_args,
            py_limited_api=limited_api,
        )
    ],
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited_api else {},
)
