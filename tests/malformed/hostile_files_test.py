#!/usr/bin/python3
"""Hostile files through the command line: each is refused or handled in bounded time and memory, with one clear line.

Every case writes its file here (a few lines of protobuf by hand, standard library only), runs `slipway` and checks the
exit code (2, or 0 where the file is only large), the message, the time and the peak memory of the process.
"""
import os
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from onnx_writer import blob, integer, varint  # noqa: E402

ROOT = os.environ.get("SLIPWAY_SOURCE_DIR", os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
BINARY = os.environ.get("SLIPWAY_BINARY", os.path.join(ROOT, "build", "release", "slipway"))
MIB = 1 << 20
LONGEST_MESSAGE = 20000  # characters: an error never prints the file


def sanitized():
    with open(BINARY, "rb") as file:
        data = file.read()
    return b"__asan_init" in data or b"__tsan_init" in data


SANITIZED = sanitized() if os.path.exists(BINARY) else False
# Bounds of one run. They catch quadratic time and memory out of proportion, not a slow machine.
SECONDS = 240 if SANITIZED else 60
MEMORY = (8192 if SANITIZED else 1536) * MIB


# --- protobuf, https://protobuf.dev/programming-guides/encoding ---

def tensor(name, dims, data=b"", dtype=1, more=b""):
    out = b"".join(integer(1, d) for d in dims) + integer(2, dtype) + blob(8, name)
    return out + (blob(9, data) if data else b"") + more


def ints(name, values):
    return tensor(name, [len(values)], b"".join(struct.pack("<q", v) for v in values), 7)


def attribute(name, kind, payload):
    return blob(1, name) + payload + integer(20, kind)


def int_attribute(name, value):
    return attribute(name, 2, integer(3, value))


def float_attribute(name, value):
    return attribute(name, 1, varint(2 << 3 | 5) + struct.pack("<f", value))


def node(op, inputs, outputs, attributes=(), name=""):
    return (b"".join(blob(1, i) for i in inputs) + b"".join(blob(2, o) for o in outputs)
            + (blob(3, name) if name else b"") + blob(4, op) + b"".join(blob(5, a) for a in attributes))


def value(name, dims=None, dtype=1):
    shape = b""
    if dims is not None:
        shape = blob(2, b"".join(blob(1, blob(2, d) if isinstance(d, str) else integer(1, d)) for d in dims))
    return blob(1, name) + blob(2, blob(1, integer(1, dtype) + shape))


def graph(nodes, inputs=(), outputs=(), tensors=(), more=b""):
    return (b"".join(blob(1, n) for n in nodes) + blob(2, "g") + b"".join(blob(5, t) for t in tensors)
            + b"".join(blob(11, v) for v in inputs) + b"".join(blob(12, v) for v in outputs) + more)


def model(body, opset=17):
    return integer(1, 8) + blob(7, body) + blob(8, integer(2, opset))


class Hostile(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="slipway_hostile_")
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, data, name="m.onnx"):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def slipway(self, *words):
        """(exit code, message) within the bounds."""
        out, err = open(self.path("stdout"), "wb"), open(self.path("stderr"), "wb")
        begin = time.time()
        process = subprocess.Popen([BINARY, *words], stdout=out, stderr=err, cwd=self.folder.name,
                                   env=dict(os.environ, SLIPWAY_PLATFORMS=os.path.join(ROOT, "platforms")))
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.time() - begin > SECONDS:
                process.kill()
                os.wait4(process.pid, 0)
                process.returncode = -9
                self.fail(f"slipway {words[0]} ran longer than {SECONDS} s")
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.close()
        err.close()
        with open(self.path("stdout"), errors="replace") as file:
            text = file.read()
        with open(self.path("stderr"), errors="replace") as file:
            message = file.read()
        self.assertLess(usage.ru_maxrss * 1024, MEMORY, f"slipway {words[0]} used {usage.ru_maxrss // 1024} MiB")
        self.assertLess(len(message), LONGEST_MESSAGE)
        # 3: this machine has not the memory that the model asks for.
        self.assertIn(process.returncode, (0, 2, 3) if "resource exhausted" in message else (0, 2), message[-2000:])
        return process.returncode, message or text

    def refused(self, data, *parts, verb=("inspect",)):
        code, message = self.slipway(verb[0], self.write(data), *verb[1:])
        self.assertEqual(code, 2, message)
        for part in parts:
            self.assertIn(part, message)

    # --- wiring ---

    def test_cycle(self):
        nodes = [node("Add", ["x", "b"], ["a"], name="one"), node("Relu", ["a"], ["b"], name="two")]
        self.refused(model(graph(nodes, [value("x", [2])], [value("b")])), "cycle", "'one'")

    def test_missing_input_and_duplicate_names(self):
        self.refused(model(graph([node("Relu", ["nothing"], ["y"], name="r")], [], [value("y")])), "'nothing'", "'r'")
        twice = [node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"], name="second")]
        self.refused(model(graph(twice, [value("x", [2])], [value("y")])), "'y'", "twice")
        self.refused(model(graph([], [value("x", [2]), value("x", [2])], [value("x")])), "twice")
        doubled = [tensor("w", [1], b"\0" * 4)] * 2
        self.refused(model(graph([], [], [value("w")], doubled)), "'w'", "twice")

    # --- sizes ---

    def test_impossible_sizes(self):
        relu = [node("Relu", ["x"], ["y"])]
        self.refused(model(graph(relu, [value("x", [1 << 62, 8])], [value("y")])), "'x'", "impossible")
        self.refused(model(graph([], [], [value("w")], [tensor("w", [1 << 62, 1 << 62], b"\0" * 8)])), "'w'")
        self.refused(model(graph([], [], [value("w")], [tensor("w", [-1, 4], b"\0" * 8)])), "'w'")
        self.refused(model(graph([], [], [value("w")], [tensor("w", [1 << 40])])), "'w'")
        many = [value("x", [2] * 5000)]
        self.refused(model(graph(relu, many, [value("y")])))

    def test_negative_window(self):
        w = tensor("w", [1, 1, 3, 3], b"\0" * 36)
        for name, values in (("pads", [-1 << 62] * 4), ("strides", [0, -5]), ("dilations", [1 << 62, 1])):
            conv = node("Conv", ["x", "w"], ["y"], [attribute(name, 7, b"".join(integer(8, v) for v in values))], "conv")
            self.refused(model(graph([conv], [value("x", [1, 1, 8, 8])], [value("y")], [w])), "'conv'")

    def test_lengths_beyond_the_file(self):
        for length in ((1 << 32) - 1, (1 << 32) + 5, (1 << 63) - 1, (1 << 64) - 1):
            self.refused(integer(1, 8) + varint(7 << 3 | 2) + varint(length) + b"abc")
            inner = varint(1 << 3 | 2) + varint(length) + b"abc"  # in the graph
            self.refused(integer(1, 8) + blob(7, inner) + blob(8, integer(2, 17)))
            raw = integer(1, 4) + integer(2, 1) + blob(8, "w") + varint(9 << 3 | 2) + varint(length) + b"abc"
            self.refused(model(blob(5, raw) + blob(12, value("w"))))

    # --- external data ---

    def test_external_data_stays_in_the_folder(self):
        os.mkdir(self.path("model"))
        for place in ("secret.bin", "model/w.bin"):
            with open(self.path(place), "wb") as file:
                file.write(b"\0" * 64)
        os.symlink("../secret.bin", self.path("model/link.bin"))
        os.symlink("..", self.path("model/up"))

        def read(location, **more):
            pairs = {"location": location, **more}
            entries = b"".join(blob(13, blob(1, k) + blob(2, str(v))) for k, v in pairs.items())
            w = tensor("w", [4], more=entries + integer(14, 1))
            data = model(graph([node("Relu", ["w"], ["y"])], [], [value("y")], [w]))
            return self.slipway("inspect", self.write(data, "model/m.onnx"))

        self.assertEqual(read("w.bin")[0], 0)
        for location in ("../secret.bin", "link.bin", "up/secret.bin", "./../secret.bin", self.path("secret.bin"),
                         "/etc/passwd", "/dev/zero", "", "../../../../../../../../etc/passwd", "w.bin\0.txt"):
            code, message = read(location)
            self.assertEqual(code, 2, location)
            self.assertIn("'w'", message)
        for more in ({"offset": 1 << 62}, {"offset": -8}, {"offset": 60}, {"length": 1 << 62}, {"length": -1},
                     {"offset": "9" * 30}):
            self.assertEqual(read("w.bin", **more)[0], 2, more)
        self.assertEqual(read("m.onnx" * 100000)[0], 2)

    # --- depth ---

    def test_recursion_bombs(self):
        for depth in (200, 20000):
            body = graph([node("Identity", ["c"], ["y"])], [], [value("y", [], 9)])
            for _ in range(depth):
                both = [attribute("then_branch", 5, blob(6, body)), attribute("else_branch", 5, blob(6, body[:0] + graph(
                    [node("Identity", ["c"], ["y"])], [], [value("y", [], 9)])))]
                body = graph([node("If", ["c"], ["y"], both)], [], [value("y", [], 9)])
                if len(body) > 4 * MIB:
                    break
            top = body + blob(11, value("c", [], 9))
            code, message = self.slipway("inspect", self.write(model(top)))
            if depth > 1000:
                self.assertEqual(code, 2, message)

    def test_bodies(self):
        def choose(then, otherwise=None, out="y", name="choice"):
            branches = [attribute("then_branch", 5, blob(6, then))]
            if otherwise is not None:
                branches.append(attribute("else_branch", 5, blob(6, otherwise)))
            return node("If", ["c"], [out], branches, name)

        def body(read):
            return graph([node("Relu", [read], ["r"], name="inner")], [], [value("r", [2])])

        def file(*nodes):
            return model(graph(nodes, [value("c", [], 9), value("x", [2])], [value("y", [2])]))

        code, message = self.slipway("run", self.write(file(choose(body("x"), body("x")))), "--random", "--platform",
                                     "interpreter", "-o", self.path("out"))
        self.assertEqual(code, 0, message)
        self.refused(file(choose(body("nobody"), body("x"))), "'nobody'")
        self.refused(file(choose(body("x"))), "'choice'", "else_branch")
        # What the body captures is made from what the node makes.
        self.refused(file(choose(body("z"), body("x")), node("Neg", ["y"], ["z"], name="behind")), "cycle", "'behind'")

    def test_deep_types_and_groups(self):
        for field in (4, 9):  # sequence, optional
            kind = blob(1, integer(1, 1))
            for _ in range(20000):
                kind = blob(field, blob(1, kind))
                if len(kind) > 4 * MIB:
                    break
            self.refused(model(graph([], [blob(1, "x") + blob(2, kind)], [value("x")])))
        self.refused(b"\x0b" * 100000)  # groups in groups
        nested = b""
        for _ in range(20000):
            nested = blob(1, nested)
        self.refused(nested)

    # --- strings and counts ---

    def test_gigantic_strings(self):
        huge = "A" * (64 * MIB)
        for data in (model(graph([node(huge, ["x"], ["y"], name=huge[:1000])], [value("x", [2])], [value("y")])),
                     model(graph([node("Relu", ["x"], ["y"], [attribute(huge, 2, integer(3, 1))])], [value("x", [2])],
                                 [value("y")])),
                     model(graph([node("Relu", [huge], ["y"])], [value("x", [2])], [value("y")])),
                     model(graph([], [value("x", [huge[:8 * MIB]])], [value("z")]))):
            self.refused(data)
        text = node("Resize", ["x", "", "s"], ["y"], [attribute("mode", 3, blob(4, huge))], name="r")
        scales = tensor("s", [2], struct.pack("<2f", 2, 2))
        self.refused(model(graph([text], [value("x", [2, 2])], [value("y")], [scales])), "'r'")

    def test_many_small_things(self):
        million = 1000000
        self.refused(model(blob(1, b"") * million + blob(12, value("y"))))
        self.refused(model(graph([node("Relu", ["x"], ["y"]) + blob(5, b"") * million], [value("x", [2])],
                                 [value("y")])))
        # A million absent inputs are none.
        self.slipway("inspect", self.write(model(graph([node("Relu", ["x"], ["y"]) + blob(1, b"") * million],
                                                       [value("x", [2])], [value("y")]))))
        self.refused(model(graph([], [], [value("w")], [integer(1, 1) * million + integer(2, 1) + blob(8, "w")])), "'w'")
        self.refused(model(graph([], [value("x", [2])], [value("y")], more=blob(5, b"") * million)))

    def test_sparse_tensors(self):
        values, indices = tensor("s", [2], b"\0" * 8), ints("i", [0, (1 << 62) + 5])
        sparse = blob(1, values) + blob(2, indices) + integer(3, 1 << 62) + integer(3, 1 << 62)
        self.refused(model(graph([], [value("x", [2])], [value("x")], more=blob(15, sparse))), "'s'")
        constant = node("Constant", [], ["y"], [attribute("sparse_value", 11, blob(22, sparse))], "c")
        self.refused(model(graph([constant], [], [value("y")])), "'c'")

    # --- memory by folding and running ---

    def bombs(self):
        huge = 1 << 40
        one = tensor("one", [1], struct.pack("<f", 1))
        zero = tensor("zero", [], struct.pack("<q", 0), 7)
        limit = tensor("limit", [], struct.pack("<q", huge), 7)
        step = tensor("step", [], struct.pack("<q", 1), 7)
        yield "ConstantOfShape", node("ConstantOfShape", ["n"], ["b"]), [ints("n", [huge])]
        yield "Expand", node("Expand", ["one", "n"], ["b"]), [one, ints("n", [huge])]
        yield "Tile", node("Tile", ["one", "n"], ["b"]), [one, ints("n", [huge])]
        yield "Range", node("Range", ["zero", "limit", "step"], ["r"]) , [zero, limit, step]
        yield "Pad", node("Pad", ["one", "n"], ["b"]), [one, ints("n", [0, huge])]
        yield "OneHot", node("OneHot", ["i", "d", "v"], ["b"]), [
            ints("i", [0]), tensor("d", [], struct.pack("<q", huge), 7), tensor("v", [2], struct.pack("<2f", 0, 1))]
        yield "Resize", node("Resize", ["one", "", "f"], ["b"]), [one, tensor("f", [1], struct.pack("<f", huge))]

    def test_folding_bombs(self):
        for name, bomb, tensors in self.bombs():
            with self.subTest(name):
                nodes = [bomb]
                last = "b"
                if name == "Range":
                    nodes.append(node("Cast", ["r"], ["b"], [int_attribute("to", 1)]))
                nodes += [node("Relu", [last], ["c"]), node("ReduceSum", ["c"], ["s"], [int_attribute("keepdims", 0)]),
                          node("Add", ["x", "s"], ["y"])]
                path = self.write(model(graph(nodes, [value("x", [2])], [value("y")], tensors)))
                for verb in (["inspect"], ["optimize"], ["compile", "--platform", "x86", "-o", self.path("m.slip")],
                             ["run", "--platform", "reference", "-o", self.path("out")]):
                    self.slipway(verb[0], path, *verb[1:])
                code, message = self.slipway("run", path, "--platform", "interpreter", "-o", self.path("out"))
                self.assertIn(code, (2, 3), message)

    def test_folding_in_small_steps(self):
        # Every step grows no more than sixteenfold.
        nodes, tensors = [], [tensor("b0", [1 << 16], b"\0" * (4 << 16))]
        shape = [1 << 16]
        for i in range(6):
            shape = [15] + shape
            tensors.append(ints(f"n{i}", shape))
            nodes.append(node("Expand", [f"b{i}", f"n{i}"], [f"b{i + 1}"]))
        nodes += [node("ReduceSum", ["b6"], ["s"], [int_attribute("keepdims", 0)]), node("Add", ["x", "s"], ["y"])]
        path = self.write(model(graph(nodes, [value("x", [2])], [value("y")], tensors)))
        self.slipway("optimize", path)
        # Many results that are each small enough.
        base = tensor("b", [1 << 20], b"\0" * (4 << 20))
        nodes = [node("Expand", ["b", f"n{i}"], [f"e{i}"]) for i in range(100)]
        nodes += [node("ReduceSum", [f"e{i}"], [f"s{i}"], [int_attribute("keepdims", 0)]) for i in range(100)]
        nodes.append(node("Sum", ["x"] + [f"s{i}" for i in range(100)], ["y"]))
        tensors = [base] + [ints(f"n{i}", [10, 1, 1 << 20][i % 2:] if i % 2 else [10 + i // 2 % 5, 1 << 20])
                            for i in range(100)]
        self.slipway("optimize", self.write(model(graph(nodes, [value("x", [2])], [value("y")], tensors))))

    # --- time ---

    def large(self, nodes, outputs, tensors=(), inputs=None, verbs=(["inspect"], ["optimize"])):
        path = self.write(model(graph(nodes, inputs or [value("x", [4])], [value(o) for o in outputs], tensors)))
        for verb in verbs:
            code, message = self.slipway(verb[0], path, *verb[1:])
            self.assertEqual(code, 0, message[-1000:])

    def test_long_chain(self):
        count = 100000
        names = ["x"] + [f"v{i}" for i in range(count)]
        ops = ["Relu", "Neg", "Abs", "Sigmoid"]
        self.large([node(ops[i % 4], [names[i]], [names[i + 1]]) for i in range(count)], [names[-1]])
        w = tensor("w", [4], struct.pack("<4f", 1, 2, 3, 4))
        self.large([node("Mul" if i % 2 else "Add", [names[i], "w"], [names[i + 1]]) for i in range(count)],
                   [names[-1]], [w])
        self.large([node("Identity", [names[i]], [names[i + 1]]) for i in range(count)], [names[-1]])

    def test_wide_fan(self):
        count = 30000
        different = [node("LeakyRelu", ["x"], [f"v{i}"], [float_attribute("alpha", i / count)]) for i in range(count)]
        together = node("Sum", [f"v{i}" for i in range(count)], ["y"])
        self.large(different + [together], ["y"])
        same = [node("Relu", ["x"], [f"v{i}"]) for i in range(count)]
        self.large(same + [together], ["y"])
        self.large(same, [f"v{i}" for i in range(count)], verbs=(["optimize"],))
        joined = node("Concat", [f"v{i}" for i in range(count)], ["y"], [int_attribute("axis", 0)])
        self.large(same + [joined], ["y"], verbs=(["optimize"],))

    def test_many_unused_and_transposes(self):
        count = 50000
        dead = [node("Relu", ["x"], [f"v{i}"]) for i in range(count)]
        self.large(dead + [node("Neg", ["x"], ["y"])], ["y"], verbs=(["optimize"],))
        names = ["x"] + [f"t{i}" for i in range(count)]
        perm = attribute("perm", 7, integer(8, 1) + integer(8, 0))
        self.large([node("Transpose" if i % 2 else "Relu", [names[i]], [names[i + 1]], [perm] if i % 2 else [])
                    for i in range(count)], [names[-1]], inputs=[value("x", [4, 6])], verbs=(["optimize"],))

    def test_symbolic_blow_up(self):
        def concat(inputs, output, axis=0):
            return node("Concat", inputs, [output], [int_attribute("axis", axis)])

        # N doubles two hundred times.
        names = ["x"] + [f"v{i}" for i in range(200)]
        self.refused(model(graph([concat([names[i]] * 2, names[i + 1]) for i in range(200)], [value("x", ["N"])],
                                 [value(names[-1])])))
        # A sum of many symbols multiplied by itself.
        inputs = [value(f"x{i}", [f"S{i}", 1]) for i in range(60)]
        nodes = [concat([f"x{i}" for i in range(60)], "s")]
        nodes.append(node("Transpose", ["s"], ["t"]))
        nodes.append(node("MatMul", ["s", "t"], ["m0"]))
        for i in range(12):
            nodes.append(node("Reshape", [f"m{i}", "flat"], [f"f{i}"]))
            nodes.append(node("Transpose", [f"f{i}"], [f"g{i}"]))
            nodes.append(node("MatMul", [f"f{i}", f"g{i}"], [f"m{i + 1}"]))
        code, _ = self.slipway("inspect", self.write(model(graph(nodes, inputs, [value("m12")],
                                                                 [ints("flat", [-1, 1])]))))
        self.assertIn(code, (0, 2))
        # Floor divisions in floor divisions.
        nodes, last = [], "x"
        for i in range(300):
            nodes.append(node("MaxPool", [last], [f"p{i}"], [
                attribute("kernel_shape", 7, integer(8, 3)), attribute("strides", 7, integer(8, 2)),
                attribute("pads", 7, integer(8, 1) + integer(8, 1))]))
            last = f"p{i}"
        self.slipway("inspect", self.write(model(graph(nodes, [value("x", ["N", "C", "L"])], [value(last)]))))

    # --- data ---

    def test_zip_bomb(self):
        relu = [node("Relu", ["x"], ["y"])]
        path = self.write(model(graph(relu, [value("x", ["N", 4])], [value("y")])))
        with zipfile.ZipFile(self.path("bomb.zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
            with out.open("images.npy", "w", force_zip64=True) as member:
                chunk = b"\0" * (8 * MIB)
                for _ in range(96):
                    member.write(chunk)
        os.rename(self.path("bomb.zip"), self.path("bomb.npz"))
        code, message = self.slipway("eval", path, "--data", self.path("bomb.npz"), "--metric", "top1")
        self.assertEqual(code, 2, message)
        with zipfile.ZipFile(self.path("many.zip"), "w") as out:
            for i in range(70000):
                out.writestr(f"{i}.npy", b"")
        self.assertEqual(self.slipway("eval", path, "--data", self.path("many.zip"), "--metric", "top1")[0], 2)
        with zipfile.ZipFile(self.path("up.zip"), "w") as out:
            out.writestr("../../escaped.npy", b"x")
        self.assertEqual(self.slipway("eval", path, "--data", self.path("up.zip"), "--metric", "top1")[0], 2)
        self.assertFalse(os.path.exists(os.path.join(os.path.dirname(self.folder.name), "escaped.npy")))


if __name__ == "__main__":
    if not os.access(BINARY, os.X_OK):
        print(f"hostile_files_test.py: {BINARY} is not there; run scripts/build", file=sys.stderr)
        sys.exit(3)
    unittest.main(verbosity=1)
