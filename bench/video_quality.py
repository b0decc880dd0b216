#!/usr/bin/env python3
"""Models on real clips: halved, coded with x264, enlarged by uprez, compared with the clip.

    bench/video_quality.py build/cli/uprez CLIP... [-m MODEL]... [--crf 23 --crf 28] [--frames 24]

Each clip is brought to half its size by swscale's bicubic, coded by libx264 at each rate, enlarged
with each model through an encoder without loss, and compared frame by frame on luma: PSNR and SSIM
by FFmpeg's filters (mean of the frames' values), and a sharpness that needs no reference: the mean
Laplacian's magnitude over that of the true clip's (1 is as sharp as the truth).
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np


def run(*words):
    p = subprocess.run(words, capture_output=True, check=False)
    if p.returncode:
        sys.exit(f"{' '.join(words)}: {p.stderr.decode().strip()}")
    return p


def frames_of(path, w, h):
    data = run("ffmpeg", "-v", "error", "-i", path, "-vf", "extractplanes=y", "-f", "rawvideo", "-").stdout
    return np.frombuffer(data, np.uint8).reshape(-1, h, w).astype(np.float32)


def laplacian(f):
    return float(np.mean(np.abs(4 * f[:, 1:-1, 1:-1] - f[:, :-2, 1:-1] - f[:, 2:, 1:-1]
                                - f[:, 1:-1, :-2] - f[:, 1:-1, 2:])))


def compare(out, true):
    # the vectors of FFmpeg 5.1's ssim are wrong for some widths; luma as it is stored, not stretched
    text = run("ffmpeg", "-hide_banner", "-cpuflags", "0", "-i", out, "-i", true, "-lavfi",
               "[0:v]extractplanes=y,split[a][b];[1:v]extractplanes=y,split[c][d];"
               "[a][c]psnr=stats_file=-[x];[b][d]ssim[y]",
               "-map", "[x]", "-map", "[y]", "-f", "null", "-")
    values = [float(v) for v in re.findall(rb"psnr_y:([\d.]+)", text.stdout)]
    ssim = re.search(rb"SSIM Y:([\d.]+)", text.stderr)
    return float(np.mean(values)), float(ssim.group(1))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("uprez")
    p.add_argument("clips", nargs="+")
    p.add_argument("-m", "--model", action="append")
    p.add_argument("--crf", type=int, action="append")
    p.add_argument("--frames", type=int, default=24)
    p.add_argument("--start", type=float, default=0, help="seconds into each clip")
    p.add_argument("--json")
    a = p.parse_args()
    models = a.model or ["lanczos", "uprez-video-2x"]
    rows, totals = [], {}
    print(f"{'clip':34} {'crf':>3} {'model':24} {'PSNR':>7} {'SSIM':>7} {'sharp':>6}")
    with tempfile.TemporaryDirectory() as tmp:
        for clip in a.clips:
            true, small, out = (os.path.join(tmp, n) for n in ("true.mkv", "small.mkv", "out.mkv"))
            run("ffmpeg", "-v", "error", "-y", "-ss", str(a.start), "-i", clip, "-an", "-sn", "-dn", "-frames:v",
                str(a.frames), "-vf", "crop=iw-mod(iw\\,4):ih-mod(ih\\,4):0:0,format=yuv420p",
                "-c:v", "ffv1", true)
            size = run("ffprobe", "-v", "error", "-show_entries", "stream=width,height", "-of",
                       "csv=p=0", true).stdout.decode().strip().split(",")
            w, h = int(size[0]), int(size[1])
            sharp = laplacian(frames_of(true, w, h))
            if not sharp:
                print(f"{os.path.basename(clip)[-34:]:34} is one colour there: left out")
                continue
            for crf in a.crf or [23, 28]:
                run("ffmpeg", "-v", "error", "-y", "-i", true, "-vf", f"scale={w // 2}:{h // 2}:flags=bicubic",
                    "-c:v", "libx264", "-crf", str(crf), small)
                for m in models:
                    run(a.uprez, "-q", "-y", "-m", m, "--width", str(w), "--height", str(h),
                        "--encoder", "ffv1", small, out)
                    db, ssim = compare(out, true)
                    s = laplacian(frames_of(out, w, h)) / sharp
                    name = os.path.basename(clip)
                    print(f"{name[-34:]:34} {crf:3} {m[-24:]:24} {db:7.3f} {ssim:7.4f} {s:6.3f}", flush=True)
                    rows.append({"clip": name, "crf": crf, "model": m, "psnr": db, "ssim": ssim,
                                 "sharpness": s})
                    totals.setdefault((crf, m), []).append((db, ssim, s))
    for (crf, m), values in totals.items():
        db, ssim, s = np.mean(values, 0)
        print(f"{'mean':34} {crf:3} {m[-24:]:24} {db:7.3f} {ssim:7.4f} {s:6.3f}")
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
