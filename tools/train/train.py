#!/usr/bin/env python3
"""Trains the networks that come with the program, and others of their kind, on a CPU or a GPU.

    train.py uprez-fast-2x --out DIR               one of the program's own; begins with its newest
                                                checkpoint, which lies in checkpoints/
    train.py --arch srvgg --feat 64 --conv 16 --scale 2 --out DIR
    train.py --arch srvgg --from FILE.safetensors --out DIR          goes on from a given file

The run writes into DIR: checkpoint.safetensors (goes on from there when started again),
released.safetensors (what the program reads, in 16 bits), strip.png (pieces of validation pictures:
bicubic, ours, true) and log.jsonl. Needs PyTorch, NumPy and Pillow.
"""
import argparse
import json
import math
import os
import signal
import sys
import time

import numpy as np
import torch

import checkpoint
import networks
import pictures
import teacher

HERE = os.path.dirname(os.path.abspath(__file__))

# What each of the program's own networks is trained with. The others begin with the first one's
# trunk.
OWN = {
    "uprez-fast-2x": dict(arch="uprez", scale=2, feat=16, conv=12, kind="clean"),
    "uprez-fast-4x": dict(arch="uprez", scale=4, feat=16, conv=12, kind="clean"),
    "uprez-video-2x": dict(arch="uprez", scale=2, feat=16, conv=12, kind="video"),
}
FOLDERS = {"photo": 1.0, "art": 0.6, "text": 0.15, "texture": 0.25}


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("name", nargs="?", choices=sorted(OWN), help="one of the program's own networks")
    p.add_argument("--arch", choices=sorted(networks.NETWORKS))
    for n in ("scale", "feat", "conv"):
        p.add_argument(f"--{n}", type=int)
    p.add_argument("--wide", type=int, default=64, help="channels between two factors (uprez)")
    p.add_argument("--kind", choices=("clean", "video"), help="what the source suffered")
    p.add_argument("--teacher", nargs="+", metavar="FILE", help="video: networks to distil, the second "
                   "for art and text (SRVGGNetCompact, .pth or .safetensors)")
    p.add_argument("--share", type=float, default=0.35, help="of the teacher in the truth")
    p.add_argument("--data", default=os.path.join(HERE, "../../../shared/train/free"))
    p.add_argument("--terms", choices=("free", "all"), default="free",
                   help="all: share-alike and GPL pictures too")
    p.add_argument("--cache", default=os.path.join(HERE, "../../build/train-cache"))
    p.add_argument("--out", required=True)
    p.add_argument("--from", dest="begin", help="a checkpoint or released weights to begin with")
    p.add_argument("--steps", type=int, default=60000)
    p.add_argument("--finish", type=float, default=0.12,
                   help="share of the steps at the end in fp32, with slopes trained, on squared error")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--patch", type=int, default=48, help="pixels of the source")
    p.add_argument("--rate", type=float, default=2.5e-3, help="highest learning rate")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--every", type=int, default=2000, help="steps between two validations")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--device", default="cpu")
    a = p.parse_args()
    own = OWN.get(a.name, {})
    for n in ("arch", "scale", "feat", "conv", "kind"):
        if getattr(a, n) is None:
            setattr(a, n, own.get(n))
    newest = os.path.join(HERE, "checkpoints", f"{a.name}.safetensors")
    if a.name and not a.begin and os.path.exists(newest):
        a.begin = newest
    if not a.arch:
        p.error("name a network, or give --arch")
    a.scale, a.kind = a.scale or 2, a.kind or "clean"
    return a


def make_network(a):
    own = {n: getattr(a, n) for n in ("scale", "feat", "conv") if getattr(a, n)}
    if a.arch == "uprez":
        own["wide"] = a.wide
    return networks.NETWORKS[a.arch](**own)


def data_for(a, net):
    """What is trained on and what is measured on."""
    colour = net.channels == 3
    held = pictures.pictures_in(os.path.join(a.data, "val"))
    if a.kind == "video":
        import degrade
        teachers = teacher.Teachers(a.teacher, a.share) if a.teacher else None
        return (degrade.pairs(a.data, a.scale, a.cache, FOLDERS, a.terms, colour, teachers),
                degrade.validation(held, a.scale, a.cache, colour))
    return (pictures.Pairs(a.data, a.scale, a.cache, FOLDERS, a.terms, colour),
            pictures.Validation.clean(held, a.scale, colour))


class Mean:
    """The running mean of the weights, which is what is measured and stored."""

    def __init__(self, net, decay=0.999):
        self.net, self.decay, self.n = net, decay, 0
        self.mean = {k: v.clone() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self):
        self.n += 1
        d = min(self.decay, (1 + self.n) / (10 + self.n))
        now = self.net.state_dict()
        torch._foreach_lerp_(list(self.mean.values()), [now[k] for k in self.mean], 1 - d)

    def __enter__(self):
        self.kept = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.net.load_state_dict(self.mean)
        return self.net

    def __exit__(self, *_):
        self.net.load_state_dict(self.kept)


def validate(a, net, val):
    """Mean dB with the weights as they are stored, in 16 bits; draws the strip."""
    run = networks.stored(net, {k: v.cpu().half().float() for k, v in net.tensors().items()})

    @torch.no_grad()
    def enlarge(im):
        return run(torch.from_numpy(im)[None])[0].numpy()
    return val.measure(enlarge, os.path.join(a.out, "strip.png"))


def schedule(a, step):
    """(learning rate, whether in the finish)"""
    begin = int(a.steps * (1 - a.finish))
    warm = min(1, (step + 1) / min(200, max(1, a.steps // 10)))
    if step < begin:
        low = 0.08
        return a.rate * warm * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * step / begin))), False
    rest = (step - begin) / max(1, a.steps - begin)
    return a.rate * 0.08 * 0.5 * (1 + math.cos(math.pi * rest)) + 1e-6, True


def train(a):
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)
    path = os.path.join(a.out, "checkpoint.safetensors")
    net, step = make_network(a), 0
    plan = {"steps": a.steps, "rate": a.rate, "batch": a.batch, "patch": a.patch, "seed": a.seed,
            "kind": a.kind, "terms": a.terms, "finish": a.finish}
    if a.teacher:
        plan.update(teacher=[os.path.basename(t) for t in a.teacher], share=a.share)
    if os.path.exists(path):
        metadata = checkpoint.load(path, net)
        if json.loads(metadata["schedule"]) == plan:
            step = int(metadata["step"])
        print(f"goes on from {path}, step {step} of {a.steps}")
    elif a.begin:
        checkpoint.load(a.begin, net)
    rng = np.random.default_rng([a.seed, step])
    data, val = data_for(a, net)
    net.to(a.device)
    best = Mean(net)
    optimiser = torch.optim.Adam(net.parameters(), lr=a.rate, betas=(0.9, 0.99), fused=True)
    print(f"{a.name or a.arch}: {net.flops() / 1000:.1f} kFLOP a source pixel, "
          f"{len(data)} pictures, validation {validate(a, net, val):.3f} dB", flush=True)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    began, first, losses = time.monotonic(), step, []
    usual = 1.0  # the gradient's usual norm: one bad step must not undo the training
    while step < a.steps and not stop:
        rate, last = schedule(a, step)
        for g in optimiser.param_groups:
            g["lr"] = rate
        net.quick(not last)
        x, y = (torch.from_numpy(v).to(a.device) for v in data.draw(rng, a.batch, a.patch))
        with torch.autocast(a.device, torch.bfloat16, enabled=not last):
            out = net(x)
        error = out.float() - y
        loss = error.square().mean() * 10 if last else error.abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 3 * usual).item()
        usual = 0.99 * usual + 0.01 * min(norm, 3 * usual)
        optimiser.step()
        best.update()
        losses.append(error.detach().abs().mean().item())
        step += 1
        if step % a.every == 0 or step == a.steps or stop:
            with best as mean:
                db = validate(a, mean, val)
                checkpoint.save(path, mean, step, plan)
                checkpoint.save_released(os.path.join(a.out, "released.safetensors"), mean)
            pace = (step - first) / (time.monotonic() - began)
            row = {"step": step, "loss": round(float(np.mean(losses)), 6), "db": round(db, 3),
                   "rate": rate, "steps_per_s": round(pace, 2)}
            with open(os.path.join(a.out, "log.jsonl"), "a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")
            left = (a.steps - step) / pace
            print(f"step {step} of {a.steps}: loss {row['loss']:.5f}, {db:.3f} dB, {pace:.1f} steps/s, "
                  f"{left // 3600:.0f} h {left % 3600 // 60:.0f} min left", flush=True)
            losses = []
    if stop:
        print("stopped; the same command goes on from the last checkpoint")
    return 0


if __name__ == "__main__":
    sys.exit(train(arguments()))
