#!/usr/bin/python3
"""Writes chains of matrix-vector products with weights of few bits (com.microsoft.MatMulNBits, 4096 x 4096, groups of
128) and one in float32, each long enough that its weights (256 MB at least) come from memory and not from a cache:
what generating text with a language model does. accuracy_level 4 lets ONNX Runtime round activations to int8, which is
its fastest way; Slipway does not round them. Between two products Tanh keeps the numbers in range.

usage: make_nbits.py OUT_DIR [BITS ...]         (default: 2 4 8 32)

    bench/peers/make_nbits.py .cache/nbits
    bench/peers/bench_peers.py --platform x86 --models .cache/nbits/w4.onnx,.cache/nbits/w8.onnx,.cache/nbits/w32.onnx
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, GROUP, WEIGHT_BYTES = 4096, 128, 256 << 20


def chain(bits):
    random = np.random.default_rng(bits)
    length = -(-WEIGHT_BYTES // (SIZE * SIZE * bits // 8))
    nodes, weights, x = [], [], "x"
    for i in range(length):
        if bits == 32:
            weights.append(numpy_helper.from_array((random.standard_normal((SIZE, SIZE)) * 0.02).astype(np.float32), f"w{i}"))
            nodes.append(helper.make_node("MatMul", [x, f"w{i}"], [f"y{i}"], name=f"product{i}"))
        else:
            codes = random.integers(0, 256, (SIZE, SIZE // GROUP, GROUP * bits // 8), dtype=np.uint8)
            scales = (random.random(SIZE * SIZE // GROUP) * 0.02 / 2 ** (bits - 1)).astype(np.float32)
            weights += [numpy_helper.from_array(codes, f"w{i}"), numpy_helper.from_array(scales, f"s{i}")]
            nodes.append(helper.make_node("MatMulNBits", [x, f"w{i}", f"s{i}"], [f"y{i}"], name=f"product{i}",
                                          domain="com.microsoft", K=SIZE, N=SIZE, bits=bits, block_size=GROUP,
                                          accuracy_level=4))
        x = f"z{i}"
        nodes.append(helper.make_node("Tanh", [f"y{i}"], [x]))
    graph = helper.make_graph(nodes, f"w{bits}", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIZE])],
                              [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, SIZE])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 8
    return model


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    for bits in map(int, sys.argv[2:] or (2, 4, 8, 32)):
        path = os.path.join(sys.argv[1], f"w{bits}.onnx")
        onnx.save(chain(bits), path)
        print(path, os.path.getsize(path))


if __name__ == "__main__":
    main()
