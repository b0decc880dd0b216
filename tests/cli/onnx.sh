#!/bin/bash
# ONNX files as people have them: of a fixed size, with operators that are not known, damaged; and runtimes
# that are none or of the wrong version.
. "$(dirname "$0")/lib.sh"
need python3 ffmpeg
seeds=$SOURCE_ROOT/tests/data/seeds/onnx
run() { expect "$1" "$UPREZ" -y -q "$tmp/in.png" "$tmp/out.png" -m "$2" --precision fp32 "${@:3}"; }
ffmpeg -nostdin -v error -f lavfi -i testsrc2=s=150x100 -frames:v 1 "$tmp/in.png" || skip "ffmpeg makes no picture"

# what our reader refuses names the operator; no engine of ours runs it
for name in unknown_op:Einsum global_pool:GlobalAveragePool branch:If; do
    run 4 "$seeds/${name%:*}.onnx" --engine cpu; said "(${name#*:})"; one_error
    expect 4 "$UPREZ" model convert "$seeds/${name%:*}.onnx" "$tmp/x.onnx"; said "(${name#*:})"; one_error
done
run 4 "$seeds/cut.onnx"; said "damaged or cut short"; one_error
run 4 "$seeds/external_missing.onnx"; said "second file"; one_error

# made for one size, and for several pictures at once: ours at any size
expect 0 "$UPREZ" model info "$seeds/form_pad_fixed_edge.onnx"
grep -q 'stored for 11x8, runs at any size' "$tmp/out" || bad "info: $(cat "$tmp/out")"
expect 0 "$UPREZ" model info "$seeds/form_batch.onnx"
grep -q 'stored for 10x8, 4 at once, runs at any size' "$tmp/out" || bad "info: $(cat "$tmp/out")"
run 0 "$seeds/form_batch.onnx" --engine cpu
[ "$(probe "$tmp/out.png" width,height)" = 300,200 ] || bad "the size: $(probe "$tmp/out.png" width,height)"

# a runtime that is none: too old, or not there
fake=${BUILD_ROOT:-}/tests/fake
if [ -e "$fake/libonnxruntime.so.1" ]; then
    FAKE_ORT=old run 5 "$seeds/good.onnx" --engine onnxruntime --runtime-path "$fake"; said "too old"; one_error
fi
expect 5 env -i HOME="$tmp" PATH="$tmp" "$UPREZ" -y -q "$tmp/in.png" "$tmp/out.png" -m "$seeds/good.onnx" --engine onnxruntime
said "pip install onnxruntime"; one_error
mkdir "$tmp/junk"; echo junk >"$tmp/junk/libonnxruntime.so"
run 5 "$seeds/good.onnx" --engine onnxruntime --runtime-path "$tmp/junk"; said "cannot be loaded"; one_error

# an operator that only ONNX Runtime knows: run by it, tiled to a fixed size with the same result
python3 -c 'import numpy, onnx, onnxruntime' 2>/dev/null || { echo "not checked: operators that only ONNX Runtime knows (no onnx, onnxruntime)"; finish; }
cd "$tmp" || exit 1
python3 - <<'P'
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
rng = np.random.default_rng(3)
N = helper.make_node
w = [(rng.standard_normal(s) / 6).astype(np.float32) for s in ((6, 3, 3, 3), (12, 6, 3, 3))]
weights = [numpy_helper.from_array(v, "w%d" % i) for i, v in enumerate(w)] + [numpy_helper.from_array(np.float32(0.4), "c")]


def net(name, op, shape):
    nodes = [N("Conv", ["in", "w0"], ["a"], pads=[1] * 4), N(op, ["a"], ["b"], name="odd"),
             N("Conv", ["b", "w1"], ["d"], pads=[1] * 4), N("DepthToSpace", ["d"], ["e"], blocksize=2, mode="CRD"),
             N("Add", ["e", "c"], ["out"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in
            (("in", shape), ("out", [d * 2 if i > 1 and isinstance(d, int) else d if i < 1 else 3 if i == 1 else None
                                     for i, d in enumerate(shape)]))]
    m = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights),
                          opset_imports=[helper.make_opsetid("", 17)])
    m.ir_version = 8
    save(m, name + ".onnx")


net("free", "Sinh", [1, 3, "h", "w"])
net("fixed", "Sinh", [1, 3, 48, 64])
net("several", "Sinh", [2, 3, 48, 64])
net("nobody", "Abracadabra", [1, 3, "h", "w"])
P
expect 0 "$UPREZ" model info free.onnx
run 0 free.onnx
mv out.png free.png
for f in fixed several; do
    run 0 $f.onnx
    mv out.png $f.png
    python3 - free.png $f.png <<'P' || bad "$f: tiled is not as untiled"
import subprocess, sys
import numpy as np
a, b = (np.frombuffer(subprocess.run(["ffmpeg", "-v", "error", "-i", f, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                                     stdout=subprocess.PIPE).stdout, np.uint8).astype(int) for f in sys.argv[1:])
print(sys.argv[2], "largest difference of 255:", abs(a - b).max() if len(a) == len(b) else "other size")
sys.exit(not (len(a) == len(b) == 300 * 200 * 3 and abs(a - b).max() <= 1 and a.std() > 10))
P
done
run 4 free.onnx --engine cpu; said "(Sinh)"; one_error
run 4 nobody.onnx; said "Abracadabra"; one_error
finish
