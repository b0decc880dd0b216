#!/usr/bin/env python3
"""Frames a second of the built-in networks, beside Lanczos and another network, in one run.

    bench/built_in.py build/cli/uprez [-m MODEL]... [--rounds 3] [--sizes 640x360,1280x720]
                      [--levels avx512vnni,avx2] [--frames 48] [--json FILE]

Without encoding: `uprez bench`, which includes the conversion of yuv420p both ways. With it: a
generated clip (a camera over noise and edges, so that no part of a frame repeats) through the whole
command with the default encoder. Rounds alternate; medians are printed, with the lowest and highest.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


def out_of(*words):
    p = subprocess.run(words, capture_output=True, check=False, text=True)
    if p.returncode:
        sys.exit(f"{' '.join(words)}: {p.stderr.strip()}")
    return p.stdout


def clip(path, size, frames):
    out_of("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i",
           f"mandelbrot=s={size}:r=25:start_scale=2:end_scale=0.2:end_pts=200,noise=alls=4:allf=t",
           "-frames:v", str(frames), "-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", "20",
           "-preset", "ultrafast", path)


def network_alone(uprez, model, size, level):
    rows = json.loads(out_of(uprez, "bench", "-m", model, "--size", size, "--cpu", level, "--json"))
    return rows[0]["frames_per_s"]


def whole(uprez, model, source, level, frames, tmp):
    began = time.monotonic()
    out_of(uprez, "-q", "-y", "-m", model, "--cpu", level, "--no-reuse", source,
           os.path.join(tmp, "out.mp4"))
    return frames / (time.monotonic() - began)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("uprez")
    p.add_argument("-m", "--model", action="append")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--sizes", default="640x360,1280x720")
    p.add_argument("--levels", default="avx512vnni,avx2")
    p.add_argument("--frames", type=int, default=48)
    p.add_argument("--json")
    a = p.parse_args()
    models = a.model or ["lanczos", "uprez-video-2x", "uprez-fast-2x", "uprez-fast-4x"]
    values = {}
    with tempfile.TemporaryDirectory() as tmp:
        sources = {}
        for size in a.sizes.split(","):
            sources[size] = os.path.join(tmp, size + ".mkv")
            clip(sources[size], size, a.frames)
        for _ in range(a.rounds):
            for size, source in sources.items():
                for level in a.levels.split(","):
                    for m in models:
                        key = (size, level, os.path.basename(m))
                        alone, coded = values.setdefault(key, ([], []))
                        alone.append(network_alone(a.uprez, m, size, level))
                        coded.append(whole(a.uprez, m, source, level, a.frames, tmp))
    rows = []
    print(f"{'input':10} {'level':11} {'model':32} {'network alone':>22} {'with the encoder':>22}")
    for (size, level, m), kinds in values.items():
        text = [f"{statistics.median(v):6.1f} ({min(v):.1f}-{max(v):.1f})" for v in kinds]
        print(f"{size:10} {level:11} {m[-32:]:32} {text[0]:>22} {text[1]:>22}")
        rows.append({"size": size, "level": level, "model": m, "alone": kinds[0], "encoded": kinds[1]})
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
