#!/usr/bin/python3
"""`slipway conformance` for those who write a plugin: what of examples/backend-plugin ran where, by ONNX's cases, by models against the interpreter and by
random shapes; and that it finds a plugin which rounds wrongly, crashes, or refuses in the run what it took when compiling."""
import os
import shutil

from harness import main
import npy
import plugin_test

CASES = "/usr/share/libonnx-testdata/data"
# The example with faults that the environment switches on.
FAULTS = (("    const int64_t place = b->place[i];\n    b->write[i]",
           "    if (const char* fault = std::getenv(\"ACME\")) {\n      if (std::string(fault) == \"crash\" && p.layers[i].kind != kConv) std::abort();\n"
           "      while (std::string(fault) == \"hang\" && p.layers[i].kind == kLinear && std::getenv(\"ACME\")) {\n      }\n"
           "      if (std::string(fault) == \"refuse\") return Fail(error, SLIPWAY_UNSUPPORTED, \"not on a Friday\");\n    }\n"
           "    const int64_t place = b->place[i];\n    b->write[i]"),
          ("std::nearbyint(static_cast<double>(v))", "(std::getenv(\"ACME\") && std::string(std::getenv(\"ACME\")) == \"floor\" "
           "? std::floor(static_cast<double>(v)) : std::nearbyint(static_cast<double>(v)))"),
          ("const slipway_execution* execution, slipway_error*) {\n  auto* b", "const slipway_execution* execution, slipway_error* error) {\n  (void)error;\n  auto* b"))


class Conformance(plugin_test.Built):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if getattr(Conformance, "faulty", None):
            return
        source = os.path.join(plugin_test.Built.place, "faulty")
        shutil.copytree(os.path.join(plugin_test.ROOT, "examples", "backend-plugin"), source, ignore=shutil.ignore_patterns("build"))
        path = os.path.join(source, "backend.cc")
        text = plugin_test.read(path).decode()
        for before, after in FAULTS:
            if text.count(before) != 1:
                raise AssertionError(f"examples/backend-plugin/backend.cc has not one '{before}'")
            text = text.replace(before, after)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("#include <cmath>\n", "#include <cmath>\n#include <cstdlib>\n#include <string>\n"))
        plugin_test.build(os.path.join(plugin_test.Built.place, "prefix"), source, os.path.join(source, "build"))
        Conformance.faulty = os.path.join(source, "build", "npu-demo.yaml")

    def setUp(self):
        super().setUp()
        self.model = self.write("acme.onnx", plugin_test.acme_cnn())
        values = [((i * 7919) % 2003) / 500 - 2 for i in range(40 * 144)]
        npy.save_npz(self.path("data.npz"), inputs=(values, [40, 1, 12, 12], "<f4"), labels=([0] * 40, [40], "<i8"))
        self.q = self.path("q.onnx")
        self.slipway("quantize", self.model, "--platform", self.npu_platform, "--calib", self.path("data.npz"), "-o", self.q)

    def families(self, report):
        return {f["family"]: f for f in report["random"]["families"]}

    def test_random_shapes(self):
        report = self.slipway("conformance", "--plugin", self.npu, "--random-ms", "60", "--json").json
        families = self.families(report)
        self.assertEqual(sorted({f["backend"] for f in families.values()}), ["npu"])
        self.assertGreater(len(families), 50)
        for name in ("QConv", "QLinear"):
            self.assertGreater(families[name]["taken"], 0, name)
            self.assertGreater(families[name]["runs"], families[name]["taken"])
            self.assertEqual(list(families[name]["kernels"]), ["npu:mac"])
        self.assertEqual((families["Conv"]["taken"], families["Conv"]["declined"]), (0, ["the NPU has no such operator"]))
        self.assertEqual(report["random"]["wrong"], 0)
        text = self.slipway("conformance", "--platform", self.npu_platform, "--random-ms", "20", "--seed", "11", "--filter", "QLin").out
        for word in ("npu QLinear", "npu:mac", "--seed 11", "0 wrong"):
            self.assertIn(word, text)

    def test_installed(self):
        """Where neither the sources nor the build are in reach."""
        done = self.call("cmake", "--install", plugin_test.BUILD, "--component", "tools", "--prefix", self.path("installed"))
        self.assertEqual(done.code, 0, str(done))
        self.environment.pop("SLIPWAY_PLATFORMS", None)
        done = self.call(self.path("installed", "bin", "slipway"), "conformance", "--platform", self.npu_platform, "--model", self.q, "--random-ms", "10", "--json")
        self.assertEqual(done.code, 0, str(done))
        self.assertGreater(done.json["plugins"]["plugin_nodes"], 3)
        self.assertIn("x86-int8", self.call(self.path("installed", "bin", "slipway"), "platforms").out)

    def test_models_and_cases(self):
        where = self.slipway("compile", self.q, "--platform", self.npu_platform, "-o", self.path("m.slip"), "--json").json
        command = ["conformance", "--platform", self.npu_platform, "--model", self.q, "--no-random"]
        report = self.slipway(*command, "--json").json
        self.assertEqual((report["passed"], report["failed"]), (1, 0))
        plugins = report["plugins"]
        self.assertEqual((plugins["backends"], plugins["cases"], plugins["right"], plugins["wrong"]), (["npu"], 1, 1, 0))
        self.assertEqual(plugins["plugin_nodes"], sum(n["backend"] == "npu" for n in where["nodes"]))
        self.assertAlmostEqual(plugins["plugin_macs"] / plugins["macs"], where["own_mac_share"], delta=1e-6)
        ops = {o["op"]: o for o in plugins["operators"]}
        self.assertEqual((ops["acme.GridMaxPool"]["plugin_nodes"], list(ops["acme.GridMaxPool"]["kernels"])), (1, ["npu:pool"]))
        self.assertIn("npu: group 8", ops["slipway.QConv"]["declined"])
        text = self.slipway(*command).out
        for word in ("slipway.QConv", "npu:mac", "npu: group 8", "0 cases other than the interpreter"):
            self.assertIn(word, text)
        if os.path.isdir(CASES):
            # A fault of a case is none of the plugin's; and it is said when nothing was tested.
            report = self.slipway(*command, CASES, "--filter", "cast_FLOAT_to_BFLOAT16", "--json").json
            self.assertEqual((report["passed"], report["failed"], report["plugins"]["as_interpreter"]), (1, 1, 1))
            self.fails("conformance", CASES, "--platform", self.npu_platform, "--no-random", "--filter", "node/test_relu", code=4, says="nothing was tested")
            self.fails("conformance", CASES, "--plugin", self.npu, says=["'npu'", "--platform"])
        self.fails("conformance", says=["--model", "--plugin"])
        self.fails("conformance", "--plugin", self.npu, "--no-random", says="nothing to test")
        self.fails(*command[:3], "--model", self.path("none.onnx"), says="none.onnx")

    def test_a_plugin_that_rounds_down(self):
        command = ["conformance", "--platform", self.faulty, "--model", self.q, "--random-ms", "60", "--json"]
        self.slipway(*command)  # the fault is off
        self.environment["ACME"] = "floor"
        report = self.slipway(*command, code=4).json
        self.assertEqual(report["plugins"]["wrong_cases"], [self.q])
        self.assertEqual(report["cases"][0]["as_interpreter"], False)
        self.assertIn("differ", report["cases"][0]["reason"])
        self.assertEqual({o["op"] for o in report["plugins"]["operators"] if o["wrong_cases"]},
                         {o["op"] for o in report["plugins"]["operators"] if o["plugin_nodes"]})
        family = self.families(report)["QLinear"]
        self.assertGreater(family["wrong"], 0)
        # The seed that it names repeats it, at once and alone.
        seed = family["first_wrong"].rsplit("--seed ", 1)[1].rstrip(")")
        again = self.slipway("conformance", "--platform", self.faulty, "--filter", "QLinear", "--seed", seed, "--random-ms", "1", "--json", code=4).json
        self.assertEqual(self.families(again)["QLinear"]["first_wrong"], family["first_wrong"])
        # One step is what --off-by-one lets pass, where it is seldom; here it is not.
        loose = self.slipway("conformance", "--platform", self.faulty, "--filter", "QLinear", "--off-by-one", "--random-ms", "400", "--json", code=4).json
        self.assertIn("codes are off by one", self.families(loose)["QLinear"]["first_wrong"])
        # A tolerance of the outputs' range covers it in a model.
        self.slipway("conformance", "--platform", self.faulty, "--model", self.q, "--no-random", "--tolerance", "0.1")

    def test_a_plugin_that_crashes(self):
        self.environment["ACME"] = "crash"
        report = self.slipway("conformance", "--platform", self.faulty, "--model", self.q, "--random-ms", "30", "--json", code=4).json
        families = self.families(report)
        for word in ("crashed", "QLinear", "--seed"):
            self.assertIn(word, families["QLinear"]["first_wrong"])
        self.assertEqual(families["QConv"]["wrong"], 0)  # went on
        self.assertGreater(families["QConv"]["taken"], 0)
        self.assertEqual((report["cases"][0]["status"], report["cases"][0]["reason"]), ("failed", "crashed: Aborted"))
        self.assertEqual(report["plugins"]["wrong_cases"], [self.q])

    def test_a_plugin_that_hangs(self):
        self.environment["ACME"] = "hang"
        report = self.slipway("conformance", "--plugin", os.path.join(os.path.dirname(self.faulty), "libacme_npu.so"), "--filter", "QLinear", "--timeout", "2",
                              "--json", code=4).json
        for word in ("did not end within 2 s", "QLinear", "--seed"):
            self.assertIn(word, self.families(report)["QLinear"]["first_wrong"])

    def test_a_plugin_that_refuses_what_it_took(self):
        self.environment["ACME"] = "refuse"
        report = self.slipway("conformance", "--platform", self.faulty, "--model", self.q, "--no-random", "--json", code=4).json
        self.assertEqual(report["cases"][0]["status"], "failed")  # and not unsupported
        self.assertIn("not on a Friday", report["cases"][0]["reason"])


if __name__ == "__main__":
    try:
        main()
    finally:
        shutil.rmtree(getattr(plugin_test.Built, "place", ""), ignore_errors=True)
