#!/usr/bin/python3
"""The same networks under every configuration: each backend forced, optimisation off, single passes off, threads. The
interpreter on the model as imported says what is right."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import BINARY, Case, ROOT, main  # noqa: E402
import onnx_writer as ox  # noqa: E402

SHARED = os.path.join(ROOT, "..", "shared", "data", "models")
PLATFORMS = ["reference", "x86-onednn", "x86"]
# Those behind libraries of their own, where this build has them.
PLATFORMS += ["x86-" + b for b in ("opencv", "xnnpack") if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(BINARY)), f"libslipway_{b}.so"))]


class Configs(Case):
    """Subclasses give model(), a path, or skip."""

    def check(self, label, compile_arguments, run_arguments=(), tolerance=1e-4):
        package = self.path("m.slip")
        self.slipway("compile", self.file, "-o", package, *compile_arguments)
        self.agree(self.run_model(package, "--random", *run_arguments), self.want, tolerance, label)

    def setUp(self):
        super().setUp()
        self.file = self.model()
        self.want = self.run_model(self.file, "--random", "--platform", "interpreter", label="want")

    def test_every_backend(self):
        for platform in PLATFORMS:
            with self.subTest(platform):
                self.check(platform, ["--platform", platform])

    def test_without_optimisation(self):
        for platform in PLATFORMS:
            with self.subTest(platform):
                self.check(platform + " --no-optimize", ["--platform", platform, "--no-optimize"])

    def test_threads(self):
        for platform in PLATFORMS:
            with self.subTest(platform):
                self.check(platform + " --threads 3", ["--platform", platform], ["--threads", "3"])

    def test_every_pass_switched_off(self):
        names = [p["name"] for p in self.slipway("optimize", self.file, "--level", "integer", "--json").json["passes"]]
        for name in sorted(set(names)):
            with self.subTest(name):
                self.check("without " + name, ["--platform", "x86", "--disable", name])


class Cnn(Configs):
    def model(self):
        return self.write("net.onnx", ox.tiny_cnn())


class Transformer(Configs):
    def model(self):
        return self.write("net.onnx", ox.tiny_transformer())


class Mixed(Configs):
    def model(self):
        return self.write("net.onnx", ox.tiny_mixed())


class Shared(Configs):
    name = ""

    def model(self):
        path = os.path.join(SHARED, self.name)
        if not os.path.exists(path):
            self.skipTest(f"../shared/data/models/{self.name} is not here")
        return path


class Resnet20(Shared):
    name = "resnet20_cifar10.onnx"


class MobilenetV2(Shared):
    name = "mobilenetv2_small_cifar10.onnx"


class VisionTransformer(Shared):
    name = "vit_small_cifar10.onnx"


class Fashion(Configs):
    def model(self):
        return os.path.join(ROOT, "examples", "fashion_mnist", "resnet_fashion.onnx")


del Configs, Shared  # unittest would collect them

if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
