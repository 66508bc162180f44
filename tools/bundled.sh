#!/bin/sh
# Builds the libraries that a wheel brings along: OpenSSL, libcurl and cJSON, all static.
# They are compiled against the C library of Debian 11, so that the wheel runs on older systems too.
# usage: bundled.sh DIRECTORY   (afterwards: DIRECTORY/static/usr/{include,lib}, DIRECTORY/bin, DIRECTORY/licenses)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
list=$here/bundled.sha256
mkdir -p "$1"
top=$(cd "$1" && pwd)
jobs=$(nproc)
. "$here/fetch.sh"

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

grep -v '^#' "$list" | while read -r sum path; do
    fetch "$sum" "$path" "$top/downloads"
done

echo "sysroot glibc 2.31"
listed '[^/]*\.deb' | while read -r package; do
    dpkg-deb -x "$package" "$top/sysroot"
done
triplet=$(${CC:-gcc} -print-multiarch)
# Its absolute links would lead out of it, to the machine's own C library.
find "$top/sysroot" -type l -lname '/*' | while read -r link; do
    ln -sf "$top/sysroot$(readlink "$link")" "$link"
done

# A compiler with a name but no options: OpenSSL writes both into the library, for all to read.
cat >"$top/bin/bundling-cc" <<END
#!/bin/sh
exec ${CC:-gcc} --sysroot="$top/sysroot" -B"$top/sysroot/usr/lib/$triplet" \\
    -L"$top/sysroot/usr/lib/$triplet" -static-libgcc -ffile-prefix-map="$top/source=." "\$@"
END
chmod +x "$top/bin/bundling-cc"
export PATH="$top/bin:$PATH" CC=bundling-cc SOURCE_DATE_EPOCH=1700000000
flags="-O2 -fPIC -fvisibility=hidden -fstack-protector-strong -D_FORTIFY_SOURCE=2"
flags="$flags -ffunction-sections -fdata-sections"
export PKG_CONFIG_LIBDIR="$top/static/usr/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$top/static"

echo "build   OpenSSL"
unpack openssl
cd "$top/source/openssl"
# A client needs neither modules nor the machine's openssl.cnf, which is meant for another OpenSSL.
# shellcheck disable=SC2086
quietly ./Configure --prefix=/usr --libdir=lib --openssldir=/etc/ssl --release no-shared no-module \
    no-legacy no-engine no-apps no-docs no-tests no-comp no-dtls no-ssl3 no-autoload-config \
    no-srp no-psk no-ts no-cms no-ct no-rfc3779 no-quic $flags
quietly make -j"$jobs" build_libs
quietly make DESTDIR="$top/static" install_dev
cp LICENSE.txt "$top/licenses/openssl.txt"

echo "build   libcurl"
unpack curl
cd "$top/source/curl"
# No certificates by default: nontax looks for the machine's at run time.
quietly ./configure --prefix=/usr --disable-shared --enable-static --with-pic --disable-dependency-tracking \
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
quietly ar rcs "$top/static/usr/lib/libcjson.a" cJSON.o
install -D -m 644 cJSON.h "$top/static/usr/include/cjson/cJSON.h"
cp LICENSE "$top/licenses/cjson.txt"

rm -rf "$top/source"
echo "$stamp" >"$top/stamp"
