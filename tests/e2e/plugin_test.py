#!/usr/bin/python3
"""Plugins: examples/backend-plugin and a plugin that lies, each built by its own CMake project against the installed headers alone. A model with the
plugin's operator goes the whole road on the plugin's backend; every lie is refused with a message that names the plugin."""
import hashlib
import os
import random
import shutil
import struct
import subprocess
import tempfile

from harness import BINARY, ROOT, RUNNER, Case, main
import npy
import onnx_writer as ox

BUILD = os.environ.get("SLIPWAY_BUILD") or os.path.dirname(os.path.abspath(BINARY))
CLASSES = 4


def build(prefix, source, folder):
    """Its own project, with nothing of this tree but what was installed."""
    for command in (["cmake", "-S", source, "-B", folder, "-DCMAKE_PREFIX_PATH=" + prefix], ["cmake", "--build", folder]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise AssertionError(" ".join(command) + "\n" + done.stdout.decode(errors="replace")[-4000:])


def read(path):
    with open(path, "rb") as file:
        return file.read()


def signed(package):
    """With the hash that the changed program has (docs/package-format.md): damage that the runtime cannot see."""
    start, size = struct.unpack_from("<QQ", package, 16)
    return bytes(package[:32]) + hashlib.sha256(package[start:start + size]).digest() + bytes(package[64:])


class Built(Case):
    """Both plugins, built once."""

    @classmethod
    def setUpClass(cls):
        if cls is Built or getattr(Built, "liar", None):
            return
        Built.place = tempfile.mkdtemp(prefix="slipway-plugins-")
        prefix = os.path.join(Built.place, "prefix")
        done = subprocess.run(["cmake", "--install", BUILD, "--component", "headers", "--prefix", prefix], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stdout.decode(errors="replace"))
        # A copy: nothing of the tree is in reach.
        for name, source in (("npu", os.path.join(ROOT, "examples", "backend-plugin")), ("liar", os.path.join(ROOT, "tests", "plugins"))):
            copy = os.path.join(Built.place, name)
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build"))
            build(prefix, copy, os.path.join(copy, "build"))
        Built.npu = os.path.join(Built.place, "npu", "build", "libacme_npu.so")
        Built.npu_platform = os.path.join(Built.place, "npu", "build", "npu-demo.yaml")
        Built.liar = os.path.join(Built.place, "liar", "build", "libliar.so")

    def platform(self, name, backends, plugin, extra=""):
        return self.write(name + ".yaml", f"name: {name}\nopenness: L1\narch: x86_64\nbackends: [{backends}]\nfallback: [reference]\n"
                          f"plugins: [{plugin}]\n{extra}")


def acme_cnn(batch="N", version=1):
    """float32[N, 1, 12, 12] -> float32[N, 4]: convolutions that the NPU takes, one that it does not (its groups), an addition that it does not have, and the two
    operators of the plugin."""
    net = ox.Net(11)
    x = net.op("Relu", net.conv("x", 1, 8))
    y = net.op("Relu", net.conv(x, 8, 8))
    x = net.op("Relu", net.op("Add", net.conv(y, 8, 8), x))
    x = net.op("Relu", net.conv(x, 8, 8, group=8))
    x = net.op("Relu", net.conv(x, 8, 16, k=1))
    x = net.op("GridMaxPool", x, domain="acme", grid=[3, 3])
    x = net.op("SoftThreshold", x, domain="acme", **{"lambda": 0.125})
    x = net.op("Flatten", x)
    x = net.op("Gemm", x, net.weight([CLASSES, 144]), net.weight([CLASSES], 0.1), transB=1)
    return net.finish(x, [batch, 1, 12, 12], [batch, CLASSES]) + ox.blob(8, ox.blob(1, "acme") + ox.integer(2, version))


class Npu(Built):
    samples = 120

    def setUp(self):
        super().setUp()
        rng = random.Random(5)
        values = []
        for _ in range(self.samples):
            offset, scale = rng.uniform(-3, 3), rng.uniform(0.2, 3)
            values += [offset + rng.gauss(0, scale) for _ in range(144)]
        self.model = self.write("acme.onnx", acme_cnn())
        self.dims = [self.samples, 1, 12, 12]
        npy.save(self.path("x.npy"), values, self.dims)
        self.x = ["--input", "x=" + self.path("x.npy")]
        self.plugin = ["--plugin", self.npu]
        scores = self.run_model(self.model, *self.x, *self.plugin, "--platform", "interpreter", label="float")["y"][0]
        rows = [scores[i * CLASSES:(i + 1) * CLASSES] for i in range(self.samples)]
        self.scores = rows
        labels = [max(range(CLASSES), key=row.__getitem__) for row in rows]
        self.data = self.path("data.npz")
        npy.save_npz(self.data, inputs=(values, self.dims, "<f4"), labels=(labels, [self.samples], "<i8"))
        self.values = values

    def quantize(self):
        out = self.path("q.onnx")
        self.quantized = self.slipway("quantize", self.model, "--platform", self.npu_platform, "--calib", self.data, "--eval", self.data, "--json", "-o", out).json
        return out

    def test_the_operator_means_what_it_says(self):
        # The oracle once more, in Python.
        net = ox.Net(1)
        net.op("GridMaxPool", "x", domain="acme", grid=[2, 3])
        model = self.write("grid.onnx", net.finish(net.op("SoftThreshold", "t1", domain="acme"), ["N", 2, 5, 7], ["N", 2, 2, 3]) +
                           ox.blob(8, ox.blob(1, "acme") + ox.integer(2, 1)))
        rng = random.Random(3)
        values = [struct.unpack("f", struct.pack("f", rng.gauss(0, 1)))[0] for _ in range(3 * 2 * 5 * 7)]
        npy.save(self.path("g.npy"), values, [3, 2, 5, 7])
        want = []
        for plane in range(6):
            for r in range(2):
                for c in range(3):
                    cell = [values[(plane * 5 + i) * 7 + j] for i in range(r * 5 // 2, -((r + 1) * -5 // 2)) for j in range(c * 7 // 3, -((c + 1) * -7 // 3))]
                    v = max(cell)
                    want.append(max(abs(v) - 0.5, 0) * (1 if v >= 0 else -1))
        for platform in ("interpreter", "reference", "x86"):
            got = self.run_model(model, "--input", "x=" + self.path("g.npy"), *self.plugin, "--platform", platform)["y"]
            self.assertEqual(got[1], [3, 2, 2, 3])
            for a, b in zip(got[0], want):
                self.assertAlmostEqual(a, b, delta=1e-6)

    def test_without_the_plugin(self):
        line = self.fails("inspect", self.model, says=["GridMaxPool", "acme", "--plugin"])
        self.assertIn("SoftThreshold", line)
        self.fails("inspect", self.model, "--plugin", self.path("no.so"), says=["no.so", "docs/plugins.md"])
        self.fails("inspect", self.model, "--plugin", self.write("text.so", "no library"), says="text.so")
        # Beside the model it is never looked for.
        shutil.copy(self.npu, self.path("libacme_npu.so"))
        self.fails("inspect", self.model, says="--plugin")
        newer = self.write("newer.onnx", acme_cnn(version=2))
        self.fails("inspect", newer, *self.plugin, says=["version 2", "acme", "libacme_npu.so"])

    def test_platform_finds_its_plugin(self):
        elsewhere = self.write("npu-demo.yaml", read(self.npu_platform))
        os.makedirs(self.path("empty"))
        self.environment["SLIPWAY_PLUGINS"] = self.path("empty")
        self.fails("compile", self.model, "--platform", elsewhere, "-o", self.path("m.slip"), says=["npu-demo", "libacme_npu.so", "SLIPWAY_PLUGINS"])
        self.environment["SLIPWAY_PLUGINS"] = self.path("empty") + ":" + os.path.dirname(self.npu)
        self.slipway("compile", self.quantize(), "--platform", elsewhere, "-o", self.path("m.slip"))
        del self.environment["SLIPWAY_PLUGINS"]
        self.slipway("compile", self.path("q.onnx"), "--platform", elsewhere, "--plugin", self.npu, "-o", self.path("m.slip"))
        # Listing platforms names plugins and loads none.
        os.makedirs(self.path("platforms"))
        shutil.copy(self.npu_platform, self.path("platforms", "npu-demo.yaml"))
        self.environment["SLIPWAY_PLATFORMS"] = self.path("platforms")
        rows = {p["name"]: p for p in self.slipway("platforms", "--json").json["platforms"]}
        self.assertEqual(rows["npu-demo"]["plugins"], ["libacme_npu.so"])
        self.fails("platforms", "show", "npu-demo", says="libacme_npu.so")
        self.environment["SLIPWAY_PLUGINS"] = os.path.dirname(self.npu)
        text = self.slipway("platforms", "show", "npu-demo").out
        for word in ("backend npu 1.2 of libacme_npu.so", "operator acme.GridMaxPool version 1", "operator acme.SoftThreshold"):
            self.assertIn(word, text)

    def test_placement_by_time(self):
        """The NPU and the CPU as a pair: whole plans are timed, each alone among them, and the kept one computes the same codes."""
        q = self.quantize()
        scheme = read(self.npu_platform).decode()
        pair = self.write("pair.yaml", scheme.replace("name: npu-demo", "name: pair").replace("backends: [npu]", "backends: [npu, x86]")
                          .replace("fallback: [x86, reference]", "fallback: [reference]"))
        package = self.path("pair.slip")
        said = self.slipway("compile", q, "--platform", pair, *self.plugin, "--tune", "--tune-rounds", "3", "-o", package, "--json").json
        names = {name for p in said["plans"] for name in (p["name"], *p["also"])}
        self.assertTrue({"npu alone", "x86 alone"} <= names, names)
        alone = next(p for p in said["plans"] if "npu alone" in (p["name"], *p["also"]))
        self.assertGreater(alone["nodes"].get("npu", 0), 0, alone)
        self.assertEqual(sum(p["chosen"] for p in said["plans"]), 1)
        self.assertEqual(self.run_model(package, *self.x, *self.plugin, label="kept"),
                         self.run_model(q, *self.x, *self.plugin, "--platform", "x86-int8", label="x86"))

    def test_whole_road(self):
        seen = self.slipway("inspect", self.model, *self.plugin, "--json").json
        self.assertEqual((seen["ops"]["acme.GridMaxPool"], seen["ops"]["acme.SoftThreshold"]), (1, 1))
        want = self.run_model(self.model, *self.x, *self.plugin, "--platform", "interpreter", label="want")
        self.slipway("optimize", self.model, *self.plugin, "-o", self.path("o.onnx"))
        self.agree(self.run_model(self.path("o.onnx"), *self.x, *self.plugin, "--platform", "interpreter"), want, 1e-5, "optimized")
        self.slipway("export", self.model, *self.plugin, "--opset", "17", "-o", self.path("e.onnx"))
        self.agree(self.run_model(self.path("e.onnx"), *self.x, *self.plugin, "--platform", "interpreter"), want, 1e-6, "exported")
        # As floats it runs too: the operators by their own loops.
        self.agree(self.run_model(self.model, *self.x, *self.plugin, "--platform", "x86"), want, 1e-4, "x86")

        q = self.quantize()
        self.assertGreaterEqual(self.quantized["quantized_nodes"], 5)
        self.assertEqual(self.quantized["float_top1"], 1)
        self.assertGreater(self.quantized["top1"], 0.85)
        integer = self.run_model(q, *self.x, *self.plugin, "--platform", "interpreter", label="integer")
        package = self.path("m.slip")
        compiled = self.slipway("compile", q, "--platform", self.npu_platform, "-o", package, "--json").json
        where = {row["op"]: row["backend"] for row in compiled["nodes"]}
        self.assertEqual(where["acme.GridMaxPool"], "npu", compiled["nodes"])
        self.assertNotIn("acme.SoftThreshold", where)  # a table between codes
        self.assertTrue(0.5 < compiled["own_mac_share"] < 1, compiled["own_mac_share"])
        reasons = " ".join(r for row in compiled["nodes"] for r in row["reasons"])
        self.assertIn("npu: group 8", reasons)
        again = self.slipway("compile", q, "--platform", self.npu_platform, "-o", self.path("again.slip"), "--json").json
        self.assertEqual(again["size"], compiled["size"])
        self.assertEqual(read(package), read(self.path("again.slip")))
        # The same codes as the definition of the integer operators has.
        self.agree(self.run_model(package, *self.x, *self.plugin, label="npu"), integer, 1e-6, "npu")
        self.slipway("verify", package, "--against", q, *self.plugin)
        # And as the platform x86-int8 has, bit for bit.
        self.slipway("compile", q, "--platform", "x86-int8", *self.plugin, "-o", self.path("cpu.slip"))
        rng = random.Random(8)
        npy.save(self.path("r.npy"), [rng.gauss(0, 2) for _ in range(50 * 144)], [50, 1, 12, 12])
        self.assertEqual(*(self.run_model(p, "--input", "x=" + self.path("r.npy"), *self.plugin) for p in (package, self.path("cpu.slip"))))

        bench = self.slipway("bench", package, *self.plugin, "--shape", "x=2,1,12,12", "--json").json
        on_npu = sum(n["macs"] for n in bench["nodes"] if n["backend"] == "npu")
        self.assertAlmostEqual(on_npu / sum(n["macs"] for n in bench["nodes"]), compiled["own_mac_share"], delta=0.01)
        self.slipway("bench", q, "--platform", self.npu_platform, "--shape", "x=1,1,12,12")
        rows = self.slipway("perfdb", "query", "--platform", "npu-demo", "--json").out
        self.assertIn("npu-1.2", rows)
        top1 = self.slipway("eval", package, *self.plugin, "--data", self.data, "--json").json["value"]
        self.assertAlmostEqual(top1, self.quantized["top1"], delta=0.02)

        folder = self.path("deployed")
        report = self.slipway("deploy", self.model, "--platforms", self.npu_platform + ",x86-int8", "--calib", self.data, "--eval", self.data, "--max-drop", "20",
                              "-o", folder, "--json").json
        names = [p["platform"] for p in report["platforms"]]
        self.assertEqual(sorted(names), ["npu-demo", "x86-int8"])
        for p in report["platforms"]:
            self.assertGreater(p["accuracy"], 0.8, p)

    def test_runs_with_the_runtime_alone(self):
        q, package = self.quantize(), self.path("m.slip")
        self.slipway("compile", q, "--platform", self.npu_platform, "-o", package)
        os.makedirs(self.path("ran"))
        done = self.call(RUNNER, package, *self.plugin, *self.x, "--output-dir", self.path("ran"), "--threads", "2")
        self.assertEqual(done.code, 0, str(done))
        want = self.run_model(q, *self.x, *self.plugin, "--platform", "interpreter", label="want")
        self.agree(self.outputs(self.path("ran")), want, 1e-6, "slipway-run")
        for command in ([RUNNER, package, "--shape", "x=1,1,12,12"], [BINARY, "run", package, "--random"]):
            done = self.call(*command)
            self.assertNotEqual(done.code, 0)
            for word in ("backend 'npu'", "libacme_npu.so", "--plugin"):
                self.assertIn(word, done.err, str(done))
        # On a platform without the NPU the operator's loops are in the package, and need the plugin.
        loops = self.path("loops.slip")
        self.slipway("compile", self.model, "--platform", "reference", *self.plugin, "-o", loops)
        done = self.call(RUNNER, loops, "--shape", "x=1,1,12,12")
        self.assertNotEqual(done.code, 0)
        self.assertIn("--plugin", done.err)
        self.assertIn("acme.", done.err)
        self.assertEqual(self.call(RUNNER, loops, *self.plugin, "--shape", "x=1,1,12,12").code, 0)

    def test_damaged_programs(self):
        q, package = self.quantize(), self.path("m.slip")
        self.slipway("compile", q, "--platform", self.npu_platform, "-o", package)
        data = read(package)
        rng = random.Random(9)
        places = []
        at = data.find(b"ANPU")
        while at >= 0:
            places.append(at)
            at = data.find(b"ANPU", at + 1)
        self.assertGreaterEqual(len(places), 2)
        refused = 0
        for i in range(60):
            bad = bytearray(data)
            at = rng.choice(places) + 4 * rng.randrange(24)
            bad[at:at + 4] = struct.pack("<I", rng.choice([0, 1, 5, 255, 65536, 0x7FFFFFFF, 0xFFFFFFFF]))
            done = self.call(RUNNER, self.write("bad.slip", signed(bad)), *self.plugin, "--shape", "x=1,1,12,12")
            self.assertIn(done.code, (0, 1, 2, 3), str(done))  # never by a signal
            refused += done.code != 0
        self.assertGreater(refused, 30)


class Liar(Built):
    LOADING = ["backend refuses", "backend abi", "backend size", "backend name", "backend taken", "backend functions", "operators refuse", "operators abi",
               "operators set size", "operators null list", "operators many", "operators twice", "operator null", "operator size", "operator domain",
               "operator domain empty", "operator domain null", "operator domain bytes", "operator name", "operator version", "operator functions", "operator arity",
               "operator outputs", "operator rule", "operator rule arity", "attributes null", "attributes many", "attribute name", "attribute kind", "attribute twice",
               "attribute default", "compiler refuses", "compiler abi", "compiler size", "compiler name null", "compiler name", "compiler other name",
               "compiler version", "compiler level", "compiler functions"]
    INFERRING = ["infer fails silently", "infer no terminator", "infer dtype", "infer string", "infer rank", "infer negative rank", "infer zero", "infer stranger",
                 "infer huge"]
    RUNNING = ["run fails silently", "run before", "run behind", "run refuses"]
    COMPILING = ["candidates none", "candidates fail", "candidate null", "candidate size", "candidate kernel null", "candidate kernel empty", "candidate kernel long",
                 "candidate kernel bytes", "candidate input layout", "candidate output layout", "candidate layout rank", "candidate cost", "candidate endless cost",
                 "candidate efficiency", "candidate efficiency above one", "candidate overhead", "candidate in place", "candidates many", "compile fails",
                 "compile nothing", "step null", "step size", "step kernel", "step no nodes", "step null nodes", "step node index", "step several nodes",
                 "step null inputs", "step value index", "step negative value", "step other input", "step other output", "step absent output", "step no outputs",
                 "step more outputs", "blob null", "blob huge", "step workspace", "step in place", "packed null", "packed many", "packed bytes", "packed data",
                 "packed type", "packed rank", "step twice"]

    def setUp(self):
        super().setUp()
        net = ox.Net(1)
        net.op("Double", net.op("Relu", "x"), domain="liar", note="hello")
        self.model = self.write("m.onnx", net.finish("t2", [2, 3], [2, 3]) + ox.blob(8, ox.blob(1, "liar") + ox.integer(2, 1)))
        npy.save(self.path("x.npy"), [1, -2, 3, -4, 5, -6], [2, 3])
        self.x = ["--input", "x=" + self.path("x.npy")]
        self.plugin = ["--plugin", self.liar]
        self.target = self.platform("liar", "liar", self.liar)

    def lies(self, about, *arguments):
        self.environment["LIE"] = about
        done = self.slipway(*arguments, code=None)
        del self.environment["LIE"]
        self.assertIn(done.code, (2, 3), f"{about}: {done}")  # refused, and not by a signal
        self.assertIn("libliar.so", done.err, f"{about}: {done}")
        return done.err

    def test_honest(self):
        want = [2, 0, 6, 0, 10, 0]
        for platform in ("interpreter", "reference", "x86", self.target):
            got = self.run_model(self.model, *self.x, *self.plugin, "--platform", platform)
            self.assertEqual([list(v) for v in got["y"]], [want, [2, 3]], platform)
        row = [n for n in self.slipway("compile", self.model, "--platform", self.target, "-o", self.path("m.slip"), "--json").json["nodes"] if n["op"] == "liar.Double"][0]
        self.assertEqual((row["backend"], row["kernel"], row["macs"]), ("liar", "double", 6))
        self.assertAlmostEqual(row["expected_ms"], 0.0005)  # its own price
        self.assertEqual(self.slipway("inspect", self.model, *self.plugin, "--json").json["macs_here"], 6)
        symbolic = ox.Net(1)
        symbolic.op("Double", "x", domain="liar")
        dynamic = self.write("d.onnx", symbolic.finish("t1", ["N", 3], ["N", 3]) + ox.blob(8, ox.blob(1, "liar") + ox.integer(2, 1)))
        self.assertEqual(self.run_model(dynamic, *self.x, *self.plugin, "--platform", self.target)["y"][1], [2, 3])
        # An attribute that the operator does not have, and one of another type.
        for attributes, says in (({"color": 3}, "color"), ({"note": 3}, "note")):
            net = ox.Net(1)
            net.op("Double", "x", domain="liar", **attributes)
            self.fails("inspect", self.write("a.onnx", net.finish("t1", [2, 3], [2, 3]) + ox.blob(8, ox.blob(1, "liar") + ox.integer(2, 1))), *self.plugin, says=says)

    def test_loading(self):
        for lie in self.LOADING:
            with self.subTest(lie):
                self.lies(lie, "inspect", self.model, *self.plugin)

    def test_inference(self):
        for lie in self.INFERRING:
            with self.subTest(lie):
                self.lies(lie, "inspect", self.model, *self.plugin)

    def test_running(self):
        for lie in self.RUNNING:
            with self.subTest(lie):
                said = self.lies(lie, "run", self.model, *self.x, *self.plugin, "--platform", "interpreter", "-o", self.path("out"))
                if lie in ("run before", "run behind"):
                    self.assertIn("write outside of output 0", said)

    def test_compiling(self):
        for lie in self.COMPILING:
            with self.subTest(lie):
                self.lies(lie, "compile", self.model, "--platform", self.target, "-o", self.path("m.slip"))

    def test_extents_that_the_data_decide(self):
        net = ox.Net(1)
        net.op("Double", net.op("Keep", "x", domain="liar"), domain="liar")
        model = self.write("k.onnx", net.finish("t2", [6], ["K"]) + ox.blob(8, ox.blob(1, "liar") + ox.integer(2, 1)))
        npy.save(self.path("k.npy"), [1, -2, 3, -4, 5, -6], [6])
        x = ["--input", "x=" + self.path("k.npy")]
        for platform in ("interpreter", "reference", self.target):
            got = self.run_model(model, *x, *self.plugin, "--platform", platform)
            self.assertEqual([list(v) for v in got["y"]], [[2, 6, 10], [3]], platform)
        package = self.path("k.slip")
        rows = self.slipway("compile", model, "--platform", self.target, "-o", package, "--json").json["nodes"]
        self.assertEqual([r["backend"] for r in rows if r["op"] == "liar.Keep"], ["liar"])
        for lie in ("dims rank", "dims type", "dims many", "dims unanswered", "dims negative", "dims huge"):
            with self.subTest(lie):
                self.environment["LIE"] = lie
                done = self.call(RUNNER, package, *self.plugin, *x)
                self.assertIn(done.code, (1, 2, 3), str(done))
                self.assertIn("liar.Keep on liar", done.err, str(done))
        loops = self.path("loops.slip")
        del self.environment["LIE"]
        self.slipway("compile", model, "--platform", "reference", *self.plugin, "-o", loops)
        for lie in ("keep never says", "keep rank", "keep type", "keep huge"):
            with self.subTest(lie):
                self.environment["LIE"] = lie
                done = self.slipway("run", model, *x, *self.plugin, "--platform", "interpreter", "-o", self.path("out"), code=None)
                self.assertIn(done.code, (2, 3), str(done))
                self.assertIn("liar.Keep", done.err, str(done))
                # That much memory is refused before anybody asks why.
                self.assertIn("memory limit" if lie == "keep huge" else "libliar.so", done.err, str(done))
                done = self.call(RUNNER, loops, *self.plugin, *x)
                self.assertIn(done.code, (1, 2, 3), str(done))
                self.assertIn("liar.Keep on reference", done.err, str(done))
                del self.environment["LIE"]
        # A plugin of before gives_data_dims, and one that declines: the loops run.
        for lie in ("compiler older", "no output_dims"):
            self.environment["LIE"] = lie
            rows = self.slipway("compile", model, "--platform", self.target, "-o", package, "--json").json["nodes"]
            self.assertEqual([r["backend"] for r in rows if r["op"] == "liar.Keep"], ["reference"], lie)
            self.assertEqual(list(self.run_model(package, *x, *self.plugin)["y"][0]), [2, 6, 10])
        del self.environment["LIE"]

    def test_another_version_of_the_plugin(self):
        package = self.path("m.slip")
        self.slipway("compile", self.model, "--platform", "reference", *self.plugin, "-o", package)
        self.assertEqual(self.call(RUNNER, package, *self.plugin).code, 0)
        self.environment["LIE"] = "infer changes"
        done = self.call(RUNNER, package, *self.plugin)
        self.assertNotEqual(done.code, 0)
        for word in ("libliar.so", "float32[2, 3]", "float32[2, 4]"):
            self.assertIn(word, done.err, str(done))
        # An honest package with a blob that is not of this plugin.
        del self.environment["LIE"]
        self.slipway("compile", self.model, "--platform", self.target, "-o", package)
        data = read(package)
        done = self.call(RUNNER, self.write("bad.slip", signed(data.replace(b"twice", b"thric"))), *self.plugin)
        self.assertNotEqual(done.code, 0)
        self.assertIn("not my blob", done.err)

    def test_a_package_names_no_file_to_load(self):
        # The platform's name in a package is what a stranger wrote: it leads to no YAML file and so to no plugin.
        package = self.path("m.slip")
        self.platform("other", "x86", self.liar)
        plain = self.write("plain.onnx", ox.tiny_cnn(batch=1))
        path = self.path("other.yaml")
        name = "n" * len(path)
        self.write("named.yaml", f"name: {name}\nopenness: L1\narch: x86_64\nbackends: [x86]\nfallback: [reference]\n")
        self.slipway("compile", plain, "--platform", self.path("named.yaml"), "-o", package)
        data = read(package)
        self.assertIn(name.encode(), data)
        hostile = self.write("hostile.slip", signed(data.replace(name.encode(), path.encode())))
        self.environment["LIE"] = "backend abi"  # loading it would fail
        self.slipway("bench", hostile, "--no-record", "--json")


if __name__ == "__main__":
    try:
        main()
    finally:
        shutil.rmtree(getattr(Built, "place", ""), ignore_errors=True)
