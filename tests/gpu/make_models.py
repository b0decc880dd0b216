#!/usr/bin/env python3
"""Networks of the usual shapes with weights from a seed, as safetensors: what the GPU tests run when no real
ones are there. Weights keep the signal's size from layer to layer, so half precision is used as in real ones.

usage: make_models.py FOLDER"""
import json
import math
import os
import struct
import sys

import numpy as np

rng = np.random.default_rng(20261121)


def conv(t, name, cin, cout, gain=1.0, k=3):
    t[name + ".weight"] = rng.normal(0, gain / math.sqrt(cin * k * k), (cout, cin, k, k))
    t[name + ".bias"] = rng.normal(0, 0.02, cout)


def srvgg(width, depth, scale):
    t = {}
    conv(t, "body.0", 3, width)
    t["body.1.weight"] = rng.uniform(0.05, 0.4, width)
    for i in range(depth):
        conv(t, f"body.{2 * i + 2}", width, width, 1.3)
        t[f"body.{2 * i + 3}.weight"] = rng.uniform(0.05, 0.4, width)
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
    t["conv_last.bias"] += 0.5
    return t


def save(path, tensors):
    header, at = {}, 0
    arrays = {k: np.ascontiguousarray(v, np.float32) for k, v in tensors.items()}
    for k, v in arrays.items():
        header[k] = {"dtype": "F32", "shape": list(v.shape), "data_offsets": [at, at + v.nbytes]}
        at += v.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for v in arrays.values():
            f.write(v.tobytes())


if len(sys.argv) != 2:
    sys.exit(__doc__)
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
save(os.path.join(out, "general.safetensors"), srvgg(64, 32, 4))
save(os.path.join(out, "anime.safetensors"), srvgg(64, 16, 4))
save(os.path.join(out, "light.safetensors"), srvgg(24, 8, 2))
save(os.path.join(out, "wide.safetensors"), srvgg(96, 4, 3))
save(os.path.join(out, "plain.safetensors"), srvgg(64, 2, 1))
save(os.path.join(out, "x4plus.safetensors"), rrdbnet(23, 4))
save(os.path.join(out, "x2plus.safetensors"), rrdbnet(23, 2))
save(os.path.join(out, "anime6b.safetensors"), rrdbnet(6, 4))
save(os.path.join(out, "small4.safetensors"), rrdbnet(1, 4))
save(os.path.join(out, "small2.safetensors"), rrdbnet(1, 2))
save(os.path.join(out, "small1.safetensors"), rrdbnet(1, 1))
