#!/bin/sh
# Runs the tests of the last commit in several releases of Debian, and writes docs/matrix.md.
# usage: matrix.sh SUITE...   (TARGETS: of make; default: test pytest-debug)
set -eu
cd "$(dirname "$0")/.."
. tools/debian.sh
top=$PWD/build/matrix
targets=${TARGETS:-test pytest-debug}
commit=$(git rev-parse --short HEAD)
trap 'rm -rf "$top"' EXIT
trap 'exit 130' INT TERM
rm -rf "$top"
mkdir -p "$top" docs
failed=0

for suite in "$@"; do
    root=$top/$suite
    log=build/matrix-$suite.log
    make_debian "$suite" "$root" ca-certificates,make,python3,python3-dev,python3-venv
    mkdir "$root/nontax"
    git archive "$commit" | tar -x -C "$root/nontax"
    # Where a proxy stands between pip and its index, pip is told so by its own variable.
    pip_cert=
    if [ -n "${PIP_CERT:-}" ]; then
        cp "$PIP_CERT" "$root/pip-cert.pem"
        pip_cert=PIP_CERT=/pip-cert.pem
    fi
    # shellcheck disable=SC2086
    if in_debian "$root" env $pip_cert make -C /nontax $targets >"$log" 2>&1; then
        result=passed
    else
        result=failed
        failed=1
        tail -n 40 "$log" >&2
    fi
    tests=$(awk '/^pytest *[a-z]*$/ { name = $2 ? $2 ": " : "" }
        sub(/ in [0-9.]+s.*/, "") && /^[0-9]+ [a-z][a-z0-9, ]*$/ { printf "%s%s", end name, $0; end = "; " }' "$log")
    in_debian "$root" sh -c '
        cd /nontax && .venv/bin/python -m nontax --version | sed 1d
        .venv/bin/python -c "import platform; print(\"Python\", platform.python_version())"
        dpkg-query -W -f "glibc \${Version}\n" libc6
        echo "gcc $(gcc -dumpfullversion)"' >"$top/versions" 2>/dev/null || true
    versions=$(tr '\n' ',' <"$top/versions" | sed 's/,$//; s/,/, /g')
    echo "| $suite | $versions | $result${tests:+: $tests} |" >>"$top/table"
    echo "$suite: $versions: $result${tests:+: $tests}"
    rm -rf "$root"
done

cat >docs/matrix.md <<END
# Where it was tested

What \`make matrix\` found last, on $(date -u +%Y-%m-%d), for nontax $(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml), commit $commit:
\`make $targets\` in a fresh Debian, built against that Debian's own libraries. The counts are those of pytest, each build's by name.

| Debian | with | result |
|---|---|---|
$(cat "$top/table")
END
exit "$failed"
