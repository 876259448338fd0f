#!/usr/bin/python3
"""Models with loops and branches as PyTorch exports them (torch.jit.script, dynamic trip counts), against PyTorch itself. Skips where PyTorch
(python3-torch) is absent."""
import sys
import warnings

from harness import Case, main

try:
    import numpy as np
    import torch
except ImportError:
    print("skipped: needs python3-torch and python3-numpy (scripts/setup dev)")
    sys.exit(77)

PLATFORMS = ("reference", "x86", "x86-onednn")


class Greedy(torch.nn.Module):
    """Decoding: the tokens so far grow by one until the end token or `most`."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.table = torch.nn.Parameter(torch.randn(12, 16))
        self.w = torch.nn.Parameter(torch.randn(16, 16) * 0.4)
        self.head = torch.nn.Linear(16, 12)

    def forward(self, first: torch.Tensor, most: int):
        h = torch.zeros(1, 16)
        token = first
        tokens = first
        i = 0
        going = True
        while going and i < most:
            h = torch.tanh(torch.matmul(h, self.w) + self.table[token])
            token = torch.argmax(self.head(h), dim=1)
            tokens = torch.cat([tokens, token], dim=0)
            going = bool(token[0] != 3)
            i += 1
        return tokens, h


class Recurrent(torch.nn.Module):
    """A cell over a sequence of any length; which of two cells, the data of each step decide."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.a = torch.nn.Linear(8, 8)
        self.b = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor):
        h = torch.zeros(x.size(1), 8)
        total = torch.zeros(x.size(1), 8)
        for i in range(x.size(0)):
            if bool(x[i].sum() > 0):
                h = torch.tanh(self.a(h) + x[i])
            else:
                h = torch.sigmoid(self.b(h) - x[i])
            total = total + h
        return h, total


def export(module, arguments, path, names, outputs, axes):
    script = torch.jit.script(module.eval())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(script, arguments, path, opset_version=13, input_names=names, output_names=outputs, dynamic_axes=axes)
    return script


class Control(Case):
    def check(self, model, script, names, outputs, arguments):
        """All sets of `arguments` on every platform; `arguments` as torch gets them."""
        for platform in PLATFORMS:
            package = self.path(platform + ".slip")
            self.slipway("compile", model, "--platform", platform, "-o", package)
            for values in arguments:
                with torch.no_grad():
                    wanted = script(*values)
                call = ["run", package, "-o", self.path("out")]
                for name, value in zip(names, values):
                    np.save(self.path(name + ".npy"), np.asarray(value.numpy() if isinstance(value, torch.Tensor) else value))
                    call += ["--input", f"{name}={self.path(name + '.npy')}"]
                self.slipway(*call)
                for name, want in zip(outputs, wanted):
                    got = np.load(self.path("out", name + ".npy"))
                    with self.subTest(platform=platform, output=name):
                        self.assertEqual(got.shape, tuple(want.shape))
                        if got.dtype.kind == "f":
                            np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)
                        else:
                            np.testing.assert_array_equal(got, want.numpy())

    def test_greedy_decoding(self):
        model, names, outputs = self.path("greedy.onnx"), ["first", "most"], ["tokens", "h"]
        script = export(Greedy(), (torch.tensor([1]), 6), model, names, outputs, {"tokens": {0: "T"}})
        lengths = {len(script(torch.tensor([t]), 9)[0]) for t in range(12)}
        self.assertGreater(len(lengths), 1, "every sentence has one length: the end token never comes")
        self.check(model, script, names, outputs, [(torch.tensor([t]), most) for t, most in [(1, 6), (2, 9), (5, 0), (7, 9), (11, 40)]])

    def test_recurrent_cells(self):
        model, names, outputs = self.path("recurrent.onnx"), ["x"], ["h", "total"]
        script = export(Recurrent(), (torch.randn(5, 2, 8),), model, names, outputs, {"x": {0: "T", 1: "B"}})
        torch.manual_seed(11)
        self.check(model, script, names, outputs, [(torch.randn(t, b, 8),) for t, b in [(5, 2), (1, 1), (9, 3), (5, 2)]])

    def test_reports_show_bodies(self):
        model = self.path("greedy.onnx")
        export(Greedy(), (torch.tensor([1]), 6), model, ["first", "most"], ["tokens", "h"], {"tokens": {0: "T"}})
        compiled = self.slipway("compile", model, "--platform", "x86", "-o", self.path("m.slip"), "--json").json
        bodies = [n for n in compiled["nodes"] if "/body/" in n["name"]]
        self.assertTrue(any(n["macs"] > 0 for n in bodies), bodies)
        self.assertEqual({n["backend"] for n in compiled["nodes"] if n["op"] == "Loop"}, {"session"})
        steps = self.slipway("inspect", self.path("m.slip"), "--json").json["steps"]
        self.assertEqual(len(steps), compiled["steps"])
        self.assertTrue(any("/body/" in s["name"] for s in steps), steps)
        self.assertIn(f"{len(steps)} steps", self.slipway("verify", self.path("m.slip")).out)
        nodes = self.slipway("bench", self.path("m.slip"), "--profile", "--samples", "5", "--json").json["nodes"]
        calls = {n["name"]: n["calls"] for n in nodes}
        self.assertEqual(set(calls), {s["name"] for s in steps})
        self.assertGreater(max(calls.values()), 1, calls)


if __name__ == "__main__":
    main()
