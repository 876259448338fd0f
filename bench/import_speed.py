#!/usr/bin/python3
"""Time and peak memory of reading model files: one fresh `slipway inspect --json` a file and round.

Weights are used where the file is mapped, so that reading costs little more than the graph; the peak counts the pages of
the map that were touched (checking weights for NaN touches all of them).

usage: import_speed.py [--rounds 3] [--check] [MODEL.onnx ...]      (default: .cache/models/*.onnx)

--check: fails when ViT-B/16 takes a second or more, or 1.3 times its file's size of memory.
"""
import argparse
import glob
import json
import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))


def measure(binary, model):
    out = subprocess.run([binary, "inspect", "--json", model], stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout
    result = json.loads(out)
    return result["import_ms"], result["peak_rss"], len(result["nodes"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--slipway", default=os.path.join(ROOT, "build", "release", "slipway"))
    options = parser.parse_args()
    models = options.models or sorted(glob.glob(os.path.join(ROOT, ".cache", "models", "*.onnx")))
    if not models or not os.access(options.slipway, os.X_OK):
        print("import_speed.py: no models (scripts/models) or no build (scripts/build)", file=sys.stderr)
        return 3
    failed = False
    print(f"{'model':28} {'nodes':>6} {'file MiB':>9} {'import ms: best':>16} {'worst':>8} {'peak MiB':>9} {'/ file':>7}")
    for model in models:
        rounds = [measure(options.slipway, model) for _ in range(options.rounds)]
        size = os.path.getsize(model)
        times = [r[0] for r in rounds]
        peak = max(r[1] for r in rounds)
        print(f"{os.path.basename(model):28} {rounds[0][2]:6} {size / 2**20:9.1f} {min(times):16.1f} {max(times):8.1f} "
              f"{peak / 2**20:9.1f} {peak / size:7.2f}", flush=True)
        if options.check and "vit_b_16" in model and (min(times) >= 1000 or peak >= 1.3 * size):
            print("import_speed.py: over a second or 1.3 times the file", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
