"""What real video has suffered, made from clean pictures.

    picture -> a moving window over it, FRAMES frames, often softened (the truth)
            -> reduced with one of the scalers that films meet, sometimes by way of another size
            -> sharpened with overshoot (ringing), noise and grain
            -> sometimes interlaced and deinterlaced again (bwdif)
            -> coded by real encoders: H.264, HEVC, MPEG-2, MPEG-4 at several rates, sometimes twice
            -> decoded: the source that the network gets

Encoders run through the command `ffmpeg`, so that their errors are the real ones: motion that was
found wrongly, blocks, skipped residuals. Pairs are made once and cached; each picture gives
VARIANTS clips of other degradations, of which two frames are kept.
"""
import os
import subprocess
import tempfile
import zlib

import numpy as np

import pictures

FRAMES = 7
KEPT = (3, 6)
VARIANTS = 3
# How often the true film is soft itself, out of focus or enlarged before: not all softness is to be undone.
SOFT = 0.5
# Mean squared error of bicubic enlargement above which a pair teaches nothing (20 dB).
WORST = 650
# A name's change here makes the cache anew.
RECIPE = "2"

# How often each encoder is met, and the rates it is given: from hardly visible to plainly so.
ENCODERS = {
    "libx264": (0.45, lambda r: ["-crf", str(r.integers(17, 33)), "-preset",
                                 str(r.choice(["veryfast", "medium"])), "-bf", str(r.integers(0, 3))]),
    "libx265": (0.2, lambda r: ["-crf", str(r.integers(20, 34)), "-preset", "fast",
                                "-x265-params", "log-level=error:pools=1:frame-threads=1"]),
    "mpeg2video": (0.15, lambda r: ["-q:v", str(r.integers(2, 11)), "-bf", "2", "-g", "12"]),
    "mpeg4": (0.1, lambda r: ["-q:v", str(r.integers(2, 9))]),
    None: (0.1, None),
}


def window(rgb, rng):
    """FRAMES crops of a picture, moved by whole pixels: half pixels of the source."""
    h, w = rgb.shape[:2]
    size = (min(h, 352) // 16 * 16, min(w, 448) // 16 * 16)
    room = np.array([h - size[0], w - size[1]])
    v = rng.normal(0, 2.5, 2).clip(-8, 8) if rng.random() < 0.7 else np.zeros(2)
    path = np.cumsum(np.tile(v, (FRAMES, 1)) + rng.normal(0, 0.3, (FRAMES, 2)) * (v != 0), 0)
    path = path - path.min(0)
    path = np.round(path).astype(int)
    begin = [rng.integers(max(1, m - p + 1)) if m >= p else 0
             for m, p in zip(room, path.max(0))]
    out = []
    for y, x in path:
        y, x = (min(b + p, r) for b, p, r in zip(begin, (y, x), room))
        out.append(rgb[y:y + size[0], x:x + size[1]])
    return out


def blur(im, sigma):
    n = max(1, int(np.ceil(3 * sigma)))
    k = np.exp(-0.5 * (np.arange(-n, n + 1) / sigma) ** 2)
    k /= k.sum()
    for axis in (0, 1):
        padded = np.pad(im, [(n, n) if i == axis else (0, 0) for i in range(im.ndim)], "reflect")
        im = sum(w * np.take(padded, range(i, i + im.shape[axis]), axis) for i, w in enumerate(k))
    return im


def reduce(im, way):
    if way["kind"] == "area":
        h, w, c = im.shape
        return im.reshape(h // 2, 2, w // 2, 2, c).astype(float).mean((1, 3))
    if way["kind"] == "soft":
        im = blur(im.astype(float), way["sigma"])
    small = pictures.resize(im, 0.5)
    if way["via"] < 1:  # a film that was once smaller
        h, w = small.shape[:2]
        less = pictures.resize(small, way["via"])
        small = pictures.resize(less, 1 / way["via"] * 1.0001)[:h, :w]
        small = np.pad(small, [(0, h - small.shape[0]), (0, w - small.shape[1]), (0, 0)], "edge")
    return small


def degrade(frames, rng):
    """Frames of the truth (RGB, 8 bits) -> frames of the source (RGB, 8 bits)."""
    way = {"kind": str(rng.choice(["bicubic", "area", "soft"], p=[0.5, 0.25, 0.25])),
           "sigma": rng.uniform(0.5, 1.3), "via": rng.uniform(0.65, 0.95) if rng.random() < 0.15 else 1}
    sharpen = rng.uniform(0.2, 0.9) if rng.random() < 0.25 else 0
    noise = rng.uniform(1, 6) if rng.random() < 0.35 else 0
    grain = rng.uniform(0.4, 0.9) if rng.random() < 0.5 else 0
    out = []
    for f in frames:
        s = reduce(f, way)
        if sharpen:
            s = s + sharpen * (s - blur(s, 1.0))
        if noise:
            n = rng.normal(0, noise, s.shape[:2])
            if grain:
                n = blur(n, grain) * (1 + 2 * grain)
            s = s + n[:, :, None]
        out.append(pictures.to_bytes(s))
    return out


def yuv420(rgb):
    """Planar 4:2:0, BT.601, studio range."""
    y = pictures.to_bytes(pictures.luma(rgb))
    half = rgb.astype(float).reshape(rgb.shape[0] // 2, 2, rgb.shape[1] // 2, 2, 3).mean((1, 3)) / 255
    u = 128 + half @ np.array([-37.797, -74.203, 112.0])
    v = 128 + half @ np.array([112.0, -93.786, -18.214])
    return b"".join(p.tobytes() for p in (y, pictures.to_bytes(u), pictures.to_bytes(v)))


def ffmpeg(arguments, data):
    p = subprocess.run(["ffmpeg", "-v", "error", "-nostdin" if data is None else "-y", *arguments],
                       input=data, capture_output=True, check=False)
    if p.returncode:
        raise SystemExit(f"train: ffmpeg {' '.join(arguments)}: {p.stderr.decode().strip()}")
    return p.stdout


def coded(data, w, h, rng, interlaced):
    """Raw 4:2:0 frames through an encoder and back."""
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{w}x{h}", "-r", "25"]
    if interlaced:  # fields of frames that follow each other, then what players make of them
        data = ffmpeg([*raw, "-i", "-", "-vf", "interlace=lowpass=0,bwdif=mode=send_field:deint=all",
                       "-f", "rawvideo", "-"], data)
    names = list(ENCODERS)
    name = names[rng.choice(len(names), p=[ENCODERS[n][0] for n in names])]
    if name is None:
        return data
    for _ in range(2 if rng.random() < 0.15 else 1):
        with tempfile.NamedTemporaryFile(suffix=".mkv") as f:
            ffmpeg([*raw, "-i", "-", "-c:v", name, *ENCODERS[name][1](rng), "-threads", "1", f.name],
                   data)
            data = ffmpeg(["-threads", "1", "-i", f.name, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"],
                          None)
    return data


def clips(rgb, rng):
    """Pairs (source, truth) of luma planes 0..255 made of one picture."""
    truth = window(rgb, rng)
    if rng.random() < SOFT:
        sigma = rng.uniform(0.4, 1.8)
        truth = [pictures.to_bytes(blur(f.astype(float), sigma)) for f in truth]
    source = degrade(truth, rng)
    h, w = source[0].shape[:2]
    data = coded(b"".join(yuv420(f) for f in source), w, h, rng, rng.random() < 0.08)
    size = w * h * 3 // 2
    n = len(data) // size
    for k in KEPT:
        if k < n:
            y = np.frombuffer(data, np.uint8, w * h, k * size).reshape(h, w).astype(float)
            big = pictures.luma(truth[k])
            if np.mean((pictures.resize(y, 2) - big) ** 2) < WORST:
                yield y[None], big[None]


def make(folder, files, variants, seed):
    for i, name in enumerate(files):
        rgb = pictures.read_rgb(os.path.join(folder, name))
        for v in range(variants):
            rng = np.random.default_rng([seed, i, v])
            for a, b in clips(rgb, rng):
                yield name.split("/")[0], a, b


def pairs(folder, scale, cache, weights, terms, colour, teachers=None):
    """Crops of sources and truths, as pictures.Pairs; with teachers every pair is there three times, once
    with a truth that they lead."""
    check(scale, colour)
    files = [r["file"] for r in pictures.listed(folder, terms)]
    key = zlib.crc32(repr((files, VARIANTS, RECIPE)).encode())
    path = os.path.join(cache, f"video-{scale}x-{key:08x}.npz")
    if not os.path.exists(path):
        print(f"coding {len(files) * VARIANTS} short clips; this is done once", flush=True)
        pictures.save_pairs(path, make(folder, files, VARIANTS, 1))
    if teachers:
        plain = path
        path = os.path.join(cache, f"video-{scale}x-{key:08x}-{teachers.key:08x}.npz")
        if not os.path.exists(path):
            print(f"asking {teachers.names}; this is done once", flush=True)
            pictures.save_pairs(path, ((str(kind), a / 256, teachers.mixed(kind, a / 256, b / 256, scale))
                                       for kind, a, b in zip(*pictures.load_pairs(plain))))
    return pictures.Pairs.cached([path, plain, plain] if teachers else [path], scale, weights)


def validation(paths, scale, cache, colour):
    check(scale, colour)
    key = zlib.crc32(repr((paths, RECIPE)).encode())
    path = os.path.join(cache, f"video-val-{scale}x-{key:08x}.npz")
    if not os.path.exists(path):
        folder = os.path.dirname(paths[0])
        pictures.save_pairs(path, make(folder, [os.path.basename(p) for p in paths], 2, 2))
    names, small, big = pictures.load_pairs(path)
    return pictures.Validation([(a / 256, b / 256) for a, b in zip(small, big)], list(names), scale)


def check(scale, colour):
    if scale != 2 or colour:
        raise SystemExit("train: degraded video is made for luma networks of scale 2 only")
