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
# several at a time: a run has what it asks for, as far as the engine goes
expect 0 compile -o "$tmp/four.engine" --min 16x16 --opt 64x64 --max 96x80 --batch 4
grep -q "best at 64x64, 1 to 4 at a time" "$tmp/out" || bad "the summary: $(cat "$tmp/out")"
grep -qx "profile 1x16x16 4x64x64 4x96x80" "$tmp/four.engine.txt" || bad "the note: $(cat "$tmp/four.engine.txt")"
run 0 "$tmp/x.engine"; cp "$tmp/out.png" "$tmp/one.png"
for n in 0 3 9; do
    rm -f "$tmp/log"
    more=; [ $n = 0 ] || more="--batch $n"
    # shellcheck disable=SC2086
    FAKE_LOG=$tmp/log run 0 "$tmp/four.engine" $more
    most=$((n > 4 ? 4 : n > 0 ? n : 1))
    grep -q "^run ${most}x" "$tmp/log" || bad "batches for --batch $n: $(grep ^run "$tmp/log" | sort | uniq -c)"
    cmp "$tmp/one.png" "$tmp/out.png" || bad "other pixels with --batch $n"
done
expect 2 compile --batch 17
# mixed with its twin: another network, so another engine
expect 2 compile --denoise 0.5; said "twin"
mkdir "$tmp/known"
cp "$SHARED/models/pytorch/realesr-general-x4v3.fp16w.pth" "$tmp/known/realesr-general-x4v3.pth"
cp "$SHARED/models/pytorch/realesr-general-wdn-x4v3.half.pth" "$tmp/known/realesr-general-wdn-x4v3.pth"
for dn in 0 0.5 0.5; do
    expect 0 "$UPREZ" model compile "$tmp/known/realesr-general-x4v3.pth" --runtime-path "$fake" \
        --denoise "$dn:$tmp/known/realesr-general-wdn-x4v3.pth" --opt 64x64 --max 96x80 -o "$tmp/dn$dn.engine" -y
done
models=$(grep -h "^model " "$tmp/dn0.engine.txt" "$tmp/dn0.5.engine.txt" | sort -u | wc -l)
[ "$models" = 2 ] || bad "an engine does not know what its network was mixed with"
# its own runtime is asked for, none other
expect 5 "$UPREZ" -y "$tmp/in.png" "$tmp/out.png" -m "$model" --runtime-path "$tmp/nowhere" --engine tensorrt
one_error
# TensorRT of the major version that the provider is linked with: 11 alone is none, and 10 is taken beside it
mkdir "$tmp/eleven"
cp "$fake"/lib*.so* "$tmp/eleven" 2>/dev/null
mv "$tmp/eleven/libnvinfer.so.10" "$tmp/eleven/libnvinfer.so.11"
expect 5 env HOME="$tmp" PATH=/usr/bin:/bin "$UPREZ" -y "$tmp/in.png" "$tmp/out.png" -m "$model" --runtime-path "$tmp/eleven" --engine tensorrt
said "pip install 'tensorrt<11'"; one_error
cp "$fake/libnvinfer.so.10" "$tmp/eleven/"
echo "no library" >"$tmp/eleven/libnvinfer.so.11"
expect 0 "$UPREZ" -y "$tmp/in.png" "$tmp/out.png" -m "$model" --runtime-path "$tmp/eleven" --engine tensorrt
# a built engine that was damaged is built anew
for f in "$tmp"/cache/uprez/tensorrt/*/*.engine; do printf x >>"$f"; done
run 0 "$model"; said "damaged"
run 0 "$model"; grep -q "damaged\|building" "$tmp/err" && bad "built again without need: $(cat "$tmp/err")"
finish
