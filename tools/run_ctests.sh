#!/bin/sh
# Runs cmocka programs and prints one line for all that pass, or the whole output of one that fails.
# usage: run_ctests.sh VARIANT WRAPPER PROGRAM...   (WRAPPER: as "valgrind -q", or empty)
set -eu
variant=$1
wrapper=$2
shift 2
[ $# -gt 0 ] || {
    echo "ctest   $variant: there is no tests/core/test_*.c" >&2
    exit 1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM
passed=0
for program in "$@"; do
    # shellcheck disable=SC2086
    timeout 300 $wrapper "$program" >"$log" 2>&1 || {
        status=$?
        cat "$log"
        echo "ctest   $variant: $program failed (exit status $status)" >&2
        exit 1
    }
    count=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log")
    if [ -z "$count" ]; then
        cat "$log"
        echo "ctest   $variant: $program ran no test" >&2
        exit 1
    fi
    passed=$((passed + count))
done
echo "ctest   $variant: $passed tests in $# programs passed"
