#!/bin/sh
# Installs a bundle in a bare and older Debian without a Python, without a network and without root, and
# works with it there. usage: check_bundle.sh ARCHIVE
set -eu
cd "$(dirname "$0")/.."
. tools/debian.sh
archive=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
top=$PWD/build/check-bundle
root=$top/bullseye
trap 'rm -rf "$top"' EXIT
trap 'exit 130' INT TERM
rm -rf "$top"
mkdir -p "$top"
make_debian bullseye "$root" ca-certificates
! [ -e "$root/usr/bin/python3" ] || {
    echo "the system is not as bare as it should be" >&2
    exit 1
}
name=$(basename "$archive" .tar.gz)
mkdir -p "$root/home/clerk"
tar -xzf "$archive" -C "$root/home/clerk"
cp examples/day.py "$root/home/clerk/"
chown -R 1000:1000 "$root/home/clerk"

# A network of its own with nothing in it but itself.
# shellcheck disable=SC2016
unshare --net sh -euc '
    ip link set lo up
    . tools/debian.sh
    in_debian "$1" setpriv --reuid=1000 --regid=1000 --clear-groups env HOME=/home/clerk sh -euc "
        cd /home/clerk
        sh $2/install.sh
        sh $2/install.sh >/dev/null     # again, as an upgrade
        rm -rf $2
        nontax/bin/nontax --version
        nontax/bin/nontax doctor --offline --format jsonl >doctor.jsonl || [ \$? = 5 ]
        nontax/bin/python3 day.py day >day.log
        tail -n 3 day.log
    "
' sh "$root" "$name"
echo "tried   $name in Debian 11 without a network, without root, without a Python of its own"
