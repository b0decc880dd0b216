#!/usr/bin/env python3
"""Quality of models by the field's protocol, computed from the pictures that uprez writes.

    bench/psnr.py build/cli/uprez 2 FOLDER... [-m MODEL]... [--json FILE]

Each picture of a folder is reduced by MATLAB's bicubic, stored as PNG, enlarged by the command with
each model, and compared with the picture: PSNR and SSIM on BT.601 luma, `scale` pixels cut off each
side. Needs NumPy and Pillow.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tools/train"))
import pictures  # noqa: E402


def gaussian(im, size=11, sigma=1.5):
    k = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    k /= k.sum()
    im = np.apply_along_axis(np.convolve, 0, im, k, "valid")
    return np.apply_along_axis(np.convolve, 1, im, k, "valid")


def ssim(a, b):
    """Wang et al., 2004: an 11x11 Gaussian window, whole windows only."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = gaussian(a), gaussian(b)
    va, vb = gaussian(a * a) - ma * ma, gaussian(b * b) - mb * mb
    cov = gaussian(a * b) - ma * mb
    return float(np.mean((2 * ma * mb + c1) * (2 * cov + c2) /
                         ((ma * ma + mb * mb + c1) * (va + vb + c2))))


def compare(out, true, scale):
    a, b = (np.round(pictures.luma(x))[scale:-scale, scale:-scale] for x in (out, true))
    return 10 * np.log10(255 ** 2 / np.mean((a - b) ** 2)), ssim(a, b)


def measure(uprez, model, scale, paths, tmp):
    rows = []
    for path in paths:
        true = pictures.modcrop(pictures.read_rgb(path), scale)
        small, big = (os.path.join(tmp, n) for n in ("small.png", "big.png"))
        Image.fromarray(pictures.to_bytes(pictures.resize(true, 1 / scale))).save(small)
        subprocess.run([uprez, "-q", "-y", "-m", model, "-s", str(scale), small, big], check=True)
        rows.append(compare(pictures.read_rgb(big), true, scale))
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("uprez")
    p.add_argument("scale", type=int)
    p.add_argument("folders", nargs="+")
    p.add_argument("-m", "--model", action="append")
    p.add_argument("--json")
    a = p.parse_args()
    models = a.model or ["lanczos", "bicubic", f"uprez-fast-{a.scale}x"]
    result = []
    print(f"{'folder':14} {'pictures':>8} {'model':44} {'PSNR':>7} {'SSIM':>7}")
    with tempfile.TemporaryDirectory() as tmp:
        for folder in a.folders:
            paths = pictures.pictures_in(folder)
            for m in models:
                rows = measure(a.uprez, m, a.scale, paths, tmp)
                db, s = (float(np.mean([r[i] for r in rows])) for i in (0, 1))
                name = os.path.basename(os.path.normpath(folder))
                print(f"{name:14} {len(paths):8} {m[-44:]:44} {db:7.3f} {s:7.4f}", flush=True)
                result.append({"folder": name, "pictures": len(paths), "model": m, "scale": a.scale,
                               "psnr": round(db, 4), "ssim": round(s, 5),
                               "each": [round(float(r[0]), 3) for r in rows]})
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
