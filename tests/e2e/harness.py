"""What the tests of the built binary share: temporary folders, calls of slipway, comparison of outputs."""
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.environ.get("SLIPWAY_SOURCE_DIR") or os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BINARY = os.environ.get("SLIPWAY_BINARY") or os.path.join(ROOT, "build", "release", "slipway")
RUNNER = os.environ.get("SLIPWAY_RUNNER") or os.path.join(os.path.dirname(BINARY), "slipway-run")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import npy  # noqa: E402


def sanitized_build():
    """Whether the binary is of a build with SLIPWAY_SANITIZE."""
    try:
        with open(os.path.join(os.path.dirname(BINARY), "CMakeCache.txt"), encoding="utf-8") as cache:
            return any(re.match("SLIPWAY_SANITIZE:[A-Z]+=.", line) for line in cache)
    except OSError:
        return False


class Result:
    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command, code, out, err

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"$ {' '.join(self.command)}\nexit {self.code}\n{self.out[-3000:]}\n{self.err[-3000:]}"


class Case(unittest.TestCase):
    """A test with a folder of its own and a performance database of its own."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="slipway-e2e-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.environment = dict(os.environ, SLIPWAY_PERFDB=self.path("perf.db"))

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        return self.path(name)

    def call(self, *command, timeout=300):
        done = subprocess.run(list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment,
                              timeout=timeout, cwd=self.folder, check=False)
        return Result(command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def slipway(self, *arguments, code=0, timeout=300):
        result = self.call(BINARY, *arguments, timeout=timeout)
        if code is not None:
            self.assertEqual(result.code, code, str(result))
        return result

    def fails(self, *arguments, says=(), code=2):
        """The call fails with `code` and one line on stderr that has every text of `says` in it."""
        result = self.slipway(*arguments, code=code)
        lines = [line for line in result.err.splitlines() if line.strip()]
        # Lines of progress may stand before it.
        self.assertEqual([line.startswith("slipway: ") for line in lines].index(True), len(lines) - 1, f"not one last line: {result}")
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, lines[-1], str(result))
        return lines[-1]

    def outputs(self, folder):
        """{output name: (values, dims)} of the .npy files in a folder."""
        return {name[:-4]: npy.load(os.path.join(folder, name)) for name in sorted(os.listdir(folder)) if name.endswith(".npy")}

    def run_model(self, model, *arguments, label="out"):
        folder = self.path(label)
        shutil.rmtree(folder, ignore_errors=True)
        self.slipway("run", model, "-o", folder, *arguments)
        return self.outputs(folder)

    def agree(self, got, want, tolerance=1e-4, label=""):
        """Every output within `tolerance` of the wanted output's range."""
        self.assertEqual(sorted(got), sorted(want), label)
        for name, (values, dims) in want.items():
            self.assertEqual(got[name][1], dims, f"{label} {name}")
            extent = max(values) - min(values)
            worst = max(abs(a - b) for a, b in zip(got[name][0], values))
            self.assertTrue(math.isfinite(worst) and worst <= tolerance * max(extent, 1e-6),
                            f"{label} {name}: differs by {worst} of a range of {extent}")


def main():
    """Runs the calling file's tests; ends with the summary lines that scripts/test-counts reads."""
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    r = program.result
    failed = len({str(getattr(t, "test_case", t)) for t, _ in r.failures + r.errors})
    passed = r.testsRun - failed - len(r.skipped)
    print(f"[  PASSED  ] {passed} tests.")
    if r.skipped:
        print(f"[  SKIPPED ] {len(r.skipped)} tests, listed below:")
        for test, reason in r.skipped:
            print(f"[  SKIPPED ] {test}: {reason}")
    if failed:
        print(f"[  FAILED  ] {failed} tests, listed below:")
        for test, _ in r.failures + r.errors:
            print(f"[  FAILED  ] {test}")
    sys.exit(0 if failed == 0 and r.wasSuccessful() else 1)
