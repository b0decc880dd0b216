#!/bin/bash
# Engine cuda in the command, on a driver whose GPU is an emulation (tests/fake/cuda): pictures, devices,
# and what is said when something is wrong with driver, card or memory.
. "$(dirname "$0")/lib.sh"
need ffmpeg python3
fake=$BUILD_ROOT/tests/fake/cuda
[ -e "$fake/libcuda.so.1" ] || skip "no $fake/libcuda.so.1"
mkdir "$tmp/bin"
# no runtimes of this machine; VARIABLE=VALUE may stand in front of the arguments
bare() {
    local set=()
    while [[ ${1:-} == *=* ]]; do set+=("$1"); shift; done
    env -i HOME="$tmp" PATH="$tmp/bin" "${set[@]}" "$UPREZ" "$@"
}
gpu() { bare LD_LIBRARY_PATH="$fake" "$@"; }
expect 0 gpu devices
grep -q 'no CUDA kernels' "$tmp/out" && skip "$(grep -o 'this build has no CUDA kernels.*' "$tmp/out")"

# ---- devices ----
grep -A3 '^cuda ' "$tmp/out" | grep -q 'cuda:0 .*Emulated GPU 0, 8192 MiB' || bad "devices: $(cat "$tmp/out")"
grep -q 'compute capability 9.0' "$tmp/out" || bad "devices: no compute capability"
grep -q 'driver for CUDA 13.0' "$tmp/out" || bad "devices: no version of the driver"
expect 0 gpu FAKE_CUDA_DEVICES=3 devices --json
python3 - "$tmp/out" <<'P' || bad "devices --json: $(cat "$tmp/out")"
import json, sys
e = [x for x in json.load(open(sys.argv[1])) if x["engine"] == "cuda"][0]
assert [d["device"] for d in e["devices"]] == ["cuda:0", "cuda:1", "cuda:2"] and "missing" not in e
assert all(d["memory"] == 8 << 30 and d["name"].startswith("Emulated") for d in e["devices"])
P
expect 0 bare devices --runtime-path "$fake"
grep -q 'Emulated GPU 0' "$tmp/out" || bad "devices: the driver of --runtime-path is not taken"
# the cards, and what runs on each: LibTorch's folder says which CUDA it is for
mkdir -p "$tmp/torch/lib"
touch "$tmp/torch/engine-libtorch.so" "$tmp/torch/lib/libtorch_cpu.so" "$tmp/torch/lib/libtorch_cuda.so"
echo 2.15.0+cu132 >"$tmp/torch/build-version"
# card ENGINE PATTERN VARIABLE=VALUE…: a line of GPU 1's
card() {
    local engine=$1 pattern=$2
    shift 2
    expect 0 gpu FAKE_CUDA_DEVICES=2 UPREZ_RUNTIME_PATH="$tmp/torch" "$@" devices
    sed -n '/^GPU 1/,$p' "$tmp/out" | tr -s ' ' | grep -q "^ $engine $pattern" ||
        bad "devices: GPU 1's line for $engine is not '$pattern' with $*: $(cat "$tmp/out")"
}
card cuda 'yes: fp16, fp8, int8; own kernels for compute capability 9.0 (wgmma)'
[ "$(grep -c '^GPU [01]  *Emulated GPU [01], 8192 MiB, compute capability 9.0; driver .*for CUDA 13.0' "$tmp/out")" = 2 ] ||
    bad "devices: the cards: $(cat "$tmp/out")"
if [ -e /proc/driver/nvidia/version ]; then echo "note: a real driver says its own version here"
else
    grep -q '^GPU 0 .*driver 580.95.05 for CUDA 13.0' "$tmp/out" || bad "devices: the driver's version: $(cat "$tmp/out")"
    expect 0 gpu FAKE_NVML=535.274.02 devices --json
    grep -q '"driver":.*"535.274.02"' "$tmp/out" || bad "devices --json: the driver's version: $(cat "$tmp/out")"
    card cuda 'yes: ' FAKE_NVML=none
    grep -q '^GPU 0 .*; driver for CUDA 13.0' "$tmp/out" || bad "devices without a version: $(cat "$tmp/out")"
fi
card cuda 'no: see' FAKE_CUDA_CC=35
grep -q 'GPU 0 .*3.5, GPU 1 .*3.5; this' <(tr -s ' \n' ' ' <"$tmp/out") || bad "devices: not both old cards: $(cat "$tmp/out")"
if grep -q '^libtorch' "$tmp/out"; then
    card libtorch 'yes: 2.15.0 for CUDA 13.2'
    card libtorch 'no: see its note' FAKE_CUDA_VERSION=12080
    grep -q 'wants a driver for CUDA 13.0 .* for CUDA 12.8' <(tr -s ' \n' ' ' <"$tmp/out") || bad "devices: old driver: $(cat "$tmp/out")"
    rm "$tmp/torch/lib/libtorch_cuda.so"
    card libtorch 'no: see its note'
    grep -q 'is built without CUDA' <(tr -s ' \n' ' ' <"$tmp/out") || bad "devices: LibTorch for processors: $(cat "$tmp/out")"
    touch "$tmp/torch/lib/libtorch_cuda.so"
    printf "__version__ = '2.9.1'\ncuda: Optional[str] = None\ngit_version = '77'\n" >"$tmp/torch/version.py"
    card libtorch 'yes: 2.9.1$'
    rm "$tmp/torch/version.py"
fi
# reason TEXT VARIABLE=VALUE…: why engine cuda is not here
reason() {
    local text=$1
    shift
    expect 0 gpu "$@" devices --json
    python3 - "$tmp/out" "$text" <<'P' || bad "devices: not '$text' with $*: $(grep -A9 '"cuda"' "$tmp/out" | grep missing)"
import json, sys
e = [x for x in json.load(open(sys.argv[1])) if x["engine"] == "cuda"][0]
assert not e["devices"] and sys.argv[2] in e["missing"] and "\n" not in e["missing"]
P
}
reason "finds no GPU" FAKE_CUDA_NONE=1
reason "kernels need" FAKE_CUDA_CC=35
reason "of different versions (error 803)" FAKE_CUDA_FAIL=cuInit:0:803
reason "stub" FAKE_CUDA_FAIL=cuInit:0:34
reason "fabric manager" FAKE_CUDA_FAIL=cuInit:0:802
reason "does not start (error 999)" FAKE_CUDA_FAIL=cuInit:0:999
if ! ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1'; then
    expect 0 bare devices
    grep -A2 '^cuda ' "$tmp/out" | grep -q 'no NVIDIA driver here (libcuda.so.1)' || bad "devices without a driver: $(cat "$tmp/out")"
fi

# ---- pictures ----
python3 "$SOURCE_ROOT/tests/gpu/make_models.py" "$tmp" tiny2 || bad "make_models.py"
net=$tmp/tiny2.safetensors
# what a model needs: as planned when it runs, in tiles where it does not fit, or why not
expect 0 gpu devices -m "$net" --size 640x360
grep -A4 '^cuda ' "$tmp/out" | grep -q 'needs .* MiB .* for 640x360 to 1280x720, fp16, 3 at once' || bad "devices -m: $(cat "$tmp/out")"
expect 0 gpu FAKE_CUDA_MEMORY=14000000 devices -m "$net" --size 640x360 --precision int8
grep -A5 '^cuda ' "$tmp/out" | tr -s ' \n' ' ' | grep -q 'needs .* int8, 3 at once; GPU memory for .* tiles of ' || bad "devices -m in tiles: $(cat "$tmp/out")"
expect 0 gpu FAKE_CUDA_MEMORY=2000000 devices -m "$net" --size 640x360 --json
python3 - "$tmp/out" <<'P' || bad "devices -m --json: $(cat "$tmp/out")"
import json, sys
e = {x["engine"]: x["devices"] for x in json.load(open(sys.argv[1]))}
assert "MiB of GPU memory" in e["cuda"][0]["refuses"] and "needs" not in e["cuda"][0]
c = e["cpu"][0]
assert c["needs"] > 1e6 and (c["width"], c["height"]) == (1280, 720) and c["precision"] in ("fp32", "bf16")
assert "needs" not in e["resample"][0]
P
expect 4 gpu devices -m "$tmp/none.pth"; said "none.pth"; one_error
ffmpeg -v error -f lavfi -i testsrc2=size=64x36:rate=10:duration=0.8 -f lavfi -i sine=duration=0.8 -c:v libx264 -bf 2 \
    -pix_fmt yuv420p -colorspace bt709 -color_range tv -c:a aac "$tmp/a.mkv" || bad "the clip cannot be made"
make() { out=$1; shift; expect 0 "$@" -y -m "$net" -c ffv1 "$tmp/a.mkv" "$tmp/$out.mkv"; }
pixels() { ffmpeg -v error -i "$tmp/$1.mkv" -map 0:v -f framemd5 - | grep -v '^#'; }
make one gpu -d cuda
make cpu bare --engine cpu
[ "$(frames "$tmp/one.mkv")" = 8 ] || bad "$(frames "$tmp/one.mkv") frames"
[ "$(probe "$tmp/one.mkv" width,height)" = 128,72 ] || bad "size $(probe "$tmp/one.mkv" width,height)"
cmp <(pts "$tmp/a.mkv") <(pts "$tmp/one.mkv") || bad "other times"
[ "$(packets_md5 "$tmp/a.mkv" a:0)" = "$(packets_md5 "$tmp/one.mkv" a:0)" ] || bad "the sound is another"
db=$(ffmpeg -nostdin -v info -i "$tmp/one.mkv" -i "$tmp/cpu.mkv" -lavfi psnr -f null - 2>&1 | sed -nE 's/.*average:([0-9.inf]+).*/\1/p' | tail -1)
echo "engine cuda beside engine cpu: PSNR $db dB"
awk -v d="$db" 'BEGIN { exit !(d == "inf" || d > 45) }' || bad "PSNR $db dB"
make engine gpu --engine cuda
make path bare --engine cuda --runtime-path "$fake"
make threads gpu -d cuda:0 -t 1
make second gpu FAKE_CUDA_DEVICES=2 -d cuda:1
make auto gpu
make both gpu FAKE_CUDA_DEVICES=3 -d cuda:0,2
make all gpu FAKE_CUDA_DEVICES=3 -d cuda:2,cuda:0,1 --no-reuse
make nihui gpu FAKE_CUDA_DEVICES=2 -g 0,1
for o in engine path threads second auto both all nihui; do
    cmp -s <(pixels one) <(pixels $o) || bad "$o: other frames than with -d cuda"
done
cmp -s <(pixels one) <(pixels cpu) && bad "engine cpu gave engine cuda's bytes: was it the GPU?"
for seed in 1 5; do
    make seed gpu FAKE_CUDA_SEED=$seed -d cuda
    cmp -s <(pixels one) <(pixels seed) || bad "streams in order $seed: other frames"
done
for cc in 75 86; do # other kernels
    make cc gpu FAKE_CUDA_CC=$cc -d cuda
    db=$(ffmpeg -nostdin -v info -i "$tmp/cc.mkv" -i "$tmp/cpu.mkv" -lavfi psnr -f null - 2>&1 | sed -nE 's/.*average:([0-9.inf]+).*/\1/p' | tail -1)
    awk -v d="$db" 'BEGIN { exit !(d == "inf" || d > 45) }' || bad "compute capability $cc: PSNR $db dB"
done
expect 0 gpu FAKE_CUDA_LOG="$tmp/log" -y -d cuda -m "$net" -c ffv1 "$tmp/a.mkv" "$tmp/b.mkv"
[ "$(sed -n 's/^mistakes //p' "$tmp/log")" = 0 ] || bad "the driver counts mistakes"
[ "$(sed -n 's/^allocated //p' "$tmp/log")" = 0 ] || bad "GPU memory is left over"

# 8 bits: said how far from halves, and refused where there are none
for p in int8 fp8; do
    make $p gpu -d cuda --precision $p -v --json
    said "precision $p: "
    grep -q "\"numerics\":.*cuda/$p-sm90" "$tmp/out" || bad "$p: numerics $(cat "$tmp/out")"
    db=$(ffmpeg -nostdin -v info -i "$tmp/$p.mkv" -i "$tmp/cpu.mkv" -lavfi psnr -f null - 2>&1 | sed -nE 's/.*average:([0-9.inf]+).*/\1/p' | tail -1)
    awk -v d="$db" 'BEGIN { exit !(d == "inf" || d > 35) }' || bad "$p: PSNR $db dB"
done
for cc in 86 100; do
    expect 5 gpu FAKE_CUDA_CC=$cc -y -d cuda --precision fp8 -m "$net" "$tmp/a.mkv" "$tmp/b.mkv"
    said "there are kernels in fp8 for 8.9, 9.0 and"; one_error
done
make seven gpu FAKE_CUDA_CC=75 -d cuda --precision int8
expect 5 bare -y --precision fp8 -m "$net" "$tmp/a.mkv" "$tmp/b.mkv"
said "not in fp8"

# a kernel that never ends: after ten seconds a sentence, or the CPU; nothing waits for it any more, also not at
# the end. The self-test's first picture hangs, its second, and the one that 8 bits are measured with.
expect 0 gpu FAKE_CUDA_LOG="$tmp/log" -y -d cuda --no-reuse -m "$net" -c ffv1 "$tmp/a.mkv" "$tmp/b.mkv"
each=$(($(sed -n 's/^launches //p' "$tmp/log") / 10)) # of the clip's 8 pictures and the self-test's two
hangs="3:5:-d_cuda:self-test $((each + 2)):5:--engine_cuda:self-test 2:0::self-test
    $((2 * each + 2)):5:-d_cuda_--precision_int8:built-in_picture"
for hang in $hangs; do
    IFS=: read -r n code options what <<<"$hang"
    # shellcheck disable=SC2086
    { timeout -k 1 200 env -i HOME="$tmp" PATH="$tmp/bin" LD_LIBRARY_PATH="$fake" FAKE_CUDA_HANG="$n" "$UPREZ" -y ${options//_/ } \
        -m "$net" -c ffv1 "$tmp/a.mkv" "$tmp/hang$n.mkv" >/dev/null 2>"$tmp/hang$n"; echo $? >"$tmp/code$n"; } &
done
wait
for hang in $hangs; do
    IFS=: read -r n code options what <<<"$hang"
    [ "$(cat "$tmp/code$n")" = "$code" ] || bad "launch $n hangs: exit $(cat "$tmp/code$n"), not $code"
    grep -q "the ${what//_/ } on GPU 0 did not end within 10 s" "$tmp/hang$n" || bad "launch $n hangs: $(cat "$tmp/hang$n")"
    grep -q "fake CUDA" "$tmp/hang$n" && bad "launch $n hangs: $(grep "fake CUDA" "$tmp/hang$n")"
done
cmp -s <(pixels hang2) <(pixels cpu) || bad "a kernel hangs: the CPU's result is another"

# ---- troubles: with auto a warning and the CPU, with -d cuda exit 5; the same words ----
# trouble TEXT VARIABLE=VALUE…
trouble() {
    local text=$1
    shift
    expect 5 gpu "$@" -y -d cuda -m "$net" "$tmp/a.mkv" "$tmp/b.mkv"
    said "$text"; one_error
    expect 5 gpu "$@" -y --engine cuda -m "$net" "$tmp/a.mkv" "$tmp/b.mkv"
    said "$text"
}
falls_back() {
    local text=$1
    trouble "$@"
    shift
    make auto gpu "$@"
    said "$text"
    grep -q 'warning' "$tmp/err" || bad "no warning with $*"
    cmp -s <(pixels auto) <(pixels cpu) || bad "$*: auto is not the CPU's"
}
trouble "finds no GPU" FAKE_CUDA_NONE=1
trouble "of different versions (error 803)" FAKE_CUDA_FAIL=cuInit:0:803
trouble "does not start" FAKE_CUDA_FAIL=cuInit:0:999
if [ -e /dev/nvidia0 ]; then echo "note: a GPU is here; what auto says without one is not checked"
else
    make auto gpu FAKE_CUDA_NONE=1
    grep -q GPU "$tmp/err" && bad "a machine without a GPU is told about it"
fi
falls_back "compute capability 3.5" FAKE_CUDA_CC=35
falls_back "driver is older than the kernels" FAKE_CUDA_FAIL=cuModuleLoadData:0:222
falls_back "driver is older than the kernels" FAKE_CUDA_FAIL=cuModuleLoadData:0:200
falls_back "no kernels for this card" FAKE_CUDA_FAIL=cuModuleLoadData:0:209
falls_back "busy" FAKE_CUDA_FAIL=cuDevicePrimaryCtxRetain:0:46
falls_back "self-test" FAKE_CUDA_SKIP=2
falls_back "self-test" FAKE_CUDA_SKIP=4
falls_back "the context is lost" FAKE_CUDA_FAIL=cuGraphLaunch:1:719
expect 5 gpu -y -d cuda:1 -m "$net" "$tmp/a.mkv" "$tmp/b.mkv"
said "no device 'cuda:1'"
if grep -q '^libtorch' <(gpu devices); then # which lists the card too, and is tried
    expect 5 gpu FAKE_CUDA_CC=35 UPREZ_RUNTIME_PATH="$tmp/torch" -y -d cuda -m "$net" "$tmp/a.mkv" "$tmp/b.mkv"
    said "compute capability 3.5"; said "engine libtorch instead"; one_error
fi
# later, in the middle: the run ends, nothing is called done
expect 5 gpu FAKE_CUDA_FAIL=cuGraphLaunch:4 -y --no-reuse -d cuda -m "$net" "$tmp/a.mkv" "$tmp/never.mkv"
said "cannot enqueue"
[ -e "$tmp/never.mkv" ] && bad "a run that failed left its output"

# ---- memory: tiles, then a sentence ----
ffmpeg -v error -f lavfi -i testsrc2=size=208x120:rate=5:duration=0.4 -c:v ffv1 -pix_fmt yuv420p -colorspace bt709 \
    -color_range tv "$tmp/big.mkv"
big() { expect "$1" gpu "${@:2}" -y -d cuda -m "$net" -c ffv1 "$tmp/big.mkv" "$tmp/big2.mkv"; }
big 0 FAKE_CUDA_LOG="$tmp/log"
all=$(sed -n 's/^peak //p' "$tmp/log")
whole=$(ffmpeg -v error -i "$tmp/big2.mkv" -f framemd5 - | grep -v '^#')
tiles=
for part in 70 55 40; do
    gpu FAKE_CUDA_MEMORY=$((all / 100 * part)) -y -d cuda -m "$net" -c ffv1 "$tmp/big.mkv" "$tmp/big2.mkv" >"$tmp/out" 2>"$tmp/err"
    code=$?
    case $code in
    0) [ "$whole" = "$(ffmpeg -v error -i "$tmp/big2.mkv" -f framemd5 - | grep -v '^#')" ] || bad "$part % of the memory: other frames"
       tiles="$tiles $part" ;;
    6) said "GPU memory" ;;
    *) bad "$part % of the memory: exit $code" ;;
    esac
done
[ -n "$tiles" ] || bad "no size of memory led to tiles"
echo "the same frames with$tiles % of the memory"
# two processes on one card that has not room for both as they would like it
: >"$tmp/held"
for i in 1 2; do
    gpu FAKE_CUDA_SHARED="$tmp/held" FAKE_CUDA_MEMORY=$((all / 100 * 185)) -y -d cuda -m "$net" -c ffv1 "$tmp/big.mkv" \
        "$tmp/two$i.mkv" >"$tmp/out$i" 2>&1 &
    pids[i]=$!
done
for i in 1 2; do
    wait "${pids[i]}" || bad "process $i of two on one card: $(cat "$tmp/out$i")"
    [ "$whole" = "$(ffmpeg -v error -i "$tmp/two$i.mkv" -f framemd5 - | grep -v '^#')" ] || bad "two processes: other frames"
done
# no room at all: auto takes the CPU and says how much is wanted
big 6 FAKE_CUDA_MEMORY=900000
said "MiB of GPU memory"; one_error
expect 0 gpu FAKE_CUDA_MEMORY=900000 -y -m "$net" -c ffv1 "$tmp/big.mkv" "$tmp/big2.mkv"
[ "$(grep -c 'warning: engine cuda is not used: .* MiB of GPU memory' "$tmp/err")" = 1 ] || bad "auto without room: $(cat "$tmp/err")"
expect 0 bare -y -m "$net" -c ffv1 "$tmp/big.mkv" "$tmp/big3.mkv"
cmp -s "$tmp/big2.mkv" "$tmp/big3.mkv" || bad "auto without room is not the CPU's"
big 6 FAKE_CUDA_MEMORY=100000
said "MiB of GPU memory"; one_error
big 6 FAKE_CUDA_MEMORY=6000
said "weights need"
big 6 FAKE_CUDA_FAIL=cuMemHostAlloc:0:2
said "out of memory"
finish
