#!/bin/sh
# Builds the libraries that a wheel brings along: OpenSSL, libcurl and cJSON, all static.
# They are compiled against an old C library, so that the wheel runs on older systems too: glibc of
# Debian 11 (manylinux), or its musl (musllinux, for Alpine). For another processor, with Debian's cross
# compiler.
# usage: bundled.sh DIRECTORY [manylinux-x86_64|manylinux-aarch64|musllinux-x86_64|musllinux-aarch64]
#   (afterwards: DIRECTORY/static/usr/{include,lib}, DIRECTORY/bin, DIRECTORY/licenses)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
list=$here/bundled.sha256
target=${2:-manylinux-$(uname -m)}
mkdir -p "$1"
top=$(cd "$1" && pwd)
jobs=$(nproc)
. "$here/fetch.sh"

machine=${target#*-}
case $machine in
x86_64) debian=amd64 ;;
aarch64) debian=arm64 ;;
*) echo "no wheel is made for $target" >&2 && exit 2 ;;
esac
prefix=
[ "$machine" = "$(uname -m)" ] || prefix=$machine-linux-gnu-
cc=${CC:-${prefix}gcc}
command -v "${cc%% *}" >/dev/null || {
    echo "This needs $cc (apt install crossbuild-essential-$debian)." >&2
    exit 1
}

stamp=$(cat "$list" "$0" | sha256sum)
[ "$(cat "$top/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
rm -rf "$top/stamp" "$top/source" "$top/static" "$top/sysroot" "$top/bin" "$top/licenses"
mkdir -p "$top/downloads" "$top/source" "$top/static" "$top/sysroot" "$top/bin" "$top/licenses"

# listed PATTERN: the names of those files; older ones may lie beside them.
listed() {
    sed -n "s|^[0-9a-f]* .*/\($1\)\$|$top/downloads/\1|p" "$list"
}

unpack() { # NAME
    mkdir "$top/source/$1"
    tar -xzf "$(listed "$1_[^/]*\.orig\.tar\.gz")" -C "$top/source/$1" --strip-components=1
}

case $target in
manylinux-*) libc="libc6\(-dev\)*" ;;
musllinux-*) libc="musl\(-dev\)*" ;;
esac
packages=$(listed "$libc"_[^/]*"_$debian\.deb"; listed "linux-libc-dev_[^/]*_$debian\.deb")
grep -v '^#' "$list" | while read -r sum path; do
    case $path in
    *.deb) case $packages in *"/${path##*/}"*) ;; *) continue ;; esac ;;
    esac
    fetch "$sum" "$path" "$top/downloads"
done

echo "sysroot $target"
for package in $packages; do
    dpkg-deb -x "$package" "$top/sysroot"
done
# Its absolute links would lead out of it, to the machine's own C library.
find "$top/sysroot" -type l -lname '/*' | while read -r link; do
    ln -sf "$top/sysroot$(readlink "$link")" "$link"
done

case $target in
manylinux-*)
    lib=$top/sysroot/usr/lib/$machine-linux-gnu
    options="--sysroot=\"$top/sysroot\" -B\"$lib\" -L\"$lib\" -static-libgcc"
    ;;
musllinux-*)
    lib=$top/sysroot/usr/lib/$machine-linux-musl
    include=$top/sysroot/usr/include/$machine-linux-musl
    # Debian's musl has no name in it; what is linked to it asks for the one that Alpine's has.
    cp "$top/sysroot/lib/$machine-linux-musl/libc.so" "$lib/"
    "${PATCHELF:-patchelf}" --set-soname "libc.musl-$machine.so.1" "$lib/libc.so"
    for folder in linux asm-generic "$machine-linux-gnu/asm"; do
        ln -sfn "$top/sysroot/usr/include/$folder" "$include/${folder##*/}"
    done
    sed -e "s|@include@|$include|g" -e "s|@lib@|$lib|g" -e "s|@machine@|$machine|g" \
        >"$top/bin/musl.specs" <<'END'
%rename cpp_options old_cpp_options

*cpp_options:
-nostdinc -isystem @include@ -isystem include%s %(old_cpp_options)

*cc1:
%(cc1_cpu) -nostdinc -isystem @include@ -isystem include%s

*link_libgcc:
-L .%s

*libgcc:
libgcc.a%s

*startfile:
%{!shared: @lib@/Scrt1.o} @lib@/crti.o crtbeginS.o%s

*endfile:
crtendS.o%s @lib@/crtn.o

*link:
-dynamic-linker /lib/ld-musl-@machine@.so.1 -nostdlib %{shared:-shared} %{static:-static} %{rdynamic:-export-dynamic}

*esp_link:


*esp_options:


*esp_cpp_options:


END
    # The folder comes first: an interpreter that has a shared library adds the machine's own, with glibc.
    options="-specs=\"$top/bin/musl.specs\" -L\"$lib\""
    # The functions for atomic operations in Debian's libgcc ask glibc what the processor can do.
    [ "$machine" != aarch64 ] || options="$options -mno-outline-atomics"
    ;;
esac

# A compiler with a name but no options: OpenSSL writes both into the library, for all to read.
cat >"$top/bin/bundling-cc" <<END
#!/bin/sh
exec $cc $options -ffile-prefix-map="$top/source=." "\$@"
END
chmod +x "$top/bin/bundling-cc"
export PATH="$top/bin:$PATH" CC=bundling-cc AR=${prefix}ar RANLIB=${prefix}ranlib SOURCE_DATE_EPOCH=1700000000
flags="-O2 -fPIC -fvisibility=hidden -fstack-protector-strong -D_FORTIFY_SOURCE=2"
flags="$flags -ffunction-sections -fdata-sections"
export PKG_CONFIG_LIBDIR="$top/static/usr/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$top/static"

echo "build   OpenSSL"
unpack openssl
cd "$top/source/openssl"
# musl has no contexts to switch between.
async=
case $target in musllinux-*) async=no-async ;; esac
# A client needs neither modules nor the machine's openssl.cnf, which is meant for another OpenSSL.
# shellcheck disable=SC2086
quietly ./Configure "linux-$machine" --prefix=/usr --libdir=lib --openssldir=/etc/ssl --release no-shared no-module \
    no-legacy no-engine no-apps no-docs no-tests no-comp no-dtls no-ssl3 no-autoload-config \
    no-srp no-psk no-ts no-cms no-ct no-rfc3779 no-quic $async $flags
quietly make -j"$jobs" build_libs
quietly make DESTDIR="$top/static" install_dev
cp LICENSE.txt "$top/licenses/openssl.txt"

echo "build   libcurl"
unpack curl
cd "$top/source/curl"
# No certificates by default: nontax looks for the machine's at run time.
quietly ./configure --host="$machine-linux-${lib##*-}" --prefix=/usr --disable-shared --enable-static --with-pic --disable-dependency-tracking \
    --with-openssl --without-nghttp2 --without-ca-bundle --without-ca-path --without-ca-fallback \
    --enable-threaded-resolver --disable-openssl-auto-load-config --disable-docs --disable-manual \
    --without-zlib --without-brotli --without-zstd --without-libpsl --without-libidn2 \
    --without-libssh2 --without-librtmp --without-libgsasl --without-nghttp3 --without-ngtcp2 \
    --disable-ftp --disable-file --disable-ldap --disable-ldaps --disable-rtsp --disable-dict \
    --disable-telnet --disable-tftp --disable-pop3 --disable-imap --disable-smb --disable-smtp \
    --disable-gopher --disable-mqtt --disable-ipfs --disable-websockets --disable-ntlm \
    --disable-kerberos-auth --disable-negotiate-auth --disable-aws --disable-tls-srp --disable-unix-sockets \
    --disable-cookies --disable-doh --disable-hsts --disable-alt-svc \
    --disable-libcurl-option --disable-curldebug --disable-debug \
    CFLAGS="$flags"
quietly make -j"$jobs" -C lib
quietly make DESTDIR="$top/static" -C lib install
quietly make DESTDIR="$top/static" -C include install
quietly make DESTDIR="$top/static" install-pkgconfigDATA
cp COPYING "$top/licenses/curl.txt"

echo "build   cJSON"
unpack cjson
cd "$top/source/cjson"
# shellcheck disable=SC2086
quietly bundling-cc -std=c11 $flags -DCJSON_HIDE_SYMBOLS -c cJSON.c -o cJSON.o
quietly "$AR" rcs "$top/static/usr/lib/libcjson.a" cJSON.o
install -D -m 644 cJSON.h "$top/static/usr/include/cjson/cJSON.h"
cp LICENSE "$top/licenses/cjson.txt"

rm -rf "$top/source"
echo "$stamp" >"$top/stamp"
