#!/bin/sh
# What a machine with a GPU may lack, in one folder: the small libraries libuprez is built with (headers and
# shared objects of this system), pkg-config, and FFmpeg with the filter. tests/gpu/run.sh takes it from there.
#
# usage: tests/gpu/pack.sh FOLDER [FFMPEG_PREFIX]
#   FFMPEG_PREFIX   what plugins/ffmpeg/build.sh installed, built with --enable-ffnvcodec
set -eu
[ $# -ge 1 ] || { sed -n '/^# usage/,/^#  /s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
ffmpeg=${2:-}
mkdir -p "$out/bin" "$out/include" "$out/lib/pkgconfig"

# needs FILE: the shared objects it needs, but the C library's
needs() {
    for f in "$@"; do
        ldd "$f" | sed -nE 's/.*=> (\/[^ ]+) .*/\1/p' |
            grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*|libcuda|libstdc\+\+|libgcc_s)\.so' |
            while read -r need; do
                cp -nL "$need" "$out/lib/" 2>/dev/null || cp -L "$need" "$out/lib/"
            done
    done
}
for name in libzip zlib libcjson libmd; do
    dir=$(pkg-config --variable=libdir "$name")
    version=$(pkg-config --modversion "$name")
    case $name in
    libzip) lib=zip; headers="zip.h zipconf.h" ;;
    zlib) lib=z; headers="zlib.h zconf.h" ;;
    libcjson) lib=cjson; headers="cjson/cJSON.h" ;;
    libmd) lib=md; headers="md5.h sha1.h sha2.h sha256.h sha512.h sha.h md2.h md4.h ripemd.h rmd160.h" ;;
    esac
    for h in $headers; do
        for from in "$(pkg-config --variable=includedir "$name")" /usr/include /usr/include/*-linux-gnu; do
            [ -f "$from/$h" ] || continue
            mkdir -p "$out/include/$(dirname "$h")"
            cp -L "$from/$h" "$out/include/$h"
            break
        done
    done
    real=$(readlink -f "$dir/lib$lib.so")
    needs "$real"
    soname=$(objdump -p "$real" | sed -n 's/ *SONAME *//p')
    cp -f "$real" "$out/lib/$soname"
    cp -f "$out/lib/$soname" "$out/lib/lib$lib.so"
    printf 'prefix=${pcfiledir}/../..\nName: %s\nDescription: %s\nVersion: %s\nCflags: -I${prefix}/include\nLibs: -L${prefix}/lib -l%s\n' \
        "$name" "$name" "$version" "$lib" >"$out/lib/pkgconfig/$name.pc"
done
pkgconf=$(readlink -f "$(command -v pkg-config)")
cp "$pkgconf" "$out/bin/pkgconf"
ldd "$pkgconf" | sed -nE 's/.*=> (\/[^ ]*pkgconf[^ ]*) .*/\1/p' | while read -r f; do cp -L "$f" "$out/lib/"; done
cat >"$out/bin/pkg-config" <<'P'
#!/bin/sh
here=$(cd "$(dirname "$0")/.." && pwd)
PKG_CONFIG_LIBDIR=$here/lib/pkgconfig LD_LIBRARY_PATH=$here/lib exec "$here/bin/pkgconf" "$@"
P
chmod +x "$out/bin/pkg-config"

if [ -n "$ffmpeg" ]; then
    cp "$ffmpeg/bin/ffmpeg" "$out/bin/ffmpeg"
    strip "$out/bin/ffmpeg" || :
    needs "$ffmpeg/bin/ffmpeg"
    rm -f "$out"/lib/libuprez.so* # the one built there is taken
fi
du -sh "$out" | cut -f 1
