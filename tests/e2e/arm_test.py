#!/usr/bin/python3
"""Integer networks on the arm64-* platforms: under qemu-user, on CPUs of each level of instructions, outputs are bit for bit
those of the plain loops on this machine. A kernel that a CPU cannot run would end in SIGILL there."""
import os
import shutil

from harness import Case, ROOT, main
import npy

DATA = os.path.join(ROOT, "..", "shared", "data")
RUNNER = os.path.join(ROOT, "build", "runtime-aarch64", "slipway-run")
PLATFORMS = ["int8", "w4a8", "w4a4", "w3a3", "w2a4", "w2a2"]
# qemu's CPU, and the features left to it: NEON alone, with SDOT, with SMMLA too.
LEVELS = [("cortex-a72", None), ("max", "neon,dotprod"), ("max", None)]


class Arm(Case):
    def setUp(self):
        super().setUp()
        self.emulator = shutil.which("qemu-aarch64")
        if not self.emulator:
            self.skipTest("qemu-aarch64 is not installed; scripts/setup core")
        if not os.path.exists(RUNNER):
            self.skipTest(f"{RUNNER} is not built; scripts/build runtime-aarch64")
        if not os.path.exists(os.path.join(DATA, "cifar10", "train.npz")):
            self.skipTest("the shared data is not here")
        os.makedirs(self.path("platforms"))
        for name in PLATFORMS:
            with open(os.path.join(ROOT, "platforms", f"arm64-{name}.yaml"), encoding="utf-8") as file:
                text = file.read()
            for old, new in ((f"name: arm64-{name}", f"name: loops-{name}"), ("arch: aarch64", f"arch: {os.uname().machine}"),
                             ("backends: [arm]\nfallback: [reference]", "backends: [reference]"),
                             ("device: qemu-aarch64\nemulated: true\n", "")):
                self.assertIn(old, text)
                text = text.replace(old, new)
            self.write(f"platforms/loops-{name}.yaml", text)
        self.environment["SLIPWAY_PLATFORMS"] = self.path("platforms")

    def exact(self, model, name, tolerance=0.0, data=("cifar10", "train.npz"), shape=(2, 3, 32, 32)):
        source = os.path.join(DATA, "models", model + ".onnx")
        quantized = self.path(f"{model}-{name}.onnx")
        self.slipway("quantize", source, "--platform", f"arm64-{name}", "--calib", os.path.join(DATA, *data),
                     "--samples", "16", "-o", quantized)
        graph = self.slipway("inspect", source, "--json").json["inputs"][0]
        count = shape[0] * shape[1] * shape[2] * shape[3]
        npy.save(self.path("x.npy"), [((i * 7919) % 2003) / 500 - 2 for i in range(count)], list(shape))
        given = ["--input", f"{graph['name']}={self.path('x.npy')}"]
        want = self.run_model(quantized, *given, "--platform", f"loops-{name}", label="want")
        compiled = self.slipway("compile", quantized, "--platform", f"arm64-{name}", "-o", self.path("m.slip"))
        share = [line for line in compiled.out.splitlines() if "own backends" in line]
        self.assertTrue(share and float(share[0].split(",")[1].split("%")[0]) > 99, compiled.out)
        for cpu, features in LEVELS:
            folder = self.path("device")
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            limit = ["env", f"SLIPWAY_CPU_FEATURES={features}"] if features else []
            done = self.call(*limit, self.emulator, "-L", "/usr/aarch64-linux-gnu", "-cpu", cpu, RUNNER, self.path("m.slip"), *given,
                             "--output-dir", folder)
            self.assertEqual(done.code, 0, str(done))
            got = self.outputs(folder)
            if tolerance:
                self.agree(got, want, tolerance, f"{model} {name} {cpu}")
            else:
                self.assertEqual(got, want, f"{model} {name} on {cpu} with {features or 'all'}")

    def test_resnet20(self):
        for name in PLATFORMS:
            with self.subTest(platform=name):
                self.exact("resnet20_cifar10", name)
        # The last package goes to its platform's device by itself.
        verified = self.slipway("verify", self.path("m.slip"), "--against", self.path(f"resnet20_cifar10-{name}.onnx"), "--runs", "1", "--json").json
        self.assertEqual(verified["platform"], f"arm64-{name}")
        self.assertGreater(verified["sqnr_db"] or 999, 30)

    def test_mobilenetv2(self):
        for name in ("int8", "w4a8", "w2a2"):
            with self.subTest(platform=name):
                self.exact("mobilenetv2_small_cifar10", name)

    def test_imagenet(self):
        for name in ("int8", "w4a4"):
            with self.subTest(platform=name):
                self.exact("mobilenet_v1_025_imagenet", name, data=("imagenet_sample",), shape=(1, 3, 224, 224))

    def test_vit(self):
        # Softmax and normalisation are float functions between the integers: a rounding may tip.
        for name in ("int8", "w4a8"):
            with self.subTest(platform=name):
                self.exact("vit_small_cifar10", name, 0.1)


if __name__ == "__main__":
    main()
