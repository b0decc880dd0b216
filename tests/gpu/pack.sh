#!/bin/bash
# What tests/gpu/go.sh and measure.sh need, in one folder, ready for a machine with a GPU that may be there for
# minutes only: the programs, the kernels and other cuts of them, networks, FFmpeg with the filter, a clip, and the
# small libraries they are built with (headers too, should the programs not start there).
#
# usage: tests/gpu/pack.sh FOLDER [FFMPEG_PREFIX] [--build DIR] [--models FOLDER] [--arch 90a] [--most MB] [--glibc X.Y]
#   FFMPEG_PREFIX   what plugins/ffmpeg/build.sh installed, with FFmpeg's headers for NVIDIA
#   --build         a build with bench/gpu, bench/network, bench/probe (default: one is made for --arch)
#   --models        real checkpoints: those of up to 8 MB come along
#   --most          MB that the folder may have (50); --glibc: the newest C library it may need (2.39)
# The last line tells the size and the highest GLIBC_ symbol. Exit 1 when one is beyond its limit.
set -eu
usage() { sed -n '/^# usage/,/^#  *--most/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
out='' ffmpeg='' build='' models='' arch=90a most=50 newest=2.39
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$(cd "$2" && pwd); shift ;;
    --models) models=$(cd "$2" && pwd); shift ;;
    --arch) arch=$2; shift ;;
    --most) most=$2; shift ;;
    --glibc) newest=$2; shift ;;
    -*) usage ;;
    *) if [ -z "$out" ]; then out=$1; else ffmpeg=$1; fi ;;
    esac
    shift
done
[ -n "$out" ] || usage
mkdir -p "$out"
out=$(cd "$out" && pwd)
mkdir -p "$out/bin" "$out/include" "$out/lib/pkgconfig" "$out/share"

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

# ---- programs and kernels ----
if [ -z "$build" ]; then
    build=$root/build-gpu/pack
    [ -f "$build/build.ninja" ] || meson setup "$build" "$root" --buildtype=release -Dprograms=disabled \
        -Dtests=disabled -Dcuda=enabled "-Dgpu_arch=$arch" >/dev/null
    ninja -C "$build" >/dev/null
    ninja -C "$build" bench/gpu bench/network bench/probe bench/probe.fatbin >/dev/null
    cp "$build/bench/probe.fatbin" "$out/share/"
    nvcc=$(for f in "${CUDACXX:-}" "${CUDA_HOME:-/none}/bin/nvcc" nvcc /usr/local/cuda*/bin/nvcc; do
        if [ -n "$f" ] && command -v "$f"; then break; fi; done)
    for cut in regs0:-DRING_REGS=0 "30_33:-DRING_DONE=30 -DRING_HAND_ON=33" "33_35:-DRING_DONE=33 -DRING_HAND_ON=35"; do
        # shellcheck disable=SC2086
        "$nvcc" -cubin "-arch=sm_$arch" -fmad=false -allow-unsupported-compiler ${cut#*:} \
            -o "$out/share/kernels-${cut%%:*}.cubin" "$root/src/engine/cuda/kernels/all.cu"
    done
elif [ -f "$build/bench/probe.fatbin" ]; then
    cp "$build/bench/probe.fatbin" "$out/share/"
fi
for program in gpu network probe; do
    cp "$build/bench/$program" "$out/bin/"
    strip "$out/bin/$program"
    needs "$build/bench/$program"
done
git -C "$root" rev-parse --short HEAD >"$out/share/commit" 2>/dev/null || :

# ---- networks ----
python3 "$root/tests/gpu/make_models.py" "$out/share" small1 plain light tiny1 tiny2
for f in realesr-general-x4v3.pth realesr-animevideov3.pth; do
    from=$(find "${models:-/nowhere}" -name "${f%.pth}*.pth" -size -8M 2>/dev/null | sort | head -1)
    if [ -n "$from" ]; then cp -L "$from" "$out/share/$f"; else echo "Without $f: weights from a seed are made there."; fi
done

# ---- small libraries, for building there ----
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
    ln -sf "$soname" "$out/lib/lib$lib.so"
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

# ---- FFmpeg and what it decodes ----
if [ -n "$ffmpeg" ]; then
    cp "$ffmpeg/bin/ffmpeg" "$out/bin/ffmpeg"
    strip "$out/bin/ffmpeg" || :
    needs "$ffmpeg/bin/ffmpeg"
    for so in "$build"/src/libuprez.so.[0-9]; do # of the same source as the programs, not what FFmpeg was built with
        [ -f "$so" ] && { rm -f "$out/lib/$(basename "$so")"; cp -L "$so" "$out/lib/"; strip "$out/lib/$(basename "$so")"; }
    done
    "$ffmpeg/bin/ffmpeg" -nostdin -v error -y -f lavfi -i "testsrc2=s=1280x720:r=30:d=10,noise=alls=6:allf=t" -c:v libx264 \
        -preset veryfast -crf 26 -pix_fmt yuv420p "$out/share/clip.mkv" </dev/null || { rm -f "$out/share/clip.mkv"; echo "Without a clip: this ffmpeg writes no H.264."; }
fi

# ---- limits ----
glibc=$(find "$out" -type f \( -path '*/bin/*' -o -name '*.so*' \) -print0 | xargs -0 objdump -T 2>/dev/null |
    grep -o 'GLIBC_[0-9][0-9.]*' | sort -uV | tail -1)
bytes=$(du -sb "$out" | cut -f 1)
ok=0
[ "$bytes" -le $((most * 1000000)) ] || { ok=1; echo "The folder is larger than $most MB." >&2; }
[ "$(printf '%s\n' "${glibc#GLIBC_}" "$newest" | sort -V | tail -1)" = "$newest" ] ||
    { ok=1; echo "It needs a newer C library than $newest." >&2; }
echo "$((bytes / 100000)) $glibc" | awk '{ printf "%.1f MB, highest symbol %s\n", $1 / 10, $2 }'
exit $ok
