#!/usr/bin/python3
"""A package compiled here for another instruction set gives there, under qemu-user, what the host computes."""
import os
import shutil

from harness import BINARY, Case, ROOT, main
import npy
import onnx_writer as ox

MODELS = os.path.join(ROOT, "..", "shared", "data", "models")
# arch -> platform to compile for
ARCHES = {"aarch64": "arm64-generic", "riscv64": "reference"}


class Cross(Case):
    def on_device(self, arch, model, shape, package_platform, cpus=("max",)):
        runner = os.path.join(ROOT, "build", f"runtime-{arch}", "slipway-run")
        emulator = shutil.which(f"qemu-{arch}") or shutil.which(f"qemu-{arch}-static")
        if not os.path.exists(runner):
            self.skipTest(f"{runner} is not built; scripts/build runtime-{arch}")
        if not emulator:
            self.skipTest(f"qemu-{arch} is not installed; scripts/setup core")
        count = 1
        for d in shape:
            count *= d
        npy.save(self.path("x.npy"), [((i * 7919) % 2003) / 1000 - 1 for i in range(count)], shape)
        name = self.slipway("inspect", model, "--json").json["inputs"][0]["name"]
        self.slipway("compile", model, "--platform", package_platform, "-o", self.path("m.slip"))
        want = self.run_model(model, "--input", f"{name}={self.path('x.npy')}", "--platform", "interpreter", label="want")
        for cpu in cpus:
            folder = self.path(f"device-{cpu}")
            os.makedirs(folder)
            command = [emulator, "-L", f"/usr/{arch}-linux-gnu"] + (["-cpu", cpu] if cpu != "max" else []) + [
                runner, self.path("m.slip"), "--input", f"{name}={self.path('x.npy')}", "--output-dir", folder]
            done = self.call(*command)
            self.assertEqual(done.code, 0, str(done))
            self.agree(self.outputs(folder), want, 1e-5, f"{arch} {cpu}")

    def test_aarch64(self):
        self.on_device("aarch64", self.write("t.onnx", ox.tiny_cnn()), [2, 1, 8, 8], ARCHES["aarch64"])

    def test_aarch64_transformer(self):
        self.on_device("aarch64", self.write("t.onnx", ox.tiny_transformer()), [2, 6, 16], ARCHES["aarch64"])

    def shared(self, name):
        model = os.path.join(MODELS, name)
        if not os.path.exists(model):
            self.skipTest(f"the shared model {name} is not here")
        return model

    def test_aarch64_resnet20(self):
        self.on_device("aarch64", self.shared("resnet20_cifar10.onnx"), [1, 3, 32, 32], ARCHES["aarch64"])

    def test_aarch64_mobilenetv2(self):  # with both orders of the assembly: without SDOT and with it
        self.on_device("aarch64", self.shared("mobilenetv2_small_cifar10.onnx"), [1, 3, 32, 32], ARCHES["aarch64"], ("cortex-a53", "cortex-a76"))

    def test_riscv64(self):
        self.on_device("riscv64", self.write("t.onnx", ox.tiny_cnn()), [2, 1, 8, 8], ARCHES["riscv64"])

    def test_host_refuses_foreign_package(self):
        self.slipway("compile", self.write("t.onnx", ox.tiny_cnn()), "--platform", "arm64-generic", "-o", self.path("m.slip"))
        if os.uname().machine != "aarch64":
            self.fails("run", self.path("m.slip"), "--random", says=["m.slip", "aarch64"])


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
