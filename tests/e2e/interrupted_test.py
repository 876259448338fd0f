#!/usr/bin/python3
"""A reconstruction that is killed in the middle goes on from its last finished block and ends with the same bytes."""
import glob
import os
import signal
import subprocess
import time
import unittest

from harness import BINARY, main
from labelled import LabelledNet

LEARN = os.path.join(os.path.dirname(os.path.abspath(BINARY)), "libslipway_learn.so")


@unittest.skipUnless(os.path.exists(LEARN), "built without libtorch; scripts/setup learn")
class Interrupted(LabelledNet):
    def kill_behind(self, pattern, blocks, *arguments):
        """Kills the call once `blocks` files fit the pattern; gives them with the times they were written."""
        process = subprocess.Popen([BINARY, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment,
                                   cwd=self.folder)
        try:
            end = time.monotonic() + 120
            while True:
                done = [f for f in glob.glob(pattern) if not f.endswith(".part")]
                if len(done) >= blocks:
                    break
                self.assertIsNone(process.poll(), f"it ended before {blocks} blocks were on disk")
                self.assertLess(time.monotonic(), end, "no block was finished")
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.assertEqual(process.returncode, -signal.SIGKILL, "it ended before it was killed")
        return {f: os.stat(f).st_mtime_ns for f in done}

    def read(self, *parts):
        with open(self.path(*parts), "rb") as file:
            return file.read()

    def test_quantize(self):
        for method in ("qdrop", "brecq"):  # one pass over the blocks, and two
            common = ["quantize", self.model, "--platform", "x86-int8", "--calib", self.data, "--bits", "W2A4", "--algorithm", method,
                      "--iterations", "120", "--seed", "3", "-q"]
            blocks = self.slipway(*common, "--work", self.path("whole-" + method), "-o", self.path("whole.onnx"), "--json").json["blocks"]
            self.assertGreaterEqual(len(blocks), 3)
            whole = self.read("whole.onnx")
            work, out = self.path("work-" + method), self.path("resumed.onnx")
            pattern = os.path.join(work, "pass*-block[0-9]")
            for finished in (1, 2) if method == "qdrop" else (1,):
                kept = self.kill_behind(pattern, finished, *common, "--work", work, "-o", out)
                self.assertFalse(os.path.exists(out))
                self.assertLess(len(glob.glob(pattern)), len(glob.glob(os.path.join(self.path("whole-" + method), "pass*-block[0-9]"))))
            self.slipway(*common, "--work", work, "-o", out)
            # What was finished was not learned again.
            self.assertEqual({f: os.stat(f).st_mtime_ns for f in kept}, kept)
            self.assertEqual(self.read("resumed.onnx"), whole)
            os.remove(out)

    def test_deploy(self):
        common = ["deploy", self.model, "--platforms", "x86-int8", "--calib", self.data, "--bits", "W2A4", "--algorithm", "qdrop", "--iterations",
                  "120", "--no-record", "-q"]
        self.slipway(*common, "-o", self.path("whole"))
        self.assertEqual(glob.glob(self.path("whole", ".stages", "*.work")), [], "blocks of a finished run stay on disk")
        self.kill_behind(self.path("killed", ".stages", "*.work", "pass*-block[0-9]"), 1, *common, "-o", self.path("killed"))
        self.assertFalse(os.path.exists(self.path("killed", "x86-int8.slip")))
        self.slipway(*common, "-o", self.path("killed"))
        for name in ("x86-int8.qdq.onnx", "x86-int8.slip"):
            self.assertEqual(self.read("killed", name), self.read("whole", name), name)


if __name__ == "__main__":
    main()
