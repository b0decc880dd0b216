#!/usr/bin/env python3
"""The same upscaling done in every way that this machine has: eager PyTorch, torch.compile, the network
alone on each engine, network + colour conversion, FFmpeg's dnn_processing with LibTorch, our FFmpeg filter,
and the whole command. What is missing is a row that says why.

usage: bench/scenarios.sh UPREZ MODEL[=WxH] … [--budget S] [--threads N] [--precision P] [--out DIR]

MODEL is a checkpoint; WxH the input's size, 1280x720 by default. On a processor one picture of a large
network takes minutes: give a smaller size, which every row then names. Each row measures for about --budget
seconds, at least one picture after a warm-up. Writes scenarios.json and scenarios.svg into --out.

Columns: fps; x real time (of 24 fps); ms of the network, the conversion, the codecs and what is left; user,
system and wall ms a picture; MB copied a picture (RECKONED from formats and sizes, not measured: what passes
between decoder, converter, network and encoder); share of time outside network and codecs (against the
network-alone row of the same engine)."""
import argparse
import html
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ENGINES = ("cpu", "onnxruntime", "openvino", "libtorch")


def spent(who):
    r = resource.getrusage(who)
    return r.ru_utime, r.ru_stime


def run(command):
    """Wall, user and system seconds of a command; RuntimeError with its last line if it fails."""
    before, start = spent(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, spent(resource.RUSAGE_CHILDREN)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else "exit %d" % done.returncode)
    return wall, after[0] - before[0], after[1] - before[1], done.stdout


class Case:
    def __init__(self, args, model, size):
        self.args, self.model = args, model
        self.width, self.height = map(int, size.split("x"))
        self.size, self.rows = size, []
        info = json.loads(run([args.uprez, "model", "info", "--json", model])[3])
        self.scale = info["scale"]
        self.network = {}  # engine: ms of the network alone

    def megabytes(self, kind):
        """Reckoned: yuv420p in and out 1.5 bytes a pixel, float RGB 12; each written and read once."""
        pixels = self.width * self.height
        out = pixels * self.scale ** 2
        floats = 12 * (pixels + out)
        planes = 1.5 * (pixels + out)
        return {"network": floats, "convert": floats + planes, "own": planes,
                "command": floats + 2 * planes, "own command": 2 * planes}[kind] / 1e6

    def add(self, what, kind, function):
        row = {"model": os.path.basename(self.model), "size": self.size, "scenario": what,
               "precision": self.args.precision, "threads": self.args.threads}
        try:
            row.update(function())
            row["fps"] = 1000 / row["wall_ms"]
            row["real_time"] = row["fps"] / 24
            row["mb_copied_reckoned"] = self.megabytes(kind)
            network = row.get("network_ms", row["wall_ms"])
            codecs = row.get("codec_ms", 0)
            row["share_outside"] = max(0, 1 - (network + codecs) / row["wall_ms"])
        except (RuntimeError, OSError, ImportError, KeyError, ValueError) as error:
            row["absent"] = " ".join(str(error).split())[:240]
        self.rows.append(row)
        print(text_of(row), flush=True)

    def bench(self, engine, network):
        command = [self.args.uprez, "bench", "-m", self.model, "--engine", engine, "--size", self.size,
                   "--precision", self.args.precision, "--threads", str(self.args.threads),
                   "--seconds", str(self.args.budget), "--json"] + (["--network"] if network else [])
        r = json.loads(run(command)[3])[0]
        if r.get("absent"):
            raise RuntimeError(r["absent"])
        row = {"wall_ms": r["ms_median"], "user_ms": r["user_ms"], "system_ms": r["system_ms"]}
        if network:
            self.network[engine] = row["wall_ms"]
        row["network_ms"] = min(self.network.get(engine, row["wall_ms"]), row["wall_ms"])
        row["convert_ms"] = row["wall_ms"] - row["network_ms"]
        return row

    def pytorch(self, compiled, folder):
        import torch
        torch.set_num_threads(self.args.threads)
        out = os.path.join(folder, "model.safetensors")
        run([self.args.uprez, "model", "convert", "-y", self.model, out])
        import spandrel
        net = spandrel.ModelLoader().load_from_file(out).model.eval()
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.args.precision, torch.float32)
        net = net.to(dtype, memory_format=torch.channels_last)
        x = torch.rand(1, 3, self.height, self.width, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        if compiled:
            net = torch.compile(net)
        walls = []
        with torch.inference_mode():
            net(x)
            user, system = spent(resource.RUSAGE_SELF)
            end = time.perf_counter() + self.args.budget
            while not walls or time.perf_counter() < end:
                start = time.perf_counter()
                net(x)
                walls.append((time.perf_counter() - start) * 1e3)
        after = spent(resource.RUSAGE_SELF)
        return {"wall_ms": sorted(walls)[len(walls) // 2], "network_ms": sorted(walls)[len(walls) // 2],
                "user_ms": (after[0] - user) * 1e3 / len(walls),
                "system_ms": (after[1] - system) * 1e3 / len(walls)}

    def clip(self, folder, frames):
        path = os.path.join(folder, "%s-%d.mkv" % (self.size, frames))
        if not os.path.exists(path):
            run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=%s:r=24" % self.size, "-frames:v",
                 str(frames), "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "fast", path])
        return path

    def two_lengths(self, command, folder):
        """A picture's cost from a short and a longer run: starting up cancels out."""
        per = self.network.get("cpu", 1000) / 1e3
        more = max(2, min(48, int(self.args.budget / per)))
        a = run(command(self.clip(folder, 2)))
        b = run(command(self.clip(folder, 2 + more)))
        wall, user, system = ((b[i] - a[i]) * 1e3 / more for i in range(3))
        if wall <= 0:
            raise RuntimeError("the longer run was not longer: the machine is too busy to tell")
        return {"wall_ms": wall, "user_ms": user, "system_ms": system, "frames": more}

    def codecs(self, folder):
        """Decoding the source and encoding a result of the same size, alone."""
        big = "%d:%d" % (self.width * self.scale, self.height * self.scale)
        r = self.two_lengths(lambda c: ["ffmpeg", "-v", "error", "-i", c, "-vf", "scale=%s:flags=neighbor" % big,
                                        "-c:v", "libx264", "-crf", "17", "-threads",
                                        str(self.args.threads), "-f", "null", "-"], folder)
        return r["wall_ms"]

    def command(self, engine, folder):
        r = self.two_lengths(lambda c: [self.args.uprez, c, os.path.join(folder, "out.mkv"), "-y", "-q",
                                        "-m", self.model, "--engine", engine, "--precision",
                                        self.args.precision, "--threads", str(self.args.threads),
                                        "--no-resume"], folder)
        r["network_ms"] = min(self.network.get(engine, 0), r["wall_ms"])
        r["codec_ms"] = min(self.codecs(folder), r["wall_ms"] - r["network_ms"])
        r["rest_ms"] = r["wall_ms"] - r["network_ms"] - r["codec_ms"]
        return r

    def dnn_processing(self, folder):
        listing = run(["ffmpeg", "-v", "error", "-h", "filter=dnn_processing"])[3]
        if not re.search(r"^\s+torch\s", listing, re.M):
            raise RuntimeError("this ffmpeg's dnn_processing has no backend 'torch'")
        script = os.path.join(folder, "model.pt")
        run([self.args.uprez, "model", "convert", "-y", self.model, script])
        return self.two_lengths(lambda c: [
            "ffmpeg", "-v", "error", "-i", c, "-vf", "format=rgb24,dnn_processing=dnn_backend=torch:model=%s"
            ":input=x:output=y,format=yuv420p" % script, "-f", "null", "-"], folder)

    def filter(self, engine, folder):
        if " uprez " not in run(["ffmpeg", "-v", "error", "-filters"])[3]:
            raise RuntimeError("this ffmpeg has no filter 'uprez'")
        return self.two_lengths(lambda c: ["ffmpeg", "-v", "error", "-i", c, "-vf", "uprez=model=%s:engine=%s"
                                           % (self.model, engine), "-f", "null", "-"], folder)

    def all(self, folder):
        for engine in ENGINES:
            self.add("network alone, %s" % engine, "network", lambda: self.bench(engine, True))
        self.add("PyTorch, eager", "network", lambda: self.pytorch(False, folder))
        self.add("PyTorch, torch.compile", "network", lambda: self.pytorch(True, folder))
        for engine in ENGINES:
            self.add("network + colour, %s" % engine, "own" if engine == "cpu" else "convert",
                     lambda: self.bench(engine, False))
        self.add("FFmpeg dnn_processing, LibTorch", "command", lambda: self.dnn_processing(folder))
        for engine in ENGINES:
            self.add("FFmpeg filter uprez, %s" % engine, "own" if engine == "cpu" else "convert",
                     lambda: self.filter(engine, folder))
        for engine in ENGINES:
            self.add("whole command, %s" % engine, "own command" if engine == "cpu" else "command",
                     lambda: self.command(engine, folder))


def text_of(r):
    start = "%-24.24s %9s %-32s " % (r["model"], r["size"], r["scenario"])
    if "absent" in r:
        return start + "absent: " + r["absent"]
    stages = " ".join("%s %.0f" % (k[:-3], r[k]) for k in ("network_ms", "convert_ms", "codec_ms", "rest_ms")
                      if k in r)
    return start + ("%7.3f fps %7.4fx  wall %.0f user %.0f sys %.0f ms  [%s]  %.1f MB  outside %.0f %%" %
                    (r["fps"], r["real_time"], r["wall_ms"], r["user_ms"], r["system_ms"], stages,
                     r["mb_copied_reckoned"], 100 * r["share_outside"]))


def plot(rows, path):
    """Bars of fps, each model's longest full width."""
    done = [r for r in rows if "absent" not in r]
    most = {}
    for r in done:
        most[r["model"]] = max(most.get(r["model"], 0), r["fps"])
    lines, y = [], 20
    for model in most:
        of = [r for r in done if r["model"] == model]
        lines.append('<text x="10" y="%d" font-weight="bold">%s, %s, %s: pictures a second</text>' %
                     (y, html.escape(model), of[0]["size"], of[0]["precision"]))
        for r in of:
            y += 20
            lines.append('<text x="10" y="%d">%s</text><rect x="250" y="%d" width="%.1f" height="14" '
                         'fill="#4878a8"/><text x="%.1f" y="%d">%.3f</text>' %
                         (y, html.escape(r["scenario"]), y - 11, 380 * r["fps"] / most[model],
                          256 + 380 * r["fps"] / most[model], y, r["fps"]))
        y += 34
    with open(path, "w") as f:
        f.write('<svg xmlns="http://www.w3.org/2000/svg" width="720" height="%d" font-family="sans-serif" '
                'font-size="12">\n<rect width="100%%" height="100%%" fill="white"/>\n%s\n</svg>\n' %
                (y, "\n".join(lines)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("uprez")
    p.add_argument("model", nargs="+", help="MODEL or MODEL=WxH")
    p.add_argument("--budget", type=float, default=5, help="seconds a row")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--precision", default="fp32")
    p.add_argument("--out", default=".")
    args = p.parse_args()
    args.uprez = shutil.which(args.uprez) or args.uprez
    print("load %.1f on %d processors; sizes are as given, frames as many as fit %g s a row"
          % (os.getloadavg()[0], os.cpu_count(), args.budget))
    rows = []
    for item in args.model:
        found = re.fullmatch(r"(.*)=(\d+x\d+)", item)
        model, size = found.groups() if found else (item, "1280x720")
        with tempfile.TemporaryDirectory() as folder:
            case = Case(args, model, size)
            case.all(folder)
        rows += case.rows
    with open(os.path.join(args.out, "scenarios.json"), "w") as f:
        json.dump(rows, f, indent=1)
    plot(rows, os.path.join(args.out, "scenarios.svg"))
    return 0


sys.exit(main())
