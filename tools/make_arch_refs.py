#!/usr/bin/env python3
"""Writes tests/data/arch/*.txt: small networks with generated weights, and samples of what
PyTorch (spandrel's modules) makes of a generated picture in fp32.

Weights and pictures come from one linear congruential generator, seeded by FNV-1a of the name, so
that the test makes the same numbers itself. Run: python3 tools/make_arch_refs.py
"""
import math
import pathlib

import numpy as np
import spandrel
import torch
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.SPAN import SPAN

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/data/arch"
SAMPLES = 40


def numbers(name, n, gain):
    """n values in -gain … gain."""
    seed = 2166136261
    for c in name.encode():
        seed = (seed ^ c) * 16777619 & 0xFFFFFFFF
    out = np.empty(n, np.float32)
    for i in range(n):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = np.float32(gain) * (np.float32(seed >> 8) / np.float32(8388608) - np.float32(1))
    return out


def gain_of(name, shape):
    if len(shape) == 4:
        return round(math.sqrt(3 / (shape[1] * shape[2] * shape[3])), 6)
    return 0.25 if name.endswith("weight") else 0.05


# names as each file style has them, from spandrel's module names (model.1.sub.N.RDBM.convK.0)
def basicsr(name, blocks, ups):
    return rename(name, blocks, ups, "body.{}.rdb{}.conv{}", "conv_body", "conv_up{}", "conv_hr")


def esrgan(name, blocks, ups):
    return rename(name, blocks, ups, "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv{}", "HRconv")


def rename(name, blocks, ups, dense, body, up, hr):
    parts, end = name.split("."), name.rsplit(".", 1)[1]
    if parts[1] == "1" and int(parts[3]) < blocks:
        return dense.format(parts[3], parts[4][3:], parts[5][4:]) + "." + end
    if parts[1] == "1":
        return f"{body}.{end}"
    i = int(parts[1])
    if i == 0:
        return f"conv_first.{end}"
    if i <= 3 * ups:
        return up.format(i // 3) + "." + end
    return f"{hr if i == 3 * ups + 2 else 'conv_last'}.{end}"


def case(name, net, expect, rename=lambda k: k, size=(10, 8), channels=3, skip=()):
    state, lines = net.state_dict(), []
    with torch.no_grad():
        for key, t in state.items():
            if key.endswith("no_norm"):
                lines.append(f"tensor {key} 0 1 1")
                continue
            file_key, gain = rename(key), gain_of(key, tuple(t.shape))
            t.copy_(torch.from_numpy(numbers(file_key, t.numel(), gain)).reshape(t.shape))
            if not any(s in key for s in skip):
                lines.append(f"tensor {file_key} {gain} {t.dim()} " + " ".join(map(str, t.shape)))
        net.eval()
        w, h = size
        x = torch.from_numpy(numbers("input", channels * h * w, 0.5) + np.float32(0.5))
        y = net(x.reshape(1, channels, h, w)).numpy().reshape(-1)
    step = len(y) // SAMPLES | 1
    samples = [f"sample {i} {y[i]:.9g}" for i in range(0, len(y), step)]
    head = [
        f"# made by tools/make_arch_refs.py: torch {torch.__version__}, spandrel "
        f"{spandrel.__version__}, numpy {np.__version__}",
        f"input {channels} {h} {w}",
        f"expect {expect}",
    ]
    (OUT / f"{name}.txt").write_text("\n".join(head + lines + samples) + "\n")
    print(name, expect, f"range {y.min():.3f} … {y.max():.3f}")


def rrdb(name, style, scale, front, blocks=2):
    ups = int(math.log2(scale))
    net = ESRGAN(in_nc=3 * front * front, out_nc=3, num_filters=8, num_blocks=blocks, scale=scale,
                 shuffle_factor=front if front > 1 else None)
    keep = {"basicsr": basicsr, "esrgan": esrgan}.get(style)
    case(name, net, f"rrdbnet {scale}/{front} {front}",
         (lambda k: keep(k, blocks, ups)) if keep else (lambda k: k), size=(12, 8))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for scale in (1, 2, 3, 4):
        net = Compact(num_in_ch=3, num_out_ch=3, num_feat=12, num_conv=scale, upscale=scale)
        case(f"srvgg_x{scale}", net, f"srvgg {scale}/1 1")
    net = Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2)
    case("srvgg_luma", net, "srvgg 2/1 1", channels=1)
    rrdb("rrdb_basicsr_x4", "basicsr", 4, 1)
    rrdb("rrdb_esrgan_x4", "esrgan", 4, 1)
    rrdb("rrdb_old_x4", "old", 4, 1, blocks=1)
    rrdb("rrdb_old_x2", "old", 2, 1, blocks=1)
    rrdb("rrdb_old_x1", "old", 1, 1, blocks=3)
    rrdb("rrdb_old_x8", "old", 8, 1, blocks=1)
    rrdb("rrdb_x2plus", "basicsr", 4, 2)
    rrdb("rrdb_x1_front4", "basicsr", 4, 4)
    kw = dict(num_in_ch=3, num_out_ch=3)
    case("span_x4", SPAN(feature_channels=12, upscale=4, **kw), "span 4/1 1")
    case("span_x2_no_norm", SPAN(feature_channels=8, upscale=2, norm=False, **kw), "span 2/1 1")


if __name__ == "__main__":
    main()
