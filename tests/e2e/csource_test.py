#!/usr/bin/python3
"""`slipway export --to c`: the C file compiles without warnings, and computes what the interpreter computes; integers bit for
bit, on the host, on aarch64 and riscv64 under qemu-user; arm-none-eabi-gcc takes it too."""
import array
import os
import random
import re
import shutil

from c_program import CCase, FLAGS, TARGETS
from harness import BINARY, ROOT, main
from labelled import LabelledNet
import npy
import onnx_writer as ox

DATA = os.path.join(ROOT, "..", "shared", "data")
CASES = "/usr/share/libonnx-testdata/data"
SAMPLE = 100  # of ONNX's 1072 cases; scripts/conformance runs all
# The data themselves contradict the standard: tests/e2e/conformance_test.py.
KNOWN = {f"node/test_{name}" for name in ("cast_FLOAT_to_BFLOAT16", "castlike_FLOAT_to_BFLOAT16", "castlike_FLOAT_to_BFLOAT16_expanded")}


class CSource(CCase):
    def check(self, model, shape, exact, targets=("host",), export=(), tolerance=1e-5, batch=True):
        """The C program against the interpreter on one input; `exact`: against integers, bit for bit."""
        count = 1
        for d in shape:
            count *= d
        values = [((i * 7919) % 2003) / 1000 - 1 for i in range(count)]
        npy.save(self.path("x.npy"), values, shape)
        x = self.slipway("inspect", model, "--json").json["inputs"][0]["name"]
        want = self.run_model(model, "--input", f"{x}={self.path('x.npy')}", "--platform", "x86-int8" if exact else "interpreter",
                              label="want")
        stem = self.export(model, *export)
        ran = 0
        for target in targets:
            raw = self.run_c(stem, [(values, "<f4")], target)
            if raw is None:
                continue
            ran += 1
            at = 0
            with open(stem + ".h", encoding="utf-8") as file:
                order = re.findall(r"/\* output (\w+):", file.read())
            self.assertEqual(sorted(order), sorted(re.sub(r"\W", "_", n) for n in want), model)
            by_name = {re.sub(r"\W", "_", n): v for n, v in want.items()}
            for name in order:
                expected = by_name[name][0]
                size = len(expected) * expected.itemsize
                got = array.array(expected.typecode)
                got.frombytes(raw[at:at + size])
                at += size
                if exact:
                    self.assertEqual(got.tobytes(), expected.tobytes(), f"{model} on {target}: {name}")
                else:
                    self.agree({name: (got, by_name[name][1])}, {name: by_name[name]}, tolerance, target)
            self.assertEqual(at, len(raw))
        self.assertGreater(ran, 0, "no C compiler")
        return stem

    def test_small_networks(self):
        for make, shape in ((ox.tiny_cnn, [1, 1, 8, 8]), (ox.tiny_transformer, [1, 6, 16])):
            self.check(self.write("t.onnx", make()), shape, False, TARGETS)

    def test_real_models(self):
        models = os.path.join(DATA, "models")
        if not os.path.exists(models):
            self.skipTest("skipped: ../shared/data is not here")
        for name, shape in (("resnet20_cifar10", [1, 3, 32, 32]), ("mobilenetv2_small_cifar10", [1, 3, 32, 32]),
                            ("vit_small_cifar10", [1, 3, 32, 32]), ("mobilenet_v1_025_imagenet", [1, 3, 224, 224])):
            with self.subTest(model=name):
                self.check(os.path.join(models, name + ".onnx"), shape, False)

    def test_real_models_in_integers(self):
        models = os.path.join(DATA, "models")
        if not os.path.exists(models):
            self.skipTest("skipped: ../shared/data is not here")
        preprocess = self.write("pre.yaml", "scale: 0.00392156862745098\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n")
        for name, bits in (("resnet20_cifar10", "W8A8"), ("resnet20_cifar10", "W4A8"), ("mobilenetv2_small_cifar10", "W8A8"),
                           ("mobilenetv2_small_cifar10", "W2A4")):
            with self.subTest(model=name, bits=bits):
                q = self.path(f"{name}_{bits}.onnx")
                self.slipway("quantize", os.path.join(models, name + ".onnx"), "--platform", "x86-int8", "--bits", bits, "--calib",
                             os.path.join(DATA, "cifar10", "train.npz"), "--samples", "32", "--preprocess", preprocess, "-o", q, "-q")
                self.check(q, [1, 3, 32, 32], True, TARGETS if bits == "W8A8" else ("host",))

    def test_microcontroller(self):
        if not shutil.which("arm-none-eabi-gcc"):
            self.skipTest("skipped: arm-none-eabi-gcc is not here; scripts/setup core")
        stem = self.export(self.write("t.onnx", ox.tiny_cnn()))
        built = self.call("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", *FLAGS, "-c", stem + ".c",
                          "-o", self.path("m4.o"))
        self.assertEqual(built.code, 0, str(built))
        size = self.call("arm-none-eabi-size", self.path("m4.o")).out.splitlines()[1].split()
        with open(stem + ".h", encoding="utf-8") as file:
            arena = int(re.search(r"_ARENA_BYTES (\d+)", file.read()).group(1))
        self.assertEqual(int(size[2]), max(1, (arena + 7) // 8 * 8))  # .bss is the arena, nothing else

    def operators(self):
        """A network of every kind of movement, pooling and function that has a form in C."""
        net = ox.Net(9)
        x = net.conv("x", 3, 8)
        a = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        b = net.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        c = net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], count_include_pad=1)
        x = net.op("Concat", a, b, c, axis=1)
        x = net.op("Pad", x, net.ints([0, 0, 1, 2, 0, 0, 0, -1]))
        x = net.op("Slice", x, net.ints([4, -1]), net.ints([0, -100]), net.ints([2, 3]), net.ints([-1, -2]))
        x = net.op("LeakyRelu", x, alpha=0.1)
        x = net.op("Transpose", x, perm=[0, 2, 3, 1])
        x = net.op("Softmax", x, axis=1)
        y = net.op("Sigmoid", net.op("Mul", x, net.weight([24])))
        x = net.op("Div", net.op("Sub", x, y), net.op("Exp", y))
        x = net.op("Max", x, net.op("Tanh", net.op("Neg", y)))
        x = net.op("PRelu", x, net.weight([24]))
        x = net.op("ReduceMean", x, axes=[1], keepdims=1)
        x = net.op("Gather", x, net.ints([5, 0, -1, 5]), axis=3)
        x = net.op("Elu", net.op("HardSigmoid", x))
        return net.finish(x, [1, 3, 8, 8], [1, 1, 2, 4])

    def test_operators(self):
        self.check(self.write("ops.onnx", self.operators()), [1, 3, 8, 8], False, TARGETS)

    def test_depth_to_space(self):
        """Both orders, of floats and behind a transposed convolution, which becomes one."""
        for mode in ("DCR", "CRD"):
            net = ox.Net(4)
            x = net.op("DepthToSpace", net.op("Relu", "x"), blocksize=2, mode=mode)
            self.check(self.write(f"{mode}.onnx", net.finish(x, [2, 8, 3, 5], [2, 2, 6, 10])), [2, 8, 3, 5], False, TARGETS)
        net = ox.Net(3)
        x = net.op("ConvTranspose", "x", net.weight([8, 4, 2, 2]), kernel_shape=[2, 2], strides=[2, 2])
        self.check(self.write("up.onnx", net.finish(x, [1, 8, 5, 3], [1, 4, 10, 6])), [1, 8, 5, 3], False, TARGETS)

    def test_resize(self):
        """Nearest and linear over the axes and coordinates that exporters write, and what has no form."""
        for name, attributes, scales, shape in (
                ("nearest", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, [1, 1, 2, 2], [1, 3, 10, 14]),
                ("linear", {"mode": "linear"}, [1, 1, 2, 1.5], [1, 3, 10, 10]),
                ("corners", {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, [1, 1, 3, 0.5], [1, 3, 15, 3]),
                ("channels", {"mode": "linear"}, [1, 2, 0.8, 1], [1, 6, 4, 7]),
                ("cubic", {"mode": "cubic"}, [1, 1, 2, 2], [1, 3, 10, 14])):
            with self.subTest(mode=name):
                net = ox.Net(5)
                x = net.op("Resize", net.op("Relu", "x"), "", net.weight([4], values=scales), **attributes)
                self.check(self.write(f"{name}.onnx", net.finish(x, [1, 3, 5, 7], shape)), [1, 3, 5, 7], False, TARGETS)
        net = ox.Net(5)
        x = net.op("Resize", "x", "", "", net.ints([1, 3, 100000, 1]), mode="linear")
        self.fails("export", self.write("long.onnx", net.finish(x, [1, 3, 5, 1], [1, 3, 100000, 1])), "--to", "c", "-o", self.path("c"),
                   says=["Resize", "axis 2 with 100000 positions", "compile a package"])

    def test_resize_of_codes(self):
        """Bit for bit the integers of the x86 backend."""
        for mode, piece in (("nearest", "sw_resize_nearest("), ("linear", "sw_qresize(")):
            with self.subTest(mode=mode):
                net = ox.Net(6)
                x = net.op("Relu", net.conv("x", 3, 8))
                x = net.op("Resize", x, "", net.weight([4], values=[1, 1, 2, 1.5]), mode=mode)
                x = net.conv(x, 8, 4)
                model = self.write(f"{mode}.onnx", net.finish(x, [1, 3, 8, 8], [1, 4, 16, 12]))
                npy.save_npz(self.path("calib.npz"), inputs=([((i * 37) % 200) / 100 - 1 for i in range(8 * 192)], [8, 3, 8, 8], "<f4"))
                q = self.path(f"q_{mode}.onnx")
                self.slipway("quantize", model, "--platform", "x86-int8", "--calib", self.path("calib.npz"), "-o", q, "-q")
                stem = self.check(q, [1, 3, 8, 8], True, TARGETS)
                with open(stem + ".c", encoding="utf-8") as file:
                    self.assertIn(piece, file.read())

    def test_weights_of_few_bits(self):
        """Rows of 27 and 5 weights, which begin within a byte, bit for bit."""
        npy.save_npz(self.path("calib.npz"), inputs=([((i * 37) % 200) / 100 - 1 for i in range(8 * 192)], [8, 3, 8, 8], "<f4"))
        for bits, digits in (("W4A8", "4"), ("W2A8", "2")):
            with self.subTest(bits=bits):
                net = ox.Net(7)
                x = "x"
                for _ in range(4):  # the first and the last keep 8 bits
                    x = net.op("Relu", net.conv(x, 3, 3))
                x = net.op("Flatten", net.op("GlobalAveragePool", net.conv(x, 3, 5)))
                for _ in range(3):
                    x = net.op("Gemm", x, net.weight([5, 5]), net.weight([5]), transB=1)
                model, q = self.write(f"{bits}.onnx", net.finish(x, [1, 3, 8, 8], [1, 5])), self.path(f"q{bits}.onnx")
                self.slipway("quantize", model, "--platform", "x86-int8", "--bits", bits, "--calib", self.path("calib.npz"), "-o", q, "-q")
                stem = self.check(q, [1, 3, 8, 8], True, TARGETS)
                with open(stem + ".c", encoding="utf-8") as file:
                    text = file.read()
                for call in (f"sw_qdense{digits}(&", f"sw_qlinear{digits}("):
                    self.assertIn(call, text)

    def test_conformance(self):
        """ONNX's own cases through C: some are refused, none is wrong."""
        if not os.path.isdir(CASES):
            self.skipTest("libonnx-testdata is not installed; scripts/setup dev")
        seed = random.SystemRandom().randrange(1 << 30)
        r = self.slipway("conformance", CASES, "--platform", "c", "--sample", str(SAMPLE), "--seed", str(seed), "--timeout", "600", "--json",
                         code=None, timeout=900)
        print(f"--seed {seed}: {r.json['passed']} passed, {r.json['failed']} failed, {r.json['unsupported']} unsupported")
        self.assertEqual(len(r.json["cases"]), SAMPLE)
        self.assertEqual({c["name"]: c["reason"] for c in r.json["cases"] if c["status"] == "failed" and c["name"] not in KNOWN}, {})
        self.assertGreater(r.json["passed"], SAMPLE * 0.7)

    def test_names_from_outside(self):
        """Names of files, inputs and nodes end neither a comment nor an identifier."""
        net = ox.Net(3)
        net.nodes.append(ox.node("Relu", ["memcpy"], ["sw_arena"], "*/ int evil; /*"))
        net.nodes.append(ox.node("Exp", ["sw_arena"], ["uint8_t"], "n"))
        net.nodes.append(ox.node("Neg", ["sw_arena"], ["double"], "m"))
        text = ox.model(net.nodes, [ox.value_info("memcpy", [1, 4])], [ox.value_info("uint8_t", [1, 4]), ox.value_info("double", [1, 4])])
        model = self.write("2 models-of*mine.onnx", text)
        stem = self.export(model)
        self.assertEqual(os.path.basename(stem), "m2_models_of_mine")
        raw = self.run_c(stem, [([0.0, -1.0, 0.0, -3.0], "<f4")])
        self.assertEqual(list(array.array("f", raw)), [1.0] * 4 + [0.0] * 4)

    def test_what_cannot_be_written(self):
        net = ox.Net(3)
        x = net.op("RandomNormalLike", "x")
        self.fails("export", self.write("a.onnx", net.finish(x, [1, 4], [1, 4])), "--to", "c", "-o", self.path("c"),
                   says=["RandomNormalLike", "randomnormallike1", "; change the model, or compile a package"])
        net = ox.Net(3)
        deep = [1, 2, 1, 2, 1, 2, 1, 2, 2]
        x = net.op("Transpose", "x", perm=[8, 7, 6, 5, 4, 3, 2, 1, 0])
        self.fails("export", self.write("d.onnx", net.finish(x, deep, deep[::-1])), "--to", "c", "-o", self.path("c"), says=["9 dimensions"])
        net = ox.Net(3)
        self.fails("export", self.write("e.onnx", net.finish(net.op("Relu", "x"), [0, 4], [0, 4])), "--to", "c", "-o", self.path("c"),
                   says=["no elements"])
        net = ox.Net(3)
        x = net.op("CumSum", "x", net.op("ArgMax", "x", axis=0, keepdims=0))
        self.fails("export", self.write("f.onnx", net.finish(x, [4], [4])), "--to", "c", "-o", self.path("c"),
                   says=["step 'cumsum2'", "CumSum", "axis that is no constant", "change the model"])
        net = ox.Net(3)
        self.fails("export", self.write("b.onnx", net.finish(net.op("Relu", "x"), ["N", "L"], ["N", "L"])), "--to", "c", "-o", self.path("c"),
                   says=["'L'", "--shape"])


class CSourceOfData(LabelledNet):
    def test_few_bits(self):
        """Weights of 4 and 2 bits share bytes: the file has fewer constants."""
        sizes = {}
        for bits in ("W8A8", "W4A8", "W2A8"):
            q, folder = self.path(bits + ".onnx"), self.path(bits)
            self.slipway("quantize", self.model, "--platform", "x86-int8", "--bits", bits, "--calib", self.data, "-o", q, "-q")
            self.slipway("export", q, "--to", "c", "-o", folder, "-q")
            with open(os.path.join(folder, bits + ".h"), encoding="utf-8") as file:
                sizes[bits] = int(re.search(r"(\d+) bytes of constants", file.read()).group(1))
        self.assertLess(sizes["W4A8"], sizes["W8A8"])
        self.assertLessEqual(sizes["W2A8"], sizes["W4A8"])


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
