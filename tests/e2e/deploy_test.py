#!/usr/bin/python3
"""quantize, eval and deploy on a small network and data whose labels the network itself gave."""
import os
import shutil

from harness import BINARY, main
from labelled import CLASSES, LabelledNet
import npy


class Deploy(LabelledNet):
    def read(self, *parts):
        with open(self.path(*parts), "rb") as file:
            return file.read()

    def setUp(self):
        super().setUp()
        # Calibrated on this, every activation clips: the gate must fail.
        npy.save_npz(self.path("faint.npz"), inputs=([0.01 * v for v in self.inputs], self.dims, "<f4"))

    def test_eval(self):
        self.assertGreaterEqual(sum(self.labels.count(c) >= self.samples // 10 for c in range(CLASSES)), 2)
        for platform in ("interpreter", "reference", "x86"):
            r = self.slipway("eval", self.model, "--data", self.path("data.npz"), "--metric", "top1", "--platform", platform, "--json").json
            self.assertEqual((r["metric"], r["n"], r["platform"]), ("top1", self.samples, platform))
            self.assertGreaterEqual(r["value"], 1 if platform == "interpreter" else 0.98)
        wrong = [(label + 1) % CLASSES for label in self.labels]
        npy.save_npz(self.path("wrong.npz"), inputs=(self.inputs, [self.samples, 1, 8, 8], "<f4"), labels=(wrong, [self.samples], "<i8"))
        self.assertEqual(self.slipway("eval", self.model, "--data", self.path("wrong.npz"), "--platform", "interpreter", "--json").json["value"], 0)
        few = self.slipway("eval", self.model, "--data", self.path("data.npz"), "--samples", "10", "--json").json
        self.assertEqual(few["n"], 10)

    def test_quantize(self):
        out = self.path("q.onnx")
        r = self.slipway("quantize", self.model, "--platform", "x86-int8", "--calib", self.path("data.npz"), "--eval", self.path("data.npz"),
                         "--max-drop", "20", "--sensitivity", "-o", out, "--json").json
        self.assertGreaterEqual(r["quantized_nodes"], 6)
        self.assertEqual(r["float_top1"], 1)
        self.assertGreater(r["top1"], 0.8)
        self.assertTrue(all({"node", "op", "alone_db", "accumulated_db", "cosine"} <= set(layer) for layer in r["layers"]))
        ops = self.slipway("inspect", out, "--json").json["ops"]
        self.assertTrue(any("Quantize" in op for op in ops), ops)
        # The integers mean the same everywhere: interpreter, portable loops and the compiled integer kernels.
        want = self.run_model(out, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want")
        # oneDNN may be off by one code at ties.
        for platform, tolerance in (("reference", 1e-6), ("x86-int8", 0.06), ("x86-onednn-int8", 0.06)):
            self.agree(self.run_model(out, "--input", "x=" + self.path("x.npy"), "--platform", platform), want, tolerance, platform)
        worst = min(r["layers"], key=lambda layer: layer["alone_db"])["node"]
        kept = self.slipway("quantize", self.model, "--platform", "x86-int8", "--calib", self.path("data.npz"), "--keep-float", worst, "-o", out, "--json").json
        self.assertLess(kept["quantized_nodes"], r["quantized_nodes"])

    def test_reconstruction(self):
        if not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(BINARY)), "libslipway_learn.so")):
            self.skipTest("built without libtorch; scripts/setup learn")
        data, out = self.path("data.npz"), self.path("q.onnx")
        common = ["quantize", self.model, "--platform", "x86-int8", "--calib", data, "--eval", data, "--bits", "W2A4", "-o", out]
        for method in ("adaround", "brecq", "qdrop"):
            r = self.slipway(*common, "--algorithm", method, "--iterations", "80", "--seed", "2", "--json").json
            self.assertGreaterEqual(len(r["blocks"]), 2)
            layers = [layer for block in r["blocks"] for layer in block["layers"]]
            self.assertEqual(len(layers), len(set(layers)))
            # The ends keep 8 bits: what is between is learned.
            self.assertLess(sum(b["error_after"] for b in r["blocks"]), sum(b["error_before"] for b in r["blocks"]))
            self.assertGreater(r["top1"], 0.4, method)
            # What was learned is in the file, and means the same to the integer kernels.
            want = self.run_model(out, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want")
            self.agree(self.run_model(out, "--input", "x=" + self.path("x.npy"), "--platform", "x86-int8"), want, 0.06, method)
        for bits, says in (("W9A8", "W8A8"), ("4", "W4A8"), ("W4A8x", "W4A8"), ("W1A8", "one bit")):
            r = self.slipway("quantize", self.model, "--platform", "x86-int8", "--calib", data, "--bits", bits, "-o", out, code=2)
            self.assertIn(says, r.err)

    def test_budget(self):
        data, out = self.path("data.npz"), self.path("q.onnx")
        common = ["quantize", self.model, "--platform", "x86-int8", "--calib", data, "-o", out, "--json"]
        last = None
        for share in ("100%", "20%", "14%"):
            m = self.slipway(*common, "--budget", "size=" + share, "--choices", "float,W8A8,W4A8,W2A8").json["mixed"]
            self.assertLessEqual(m["cost"], m["limit"] * 1.000001)
            picked = [next(o for o in layer["options"] if o["precision"] == layer["precision"]) for layer in m["layers"]]
            self.assertAlmostEqual(sum(o["cost"] for o in picked), m["cost"], delta=1e-6 * m["cost"])
            if last is None:  # everything may be float
                self.assertTrue(all(layer["precision"] == "float" for layer in m["layers"]), m["layers"])
            else:
                self.assertGreater(m["loss"], last)
            last = m["loss"]
        timed = self.slipway(*common, "--budget", "latency=1s").json["mixed"]
        self.assertGreater(timed["measured"], 0)
        self.assertLess(timed["measured"], 1000)
        # With time for it everything stays float: no codes are written, and the file runs as it did.
        self.assertTrue(all(layer["precision"] == "float" for layer in timed["layers"]), timed)
        self.assertEqual(timed["conversions"], 0)
        with open(out, "rb") as file:
            self.assertNotIn(b"QuantizeLinear", file.read())
        self.agree(self.run_model(out, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter"),
                   self.run_model(self.model, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want"))
        self.assertIn("cheapest choice costs", self.slipway(*common, "--budget", "latency=0.001us", code=2).err)
        for budget, says in (("size=1B", "cheapest choice costs"), ("speed=3", "latency=2.5ms"), ("size=3furlongs", "size=1.2MB")):
            self.assertIn(says, self.slipway(*common, "--budget", budget, code=2).err)
        self.assertIn("give a budget", self.slipway(*common, "--choices", "W8A8,float", code=2).err)
        self.assertIn("--choices", self.slipway(*common, "--budget", "size=50%", "--bits", "W4A8", code=2).err)
        kept = self.slipway(*common, "--budget", "size=50%", "--keep-float", m["layers"][0]["node"]).json["mixed"]
        self.assertEqual(len(kept["layers"]), len(m["layers"]) - 1)
        self.assertIn("more bits", self.slipway(*common, "--budget", "size=50%", "--choices", "W9A8,float", code=2).err)

    def test_auto_and_configuration(self):
        data, out = self.path("data.npz"), self.path("q.onnx")
        self.write("q.yaml", f"""platform: x86-int8
calibration: data.npz
evaluation: data.npz
algorithm: auto
max_drop: 20
iterations: 30
""".encode())
        r = self.slipway("quantize", self.model, "--config", self.path("q.yaml"), "-o", out, "--json").json
        self.assertEqual([rung["name"] for rung in r["rungs"]], ["min-max"])  # 8 bits are enough at once
        self.assertTrue(r["met"])
        # Two bits that may lose nothing: everything is tried, in the end all layers are float.
        hard = self.slipway("quantize", self.model, "--config", self.path("q.yaml"), "--bits", "W2A2", "--max-drop", "0", "-o", out, "--json").json
        names = [rung["name"] for rung in hard["rungs"]]
        self.assertEqual(names[:6], ["min-max", "mse", "equalize", "adaround", "brecq", "qdrop"])
        self.assertTrue({"mixed", "float layers"} & set(names), names)
        self.assertEqual([rung for rung in hard["rungs"][6:] if "error" in rung], [])
        chosen = [rung for rung in hard["rungs"] if rung["chosen"]]
        self.assertEqual(len(chosen), 1)
        self.assertEqual(chosen[0]["top1"], max(rung.get("top1", 0) for rung in hard["rungs"]))
        self.assertEqual(hard["top1"], chosen[0]["top1"])
        r = self.slipway("quantize", self.model, "--platform", "x86-int8", "--calib", data, "--algorithm", "auto", "-o", out, code=2)
        self.assertIn("--max-drop", r.err)
        self.write("bad.yaml", b"platform: x86-int8\nalgoritm: auto\n")
        self.assertIn("bad.yaml:2", self.slipway("quantize", self.model, "--config", self.path("bad.yaml"), "-o", out, code=2).err)
        self.assertIn("--platform", self.slipway("quantize", self.model, "--calib", data, "-o", out, code=2).err)

    def test_quantize_gate(self):
        line = self.fails_gate("quantize", self.model, "--platform", "x86-int8", "--calib", self.path("faint.npz"), "--eval", self.path("data.npz"),
                               "--max-drop", "1", "-o", self.path("q.onnx"))
        self.assertRegex(line, r"try .*--(keep-float|adjust|observer|bits)")

    def fails_gate(self, *arguments):
        r = self.slipway(*arguments, code=4)
        line = r.err.strip().splitlines()[-1]
        # One of the network's own layers is named.
        layers = ["conv", "gemm", "add", "relu", "globalaveragepool"]
        self.assertTrue(any(f"{layer}{n}" in line for layer in layers for n in range(20)), str(r))
        return line

    def test_deploy(self):
        platforms = ["reference", "x86-onednn", "x86-onednn-int8", "x86", "x86-int8"]
        out = self.path("out")
        arguments = ["deploy", self.model, "--platforms", ",".join(platforms), "--calib", self.path("data.npz"), "--eval", self.path("data.npz"),
                     "--max-drop", "20", "-o", out]
        r = self.slipway(*arguments, "--json").json
        self.assertEqual([p["platform"] for p in r["platforms"]], platforms)
        for p in r["platforms"]:
            package = os.path.join(out, p["platform"] + ".slip")
            self.assertEqual(p["size_bytes"], os.path.getsize(package))
            self.assertGreater(p["p50_ms"], 0)
            self.slipway("verify", package, "--against", self.model)
            self.slipway("run", package, "--random", "--shape", "x=3,1,8,8")
        with open(os.path.join(out, "report.html"), encoding="utf-8") as file:
            html = file.read()
        for word in platforms + ["<svg", "conv1"]:
            self.assertIn(word, html)
        for word in ("http://", "https://", "<script src", "<link"):  # self-contained (the SVG name space is no request)
            self.assertNotIn(word, html.replace("http://www.w3.org/", ""))
        self.assertTrue(os.path.exists(os.path.join(out, "x86-int8.qdq.onnx")))
        # Again: the slow stages are resumed, and the packages are the same.
        with open(os.path.join(out, "x86-int8.slip"), "rb") as file:
            before = file.read()
        text = self.slipway(*arguments)
        with open(os.path.join(out, "x86-int8.slip"), "rb") as file:
            self.assertEqual(before, file.read())
        for word in platforms + ["p50", "peak"]:
            self.assertIn(word, text.out)
        self.assertGreaterEqual(self.slipway("perfdb", "stats", "--json").json["measurements"], 5)

    def test_deploy_as_quantize(self):
        """The same options give the same models as `quantize`, and the same files as `export`; what fails does not stop the others."""
        data, out = self.path("data.npz"), self.path("out")
        options = ["--calib", data, "--adjust", "bias-correction", "--weight-observer", "mse", "--seed", "4"]
        arguments = ["deploy", self.model, "--platforms", "tensorrt-int8,x86-int8,reference,onnxruntime-int8", *options, "--eval", data, "--no-record",
                     "-o", out]
        r = self.slipway(*arguments, "--json").json
        self.assertEqual([p["verdict"] for p in r["platforms"]], ["not checked"] * 4, r)
        by_name = {p["platform"]: p for p in r["platforms"]}
        for name in ("tensorrt-int8", "x86-int8", "onnxruntime-int8"):
            self.slipway("quantize", self.model, "--platform", name, *options, "-o", self.path("q.onnx"))
            self.assertEqual(self.read("out", name + ".qdq.onnx"), self.read("q.onnx"), name)
            self.assertIn("bias-correction", by_name[name]["choices"])
        self.assertEqual((by_name["reference"]["choices"], by_name["reference"]["exported"]), ("", []))
        for name in ("tensorrt-int8", "onnxruntime-int8"):
            self.slipway("quantize", self.model, "--platform", name, *options, "-o", self.path("quantized", "tiny.onnx"))
            files = self.slipway("export", self.path("quantized", "tiny.onnx"), "--platform", name, "-o", self.path("ex-" + name), "--json").json["files"]
            self.assertEqual(sorted(by_name[name]["exported"]), sorted(name + "/" + os.path.basename(f) for f in files))
            for f in files:
                self.assertEqual(self.read("out", name, os.path.basename(f)), self.read(f), f)
        text = self.slipway(*arguments).out
        self.assertIn("tensorrt-int8/trtexec.sh", text)
        with open(os.path.join(out, "report.html"), encoding="utf-8") as file:
            self.assertIn("tensorrt-int8/trtexec.sh", file.read())
        # Weights of four bits have zero points, which TensorRT has not: its package and accuracy are there, its files are not.
        r = self.slipway("deploy", self.model, "--platforms", "tensorrt-int8,onnxruntime-int8", *options, "--bits", "W4A8", "--no-record", "-o",
                         self.path("few"), "--json", code=2).json["platforms"]
        self.assertEqual([(p["verdict"], bool(p["exported"]), p["size_bytes"] > 0) for p in r], [("error", False, True), ("not checked", True, True)])
        self.assertIn("zero point, which TensorRT cannot hold", r[0]["why"])
        # A latency is nothing that a chip elsewhere has here.
        r = self.slipway("deploy", self.model, "--platforms", "tensorrt-int8,x86-int8", "--calib", data, "--budget", "latency=1s", "--no-record",
                         "-o", self.path("timed"), "--json", code=2)
        self.assertEqual([p["verdict"] for p in r.json["platforms"]], ["error", "not checked"])
        self.assertIn("size or bitops", r.json["platforms"][0]["why"])
        self.assertEqual(r.json["platforms"][1]["mixed"]["kind"], "latency")
        self.slipway("verify", self.path("timed", "x86-int8.slip"), "--against", self.path("timed", "x86-int8.qdq.onnx"))
        for wrong, says in ((["--algorithm", "auto"], "--max-drop"), (["--budget", "speed=3"], "latency=2.5ms"), (["--choices", "float,W8A8"], "budget")):
            self.assertIn(says, self.slipway("deploy", self.model, "--platforms", "x86-int8", "--calib", data, *wrong, "-o", out, code=2).err)
        self.assertIn("--platforms", self.slipway("deploy", self.model, "--calib", data, "-o", out, code=2).err)

    def test_deploy_weights_alone(self):
        # Float platforms get them too.
        r = self.slipway("deploy", self.model, "--platforms", "x86", "--calib", self.path("data.npz"), "--eval", self.path("data.npz"), "--algorithm",
                         "gptq", "--bits", "W4", "--group", "8", "--no-record", "-o", self.path("out"), "--json").json
        self.assertIn("gptq", r["platforms"][0]["choices"])
        self.assertGreater(r["platforms"][0]["accuracy"], 0.9)
        self.assertIn("layers with weights of 4 bits", " ".join(r["notes"]))

    def test_deploy_climbs(self):
        data = self.path("data.npz")
        self.write("q.yaml", b"platform: x86-int8\ncalibration: data.npz\nevaluation: data.npz\nalgorithm: auto\nmax_drop: 4\niterations: 20\nbits: W2A2\n")
        arguments = ["deploy", self.model, "--config", self.path("q.yaml"), "--no-record", "-o", self.path("out"), "--report", self.path("page", "p.html")]
        r = self.slipway(*arguments, "--json").json["platforms"][0]
        ladder = r["ladder"]
        self.assertTrue(ladder["met"], ladder)
        self.assertGreater(len(ladder["rungs"]), 2)
        chosen = [rung for rung in ladder["rungs"] if rung["chosen"]][0]
        self.assertEqual(chosen["why"], "kept: the first within 4.00 points")
        self.assertAlmostEqual(r["drop"], chosen["drop_points"], places=6)  # the package's own, on the same samples
        self.assertEqual(r["verdict"], "pass")
        for rung in ladder["rungs"]:
            if "error" in rung:
                self.assertIn("passed over", rung["why"])
                continue
            self.assertGreater(rung["size_bytes"], 500)
            self.assertGreater(rung["latency_ms"], 0)
            self.assertTrue(rung["chosen"] or rung["why"].startswith("loses"), rung)
        self.assertGreaterEqual(chosen["size_bytes"], ladder["rungs"][0]["size_bytes"])
        for page in (self.path("out", "report.html"), self.path("page", "p.html")):
            with open(page, encoding="utf-8") as file:
                html = file.read()
            for word in [rung["name"] for rung in ladder["rungs"]] + ["kept: the first within", "seconds spent until then"]:
                self.assertIn(word, html)
        # Resumed, the rungs are still there.
        again = self.slipway(*arguments, "--json").json
        self.assertEqual(again["platforms"][0]["ladder"], ladder)
        self.assertIn("taken from an earlier run: quantize", " ".join(again["notes"]))
        # A damaged stage is made again.
        for name in os.listdir(self.path("out", ".stages")):
            if name.endswith(".json"):
                self.write(os.path.join("out", ".stages", name), b'{"layers": 3')
        fresh = self.slipway("deploy", self.model, "--config", self.path("q.yaml"), "--no-record", "-o", self.path("out"), "--json").json
        self.assertEqual([rung.get("top1") for rung in fresh["platforms"][0]["ladder"]["rungs"]], [rung.get("top1") for rung in ladder["rungs"]])
        self.assertNotIn("taken from an earlier run: quantize", " ".join(fresh["notes"]))
        page = self.path("b.html")
        m = self.slipway("quantize", self.model, "--platform", "x86-int8", "--calib", data, "--budget", "size=20%", "--choices", "float,W8A8,W4A8", "-o",
                         self.path("q.onnx"), "--report", page, "--json").json["mixed"]
        with open(page, encoding="utf-8") as file:
            html = file.read()
        for word in ["What the budget bought", "all W4A8", "chosen"] + [layer["node"] for layer in m["layers"]]:
            self.assertIn(word, html)

    def test_tune(self):
        out = self.path("tuned")
        r = self.slipway("deploy", self.model, "--platforms", "x86,reference", "--eval", self.path("data.npz"), "--tune", "-o", out, "--json").json
        rows = {row["platform"]: row for row in r["platforms"]}
        plans = rows["x86"]["plans"]
        kept = [p for p in plans if p["chosen"]]
        self.assertEqual(len(kept), 1, plans)
        names = {name for p in plans for name in (p["name"], *p["also"])}
        self.assertTrue({"kernels", "estimated", "x86 alone", "onednn alone", "in place 1"} <= names, names)
        self.assertEqual(rows["x86"]["accuracy"], 1)
        self.assertEqual([p["name"] for p in rows["reference"]["plans"]], ["kernels"])  # one backend, one kernel a node
        self.assertIn(b"Plans that were timed", self.read("tuned", "report.html"))
        said = self.slipway("compile", self.model, "--platform", "x86", "--tune", "--compare-greedy", "--tune-rounds", "3", "-o", self.path("t.slip"))
        self.assertIn("chosen", said.out)
        self.assertIn("0 measured now", said.out)  # deploy has measured them
        both = self.slipway("compile", self.model, "--platform", "x86", "--tune", "--compare-estimates", "--tune-rounds", "3", "-o", self.path("t.slip"), "--json").json
        names = {name for p in both["plans"] for name in (p["name"], *p["also"])}
        self.assertTrue({"kernels", "by estimates: kernels", "by estimates: x86 alone"} <= names, names)
        self.assertGreater(both["tuned"]["compared_rounds"], 0)
        for p in both["plans"]:
            self.assertGreater(min(p["alone"]["ms"], p["compared"]["ms"]), 0, p)
        for option in (["--compare-greedy"], ["--compare-estimates"], ["--tune-rounds", "9"]):
            alone = self.slipway("compile", self.model, "--platform", "x86", "-o", self.path("t.slip"), *option, code=2)
            self.assertIn("--tune", alone.err)
        self.agree(self.run_model(self.path("t.slip"), "--input", "x=" + self.path("x.npy")),
                   self.run_model(self.model, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want"))

    def test_deploy_gate(self):
        line = self.fails_gate("deploy", self.model, "--platforms", "reference,x86-int8", "--calib", self.path("faint.npz"), "--eval",
                               self.path("data.npz"), "--max-drop", "1", "-o", self.path("out"))
        self.assertIn("x86-int8", line)
        # The platform that held its gate is there all the same.
        self.slipway("verify", self.path("out", "reference.slip"), "--against", self.model)

    def test_deploy_without_data(self):
        r = self.slipway("deploy", self.model, "--platforms", "reference", "-o", self.path("out"), "--json").json
        self.assertEqual([p["platform"] for p in r["platforms"]], ["reference"])

    def test_deploy_arm(self):
        runner = os.path.join(os.path.dirname(os.path.dirname(BINARY)), "runtime-aarch64", "slipway-run")
        if not os.path.exists(runner) or not shutil.which("qemu-aarch64"):
            self.skipTest("needs build/runtime-aarch64/slipway-run (scripts/build runtime-aarch64) and qemu-aarch64")
        r = self.slipway("deploy", self.model, "--platforms", "arm64-generic", "--eval", self.path("data.npz"), "--max-drop", "1",
                         "-o", self.path("out"), "--json").json
        self.assertTrue(r["platforms"][0]["emulated"])
        self.assertIn("emulated", self.slipway("deploy", self.model, "--platforms", "arm64-generic", "-o", self.path("out")).out)


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
