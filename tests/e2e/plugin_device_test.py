#!/usr/bin/python3
"""Plugins on devices: examples/backend-plugin and the plugin that lies, compiled for aarch64 too, run under qemu-user, on a board behind a stand-in for
adb, and over ssh; with a library of the wrong processor, none, a damaged one, and a runtime that cannot load any."""
import hashlib
import os
import shutil
import subprocess

import device_test
from harness import BINARY, ROOT, main
import npy
import onnx_writer as ox
import plugin_test

ARM = os.path.join(ROOT, "build", "runtime-aarch64")
CROSS = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc",
         "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++"]
SYSROOT = "/usr/aarch64-linux-gnu"

# adb's command line before a board of ARM: a program that was pushed runs under qemu.
ADB = """#!/bin/sh
echo "$*" >>"$ADB_LOG"
[ "$1" = -s ] && { [ "$2" = emulator-5554 ] || exit 9; shift 2; }
case $1 in
push) exec cp "$2" "$3" ;;
pull) exec cp "$2" "$3" ;;
shell) shift ;;
esac
[ "$*" = "uname -m" ] && { echo aarch64; exit; }
line=$*
eval "set -- $line"
case $1 in
*/[0-9]*_slipway-run*) exec qemu-aarch64 -L SYSROOT "$@" ;;
*) exec sh -c "$line" ;;
esac
""".replace("SYSROOT", SYSROOT)


def sha256(path):
    return hashlib.sha256(plugin_test.read(path)).hexdigest()


class OnDevices(plugin_test.Built):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if getattr(OnDevices, "arm_npu", None):
            return
        OnDevices.missing = next((what for what, there in (
            ("aarch64-linux-gnu-g++ and qemu-aarch64 (scripts/setup core dev)", shutil.which("aarch64-linux-gnu-g++") and shutil.which("qemu-aarch64")),
            ("build/runtime-aarch64/slipway-run-dynamic (scripts/build runtime-aarch64)", os.path.exists(os.path.join(ARM, "slipway-run-dynamic"))),
            ("a machine of x86_64", os.uname().machine == "x86_64")) if not there), None)
        if OnDevices.missing:
            return
        place = plugin_test.Built.place
        for name, library in (("npu", "libacme_npu.so"), ("liar", "libliar.so")):
            folder = os.path.join(place, name, "arm")
            for command in (["cmake", "-S", os.path.join(place, name), "-B", folder, "-DCMAKE_PREFIX_PATH=" + os.path.join(place, "prefix"), *CROSS],
                            ["cmake", "--build", folder]):
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
                if done.returncode != 0:
                    raise AssertionError(" ".join(command) + "\n" + done.stdout.decode(errors="replace")[-4000:])
            setattr(OnDevices, "arm_" + name, os.path.join(folder, library))

    def setUp(self):
        super().setUp()
        if self.missing:
            self.skipTest(f"skipped: needs {self.missing}")
        self.model = self.write("acme.onnx", plugin_test.acme_cnn())
        self.values = [((i * 7919) % 2003) / 500 - 2 for i in range(40 * 144)]
        npy.save(self.path("x.npy"), self.values, [40, 1, 12, 12])
        self.x = ["--input", "x=" + self.path("x.npy")]
        self.scheme = plugin_test.read(self.npu_platform).decode()

    def npu(self, name, device, plugins, arch="aarch64"):
        """The example's platform on a device."""
        text = self.scheme.replace("name: npu-demo", f"name: {name}\ndevice: {device}").replace("arch: x86_64", f"arch: {arch}")
        text = text.replace("features: [native]\n", "" if arch == "aarch64" else "features: []\n")
        text = text.replace("plugins: [libacme_npu.so]", f"plugins: {plugins}").replace("[x86, reference]", "[arm, reference]" if arch == "aarch64" else "[x86, reference]")
        return self.write(name + ".yaml", text)

    def quantized(self, platform):
        scores = self.run_model(self.model, *self.x, "--plugin", plugin_test.Built.npu, "--platform", "interpreter", label="float")["y"][0]
        labels = [max(range(4), key=scores[i * 4:i * 4 + 4].__getitem__) for i in range(40)]
        self.data = self.path("data.npz")
        npy.save_npz(self.data, inputs=(self.values, [40, 1, 12, 12], "<f4"), labels=(labels, [40], "<i8"))
        self.slipway("quantize", self.model, "--platform", platform, "--calib", self.data, "-o", self.path("q.onnx"))
        return self.path("q.onnx")

    def codes(self, q):
        """What the integers of this machine's own kernels give, which are the definition's."""
        return self.run_model(q, *self.x, "--plugin", plugin_test.Built.npu, "--platform", "x86-int8", label="codes")

    def used(self, library, bench):
        self.assertEqual(bench["plugins"], [{"file": os.path.basename(library), "sha256": sha256(library), "backend": "npu", "version": "1.2",
                                             "operators": "acme", "operators_version": "1.2"}])
        self.assertGreater(sum(n["macs"] for n in bench["nodes"] if n["backend"] == "npu"), 0, bench["nodes"])


class Npu(OnDevices):
    def test_emulated(self):
        both = f"[{{x86_64: {plugin_test.Built.npu}, aarch64: {self.arm_npu}}}]"
        platform = self.npu("npu-arm", "qemu-aarch64", both)
        q = self.quantized(platform)
        want = self.codes(q)
        # run, of a model and of a package, gives the same codes as the definition.
        self.agree(self.run_model(q, *self.x, "--platform", platform, label="model"), want, 0, "model")
        package = self.path("m.slip")
        self.slipway("compile", q, "--platform", platform, "-o", package)
        self.agree(self.run_model(package, *self.x, "--platform", platform, label="package"), want, 0, "package")
        self.fails("run", package, *self.x, "-o", self.path("here"), says=["m.slip", "aarch64"])  # without --platform: here
        self.fails("run", package, *self.x, "--platform", "arm64-int8", "-o", self.path("here"), says=["arm64-int8", "npu-arm"])

        bench = self.slipway("bench", q, "--platform", platform, "--json").json
        self.used(self.arm_npu, bench)
        self.assertTrue(bench["emulated"])
        rows = self.slipway("perfdb", "query", "--platform", "npu-arm", "--json").json["measurements"]
        self.assertIn(f"+npu-1.2(libacme_npu.so:{sha256(self.arm_npu)[:16]})", rows[0]["runtime_version"])
        self.assertIn("npu 1.2", self.slipway("bench", package, "--platform", platform, "--no-record").out)
        # The operators' own loops, as floats.
        loops = self.slipway("bench", self.model, "--platform", self.npu("loops", "qemu-aarch64", both), "--no-record", "--json").json
        self.assertEqual({n["backend"] for n in loops["nodes"] if n["op"].startswith("acme.")}, {"reference"})
        self.assertEqual(loops["plugins"][0]["operators"], "acme")

        top1 = self.slipway("eval", q, "--platform", platform, "--data", self.data, "--json").json["value"]
        report = self.slipway("deploy", self.model, "--platforms", platform, "--calib", self.data, "--eval", self.data, "-o", self.path("out"), "--json").json
        row = report["platforms"][0]
        self.assertGreater(top1, 0.8)
        self.assertGreater(row["accuracy"], 0.8, row)
        self.assertEqual([p["sha256"] for p in row["plugins"]], [sha256(self.arm_npu)])
        # The conformance of what the device computes.
        report = self.slipway("conformance", "--platform", platform, "--model", q, "--no-random", "--json").json
        self.assertEqual((report["passed"], report["failed"], report["plugins"]["wrong"]), (1, 0, 0), report)
        self.assertGreater(report["plugins"]["plugin_nodes"], 3)
        self.fails("conformance", "--platform", self.npu("npu-none", "qemu-aarch64", f"[{plugin_test.Built.npu}]"), "--model", q,
                   says=["qemu-aarch64", "--device-plugin"])

    def test_libraries_that_do_not_fit(self):
        here, arm = plugin_test.Built.npu, self.arm_npu
        platform = self.npu("npu-arm", "qemu-aarch64", f"[{here}]")
        q, package = self.quantized(platform), self.path("m.slip")
        self.slipway("compile", q, "--platform", platform, "-o", package)
        bench = ["bench", package, "--platform", platform, "--no-record"]
        # None, that of this machine, one of no use, and the right one.
        self.fails(*bench, says=["backend 'npu' (libacme_npu.so 1.2)", "qemu-aarch64", "--device-plugin", "aarch64"])
        self.fails(*bench, "--device-plugin", here, says=[here, "x86_64", "qemu-aarch64 is aarch64"])
        self.fails(*bench, "--device-plugin", self.path("none.so"), says=["none.so", "no such file"])
        self.fails(*bench, "--device-plugin", self.write("text.so", "no library"), says=["text.so", "no ELF file"])
        self.fails(*bench, "--device-plugin", self.write("cut.so", plugin_test.read(arm)[:5000]), says=["cut.so", "cut off"])
        self.fails(*bench, "--device-plugin", os.path.join(ARM, "slipway-run"), says=["slipway-run", "no shared library"])
        self.used(arm, self.slipway(*bench, "--device-plugin", arm, "--json").json)
        self.used(arm, self.slipway(*bench, "--device-plugin", arm, "--device-plugin", here, "--json").json)  # each device takes its own
        # A library that is no plugin, and one without what the package needs.
        libm = os.path.join(SYSROOT, "lib", "libm.so.6")
        self.fails(*bench, "--device-plugin", libm, says=["qemu-aarch64", "it is no plugin"], code=None)
        self.fails(*bench, "--device-plugin", self.arm_liar, says=["qemu-aarch64", "backend 'npu'"], code=None)
        # In the platform's file.
        for entry, says in ((f"[{here}, {{aarch64: {here}}}]", ["npu-arm", "x86_64", "aarch64"]),
                            (f"[{here}, {{aarch64: nowhere.so}}]", ["npu-arm", "nowhere.so", "SLIPWAY_PLUGINS"]),
                            (f"[{here}, {{aarch64: text.so}}]", ["npu-arm", "text.so", "no ELF file"])):
            self.npu("npu-arm", "qemu-aarch64", entry)
            self.fails(*bench, says=says)
        # A folder of SLIPWAY_PLUGINS.
        os.makedirs(self.path("plugins", "arm"))
        shutil.copy(arm, self.path("plugins", "arm"))
        self.npu("npu-arm", "qemu-aarch64", f"[{here}, {{aarch64: arm/libacme_npu.so}}]")
        self.environment["SLIPWAY_PLUGINS"] = self.path("plugins")
        self.used(arm, self.slipway(*bench, "--json").json)

    def test_a_run_side_alone(self):
        """The device gets a library without a compile side and without operators."""
        folder = os.path.join(plugin_test.Built.place, "npu")
        alone = self.path("libacme_run.so")
        done = self.call("aarch64-linux-gnu-g++", "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-fvisibility=hidden", "-I",
                         os.path.join(plugin_test.Built.place, "prefix", "include"), os.path.join(folder, "backend.cc"), "-o", alone)
        self.assertEqual(done.code, 0, str(done))
        platform = self.npu("npu-arm", "qemu-aarch64", f"[{plugin_test.Built.npu}, {{aarch64: {alone}}}]")
        q = self.quantized(platform)
        bench = self.slipway("bench", q, "--platform", platform, "--no-record", "--json").json
        self.assertEqual([(p["file"], p["backend"], p["version"], p["operators"]) for p in bench["plugins"]], [("libacme_run.so", "npu", "1.2", "")])
        want = self.codes(q)
        self.agree(self.run_model(q, *self.x, "--platform", platform), want, 0)

    def test_a_runtime_that_loads_none(self):
        """A Slipway that finds only the static runner."""
        platform = self.npu("npu-arm", "qemu-aarch64", f"[{{x86_64: {plugin_test.Built.npu}, aarch64: {self.arm_npu}}}]")
        q = self.quantized(platform)
        os.makedirs(self.path("bin"))
        shutil.copy(BINARY, self.path("bin", "slipway"))
        os.makedirs(self.path("runners"))
        shutil.copy(os.path.join(ARM, "slipway-run"), self.path("runners", "slipway-run-aarch64"))
        self.environment.update(SLIPWAY_RUNNERS=self.path("runners"), SLIPWAY_PLATFORMS=os.path.join(ROOT, "platforms"))
        command = [self.path("bin", "slipway"), "bench", q, "--platform", platform, "--no-record", "--json"]
        done = self.call(*command)
        self.assertEqual(done.code, 2, str(done))
        for word in ("slipway-run-aarch64", "statically", "slipway-run-dynamic"):
            self.assertIn(word, done.err, str(done))
        shutil.copy(os.path.join(ARM, "slipway-run-dynamic"), self.path("runners", "slipway-run-dynamic-aarch64"))
        done = self.call(*command)
        self.assertEqual(done.code, 0, str(done))
        self.used(self.arm_npu, done.json)

    def test_adb(self):
        os.makedirs(self.path("bin"))
        self.write("bin/adb", ADB)
        os.chmod(self.path("bin/adb"), 0o755)
        self.environment.update(PATH=self.path("bin") + ":" + self.environment["PATH"], ADB_LOG=self.path("log"))
        if not os.access("/data", os.W_OK) and os.geteuid() != 0:
            self.skipTest("skipped: /data/local/tmp cannot be made here")
        made = [d for d in ("/data", "/data/local", "/data/local/tmp") if not os.path.exists(d)]
        self.addCleanup(lambda: [os.rmdir(d) for d in reversed(made) if os.path.isdir(d) and not os.listdir(d)])
        platform = self.npu("npu-phone", "adb:emulator-5554", f"[{{x86_64: {plugin_test.Built.npu}, aarch64: {self.arm_npu}}}]")
        q = self.quantized(platform)
        self.used(self.arm_npu, self.slipway("bench", q, "--platform", platform, "--json").json)
        self.write("log", "")
        deployed = self.slipway("deploy", self.model, "--platforms", platform, "--calib", self.data, "--eval", self.data, "-o", self.path("out"), "--json").json
        self.assertGreater(deployed["platforms"][0]["accuracy"], 0.8, deployed)
        # Verified, evaluated and measured, with one copy of each.
        log = plugin_test.read(self.path("log")).decode().splitlines()
        self.assertGreater(sum("--plugin" in line for line in log), 3)
        for what in ("_libacme_npu.so", "_slipway-run-dynamic", "_npu-phone.slip"):
            self.assertEqual(sum(" push " in line and line.endswith(what) for line in log), 1, (what, log))
        # Nothing stays: neither during the work nor after it.
        folders = {line.split("'")[1] for line in log if "mkdir -p" in line}
        self.assertEqual(len(folders), 1, log)
        self.assertFalse(os.path.exists(folders.pop()))
        self.assertGreater(sum("rm -rf" in line and "_input_0.npy" in line for line in log), 2)
        # A model without the plugin's parts takes the small runner and no library.
        self.write("log", "")
        plain = self.write("plain.onnx", ox.tiny_cnn())
        self.assertEqual(self.slipway("bench", plain, "--platform", platform, "--no-record", "--json").json["plugins"], [])
        log = plugin_test.read(self.path("log")).decode()
        self.assertNotIn("libacme_npu", log)
        self.assertNotIn("dynamic", log)
        # Cases in processes of their own share what was put there for all, and take their own away.
        self.write("log", "")
        models = [shutil.copy(q, self.path(f"q{i}.onnx")) for i in range(3)]
        report = self.slipway("conformance", "--platform", platform, "--no-random", "--jobs", "2", "--inputs", "2", "--json",
                              *(word for model in [*models, plain] for word in ("--model", model))).json
        self.assertEqual((report["passed"], report["failed"], report["plugins"]["cases"]), (4, 0, 3), report)
        log = plugin_test.read(self.path("log")).decode().splitlines()
        for what in ("_libacme_npu.so", "_slipway-run-dynamic", "_slipway-run"):
            self.assertEqual(sum(" push " in line and line.endswith(what) for line in log), 1, (what, log))
        self.assertEqual(sum("rm -rf" in line and "_m.slip" in line for line in log), 8, log)
        folders = {line.split("'")[1] for line in log if "mkdir -p" in line}
        self.assertEqual(len(folders), 1, log)
        self.assertFalse(os.path.exists(folders.pop()))

    def test_ssh(self):
        """A real sshd; the board is this machine, and its library that of this machine."""
        device_test.Boards.start_sshd(self)
        platform = self.npu("npu-ssh", "ssh:board", f"[{plugin_test.Built.npu}]", arch="x86_64")
        q = self.quantized(platform)
        bench = self.slipway("bench", q, "--platform", platform, "--json").json
        self.used(plugin_test.Built.npu, bench)
        self.assertFalse(bench["emulated"])
        want = self.codes(q)
        self.agree(self.run_model(q, *self.x, "--platform", platform), want, 0)
        deployed = self.slipway("deploy", self.model, "--platforms", platform, "--calib", self.data, "--eval", self.data, "-o", self.path("out"), "--json").json
        self.assertGreater(deployed["platforms"][0]["accuracy"], 0.8, deployed)
        row = self.slipway("perfdb", "query", "--platform", "npu-ssh", "--json").json["measurements"][0]
        self.assertEqual(row["hardware"], "ssh:board")
        self.assertIn(f"+npu-1.2(libacme_npu.so:{sha256(plugin_test.Built.npu)[:16]})", row["runtime_version"])
        self.fails("bench", q, "--platform", platform, "--device-plugin", self.arm_npu, says=["aarch64", "ssh:board is x86_64"])


class Liar(OnDevices):
    def test_lies_on_the_device(self):
        net = ox.Net(1)
        net.op("Double", net.op("Keep", "x", domain="liar"), domain="liar")
        model = self.write("k.onnx", net.finish("t2", [6], ["K"]) + ox.blob(8, ox.blob(1, "liar") + ox.integer(2, 1)))
        target = self.write("liar-arm.yaml", "name: liar-arm\nopenness: L1\narch: aarch64\nbackends: [liar]\nfallback: [reference]\ndevice: qemu-aarch64\n"
                            f"plugins: [{{aarch64: {self.arm_liar}}}]\n")
        package = self.path("k.slip")
        self.slipway("compile", model, "--platform", target, "--plugin", plugin_test.Built.liar, "-o", package)
        npy.save(self.path("k.npy"), [1, -2, 3, -4, 5, -6], [6])
        # The host has not loaded the plugin: a package needs nothing of it here.
        run = ["run", package, "--platform", target, "--input", "x=" + self.path("k.npy"), "-o", self.path("out")]
        self.slipway(*run)
        self.assertEqual([list(v) for v in self.outputs(self.path("out"))["y"]], [[2, 6, 10], [3]])
        for lie, says in (("backend refuses", "libliar.so"), ("backend abi", "libliar.so"), ("backend size", "libliar.so"), ("backend taken", "libliar.so"),
                          ("backend functions", "libliar.so"), ("operators abi", "libliar.so"), ("operators twice", "libliar.so"), ("dims rank", "liar.Keep on liar"),
                          ("dims type", "liar.Keep on liar"), ("dims negative", "liar.Keep on liar"), ("dims huge", "liar.Keep on liar")):
            with self.subTest(lie):
                self.environment["LIE"] = lie
                done = self.slipway(*run, code=None)
                self.assertIn(done.code, (2, 3), str(done))
                for word in ("slipway-run on qemu-aarch64", says):
                    self.assertIn(word, done.err, str(done))
        del self.environment["LIE"]


if __name__ == "__main__":
    try:
        main()
    finally:
        shutil.rmtree(getattr(plugin_test.Built, "place", ""), ignore_errors=True)
