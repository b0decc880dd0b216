#!/usr/bin/env python3
"""Random damage: never exit 0 with something wrong that could have been known.

damage.py UPREZ job [N [SEED]]    the files of a job that was killed (200 by default): a segment, its note, the
                                  plan, the spool are changed, cut off or removed; the same command ends in the
                                  bytes of an undisturbed run, or refuses.
damage.py UPREZ clips MEDIA [N [SEED]]   eight real clips (500 by default): cut off, overwritten, bytes changed,
                                  parts removed or twice. After exit 0, ffprobe's count of pictures and the seconds
                                  of sound are compared with what the damaged file itself promises.
"""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

UPREZ = os.path.abspath(sys.argv[1])
CLIPS = ["countdown_320x240.mp4", "webcam_640x480_vfr.mov", "face_ass.mkv", "face_1080x720.mp4",
         "realshort_320x240_aac.mp4", "sky_960x400_mpeg4_mp3.avi", "vp9_10bit_426x240.webm", "chapters.mkv"]


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def clear(out):
    for f in (out, out + ".part"):
        if os.path.exists(f):
            os.unlink(f)
    shutil.rmtree(out + ".uprez", ignore_errors=True)


# ---- a job's own files ----

def harm(path, rng):
    data = bytearray(open(path, "rb").read())
    kind = rng.choice(["flip", "zero", "cut", "gone", "grow", "swap"])
    at = rng.randrange(max(len(data), 1))
    if kind == "gone":
        os.unlink(path)
        return kind
    if kind == "flip" and data:
        for _ in range(rng.choice([1, 3, 40])):
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    elif kind == "zero":
        data[at:at + 500] = bytes(len(data[at:at + 500]))
    elif kind == "cut":
        del data[at:]
    elif kind == "grow":
        data += bytes(rng.randrange(256) for _ in range(rng.randrange(1, 2000)))
    else:
        half = len(data) // 2
        data = data[half:] + data[:half]
    open(path, "wb").write(data)
    return kind


def job(n, seed):
    rng = random.Random(seed)
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=24", "-pix_fmt",
                    "yuv420p", "-c:v", "libx264", "-g", "60", "in.mkv"], check=True)
    command = [UPREZ, "-q", "-m", "uprez-video-2x", "--frames", "260", "--preset", "ultrafast", "in.mkv", "o.mkv"]
    subprocess.run(command, check=True)
    want = digest("o.mkv")
    clear("o.mkv")
    while True: # a run that is killed in its second segment, with a spool
        p = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while p.poll() is None and not os.path.exists("o.mkv.uprez/seg/0.json"):
            time.sleep(0.001)
        p.send_signal(signal.SIGSTOP)
        time.sleep(7.5)
        p.send_signal(signal.SIGCONT)
        spool = "o.mkv.uprez/seg/1.spool"
        while p.poll() is None and not (os.path.exists(spool) and os.path.getsize(spool) > 200000):
            time.sleep(0.001)
        p.kill()
        p.wait()
        if os.path.exists(spool):
            break
        clear("o.mkv")
    shutil.move("o.mkv.uprez", "save")
    wrong, refused = 0, 0
    for i in range(n):
        shutil.copytree("save", "o.mkv.uprez")
        files = sorted(os.path.join(d, f) for d, _, fs in os.walk("o.mkv.uprez") for f in fs)
        told = [(os.path.basename(f), harm(f, rng)) for f in rng.sample(files, rng.choice([1, 1, 2]))]
        for attempt in range(3):
            end = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            if end.returncode == 0:
                break
        if end.returncode:
            refused += 1
            if end.returncode not in (2, 7, 8):
                wrong += 1
                print(f"{i} {told}: exit {end.returncode} {end.stderr.strip()}", flush=True)
        elif digest("o.mkv") != want:
            wrong += 1
            print(f"{i} {told}: exit 0 with other bytes", flush=True)
        clear("o.mkv")
        if i % 25 == 24:
            print(f"{i + 1} done, {refused} refused, {wrong} wrong", file=sys.stderr, flush=True)
    print(f"{n} damages of a job's files: {refused} refused, {wrong} wrong")
    return wrong


# ---- clips ----

def spoil(data, rng):
    data = bytearray(data)
    kind = rng.choice(["cut", "zero", "noise", "flip", "remove", "twice", "head", "tail"])
    at, n = rng.randrange(len(data)), rng.choice([100, 1000, 20000])
    if kind == "cut":
        del data[at:]
    elif kind == "zero":
        data[at:at + n] = bytes(len(data[at:at + n]))
    elif kind == "noise":
        data[at:at + n] = bytes(rng.randrange(256) for _ in range(len(data[at:at + n])))
    elif kind == "flip":
        for _ in range(rng.choice([1, 10, 100])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "remove":
        del data[at:at + n]
    elif kind == "twice":
        data[at:at] = data[at:at + n]
    elif kind == "head":
        at = rng.randrange(min(4096, len(data)))
        data[at] ^= rng.randrange(1, 256)
    else:
        at = len(data) - 1 - rng.randrange(min(4096, len(data)))
        data[at] ^= rng.randrange(1, 256)
    return kind, bytes(data)


def look(path):
    """Pictures, seconds of sound, and what the file promises of both."""
    p = subprocess.run(["ffprobe", "-v", "quiet", "-of", "json", "-show_entries",
                        "stream=index,codec_type,nb_frames,nb_read_frames,duration,avg_frame_rate:format=duration:"
                        "stream_disposition=attached_pic", "-count_frames", path],
                       capture_output=True, text=True, errors="replace", timeout=120)
    try:
        o = json.loads(p.stdout or "{}")
    except json.JSONDecodeError:
        return None
    r = {"frames": 0, "promised": None, "sound": 0.0, "duration": float(o.get("format", {}).get("duration", 0) or 0)}
    for s in o.get("streams", []):
        if s["codec_type"] == "video" and not s.get("disposition", {}).get("attached_pic") and not r["frames"]:
            r["frames"] = int(s.get("nb_read_frames", 0) or 0)
            if s.get("nb_frames", "").isdigit(): # an edit list hides some of them, also for a damaged time
                flags = subprocess.run(["ffprobe", "-v", "quiet", "-of", "csv=p=0", "-select_streams", str(s["index"]),
                                        "-show_entries", "packet=flags", path], capture_output=True, text=True)
                r["promised"] = int(s["nb_frames"]) - sum("D" in f for f in flags.stdout.split())
    r["sound"] = seconds_of_sound(path)
    return r


def seconds_of_sound(path):
    p = subprocess.run(["ffprobe", "-v", "quiet", "-of", "csv=p=0", "-select_streams", "a:0", "-show_entries",
                        "packet=duration_time", path], capture_output=True, text=True, errors="replace", timeout=120)
    total = 0.0
    for line in p.stdout.split():
        try:
            total += float(line.strip(","))
        except ValueError:
            pass
    return total


def clips(media, n, seed):
    rng = random.Random(seed)
    names = [c for c in CLIPS if os.path.exists(os.path.join(media, c))]
    whole = {c: look(os.path.join(media, c)) for c in names}
    codes, wrong, sevens = {}, 0, {}
    for i in range(n):
        clip = names[i % len(names)]
        kind, data = spoil(open(os.path.join(media, clip), "rb").read(), rng)
        name = "in" + os.path.splitext(clip)[1]
        open(name, "wb").write(data)
        try:
            end = subprocess.run([UPREZ, "-q", "-m", "lanczos", "-s", "1", "--preset", "ultrafast", name, "o.mkv"],
                                 stderr=subprocess.PIPE, text=True, errors="replace", timeout=300)
            code, said = end.returncode, end.stderr.strip().split("\n")[-1]
        except subprocess.TimeoutExpired:
            code, said = "hangs", ""
        codes[code] = codes.get(code, 0) + 1
        if code == 0:
            got, src, ref = look("o.mkv"), look(name), whole[clip]
            lost = ref["frames"] - got["frames"]
            quiet = ref["sound"] - got["sound"]
            about = f"{i} {clip} {kind}: "
            if lost > 0 and src["promised"] and src["promised"] > got["frames"] and src["promised"] <= ref["frames"]:
                wrong += 1
                print(f"{about}exit 0, {got['frames']} pictures of {src['promised']} in the index", flush=True)
            elif lost > 1 and got["frames"] and src["frames"] > got["frames"]:
                wrong += 1
                print(f"{about}exit 0, {got['frames']} pictures, FFmpeg shows {src['frames']}", flush=True)
            elif quiet > 1 and src["sound"] > got["sound"] + 1:
                wrong += 1
                print(f"{about}exit 0, {got['sound']:.1f} s of sound, the file has {src['sound']:.1f}", flush=True)
            elif lost > 1 and src["duration"] > 0:
                shown = ref["duration"] * got["frames"] / max(ref["frames"], 1)
                if src["duration"] <= ref["duration"] + 0.1 and src["duration"] - shown > 1:
                    wrong += 1
                    print(f"{about}exit 0, {shown:.1f} s of pictures, {src['duration']:.1f} s promised", flush=True)
        elif code == 7:
            sevens[said] = sevens.get(said, 0) + 1
        elif code not in (2, 3, 8):
            wrong += 1
            print(f"{i} {clip} {kind}: {code} {said}", flush=True)
        clear("o.mkv")
        os.unlink(name)
        if i % 25 == 24:
            print(f"{i + 1} done, {wrong} wrong, exit codes {codes}", file=sys.stderr, flush=True)
    for said, k in sevens.items():
        print(f"exit 7, {k} times: {said}")
    print(f"{n} damages of {len(names)} clips: " + ", ".join(f"exit {c}: {k}" for c, k in sorted(codes.items(), key=str))
          + f"; {wrong} wrong")
    return wrong


def main():
    what, rest = sys.argv[2], sys.argv[3:]
    media = os.path.abspath(rest.pop(0)) if what == "clips" else None
    n = int(rest[0]) if rest else 500 if what == "clips" else 200
    seed = int(rest[1]) if len(rest) > 1 else 14
    there = tempfile.mkdtemp()
    os.chdir(there)
    wrong = clips(media, n, seed) if what == "clips" else job(n, seed)
    os.chdir("/")
    shutil.rmtree(there)
    return wrong != 0


sys.exit(main())
