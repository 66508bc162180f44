#!/bin/sh
# Installs a wheel and a source distribution into bare Debian systems and runs the demo with each.
# usage: check_wheel.sh FOLDER SUITE...   (FOLDER: where wheel.sh, whose venv serves here, put them)
set -eu
cd "$(dirname "$0")/.."
. tools/debian.sh
made=$(cd "$1" && pwd)
wheel=$(echo "$made"/nontax-*-abi3-manylinux_*_"$(uname -m)".whl)
shift
top=$PWD/build/check
trap 'rm -rf "$top"' EXIT
trap 'exit 130' INT TERM
rm -rf "$top"
mkdir -p "$top/tools"

# What pip would fetch to build the sdist, and certifi; both at their locked versions.
sed -n -e '/^setuptools==/,/^ *# via/p' -e '/^certifi==/,/^ *# via/p' requirements/wheel.txt >"$top/tools.txt"
build/wheel/venv/bin/python -m pip download -q --disable-pip-version-check --no-deps --require-hashes \
    --dest "$top/tools" -r "$top/tools.txt"

fail() {
    echo "$suite: $1" >&2
    exit 1
}

# demo_in_venv ROOT NAME FILE: a new venv of that name with that wheel alone, and the demo in it
demo_in_venv() {
    in_debian "$1" python3 -m venv "/$2"
    in_debian "$1" "/$2/bin/pip" install -q --disable-pip-version-check --no-index --no-deps "$3"
    in_debian "$1" sh -c "cd / && /$2/bin/python -I -m nontax --version" >"$top/version"
    in_debian "$1" "/$2/bin/python" -I /demo.py >"$top/demo" || {
        cat "$top/demo" >&2
        fail "the demo failed with $3"
    }
}

says() {
    tr '\n' ',' <"$top/version" | sed 's/,$/\n/; s/,/, /g'
}

for suite in "$@"; do
    root=$top/$suite
    # openssl makes the sandbox's certificates.
    make_debian "$suite" "$root" python3,python3-venv,openssl
    cp "$wheel" "$made"/nontax-*.tar.gz examples/demo.py tools/check_certificates.py \
        "$top"/tools/* "$root"
    cp -a "$root" "$root-builder"

    packages=$(in_debian "$root" dpkg-query -W -f '${Package}\n')
    if echo "$packages" | grep -E -e '-dev$|^libcurl|^libcjson'; then
        fail "the system is not as bare as it should be"
    fi
    demo_in_venv "$root" wheel "/$(basename "$wheel")"
    echo "$suite  wheel: $(says)"
    # The sdist is built where the headers are, and what it gave runs where they are not.
    in_debian "$root-builder" sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends \
        gcc libc6-dev libcjson-dev libcurl4-openssl-dev pkg-config python3-dev' >"$top/log" 2>&1 || {
        tail -n 20 "$top/log" >&2
        fail "no packages to build with"
    }
    in_debian "$root-builder" sh -c 'python3 -m venv /tools && mkdir /built &&
        /tools/bin/pip wheel -q --disable-pip-version-check --no-index --find-links=/ --no-deps \
            --wheel-dir /built /nontax-*.tar.gz' || fail "the sdist does not build"
    in_debian "$root" sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends \
        "^libcurl4(t64)?$" libcjson1' >"$top/log" 2>&1 || {
        tail -n 20 "$top/log" >&2
        fail "no libcurl and cJSON"
    }
    mkdir "$root/built"
    cp "$root-builder"/built/nontax-*.whl "$root/built"
    demo_in_venv "$root" sdist "/built/$(basename "$root"/built/nontax-*.whl)"
    echo "$suite  sdist: $(says)"

    # Debian's venv brings the certificates along; the search has to start from none.
    in_debian "$root" dpkg --purge --force-depends ca-certificates >"$top/log" 2>&1
    in_debian "$root" sh -c 'cd / && /wheel/bin/python -I /check_certificates.py /certifi-*.whl' ||
        fail "the wheel does not find the certificates"
    rm -rf "$root" "$root-builder"
done
