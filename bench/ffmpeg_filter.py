#!/usr/bin/env python3
"""The filter uprez beside dnn_processing inside one ffmpeg, alternately, and how far the pictures agree.

usage: bench/ffmpeg_filter.py FFMPEG UPREZ CHECKPOINT TORCHSCRIPT CLIP [--rounds N] [--frames N] [--x264]

FFMPEG has both filters; what its dnn_processing or our runtimes lack is a row that says so. TORCHSCRIPT and
CHECKPOINT hold the same network; OpenVINO's dnn_processing gets the ONNX file of `UPREZ model convert`. All in
RGB, output to null (--x264: encoded). Milliseconds a frame: the time of N + 2 frames less that of 2, over N, so
that loading does not count. Medians over the rounds; PSNR against engine=cpu."""
import argparse
import math
import os
import statistics
import subprocess
import tempfile
import time

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("ffmpeg", "uprez", "checkpoint", "torchscript", "clip"):
    p.add_argument(name)
p.add_argument("--rounds", type=int, default=3)
p.add_argument("--frames", type=int, default=6)
p.add_argument("--x264", action="store_true")
a = p.parse_args()


def run(filters, frames, output):
    """Seconds and bytes of one run; RuntimeError with ffmpeg's last words."""
    begin = time.monotonic()
    r = subprocess.run([a.ffmpeg, "-nostdin", "-v", "error", "-y", "-i", a.clip, "-map", "0:v:0", "-vf", filters,
                        "-frames:v", str(frames), *output], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
    if r.returncode:
        lines = [x for x in r.stderr.decode(errors="replace").split("\n") if x]
        raise RuntimeError(lines[0][:200] if lines else f"exit {r.returncode}")
    return time.monotonic() - begin, r.stdout


with tempfile.TemporaryDirectory() as tmp:
    onnx = os.path.join(tmp, "m.onnx")
    size = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height",
                           "-of", "csv=p=0:s=x", a.clip], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    # dnn_processing wants a fixed shape here
    subprocess.run([a.uprez, "model", "convert", "-q", "--size", size, "--batch", "1", a.checkpoint, onnx], check=True)
    ours = "format=rgb24,uprez=model=%s:precision=fp32:engine=" % a.checkpoint
    rows = {
        "uprez engine=cpu": ours + "cpu",
        "dnn_processing LibTorch": "format=rgb24,dnn_processing=dnn_backend=torch:nireq=1:model=%s" % a.torchscript,
        "uprez engine=libtorch": ours + "libtorch",
        "dnn_processing OpenVINO": "format=rgb24,dnn_processing=dnn_backend=openvino:model=%s" % onnx,
        "uprez engine=openvino": ours + "openvino",
        "uprez engine=onnxruntime": ours + "onnxruntime",
    }
    output = ["-c:v", "libx264", "-crf", "17", os.path.join(tmp, "o.mp4")] if a.x264 else ["-f", "null", "-"]
    ms = {k: [] for k in rows}
    absent, agree, first = {}, {}, None
    for k, f in rows.items():
        try:
            raw = run(f, 2, ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])[1]
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            absent[k] = str(e)
            continue
        if first is None:
            first = raw
        elif len(raw) == len(first):
            error = sum((x - y) ** 2 for x, y in zip(raw, first)) / len(raw)
            agree[k] = math.inf if not error else 10 * math.log10(255 ** 2 / error)
    for _ in range(a.rounds):
        for k, f in rows.items():
            if k not in absent:
                short, long = run(f, 2, output)[0], run(f, a.frames + 2, output)[0]
                ms[k].append(1000 * (long - short) / a.frames)
    print(f"{os.path.basename(a.clip)}, {os.path.basename(a.checkpoint)}, {'libx264' if a.x264 else 'to null'}, "
          f"{a.rounds} rounds of {a.frames} frames")
    for k in rows:
        if k in absent:
            print(f"{k:26} absent: {absent[k]}")
        else:
            psnr = f"{agree[k]:.1f} dB" if k in agree else ""
            print(f"{k:26} {statistics.median(ms[k]):9.1f} ms a frame  {psnr}")
    for x, y in (("uprez engine=libtorch", "dnn_processing LibTorch"), ("uprez engine=openvino", "dnn_processing OpenVINO")):
        if ms[x] and ms[y]:
            print(f"{x} is {statistics.median(ms[y]) / statistics.median(ms[x]):.2f} times as fast as {y}")
