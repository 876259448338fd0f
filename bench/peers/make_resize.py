#!/usr/bin/python3
"""Writes models of one Resize on the shapes that networks have: a feature pyramid's and a decoder's upsampling by two, and
a segmentation head; the first two also on uint8 codes (DequantizeLinear, Resize, QuantizeLinear of one scale, the form
that ONNX Runtime runs on codes too).

usage: make_resize.py OUT_DIR

    bench/peers/make_resize.py .cache/resize
    bench/peers/bench_peers.py --platform x86 --models .cache/resize/fpn.onnx,.cache/resize/unet.onnx,.cache/resize/head.onnx
    bench/peers/bench_peers.py --platform x86-int8 --models .cache/resize/fpn_int8.onnx,.cache/resize/unet_int8.onnx
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODELS = {  # channels, input extent, output extent, attributes
    "fpn": (256, 20, 40, dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")),
    "unet": (64, 128, 256, dict(mode="linear", coordinate_transformation_mode="half_pixel")),
    "head": (21, 65, 513, dict(mode="linear", coordinate_transformation_mode="align_corners")),
}


def model(name, codes):
    channels, small, large, attributes = MODELS[name]
    weights = [numpy_helper.from_array(np.array([1, channels, large, large], np.int64), "sizes")]
    nodes, kind, x, y = [], TensorProto.FLOAT, "x", "y"
    if codes:
        kind, x, y = TensorProto.UINT8, "x_real", "y_real"
        weights += [numpy_helper.from_array(np.float32(0.02), "scale"), numpy_helper.from_array(np.uint8(128), "zero")]
        nodes.append(helper.make_node("DequantizeLinear", ["x", "scale", "zero"], [x]))
    nodes.append(helper.make_node("Resize", [x, "", "", "sizes"], [y], name="resize", **attributes))
    if codes:
        nodes.append(helper.make_node("QuantizeLinear", [y, "scale", "zero"], ["y"]))
    graph = helper.make_graph(nodes, name, [helper.make_tensor_value_info("x", kind, [1, channels, small, small])],
                              [helper.make_tensor_value_info("y", kind, [1, channels, large, large])], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    for name in MODELS:
        for codes in (False, True):
            path = os.path.join(sys.argv[1], name + ("_int8" if codes else "") + ".onnx")
            onnx.save(model(name, codes), path)
            print(path)


if __name__ == "__main__":
    main()
