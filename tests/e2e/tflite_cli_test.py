#!/usr/bin/python3
"""A .tflite file through the command line: inspect, run, compile, verify, optimize, export; float32, int8 and damaged."""
import os
import random

from harness import BINARY, Case, main
import npy
from tflite_writer import CONV_2D, F32, FULLY_CONNECTED, I32, I8, INT32, INT8, SOFTMAX, Model

RELU = I8(1)


def network():
    """image [1, 4, 4, 2] -> Conv 3x3 (SAME, Relu) to 3 channels -> FullyConnected to 5 -> Softmax; and its weights."""
    rng = random.Random(3)
    weights = [[rng.gauss(0, 0.5) for _ in range(n)] for n in (3 * 3 * 3 * 2, 3, 5 * 48, 5)]
    m = Model()
    image = m.tensor("image", [1, 4, 4, 2])
    w = [m.tensor("kernel", [3, 3, 3, 2], values=weights[0]), m.tensor("conv_bias", [3], values=weights[1]),
         m.tensor("matrix", [5, 48], values=weights[2]), m.tensor("bias", [5], values=weights[3])]
    conv, full, scores = m.tensor("conv", [1, 4, 4, 3]), m.tensor("full", [1, 5]), m.tensor("scores", [1, 5])
    m.op(CONV_2D, [image, w[0], w[1]], [conv], {0: I8(0), 1: I32(1), 2: I32(1), 3: RELU})
    m.op(FULLY_CONNECTED, [conv, w[2], w[3]], [full], {0: I8(0)})
    m.op(SOFTMAX, [full], [scores], {0: F32(1.0)})
    return m.finish([image], [scores]), weights


def expected(x, weights):
    import math
    kernel, conv_bias, matrix, bias = weights
    hidden = []
    for row in range(4):
        for column in range(4):
            for o in range(3):
                total = conv_bias[o]
                for i in range(3):
                    for j in range(3):
                        r, c = row + i - 1, column + j - 1
                        if 0 <= r < 4 and 0 <= c < 4:
                            total += sum(x[(4 * r + c) * 2 + k] * kernel[((3 * o + i) * 3 + j) * 2 + k] for k in range(2))
                hidden.append(max(0.0, total))
    scores = [bias[o] + sum(h * w for h, w in zip(hidden, matrix[48 * o:48 * o + 48])) for o in range(5)]
    powers = [math.exp(s - max(scores)) for s in scores]
    return [p / sum(powers) for p in powers]


class Tflite(Case):
    def check(self, folder, want, tolerance=1e-5):
        values, dims = npy.load(self.path(folder, "scores.npy"))
        self.assertEqual(dims, [1, 5])
        for got, w in zip(values, want):
            self.assertAlmostEqual(got, w, delta=tolerance)

    def test_float(self):
        data, weights = network()
        model = self.write("net.tflite", data)
        rng = random.Random(5)
        x = [rng.gauss(0, 1) for _ in range(32)]
        npy.save(self.path("x.npy"), x, [1, 4, 4, 2])
        report = self.slipway("inspect", model, "--json").json
        self.assertEqual([(i["name"], i["shape"]) for i in report["inputs"]], [("image", [1, 4, 4, 2])])
        self.assertEqual(report["params"], 54 + 3 + 240 + 5)
        self.assertEqual(report["macs"], 16 * 54 + 240)
        want = expected(x, weights)
        for platform in ("interpreter", "reference", "x86"):
            self.slipway("run", model, "--platform", platform, "--input", f"image={self.path('x.npy')}", "-o", self.path(platform))
            self.check(platform, want)
        package = self.path("net.slip")
        self.slipway("compile", model, "--platform", "x86", "-o", package)
        self.slipway("verify", package, "--against", model)
        self.slipway("run", package, "--input", f"image={self.path('x.npy')}", "-o", self.path("package"))
        self.check("package", want)
        onnx = self.path("net.onnx")
        self.slipway("export", model, "--to", "onnx", "-o", onnx)
        self.slipway("run", onnx, "--input", f"image={self.path('x.npy')}", "-o", self.path("onnx"))
        self.check("onnx", want)

    def test_int8(self):
        """Codes in, codes out: y = 0.5 * (W (x - 3)) + ... in the arithmetic of TFLite."""
        m = Model()
        x = m.tensor("x", [2, 4], INT8, scale=0.5, zero=3)
        w = m.tensor("w", [3, 4], INT8, [1, -2, 3, 4, 0, 5, -6, 7, 100, -100, 50, 25], scale=0.25)
        b = m.tensor("b", [3], INT32, [8, -16, 0], scale=0.125)
        y = m.tensor("y", [2, 3], INT8, scale=1.0, zero=-1)
        m.op(FULLY_CONNECTED, [x, w, b], [y], {0: I8(0)})
        model = self.write("q.tflite", m.finish([x], [y]))
        codes = [3, 5, -7, 11, 127, -128, 0, 1]
        npy.save(self.path("x.npy"), codes, [2, 4], "|i1")
        weights, bias = [1, -2, 3, 4, 0, 5, -6, 7, 100, -100, 50, 25], [8, -16, 0]
        want = [max(-128, min(127, round((bias[o] + sum((codes[4 * r + k] - 3) * weights[4 * o + k] for k in range(4))) * 0.125) - 1))
                for r in range(2) for o in range(3)]
        for platform in ("interpreter", "reference", "x86-int8"):
            self.slipway("run", model, "--platform", platform, "--input", f"x={self.path('x.npy')}", "-o", self.path(platform))
            values, dims = npy.load(self.path(platform, "y.npy"))
            self.assertEqual((list(values), dims), (want, [2, 3]), platform)

    def test_damaged(self):
        data, _ = network()
        self.fails("inspect", self.write("cut.tflite", data[:200]), says=["cut.tflite"])
        self.fails("run", self.write("text.tflite", b"this is no model" * 20), says=["text.tflite"])


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
