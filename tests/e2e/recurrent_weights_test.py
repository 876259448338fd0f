#!/usr/bin/python3
"""Recurrent layers whose weights `slipway quantize` makes codes: what the interpreter computes of them, packages on x86,
under qemu on ARM and C files compute too, and they are as small as they should be."""
import array
import os
import random
import shutil
import time

from c_program import CCase, TARGETS
from harness import BINARY, ROOT, main
import npy
import onnx_writer as ox

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
RUNNER = os.path.join(ROOT, "build", "runtime-aarch64", "slipway-run")


def floats(count, seed=0):
    return [((i * 7919 + seed * 31) % 2003) / 1000 - 1 for i in range(count)]


class RecurrentWeights(CCase):
    def cell(self, op, steps, batch, inputs, hidden, both=False, lengths=None, seed=1, **attributes):
        """The bytes of a model that is one layer: x, perhaps with lengths that it has as a constant, to all states."""
        net, d, width = ox.Net(seed), 2 if both else 1, GATES[op] * hidden
        names = [net.weight([d, width, inputs]), net.weight([d, width, hidden], 0.4), net.weight([d, 2 * width], 0.1)]
        if lengths:
            net.initializers.append(ox.tensor("n", [batch], lengths, ox.INT32))
            names.append("n")
        if both:
            attributes["direction"] = "bidirectional"
        net.nodes.append(ox.node(op, ["x", *names], ["y"], "cell", hidden_size=hidden, **attributes))
        return ox.model(net.nodes, [ox.value_info("x", [steps, batch, inputs])], [ox.value_info("y", [steps, d, batch, hidden])],
                        net.initializers)

    def quantize(self, model, shape, *arguments, platform="c-int8"):
        """The quantized file, and what the command printed."""
        count = 1
        for n in shape:
            count *= n
        npy.save_npz(self.path("calib.npz"), inputs=(floats(4 * count), [4 * shape[0], *shape[1:]], "<f4"))
        q = self.path("q.onnx")
        done = self.slipway("quantize", model, "--platform", platform, "--calib", self.path("calib.npz"), "-o", q, *arguments)
        npy.save(self.path("x.npy"), floats(count, 3), shape)
        return q, done.out

    def run_on(self, model, platform):
        return self.run_model(model, "--input", f"x={self.path('x.npy')}", "--platform", platform, label=platform)

    def run_as_c(self, model, shape, want, targets=("host",), tolerance=3e-5, label=""):
        stem = self.export(model)
        count = 1
        for n in shape:
            count *= n
        for target in targets:
            raw = self.run_c(stem, [(floats(count, 3), "<f4")], target)
            if raw is None:
                continue
            got = array.array("f", raw)
            (name, (expected, dims)), = want.items()
            self.agree({name: (got, dims)}, {name: (expected, dims)}, tolerance, f"{label} as C on {target}")
        with open(stem + ".c", encoding="utf-8") as file:
            return file.read()

    def test_random_layers(self):
        seed = random.randrange(1 << 30)
        print(f"seed {seed}")
        rng, end = random.Random(seed), time.monotonic() + 40
        for trial in range(24):
            if time.monotonic() > end and trial >= 6:
                break
            op, bits = rng.choice(sorted(GATES)), rng.choice((8, 4))
            both, batch, steps = rng.random() < 0.5, rng.randint(1, 3), rng.randint(1, 7)
            inputs, hidden = rng.randint(1, 20), rng.randint(1, 20)
            lengths = [rng.randint(0, steps) for _ in range(batch)] if rng.random() < 0.5 else None
            attributes = {"linear_before_reset": 1} if op == "GRU" and rng.random() < 0.5 else {}
            what = f"seed {seed}, {trial}: {op} W{bits}, {steps} steps of {batch} x {inputs} to {hidden}, both {both}, lengths {lengths}, {attributes}"
            with self.subTest(what=what):
                shape = [steps, batch, inputs]
                model = self.write("m.onnx", self.cell(op, *shape, hidden, both, lengths, trial, **attributes))
                q, said = self.quantize(model, shape, "--bits", f"W{bits}A8", "--weight-observer", "minmax")
                self.assertIn(f"0 nodes on integers, 1 recurrent layer with weights of {bits} bits", said)
                want = self.run_on(q, "interpreter")
                for platform in ("x86-int8", "reference"):
                    self.agree(self.run_on(q, platform), want, 3e-5, what + platform)
                text = self.run_as_c(q, shape, want, label=what)
                self.assertIn(f"sw_project{bits}(", text)
                self.assertNotIn("sw_project(", text)

    def keywords(self, op="GRU"):
        """Frames of 8 features, a layer of 64, four words."""
        net, hidden = ox.Net(4), 64
        width = GATES[op] * hidden
        x = net.op("Transpose", "x", perm=[1, 0, 2])
        net.nodes.append(ox.node(op, [x, net.weight([1, width, 8]), net.weight([1, width, hidden], 0.2), net.weight([1, 2 * width], 0.1)],
                                 ["", "last"], "cell", hidden_size=hidden))
        y = net.op("Squeeze", "last", net.ints([0]))
        y = net.op("Gemm", y, net.weight([4, hidden]), net.weight([4], 0.1), transB=1)
        return net.finish(y, [1, 12, 8], [1, 4])

    def test_files_are_small(self):
        """Bytes of weights in the ONNX file, the package and the C file."""
        model = self.write("kw.onnx", self.keywords())
        weights, rows = 192 * (8 + 64), 2 * 192
        for bits in (8, 4):
            with self.subTest(bits=bits):
                q, _ = self.quantize(model, [1, 12, 8], "--bits", f"W{bits}A8", platform="x86-int8")
                codes = weights * bits // 8 + rows * 4
                self.assertLess(os.path.getsize(q), codes + 8000)
                for platform in ("x86-int8", "arm64-int8", "x86", "reference"):
                    self.slipway("compile", q, "--platform", platform, "-o", self.path("m.slip"))
                    self.assertLess(os.path.getsize(self.path("m.slip")), codes + 12000, platform)
                    self.slipway("verify", self.path("m.slip"))
                self.export(q)
                with open(self.path("net", "q.h"), encoding="utf-8") as file:
                    constants = int(file.read().split(" bytes of constants")[0].rsplit(" ", 1)[1])
                self.assertLess(constants, codes + 192 * 2 * 4 + 1000)

    def test_packages_agree(self):
        """A layer between integers: x86 and, under qemu, ARM against the interpreter."""
        for op in sorted(GATES):
            model = self.write("kw.onnx", self.keywords(op))
            q, said = self.quantize(model, [1, 12, 8], platform="x86-int8")
            self.assertIn("1 nodes on integers, 1 recurrent layer with weights of 8 bits", said)
            want = self.run_on(q, "interpreter")
            # The product behind the layer rounds its states to codes, which may differ by one.
            for platform in ("x86-int8", "x86", "reference", "c-int8"):
                self.agree(self.run_on(q, platform), want, 0.01, f"{op} on {platform}")
            self.run_as_c(q, [1, 12, 8], want, TARGETS, 0.01, op)
            self.slipway("compile", q, "--platform", "arm64-int8", "-o", self.path("arm.slip"))
            emulator = shutil.which("qemu-aarch64")
            if not emulator or not os.path.exists(RUNNER):
                continue
            folder = self.path("device")
            os.makedirs(folder, exist_ok=True)
            done = self.call(emulator, "-L", "/usr/aarch64-linux-gnu", RUNNER, self.path("arm.slip"), "--input", f"x={self.path('x.npy')}",
                             "--output-dir", folder)
            self.assertEqual(done.code, 0, str(done))
            self.agree(self.outputs(folder), want, 0.01, op + " on arm64-int8")

    def test_sequences_by_time(self):
        """A sample has the extents of the whole input, batch included: calibrated, verified and evaluated, on devices too."""
        platforms = ["reference", "x86-int8"] + (["arm64-generic"] if shutil.which("qemu-aarch64") and os.path.exists(RUNNER) else [])
        for steps in (1, 5):
            model = self.write("by_time.onnx", self.cell("GRU", steps, 1, 6, 8, linear_before_reset=1))
            data, count = self.path("data.npz"), 12 * steps * 6
            npy.save_npz(data, inputs=(floats(count), [12, steps, 1, 6], "<f4"), labels=([0] * 12, [12], "<i8"))
            # Scores of one sample are a vector, which those of several steps are not.
            evaluation = ["--eval", data] if steps == 1 else []
            rows = self.slipway("deploy", model, "--platforms", ",".join(platforms), "--calib", data, *evaluation, "--no-record",
                                "-o", self.path(f"deployed{steps}"), "--json").json["platforms"]
            self.assertEqual([r["platform"] for r in rows], platforms)
            for row in rows:
                self.assertFalse(row.get("error"), row)
            if steps == 1:
                want = self.slipway("eval", model, "--platform", "interpreter", "--data", data, "--json").json["top1"]
                self.assertEqual(rows[0]["accuracy"], want)
                self.assertEqual(rows[-1]["accuracy"] if len(rows) > 2 else want, want)
            else:
                self.fails("eval", model, "--platform", "interpreter", "--data", data, says=["float32 [classes]"])
        self.fails("quantize", model, "--platform", "x86-int8", "--calib", data, "--algorithm", "adaround", "-o", self.path("q.onnx"),
                   says=["rows of a batch", "without --algorithm"])

    def test_options_are_honoured(self):
        model, shape = self.write("kw.onnx", self.keywords()), [1, 12, 8]


        q, said = self.quantize(model, shape, "--keep-float", "cell")
        self.assertNotIn("recurrent", said)
        self.agree(self.run_on(q, "interpreter"), self.run_on(model, "interpreter"), 0.05)
        for line, bits in (("cell: 4", 4), ("cell: 2", 2), ("cell: W8A8", 8)):
            self.write("c.yaml", f"platform: c-int8\nlayers:\n  {line}\n")
            q, said = self.quantize(model, shape, "--config", self.path("c.yaml"))
            self.assertIn(f"1 recurrent layer with weights of {bits} bits", said)
        self.write("c.yaml", "platform: c-int8\nlayers:\n  cell: float\n")
        self.assertNotIn("recurrent", self.quantize(model, shape, "--config", self.path("c.yaml"))[1])
        # Few bits for all: not for these, unless their name asks for them.
        self.assertIn("weights of 8 bits", self.quantize(model, shape, "--bits", "W2A8")[1])
        self.assertIn("weights of 4 bits", self.quantize(model, shape, "--bits", "W4A8")[1])
        # A budget that 8 bits miss and 4 bits keep.
        sizes = [192 * 72 * b / 8 + 384 * 4 for b in (8, 4)]
        q, said = self.quantize(model, shape, "--budget", f"size={int(sum(sizes) / 2)}B", "--choices", "W8A8,W4A8,float", platform="x86-int8")
        self.assertIn("1 recurrent layer with weights of 4 bits", said)
        # A platform whose tool has no such form.
        q, said = self.quantize(model, shape, platform="tensorrt-int8")
        self.assertNotIn("recurrent", said)
        rows = self.quantize(model, shape, "--sensitivity", "--json")[1]
        self.assertIn('"recurrent_layers"', rows)
        self.assertIn('"cell"', rows)

    def test_onnx_runtimes_form(self):
        """DynamicQuantizeLSTM, by what its weights mean: they stay integers in package and C file, with zero points too."""
        rng = random.Random(3)
        for name, dtype, low, zero, scales in (("a scale a direction", ox.INT8, -128, 0, [2]), ("a scale a row", ox.INT8, -128, 0, [2, 48]),
                                               ("unsigned", ox.UINT8, 0, 128, [2])):
            with self.subTest(form=name):
                count = scales[0] * (scales[1] if len(scales) > 1 else 1)
                constants = []
                for i, (key, columns) in enumerate((("w", 10), ("r", 12))):
                    constants += [ox.tensor(key, [2, columns, 48], [low + rng.randrange(256) for _ in range(2 * columns * 48)], dtype),
                                  ox.tensor(key + "s", scales, [rng.uniform(0.001, 0.004) for _ in range(count)]),
                                  ox.tensor(key + "z", scales, [zero] * count, dtype)]
                node = ox.node("DynamicQuantizeLSTM", ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"], ["y"], "cell", "com.microsoft",
                               hidden_size=12, direction="bidirectional")
                model = self.write("dq.onnx", ox.model([node], [ox.value_info("x", [5, 1, 10])], [ox.value_info("y", [5, 2, 1, 12])], constants))
                npy.save(self.path("x.npy"), floats(50, 3), [5, 1, 10])
                want = self.run_on(model, "interpreter")
                for platform in ("x86", "x86-int8", "reference"):
                    self.agree(self.run_on(model, platform), want, 3e-5, f"{name} on {platform}")
                    self.slipway("compile", model, "--platform", platform, "-o", self.path("m.slip"))
                    self.assertLess(os.path.getsize(self.path("m.slip")), 96 * (22 + 8) + 4000)  # as floats 8448
                text = self.run_as_c(model, [5, 1, 10], want, label=name)
                self.assertIn("sw_project8(", text)

    def test_computed_weights_stay_float_and_the_report_says_why(self):
        net = ox.Net(2)
        r = net.weight([1, 12, 4])
        w = net.op("Mul", net.weight([1, 12, 3]), net.op("ReduceMean", "x", axes=[0, 1, 2], keepdims=0))
        net.nodes.append(ox.node("GRU", ["x", w, r], ["t"], "cell", hidden_size=4))
        y = net.op("Gemm", net.op("Reshape", "t", net.ints([5, 4])), net.weight([4, 2]))
        model = self.write("m.onnx", net.finish(y, [5, 1, 3], [5, 2]))
        q, said = self.quantize(model, [5, 1, 3])
        self.assertIn("note: recurrent layer 'cell' stays float: its weights W (", said)
        self.assertIn("are no constant", said)
        self.agree(self.run_on(q, "reference"), self.run_on(q, "interpreter"), 0.02)


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
