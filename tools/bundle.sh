#!/bin/sh
# Makes one archive with nontax, a Python and all else it needs: for machines without a network.
# usage: bundle.sh OUTPUT [x86_64|aarch64]   (OUTPUT holds the wheel of that machine, of wheel.sh)
#
# The Python is Debian 13's, with that Debian's C library: a start script hands it to the C library's own
# loader, so it runs on every Linux with a kernel of 3.2 or newer, from whatever folder it stands in. The
# package index has no Python, and one compiled here would need at least the C library it was made for.
set -eu
cd "$(dirname "$0")/.."
here=$PWD/tools
output=$(cd "$1" && pwd)
machine=${2:-$(uname -m)}
case $machine in
x86_64) debian=amd64 loader=ld-linux-x86-64.so.2 ;;
aarch64) debian=arm64 loader=ld-linux-aarch64.so.1 ;;
*) echo "no bundle is made for $machine" >&2 && exit 2 ;;
esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
wheel=$(echo "$output/nontax-$version"-cp311-abi3-manylinux_*_"$machine".whl)
[ -f "$wheel" ] || {
    echo "There is no wheel for $machine in $output. Run: make wheel" >&2
    exit 1
}
top=$PWD/build/bundle
name=nontax-$version-linux-$machine
tree=$top/$name
. "$here/fetch.sh"
mkdir -p "$top/downloads"
rm -rf "$tree" "$top/packages"
mkdir -p "$tree/python/bin" "$tree/python/lib/system" "$tree/wheels" "$tree/licenses" "$top/packages"

echo "python  $machine"
grep "_$debian\.deb$" "$here/bundle.sha256" | while read -r sum path; do
    fetch "$sum" "$path" "$top/downloads"
    dpkg-deb -x "$top/downloads/${path##*/}" "$top/packages"
    package=${path##*/}
    echo "${package%.deb}" >>"$tree/packages.txt"
done
usr=$top/packages/usr
python=$(cd "$usr/bin" && echo python3.*)
cp -R "$usr/lib/$python" "$tree/python/lib/"
cp "$usr/bin/$python" "$tree/python/lib/system/python"
find "$usr/lib/$machine-linux-gnu" -maxdepth 1 \( -name '*.so.*' -o -name '*.so' \) |
    while read -r library; do
        cp -P "$library" "$tree/python/lib/system/"
    done
# They lead to Debian's /etc; and pip may install here.
find "$tree/python/lib" -type l ! -exec test -e {} \; -delete
rm -f "$tree/python/lib/$python/EXTERNALLY-MANAGED"
for notice in "$usr"/share/doc/*/copyright; do
    package=${notice%/copyright}
    cp "$notice" "$tree/licenses/${package##*/}.txt"
done
cp LICENSE "$tree/licenses/nontax.txt"

cat >"$tree/python/bin/python3" <<END
#!/bin/sh
# Runs this folder's Python with this folder's C library, and with none of the machine's.
self=\$(readlink -f "\$0")
system=\${self%/bin/python3}/lib/system
exec "\$system/$loader" --argv0 "\$0" --library-path "\$system" "\$system/python" "\$@"
END
chmod +x "$tree/python/bin/python3"

echo "wheels"
minor=${python#python3.}
"${PYTHON:-python3}" -m venv --clear "$top/venv"
"$top/venv/bin/pip" download -q --disable-pip-version-check --dest "$tree/wheels" --no-deps \
    --require-hashes --only-binary :all: --implementation cp --python-version "3.$minor" --abi "cp3$minor" \
    --abi abi3 --abi none --platform "manylinux2014_$machine" --platform "manylinux_2_28_$machine" \
    --platform "manylinux_2_34_$machine" --platform any -r requirements/bundle.txt 2>"$top/log" || {
    cat "$top/log" >&2
    exit 1
}
cp "$wheel" "$tree/wheels/"
cp "$here/install.sh" "$tree/install.sh"
printf '%s\n' "$version" >"$tree/version.txt"

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date -r pyproject.toml +%s)
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$top" -cf - "$name" |
    gzip -n -9 >"$output/$name.tar.gz"
echo "made    $name.tar.gz ($(($(stat -c %s "$output/$name.tar.gz") / 1048576)) MB)"
