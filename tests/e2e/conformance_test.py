#!/usr/bin/python3
"""ONNX's own backend test cases (Debian's libonnx-testdata 1.12): none may fail on any platform, those that pass may not
become fewer, and what is unsupported says why. docs/conformance.md (scripts/conformance) must not claim more."""
import os

from harness import BINARY, Case, ROOT, main

CASES = "/usr/share/libonnx-testdata/data"
# At least so many cases pass; raise it when more do.
FLOOR = 1014
# Cases whose files contradict the standard.
KNOWN = {f"node/test_{name}": "the expected output was truncated; Cast rounds to nearest even"
         for name in ("cast_FLOAT_to_BFLOAT16", "castlike_FLOAT_to_BFLOAT16", "castlike_FLOAT_to_BFLOAT16_expanded")}


class Onnx(Case):
    def check(self, platform):
        if not os.path.isdir(CASES):
            self.skipTest("libonnx-testdata is not installed; scripts/setup dev")
        r = self.slipway("conformance", CASES, "--platform", platform, "--json", code=None, timeout=900)
        self.assertIn(r.code, (0, 4), str(r))
        failed = {c["name"]: c["reason"] for c in r.json["cases"] if c["status"] == "failed" and c["name"] not in KNOWN}
        print(f"{platform}: {r.json['passed']} passed, {r.json['failed']} failed, {r.json['unsupported']} unsupported")
        self.assertEqual(failed, {})
        self.assertGreaterEqual(r.json["passed"], FLOOR)
        self.assertTrue(all(c["reason"] for c in r.json["cases"] if c["status"] == "unsupported"))
        if platform != "interpreter":
            self.assertTrue(all("own_node_share" in c for c in r.json["cases"] if c["status"] == "passed"))
            self.assertGreater(r.json["own_node_share"], 0.1)
            self.assertIn("own_mac_share", r.json)  # none of them on a CPU without AVX2
        return r.json

    def test_interpreter(self):
        self.check("interpreter")

    def test_reference(self):
        result = self.check("reference")
        # Data that contradict the model's declaration are followed, and it is said.
        notes = {c["name"]: c["note"] for c in result["cases"] if "note" in c}
        self.assertIn("'like' is declared [3, 4] and given [1]", notes["node/test_castlike_FLOAT_to_BFLOAT16"])

    def test_x86(self):
        self.check("x86")

    def test_x86_int8(self):
        self.check("x86-int8")

    def test_x86_onednn(self):
        self.check("x86-onednn")

    def test_x86_onednn_int8(self):
        self.check("x86-onednn-int8")

    def test_emulated(self):
        """A platform on another device, with a stand-in for qemu that runs this machine's own slipway-run."""
        if not os.path.isdir(CASES):
            self.skipTest("libonnx-testdata is not installed; scripts/setup dev")
        if not os.path.isdir("/usr/aarch64-linux-gnu/lib"):
            self.skipTest("no libraries of aarch64; scripts/setup core dev")
        for folder in ("bin", "platforms", "runners"):
            os.makedirs(self.path(folder))
        with open(self.path("bin", "qemu-aarch64"), "w", encoding="utf-8") as file:
            file.write('#!/bin/sh\nwhile [ $# -gt 0 ]; do case "$1" in */slipway-run-aarch64) exec "$@" ;; esac; shift; done\nexit 9\n')
        os.chmod(self.path("bin", "qemu-aarch64"), 0o755)
        os.symlink(os.environ.get("SLIPWAY_RUNNER", os.path.join(os.path.dirname(BINARY), "slipway-run")),
                   self.path("runners", "slipway-run-aarch64"))
        with open(self.path("platforms", "elsewhere.yaml"), "w", encoding="utf-8") as file:
            file.write("name: elsewhere\ndescription: a test\nvendor: any\nopenness: L2\narch: any\nbackends: [reference]\n"
                       "device: qemu-aarch64\nemulated: true\n"
                       "machine: {float_gmacs: 2, int8_gmacs: 2, memory_gbps: 8, cache_gbps: 8}\n")
        self.environment.update(PATH=self.path("bin") + ":" + self.environment["PATH"], SLIPWAY_RUNNERS=self.path("runners"),
                                SLIPWAY_PLATFORMS=self.path("platforms"))
        for part, most_unsupported in (("node/test_cast", 4), ("node/test_nonzero", 0), ("node/test_training_dropout", 4),
                                       ("node/test_split", 0)):
            r = self.slipway("conformance", CASES, "--platform", "elsewhere", "--filter", part, "--json", code=None)
            self.assertEqual({c["name"] for c in r.json["cases"] if c["status"] == "failed"} - set(KNOWN), set(), str(r))
            self.assertLessEqual(r.json["unsupported"], most_unsupported + sum("STRING" in c["name"] for c in r.json["cases"]))

    def test_page(self):
        """docs/conformance.md claims no more than what is; a part of it, from one more CPU, is made again."""
        if not os.path.isdir(CASES):
            self.skipTest("libonnx-testdata is not installed; scripts/setup dev")
        made = self.path("page.md")
        self.call(os.path.join(ROOT, "scripts", "conformance"), "--platforms", "x86-onednn", "-o", made, timeout=900)
        with open(made, encoding="utf-8") as new, open(os.path.join(ROOT, "docs", "conformance.md"), encoding="utf-8") as kept:
            rows, claimed = ([line.split(" | ") for line in file if line.startswith("| `x86-onednn`")] for file in (new, kept))
        self.assertEqual([r[1] for r in rows], ["this", "AVX2", "SSE4.1"])
        self.assertEqual([r[1] for r in claimed], ["this", "AVX2", "SSE4.1"])
        for now, then in zip(rows, claimed):
            self.assertGreaterEqual(int(now[2]), int(then[2]))
            self.assertLessEqual(int(now[3]), len(KNOWN))


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
