"""Random one-operator models for make_operator_cases.py, second part: element types, shapes and attributes that the default domain
gained in opsets 13 to 26, and corners of the older operators. A generator gives (inputs, attributes, outputs, opset), inputs as
arrays or None, or for several nodes (inputs, [nodes], outputs, opset) with inputs named x0, x1, ... and outputs y0, y1, ..."""
import numpy as np
from onnx import helper

F, I64 = np.float32, np.int64
# Numbers of TensorProto.DataType, some of which an old onnx package does not know.
FLOAT, UINT8, INT8, UINT16, INT16, INT32, INT64, BOOL, FLOAT16, DOUBLE, UINT32, UINT64, BFLOAT16 = 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16
E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ, UINT4, INT4, FLOAT4, E8M0, UINT2, INT2 = 17, 18, 19, 20, 21, 22, 23, 24, 25, 26
FLOATS, INTEGERS = [np.float16, F, np.float64], [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, I64, np.uint64]


def pick(rng, values):
    return values[int(rng.integers(0, len(values)))]


def normal(rng, *shape, dtype=F):
    return rng.standard_normal(shape).astype(dtype)


def whole(rng, dtype, *shape, low=0, high=100):
    low = max(low, int(np.iinfo(dtype).min))
    return rng.integers(low, min(high, int(np.iinfo(dtype).max)), shape).astype(dtype)


def any_numbers(rng, *shape, types=None):
    dtype = pick(rng, types or FLOATS + INTEGERS)
    if np.issubdtype(dtype, np.floating):
        return normal(rng, *shape, dtype=dtype) * dtype(3)
    return whole(rng, dtype, *shape, low=-9, high=10)


def cast(rng, _):
    """Through a type that no array can hold, and back."""
    special = np.array([0.0, -0.0, 0.25, 0.5, 0.75, 1.5, 2.5, 3.5, 5, 7, -1, -2.5, 6, -6, 448, 464, 480, 57344, 61440, 1e-3, 1e-7, -1e-7,
                        np.nan, np.inf, -np.inf, 1e30, -1e30], F)
    to = pick(rng, [BFLOAT16, FLOAT16, E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ, UINT4, INT4, UINT8, INT8, INT32, BOOL])
    x = np.concatenate([special, normal(rng, 30) * F(10.0) ** rng.integers(-3, 4, 30).astype(F)]).astype(F)
    if to in (UINT4, INT4, UINT8, INT8, INT32):  # beyond the range ONNX leaves it open
        low, high = {UINT4: (0, 15), INT4: (-8, 7), UINT8: (0, 255), INT8: (-128, 127), INT32: (-1e6, 1e6)}[to]
        x = rng.uniform(low, high, 50).astype(F)
    if rng.random() < 0.3:
        with np.errstate(over="ignore"):
            x = x.astype(np.float16)
    attributes = {"saturate": int(rng.integers(0, 2))} if E4M3FN <= to <= E5M2FNUZ else {}
    back = INT32 if to in (UINT4, INT4) else FLOAT
    return [x], [helper.make_node("Cast", ["x0"], ["c"], to=to, **attributes), helper.make_node("Cast", ["c"], ["y0"], to=back)], 1, 21


def cast_plain(rng, _):
    types = {np.float16: FLOAT16, F: FLOAT, np.float64: DOUBLE, np.int8: INT8, np.uint8: UINT8, np.int16: INT16, np.uint16: UINT16,
             np.int32: INT32, np.uint32: UINT32, I64: INT64, np.uint64: UINT64, np.bool_: BOOL}
    x = rng.uniform(0, 100, 20).astype(pick(rng, list(types)))
    return [x], {"to": pick(rng, list(types.values()))}, 1, 19


def quantize(rng, _):
    """QuantizeLinear and back, any code type, per tensor, axis or block."""
    to = pick(rng, [UINT8, INT8, UINT16, INT16, UINT4, INT4, E4M3FN, E5M2, E4M3FNUZ, E5M2FNUZ])
    x = normal(rng, 3, 8, 4) * F(3)
    kind = pick(rng, ["tensor", "axis", "block"])
    shape, attributes = {"tensor": ((), {}), "axis": ((8,), {"axis": 1}), "block": ((3, 2, 4), {"axis": 1, "block_size": 4})}[kind]
    scale = rng.uniform(0.02, 0.5, shape).astype(F)
    low, high = {UINT8: (0, 255), INT8: (-128, 127), UINT16: (0, 65535), INT16: (-32768, 32767), UINT4: (0, 15), INT4: (-8, 7)}.get(
        to, (0, 1))
    zero = rng.integers(low, high, shape).astype(F)
    down = {"saturate": int(rng.integers(0, 2))} if to >= E4M3FN and to <= E5M2FNUZ else {}
    return [x, scale, np.asarray(zero, F)], [
        helper.make_node("Cast", ["x2"], ["z"], to=to),
        helper.make_node("QuantizeLinear", ["x0", "x1", "z"], ["q"], **attributes, **down),
        helper.make_node("DequantizeLinear", ["q", "x1", "z"], ["y0"], **attributes)], 1, 21


def resize(rng, _):
    mode = pick(rng, ["nearest", "linear", "cubic"])
    rank = 4
    x = normal(rng, *(int(v) for v in rng.integers(1, 7, rank)))
    axes = pick(rng, [[2, 3], [3, 2], [-2, -1]])
    attributes = {"mode": mode, "axes": axes,
                  "coordinate_transformation_mode": pick(rng, ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
                                                               "half_pixel_symmetric", "tf_crop_and_resize"])}
    if mode == "nearest":
        attributes["nearest_mode"] = pick(rng, ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    elif attributes["coordinate_transformation_mode"] != "tf_crop_and_resize":
        attributes["antialias"] = int(rng.integers(0, 2))
    if mode == "cubic":
        attributes["cubic_coeff_a"] = pick(rng, [-0.75, -0.5])
        attributes["exclude_outside"] = int(rng.integers(0, 2))
    roi = None
    if attributes["coordinate_transformation_mode"] == "tf_crop_and_resize":
        roi = np.array([0.1, 0.2, 0.8, 1.2], F)
        attributes["extrapolation_value"] = 7.0
    scales, sizes = None, None
    if rng.random() < 0.5:
        scales = rng.uniform(0.4, 2.6, 2).astype(F)
    else:
        sizes = rng.integers(1, 12, 2).astype(I64)
        attributes["keep_aspect_ratio_policy"] = pick(rng, ["stretch", "not_larger", "not_smaller"])
    return [x, roi, scales] + ([sizes] if sizes is not None else []), attributes, 1, 19


def pad(rng, _):
    x = any_numbers(rng, 3, 4, 5)
    mode = pick(rng, ["constant", "edge", "reflect", "wrap"])
    low = -1 if mode == "constant" else 0
    inputs = [x, rng.integers(low, 3, 6).astype(I64)]
    if rng.random() < 0.5:
        inputs = [x, rng.integers(low, 3, 4).astype(I64), None, np.array(pick(rng, [[0, 2], [-1, 1], [2, 1]]), I64)]
    if mode == "constant" and rng.random() < 0.6:
        value = np.array(3, x.dtype)
        inputs = inputs[:2] + [value] + inputs[3:]
    return inputs, {"mode": mode}, 1, 19


def pool(rng, op):
    spatial = int(rng.integers(1, 4))
    x = normal(rng, 2, 3, *(int(v) for v in rng.integers(5, 9, spatial)))
    attributes = {"kernel_shape": [int(v) for v in rng.integers(1, 4, spatial)], "strides": [int(v) for v in rng.integers(1, 3, spatial)],
                  "ceil_mode": int(rng.integers(0, 2))}
    if rng.random() < 0.5:
        attributes["dilations"] = [int(v) for v in rng.integers(1, 3, spatial)]
    way = rng.random()
    if way < 0.4:
        attributes["pads"] = [min(int(v), attributes["kernel_shape"][i % spatial] - 1) for i, v in enumerate(rng.integers(0, 2, 2 * spatial))]
    elif way < 0.7:
        attributes["auto_pad"] = pick(rng, ["SAME_UPPER", "SAME_LOWER", "VALID"])
        attributes["ceil_mode"] = 0
    outputs, opset = 1, 22
    if op == "AveragePool":
        attributes["count_include_pad"] = int(rng.integers(0, 2))
    elif op == "LpPool":
        attributes["p"] = int(rng.integers(1, 4))
    else:
        if spatial == 2 and rng.random() < 0.3:
            x = whole(rng, pick(rng, [np.int8, np.uint8]), *x.shape, low=-100, high=100)
        elif rng.random() < 0.4:
            outputs = 2
            attributes["storage_order"] = int(rng.integers(0, 2)) if spatial == 2 else 0
    return [x], attributes, outputs, opset


def reduce(rng, op):
    types = FLOATS[1:] + [np.int32, I64] + ([np.int8, np.uint8] if op in ("ReduceMax", "ReduceMin") else [])
    if op in ("ReduceLogSum", "ReduceLogSumExp", "ReduceL2", "ReduceMean"):
        types = [F, np.float64]
    x = any_numbers(rng, 3, 2, 4, types=types)
    if op == "ReduceLogSum":
        x = np.abs(x)
    if op in ("ReduceMax", "ReduceMin") and rng.random() < 0.2:
        x = x > 0
    axes = pick(rng, [None, [], [0], [1, -1], [-2], [0, 1, 2]])
    if rng.random() < 0.15 and x.dtype == F:
        x, axes = x[:, :0], [1]
    attributes = {"keepdims": int(rng.integers(0, 2)), "noop_with_empty_axes": int(rng.integers(0, 2))}
    return [x] + ([] if axes is None else [np.array(axes, I64)]), attributes, 1, 20 if x.dtype == bool else 18


def arg(rng, _):
    x = rng.integers(0, 3, (3, 4, 2)).astype(pick(rng, [F, np.float64, np.int32, np.int8, np.uint8, I64]))
    return [x], {"axis": int(rng.integers(-3, 3)), "keepdims": int(rng.integers(0, 2)), "select_last_index": int(rng.integers(0, 2))}, 1, 13


def top_k(rng, _):
    x = rng.integers(0, 6, (3, 7)).astype(pick(rng, [F, np.float64, np.int32, I64]))
    axis = int(rng.integers(-2, 2))
    return [x, np.array([int(rng.integers(1, x.shape[axis] + 1))], I64)], {"axis": axis, "largest": int(rng.integers(0, 2))}, 2, 11


def split(rng, _):
    count = int(rng.integers(1, 5))
    return [any_numbers(rng, 3, 7, 2, types=[F, np.int32, I64, np.uint8])], {"num_outputs": count, "axis": pick(rng, [1, -2])}, count, 18


def scatter_nd(rng, _):
    indices = np.array([[0, 1], [2, -1], [0, 1], [1, 0]] if rng.random() < 0.5 else [[0, 1], [2, 2], [1, 0]], I64)
    reduction = pick(rng, ["none", "add", "mul", "max", "min"])
    if reduction == "none":
        indices = np.array([[0, 1], [2, 2], [1, -3]], I64)
    dtype = pick(rng, [F, np.int32, I64])
    return [any_numbers(rng, 3, 3, 2, types=[dtype]), indices, any_numbers(rng, len(indices), 2, types=[dtype])], {
        "reduction": reduction}, 1, 18


def mod(rng, _):
    dtype = pick(rng, INTEGERS[:2] + [np.int32, np.uint32, I64, F, np.float64])
    a, b = any_numbers(rng, 4, 5, types=[dtype]), any_numbers(rng, 5, types=[dtype])
    b[b == 0] = 2
    return [a, b], {"fmod": 1 if np.issubdtype(dtype, np.floating) else int(rng.integers(0, 2))}, 1, 13


def power(rng, _):
    a = rng.integers(1, 6, (3, 4)).astype(pick(rng, [F, np.float64, np.int32, I64]))
    b = rng.integers(0, 4, 4).astype(pick(rng, [F, np.float64, np.int32, I64]))
    return [a, b], {}, 1, 15


def arithmetic(rng, op):
    types = FLOATS[1:] + ([np.int32, I64] if op != "Div" else [np.int32, I64]) + ([np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.uint64]
                                                                              if rng.random() < 0.3 else [])
    dtype = pick(rng, types)
    a, b = any_numbers(rng, 2, 1, 5, types=[dtype]), any_numbers(rng, 3, 1, types=[dtype])
    if op == "Div":
        b[b == 0] = 3
    return [a, b], {}, 1, 14


def extreme(rng, op):
    dtype = pick(rng, [F, np.float64, np.float16, np.int32, I64, np.uint32, np.uint64, np.int8, np.uint8])
    return [any_numbers(rng, *s, types=[dtype]) for s in ((2, 1, 5), (3, 1), (5,))[:int(rng.integers(1, 4))]], {}, 1, 13


def compare(rng, _):
    dtype = pick(rng, [F, np.float64, np.int32, I64])
    return [rng.integers(0, 4, (3, 4)).astype(dtype), rng.integers(0, 4, 4).astype(dtype)], {}, 1, 16


def unary(rng, op):
    x = normal(rng, 3, 7, dtype=pick(rng, [F, F, np.float64]) if op in ("Abs", "Neg", "Sqrt", "Exp", "Floor", "Ceil", "Round", "Sign", "Erf")
               else F) * 3
    if op in ("Sqrt", "Log"):
        x = np.abs(x)
    if op == "Round":
        x = np.round(x * 2) / x.dtype.type(2)
    if op in ("Abs", "Neg", "Sign") and rng.random() < 0.5:
        x = any_numbers(rng, 3, 7, types=[np.int8, np.int32, I64])
    attributes = {"Gelu": {"approximate": pick(rng, ["none", "tanh"])}, "Elu": {"alpha": 0.7}, "Celu": {"alpha": 0.7}, "Selu": {},
                  "LeakyRelu": {"alpha": 0.2}, "ThresholdedRelu": {"alpha": 0.5}, "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
                  "Swish": {"alpha": 1.3}}.get(op, {})
    return [x], attributes, 1, {"Gelu": 20, "Mish": 18, "Swish": 24}.get(op, 16)


def clip(rng, _):
    dtype = pick(rng, [F, np.float64, np.int8, np.uint8, np.int32, I64, np.uint64])
    low, high = np.array(1, dtype), np.array(5, dtype)
    if rng.random() < 0.2:
        low, high = high, low
    return [any_numbers(rng, 4, 5, types=[dtype]), low if rng.random() < 0.7 else None] + ([high] if rng.random() < 0.7 else []), {}, 1, 13


def norm(rng, op):
    x = normal(rng, 2, 6, 3, 4)
    if op == "RMSNormalization":
        axis = int(rng.integers(-3, 4))
        return [x, normal(rng, *x.shape[axis % 4:])], {"axis": axis, "epsilon": 1e-3}, 1, 23
    if op == "LayerNormalization":
        axis = int(rng.integers(-3, 4))
        shape = x.shape[axis % 4:]
        return [x, normal(rng, *shape)] + ([normal(rng, *shape)] if rng.random() < 0.5 else []), {"axis": axis}, int(rng.choice([1, 3])), 17
    if op == "GroupNormalization":
        return [x, normal(rng, 6), normal(rng, 6)], {"num_groups": pick(rng, [1, 2, 3, 6])}, 1, 21
    if op == "LpNormalization":
        return [x], {"axis": int(rng.integers(-4, 4)), "p": int(rng.integers(1, 3))}, 1, 1
    if op == "LRN":
        return [x], {"size": int(rng.integers(1, 6)), "alpha": 0.3, "beta": 0.6, "bias": 1.5}, 1, 13
    if op == "BatchNormalization":
        return [x, normal(rng, 6), normal(rng, 6), normal(rng, 6), np.abs(normal(rng, 6))], {"epsilon": 1e-3}, 1, 15
    return [x, normal(rng, 6), normal(rng, 6)], {"epsilon": 1e-3}, 1, 6


def softmax(rng, _):
    return [normal(rng, 2, 3, 4)], {"axis": int(rng.integers(0, 3))}, 1, pick(rng, [11, 13])


def trilu(rng, _):
    x = any_numbers(rng, 2, 4, 5, types=[F, I64, np.float64])
    return [x] + ([np.array(int(rng.integers(-6, 7)), I64)] if rng.random() < 0.8 else []), {"upper": int(rng.integers(0, 2))}, 1, 14


def range_of(rng, _):
    dtype = pick(rng, [F, np.float64, np.int32, I64, np.int16])
    low, step = int(rng.integers(-5, 6)), pick(rng, [1, 2, 3, -1, -2])
    return [np.array(low, dtype), np.array(low + step * int(rng.integers(0, 5)) + pick(rng, [0, 1]), dtype), np.array(step, dtype)], {}, 1, 11


def one_hot(rng, _):
    dtype = pick(rng, [F, np.int32, I64])
    return [rng.integers(-6, 7, (2, 3)).astype(pick(rng, [I64, np.int32])), np.array(5, I64), np.array([2, 7], dtype)], {
        "axis": int(rng.integers(-3, 3))}, 1, 11


def gather_nd(rng, _):
    batch = int(rng.integers(0, 2))
    last = int(rng.integers(1, 3))
    limits = (2, 3, 4)[batch:batch + last]
    lead = (2, 2) if batch else (5,)
    indices = np.stack([rng.integers(-n, n, lead) for n in limits], -1).astype(I64)
    return [any_numbers(rng, 2, 3, 4), indices], {"batch_dims": batch}, 1, 13


def gather_elements(rng, _):
    axis = int(rng.integers(-2, 2))
    x = any_numbers(rng, 3, 4)
    return [x, rng.integers(-x.shape[axis], x.shape[axis], (2, 3)).astype(pick(rng, [I64, np.int32]))], {"axis": axis}, 1, 13


def gather(rng, _):
    axis = int(rng.integers(-3, 3))
    x = any_numbers(rng, 3, 4, 2)
    return [x, rng.integers(-x.shape[axis], x.shape[axis], pick(rng, [(), (2,), (2, 3)])).astype(pick(rng, [I64, np.int32]))], {
        "axis": axis}, 1, 13


def compress(rng, _):
    axis = pick(rng, [None, 0, 1, -1])
    x = any_numbers(rng, 3, 5, types=[F, I64])
    count = x.size if axis is None else x.shape[axis]
    return [x, rng.random(int(rng.integers(1, count + 1))) < 0.5], {} if axis is None else {"axis": axis}, 1, 11


def non_zero(rng, _):
    return [rng.integers(0, 2, (2, 3, 4)).astype(pick(rng, [F, np.int32, I64, np.bool_]))], {}, 1, 13


def where(rng, _):
    dtype = pick(rng, [F, np.int32, I64, np.uint8])
    return [rng.random((3, 1)) < 0.5, any_numbers(rng, 2, 1, 4, types=[dtype]), any_numbers(rng, 4, types=[dtype])], {}, 1, 16


def slice_of(rng, _):
    x = any_numbers(rng, 5, 6, 7, types=[F, I64, np.uint8])
    axes = [int(v) for v in rng.permutation(3)[:int(rng.integers(1, 4))]]
    return [x, rng.integers(-9, 9, len(axes)).astype(I64), np.array([pick(rng, [-2**62, -3, 1, 4, 2**62]) for _ in axes], I64),
            np.array([a - 3 * int(rng.integers(0, 2)) for a in axes], I64), np.array([pick(rng, [1, 2, -1, -3]) for _ in axes], I64)], {}, 1, 13


def tile(rng, _):
    return [any_numbers(rng, 2, 3, types=[F, I64, np.uint8, np.int32]), rng.integers(0, 4, 2).astype(I64)], {}, 1, 13


def expand(rng, _):
    return [any_numbers(rng, 3, 1), np.array(pick(rng, [[3, 4], [2, 1, 4], [1, 1], [2, 3, 1]]), I64)], {}, 1, 13


def reshape(rng, _):
    shape, target, zero = pick(rng, [((2, 3, 4), [0, -1], 0), ((2, 3, 4), [4, 3, 2], 0), ((0, 3, 4), [3, 0, 4], 1), ((0, 3), [0, 3], 0),
                                     ((2, 3, 4), [-1, 0, 0], 0), ((24,), [2, -1, 2], 0), ((1,), [], 0)])
    return [normal(rng, *shape), np.array(target, I64)], {"allowzero": zero}, 1, 14


def depth(rng, op):
    if op == "SpaceToDepth":
        return [normal(rng, 2, 3, 4, 6)], {"blocksize": 2}, 1, 13
    return [normal(rng, 2, 8, 3, 2)], {"blocksize": 2, "mode": pick(rng, ["DCR", "CRD"])}, 1, 13


def matmul(rng, _):
    a, b = pick(rng, [((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 3)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 3)), ((2, 3, 4), (4,)),
                      ((0, 4), (4, 3)), ((2, 0), (0, 3))])
    dtype = pick(rng, [F, F, np.float64, np.int32, I64, np.uint32, np.uint64])
    return [any_numbers(rng, *a, types=[dtype]), any_numbers(rng, *b, types=[dtype])], {}, 1, 13


def gemm(rng, _):
    ta, tb = int(rng.integers(0, 2)), int(rng.integers(0, 2))
    inputs = [normal(rng, *((4, 3) if ta else (3, 4))), normal(rng, *((5, 4) if tb else (4, 5)))]
    c = pick(rng, [None, (), (5,), (1, 5), (3, 1), (3, 5), (1,)])
    return inputs + ([] if c is None else [normal(rng, *c)]), {"alpha": 0.5, "beta": 2.0, "transA": ta, "transB": tb}, 1, 13


def conv(rng, op):
    spatial, group = int(rng.integers(1, 4)), int(rng.choice([1, 2]))
    extent = [int(v) for v in rng.integers(4, 8, spatial)]
    kernel = [int(v) for v in rng.integers(1, 4, spatial)]
    attributes = {"strides": [int(v) for v in rng.integers(1, 3, spatial)], "group": group}
    dilated = rng.random() < 0.4
    if dilated:
        attributes["dilations"] = [int(v) for v in rng.integers(1, 3, spatial)]
    if rng.random() < 0.5:
        attributes["kernel_shape"] = kernel
    way = rng.random()
    if op == "Conv":
        x, w = normal(rng, 2, 4, *extent), normal(rng, 6, 4 // group, *kernel)
        if way < 0.3:
            attributes["auto_pad"] = pick(rng, ["SAME_UPPER", "SAME_LOWER", "VALID"])
            if dilated:
                del attributes["dilations"]
        elif way < 0.8:
            attributes["pads"] = [int(v) for v in rng.integers(0, 3, 2 * spatial)]
        return [x, w] + ([normal(rng, 6)] if rng.random() < 0.5 else []), attributes, 1, 11
    x, w = normal(rng, 2, 4, *extent), normal(rng, 4, 6 // group, *kernel)
    if way < 0.3:
        attributes["pads"] = [min(int(v), k - 1) for v, k in zip(rng.integers(0, 2, 2 * spatial), kernel + kernel)]
    elif way < 0.5:
        attributes["output_padding"] = [int(v) for v in rng.integers(0, 2, spatial)]
        attributes["strides"] = [2] * spatial
    elif way < 0.7:
        attributes["auto_pad"] = pick(rng, ["SAME_UPPER", "SAME_LOWER", "VALID"])
    elif way < 0.9:
        attributes["output_shape"] = [e * s + 1 for e, s in zip(extent, attributes["strides"])]
        if rng.random() < 0.5:
            attributes["auto_pad"] = pick(rng, ["SAME_UPPER", "SAME_LOWER"])
    return [x, w] + ([normal(rng, 6)] if rng.random() < 0.5 else []), attributes, 1, 11


def flatten(rng, _):
    return [normal(rng, 2, 3, 4)], {"axis": int(rng.integers(-3, 4))}, 1, 13


def squeeze(rng, op):
    if op == "Squeeze":
        return [normal(rng, 1, 3, 1, 4)] + ([np.array(pick(rng, [[0], [-2], [0, 2]]), I64)] if rng.random() < 0.7 else []), {}, 1, 13
    return [normal(rng, 3, 4), np.array(pick(rng, [[0], [-1], [0, 3], [2, 0], [-1, 1]]), I64)], {}, 1, 13


def shape(rng, _):
    return [normal(rng, 2, 3, 4)], {"start": int(rng.integers(-4, 4)), "end": int(rng.integers(-4, 5))}, 1, 15


def transpose(rng, _):
    return [any_numbers(rng, 2, 3, 4)], {"perm": [int(v) for v in rng.permutation(3)]} if rng.random() < 0.8 else {}, 1, 13


def concat(rng, _):
    axis, dtype = int(rng.integers(-2, 2)), pick(rng, [F, I64, np.uint8, np.int32, np.float64])
    shapes = [(2, 3), (2, 0), (2, 1)] if axis % 2 else [(2, 3), (1, 3), (0, 3)]
    return [any_numbers(rng, *s, types=[dtype]) for s in shapes], {"axis": axis}, 1, 13


def integer(rng, op):
    a = whole(rng, pick(rng, [np.uint8, np.int8]), 2, 4, 6, low=-128, high=127)
    b = whole(rng, np.uint8 if op == "MatMulInteger" and a.dtype == np.uint8 and rng.random() < 0.5 else np.int8, 6, 5, low=-128, high=127)
    return [a, b, np.array(3, a.dtype)] + ([np.array(5, b.dtype)] if rng.random() < 0.5 else []), {}, 1, 10


def bitwise(rng, op):
    dtype = pick(rng, INTEGERS)
    inputs = [whole(rng, dtype, 3, 4, low=-100, high=100)]
    if op != "BitwiseNot":
        inputs.append(whole(rng, dtype, 4, low=-100, high=100))
    return inputs, {}, 1, 18


def bit_shift(rng, _):
    dtype = pick(rng, [np.uint8, np.uint32, np.uint64])
    return [whole(rng, dtype, 3, 4, high=200), whole(rng, dtype, 4, high=8)], {"direction": pick(rng, ["LEFT", "RIGHT"])}, 1, 11


def cum_sum(rng, _):
    return [any_numbers(rng, 3, 4, types=[F, np.float64, np.int32, I64]), np.array(int(rng.integers(-2, 2)), pick(rng, [I64, np.int32]))], {
        "exclusive": int(rng.integers(0, 2)), "reverse": int(rng.integers(0, 2))}, 1, 14


def dynamic_quantize(rng, _):
    return [rng.uniform(*pick(rng, [(-1, 1), (2, 3), (-5, -2)]), (3, 20)).astype(F)], {}, 3, 11


def is_special(rng, op):
    x = normal(rng, 2, 8, dtype=pick(rng, [F, np.float64]))
    x[0, :5] = [np.nan, np.inf, -np.inf, 0, -0.0]
    return [x], {}, 1, 20


def prelu(rng, _):
    return [normal(rng, 2, 3, 4), normal(rng, *pick(rng, [(4,), (3, 1), (1,), (3, 4), (2, 3, 4)]))], {}, 1, 16


def logic(rng, op):
    return [rng.random((3, 4)) < 0.5] + ([] if op == "Not" else [rng.random(4) < 0.5]), {}, 1, 7


MORE = {
    "Cast": lambda rng, op: (cast if rng.random() < 0.6 else cast_plain)(rng, op), "QuantizeLinear": quantize, "Resize": resize, "Pad": pad, "MaxPool": pool, "AveragePool": pool,
    "LpPool": pool, "ArgMax": arg, "ArgMin": arg, "TopK": top_k, "Split": split, "ScatterND": scatter_nd, "Mod": mod, "Pow": power,
    "Min": extreme, "Max": extreme, "Sum": lambda rng, op: ([normal(rng, 2, 1, 5), normal(rng, 3, 1), normal(rng, 5)], {}, 1, 13),
    "Mean": lambda rng, op: ([normal(rng, 2, 1, 5), normal(rng, 3, 1), normal(rng, 5)], {}, 1, 13), "Clip": clip, "Softmax": softmax,
    "LogSoftmax": softmax, "Trilu": trilu, "Range": range_of, "OneHot": one_hot, "GatherND": gather_nd, "GatherElements": gather_elements,
    "Gather": gather, "Compress": compress, "NonZero": non_zero, "Where": where, "Slice": slice_of, "Tile": tile, "Expand": expand,
    "Reshape": reshape, "SpaceToDepth": depth, "DepthToSpace": depth, "MatMul": matmul, "Gemm": gemm, "Conv": conv, "ConvTranspose": conv,
    "Flatten": flatten, "Squeeze": squeeze, "Unsqueeze": squeeze, "Shape": shape, "Transpose": transpose, "Concat": concat,
    "MatMulInteger": integer, "BitShift": bit_shift, "CumSum": cum_sum, "DynamicQuantizeLinear": dynamic_quantize, "PRelu": prelu,
    **{op: reduce for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                             "ReduceLogSum", "ReduceLogSumExp")},
    **{op: arithmetic for op in ("Add", "Sub", "Mul", "Div")},
    **{op: compare for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")},
    **{op: unary for op in ("Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Gelu", "Tanh", "Elu", "Selu", "Celu",
                            "ThresholdedRelu", "Softplus", "Softsign", "Mish", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs",
                            "Floor", "Ceil", "Round", "Sign", "Sin", "Cos")},
    **{op: norm for op in ("RMSNormalization", "LayerNormalization", "GroupNormalization", "LpNormalization", "LRN", "BatchNormalization",
                           "InstanceNormalization")},
    **{op: bitwise for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")},
    **{op: logic for op in ("And", "Or", "Xor", "Not")},
}
