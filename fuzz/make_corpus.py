#!/usr/bin/python3
"""Writes seed corpora for the fuzz targets:  make_corpus.py FOLDER  fills FOLDER/onnx_import, FOLDER/caffe_import and
FOLDER/ir_text.

ONNX seeds are the small models of Debian's libonnx-testdata, where installed, and of the onnx package's own helper, where importable."""
import glob
import os
import sys

TEXTS = [
    'graph "g" {\n  input %x: float32[N, 3]\n  const %w: float32[3] = [1, 2.5, -3]\n'
    '  %y: float32[N, 3] = Add(%x, %w) "add"\n  output %y\n}\n',
    'graph "conv" {\n  input %x: float32[1, 3, 8, 8]\n  const %w: float32[4, 3, 3, 3] = random(7)\n'
    '  %y = Conv(%x, %w, _) {pads = [1, 1, 1, 1], auto_pad = "NOTSET"} "conv1"\n'
    '  %z = slipway.Add(%y, %y) {activation = "Relu"}\n  output %z\n}\n',
    'graph "shape" {\n  input %x: float32[N, 2*H, floordiv(H, 2)]\n  const %s: int64[2] = [0, -1]\n'
    '  %y = Reshape(%x, %s)\n  %a, %b = Split(%y) {axis = 1, num_outputs = 2}\n  output %a\n  output %b\n}\n',
    'graph "q" {\n  input %x: float32[2, 8]\n  const %s: float32[] = fill(0.5)\n'
    '  %q = slipway.Quantize(%x, %s) {bits = 4}\n  %y = slipway.Dequantize(%q, %s) {bits = 4}\n  output %y\n}\n',
    'graph "\\"odd\\" names" {\n  input %"a b": float32[?]\n  const %i: int8[2, 2] = iota\n  const %z: bool[1] = zeros\n'
    '  %y = Identity(%"a b")\n  output %y\n  output %i\n}\n',
    'graph "loop" {\n  input %s: seq(float32[N, 3])\n  input %o: optional(seq(float32[?]))\n  const %n: int64[] = [3]\n'
    '  %h = OptionalHasElement(%o)\n  %y = Loop(%n, %h, %s) {carried = 1} body "body" graph "b" {\n'
    '    input %i: int64[]\n    input %c: bool[]\n    input %q\n    %e = SequenceAt(%q, %i)\n'
    '    %r = SequenceInsert(%q, %e)\n    output %c\n    output %r\n  }\n'
    '  %z = ConcatFromSequence(%y) {axis = 0}\n  output %z\n}\n',
]


# A prototxt; behind the NUL a caffemodel: NetParameter.layer (100) with name (1) and blobs (7: data 5, shape 7).
CAFFE = [
    (b'input: "x" input_shape { dim: 1 dim: 2 }\n'
     b'layer { name: "l" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 1 bias_term: false } }',
     bytes([0xA2, 6, 21, 0x0A, 1, 0x6C, 0x3A, 16, 0x3A, 4, 0x0A, 2, 1, 2, 0x2A, 8, 0, 0, 0x80, 0x3F, 0, 0, 0, 0x40])),
    (b'input: "x" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 8\n'
     b'layers { name: "p" type: POOLING bottom: "x" top: "p" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }\n'
     b'layers { name: "r" type: RELU bottom: "p" top: "p" }\n'
     b'layers { name: "s" type: SLICE bottom: "p" top: "a" top: "b" slice_param { slice_point: 1 } }', b""),
    (b'input: "x" input_shape { dim: 1 dim: 4 dim: 2 dim: 2 }\n'
     b'layer { name: "q" type: "Permute" bottom: "x" top: "q" permute_param { order: 0 order: 2 } }\n'
     b'layer { name: "e" type: "Reshape" bottom: "q" top: "e" reshape_param { shape { dim: 0 dim: -1 dim: 2 } } }\n'
     b'layer { name: "z" type: "PriorBox" bottom: "x" bottom: "x" top: "z" prior_box_param { min_size: 1 aspect_ratio: 2 } }', b""),
    (b'input: "l" input_shape { dim: 1 dim: 8 } input: "c" input_shape { dim: 1 dim: 4 } input: "p" input_shape { dim: 1 dim: 2 dim: 8 }\n'
     b'layer { name: "y" type: "DetectionOutput" bottom: "l" bottom: "c" bottom: "p" top: "y" detection_output_param { num_classes: 2 keep_top_k: 3 '
     b'nms_param { nms_threshold: 0.5 top_k: 4 eta: 0.9 } code_type: CENTER_SIZE confidence_threshold: 0.1 share_location: true } }', b""),
    (b'input: "x" input_shape { dim: 1 dim: 1 dim: 4 dim: 4 }\n'
     b'layer { name: "p" type: "Pooling" bottom: "x" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }\n'
     b'layer { name: "u" type: "Upsample" bottom: "p" bottom: "m" top: "u" upsample_param { upsample_h: 4 upsample_w: 5 } }\n'
     b'layer { name: "i" type: "Interp" bottom: "u" top: "i" interp_param { zoom_factor: 2 pad_beg: -1 } }\n'
     b'layer { name: "f" type: "Filter" bottom: "i" bottom: "x" top: "f" }', b""),
    (b'input: "x" input_shape { dim: 2 dim: 1 dim: 1 } input: "c" input_shape { dim: 2 dim: 1 } input: "r" input_shape { dim: 1 dim: 5 }\n'
     b'layer { name: "l" type: "LSTM" bottom: "x" bottom: "c" top: "y" recurrent_param { num_output: 1 } }\n'
     b'layer { name: "o" type: "ROIPooling" bottom: "y" bottom: "r" top: "o" roi_pooling_param { pooled_h: 1 pooled_w: 1 } }', b""),
]


def write(folder, name, data):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def made_models():
    """Models of several opsets with many operators each, by the onnx package."""
    from onnx import TensorProto, helper

    def model(name, nodes, opset, inputs, outputs, initializers=()):
        graph = helper.make_graph(
            nodes, name, [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs], list(initializers))
        return name, helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString()

    node = helper.make_node
    floats = lambda n, s, v: helper.make_tensor(n, TensorProto.FLOAT, s, v)
    ints = lambda n, v: helper.make_tensor(n, TensorProto.INT64, [len(v)], v)
    # Functions in functions, with parameters and a body.
    branch = lambda op: helper.make_graph([node(op, ["a"], ["r"])], op, [], [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)])
    leaky = node("LeakyRelu", ["a"], ["t"])
    leaky.attribute.add(name="alpha", type=1, ref_attr_name="slope")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    inner = helper.make_function("f", "Inner", ["a"], ["b"], [leaky, node("Neg", ["t"], ["b"])], imports[:1], ["slope"])
    outer = helper.make_function("f", "Outer", ["a", "c"], ["b", "a"], [
        node("If", ["c"], ["t"], then_branch=branch("Neg"), else_branch=branch("Abs")), node("Inner", ["t"], ["b"], domain="f", slope=0.1)], imports)
    graph = helper.make_graph(
        [node("Outer", ["x", "c"], ["y", "z"], domain="f")], "functions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "yz"])
    yield "functions", helper.make_model(graph, opset_imports=imports, functions=[inner, outer]).SerializeToString()
    yield model("old", [node("Clip", ["x"], ["a"], min=0.0, max=6.0), node("Unsqueeze", ["a"], ["b"], axes=[0]),
                        node("Squeeze", ["b"], ["c"], axes=[0]), node("Softmax", ["c"], ["d"], axis=1),
                        node("Upsample", ["d", "s"], ["y"])], 9, [("x", ["N", 2, 4, 4])], ["y"],
                [floats("s", [4], [1, 1, 2, 2])])
    yield model("qdq", [node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
                        node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1)], 13, [("x", [1, 2, 4])], ["y"],
                [floats("s", [2], [0.5, 0.25]), helper.make_tensor("z", TensorProto.INT8, [2], [0, 1])])
    yield model("conv", [node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["r"]),
                         node("GlobalAveragePool", ["r"], ["p"]), node("Flatten", ["p"], ["f"]),
                         node("Gemm", ["f", "m"], ["y"], transB=1)], 17, [("x", ["N", 1, 8, 8])], ["y"],
                [floats("w", [2, 1, 3, 3], range(18)), floats("b", [2], [0, 1]), floats("m", [3, 2], range(6))])
    yield model("shape", [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["g"]), node("Concat", ["g", "m"], ["t"], axis=0),
                          node("Reshape", ["x", "t"], ["r"]), node("Split", ["r"], ["y", "z"], axis=1)], 13,
                [("x", ["N", 4, 2])], ["y", "z"], [ints("i", [0]), ints("m", [-1])])


def main():
    root = sys.argv[1]
    for i, text in enumerate(TEXTS):
        write(os.path.join(root, "ir_text"), f"{i}.txt", text.encode())
    for i, (text, weights) in enumerate(CAFFE):
        write(os.path.join(root, "caffe_import"), f"{i}", text + b"\0" + weights)
    folder = os.path.join(root, "onnx_import")
    os.makedirs(folder, exist_ok=True)
    for path in glob.glob("/usr/share/libonnx-testdata/data/*/*/model.onnx"):
        if os.path.getsize(path) <= 1500:
            with open(path, "rb") as f:
                write(folder, os.path.basename(os.path.dirname(path)), f.read())
    try:
        for name, data in made_models():
            write(folder, name, data)
    except ImportError:
        print("the Python package onnx is not installed: fewer ONNX seeds", file=sys.stderr)


if __name__ == "__main__":
    main()
