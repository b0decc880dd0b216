#!/usr/bin/env python3
"""The filter uprez beside dnn_processing inside one ffmpeg, alternately, and how far the pictures agree.

usage: bench/ffmpeg_filter.py FFMPEG UPREZ CHECKPOINT TORCHSCRIPT CLIP [--rounds N] [--frames N] [--x264]
                              [--start SECONDS] [--size WxH] [--only TEXT] [--share]

FFMPEG has both filters; what its dnn_processing or our runtimes lack is a row that says so. TORCHSCRIPT and
CHECKPOINT hold the same network; OpenVINO's dnn_processing gets the ONNX file of `UPREZ model convert`. All in
RGB, output to null (--x264: encoded). --start, --size: the frames from there on, scaled, are first written losslessly into a
file of their own. --only: rows whose name holds TEXT, and engine=cpu.

Milliseconds a frame: the time of N + 2 frames less that of 2, over N, so that loading does not count. Every
round runs every row once, in turn. Medians over the rounds, of the clock and of the processor's seconds; PSNR of 2 frames against engine=cpu at fp32.
Reuse of what frames have in common is off. Precision is left to each engine, as dnn_processing leaves it: OpenVINO by itself computes in bf16 where the
processor has instructions for it, in both filters; a row has it at fp32. dnn_processing's OpenVINO is told
layout=nchw: without it the picture is not the network's.

--share: instead, what of a run (decoded, enlarged as yuv420p, to null) is neither the network, timed alone by
`UPREZ bench --network`, nor decoding: by the clock, and of the processor's time. Below 0 is noise, or frames in
flight overlapping what the network alone leaves idle."""
import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time

import numpy as np

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("ffmpeg", "uprez", "checkpoint", "torchscript", "clip"):
    p.add_argument(name)
p.add_argument("--rounds", type=int, default=5)
p.add_argument("--frames", type=int, default=8)
p.add_argument("--x264", action="store_true")
p.add_argument("--share", action="store_true")
p.add_argument("--start", default="0")
p.add_argument("--size", default="")
p.add_argument("--only", default="")
a = p.parse_args()


def timed(*command):
    """Seconds by the clock, of the processor, and bytes of a command; RuntimeError with its first words."""
    begin, used = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
    if r.returncode:
        lines = [x for x in r.stderr.decode(errors="replace").split("\n") if x]
        raise RuntimeError(lines[0][:200] if lines else f"exit {r.returncode}")
    return (time.monotonic() - begin, sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - used,
            np.frombuffer(r.stdout, np.uint8))


def run(filters, frames, output):
    return timed(a.ffmpeg, "-nostdin", "-v", "error", "-y", "-i", clip, "-map", "0:v:0", "-vf", filters,
                 "-frames:v", str(frames), *output)


def a_frame(what):
    """Milliseconds a frame, by the clock and of the processor: what(frames) runs so many."""
    short, long = what(2), what(a.frames + 2)
    return np.array([1000 * (long[i] - short[i]) / a.frames for i in (0, 1)])


def shares():
    null = ["-f", "null", "-"]
    decode = np.median([a_frame(lambda n: run("null", n, null)) for _ in range(a.rounds)], axis=0)
    print(f"{os.path.basename(a.clip)} {size}, {os.path.basename(a.checkpoint)}, {a.rounds} rounds of {a.frames} frames; "
          f"ms a frame by the clock / of the processor; decoding {decode[0]:.1f} / {decode[1]:.1f}")
    for engine in ("cpu", "libtorch", "openvino", "onnxruntime"):
        f = f"format=yuv420p,uprez=model={a.checkpoint}:reuse=0:engine={engine}"
        bench = (a.uprez, "bench", "--network", "-m", a.checkpoint, "--engine", engine, "--size", size, "--runs")
        try:
            both = [(a_frame(lambda n: run(f, n, null)), a_frame(lambda n: timed(*bench, str(n)))) for _ in range(a.rounds)]
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            print(f"{engine:12} absent: {e}")
            continue
        whole, network = (np.median([b[i] for b in both], axis=0) for i in (0, 1))
        rest = (whole - network - decode) / whole * 100
        print(f"{engine:12} whole {whole[0]:8.1f} / {whole[1]:8.1f}   network {network[0]:8.1f} / {network[1]:8.1f}   "
              f"the rest {rest[0]:5.1f} % / {rest[1]:5.1f} %")


def psnr(x, y):
    error = np.mean((x.astype(np.float32) - y) ** 2, dtype=np.float64)
    return float("inf") if error == 0 else 10 * np.log10(255 ** 2 / error)


with tempfile.TemporaryDirectory() as tmp:
    clip = a.clip
    if a.size or a.start != "0":
        clip = os.path.join(tmp, "clip.mkv")
        subprocess.run([a.ffmpeg, "-nostdin", "-v", "error", "-ss", a.start, "-i", a.clip, "-map", "0:v:0", "-vf",
                        "scale=" + a.size.replace("x", ":") if a.size else "null", "-frames:v", str(a.frames + 4), "-c:v", "ffv1", clip], check=True)
    size = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height",
                           "-of", "csv=p=0:s=x", clip], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    if a.share:
        shares()
        raise SystemExit
    # dnn_processing wants a fixed shape here
    onnx = os.path.join(tmp, "m.onnx")
    subprocess.run([a.uprez, "model", "convert", "-q", "--size", size, "--batch", "1", a.checkpoint, onnx], check=True)
    ours = f"format=rgb24,uprez=model={a.checkpoint}:reuse=0:engine="
    rows = {
        "uprez engine=cpu": ours + "cpu:precision=fp32",
        "dnn_processing LibTorch": "format=rgb24,dnn_processing=dnn_backend=torch:nireq=1:model=%s" % a.torchscript,
        "uprez engine=libtorch": ours + "libtorch",
        "  at fp32 (LibTorch)": ours + "libtorch:precision=fp32",
        "  from the TorchScript": f"format=rgb24,uprez=model={a.torchscript}:reuse=0:engine=libtorch",
        "dnn_processing OpenVINO": "format=rgb24,dnn_processing=dnn_backend=openvino:layout=nchw:model=%s" % onnx,
        "uprez engine=openvino": ours + "openvino",
        "  at fp32 (OpenVINO)": ours + "openvino:precision=fp32",
        "uprez engine=onnxruntime": ours + "onnxruntime",
    }
    rows = {k: v for k, v in rows.items() if a.only.lower() in k.lower() or k == "uprez engine=cpu"}
    output = ["-c:v", "libx264", "-crf", "17", os.path.join(tmp, "o.mp4")] if a.x264 else ["-f", "null", "-"]
    ms, cpu = {k: [] for k in rows}, {k: [] for k in rows}
    absent, agree, first = {}, {}, None
    for k, f in rows.items():
        try:
            raw = run(f, 2, ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])[2]
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            absent[k] = str(e)
            continue
        if first is None:
            first = raw
        elif len(raw) == len(first):
            agree[k] = psnr(raw, first)
    for _ in range(a.rounds):
        for k, f in rows.items():
            if k not in absent:
                short, long = run(f, 2, output), run(f, a.frames + 2, output)
                ms[k].append(1000 * (long[0] - short[0]) / a.frames)
                cpu[k].append(1000 * (long[1] - short[1]) / a.frames)
    print(f"{os.path.basename(a.clip)} {size}, {os.path.basename(a.checkpoint)}, {'libx264' if a.x264 else 'to null'}, "
          f"{a.rounds} rounds of {a.frames} frames")
    for k in rows:
        if k in absent:
            print(f"{k:26} absent: {absent[k]}")
        else:
            psnr_text = f"{agree[k]:.1f} dB" if k in agree else ""
            spread = f"({min(ms[k]):.1f} .. {max(ms[k]):.1f})"
            print(f"{k:26} {statistics.median(ms[k]):9.1f} ms a frame {spread:20} {statistics.median(cpu[k]):9.1f} ms of the processor  {psnr_text}")
    for x, y in (("uprez engine=libtorch", "dnn_processing LibTorch"), ("  at fp32 (LibTorch)", "dnn_processing LibTorch"),
                 ("  from the TorchScript", "dnn_processing LibTorch"), ("uprez engine=openvino", "dnn_processing OpenVINO")):
        if ms.get(x) and ms.get(y):
            print(f"{x.strip()}: {statistics.median(ms[y]) / statistics.median(ms[x]):.2f} times as fast as {y}")
