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
shared=${SHARED:-$root/../shared}
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
# raw NAME SIZE FRAMES FORMAT FILTERS: frames through the filters, as raw bytes into $tmp/NAME
raw() {
    rm -f "$FAKE_CUDA_LOG"
    LD_LIBRARY_PATH="$fake${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout 500 "$ffmpeg" -nostdin -v error \
        -init_hw_device cuda=gpu -filter_hw_device gpu -f lavfi -i "testsrc2=size=$2:rate=10" \
        -vf "format=$4,$5" -frames:v "$3" -f rawvideo -y "$tmp/$1" 2>"$tmp/err" </dev/null
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
    fmt=${f%:*} size=${f#*:}
    raw plain "$size" 5 "$fmt" null || bad "$fmt: exit $?"
    raw there "$size" 5 "$fmt" "hwupload_cuda,hwdownload,format=$fmt" || bad "$fmt: exit $?"
    same "$fmt $size: hwupload_cuda,hwdownload" plain there
    is "$fmt $size: bytes up" "$(count host_to_device)" "$(wc -c <"$tmp/plain")"
    is "$fmt $size: bytes down" "$(count device_to_host)" "$(wc -c <"$tmp/plain")"
    is "$fmt $size: mistakes" "$(count mistakes)" 0
done
FAKE_CUDA_NONE=1 raw none 64x48 1 nv12 "hwupload_cuda,hwdownload,format=nv12"
if [ $? != 0 ] && grep -q CUDA_ERROR_NO_DEVICE "$tmp/err"; then ok "no device: FFmpeg says so"
else bad "no device"; fi

# the filter
net=$shared/models/pytorch/sudo_UltraCompact_2x_1.121.175_G.pth
cuda=
if ! "$ffmpeg" -v quiet -filters 2>/dev/null | grep -q ' uprez '; then
    skip "uprez: not in this FFmpeg"
elif [ ! -f "$net" ]; then
    skip "uprez: no models at $shared"
elif ! raw one 32x16 1 nv12 "uprez=model=$net:engine=cuda"; then
    if grep -q 'no CUDA kernels' "$tmp/err"; then skip "uprez: $(tail -1 "$tmp/err")"
    else bad "uprez=engine=cuda"; fi
else
    cuda=1
fi
if [ -n "$cuda" ]; then
    chain="hwupload_cuda,uprez=model=$net:engine=cuda,hwdownload,format"
    for fmt in nv12 p010le; do
        bytes=$([ $fmt = nv12 ] && echo 1 || echo 2)
        raw host 128x20 3 $fmt "uprez=model=$net:engine=cuda" || bad "$fmt, host frames: exit $?"
        raw device 128x20 3 $fmt "$chain=$fmt" || bad "$fmt, CUDA frames: exit $?"
        same "$fmt: frames in device memory as frames of the host" host device
        up3=$(count host_to_device) down3=$(count device_to_host)
        is "$fmt: mistakes" "$(count mistakes)" 0
        raw five 128x20 5 $fmt "$chain=$fmt" || bad "$fmt, 5 frames: exit $?"
        is "$fmt: bytes up for 2 frames more" $(($(count host_to_device) - up3)) \
            $((128 * 20 * 3 / 2 * bytes * 2))
        # and a word each that says whether there were NaNs
        is "$fmt: bytes down for 2 frames more" $(($(count device_to_host) - down3)) \
            $(((256 * 40 * 3 / 2 * bytes + 4) * 2))
        is "$fmt: bytes from device to device" "$(count device_to_device)" 0
    done
    for seed in 1 7; do # the same whatever the order of the streams
        FAKE_CUDA_SEED=$seed raw seed$seed 128x20 3 p010le "$chain=p010le" || bad "order $seed: exit $?"
        same "streams in order $seed" seed$seed device
    done
    raw cpu 128x20 3 p010le "uprez=model=$net:engine=cpu" || bad "CPU engine: exit $?"
    python3 - "$tmp/cpu" "$tmp/device" <<'P' && ok "engine cpu's pixels" || bad "far from engine cpu's pixels"
import array, math, sys
a, b = (array.array("H", open(f, "rb").read()) for f in sys.argv[1:])
assert len(a) == len(b)
worst = max(abs(x - y) for x, y in zip(a, b)) / 64
error = sum(((x - y) / 64) ** 2 for x, y in zip(a, b)) / len(a)
print("      10 bits: PSNR %.1f dB, largest difference %g" % (99 if error == 0 else 10 * math.log10(1023 ** 2 / error), worst))
sys.exit(error > 1023 ** 2 / 10 ** 5)
P
    raw auto 128x20 3 p010le "hwupload_cuda,uprez=model=$net,hwdownload,format=p010le" || bad "engine auto: exit $?"
    same "CUDA frames go to engine cuda by themselves" auto device
    # another filter of its kind behind, a second instance, and frames that are dropped
    raw two 34x18 2 nv12 "hwupload_cuda,uprez=model=$net:engine=cuda,uprez=model=$net:engine=cuda,hwdownload,format=nv12" ||
        bad "two in a row: exit $?"
    is "two in a row: bytes" "$(wc -c <"$tmp/two")" $((136 * 72 * 3 / 2 * 2))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
