#!/usr/bin/python3
"""Backends behind a vendor's library: whole models agree with the interpreter at several batches, results do not depend on threads, and a machine
without the library says so when a package is loaded."""
import glob
import os
import unittest

from harness import BINARY, ROOT, RUNNER, Case, main
import npy
import onnx_writer as ox

DATA = os.path.join(ROOT, "..", "shared", "data", "models")
MODELS = ["resnet20_cifar10.onnx", "mobilenetv2_small_cifar10.onnx", "mobilenet_v1_025_imagenet.onnx",
          "ultraface/version-RFB-320_simplified.onnx", "vit_small_cifar10.onnx"]
BACKENDS = ["opencv", "xnnpack", "onnxruntime", "openvino"]
# Nothing of ONNX Runtime is built in: its library is looked for when the first step needs it.
ORT = sorted(glob.glob(os.path.join(ROOT, ".cache", "ort", "node_modules", "onnxruntime-node", "bin", "*", "linux", "x64", "libonnxruntime.so.1")))
# Nor of OpenVINO, which cannot be had here: a test double, which runs networks by the interpreter (tests/doubles/openvino_c.cc).
OPENVINO = os.path.join(os.path.dirname(os.path.abspath(BINARY)), "doubles", "libopenvino_c_double.so")
# Share of the multiplications that the backend itself runs at least, where that is not 99 %.
LESS = {("opencv", "vit_small_cifar10.onnx"): 0.0}


def built(backend):
    if (backend == "onnxruntime" and not ORT) or (backend == "openvino" and not os.path.exists(OPENVINO)):
        return False
    return os.path.exists(os.path.join(os.path.dirname(os.path.abspath(BINARY)), f"libslipway_{backend}.so"))


class VendorBackends(Case):
    def setUp(self):
        super().setUp()
        if ORT:
            self.environment["SLIPWAY_ONNXRUNTIME"] = ORT[0]
        self.environment["SLIPWAY_OPENVINO"] = OPENVINO

    def backends(self):
        found = [b for b in BACKENDS if built(b)]
        if not found:
            self.skipTest("built without OpenCV's dnn and XNNPACK; scripts/setup backends")
        return found

    def test_small_network(self):
        model = self.write("m.onnx", ox.tiny_cnn(seed=3))
        for backend in self.backends():
            platform, package = "x86-" + backend, self.path(backend + ".slip")
            r = self.slipway("compile", model, "--platform", platform, "-o", package, "--json").json
            self.assertGreaterEqual(r["own_mac_share"], 0.99, r)
            self.slipway("verify", package, "--against", model)
            values = [0.01 * ((i * 37) % 400) - 2 for i in range(5 * 64)]
            npy.save(self.path("x.npy"), values, [5, 1, 8, 8])
            want = self.run_model(model, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want")
            got = self.run_model(package, "--input", "x=" + self.path("x.npy"), label="one")
            self.agree(got, want, 1e-5, backend)
            self.assertEqual(self.run_model(model, "--input", "x=" + self.path("x.npy"), "--platform", platform, label="again"), got)
            for threads in ("1", "2"):  # same sums, whoever makes them
                self.slipway("bench", package, "--threads", threads, "--no-record", "--json")
            # The runtime's own command has it too.
            ran = self.call(RUNNER, package, "--shape", "x=2,1,8,8")
            self.assertEqual(ran.code, 0, str(ran))

    def test_an_image_and_rows_with_an_open_batch(self):
        net = ox.Net(5)
        a = net.op("Flatten", net.op("GlobalAveragePool", net.op("Relu", net.conv("x", 1, 8))))
        b = net.op("Relu", net.op("Gemm", "z", net.weight([8, 6]), net.weight([8]), transB=1))
        both = net.op("Concat", net.op("Add", a, b), b, axis=1)
        net.nodes.append(ox.node("Gemm", [both, net.weight([4, 16]), net.weight([4])], ["y"], "last", transB=1))
        model = self.write("two.onnx", ox.model(net.nodes, [ox.value_info("x", ["N", 1, 8, 8]), ox.value_info("z", ["N", 6])],
                                                [ox.value_info("y", ["N", 4])], net.initializers))
        npy.save(self.path("x.npy"), [0.01 * ((i * 37) % 400) - 2 for i in range(3 * 64)], [3, 1, 8, 8])
        npy.save(self.path("z.npy"), [0.1 * ((i * 7) % 11) - 0.5 for i in range(18)], [3, 6])
        given = ["--input", "x=" + self.path("x.npy"), "--input", "z=" + self.path("z.npy")]
        want = self.run_model(model, *given, "--platform", "interpreter", label="want")
        for backend in self.backends():
            with self.subTest(backend=backend):
                package = self.path(backend + "2.slip")
                r = self.slipway("compile", model, "--platform", "x86-" + backend, "-o", package, "--json").json
                self.assertGreaterEqual(r["own_mac_share"], 0.99, r)
                self.agree(self.run_model(package, *given, label=backend), want, 1e-5, backend)

    def test_a_machine_without_it_says_so(self):
        model = self.write("m.onnx", ox.tiny_cnn(seed=3))
        for backend in self.backends():
            package = self.path(backend + ".slip")
            self.slipway("compile", model, "--platform", "x86-" + backend, "-o", package)
            os.makedirs(self.path("empty"), exist_ok=True)
            self.environment["SLIPWAY_BACKENDS"] = self.path("empty")
            r = self.slipway("run", package, "--random", code=None)
            self.assertNotEqual(r.code, 0)
            for word in (f"the backend '{backend}' is not on this machine", f"libslipway_{backend}.so", "SLIPWAY_BACKENDS"):
                self.assertIn(word, r.err)
            # A library that cannot be loaded is named with the reason.
            self.write(f"empty/libslipway_{backend}.so", b"no library")
            r = self.slipway("run", package, "--random", code=None)
            self.assertIn(f"the backend '{backend}' cannot be loaded", r.err)
            del self.environment["SLIPWAY_BACKENDS"]

    def test_no_onnxruntime(self):
        if not built("onnxruntime"):
            self.skipTest("skipped: no ONNX Runtime; scripts/setup dev")
        model, package = self.write("m.onnx", ox.tiny_cnn(seed=3)), self.path("m.slip")
        self.slipway("compile", model, "--platform", "x86-onnxruntime", "-o", package)  # needs none of it
        for file, says in ((self.path("gone.so"), "gone.so"), (self.write("text.so", b"no library"), "text.so"), (self.environment["SLIPWAY_ONNXRUNTIME"], None)):
            self.environment["SLIPWAY_ONNXRUNTIME"] = file
            r = self.slipway("run", package, "--random", code=None)
            if says is None:
                self.assertEqual(r.code, 0, r)
                continue
            self.assertEqual(r.code, 2, r)
            for word in ("ONNX Runtime is not on this machine", says, "SLIPWAY_ONNXRUNTIME", "m.slip"):
                self.assertIn(word, r.err)
        # A library that is another one.
        other = os.path.join(os.path.dirname(os.path.abspath(BINARY)), "libslipway_onnxruntime.so")
        self.environment["SLIPWAY_ONNXRUNTIME"] = other
        r = self.slipway("run", package, "--random", code=None)
        self.assertIn("is no ONNX Runtime", r.err)

    def test_onnxruntime_providers(self):
        """npm's library has no provider that works here: the error path, and with it that the functions are where we take them from."""
        if not built("onnxruntime"):
            self.skipTest("skipped: no ONNX Runtime; scripts/setup dev")
        model, package = self.write("m.onnx", ox.tiny_cnn(seed=3)), self.path("m.slip")
        self.slipway("compile", model, "--platform", "x86-onnxruntime", "-o", package)

        def refused(providers, *says):
            self.environment["SLIPWAY_ONNXRUNTIME_PROVIDERS"] = providers
            self.fails("run", package, "--random", says=["SLIPWAY_ONNXRUNTIME_PROVIDERS", *says])

        for name, file in (("TensorRT", "libonnxruntime_providers_tensorrt.so"), ("CUDA", "libonnxruntime_providers_cuda.so")):
            # Without options and with one: the calls that make, set, append and free them.
            for options in ("", ":device_id=0", ":no_such_option=1"):
                refused(name + options, f"the provider {name} ", "libonnxruntime_providers_shared.so", file, "CPUExecutionProvider")
            refused("CPU," + name + ",OpenVINO", f"the provider {name} ")
        refused("OpenVINO:device_type=CPU", "the provider OpenVINO ", "CPUExecutionProvider", "OpenVINO execution provider is not supported in this build")
        refused("Nonsense", "the provider Nonsense ", "Unknown provider name")
        for list_, says in ((",CUDA", "without a name"), ("CUDA:x", "'x' is no KEY=VALUE"), ("CUDA:=1", "'=1' is no KEY=VALUE"), ("CUDA:a=1;", "'' is no KEY=VALUE")):
            refused(list_, says, "is to be as in")
        for list_ in ("", "CPU"):
            self.environment["SLIPWAY_ONNXRUNTIME_PROVIDERS"] = list_
            self.slipway("verify", package, "--against", model)

    def test_a_damaged_package_is_refused(self):
        model = self.write("m.onnx", ox.tiny_cnn(seed=3))
        for backend in self.backends():
            package = self.path(backend + ".slip")
            self.slipway("compile", model, "--platform", "x86-" + backend, "-o", package)
            with open(package, "rb") as file:
                data = bytearray(file.read())
            # In what goes to OpenCV, ONNX Runtime and OpenVINO, which look for themselves; in a step, which the package's hash covers.
            mark = {"opencv": b"SLIPCV", "onnxruntime": b"SLIPORT", "openvino": b"SLIPOV"}.get(backend)
            data[data.index(mark) + 300 if mark else data.index(b"Conv")] ^= 0x10
            r = self.slipway("run", self.write("bad.slip", bytes(data)), "--random", code=None)
            self.assertNotEqual(r.code, 0)
            self.assertIn("damaged", r.err)

    def test_real_models(self):
        if not os.path.isdir(DATA):
            self.skipTest("no ../shared/data")
        for backend in self.backends():
            for name in MODELS:
                with self.subTest(backend=backend, model=name):
                    model, package = os.path.join(DATA, name), self.path("m.slip")
                    r = self.slipway("compile", model, "--platform", "x86-" + backend, "-o", package, "--json").json
                    self.assertGreaterEqual(r["own_mac_share"], LESS.get((backend, name), 0.99), r)
                    self.slipway("verify", package, "--against", model)


if __name__ == "__main__":
    main()
