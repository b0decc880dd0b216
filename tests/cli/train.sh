#!/bin/bash
# The trainer: 50 steps on pictures made here; the loss falls, and uprez computes from the stored file
# what the trainer computes. Skipped without PyTorch: a Python that has it can be named in
# UPREZ_TRAIN_PYTHON.
. "$(dirname "$0")/lib.sh"
for python in ${UPREZ_TRAIN_PYTHON:-} python3 none; do
    [ $python != none ] || skip "no Python with torch and Pillow; name one in UPREZ_TRAIN_PYTHON"
    "$python" -c 'import torch, PIL' 2>/dev/null && break
done
mkdir -p "$tmp/data/photo" "$tmp/data/val"
printf 'file\tsource\tauthor\tlicence\tlicence file\twhat was done\n' >"$tmp/data/MANIFEST.tsv"
scene=$SOURCE_ROOT/docs/scene/street.png
i=0
for cut in 160:180:0:0 160:180:160:0 320:96:0:84; do
    i=$((i + 1))
    ffmpeg -v error -i "$scene" -vf "crop=$cut" "$tmp/data/photo/$i.png"
    printf 'photo/%s.png\tmade here\tnobody\tCC0\t-\t-\n' $i >>"$tmp/data/MANIFEST.tsv"
done
ffmpeg -v error -i "$scene" -vf crop=200:100:60:40 "$tmp/data/val/1.png"
train() { "$python" "$SOURCE_ROOT/tools/train/train.py" "$@" --data "$tmp/data" --cache "$tmp/cache" --threads 2; }
expect 0 train --arch uprez --scale 2 --feat 16 --conv 3 --steps 50 --every 10 --out "$tmp/run"
for f in checkpoint.safetensors released.safetensors strip.png; do [ -s "$tmp/run/$f" ] || bad "no $f"; done
# a finished run has nothing left to do; a longer one goes on from it
expect 0 train --arch uprez --scale 2 --feat 16 --conv 3 --steps 50 --every 10 --out "$tmp/run"
grep -q 'step 50 of 50' "$tmp/out" || bad "the run did not go on: $(cat "$tmp/out")"
expect 0 train uprez-fast-2x --conv 5 --steps 2 --every 2 --from "$tmp/run/released.safetensors" --out "$tmp/more"
grep -q 'trunk.2' "$tmp/out" || bad "not taken from the released weights: $(cat "$tmp/out")"
# video: coded clips, and a teacher of the kind people have
expect 0 train --arch srvgg --feat 8 --conv 1 --scale 4 --steps 2 --every 2 --patch 32 --out "$tmp/teacher"
expect 1 train --arch srvgg --feat 8 --conv 1 --scale 4 --steps 2 --out "$tmp/large"
grep -q "smaller --patch" "$tmp/err" "$tmp/out" || bad "pictures that are too small: $(cat "$tmp/err")"
expect 0 train uprez-video-2x --conv 3 --steps 2 --every 2 --patch 32 --out "$tmp/video" \
    --teacher "$tmp/teacher/released.safetensors"
grep -q 'asking released.safetensors' "$tmp/out" || bad "the teacher was not asked: $(cat "$tmp/out")"
# two trainings mixed are one network again, which training goes on from
expect 0 "$python" "$SOURCE_ROOT/tools/train/blend.py" "$tmp/run/released.safetensors" \
    "$tmp/run/released.safetensors" 0.5 "$tmp/mixed"
cmp -s "$tmp/run/released.safetensors" "$tmp/mixed/released.safetensors" || bad "a file mixed with itself is another"
expect 0 train uprez-fast-2x --conv 3 --steps 2 --every 2 --from "$tmp/mixed/checkpoint.safetensors" --out "$tmp/on"

"$python" - "$tmp" "$SOURCE_ROOT/tools/train" "$UPREZ" <<'P' || bad "the trainer's output and the program's"
import json, os, subprocess, sys
import numpy as np
from PIL import Image
tmp, train, uprez = sys.argv[1:]
sys.path.insert(0, train)
import checkpoint, networks, torch

rows = [json.loads(l) for l in open(os.path.join(tmp, "run/log.jsonl"))]
assert rows[-1]["loss"] < 0.97 * rows[0]["loss"], rows
assert rows[-1]["db"] > rows[0]["db"] + 0.2, rows

# the truth is led by the teacher, within its leash, and its brightness stays
import pictures, teacher
t = teacher.Teachers([os.path.join(tmp, "teacher/released.safetensors")], 0.5)
rng = np.random.default_rng(2)
small = rng.uniform(60, 180, (1, 40, 48))
big = np.full((1, 80, 96), 120.0)
mixed = t.mixed("photo", small, big, 2)
assert 0.1 < np.abs(mixed - big).max() <= 0.5 * teacher.LEASH + 1e-6, np.abs(mixed - big).max()
assert abs(mixed.mean() - big.mean()) < 0.5
brighter = {k: torch.zeros_like(v) for k, v in checkpoint.read(os.path.join(tmp, "teacher/released.safetensors"))[0].items()}
brighter[max(k for k in brighter if k.endswith("bias"))] += 0.1
checkpoint.write(os.path.join(tmp, "brighter.safetensors"), brighter)
t = teacher.Teachers([os.path.join(tmp, "brighter.safetensors")], 0.5)
flat = t.mixed("photo", np.full((1, 40, 48), 120.0), big, 2)
assert np.abs(flat - big).max() < 0.01, "a shift of brightness was taken"

# 16-bit gray: what the program rounds is far below the limit
grey = np.random.default_rng(1).integers(12000, 52000, (23, 37)).astype(np.uint16)
small, big = os.path.join(tmp, "s.png"), os.path.join(tmp, "b.png")
Image.fromarray(grey).save(small)
released = os.path.join(tmp, "run/released.safetensors")
subprocess.run([uprez, "-q", "--precision", "fp32", "-m", released, small, big], check=True)
out = np.asarray(Image.open(big)).astype(np.float64) / 65535
x = (16 + 219 * grey.astype(np.float64) / 65535) / 255
tensors, _ = checkpoint.read(released)
with torch.no_grad():
    y = networks.chain_from(tensors, 2)(torch.from_numpy(x)[None, None].float())[0, 0].numpy()
want = np.clip((y.astype(np.float64) * 255 - 16) / 219, 0, 1)
assert out.shape == want.shape, (out.shape, want.shape)
worst = np.abs(out - want).max()
assert worst < 1e-4, worst
P
finish
