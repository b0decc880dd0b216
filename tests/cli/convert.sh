#!/bin/bash
# uprez model convert: every container there is into every one that is written; the results in the
# programs they are for, when their Python packages are here.
. "$(dirname "$0")/lib.sh"
need python3
cd "$tmp" || exit 1

# ---- every operation, as test_write wrote it, run by ONNX Runtime and ncnn ----
have() { python3 -c "import $1" 2>/dev/null; }
mkdir ops
test_write=${BUILD_ROOT:-}/tests/test_write
if [ -x "$test_write" ]; then
    UPZ_WRITE_DUMP=$tmp/ops "$test_write" >"$tmp/out" 2>&1 || bad "test_write: $(tail -3 "$tmp/out")"
    [ "$(ls ops/*.onnx | wc -l)" -gt 150 ] || bad "test_write left $(ls ops | wc -l) files"
fi
if ! have numpy; then
    echo "not checked: operations in other programs (no numpy)"
else
    cat >ops.py <<'P'
import glob, os, sys
import numpy as np


def cases():
    for size in sorted(glob.glob("ops/*.size")):
        base = size[:-5]
        w, h, num, den = map(int, open(size).read().split())
        x = np.fromfile(base + ".in", np.float32).reshape(1, 3, h, w)
        yield base, x, np.fromfile(base + ".out", np.float32).reshape(1, 3, h * num // den, w * num // den)


def onnx_runs():
    import onnx
    import onnxruntime
    onnxruntime.set_default_logger_severity(3)
    for base, x, want in cases():
        for f in sorted(glob.glob(base + ".*.onnx")):
            onnx.checker.check_model(onnx.load(f), full_check=True)
            s = onnxruntime.InferenceSession(f, providers=["CPUExecutionProvider"])
            yield f, s.run(None, {"input": np.repeat(x, 2, 0)})[0][1:], want


def ncnn_runs():
    import ncnn
    for base, x, want in cases():
        if not os.path.exists(base + ".param"):
            continue
        net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = net.opt.use_winograd_convolution = False
        assert net.load_param(base + ".param") == 0 and net.load_model(base + ".bin") == 0, base
        ex = net.create_extractor()
        ex.input("data", ncnn.Mat(x[0]))
        yield base + ".param", np.array(ex.extract("output")[1])[None], want


n = wrong = 0
for f, got, want in {"onnx": onnx_runs, "ncnn": ncnn_runs}[sys.argv[1]]():
    d = np.abs(got - want).max() if got.shape == want.shape else f"{got.shape}, not {want.shape}"
    n += 1
    if not isinstance(d, np.floating) or not d < 1e-5:
        print(f, d)
        wrong += 1
print(sys.argv[1], n, "files run")
sys.exit(wrong > 0 or n < 45)
P
    if [ -x "$test_write" ]; then
        if have onnx && have onnxruntime; then
            python3 ops.py onnx || bad "operations in ONNX Runtime"
        else echo "not checked: operations in ONNX Runtime (no onnx, onnxruntime)"; fi
        if have ncnn; then python3 ops.py ncnn || bad "operations in ncnn"
        else echo "not checked: operations in ncnn (no ncnn)"; fi
    fi
fi

# ---- the networks of our own: there and back, and what other programs are given ----
ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=size=96x64:rate=5:duration=0.4 -pix_fmt yuv420p -c:v ffv1 own.mkv
psnr() { ffmpeg -nostdin -i "$1" -i "$2" -lavfi "[0]lutyuv=y=clip(val\\,16\\,235)[a];[1]lutyuv=y=clip(val\\,16\\,235)[b];[a][b]psnr" -f null - 2>&1 | sed -n 's/.*average:\([^ ]*\).*/\1/p'; }
for m in uprez-fast-2x uprez-fast-4x uprez-video-2x; do
    expect 0 "$UPREZ" model convert -q $m $m.safetensors
    expect 0 "$UPREZ" model convert -q $m $m.onnx
    expect 0 "$UPREZ" model convert -q $m.onnx back.safetensors -y
    expect 0 "$UPREZ" model convert $m $m.param; said "takes full range"
    expect 0 "$UPREZ" -q -y -m $m -c ffv1 own.mkv want.mkv
    for f in $m.safetensors back.safetensors; do
        expect 0 "$UPREZ" -q -y -m $f -c ffv1 own.mkv got.mkv
        [ "$(psnr want.mkv got.mkv)" = inf ] || bad "$f is another network than $m: $(psnr want.mkv got.mkv) dB"
    done
    # ncnn's file says nothing about ranges: read as luma in full range, as everybody does, it is the same
    expect 0 "$UPREZ" -q -y -m $m.param -c ffv1 own.mkv got.mkv
    psnr want.mkv got.mkv | awk '{exit !($1 == "inf" || $1 > 70)}' || bad "$m.param: $(psnr want.mkv got.mkv) dB"
done

# ---- refusals ----
expect 2 "$UPREZ" model convert
expect 2 "$UPREZ" model convert a.pth
expect 2 "$UPREZ" model convert a.pth b.pth; said ".safetensors"
expect 2 "$UPREZ" model convert a.pth b.onnx --fp16 --fp32
expect 2 "$UPREZ" model convert a.pth b.onnx --opset 15
expect 2 "$UPREZ" model convert a.pth b.onnx --opset 24
expect 2 "$UPREZ" model convert a.pth b.safetensors --size 64x64; said ".onnx only"
expect 2 "$UPREZ" model convert a.pth b.param --opset 17; said ".onnx only"
expect 4 "$UPREZ" model convert nosuchmodel.pth b.onnx; said nosuchmodel
expect 4 "$UPREZ" model convert lanczos b.onnx; said "resampling kernel"
[ -z "$(ls b.* 2>/dev/null)" ] || bad "a refusal left $(ls b.*)"

models=$SHARED/models
small=$models/onnx/2x_AnimeJaNai_HD_V3_SuperUltraCompact.onnx
if [ ! -f "$small" ]; then
    echo "not checked: real models (none at \$SHARED)"
    finish
fi

# ---- what is there stays, and files come whole or not at all ----
expect 0 "$UPREZ" model convert "$small" a.onnx
grep -q 'scale 2' out || bad "nothing said: $(cat out)"
expect 2 "$UPREZ" model convert "$small" a.onnx; said "-y"
expect 0 "$UPREZ" model convert "$small" a.onnx -y -q
[ -s out ] && bad "-q said $(cat out)"
expect 2 "$UPREZ" model convert a.onnx a.onnx -y; said "is the input"
echo mine >pair.bin
expect 2 "$UPREZ" model convert "$small" pair.param; said "pair.bin exists"
[ "$(cat pair.bin)" = mine ] && [ ! -e pair.param ] || bad "half a pair was written"
expect 0 "$UPREZ" model convert "$small" pair.param -y -q
[ "$(head -1 pair.param)" = 7767517 ] && [ "$(stat -c %s pair.bin)" -gt 100000 ] || bad "the pair"
expect 0 "$UPREZ" model convert "$small" other.bin -q
[ -s other.param ] && cmp -s other.bin pair.bin || bad "the pair by its .bin"
expect 7 "$UPREZ" model convert "$small" nowhere/a.onnx
mkdir full.param.new
expect 7 "$UPREZ" model convert "$small" full.param
[ ! -e full.param ] && [ ! -e full.bin ] && [ ! -e full.bin.new ] || bad "a failure left $(ls -d full*)"
if [ "$(id -u)" != 0 ]; then
    mkdir locked; chmod a-w locked
    expect 7 "$UPREZ" model convert "$small" locked/a.onnx
fi
ls | grep -q '\.tmp' && bad "temporary files: $(ls)"
# no module of ours for LibTorch, the user's own neither
expect 5 env XDG_DATA_HOME="$tmp/none" UPREZ_RUNTIME_PATH="$tmp/none" "$UPREZ" model convert "$small" a.pt; said "LibTorch"

# ---- containers into containers, and back: the same network ----
declare -A from=([pth]=$models/pytorch/realesr-animevideov3.pth [ncnn]=$models/ncnn/realesr-animevideov3-x4.param
    [st]=$models/safetensors/realesr-animevideov3.safetensors [onnx]=$models/onnx/realesr-animevideov3.onnx
    [esrgan]=$models/pytorch/RealESRGAN_x4plus_anime_6B.pth)
for kind in pth ncnn st onnx esrgan; do
    for ext in onnx safetensors param; do
        expect 0 "$UPREZ" model convert "${from[$kind]}" "$kind.$ext" -q
        expect 0 "$UPREZ" model convert "$kind.$ext" "$kind.$ext.safetensors" -q
    done
    # by whichever way, the checkpoint is the same one
    for ext in onnx param; do
        "$UPREZ" model convert "$kind.safetensors" canonical.safetensors -q -y
        python3 - canonical.safetensors "$kind.$ext.safetensors" <<'P' || bad "$kind through .$ext is another network"
import json, struct, sys


def tensors(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    h = json.loads(b[8:8 + n])
    assert h.pop("__metadata__")["format"] == "pt" and n % 8 == 0
    return {k: (v["dtype"], v["shape"], b[8 + n:][slice(*v["data_offsets"])]) for k, v in h.items()}


sys.exit(tensors(sys.argv[1]) != tensors(sys.argv[2]))
P
    done
done
expect 4 "$UPREZ" model convert "$models/ncnn/realesr-animevideov3-x2.param" x2.safetensors; said "no checkpoint form"
expect 4 "$UPREZ" model convert "$models/torchscript/realesr-animevideov3.torchscript.pt" x.onnx
mkdir known
cp "$models/pytorch/realesr-general-x4v3.fp16w.pth" known/realesr-general-x4v3.pth
cp "$models/pytorch/realesr-general-wdn-x4v3.half.pth" known/realesr-general-wdn-x4v3.pth
for denoise in 0 0.25 1; do
    expect 0 "$UPREZ" model convert known/realesr-general-x4v3.pth "mix$denoise.safetensors" -q \
        --denoise "$denoise:known/realesr-general-wdn-x4v3.pth"
done
python3 - <<'P' || bad "--denoise"
import json, struct


def tensors(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    h = json.loads(b[8:8 + n])
    h.pop("__metadata__")
    at = {k: b[8 + n:][slice(*v["data_offsets"])] for k, v in h.items()}
    return {k: struct.unpack(f"<{len(v) // 4}f", v) for k, v in at.items()}


twin, mixed, model = (tensors(f"mix{d}.safetensors") for d in ("0", "0.25", "1"))
assert len(model) == 101 and twin.keys() == model.keys() == mixed.keys()
assert model != twin
for k in model:
    assert all(abs(m - 0.25 * a - 0.75 * b) < 1e-6 for m, a, b in zip(mixed[k], model[k], twin[k])), k
P
expect 2 "$UPREZ" model convert "$small" d2.onnx --denoise 0.5; said "twin"

# ---- the programs they are for ----
if have onnx && have onnxruntime && have numpy; then
    "$UPREZ" model convert "$small" fixed.onnx -q --size 40x24 --batch 2 --opset 18
    "$UPREZ" model convert "$small" half.onnx -q --fp16
    "$UPREZ" model convert "$small" half_io.onnx -q --fp16-io
    "$UPREZ" model convert "$models/onnx/2x_AnimeJaNai_HD_V3.1_Performance_SPANF3_b5f48_unshuffle_fp16.onnx" pads.onnx -q
    python3 - "$small" "$models" <<'P' || bad "ONNX Runtime"
import sys
import numpy as np, onnx, onnxruntime as ort
ort.set_default_logger_severity(3)
rng = np.random.default_rng(1)


def run(path, x):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    s = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return s.run(None, {s.get_inputs()[0].name: x})[0].astype(np.float32), s


x = rng.random((2, 3, 24, 40), np.float32)
want = run(sys.argv[1], x)[0]
for name, kind, limit in (("a", np.float32, 1e-6), ("fixed", np.float32, 1e-6), ("half", np.float32, 5e-3),
                          ("half_io", np.float16, 5e-3)):
    got, s = run(name + ".onnx", x.astype(kind))
    d = abs(got - want).max()
    shape = s.get_inputs()[0].shape
    print(name, shape, d)
    assert d < limit and ("16" in s.get_inputs()[0].type) == (kind == np.float16)
    assert shape == ([2, 3, 24, 40] if name == "fixed" else ["batch", 3, "height", "width"])
odd = rng.random((1, 3, 27, 35), np.float32)
want = run(sys.argv[2] + "/onnx/2x_AnimeJaNai_HD_V3.1_Performance_SPANF3_b5f48_unshuffle_fp16.onnx", odd.astype(np.float16))[0]
got = run("pads.onnx", odd)[0]
print("odd size", got.shape, abs(got - want).max())
assert got.shape == want.shape and abs(got - want).max() < 5e-3
P
else echo "not checked: real models in ONNX Runtime (no onnx, onnxruntime)"; fi
if have spandrel; then
    python3 - esrgan.onnx.safetensors pth.param.safetensors <<'P' || bad "spandrel"
import sys, torch, spandrel
for f, want in zip(sys.argv[1:], ("ESRGAN", "RealESRGAN Compact")):
    m = spandrel.ModelLoader(device="cpu").load_from_file(f)
    print(f, m.architecture.name, m.scale)
    assert m.scale == 4 and m.architecture.name == want, m.architecture.name
P
else echo "not checked: real models in spandrel (not installed)"; fi
finish
