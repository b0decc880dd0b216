#!/usr/bin/env python3
"""Mixes two trainings of one network that began with the same weights.

    blend.py A.safetensors B.safetensors SHARE-OF-B DIR

A and B are released files. What lies between two such trainings is a network in its own right: so how
far a teacher leads is chosen afterwards, by measuring. DIR gets checkpoint.safetensors, which training
goes on from, and released.safetensors.
"""
import os
import sys

import checkpoint
import networks


def main():
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    (a, _), (b, _) = checkpoint.read(sys.argv[1]), checkpoint.read(sys.argv[2])
    share, out = float(sys.argv[3]), sys.argv[4]
    if {k: v.shape for k, v in a.items()} != {k: v.shape for k, v in b.items()}:
        raise SystemExit("blend: the two files are of different networks")
    mixed = {k: (1 - share) * v + share * b[k] for k, v in a.items()}
    scale = round(mixed["tail.weight"].shape[0] ** 0.5)
    net = networks.Chain(scale=scale, feat=mixed["head.weight"].shape[0],
                         conv=sum(k.endswith("weight") and k.startswith("trunk") for k in mixed),
                         first=mixed["head.weight"].shape[-1], last=mixed["tail.weight"].shape[-1])
    checkpoint.widen(net, mixed)
    os.makedirs(out, exist_ok=True)
    checkpoint.save(os.path.join(out, "checkpoint.safetensors"), net, 0, {"blend": share})
    checkpoint.write(os.path.join(out, "released.safetensors"), mixed, {"format": "pt"}, half=True)


if __name__ == "__main__":
    main()
