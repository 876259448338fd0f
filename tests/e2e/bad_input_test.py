#!/usr/bin/python3
"""Wrong input of every kind: one line that names the thing and the remedy, exit code 2, never a crash."""
import random
import struct
import time
import zlib

from harness import BINARY, Case, main
import npy
import onnx_writer as ox


class BadModel(Case):
    VERBS = [["inspect", "{}"], ["optimize", "{}", "-o", "o.onnx"], ["export", "{}", "-o", "e.onnx"], ["run", "{}", "--random"],
             ["compile", "{}", "--platform", "reference", "-o", "m.slip"], ["bench", "{}", "--no-record"]]

    def each_verb(self, path, says):
        for verb in self.VERBS:
            with self.subTest(verb=verb[0]):
                self.fails(*[a.format(path) for a in verb], says=says)

    def test_missing_file(self):
        self.each_verb("/no/such/model.onnx", ["/no/such/model.onnx", "check the path"])

    def test_a_folder(self):
        self.each_verb(self.folder, [self.folder, "not a file", "give"])

    def test_not_onnx(self):
        for name, data in [("text.onnx", "hello, this is no model at all\n" * 9), ("picture.onnx", b"\x89PNG\r\n\x1a\n" + bytes(99)),
                           ("zip.onnx", b"PK\x03\x04" + bytes(200)), ("zeros.onnx", bytes(4096)), ("noise.onnx", random.Random(1).randbytes(4096))]:
            with self.subTest(name):
                line = self.fails("inspect", self.write(name, data), says=name)
                self.assertIn("ONNX", line)

    def test_empty_file(self):
        self.each_verb(self.write("empty.onnx", b""), ["empty.onnx", "empty"])

    def test_unknown_operator(self):
        data = ox.model([ox.node("Frobnicate", ["x"], ["y"], "odd/one")], [ox.value_info("x", [1, 4])], [ox.value_info("y", [1, 4])])
        self.each_verb(self.write("unknown.onnx", data), ["unknown.onnx", "Frobnicate"])

    def test_unknown_domain(self):
        data = ox.model([ox.node("Magic", ["x"], ["y"], "m", domain="com.example")], [ox.value_info("x", [1])], [ox.value_info("y", [1])])
        self.fails("inspect", self.write("domain.onnx", data), says=["com.example", "Magic"])

    def test_nan_weights(self):
        for bad in (float("nan"), float("inf")):
            data = ox.model([ox.node("MatMul", ["x", "weights/w"], ["y"], "mm")], [ox.value_info("x", [1, 2])], [ox.value_info("y", [1, 2])],
                            [ox.tensor("weights/w", [2, 2], [1.0, bad, 0.5, 2.0])])
            self.each_verb(self.write("nan.onnx", data), ["nan.onnx", "weights/w", str(bad)[:3].lower() if bad != bad else "inf"])

    def test_undefined_value(self):
        data = ox.model([ox.node("Relu", ["nowhere"], ["y"], "r")], [ox.value_info("x", [1])], [ox.value_info("y", [1])])
        self.fails("inspect", self.write("undefined.onnx", data), says=["undefined.onnx", "nowhere"])

    def test_impossible_shapes(self):
        data = ox.model([ox.node("MatMul", ["x", "w"], ["y"], "mm")], [ox.value_info("x", [1, 3])], [ox.value_info("y", [1, 2])],
                        [ox.tensor("w", [2, 2], [1.0] * 4)])
        self.fails("compile", self.write("shapes.onnx", data), "--platform", "reference", "-o", "m.slip", says=["shapes.onnx", "mm"])

    def test_huge_shape(self):
        net = ox.Net()
        shape = net.ints([1 << 40, 1 << 20])
        net.nodes.append(ox.node("Expand", ["x", shape], ["y"], "big"))
        data = ox.model(net.nodes, [ox.value_info("x", [1, 1])], [ox.value_info("y", [1 << 40, 1 << 20])], net.initializers)
        for platform in ("interpreter", "reference"):
            result = self.slipway("run", self.write("huge.onnx", data), "--random", "--platform", platform, code=None)
            self.assertIn(result.code, (2, 3), str(result))
            self.assertIn("big", result.err)

    def test_opset_too_new_and_too_old(self):
        for opset, word in ((0, "opset"), (99, "99")):
            self.fails("inspect", self.write("opset.onnx", ox.tiny_cnn(opset=opset)), says=["opset.onnx", word])

    def test_truncated_model(self):
        whole = ox.tiny_cnn()
        for cut in sorted({1, 2, 3, 5, 17, len(whole) - 1, *(len(whole) * k // 23 for k in range(1, 23))}):
            result = self.slipway("inspect", self.write("cut.onnx", whole[:cut]), code=None)
            self.assertIn(result.code, (0, 2), f"cut at {cut}: {result}")  # a cut between fields may leave a whole model
            if result.code == 2:
                self.assertIn("cut.onnx", result.err)

    def test_flipped_model(self):
        """Flipped bits give another model or an error, never a crash. Bounded by time; the seed is printed."""
        whole, seed = bytearray(ox.tiny_cnn()), int(time.time())
        print(f"seed {seed}")
        rng, end = random.Random(seed), time.monotonic() + 10
        while time.monotonic() < end:
            data = bytearray(whole)
            at, bit = rng.randrange(min(len(data), 600)) if rng.random() < 0.5 else rng.randrange(len(data)), rng.randrange(8)
            data[at] ^= 1 << bit
            result = self.slipway("run", self.write("flip.onnx", data), "--random", "--shape", "x=1,1,8,8", "--platform", "reference", code=None, timeout=60)
            self.assertIn(result.code, (0, 2, 3), f"byte {at} bit {bit}: {result}")


class BadCall(Case):
    def setUp(self):
        super().setUp()
        self.model = self.write("tiny.onnx", ox.tiny_cnn())
        self.fixed = self.write("fixed.onnx", ox.tiny_cnn(batch=1))

    def test_unknown_platform(self):
        for arguments in (["compile", self.model, "-o", "m.slip", "--platform", "z80"], ["bench", self.model, "--platform", "z80"],
                          ["deploy", self.model, "--platforms", "reference,z80", "-o", self.path("d")],
                          ["platforms", "show", "z80"], ["inspect", self.model, "--platform", "z80"]):
            with self.subTest(arguments[0]):
                self.fails(*arguments, says=["z80", "choose one of", "reference", "x86-int8"])

    def test_foreign_platform_does_not_run_here(self):
        # One that has no device: those of qemu and boards run there.
        foreign = self.write("foreign.yaml", "name: foreign\ndescription: another architecture\nopenness: L2\narch: aarch64\nbackends: [arm]\nfallback: [reference]\n")
        self.fails("run", self.model, "--random", "--platform", foreign, says=["foreign", "aarch64"])

    def test_no_verb_and_wrong_verb(self):
        for arguments in ([], ["depoly"], ["run"], ["compile", self.model, "--platform"], ["run", self.model, "--no-such-option"]):
            self.slipway(*arguments, code=2)

    def test_wrong_input_shape(self):
        npy.save(self.path("wrong.npy"), [0.0] * 27, [1, 3, 3, 3])
        npy.save(self.path("rank.npy"), [0.0] * 64, [64])
        self.slipway("compile", self.model, "--platform", "reference", "-o", self.path("m.slip"))
        for model in ([self.model, "--platform", "interpreter"], [self.model, "--platform", "reference"], [self.model], [self.path("m.slip")]):
            for file in ("wrong.npy", "rank.npy"):
                with self.subTest(model=model, file=file):
                    line = self.fails("run", *model, "--input", "x=" + self.path(file), says=["'x'", "expect", "given"])
                    self.assertTrue("64" in line or "3" in line or "rank 1" in line, line)

    def test_wrong_input_type(self):
        npy.save(self.path("int.npy"), [0] * 64, [1, 1, 8, 8], "<i8")
        for platform in ("interpreter", "reference"):
            self.fails("run", self.model, "--platform", platform, "--input", "x=" + self.path("int.npy"), says=["'x'", "int64", "float32"])

    def test_missing_and_surplus_input(self):
        npy.save(self.path("x.npy"), [0.0] * 64, [1, 1, 8, 8])
        self.fails("run", self.model, says=["'x'", "--input x=FILE.npy"])
        self.fails("run", self.model, "--input", "z=" + self.path("x.npy"), says=["'z'", "x: float32"])
        self.fails("run", self.model, "--input", self.path("x.npy"), says=["name=value"])
        self.fails("run", self.model, "--input", "x=/no/such.npy", says=["/no/such.npy", "check the path"])

    def test_wrong_shape_option(self):
        self.fails("run", self.model, "--random", "--shape", "z=1,1,8,8", says=["'z'", "x: float32"])
        self.fails("run", self.model, "--random", "--shape", "x=1,2", says=["x has 2 dimensions"])
        self.fails("run", self.model, "--random", "--shape", "x=1,1,8,8a", says=["'8a'", "name=1,3,224,224"])
        self.fails("run", self.model, "--random", "--shape", "x=1,-1,8,8", says=["'-1'"])
        self.fails("run", self.model, "--random", "--shape", "x", says=["name=value"])
        self.fails("run", self.fixed, "--random", "--shape", "x=2,1,8,8", "--platform", "reference", says=["'x'"])
        self.fails("compile", self.model, "--platform", "reference", "-o", "m.slip", "--shape", "z=1", says=["'z'"])
        self.fails("compile", self.model, "--platform", "reference", "-o", "m.slip", "--shape", "x=1,3,8,8", says=["x"])

    def test_fixed_batch(self):
        self.fails("bench", self.fixed, "--batch", "4", "--no-record", says=["--batch 4", "fixed at 1", "dynamic batch"])

    def test_unwritable_output(self):
        npy.save_npz(self.path("data.npz"), inputs=([0.5] * 64 * 8, [8, 1, 8, 8], "<f4"), labels=([0] * 8, [8], "<i8"))
        self.slipway("bench", self.model, "--platform", "reference", "--samples", "3", "--seconds", "0")
        data = self.path("data.npz")
        # Below a regular file, and in /proc: unwritable for root too.
        for place in (self.model + "/below", "/proc/slipway-test/x"):
            for arguments in (["compile", self.model, "--platform", "reference", "-o", place + "/m.slip"],
                              ["optimize", self.model, "-o", place + "/m.onnx"],
                              ["export", self.model, "-o", place + "/m.onnx"],
                              ["run", self.model, "--random", "-o", place],
                              ["quantize", self.model, "--platform", "x86-int8", "--calib", data, "-o", place + "/q.onnx"],
                              ["deploy", self.model, "--platforms", "reference", "-o", place],
                              ["perfdb", "export", place + "/p.jsonl"]):
                with self.subTest(verb=arguments[0], place=place):
                    self.fails(*arguments, says=[place])
        self.fails("compile", self.model, "--platform", "reference", "-o", self.folder, says=[self.folder])

    def test_package_where_a_model_belongs(self):
        self.slipway("compile", self.model, "--platform", "reference", "-o", self.path("m.slip"))
        self.fails("compile", self.path("m.slip"), "--platform", "reference", "-o", "n.slip", says=["m.slip", "compiled package", ".onnx"])
        self.fails("verify", self.model, says=["tiny.onnx", "package"])

    def test_quantizing_for_a_float_platform(self):
        npy.save_npz(self.path("data.npz"), inputs=([0.5] * 64, [1, 1, 8, 8], "<f4"))
        self.fails("quantize", self.model, "--platform", "reference", "--calib", self.path("data.npz"), "-o", "q.onnx", says=["reference", "-int8"])

    def test_wrong_names_of_passes_and_nodes(self):
        self.fails("optimize", self.model, "--disable", "no_such_pass", says=["no_such_pass"])
        self.fails("compile", self.model, "--platform", "reference", "--explain", "no_such_node", says=["no_such_node"])


class BadData(Case):
    def setUp(self):
        super().setUp()
        self.model = self.write("tiny.onnx", ox.tiny_cnn())

    def with_data(self, data, says):
        for arguments in (["quantize", self.model, "--platform", "x86-int8", "--calib", data, "-o", self.path("q.onnx")],
                          ["eval", self.model, "--platform", "reference", "--data", data],
                          ["deploy", self.model, "--platforms", "x86-int8", "--calib", data, "-o", self.path("d")]):
            with self.subTest(verb=arguments[0]):
                self.fails(*arguments, says=says)

    def test_empty_folder(self):
        import os
        os.mkdir(self.path("nothing"))
        self.with_data(self.path("nothing"), ["nothing", ".npy"])

    def test_missing_folder(self):
        self.with_data("/no/such/data", ["/no/such/data"])

    def test_calibration_is_needed(self):
        self.fails("deploy", self.model, "--platforms", "x86-int8", "-o", self.path("d"), says=["--calib"])
        self.fails("deploy", self.model, "--platforms", "reference", "--max-drop", "1", "-o", self.path("d"), says=["--max-drop", "--eval"])

    def test_samples_of_another_shape(self):
        npy.save_npz(self.path("big.npz"), inputs=([0.5] * 200, [2, 1, 10, 10], "<f4"), labels=([0, 1], [2], "<i8"))
        self.with_data(self.path("big.npz"), ["big.npz", "'x'", "[1, 10, 10]", "[N, ...]"])
        npy.save_npz(self.path("images.npz"), images=([1] * 200, [2, 10, 10, 1], "|u1"), labels=([0, 1], [2], "<i8"))
        self.with_data(self.path("images.npz"), ["images.npz", "'x'", "preprocess.yaml"])

    def test_arrays_of_other_names_and_lengths(self):
        npy.save_npz(self.path("names.npz"), y=([0.5] * 128, [2, 1, 8, 8], "<f4"), labels=([0, 1], [2], "<i8"))
        self.with_data(self.path("names.npz"), ["names.npz", "no array for input 'x'", "it has: y"])
        npy.save_npz(self.path("rows.npz"), x=([0.5] * 128, [2, 1, 8, 8], "<f4"), y=([0.5], [1], "<f4"))
        self.with_data(self.path("rows.npz"), ["rows.npz", "'y' has 1 samples, 'x' has 2"])

    def test_no_labels(self):
        npy.save_npz(self.path("bare.npz"), inputs=([0.5] * 64, [1, 1, 8, 8], "<f4"))
        self.fails("eval", self.model, "--platform", "reference", "--data", self.path("bare.npz"), says=["bare.npz", "label"])

    def test_labels_of_another_length(self):
        npy.save_npz(self.path("odd.npz"), inputs=([0.5] * 128, [2, 1, 8, 8], "<f4"), labels=([0], [1], "<i8"))
        self.fails("eval", self.model, "--platform", "reference", "--data", self.path("odd.npz"), says=["odd.npz"])

    def test_wrong_preprocess(self):
        npy.save_npz(self.path("data.npz"), inputs=([0.5] * 64, [1, 1, 8, 8], "<f4"), labels=([0], [1], "<i8"))
        for text, says in (("resize: [", "preprocess.yaml"), ("resise: 8\n", "resise"), ("mean: much\n", "mean")):
            with self.subTest(text):
                self.fails("eval", self.model, "--platform", "reference", "--data", self.path("data.npz"), "--preprocess",
                           self.write("preprocess.yaml", text), says=["preprocess.yaml", says])

    def test_corrupt_npy(self):
        good = npy.dump([0.0] * 64, [1, 1, 8, 8])
        fortran = good.replace(b"'fortran_order': False", b"'fortran_order': True ")
        broken = {"cut_header": good[:20], "cut_data": good[:-4], "magic": b"\x93NUMPX" + good[6:], "empty": b"", "version": good[:6] + b"\x09\x00" + good[8:],
                  "fortran": fortran, "objects": good.replace(b"'<f4'", b"'|O' "), "big_endian": good.replace(b"'<f4'", b"'>f4'"),
                  "negative": good.replace(b"(1, 1, 8, 8)", b"(1,-1, 8, 8)"), "huge": good.replace(b"(1, 1, 8, 8)", b"(9999999999,)"),
                  "header_length": good[:8] + struct.pack("<H", 65535) + good[10:]}
        for name, data in broken.items():
            with self.subTest(name):
                self.fails("run", self.model, "--platform", "reference", "--input", "x=" + self.write(name + ".npy", data), says=[name + ".npy"])

    def test_perfdb(self):
        self.fails("perfdb", "query", says=["perf.db", "slipway bench"])
        self.fails("perfdb", "steps", says=["perf.db"])
        self.fails("perfdb", "import", "/no/such.jsonl", says=["/no/such.jsonl"])
        self.fails("perfdb", "import", self.write("bad.jsonl", "not json\n"), says=["bad.jsonl line 1"])
        self.fails("perfdb", "import", self.write("head.jsonl", "{}\n"), says=["head.jsonl line 1", "slipway perfdb export"])
        self.fails("perfdb", "import", self.write("row.jsonl", '{"slipway_perfdb": 1}\n{"type": "measurement"}\n'), says=["row.jsonl line 2"])
        self.fails("perfdb", "stats", "--db", self.write("text.db", "this is not a database, and long enough to be taken for one" * 9), says=["text.db"])
        self.slipway("perfdb", code=2)

    def test_conformance(self):
        self.fails("conformance", "/no/such/folder", says=["/no/such/folder"])
        self.fails("conformance", self.folder, says=[self.folder, "model.onnx", "libonnx-testdata"])
        self.fails("conformance", self.folder, "--platform", "z80", says=["z80", "choose one of"])


class BadPackage(Case):
    def setUp(self):
        super().setUp()
        self.model = self.write("tiny.onnx", ox.tiny_cnn())
        self.slipway("compile", self.model, "--platform", "reference", "-o", self.path("good.slip"))
        with open(self.path("good.slip"), "rb") as file:
            self.good = file.read()

    def test_missing_and_foreign(self):
        self.fails("run", "/no/such.slip", "--random", says=["/no/such.slip", "check the path"])
        self.fails("verify", "/no/such.slip", says=["/no/such.slip"])
        for name, data in (("empty.slip", b""), ("model.slip", ox.tiny_cnn()), ("zeros.slip", bytes(9999)), ("text.slip", "hello" * 99)):
            for verb in (["run", "--random"], ["verify"], ["inspect"], ["bench"]):
                with self.subTest(name=name, verb=verb[0]):
                    self.fails(verb[0], self.write(name, data), *verb[1:], says=[name])

    def test_truncated(self):
        size = len(self.good)
        for cut in sorted({1, 8, 63, 64, size - 1, *(size * k // 17 for k in range(1, 17))}):
            path = self.write("cut.slip", self.good[:cut])
            with self.subTest(cut=cut):
                self.fails("run", path, "--random", says=["cut.slip"])
                self.fails("verify", path, says=["cut.slip"])

    def test_flipped(self):
        """A flipped bit anywhere is found by verify; running it is an error or an answer, never a crash."""
        seed = int(time.time())
        print(f"seed {seed}, package crc {zlib.crc32(self.good):08x}")
        rng, end, found, tried = random.Random(seed), time.monotonic() + 10, 0, 0
        while time.monotonic() < end:
            data = bytearray(self.good)
            at, bit = rng.randrange(len(data)), rng.randrange(8)
            data[at] ^= 1 << bit
            path = self.write("flip.slip", data)
            verify = self.slipway("verify", path, code=None)
            self.assertIn(verify.code, (0, 2), f"byte {at} bit {bit}: {verify}")
            run = self.slipway("run", path, "--random", code=None, timeout=60)
            self.assertIn(run.code, (0, 2, 3), f"byte {at} bit {bit}: {run}")
            tried += 1
            found += verify.code == 2
        print(f"verify found {found} of {tried} flips")
        # Padding between segments carries no meaning and no hash.
        self.assertGreater(found, 0.8 * tried)

    def test_verify_against_another_model(self):
        other = self.write("other.onnx", ox.tiny_cnn(seed=9))
        line = self.fails("verify", self.path("good.slip"), "--against", other, code=4, says=["'y'", "debug-accuracy"])
        self.assertNotIn("nan", line)
        shape = self.write("shape.onnx", ox.tiny_transformer())
        self.fails("verify", self.path("good.slip"), "--against", shape, says=["'x'"])


if __name__ == "__main__":
    import os
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
