"""Files of a training run: checkpoints that training goes on from, and the released weights.

Both are safetensors. A checkpoint holds the wide form of the network (its running mean) and, in its
metadata, configuration, step and schedule; it is small enough to be kept beside the sources. The
released file holds the collapsed convolutions in 16 bits, as the program reads them.
"""
import json
import math
import os
import struct

import numpy as np
import torch

TYPES = {"F32": np.float32, "F16": np.float16}


def write(path, tensors, metadata=None, half=False):
    """safetensors; replaced only when whole."""
    header, data = {}, []
    if metadata:
        header["__metadata__"] = {k: v if isinstance(v, str) else json.dumps(v)
                                  for k, v in metadata.items()}
    at = 0
    for name, t in tensors.items():
        a = np.ascontiguousarray(t.detach().float().numpy().astype(np.float16 if half else np.float32))
        header[name] = {"dtype": "F16" if half else "F32", "shape": list(a.shape),
                        "data_offsets": [at, at + a.nbytes]}
        data.append(a.tobytes())
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.{os.getpid()}.part"
    with open(temporary, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def read(path):
    """Tensors by name (fp32) and the metadata of a safetensors file."""
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(n))
        data = f.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, h in header.items():
        a, b = h["data_offsets"]
        values = np.frombuffer(data[a:b], TYPES[h["dtype"]]).reshape(h["shape"])
        tensors[name] = torch.from_numpy(values.astype(np.float32))
    return tensors, metadata


def save(path, net, step, schedule):
    write(path, net.state_dict(), {"arch": net.name, "config": net.config, "step": step,
                                   "schedule": schedule}, half=net.name == "uprez")


def save_released(path, net):
    write(path, net.tensors(), {"format": "pt"}, half=True)


def _widen(part, kernels, biases):
    """Sets factors whose product is the given kernels: by singular values, the rest of the wide
    channels random in and zero out, so that they do not change it and can be trained."""
    n, o, i, k, _ = part.shape
    for j, w in enumerate(kernels):
        if part.identity:
            w = w.clone()
            for c in range(min(o, i)):
                w[c, c, k // 2, k // 2] -= 1
        u, s, v = torch.linalg.svd(w.reshape(o, -1), full_matrices=False)
        r = s.sqrt()
        part.up.data[j] = torch.randn_like(part.up[j]) / math.sqrt(i * k * k)
        part.down.data[j] = 0
        part.up.data[j, :len(s)] = r[:, None] * v
        part.down.data[j, :, :len(s)] = u * r
        part.bias.data[j] = biases[j]


def _fitted(w, k):
    """A kernel cut down to k x k, or with zeros around."""
    more = (k - w.shape[-1]) // 2
    return torch.nn.functional.pad(w, (more, more, more, more))


def widen(net, tensors):
    """Fills a chain from released weights. Kernels of another size are cut or padded, a longer
    trunk ends in convolutions that begin as the identity; an end of another shape (another scale)
    keeps its own beginning. Returns the names taken."""
    trunk = sorted({int(k.split(".")[1]) for k in tensors if k.startswith("trunk.")})
    both = [i for i in trunk if i < net.trunk.shape[0]]
    taken = []
    with torch.no_grad():
        for name, part in (("head", net.head), ("tail", net.tail)):
            w = _fitted(tensors[f"{name}.weight"], part.shape[-1])
            if tuple(w.shape) == part.shape[1:]:
                _widen(part, [w], [tensors[f"{name}.bias"]])
                taken.append(name)
        if both and tuple(tensors["trunk.0.weight"].shape) == net.trunk.shape[1:]:
            _widen(net.trunk, [tensors[f"trunk.{i}.weight"] for i in both],
                   [tensors[f"trunk.{i}.bias"] for i in both])
            net.trunk.down[len(both):] = 0
            for i in both:
                net.acts[i + 1].weight[:] = tensors[f"trunk.{i}.slope"]
            taken += [f"trunk.{i}" for i in both]
        if "head" in taken:
            net.acts[0].weight[:] = tensors["head.slope"]
    return taken


def load(path, net):
    """Weights of a checkpoint or of a released file into net; the metadata."""
    tensors, metadata = read(path)
    if "config" in metadata or net.name != "uprez":
        own = net.state_dict()
        fit = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
        if not fit:
            raise SystemExit(f"train: {path} holds no weights that fit this network")
        net.load_state_dict(fit, strict=False)
        if len(fit) < len(own):
            print(f"{path}: {len(fit)} of {len(own)} tensors fit; the rest begins anew")
    else:
        print(f"{path}: taken from the released weights: {', '.join(widen(net, tensors))}")
    return metadata
