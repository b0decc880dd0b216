#!/usr/bin/env python3
"""What the card can do and what PyTorch makes of the same networks, for tests/gpu/go.sh and measure.sh.

usage: torch_rate.py floors | eager | compile | psnr A B FORMAT
  floors  one matrix product and one copy: TFLOP/s and bytes/s, the measured ceilings
  eager   general-x4v3's and animevideov3's shapes in fp16, channels-last, with cuDNN's own choice of kernels: as
          they stand, and as a CUDA graph
  compile the same by torch.compile (max-autotune)
  psnr    two raw files; exit 1 below 40 dB"""
import array
import json
import math
import operator
import sys
import time


def median(x):
    return sorted(x)[len(x) // 2]


def timed(f, n=20, rounds=5):
    import torch
    f()
    torch.cuda.synchronize()
    out = []
    for _ in range(rounds):
        begin = time.monotonic()
        for _ in range(n):
            f()
        torch.cuda.synchronize()
        out.append((time.monotonic() - begin) / n)
    return median(out)


def floors():
    import torch
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    x = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    y = torch.empty_like(x)
    product, copy = timed(lambda: a @ b), timed(lambda: y.copy_(x))
    print(json.dumps({"floors": torch.cuda.get_device_name(), "torch": torch.__version__,
                      "matmul_tflops": 2 * 8192 ** 3 / product * 1e-12, "copy_tbytes_s": 2 * x.numel() / copy * 1e-12}))


def net(depth, scale):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [nn.Conv2d(3, 64, 3, 1, 1), nn.PReLU(64)]
            for _ in range(depth):
                layers += [nn.Conv2d(64, 64, 3, 1, 1), nn.PReLU(64)]
            self.body = nn.Sequential(*layers, nn.Conv2d(64, 3 * scale * scale, 3, 1, 1))
            self.shuffle = nn.PixelShuffle(scale)

        def forward(self, x):
            base = nn.functional.interpolate(x, scale_factor=scale, mode="nearest")
            return self.shuffle(self.body(x)) + base

    return Net().cuda().half().eval().to(memory_format=torch.channels_last)


def nets(rates):
    """A row of JSON after each number: what has been measured stays when the time ends."""
    import torch
    torch.backends.cudnn.benchmark = True
    for name, depth, w, h in (("general-x4v3", 32, 1280, 720), ("animevideov3", 16, 1920, 1080)):
        model = net(depth, 4)
        x = torch.rand(1, 3, h, w, device="cuda", dtype=torch.float16).contiguous(memory_format=torch.channels_last)
        flop = 2 * (3 * 64 + depth * 64 * 64 + 64 * 48) * 9 * w * h
        with torch.inference_mode():
            for what, make in rates.items():
                row = {"torch": name, "how": what, "width": w, "height": h, "gflop": flop * 1e-9}
                try:
                    run = make(model, x)
                    row["fps"] = 1 / timed(run, 10, 3)
                    row["tflops"] = flop * row["fps"] * 1e-12
                except Exception as e:  # a row is better than none
                    row["error"] = str(e)[:200]
                print(json.dumps(row), flush=True)


def plain(model, x):
    return lambda: model(x)


def graph(model, x):
    """The same launches, recorded once."""
    import torch
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            model(x)
    torch.cuda.synchronize()
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        model(x)
    return g.replay


def compiled(model, x):
    import torch
    fast = torch.compile(model, mode="max-autotune")
    return lambda: fast(x)


def psnr(a, b, fmt):
    """Without numpy, which may be absent."""
    kind, peak = ("H", 65535 if fmt == "p010le" else 1023) if "10" in fmt else ("B", 255)
    x, y = (array.array(kind, open(f, "rb").read()) for f in (a, b))
    if len(x) != len(y) or not x:
        sys.exit(f"{len(x)} and {len(y)} samples")
    most = squares = 0
    for i in range(0, len(x), 1 << 20):
        d = list(map(operator.sub, x[i:i + (1 << 20)], y[i:i + (1 << 20)]))
        most = max(most, max(d), -min(d))
        squares += sum(map(operator.mul, d, d))
    db = 10 * math.log10(peak ** 2 * len(x) / squares) if squares else 200.0
    print(json.dumps({"psnr": db, "format": fmt, "most": most}))
    sys.exit(db < 40)


if sys.argv[1:] == ["floors"]:
    floors()
elif sys.argv[1:] == ["eager"]:
    nets({"eager": plain, "graph": graph})
elif sys.argv[1:] == ["compile"]:
    nets({"compile": compiled})
elif len(sys.argv) == 5 and sys.argv[1] == "psnr":
    psnr(*sys.argv[2:])
else:
    sys.exit(__doc__)
