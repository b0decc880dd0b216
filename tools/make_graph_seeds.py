#!/usr/bin/env python3
"""Makes tests/data/seeds/onnx, tests/data/seeds/ncnn and expect_graphs.txt: small networks, good and
bad, with what must come of each, and for some what ONNX Runtime computes. Needs onnx, onnxruntime and
numpy. Run: tools/make_graph_seeds.py"""
import os, struct
import numpy as np
from onnx import TensorProto, helper, numpy_helper

SEEDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tests', 'data', 'seeds')
EXPECT = []
rng = np.random.default_rng(7)


def save(name, data, want):
    path = os.path.join(SEEDS, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'wb').write(data)
    if want: EXPECT.append('%s\t%s' % (name, want))


# ---- ONNX -----------------------------------------------------------------------------------------

N = helper.make_node
SAME = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
def W(*shape): return (rng.standard_normal(shape) / 8).astype(np.float32)
def i64(*v): return np.array(v, dtype=np.int64)


def raw_tensor(dims, data):
    """A tensor whose bytes need not match its dims."""
    t = TensorProto(name='w', data_type=TensorProto.FLOAT, raw_data=data)
    t.dims.extend(dims)
    return t


def info(name, shape=(1, 3, 'h', 'w'), kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inits, opset=17, inputs=None, outputs=None):
    inits = [v if isinstance(v, TensorProto) else numpy_helper.from_array(np.asarray(v), k)
             for k, v in inits.items()]
    g = helper.make_graph(nodes, 'g', inputs or [info('in')], outputs or [info('out', (1, 3, 'H', 'W'))], inits)
    m = helper.make_model(g, opset_imports=[helper.make_opsetid('', opset)])
    m.ir_version = 8
    return m


def onnx(name, want, nodes, inits, **more):
    m = model(nodes, inits, **more)
    save('onnx/%s.onnx' % name, m.SerializeToString(), want)
    return m


def chain(*layers, **inits):
    """Nodes in a row from 'in' to 'out'; a layer is (op, further inputs, attributes)."""
    nodes, at = [], 'in'
    for i, (op, more, attrs) in enumerate(layers):
        to = 'out' if i == len(layers) - 1 else 'v%d' % i
        nodes.append(N(op, [at] + more, [to], name='n%d' % i, **attrs))
        at = to
    return nodes, inits


CONV = ('Conv', ['w'], SAME)
def onnx_seeds():
    w = W(3, 3, 3, 3)
    good = onnx('good', 'ok', *chain(('Conv', ['w1', 'b1'], SAME), ('PRelu', ['p'], {}),
                ('Conv', ['w2'], SAME), ('DepthToSpace', [], dict(blocksize=2, mode='CRD')),
                ('Clip', ['lo', 'hi'], {}), w1=W(4, 3, 3, 3), b1=W(4), p=W(4, 1, 1), w2=W(12, 4, 3, 3),
                lo=np.float32(0), hi=np.float32(1)))
    data = good.SerializeToString()
    save('onnx/cut.onnx', data[:len(data) * 2 // 3], 'damaged or cut short')
    save('onnx/empty_graph.onnx', b'\x08\x08\x3a\x00\x42\x02\x10\x11', 'outputs')
    save('onnx/no_graph.onnx', b'\x08\x08\x42\x02\x10\x11', 'damaged or cut short')
    save('onnx/endless_varint.onnx', b'\x08' + b'\xff' * 40, 'damaged or cut short')
    save('onnx/length_beyond_end.onnx', b'\x08\x08\x3a\xff\xff\xff\xff\x0f\x0a\x00', 'damaged or cut short')
    onnx('opset3', 'operator set 3', *chain(CONV, w=w), opset=3)
    onnx('unknown_op', "node 'n1' (Einsum): the operator is not supported",
         *chain(CONV, ('Einsum', [], {}), w=w))
    nodes, inits = chain(CONV, ('Relu', [], {}), w=w)
    nodes[1].domain = 'com.microsoft'
    onnx('foreign_domain', "operators of 'com.microsoft'", nodes, inits)
    onnx('cycle', "reads 'b', which nothing before it writes",
         [N('Add', ['in', 'b'], ['a']), N('Relu', ['a'], ['b']), N('Conv', ['b', 'w'], ['out'], **SAME)],
         dict(w=w))
    onnx('self_loop', "reads 'out'", [N('Add', ['in', 'out'], ['out'])], {})
    onnx('duplicate_value', "'out' is written twice",
         [N('Relu', ['in'], ['out']), N('Conv', ['in', 'w'], ['out'], **SAME)], dict(w=w))
    m = model(*chain(CONV, w=w))
    m.graph.initializer.append(m.graph.initializer[0])
    save('onnx/duplicate_tensor.onnx', m.SerializeToString(), "'w' is written twice")
    onnx('missing_tensor', "reads 'w2'", [N('Conv', ['in', 'w2'], ['out'], **SAME)], dict(w=w))
    onnx('two_inputs', 'more than one input', *chain(CONV, w=w), inputs=[info('in'), info('more')])
    onnx('two_outputs', '2 outputs', *chain(CONV, w=w),
         outputs=[info('out'), info('v0')])
    onnx('five_channels', '5 channels', *chain(CONV, w=W(5, 5, 3, 3)), inputs=[info('in', (1, 5, 'h', 'w'))])
    onnx('batch_of_four', 'ok', *chain(CONV, w=w), inputs=[info('in', (4, 3, 'h', 'w'))])
    onnx('two_dims', '2 dimensions', *chain(CONV, w=w), inputs=[info('in', ('h', 'w'))])
    onnx('text_in', 'neither floating point nor bytes', *chain(CONV, w=w),
         inputs=[info('in', kind=TensorProto.STRING)])
    onnx('no_shape_said', 'ok', *chain(CONV, ('Relu', [], {}), w=w),
         inputs=[info('in', ('n', 'c', 'h', 'w'))])
    onnx('wrong_channels', 'the layer gets 3 channels', *chain(CONV, w=W(3, 4, 3, 3)))
    onnx('dilated', 'dilated', *chain(('Conv', ['w'], dict(pads=[2] * 4, dilations=[2, 2])), w=w))
    onnx('valid_padding', "changes the picture's size", *chain(('Conv', ['w'], {}), w=w))
    onnx('conv1d', 'weights have 3 dimensions', *chain(('Conv', ['w'], {}), w=W(3, 3, 3)))
    onnx('global_pool', "GlobalAveragePool", *chain(('GlobalAveragePool', [], {}), w=w))
    onnx('downscale_mean', "not supported", *chain(('Resize', ['', 's'], dict(mode='linear', antialias=1)),
         s=np.array([1, 1, .5, .5], np.float32)), opset=18)
    onnx('align_corners', 'half-pixel', *chain(CONV, ('Resize', ['', 's'],
         dict(mode='linear', coordinate_transformation_mode='align_corners')), w=w,
         s=np.array([1, 1, 2, 2], np.float32)))
    onnx('uneven_resize', '2 x 3', *chain(('Resize', ['', 's'], dict(mode='nearest')),
         s=np.array([1, 1, 3, 2], np.float32)))
    onnx('crop', 'cuts out a part', *chain(CONV, ('Slice', ['a', 'b', 'c'], {}), w=w, a=i64(1), b=i64(9), c=i64(2)))
    onnx('reflect_features', 'only zeros', *chain(CONV, ('Pad', ['p'], dict(mode='reflect')), CONV, w=w,
         p=i64(0, 0, 1, 1, 0, 0, 1, 1)))
    onnx('not_a_shuffle', 'not a pixel shuffle', *chain(('Reshape', ['s'], {}),
         ('Transpose', [], dict(perm=[0, 1, 2, 5, 4, 3])), ('Reshape', ['t'], {}),
         s=i64(1, 3, 4, 2, 4, 2), t=i64(1, 3, 8, 8)), inputs=[info('in', (1, 3, 8, 8))])
    onnx('nan_weights', 'not finite', *chain(CONV, w=np.full((3, 3, 3, 3), np.nan, np.float32)))
    onnx('divide_by_zero', 'not finite', *chain(('Div', ['z'], {}), z=np.float32(0)))
    onnx('no_dependence', 'does not depend', [N('Identity', ['in'], ['out'])], {})
    onnx('constant_output', 'not a picture', [N('Identity', ['w'], ['out'])], dict(w=w))
    huge = raw_tensor([3, 3, 3, 3], b'\0' * 8)
    onnx('short_tensor', 'cut short', *chain(CONV, w=huge))
    huge = raw_tensor([4000, 3000, 60, 1], b'\0' * 8)
    onnx('huge_tensor', 'cut short', *chain(CONV, w=huge))
    huge = raw_tensor([2**31 - 1, 2**31 - 1, 2**31 - 1, 4], b'')
    onnx('overflowing_tensor', 'damaged or cut short', *chain(CONV, w=huge))
    strings = helper.make_tensor('w', TensorProto.STRING, [3, 3, 3, 3], [b'x'] * 81)
    onnx('string_tensor', 'unsupported type', *chain(CONV, w=strings))
    for name, where in (('missing', 'weights.data'), ('escape', '../../etc/passwd'), ('absolute', '/etc/passwd')):
        t = raw_tensor([3, 3, 3, 3], b'')
        t.ClearField('raw_data')
        t.data_location = TensorProto.EXTERNAL
        t.external_data.add(key='location', value=where)
        onnx('external_' + name, 'second file' if name == 'missing' else 'not a plain name',
             *chain(CONV, w=t))
    ext = W(3, 3, 3, 3)
    t = raw_tensor([3, 3, 3, 3], b'')
    t.ClearField('raw_data')
    t.data_location = TensorProto.EXTERNAL
    for k, v in (('location', 'external_good.data'), ('offset', '16'), ('length', '324')):
        t.external_data.add(key=k, value=v)
    onnx('external_good', 'ok', *chain(CONV, ('Relu', [], {}), w=t))
    save('onnx/external_good.data', b'\0' * 16 + ext.tobytes(), None)
    t.external_data[1].value = '64'
    onnx('external_short', 'would end at', *chain(CONV, ('Relu', [], {}), w=t))
    # bombs: maps that double, constants used again and again, names without end
    nodes = [N('Concat', ['in', 'in'], ['d0'], axis=1)]
    for i in range(1, 40): nodes.append(N('Concat', ['d%d' % (i - 1)] * 2, ['d%d' % i], axis=1))
    onnx('doubling', '4096', nodes + [N('Conv', ['d39', 'w'], ['out'], **SAME)], dict(w=w))
    nodes, at = [N('Conv', ['in', 'wide'], ['m'])], 'm'
    for i in range(300):
        nodes.append(N('Add', [at, 'many'], ['x%d' % i]))
        at = 'x%d' % i
    onnx('constant_again', 'implausibly often', nodes + [N('Conv', [at, 'back'], ['out'])],
         dict(wide=W(512, 3, 1, 1), many=W(512, 1, 1), back=W(3, 512, 1, 1)))
    onnx('enlarge_again', 'at most 64', *chain(*[('Resize', ['', 's'], dict(mode='nearest'))] * 30,
         s=np.array([1, 1, 2, 2], np.float32)))
    nodes, inits = chain(CONV, ('If', [], dict(then_branch=helper.make_graph([], 'a', [], []),
                                               else_branch=helper.make_graph([], 'b', [], []))), w=w)
    onnx('branch', '(If)', nodes, inits)
    onnx('dead_unknown', 'ok', [N('Loop', ['in'], ['x']), N('Conv', ['in', 'w'], ['out'], **SAME)], dict(w=w))
    onnx('many_shapes', 'calculations', [N('Shape', ['in'], ['s0'])] +
         [N('Add', ['s%d' % i, 's0'], ['s%d' % (i + 1)]) for i in range(4200)] +
         [N('Reshape', ['in', 's4200'], ['out'])], {})


# ---- ncnn -----------------------------------------------------------------------------------------

def half(*shape): return struct.pack('<I', 0x01306B47) + W(*shape).astype('<f2').tobytes().ljust(
    (int(np.prod(shape)) * 2 + 3) // 4 * 4, b'\0')
def single(*shape): return struct.pack('<I', 0) + W(*shape).astype('<f4').tobytes()
def plain(*shape): return W(*shape).astype('<f4').tobytes()


def ncnn(name, want, lines, bin_, counts=None, magic='7767517'):
    n = len(lines)
    text = '\n'.join([magic, counts or '%d %d' % (n, n)] + lines) + '\n'
    save('ncnn/%s.param' % name, text.encode(), want)
    if bin_ is not None: save('ncnn/%s.bin' % name, bin_, None)


def ncnn_seeds():
    inp, relu = 'Input in 0 1 data', 'ReLU r 1 1 a out 0=0.2'
    conv = 'Convolution c 1 1 data a 0=3 1=3 4=1 5=1 6=81'
    weights = half(3, 3, 3, 3) + plain(3)
    ncnn('good', 'ok', [inp, 'Split s 1 2 data d0 d1', 'Convolution c 1 1 d0 a 0=12 1=3 4=1 5=1 6=324',
         'PReLU p 1 1 a b 0=12', 'PixelShuffle u 1 1 b e 0=2', 'Interp i 1 1 d1 f 0=2 1=2.0 2=2.000000e+00',
         'BinaryOp add 2 1 e f g', 'Interp last 1 1 g out 0=3 1=7.5e-1 2=0.75'],
         half(12, 3, 3, 3) + plain(12) + plain(12))
    ncnn('single', 'ok', [inp, conv.replace(' a ', ' out ') + ' 9=2 -23310=1,2.0e-01'], single(3, 3, 3, 3) + plain(3))
    ncnn('deconv', 'ok', ['Input in 0 1 data 0=8 1=8 2=1', 'Convolution c 1 1 data a 0=4 1=3 4=1 6=36',
         'ConvolutionDepthWise d 1 1 a b 0=4 1=3 4=-233 5=1 6=36 7=4', 'Padding p 1 1 b c 0=1 1=1 2=1 3=1',
         'Convolution e 1 1 c d 0=4 1=3 6=144', 'Slice s 1 2 d x y -23300=2,2,-233', 'Concat j 2 1 x y z',
         'Eltwise m 2 1 z b k 0=1 -23301=2,1.0,0.5', 'Deconvolution f 1 1 k out 0=1 1=4 3=2 4=1 6=64'],
         half(4, 1, 3, 3) + half(4, 1, 3, 3) + plain(4) + half(4, 4, 3, 3) + half(1, 4, 4, 4))
    ncnn('int8', 'int8', [inp, conv, relu], struct.pack('<I', 0x000D4B38) + bytes(400))
    ncnn('table', 'quantised by a table', [inp, conv, relu], struct.pack('<I', 0x01020304) + bytes(1200))
    ncnn('int8_layer', 'quantised', [inp, conv + ' 8=1', relu], weights)
    ncnn('unknown', "layer 'g' (GridSample)", [inp, 'GridSample g 1 1 data out'], weights)
    ncnn('no_bin', 'two files', [inp, conv, relu], None)
    ncnn('short_bin', 'cut short', [inp, conv, relu], weights[:100])
    ncnn('long_bin', 'do not belong together', [inp, conv, relu], weights + bytes(64))
    ncnn('unwritten', 'no layer before it writes', [inp, conv.replace('data', 'other'), relu], weights)
    ncnn('twice', 'written twice', [inp, conv, 'ReLU r 1 1 a a', relu], weights)
    ncnn('magic', '7767517', [inp, conv, relu], weights, magic='7767518')
    ncnn('wrong_size', 'need 81', [inp, conv.replace('6=81', '6=82'), relu], weights)
    ncnn('huge_counts', 'ok', [inp, conv, relu], weights, counts='999999999999 -5')
    ncnn('many_inputs', 'up to 16', [inp, 'Concat c 9999999 1 data out'], b'\0\0\0\0')
    ncnn('not_a_number', 'cannot be understood', [inp, conv + ' five=1', relu], weights)
    ncnn('huge_number', 'not supported', [inp, conv.replace('1=3', '1=1e300'), relu], weights)
    ncnn('huge_array', 'cannot be understood', [inp, conv + ' -23310=99999999,1', relu], weights)
    ncnn('dilation', 'dilation', [inp, conv + ' 2=2', relu], weights)
    ncnn('fixed_size', 'output size', [inp, 'Interp i 1 1 data out 0=2 3=100 4=100'], b'\0\0\0\0')
    ncnn('two_ends', 'outputs', [inp, conv, 'ReLU x 1 1 a x', 'ReLU y 1 1 a y'], weights)
    ncnn('cut_line', 'cut short', [inp, conv, 'ReLU r 1'], weights)
    save('ncnn/binary.param', struct.pack('<5I', 7685517, 2, 2, 0, 1), '7767517')
    save('ncnn/binary.bin', weights, None)


# ---- ONNX forms, with ONNX Runtime's output ---------------------------------------------------------

def form(name, nodes, inits, size=(12, 24), want='ok', **more):
    """A network and NAME.ref: a line 'width height width height', the input's numbers, the output's."""
    import onnxruntime
    onnxruntime.set_default_logger_severity(3)
    m = onnx('form_' + name, want, nodes, inits, **more)
    if want != 'ok': return
    s = onnxruntime.InferenceSession(m.SerializeToString(), providers=['CPUExecutionProvider'])
    batch = s.get_inputs()[0].shape[0]
    x = rng.random((batch if isinstance(batch, int) else 1, 3, size[1], size[0]), dtype=np.float32)
    y = s.run(None, {'in': x})[0]
    head = '%d %d %d %d\n' % (size + (y.shape[3], y.shape[2]))
    save('onnx/form_%s.ref' % name, head.encode() + x[-1].tobytes() + y[-1].tobytes(), None)


def picture(name, nodes, inits, kind='nchw', types=(TensorProto.UINT8, TensorProto.UINT8), top=(255, 255),
            want='ok', dims=(None, None), **more):
    """As form, of a network that takes and gives pictures of another kind: dimensions in the order of `kind`, numbers
    0..top[0] in, 0..top[1] out. The reference is in channels, rows, columns and 0..1."""
    import onnxruntime
    onnxruntime.set_default_logger_severity(3)
    def ends(c, h, w):
        return [dict(n=1, c=c, h=h, w=w)[k] for k in kind]
    a = info('in', dims[0] or ends(3, 'h', 'w'), types[0])
    b = info('out', dims[1] or ends(3, 'H', 'W'), types[1])
    m = onnx('form_' + name, want, nodes, inits, inputs=[a], outputs=[b], **more)
    if want != 'ok': return
    s = onnxruntime.InferenceSession(m.SerializeToString(), providers=['CPUExecutionProvider'])
    w, h = 14, 10
    codes = rng.integers(0, 256, (1, 3, h, w))
    turn = [('nchw').index(k) for k in kind]
    x = codes if len(kind) == 4 else codes[0]
    x = np.transpose(codes, turn) if len(kind) == 4 else np.transpose(codes[0], [t - 1 for t in turn])
    numpy_type = helper.tensor_dtype_to_np_dtype(types[0])
    y = s.run(None, {'in': (x / 255 * top[0]).round().astype(numpy_type) if top[0] > 255 else
                     (x.astype(numpy_type) / (1 if top[0] == 255 else 255)).astype(numpy_type)})[0].astype(np.float64)
    if len(kind) == 3: y, turn = y[None], [0] + turn
    y = np.transpose(y, np.argsort(turn)) / top[1]
    head = '%d %d %d %d\n' % (w, h, y.shape[3], y.shape[2])
    whole = types[1] in (TensorProto.UINT8, TensorProto.UINT16, TensorProto.INT32)
    if whole: head = head[:-1] + ' codes\n'
    save('onnx/form_%s.ref' % name, head.encode() + (codes / 255).astype(np.float32).tobytes() +
         (np.clip(y, 0, 1) if whole else y).astype(np.float32).tobytes(), None)


def pictures():
    global rng
    rng = np.random.default_rng(9)
    U8, F = TensorProto.UINT8, TensorProto.FLOAT
    w12, back = W(12, 3, 3, 3), W(3, 3, 3, 3)
    eye = np.zeros((12, 3, 3, 3), np.float32)
    for i in range(12): eye[i, i // 4, 1, 1] = 1
    w12 = (eye + w12 / 4).astype(np.float32)
    c = dict(top=np.float32(255), per=np.float32(1 / 255), lo=np.float32(0), hi=np.float32(255), w=w12, half=np.float32(.5),
             mid=np.float32(127.5), one=np.float32(1), zero=np.float32(0))
    first, last = ('Transpose', [], dict(perm=[0, 3, 1, 2])), ('Transpose', [], dict(perm=[0, 2, 3, 1]))
    to_f, to_b = ('Cast', [], dict(to=F)), ('Cast', [], dict(to=U8))
    conv, up = ('Conv', ['w'], SAME), ('DepthToSpace', [], dict(blocksize=2, mode='CRD'))
    div, mul = ('Div', ['top'], {}), ('Mul', ['top'], {})
    clip, rnd = ('Clip', ['lo', 'hi'], {}), ('Round', [], {})
    def p(name, layers, **more):
        picture(name, *chain(*layers, **{k: v for k, v in c.items() if any(k in l[1] for l in layers)}), **more)
    p('bytes', [to_f, div, conv, up, mul, clip, rnd, to_b])
    p('bytes_by_factor', [to_f, ('Mul', ['per'], {}), conv, up, mul, clip, rnd, to_b])
    p('bytes_cut', [to_f, div, conv, up, mul, clip, to_b])
    p('bytes_floor', [to_f, div, conv, up, mul, ('Add', ['half'], {}), ('Floor', [], {}), clip, to_b])
    p('bytes_undivided', [to_f, conv, up, clip, rnd, to_b])
    p('bytes_limits', [to_f, div, conv, up, mul, ('Max', ['lo'], {}), ('Min', ['hi'], {}), rnd, to_b])
    p('bytes_last', [to_f, first, div, conv, up, mul, clip, rnd, last, to_b], kind='nhwc')
    p('bytes_last_late', [first, to_f, div, conv, up, last, mul, clip, rnd, to_b], kind='nhwc')
    p('bytes_last_early', [to_f, div, first, conv, up, last, mul, clip, rnd, to_b], kind='nhwc')
    p('bytes_last_fixed', [to_f, first, div, conv, up, mul, clip, rnd, last, to_b], kind='nhwc',
      dims=((1, 10, 14, 3), (1, 20, 28, 3)))
    p('bytes_last_unsaid', [to_f, first, div, conv, up, mul, clip, rnd, last, to_b], kind='nhwc',
      dims=((1, None, None, None), (1, None, None, None)))
    p('bytes_to_floats', [to_f, div, conv, up], types=(U8, F), top=(255, 1))
    p('bytes_to_codes', [to_f, div, conv, up, mul], types=(U8, F))
    p('bytes_as_they_are', [to_f, conv, up], types=(U8, F))
    p('floats_to_bytes', [conv, up, mul, clip, rnd, to_b], types=(F, U8), top=(1, 255))
    p('codes', [div, conv, up, mul], types=(F, F))
    p('codes_clipped', [conv, up, clip], types=(F, F))
    p('codes_last', [div, first, conv, up, last, mul, clip], kind='nhwc', types=(F, F))
    p('codes_signed', [('Sub', ['mid'], {}), ('Div', ['mid'], {}), conv, up, ('Mul', ['mid'], {}), ('Add', ['mid'], {})],
      types=(F, F))
    p('codes_to_floats', [div, conv, up, ('Clip', ['zero', 'one'], {})], types=(F, F), top=(255, 1))
    p('floats_last', [first, conv, up, last], kind='nhwc', types=(F, F), top=(1, 1))
    p('words', [to_f, ('Div', ['words'], {}), conv, up, ('Mul', ['words'], {}), ('Clip', ['lo', 'words'], {}), rnd,
      ('Cast', [], dict(to=TensorProto.UINT16))], types=(TensorProto.UINT16,) * 2, top=(65535, 65535)) if c.update(
      words=np.float32(65535)) is None else None
    p('ints', [to_f, div, conv, up, mul, clip, rnd, ('Cast', [], dict(to=TensorProto.INT32))], types=(TensorProto.INT32,) * 2)
    means = dict(mean=np.array([123.7, 116.3, 103.5], np.float32), dev=np.array([58.4, 57.1, 57.4], np.float32))
    picture('codes_last_means', *chain(('Sub', ['mean'], {}), ('Div', ['dev'], {}), first, conv, up, last, ('Mul', ['dev'], {}),
            ('Add', ['mean'], {}), w=w12, **means), kind='nhwc', types=(F, F))
    shift = np.zeros((3, 3, 1, 1), np.float32)
    for i in range(3): shift[i, i] = 1
    picture('codes_shifted', *chain(('Conv', ['s', 'minus'], {}), conv, up, ('Conv', ['s', 'plus'], {}), w=w12, s=shift,
            minus=-means['mean'], plus=means['mean']), types=(F, F))
    picture('bytes_nearest_beside', [N('Cast', ['in'], ['f'], to=F), N('Div', ['f', 'top'], ['x']), N('Conv', ['x', 'w'], ['a'], **SAME),
            N('DepthToSpace', ['a'], ['b'], blocksize=2, mode='CRD'), N('Resize', ['x', '', 's'], ['n'], mode='nearest',
            coordinate_transformation_mode='asymmetric', nearest_mode='floor'), N('Add', ['b', 'n'], ['c']),
            N('Mul', ['c', 'mid'], ['d']), N('Clip', ['d', 'lo', 'hi'], ['e']), N('Round', ['e'], ['r']),
            N('Cast', ['r'], ['out'], to=U8)], dict(s=np.array([1, 1, 2, 2], np.float32), **{k: c[k] for k in ('top', 'w', 'mid', 'lo', 'hi')}))
    unsq, sq = ('Unsqueeze', ['axis'], {}), ('Squeeze', ['axis'], {})
    c.update(axis=i64(0))
    p('no_batch', [to_f, unsq, div, conv, up, mul, clip, rnd, sq, to_b], kind='chw')
    p('no_batch_last', [to_f, unsq, first, div, conv, up, mul, clip, rnd, last, sq, to_b], kind='hwc')
    p('sizes_last', [to_f, div, first, conv, up, last, mul, clip, rnd, to_b], kind='nhwc', dims=(('n', 'h', 'w', 3), None))
    picture('rounded_within', *chain(to_f, div, ('Round', [], {}), conv, up, mul, clip, rnd, to_b,
            **{k: c[k] for k in ('top', 'w', 'lo', 'hi')}), want='rounds what its layers work with')


def shape_of(value):
    """Height and width of a value, as exporters ask for them."""
    return [N('Shape', [value], ['shape']), N('Gather', ['shape', 'two'], ['h']), N('Gather', ['shape', 'three'], ['w'])]


SIZES = dict(two=i64(2), three=i64(3), f=i64(2), one3=i64(1, 3), fold12=i64(1, 12), all=i64(-1))
def unshuffle(perm, last):
    return shape_of('in') + [
        N('Div', ['h', 'f'], ['h2']), N('Div', ['w', 'f'], ['w2']),
        N('Concat', ['one3', 'h2', 'f', 'w2', 'f'], ['cut'], axis=0), N('Reshape', ['in', 'cut'], ['a']),
        N('Transpose', ['a'], ['b'], perm=perm), N('Concat', ['fold12', 'h2', last], ['whole'], axis=0),
        N('Reshape', ['b', 'whole'], ['c']), N('Conv', ['c', 'w0'], ['d'], **SAME),
        N('DepthToSpace', ['d'], ['e'], blocksize=2, mode='CRD'), N('Add', ['e', 'in'], ['out'])]


def onnx_forms():
    global rng
    rng = np.random.default_rng(8)
    w, w12 = W(3, 3, 3, 3), W(12, 12, 3, 3)
    form('batch', *chain(('Conv', ['w'], SAME), ('Reshape', ['s'], {}), ('Transpose', [], dict(perm=[0, 1, 4, 2, 5, 3])),
         ('Reshape', ['t'], {}), w=W(12, 3, 3, 3), s=i64(4, 3, 2, 2, 8, 10), t=i64(4, 3, 16, 20)),
         inputs=[info('in', (4, 3, 8, 10))], size=(10, 8))
    form('unshuffle', unshuffle([0, 1, 3, 5, 2, 4], 'w2'), dict(w0=w12, **SIZES))
    form('unshuffle_dcr', unshuffle([0, 3, 5, 1, 2, 4], 'all'), dict(w0=w12, **SIZES))
    form('not_unshuffle', unshuffle([0, 1, 5, 3, 2, 4], 'w2'), dict(w0=w12, **SIZES),
         want='reshaped map that is not a pixel shuffle')
    form('unshuffle_steps', *chain(('Unsqueeze', ['zero'], {}), ('Reshape', ['s'], {}), ('Reshape', ['t'], {}),
         ('Transpose', [], dict(perm=[0, 1, 3, 5, 2, 4])), ('Reshape', ['u'], {}), ('Squeeze', ['zero'], {}),
         ('Conv', ['w'], SAME), w=W(3, 27, 3, 3), zero=i64(0), s=i64(1, 3, -1, 3, 24), t=i64(3, -1, 3, 8, 3, 1),
         u=i64(1, 1, 27, -1, 8)), inputs=[info('in', (1, 3, 'h', 24))], size=(24, 12), want='not a pixel shuffle')
    form('unshuffle_squeezed', *chain(('Unsqueeze', ['zero'], {}), ('Reshape', ['s'], {}), ('Squeeze', ['zero'], {}),
         ('Reshape', ['t'], {}), ('Transpose', [], dict(perm=[0, 1, 3, 5, 2, 4])), ('Reshape', ['u'], {}),
         ('Conv', ['w'], SAME), w=W(3, 27, 3, 3), zero=i64(0), s=i64(1, 1, 3, -1, 3, 24), t=i64(1, 3, -1, 3, 8, 3),
         u=i64(1, 27, -1, 8)), inputs=[info('in', (1, 3, 'h', 24))], size=(24, 12))
    form('even_only', [N('Conv', ['in', 'w'], ['a'], **SAME, strides=[2, 2]),
         N('Resize', ['a', '', 's'], ['b'], mode='nearest', coordinate_transformation_mode='asymmetric',
           nearest_mode='floor'), N('Add', ['in', 'b'], ['out'])], dict(w=w, s=np.array([1, 1, 2, 2], np.float32)))
    form('flattened', *chain(CONV, ('Reshape', ['s'], {}), ('Relu', [], {}), w=w, s=i64(1, 3, -1)),
         want='not a pixel shuffle')
    half, one, root = np.float32(.5), np.float32(1), np.float32(2 ** .5)
    consts = dict(w=W(3, 3, 1, 1), v=W(3, 3, 1, 1), half=half, one=one, root=root, back=np.float32(2 ** -.5))
    first, last = [N('Conv', ['in', 'w'], ['x'])], [N('Conv', ['g', 'v'], ['out'])]
    erf = [N('Div', ['x', 'root'], ['a']), N('Erf', ['a'], ['b']), N('Add', ['b', 'one'], ['c'])]
    form('gelu', first + erf + [N('Mul', ['x', 'c'], ['d']), N('Mul', ['d', 'half'], ['g'])] + last, consts)
    form('gelu_half_first', first + [N('Mul', ['x', 'back'], ['a']), N('Erf', ['a'], ['b']), N('Add', ['one', 'b'], ['c']),
         N('Mul', ['half', 'x'], ['d']), N('Mul', ['c', 'd'], ['g'])] + last, consts)
    form('gelu_half_within', first + erf + [N('Mul', ['c', 'half'], ['d']), N('Mul', ['x', 'd'], ['g'])] + last, consts)
    form('gelu_twice', first + erf + [N('Mul', ['x', 'c'], ['g'])] + last, consts)
    form('erf_unscaled', first + [N('Erf', ['x'], ['g'])] + last, consts, want='(Erf): it is supported as part of a GELU')
    form('erf_alone', first + erf + [N('Conv', ['c', 'v'], ['out'])], consts, want='no GELU')
    form('erf_of_another', first + erf + [N('Conv', ['x', 'v'], ['y']), N('Mul', ['y', 'c'], ['g'])] + last, consts,
         want='no GELU')
    form('gelu_tanh', *chain(('Conv', ['w'], {}), ('Gelu', [], dict(approximate='tanh')), ('Conv', ['v'], {}),
         w=10 * W(3, 3, 1, 1), v=W(3, 3, 1, 1)), opset=20)
    form('hard', *chain(('Conv', ['w'], {}), ('HardSwish', [], {}), ('HardSigmoid', [], dict(alpha=.3, beta=.4)),
         ('Conv', ['v'], {}), w=50 * W(3, 3, 1, 1), v=W(3, 3, 1, 1)))
    form('powers', [N('Conv', ['in', 'w'], ['x']), N('Pow', ['x', 'p'], ['a']), N('Pow', ['x', 'q'], ['b']),
         N('Sub', ['a', 'b'], ['out'])], dict(w=W(3, 3, 1, 1), p=np.float32(2), q=np.float32(3)))
    form('root', *chain(('Pow', ['p'], {}), ('Conv', ['w'], SAME), w=w, p=half), want='squares and cubes')
    for mode in ('edge', 'reflect', 'constant'):
        form('pad_fixed_' + mode, [N('Pad', ['in', 'p'], ['q'], mode=mode), N('Reshape', ['q', 's'], ['a']),
             N('Transpose', ['a'], ['b'], perm=[0, 1, 3, 5, 2, 4]), N('Reshape', ['b', 't'], ['c']),
             N('Conv', ['c', 'w'], ['d'], **SAME), N('DepthToSpace', ['d'], ['e'], blocksize=2, mode='CRD'),
             N('Slice', ['e', 'from', 'to', 'axes'], ['out'])],
             dict(w=w12, p=i64(0, 0, 0, 0, 0, 0, 0, 1), s=i64(1, 3, 4, 2, 6, 2), t=i64(1, 12, 4, 6),
                  to=i64(8, 11), axes=i64(2, 3), **{'from': i64(0, 0)}),
             inputs=[info('in', (1, 3, 8, 11))], size=(11, 8))
    form('pad_axes', *chain(('Pad', ['p', '', 'axes'], {}), ('Conv', ['w'], {}), ('Relu', [], {}), w=w,
         p=i64(1, 1, 1, 1), axes=i64(-1, 2)), opset=18)
    form('pad_before_conv', *chain(('Pad', ['p', 'z'], {}), ('Conv', ['w'], {}), ('LeakyRelu', [], {}), ('Pad', ['q'], {}),
         ('Conv', ['v'], {}), w=W(4, 3, 5, 3), v=W(3, 4, 3, 3), z=np.float32(0), p=i64(0, 0, 2, 1, 0, 0, 2, 1),
         q=i64(0, 0, 1, 1, 0, 0, 1, 1)))
    form('pad_before_conv_fixed', *chain(('Pad', ['p'], {}), ('Conv', ['w'], {}), w=W(3, 3, 2, 2), p=i64(0, 0, 0, 0, 0, 0, 1, 1)),
         inputs=[info('in', (1, 3, 7, 9))], size=(9, 7))
    form('nearest_fraction', *chain(CONV, ('Resize', ['', 's'], dict(mode='nearest', nearest_mode='round_prefer_ceil')),
         w=w, s=np.array([1, 1, 1.25, 1.25], np.float32)))


onnx_seeds()
ncnn_seeds()
onnx_forms()
pictures()
with open(os.path.join(SEEDS, 'expect_graphs.txt'), 'w') as f:
    f.write('# made by tools/make_graph_seeds.py: file, then "ok" or a part of the sentence\n')
    f.write('\n'.join(sorted(set(EXPECT))) + '\n')
