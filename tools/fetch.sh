# shellcheck shell=sh
# Fetches files of Debian's by path and checksum, and builds from them without a word; for the scripts
# beside this one to read with `.`.

# A mirror drops what is superseded; the snapshot service keeps every day's files for good.
MIRRORS="${NONTAX_MIRRORS:-http://deb.debian.org/debian
https://snapshot.debian.org/archive/debian/20261030T000000Z
http://archive.debian.org/debian}"

has_sum() {
    [ "$(sha256sum "$2" 2>/dev/null | cut -d ' ' -f 1)" = "$1" ]
}

# fetch SHA256 PATH FOLDER: not again if it is there.
fetch() {
    sum=$1
    file=$3/${2##*/}
    ! has_sum "$sum" "$file" || return 0
    command -v curl >/dev/null || {
        echo "This needs curl (apt install curl)." >&2
        return 1
    }
    for mirror in $MIRRORS; do
        curl -fsSL --retry 2 -o "$file" "$mirror/$2" && has_sum "$sum" "$file" && return 0
    done
    echo "cannot be had with its checksum from any mirror: $2" >&2
    return 1
}

# Runs a command and shows its output, which goes to $top/log, only if it fails.
quietly() {
    "$@" >"$top/log" 2>&1 || {
        tail -n 60 "$top/log" >&2
        echo "failed: $*" >&2
        exit 1
    }
}
