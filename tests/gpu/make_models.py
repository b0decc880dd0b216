#!/usr/bin/env python3
"""Networks of the usual shapes with weights from a seed, as safetensors: what the GPU tests run when no real
ones are there. Weights keep the signal's size from layer to layer, so half precision is used as in real ones.

usage: make_models.py FOLDER [NAME…]
  NAME  of those at the end of this file; default: all that are not tiny

Without numpy the same shapes with other weights, slowly."""
import array
import json
import math
import os
import random
import struct
import sys

try:
    import numpy as np
except ImportError:
    np = None


def normal(deviation, *shape):
    n = math.prod(shape)
    if np:
        return shape, rng.normal(0, deviation, n).astype(np.float32)
    return shape, array.array("f", (rng.gauss(0, deviation) for _ in range(n)))


def slopes(n):
    return (n,), array.array("f", (0.05 + 0.35 * i / n for i in range(n)))


def conv(t, name, cin, cout, gain=1.0, k=3):
    t[name + ".weight"] = normal(gain / math.sqrt(cin * k * k), cout, cin, k, k)
    t[name + ".bias"] = normal(0.02, cout)


def srvgg(width, depth, scale):
    t = {}
    conv(t, "body.0", 3, width)
    t["body.1.weight"] = slopes(width)
    for i in range(depth):
        conv(t, f"body.{2 * i + 2}", width, width, 1.3)
        t[f"body.{2 * i + 3}.weight"] = slopes(width)
    conv(t, f"body.{2 * depth + 2}", width, 3 * scale * scale, 0.1)
    return t


def rrdbnet(blocks, scale, width=64, growth=32):
    t = {}
    conv(t, "conv_first", {4: 3, 2: 12, 1: 48}[scale], width)
    for b in range(blocks):
        for r in range(1, 4):
            for c in range(5):
                conv(t, f"body.{b}.rdb{r}.conv{c + 1}", width + c * growth, growth if c < 4 else width,
                     1.2 if c < 4 else 0.6)
    conv(t, "conv_body", width, width)
    for name in ("conv_up1", "conv_up2", "conv_hr"):
        conv(t, name, width, width, 1.2)
    conv(t, "conv_last", width, 3, 0.3)
    t["conv_last.bias"] = (3,), array.array("f", [0.5 + x for x in t["conv_last.bias"][1]])
    return t


def save(path, tensors):
    header, at = {}, 0
    for k, (shape, v) in tensors.items():
        header[k] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + 4 * len(v)]}
        at += 4 * len(v)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for shape, v in tensors.values():
            f.write(v.tobytes())


networks = {
    "general": lambda: srvgg(64, 32, 4),
    "anime": lambda: srvgg(64, 16, 4),
    "light": lambda: srvgg(24, 8, 2),
    "wide": lambda: srvgg(96, 4, 3),
    "plain": lambda: srvgg(64, 2, 1),
    "x4plus": lambda: rrdbnet(23, 4),
    "x2plus": lambda: rrdbnet(23, 2),
    "anime6b": lambda: rrdbnet(6, 4),
    "small4": lambda: rrdbnet(1, 4),
    "small2": lambda: rrdbnet(1, 2),
    "small1": lambda: rrdbnet(1, 1),
    "tiny2": lambda: srvgg(16, 1, 2),
    "tiny1": lambda: srvgg(16, 1, 1),
}
if len(sys.argv) < 2 or any(name not in networks for name in sys.argv[2:]):
    sys.exit(__doc__)
os.makedirs(sys.argv[1], exist_ok=True)
for name in sys.argv[2:] or [n for n in networks if not n.startswith("tiny")]:
    # a seed each, so that one alone is as among all
    seed = sum(name.encode()) + 20261121
    rng = np.random.default_rng(seed) if np else random.Random(seed)
    save(os.path.join(sys.argv[1], name + ".safetensors"), networks[name]())
