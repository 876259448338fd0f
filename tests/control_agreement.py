#!/usr/bin/python3
"""Runs the networks with control flow of bench/peers/export_control.py (.cache/control, written by scripts/models)
through ONNX Runtime and through Slipway on the same seeded inputs, each with several sizes and trip counts, and
compares the outputs as agreement.py does.

usage: control_agreement.py [--platform P] [--tolerance 1e-4] [--seed N] [NAME ...]

Exit code: 0 all agree, 1 something disagrees or fails, 2 wrong usage, 3 ONNX Runtime, Slipway or the networks are not there.
"""
import argparse
import glob
import os
import sys
import tempfile

import numpy as np

from agreement import ROOT, Failure, OnnxRuntime, compare, file_name, run_slipway, sha256

FOLDER = os.path.join(ROOT, ".cache", "control")


def trips(n):
    return np.array(n, dtype=np.int64)


def normal(*shape, mean=0.0, scale=1.0):
    return lambda g: (mean + scale * g.standard_normal(shape)).astype(np.float32)


# By network: inputs of several runs. A function draws from the seed.
RUNS = {
    "greedy": [{"h": normal(2, 16), "n": trips(5)}, {"h": normal(1, 16), "n": trips(1)}, {"h": normal(3, 16), "n": trips(0)},
               {"h": normal(4, 16), "n": trips(20)}],
    "while": [{"x": normal(6, scale=9.0)}, {"x": normal(1, scale=1e-3)}, {"x": normal(50, scale=1e3)}],
    "branch": [{"x": normal(1, 3, 16, 16, mean=m)} for m in (-1.0, 1.0)] +
              [{"x": normal(2, 3, 8, 5, mean=m)} for m in (-1.0, 1.0)] + [{"x": normal(3, 3, 9, 4, mean=-1.0)}],
    "cells": [{"x": normal(5, 2, 8)}, {"x": normal(1, 1, 8)}, {"x": normal(12, 3, 8)}],
    "chunks": [{"x": normal(3, 7)}, {"x": normal(1, 2)}, {"x": normal(2, 1)}, {"x": normal(4, 12)}],
    "nested": [{"x": normal(4, 3)}, {"x": normal(1, 3)}, {"x": normal(9, 3, scale=2.0)}],
    "cache": [{"x": normal(1, 8), "n": trips(n)} for n in (4, 0, 1, 15)],
}


def check(options, runtime, model):
    """The worst difference of all runs."""
    name = os.path.basename(model).rsplit("_", 1)[0]
    digest = sha256(model)
    loaded = runtime.ask(op="load", id=digest, model=model, threads=1, optimize="all")
    worst = 0.0
    for index, inputs in enumerate(RUNS[name]):
        generator = np.random.default_rng([options.seed, index])
        with tempfile.TemporaryDirectory() as work:
            files = {}
            for key, value in inputs.items():
                files[key] = os.path.join(work, key + ".npy")
                np.save(files[key], value(generator) if callable(value) else value)
            theirs, ours = os.path.join(work, "theirs"), os.path.join(work, "ours")
            runtime.ask(op="run", id=digest, inputs=files, output_dir=theirs)
            run_slipway(options, model, files, ours)
            for output in loaded["outputs"]:
                expected = np.load(os.path.join(theirs, file_name(output["name"])))
                path = os.path.join(ours, file_name(output["name"]))
                if not os.path.exists(path):
                    raise Failure(f"run {index}: slipway wrote no output {output['name']}")
                off, fault = compare(expected, np.load(path), options.tolerance)
                worst = max(worst, off)
                if fault:
                    raise Failure(f"run {index}, output {output['name']}: {fault}")
    runtime.ask(op="unload", id=digest)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--platform", help="default: what `slipway run` takes by itself")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--slipway", default=os.path.join(ROOT, "build", "release", "slipway"))
    options = parser.parse_args()
    models = sorted(glob.glob(os.path.join(FOLDER, "*.onnx")))
    if options.names:
        models = [m for m in models if os.path.basename(m).rsplit("_", 1)[0] in options.names]
    if not models or not os.path.isdir(os.path.join(ROOT, ".cache", "ort", "node_modules")) or not os.path.exists(options.slipway):
        print("control_agreement.py: run scripts/setup dev learn, scripts/models and scripts/build first", file=sys.stderr)
        return 3
    runtime, failed = OnnxRuntime(), 0
    try:
        for model in models:
            try:
                print(f"agrees  {check(options, runtime, model):8.1e}  {os.path.basename(model)}", flush=True)
            except Failure as failure:
                failed += 1
                print(f"fails  {os.path.basename(model)}: {failure}", flush=True)
    finally:
        runtime.close()
    print(f"control agreement: {len(models) - failed} of {len(models)} networks agree, {failed} fail "
          f"(platform {options.platform or 'default'}, seed {options.seed})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
