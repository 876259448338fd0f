#!/usr/bin/python3
"""ONNX's own backend test cases (Debian's libonnx-testdata 1.12): none may fail on any platform, those that pass may not
become fewer, and what is unsupported says why."""
import os

from harness import BINARY, Case, main

CASES = "/usr/share/libonnx-testdata/data"
# At least so many cases pass; raise it when more do.
FLOOR = {"interpreter": 760, "reference": 757, "x86": 757, "x86-onednn": 757}
# Cases whose files contradict themselves or the standard.
KNOWN = {
    "node/test_cast_FLOAT_to_BFLOAT16": "the expected output was truncated; Cast rounds to nearest even",
    "node/test_castlike_FLOAT_to_BFLOAT16": "the model declares 'like' as [3, 4], the file has [1]",
    "node/test_castlike_FLOAT_to_BFLOAT16_expanded": "the same",
    "node/test_castlike_BFLOAT16_to_FLOAT": "the same",
    "node/test_castlike_BFLOAT16_to_FLOAT_expanded": "the same",
}


class Onnx(Case):
    def check(self, platform):
        if not os.path.isdir(CASES):
            self.skipTest("libonnx-testdata is not installed; scripts/setup dev")
        r = self.slipway("conformance", CASES, "--platform", platform, "--json", code=None, timeout=900)
        self.assertIn(r.code, (0, 4), str(r))
        failed = {c["name"]: c["reason"] for c in r.json["cases"] if c["status"] == "failed" and c["name"] not in KNOWN}
        print(f"{platform}: {r.json['passed']} passed, {r.json['failed']} failed, {r.json['unsupported']} unsupported")
        self.assertEqual(failed, {})
        self.assertGreaterEqual(r.json["passed"], FLOOR[platform])
        self.assertTrue(all(c["reason"] for c in r.json["cases"] if c["status"] == "unsupported"))

    def test_interpreter(self):
        self.check("interpreter")

    def test_reference(self):
        self.check("reference")

    def test_x86(self):
        self.check("x86")

    def test_x86_onednn(self):
        self.check("x86-onednn")


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
