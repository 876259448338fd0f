#!/usr/bin/python3
"""Models written as Caffe, operator by operator: what the exported net computes here, and in OpenCV DNN where that reads the layers, is what the
model computes. Skips where OpenCV (python3-opencv) is absent."""
import os
import shutil
import sys

from harness import Case, main
from onnx_writer import INT64, Net, model, node, tensor, value_info

try:
    import cv2
    import numpy as np
except ImportError:
    print("skipped: needs python3-opencv and python3-numpy (scripts/setup dev)")
    sys.exit(77)

from caffe_writer import caffemodel, layer, net  # noqa: E402

IMAGE = (1, 6, 8, 10)


def number(n, v):
    return n.weight([], values=[v])


# name: (builds the net on "x" and returns the output's name, does OpenCV read the layers, the input's shape)
CASES = {
    # windows
    "conv pads before and behind": (lambda n: n.op("Conv", "x", n.weight([4, 6, 3, 3]), kernel_shape=[3, 3], pads=[0, 1, 2, 1]), True, IMAGE),
    "conv as TensorFlow pads": (lambda n: n.op("Conv", "x", n.weight([4, 6, 3, 3]), kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]), True, IMAGE),
    "conv pads in front": (lambda n: n.op("Conv", "x", n.weight([4, 6, 3, 3]), kernel_shape=[3, 3], strides=[2, 2], pads=[2, 1, 0, 1]), True, IMAGE),
    "conv dilated": (lambda n: n.op("Conv", "x", n.weight([4, 3, 3, 3]), kernel_shape=[3, 3], dilations=[2, 2], group=2), True, IMAGE),
    "deconv crops": (lambda n: n.op("ConvTranspose", "x", n.weight([6, 3, 4, 4]), kernel_shape=[4, 4], strides=[2, 2], pads=[1, 0, 1, 2]), True, IMAGE),
    "deconv output_padding": (lambda n: n.op("ConvTranspose", "x", n.weight([6, 3, 3, 3]), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
                                             output_padding=[1, 1]), None, IMAGE),
    "pool floor": (lambda n: n.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2]), True, IMAGE),
    "pool ceil": (lambda n: n.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), True, IMAGE),
    "pool as TensorFlow pads": (lambda n: n.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]), True, IMAGE),
    "pool pads behind": (lambda n: n.op("MaxPool", "x", kernel_shape=[3, 3], pads=[0, 0, 2, 2]), True, IMAGE),
    "pool pads in front": (lambda n: n.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0]), True, IMAGE),
    "average": (lambda n: n.op("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2]), True, IMAGE),
    "average counts pads": (lambda n: n.op("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), True, IMAGE),
    "average without pads": (lambda n: n.op("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), None, IMAGE),
    "pad": (lambda n: n.op("Sigmoid", n.op("Pad", n.op("Relu", "x"), n.ints([0, 0, 1, 2, 0, 0, 3, 0]))), True, IMAGE),
    "pad into conv": (lambda n: n.op("Conv", n.op("Pad", "x", n.ints([0, 0, 0, 0, 0, 0, 1, 1])), n.weight([4, 6, 3, 3]), kernel_shape=[3, 3],
                                     strides=[2, 2]), True, IMAGE),
    "pad channels": (lambda n: n.op("Pad", "x", n.ints([0, 1, 0, 0, 0, 0, 0, 0])), None, IMAGE),
    "repeat": (lambda n: n.op("Resize", "x", "", n.weight([4], values=[1.0, 1.0, 2.0, 3.0]), mode="nearest", nearest_mode="floor",
                              coordinate_transformation_mode="asymmetric"), True, IMAGE),
    "repeat from the middle": (lambda n: n.op("Resize", "x", "", n.weight([4], values=[1.0, 1.0, 2.0, 2.0]), mode="nearest"), True, IMAGE),
    "linear": (lambda n: n.op("Resize", "x", "", "", n.ints([1, 6, 15, 13]), mode="linear", coordinate_transformation_mode="align_corners"), False, IMAGE),
    "linear half pixel": (lambda n: n.op("Resize", "x", "", n.weight([4], values=[1.0, 1.0, 2.0, 2.0]), mode="linear"), None, IMAGE),
    # elementwise
    "clip": (lambda n: n.op("Clip", "x", number(n, -0.5), number(n, 0.75)), False, IMAGE),
    "clip below": (lambda n: n.op("Clip", "x", number(n, -0.5)), False, IMAGE),
    "relu6": (lambda n: n.op("Clip", "x", number(n, 0.0), number(n, 6.0)), True, IMAGE),
    "hard swish": (lambda n: n.op("HardSwish", "x"), True, IMAGE),
    "hard sigmoid": (lambda n: n.op("HardSigmoid", "x", alpha=0.25, beta=0.4), True, IMAGE),
    "swish": (lambda n: n.op("Mul", "x", n.op("Sigmoid", "x")), True, IMAGE),
    "mish": (lambda n: n.op("Mish", "x"), True, IMAGE),
    "prelu": (lambda n: n.op("PRelu", "x", n.weight([6, 1, 1], 0.3)), True, IMAGE),
    "log softmax": (lambda n: n.op("LogSoftmax", "x", axis=1), True, IMAGE),
    "minimum": (lambda n: n.op("Min", "x", n.op("Sigmoid", "x")), True, IMAGE),
    "sum of three": (lambda n: n.op("Sum", n.op("Relu", "x"), n.op("Sigmoid", "x"), n.op("Tanh", "x")), True, IMAGE),
    "channel constants": (lambda n: n.op("Sub", n.weight([1, 6, 1, 1]), n.op("Relu", n.op("Mul", "x", n.weight([6, 1, 1])))), True, IMAGE),
    "row constants": (lambda n: n.op("Add", n.op("Relu", "x"), n.weight([10])), True, IMAGE),
    "crossed constants": (lambda n: n.op("Mul", n.op("Relu", "x"), n.weight([6, 1, 10])), True, IMAGE),
    "divide by constants": (lambda n: n.op("Div", n.op("Relu", "x"), n.weight([6, 8, 10], values=[1 + i % 7 / 4 for i in range(480)])), True, IMAGE),
    "a number divided": (lambda n: n.op("Div", number(n, 3.0), n.op("Exp", "x")), True, IMAGE),
    "squeeze and excite": (lambda n: n.op("Mul", n.op("Relu", "x"), n.op("Sigmoid", n.op("GlobalAveragePool", "x"))), True, IMAGE),
    "spread difference": (lambda n: n.op("Sub", n.op("GlobalAveragePool", "x"), n.op("Relu", "x")), False, IMAGE),
    "spread quotient": (lambda n: n.op("Div", "x", n.op("GlobalMaxPool", n.op("Exp", "x"))), True, IMAGE),
    "spread over channels": (lambda n: n.op("Mul", "x", n.op("ReduceMean", "x", axes=[1], keepdims=1)), False, IMAGE),
    "spread over channels of a batch": (lambda n: n.op("Mul", "x", n.op("ReduceMean", "x", axes=[1], keepdims=1)), None, (2, 6, 8, 10)),
    "both spread": (lambda n: n.op("Add", n.op("ReduceMean", "x", axes=[2], keepdims=1), n.op("ReduceMean", "x", axes=[3], keepdims=1)), None, IMAGE),
    "instance normalization": (lambda n: n.op("InstanceNormalization", "x", n.weight([6]), n.weight([6])), True, (2, 6, 8, 10)),
    "quotient": (lambda n: n.op("Div", n.op("Relu", "x"), n.op("Exp", "x")), True, IMAGE),
    # shapes
    "slice": (lambda n: n.op("Slice", n.op("Relu", "x"), n.ints([1, -7]), n.ints([4, 8]), n.ints([1, 3])), True, IMAGE),
    "slice by steps": (lambda n: n.op("Slice", n.op("Relu", "x"), n.ints([0]), n.ints([6]), n.ints([1]), n.ints([2])), None, IMAGE),
    "constant joined": (lambda n: n.op("Concat", n.op("Relu", "x"), n.weight([1, 2, 8, 10]), axis=1), False, IMAGE),
    "tile": (lambda n: n.op("Tile", n.op("Relu", "x"), n.ints([1, 2, 1, 3])), False, IMAGE),
    "depth to space": (lambda n: n.op("DepthToSpace", n.op("Relu", "x"), blocksize=2), True, (1, 8, 3, 4)),
    "depth to space, columns first": (lambda n: n.op("DepthToSpace", n.op("Relu", "x"), blocksize=2, mode="CRD"), True, (1, 8, 3, 4)),
    "space to depth": (lambda n: n.op("SpaceToDepth", n.op("Relu", "x"), blocksize=2), True, IMAGE),
    # products and sums
    "matmul of a matrix": (lambda n: n.op("MatMul", "x", n.weight([12, 5])), True, (3, 12)),
    # OpenCV takes an array of three dimensions for a matrix of colours.
    "matmul of a batch": (lambda n: n.op("Add", n.op("MatMul", "x", n.weight([12, 5])), n.weight([5])), False, (3, 4, 12)),
    "matmul of images": (lambda n: n.op("MatMul", "x", n.weight([10, 5])), True, IMAGE),
    "matmul of two values": (lambda n: n.op("MatMul", "x", n.op("Transpose", n.op("Relu", "x"), perm=[0, 2, 1])), None, (3, 4, 12)),
    "gemm": (lambda n: n.op("Gemm", "x", n.weight([12, 5]), n.weight([1, 5]), alpha=0.5, beta=2.0), True, (3, 12)),
    "mean of channels": (lambda n: n.op("ReduceMean", n.op("Relu", "x"), axes=[1], keepdims=0), False, IMAGE),
    "sum of the last": (lambda n: n.op("ReduceSum", n.op("Relu", "x"), n.ints([2, 3]), keepdims=1), False, IMAGE),
    "length": (lambda n: n.op("ReduceL2", "x", axes=[3], keepdims=0), False, IMAGE),
    "maximum of rows": (lambda n: n.op("ReduceMax", n.op("Sigmoid", "x"), axes=[2], keepdims=0), True, IMAGE),
}


class Export(Case):
    def run_here(self, file, x):
        np.save(self.path("in.npy"), x)
        shutil.rmtree(self.path("out"), ignore_errors=True)
        self.slipway("run", file, "--input", f"x={self.path('in.npy')}", "--platform", "interpreter", "-o", self.path("out"))
        return {f[:-4]: np.load(self.path("out", f)) for f in os.listdir(self.path("out"))}

    def close(self, got, want, what):
        self.assertEqual(got.size, want.size, f"{what}: {got.shape} and {want.shape}")
        span = max(float(np.abs(want).max()), 1e-6)
        self.assertLessEqual(float(np.abs(got.ravel() - want.ravel()).max()) / span, 1e-4, what)

    def exported(self, file, x, opencv, what):
        want = self.run_here(file, x)
        shutil.rmtree(self.path("caffe"), ignore_errors=True)
        self.slipway("export", file, "--to", "caffe", "-o", self.path("caffe"))
        prototxt = self.path("caffe", os.path.basename(file).rsplit(".", 1)[0] + ".prototxt")
        got = self.run_here(prototxt, x)
        self.assertEqual(sorted(got), sorted(want), what)
        for name, value in want.items():
            self.assertEqual(got[name].shape, value.shape, f"{what} {name}")
            self.close(got[name], value, f"{what} {name} here")
        if opencv:
            other = cv2.dnn.readNetFromCaffe(prototxt, prototxt.replace(".prototxt", ".caffemodel"))
            other.setInput(x, "x")
            for name, value in want.items():
                self.close(other.forward(name), value, f"{what} {name} in OpenCV")
        with open(prototxt) as f:
            return f.read()

    def test_operators(self):
        random = np.random.default_rng(1)
        for name, (build, opencv, shape) in CASES.items():
            with self.subTest(name):
                n = Net(3)
                out = build(n)
                n.nodes.append(node("Sigmoid", [out], ["y"], "last"))  # so that no operator stands at the edge
                self.write("m.onnx", model(n.nodes, [value_info("x", shape)], [value_info("y", [])], n.initializers))
                x = random.normal(0, 1, shape).astype(np.float32)
                if opencv is None:  # Caffe has no form for it
                    self.fails("export", self.path("m.onnx"), "--to", "caffe", "-o", self.path("caffe"), says="node '")
                else:
                    self.exported(self.path("m.onnx"), x, opencv, name)

    def test_pieces_and_outputs_that_are_read(self):
        """Split with a piece that nothing reads; outputs in the middle of the net."""
        nodes = [node("Relu", ["x"], ["a"], "relu"), node("Split", ["a", "sizes"], ["p", "q", "r"], "split", axis=1),
                 node("Concat", ["r", "p"], ["c"], "concat", axis=1), node("Sigmoid", ["c"], ["y"], "sigmoid")]
        shape = list(IMAGE)
        self.write("m.onnx", model(nodes, [value_info("x", shape)], [value_info(o, []) for o in ("y", "a", "p")],
                                   [tensor("sizes", [3], [1, 2, 3], INT64)]))
        x = np.random.default_rng(2).normal(0, 1, IMAGE).astype(np.float32)
        text = self.exported(self.path("m.onnx"), x, True, "split")
        self.assertIn("Silence", text)

    def test_a_detector_comes_back(self):
        """SSD's last layers, read from Caffe, written as Caffe, with the priors as Parameter."""
        text = net((2, 18, 3, 4), layer("Slice", "slice_param { axis: 1 slice_point: 12 }", tops=("m0", "m1"), name="s"))
        for k, name in enumerate(("loc", "conf")):
            text += layer("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", (f"m{k}",), (f"p{k}",), f"p{k}")
            text += layer("Flatten", "", (f"p{k}",), (name,), name)
        text += layer("PriorBox", "prior_box_param { min_size: 1 max_size: 2 aspect_ratio: 2 flip: false variance: 0.1 }", ("x", "x"), ("prior",), "prior")
        text += layer("Softmax", "", ("conf",), ("soft",), "soft")
        text += layer(
            "DetectionOutput", "detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.4 top_k: 20 eta: 0.9 } code_type: CENTER_SIZE "
            "keep_top_k: 9 confidence_threshold: 0.02 }", ("loc", "soft", "prior"))
        self.write("ssd.prototxt", text)
        x = np.random.default_rng(3).normal(0, 1, (2, 18, 3, 4)).astype(np.float32)
        back = self.exported(self.path("ssd.prototxt"), x, False, "SSD")
        self.assertIn('type: "Parameter"', back)
        self.fails("export", self.path("ssd.prototxt"), "-o", self.path("ssd.onnx"), says=("DetectionOutput", "no form in ONNX"))

    def test_regions_come_back(self):
        self.write("roi.prototxt", 'input: "x" input_shape { dim: 5 dim: 5 }\n' + layer(
            "Parameter", "parameter_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } }", (), ("f",), "f") + layer(
                "ROIPooling", "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.25 }", ("f", "x")))
        random = np.random.default_rng(4)
        self.write("roi.caffemodel", caffemodel([("f", "Parameter", [random.normal(0, 1, (1, 3, 9, 9))])]))
        low = random.uniform(0, 20, (5, 2))
        x = np.hstack([np.zeros((5, 1)), low, low + random.uniform(1, 20, (5, 2))]).astype(np.float32)
        self.exported(self.path("roi.prototxt"), x, False, "regions")


if __name__ == "__main__":
    main()
