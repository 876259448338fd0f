#!/usr/bin/python3
"""Placement by measured cost on this machine: for each model and each set of backends the latency of every backend alone
(where one does not have an operator another of the set takes it), of the plan of each node's cheapest kernel (greedy), and of
the plan that `slipway compile --tune` keeps. All plans of a row are timed in turns in one process, after the choice was made.
A round's ratio is the kept plan's time by the other's in the same round; a row's ratio is their median, its spread the distance between
the quartiles. "better" says that the ratio is below 1 by more than twice the spread. Raw samples stay in .cache/placement/rows.json.

usage: placement.py [--threads 1] [--rounds 41] [--models a,b] [--sets onednn+x86,...] [--docs docs/placement.md]

Run it on an idle machine. Exit code: 0, 1 a model failed or the kept plan is slower than the best backend alone by more than twice
the spread and 3 %, 2 wrong usage.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CACHE = os.path.join(ROOT, ".cache", "placement")
SLIPWAY = os.path.join(ROOT, "build", "release", "slipway")
SHARED = os.path.join(ROOT, "..", "shared", "data", "models")
MODELS = ("resnet20_cifar10", "mobilenetv2_small_cifar10", "vit_small_cifar10", "mobilenet_v1_025_imagenet", "squeezenet1_1",
          "mobilenet_v2", "shufflenet_v2_x1_0", "mobilenet_v3_small")
SETS = ("x86+onednn", "onednn+xnnpack", "x86+onnxruntime", "x86+onednn+xnnpack+onnxruntime")
MARK = "<!-- placement.py -->"
PLATFORM = """name: {name}
description: placement by measured cost
vendor: any
openness: L2
arch: x86_64
features: [native]
backends: [{backends}]
fallback: [{fallback}]
machine: {{float_gmacs: 57, int8_gmacs: 230, memory_gbps: 12, cache_gbps: 60}}
"""


def find(model):
    for folder in (SHARED, os.path.join(ROOT, ".cache", "models")):
        path = os.path.join(folder, model + ".onnx")
        if os.path.exists(path):
            return path
    raise RuntimeError(f"{model}.onnx is neither in ../shared/data/models nor in .cache/models; run scripts/models")


def against(kept, other):
    """(median of the rounds' ratios, distance of their quartiles)."""
    ratios = [a / b for a, b in zip(kept["samples_ms"], other["samples_ms"])]
    quartiles = statistics.quantiles(ratios, n=4)
    return statistics.median(ratios), quartiles[2] - quartiles[0]


def place(model, backends, args):
    name = "place-" + "-".join(backends)
    folder = os.path.join(CACHE, "platforms")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name + ".yaml"), "w") as file:
        fallback = [b for b in ("x86", "reference") if b not in backends]
        file.write(PLATFORM.format(name=name, backends=", ".join(backends), fallback=", ".join(fallback)))
    ort = sorted(glob.glob(os.path.join(ROOT, ".cache", "ort", "node_modules", "onnxruntime-node", "bin", "*", "linux", "x64", "libonnxruntime.so.1")))
    environment = dict(os.environ, SLIPWAY_ONNXRUNTIME=os.environ.get("SLIPWAY_ONNXRUNTIME") or (ort or [""])[0], SLIPWAY_PLATFORMS=folder + ":" + os.path.join(ROOT, "platforms"),
                       SLIPWAY_PERFDB=os.path.join(CACHE, "perf.db"))
    command = [SLIPWAY, "compile", find(model), "--platform", name, "--tune", "--compare-greedy", "--tune-rounds", str(args.rounds),
               "--threads", str(args.threads), "-o", os.path.join(CACHE, "model.slip"), "--json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().split("\n")[-1] or f"exit code {done.returncode}")
    return json.loads(done.stdout)["plans"]


def row(model, backends, plans):
    kept = next(p for p in plans if p["chosen"])
    named = {name: p for p in plans for name in (p["name"], *p["also"])}
    show = lambda p: f"{p['p50_ms']:.3f}" if p else "–"
    singles = [named[b + " alone"] for b in backends if b + " alone" in named]
    best = min(singles, key=lambda p: p["p50_ms"]) if singles else None
    greedy = named.get("greedy")
    result = {"model": model, "backends": backends, "plans": plans}
    cells = [model, "+".join(backends)]
    cells += [", ".join(f"{b} {show(named.get(b + ' alone'))}" for b in backends), show(greedy), show(kept),
              ", ".join(f"{n} {b}" for b, n in kept["nodes"].items())]
    verdict = []
    for other, text in ((best, "single"), (greedy, "greedy")):
        if other is None or other is kept:
            cells.append("the same" if other is kept else "–")
            verdict.append(False)
            continue
        ratio, spread = against(kept, other)
        verdict.append(1 - ratio > 2 * spread)
        cells.append(f"{ratio:.3f} ± {spread:.3f}")
        result[text] = {"ratio": ratio, "spread": spread, "better": verdict[-1]}
    result["slower"] = best is not None and best is not kept and (lambda r, s: r - 1 > max(2 * s, 0.03))(*against(kept, best))
    result["better"] = all(verdict)
    cells.append("better than both" if result["better"] else "slower" if result["slower"] else "")
    return result, "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--docs", default="")
    args = parser.parse_args()
    os.makedirs(CACHE, exist_ok=True)
    lines = [MARK, "", "| model | backends | each alone, ms | greedy, ms | kept, ms | its nodes | kept / best alone | kept / greedy | |",
             "|---|---|---|---|---|---|---|---|---|"]
    results, failed = [], 0
    for model in args.models.split(","):
        for backends in args.sets.split(","):
            try:
                result, line = row(model, backends.split("+"), place(model, backends.split("+"), args))
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                print(f"{model} {backends}: {error}", file=sys.stderr)
                failed = 1
                continue
            results.append(result)
            lines.append(line)
            print(line, flush=True)
            failed |= result["slower"]
    with open(os.path.join(CACHE, "rows.json"), "w") as file:
        json.dump(results, file)
    better = sorted({r["model"] for r in results if r["better"]})
    lines += ["", f"Better than every backend of the set alone and than greedy by more than twice the spread: {len(better)} of "
              f"{len({r['model'] for r in results})} models ({', '.join(better) or 'none'}). Threads: {args.threads}.", "", MARK]
    if args.docs:
        page = open(args.docs).read()
        parts = page.split(MARK)
        if len(parts) != 3:
            print(f"placement: {args.docs} has not two lines {MARK}", file=sys.stderr)
            return 2
        open(args.docs, "w").write(parts[0] + "\n".join(lines) + parts[2])
    return failed


if __name__ == "__main__":
    sys.exit(main())
