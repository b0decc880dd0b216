"""Training and validation pictures: reading, BT.601 luma, and the field's bicubic reduction.

The reduction follows MATLAB's imresize (Keys' cubic with a = -0.5, widened by the scale, mirrored
edges, 8-bit result), because published PSNR figures of super-resolution networks are all taken on
pictures that were reduced this way.
"""
import csv
import os
import re
import zlib

import numpy as np
from PIL import Image

# Licences that ask for the same terms of what is made from a picture, or may do so.
SHARE_ALIKE = re.compile(r"\bSA\b|GPL|Free Art|GFDL,")


def read_rgb(path):
    """An 8-bit RGB picture as (height, width, 3)."""
    with Image.open(path) as im:
        return np.asarray(im.convert("RGB"))


def luma(rgb):
    """BT.601 luma in studio range of 8-bit RGB, as floating point 16..235 without rounding."""
    return 16.0 + rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255.0


def _cubic(x):
    x = np.abs(x)
    return np.where(x <= 1, 1.5 * x ** 3 - 2.5 * x ** 2 + 1,
                    np.where(x < 2, -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2, 0))


def _weights(size, factor):
    """Source indices and weights of every output sample of one axis."""
    out = int(np.ceil(size * factor))
    width = 4 / min(factor, 1)
    centre = (np.arange(out) + 0.5) / factor - 0.5
    first = np.floor(centre - width / 2).astype(int) + 1
    index = first[:, None] + np.arange(int(np.ceil(width)) + 1)[None]
    scale = min(factor, 1)
    w = scale * _cubic(scale * (centre[:, None] - index))
    w /= w.sum(1, keepdims=True)
    mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])
    return mirrored[index % (2 * size)], w


def resize(im, factor):
    """MATLAB's bicubic imresize of (height, width[, channels]); not rounded."""
    im = im.astype(np.float64)
    for axis in (0, 1):
        index, w = _weights(im.shape[axis], factor)
        picked = np.take(im, index, axis=axis)
        shape = [1] * picked.ndim
        shape[axis], shape[axis + 1] = w.shape
        im = (picked * w.reshape(shape)).sum(axis + 1)
    return im


def to_bytes(im):
    return np.clip(np.round(im), 0, 255).astype(np.uint8)


def modcrop(im, scale):
    h, w = im.shape[:2]
    return im[:h - h % scale, :w - w % scale]


def listed(folder, terms="free"):
    """Rows of a training folder's MANIFEST.tsv outside val/: terms "free" leaves share-alike out."""
    with open(os.path.join(folder, "MANIFEST.tsv"), newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [r for r in rows if not r["file"].startswith("val/")]
    if terms == "free":
        rows = [r for r in rows if not SHARE_ALIKE.search(r["licence"])]
    return rows


def pictures_in(folder):
    names = sorted(n for n in os.listdir(folder)
                   if n.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".bmp")))
    return [os.path.join(folder, n) for n in names]


def planes(rgb, colour):
    """(C, H, W): luma 16..235, or with `colour` RGB 0..255."""
    return rgb.astype(np.float64).transpose(2, 0, 1) if colour else luma(rgb)[None]


def pair(rgb, scale, colour=False):
    """A picture's reduction and the picture itself, each (C, H, W), not rounded where luma."""
    big = modcrop(rgb, scale)
    return planes(to_bytes(resize(big, 1 / scale)), colour), planes(big, colour)


class Pairs:
    """Crops of reduced and true pictures, drawn at random.

    Pairs are kept in 16 bits (1/256 of a grey level) and cached in one file, so that the next start
    takes seconds. Each folder has a weight and each picture of a folder a chance in proportion to
    its area: a folder with many files does not rule the others. Every picture is there at several
    sizes: many photographs are soft at their full size, and a reduced one has more and sharper edges
    in a crop.
    """

    SIZES = (1, 0.7, 0.5)
    LEAST = 160  # pixels of the shorter side that a reduced picture must have

    def __init__(self, folder, scale, cache, weights=None, terms="free", colour=False):
        rows = listed(folder, terms)
        key = zlib.crc32(repr(([r["file"] for r in rows], scale, colour, self.SIZES)).encode())
        path = os.path.join(cache, f"pairs-{scale}x-{key:08x}.npz")
        if not os.path.exists(path):
            made = []
            for r in rows:
                rgb = read_rgb(os.path.join(folder, r["file"]))
                for size in self.SIZES:
                    if size == 1 or min(rgb.shape[:2]) * size >= self.LEAST:
                        now = rgb if size == 1 else to_bytes(resize(rgb, size))
                        made.append((r["file"].split("/")[0], *pair(now, scale, colour)))
            save_pairs(path, made)
        self.fill([path], scale, weights)

    def fill(self, paths, scale, weights):
        self.scale = scale
        kinds, self.small, self.big = [], [], []
        for path in paths:
            more, small, big = load_pairs(path)
            kinds += list(more)
            self.small += small
            self.big += big
        self.chance = chances(np.array(kinds), [x.size for x in self.small], weights)

    @classmethod
    def cached(cls, paths, scale, weights):
        """Of pairs that were made before."""
        new = cls.__new__(cls)
        new.fill(paths, scale, weights)
        return new

    def __len__(self):
        return len(self.small)

    def one(self, rng, size):
        """A pair that is large enough for a crop."""
        for _ in range(1000):
            k = int(np.searchsorted(self.chance, rng.random()))
            if min(self.small[k].shape[1:]) >= size:
                return self.small[k], self.big[k]
        raise SystemExit(f"train: the pictures are too small for crops of {size} pixels; give a smaller "
                         "--patch")

    def draw(self, rng, batch, size):
        """`batch` crops of `size` px before and `size * scale` px behind, float 0..1."""
        s, c = self.scale, self.small[0].shape[0]
        x = np.empty((batch, c, size, size), np.float32)
        y = np.empty((batch, c, size * s, size * s), np.float32)
        for i in range(batch):
            a, b = self.one(rng, size)
            r = rng.integers(a.shape[1] - size + 1)
            q = rng.integers(a.shape[2] - size + 1)
            a = a[:, r:r + size, q:q + size]
            b = b[:, r * s:(r + size) * s, q * s:(q + size) * s]
            turn = rng.integers(8)
            if turn & 1:
                a, b = a[:, ::-1], b[:, ::-1]
            if turn & 2:
                a, b = a[:, :, ::-1], b[:, :, ::-1]
            if turn & 4:
                a, b = a.transpose(0, 2, 1), b.transpose(0, 2, 1)
            x[i], y[i] = a, b
        return self.levels(rng, x / 256, y / 256)

    def levels(self, rng, x, y):
        """Nine crops of ten with less contrast at another brightness: pictures have so much black that a
        network pulls near-black to it otherwise, which makes steps in dark skies."""
        low, high = (16, 235) if x.shape[1] == 1 else (0, 255)
        for i in range(len(x)):
            if rng.random() < 0.9:
                gain = rng.uniform(0.4, 1)
                base = low + rng.uniform(0, (1 - gain) * (high - low))
                x[i], y[i] = (base + gain * (v - low) for v in (x[i], y[i]))
        return x / 255, y / 255


def save_pairs(path, made):
    """made: (kind, small, big), the planes 0..255."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}.npz"
    made = list(made)
    np.savez(temporary, kinds=[m[0] for m in made],
             **{f"{n}{i}": np.round(m[j] * 256).astype(np.uint16)
                for i, m in enumerate(made) for j, n in ((1, "s"), (2, "b"))})
    os.replace(temporary, path)


def load_pairs(path):
    data = np.load(path)
    n = len(data["kinds"])
    return data["kinds"], [data[f"s{i}"] for i in range(n)], [data[f"b{i}"] for i in range(n)]


def chances(kinds, areas, weights):
    """Rising sums of each picture's chance: a folder's weight, shared by area."""
    area = np.array(areas, float)
    for kind in set(kinds):
        here = kinds == kind
        area[here] *= (weights or {}).get(str(kind), 1.0) / area[here].sum()
    return np.cumsum(area / area.sum())


class Validation:
    """Whole pictures with their reductions. PSNR as the field measures it: luma, `scale` pixels cut
    off each side, 8 bits."""

    def __init__(self, pairs, names, scale):
        self.pairs, self.names, self.scale = pairs, names, scale

    @classmethod
    def clean(cls, paths, scale, colour=False):
        return cls([pair(read_rgb(p), scale, colour) for p in paths],
                   [os.path.basename(p) for p in paths], scale)

    def psnr(self, enlarge):
        """dB of each picture; `enlarge` maps (C, h, w) floats 0..1."""
        values = []
        for a, b in self.pairs:
            low, high = (16, 235) if len(a) == 1 else (0, 255)
            out = np.clip(np.round(enlarge((a / 255).astype(np.float32)) * 255), low, high)
            if len(out) == 3:
                out, b = luma(out.transpose(1, 2, 0))[None], luma(b.transpose(1, 2, 0))[None]
            s = self.scale
            mse = np.mean((out - b)[:, s:-s, s:-s] ** 2)
            values.append(10 * np.log10(255 ** 2 / mse))
        return values

    def strip(self, enlarge, path, size=64, count=5):
        """A PNG of `count` pieces: bicubic, ours, true from top to bottom, each twice enlarged."""
        columns = []
        step = max(1, len(self.pairs) // count)
        for a, b in self.pairs[::step][:count]:
            s = self.scale
            r, q = (max(0, (n - size) // 2) for n in a.shape[1:])
            a = a[:, max(0, r - 16):r + size + 16, max(0, q - 16):q + size + 16]
            r, q = min(r, 16), min(q, 16)
            top = max(0, (b.shape[1] // s - size) // 2) * s
            left = max(0, (b.shape[2] // s - size) // 2) * s
            cut = (slice(None), slice(r * s, (r + size) * s), slice(q * s, (q + size) * s))
            rows = [resize(a.transpose(1, 2, 0), s).transpose(2, 0, 1)[cut],
                    enlarge((a / 255).astype(np.float32))[cut] * 255,
                    b[:, top:top + size * s, left:left + size * s]]
            columns.append(np.concatenate(rows, 1))
        im = to_bytes(np.concatenate(columns, 2)).transpose(1, 2, 0)
        im = np.repeat(np.repeat(im, 2, 0), 2, 1)
        Image.fromarray(im[:, :, 0] if im.shape[2] == 1 else im).save(path)

    def measure(self, enlarge, strip=None):
        """Mean dB; draws the strip."""
        if strip:
            self.strip(enlarge, strip)
        return float(np.mean(self.psnr(enlarge)))
