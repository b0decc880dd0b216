"""Distilling: what a larger network makes of a source, as a part of the truth.

A mean error alone lets a small network blur what it is not sure of. A teacher that was trained to
please decides for one of the sharp pictures; a share of its result in the truth makes edges crisper
without an adversarial loss. Teachers are SRVGGNetCompact networks (realesr-general-x4v3,
realesr-animevideov3); they see luma as a grey picture, and their result is reduced to the scale
that is trained. How far they may lead is bounded: only what differs within a few pixels is taken,
because teachers shift brightness, and at most LEASH grey levels of it.
"""
import os
import zlib

import numpy as np
import torch
import torch.nn.functional as F

import checkpoint
import degrade
import networks

LEASH = 24.0
BROAD = 4.0  # pixels (sigma) over which a difference is one of brightness
# Which teacher is asked for which folder: the first one, or the second where there is one.
SECOND = ("art", "text")


def _tensors(path):
    if path.endswith(".safetensors"):
        return checkpoint.read(path)[0]
    found = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("params_ema", "params"):
        found = found.get(name, found)
    return {k: v.float() for k, v in found.items()}


def srvgg(path):
    """The network that a file of weights holds; sizes are read from their shapes."""
    weights = _tensors(path)
    last = max(int(k.split(".")[1]) for k in weights)
    feat, channels = weights["body.0.weight"].shape[0], weights[f"body.{last}.weight"].shape[0]
    net = networks.Srvgg(scale=round((channels / 3) ** 0.5), feat=feat, conv=(last - 2) // 2)
    net.load_state_dict(weights)
    return net.eval().to(memory_format=torch.channels_last)


class Teachers:
    def __init__(self, paths, share):
        self.nets, self.share = [srvgg(p) for p in paths], share
        self.key = zlib.crc32(repr([share, LEASH, BROAD] + [zlib.crc32(open(p, "rb").read()) for p in paths])
                              .encode())
        self.names = ", ".join(os.path.basename(p) for p in paths)

    @torch.no_grad()
    def enlarge(self, net, luma, scale):
        """Luma 16..235 of (1, h, w) -> (1, h * scale, w * scale)."""
        x = torch.from_numpy(((luma - 16) / 219).clip(0, 1).astype(np.float32))
        x = F.pad(x[None].expand(1, 3, -1, -1), (8, 8, 8, 8), mode="replicate")
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            y = net(x).float()
        y = (y * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        y = F.interpolate(y, scale_factor=scale / net.scale, mode="bicubic", antialias=True)
        e = 8 * scale
        return y[0, :, e:-e, e:-e].numpy().astype(np.float64) * 219 + 16

    def mixed(self, kind, source, truth, scale):
        """The truth with a share of what the teacher of this kind of picture makes of the source."""
        net = self.nets[1 if kind in SECOND and len(self.nets) > 1 else 0]
        led = self.enlarge(net, source, scale) - truth
        led -= degrade.blur(led[0], BROAD)[None]
        return (truth + self.share * led.clip(-LEASH, LEASH)).clip(16, 235)
