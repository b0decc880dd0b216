#!/bin/bash
# tests/gpu/go.sh, measure.sh and pack.sh rehearsed on the emulated driver: each step's line, and what becomes of a
# step that fails, that hangs, and of those for which no time is left.
. "$(dirname "$0")/lib.sh"
need python3 setsid objdump pkg-config
fake=$BUILD_ROOT/tests/fake/cuda
[ -e "$fake/libcuda.so.1" ] || skip "no $fake/libcuda.so.1"
[ -x "$BUILD_ROOT/bench/network" ] || skip "this build has no CUDA kernels"
pack=$tmp/pack

# ---- the pack ----
"$SOURCE_ROOT/tests/gpu/pack.sh" "$pack" --build "$BUILD_ROOT" >"$tmp/out" 2>"$tmp/err" || bad "pack.sh: $(cat "$tmp/err")"
tail -1 "$tmp/out"
tail -1 "$tmp/out" | grep -qE '^[0-9.]+ MB, highest symbol GLIBC_2\.[0-9]+$' || bad "pack.sh: $(cat "$tmp/out")"
"$SOURCE_ROOT/tests/gpu/pack.sh" "$tmp/pack2" --build "$BUILD_ROOT" --most 1 --glibc 2.2 >"$tmp/out" 2>"$tmp/err" &&
    bad "limits are not kept"
grep -q 'larger than 1 MB' "$tmp/err" || bad "the size: $(cat "$tmp/err")"
grep -q 'newer C library than 2.2' "$tmp/err" || bad "the C library: $(cat "$tmp/err")"
# the emulation takes any fatbin; here are its kernels, and another cut of the engine's
printf '\x50\xed\x55\xba' | tee "$pack/share/kernels-regs0.cubin" >"$pack/share/probe.fatbin"

# ---- as a whole ----
export LD_LIBRARY_PATH=$fake
# rehearse SCRIPT ARGUMENT…: its exit code in $code, its lines in $tmp/lines
rehearse() {
    local script=$1
    shift
    rm -rf "$tmp/gpu"
    "$SOURCE_ROOT/tests/gpu/$script.sh" --rehearse --pack "$pack" --out "$tmp/gpu" "$@" >"$tmp/out" 2>&1
    code=$?
    cp "$tmp/gpu/$script.json" "$tmp/lines" 2>/dev/null
    python3 - "$tmp/lines" <<'P' || bad "$script: lines that are no JSON"
import json, sys
for line in open(sys.argv[1]): json.loads(line)
P
}
result() { sed -n "s/^{\"step\": \"$1\", \"result\": \"\([a-zA-Z]*\)\".*/\1/p" "$tmp/lines"; }
# is RESULT STEP…
is() {
    local want=$1
    shift
    for s in "$@"; do [ "$(result "$s")" = "$want" ] || bad "step $s: '$(result "$s")', not $want: $(grep "\"$s\"" "$tmp/lines"; tail -5 "$tmp/gpu/$s.txt")"; done
}
go_steps="machine networks probe probe_rates check_small check_general rate rate_again rate_no_graph rate_no_overlap"
rehearse go
# shellcheck disable=SC2086
is ok $go_steps
[ $code = 0 ] || bad "go.sh: exit $code: $(tail -3 "$tmp/out")"
[ "$(grep -c '"check": "ok"' "$tmp/lines")" -ge 3 ] || bad "go.sh: the checks' lines"
[ "$(grep -c '^{"rate": .*"device_fps"' "$tmp/lines")" = 4 ] || bad "go.sh: the rates' lines"
sum=$(sed -n 's/^step [a-z_]* \([0-9]*\) .*/\1/p' "$SOURCE_ROOT/tests/gpu/go.sh" | paste -sd+ | bc 2>/dev/null || echo 0)
echo "go.sh at its steps' limits: $sum s"
[ "$sum" -gt 100 ] && [ "$sum" -le 170 ] || bad "go.sh at its steps' limits: $sum s, not up to 170"
# what the switches do
UPREZ_CUDA_DEBUG=no-graph FAKE_CUDA_LOG=$tmp/log "$BUILD_ROOT/bench/gpu" device "$pack/share/tiny2.safetensors" nv12 32x16 cuda 2 >/dev/null
grep -q '^graphs 0$' "$tmp/log" || bad "no-graph: $(grep graphs "$tmp/log")"
FAKE_CUDA_LOG=$tmp/log "$BUILD_ROOT/bench/gpu" device "$pack/share/tiny2.safetensors" nv12 32x16 cuda 2 >/dev/null
grep -q '^graphs 0$' "$tmp/log" && bad "a graph is not used at all"
UPREZ_CUDA_DEBUG=no-overlap FAKE_CUDA_FAIL=cuLaunchKernelEx:0 "$BUILD_ROOT/bench/gpu" device \
    "$pack/share/tiny2.safetensors" nv12 32x16 cuda 2 >/dev/null || bad "no-overlap: launches beside the one before"
UPREZ_CUDA_KERNELS=$tmp/none "$BUILD_ROOT/bench/gpu" device "$pack/share/tiny2.safetensors" nv12 32x16 2>"$tmp/err" &&
    bad "other kernels that are not there"
grep -q "$tmp/none" "$tmp/err" || bad "other kernels: $(cat "$tmp/err")"

# ---- planted: a check that fails, a probe that hangs and has to be killed ----
mv "$pack/bin/gpu" "$pack/bin/gpu.right"
cat >"$pack/bin/gpu" <<'P'
#!/bin/bash
[ "$1" = list ] && [ -n "$PLANT" ] && { echo '{"check": "FAILED"}'; echo "planted" >&2; exit 1; }
exec "$0.right" "$@"
P
mv "$pack/bin/network" "$pack/bin/network.right"
cat >"$pack/bin/network" <<'P'
#!/bin/bash
[ "$1" = tiles ] && { trap '' TERM; sleep 600; }
exec "$0.right" "$@"
P
chmod +x "$pack/bin/gpu" "$pack/bin/network"
PLANT=1 rehearse go
[ $code = 1 ] || bad "a check fails: exit $code"
is ok probe probe_rates
is FAILED check_small
grep -q '"result": "FAILED".*"why": "exit 1: planted"' "$tmp/lines" || bad "why: $(grep FAILED "$tmp/lines")"
[ -z "$(result check_general)$(result rate)" ] || bad "go.sh goes on behind a red step"

mv "$pack/bin/probe" "$pack/bin/probe.right"
printf '#!/bin/bash\ntrap "" TERM\nsleep 600\n' >"$pack/bin/probe"
chmod +x "$pack/bin/probe"
LIMIT_probe=1 rehearse go
mv "$pack/bin/probe.right" "$pack/bin/probe"
[ $code = 1 ] || bad "the probe hangs: exit $code"
is ok machine networks
is hangs probe
[ -z "$(result probe_rates)" ] || bad "go.sh goes on behind a probe that hangs"

# an FFmpeg that is none: it tells of its progress, and writes what it is to write
cat >"$pack/bin/ffmpeg" <<'P'
#!/bin/bash
case " $* " in
*" -progress "*) for n in 0 10 20 30; do printf 'frame=%d\nprogress=continue\n' $n; sleep 0.2; done ;;
*" -encoders "*) ;;
*) head -c 4608 /dev/zero >"${!#}" ;;
esac
P
chmod +x "$pack/bin/ffmpeg"

# ---- measure.sh: a failed and a hanging step in it, a profiler that hangs too ----
mkdir "$tmp/tools"
printf '#!/bin/bash\ntrap "" TERM\nsleep 600\n' >"$tmp/tools/ncu"
chmod +x "$tmp/tools/ncu"
PLANT=1 LIMIT_tiles=1 LIMIT_ncu_frame=1 LIMIT_ncu_conv_ring=1 LIMIT_ncu_conv_stream=1 LIMIT_ncu_store_picture=1 \
    PATH=$tmp/tools:$PATH rehearse measure
[ $code = 1 ] || bad "measure.sh: exit $code"
is FAILED check_big formats
is hangs tiles ncu_frame ncu_conv_ring ncu_conv_stream ncu_store_picture
is ok networks network_alone pipeline_8 pipeline_10 pipeline_host variant_regs0 rate_anime rate_x4plus rate_fp8 rate_int8 reuse
is skipped variant_30_33 ffmpeg_nvenc
is ok ffmpeg ffmpeg_reuse ffmpeg_psnr
grep -q '^{"ffmpeg": "reuse=0", "frames": 30, "fps": [1-9].*"of_network_alone": [0-9.]*}' "$tmp/lines" ||
    bad "measure.sh: FFmpeg's rate: $(grep '"ffmpeg"' "$tmp/lines")"
grep -q '^{"network": .*"graph": true' "$tmp/lines" || bad "measure.sh: the network alone"
grep -q '^{"layer": .*"kernel": "conv_' "$tmp/lines" || bad "measure.sh: layers"
rm "$pack/bin/gpu" "$pack/bin/network"
mv "$pack/bin/gpu.right" "$pack/bin/gpu"
mv "$pack/bin/network.right" "$pack/bin/network"
"$pack/bin/network" tiles "$pack/share/light.safetensors" nv12 160x64 >"$tmp/out" 2>&1 || bad "tiles: $(cat "$tmp/out")"
grep -q '"tiles": "ok"' "$tmp/out" || bad "tiles: $(cat "$tmp/out")"

# ---- no time ----
rehearse measure --seconds 3
is skipped networks check_big formats memcheck
[ $code = 0 ] || bad "no time is left: exit $code"
finish
