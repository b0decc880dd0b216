#!/bin/bash
# The filter uprez inside an FFmpeg that plugins/ffmpeg/build.sh made.
#
# usage: tests/ffmpeg/run.sh FFMPEG [UPREZ]
#   FFMPEG  that build's bin/ffmpeg     UPREZ  the command, for its own pixels (default build/cli/uprez)
# Prints one line a check; the last says how many passed.
set -u
ffmpeg=${1:?usage: tests/ffmpeg/run.sh FFMPEG [UPREZ]}
root=$(cd "$(dirname "$0")/../.." && pwd)
uprez=${2:-$root/build/cli/uprez}
shared=${SHARED:-$root/../shared}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok    $*"; }
bad() { failed=$((failed + 1)); echo "FAIL  $*"; [ -s "$tmp/err" ] && tail -4 "$tmp/err" | sed 's/^/      /'; }
skip() { skipped=$((skipped + 1)); echo "skip  $*"; }
# md5s NAME ARGUMENT…: frame hashes into $tmp/NAME (without the header, whose lines name the build)
md5s() {
    name=$1
    shift
    timeout 300 "$ffmpeg" -nostdin -v error "$@" -fps_mode passthrough -f framemd5 - 2>"$tmp/err" </dev/null |
        grep -v '^#' >"$tmp/$name"
    return "${PIPESTATUS[0]}"
}
same() { # WHAT A B
    if [ -s "$tmp/$2" ] && cmp -s "$tmp/$2" "$tmp/$3"; then ok "$1"; else bad "$1: $2 and $3 differ"; fi
}
# near WHAT A B: raw bytes of one length, at most 1 in 100 of them differ, by one
near() {
    if [ -s "$tmp/$2" ] && [ "$(wc -c <"$tmp/$2")" = "$(wc -c <"$tmp/$3")" ] &&
        cmp -l "$tmp/$2" "$tmp/$3" | awk -v all="$(wc -c <"$tmp/$2")" '
            function oct(s) { return substr(s, length(s) - 2, 1) * 64 + substr(s, length(s) - 1, 1) * 8 + substr(s, length(s)) }
            { a = oct("00" $2); b = oct("00" $3); if (a - b > 1 || b - a > 1) far++ }
            END { exit far || NR * 100 > all }'; then ok "$1"
    else bad "$1: $2 and $3 are not near"; fi
}
# crashed CODE: a signal's, or the time ran out; ffmpeg's own codes go up to 255
crashed() { [ "$1" = 124 ] || { [ "$1" -gt 128 ] && [ "$1" -lt 166 ]; }; }
# refused WHAT TEXT ARGUMENT…: not zero, no signal, in time, and the sentence says TEXT
refused() {
    what=$1 text=$2
    shift 2
    timeout 60 "$ffmpeg" -nostdin -v error "$@" >/dev/null 2>"$tmp/err" </dev/null
    code=$?
    if [ $code = 0 ] || crashed $code; then bad "$what: exit $code"
    elif ! grep -qF -- "$text" "$tmp/err"; then bad "$what: does not say '$text'"
    else ok "$what"; fi
}
src() { echo "testsrc2=size=$1:rate=10:duration=${2:-1}"; }

"$ffmpeg" -v error -h filter=uprez >"$tmp/help" 2>&1
missing=
for o in model scale width height engine device device_id precision threads cpu tile batch batch_size denoise blend tta \
    filter reuse async nireq dnn_backend input output backend_configs; do
    grep -qE "^ +$o +<" "$tmp/help" || missing="$missing $o"
done
[ -z "$missing" ] && ok "-h filter=uprez lists every option" || bad "-h filter=uprez lacks$missing"

# sync, async, batch: the same frames in the same order with the same times
nets="lanczos"
net=$shared/models/pytorch/sudo_UltraCompact_2x_1.121.175_G.pth
anime=$shared/models/pytorch/realesr-animevideov3.pth
[ -f "$net" ] && nets="$nets $net" || skip "networks: no models at $shared"
for m in $nets; do
    n=$(basename "$m")
    md5s sync -f lavfi -i "$(src 96x64)" -vf "uprez=model=$m:async=0"
    md5s async -f lavfi -i "$(src 96x64)" -vf "uprez=model=$m"
    md5s batch -f lavfi -i "$(src 96x64)" -vf "uprez=model=$m:batch_size=4:nireq=6"
    same "$n: async = sync" sync async
    same "$n: batch = sync" sync batch
    [ "$(wc -l <"$tmp/sync")" = 10 ] && ok "$n: 10 frames" || bad "$n: $(wc -l <"$tmp/sync") frames of 10"
done

# the command's own pixels
clip=$tmp/clip.mkv
"$ffmpeg" -v error -f lavfi -i "$(src 98x66)" -c:v ffv1 -pix_fmt yuv420p -colorspace bt709 -color_range tv "$clip"
for m in $nets; do
    "$uprez" -q -y -m "$m" -c ffv1 "$clip" "$tmp/own.mkv" 2>"$tmp/err" || bad "the command: exit $?"
    md5s own -i "$tmp/own.mkv"
    md5s filter -i "$clip" -vf "uprez=model=$m"
    cut -d, -f6 "$tmp/own" >"$tmp/own.md5"
    cut -d, -f6 "$tmp/filter" >"$tmp/filter.md5"
    same "$(basename "$m"): the command's own pixels" own.md5 filter.md5
done

# odd sizes, depths, alpha, layouts
for f in yuv420p:97x65 yuv420p10le:96x64 yuv444p12le:50x34 yuva420p:96x64 gbrp:40x30 gbrap:40x30 rgb24:41x31 rgba:40x30 \
    gray:64x48 gray16le:64x48 nv12:96x64 p010le:96x64 yuv422p:66x50 yuvj420p:64x48 rgb48le:32x32; do
    fmt=${f%:*} size=${f#*:}
    w=${size%x*} h=${size#*x}
    timeout 60 "$ffmpeg" -nostdin -v error -f lavfi -i "testsrc=size=$size:rate=10:duration=0.3" -vf "format=$fmt,uprez=model=bicubic:scale=2" \
        -frames:v 2 -f rawvideo "$tmp/raw" -y 2>"$tmp/err" </dev/null || { bad "$fmt $size: exit $?"; continue; }
    probe=$("$ffmpeg" -nostdin -v info -f lavfi -i "testsrc=size=$size:rate=10:duration=0.3" -vf "format=$fmt,uprez=model=bicubic:scale=2" -f null - 2>&1 |
        grep -E 'Stream #0:0.*(wrapped_avframe|rawvideo)' | tail -1)
    case $probe in
    *"$fmt"*"$((w * 2))x$((h * 2))"* | *yuv420p*"$((w * 2))x$((h * 2))"*) ok "$fmt $size -> $((w * 2))x$((h * 2))" ;;
    *) bad "$fmt $size: got $probe" ;;
    esac
done

# times are the source's, seeking, -frames:v
md5s all -f lavfi -i "$(src 64x48 3)" -vf "uprez=model=lanczos"
md5s plain -f lavfi -i "$(src 64x48 3)" -vf null
cut -d, -f2-4 "$tmp/all" >"$tmp/t1"
cut -d, -f2-4 "$tmp/plain" >"$tmp/t2"
same "timestamps and durations" t1 t2
md5s four -f lavfi -i "$(src 64x48 3)" -vf "uprez=model=lanczos" -frames:v 4
head -4 "$tmp/all" >"$tmp/all4"
same "-frames:v 4" all4 four
"$ffmpeg" -v error -f lavfi -i "$(src 64x48 3)" -c:v libx264 -g 5 "$tmp/seek.mkv" -y
md5s seek1 -ss 1.5 -i "$tmp/seek.mkv" -vf "uprez=model=lanczos"
md5s seek2 -ss 1.5 -i "$tmp/seek.mkv" -vf "uprez=model=lanczos:async=0"
same "seeking" seek1 seek2

# size change midstream: ffmpeg makes the graph anew and drops what any filter still holds then;
# async=0 holds nothing, and with -reinit_filter 0 the filter itself takes the new size
change=$shared/media/video/dog_resolution_change.h264
if [ -f "$change" ]; then
    md5s whole -i "$change" -vf null
    n=$(wc -l <"$tmp/whole")
    md5s change0 -i "$change" -vf "uprez=model=bicubic:w=320:h=240:async=0"
    [ "$(wc -l <"$tmp/change0")" = "$n" ] && ok "size change midstream, sync: $n frames" ||
        bad "size change midstream, sync: $(wc -l <"$tmp/change0") of $n frames"
    md5s change1 -reinit_filter 0 -i "$change" -vf "uprez=model=bicubic:w=320:h=240"
    md5s change2 -reinit_filter 0 -i "$change" -vf "uprez=model=bicubic:w=320:h=240:async=0"
    [ "$(wc -l <"$tmp/change1")" = "$n" ] && ok "size change midstream, -reinit_filter 0: $n frames" ||
        bad "size change midstream, -reinit_filter 0: $(wc -l <"$tmp/change1") of $n frames"
    same "size change midstream, -reinit_filter 0: async = sync" change2 change1
else
    skip "size change midstream: no real media at $shared"
fi

# two in one graph, timeline, commands
md5s two -f lavfi -i "$(src 64x48)" -vf "uprez=model=lanczos:scale=2,uprez=model=bicubic:scale=0.5"
[ "$(wc -l <"$tmp/two")" = 10 ] && ok "two instances in a graph" || bad "two instances in a graph"
md5s off -f lavfi -i "$(src 64x48)" -vf "uprez=model=bicubic:scale=2:enable='lt(n,5)'"
md5s on -f lavfi -i "$(src 64x48)" -vf "uprez=model=bicubic:scale=2"
md5s lan -f lavfi -i "$(src 64x48)" -vf "uprez=model=lanczos:scale=2"
{ head -5 "$tmp/on"; tail -5 "$tmp/lan"; } >"$tmp/want"
same "timeline: plain from the 6th frame on" want off
if "$ffmpeg" -v error -filters | grep -q ' sendcmd '; then
    md5s cmd -f lavfi -i "$(src 64x48)" -vf "sendcmd='0.5 uprez model lanczos',uprez=model=bicubic:scale=2"
    same "a command changes the model at its frame" want cmd
else
    skip "commands: this ffmpeg has no sendcmd"
fi

# a program that goes on after a command that failed
prefix=$(cd "$(dirname "$ffmpeg")/.." && pwd)
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
if pkg-config --exists libavfilter && [ "$(pkg-config --variable=prefix libavfilter)" = "$prefix" ]; then
    # shellcheck disable=SC2046
    if ${CC:-cc} -o "$tmp/host" "$root/tests/ffmpeg/host.c" $(pkg-config --cflags --libs libavfilter libavutil) "-Wl,-rpath,$prefix/lib" 2>"$tmp/err"; then
        "$tmp/host" >"$tmp/out" 2>"$tmp/err"
        # what is refused is told with the frame, or later: that differs between FFmpeg's versions
        [ "$(sed 's/.*refused, //' "$tmp/out")" = "8 out" ] && ok "a command that fails, a host that goes on" ||
            bad "a command that fails, a host that goes on: $(tail -1 "$tmp/out") $(tail -1 "$tmp/err")"
    else
        bad "tests/ffmpeg/host.c: $(tail -1 "$tmp/err")"
    fi
else
    skip "a host of libavfilter's: its headers are not beside this ffmpeg"
fi

# frames that repeat: half of them, but for the ends
md5s all -f lavfi -i "$(src 64x48)" -vf "fps=20,uprez=model=lanczos:scale=2:reuse=0"
md5s twice -f lavfi -i "$(src 64x48)" -vf "fps=20,uprez=model=lanczos:scale=2" -v verbose
grep -qE ' (9|10|11) repeated' "$tmp/err" && ok "repeated frames are counted" || bad "repeated frames are counted"
same "frames that repeat" all twice

# dnn_processing's command line with only the name changed
md5s names -f lavfi -i "$(src 64x48)" -vf "format=rgb24,uprez=model=lanczos:input=x:output=y:async=1:nireq=2:backend_configs=nireq=2"
[ "$(wc -l <"$tmp/names")" = 10 ] && ok "dnn_processing's options are taken" || bad "dnn_processing's options"

# LibTorch and TorchScript files through the filter, with the module that was built for the tests
module=$(find "${BUILD_ROOT:-$root/build}/modules" -maxdepth 1 -name 'libtorch*' 2>/dev/null | sort | tail -1)
scripts=$root/tests/data/torchscript
if [ -n "$module" ]; then
    before=${UPREZ_RUNTIME_PATH:-}
    export UPREZ_RUNTIME_PATH=$module${before:+:$before}
    real=$shared/models/torchscript/realesr-animevideov3.torchscript.pt
    # tuple: a tuple of more; bare: a module without parameters; half: weights in 16 bits; even: even sides only
    for m in "$scripts"/double.pt "$scripts"/tuple.pt "$scripts"/bare.pt "$scripts"/half.pt "$scripts"/even.pt "$real"; do
        n=$(basename "$m")
        [ -f "$m" ] || { skip "LibTorch, $n: no models at $shared"; continue; }
        md5s sync -f lavfi -i "$(src 51x33)" -vf "uprez=engine=libtorch:model=$m:async=0"
        md5s async -f lavfi -i "$(src 51x33)" -vf "uprez=engine=libtorch:model=$m"
        md5s batch -f lavfi -i "$(src 51x33)" -vf "uprez=engine=libtorch:model=$m:batch=4"
        same "LibTorch, $n: async = sync" sync async
        # LibTorch itself sums a batch in another order on some CPUs (2e-7 in double.pt): a rare rounding differs
        for b in 1 4; do
            "$ffmpeg" -nostdin -v error -f lavfi -i "$(src 51x33)" -vf "uprez=engine=libtorch:model=$m:batch=$b" \
                -pix_fmt rgb24 -f rawvideo - >"$tmp/raw$b" 2>"$tmp/err"
        done
        near "LibTorch, $n: batch = sync, one level at most" raw1 raw4
        cut -d, -f1-5 "$tmp/sync" >"$tmp/sync.times"
        cut -d, -f1-5 "$tmp/batch" >"$tmp/batch.times"
        same "LibTorch, $n: batch: the same times" sync.times batch.times
        [ "$(wc -l <"$tmp/batch")" = 10 ] && ok "LibTorch, $n: 10 frames" || bad "LibTorch, $n: $(wc -l <"$tmp/batch") frames of 10"
        case $n in double.pt) cp "$tmp/sync" "$tmp/double" ;; tuple.pt | even.pt) same "LibTorch, $n: as double.pt" double sync ;; esac
    done
    # this script paints sixteenths of white, as many as pictures come together
    grey() { "$ffmpeg" -nostdin -v error -f lavfi -i "$(src 32x24)" -vf "uprez=model=$scripts/batch.pt:$1,format=gray" \
        -frames:v 9 -f rawvideo - 2>"$tmp/err" | od -An -v -tu1 -w1 | sort -un | tr -d ' ' | tr '\n' ' '; }
    got="$(grey dnn_backend=torch) $(grey dnn_backend=torch:batch=4) $(grey dnn_backend=torch:batch_size=4:async=0)"
    case $got in
    "16  64  64 ") ok "LibTorch: 4 pictures come as one tensor" ;;
    *) bad "LibTorch: greys $got for batches of 1, 4 and 4" ;;
    esac
    # the command's own pixels
    "$uprez" -q -y -m "$scripts/tuple.pt" -c ffv1 "$clip" "$tmp/own.mkv" 2>"$tmp/err" || bad "LibTorch: the command: exit $?"
    md5s own -i "$tmp/own.mkv"
    md5s filter -i "$clip" -vf "uprez=model=$scripts/tuple.pt:engine=libtorch"
    cut -d, -f6 "$tmp/own" >"$tmp/own.md5"
    cut -d, -f6 "$tmp/filter" >"$tmp/filter.md5"
    same "LibTorch: the command's own pixels" own.md5 filter.md5
    # buffers stay: many frames need no more memory than a few
    peak() { "$ffmpeg" -nostdin -v info -benchmark -f lavfi -i "$(src 160x120 "$1")" -vf "uprez=model=$scripts/double.pt:engine=libtorch:batch=4" \
        -f null - 2>&1 </dev/null | sed -n 's/.*maxrss=\([0-9]*\).*/\1/p'; }
    few=$(peak 3) many=$(peak 30)
    [ "${many:-0}" -gt 0 ] && [ "$many" -lt $((few + 16384)) ] && ok "LibTorch: 300 frames take ${many} KiB, 30 took $few" ||
        bad "LibTorch: 300 frames take ${many:-?} KiB, 30 took ${few:-?}"
    S="-f lavfi -i $(src 64x48)"
    # shellcheck disable=SC2086
    {
    refused "LibTorch: no CUDA here" "cuda" $S -vf "uprez=engine=libtorch:model=$scripts/double.pt:device=cuda:7" -f null -
    refused "LibTorch: TensorRT's engines" "libtorchtrt_runtime.so" $S -vf "uprez=engine=libtorch:model=$scripts/bad-trt.pt" -f null -
    refused "LibTorch: None for a tensor" "nothing (None)" $S -vf "uprez=engine=libtorch:model=$scripts/bad-none.pt" -f null -
    refused "LibTorch: fails in the middle" "seventeen channels" $S -vf "uprez=engine=libtorch:model=$scripts/bad-fails.pt" -f null -
    }
    export UPREZ_RUNTIME_PATH=$before
    [ -n "$before" ] || unset UPREZ_RUNTIME_PATH
else
    skip "LibTorch: no module in ${BUILD_ROOT:-$root/build}/modules; tools/build-libtorch.sh makes one"
fi

# refusals: never an abort, never a hang
S="-f lavfi -i $(src 64x48)"
# shellcheck disable=SC2086
{
refused "no model" "no model" $S -vf uprez -f null -
refused "missing model" "nowhere.pth" $S -vf uprez=model=nowhere.pth -f null -
refused "wrong engine" "nonsense" $S -vf uprez=model=lanczos:engine=nonsense -f null -
refused "wrong device" "cuda" $S -vf "uprez=model=$anime:device=cuda:engine=cpu" -f null -
refused "unknown backend" "tensorflow" $S -vf uprez=model=lanczos:dnn_backend=tensorflow -f null -
refused "absurd size" "" $S -vf uprez=model=lanczos:w=65536:h=65536 -f null -
}
if [ -d "$shared/media/video/broken" ]; then
    for f in "$shared"/media/video/broken/*; do
        timeout 120 "$ffmpeg" -nostdin -v quiet -i "$f" -map 0:v:0 -vf "uprez=model=bicubic" -f null - </dev/null 2>/dev/null
        code=$?
        crashed $code && bad "damaged $(basename "$f"): exit $code" || ok "damaged $(basename "$f"): exit $code"
    done
else
    skip "damaged input: no real media at $shared"
fi
if command -v valgrind >/dev/null; then
    valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite "$ffmpeg" -nostdin -v error -cpuflags 0 \
        -f lavfi -i "$(src 32x24 0.5)" -vf "uprez=model=bicubic:cpu=avx2" -f null - 2>"$tmp/err" </dev/null &&
        ok "valgrind clean" || bad "valgrind"
else
    skip "valgrind is not installed"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
