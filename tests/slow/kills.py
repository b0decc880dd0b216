#!/usr/bin/env python3
"""kill -9 at random moments: the same command ends in the bytes of an undisturbed run.

kills.py UPREZ [KILLS [SEED]]  (300 kills: a quarter of an hour). About half of them hit the join, the check
and the clean-up; some runs are killed several times. A slow run (its clock says so: it is stopped for a while)
has a spool in its folder.
"""
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

UPREZ = os.path.abspath(sys.argv[1])
KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 300
RNG = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 14)


def ffmpeg(*args):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *args], check=True)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class Case:
    """One command, its undisturbed result and how long that takes."""

    def __init__(self, name, out, *options):
        self.name, self.out = name, out
        self.command = [UPREZ, "-q", "--preset", "ultrafast", *options, "in.mkv", out]
        begun = time.monotonic()
        subprocess.run(self.command, check=True)
        self.seconds = time.monotonic() - begun
        self.digest = digest(out)
        self.clear()

    def clear(self):
        for f in (self.out, self.out + ".part"):
            if os.path.exists(f):
                os.unlink(f)
        shutil.rmtree(self.out + ".uprez", ignore_errors=True)

    def phase(self):
        if os.path.exists(self.out):
            return "clean-up"
        if os.path.exists(self.out + ".part"):
            return "join"
        return "segments" if os.path.isdir(self.out + ".uprez") else "before"


def killed(case):
    """A run that is killed; the phase it was in, or None when it was quicker."""
    p = subprocess.Popen(case.command, stderr=subprocess.DEVNULL)
    late = RNG.random() < 0.6
    if late:
        while p.poll() is None and not os.path.exists(case.out + ".part") and not os.path.exists(case.out):
            time.sleep(0.0005)
        time.sleep(RNG.random() * 0.03)
    else:
        if RNG.random() < 0.15:
            while p.poll() is None and not os.path.isdir(case.out + ".uprez/seg"):
                time.sleep(0.001)
            p.send_signal(signal.SIGSTOP)
            time.sleep(7.5)
            p.send_signal(signal.SIGCONT)
        time.sleep(RNG.random() * case.seconds)
    if p.poll() is not None:
        return None
    p.kill()
    p.wait()
    return case.phase()


def main():
    there = tempfile.mkdtemp()
    os.chdir(there)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=24", "-f", "lavfi", "-i",
           "sine=duration=24", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "60", "-c:a", "aac", "in.mkv")
    cases = [Case("mkv", "o.mkv", "-m", "lanczos"), Case("mp4", "o.mp4", "-m", "bicubic"),
             Case("network", "n.mkv", "-m", "uprez-video-2x", "--frames", "150")]
    done, runs, wrong, seen = 0, 0, 0, {}
    while done < KILLS:
        case = cases[runs % len(cases)]
        runs += 1
        times = 0
        while done < KILLS and times < 6 and (times == 0 or RNG.random() < 0.5):
            phase = killed(case)
            if phase is None:
                break
            done += 1
            times += 1
            seen[phase] = seen.get(phase, 0) + 1
            if phase == "clean-up" and digest(case.out) != case.digest:
                wrong += 1
                print(f"{case.name}: a result with its name and other bytes")
        there_is = os.path.exists(case.out)
        end = subprocess.run(case.command, stderr=subprocess.PIPE, text=True)
        # a run that was killed behind its clean-up, or had ended before, left nothing to do
        if end.returncode and not (there_is and end.returncode == 2 and "-y overwrites" in end.stderr):
            wrong += 1
            print(f"{case.name}: exit {end.returncode} after {times} kills: {end.stderr.strip()}")
        elif digest(case.out) != case.digest:
            wrong += 1
            print(f"{case.name}: other bytes after {times} kills")
        elif end.returncode == 0 and (os.path.isdir(case.out + ".uprez") or os.path.exists(case.out + ".part")):
            wrong += 1
            print(f"{case.name}: something is left after {times} kills")
        case.clear()
    shutil.rmtree(there)
    print(f"{done} kills in {runs} jobs ({', '.join(f'{k} {v}' for k, v in sorted(seen.items()))}): {wrong} wrong")
    return wrong != 0


sys.exit(main())
