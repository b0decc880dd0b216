#!/usr/bin/env python3
"""The same upscaling done in every way that this machine has: eager PyTorch, torch.compile, the network
alone on each engine, network + colour conversion, FFmpeg's dnn_processing with LibTorch, our FFmpeg filter,
and the whole command. What is missing is a row that says why.

usage: bench/scenarios.sh UPREZ MODEL[=WxH] … [--budget S] [--threads N] [--precision P] [--out DIR]
                          [--ffmpeg FFMPEG] [--clip FILE] [--engines A,B]
       bench/scenarios.sh --markdown JSON … [--into FILE]

MODEL is a checkpoint; WxH the input's size, 1280x720 by default. On a processor one picture of a large
network takes minutes: give a smaller size, to which the frames are scaled and which every row then names. Each
row measures for about --budget seconds, at least one picture after a warm-up. FFMPEG should have our filter and
dnn_processing; frames are those of --clip, or ffmpeg's test pictures. Writes scenarios.json, scenarios.md and
scenarios.svg into --out; --markdown makes the tables of such files anew, --into puts them into a page between
its lines '<!-- scenarios -->' and '<!-- /scenarios -->'.

Columns: fps; x real time (of 24 fps); user, system and wall ms a picture; ms of the stages: the network (that of
the network-alone row of the same engine), the colour conversion, the codecs (measured without a network) and
what is left; MB copied a picture (RECKONED from formats and sizes, not measured: what passes between decoder,
converter, network and encoder); share of time outside network and codecs. FFmpeg and the command are timed by a
short and a longer run, so that starting up does not count."""
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

ENGINES = ("cpu", "cuda", "onnxruntime", "openvino", "libtorch", "tensorrt")


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
        self.alone = {}    # what: ms of the codecs alone

    def megabytes(self, kind):
        """Reckoned: yuv420p in and out 1.5 bytes a pixel, float RGB 12; each written and read once."""
        pixels = self.width * self.height
        out = pixels * self.scale ** 2
        floats = 12 * (pixels + out)
        planes = 1.5 * (pixels + out)
        return {"network": floats, "convert": floats + planes, "own": planes,
                # dnn_processing: rgb24 each way, to and from float
                "dnn": floats + planes + 6 * (pixels + out),
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
        self.args.save()  # what is there is kept when the rest is cut off

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

    def loaded(self, folder):
        import spandrel
        out = os.path.join(folder, "model.safetensors")
        run([self.args.uprez, "model", "convert", "-y", self.model, out])
        return spandrel.ModelLoader(device="cpu").load_from_file(out).model.float().eval()

    def pytorch(self, compiled, folder):
        import torch
        torch.set_num_threads(self.args.threads)
        net = self.loaded(folder)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.args.precision, torch.float32)
        net = net.to(dtype, memory_format=torch.channels_last)
        x = torch.rand(1, 3, self.height, self.width, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        if compiled:
            net = torch.compile(net)
        walls = []
        with torch.inference_mode():
            for _ in range(2 if compiled else 1):
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

    def ffmpeg(self, *options):
        return run([self.args.ffmpeg, "-nostdin", "-v", "error", "-y", *options])

    def clip(self, folder, frames):
        path = os.path.join(folder, "%s-%d.mkv" % (self.size, frames))
        if not os.path.exists(path):
            source = ["-i", self.args.clip] if self.args.clip else ["-f", "lavfi", "-i", "testsrc2=s=%s:r=24" % self.size]
            self.ffmpeg(*source, "-map", "0:v:0", "-vf", "scale=%d:%d" % (self.width, self.height), "-frames:v",
                        str(frames), "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "fast", path)
        return path

    def two_lengths(self, command, folder, per=None):
        """A picture's cost from a short and a longer run: starting up cancels out. per: ms of one, about."""
        per = (per or min(self.network.values(), default=1000)) / 1e3
        more = max(2, min(96, int(self.args.budget / per)))
        short, long = self.clip(folder, 2), self.clip(folder, 2 + more)
        a, b = run(command(short)), run(command(long))
        wall, user, system = ((b[i] - a[i]) * 1e3 / more for i in range(3))
        if wall <= 0:
            raise RuntimeError("the longer run was not longer: the machine is too busy to tell")
        return {"wall_ms": wall, "user_ms": max(0, user), "system_ms": max(0, system), "frames": more}

    def decoding(self, folder):
        if "decode" not in self.alone:
            self.alone["decode"] = self.two_lengths(lambda c: [self.args.ffmpeg, "-nostdin", "-v", "error", "-i", c,
                                                               "-f", "null", "-"], folder, 20)["wall_ms"]
        return self.alone["decode"]

    def codecs(self, folder):
        """Decoding the source and encoding a result of the same size, alone."""
        big = "%d:%d" % (self.width * self.scale, self.height * self.scale)
        if "codecs" not in self.alone:
            self.alone["codecs"] = self.two_lengths(lambda c: [
                self.args.ffmpeg, "-nostdin", "-v", "error", "-i", c, "-vf", "scale=%s:flags=neighbor" % big, "-c:v",
                "libx264", "-crf", "17", "-threads", str(self.args.threads), "-f", "null", "-"], folder, 50)["wall_ms"]
        return self.alone["codecs"]

    def stages(self, row, engine, codec_ms):
        row["network_ms"] = min(self.network.get(engine, 0), row["wall_ms"])
        row["codec_ms"] = min(codec_ms, row["wall_ms"] - row["network_ms"])
        row["rest_ms"] = row["wall_ms"] - row["network_ms"] - row["codec_ms"]
        return row

    def here(self, engine):
        """Raises when the network alone did not run."""
        if engine not in self.network:
            raise RuntimeError(self.missing.get(engine, "see the network alone"))

    def command(self, engine, folder):
        self.here(engine)
        r = self.two_lengths(lambda c: [self.args.uprez, c, os.path.join(folder, "out.mkv"), "-y", "-q",
                                        "-m", self.model, "--engine", engine, "--precision",
                                        self.args.precision, "--threads", str(self.args.threads),
                                        "--no-resume"], folder, self.network[engine])
        return self.stages(r, engine, self.codecs(folder))

    def dnn_processing(self, folder):
        listing = run([self.args.ffmpeg, "-v", "error", "-h", "filter=dnn_processing"])[3]
        if not re.search(r"^\s+torch\s", listing, re.M):
            raise RuntimeError("this ffmpeg's dnn_processing has no backend 'torch'")
        import torch  # traced, as people do it today
        script = os.path.join(folder, "model.pt")
        with torch.inference_mode():
            torch.jit.trace(self.loaded(folder), torch.rand(1, 3, self.height, self.width)).save(script)
        # one request: FFmpeg 9.0.2 crashes with more
        r = self.two_lengths(lambda c: [
            self.args.ffmpeg, "-nostdin", "-v", "error", "-i", c, "-vf", "format=rgb24,dnn_processing="
            "dnn_backend=torch:nireq=1:model=%s,format=yuv420p" % script, "-f", "null", "-"], folder,
            self.network.get("libtorch"))
        return self.stages(r, "libtorch", self.decoding(folder))

    def filter(self, engine, folder):
        self.here(engine)
        if " uprez " not in run([self.args.ffmpeg, "-v", "error", "-filters"])[3]:
            raise RuntimeError("this ffmpeg has no filter 'uprez'")
        r = self.two_lengths(lambda c: [
            self.args.ffmpeg, "-nostdin", "-v", "error", "-i", c, "-vf", "uprez=model=%s:engine=%s:precision=%s:threads=%d"
            % (self.model, engine, self.args.precision, self.args.threads), "-f", "null", "-"], folder,
            self.network[engine])
        return self.stages(r, engine, self.decoding(folder))

    def all(self, folder):
        engines = self.args.engines.split(",")
        self.missing = {}
        for engine in engines:
            self.add("network alone, %s" % engine, "network", lambda: self.bench(engine, True))
            self.missing[engine] = self.rows[-1].get("absent")
        self.add("PyTorch, eager", "network", lambda: self.pytorch(False, folder))
        self.add("PyTorch, torch.compile", "network", lambda: self.pytorch(True, folder))
        for engine in engines:
            self.add("network + colour, %s" % engine, "own" if engine == "cpu" else "convert",
                     lambda: self.bench(engine, False))
        self.add("FFmpeg dnn_processing, LibTorch", "dnn", lambda: self.dnn_processing(folder))
        for engine in engines:
            self.add("FFmpeg filter uprez, %s" % engine, "own" if engine == "cpu" else "convert",
                     lambda: self.filter(engine, folder))
        for engine in engines:
            self.add("whole command, %s" % engine, "own command" if engine == "cpu" else "command",
                     lambda: self.command(engine, folder))


STAGES = (("network_ms", "network"), ("convert_ms", "colour"), ("codec_ms", "codecs"), ("rest_ms", "rest"))


def markdown(data):
    """The tables, a model each; what is absent stands below."""
    lines = []
    for model in dict.fromkeys(r["model"] for r in data["rows"]):
        rows = [r for r in data["rows"] if r["model"] == model]
        lines += ["### %s, frames of %s" % (model, rows[0]["size"]), "",
                  "%s; %s, %d threads; %s. ms are a picture's." % (data["machine"], rows[0]["precision"], rows[0]["threads"],
                                                                   data["versions"]), ""]
        if rows[0]["size"] != "1280x720":
            lines += ["The frames were scaled down from 1280x720 for this machine.", ""]
        lines += ["| scenario | fps | x real time | wall | user | system | " + " | ".join(s[1] for s in STAGES) +
                  " | MB copied | outside |", "|---|" + "---:|" * (7 + len(STAGES))]
        for r in rows:
            if "absent" in r:
                lines.append("| %s | absent%s" % (r["scenario"], " |" * (7 + len(STAGES))))
                continue
            stages = ["%.0f" % r[k] if k in r else "" for k, _ in STAGES]
            lines.append("| %s | %.3g | %.2g | %.0f | %.0f | %.0f | %s | %.1f | %.0f %% |" %
                         (r["scenario"], r["fps"], r["real_time"], r["wall_ms"], r["user_ms"], r["system_ms"],
                          " | ".join(stages), r["mb_copied_reckoned"], 100 * r["share_outside"]))
        why = {}
        for r in rows:
            if "absent" in r:
                why.setdefault(re.sub(r" \(looked in.*?\)(?=;|$)|/\S*/", " ", r["absent"]), []).append(r["scenario"])
        lines += [""] + ["Absent: %s: %s" % ("; ".join(s), re.sub(r" +", " ", reason)) for reason, s in why.items()] + [""]
    return "\n".join(lines)


def put_into(path, text):
    begin, end = "<!-- scenarios -->\n", "<!-- /scenarios -->\n"
    with open(path) as f:
        page = f.read()
    if begin not in page or end not in page:
        raise SystemExit("%s has no lines %s%s" % (path, begin, end))
    with open(path, "w") as f:
        f.write(page[:page.index(begin)] + begin + "\n" + text + "\n" + page[page.index(end):])


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


def versions(args):
    """What took part, as far as it is here."""
    said = [run([args.uprez, "--version"])[3].split("\n")[0],
            run([args.ffmpeg, "-version"])[3].split(" Copyright")[0].replace("version ", "")]
    for name in ("torch",):
        try:
            said.append("%s %s" % (name, __import__(name).__version__))
        except ImportError:
            pass
    for e in json.loads(run([args.uprez, "devices", "--json"])[3]):
        said += ["%s %s" % (e["engine"], d["version"]) for d in e["devices"] if d.get("version")]
    return ", ".join(dict.fromkeys(said))


def measure(args):
    args.uprez = os.path.abspath(shutil.which(args.uprez) or args.uprez)
    level = run([args.uprez, "devices"])[3].split("\n")[0]
    data = {"machine": "%s, load %.1f at the start" % (level, os.getloadavg()[0]), "versions": versions(args), "rows": []}
    os.makedirs(args.out, exist_ok=True)

    def save():
        with open(os.path.join(args.out, "scenarios.json"), "w") as f:
            json.dump(data, f, indent=1)
        with open(os.path.join(args.out, "scenarios.md"), "w") as f:
            f.write(markdown(data))
        plot(data["rows"], os.path.join(args.out, "scenarios.svg"))

    args.save = save
    print("%s; sizes are as given, frames as many as fit %g s a row" % (data["machine"], args.budget))
    start = time.perf_counter()
    for item in args.model:
        found = re.fullmatch(r"(.*)=(\d+x\d+)", item)
        model, size = found.groups() if found else (item, "1280x720")
        with tempfile.TemporaryDirectory() as folder:
            case = Case(args, os.path.abspath(model) if os.path.exists(model) else model, size)
            case.rows = data["rows"]
            case.all(folder)
    print("%.0f s in all" % (time.perf_counter() - start))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("uprez", nargs="?")
    p.add_argument("model", nargs="*", help="MODEL or MODEL=WxH")
    p.add_argument("--budget", type=float, default=5, help="seconds a row")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--precision", default="fp32")
    p.add_argument("--engines", default=",".join(ENGINES))
    p.add_argument("--ffmpeg", default="ffmpeg")
    p.add_argument("--clip")
    p.add_argument("--out", default=".")
    p.add_argument("--markdown", nargs="+", metavar="JSON")
    p.add_argument("--into")
    args = p.parse_args()
    if args.markdown:
        tables = []
        for path in args.markdown:
            with open(path) as f:
                tables.append(markdown(json.load(f)))
        if args.into:
            put_into(args.into, "\n".join(tables))
        else:
            print("\n".join(tables))
        return 0
    if not args.uprez or not args.model:
        p.error("a program and models, or --markdown")
    measure(args)
    return 0


sys.exit(main())
