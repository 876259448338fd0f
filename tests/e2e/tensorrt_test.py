#!/usr/bin/python3
"""The backend tensorrt on a test double of TensorRT and the CUDA runtime (tests/doubles/tensorrt; TensorRT itself and a GPU cannot be had here): what
it asks for, that it frees what it gets, what it keeps in files, and what it says when a library, a GPU or a call fails."""
import glob
import hashlib
import os
import shutil
import sys
import unittest

from harness import BINARY, ROOT, RUNNER, Case, main
import npy
import onnx_writer as ox

DATA = os.path.join(ROOT, "..", "shared", "data", "models")
FOLDER = os.path.join(os.path.dirname(os.path.abspath(BINARY)), "doubles", "tensorrt")
MODULE = os.path.join(FOLDER, "libslipway_tensorrt.so")
VERSION = "TensorRT 10.7.0.23"


@unittest.skipUnless(os.path.exists(MODULE), "built without the backend tensorrt (a static, sanitized or runtime-only build)")
class Tensorrt(Case):
    def setUp(self):
        super().setUp()
        self.environment["SLIPWAY_BACKENDS"] = FOLDER
        self.environment["SLIPWAY_TENSORRT_CACHE"] = self.path("engines")
        self.environment["TENSORRT_DOUBLE_REPORT"] = self.path("report")
        self.model, self.package = self.write("m.onnx", ox.tiny_cnn(seed=3)), self.path("m.slip")
        self.slipway("compile", self.model, "--platform", "x86-tensorrt", "-o", self.package)  # needs none of it

    def report(self):
        """The lines since the last call."""
        if not os.path.exists(self.path("report")):
            return []
        with open(self.path("report"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        os.remove(self.path("report"))
        return lines

    def refused(self, says, code=2, **environment):
        """The package does not run, and the message has every text."""
        before = dict(self.environment)
        self.environment.update(environment)
        message = self.fails("run", self.package, "--random", says=says, code=code)
        self.environment = before
        return message

    def engines(self):
        return sorted(glob.glob(self.path("engines", "*")))

    def run_batch(self, batch):
        values = [0.01 * ((i * 37) % 400) - 2 for i in range(batch * 64)]
        npy.save(self.path("x.npy"), values, [batch, 1, 8, 8])
        want = self.run_model(self.model, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want")
        self.agree(self.run_model(self.package, "--input", "x=" + self.path("x.npy"), label="got"), want, 1e-5, str(batch))

    def test_not_here(self):
        remedy = ["libnvinfer, libnvonnxparser and libcudart", "docs/tensorrt.md", "m.slip"]
        os.makedirs(self.path("empty"))
        self.refused(["the backend 'tensorrt' is not on this machine", self.path("empty", "libslipway_tensorrt.so"), "another platform", *remedy],
                     SLIPWAY_BACKENDS=self.path("empty"))
        # Built elsewhere, and TensorRT's own libraries are not here.
        shutil.copy(MODULE, self.path("empty"))
        self.refused(["the backend 'tensorrt' cannot be loaded", "libtensorrt_double.so: cannot open shared object file", *remedy],
                     SLIPWAY_BACKENDS=self.path("empty"))
        self.assertFalse(self.engines())

    def test_another_version(self):
        self.refused(["TensorRT 11.4.0.106 is here, but this backend was compiled for 10", "build Slipway"], TENSORRT_DOUBLE_VERSION="11.4.0.106")

    def test_no_gpu(self):
        self.refused(["TensorRT needs an NVIDIA GPU and its driver", "cudaGetDeviceCount (100): no CUDA-capable device is detected", "another platform"],
                     TENSORRT_DOUBLE_GPUS="")

    def test_which_gpu(self):
        self.environment["TENSORRT_DOUBLE_GPUS"] = "First GPU,Second GPU"
        self.slipway("verify", self.package, "--against", self.model)
        first = self.engines()
        self.environment["SLIPWAY_TENSORRT_DEVICE"] = "1"
        self.slipway("verify", self.package, "--against", self.model)  # the double ends the process where a thread runs on another GPU
        self.slipway("bench", self.package, "--threads", "2", "--no-record", "--json")
        second = [e for e in self.engines() if e not in first]
        self.assertTrue(first and second, "one engine for each kind of GPU")
        self.refused(["there is no GPU 2: CUDA finds 2", "SLIPWAY_TENSORRT_DEVICE"], SLIPWAY_TENSORRT_DEVICE="2")
        for value in ("GPU0", "-1", "1 ", "99999999999"):
            self.refused([f"SLIPWAY_TENSORRT_DEVICE is '{value}'", "number of a GPU"], SLIPWAY_TENSORRT_DEVICE=value)

    def test_calls_that_fail(self):
        calls = {"builder": "createInferBuilder", "network": "IBuilder::createNetworkV2", "config": "IBuilder::createBuilderConfig",
                 "parser": "nvonnxparser::createParser", "dimensions": "IOptimizationProfile::setDimensions of i0 1x1x8x8",
                 "profile": "IBuilderConfig::addOptimizationProfile", "build": "IBuilder::buildSerializedNetwork", "runtime": "createInferRuntime",
                 "deserialize": "IRuntime::deserializeCudaEngine", "context": "ICudaEngine::createExecutionContext",
                 "shape": "IExecutionContext::setInputShape of i0", "address": "IExecutionContext::setTensorAddress of i0",
                 "address@2": "IExecutionContext::setTensorAddress of o0", "enqueue": "IExecutionContext::enqueueV3",
                 "enqueue@2": "IExecutionContext::enqueueV3"}  # the run after that of the preparation
        for what, call in calls.items():
            # TensorRT's own words, on one line; its warnings and chatter are none.
            message = self.refused([f"{VERSION}: {call}: the double: asked to fail at " + what.split("@")[0], "step '"], TENSORRT_DOUBLE_FAIL=what)
            self.assertNotIn("warning of the double", message)
            self.assertNotIn("chatter", message)
            # All is freed, also then.
            self.assertEqual([line for line in self.report() if not line.startswith(("build", "deser"))], ["end"], what)
            shutil.rmtree(self.path("engines"), ignore_errors=True)
        self.refused([f"{VERSION}: nvonnxparser::IParser::parse (node 0): the double: asked to fail at parse"], TENSORRT_DOUBLE_FAIL="parse")

    def test_cuda_that_fails(self):
        calls = {"set_device": "cudaSetDevice (101): invalid device ordinal", "properties": "cudaGetDeviceProperties (101)",
                 "stream": "cudaStreamCreateWithFlags (2): out of memory", "malloc": "the memory of i0 (256 bytes): CUDA: cudaMalloc (2): out of memory",
                 "malloc@2": "the memory of o0 (16 bytes): CUDA: cudaMalloc (2)", "copy_in": "cudaMemcpyAsync (1): invalid argument",
                 "copy_out": "cudaMemcpyAsync (1)", "copy_out@2": "cudaMemcpyAsync (1)", "synchronize": "cudaStreamSynchronize (719): unspecified launch failure",
                 "synchronize@2": "cudaStreamSynchronize (719)"}
        for what, says in calls.items():
            self.refused(["CUDA: ", says], TENSORRT_DOUBLE_FAIL=what, code=3 if "(2)" in says else 2)
            made_nothing = what in ("set_device", "properties", "stream")
            self.assertEqual([line for line in self.report() if not line.startswith(("build", "deser"))], [] if made_nothing else ["end"], what)

    def test_engines_that_are_wrong(self):
        for what, says in {"type": "has built an engine whose i0 is no plain float32 on the GPU", "output_shape": "gives output 0 another shape",
                           "tensors": "has built an engine with 3 inputs and outputs instead of 2", "names": "has built an engine without input i0"}.items():
            self.refused([VERSION, says, "not made for that version", "another platform"], TENSORRT_DOUBLE_FAIL=what)
            self.assertEqual([line for line in self.report() if not line.startswith(("build", "deser"))], ["end"], what)

    def test_how_engines_are_built(self):
        self.run_batch(2)
        self.assertEqual(self.report(), ["build typed=1 tf32=0 i0*=2x1x8x8", "deserialized", "end"])
        # Extents that the model has settled need no profile.
        self.model = self.write("fixed.onnx", ox.tiny_cnn(seed=3, batch=2))
        self.slipway("compile", self.model, "--platform", "x86-tensorrt", "-o", self.package)
        self.run_batch(2)
        self.assertEqual(self.report(), ["build typed=1 tf32=0 i0=2x1x8x8", "deserialized", "end"])

    def test_engines_are_kept(self):
        def built():
            return sum(line.startswith("build") for line in self.report())

        for batch, new in ((1, 1), (1, 0), (3, 1), (1, 0), (3, 0)):
            self.run_batch(batch)
            self.assertEqual(built(), new, batch)
        self.assertEqual(len(self.engines()), 2)
        # Another version, another GPU, another network: others.
        for name, value in (("TENSORRT_DOUBLE_VERSION", "10.7.0.24"), ("TENSORRT_DOUBLE_GPUS", "Other GPU")):
            self.environment[name] = value
            self.run_batch(1)
            self.assertEqual(built(), 1, name)
            del self.environment[name]
        self.model = self.write("m.onnx", ox.tiny_cnn(seed=4))
        self.slipway("compile", self.model, "--platform", "x86-tensorrt", "-o", self.package)
        self.run_batch(1)
        self.assertEqual(built(), 1)
        self.assertEqual(len(self.engines()), 5)

    def test_kept_engines_that_are_damaged_are_built_again(self):
        self.run_batch(1)
        self.report()
        [engine] = self.engines()
        with open(engine, "rb") as file:
            good = file.read()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        for data in (bytes(bad), good[:-1], good[:40], good[:7], b"", b"another file"):
            self.write(engine, data)
            self.run_batch(1)
            self.assertEqual(self.report(), ["build typed=1 tf32=0 i0*=1x1x8x8", "deserialized", "end"])
            with open(engine, "rb") as file:
                self.assertEqual(file.read(), good)
        # Whole, but TensorRT does not take it: as after a change that the key does not see.
        plan = good[40:].replace(b"10.7.0.23", b"10.7.0.22", 1)
        self.write(engine, good[:8] + hashlib.sha256(plan).digest() + plan)
        self.run_batch(1)
        self.assertEqual(self.report(), ["build typed=1 tf32=0 i0*=1x1x8x8", "deserialized", "end"])
        with open(engine, "rb") as file:
            self.assertEqual(file.read(), good)
        self.assertEqual(self.engines(), [engine])

    def test_kept_nowhere(self):
        self.environment["SLIPWAY_TENSORRT_CACHE"] = "off"
        self.run_batch(1)
        self.run_batch(1)
        self.assertEqual(sum(line.startswith("build") for line in self.report()), 2)
        self.assertFalse(os.path.exists("off"))
        # A folder that cannot be made: a warning, and it runs.
        self.write("file", b"")
        self.environment["SLIPWAY_TENSORRT_CACHE"] = self.path("file", "engines")
        r = self.slipway("run", self.package, "--random")
        for word in ("an engine of TensorRT is not kept", self.path("file", "engines"), "SLIPWAY_TENSORRT_CACHE", "off"):
            self.assertIn(word, r.err)
        # Without the variable: beside the performance database.
        del self.environment["SLIPWAY_TENSORRT_CACHE"]
        self.environment["XDG_DATA_HOME"] = self.path("share")
        self.run_batch(1)
        self.assertEqual(len(glob.glob(self.path("share", "slipway", "tensorrt", "*.engine"))), 1)
        del self.environment["XDG_DATA_HOME"]
        self.environment["HOME"] = self.path("home")
        self.run_batch(1)
        self.assertEqual(len(glob.glob(self.path("home", ".local", "share", "slipway", "tensorrt", "*.engine"))), 1)

    def test_shapes_change(self):
        for batch in (1, 3, 2):
            self.run_batch(batch)
        self.slipway("bench", self.package, "--threads", "2", "--no-record", "--json")
        ran = self.call(RUNNER, self.package, "--shape", "x=2,1,8,8")  # the runtime's own command has it too
        self.assertEqual(ran.code, 0, str(ran))
        self.assertFalse([line for line in self.report() if line.startswith("alive")])

    def test_a_damaged_package_is_refused(self):
        with open(self.package, "rb") as file:
            data = bytearray(file.read())
        data[data.index(b"SLIPTR1") + 300] ^= 0x10
        self.package = self.write("bad.slip", bytes(data))
        self.refused("damaged")

    def test_real_models(self):
        if not os.path.isdir(DATA):
            self.skipTest("no ../shared/data")
        for name in ("resnet20_cifar10.onnx", "mobilenetv2_small_cifar10.onnx", "vit_small_cifar10.onnx"):
            model = os.path.join(DATA, name)
            r = self.slipway("compile", model, "--platform", "x86-tensorrt", "-o", self.package, "--json").json
            self.assertGreaterEqual(r["own_mac_share"], 0.99, r)
            self.slipway("verify", self.package, "--against", model)
            self.assertTrue(any(line.startswith("build") for line in self.report()))

    def test_platforms_say_that_it_never_ran(self):
        rows = {p["name"]: p for p in self.slipway("platforms", "--json").json["platforms"]}
        row = rows["x86-tensorrt"]
        self.assertEqual((row["run"], row["ran"]), ("planned", None))
        self.assertIn("never on TensorRT itself", row["planned"])
        self.assertIn("never run on TensorRT itself here", self.slipway("platforms").out)

    @unittest.skipUnless(os.path.isdir(FOLDER + "_cuda"), "built without CUDA's toolkit (12.8 or later)")
    def test_the_real_cuda_runtime(self):
        """Where there is a GPU all of on_gpu.py, else that the backend says so."""
        ran = self.call(sys.executable, "-B", os.path.join(ROOT, "tests", "doubles", "tensorrt", "on_gpu.py"), "--build", os.path.dirname(os.path.abspath(BINARY)))
        self.assertIn(ran.code, (0, 77), str(ran))
        self.assertIn("rows passed" if ran.code == 0 else "PASS without a GPU", ran.out)


if __name__ == "__main__":
    main()
