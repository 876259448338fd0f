#!/usr/bin/python3
"""quantize --sparsity on a small network whose inner layers are conv3, conv5, conv8 (depthwise) and conv10."""
import os

from harness import BINARY, main
from labelled import LabelledNet


class Sparsity(LabelledNet):
    def prune(self, *options, code=0):
        return self.slipway("quantize", self.model, "--sparsity", "2:4", "-o", self.path("q.onnx"), *options, code=code)

    def test_float_without_data(self):
        r = self.prune("--bits", "none", "--sparsity-method", "magnitude", "--json").json["sparsity"]
        self.assertEqual(r["pattern"], "2:4")
        self.assertEqual([row["node"] for row in r["layers"]], ["conv3", "conv5", "conv10"])
        for row in r["layers"]:
            self.assertEqual(2 * row["zeros"], row["weights"])
            # Half of the values and two bits for each of these.
            self.assertEqual(row["compressed_bytes"], row["weights"] * 2 + row["weights"] // 8)
            self.assertNotIn("error", row)
        reasons = {row["node"]: row["reason"] for row in r["dense"]}
        self.assertEqual(reasons["conv8"], "depthwise: one input channel")
        self.assertEqual(reasons["conv1"], "at an end of the network")
        # The zeros are in the file: pruning it again changes nothing.
        again = self.slipway("quantize", self.path("q.onnx"), "--sparsity", "2:4", "--bits", "none", "--sparsity-method", "magnitude",
                             "--calib", self.data, "-o", self.path("again.onnx"), "--json").json["sparsity"]
        self.assertTrue(all(row["error"] == 0 for row in again["layers"]), again)

    def test_by_outputs_with_codes(self):
        data = ["--calib", self.data, "--eval", self.data]
        lost = {}
        for method in ("magnitude", "obs"):
            r = self.prune("--platform", "tensorrt-int8", "--sparsity-method", method, *data, "--json").json
            self.assertNotIn("warning", r["sparsity"])
            self.assertGreaterEqual(r["quantized_nodes"], 6)
            lost[method] = sum(row["error"] for row in r["sparsity"]["layers"])
        self.assertLess(lost["obs"], 0.5 * lost["magnitude"])
        self.assertGreater(r["top1"], 0.7)
        self.slipway("export", self.path("q.onnx"), "--platform", "tensorrt-int8", "-o", self.path("trt"))
        with open(self.path("trt", "trtexec.sh"), encoding="utf-8") as file:
            self.assertEqual(file.read().count(" --sparsity=enable "), 2)
        # Integers mean the same everywhere, whatever is zero.
        want = self.run_model(self.path("q.onnx"), "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want")
        self.agree(self.run_model(self.path("q.onnx"), "--input", "x=" + self.path("x.npy"), "--platform", "tensorrt-int8"), want, 0.06)

    def test_blocks_and_a_platform_that_gains_nothing(self):
        r = self.slipway("quantize", self.model, "--sparsity", "block:4x4@0.5", "--platform", "x86-int8", "--calib", self.data,
                         "--bits", "W4A8", "--keep-dense", "conv3", "-o", self.path("q.onnx"))
        self.assertIn("note: platform 'x86-int8' is no faster with block:4x4@0.5", r.out)
        self.assertIn("dense, as asked for: conv3", r.out)
        self.assertIn("2 layers are block:4x4@0.5, 50 % of their weights zero", r.out)
        self.assertIn("4-bit codes", r.out)

    def test_training_goes_on(self):
        if not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(BINARY)), "libslipway_learn.so")):
            self.skipTest("built without libtorch; scripts/setup learn")
        common = ["--bits", "W4A8", "--platform", "tensorrt-int8", "--calib", self.data, "--eval", self.data, "--sparsity-iterations", "40",
                  "--algorithm", "adaround", "--iterations", "30", "--threads", "1", "--work", self.path("work"), "--json"]
        first = self.prune(*common).json
        blocks = first["sparsity"]["blocks"]
        self.assertLess(sum(b["error_after"] for b in blocks), 0.95 * sum(b["error_before"] for b in blocks))
        self.assertTrue({"sparsity", "quantization"} <= set(os.listdir(self.path("work"))))
        with open(self.path("q.onnx"), "rb") as file:
            wanted = file.read()
        again = self.prune(*common).json  # out of the folder
        self.assertEqual(again["sparsity"]["blocks"], blocks)
        with open(self.path("q.onnx"), "rb") as file:
            self.assertEqual(file.read(), wanted)

    def test_configuration_and_ladder(self):
        self.write("q.yaml", b"""platform: tensorrt-int8
calibration: data.npz
evaluation: data.npz
algorithm: auto
max_drop: 30
layers:
  conv5: dense
""")
        r = self.slipway("quantize", self.model, "--config", self.path("q.yaml"), "-o", self.path("q.onnx"), "--json").json
        self.assertEqual([rung["name"] for rung in r["rungs"]], ["min-max", "sparse"])
        best = r["rungs"][0]["drop_points"]
        self.assertTrue(r["met"] and r["rungs"][1]["chosen"], r["rungs"])
        self.assertEqual([row["node"] for row in r["sparsity"]["layers"]], ["conv3", "conv10"])
        # Where the platform gains nothing it is not tried; where accuracy is lost it is not kept.
        r = self.slipway("quantize", self.model, "--config", self.path("q.yaml"), "--platform", "x86-int8", "-o", self.path("q.onnx"), "--json").json
        self.assertEqual([rung["name"] for rung in r["rungs"]], ["min-max"])
        r = self.slipway("quantize", self.model, "--config", self.path("q.yaml"), "--sparsity-method", "magnitude", "--max-drop",
                         str(best + 0.1), "-o", self.path("q.onnx"), "--json").json
        self.assertTrue(r["met"], r["rungs"])
        names = [rung["name"] for rung in r["rungs"]]
        self.assertEqual(names[1], "sparse")
        # Pruning alone loses too much; then it is trained.
        self.assertEqual(names[2:], [] if r["rungs"][1]["chosen"] else ["sparse trained"])
        kept = r["rungs"][-1]["chosen"]
        if "drop_points" in r["rungs"][-1]:  # built with libtorch
            self.assertEqual(kept, r["rungs"][-1]["drop_points"] <= best + 0.1)
        self.assertEqual("sparsity" in r, kept)
        # Asked for, it comes first and the ladder climbs from there.
        r = self.slipway("quantize", self.model, "--config", self.path("q.yaml"), "--sparsity", "1:2", "-o", self.path("q.onnx"), "--json").json
        self.assertEqual(r["sparsity"]["pattern"], "1:2")
        self.assertEqual([rung["name"] for rung in r["rungs"]], ["min-max"])

    def test_deploy(self):
        """Platforms with integers get both, the others a pruned float model, as `quantize` gives them."""
        options = ["--calib", self.data, "--sparsity", "2:4", "--keep-dense", "conv5"]
        r = self.slipway("deploy", self.model, "--platforms", "tensorrt-int8,reference", *options, "--eval", self.data, "--no-record",
                         "-o", self.path("out"), "--json").json
        notes = "\n".join(r["notes"])
        for name, bits in (("tensorrt-int8", []), ("reference", ["--bits", "none"])):
            self.slipway("quantize", self.model, "--platform", name, *options, *bits, "-o", self.path("q.onnx"))
            with open(self.path("q.onnx"), "rb") as a, open(self.path("out", name + ".qdq.onnx"), "rb") as b:
                self.assertEqual(a.read(), b.read(), name)
            self.assertIn(name + ": 2 layers are pruned to 2:4", notes)
        self.assertIn("'reference' is no faster with 2:4", notes)
        self.assertNotIn("'tensorrt-int8' is no faster", notes)
        with open(self.path("out", "tensorrt-int8", "trtexec.sh"), encoding="utf-8") as file:
            self.assertIn("--sparsity=enable", file.read())
        r = self.slipway("deploy", self.model, "--platforms", "tensorrt-int8", *options, "--bits", "none", "--no-record", "-o", self.path("float"),
                         "--json").json
        self.assertEqual(r["platforms"][0]["exported"], [])

    def test_weights_alone(self):
        for method in ("rtn", "gptq"):
            r = self.slipway("quantize", self.model, "--sparsity", "2:4", "--sparse-ends", "--platform", "tensorrt-int8", "--calib", self.data,
                             "--algorithm", method, "--group", "8", "-o", self.path("q.onnx"), "--json").json
            self.assertIn("gemm14", [row["node"] for row in r["sparsity"]["layers"]])

    def test_mistakes(self):
        data = ["--platform", "x86-int8", "--calib", self.data]
        out = ["-o", self.path("q.onnx")]
        for pattern in ("5:4", "0:4", "4:4", "2", "block:4x4@1", "block:4x4@0", "block:4x4"):
            self.fails("quantize", self.model, "--sparsity", pattern, *data, *out, says=[pattern, "as in 2:4"])
        self.fails("quantize", self.model, "--bits", "none", *data, *out, says=["--sparsity"])
        self.fails("quantize", self.model, "--keep-dense", "conv3", *data, *out, says=["--sparsity 2:4"])
        self.fails("quantize", self.model, "--sparsity", "2:4", "--keep-dense", "nobody", *data, *out, says=["nobody"])
        self.fails("quantize", self.model, "--sparsity", "2:4", "--bits", "none", "--algorithm", "brecq", *data, *out, says=["--algorithm"])
        self.fails("quantize", self.model, "--sparsity", "2:4", "--bits", "none", *out, says=["--calib"])
        self.fails("quantize", self.model, "--sparsity", "64:128", *data, *out, says=["no layer that 64:128 fits", "fewer than 128"])


if __name__ == "__main__":
    main()
