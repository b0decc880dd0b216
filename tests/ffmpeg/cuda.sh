#!/bin/bash
# CUDA frames in FFmpeg without a GPU: FFmpeg's own loader, contexts and copies on the fake driver
# (tests/fake/cuda), and the filter uprez between hwupload_cuda and hwdownload, its copies counted.
#
# usage: tests/ffmpeg/cuda.sh FFMPEG [FOLDER]
#   FFMPEG  one that was built with ffnvcodec's headers; the filter is tested when it is in it
#   FOLDER  where the fake libcuda.so.1 lies (default build/tests/fake/cuda)
# Prints one line a check; the last says how many passed. Exit 77: nothing to test with, and why.
set -u
ffmpeg=${1:?usage: tests/ffmpeg/cuda.sh FFMPEG [FOLDER]}
root=$(cd "$(dirname "$0")/../.." && pwd)
fake=${2:-$root/build/tests/fake/cuda}
[ -e "$fake/libcuda.so.1" ] || { echo "skipped: no $fake/libcuda.so.1; build the tests first"; exit 77; }
"$ffmpeg" -v quiet -filters 2>/dev/null | grep -q ' hwupload_cuda ' ||
    { echo "skipped: $ffmpeg was built without CUDA (ffnvcodec's headers)"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok    $*"; }
bad() { failed=$((failed + 1)); echo "FAIL  $*"; [ -s "$tmp/err" ] && tail -4 "$tmp/err" | sed 's/^/      /'; }
skip() { skipped=$((skipped + 1)); echo "skip  $*"; }
export FAKE_CUDA_LOG="$tmp/log"
# raw NAME SIZE FRAMES FORMAT FILTERS: that many frames (up to 9) through the filters, as raw bytes into $tmp/NAME
raw() {
    rm -f "$FAKE_CUDA_LOG"
    LD_LIBRARY_PATH="$fake${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout 500 "$ffmpeg" -nostdin -v error \
        -init_hw_device cuda=gpu -filter_hw_device gpu -f lavfi -i "testsrc2=size=$2:rate=10:duration=0.$3" \
        -vf "format=$4,$5" -f rawvideo -y "$tmp/$1" 2>"$tmp/err" </dev/null
}
# md5s NAME ARGUMENT…: frame hashes and times into $tmp/NAME; messages into $tmp/err
md5s() {
    name=$1
    shift
    rm -f "$FAKE_CUDA_LOG" "$tmp/$name.all"
    LD_LIBRARY_PATH="$fake${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout 500 "$ffmpeg" -nostdin -v "${level:-error}" \
        -hide_banner -nostats -init_hw_device "cuda=gpu:${index:-0}" -filter_hw_device gpu -f lavfi \
        -i "testsrc2=size=${size:-64x36}:rate=10" "$@" -f framemd5 -y "$tmp/$name.all" 2>"$tmp/err" </dev/null
    code=$?
    grep -v '^#' "$tmp/$name.all" >"$tmp/$name" 2>/dev/null
    return $code
}
crashed() { [ "$1" = 124 ] || { [ "$1" -gt 128 ] && [ "$1" -lt 166 ]; }; }
# refused WHAT TEXT FILTERS: not zero, no signal, in time, and a line says TEXT
refused() {
    md5s out -vf "$3" -frames:v 4
    code=$?
    if [ $code = 0 ] || crashed $code; then bad "$1: exit $code"
    elif ! grep -qF -- "$2" "$tmp/err"; then bad "$1: does not say '$2'"
    else ok "$1"; fi
}
count() { sed -n "s/^$1 //p" "$FAKE_CUDA_LOG"; }
same() { # WHAT A B
    if [ -s "$tmp/$2" ] && cmp -s "$tmp/$2" "$tmp/$3"; then ok "$1"; else bad "$1: $2 and $3 differ"; fi
}
is() { # WHAT GOT WANTED
    if [ "$2" = "$3" ]; then ok "$1: $2"; else bad "$1: $2, not $3"; fi
}

# there and back, and not a byte more
# rows are copied with their padding: widths that have none
for f in nv12:320x178 yuv420p:384x98 p010le:192x66 yuv444p:64x18; do
    fmt=${f%:*} of=${f#*:}
    raw plain "$of" 5 "$fmt" null || bad "$fmt: exit $?"
    raw there "$of" 5 "$fmt" "hwupload_cuda,hwdownload,format=$fmt" || bad "$fmt: exit $?"
    same "$fmt $of: hwupload_cuda,hwdownload" plain there
    is "$fmt $of: bytes up" "$(count host_to_device)" "$(wc -c <"$tmp/plain")"
    is "$fmt $of: bytes down" "$(count device_to_host)" "$(wc -c <"$tmp/plain")"
    is "$fmt $of: mistakes" "$(count mistakes)" 0
done
FAKE_CUDA_NONE=1 raw none 64x48 1 nv12 "hwupload_cuda,hwdownload,format=nv12"
if [ $? != 0 ] && grep -q CUDA_ERROR_NO_DEVICE "$tmp/err"; then ok "no device: FFmpeg says so"
else bad "no device"; fi

# the filter, with a small network of the usual shape
cuda=
if ! "$ffmpeg" -v quiet -filters 2>/dev/null | grep -q ' uprez '; then
    skip "uprez: not in this FFmpeg"
elif ! python3 "$root/tests/gpu/make_models.py" "$tmp" tiny2 tiny1; then
    bad "make_models.py"
else
    net=$tmp/tiny2.safetensors same_size=$tmp/tiny1.safetensors
    if raw one 32x16 1 nv12 "uprez=model=$net:engine=cuda"; then cuda=1
    elif grep -q 'no CUDA kernels' "$tmp/err"; then skip "uprez: $(tail -1 "$tmp/err")"
    else bad "uprez=engine=cuda"; fi
fi
if [ -n "$cuda" ]; then
    gpu="uprez=model=$net:engine=cuda"
    # bgr0's fourth byte means nothing: compared without it
    for f in nv12:12:1:255 p010le:12:2:65535 yuv420p:12:1:255 yuv444p:24:1:255 yuv444p16le:24:2:65535 bgr0:32:1:255; do
        IFS=: read -r fmt bits bytes most <<<"$f"
        plain=$([ $fmt = bgr0 ] && echo ,format=gbrp)
        chain="hwupload_cuda,$gpu:reuse=0,hwdownload,format=$fmt$plain"
        raw host 128x20 3 $fmt "$gpu$plain" || bad "$fmt, host frames: exit $?"
        raw device 128x20 3 $fmt "$chain" || bad "$fmt, CUDA frames: exit $?"
        same "$fmt: frames in device memory as frames of the host" host device
        up3=$(count host_to_device) down3=$(count device_to_host)
        is "$fmt: mistakes" "$(count mistakes)" 0
        is "$fmt: waits of FFmpeg's stream for others" "$(count null_waits)" 0
        is "$fmt: device memory left over" "$(count allocated)" 0
        raw five 128x20 5 $fmt "$chain" || bad "$fmt, 5 frames: exit $?"
        is "$fmt: bytes up for 2 frames more" $(($(count host_to_device) - up3)) $((128 * 20 * bits / 8 * bytes * 2))
        # and a word each that says whether there were NaNs
        is "$fmt: bytes down for 2 frames more" $(($(count device_to_host) - down3)) \
            $(((256 * 40 * bits / 8 * bytes + 4) * 2))
        is "$fmt: bytes from device to device" "$(count device_to_device)" 0
        raw cpu 128x20 3 $fmt "uprez=model=$net:engine=cpu$plain" || bad "$fmt, engine cpu: exit $?"
        python3 - "$tmp/cpu" "$tmp/device" $bytes $most <<'P' && ok "$fmt: engine cpu's pixels" || bad "$fmt: far from engine cpu's pixels"
import array, math, sys
a, b = (array.array("BH"[int(sys.argv[3]) - 1], open(f, "rb").read()) for f in sys.argv[1:3])
assert len(a) == len(b) and len(a) > 0
most, error = int(sys.argv[4]), sum((x - y) ** 2 for x, y in zip(a, b)) / len(a)
db = 10 * math.log10(most ** 2 / error) if error else 99
print("      PSNR %.1f dB, largest difference %d" % (db, max(abs(x - y) for x, y in zip(a, b))))
sys.exit(not (db > 45 and len(set(a)) > 16))
P
    done
    # every frame, no part of it as before, three times: compared there, copied there, a word a cell of 16 px goes down
    thrice="noise=alls=40:allf=t:all_seed=7,fps=30,hwupload_cuda"
    raw whole 128x20 2 nv12 "$thrice,$gpu:reuse=0,hwdownload,format=nv12" || bad "reuse=0: exit $?"
    raw reused 128x20 2 nv12 "$thrice,$gpu,hwdownload,format=nv12" || bad "reuse: exit $?"
    same "reuse: the same bytes" whole reused
    down2=$(count device_to_host) there2=$(count device_to_device) made2=$(count launch_store_picture)
    raw reused 128x20 4 nv12 "$thrice,$gpu,hwdownload,format=nv12" || bad "reuse, 4 frames: exit $?"
    whole=$((256 * 40 * 3 / 2)) made=$(($(count launch_store_picture) - made2))
    is "reuse: frames made of 6 more" $made 2
    is "reuse: bytes down for 6 frames more" $(($(count device_to_host) - down2)) $((6 * (whole + 8 * 2 * 4) + made * 4))
    is "reuse: bytes from device to device" $(($(count device_to_device) - there2)) $(((6 - made) * whole))
    is "reuse: mistakes" "$(count mistakes)" 0
    is "reuse: waits of FFmpeg's stream for others" "$(count null_waits)" 0
    chain="hwupload_cuda,$gpu,hwdownload,format=p010le"
    raw device 128x20 3 p010le "$chain" || bad "p010le: exit $?"
    for seed in 1 7; do # the same whatever the order of the streams
        FAKE_CUDA_SEED=$seed raw seed$seed 128x20 3 p010le "$chain" || bad "order $seed: exit $?"
        same "streams in order $seed" seed$seed device
    done
    raw auto 128x20 3 p010le "hwupload_cuda,uprez=model=$net,hwdownload,format=p010le" || bad "engine auto: exit $?"
    same "CUDA frames go to engine cuda by themselves" auto device
    for cc in 75 80; do # cards with other kernels, whose sums have another order
        FAKE_CUDA_CC=$cc raw cc$cc 128x20 3 p010le "$chain" || bad "compute capability $cc: exit $?"
        FAKE_CUDA_CC=$cc raw cc${cc}h 128x20 3 p010le "$gpu" || bad "compute capability $cc: exit $?"
        same "compute capability ${cc%?}.${cc#?}: device as host" cc$cc cc${cc}h
    done

    # order and times of frames, on the device as in main memory
    chain="format=nv12,hwupload_cuda,$gpu,hwdownload,format=nv12"
    md5s times -vf "$chain" -frames:v 14 || bad "14 frames: exit $?"
    is "frames" "$(wc -l <"$tmp/times")" 14
    md5s source -vf format=nv12 -frames:v 14
    is "different frames, as in the source" "$(cut -d, -f6 "$tmp/times" | sort -u | wc -l)" \
        "$(cut -d, -f6 "$tmp/source" | sort -u | wc -l)"
    md5s htimes -vf "format=nv12,$gpu" -frames:v 14 || bad "14 host frames: exit $?"
    same "order, times and pixels of 14 frames" times htimes
    md5s sync -vf "format=nv12,hwupload_cuda,$gpu:async=0,hwdownload,format=nv12" -frames:v 14 || bad "async=0: exit $?"
    same "async=0: the same bytes" sync times
    head -5 "$tmp/times" >"$tmp/five"
    md5s cut -vf "$chain" -frames:v 5 || bad "-frames:v: exit $?"
    same "-frames:v 5" cut five
    is "-frames:v 5: device memory left over" "$(count allocated)" 0
    is "-frames:v 5: mistakes" "$(count mistakes)" 0
    if "$ffmpeg" -v error -filters | grep -q ' trim '; then
        md5s short -vf "trim=end_frame=4,$chain" || bad "the source ends: exit $?"
        head -4 "$tmp/times" >"$tmp/four"
        same "the source ends after 4 frames" short four
    fi
    if "$ffmpeg" -v error -filters | grep -q ' sendcmd '; then
        md5s command -vf "format=nv12,sendcmd='0.25 uprez denoise -1',hwupload_cuda,$gpu,hwdownload,format=nv12" -frames:v 5 ||
            bad "a command: exit $?"
        same "made anew by a command" command five
    fi

    # more of them in one graph
    md5s two -filter_complex "format=nv12,hwupload_cuda,split[a][b];[a]$gpu,hwdownload,format=nv12[x];[b]uprez=model=$same_size:engine=cuda,hwdownload,format=nv12[y]" \
        -map '[x]' -map '[y]' -frames:v 5 || bad "two in a graph: exit $?"
    grep '^0' "$tmp/two" | cut -d, -f2- >"$tmp/x"
    cut -d, -f2- "$tmp/five" >"$tmp/fivex"
    same "two in a graph, the first" x fivex
    md5s alone -vf "format=nv12,hwupload_cuda,uprez=model=$same_size:engine=cuda,hwdownload,format=nv12" -frames:v 5 ||
        bad "factor 1: exit $?"
    grep '^1' "$tmp/two" | cut -d, -f2- >"$tmp/y"
    cut -d, -f2- "$tmp/alone" >"$tmp/aloney"
    same "two in a graph, the second" y aloney
    raw row 34x18 2 nv12 "hwupload_cuda,$gpu,$gpu,hwdownload,format=nv12" || bad "two in a row: exit $?"
    raw hrow 34x18 2 nv12 "$gpu,$gpu" || bad "two in a row, host frames: exit $?"
    same "two in a row" row hrow

    # another size than the network's own: resampled on the GPU
    for f in nv12:w=150:h=90 yuv420p:scale=3 p010le:w=48:h=30; do
        fmt=${f%%:*} to=${f#*:}
        raw sized 64x36 3 $fmt "hwupload_cuda,$gpu:$to,hwdownload,format=$fmt" || bad "$fmt, $to: exit $?"
        is "$fmt, $to: mistakes" "$(count mistakes)" 0
        raw hsized 64x36 3 $fmt "$gpu:$to" || bad "$fmt, $to, host frames: exit $?"
        same "$fmt, $to: frames in device memory as frames of the host" sized hsized
    done

    # which engine, and where
    level=info md5s out -vf "$chain" -frames:v 1
    grep -q 'engine cuda on cuda:0, fp16: 64x36 to 128x72' "$tmp/err" && ok "the log names engine, device and precision" ||
        bad "the log does not name engine, device and precision"
    for up in hwupload_cuda=1 hwupload; do
        FAKE_CUDA_DEVICES=2 index=1 level=info md5s out -vf "format=nv12,$up,$gpu,hwdownload,format=nv12" -frames:v 5
        grep -q 'engine cuda on cuda:1, fp16' "$tmp/err" && ok "$up: the frames' own GPU" ||
            bad "$up: the frames' own GPU is not taken"
        same "$up: the same frames there" out five
    done

    # refusals
    up=format=nv12,hwupload_cuda down=hwdownload,format=nv12
    refused "engine=cpu" "engine cpu reads pictures in host memory only" "$up,uprez=model=$net:engine=cpu,$down"
    FAKE_CUDA_DEVICES=2 refused "frames on another GPU than device=" "GPU" "$up,uprez=model=$net:device=cuda1,$down"
    refused "device=cpu" "memory" "$up,uprez=model=$net:device=cpu,$down"
    refused "no network" "without a network" "$up,uprez=model=lanczos:scale=2,$down"
    refused "enable=" "enable=" "$up,uprez=model=$net:enable='lt(n,2)',$down"
    refused "main memory's format behind hwupload" "onvert between" "$up,format=nv12,$gpu"
    FAKE_CUDA_FAIL=cuLaunchKernelEx:20 refused "a launch that fails" "cannot enqueue the network" "$chain"
    is "a launch that fails: device memory left over" "$(count allocated)" 0
    FAKE_CUDA_CC=50 refused "a card that is too old" "compute capability 5.0" "$chain"
    # from far too little memory to enough: a sentence or the right frames, nothing in between
    whole=0 told=0
    size=256x144 md5s want -vf "$chain" -frames:v 2
    most=$(count peak)
    for part in 1 15 30 45 60 75 90 100; do
        size=256x144 FAKE_CUDA_MEMORY=$((most / 100 * part + 4096)) md5s out -vf "$chain" -frames:v 2
        code=$?
        if [ $code = 0 ]; then
            cmp -s "$tmp/out" "$tmp/want" && whole=$((whole + 1)) || bad "$part % of the memory: other pixels"
        elif crashed $code; then bad "$part % of the memory: crashed"
        elif grep -qi memory "$tmp/err"; then told=$((told + 1))
        else bad "$part % of the memory: no sentence"; fi
        is "$part % of the memory: left over" "$(count allocated)" 0
    done
    [ $whole -gt 0 ] && [ $told -gt 0 ] && ok "short memory: $whole times whole, $told times a sentence" ||
        bad "short memory: $whole times whole, $told times a sentence"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
