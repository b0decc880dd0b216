#!/usr/bin/env python3
"""Writes the small TorchScript files of tests/data/torchscript. Needs torch; all numbers are ours.

usage: tools/make_torchscript.py [FOLDER]
"""
import os
import sys
import zipfile
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
    os.path.dirname(__file__), "..", "tests", "data", "torchscript")


class Double(nn.Module):
    """2x: a convolution, shuffled; all other files hold this or a part of it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        g = torch.Generator().manual_seed(5)
        with torch.no_grad():
            self.conv.weight.copy_(torch.rand(12, 3, 3, 3, generator=g) / 16)
            self.conv.bias.copy_(torch.rand(12, generator=g) / 16)

    def body(self, x: Tensor) -> Tensor:
        return torch.pixel_shuffle(self.conv(x), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class AsTuple(Double):
    def forward(self, x: Tensor) -> Tuple[int, Tuple[Tensor, Tensor]]:
        y = self.body(x)
        return 1, (y, x)


class AsList(Double):
    def forward(self, x: Tensor) -> List[Tensor]:
        return [self.body(x), x]


class AsDict(Double):
    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        return {"out": self.body(x)}


class Bare(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch._C._nn.upsample_nearest2d(x, [x.size(2) * 3, x.size(3) * 3], None, None)


class Even(Double):
    """Sides must be even: as a network with an unshuffle in front."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.pixel_shuffle(torch.pixel_unshuffle(x, 2), 2))


class Two(Double):
    def forward(self, x: Tensor, strength: float) -> Tensor:
        return self.body(x) * strength


class Listed(Double):
    def forward(self, frames: List[Tensor]) -> Tensor:
        return self.body(frames[0])


class Number(Double):
    def forward(self, x: Tensor) -> float:
        return float(x.sum())


class Flat(Double):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).reshape(-1)


class Fails(Double):
    def forward(self, x: Tensor) -> Tensor:
        assert x.size(1) == 17, "seventeen channels, please"
        return self.body(x)


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Optional[Tensor]:
        return None


def script(name, module, half=False, freeze=False):
    module = module.eval()
    if half:
        module = module.half()
    s = torch.jit.script(module)
    if freeze:
        s = torch.jit.freeze(s)
    s.save(os.path.join(FOLDER, name))


def rewrite(source, name, change):
    """The same archive with its program text changed."""
    with zipfile.ZipFile(os.path.join(FOLDER, source)) as a, \
            zipfile.ZipFile(os.path.join(FOLDER, name), "w", zipfile.ZIP_STORED) as b:
        for item in a.infolist():
            if item.filename.endswith(".debug_pkl"):
                continue
            data = a.read(item)
            if item.filename.endswith(".py"):
                new = change(data.decode())
                assert new != data.decode(), source
                data = new.encode()
            b.writestr(zipfile.ZipInfo(item.filename, (1980, 1, 1, 0, 0, 0)), data)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    script("double.pt", Double())
    script("tuple.pt", AsTuple())
    script("list.pt", AsList())
    script("dict.pt", AsDict())
    script("bare.pt", Bare())
    script("half.pt", Double(), half=True)
    script("half-frozen.pt", Double(), half=True, freeze=True)
    script("even.pt", Even())
    script("bad-two-inputs.pt", Two())
    script("bad-list-input.pt", Listed())
    script("bad-number.pt", Number())
    script("bad-flat.pt", Flat())
    script("bad-fails.pt", Fails())
    script("bad-nothing.pt", Nothing())
    # grey: sixteenths, as many as pictures come at a time
    rewrite("bare.pt", "batch.pt", lambda t: t.replace(
        "upsample_nearest2d(x,", "upsample_nearest2d(torch.add(torch.mul(x, 0.), torch.mul(torch.size(x, 0), 0.0625)),"))
    # a value that is None where the program says that it is a tensor
    none = "    y = annotate(Optional[Tensor], None)\n    return torch.add(x, unchecked_cast(Tensor, y))\n"
    rewrite("bare.pt", "bad-none.pt", lambda t: t[:t.index("Tensor:\n") + 8] + none)
    # as torch_tensorrt writes a module with an engine; only the class is named here
    rewrite("bare.pt", "bad-trt.pt", lambda t: t.replace(
        "  def forward", "  engine : __torch__.torch.classes.tensorrt.Engine\n  def forward", 1))
    rewrite("bare.pt", "bad-op.pt", lambda t: t.replace("upsample_nearest2d", "upsample_of_the_future"))


main()
