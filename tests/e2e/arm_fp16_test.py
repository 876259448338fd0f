#!/usr/bin/python3
"""Whole networks on arm64-fp16 under qemu-user against the float32 interpreter: with FEAT_FP16 (sums in float16, 64 products at a
time) and on a CPU without (all in float32), where an instruction of FP16 would end in SIGILL."""
import os
import random
import shutil
import time

from harness import Case, ROOT, main
import npy
import onnx_writer as ox

DATA = os.path.join(ROOT, "..", "shared", "data")
RUNNER = os.path.join(ROOT, "build", "runtime-aarch64", "slipway-run")
# qemu's CPU and the features left to it. The first two have FP16.
LEVELS = [("cortex-a76", None), ("max", None), ("cortex-a72", None), ("cortex-a53", None), ("max", "neon,dotprod")]


def random_network(seed):
    """A small network of convolutions of all kinds, pooling, residuals and linear layers: (ONNX bytes, input shape)."""
    r = random.Random(seed)
    net = ox.Net(seed)
    channels, height, width = r.randint(1, 20), r.randint(5, 14), r.randint(5, 14)
    shape, x = [r.randint(1, 2), channels, height, width], "x"
    for _ in range(r.randint(2, 5)):
        kind = r.random()
        if kind < 0.25 and min(height, width) >= 4:
            x = net.op(r.choice(["MaxPool", "AveragePool"]), x, kernel_shape=[2, 2], strides=[2, 2])
            height, width = height // 2, width // 2
            continue
        if kind < 0.5:
            group = outs = channels
        else:
            group = r.choice([g for g in (1, 1, 2, 4) if channels % g == 0])
            outs = group * r.choice([1, 3, 4, 8, 11, 16])
        k, stride, dilation = r.choice([1, 3, 3, 5]), r.choice([1, 1, 2]), r.choice([1, 1, 1, 2])
        span = (k - 1) * dilation + 1
        pads = [r.randint(0, span // 2 + 1) for _ in range(4)]
        high, wide = height + pads[0] + pads[2] - span, width + pads[1] + pads[3] - span
        if high < 0 or wide < 0:
            continue
        before, same = x, outs == channels and pads == [k // 2] * 4 and stride == dilation == 1 and k % 2
        inputs = [x, net.weight([outs, channels // group, k, k])] + ([net.weight([outs], 0.1)] if r.random() < 0.7 else [])
        x = net.op("Conv", *inputs, kernel_shape=[k, k], strides=[stride, stride], dilations=[dilation, dilation], pads=pads, group=group)
        height, width, channels = high // stride + 1, wide // stride + 1, outs
        if same:
            x = net.op("Add", x, before)
        activation = r.choice(["Relu", "LeakyRelu", "HardSwish", "Sigmoid", "Tanh", "Clip", ""])
        if activation == "Clip":
            x = net.op("Clip", x, net.weight([], values=[-0.5]), net.weight([], values=[6.0]))
        elif activation:
            x = net.op(activation, x)
    x = net.op("Flatten", net.op("GlobalAveragePool", x) if r.random() < 0.5 else x, axis=1)
    count = channels if b"GlobalAveragePool" in net.nodes[-2] else channels * height * width
    outs = r.randint(1, 40)
    x = net.op("MatMul", x, net.weight([count, outs], count ** -0.5))
    if r.random() < 0.5:
        x = net.op("Softmax", x, axis=-1)
    return net.finish(x, shape, [shape[0], outs], opset=17), shape


class ArmFp16(Case):
    def setUp(self):
        super().setUp()
        self.emulator = shutil.which("qemu-aarch64")
        if not self.emulator:
            self.skipTest("qemu-aarch64 is not installed; scripts/setup core")
        if not os.path.exists(RUNNER):
            self.skipTest(f"{RUNNER} is not built; scripts/build runtime-aarch64")

    def device(self, cpu, features, package, *given, code=0):
        folder = self.path("device")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        limit = ["env", f"SLIPWAY_CPU_FEATURES={features}"] if features else []
        done = self.call(*limit, self.emulator, "-L", "/usr/aarch64-linux-gnu", "-cpu", cpu, RUNNER, package, *given,
                         "--output-dir", folder)
        self.assertEqual(done.code, code, str(done))
        return self.outputs(folder)

    def near(self, model, tolerance, fallback, shape=(2, 3, 32, 32), levels=LEVELS):
        """Within `tolerance` of an output's range with FP16 and within `fallback` without; the same best class."""
        source = os.path.join(DATA, "models", model + ".onnx")
        if not os.path.exists(source):
            self.skipTest("the shared data is not here")
        graph = self.slipway("inspect", source, "--json").json["inputs"][0]
        count = shape[0] * shape[1] * shape[2] * shape[3]
        npy.save(self.path("x.npy"), [((i * 7919) % 2003) / 500 - 2 for i in range(count)], list(shape))
        given = ["--input", f"{graph['name']}={self.path('x.npy')}"]
        want = self.run_model(source, *given, label="want")
        package = self.path("m.slip")
        compiled = self.slipway("compile", source, "--platform", "arm64-fp16", "-o", package)
        share = [line for line in compiled.out.splitlines() if "own backends" in line]
        self.assertTrue(share and float(share[0].split(",")[1].split("%")[0]) > 99, compiled.out)
        results = []
        for cpu, features in levels:
            got = self.device(cpu, features, package, *given)
            label = f"{model} on {cpu} with {features or 'all'}"
            results.append(got)
            for name, (values, _) in want.items():
                print(f"{label}: {max(abs(a - b) for a, b in zip(values, got[name][0])) / (max(values) - min(values)):.2e} of the range")
            self.agree(got, want, tolerance if len(results) <= 2 else fallback, label)
            for name, (values, dims) in want.items():
                for row in range(dims[0]):
                    each = len(values) // dims[0]
                    best = [max(range(each), key=lambda i: v[row * each + i]) for v in (values, got[name][0])]
                    self.assertEqual(best[0], best[1], f"{label}: best class of row {row}")
        # CPUs of a kind agree bit for bit; the two kinds do not, or one of them was never chosen.
        self.assertEqual(results[0], results[1], "two CPUs with FP16")
        for other in results[3:]:
            self.assertEqual(results[2], other, "two CPUs without FP16")
        self.assertNotEqual(results[0], results[2], "with FP16 and without")

    def test_resnet20(self):
        self.near("resnet20_cifar10", 1e-3, 6e-4)

    def test_mobilenetv2(self):
        self.near("mobilenetv2_small_cifar10", 2e-3, 1e-3)

    def test_imagenet(self):
        self.near("mobilenet_v1_025_imagenet", 4e-3, 4e-3, shape=(1, 3, 224, 224))

    def test_vit(self):
        self.near("vit_small_cifar10", 1.5e-3, 1.5e-3)

    def test_random_networks(self):
        fixed = os.environ.get("SLIPWAY_TEST_SEED")
        seed, end, count, worst = int(fixed or random.randrange(1 << 30)), time.time() + 20, 0, 0.0
        print(f"seed {seed}")
        while time.time() < end:
            content, shape = random_network(seed)
            model = self.write("m.onnx", content)
            values = random.Random(seed)
            npy.save(self.path("x.npy"), [values.uniform(-1, 1) for _ in range(shape[0] * shape[1] * shape[2] * shape[3])], shape)
            given = ["--input", "x=" + self.path("x.npy")]
            want = self.run_model(model, *given, label="want")
            compiled = self.slipway("compile", model, "--platform", "arm64-fp16", "-o", self.path("m.slip"))
            self.assertIn("100.0 % of MACs", compiled.out, f"SLIPWAY_TEST_SEED={seed}")
            for cpu in ("cortex-a76", "cortex-a72"):
                got = self.device(cpu, None, self.path("m.slip"), *given)
                for name, (wanted, dims) in want.items():
                    self.assertEqual(got[name][1], dims, f"SLIPWAY_TEST_SEED={seed}")
                    extent = max(max(abs(v) for v in wanted), 1e-3)
                    off = max(abs(a - b) for a, b in zip(got[name][0], wanted)) / extent
                    worst = max(worst, off)
                    self.assertLessEqual(off, 0.02, f"SLIPWAY_TEST_SEED={seed} on {cpu}")
            count, seed = count + 1, seed + 1
            if fixed:
                break
        print(f"{count} networks, at most {worst:.1e} of the largest number off")
        self.assertGreater(count, 0)

    def test_overflow(self):
        # 300 products of 300 * 1: 90000 has no float16, on any CPU; 30000 * 150 - 30000 * 149 - 29984 has, though not on the way.
        model = self.write("m.onnx", ox.model([ox.node("MatMul", ["x", "w"], ["y"])], [ox.value_info("x", [2, 300])],
                                              [ox.value_info("y", [2, 3])], [ox.tensor("w", [300, 3], [1.0] * 900)]))
        npy.save(self.path("x.npy"), [300.0] * 300 + [30000.0] * 150 + [-30000.0] * 149 + [-29984.0], [2, 300])
        package = self.path("m.slip")
        self.slipway("compile", model, "--platform", "arm64-fp16", "-o", package)
        for cpu, features in LEVELS:
            got = self.device(cpu, features, package, "--input", "x=" + self.path("x.npy"))
            values = got["y"][0]
            self.assertEqual([float(v) for v in values[:3]], [float("inf")] * 3, cpu)
            for v in values[3:]:
                self.assertLessEqual(abs(v - 16), 0, cpu)

    def test_refused_elsewhere(self):
        self.write("x.yaml", "name: x-fp16\narch: x86_64\nbackends: [x86]\nopenness: L2\nprecision: float16\n")
        model = self.write("m.onnx", ox.tiny_cnn())
        self.fails("compile", model, "--platform", self.path("x.yaml"), "-o", self.path("m.slip"),
                   says=["float16", "aarch64", "bfloat16"])


if __name__ == "__main__":
    main()
