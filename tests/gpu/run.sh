#!/bin/bash
# On a machine with an NVIDIA GPU: builds libuprez and bench/gpu for that card, without FFmpeg's libraries, and
# shows what works and how fast. No network. Each part takes well under 8 minutes.
#
# usage: tests/gpu/run.sh [--part N]… [--pack FOLDER] [--models FOLDER] [--out FOLDER] [--quick]
#   1  build, the engine beside the CPU engine: networks x formats x sizes
#   2  compute-sanitizer: memory, races, barriers, on small pictures
#   3  frames a second, with floors (measured matrix product and copy), torch.compile beside it
#   4  FFmpeg (from the pack): hwupload, uprez, hwdownload; NVDEC; pictures beside the CPU's
#   5  LibTorch and ONNX Runtime on CUDA
#   --quick   two small networks, small pictures; nothing is measured
#   --pack    made by tests/gpu/pack.sh, for a machine without the small libraries' headers
#   --models  real checkpoints; those named in part 3 are taken where present, else weights from a seed
# Writes FOLDER/gpu.json (one JSON object a line) and FOLDER/gpu.log; the last line is N passed, N failed, N skipped.
set -u
cd "$(dirname "$0")/../.." || exit 1
root=$PWD
parts= pack=${UPREZ_GPU_PACK:-} models= out=${OUT:-build-gpu/out} quick=
while [ $# -gt 0 ]; do
    case $1 in
    --part) parts="$parts $2"; shift ;;
    --pack) pack=$(cd "$2" && pwd) || exit 2; shift ;;
    --models) models=$(cd "$2" && pwd) || exit 2; shift ;;
    --out) out=$2; shift ;;
    --quick) quick=1 ;;
    *) sed -n '/^# usage/,/^# Writes/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
parts=${parts:-1 2 3 4 5}
mkdir -p "$out" build-gpu
out=$(cd "$out" && pwd)
json=$out/gpu.json log=$out/gpu.log build=$root/build-gpu/lib
passed=0 failed=0 skipped=0
: >>"$json"
: >>"$log"

ok() { passed=$((passed + 1)); echo "ok    $*" | tee -a "$log"; }
bad() { failed=$((failed + 1)); echo "FAILED $*" | tee -a "$log"; }
skip() { skipped=$((skipped + 1)); echo "skip  $*" | tee -a "$log"; }
try() { # WHAT COMMAND…
    local what=$1 tmp=$out/last.txt
    shift
    if "$@" >"$tmp" 2>&1; then ok "$what"; else bad "$what"; tail -15 "$tmp"; fi
    { echo "== $what: $*"; tail -40 "$tmp"; } >>"$log"
    grep -h '^{' "$tmp" >>"$json"
    grep -h '^{' "$tmp"
}
has_part() { case " $parts " in *" $1 "*) return 0 ;; esac; return 1; }

if [ -n "$pack" ]; then
    export PKG_CONFIG=$pack/bin/pkg-config LD_LIBRARY_PATH=$pack/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
PATH=$PATH:/usr/local/cuda/bin
meson() { if command -v meson >/dev/null; then command meson "$@"; else python3 -m mesonbuild.mesonmain "$@"; fi; }
arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .)
[ -n "$arch" ] || { echo "nvidia-smi names no GPU: nothing to run"; echo "0 passed, 0 failed, 1 skipped"; exit 77; }
[ "$arch" = 90 ] && arch=90a
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee -a "$log"

if [ ! -x "$build/bench/gpu" ] || has_part 1; then
    begin=$SECONDS
    [ -f "$build/build.ninja" ] || meson setup "$build" --buildtype=release -Dprograms=disabled -Dtests=disabled \
        -Dcuda=enabled "-Dgpu_arch=$arch" --prefix="$root/build-gpu/prefix" --libdir=lib >"$out/build.txt" 2>&1 ||
        { tail -30 "$out/build.txt"; bad "configuring"; echo "$passed passed, $failed failed, $skipped skipped"; exit 1; }
    if ninja -C "$build" >>"$out/build.txt" 2>&1 && ninja -C "$build" bench/gpu >>"$out/build.txt" 2>&1 &&
        meson install -C "$build" --no-rebuild >>"$out/build.txt" 2>&1; then
        ok "build for sm_$arch in $((SECONDS - begin)) s"
    else
        tail -40 "$out/build.txt"
        bad "building"
        echo "$passed passed, $failed failed, $skipped skipped"
        exit 1
    fi
fi
gpu=$build/bench/gpu
made=$root/build-gpu/models
[ -f "$made/small1.safetensors" ] || python3 tests/gpu/make_models.py "$made" || exit 1
real() { # FILE SEEDED: the real checkpoint where there is one
    [ -n "$models" ] && [ -f "$models/$1" ] && { echo "$models/$1"; return; }
    echo "$made/$2.safetensors"
}
general=$(real realesr-general-x4v3.pth general)
anime=$(real realesr-animevideov3.pth anime)
x4plus=$(real RealESRGAN_x4plus.pth x4plus)

if has_part 1; then
    nets="plain light wide anime general small1 small2 small4" sizes="64x48 129x65 253x31 16x16"
    formats="yuv420p yuv420p10le p010le yuv422p yuv444p yuv444p10le yuv411p gray gray10le rgb24 bgra gbrp gbrp10le gbrpf32le"
    [ -z "$quick" ] || { nets="light small2" sizes="64x48 33x17" formats="yuv420p p010le gbrpf32le" anime=$made/light.safetensors; }
    side=158x94
    [ -z "$quick" ] || side=62x34
    for m in $nets; do
        for s in $sizes; do
            try "$m $s nv12" "$gpu" check "$made/$m.safetensors" nv12 $s
        done
    done
    for f in $formats; do
        try "$(basename "$anime") $f" "$gpu" check "$anime" $f $side
    done
    for p in fp8 int8; do # fp8: not on every card
        [ $p = fp8 ] && case $arch in 89 | 90* | 12*) ;; *) skip "fp8 on sm_$arch"; continue ;; esac
        for m in $nets; do
            case $m in plain | small1) continue ;; esac # two or three layers: nothing between the first and the last
            try "$m $p" "$gpu" check "$made/$m.safetensors" nv12 $side cuda 0 $p
        done
    done
    try "reuse" "$gpu" reuse "$made/light.safetensors" nv12 $side cuda 8
    if [ -z "$quick" ]; then
        try "general 640x360" "$gpu" check "$general" nv12 640x360 # many rows a block: rings go round
        try "anime 640x360" "$gpu" check "$anime" nv12 640x360
        try "wide 320x180" "$gpu" check "$made/wide.safetensors" nv12 320x180
        try "x4plus 320x180" "$gpu" check "$x4plus" nv12 320x180
    fi
fi

if has_part 2; then
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck synccheck initcheck; do
            for m in plain small2; do
                try "$tool $m" timeout 200 compute-sanitizer --tool $tool --error-exitcode 9 "$gpu" check \
                    "$made/$m.safetensors" nv12 133x21
            done
        done
    else
        skip "compute-sanitizer is not here"
    fi
fi

if has_part 3 && [ -n "$quick" ]; then
    try "light 64x48" "$gpu" rate "$made/light.safetensors" nv12 64x48 cuda 2
elif has_part 3; then
    try "floors, torch" python3 tests/gpu/torch_rate.py floors
    try "general-x4v3 1280x720" "$gpu" rate "$general" nv12 1280x720 cuda 100
    try "animevideov3 1920x1080" "$gpu" rate "$anime" nv12 1920x1080 cuda 100
    try "x4plus 1280x720" "$gpu" rate "$x4plus" nv12 1280x720 cuda 12
    try "x4plus-anime-6B 1280x720" "$gpu" rate "$made/anime6b.safetensors" nv12 1280x720 cuda 24
    for p in fp8 int8; do
        [ $p = fp8 ] && case $arch in 89 | 90* | 12*) ;; *) continue ;; esac
        try "general-x4v3 1280x720 $p" "$gpu" rate "$general" nv12 1280x720 cuda 100 $p
        try "x4plus 1280x720 $p" "$gpu" rate "$x4plus" nv12 1280x720 cuda 12 $p
    done
    try "general-x4v3 1280x720, one part in fifteen changes" "$gpu" reuse "$general" nv12 1280x720 cuda 100
    try "general-x4v3 10 bits" "$gpu" rate "$general" p010le 1280x720 cuda 100
    try "torch.compile" timeout 300 python3 tests/gpu/torch_rate.py nets
    try "general-x4v3 1280x720 again" "$gpu" rate "$general" nv12 1280x720 cuda 100
    if command -v ncu >/dev/null; then
        ncu --clock-control none --launch-skip 40 --launch-count 6 --section SpeedOfLight --section MemoryWorkloadAnalysis \
            --section WarpStateStats "$gpu" rate "$general" nv12 1280x720 cuda 8 >"$out/ncu.txt" 2>&1 &&
            ok "ncu" || skip "ncu does not read counters here"
    fi
fi

if has_part 4; then
    ff=$pack/bin/ffmpeg
    if [ -n "$pack" ] && [ -x "$ff" ]; then
        export LD_LIBRARY_PATH=$root/build-gpu/prefix/lib:$LD_LIBRARY_PATH
        src="-f lavfi -i testsrc2=s=320x180:r=30:d=1" net=$anime
        [ -z "$quick" ] || src="-f lavfi -i testsrc2=s=64x36:r=30:d=0.1" net=$made/light.safetensors
        for f in nv12 yuv420p p010le; do
            # shellcheck disable=SC2086
            try "ffmpeg hwupload,uprez,hwdownload $f" bash -c "
                '$ff' -v error -y -init_hw_device cuda $src -vf format=$f,hwupload_cuda,uprez=model='$net',hwdownload,format=$f \
                    -f rawvideo '$out/a.yuv' &&
                '$ff' -v error -y $src -vf format=$f,uprez=model='$net':engine=cpu -f rawvideo '$out/b.yuv' &&
                python3 tests/gpu/torch_rate.py psnr '$out/a.yuv' '$out/b.yuv' $f"
        done
        if [ -z "$quick" ]; then
            try "ffmpeg rate, frames on the device" bash -c "
                '$ff' -y -benchmark -init_hw_device cuda -f lavfi -i testsrc2=s=1280x720:r=30:d=10 \
                    -vf format=nv12,hwupload_cuda,uprez=model='$general' -f null - 2>&1 | tail -5"
        fi
        # decoded on the card; the same clip decoded here beside it
        if "$ff" -v error -y -f lavfi -i testsrc2=s=320x180:r=30:d=1 -c:v libx264 -pix_fmt yuv420p "$out/c.mkv" 2>/dev/null; then
            try "NVDEC, uprez" bash -c "
                '$ff' -v error -y -hwaccel cuda -hwaccel_output_format cuda -i '$out/c.mkv' \
                    -vf uprez=model='$net',hwdownload,format=nv12 -f rawvideo '$out/a.yuv' &&
                '$ff' -v error -y -i '$out/c.mkv' -vf format=nv12,uprez=model='$net':engine=cpu -f rawvideo '$out/b.yuv' &&
                python3 tests/gpu/torch_rate.py psnr '$out/a.yuv' '$out/b.yuv' nv12"
        else
            skip "NVDEC: the pack's ffmpeg writes no H.264"
        fi
        if "$ff" -v error -encoders 2>/dev/null | grep -q h264_nvenc && "$ff" -v error -y -f lavfi -i testsrc2=s=320x180:r=30:d=1 \
            -c:v h264_nvenc "$out/d.mkv" >/dev/null 2>&1; then
            try "NVDEC, uprez, NVENC" "$ff" -v error -y -hwaccel cuda -hwaccel_output_format cuda -i "$out/d.mkv" \
                -vf "uprez=model=$net" -c:v h264_nvenc "$out/c.mkv"
        else
            skip "NVENC: not in this card or this ffmpeg"
        fi
        rm -f "$out"/[ab].yuv "$out"/[cd].mkv
    else
        skip "no FFmpeg in the pack"
    fi
fi

if has_part 5; then
    if python3 -c 'import torch' 2>/dev/null; then
        try "LibTorch module" tools/build-libtorch.sh
        try "libtorch anime" "$gpu" check "$anime" rgb24 320x180 libtorch
        try "libtorch general fp16 1280x720" "$gpu" rate "$general" rgb24 1280x720 libtorch 20 fp16
    else
        skip "no torch here"
    fi
    if python3 -c 'import onnxruntime as o; assert "CUDAExecutionProvider" in o.get_available_providers()' 2>/dev/null; then
        try "onnxruntime general" "$gpu" rate "$general" rgb24 1280x720 onnxruntime 20 fp16
    else
        skip "no ONNX Runtime with CUDA here"
    fi
fi
rm -f "$out/last.txt"
echo "$passed passed, $failed failed, $skipped skipped" | tee -a "$log"
[ $failed = 0 ]
