#!/usr/bin/python3
"""Every platform with integers: a network is quantized by its scheme, computed with its integers here, and written for its tool."""
import os

from harness import main, sanitized_build
from labelled import LabelledNet


class Platforms(LabelledNet):
    samples = 96

    def test_every_scheme(self):
        platforms = [p for p in self.slipway("platforms", "--json").json["platforms"] if p["weight_bits"]]
        self.assertGreaterEqual(len(platforms), 30)
        exported = 0
        for p in platforms:
            if p["run"] == "emulated":
                continue  # as its x86 twin, only slower
            name, out = p["name"], self.path("q.onnx")
            r = self.slipway("quantize", self.model, "--platform", name, "--calib", self.data, "--eval", self.data, "-o", out, "--json", code=None)
            if sanitized_build() and r.code == 2 and "which this build does not have" in r.err:
                continue  # a vendor's library, which such builds are made without
            self.assertEqual(r.code, 0, str(r))
            r = r.json
            self.assertGreaterEqual(r["quantized_nodes"], 1, name)
            self.assertGreater(r["top1"], 0.9 if p["weight_bits"] >= 7 else 0.7 if p["weight_bits"] >= 4 else 0.3, name)
            # What was computed with the platform's integers is what the file says.
            want = self.run_model(out, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter", label="want")
            self.agree(self.run_model(out, "--input", "x=" + self.path("x.npy"), "--platform", name), want, 0.06, name)
            if not p["export"]:
                continue
            folder = self.path("out-" + name)
            files = self.slipway("export", out, "--platform", name, "-o", folder, "--json").json["files"]
            self.assertTrue(p["export"] == "c" or any(f.endswith("README.txt") for f in files), files)
            for f in files:
                self.assertGreater(os.path.getsize(f), 0, f)
            exported += 1
        self.assertGreaterEqual(exported, 22)

    def test_what_is_not_here_has_accuracy_and_no_time(self):
        failed = self.slipway("bench", self.model, "--platform", "vitis-int8", code=2)
        self.assertIn("not here", failed.err)
        self.assertIn("slipway export --platform vitis-int8", failed.err)
        r = self.slipway("deploy", self.model, "--platforms", "vitis-int8,nnie-int8", "--calib", self.data, "--eval", self.data, "--no-record",
                         "-o", self.path("d"), "--json").json
        for p in r["platforms"]:
            self.assertGreater(p["accuracy"], 0.9, p)
            self.assertIsNone(p.get("p50_ms"), p)
        self.assertIn("is not here", " ".join(r["notes"]))
        shown = self.slipway("platforms", "show", "vitis-int8").out
        for word in ("powers of two", "vitis", "not here"):
            self.assertIn(word, shown)


if __name__ == "__main__":
    main()
