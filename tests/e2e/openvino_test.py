#!/usr/bin/python3
"""The backend openvino on a test double of OpenVINO's C interface (tests/doubles/openvino_c.cc; OpenVINO itself cannot be had here): what it asks
for, that it frees what it gets, and what it says when the library is absent, another, too old, lacks a function or fails."""
import os
import unittest

from harness import BINARY, Case, main
import npy
import onnx_writer as ox

DOUBLES = os.path.join(os.path.dirname(os.path.abspath(BINARY)), "doubles")
DOUBLE = os.path.join(DOUBLES, "libopenvino_c_double.so")
LACKING = os.path.join(DOUBLES, "libopenvino_c_lacking.so")


@unittest.skipUnless(os.path.exists(DOUBLE), "built without the backend openvino (a static, sanitized or runtime-only build)")
class Openvino(Case):
    def setUp(self):
        super().setUp()
        self.environment["SLIPWAY_OPENVINO"] = DOUBLE
        self.model, self.package = self.write("m.onnx", ox.tiny_cnn(seed=3)), self.path("m.slip")
        self.slipway("compile", self.model, "--platform", "x86-openvino", "-o", self.package)  # needs none of it

    def report(self):
        with open(self.path("report"), encoding="utf-8") as file:
            return file.read().splitlines()

    def refused(self, says, **environment):
        """The package does not run, and the message has every text."""
        before = dict(self.environment)
        self.environment.update(environment)
        message = self.fails("run", self.package, "--random", says=says)
        self.environment = before
        return message

    def test_not_here(self):
        for file in (self.path("gone.so"), self.write("text.so", b"no library")):
            self.refused(["OpenVINO is not on this machine", file, "SLIPWAY_OPENVINO", "docs/openvino.md", "another platform", "m.slip"],
                         SLIPWAY_OPENVINO=file)
        del self.environment["SLIPWAY_OPENVINO"]  # then the system's, which has none
        self.refused(["OpenVINO is not on this machine", "libopenvino_c.so"])

    def test_another_library(self):
        other = os.path.join(os.path.dirname(os.path.abspath(BINARY)), "libslipway_openvino.so")
        self.refused([other + " is no OpenVINO", "ov_get_openvino_version", "libopenvino_c.so"], SLIPWAY_OPENVINO=other)

    def test_old(self):
        for version in ("2022.3.1-9227-double", "2023.1.0-12185-double"):
            self.refused([f"OpenVINO {version} is too old", "2023.2 or later"], OPENVINO_DOUBLE_VERSION=version)
        for version in ("2023.2.0-13089-double", "2026.4.0-double", "custom_branch_0123abc"):
            self.environment["OPENVINO_DOUBLE_VERSION"] = version
            self.slipway("verify", self.package, "--against", self.model)

    def test_a_function_is_missing(self):
        self.refused(["OpenVINO 2026.9.0-lacking", LACKING, "has no ov_", "2023.2 or later"], SLIPWAY_OPENVINO=LACKING)

    def test_calls_that_fail(self):
        calls = {"core": "ov_core_create", "read": "ov_core_read_model_from_memory_buffer", "reshape": "ov_model_reshape",
                 "compile": "ov_core_compile_model", "request": "ov_compiled_model_create_infer_request",
                 "input": "ov_infer_request_set_input_tensor_by_index", "infer": "ov_infer_request_infer",
                 "output": "ov_infer_request_get_output_tensor_by_index"}
        for what, function in calls.items():
            # The library's own words, on one line.
            self.refused(["OpenVINO 2025.4.0-double", function, "Exception from the double: asked to fail at " + what, "step '"],
                         OPENVINO_DOUBLE_FAIL=what)

    def test_answers_that_are_wrong(self):
        self.refused(["gives output 0 another shape or type", "another platform"], OPENVINO_DOUBLE_FAIL="shape")
        self.refused("gives output 0 20 bytes instead of 16", OPENVINO_DOUBLE_FAIL="bytes")
        self.refused("takes the inputs for no float32 tensors", OPENVINO_DOUBLE_FAIL="type")

    def test_what_fails_is_freed(self):
        for what in ("read", "reshape", "compile", "request", "input", "infer", "output", "shape", "bytes", "type"):
            if os.path.exists(self.path("report")):
                os.remove(self.path("report"))
            self.refused("", OPENVINO_DOUBLE_FAIL=what, OPENVINO_DOUBLE_REPORT=self.path("report"))
            # The core lives as long as the process.
            self.assertEqual([line for line in self.report() if not line.startswith("compile ")], ["alive core 1", "end"], what)

    def test_devices(self):
        self.environment["OPENVINO_DOUBLE_REPORT"] = self.path("report")
        self.environment["OPENVINO_DOUBLE_DEVICES"] = "CPU,GPU.0,NPU"
        self.slipway("bench", self.package, "--threads", "2", "--no-record", "--json")
        for device in ("GPU.0", "NPU", "AUTO:GPU.0,CPU"):
            self.environment["SLIPWAY_OPENVINO_DEVICE"] = device
            self.slipway("verify", self.package, "--against", self.model)
        compiled = {line for line in self.report() if line.startswith("compile ")}
        self.assertEqual(compiled, {"compile CPU INFERENCE_NUM_THREADS=2 NUM_STREAMS=1 INFERENCE_PRECISION_HINT=f32",
                                    "compile GPU.0 EXECUTION_MODE_HINT=ACCURACY", "compile NPU EXECUTION_MODE_HINT=ACCURACY",
                                    "compile AUTO:GPU.0,CPU EXECUTION_MODE_HINT=ACCURACY"})
        self.assertNotIn("alive tensor", " ".join(self.report()))
        self.refused(["device GPU.7 (here are: CPU, GPU.0, NPU; SLIPWAY_OPENVINO_DEVICE chooses)", "is not registered"], SLIPWAY_OPENVINO_DEVICE="GPU.7")
        self.refused(["SLIPWAY_OPENVINO_DEVICE is 'G PU'", "named as in CPU"], SLIPWAY_OPENVINO_DEVICE="G PU")

    def test_shapes_change_within_a_session_and_between(self):
        for batch in (1, 3, 2):
            values = [0.01 * ((i * 37) % 400) - 2 for i in range(batch * 64)]
            npy.save(self.path("x.npy"), values, [batch, 1, 8, 8])
            want = self.run_model(self.model, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want")
            self.agree(self.run_model(self.package, "--input", "x=" + self.path("x.npy"), label="got"), want, 1e-5, str(batch))

    def test_platforms_say_that_it_never_ran(self):
        rows = {p["name"]: p for p in self.slipway("platforms", "--json").json["platforms"]}
        row = rows["x86-openvino"]
        self.assertEqual((row["run"], row["ran"]), ("planned", None))
        self.assertIn("never on OpenVINO itself", row["planned"])
        self.assertIn("never run on OpenVINO itself here", self.slipway("platforms").out)


if __name__ == "__main__":
    main()
