#!/bin/bash
# libuprez as others link it: installed files, pkg-config, CMake, public symbols only, the examples.
. "$(dirname "$0")/lib.sh"
need ffmpeg pkg-config cc c++
prefix=$(meson introspect "$BUILD_ROOT" --buildoptions |
    python3 -c 'import json,sys; print({o["name"]: o["value"] for o in json.load(sys.stdin)}["prefix"])')
meson install -C "$BUILD_ROOT" --no-rebuild --destdir "$tmp/root" >"$tmp/log" 2>&1 ||
    bad "meson install: $(tail -3 "$tmp/log")"
pc=$(find "$tmp/root" -name uprez.pc)
[ -n "$pc" ] || bad "no uprez.pc"
export PKG_CONFIG_SYSROOT_DIR=$tmp/root PKG_CONFIG_PATH=${pc%/*}
read -ra flags <<<"$(pkg-config --cflags --libs uprez)"
lib=$(find "$tmp/root" -name 'libuprez.so')
export LD_LIBRARY_PATH=${lib%/*}
readelf -d "$lib" | grep -q 'SONAME.*libuprez\.so\.0' || bad "no soname"
readelf -d "$lib" | grep NEEDED | grep -qE 'libav|libsw|stdc\+\+|torch|curl' && bad "libuprez needs too much"
nm -D --defined-only "$lib" | awk '{print $3}' | grep -v '^uprez_' >"$tmp/alien" && bad "not public: $(head "$tmp/alien")"
# each function of the headers is there
grep -ho 'uprez_[a-z_]*(' "$SOURCE_ROOT"/include/uprez/*.h | tr -d '(' | sort -u >"$tmp/said"
nm -D --defined-only "$lib" | awk '{print $3}' | sort -u >"$tmp/there"
comm -13 "$tmp/said" "$tmp/there" >"$tmp/odd"
[ -s "$tmp/odd" ] && bad "exported, in no header: $(cat "$tmp/odd")"
for f in uprez_create uprez_send uprez_model_load; do grep -qx "$f" "$tmp/there" || bad "$f is not exported"; done

cc -std=c99 -Wall -Wextra -Werror "$SOURCE_ROOT/examples/picture.c" -o "$tmp/picture" "${flags[@]}" 2>"$tmp/err" ||
    bad "picture.c as C99: $(head -3 "$tmp/err")"
cc -std=c99 -Wall -Wextra -Werror "$SOURCE_ROOT/examples/stream.c" -o "$tmp/stream" "${flags[@]}" 2>"$tmp/err" ||
    bad "stream.c as C99: $(head -3 "$tmp/err")"
for cuda in /usr/local/cuda/include /usr/include; do
    [ -f "$cuda/cuda.h" ] || continue
    cc -std=c99 -Wall -Wextra -Werror -isystem "$cuda" -c "$SOURCE_ROOT/examples/cuda.c" -o "$tmp/cuda.o" \
        "${flags[@]}" 2>"$tmp/err" || bad "cuda.c as C99: $(head -3 "$tmp/err")"
    # run on the emulated GPU: NV12 in device memory as stream.c's planes through engine cuda
    fake=$BUILD_ROOT/tests/fake/cuda
    LD_LIBRARY_PATH=$fake "$UPREZ" devices 2>/dev/null | grep -q 'Emulated GPU' || break
    cc "$tmp/cuda.o" -o "$tmp/cuda" "${flags[@]}" -L"$fake" -l:libcuda.so.1 || bad "cuda.c does not link"
    python3 "$SOURCE_ROOT/tests/gpu/make_models.py" "$tmp" tiny2
    ffmpeg -v error -f lavfi -i testsrc2=size=64x36:rate=5 -vf scale=63:35 -frames:v 3 -f rawvideo \
        -pix_fmt yuv420p "$tmp/gpu.yuv"
    repack() { ffmpeg -v error -f rawvideo -pix_fmt "$1" -s "$2" -i - -f rawvideo -pix_fmt "$3" -; }
    (
        export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$fake
        "$tmp/stream" "$tmp/tiny2.safetensors" 63 35 <"$tmp/gpu.yuv" >"$tmp/gpu.want"
        repack yuv420p 63x35 nv12 <"$tmp/gpu.yuv" | "$tmp/cuda" "$tmp/tiny2.safetensors" 63 35 >"$tmp/gpu.nv12"
    ) || bad "example cuda: exit $?"
    [ "$(wc -c <"$tmp/gpu.nv12")" = $((3 * 126 * 70 * 3 / 2)) ] &&
        repack nv12 126x70 yuv420p <"$tmp/gpu.nv12" | cmp -s - "$tmp/gpu.want" || bad "cuda.c and stream.c differ"
    FAKE_CUDA_NONE=1 LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$fake "$tmp/cuda" "$tmp/tiny2.safetensors" 63 35 \
        </dev/null 2>"$tmp/err"
    [ $? = 5 ] || bad "example cuda without a GPU: $(cat "$tmp/err")"
    break
done
echo '#include <uprez/uprez.h>
int main() { return uprez_version() ? 0 : 1; }' >"$tmp/a.cc"
c++ -std=c++11 -Wall -Wextra -Werror "$tmp/a.cc" -o "$tmp/a" "${flags[@]}" 2>"$tmp/err" || bad "C++: $(head -3 "$tmp/err")"
"$tmp/a" || bad "the C++ program fails"

# the same pixels as the command's
ffmpeg -v error -f lavfi -i testsrc2=size=96x64:rate=5:duration=2 -frames:v 1 "$tmp/in.ppm"
"$tmp/picture" lanczos "$tmp/in.ppm" "$tmp/out.ppm" || bad "example picture: exit $?"
"$UPREZ" -q -m lanczos "$tmp/in.ppm" "$tmp/out.png" 2>"$tmp/err" || bad "command: $(cat "$tmp/err")"
md5() { ffmpeg -v error -i "$1" -pix_fmt rgb24 -f md5 -; }
[ "$(md5 "$tmp/out.ppm")" = "$(md5 "$tmp/out.png")" ] || bad "picture.c and the command differ"
ffmpeg -v error -f lavfi -i testsrc2=size=96x64:rate=25:duration=2 -pix_fmt yuv420p "$tmp/in.y4m"
LC_ALL=C sed -i '1s/ C420[a-z0-9]* / C420mpeg2 /' "$tmp/in.y4m" # chroma at the left, as the example takes it
ffmpeg -v error -i "$tmp/in.y4m" -f rawvideo - | "$tmp/stream" lanczos 96 64 >"$tmp/out.yuv" || bad "example stream"
"$UPREZ" -q -m lanczos "$tmp/in.y4m" - 2>/dev/null | ffmpeg -v error -i - -f rawvideo "$tmp/want.yuv"
cmp -s "$tmp/out.yuv" "$tmp/want.yuv" || bad "stream.c and the command differ"
"$tmp/picture" "$tmp/missing.pth" "$tmp/in.ppm" "$tmp/x.ppm" 2>"$tmp/err"
[ $? = 4 ] || bad "a missing model in the example"

if command -v cmake >/dev/null; then
    config=$(dirname "$(find "$tmp/root" -name uprez-config.cmake)")
    # as if installed: the prefix in the file stands below the staging folder
    sed -i "s|\"$prefix|\"$tmp/root$prefix|" "$config/uprez-config.cmake"
    mkdir "$tmp/cm"
    cat >"$tmp/cm/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.16)
project(x C)
find_package(uprez 0.1 REQUIRED)
add_executable(x $SOURCE_ROOT/examples/picture.c)
target_link_libraries(x uprez::uprez)
EOF
    cmake -S "$tmp/cm" -B "$tmp/cm/b" -DCMAKE_PREFIX_PATH="$tmp/root$prefix" -Duprez_DIR="$config" >"$tmp/log" 2>&1 &&
        cmake --build "$tmp/cm/b" >>"$tmp/log" 2>&1 || bad "CMake: $(tail -3 "$tmp/log")"
    "$tmp/cm/b/x" lanczos "$tmp/in.ppm" "$tmp/cm.ppm" && cmp -s "$tmp/cm.ppm" "$tmp/out.ppm" || bad "CMake's program differs"
fi
finish
