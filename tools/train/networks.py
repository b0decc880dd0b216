"""The networks that can be trained, and how a trained one collapses.

`Chain`  luma in, luma out: convolution 3x3, a trunk of 3x3 convolutions, a skip over the trunk, a
         convolution to scale^2 channels, pixel shuffle, plus the input enlarged by repetition.
         Each convolution is trained as two in a row, k x k to `wide` channels and 1x1 back, plus
         the identity (Bhardwaj et al., SESR, 2022). There is no activation between the two, so
         that their product is one k x k convolution: it is that product that is applied, also
         while training, and that is stored.
`Srvgg`  SRVGGNetCompact, RGB (Wang et al., Real-ESRGAN, 2021), for those who train with a GPU.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Act(nn.Module):
    """PReLU with one slope a channel. While `fixed`, all slopes are 0.2 and not trained, which
    takes half the time on a CPU; training starts with it and ends without."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 0.2))
        self.fixed = False

    def forward(self, x):
        if self.fixed:
            return F.leaky_relu(x, 0.2)
        return F.prelu(x, self.weight.to(x.dtype))


class Wide(nn.Module):
    """n convolutions k x k of one shape, each as the product of two. One batched product makes all
    their kernels."""

    def __init__(self, n, inputs, outputs, k, wide, identity):
        super().__init__()
        self.shape = (n, outputs, inputs, k, k)
        self.up = nn.Parameter(torch.randn(n, wide, inputs * k * k) / math.sqrt(inputs * k * k))
        self.down = nn.Parameter(torch.randn(n, outputs, wide) * (0.5 / math.sqrt(wide)))
        self.bias = nn.Parameter(torch.zeros(n, outputs))
        self.identity = identity

    def kernels(self):
        w = torch.bmm(self.down, self.up).view(self.shape)
        if self.identity:
            n, o, i, k, _ = self.shape
            eye = torch.zeros(o, i, k, k)
            for c in range(min(o, i)):
                eye[c, c, k // 2, k // 2] = 1
            w = w + eye
        return w


class Chain(nn.Module):
    name = "uprez"
    channels = 1

    def __init__(self, scale=2, feat=16, conv=12, wide=64, first=3, last=3):
        super().__init__()
        self.config = dict(scale=scale, feat=feat, conv=conv, wide=wide, first=first, last=last)
        self.scale = scale
        self.head = Wide(1, 1, feat, first, wide, False)
        self.trunk = Wide(conv, feat, feat, 3, wide, True)
        self.tail = Wide(1, feat, scale * scale, last, wide, False)
        with torch.no_grad():
            self.tail.down.mul_(0.1)
        self.acts = nn.ModuleList(Act(feat) for _ in range(conv + 1))

    def quick(self, on):
        """Slopes fixed, for the long first part of a training."""
        for act in self.acts:
            act.fixed = on

    def convolutions(self):
        """(kernel, bias) of every convolution, in order."""
        layers = []
        for part in (self.head, self.trunk, self.tail):
            layers += list(zip(part.kernels(), part.bias))
        return layers

    def forward(self, x):
        layers = self.convolutions()
        if torch.is_autocast_enabled("cpu"):
            layers = [(w.bfloat16(), b.bfloat16()) for w, b in layers]

        def conv(v, i):
            w, b = layers[i]
            return F.conv2d(v.to(w.dtype), w.contiguous(memory_format=torch.channels_last), b,
                            padding=w.shape[-1] // 2)

        x = x.contiguous(memory_format=torch.channels_last)
        v = skip = self.acts[0](conv(x, 0))
        for i, act in enumerate(self.acts[1:], 1):
            v = act(conv(v, i))
        v = conv(v + skip, len(layers) - 1).float()
        return F.pixel_shuffle(v + x, self.scale)

    def tensors(self):
        """What is stored: names as arch_uprez.c of the program reads them."""
        out = {}
        layers = self.convolutions()
        for i, (w, b) in enumerate(layers):
            part = "head" if i == 0 else "tail" if i == len(layers) - 1 else f"trunk.{i - 1}"
            out[f"{part}.weight"], out[f"{part}.bias"] = w, b
            if part != "tail":
                out[f"{part}.slope"] = self.acts[i].weight
        return {k: v.detach().float() for k, v in out.items()}

    def flops(self):
        """Of one pixel of the source; a multiplication and an addition are two."""
        c = self.config
        f, s2 = c["feat"], c["scale"] ** 2
        convs = c["first"] ** 2 * f + c["conv"] * 9 * f * f + c["last"] ** 2 * f * s2
        return 2 * convs + 4 * f * (c["conv"] + 1) + f + 2 * s2


class Srvgg(nn.Module):
    name = "srvgg"
    channels = 3

    def __init__(self, scale=2, feat=64, conv=16):
        super().__init__()
        self.config = dict(scale=scale, feat=feat, conv=conv)
        self.scale = scale
        layers = [nn.Conv2d(3, feat, 3, 1, 1), nn.PReLU(feat)]
        for _ in range(conv):
            layers += [nn.Conv2d(feat, feat, 3, 1, 1), nn.PReLU(feat)]
        layers.append(nn.Conv2d(feat, 3 * scale * scale, 3, 1, 1))
        self.body = nn.ModuleList(layers)

    def quick(self, on):
        """There is no quicker form."""

    def forward(self, x):
        v = x
        for layer in self.body:
            v = layer(v)
        return F.pixel_shuffle(v, self.scale) + F.interpolate(x, scale_factor=self.scale)

    def tensors(self):
        return {k: v.detach().float() for k, v in self.state_dict().items()}

    def flops(self):
        c = self.config
        f = c["feat"]
        return 2 * 9 * (3 * f + c["conv"] * f * f + f * 3 * c["scale"] ** 2)


def chain_from(weights, scale):
    """The network as the program runs it, from stored tensors: a function of N,1,H,W."""
    trunk = sorted({int(k.split(".")[1]) for k in weights if k.startswith("trunk.")})
    names = ["head"] + [f"trunk.{i}" for i in trunk]

    def run(x):
        v = skip = None
        for n in names:
            w = weights[f"{n}.weight"]
            v = F.conv2d(x if v is None else v, w, weights[f"{n}.bias"], padding=w.shape[-1] // 2)
            v = F.prelu(v, weights[f"{n}.slope"])
            skip = v if skip is None else skip
        w = weights["tail.weight"]
        v = F.conv2d(v + skip if trunk else v, w, weights["tail.bias"], padding=w.shape[-1] // 2)
        return F.pixel_shuffle(v + x, scale)

    return run


def stored(net, weights):
    """The network with the given stored tensors, as a function of N,C,H,W."""
    if net.name == "uprez":
        return chain_from(weights, net.scale)
    other = NETWORKS[net.name](**net.config)
    other.load_state_dict(weights)
    return other


NETWORKS = {n.name: n for n in (Chain, Srvgg)}
