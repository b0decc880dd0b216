#!/usr/bin/env python3
"""Writes tests/data/seeds/{pth,pth_legacy,safetensors}/: small checkpoints, good and malicious, which
the unit test replays and the fuzz targets start from; expect.txt says what must come of each
("ok ARCHITECTURE", or a part of the error). Also tests/data/tensors.txt: SHA-256 of the fp32 bytes
PyTorch reads from the good ones, and from real checkpoints when $SHARED names their folder.

Legacy files name their storages by address, so those seeds differ from run to run.
Run: SHARED=DIR python3 tools/make_seeds.py
"""
import argparse
import collections
import datetime
import hashlib
import io
import json
import os
import pathlib
import re
import struct
import zipfile

import numpy
import torch

HERE = pathlib.Path(__file__).resolve().parent.parent
SEEDS = HERE / "tests/data/seeds"
expect = {}
checked = []  # files whose tensors are hashed


class Options(dict):
    """A dict of a class of its own, as programs keep options in."""


class Ordered(collections.OrderedDict):
    pass


def put(path, data, result):
    (SEEDS / path).parent.mkdir(parents=True, exist_ok=True)
    (SEEDS / path).write_bytes(data)
    expect[path] = result
    if result.startswith("ok") and "torchscript" not in result and "no_folder" not in path:  # which PyTorch itself refuses
        checked.append(path)


def compact(scale=2, width=4, convs=1, seed=1):
    g = torch.Generator().manual_seed(seed)
    rand = lambda *s: torch.randn(*s, generator=g) * 0.2
    d = collections.OrderedDict()
    for i in range(convs + 2):
        last = i == convs + 1
        d[f"body.{2 * i}.weight"] = rand(3 * scale * scale if last else width, width if i else 3, 3, 3)
        d[f"body.{2 * i}.bias"] = rand(3 * scale * scale if last else width)
        if not last:
            d[f"body.{2 * i + 1}.weight"] = rand(width)
    return d


def saved(obj, **kw):
    b = io.BytesIO()
    torch.save(obj, b, **kw)
    return b.getvalue()


def rezip(data, method=zipfile.ZIP_DEFLATED, change=None, root="other/", dirs=True):
    """The members of a checkpoint zipped anew."""
    src, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        if dirs:
            z.writestr(zipfile.ZipInfo(root), b"")
            z.writestr(zipfile.ZipInfo(root + "data/"), b"")
        for m in src.namelist():
            name, body = root + m.split("/", 1)[1], src.read(m)
            if change:
                name, body = change(name, body)
            if name:
                z.writestr(zipfile.ZipInfo(name), body, method)
    return out.getvalue()


def archive(pkl, storages=None, method=zipfile.ZIP_STORED, more=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.writestr(zipfile.ZipInfo("archive/data.pkl"), pkl, method)
        for k, v in (storages or {}).items():
            z.writestr(zipfile.ZipInfo(f"archive/data/{k}"), v, method)
        for k, v in more:
            z.writestr(zipfile.ZipInfo(k), v, method)
    return out.getvalue()


# a small assembler of pickles
def text(s):
    b = s.encode()
    return b"X" + struct.pack("<I", len(b)) + b


def integer(i):
    if -(1 << 31) <= i < 1 << 31:
        return b"J" + struct.pack("<i", i)
    return b"\x8a" + bytes([8]) + struct.pack("<q", i)


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def name(module, attr):
    return b"c" + module.encode() + b"\n" + attr.encode() + b"\n"


def tensor(key, dims, strides=None, offset=0, elements=None, storage="FloatStorage"):
    n = 1
    for d in dims:
        n *= d
    if strides is None:
        strides, s = [], 1
        for d in reversed(dims):
            strides.insert(0, s)
            s *= d
    sid = tup(text("storage"), name("torch", storage), text(key), text("cpu"),
              integer(n if elements is None else elements)) + b"Q"
    return (name("torch._utils", "_rebuild_tensor_v2")
            + tup(sid, integer(offset), tup(*map(integer, dims)), tup(*map(integer, strides)), b"\x89",
                  name("collections", "OrderedDict") + b")R") + b"R")


def state(**tensors):
    return b"\x80\x02}(" + b"".join(text(k.replace("__", ".")) + v for k, v in tensors.items()) + b"u."


def pth():
    d = compact()
    good = saved({"params": d})
    put("pth/params.pth", good, "ok srvgg")
    put("pth/ema_first.pth", saved({"params": compact(4), "params_ema": d}), "ok srvgg")
    put("pth/flat.pth", saved(d), "ok srvgg")
    put("pth/state_dict.pth", saved({"epoch": 3, "lr": 1e-4, "state_dict": d}), "ok srvgg")
    put("pth/half.pth", saved({k: v.half() for k, v in d.items()}), "ok srvgg")
    put("pth/bfloat16.pth", saved({k: v.bfloat16() for k, v in d.items()}), "ok srvgg")
    put("pth/double.pth", saved({k: v.double() for k, v in d.items()}), "ok srvgg")
    put("pth/module_prefix.pth", saved({"module." + k: v for k, v in d.items()}), "ok srvgg")
    chain = {"net_g._orig_mod.module." + k: v for k, v in d.items()}
    put("pth/chain_of_prefixes.pth", saved(chain), "ok srvgg")
    put("pth/averaged_model.pth", saved({"n_averaged": torch.tensor(7), **{"module." + k: v for k, v in d.items()}}),
        "ok srvgg")
    put("pth/generator_beside.pth", saved({**chain, "net_d.conv0.weight": torch.zeros(3), "n_averaged": torch.tensor(1)}),
        "ok srvgg")
    put("pth/averaged_first.pth", saved({**{"online_model." + k: v for k, v in compact(4).items()},
        **{"ema_model." + k: v for k, v in d.items()}, "initted": torch.tensor(True)}), "ok srvgg")
    put("pth/stranger_beside.pth", saved({**chain, "attention.weight": torch.zeros(3)}), "of a kind")
    put("pth/two_levels.pth", saved({"epoch": 2, "net_g": {"params": compact(4), "params_ema": d}}), "ok srvgg")
    put("pth/options_beside.pth", saved({"params": d, "best": numpy.float64(0.5), "time": numpy.zeros(3),
        "opt": argparse.Namespace(lr=1e-4, name="x"), "when": datetime.datetime(2026, 1, 2), "set": {1, 2},
        "path": pathlib.PurePosixPath("a/b"), "deque": collections.deque([1]),
        "count": collections.defaultdict(list, {"a": [1]}),
        "optimizer": torch.optim.Adam([torch.nn.Parameter(d["body.0.weight"])]).state_dict()}), "ok srvgg")
    put("pth/options_protocol4.pth", saved({"opt": argparse.Namespace(lr=1e-4), "set": {1, 2}, "params": d},
        pickle_protocol=4), "ok srvgg")
    # wherever a program puts its network
    def wrap(prefix, state=d):
        return {prefix + k: v for k, v in state.items()}
    other = compact(4)
    adam = torch.optim.Adam([torch.nn.Parameter(v.clone()) for v in d.values()])
    for p in adam.param_groups[0]["params"]:
        p.grad = torch.zeros_like(p)
    adam.step()
    disc = {"conv0.weight": torch.zeros(4, 3, 3, 3), "conv0.bias": torch.zeros(4), "linear.weight": torch.zeros(1, 4)}
    for i, prefix in enumerate(["student.", "my_sr.", "model_g.", "ema_state_dict.", "swa_model.", "a.b.params.",
                                "0.", "generator.model.module.", "model.model."]):
        put(f"pth/prefix_{i}.pth", saved(wrap(prefix)), "ok srvgg")
    for i, keys in enumerate([["ema", "shadow"], ["state", "generator"], ["a", "b", "c", "d"], ["models", 0],
                              ["x.y", "z"]]):
        obj = d
        for k in reversed(keys):
            obj = {k: obj}
        put(f"pth/dicts_{i}.pth", saved({"epoch": 1, **obj}), "ok srvgg")
    put("pth/gan.pth", saved({"netD": disc, "netG": d, "optimD": adam.state_dict(), "optimG": adam.state_dict()}),
        "ok srvgg")
    put("pth/lightning.pth", saved({"state_dict": {**wrap("net_g."), **wrap("net_d.", disc), "val_psnr.sum": torch.tensor(1.0),
        **wrap("loss.vgg.", disc)}, "optimizer_states": [adam.state_dict()], "callbacks": {"x": 1}}), "ok srvgg")
    put("pth/averaged_elsewhere.pth", saved({"state_dict": wrap("net.", other), "callbacks": {"EMA": {"ema_weights": d}}}),
        "ok srvgg")
    put("pth/averaged_behind.pth", saved({**wrap("generator.", other), **wrap("generator_ema.")}), "ok srvgg")
    put("pth/beside_averaged.pth", saved({"net_d_ema": other, "model": d}), "ok srvgg")
    put("pth/optimizer_first.pth", saved({"optimizer": {**adam.state_dict(), "copy": other}, "weights": d}), "ok srvgg")
    put("pth/counter_inside.pth", saved({**d, "epoch": torch.tensor(3), "best_psnr": torch.tensor(30.5)}), "ok srvgg")
    put("pth/list_of_states.pth", saved([d, adam.state_dict(), 7]), "ok srvgg")
    put("pth/layers_are_dicts.pth", saved({"net": {"body": {str(i): {k.split(".")[2]: v for k, v in d.items()
        if k.startswith(f"body.{i}.")} for i in range(5)}}}), "ok srvgg")
    put("pth/several.pth", saved({"to_day": d, "to_night": other}), "several networks")
    put("pth/part_of_another.pth", saved({"encoder." + k: v for k, v in d.items()} | {"decoder.weight": torch.zeros(9)}),
        "of a kind")
    put("pth/numbered_parts.pth", saved(wrap("body.0.") | wrap("body.1.") | {"tail.weight": torch.zeros(9)}), "of a kind")
    put("pth/subclass_of_dict.pth", saved(Options(params=Options(d), lr=1)), "ok srvgg")
    put("pth/ordered_subclass.pth", saved({"state_dict": Ordered(d)}, pickle_protocol=4), "ok srvgg")
    put("pth/bytes.pth", saved({"rng": bytearray(b"abc"), "params": d}, pickle_protocol=5), "ok srvgg")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.PReLU(4), torch.nn.Conv2d(4, 3, 3))
    put("pth/whole_module.pth", saved(net), "whole Python module")
    put("pth/whole_module_inside.pth", saved({"epoch": 1, "model": net}), "whole Python module")
    tagged = d["body.0.bias"].clone()
    tagged.tag = 3
    put("pth/tagged_tensor.pth", saved({**d, "body.0.bias": tagged}), "ok srvgg")
    put("pth/sparse_bias.pth", saved({**d, "body.0.bias": d["body.0.bias"].to_sparse()}), "no plain tensor")
    put("pth/numpy_bias.pth", saved({**d, "body.0.bias": d["body.0.bias"].numpy()}), "no plain tensor")
    put("pth/parameters.pth", saved({k: torch.nn.Parameter(v) for k, v in d.items()}), "ok srvgg")
    put("pth/protocol4.pth", saved(d, pickle_protocol=4), "ok srvgg")
    turned = {k: v.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0) if v.dim() == 4 else v
              for k, v in d.items()}
    assert not turned["body.0.weight"].is_contiguous()
    put("pth/strided.pth", saved(turned), "ok srvgg")
    flat = torch.cat([v.reshape(-1) for v in d.values()])
    views, at = collections.OrderedDict(), 0
    for k, v in d.items():
        views[k] = flat[at:at + v.numel()].view(v.shape)
        at += v.numel()
    put("pth/one_storage.pth", saved(views), "ok srvgg")
    put("pth/deflated.pth", rezip(good), "ok srvgg")
    put("pth/no_folder.pth", rezip(good, root="", dirs=False), "ok srvgg")

    # bare pickles, which the fuzz target puts into archives of its own
    pkl = lambda f: zipfile.ZipFile(io.BytesIO(f)).read("archive/data.pkl")
    put("pth/state.pkl", pkl(good), "plain Python pickle")
    for n, obj in [("nested", {"netD": disc, "netG": {"ema": d}, "optimizers": [adam.state_dict()]}), ("module", net),
                   ("subclass", {"state_dict": Options(Ordered(d)), "opt": argparse.Namespace(a=1)})]:
        put(f"pth/{n}.pkl", pkl(saved(obj)), "plain Python pickle")
    put("pth/parameter.pkl", b"\x80\x02}" + text("body.0.weight") + name("torch._utils", "_rebuild_parameter")
        + tup(tensor("0", [4, 3, 3, 3], None, 0, 1024), b"\x89", name("collections", "OrderedDict") + b")R")
        + b"Rs.", "plain Python pickle")

    # files that are damaged, or something else
    put("pth/truncated.pth", good[:len(good) // 2], "cut short")
    bad = bytearray(good)
    bad[good.find(b"\x00\x00\x00", 3000) + 40] ^= 4
    put("pth/missing_member.pth", rezip(good, change=lambda n, b: (None if n.endswith("data/3") else n, b)),
        "which is missing")
    put("pth/short_storage.pth", rezip(good, change=lambda n, b: (n, b[:8] if n.endswith("data/0") else b)),
        "too few for its shape")
    crc = bytearray(rezip(good, zipfile.ZIP_STORED))
    crc[crc.find(d["body.0.weight"].numpy().tobytes()) + 5] ^= 1
    put("pth/wrong_checksum.pth", bytes(crc), "checksum")
    put("pth/big_endian.pth", rezip(good, change=lambda n, b: (n, b"big" if n.endswith("byteorder") else b)),
        "big-endian")
    put("pth/torchscript.pth", rezip(good, change=lambda n, b: ("other/constants.pkl" if n.endswith("/version")
                                                                else n, b)), "ok torchscript")
    put("pth/not_torch.pth", rezip(good, change=lambda n, b: (n + ".npy", b)), "without data.pkl")
    dup = io.BytesIO()
    with zipfile.ZipFile(dup, "w") as z:
        for _ in range(2):
            z.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\x80\x02}.")
    put("pth/duplicate_member.pth", dup.getvalue(), "two members named")
    put("pth/two_roots.pth", archive(b"\x80\x02}.", more=[("b/data.pkl", b"\x80\x02}.")]), "two checkpoints")
    entries = archive(b"\x80\x02}.")
    end = entries.rfind(b"PK\5\6")
    put("pth/many_entries.pth", entries[:end + 8] + b"\xff\x7f\xff\x7f" + entries[end + 12:], "cut short")
    z64 = (struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 46, 0)
           + struct.pack("<IIQI", 0x07064b50, 0, end, 1))
    put("pth/many_entries64.pth", entries[:end] + z64 + struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 0xffff,
        0xffff, 0xffffffff, 0xffffffff, 0), "cut short")

    # networks that are not ours, or not sane
    put("pth/nan.pth", saved({**d, "body.2.bias": torch.full((4,), float("nan"))}), "body.2.bias")
    put("pth/infinite.pth", saved({**d, "body.0.weight": d["body.0.weight"] / 0}), "body.0.weight")
    put("pth/extra_tensor.pth", saved({**d, "noise.weight": torch.zeros(3)}), "has no place in it")
    put("pth/wrong_shape.pth", saved({**d, "body.2.weight": torch.zeros(4, 5, 3, 3)}), "body.2.weight")
    put("pth/swinir.pth", saved({"layers.0.residual_group.blocks.0.attn.qkv.weight": torch.zeros(6, 2)}),
        "SwinIR")
    put("pth/no_tensors.pth", saved({"epoch": 1, "params": {"a": 1}}), "expected named tensors")
    put("pth/esrgan_plus.pth", saved({"model.0.weight": torch.zeros(4, 3, 3, 3),
        "model.1.sub.0.RDB1.conv1.0.weight": torch.zeros(4, 4, 3, 3),
        "model.1.sub.0.RDB1.conv1x1.weight": torch.zeros(4, 4, 1, 1)}), "ESRGAN+")

    # pickles that want to do something else
    put("pth/system.pth", archive(b"\x80\x02" + name("posix", "system") + b"(X\4\0\0\0trueRt."), "posix.system")
    put("pth/eval_in_state.pth", archive(b"\x80\x02}" + text("a") + name("builtins", "eval") + tup(text("1+1"))
                                         + b"Rs."), "builtins.eval")
    put("pth/stack_global.pth", archive(b"\x80\x04" + text("os") + text("system") + b"\x93."), "os.system")
    put("pth/inst.pth", archive(b"\x80\x02(ios\nsystem\n."), "object of a Python class")
    put("pth/extension.pth", archive(b"\x80\x02\x82\x01."), "extension registry")
    put("pth/newobj.pth", archive(b"\x80\x02" + name("torch", "FloatStorage") + b")\x81."), "does not take")
    put("pth/load_from_bytes.pth", archive(b"\x80\x02" + name("torch.storage", "_load_from_bytes")
                                           + tup(text("x")) + b"R."), "_load_from_bytes")
    put("pth/module.pth", archive(b"\x80\x02" + tup(text("module"), text("a"), text("b"), text("c")) + b"Q."),
        "whole Python module")
    put("pth/truncated_text.pth", archive(b"\x80\x02X\xff\xff\xff\x7fabc"), "in the middle")
    put("pth/long_text.pth", saved({"note": "a" * 70000, "bytes": bytearray(70000), "params": d}, pickle_protocol=5), "ok srvgg")
    put("pth/memo_bomb.pth", archive(b"\x80\x02}r\xf0\xff\xff\xff."), "memo index")
    put("pth/memo_unset.pth", archive(b"\x80\x02h\x05."), "memo entry")
    put("pth/cyclic_list.pth", archive(b"\x80\x02]q\0h\0a."), "expected named tensors")
    put("pth/cyclic_dict.pth", archive(b"\x80\x02}q\0" + text("params") + b"h\0s."), "expected named tensors")
    put("pth/cyclic_tuple.pth", archive(b"\x80\x02]q\0h\0\x85a" + name("collections", "OrderedDict")
                                        + b"h\0\x85R."), "not pairs")
    put("pth/deep_lists.pth", archive(b"\x80\x02" + b"]" * 20000 + b"a" * 19999 + b".", method=8),
        "expected named tensors")
    put("pth/deep_tuples.pth", archive(b"\x80\x02)" + b"\x85" * 30000 + b".", method=8), "expected named")
    put("pth/deep_marks.pth", archive(b"\x80\x02" + b"(" * 5000 + b".", method=8), "nested too deeply")
    put("pth/stack_empty.pth", archive(b"\x80\x02R."), "stack empty")
    put("pth/below_mark.pth", archive(b"\x80\x02}(s."), "stack empty")
    put("pth/no_stop.pth", archive(b"\x80\x02}}}"), "ends too early")
    put("pth/odd_dict.pth", archive(b"\x80\x02}(" + text("a") + b"u."), "key without a value")
    put("pth/storage_key_int.pth", archive(b"\x80\x02" + tup(text("storage"), name("torch", "FloatStorage"),
        integer(3), text("cpu"), integer(4)) + b"Q."), "unknown way")

    # tensors that lie
    zeros = {"0": bytes(64)}
    put("pth/huge_tensor.pth", archive(state(a=tensor("0", [1 << 40, 1 << 20])), zeros), "'a'")
    put("pth/overflow.pth", archive(state(a=tensor("0", [1 << 32, 1 << 32], [0, 0], 0, 16)), zeros), "'a'")
    put("pth/expanded.pth", archive(state(a=tensor("0", [30000, 30000], [0, 0], 0, 16)), zeros),
        "bigger than the file")
    put("pth/negative.pth", archive(state(a=tensor("0", [-4], [1], 0, 16)), zeros), "no sense")
    put("pth/negative_stride.pth", archive(state(a=tensor("0", [4], [-1], 3, 16)), zeros), "no sense")
    put("pth/outside.pth", archive(state(a=tensor("0", [4], [4], 4, 16)), zeros), "outside its storage")
    put("pth/offset.pth", archive(state(a=tensor("0", [4], [1], (1 << 62), 16)), zeros), "outside its storage")
    put("pth/key_path.pth", archive(state(a=tensor("../../x", [4])), zeros), "which is missing")
    put("pth/many_dims.pth", archive(state(a=tensor("0", [1] * 9)), zeros), "no sense")
    put("pth/bomb.pth", archive(state(a=tensor("0", [4])), {"0": bytes(1 << 24)}, zipfile.ZIP_DEFLATED),
        "unpack")
    put("pth/pickle_bomb.pth", archive(b"\x80\x02" + b"N" * (1 << 22), method=zipfile.ZIP_DEFLATED),
        "data.pkl")


def legacy():
    kw = dict(_use_new_zipfile_serialization=False)
    d = compact()
    good = saved(d, **kw)
    put("pth_legacy/flat.pth", good, "ok srvgg")
    put("pth_legacy/params_half.pth", saved({"params": {k: v.half() for k, v in d.items()}}, **kw), "ok srvgg")
    shared = dict(d)
    shared["body.3.weight"] = shared["body.1.weight"]
    put("pth_legacy/shared_storage.pth", saved(shared, **kw), "ok srvgg")
    put("pth_legacy/protocol4.pth", saved(d, pickle_protocol=4, **kw), "ok srvgg")
    adam = torch.optim.Adam([torch.nn.Parameter(v.clone()) for v in d.values()])
    for p in adam.param_groups[0]["params"]:
        p.grad = torch.zeros_like(p)
    adam.step()
    put("pth_legacy/optimizer.pth", saved({"optimizer": adam.state_dict(), "half": torch.zeros(5).half(), "model": d,
        "count": torch.tensor(3)}, **kw), "ok srvgg")
    put("pth_legacy/truncated.pth", good[:-7], "cut short")
    put("pth_legacy/header_only.pth", good[:60], "in the middle")
    head = good[:21]
    put("pth_legacy/system.pth", head + b"\x80\x02}.\x80\x02" + name("os", "system") + tup(text("true")) + b"R.",
        "os.system")
    put("pth_legacy/version.pth", good[:15] + b"\x80\x02M\xea\x03." + good[21:], "unknown version")
    put("pth_legacy/big_endian.pth", re.sub(rb"(?<=little_endianq.)\x88", b"\x89", good),
        "big-endian")
    at = good.rfind(struct.pack("<q", 12))
    put("pth_legacy/count.pth", good[:at] + struct.pack("<q", 1 << 61) + good[at + 8:], "damaged")
    one = head + b"\x80\x02}." + state(a=tensor("k", [4]))
    put("pth_legacy/no_storages.pth", one + b"\x80\x02].", "has no storage")
    put("pth_legacy/unknown_storage.pth", one + b"\x80\x02](" + text("q") + text("k") + b"e.", "none of its weights")
    put("pth_legacy/keys_twice.pth", one + b"\x80\x02](" + text("k") + text("k") + b"e."
        + 2 * (struct.pack("<q", 4) + bytes(16)), "does not know")
    put("pth_legacy/keys_cyclic.pth", one + b"\x80\x02]q\0h\0a.", "none of its weights")


def safetensors():
    def make(tensors, header=None, pad=0):
        at, h, body = 0, {}, b""
        for k, (t, b, shape) in tensors.items():
            h[k] = {"dtype": t, "shape": shape, "data_offsets": [at, at + len(b)]}
            at += len(b)
            body += b
        j = (header if header is not None else json.dumps(h)).encode() + b" " * pad
        return struct.pack("<Q", len(j)) + j + body

    d = compact()
    plain = {k: ("F32", v.numpy().tobytes(), list(v.shape)) for k, v in d.items()}
    good = make(plain, pad=3)
    put("safetensors/f32.safetensors", good, "ok srvgg")
    put("safetensors/f16.safetensors", make({k: ("F16", v.half().numpy().tobytes(), list(v.shape))
                                             for k, v in d.items()}), "ok srvgg")
    put("safetensors/bf16.safetensors", make({k: ("BF16", v.bfloat16().view(torch.int16).numpy().tobytes(),
                                                  list(v.shape)) for k, v in d.items()}), "ok srvgg")
    put("safetensors/truncated.safetensors", good[:-9], "cut short")
    put("safetensors/header_length.safetensors", b"\xff" * 7 + b"\x7f" + good[8:], "cut short")
    put("safetensors/not_json.safetensors", make(plain, header='{"a":'), "not valid JSON")
    put("safetensors/array.safetensors", make(plain, header='{"a":[1,2]}'), "not a tensor")
    put("safetensors/deep.safetensors", make(plain, header='{"a":' + "[" * 5000), "not valid JSON")
    entry = '{"a":{"dtype":"%s","shape":[%s],"data_offsets":[%s]}}'
    for n, args, why in [
        ("f8", ("F8_E4M3", "4", "0,4"), "F8_E4M3"), ("negative", ("F32", "-1", "0,4"), "cut short"),
        ("fraction", ("F32", "1.5", "0,6"), "cut short"), ("backwards", ("F32", "1", "4,0"), "cut short"),
        ("overflow", ("F32", "4294967296,4294967296,4294967296", "0,4"), "cut short"),
        ("outside", ("F32", "1000000", "0,4000000"), "cut short"), ("huge", ("F32", "1e300", "0,4"), "cut short"),
        ("many_dims", ("F32", "1,1,1,1,1,1,1,1", "0,4"), "cut short"),
    ]:
        put(f"safetensors/{n}.safetensors", make({"x": ("F32", bytes(16), [4])}, header=entry % args), why)
    one = '"%s":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
    put("safetensors/overlap.safetensors", make({"x": ("F32", bytes(16), [4])},
        header="{" + one % "a" + "," + one % "b" + "}"), "cut short")
    put("safetensors/duplicate.safetensors", make({"x": ("F32", bytes(16), [4]), "y": ("F32", bytes(16), [4])},
        header="{" + one % "a" + "," + one % "a" + "}"), "two tensors named")
    put("safetensors/no_tensors.safetensors", make({}, header='{"__metadata__":{"format":"pt"}}'), "no tensors")
    put("safetensors/nan.safetensors", make({**plain, "body.0.bias": ("F32", b"\0\0\xc0\x7f" * 4, [4])}),
        "body.0.bias")


def safetensors_of(path):
    data = path.read_bytes()
    n, = struct.unpack_from("<Q", data)
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    return {k: torch.frombuffer(bytearray(data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]),
                                dtype=kinds[v["dtype"]]).reshape(v["shape"])
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}


def network(d):
    """The dict with the tensors of the network; of several the averaged one."""
    def dicts(x, path=()):
        if isinstance(x, dict):
            if sum(isinstance(v, torch.Tensor) and v.dim() == 4 for v in x.values()) > 1:
                yield path, x
            for k, v in x.items():
                yield from dicts(v, (*path, str(k)))
        elif isinstance(x, (list, tuple)):
            for i, v in enumerate(x):
                yield from dicts(v, (*path, str(i)))

    def rank(path):
        words = " ".join(path).lower()
        return 2 if "optim" in words or "net_d" in words else 0 if "ema" in words else 1

    found = list(dicts(d))
    if found:
        return min(found, key=lambda pair: rank(pair[0]))[1]
    (inner,) = d.values()  # layers that are dicts
    return {f"{a}.{b}.{c}": v for a, x in inner.items() for b, y in x.items() for c, v in y.items()}


def hashes():
    lines = [f"# made by tools/make_seeds.py: torch {torch.__version__}; file, tensor, elements, SHA-256 "
             "of the values as fp32"]

    def add(path, label, few):
        if path.suffix == ".safetensors":
            d = safetensors_of(path)
        else:
            d = torch.load(path, map_location="cpu", weights_only=path.parent.parent.name != "seeds")
        d = network(d)
        items = list(d.items())
        if few:
            items = [items[0], items[1], items[len(items) // 2], items[-2], items[-1]]
        for k, v in items:
            v = v.float().contiguous()
            lines.append(f"{label} {k} {v.numel()} {hashlib.sha256(v.detach().numpy().tobytes()).hexdigest()}")

    for path in checked:
        add(SEEDS / path, path, False)
    if "SHARED" in os.environ:
        models = pathlib.Path(os.environ["SHARED"]) / "models"
        for f in sorted([*models.glob("pytorch/*.pth"), *models.glob("safetensors/*.safetensors")]):
            add(f, f"models/{f.parent.name}/{f.name}", True)
    (HERE / "tests/data/tensors.txt").write_text("\n".join(lines) + "\n")


pth()
legacy()
safetensors()
(SEEDS / "expect.txt").write_text("# made by tools/make_seeds.py: file, then what must come of it\n"
                                  + "".join(f"{k}\t{v}\n" for k, v in sorted(expect.items())))
hashes()
