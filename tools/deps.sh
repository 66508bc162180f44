#!/bin/sh
# Installs the Debian packages that building and testing need; does nothing where all are present.
# usage: deps.sh demo|test|all|debug|release   (each has what the ones before it have, and what its make target
# needs; release has what making wheels, bundles and a Python needs, and not what testing needs)
set -eu

what=${1:?usage: deps.sh demo|test|all|debug|release}
packages="ca-certificates gcc libc6-dev libcjson-dev libcurl4-openssl-dev make openssl pkg-config"
case "$what" in
test | all | debug) packages="$packages binutils clang libcmocka-dev redis-server" ;;
release) packages="$packages curl debian-archive-keyring debootstrap git iproute2 libbz2-dev libffi-dev \
	liblzma-dev libsqlite3-dev libssl-dev perl xz-utils zlib1g-dev" ;;
esac
case "$what" in
all | debug) packages="$packages libc6-dbg libclang-rt-dev libfaketime mariadb-server postgresql \
	rabbitmq-server valgrind" ;;
esac
# For reports as pages.
[ "$what" != all ] || packages="$packages chromium fonts-noto-cjk libreoffice-calc poppler-utils"
# libcurl with GnuTLS has another name in each release, and is there already where git is.
[ "$what" != all ] || ls /usr/lib/*/libcurl-gnutls.so.4 >/dev/null 2>&1 ||
    packages="$packages libcurl3-gnutls"
# Whatever Python is in use. Most of its headers are links to those of Debian's other one.
[ "$what" != debug ] || packages="$packages python3-dbg python3-dev python3-venv"

# The headers and venv must be those of the python3 in use: a system one takes them from packages,
# one that was built elsewhere (pyenv, a tarball) brings its own.
case "$("${PYTHON:-python3}" -c 'import sys; print(sys.base_prefix)')" in
/usr) packages="$packages python3-dev python3-venv" ;;
esac

if ! command -v dpkg-query >/dev/null; then
    [ "$what" = all ] || exit 0 # the build tells what is missing, if anything is
    echo "make deps knows Debian and Ubuntu only. Elsewhere install: a C compiler, clang," \
        "pkg-config, libcurl >= 7.85, cJSON, cmocka, valgrind, openssl, redis-server," \
        "PostgreSQL, MariaDB, the headers of Python." >&2
    exit 1
fi

missing=""
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    case "$status" in
    installed*) ;; # once for each architecture
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "System packages are missing. Install them with:" >&2
    echo "    sudo apt-get install$missing" >&2
    exit 1
fi

echo "apt    $missing"
export DEBIAN_FRONTEND=noninteractive
install() {
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing
}
log=$(mktemp)
# The tests start their own servers; the packages must start none.
policy=/usr/sbin/policy-rc.d
if [ -e $policy ]; then
    policy=""
else
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
trap 'rm -f "$log" $policy' EXIT
trap 'exit 130' INT TERM
# The package lists of a machine may be absent or old: fetch them only if the first try fails.
install >"$log" 2>&1 || { apt-get update -qq && install; } >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
}
