#!/usr/bin/env python3
"""uprez's CPU engine beside ncnn's fp32, alternately in one run.

usage: bench/cpu_vs_ncnn.py UPREZ MODEL.pth [--size WxH ...] [--rounds N] [--threads N]

MODEL.pth is an SRVGGNetCompact checkpoint; the same weights are written as an ncnn .param/.bin (fp32)
into a temporary directory. ncnn runs from this process with Winograd and packed layouts on and 16-bit
storage off; only its extract() is timed. uprez is timed by `uprez bench --json`, conversion from and to
yuv420p included. CPU time is given beside wall time: on a machine with other work it says more (with
--threads 1; ncnn's threads spin while they wait). Needs Python with torch, numpy and ncnn.

Before timing, ncnn's result is compared with PyTorch's on a small picture, so that a wrong conversion
cannot win."""
import argparse
import json
import os
import statistics
import struct
import subprocess
import tempfile
import time

import ncnn
import numpy as np
import torch

args = argparse.ArgumentParser()
args.add_argument("uprez")
args.add_argument("model")
args.add_argument("--size", action="append")
args.add_argument("--rounds", type=int, default=5)
args.add_argument("--threads", type=int, default=2)
args = args.parse_args()
sizes = args.size or ["320x180", "1280x720"]


def weights():
    state = torch.load(args.model, map_location="cpu", weights_only=True)
    for key in ("params_ema", "params"):
        state = state.get(key, state)
    return {k: v.float() for k, v in state.items()}


def write_ncnn(state, folder):
    """The graph by hand: conv (+ prelu) chain, pixel shuffle, plus the input enlarged."""
    last = max(int(k.split(".")[1]) for k in state)
    scale = int((state["body.%d.weight" % last].shape[0] // 3) ** 0.5)
    lines = ["Input in 0 1 in", "Split split 1 2 in a b"]
    data, blob = bytearray(), "a"
    for i in range(last + 1):
        w = state["body.%d.weight" % i]
        name = "b%d" % i
        if w.dim() == 4:
            out, _, kh, kw = w.shape
            lines.append("Convolution conv%d 1 1 %s %s 0=%d 1=%d 11=%d 4=%d 14=%d 5=1 6=%d" %
                         (i, blob, name, out, kw, kh, kw // 2, kh // 2, w.numel()))
            data += struct.pack("<I", 0) + w.numpy().tobytes()
            data += state["body.%d.bias" % i].numpy().tobytes()
        else:
            lines.append("PReLU act%d 1 1 %s %s 0=%d" % (i, blob, name, w.numel()))
            data += w.numpy().tobytes()
        blob = name
    lines += ["PixelShuffle shuffle 1 1 %s s 0=%d" % (blob, scale),
              "Interp up 1 1 b u 0=1 1=%.6f 2=%.6f" % (scale, scale),
              "BinaryOp sum 2 1 s u out 0=0"]
    blobs = {word for line in lines for word in line.split()[4:] if "=" not in word}
    param = os.path.join(folder, "net.param")
    with open(param, "w") as f:
        f.write("7767517\n%d %d\n" % (len(lines), len(blobs)) + "\n".join(lines) + "\n")
    with open(os.path.join(folder, "net.bin"), "wb") as f:
        f.write(data)
    return param, os.path.join(folder, "net.bin"), scale


def torch_run(state, scale, x):
    y = x
    for i in range(max(int(k.split(".")[1]) for k in state) + 1):
        w = state["body.%d.weight" % i]
        if w.dim() == 4:
            y = torch.nn.functional.conv2d(y, w, state["body.%d.bias" % i], padding=w.shape[2] // 2)
        else:
            y = torch.nn.functional.prelu(y, w)
    return torch.nn.functional.pixel_shuffle(y, scale) + \
        torch.nn.functional.interpolate(x, scale_factor=scale, mode="nearest")


def open_net(param, binary):
    net = ncnn.Net()
    net.opt.num_threads = args.threads
    net.opt.use_winograd_convolution = True
    net.opt.use_sgemm_convolution = True
    net.opt.use_packing_layout = True
    for flag in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, flag, False)
    net.load_param(param)
    net.load_model(binary)
    return net


def ncnn_run(net, picture):
    ex = net.create_extractor()
    ex.input("in", ncnn.Mat(picture))
    wall, cpu = time.perf_counter(), time.process_time()
    _, out = ex.extract("out")
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3, out


def uprez_run(size, seconds):
    text = subprocess.run([args.uprez, "bench", "-m", args.model, "--size", size, "--engine", "cpu",
                           "--precision", "fp32", "--threads", str(args.threads), "--seconds",
                           str(seconds), "--json"], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(text)[0]


state = weights()
with tempfile.TemporaryDirectory() as tmp:
    param, binary, scale = write_ncnn(state, tmp)
    net = open_net(param, binary)
    small = np.random.default_rng(1).random((3, 24, 40), dtype=np.float32)
    with torch.no_grad():
        want = torch_run(state, scale, torch.from_numpy(small)[None])[0].numpy()
    off = np.abs(np.array(ncnn_run(net, small)[2]) - want).max()
    assert off < 1e-3, "the ncnn conversion is wrong: off by %g" % off
    for size in sizes:
        w, h = map(int, size.split("x"))
        picture = np.random.default_rng(2).random((3, h, w), dtype=np.float32)
        wall = {"ncnn": [], "uprez": []}
        cpu = {"ncnn": [], "uprez": []}
        ncnn_run(net, picture)
        for _ in range(args.rounds):
            runs = [ncnn_run(net, picture)[:2]]
            while sum(r[0] for r in runs) < 2000 and len(runs) < 50:
                runs.append(ncnn_run(net, picture)[:2])
            wall["ncnn"].append(statistics.median(r[0] for r in runs))
            cpu["ncnn"].append(statistics.median(r[1] for r in runs))
            result = uprez_run(size, 2)
            wall["uprez"].append(result["ms_median"])
            cpu["uprez"].append(result["cpu_ms"])
            print("%s  ms wall (CPU): ncnn %8.1f (%8.1f)   uprez %8.1f (%8.1f)" %
                  (size, wall["ncnn"][-1], cpu["ncnn"][-1], wall["uprez"][-1], cpu["uprez"][-1]),
                  flush=True)
        ncnn_ms, ours = (statistics.median(wall[k]) for k in ("ncnn", "uprez"))
        ncnn_cpu, ours_cpu = (statistics.median(cpu[k]) for k in ("ncnn", "uprez"))
        flop = result["tflops"] * result["ms_median"]
        print("%s  medians: ncnn %s %.1f ms (%.3f TFLOP/s), uprez %s %s %.1f ms (%.3f TFLOP/s): "
              "%.2f times as fast, %.2f times by CPU time" %
              (size, ncnn.__version__, ncnn_ms, flop / ncnn_ms, result["level"],
               result["numerics"], ours, flop / ours, ncnn_ms / ours, ncnn_cpu / ours_cpu))
