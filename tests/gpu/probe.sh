#!/bin/bash
# tests/gpu/probe.c on the emulated driver: all is right there, and what is not is named alone.
. "$(dirname "$0")/../cli/lib.sh"
export LD_LIBRARY_PATH=$BUILD_ROOT/tests/fake/cuda
[ -e "$LD_LIBRARY_PATH/libcuda.so.1" ] || skip "no $LD_LIBRARY_PATH/libcuda.so.1"
probe=$BUILD_ROOT/bench/probe
printf '\x50\xed\x55\xba' >"$tmp/fatbin"
for seed in 0 1 7; do
    FAKE_CUDA_SEED=$seed "$probe" "$tmp/fatbin" >"$tmp/out" || bad "seed $seed: $(grep -v 'ok$' "$tmp/out")"
    grep -q '^0 of 20 ' "$tmp/out" || bad "seed $seed: $(tail -1 "$tmp/out")"
done
FAKE_CUDA_CC=89 "$probe" "$tmp/fatbin" >"$tmp/out" || bad "8.9: $(grep -v 'ok$' "$tmp/out")"
# a launch that does nothing: one is wrong, and says where
FAKE_CUDA_SKIP=3 "$probe" "$tmp/fatbin" >"$tmp/out" && bad "a launch less is not seen"
grep -q 'ldmatrix+mma  *wrong: m16n8k16, 256 of 256, first 0 .*got .*wanted' "$tmp/out" || bad "wrong: $(cat "$tmp/out")"
[ "$(grep -c '"ok"' "$tmp/out")" = 18 ] || bad "more than one is wrong: $(cat "$tmp/out")"
# a fault takes its process along; the others are still asked
FAKE_CUDA_FAIL=cuLaunchKernelEx:4:700 "$probe" "$tmp/fatbin" >"$tmp/out" && bad "a fault is not seen"
grep -q 'threads  *fault: probe_threads: error 700' "$tmp/out" || bad "fault: $(cat "$tmp/out")"
grep -q 'matrices.trans  *ok' "$tmp/out" || bad "nothing behind the fault: $(cat "$tmp/out")"
"$probe" "$tmp/fatbin" rates quick >"$tmp/out" || bad "rates: $(cat "$tmp/out")"
[ "$(grep -c '^{"rate"' "$tmp/out")" = 9 ] || bad "rates: $(cat "$tmp/out")"
finish
