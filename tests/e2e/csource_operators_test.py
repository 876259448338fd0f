#!/usr/bin/python3
"""Operators as C against the interpreter: integers of all types exactly, attention, values that the interpreter refuses and C
must survive, quantized recurrent networks, weights of 4 bits."""
import array
import os
import re
import shutil

from c_program import CCase, FLAGS
from harness import BINARY, main
import npy
import onnx_writer as ox

DESCR = {ox.FLOAT: "<f4", ox.UINT8: "|u1", ox.INT8: "|i1", ox.INT32: "<i4", ox.INT64: "<i8", ox.BOOL: "|b1"}


def floats(dims, salt=0):
    count = 1
    for d in dims:
        count *= d
    return [((i * 7919 + salt * 104729) % 2003) / 1000 - 1 for i in range(count)]


class Operators(CCase):
    def model(self, name, nodes, inputs, outputs, initializers=(), opset=21):
        """inputs and outputs: name -> (dims, type)."""
        text = ox.model(nodes, [ox.value_info(n, d, t) for n, (d, t) in inputs.items()], [ox.value_info(n, d, t) for n, (d, t) in outputs.items()],
                        initializers, opset=opset, ir_version=10)
        return self.write(name + ".onnx", text)

    def both(self, name, nodes, inputs, outputs, initializers=(), opset=21, tolerance=1e-5):
        """inputs: name -> (dims, type, values). The C program's outputs are the interpreter's."""
        path = self.model(name, nodes, {n: v[:2] for n, v in inputs.items()}, outputs, initializers, opset)
        arguments, given = ["--platform", "interpreter"], []
        for n, (dims, dtype, values) in inputs.items():
            npy.save(self.path(n + ".npy"), values, dims, DESCR[dtype])
            arguments += ["--input", f"{n}={self.path(n + '.npy')}"]
            given.append((values, DESCR[dtype]))
        want = self.run_model(path, *arguments, label="want")
        raw, at = self.run_c(self.export(path, name=name), given), 0
        for n in outputs:
            expected, dims = want[n]
            got = array.array(expected.typecode)
            got.frombytes(raw[at:at + len(expected) * expected.itemsize])
            at += len(expected) * expected.itemsize
            if expected.typecode in "fd":
                self.agree({n: (got, dims)}, {n: (expected, dims)}, tolerance, name)
            else:
                self.assertEqual(list(got), list(expected), f"{name}: {n}")
        self.assertEqual(at, len(raw), name)

    def test_integers(self):
        """Sums and products wrap, quotients are cut, remainders have either sign."""
        edge = {ox.INT32: [-2**31, 2**31 - 1, -7, 7, 0, 65537], ox.INT64: [-2**63, 2**63 - 1, -7, 7, 0, 2**33 + 5],
                ox.UINT8: [0, 255, 7, 128, 200, 3], ox.INT8: [-128, 127, -7, 7, 0, 100]}
        for dtype, values in edge.items():
            by = [-1 if dtype != ox.UINT8 else 255, 3, 3, 2, 5, 16]
            dims = [6]
            inputs = {"a": (dims, dtype, values), "b": (dims, dtype, by)}
            same = ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
            nodes = [ox.node(op, ["a", "b"], [op]) for op in same]
            nodes += [ox.node("Mod", ["a", "b"], ["Fmod"], fmod=1)]
            nodes += [ox.node(op, ["a"], [op]) for op in ("Neg", "Abs", "Sign", "BitwiseNot") if dtype != ox.UINT8 or op == "BitwiseNot"]
            outputs = {n: (dims, dtype) for n in [*same, "Fmod"] + (["BitwiseNot"] if dtype == ox.UINT8 else ["Neg", "Abs", "Sign", "BitwiseNot"])}
            for op in ("Less", "GreaterOrEqual", "Equal"):
                nodes.append(ox.node(op, ["a", "b"], [op]))
                outputs[op] = (dims, ox.BOOL)
            nodes += [ox.node("Where", ["Less", "a", "b"], ["picked"]), ox.node("Cast", ["a"], ["as_float"], to=ox.FLOAT),
                      ox.node("Cast", ["a"], ["as_byte"], to=ox.INT8), ox.node("Cast", ["a"], ["as_bool"], to=ox.BOOL),
                      ox.node("Xor", ["Less", "as_bool"], ["xor"]), ox.node("Not", ["xor"], ["not"])]
            outputs |= {"picked": (dims, dtype), "as_float": (dims, ox.FLOAT), "as_byte": (dims, ox.INT8), "not": (dims, ox.BOOL)}
            if dtype in (ox.INT32, ox.INT64):
                nodes += [ox.node("ReduceSum", ["a", "axes"], ["sum"]), ox.node("ReduceMean", ["a", "axes"], ["mean"]),
                          ox.node("ReduceProd", ["b", "axes"], ["prod"]), ox.node("CumSum", ["a", "axis"], ["run"], reverse=1)]
                outputs |= {"sum": ([1], dtype), "mean": ([1], dtype), "prod": ([1], dtype), "run": (dims, dtype)}
            with self.subTest(type=dtype):
                self.both(f"int{dtype}", nodes, inputs, outputs, [ox.tensor("axes", [1], [0], ox.INT64), ox.tensor("axis", [], [0], ox.INT64)])

    def test_floats_to_integers(self):
        """Values outside of the type are cut to int64 and wrap, NaN is 0."""
        x = [1.9, -1.9, 300.0, -300.0, 3e9, -3e9, 1e30, -1e30, float("nan"), float("inf")]
        types = {"b": ox.INT8, "ub": ox.UINT8, "i": ox.INT32, "l": ox.INT64, "t": ox.BOOL}
        self.both("cast", [ox.node("Cast", ["x"], [n], to=t) for n, t in types.items()], {"x": ([10], ox.FLOAT, x)},
                  {n: ([10], t) for n, t in types.items()})

    def test_not_a_number(self):
        """Max, Min and their reductions let NaN win, Relu and Clip let it through."""
        nan = float("nan")
        nodes = [ox.node("Max", ["a", "b"], ["max"]), ox.node("Min", ["b", "a"], ["min"]), ox.node("ReduceMax", ["a", "axes"], ["most"]),
                 ox.node("IsNaN", ["max"], ["n1"]), ox.node("IsNaN", ["min"], ["n2"]), ox.node("IsNaN", ["most"], ["n3"]),
                 ox.node("Relu", ["a"], ["relu"]), ox.node("IsNaN", ["relu"], ["n4"]), ox.node("Sign", ["a"], ["sign"]), ox.node("IsNaN", ["sign"], ["n5"])]
        self.both("nan", nodes, {"a": ([4], ox.FLOAT, [nan, 1.0, 2.0, nan]), "b": ([4], ox.FLOAT, [1.0, nan, 3.0, nan])},
                  {"n1": ([4], ox.BOOL), "n2": ([4], ox.BOOL), "n3": ([1], ox.BOOL), "n4": ([4], ox.BOOL), "n5": ([4], ox.BOOL)},
                  [ox.tensor("axes", [1], [0], ox.INT64)])

    def test_what_the_interpreter_refuses(self):
        """Indices outside become the nearest inside, a quotient by zero is 0; the sanitizers see nothing."""
        nodes = [ox.node("Gather", ["x", "i"], ["g"], axis=1), ox.node("Div", ["i", "z"], ["q"]), ox.node("Mod", ["i", "z"], ["r"]),
                 ox.node("ScatterElements", ["x", "j", "u"], ["s"], axis=1), ox.node("GatherND", ["x", "t"], ["nd"])]
        i = [-9, 9, 1, -1]
        path = self.model("wild", nodes, {"x": ([2, 3], ox.FLOAT), "i": ([4], ox.INT64), "z": ([4], ox.INT64), "j": ([2, 1], ox.INT64),
                                          "u": ([2, 1], ox.FLOAT), "t": ([2, 2], ox.INT64)},
                          {"g": ([2, 4], ox.FLOAT), "q": ([4], ox.INT64), "r": ([4], ox.INT64), "s": ([2, 3], ox.FLOAT), "nd": ([2], ox.FLOAT)})
        raw = self.run_c(self.export(path), [([1, 2, 3, 4, 5, 6], "<f4"), (i, "<i8"), ([0, 2, 0, -1], "<i8"), ([2**62, -2**62], "<i8"),
                                             ([8, 9], "<f4"), ([5, 5, -5, 1], "<i8")])
        got = array.array("f", raw[:32])
        self.assertEqual(list(got), [1, 3, 2, 3, 4, 6, 5, 6])
        self.assertEqual(list(array.array("q", raw[32:96])), [0, 4, 0, 1] + [0, 1, 0, 0])
        self.assertEqual(list(array.array("f", raw[96:128])), [1, 2, 8, 9, 5, 6] + [6, 2])

    def test_attention(self):
        """Heads in a dimension of their own or not, shared keys, masks, causality, caches."""
        q, k = [2, 4, 5, 8], [2, 2, 7, 8]
        plain = {"q": (q, ox.FLOAT, floats(q)), "k": (k, ox.FLOAT, floats(k, 1)), "v": ([2, 2, 7, 6], ox.FLOAT, floats([2, 2, 7, 6], 2))}
        out = {"y": ([2, 4, 5, 6], ox.FLOAT)}
        past = {"pk": ([2, 2, 3, 8], ox.FLOAT, floats([2, 2, 3, 8], 3)), "pv": ([2, 2, 3, 6], ox.FLOAT, floats([2, 2, 3, 6], 4))}
        flat = {"q": ([2, 5, 32], ox.FLOAT, floats(q)), "k": ([2, 7, 16], ox.FLOAT, floats(k, 1)), "v": ([2, 7, 16], ox.FLOAT, floats(k, 2))}
        bits = [int(i % 3 != 0) for i in range(35)]
        cases = {
            "grouped": (plain, ["q", "k", "v"], ["y"], {}, {}, out),
            "capped": (plain, ["q", "k", "v"], ["y"], {"is_causal": 1, "softcap": 0.5, "scale": 0.7}, {}, out),
            "bool": (plain, ["q", "k", "v", "m"], ["y"], {}, {"m": ([5, 7], ox.BOOL, bits)}, out),
            "added": (plain, ["q", "k", "v", "m"], ["y"], {}, {"m": ([2, 1, 5, 7], ox.FLOAT, floats([2, 5, 7], 5))}, out),
            "cached": (plain, ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], {"is_causal": 1}, past,
                       {**out, "nk": ([2, 2, 10, 8], ox.FLOAT), "nv": ([2, 2, 10, 6], ox.FLOAT)}),
            "flat": (flat, ["q", "k", "v"], ["y"], {"q_num_heads": 4, "kv_num_heads": 2}, {}, {"y": ([2, 5, 32], ox.FLOAT)}),
        }
        for name, (inputs, names, results, attributes, more, outputs) in cases.items():
            with self.subTest(case=name):
                self.both(name, [ox.node("Attention", names, results, **attributes)], inputs | more, outputs, opset=23)
        x, cache = [2, 4, 5, 8], [9, 3]
        for name, attributes in (("turned", {}), ("interleaved", {"interleaved": 1})):
            with self.subTest(case=name):
                self.both(name, [ox.node("RotaryEmbedding", ["x", "c", "s", "p"], ["y"], rotary_embedding_dim=6, **attributes)],
                          {"x": (x, ox.FLOAT, floats(x)), "c": (cache, ox.FLOAT, floats(cache, 1)), "s": (cache, ox.FLOAT, floats(cache, 2)),
                           "p": ([2, 5], ox.INT64, [i % 9 for i in range(10)])}, {"y": (x, ox.FLOAT)}, opset=23)

    def test_signals(self):
        """Spectra of real and complex lines, longer and shorter than what is there; frames with a window."""
        x = [2, 10, 3, 1]
        for name, dims, out, attributes, length in (("whole", x, [2, 10, 3, 2], {}, None), ("half", x, [2, 6, 3, 2], {"onesided": 1}, None),
                                                    ("longer", x, [2, 16, 3, 2], {}, 16), ("shorter", x, [2, 7, 3, 2], {}, 7),
                                                    ("back", [2, 10, 3, 2], [2, 10, 3, 2], {"inverse": 1}, None)):
            with self.subTest(case=name):
                constants = [ox.tensor("axis", [], [1], ox.INT64)] + ([ox.tensor("n", [], [length], ox.INT64)] if length else [])
                self.both(name, [ox.node("DFT", ["x", "n" if length else "", "axis"], ["y"], **attributes)], {"x": (dims, ox.FLOAT, floats(dims))},
                          {"y": (out, ox.FLOAT)}, constants)
        self.both("stft", [ox.node("STFT", ["x", "step", "w"], ["y"])], {"x": ([2, 33, 1], ox.FLOAT, floats([2, 33, 1])), "w": ([16], ox.FLOAT, floats([16], 1))},
                  {"y": ([2, 3, 9, 2], ox.FLOAT)}, [ox.tensor("step", [], [8], ox.INT64)])

    def test_regions_and_caches(self):
        x = [2, 3, 9, 11]
        for mode in ("avg", "max"):
            for ratio in (0, 2):
                with self.subTest(mode=mode, ratio=ratio):
                    self.both("roi", [ox.node("RoiAlign", ["x", "r", "b"], ["y"], mode=mode, sampling_ratio=ratio, output_height=3, output_width=2,
                                              spatial_scale=0.5)],
                              {"x": (x, ox.FLOAT, floats(x)), "r": ([3, 4], ox.FLOAT, [0.0, 1, 9, 16, 3, 3, 30, 30, -4, 2, 7, 5]), "b": ([3], ox.INT64, [0, 1, 1])},
                              {"y": ([3, 3, 3, 2], ox.FLOAT)})
        for align in (0, 1):
            self.both("grid", [ox.node("AffineGrid", ["t", "size"], ["g"], align_corners=align),
                               ox.node("GridSample", ["x", "g"], ["y"], align_corners=align, padding_mode="reflection")],
                      {"t": ([2, 2, 3], ox.FLOAT, floats([2, 2, 3])), "x": (x, ox.FLOAT, floats(x))},
                      {"g": ([2, 4, 5, 2], ox.FLOAT), "y": ([2, 3, 4, 5], ox.FLOAT)}, [ox.tensor("size", [4], [2, 3, 4, 5], ox.INT64)])
        self.both("crop", [ox.node("CenterCropPad", ["x", "shape"], ["y"])], {"x": ([5, 8], ox.INT32, list(range(40)))}, {"y": ([8, 3], ox.INT32)},
                  [ox.tensor("shape", [2], [8, 3], ox.INT64)])
        for mode, first in (("linear", [1, 3]), ("circular", [5, 4])):
            with self.subTest(mode=mode):
                self.both("cache", [ox.node("TensorScatter", ["p", "u", "i"], ["y"], mode=mode)],
                          {"p": ([2, 2, 6, 3], ox.FLOAT, floats([2, 2, 6, 3])), "u": ([2, 2, 2, 3], ox.FLOAT, floats([2, 2, 2, 3], 1)), "i": ([2], ox.INT64, first)},
                          {"y": ([2, 2, 6, 3], ox.FLOAT)}, opset=24)

    def recurrent(self, op, gates, seed):
        """A convolution over frames, a recurrent layer of both directions with lengths, a classifier."""
        net = ox.Net(seed)
        x = net.op("Relu", net.op("Conv", "x", net.weight([8, 6, 3]), net.weight([8], 0.1), kernel_shape=[3], pads=[1, 1]))
        x = net.op("Transpose", x, perm=[2, 0, 1])
        out = f"h{seed}"
        weights = [net.weight([2, gates * 5, 8]), net.weight([2, gates * 5, 5]), net.weight([2, 2 * gates * 5], 0.1)]
        net.nodes.append(ox.node(op, [x, *weights], ["", out], op.lower(), hidden_size=5, direction="bidirectional"))
        x = net.op("Reshape", net.op("Transpose", out, perm=[1, 0, 2]), net.ints([1, 10]))
        x = net.op("Gemm", x, net.weight([4, 10]), net.weight([4], 0.1), transB=1)
        return net.finish(x, [1, 6, 12], [1, 4])

    def test_quantized_recurrent(self):
        """Integers around a float cell: the same codes go in, and what comes out rounds alike."""
        for op, gates in (("GRU", 3), ("LSTM", 4), ("RNN", 1)):
            with self.subTest(op=op):
                model, q = self.write(op + ".onnx", self.recurrent(op, gates, gates)), self.path(f"q{op}.onnx")
                npy.save_npz(self.path("calib.npz"), inputs=(floats([16, 6, 12]), [16, 6, 12], "<f4"))
                self.slipway("quantize", model, "--platform", "c-int8", "--calib", self.path("calib.npz"), "-o", q, "-q")
                values = floats([1, 6, 12], 7)
                npy.save(self.path("x.npy"), values, [1, 6, 12])
                want = self.run_model(q, "--input", f"x={self.path('x.npy')}", "--platform", "interpreter", label="want")
                stem = self.export(q, name="c" + op)
                with open(stem + ".c", encoding="utf-8") as file:
                    text = file.read()
                self.assertRegex(text, r"  sw_q(conv|dense)8\(")
                self.assertIn(f"  sw_{op.lower()}(&", text)
                got = array.array("f", self.run_c(stem, [(values, "<f4")]))
                (name, (expected, dims)), = want.items()
                self.agree({name: (got, dims)}, {name: (expected, dims)}, 1e-5, op)

    def test_weights_of_four_bits(self):
        """Weight-only quantization keeps its codes: two of 4 bits in a byte, a scale for each group."""
        net = ox.Net(5)
        x = net.op("Relu", net.op("MatMul", "x", net.weight([64, 96])))
        x = net.op("MatMul", x, net.weight([96, 32]))
        model, q = self.write("wide.onnx", net.finish(x, [1, 64], [1, 32])), self.path("q4.onnx")
        npy.save_npz(self.path("calib.npz"), inputs=(floats([16, 64]), [16, 64], "<f4"))
        self.slipway("quantize", model, "--platform", "x86-w4g32", "--calib", self.path("calib.npz"), "-o", q, "-q")
        values = floats([1, 64])
        npy.save(self.path("x.npy"), values, [1, 64])
        want = self.run_model(q, "--input", f"x={self.path('x.npy')}", "--platform", "interpreter", label="want")
        stem = self.export(q)
        got = array.array("f", self.run_c(stem, [(values, "<f4")]))
        (name, (expected, dims)), = want.items()
        self.agree({name: (got, dims)}, {name: (expected, dims)}, 1e-5)
        with open(stem + ".h", encoding="utf-8") as file:
            held = int(re.search(r"(\d+) bytes of constants", file.read()).group(1))
        self.assertLess(held, (64 * 96 + 96 * 32) * 0.75)  # half a byte a weight, a float for 32 of them

    def test_microcontroller(self):
        """Keyword spotting takes nothing but its arena, scratch of the cell in it."""
        if not shutil.which("arm-none-eabi-gcc"):
            self.skipTest("skipped: arm-none-eabi-gcc is not here; scripts/setup core")
        for op, gates in (("GRU", 3), ("LSTM", 4)):
            stem = self.export(self.write(op + ".onnx", self.recurrent(op, gates, gates)), name=op.lower())
            built = self.call("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", *FLAGS, "-c", stem + ".c", "-o",
                              self.path(op + ".o"))
            self.assertEqual(built.code, 0, str(built))
            size = self.call("arm-none-eabi-size", self.path(op + ".o")).out.splitlines()[1].split()
            with open(stem + ".h", encoding="utf-8") as file:
                arena = int(re.search(r"_ARENA_BYTES (\d+)", file.read()).group(1))
            self.assertEqual(int(size[2]), (arena + 7) // 8 * 8)
            self.assertGreater(arena, 12 * 8 * 4 + (2 * gates + 2) * 5 * 4 - 1)  # frames and scratch live at once


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
