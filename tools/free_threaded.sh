#!/bin/sh
# Builds CPython without the GIL from Debian's source package (no Debian has it ready-made), nontax
# for it, and runs the tests: all that can be run there, unless pytest is told otherwise.
# usage: [WHEEL=dist] free_threaded.sh [PYTEST ARGUMENT...]   (works in build/free-threaded)
# With WHEEL, the wheel for that Python is made, put there, and is what is tested.
set -eu
cd "$(dirname "$0")/.."
. tools/fetch.sh
top=$PWD/build/free-threaded
source=pool/main/p/python3.13/python3.13_3.13.15.orig.tar.xz
sum=1e66a7945a48390ee4c2a4268a0e4185884059a13c4aab6d148aa208deea4a76
if [ $# = 0 ]; then
    set -- -n "${JOBS:-2}" --dist loadfile
    # That interpreter frees memory when it suits it, and how much it holds swings by more than leaks
    # make; it knows no pymalloc; and the module that makes memory fail would bring the GIL back.
    for test in leaks.py memory.py aio.py::test_clients_that_are_made_for_one_request; do
        set -- "$@" --deselect="tests/test_$test"
    done
    # What needs cryptography, pandas or calamine, which have no wheel for it, or Django's outbox and
    # what is read from files and pages, which are the same there.
    for tests in cli demo django events fuzz hospital import language layers notebook pytest_plugin \
        readme reconciliation sandbox_controls sandbox_pushes sheets; do
        set -- "$@" --ignore-glob="*/test_$tests*.py"
    done
fi

mkdir -p "$top"
fetch "$sum" "$source" "$top"
python=$top/python/bin/python3.13t
[ -x "$python" ] || {
    echo "build   CPython without the GIL"
    rm -rf "$top/source"
    mkdir "$top/source"
    tar -xJf "$top/${source##*/}" -C "$top/source" --strip-components=1
    cd "$top/source"
    quietly ./configure --disable-gil --prefix="$top/python"
    quietly make -j"$(nproc)"
    quietly make altinstall
    cd - >/dev/null
    rm -rf "$top/source"
}
cmp -s requirements/free-threaded.txt "$top/venv/installed" || {
    echo "venv    build/free-threaded/venv"
    "$python" -m venv --clear "$top/venv"
    quietly "$top/venv/bin/pip" install --disable-pip-version-check --require-hashes \
        -r requirements/free-threaded.txt
    cp requirements/free-threaded.txt "$top/venv/installed"
}

rm -rf "$top/lib"
if [ -n "${WHEEL:-}" ]; then
    PYTHON=$python sh tools/wheel.sh "$WHEEL"
    "$python" -m zipfile -e "$WHEEL"/nontax-*t-manylinux_*_"$(uname -m)".whl "$top/lib"
else
    echo "build   nontax._core"
    NONTAX_WERROR=1 quietly "$top/venv/bin/python" setup.py -q build --build-base "$top" --build-lib "$top/lib"
fi
export PYTHONSAFEPATH=1 PYTHONPATH="$top/lib"
"$top/venv/bin/python" -W error -c 'import sys, nontax
assert not sys._is_gil_enabled(), "the import has turned the GIL on"
print("GIL off in", sys.version.partition("[")[0])'
exec "$top/venv/bin/python" -m pytest -q -m "not build" -p no:cacheprovider "$@"
