#!/usr/bin/env python3
"""Networks with random weights exported to ONNX by PyTorch's two exporters, in several operator sets, with
free and fixed sizes and batches of four; each read by uprez, written again, and both run by ONNX Runtime.
What uprez does not read must be named in the sentence that refuses it. Prints a table, exits 1 on a
difference or on an unexpected refusal.

usage: onnx_exports.py UPREZ [PART]      (only networks whose names have PART)
"""
import contextlib
import io
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings

try:
    import numpy as np
    import onnxruntime
    import torch
    import torch.nn.functional as F
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact  # no public names
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet
    from spandrel.architectures.SPAN.__arch.span import SPAN
    from torch import nn
except ImportError as e:
    print(f"SKIP: this needs {e.name} (pip install numpy onnx onnxruntime onnxscript torch spandrel)")
    sys.exit(77)

LIMIT = 1e-4
OPSETS = {"legacy": (16, 17, 18, 20), "dynamo": (18, 20)}
AXES = ("free", "fixed", "batch")


def conv(a, b, k=3, **more):
    return nn.Conv2d(a, b, k, padding=more.pop("padding", k // 2), **more)


class ESPCN(nn.Module):
    def __init__(self, act, channels=3, scale=2):
        super().__init__()
        self.front, self.middle = conv(channels, 16, 5), conv(16, 8)
        self.back, self.up, self.act = conv(8, channels * scale ** 2), nn.PixelShuffle(scale), act

    def forward(self, x):
        return torch.clamp(self.up(self.back(self.act(self.middle(self.act(self.front(x)))))), 0, 1)


class Padded(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode, self.a, self.b = mode, conv(3, 16, 5, padding=0), conv(16, 12, padding=0)

    def forward(self, x):
        x = F.pad(torch.relu(self.a(F.pad(x, (2,) * 4, mode=self.mode))), (1,) * 4)
        return F.pixel_shuffle(self.b(x), 2)


class Unshuffled(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f, self.a, self.b = f, conv(3 * f * f, 16), conv(16, 3 * f * f)

    def forward(self, x):
        y = self.b(F.leaky_relu(self.a(F.pixel_unshuffle(x, self.f))))
        return F.pixel_shuffle(y, self.f) + x


class Skip(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.a, self.b, self.mode = conv(3, 16), conv(16, 12), mode

    def forward(self, x):
        how = {} if self.mode == "nearest" else {"align_corners": False}
        big = F.interpolate(x, scale_factor=2, mode=self.mode, **how)
        return F.pixel_shuffle(self.b(F.relu(self.a(x))), 2) + big


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.line, self.b = conv(3, 16), nn.Linear(16, 16), conv(16, 12)

    def forward(self, x):
        y = self.a(x)
        return F.pixel_shuffle(self.b(y * torch.sigmoid(self.line(y.mean((2, 3))))[:, :, None, None]), 2)


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm = conv(3, 16), nn.BatchNorm2d(16)
        self.b = nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1)

    def forward(self, x):
        c, d = torch.chunk(self.norm(self.a(x)), 2, 1)
        return self.b(torch.cat((c * d, d), 1))


class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(nn.ZeroPad2d(1), conv(3, 16, padding=0), nn.LeakyReLU(0.1), nn.ZeroPad2d(1),
                         conv(16, 12, padding=0), nn.PixelShuffle(2))


def tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


NETS = {  # name: how to make it, the operator that is not read (of one of them, any)
    "compact x4": (lambda: SRVGGNetCompact(num_feat=16, num_conv=4, upscale=4), None),
    "compact x1": (lambda: SRVGGNetCompact(num_feat=16, num_conv=4, upscale=1), None),
    "rrdbnet x4": (lambda: RRDBNet(num_filters=16, num_blocks=1, scale=4), None),
    "rrdbnet x2": (lambda: RRDBNet(in_nc=12, num_filters=16, num_blocks=1, scale=4, shuffle_factor=2), None),
    "rrdbnet x1": (lambda: RRDBNet(in_nc=48, num_filters=16, num_blocks=1, scale=4, shuffle_factor=4), None),
    "span x2": (lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2), None),
    "span x2 without norm": (lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2, norm=False),
                             None),
    "espcn luma x3": (lambda: ESPCN(torch.tanh, 1, 3), None),
    "espcn gelu": (lambda: ESPCN(F.gelu), None),
    "espcn gelu by tanh": (lambda: ESPCN(tanh_gelu), None),
    "espcn silu": (lambda: ESPCN(F.silu), None),
    "espcn hardswish": (lambda: ESPCN(F.hardswish), None),
    "espcn relu6": (lambda: ESPCN(F.relu6), None),
    "espcn elu": (lambda: ESPCN(F.elu), "Elu"),
    "espcn mish": (lambda: ESPCN(F.mish), "Softplus Mish"),
    "padded by zeros": (lambda: Padded("constant"), None),
    "padded by reflection": (lambda: Padded("reflect"), "Pad"),
    "padded by edges": (lambda: Padded("replicate"), "Pad"),
    "ZeroPad2d": (Plain, None),
    "unshuffle 2": (lambda: Unshuffled(2), None),
    "unshuffle 3": (lambda: Unshuffled(3), None),
    "nearest skip": (lambda: Skip("nearest"), None),
    "bilinear skip": (lambda: Skip("bilinear"), None),
    "bicubic skip": (lambda: Skip("bicubic"), None),
    "transposed": (Transposed, None),
    "channel attention": (Attention, "ReduceMean GlobalAveragePool"),
}


def export(name, exporter, opset, axes, path):
    """In a process of its own: the newer exporter has crashed with some."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.manual_seed(1)
    net = NETS[name][0]().eval()
    for p in net.parameters():
        p.requires_grad_(False)
    x = torch.rand(4 if axes == "batch" else 1, 1 if "luma" in name else 3, 24, 36)
    how = {"opset_version": opset, "input_names": ["input"], "output_names": ["output"]}
    if exporter == "legacy":
        how["dynamo"] = False
        if axes == "free":
            how["dynamic_axes"] = {"input": {0: "n", 2: "h", 3: "w"}, "output": {0: "n", 2: "H", 3: "W"}}
    else:
        how.update(dynamo=True, external_data=False, verbose=False)
        if axes == "free":
            how["dynamic_shapes"] = ({2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(net, (x,), path, **how)


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def compare(path, back):
    """Largest difference at the sizes that the original itself takes."""
    a, b = session(path), session(back)
    shape, worst, ran = a.get_inputs()[0].shape, 0, 0
    batch = shape[0] if isinstance(shape[0], int) else 1
    for h, w in ((24, 36), (48, 60), (25, 37)) if not isinstance(shape[2], int) else ((24, 36),):
        x = np.random.default_rng(1).random((batch, shape[1], h, w), np.float32)
        try:
            want = a.run(None, {"input": x})[0]
        except Exception:  # a size it does not take: whatever kind ONNX Runtime raises
            continue
        got = b.run(None, {"input": x})[0]
        worst = max(worst, float(np.abs(got - want).max()) if got.shape == want.shape else np.inf)
        ran += 1
    assert ran, "no size ran"
    return worst


def check(uprez, name, path, back):
    """What to print, and whether it is as it should be."""
    unread = NETS[name][1]
    info = subprocess.run([uprez, "model", "info", path, "--json"], capture_output=True, text=True)
    done = subprocess.run([uprez, "model", "convert", path, back, "-y", "-q"], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().split("\n")[-1]
        named = unread is not None and any(f"({op})" in said for op in unread.split())
        return "refused, " + said[said.find("("):said.find(")") + 1], done.returncode == 4 and named
    if info.returncode or json.loads(info.stdout)["scale"] < 1:
        return "info: " + info.stderr, False
    d = compare(path, back)
    return f"{d:.0e}", d <= LIMIT


def main():
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    onnxruntime.set_default_logger_severity(4)
    forms = [(e, o, a) for e, opsets in OPSETS.items() for o in opsets for a in AXES]
    wrong, context = [], multiprocessing.get_context("fork")
    print("| network | " + " | ".join(f"{e} {o} {a}" for e, o, a in forms) + " |\n|---|" + "---|" * len(forms))
    with tempfile.TemporaryDirectory() as tmp:
        for name in NETS:
            if len(sys.argv) > 2 and sys.argv[2] not in name:
                continue
            cells = []
            for form in forms:
                path = f"{tmp}/{len(cells)}.onnx"
                p = context.Process(target=export, args=(name, *form, path))
                with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                    p.start()
                    p.join()
                if p.exitcode or not os.path.exists(path):
                    cells.append("not exported")
                    continue
                text, right = check(sys.argv[1], name, path, f"{tmp}/back.onnx")
                cells.append(text)
                if not right:
                    wrong.append(f"{name}, {form}: {text}")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\ntorch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    for w in wrong:
        print("WRONG:", w)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
