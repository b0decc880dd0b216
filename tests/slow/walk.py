#!/usr/bin/env python3
"""Every clip of a folder, whole and put into other containers: as many pictures as FFmpeg shows.

walk.py UPREZ MEDIA [CONTAINER…]   (mp4 mkv mov ts avi nut by default; half an hour)

Told: exit 0 with another number of pictures than ffprobe counts in the source, and files that are exit 8 only in
another container. Exit 8 is a sentence about the source, which is printed.
"""
import os
import shutil
import subprocess
import sys
import tempfile

UPREZ, MEDIA = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
KINDS = sys.argv[3:] or ["mp4", "mkv", "mov", "ts", "avi", "nut"]


def count(path):
    p = subprocess.run(["ffprobe", "-v", "quiet", "-count_frames", "-select_streams", "V:0", "-show_entries",
                        "stream=nb_read_frames", "-of", "csv=p=0", path], capture_output=True, text=True)
    text = p.stdout.strip().split("\n")[0].strip(",")
    return int(text) if text.isdigit() else 0


def enlarge(path):
    for f in ("o.mkv", "o.mkv.part"):
        if os.path.exists(f):
            os.unlink(f)
    shutil.rmtree("o.mkv.uprez", ignore_errors=True)
    p = subprocess.run([UPREZ, "-q", "-m", "lanczos", "-s", "0.25", "--interlaced", "keep",
                        "--preset", "ultrafast", path, "o.mkv"], stderr=subprocess.PIPE, text=True, errors="replace")
    return p.returncode, p.stderr.strip().split("\n")[-1]


def main():
    there = tempfile.mkdtemp()
    os.chdir(there)
    odd = files = 0
    for name in sorted(os.listdir(MEDIA)):
        source = os.path.join(MEDIA, name)
        if not os.path.isfile(source):
            continue
        whole, said = enlarge(source)
        for kind in [None] + KINDS:
            path, code = source, whole
            if kind:
                path = "in." + kind
                made = subprocess.run(["ffmpeg", "-nostdin", "-v", "quiet", "-y", "-i", source, "-map", "0:V:0", "-map",
                                       "0:a:0?", "-c", "copy", path]).returncode
                if made or not count(path):
                    continue
                code, said = enlarge(path)
            files += 1
            about = f"{name} in {kind}" if kind else name
            want, got = count(path), count("o.mkv") if code in (0, 8) else -1
            if code == 0 and got != want:
                odd += 1
                print(f"{about}: exit 0 with {got} pictures, FFmpeg shows {want}", flush=True)
            elif code and code != whole:
                odd += 1
                print(f"{about}: exit {code}, the whole clip {whole}: {said}", flush=True)
            elif code:
                print(f"{about}: exit {code} with {got} of {want}: {said}", flush=True)
    os.chdir("/")
    shutil.rmtree(there)
    print(f"{files} files, {odd} odd")
    return odd != 0


sys.exit(main())
