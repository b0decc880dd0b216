#!/bin/bash
# uprez model compile, and running what it built, with a runtime that is none (tests/fake): nothing here
# computes on a GPU.
. "$(dirname "$0")/lib.sh"
fake=$BUILD_ROOT/tests/fake
model=$SHARED/models/pytorch/sudo_UltraCompact_2x_1.121.175_G.pth
[ -e "$model" ] || skip "no real models at \$SHARED ($SHARED)"
export XDG_CACHE_HOME=$tmp/cache
compile() { "$UPREZ" model compile "$model" --runtime-path "$fake" "$@"; }
ffmpeg -nostdin -v error -f lavfi -i testsrc2=s=200x120 -frames:v 1 "$tmp/in.png"

expect 0 compile -o "$tmp/x.engine" --fp16 --min 16x16 --opt 64x64 --max 96x80 -v
said "building a TensorRT engine"
said "some progress"
grep -q "fp16, 16x16 to 96x80, best at 64x64" "$tmp/out" || bad "the summary: $(cat "$tmp/out")"
grep -qx "profile 1x16x16 1x64x64 1x96x80" "$tmp/x.engine.txt" || bad "the note: $(cat "$tmp/x.engine.txt")"
expect 2 compile -o "$tmp/x.engine"
expect 0 compile -o "$tmp/x.engine" -y
expect 2 compile --min 64x64 --opt 32x32
expect 2 compile -d cpu
expect 2 compile -d cuda:
expect 2 compile --fp16 --fp32
expect 5 compile -d cuda:9
expect 2 "$UPREZ" model compile
expect 4 "$UPREZ" model compile "$tmp/in.png" --runtime-path "$fake"
expect 4 "$UPREZ" model compile "$tmp/x.engine" --runtime-path "$fake"

# the file, larger than the picture and smaller
run() { expect "$1" "$UPREZ" -y "$tmp/in.png" "$tmp/out.png" -m "$2" --runtime-path "$fake" --engine tensorrt "${@:3}"; }
run 0 "$tmp/x.engine"
[ "$(probe "$tmp/out.png" width,height)" = 400,240 ] || bad "the size: $(probe "$tmp/out.png" width,height)"
run 0 "$model"
FAKE_GPU=89 run 5 "$tmp/x.engine"; said "sm_90"; one_error
FAKE_ORT=version run 5 "$tmp/x.engine"; said "x.engine: ONNX Runtime 1.99.0 says: The engine plan file is not compatible"; one_error
FAKE_ORT=old run 5 "$model"; said "too old"; one_error
FAKE_ORT=cpu run 5 "$model"; said "no TensorRT provider"; one_error
echo "no engine at all, but long enough to be looked at as if it were one, perhaps" >"$tmp/y.engine"
run 4 "$tmp/y.engine"; said "y.engine"; one_error
# its own runtime is asked for, none other
expect 5 "$UPREZ" -y "$tmp/in.png" "$tmp/out.png" -m "$model" --runtime-path "$tmp/nowhere" --engine tensorrt
one_error
# a built engine that was damaged is built anew
for f in "$tmp"/cache/uprez/tensorrt/*/*.engine; do printf x >>"$f"; done
run 0 "$model"; said "damaged"
run 0 "$model"; grep -q "damaged\|building" "$tmp/err" && bad "built again without need: $(cat "$tmp/err")"
finish
