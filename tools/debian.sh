# shellcheck shell=sh
# Throw-away Debian systems in a folder, for the scripts beside this one to read with `.`; for root alone.

MIRROR="${NONTAX_MIRROR:-http://deb.debian.org/debian}"

# make_debian SUITE FOLDER PACKAGE,PACKAGE...
make_debian() {
    [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null || {
        echo "This needs root and debootstrap (apt install debootstrap)." >&2
        return 1
    }
    mkdir -p "$(dirname "$2")"
    # What it mounts ends with it, also where it cannot unmount it.
    unshare --mount debootstrap --variant=minbase --include="$3" "$1" "$2" "$MIRROR" >"$2.log" 2>&1 || {
        tail -n 20 "$2.log" >&2
        return 1
    }
    # Without this, localhost is what the network's DNS makes of it.
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$2/etc/hosts"
    # A mirror that stands still is good enough for a test; its signature is checked all the same.
    echo 'Acquire::Check-Valid-Until "false";' >"$2/etc/apt/apt.conf.d/99nontax"
    rm -f "$2.log"
}

# in_debian FOLDER COMMAND...: what it mounts and starts is gone when it ends. Ctrl-C counts there even
# if this script was started where it does not (in the background): tests are about it.
in_debian() {
    unshare --mount --pid --fork --kill-child sh -euc '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec env --default-signal=INT chroot "$root" env -i HOME=/tmp LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
    ' sh "$@"
}
