#!/usr/bin/env python3
"""uprez's CPU engine beside PyTorch, OpenVINO, ONNX Runtime and ncnn: the same checkpoint, the same picture, one
after the other in turns, the network alone (floats in and out).

usage: bench/compare.sh [--state FILE] [--slice S] [--plot FILE.png] [--report FILE.md] [--size WxH …]
           [--precision P …] [--rounds N] [--threads N] [--seconds S] UPREZ MODEL…

Every model is written for the runtimes by `uprez model convert`; PyTorch has the networks (SRVGGNetCompact,
RRDBNet) written down once more. Before anything is timed, each side enlarges a
small picture in each precision, and its result must be near PyTorch's in fp32; a side that is not is a row
that says so. A sample is the median of the runs of `--seconds` (one at least) in a process of its own, after a
run that does not count; rounds go round all sides. The ratio is the best runtime's median over ours: above 1 we
are faster.

All samples are kept in the state file (JSON). With --slice the program ends after about so many seconds with exit
code 75 where something is left to do; the same command goes on there. Exit code 0: the table is complete."""
import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

SIDES = ("uprez", "torch", "openvino", "onnxruntime", "ncnn")
SIZES = ("320x180", "640x360", "1280x720")
# What a side computes in. ncnn's bf16 is that of its storage; nobody else quantises a checkpoint by itself.
OFFERS = {"uprez": ("fp32", "bf16", "int8"), "torch": ("fp32", "bf16"), "openvino": ("fp32", "bf16", "fp16"),
          "onnxruntime": ("fp32",), "ncnn": ("fp32", "bf16")}
LEAST_DB = {"fp32": 60, "fp16": 40, "bf16": 40, "int8": 30}  # 8-bit results beside PyTorch's in fp32
FORMATS = {"openvino": "net.onnx", "onnxruntime": "net.onnx", "ncnn": "net.param"}
MORE = 75  # EX_TEMPFAIL
SMALL = (96, 64)


def picture(width, height):
    """Smooth shapes, edges and grain, whole 255ths of 1, [3][h][w]; always the same."""
    import numpy as np
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [0.5 + 0.3 * np.sin(x * 0.07 + c) * np.cos(y * 0.05) + 0.2 * (((x // 23 + y // 17) % 3 == c) - 0.3)
              for c in range(3)]
    grain = np.random.default_rng(1).normal(0, 0.01, (3, height, width))
    return (np.rint(np.clip(np.stack(planes) + grain, 0, 1) * 255) / 255).astype(np.float32)


# ---- the other sides, each in a process of its own: compare.py --worker … ----

def torch_network(path, dtype):
    """SRVGGNetCompact and RRDBNet (without unshuffling) written down once more, from the checkpoint itself."""
    import torch
    import torch.nn.functional as F
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("params_ema", "params"):
        state = state.get(key, state)
    state = {k: v.to(dtype).contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v.to(dtype)
             for k, v in state.items()}

    def conv(x, name):
        w = state[name + ".weight"]
        return F.conv2d(x, w, state[name + ".bias"], padding=w.shape[2] // 2)

    def leaky(x):
        return F.leaky_relu(x, 0.2)

    def srvgg(x):
        y, last = x, max(int(k.split(".")[1]) for k in state)
        for i in range(last + 1):
            w = state["body.%d.weight" % i]
            y = conv(y, "body.%d" % i) if w.dim() == 4 else F.prelu(y, w)
        scale = int((y.shape[1] // 3) ** 0.5)
        return F.pixel_shuffle(y, scale) + F.interpolate(x, scale_factor=scale, mode="nearest")

    def dense(x, name):
        maps = [x]
        for k in range(1, 5):
            maps.append(leaky(conv(torch.cat(maps, 1), "%s.conv%d" % (name, k))))
        return conv(torch.cat(maps, 1), name + ".conv5") * 0.2 + x

    def rrdb(x):
        first = y = conv(x, "conv_first")
        for i in range(1 + max(int(k.split(".")[1]) for k in state if k.startswith("body."))):
            z = y
            for j in (1, 2, 3):
                z = dense(z, "body.%d.rdb%d" % (i, j))
            y = z * 0.2 + y
        y = first + conv(y, "conv_body")
        for name in ("conv_up1", "conv_up2"):
            y = leaky(conv(F.interpolate(y, scale_factor=2, mode="nearest"), name))
        return conv(leaky(conv(y, "conv_hr")), "conv_last")
    return srvgg if "body.0.weight" in state else rrdb


def open_torch(path, x, threads, precision):
    import torch
    torch.set_num_threads(threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    network = torch_network(path, dtype)
    tensor = torch.from_numpy(x[None]).to(dtype).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            return network(tensor)
    return torch.__version__, run, lambda out: out[0].float().numpy()


def open_openvino(path, x, threads, precision):
    import openvino as ov
    model = ov.Core().read_model(path)
    model.reshape([1, *x.shape])
    hint = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}[precision]
    request = ov.Core().compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    return ov.__version__.split("-")[0], lambda: request.infer([x[None]], share_inputs=True), lambda out: out[0][0]


def open_onnxruntime(path, x, threads, precision):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return ort.__version__, lambda: session.run(None, {name: x[None]}), lambda out: out[0][0]


def open_ncnn(path, x, threads, precision):
    import ncnn
    import numpy as np
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_winograd_convolution = net.opt.use_sgemm_convolution = net.opt.use_packing_layout = True
    for flag in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, flag, False)
    net.opt.use_bf16_storage = precision == "bf16"
    net.load_param(path)
    net.load_model(path[:-len("param")] + "bin")
    source, sink, mat = net.input_names()[0], net.output_names()[0], ncnn.Mat(x).clone()

    def run():
        extractor = net.create_extractor()
        extractor.input(source, mat)
        return extractor.extract(sink)[1]
    return ncnn.__version__, run, np.array


def worker(side, path, size, threads, precision, seconds, result):
    """Prints {"version", "ms": [...]}; with 0 seconds saves the network's result instead."""
    import numpy as np
    width, height = map(int, size.split("x"))
    version, run, values = globals()["open_" + side](path, picture(width, height), threads, precision)
    out = run()
    times, end = [], time.perf_counter() + seconds
    while seconds and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    if not seconds:
        np.save(result, np.asarray(values(out), dtype=np.float32))
    print(json.dumps({"version": version, "ms": times}), flush=True)


# ---- one sample ----

def call(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else "exit code %d" % done.returncode)
    return done.stdout


def start_worker(args, side, model, size, precision, seconds):
    path = model
    if side in FORMATS:
        path = os.path.join(args.folder, os.path.basename(model) + "." + FORMATS[side])
        if not os.path.exists(path):
            call([args.uprez, "model", "convert", model, path])
    result = os.path.join(args.folder, "result.npy")
    text = call([sys.executable, os.path.abspath(__file__), "--worker", side, path, size, str(args.threads), precision,
                 str(seconds), result])
    return result, json.loads(text.strip().splitlines()[-1])


def sample(args, side, model, size, precision):
    if side != "uprez":
        result = start_worker(args, side, model, size, precision, args.seconds)[1]
        return {"ms": statistics.median(result["ms"]), "version": result["version"]}
    row = json.loads(call([args.uprez, "bench", "-m", model, "--network", "--engine", "cpu", "--size", size,
                           "--precision", precision, "--threads", str(args.threads), "--seconds",
                           str(args.seconds), "--json"]))[0]
    if row.get("absent"):
        raise RuntimeError(row["absent"])
    return {"ms": row["ms_median"], "version": row["numerics"], "gflop": row["tflops"] * row["ms_median"],
            "level": row["level"]}


def enlarged(args, side, model, precision):
    """The small picture's result, in 8 bits."""
    import numpy as np
    from PIL import Image
    eight = np.rint(picture(*SMALL) * 255).astype(np.uint8)
    if side == "uprez":
        source, result = (os.path.join(args.folder, name) for name in ("small.png", "large.png"))
        Image.fromarray(eight.transpose(1, 2, 0)).save(source)
        call([args.uprez, "-y", "-m", model, "--engine", "cpu", "--precision", precision, "--threads",
              str(args.threads), source, result])
        return np.asarray(Image.open(result).convert("RGB"), dtype=np.float64).transpose(2, 0, 1)
    path, _ = start_worker(args, side, model, "%dx%d" % SMALL, precision, 0)
    return np.rint(np.clip(np.load(path), 0, 1).astype(np.float64) * 255)


def agreement(args, side, model, precision):
    """dB beside PyTorch in fp32; its own result is its measure, so ours is measured against an independent one."""
    import numpy as np
    key = os.path.join(args.folder, os.path.basename(model) + ".want.npy")
    if not os.path.exists(key):
        np.save(key, enlarged(args, "torch", model, "fp32"))
    off = float(((enlarged(args, side, model, precision) - np.load(key)) ** 2).mean())
    return 99.0 if off == 0 else float(min(99.0, 10 * np.log10(255 ** 2 / off)))


# ---- all of them, in slices ----

def cells(args):
    for model in args.model:
        for size in args.size or SIZES:
            for precision in args.precision or ("fp32", "bf16", "int8"):
                for side in SIDES:
                    if precision in OFFERS[side]:
                        yield model, size, precision, side


def name_of(*parts):
    return " ".join([os.path.basename(parts[0]), *map(str, parts[1:])])


def tasks(args, state):
    """What is left: first whether results agree, then samples, round after round."""
    seen = set()
    for model, _, precision, side in cells(args):
        key = name_of(model, precision, side)
        if key not in state["agreement"] and key not in seen:
            seen.add(key)
            yield "agree", key, (side, model, precision)
    for i in range(args.rounds):
        for model, size, precision, side in cells(args):
            key = name_of(model, size, precision, side)
            fine = state["agreement"].get(name_of(model, precision, side), {}).get("db", 0) >= LEAST_DB[precision]
            if fine and len(state["samples"].get(key, [])) <= i and key not in state["failed"]:
                yield "sample", key, (side, model, size, precision)


def save(args, state):
    with open(args.state + ".part", "w") as f:
        json.dump(state, f, indent=1)
    os.replace(args.state + ".part", args.state)


def work(args, state):
    """True: nothing is left."""
    begin = time.monotonic()
    for kind, key, what in list(tasks(args, state)):
        spent = time.monotonic() - begin
        if args.slice and spent and spent + state["took"].get(key, 15 if kind == "sample" else 8) > args.slice:
            return False
        start = time.monotonic()
        try:
            if kind == "agree":
                state["agreement"][key] = {"db": round(agreement(args, *what), 1)}
            else:
                state["samples"].setdefault(key, []).append(sample(args, *what))
        except (RuntimeError, OSError, ValueError) as error:
            (state["agreement"] if kind == "agree" else state["failed"])[key] = {"why": str(error)}
        state["took"][key] = round(time.monotonic() - start, 1)
        save(args, state)
        print(kind, key, (state["agreement"].get(key) if kind == "agree" else state["samples"].get(key, [{}])[-1]),
              file=sys.stderr, flush=True)
    return True


# ---- what came of it ----

def middle(state, *key):
    ms = [s["ms"] for s in state["samples"].get(name_of(*key), [])]
    if not ms:
        return None
    return {"ms": statistics.median(ms), "spread": (max(ms) - min(ms)) / statistics.median(ms), "n": len(ms)}


def rows(args, state):
    for model in args.model:
        for size in args.size or SIZES:
            best_any = min((m["ms"] for p in ("fp32", "bf16", "fp16") for s in SIDES[1:]
                            if (m := middle(state, model, size, p, s))), default=None)
            for precision in args.precision or ("fp32", "bf16", "int8"):
                row = {"model": os.path.basename(model), "size": size, "precision": precision}
                for side in SIDES:
                    row[side] = middle(state, model, size, precision, side)
                    agreed = state["agreement"].get(name_of(model, precision, side), {})
                    row[side + "_db"] = agreed.get("db")
                others = [row[s]["ms"] for s in SIDES[1:] if row[s]]
                if row["uprez"]:
                    ours = row["uprez"]["ms"]
                    first = state["samples"][name_of(model, size, precision, "uprez")][0]
                    row["tflops"] = first["gflop"] / ours
                    row["ratio"] = min(others) / ours if others else None
                    row["ratio_any"] = best_any / ours if best_any else None
                yield row


def cell(m):
    return "%.1f ±%.0f%%" % (m["ms"], 50 * m["spread"]) if m else "–"


def number(x, form="%.2f"):
    return form % x if x is not None else "–"


def report(args, state):
    lines = ["| network | size | precision | uprez | PyTorch | OpenVINO | ONNX Runtime | ncnn | ratio | beside any "
             "precision | TFLOP/s | dB |", "|" + "---|" * 12]
    for r in rows(args, state):
        columns = [os.path.splitext(r["model"])[0], r["size"], r["precision"], *(cell(r[x]) for x in SIDES),
                   *(number(r.get(x)) for x in ("ratio", "ratio_any", "tflops")), number(r["uprez_db"], "%.0f")]
        lines.append("| " + " | ".join(columns) + " |")
    notes = ["%s: %s" % (k, v["why"]) for k, v in {**state["agreement"], **state["failed"]}.items() if "why" in v]
    notes += ["%s: only %.1f dB from PyTorch in fp32, not timed" % (k, v["db"]) for k, v in state["agreement"].items()
              if "db" in v and v["db"] < LEAST_DB[k.split()[-2]]]
    versions = sorted({"%s %s" % (k.split()[-1], s[0]["version"]) for k, s in state["samples"].items()
                       if not k.endswith(" uprez")})
    head = ("Milliseconds a picture, median of up to %d rounds and half the spread between them; %d threads; %s; %s."
            % (args.rounds, args.threads, state["processor"], ", ".join(versions)))
    return "\n".join([head, "", *lines, "", *["* " + n for n in notes]]).rstrip() + "\n"


def plot(args, state):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    all_rows = [r for r in rows(args, state) if r.get("ratio_any")]
    labels = ["%s %s %s" % (os.path.splitext(r["model"])[0][:22], r["size"], r["precision"]) for r in all_rows]
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(labels) + 1.2))
    axes.barh(labels, [r["ratio_any"] for r in all_rows],
              color=[{"fp32": "#888888", "bf16": "#3366aa", "int8": "#cc7722"}[r["precision"]] for r in all_rows])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the fastest runtime in any precision")
    figure.tight_layout()
    figure.savefig(args.plot, dpi=110)


def processor():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("uprez")
    parser.add_argument("model", nargs="+")
    parser.add_argument("--state", default="compare.json")
    parser.add_argument("--slice", type=float, help="seconds")
    parser.add_argument("--size", action="append")
    parser.add_argument("--precision", action="append", choices=sorted(LEAST_DB))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=1.0, help="each sample, at least one run")
    parser.add_argument("--plot", help="FILE.png")
    parser.add_argument("--report", help="FILE.md; else to standard output")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        # converted models stay beside the state, so that slices need not convert again
        key = hashlib.sha256(" ".join(map(os.path.abspath, args.model)).encode()).hexdigest()[:8]
        args.folder = os.path.abspath(args.state) + ".d-" + key if args.slice else scratch
        os.makedirs(args.folder, exist_ok=True)
        state = {"agreement": {}, "samples": {}, "failed": {}, "took": {}, "processor": processor()}
        if os.path.exists(args.state):
            with open(args.state) as f:
                state = json.load(f)
        complete = work(args, state)
    text = report(args, state)
    if args.report:
        with open(args.report, "w") as f:
            f.write(text)
    elif complete:
        print(text, end="")
    if args.plot and complete:
        plot(args, state)
    sys.exit(0 if complete else MORE)


if len(sys.argv) > 1 and sys.argv[1] == "--worker":
    worker(*sys.argv[2:5], int(sys.argv[5]), sys.argv[6], float(sys.argv[7]), sys.argv[8])
else:
    main()
