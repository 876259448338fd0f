#!/usr/bin/python3
"""The verbs of the main road on small networks: what goes in comes out the same on every path."""
import json
import os

from harness import BINARY, Case, RUNNER, main
import npy
import onnx_writer as ox

NETS = {"cnn": ox.tiny_cnn, "transformer": ox.tiny_transformer, "mixed": ox.tiny_mixed}


class Road(Case):
    def net(self, name, **options):
        return self.write(name + ".onnx", NETS[name](**options))

    def test_run_model_and_package(self):
        for name in NETS:
            with self.subTest(name):
                model = self.net(name)
                want = self.run_model(model, "--random", "--platform", "interpreter", label="want")
                self.agree(self.run_model(model, "--random", "--platform", "reference"), want, 1e-5, name)
                self.slipway("compile", model, "--platform", "reference", "-o", self.path("m.slip"))
                self.agree(self.run_model(self.path("m.slip"), "--random"), want, 1e-5, name)
                self.agree(self.run_model(model, "--random"), want, 1e-4, name + " on this machine's platform")

    def test_run_given_inputs(self):
        model = self.net("cnn")
        values = [((i * 37) % 101) / 50 - 1 for i in range(3 * 64)]
        npy.save(self.path("x.npy"), values, [3, 1, 8, 8])
        want = self.run_model(model, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want")
        self.assertEqual(want["y"][1], [3, 4])
        # Row by row gives the rows of the batch.
        for row in range(3):
            npy.save(self.path("row.npy"), values[row * 64:row * 64 + 64], [1, 1, 8, 8])
            got = self.run_model(model, "--input", "x=" + self.path("row.npy"), "--platform", "interpreter")
            for a, b in zip(got["y"][0], want["y"][0][row * 4:row * 4 + 4]):
                self.assertAlmostEqual(a, b, delta=1e-6)
        self.agree(self.run_model(model, "--input", "x=" + self.path("x.npy"), "--threads", "2"), want, 1e-4)

    def test_run_json_and_text(self):
        model = self.net("mixed")
        r = self.slipway("run", model, "--random", "--json", "--platform", "reference").json
        self.assertEqual(r["platform"], "reference")
        self.assertEqual([(o["name"], o["dtype"], o["dims"]) for o in r["outputs"]], [("y", "float32", [2, 12])])
        self.assertIn("y: float32", self.slipway("run", model, "--random").out)

    def test_dynamic_batch_of_one_package(self):
        """Batches 1, 5 and 1 through the runtime's own command; five rows one at a time in one session give the same."""
        model = self.net("cnn")
        self.slipway("compile", model, "--platform", "reference", "-o", self.path("m.slip"))
        values = [((i * 53) % 97) / 48 - 1 for i in range(5 * 64)]
        npy.save(self.path("five.npy"), values, [5, 1, 8, 8])
        npy.save(self.path("one.npy"), values[:64], [1, 1, 8, 8])
        want = self.run_model(model, "--input", "x=" + self.path("five.npy"), "--platform", "interpreter", label="want")
        for name, file, more in (("first", "one", []), ("second", "five", []), ("third", "one", []), ("rows", "five", ["--batched"]),
                                 ("pairs", "five", ["--batched", "--shape", "x=2,1,8,8"])):
            os.mkdir(self.path(name))
            done = self.call(RUNNER, self.path("m.slip"), "--input", f"x={self.path(file + '.npy')}", "--output-dir", self.path(name), *more)
            self.assertEqual(done.code, 0, str(done))
            rows = 1 if file == "one" else 5
            self.agree(self.outputs(self.path(name)), {"y": (want["y"][0][:rows * 4], [rows, 4])}, 1e-5, name)

    def test_optimize(self):
        for name in NETS:
            with self.subTest(name):
                model = self.net(name)
                want = self.run_model(model, "--random", "--platform", "interpreter", label="want")
                for level in ("onnx", "fused"):
                    out = self.path(f"o_{level}.onnx")
                    r = self.slipway("optimize", model, "-o", out, "--level", level, "--json").json
                    self.assertEqual(r["nodes_before"], len(self.slipway("inspect", model, "--nodes", "--json").json["nodes"]))
                    self.assertLess(r["nodes_after"], r["nodes_before"])
                    self.assertTrue(any(p["changes"] > 0 for p in r["passes"]))
                    self.agree(self.run_model(out, "--random", "--platform", "interpreter"), want, 1e-5, name + " " + level)
        text = self.slipway("optimize", self.net("mixed")).out
        for word in ("fuse-batchnorm", "remove-identity", "ms"):
            self.assertIn(word, text)

    def test_optimize_switches(self):
        model = self.net("mixed")
        every = self.slipway("optimize", model, "--json").json
        changed = [p["name"] for p in every["passes"] if p["changes"] > 0]
        self.assertIn("fuse-batchnorm", changed)
        without = self.slipway("optimize", model, "--json", "--disable", "fuse-batchnorm").json
        self.assertFalse(any(p["name"] == "fuse-batchnorm" and p["changes"] > 0 for p in without["passes"]))
        only = self.slipway("optimize", model, "--json", "--only", "remove-identity").json
        self.assertEqual({p["name"] for p in only["passes"] if p["changes"] > 0}, {"remove-identity"})

    def test_text_form(self):
        self.slipway("optimize", self.net("transformer"), "-o", self.path("t.txt"), "--level", "fused")
        with open(self.path("t.txt"), encoding="utf-8") as file:
            text = file.read()
        for op in ("LayerNormalization", "Attention", "Gelu"):
            self.assertIn(op, text)

    def test_export_every_opset(self):
        for name in NETS:
            model = self.net(name)
            want = self.run_model(model, "--random", "--platform", "interpreter", label="want")
            for opset in range(11, 22):
                with self.subTest(name=name, opset=opset):
                    out = self.path("e.onnx")
                    self.slipway("export", model, "--to", "onnx", "--opset", str(opset), "-o", out)
                    r = self.slipway("inspect", out).out
                    self.assertIn(f"opset {opset}", r)
                    self.agree(self.run_model(out, "--random", "--platform", "interpreter"), want, 1e-5, f"{name} opset {opset}")

    def test_inspect(self):
        model = self.net("cnn", batch=1)
        r = self.slipway("inspect", model, "--json").json
        self.assertEqual(r["inputs"], [{"name": "x", "dtype": "float32", "shape": [1, 1, 8, 8]}])
        self.assertEqual(r["outputs"], [{"name": "y", "dtype": "float32", "shape": [1, 4]}])
        self.assertEqual(r["ops"]["Conv"], 5)
        parameters = 8 * 9 + 8 + 2 * (8 * 8 * 9 + 8) + 8 * 9 + 8 + 16 * 8 + 16 + 4 * 16 + 4
        macs = 64 * 8 * 9 + 2 * 64 * 8 * 8 * 9 + 16 * 8 * 9 + 16 * 16 * 8 + 4 * 16
        self.assertEqual((r["params"], r["macs"]), (parameters, macs))
        support = self.slipway("inspect", model, "--json", "--platform", "reference,x86").json["platforms"]
        self.assertEqual([(p["name"], p["supported"]) for p in support], [("reference", True), ("x86", True)])
        self.assertEqual(support[0]["own_node_share"], 1)
        symbolic = self.slipway("inspect", self.net("cnn"), "--json").json
        self.assertEqual(symbolic["inputs"][0]["shape"][0], "N")

    def test_compile_and_verify(self):
        for name in NETS:
            for platform in ("reference", "x86-onednn", "x86"):
                with self.subTest(name=name, platform=platform):
                    model = self.net(name)
                    package = self.path("m.slip")
                    r = self.slipway("compile", model, "--platform", platform, "-o", package, "--json").json
                    self.assertEqual(r["size"], os.path.getsize(package))
                    self.assertTrue(r["nodes"] and all(n["backend"] for n in r["nodes"]))
                    if platform == "reference":
                        self.assertEqual({n["backend"] for n in r["nodes"]}, {"reference"})
                        self.assertEqual((r["own_node_share"], r["own_mac_share"]), (1, 1))
                    v = self.slipway("verify", package, "--against", model, "--json").json
                    self.assertLessEqual(v["max_error"], 1e-4)
                    self.assertEqual(v["provenance"]["platform"], platform)
        text = self.slipway("verify", package).out
        self.assertIn("hashes and structure are right", text)

    def test_compile_is_reproducible(self):
        model = self.net("cnn")
        for file in ("a.slip", "b.slip"):
            self.slipway("compile", model, "--platform", "x86", "-o", self.path(file))
        with open(self.path("a.slip"), "rb") as a, open(self.path("b.slip"), "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_explain(self):
        model = self.net("cnn", batch=1)
        r = self.slipway("compile", model, "--platform", "x86", "--explain", "conv1", "--json").json
        self.assertEqual(sum(a["chosen"] for a in r["alternatives"]), 1)

    def test_measured_costs(self):
        model = self.net("cnn", batch=1)
        node = self.slipway("bench", model, "--platform", "reference", "--samples", "5", "--seconds", "0", "--json").json["nodes"][0]

        def price(*arguments):
            r = self.slipway("compile", model, "--platform", "reference", "--explain", node["name"], "--json", *arguments).json
            return [a["ms"] for a in r["alternatives"] if a["chosen"]][0]

        self.assertAlmostEqual(price("--costs", "measured"), node["ms"], places=9)
        self.assertNotAlmostEqual(price(), node["ms"], places=9)

    def test_another_name_of_x86(self):
        self.assertEqual(self.slipway("platforms", "show", "x86-auto", "--json").json["name"], "x86")

    def test_platform_from_a_file(self):
        self.write("mine.yaml", "name: mine\ndescription: a test\nopenness: L3\narch: any\nbackends: [reference]\n")
        model = self.net("cnn")
        r = self.slipway("compile", model, "--platform", self.path("mine.yaml"), "-o", self.path("m.slip"), "--json").json
        self.assertEqual(r["platform"], "mine")
        self.environment["SLIPWAY_PLATFORMS"] = self.folder
        names = [p["name"] for p in self.slipway("platforms", "--json").json["platforms"]]
        self.assertIn("mine", names)
        self.assertIn("x86-int8", names)
        self.write("bad.yaml", "name: bad\nopenness: L3\nbackends: [reference]\nbackend: x\n")
        self.fails("platforms", says=["bad.yaml", "'backend'", "known keys"])

    def test_bench_and_perfdb(self):
        model = self.net("cnn", batch=1)
        r = self.slipway("bench", model, "--platform", "reference", "--samples", "5", "--seconds", "0", "--json").json
        self.assertEqual((r["platform"], r["threads"], r["batch"], r["n"]), ("reference", 1, 1, 5))
        self.assertLessEqual(r["p50_ms"], r["p99_ms"])
        self.assertGreater(r["peak_bytes"], 0)
        self.assertTrue(all({"name", "op", "backend", "ms", "gops"} <= set(n) for n in r["nodes"]))
        self.slipway("bench", self.net("mixed"), "--platform", "x86", "--samples", "5", "--seconds", "0")
        # What was measured is found: by structure, by platform, and not by another model's structure.
        found = self.slipway("perfdb", "query", "--model", model, "--json").json["measurements"]
        self.assertEqual([m["platform"] for m in found], ["reference"])
        self.assertEqual((found[0]["p50_ms"], found[0]["source"]), (r["p50_ms"], "measured"))
        weights = self.write("other.onnx", ox.tiny_cnn(batch=1, seed=7))
        self.assertEqual(len(self.slipway("perfdb", "query", "--model", weights, "--json").json["measurements"]), 1)
        other = self.slipway("perfdb", "query", "--model", self.net("transformer"), "--json").json
        self.assertEqual(other["measurements"], [])
        self.assertEqual(len(self.slipway("perfdb", "query", "--json").json["measurements"]), 2)
        self.assertEqual(len(self.slipway("perfdb", "query", "--platform", "x86", "--json", "--nodes", "--samples").json["measurements"][0]["samples_ms"]), 5)
        self.assertIn("reference", self.slipway("perfdb", "query").out)
        # Export, import into an empty database, export again: the same lines; a second import adds nothing.
        first, second = self.path("first.jsonl"), self.path("second.jsonl")
        self.slipway("perfdb", "export", first)
        added = self.slipway("perfdb", "import", first, "--db", self.path("new.db"), "--json").json
        self.assertEqual((added["measurements"], added["known"]), (2, 0))
        again = self.slipway("perfdb", "import", first, "--db", self.path("new.db"), "--json").json
        everything = added["measurements"] + added["accuracies"] + added["kernels"]
        self.assertEqual((again["measurements"], again["accuracies"], again["kernels"], again["known"]), (0, 0, 0, everything))
        self.slipway("perfdb", "export", second, "--db", self.path("new.db"))
        with open(first, encoding="utf-8") as a, open(second, encoding="utf-8") as b:
            self.assertEqual([json.loads(line) for line in a], [json.loads(line) for line in b])
        stats = self.slipway("perfdb", "stats", "--json").json
        self.assertEqual((stats["structures"], stats["measurements"]), (2, 2))
        self.slipway("bench", model, "--platform", "reference", "--samples", "3", "--seconds", "0", "--no-record")
        self.assertEqual(self.slipway("perfdb", "stats", "--json").json["measurements"], 2)


class Help(Case):
    VERBS = ["platforms", "inspect", "optimize", "quantize", "export", "compile", "verify", "run", "bench", "eval", "deploy", "conformance", "perfdb"]

    def test_help(self):
        listing = self.slipway("--help").out
        for verb in self.VERBS:
            self.assertIn(verb, listing)
            self.assertIn("--json", self.slipway(verb, "--help").out)
        self.assertIn("slipway", self.slipway("--version").out)


class Conformance(Case):
    """The verb itself, on cases made here; what the backends reach on ONNX's own cases is conformance_test's matter."""

    def case(self, name, data, inputs, outputs):
        os.makedirs(self.path("cases", name, "test_data_set_0"))
        self.write(os.path.join("cases", name, "model.onnx"), data)
        for prefix, tensors in (("input", inputs), ("output", outputs)):
            for i, t in enumerate(tensors):
                self.write(os.path.join("cases", name, "test_data_set_0", f"{prefix}_{i}.pb"), t)

    def test_verdicts(self):
        relu = ox.model([ox.node("Relu", ["x"], ["y"], "r")], [ox.value_info("x", [3])], [ox.value_info("y", [3])])
        x = ox.tensor("x", [3], [-1.0, 2.0, 3.0])
        self.case("good", relu, [x], [ox.tensor("y", [3], [0.0, 2.0, 3.0])])
        self.case("near", relu, [x], [ox.tensor("y", [3], [0.0, 2.001, 3.0])])
        self.case("far", relu, [x], [ox.tensor("y", [3], [0.0, 2.01, 3.0])])
        self.case("shape", relu, [x], [ox.tensor("y", [3, 1], [0.0, 2.0, 3.0])])
        self.case("type", relu, [x], [ox.tensor("y", [3], [0, 2, 3], ox.INT32)])
        self.case("nofile", relu, [], [ox.tensor("y", [3], [0.0, 2.0, 3.0])])
        self.case("broken", b"\x00\x01 no model", [x], [x])
        self.case("unknown", ox.model([ox.node("Frobnicate", ["x"], ["y"], "f")], [ox.value_info("x", [3])], [ox.value_info("y", [3])]), [x], [x])
        want = {"good": "passed", "near": "passed", "far": "failed", "shape": "failed", "type": "failed", "nofile": "failed", "broken": "failed",
                "unknown": "unsupported"}
        for platform in ("reference", "interpreter"):
            for mode in ([], ["--in-process"], ["--jobs", "1"]):
                r = self.slipway("conformance", self.path("cases"), "--platform", platform, "--json", *mode, code=4).json
                self.assertEqual({c["name"]: c["status"] for c in r["cases"]}, want)
                self.assertTrue(all(c["reason"] for c in r["cases"] if c["status"] != "passed"))
                self.assertEqual((r["passed"], r["failed"], r["unsupported"]), (2, 5, 1))
        far = self.slipway("conformance", self.path("cases"), "--filter", "far", "--json", code=4).json["cases"]
        self.assertEqual(len(far), 1)
        self.assertIn("element 1 is 2, expected 2.0", far[0]["reason"])
        self.slipway("conformance", self.path("cases"), "--filter", "good")
        one = self.slipway("conformance", self.path("cases", "good"), "--json").json["cases"]
        self.assertEqual([(c["name"], c["status"]) for c in one], [("good", "passed")])

    def test_a_case_that_does_not_end(self):
        net = ox.Net()
        x = net.op("ConstantOfShape", net.ints([4096, 4096]))
        for _ in range(8):
            x = net.op("MatMul", x, x)
        slow = ox.model(net.nodes, [], [ox.value_info(x, [4096, 4096])], net.initializers)
        self.case("slow", slow, [], [ox.tensor(x, [1], [0.0])])
        relu = ox.model([ox.node("Relu", ["x"], ["y"], "r")], [ox.value_info("x", [1])], [ox.value_info("y", [1])])
        self.case("swift", relu, [ox.tensor("x", [1], [2.0])], [ox.tensor("y", [1], [2.0])])
        r = self.slipway("conformance", self.path("cases"), "--platform", "interpreter", "--timeout", "1", "--json", code=4, timeout=60).json
        self.assertEqual([(c["name"], c["status"]) for c in r["cases"]], [("slow", "failed"), ("swift", "passed")])
        self.assertIn("within 1 s", r["cases"][0]["reason"])


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
