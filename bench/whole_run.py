#!/usr/bin/env python3
"""CPU-seconds of a whole run beside decode + upscale + encode measured alone.

usage: bench/whole_run.py UPREZ MODEL CLIP [ROUNDS]

decode: ffmpeg to null.  upscale: `uprez bench` on pictures of the clip's size, per picture times the
frames (conversion included).  encode: the very pictures the program makes, as y4m (what an encoder
has been at before is cheaper to encode again), encoded by ffmpeg with the program's own encoder
options, less reading that y4m.  Rounds alternate; medians are printed."""
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

uprez, model, clip = sys.argv[1:4]
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
# as src/video/encoder.c sets them for outputs of 289 to 1080 lines
encoder = ["-c:v", "libx264", "-crf", "17", "-threads", "4", "-x264-params",
           "cpu-independent=1:stitchable=1"]


def cpu(args):
    """User + system seconds of a command and what it printed."""
    a = resource.getrusage(resource.RUSAGE_CHILDREN)
    p = subprocess.run(args, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    b = resource.getrusage(resource.RUSAGE_CHILDREN)
    return b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime, p.stdout


def probe(path, entry):
    return subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
                           "stream=" + entry, "-of", "csv=p=0", path], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip().strip(",")


with tempfile.TemporaryDirectory() as tmp:
    out, y4m = os.path.join(tmp, "out.mp4"), os.path.join(tmp, "out.y4m")
    width, height = probe(clip, "width,height").split(",")[:2]
    rows = {k: [] for k in ("decode", "upscale", "encode", "whole", "ratio")}
    for i in range(rounds):
        whole, text = cpu([uprez, "-y", "-q", "--json", "-m", model, "--audio", "none", clip, out])
        frames = json.loads(text)["frames_out"]
        if i == 0:
            with open(y4m, "wb") as f:
                subprocess.run([uprez, "-q", "-m", model, clip, "-"], check=True, stdout=f)
        decode, _ = cpu(["ffmpeg", "-v", "error", "-i", clip, "-map", "0:v:0", "-f", "null", "-"])
        _, text = cpu([uprez, "bench", "--json", "-m", model, "--size", f"{width}x{height}"])
        upscale = json.loads(text)[0]["cpu_ms"] * frames / 1000
        read, _ = cpu(["ffmpeg", "-v", "error", "-i", y4m, "-f", "null", "-"])
        encode, _ = cpu(["ffmpeg", "-v", "error", "-y", "-i", y4m, *encoder,
                         os.path.join(tmp, "enc.mp4")])
        encode -= read
        for k, v in (("decode", decode), ("upscale", upscale), ("encode", encode), ("whole", whole),
                     ("ratio", whole / (decode + upscale + encode))):
            rows[k].append(v)
    print(f"{clip} {width}x{height}, {frames} frames, {model}, {rounds} rounds")
    for k, v in rows.items():
        print(f"{k:8} median {statistics.median(v):8.3f}   min {min(v):8.3f}   max {max(v):8.3f}")
    middle = {k: statistics.median(v) for k, v in rows.items()}
    print(f"whole / (decode + upscale + encode), of the medians: "
          f"{middle['whole'] / (middle['decode'] + middle['upscale'] + middle['encode']):.3f}")
