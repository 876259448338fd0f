#!/usr/bin/python3
"""Operators of com.microsoft (and numeric types of the default domain) through ONNX Runtime and through Slipway.

Each case is a small model made with the Python package onnx and seeded random inputs; both run it and the outputs are
compared: floats by the tolerance of the case, codes by at most one step in at most one per cent of the elements (ONNX
Runtime rounds some products in another order). Skipped (exit code 77) when onnx, numpy or ONNX Runtime is not there.

usage: contrib_test.py [--filter TEXT] [--platform P] [--verbose]
"""
import argparse
import os
import subprocess
import sys
import tempfile

ROOT = os.environ.get("SLIPWAY_SOURCE_DIR", os.path.abspath(os.path.join(os.path.dirname(__file__), "..")))
SLIPWAY = os.environ.get("SLIPWAY_BINARY", os.path.join(ROOT, "build", "release", "slipway"))
SKIP = 77

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    sys.path.insert(0, os.path.join(ROOT, "tests"))
    from agreement import Failure, OnnxRuntime, file_name
except ImportError as missing:
    print(f"contrib_test: skipped: {missing}")
    sys.exit(SKIP)

CASES = []
F, U8, I8, I32, I64 = np.float32, np.uint8, np.int8, np.int32, np.int64


class Case:
    """One node (or several) with inputs by name; arrays in `constants` become initialisers."""

    def __init__(self, name, nodes, inputs, outputs, constants=None, opset=17, tolerance=2e-5):
        self.name, self.nodes, self.inputs, self.outputs = name, nodes, inputs, outputs
        self.constants, self.opset, self.tolerance = constants or {}, opset, tolerance

    def model(self):
        graph = helper.make_graph(
            self.nodes, "g",
            [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype) if hasattr(
                helper, "np_dtype_to_tensor_dtype") else onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[v.dtype], v.shape)
             for k, v in self.inputs.items()],
            [helper.make_tensor_value_info(k, t, None) for k, t in self.outputs.items()],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in self.constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset),
                                                        helper.make_opsetid("com.microsoft", 1)])
        model.ir_version = 8
        return model


def ms(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, domain="com.microsoft", **attributes)


def case(*args, **kwargs):
    CASES.append(Case(*args, **kwargs))


def make_cases(rng):
    def normal(*shape):
        return rng.standard_normal(shape).astype(F)

    def codes(kind, *shape):
        info = np.iinfo(kind)
        return rng.integers(info.min, info.max, shape, dtype=kind, endpoint=True)

    f, u8, i8, i32 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32

    # Quantized, codes to codes
    for kind, out in ((U8, u8), (I8, i8)):
        zero = kind(117 if kind is U8 else -7)
        scale = {"s": F(0.021317), "z": zero, "t": F(0.037129), "w": kind(3), "o": F(0.05), "p": kind(11)}
        for op in ("QLinearAdd", "QLinearMul"):
            case(f"{op} {out}", [ms(op, ["a", "s", "z", "b", "t", "w", "o", "p"], ["y"])],
                 {"a": codes(kind, 2, 3, 40), "b": codes(kind, 3, 1)}, {"y": out}, scale)
        case(f"QLinearSigmoid {out}", [ms("QLinearSigmoid", ["a", "s", "z", "o", "p"], ["y"])],
             {"a": codes(kind, 4, 70)}, {"y": out}, scale)
        case(f"QLinearLeakyRelu {out}", [ms("QLinearLeakyRelu", ["a", "s", "z", "o", "p"], ["y"], alpha=0.1)],
             {"a": codes(kind, 4, 70)}, {"y": out}, scale)
        case(f"QLinearConcat {out}", [ms("QLinearConcat", ["o", "p", "a", "s", "z", "b", "t", "w"], ["y"], axis=1)],
             {"a": codes(kind, 2, 3, 5), "b": codes(kind, 2, 4, 5)}, {"y": out}, scale)
        for last in (0, 1):
            case(f"QLinearGlobalAveragePool {out} channels_last={last}",
                 [ms("QLinearGlobalAveragePool", ["a", "s", "z", "o", "p"], ["y"], channels_last=last)],
                 {"a": codes(kind, 2, 6, 5, 4)}, {"y": out}, scale)
        case(f"QLinearAveragePool {out}",
             [ms("QLinearAveragePool", ["a", "s", "z", "o", "p"], ["y"], kernel_shape=[3, 3], strides=[2, 2],
                 pads=[1, 1, 1, 1])], {"a": codes(kind, 1, 4, 9, 9)}, {"y": out}, scale)
        case(f"QLinearSoftmax {out}", [ms("QLinearSoftmax", ["a", "s", "z", "o", "p"], ["y"], axis=-1, opset=13)],
             {"a": codes(kind, 3, 10)}, {"y": out}, dict(scale, o=F(1 / 256), p=kind(0 if kind is U8 else -128)))
        case(f"QLinearWhere {out}", [ms("QLinearWhere", ["c", "a", "s", "z", "b", "t", "w", "o", "p"], ["y"])],
             {"c": rng.integers(0, 2, (3, 7)).astype(bool), "a": codes(kind, 3, 7), "b": codes(kind, 3, 7)},
             {"y": out}, scale)
        case(f"QGemm {out}", [ms("QGemm", ["a", "s", "z", "b", "t", "w", "c", "o", "p"], ["y"], transB=1)],
             {"a": codes(kind, 5, 32)}, {"y": out},
             dict(scale, b=codes(I8, 7, 32), w=I8(0), t=F(0.01), c=rng.integers(-2000, 2000, 7).astype(I32), o=F(0.5)))
        case(f"QLinearConv {out}", [helper.make_node("QLinearConv", ["a", "s", "z", "k", "ks", "kz", "o", "p", "c"],
                                                     ["y"], pads=[1, 1, 1, 1])],
             {"a": codes(kind, 1, 3, 8, 8)}, {"y": out},
             dict(scale, k=codes(I8, 5, 3, 3, 3), ks=(rng.random(5) * 0.02 + 0.001).astype(F), kz=np.zeros(5, I8),
                  c=rng.integers(-2000, 2000, 5).astype(I32), o=F(0.2)))
    case("QLinearConv uint8 weights", [helper.make_node("QLinearConv", ["a", "s", "z", "k", "t", "w", "o", "p"], ["y"])],
         {"a": codes(U8, 1, 3, 8, 8)}, {"y": u8},
         {"s": F(0.02), "z": U8(120), "k": codes(U8, 5, 3, 3, 3), "t": F(0.01), "w": U8(131), "o": F(0.1), "p": U8(99)})
    case("QLinearMatMul uint8", [helper.make_node("QLinearMatMul", ["a", "s", "z", "b", "t", "w", "o", "p"], ["y"])],
         {"a": codes(U8, 2, 6, 33)}, {"y": u8},
         {"s": F(0.02), "z": U8(120), "b": codes(U8, 33, 9), "t": F(0.01), "w": U8(131), "o": F(0.1), "p": U8(99)})

    # Quantized, with float ends
    case("QGemm to float", [ms("QGemm", ["a", "s", "z", "b", "t", "w", "c"], ["y"], alpha=0.5)],
         {"a": codes(U8, 5, 32)}, {"y": f},
         {"s": F(0.02), "z": U8(100), "b": codes(I8, 32, 7), "t": F(0.01), "w": I8(3),
          "c": rng.integers(-2000, 2000, 7).astype(I32)})
    for bias in (False, True):
        extra = {"bias": normal(7)} if bias else {}
        case(f"MatMulIntegerToFloat bias={bias}",
             [ms("MatMulIntegerToFloat", ["a", "b", "s", "t", "z", "w"] + list(extra), ["y"])],
             {"a": codes(U8, 2, 5, 32)}, {"y": f},
             dict(extra, b=codes(I8, 32, 7), s=F(0.02), t=(rng.random(7) * 0.02 + 0.001).astype(F), z=U8(100),
                  w=np.zeros(7, I8)))
        case(f"DynamicQuantizeMatMul bias={bias}",
             [ms("DynamicQuantizeMatMul", ["a", "b", "t", "w"] + list(extra), ["y"])],
             {"a": normal(2, 5, 32)}, {"y": f}, dict(extra, b=codes(I8, 32, 7), t=F(0.013), w=I8(0)))
    case("DynamicQuantizeLinear", [helper.make_node("DynamicQuantizeLinear", ["a"], ["y", "s", "z"])],
         {"a": normal(3, 50)}, {"y": u8, "s": f, "z": u8})
    case("MatMulInteger", [helper.make_node("MatMulInteger", ["a", "b", "z", "w"], ["y"])],
         {"a": codes(U8, 2, 5, 40)}, {"y": i32}, {"b": codes(I8, 40, 6), "z": U8(77), "w": codes(I8, 6)})
    case("ConvInteger", [helper.make_node("ConvInteger", ["a", "k", "z"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2])],
         {"a": codes(U8, 2, 3, 9, 9)}, {"y": i32}, {"k": codes(U8, 4, 3, 3, 3), "z": U8(77)})
    for kind, out in ((np.int16, TensorProto.INT16), (np.uint16, TensorProto.UINT16), (U8, u8)):
        case(f"com.microsoft QuantizeLinear {out}",
             [ms("QuantizeLinear", ["a", "s", "z"], ["q"], axis=1), ms("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1)],
             {"a": normal(2, 3, 50)}, {"q": out, "y": f},
             {"s": np.array([0.01, 0.002, 0.1], F), "z": np.array([3, 100, 0], kind)})
    for bits, block, zero in ((4, 16, False), (4, 32, True), (8, 32, True), (4, 128, True)):
        n, k = 9, 96
        blocks = (k + block - 1) // block
        constants = {"b": codes(U8, n, blocks, block * bits // 8), "s": (rng.random(n * blocks) * 0.1).astype(F)}
        if zero:
            constants["z"] = codes(U8, n * ((blocks * bits + 7) // 8))
        case(f"MatMulNBits bits={bits} block={block} zero={zero}",
             [ms("MatMulNBits", ["a", "b", "s"] + (["z"] if zero else []), ["y"], K=k, N=n, bits=bits, block_size=block)],
             {"a": normal(2, 3, k)}, {"y": f}, constants, tolerance=2e-4)

    for bits, zero in ((4, False), (4, True), (8, True)):
        constants = {"d": codes(U8, 11, 64 * bits // 8), "s": (rng.random((11, 4)) * 0.1).astype(F)}
        if zero:
            constants["z"] = codes(U8, 11, 4 * bits // 8)
        case(f"GatherBlockQuantized bits={bits} zero={zero}",
             [ms("GatherBlockQuantized", ["d", "i", "s"] + (["z"] if zero else []), ["y"], gather_axis=0,
                 quantize_axis=1, block_size=16, bits=bits)],
             {"i": rng.integers(0, 11, (2, 3)).astype(I64)}, {"y": f}, constants)

    # Fused float operators
    x, w = normal(2, 3, 8, 8), normal(4, 3, 3, 3)
    for activation, params in (("Relu", None), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.7]), ("Sigmoid", None),
                               ("Tanh", None), ("HardSigmoid", [0.3, 0.4])):
        attributes = {"activation": activation, "pads": [1, 1, 1, 1]}
        if params:
            attributes["activation_params"] = params
        case(f"FusedConv {activation}", [ms("FusedConv", ["x", "w", "b"], ["y"], **attributes)],
             {"x": x}, {"y": f}, {"w": w, "b": normal(4)})
    case("FusedConv with a sum", [ms("FusedConv", ["x", "w", "b", "z"], ["y"], activation="Relu", pads=[1, 1, 1, 1])],
         {"x": x, "z": normal(2, 4, 8, 8)}, {"y": f}, {"w": w, "b": normal(4)})
    case("FusedGemm", [ms("FusedGemm", ["a", "b", "c"], ["y"], activation="LeakyRelu", activation_alpha=0.3, alpha=0.5,
                          transB=1)], {"a": normal(4, 20)}, {"y": f}, {"b": normal(6, 20), "c": normal(6)})
    for ta, tb in ((0, 0), (0, 1), (1, 0), (1, 1)):
        case(f"FusedMatMul {ta}{tb}", [ms("FusedMatMul", ["a", "b"], ["y"], transA=ta, transB=tb, alpha=0.25)],
             {"a": normal(2, *((7, 5) if ta else (5, 7))), "b": normal(2, *((6, 7) if tb else (7, 6)))}, {"y": f})
    case("FusedMatMul transBatchA", [ms("FusedMatMul", ["a", "b"], ["y"], transBatchA=1)],
         {"a": normal(5, 2, 3, 7), "b": normal(2, 3, 7, 6)}, {"y": f})
    case("FusedMatMul transBatch both", [ms("FusedMatMul", ["a", "b"], ["y"], transBatchA=1, transA=1, transBatchB=1, transB=1)],
         {"a": normal(7, 2, 5), "b": normal(6, 2, 7)}, {"y": f})
    case("Gelu", [ms("Gelu", ["x"], ["y"])], {"x": normal(3, 40)}, {"y": f})
    case("QuickGelu", [ms("QuickGelu", ["x"], ["y"], alpha=1.5)], {"x": normal(3, 40)}, {"y": f})
    case("FastGelu", [ms("FastGelu", ["x", "b"], ["y"])], {"x": normal(3, 40)}, {"y": f}, {"b": normal(40)})
    case("BiasGelu", [ms("BiasGelu", ["x", "b"], ["y"])], {"x": normal(3, 40)}, {"y": f}, {"b": normal(40)})
    case("SkipLayerNormalization", [ms("SkipLayerNormalization", ["x", "k", "g", "b", "i"], ["y", "", "", "s"],
                                       epsilon=1e-6)],
         {"x": normal(2, 4, 16), "k": normal(2, 4, 16)}, {"y": f, "s": f},
         {"g": normal(16), "b": normal(16), "i": normal(16)})
    case("SkipLayerNormalization plain", [ms("SkipLayerNormalization", ["x", "k", "g"], ["y"])],
         {"x": normal(2, 4, 16), "k": normal(2, 4, 16)}, {"y": f}, {"g": normal(16)})
    case("SkipSimplifiedLayerNormalization",
         [ms("SkipSimplifiedLayerNormalization", ["x", "k", "g"], ["y", "", "", "s"], epsilon=1e-5)],
         {"x": normal(2, 4, 16), "k": normal(2, 4, 16)}, {"y": f, "s": f}, {"g": normal(16)})
    case("SimplifiedLayerNormalization", [helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["y"],
                                                           epsilon=1e-5, axis=-1)],
         {"x": normal(2, 4, 16)}, {"y": f}, {"g": normal(16)})
    embeddings = {"we": normal(30, 16), "pe": normal(12, 16), "se": normal(2, 16), "g": normal(16), "b": normal(16)}
    case("EmbedLayerNormalization",
         [ms("EmbedLayerNormalization", ["ids", "seg", "we", "pe", "se", "g", "b", "mask"], ["y", "m", "e"])],
         {"ids": rng.integers(0, 30, (2, 7)).astype(I32), "seg": rng.integers(0, 2, (2, 7)).astype(I32),
          "mask": np.array([[1] * 7, [1] * 4 + [0] * 3], I32)}, {"y": f, "m": i32, "e": f}, embeddings)
    case("EmbedLayerNormalization plain",
         [ms("EmbedLayerNormalization", ["ids", "", "we", "pe", "", "g", "b"], ["y", "m"])],
         {"ids": rng.integers(0, 30, (2, 7)).astype(I32)}, {"y": f}, embeddings)

    # Attention
    qkv = {"w": normal(16, 48) * F(0.3), "b": normal(48)}
    masks = {"none": None, "padding": np.array([[1] * 6, [1] * 4 + [0] * 2], I32),
             "lengths": np.array([6, 3], I32), "pairs": np.tril(np.ones((2, 6, 6), I32))}
    for name, mask in masks.items():
        inputs = {"x": normal(2, 6, 16)}
        names = ["x", "w", "b"]
        if mask is not None:
            inputs["mask"] = mask
            names.append("mask")
        case(f"Attention mask={name}", [ms("Attention", names, ["y"], num_heads=4)], inputs, {"y": f}, qkv,
             tolerance=1e-4)
    case("Attention causal", [ms("Attention", ["x", "w", "b"], ["y"], num_heads=2, unidirectional=1)],
         {"x": normal(2, 6, 16)}, {"y": f}, qkv, tolerance=1e-4)
    case("QAttention", [ms("QAttention", ["x", "w", "b", "s", "t", "", "z", "v"], ["y"], num_heads=4)],
         {"x": codes(U8, 2, 6, 16)}, {"y": f},
         {"w": codes(I8, 16, 48), "b": normal(48), "s": F(0.01), "t": F(0.02), "z": U8(120), "v": I8(0)},
         tolerance=1e-4)
    for name in ("plain", "bias", "padding", "added"):
        names, constants = ["q", "k", "v"], {}
        inputs = {"q": normal(2, 5, 16), "k": normal(2, 7, 16), "v": normal(2, 7, 16)}
        if name == "bias":
            names, constants = names + ["b"], {"b": normal(48)}
        if name == "padding":
            names, inputs = names + ["", "m"], dict(inputs, m=np.array([[1] * 7, [1] * 4 + [0] * 3], I32))
        if name == "added":
            names, inputs = names + ["", "", "r"], dict(inputs, r=normal(2, 4, 5, 7))
        case(f"MultiHeadAttention {name}", [ms("MultiHeadAttention", names, ["y"], num_heads=4)], inputs, {"y": f},
             constants, tolerance=1e-4)

    # Caches of past keys and values, given and returned
    for name, mask in (("plain", None), ("padding", np.array([[1] * 8, [0] * 2 + [1] * 6], I32))):
        names, inputs = ["q", "k", "v", "", "m" if mask is not None else "", "", "pk", "pv"], {
            "q": normal(2, 3, 16), "k": normal(2, 3, 16), "v": normal(2, 3, 16), "pk": normal(2, 4, 5, 4), "pv": normal(2, 4, 5, 4)}
        if mask is not None:
            inputs["m"] = mask
        case(f"MultiHeadAttention cache {name}",
             [ms("MultiHeadAttention", names, ["y", "nk", "nv"], num_heads=4, unidirectional=int(mask is None))], inputs,
             {"y": f, "nk": f, "nv": f}, tolerance=1e-4)
    case("MultiHeadAttention of kept keys", [ms("MultiHeadAttention", ["q", "k", "v"], ["y"], num_heads=4)],
         {"q": normal(2, 3, 16), "k": normal(2, 4, 6, 4), "v": normal(2, 4, 6, 4)}, {"y": f}, tolerance=1e-4)
    case("Attention cache", [ms("Attention", ["x", "w", "b", "", "past"], ["y", "present"], num_heads=4, unidirectional=1)],
         {"x": normal(2, 3, 16), "past": normal(2, 2, 4, 5, 4)}, {"y": f, "present": f}, qkv, tolerance=1e-4)
    angles = np.outer(np.arange(24), 1.0 / 100 ** (np.arange(8) / 8))
    tables = {"cos": np.cos(angles).astype(F), "sin": np.sin(angles).astype(F)}
    for name, past, lengths, attributes in (
            ("first block", 0, [4, 4], {}), ("first block, rotary", 0, [4, 4], {"do_rotary": 1}),
            ("one token", 5, [5, 5], {"do_rotary": 1}), ("one token, interleaved", 5, [5, 5], {"do_rotary": 1, "rotary_interleaved": 1}),
            ("one token, rows of two lengths", 5, [5, 3], {"do_rotary": 1}),
            ("one token in a window", 7, [7, 7], {"local_window_size": 4}), ("softcap", 5, [5, 5], {"softcap": 2.0, "scale": 0.3}),
            ("packed", 5, [5, 5], {"do_rotary": 1})):
        count = 1 if past else 5
        total = max(lengths) + 1
        inputs = {"q": normal(2, count, 64), "k": normal(2, count, 32), "v": normal(2, count, 32), "pk": normal(2, 2, past, 16),
                  "pv": normal(2, 2, past, 16)}
        names = ["q", "k", "v", "pk", "pv", "len", "total", "cos", "sin"]
        if name == "packed":
            inputs["q"] = np.concatenate([inputs["q"], inputs.pop("k"), inputs.pop("v")], 2)
            names[1:3] = ["", ""]
        constants = {"len": np.array(lengths, I32), "total": np.array(total, I32)}
        if "do_rotary" in attributes:
            constants.update(tables)
        else:
            names = names[:7]
        case(f"GroupQueryAttention {name}",
             [ms("GroupQueryAttention", names, ["y", "nk", "nv"], num_heads=4, kv_num_heads=2, **attributes)], inputs,
             {"y": f} if "two lengths" in name else {"y": f, "nk": f, "nv": f}, constants, tolerance=1e-4)
    for scales in ((2,), (2, 24)):  # of a direction, of a row; ONNX Runtime quantizes inputs and states on the way
        case(f"DynamicQuantizeLSTM {len(scales)}",
             [ms("DynamicQuantizeLSTM", ["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"], ["y", "h", "c"],
                 hidden_size=6, direction="bidirectional")], {"x": normal(5, 2, 8)}, {"y": f, "h": f, "c": f},
             {"w": codes(I8, 2, 8, 24), "r": codes(I8, 2, 6, 24), "b": normal(2, 48) * F(0.1),
              "ws": (rng.random(scales) * 0.004 + 0.001).astype(F), "wz": np.zeros(scales, I8),
              "rs": (rng.random(scales) * 0.004 + 0.001).astype(F), "rz": np.zeros(scales, I8)}, tolerance=2e-2)
    n, k, block = 9, 96, 32
    case("MatMulNBits g_idx", [ms("MatMulNBits", ["a", "b", "s", "", "g"], ["y"], K=k, N=n, bits=4, block_size=block)],
         {"a": normal(2, 3, k)}, {"y": f},
         {"b": codes(U8, n, k // block, block // 2), "s": (rng.random(n * k // block) * 0.1).astype(F),
          "g": rng.permutation(np.arange(k) // block).astype(I32)}, tolerance=2e-4)

    # Types of the default domain
    case("BitShift", [helper.make_node("BitShift", ["a", "b"], ["y"], direction="RIGHT")],
         {"a": codes(np.uint64, 9), "b": np.arange(9).astype(np.uint64)}, {"y": TensorProto.UINT64})
    for kind in (np.int32, np.int64):
        out = onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[np.dtype(kind)]
        case(f"integer Mod and Div {kind.__name__}",
             [helper.make_node("Mod", ["a", "b"], ["m"]), helper.make_node("Div", ["a", "b"], ["d"]),
              helper.make_node("Mod", ["a", "b"], ["r"], fmod=1)],
             {"a": rng.integers(-50, 50, 40).astype(kind), "b": rng.integers(1, 9, 40).astype(kind) *
              rng.choice([-1, 1], 40).astype(kind)}, {"m": out, "d": out, "r": out})
    case("float16 Conv, MatMul, Softmax", [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Softmax", ["c"], ["s"], axis=1),
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]), helper.make_node("MatMul", ["x", "t"], ["m"])],
         {"x": x.astype(np.float16)}, {"s": TensorProto.FLOAT16, "m": TensorProto.FLOAT16}, {"w": w.astype(np.float16)},
         tolerance=3e-3)
    case("float64 Gemm and Erf", [helper.make_node("Gemm", ["a", "b"], ["g"]), helper.make_node("Exp", ["g"], ["y"])],
         {"a": rng.standard_normal((3, 4)), "b": rng.standard_normal((4, 5))}, {"y": TensorProto.DOUBLE}, tolerance=1e-12)


def difference(want, got, tolerance):
    if want.shape != got.shape:
        return f"shape {list(got.shape)}, expected {list(want.shape)}"
    if want.dtype != got.dtype:
        return f"type {got.dtype}, expected {want.dtype}"
    if want.size == 0:
        return ""
    if np.issubdtype(want.dtype, np.floating):
        off = np.abs(want.astype(np.float64) - got.astype(np.float64)).max()
        reach = max(float(np.abs(want).max()), 1e-30)
        return "" if off <= tolerance * reach else f"off by {off / reach:.1e} of the largest value"
    apart = np.abs(want.astype(np.int64) - got.astype(np.int64)) if want.dtype != np.uint64 else (want != got)
    small = want.dtype in (np.uint8, np.int8)
    if apart.max() > (1 if small else 0):
        return f"{int((apart > 0).sum())} of {want.size} integers differ, by up to {int(apart.max())}"
    share = float((apart > 0).mean())
    return "" if share <= 0.01 or (share * want.size <= 1.5) else f"{share:.1%} of the codes differ by one"


def run(case_, runtime, folder, platform):
    path = os.path.join(folder, "model.onnx")
    onnx.save(case_.model(), path)
    files = {}
    for name, value in case_.inputs.items():
        files[name] = os.path.join(folder, "in_" + file_name(name))
        np.save(files[name], value)
    theirs, ours = os.path.join(folder, "ort"), os.path.join(folder, "slipway")
    runtime.ask(op="load", id="case", model=path, threads=1, optimize="basic")
    runtime.ask(op="run", id="case", inputs=files, output_dir=theirs)
    runtime.ask(op="unload", id="case")
    command = [SLIPWAY, "run", path, "-o", ours] + [a for n, p in files.items() for a in ("--input", f"{n}={p}")]
    if platform:
        command += ["--platform", platform]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if result.returncode != 0:
        return (result.stdout.strip().split("\n") or ["no message"])[-1]
    for name in case_.outputs:
        want, got = (np.load(os.path.join(f, file_name(name))) for f in (theirs, ours))
        if reason := difference(want, got, case_.tolerance):
            return f"output {name}: {reason}"
    return ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--filter", default="")
    parser.add_argument("--platform", default="")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if not os.path.isdir(os.path.join(ROOT, ".cache", "ort", "node_modules")):
        print("contrib_test: skipped: ONNX Runtime is not installed (scripts/setup dev)")
        return SKIP
    make_cases(np.random.default_rng(20261125))
    chosen = [c for c in CASES if options.filter in c.name]
    runtime, failed, refused = OnnxRuntime(), 0, []
    try:
        for c in chosen:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    reason = run(c, runtime, folder, options.platform)
                except Failure as failure:  # the peer refuses the model: nothing to compare with
                    refused.append(f"{c.name}: {failure}")
                    continue
            failed += bool(reason)
            if reason or options.verbose:
                print(f"{'FAILED' if reason else 'agrees'} {c.name}" + (f": {reason}" if reason else ""), flush=True)
    finally:
        runtime.close()
    for line in refused:
        print(f"not compared: {line[:300]}")
    print(f"contrib: {len(chosen) - failed - len(refused)} of {len(chosen)} cases agree with ONNX Runtime")
    return 1 if failed or len(refused) > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
