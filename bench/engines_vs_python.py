#!/usr/bin/env python3
"""uprez's engines beside the Python packages of the runtimes they drive, alternately in one run.

usage: bench/engines_vs_python.py UPREZ MODEL… [--runtime NAME …] [--size WxH …] [--rounds N]
           [--threads N] [--precision P] [--seconds S] [--openvino-python PYTHON] [--json FILE]

MODEL is a checkpoint that uprez reads; the runtimes get the ONNX file that `uprez model convert` writes
of it (ONNX Runtime's fp16: in fp16; LibTorch: the same network as TorchScript). Both sides compute the
network alone: `uprez bench --network` against session.run / infer / forward with a fixed float input.
Rounds alternate between the two; the ratio is Python's median over ours (1.00: equally fast, above: ours is
faster). A runtime that is missing on either side is a row that says so.

The other side runs in a process of its own (`--worker`, used by this program itself), so that a runtime
installed elsewhere can be measured with --openvino-python PYTHON."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

RUNTIMES = ("onnxruntime", "openvino", "libtorch")


def worker(runtime, path, width, height, threads, precision):
    """Answers each line of stdin (seconds to measure) with the milliseconds of each run."""
    import numpy as np
    x = np.random.default_rng(1).random((1, 3, height, width), dtype=np.float32)
    if runtime == "onnxruntime":
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        if session.get_inputs()[0].type == "tensor(float16)":
            x = x.astype(np.float16)
        version, run = ort.__version__, lambda: session.run(None, {name: x})
    elif runtime == "openvino":
        import openvino as ov
        model = ov.Core().read_model(path)
        model.reshape([1, 3, height, width])
        hint = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}[precision]
        request = ov.Core().compile_model(model, "CPU", {
            "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
        version, run = ov.__version__.split("-")[0], lambda: request.infer([x], share_inputs=True)
    else:
        import torch
        torch.set_num_threads(threads)
        module = torch.jit.load(path).eval()
        tensor = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
        module, tensor = module.to(dtype), tensor.to(dtype)
        version = torch.__version__

        def run():
            with torch.inference_mode():
                return module(tensor)
    run()
    print(version, flush=True)
    for line in sys.stdin:
        times, end = [], time.perf_counter() + float(line)
        while len(times) < 2 or time.perf_counter() < end:
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            times.append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
        print(json.dumps(times), flush=True)


class Python:
    """The other side, alive between rounds and asleep while we measure."""

    def __init__(self, python, arguments):
        self.process = subprocess.Popen(
            [python, os.path.abspath(__file__), "--worker", *map(str, arguments)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.version = self.process.stdout.readline().strip()
        if not self.version:
            lines = self.process.communicate()[1].strip().splitlines()
            raise RuntimeError(lines[-1] if lines else "it ended at once")

    def measure(self, seconds):
        self.process.stdin.write("%g\n" % seconds)
        self.process.stdin.flush()
        times = json.loads(self.process.stdout.readline())
        return [statistics.median(t[i] for t in times) for i in (0, 1)]

    def close(self):
        self.process.communicate()


def ours(args, model, runtime, size):
    text = subprocess.run(
        [args.uprez, "bench", "-m", model, "--network", "--engine", runtime, "--size", size,
         "--precision", args.precision, "--threads", str(args.threads), "--seconds",
         str(args.seconds), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    row = json.loads(text)[0] if text.strip() else {"absent": "uprez bench failed"}
    if row.get("absent"):
        raise RuntimeError("uprez: " + row["absent"])
    return [row["ms_median"], row["cpu_ms"]], row


def convert(args, model, runtime, folder):
    out = os.path.join(folder, "model." + ("pt" if runtime == "libtorch" else "onnx"))
    if os.path.exists(out):
        os.unlink(out)
    half = ["--fp16"] if runtime == "onnxruntime" and args.precision == "fp16" else []
    done = subprocess.run([args.uprez, "model", "convert", model, out, *half], capture_output=True,
                          text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return out


def compare(args, model, runtime, size, folder):
    row = {"model": os.path.basename(model), "engine": runtime, "size": size,
           "precision": args.precision, "threads": args.threads}
    python = None
    try:
        ours(args, model, runtime, "32x32")  # there at all?
        width, height = size.split("x")
        program = args.openvino_python if runtime == "openvino" else sys.executable
        python = Python(program, (runtime, convert(args, model, runtime, folder), width, height,
                                  args.threads, args.precision))
        sides = {"python": [], "uprez": []}
        for i in range(args.rounds):
            order = ("python", "uprez") if i % 2 else ("uprez", "python")
            for side in order:
                if side == "python":
                    sides[side].append(python.measure(args.seconds))
                else:
                    result, facts = ours(args, model, runtime, size)
                    sides[side].append(result)
        middle = {s: [statistics.median(r[i] for r in sides[s]) for i in (0, 1)] for s in sides}
        row.update(version=python.version, numerics=facts["numerics"], rounds=args.rounds,
                   python_ms=middle["python"][0], uprez_ms=middle["uprez"][0],
                   python_cpu_ms=middle["python"][1], uprez_cpu_ms=middle["uprez"][1],
                   ratio=middle["python"][0] / middle["uprez"][0],
                   cpu_ratio=middle["python"][1] / middle["uprez"][1])
    except (RuntimeError, OSError) as error:
        row["absent"] = str(error)
    finally:
        if python:
            python.close()
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("uprez")
    parser.add_argument("model", nargs="+")
    parser.add_argument("--runtime", action="append", choices=RUNTIMES)
    parser.add_argument("--size", action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "bf16"))
    parser.add_argument("--seconds", type=float, default=1.5, help="each side, each round")
    parser.add_argument("--openvino-python", default=sys.executable)
    parser.add_argument("--json", help="write the rows here too")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in args.model:
            for size in args.size or ["320x180", "640x360"]:
                for runtime in args.runtime or RUNTIMES:
                    row = compare(args, model, runtime, size, folder)
                    rows.append(row)
                    start = "%-34.34s %-11s %8s %s" % (row["model"], runtime, size, args.precision)
                    if "absent" in row:
                        print(start, "absent:", row["absent"], flush=True)
                    else:
                        print(start, "Python %(python_ms)8.1f ms (CPU %(python_cpu_ms)8.1f), uprez "
                              "%(uprez_ms)8.1f ms (CPU %(uprez_cpu_ms)8.1f): %(ratio).2f, by CPU "
                              "%(cpu_ratio).2f" % row, flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)


if len(sys.argv) > 1 and sys.argv[1] == "--worker":
    worker(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), sys.argv[7])
else:
    main()
