#!/usr/bin/env python3
"""Every model file there is (and three made here), converted into every form there is, and each result run by the program
the form is for: ONNX Runtime, ncnn, PyTorch with spandrel. Prints a table of the largest difference
from the original file in its own program, and exits 1 when one is too large.

usage: convert_matrix.py UPREZ [MODELS [PART]]      (default ../shared/models; names that have PART)

A cell is FOREIGN / BACK: the written file in its own program, and that file converted by uprez into
.onnx again and run by ONNX Runtime, which shows that uprez reads what it writes.
"""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

try:
    import ncnn
    import numpy as np
    import onnx
    import onnxruntime
    import safetensors.torch
    import spandrel
    import torch
except ImportError as e:
    print(f"SKIP: this needs {e.name} (pip install numpy onnx onnxruntime ncnn torch spandrel safetensors)")
    sys.exit(77)

LIMIT = {"fp32": 1e-4, "fp16": 2e-2}  # of a range of 0..1; sums differ in order only
TARGETS = [("onnx", "fp32"), ("onnx", "fp16"), ("safetensors", "fp32"), ("safetensors", "fp16"),
           ("param", "fp32"), ("param", "fp16"), ("pt", "fp32")]  # .pt: TorchScript, through uprez's module
EVEN, ODD = (36, 28), (35, 27)  # ncnn files take multiples of what the network needs, all else any size

onnxruntime.set_default_logger_severity(3)
torch.set_num_threads(2)
torch.set_grad_enabled(False)


def picture(channels, width, height):
    """Waves and grain in 0..1, the same each time."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width]
    p = [0.5 + 0.3 * np.sin(x / (3 + c) + c) * np.cos(y / (4 + c)) for c in range(channels)]
    return np.clip(np.stack(p) + rng.normal(0, 0.03, (channels, height, width)), 0, 1).astype(np.float32)


def run_onnx(path, x):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return session(path, x)


def session(path, x):
    s = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    half = "16" in s.get_inputs()[0].type
    x = x[None].astype(np.float16 if half else np.float32)
    return s.run(None, {s.get_inputs()[0].name: x})[0][0].astype(np.float32)


def run_ncnn(path, x, bin_path=None):
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.opt.use_winograd_convolution = False
    assert net.load_param(path) == 0 and net.load_model(bin_path or path[:-5] + "bin") == 0
    ex = net.create_extractor()
    ex.input(net.input_names()[0], ncnn.Mat(x))
    ret, out = ex.extract(net.output_names()[0])
    assert ret == 0
    return np.array(out)


class ESPCN(torch.nn.Module):
    def __init__(self, state, sigmoid):
        super().__init__()
        w = [state[f"{n}.weight"] for n in ("feature_maps.0", "feature_maps.2", "sub_pixel.0")]
        conv = [torch.nn.Conv2d(t.shape[1], t.shape[0], t.shape[2], padding=t.shape[2] // 2) for t in w]
        self.feature_maps = torch.nn.Sequential(conv[0], torch.nn.Tanh(), conv[1], torch.nn.Tanh())
        self.sub_pixel = torch.nn.Sequential(conv[2], torch.nn.PixelShuffle(int(w[2].shape[0] ** 0.5)))
        self.sigmoid = sigmoid

    def forward(self, x):
        x = self.sub_pixel(self.feature_maps(x))
        return x.sigmoid() if self.sigmoid else x.clamp(0, 1)


class FSRCNN(torch.nn.Module):
    def __init__(self, state, scale):
        super().__init__()

        def layers(prefix):
            out = []
            for i in range(64):
                t = state.get(f"{prefix}.{i}.weight")
                if t is None:
                    break
                out.append(torch.nn.PReLU(t.numel()) if t.ndim == 1 else
                           torch.nn.Conv2d(t.shape[1], t.shape[0], t.shape[2], padding=t.shape[2] // 2))
            return torch.nn.Sequential(*out)
        self.first_part, self.mid_part = layers("first_part"), layers("mid_part")
        w = state["last_part.weight"]
        self.last_part = torch.nn.ConvTranspose2d(w.shape[0], 1, w.shape[2], stride=scale,
                                                  padding=w.shape[2] // 2, output_padding=scale - 1)

    def forward(self, x):
        return self.last_part(self.mid_part(self.first_part(x)))


def run_torch(path, x, facts):
    """spandrel finds the network by its names; the two luma networks it does not know are here."""
    x = torch.from_numpy(x)[None]
    kind = facts["architecture"]
    if "torchscript" in path:
        return torch.jit.load(path, map_location="cpu").float().eval()(x)[0].numpy()
    if kind in ("espcn", "fsrcnn"):
        state = (safetensors.torch.load_file(path) if path.endswith(".safetensors") else
                 torch.load(path, map_location="cpu", weights_only=True))
        state = {k: v.float() for k, v in state.items()}
        net = (ESPCN(state, "sigmoid" in facts["detail"]) if kind == "espcn" else
               FSRCNN(state, int(facts["scale"])))
        net.load_state_dict(state)
        return net.eval()(x)[0].numpy()
    loaded = spandrel.ModelLoader(device="cpu").load_from_file(path)
    net = loaded.model.float().eval()
    h, w = x.shape[2:]
    y = net(x)
    return y[0, :, :h * loaded.scale, :w * loaded.scale].numpy()


def original(path, facts, size):
    """The program, the picture, what the program makes of it."""
    x = picture(facts["channels"], *size)
    if path.endswith(".onnx"):
        fixed = re.search(r"stored for (\d+)x(\d+)", facts["detail"])
        if fixed:
            x = picture(len(x), int(fixed[1]), int(fixed[2]))
        return "ONNX Runtime", x, session(path, x)
    if path.endswith(".param"):
        bin_path = path[:-5] + "bin"
        if not os.path.exists(bin_path):
            bin_path = re.sub(r"-x\d\.param$", ".bin", path)
        return "ncnn", x, run_ncnn(path, x, bin_path)
    return "PyTorch", x, run_torch(path, x, facts)


def made(folder):
    """Kinds of networks of which there is no file, with weights that mean nothing."""
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet  # no public name
    from spandrel.architectures.SPAN.__arch.span import SPAN
    torch.manual_seed(1)
    nets = {"made_rrdbnet_2x_unshuffle.pth": RRDBNet(in_nc=12, num_filters=16, num_blocks=2, scale=4,
                                                     shuffle_factor=2),
            "made_rrdbnet_1x.pth": RRDBNet(num_filters=16, num_blocks=1, scale=1),
            "made_span_2x.pth": SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2)}
    for name, net in nets.items():
        torch.save(net.state_dict(), f"{folder}/{name}")
    return [f"{folder}/{name}" for name in nets]


def number(d):
    return "0" if d == 0 else f"{d:.0e}".replace("e-0", "e-")


def main():
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    uprez = sys.argv[1]
    models = sys.argv[2] if len(sys.argv) > 2 else "../shared/models"
    files = sorted(f for f in glob.glob(models + "/*/*")
                   if f.endswith((".pth", ".pt", ".safetensors", ".onnx", ".param")))
    if not files:
        print(f"SKIP: no models in {models}")
        return 77
    wrong, refusals = [], {}

    def convert(src, dst, *options):
        r = subprocess.run([uprez, "model", "convert", src, dst, "-y", *options], capture_output=True,
                           text=True)
        return r.returncode, r.stderr.strip().split("\n")[-1].removeprefix("uprez: ")

    def refused(reason):
        return "no (" + str(refusals.setdefault(reason, len(refusals) + 1)) + ")"

    print("| file | what | " + " | ".join(f".{e} {p}".replace("param", "param/.bin") for e, p in TARGETS) + " |")
    print("|---|---|" + "---|" * len(TARGETS))
    with tempfile.TemporaryDirectory() as tmp:
        for path in files + made(tmp):
            if len(sys.argv) > 3 and sys.argv[3] not in path:
                continue
            info = subprocess.run([uprez, "model", "info", path, "--json"], capture_output=True, text=True)
            name = os.path.basename(path)
            if info.returncode:
                reason = re.sub(r"^\S*?: ", "", info.stderr.strip().split("\n")[-1].removeprefix("uprez: "))
                print(f"| {name} | not read | " + " | ".join([refused(reason.replace(path, name))] * len(TARGETS)) + " |")
                continue
            facts = json.loads(info.stdout)
            runtime, even, even_want = original(path, facts, EVEN)
            odd, odd_want = original(path, facts, ODD)[1:]
            want = even_want
            clipped = bool(((want == 0) | (want == 1)).any()) and path.endswith(".onnx")
            cells = []
            for ext, precision in TARGETS:
                out = f"{tmp}/out.{ext}"
                x, want = (even, even_want) if ext == "param" else (odd, odd_want)
                code, said = convert(path, out, "--" + precision)
                if code == 4 or code == 5:
                    cells.append(refused(re.sub(r"^(the weights )?\S*?:? (has|can|is) ", r"\2 ", said)))
                    continue
                try:
                    assert code == 0, said
                    run = {"onnx": run_onnx, "param": run_ncnn,
                           "safetensors": lambda p, v: run_torch(p, v, facts),
                           "pt": lambda p, v: torch.jit.load(p)(torch.from_numpy(v[None]))[0].numpy()}[ext]
                    got = run(out, x)
                    if ext == "pt":  # a program, which nothing reads back
                        d = float(np.abs(np.clip(got, 0, 1) - np.clip(want, 0, 1)).max())
                        if not d <= LIMIT["fp16" if facts["half"] and runtime != "PyTorch" else precision]:
                            wrong.append(f"{name} as .pt: {d}")
                        cells.append(number(d))
                        continue
                    code, said = convert(out, f"{tmp}/back.onnx", "--fp32")
                    assert code == 0, said
                    back = session(f"{tmp}/back.onnx", x)
                    if clipped:
                        got, back = np.clip(got, 0, 1), np.clip(back, 0, 1)
                    d = [float(np.abs(v - want).max()) if v.shape == want.shape else np.inf for v in (got, back)]
                    # a file of halves was rounded before, and its own program computes in halves
                    limit = LIMIT["fp16" if facts["half"] and runtime != "PyTorch" else precision]
                    if not max(d) <= limit:
                        wrong.append(f"{name} as .{ext} {precision}: {d}")
                    cells.append(f"{number(d[0])} / {number(d[1])}")
                except Exception as e:  # every kind of failure of every program is a row of the table
                    wrong.append(f"{name} as .{ext} {precision}: {type(e).__name__}: {str(e)[:200]}")
                    cells.append("FAILED")
            print(f"| {name} | {facts['architecture']} {facts['scale']:g}x, {runtime} | " + " | ".join(cells) + " |",
                  flush=True)
    print()
    for reason, k in refusals.items():
        print(f"({k}) {reason}")
    print(f"\nonnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}, ncnn {ncnn.__version__}, "
          f"torch {torch.__version__}, spandrel {spandrel.__version__}; pictures of {ODD[0]}x{ODD[1]}, "
          f"for ncnn of {EVEN[0]}x{EVEN[1]}")
    for w in wrong:
        print("WRONG:", w)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
