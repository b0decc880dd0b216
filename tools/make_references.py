#!/usr/bin/env python3
"""Makes tests/data/references: what PyTorch and ONNX Runtime compute in fp32, for the tests of the
operations (ops.f32), of small ONNX files made here (onnx-*.onnx, .f32) and of real models (*.f32).

Usage: tools/make_references.py MODELS_FOLDER     (needs torch, spandrel, onnx, onnxruntime, numpy)

Inputs and weights are integer formulas that tests/unit/references.h repeats bit for bit.
"""
import hashlib, json, os, struct, sys
import numpy as np
import onnx, onnxruntime, spandrel, torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tests', 'data', 'references')
torch.set_num_threads(2)
torch.set_grad_enabled(False)


def mix(x):
    """A 32-bit integer hash (two multiply-xorshift rounds), on arrays."""
    x = np.asarray(x, dtype=np.uint64) & 0xffffffff
    x ^= x >> 16
    x = (x * 0x7feb352d) & 0xffffffff
    x ^= x >> 15
    x = (x * 0x846ca68b) & 0xffffffff
    return x ^ (x >> 16)


def picture(channels, h, w, seed=1):
    """Slanted ramps plus noise in 0..1, exact in fp32."""
    c, y, x = np.meshgrid(np.arange(channels), np.arange(h), np.arange(w), indexing='ij')
    ramp = np.abs(((x * 9 + y * 5 + c * 40) & 511) - 256)
    noise = mix(((c * h + y) * w + x) + seed * 1000003) & 63
    return ((ramp * 3 + noise.astype(np.int64) * 4) / 1024).astype(np.float32)


def weights(shape, seed, shift):
    """-1 … 1 times 2^-shift, exact in fp32."""
    n = int(np.prod(shape))
    v = (mix(np.arange(n) + seed * 7368787) >> 8).astype(np.float64) / 2**23 - 1
    return (v / 2**shift).astype(np.float32).reshape(shape)


def sha(path):
    return hashlib.sha256(open(path, 'rb').read()).hexdigest()


def tensor(a, double=False):
    t = torch.from_numpy(np.ascontiguousarray(a))
    return t.double() if double else t


# ---- operations -----------------------------------------------------------------------------------

def case(op, w=9, h=7, cin=3, cout=3, **more):
    d = dict(op=op, width=w, height=h, cin=cin, cout=cout)
    d.update(more)
    return d


def conv(cin, cout, k, **more):
    kw, kh = k if isinstance(k, tuple) else (k, k)
    d = dict(kernel_w=kw, kernel_h=kh, pad_x=(kw - 1) // 2, pad_y=(kh - 1) // 2, stride=1, groups=1,
             bias=1, shift=2)
    d.update(more)
    return case(d.pop('op', 'CONV'), cin=cin, cout=cout, **d)


def deconv(cin, cout, k, stride, pad, **more):
    return conv(cin, cout, k, op='DECONV', stride=stride, pad_x=pad, pad_y=pad, **more)


def op_cases():
    acts = [dict(act='RELU'), dict(act='LEAKY', slope=0.25), dict(act='PRELU', slopes=1),
            dict(act='PRELU', slopes=3), dict(act='SIGMOID'), dict(act='TANH'), dict(act='SILU'),
            dict(act='GELU'), dict(act='CLIP', lo=-0.125, hi=0.5)]
    cases = [conv(3, 5, 3), conv(4, 2, 5, act='RELU'), conv(7, 3, 1, bias=0), conv(2, 3, (5, 3)),
             conv(3, 2, (1, 3)), conv(4, 6, 3, groups=2), conv(5, 5, 3, groups=5), conv(3, 4, 2),
             conv(3, 4, 3, stride=2, width=8, height=6), conv(3, 4, 4, stride=2, width=10, height=6),
             conv(16, 12, 3, act='PRELU', slopes=12, shift=3), conv(1, 1, 9, shift=4),
             deconv(3, 2, 4, 2, 1), deconv(3, 1, 9, 2, 4, shift=4), deconv(2, 3, 9, 3, 3, shift=3),
             deconv(4, 4, 4, 2, 1, groups=2), deconv(3, 3, 2, 2, 0, act='LEAKY', slope=0.5),
             deconv(2, 2, 3, 1, 1), deconv(2, 2, 9, 3, 4, shift=3)]
    cases += [case('AFFINE', alpha0=4, alpha1=-2, **a) for a in acts]
    cases += [case('ACT', **acts[0]), case('ACT', **acts[6])]
    cases += [case('AFFINE', per_channel=1), case('ADD', alpha0=0.5, alpha1=-2),
              case('ADD', alpha0=1, alpha1=1, act='RELU'), case('MUL'),
              case('MUL', act='TANH'), case('CONCAT', cout=6), case('SLICE', cin=7, cout=3, first=2)]
    for f in (2, 3, 4):
        for dcr in (0, 1):
            cases.append(case('SHUFFLE', cin=2 * f * f, cout=2, factor=f, dcr=dcr))
            cases.append(case('UNSHUFFLE', w=3 * f, h=2 * f, cin=2, cout=2 * f * f, factor=f, dcr=dcr))
    cases += [case('NEAREST', factor=f) for f in (1, 2, 3, 4)]
    for filt in ('BILINEAR', 'BICUBIC', 'NEAREST'):
        for num, den in ((2, 1), (3, 1), (4, 1), (3, 2), (4, 3), (1, 2), (3, 4), (1, 4), (2, 3)):
            cases.append(case('RESIZE', w=12, h=12, cin=2, cout=2, filter=filt, num=num, den=den))
    return cases


def activate(x, c, seed):
    a = c.get('act')
    if a == 'RELU': return F.relu(x)
    if a == 'LEAKY': return F.leaky_relu(x, c['slope'])
    if a == 'PRELU': return F.prelu(x, tensor(weights((c['slopes'],), seed + 3, 0), True))
    if a == 'SIGMOID': return torch.sigmoid(x)
    if a == 'TANH': return torch.tanh(x)
    if a == 'SILU': return F.silu(x)
    if a == 'GELU': return F.gelu(x)
    if a == 'CLIP': return torch.clamp(x, c['lo'], c['hi'])
    return x


def run_op(c, seed):
    op, two = c['op'], c['op'] in ('ADD', 'MUL', 'CONCAT')
    x = tensor(picture(c['cin'] * (2 if two else 1), c['height'], c['width'], seed), True)[None]
    a, b = (x[:, :c['cin']], x[:, c['cin']:]) if two else (x, None)
    if op in ('CONV', 'DECONV'):
        shape = [c['cout'], c['cin'] // c['groups'], c['kernel_h'], c['kernel_w']]
        if op == 'DECONV': shape[0], shape[1] = c['cin'], c['cout'] // c['groups']
        w = tensor(weights(shape, seed + 1, c['shift']), True)
        bias = tensor(weights((c['cout'],), seed + 2, 0), True) if c['bias'] else None
        s, kw, kh, px, py = c['stride'], c['kernel_w'], c['kernel_h'], c['pad_x'], c['pad_y']
        if op == 'CONV':
            full = F.pad(a, (px, kw - 1 - px, py, kh - 1 - py))
            y = F.conv2d(full, w, bias, s, 0, 1, c['groups'])
        else:
            y = F.conv_transpose2d(a, w, bias, s, 0, 0, c['groups'])
            hh, ww = c['height'] * s, c['width'] * s
            y = F.pad(y, (0, max(0, px + ww - y.shape[3]), 0, max(0, py + hh - y.shape[2])))
            y = y[:, :, py:py + hh, px:px + ww]
            if bias is not None: # where the kernel does not reach there is only the bias
                assert y.shape[3] <= (c['width'] - 1) * s + kw - px
    elif op == 'ACT': y = a
    elif op == 'ADD': y = c['alpha0'] * a + c['alpha1'] * b
    elif op == 'MUL': y = a * b
    elif op == 'AFFINE':
        if c.get('per_channel'):
            y = a * tensor(weights((c['cin'],), seed + 1, 0), True)[:, None, None] \
                + tensor(weights((c['cin'],), seed + 2, 0), True)[:, None, None]
        else: y = a * c['alpha0'] + c['alpha1']
    elif op == 'CONCAT': y = torch.cat([a, b], 1)
    elif op == 'SLICE': y = a[:, c['first']:c['first'] + c['cout']]
    elif op in ('SHUFFLE', 'UNSHUFFLE'):
        f, n = c['factor'], c['cout'] if op == 'SHUFFLE' else c['cin']
        crd = torch.arange(n * f * f).reshape(n, f * f)
        order = crd.T.reshape(-1) # the channel order of DCR, in CRD's numbers
        if op == 'SHUFFLE':
            y = F.pixel_shuffle(a[:, torch.argsort(order)] if c['dcr'] else a, f)
        else:
            y = F.pixel_unshuffle(a, f)
            y = y[:, order] if c['dcr'] else y
    elif op == 'NEAREST': y = F.interpolate(a, scale_factor=c['factor'], mode='nearest')
    elif op == 'RESIZE':
        size = (c['height'] * c['num'] // c['den'], c['width'] * c['num'] // c['den'])
        mode = {'BILINEAR': 'bilinear', 'BICUBIC': 'bicubic', 'NEAREST': 'nearest-exact'}[c['filter']]
        more = {} if mode == 'nearest-exact' else dict(align_corners=False)
        y = F.interpolate(a, size=size, mode=mode, **more)
    return activate(y, c, seed)[0].numpy().astype(np.float32)


def make_ops():
    blob, index = b'', []
    for i, c in enumerate(op_cases()):
        y = run_op(c, 100 + 10 * i)
        c.update(seed=100 + 10 * i, out_width=y.shape[2], out_height=y.shape[1], offset=len(blob) // 4)
        assert y.shape[0] == c['cout'], (c, y.shape)
        blob += y.tobytes()
        index.append(c)
    open(os.path.join(OUT, 'ops.f32'), 'wb').write(blob)
    return index


# ---- small ONNX files -----------------------------------------------------------------------------

def onnx_file(name, nodes, inits, opset, channels=3, half=False, dims=None):
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    shape = dims or [1, channels, 'h', 'w']
    inits = [numpy_helper.from_array(v.astype(np.float16) if half and v.dtype == np.float32 else v, k)
             for k, v in inits.items()]
    g = helper.make_graph(nodes, name, [helper.make_tensor_value_info('in', kind, shape)],
                          [helper.make_tensor_value_info('out', kind, [1, channels, 'H', 'W'])], inits)
    m = helper.make_model(g, opset_imports=[helper.make_opsetid('', opset)], producer_name='uprez')
    m.ir_version = min(m.ir_version, 10)
    onnx.checker.check_model(m)
    path = os.path.join(OUT, 'onnx-' + name + '.onnx')
    onnx.save(m, path)
    return path


def small_onnx():
    N, i64 = helper.make_node, lambda *v: np.array(v, dtype=np.int64)
    W = lambda cout, cin, k, seed, shift=2: weights((cout, cin, k, k), seed, shift)
    same = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    yield 'resize11', onnx_file('resize11', [
        N('Conv', ['in', 'w'], ['a'], **same),
        N('Resize', ['a', 'roi', 's'], ['b'], mode='linear', coordinate_transformation_mode='half_pixel'),
        N('Resize', ['in', 'roi', 's'], ['c'], mode='cubic', cubic_coeff_a=-0.75,
          coordinate_transformation_mode='pytorch_half_pixel'),
        N('Resize', ['in', 'roi', 's'], ['d'], mode='nearest', nearest_mode='floor',
          coordinate_transformation_mode='asymmetric'),
        N('Add', ['b', 'c'], ['e']), N('Sub', ['e', 'd'], ['out'])],
        {'w': W(3, 3, 3, 1), 's': np.array([1, 1, 2, 2], np.float32),
         'roi': np.zeros((0,), np.float32)}, 11), 11, 9
    # sizes worked out by Shape, Gather, Mul, as exporters of F.interpolate(size=…) leave them
    yield 'sizes', onnx_file('sizes', [
        N('Shape', ['in'], ['shape']), N('Slice', ['shape', 'two', 'four', 'zero'], ['hw']),
        N('Cast', ['hw'], ['hwf'], to=1), N('Mul', ['hwf', 'onehalf'], ['big']),
        N('Floor', ['big'], ['bigf']), N('Cast', ['bigf'], ['bigi'], to=7),
        N('Shape', ['in'], ['shape2']), N('Slice', ['shape2', 'zero', 'two', 'zero'], ['nc']),
        N('Concat', ['nc', 'bigi'], ['size'], axis=0),
        N('Conv', ['in', 'w', 'b'], ['a'], **same), N('LeakyRelu', ['a'], ['r'], alpha=0.2),
        N('Resize', ['r', '', '', 'size'], ['out'], mode='linear')],
        {'w': W(3, 3, 3, 2), 'b': weights((3,), 3, 0), 'two': i64(2), 'four': i64(4), 'zero': i64(0),
         'onehalf': np.array([1.5], np.float32)}, 13), 12, 8
    # split, channel slices, grouped convolution, DCR both ways, PReLU, constants on either side
    yield 'channels', onnx_file('channels', [
        N('SpaceToDepth', ['in'], ['u'], blocksize=2), N('Conv', ['u', 'w1'], ['a'], group=2, **same),
        N('PRelu', ['a', 'p'], ['b']), N('Split', ['b', 'parts'], ['c', 'd'], axis=1),
        N('Slice', ['d', 'from', 'to', 'axis1'], ['e']), N('Concat', ['e', 'c'], ['f'], axis=1),
        N('Sub', ['one', 'f'], ['g']), N('Div', ['g', 'two'], ['h']), N('Add', ['h', 'offset'], ['i']),
        N('Conv', ['i', 'w2'], ['j'], **same), N('Tanh', ['j'], ['k']),
        N('DepthToSpace', ['k'], ['l'], blocksize=4, mode='DCR'), N('Clip', ['l', 'lo', 'hi'], ['out'])],
        {'w1': W(12, 6, 3, 4), 'p': weights((12, 1, 1), 5, 0), 'parts': i64(4, 8), 'from': i64(-6),
         'to': i64(2**62), 'axis1': i64(1), 'one': np.array(1, np.float32),
         'two': np.array([2], np.float32), 'offset': weights((1, 10, 1, 1), 6, 0),
         'w2': W(48, 10, 3, 7), 'lo': np.array(-0.5, np.float32), 'hi': np.array(0.75, np.float32)},
        13), 12, 8
    # transposed convolution, batch normalisation, SiLU, a Pad before a convolution, half precision
    yield 'deconv-half', onnx_file('deconv-half', [
        N('Pad', ['in', 'pads'], ['padded']), N('Conv', ['padded', 'w'], ['a'], kernel_shape=[5, 5]),
        N('BatchNormalization', ['a', 'scale', 'b', 'mean', 'var'], ['n']), N('Sigmoid', ['n'], ['s']),
        N('Mul', ['s', 'n'], ['m']),
        N('ConvTranspose', ['m', 'wt', 'bt'], ['out'], kernel_shape=[9, 9], strides=[3, 3],
          pads=[4, 4, 4, 4], output_padding=[2, 2])],
        {'pads': i64(0, 0, 2, 2, 0, 0, 2, 2), 'w': W(6, 1, 5, 8, 3), 'scale': weights((6,), 9, 0),
         'b': weights((6,), 10, 0), 'mean': weights((6,), 11, 1), 'var': weights((6,), 12, 1) ** 2,
         'wt': W(6, 1, 9, 13, 4), 'bt': weights((1,), 14, 0)}, 15, channels=1, half=True), 9, 7
    # pixel shuffle and unshuffle spelled as Reshape, Transpose, Reshape at a fixed size
    yield 'reshape-fixed', onnx_file('reshape-fixed', [
        N('Reshape', ['in', 's1'], ['a']), N('Transpose', ['a'], ['b'], perm=[0, 1, 3, 5, 2, 4]),
        N('Reshape', ['b', 's2'], ['c']), N('Conv', ['c', 'w'], ['d'], **same), N('Relu', ['d'], ['e']),
        N('Reshape', ['e', 's3'], ['f']), N('Transpose', ['f'], ['g'], perm=[0, 3, 4, 1, 5, 2]),
        N('Reshape', ['g', 's4'], ['out'])],
        {'s1': i64(1, 3, 4, 2, 5, 2), 's2': i64(1, 12, 4, 5), 'w': W(48, 12, 3, 15),
         's3': i64(1, 4, 4, 3, 4, 5), 's4': i64(1, 3, 16, 20)}, 13, dims=[1, 3, 8, 10]), 10, 8
    # padding to a multiple of four, and the crop that takes it away again
    yield 'pad-crop', onnx_file('pad-crop', [
        N('Shape', ['in'], ['s']), N('Gather', ['s', 'i2'], ['h']), N('Gather', ['s', 'i3'], ['w']),
        N('Mod', ['h', 'four'], ['hm']), N('Sub', ['four', 'hm'], ['hs']), N('Mod', ['hs', 'four'], ['hp']),
        N('Mod', ['w', 'four'], ['wm']), N('Sub', ['four', 'wm'], ['ws']), N('Mod', ['ws', 'four'], ['wp']),
        N('Concat', ['z6', 'hp', 'wp'], ['pads'], axis=0), N('Pad', ['in', 'pads'], ['p'], mode='edge'),
        N('SpaceToDepth', ['p'], ['u'], blocksize=4), N('Conv', ['u', 'w1'], ['c'], **same),
        N('DepthToSpace', ['c'], ['d'], blocksize=8, mode='CRD'), N('Mul', ['h', 'two'], ['h2']),
        N('Mul', ['w', 'two'], ['w2']), N('Concat', ['h2', 'w2'], ['end'], axis=0),
        N('Slice', ['d', 'z2', 'end', 'axes'], ['out'])],
        {'i2': i64(2), 'i3': i64(3), 'four': i64(4), 'two': i64(2), 'z6': i64(0, 0, 0, 0, 0, 0),
         'z2': i64(0, 0), 'axes': i64(2, 3), 'w1': W(192, 48, 3, 16, 4)}, 14), 13, 10


def widen(m):
    """The same graph in fp32, its fp16 weights widened."""
    def tensor32(t):
        if t.data_type == TensorProto.FLOAT16:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for t in m.graph.initializer: tensor32(t)
    for n in m.graph.node:
        for a in n.attribute:
            if a.type == onnx.AttributeProto.TENSOR: tensor32(a.t)
            if n.op_type == 'Cast' and a.name == 'to' and a.i == TensorProto.FLOAT16:
                a.i = TensorProto.FLOAT
    for v in list(m.graph.input) + list(m.graph.output):
        if v.type.tensor_type.elem_type == TensorProto.FLOAT16:
            v.type.tensor_type.elem_type = TensorProto.FLOAT
    del m.graph.value_info[:]
    return m


def run_onnx(path, x):
    m = widen(onnx.load(path))
    s = onnxruntime.InferenceSession(m.SerializeToString(), providers=['CPUExecutionProvider'])
    return s.run(None, {s.get_inputs()[0].name: x[None]})[0][0]


# ---- real models ----------------------------------------------------------------------------------

def state_dict(path):
    if path.endswith('.safetensors'):
        import safetensors.torch
        d = safetensors.torch.load_file(path)
    else:
        d = torch.load(path, map_location='cpu', weights_only=True)
    for key in ('params_ema', 'params'):
        if key in d: d = d[key]
    return {k: v.float() for k, v in d.items()}


def run_spandrel(path, x):
    model = spandrel.ModelLoader().load_from_state_dict(state_dict(path)).model.eval().float()
    return model(tensor(x)[None])[0].numpy()


def run_espcn(path, x):
    """Lornatang's ESPCN of 2020, which ends in a sigmoid."""
    d, f = state_dict(path), tensor(x)[None]
    f = torch.tanh(F.conv2d(f, d['feature_maps.0.weight'], d['feature_maps.0.bias'], padding=2))
    f = torch.tanh(F.conv2d(f, d['feature_maps.2.weight'], d['feature_maps.2.bias'], padding=1))
    f = F.conv2d(f, d['sub_pixel.0.weight'], d['sub_pixel.0.bias'], padding=1)
    return torch.sigmoid(F.pixel_shuffle(f, 2))[0].numpy()


def run_fsrcnn(path, x):
    """yjn870's FSRCNN, 2x, output cut to 0..1 by its test script, not by the network."""
    d, f = state_dict(path), tensor(x)[None]
    def layer(f, name, act):
        w = d[name + '.weight']
        f = F.conv2d(f, w, d[name + '.bias'], padding=w.shape[2] // 2)
        return F.prelu(f, d[act + '.weight'])
    f = layer(f, 'first_part.0', 'first_part.1')
    i = 0
    while 'mid_part.%d.weight' % i in d:
        f = layer(f, 'mid_part.%d' % i, 'mid_part.%d' % (i + 1))
        i += 2
    return F.conv_transpose2d(f, d['last_part.weight'], d['last_part.bias'], 2, 4, 1)[0].numpy()


def run_espcn224(path, x):
    """The same layers at another size than the file's 224x224."""
    d = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    f = tensor(x)[None]
    for i in range(1, 5):
        w = d['conv%d.weight' % i]
        f = F.conv2d(f, w, d['conv%d.bias' % i], padding=w.shape[2] // 2)
        if i < 4: f = F.relu(f)
    return F.pixel_shuffle(f, 3)[0].numpy()


def run_ncnn(path, x):
    """ncnn's layers by PyTorch's functions, with the .bin's own numbers."""
    param = path.split('+')[0]
    data, at, blobs = open(path.split('+')[1], 'rb').read(), 0, {}

    def take(n, tagged):
        nonlocal at
        half = False
        if tagged:
            half = struct.unpack_from('<I', data, at)[0] == 0x01306B47
            at += 4
        a = np.frombuffer(data, '<f2' if half else '<f4', n, at).astype(np.float32)
        at += (n * (2 if half else 4) + 3) // 4 * 4
        return torch.from_numpy(a)

    for line in open(param).read().splitlines()[2:]:
        word = line.split()
        kind, n_in, n_out = word[0], int(word[2]), int(word[3])
        src, dst = word[4:4 + n_in], word[4 + n_in:4 + n_in + n_out]
        p = {int(k): v for k, v in (q.split('=') for q in word[4 + n_in + n_out:])}
        a = blobs[src[0]] if src else None
        if kind == 'Input': y = tensor(x)[None]
        elif kind == 'Split': y = a
        elif kind == 'Convolution':
            out, k = int(p[0]), int(p[1])
            w = take(int(p[6]), True).reshape(out, -1, k, k)
            y = F.conv2d(a, w, take(out, False) if int(p[5]) else None, padding=int(p[4]))
        elif kind == 'PReLU': y = F.prelu(a, take(int(p[0]), False))
        elif kind == 'PixelShuffle': y = F.pixel_shuffle(a, int(p[0]))
        elif kind == 'BinaryOp': y = a + blobs[src[1]]
        elif kind == 'Interp':
            mode = {1: 'nearest', 2: 'bilinear', 3: 'bicubic'}[int(p[0])]
            y = F.interpolate(a, scale_factor=float(p[1]), mode=mode,
                              **({} if mode == 'nearest' else dict(align_corners=False)))
        else: raise ValueError(kind)
        for d in dst: blobs[d] = y
    assert at == len(data)
    return blobs['output'][0].numpy()


ANIME = ['pytorch/realesr-animevideov3.pth', 'pytorch/realesr-animevideov3.rezipped-deflate.pth',
         'safetensors/realesr-animevideov3.safetensors', 'onnx/realesr-animevideov3.onnx']
JANAI = 'onnx/2x_AnimeJaNai_HD_V3'
NCNN = 'ncnn/realesr-animevideov3'
MODELS = [ # id, runner, files (the first is run), channels, width, height
    ('animevideov3', run_spandrel, ANIME, 3, 13, 11),
    ('general-x4v3', run_spandrel, ['pytorch/realesr-general-x4v3.fp16w.pth'], 3, 21, 17),
    ('general-wdn-x4v3', run_spandrel, ['pytorch/realesr-general-wdn-x4v3.half.pth'], 3, 13, 11),
    ('x4plus', run_spandrel, ['pytorch/RealESRGAN_x4plus.half.pth'], 3, 7, 5),
    ('x4plus-anime', run_spandrel, ['pytorch/RealESRGAN_x4plus_anime_6B.pth'], 3, 9, 8),
    ('ultracompact', run_spandrel, ['pytorch/sudo_UltraCompact_2x_1.121.175_G.pth'], 3, 21, 17),
    ('fsrcnn', run_fsrcnn, ['pytorch/fsrcnn_x2.pth'], 1, 21, 17),
    ('espcn', run_espcn, ['pytorch/espcn_2x.pth'], 1, 21, 17),
    ('xsx2', run_onnx, ['onnx/realesrganv2-animevideo-xsx2.onnx'], 3, 21, 17),
    ('janai-compact', run_onnx, [JANAI + '_Compact-fp16.onnx'], 3, 21, 17),
    ('janai-super', run_onnx, [JANAI + '_SuperUltraCompact.onnx'], 3, 21, 17),
    ('janai-super-half', run_onnx, [JANAI + '_SuperUltraCompact-fp16.onnx'], 3, 21, 17),
    ('janai-super-dynamo', run_onnx,
     [JANAI + '_SuperUltraCompact_1x3xHxW_dyn-HW_strong_fp16_op23_dynamo.onnx'], 3, 21, 17),
    ('janai-span', run_onnx, [JANAI + '.1_Performance_SPANF3_b5f48_unshuffle_fp16.onnx'], 3, 20, 14),
    ('janai-span-odd', run_onnx, [JANAI + '.1_Performance_SPANF3_b5f48_unshuffle_fp16.onnx'], 3, 21, 17),
    ('nomosuni', run_onnx, ['onnx/2xNomosUni_compact_otf_medium.onnx'], 3, 21, 17),
    ('clearreality', run_onnx, ['onnx/4x-ClearRealityV1-fp32-opset14.onnx'], 3, 13, 11),
    ('artcnn', run_onnx, ['onnx/ArtCNN_C4F16.onnx'], 1, 21, 17),
    ('espcn224', run_espcn224, ['onnx/super_resolution_espcn_fixed224.onnx'], 1, 21, 17),
    ('ncnn-x1', run_ncnn, [NCNN + '-x1.param'], 3, 13, 11),
    ('ncnn-x2', run_ncnn, [NCNN + '-x2.param'], 3, 13, 11),
    ('ncnn-x3', run_ncnn, [NCNN + '-x3.param'], 3, 13, 11),
    ('ncnn-x4', run_ncnn, [NCNN + '-x4.param', NCNN + '.bin'], 3, 13, 11),
]


def entry(name, y, channels, w, h, **more):
    file = name + '.f32'
    y = np.ascontiguousarray(y, dtype=np.float32)
    open(os.path.join(OUT, file), 'wb').write(y.tobytes())
    assert y.shape[0] == channels
    print('%-20s %dx%d -> %dx%d  %.3f … %.3f' % (name, w, h, y.shape[2], y.shape[1], y.min(), y.max()))
    return dict(id=name, channels=channels, width=w, height=h, out_width=y.shape[2],
                out_height=y.shape[1], file=file, sha256=hashlib.sha256(y.tobytes()).hexdigest(), **more)


def make_models(folder):
    index = []
    for name, run, files, channels, w, h in MODELS:
        path = os.path.join(folder, files[0])
        if run is run_ncnn: path += '+' + os.path.join(folder, NCNN + '.bin')
        y = run(path, picture(channels, h, w))
        listed = [dict(path=f, sha256=sha(os.path.join(folder, f))) for f in files]
        index.append(entry(name, y, channels, w, h, models=listed))
    return index


def main():
    os.makedirs(OUT, exist_ok=True)
    index = dict(tools=dict(python=sys.version.split()[0], torch=torch.__version__,
                            spandrel=spandrel.__version__, onnx=onnx.__version__,
                            onnxruntime=onnxruntime.__version__, numpy=np.__version__),
                 command='tools/make_references.py MODELS_FOLDER', seed=1)
    index['ops'] = make_ops()
    index['onnx'] = []
    for name, path, w, h in small_onnx():
        channels = 1 if 'half' in name else 3
        y = run_onnx(path, picture(channels, h, w))
        index['onnx'].append(entry('onnx-' + name, y, channels, w, h,
                                   models=[dict(path=os.path.basename(path), sha256=sha(path))]))
    index['models'] = make_models(sys.argv[1])
    with open(os.path.join(OUT, 'index.json'), 'w') as f:
        json.dump(index, f, indent=1)
        f.write('\n')


main()
