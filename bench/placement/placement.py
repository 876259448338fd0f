#!/usr/bin/python3
"""Placement by measured cost on this machine: for each model and each set of backends the latency of every backend alone
(where one does not have an operator another of the set takes it), of the plan of each node's cheapest kernel (greedy), and of
the plan that `slipway compile --tune` keeps. All plans of a row are timed in turns in one process, after the choice was made.
A round's ratio is the kept plan's time by the other's in the same round; a row's ratio is their median, its spread the distance between
the quartiles. "better" says that the ratio is below 1 by more than twice the spread. Raw samples stay in .cache/placement/rows.json.

--prices compares prices instead: what was said of every plan before it ran, from kernels timed alone with conversions and hand-overs
estimated, and with both measured, against what it took; and where each kind of prices led (`compile --compare-estimates`).
With --add, rows of the last --prices stay for what is not measured now.

usage: placement.py [--prices [--add]] [--threads 1] [--rounds 41] [--models a,b] [--sets onednn+x86,...] [--docs docs/placement.md]

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
MARK, PRICES = "<!-- placement.py -->", "<!-- placement.py --prices -->"
OTHER = "by estimates: "
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
                       SLIPWAY_PERFDB=os.path.join(CACHE, "prices.db" if args.prices else "perf.db"))
    command = [SLIPWAY, "compile", find(model), "--platform", name, "--tune", "--compare-greedy", "--tune-rounds", str(args.rounds),
               "--threads", str(args.threads), "-o", os.path.join(CACHE, "model.slip"), "--json", "-q"]
    command += ["--compare-estimates"] if args.prices else []
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().split("\n")[-1] or f"exit code {done.returncode}")
    said = json.loads(done.stdout)
    return said["plans"], said["tuned"]


def alone(backend, backends, plans):
    """The fastest plan of this backend and, where it does not have an operator, another: the one made so, or one that came to it otherwise."""
    own = [p for p in plans if backend + " alone" in (p["name"], *p["also"]) or
           backend in p["nodes"] and not (set(p["nodes"]) - {backend}).intersection(backends)]
    return min(own, key=lambda p: p["p50_ms"], default=None)


def row(model, backends, plans):
    kept = next(p for p in plans if p["chosen"])
    named = {name: p for p in plans for name in (p["name"], *p["also"])}
    show = lambda p: f"{p['p50_ms']:.3f}" if p else "–"
    single = {b: alone(b, backends, plans) for b in backends}
    best = min(filter(None, single.values()), key=lambda p: p["p50_ms"], default=None)
    greedy = named.get("greedy")
    result = {"model": model, "backends": backends, "plans": plans}
    cells = [model, "+".join(backends)]
    cells += [", ".join(f"{b} {show(single[b])}" for b in backends), show(greedy), show(kept),
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


def prices(model, backends, plans, tuned):
    """The row of --prices."""
    names = lambda p: (p["name"], *p["also"])
    # "estimated" is tried first whatever the prices are.
    ways = {"measured": [p for p in plans if not all(n.startswith(OTHER) for n in names(p))],
            "estimates": [p for p in plans if any(n.startswith(OTHER) or n == "estimated" for n in names(p))]}
    result = {"model": model, "backends": backends, "plans": plans, "tuned": tuned, "better": False, "slower": False,
              "errors": {"estimates": [abs(p["compared"]["ms"] / p["p50_ms"] - 1) for p in plans if "compared" in p],
                         "measured": [abs(p["alone"]["ms"] / p["p50_ms"] - 1) for p in plans if "alone" in p]}}
    percent = lambda values: f"{100 * statistics.median(values):.1f} (to {100 * max(values):.0f})"
    cells = [model, "+".join(backends), str(len(plans)), percent(result["errors"]["estimates"]), percent(result["errors"]["measured"]),
             f"{tuned['compared_rounds']}, {tuned['rounds']}"]
    kept = {way: min(listed, key=lambda p: p["p50_ms"]) for way, listed in ways.items()}
    for way, prefix in (("estimates", OTHER), ("measured", "")):
        named = {n: p for p in plans for n in names(p)}
        single = min((named[prefix + b + " alone"] for b in backends if prefix + b + " alone" in named), key=lambda p: p["p50_ms"], default=None)
        for key, other in (("single", single), ("greedy", named.get(prefix + "greedy"))):
            if other:
                result.setdefault(way, {})[key] = against(kept[way], other)
        cells.append(" / ".join(f"{result[way][key][0]:.3f}" for key in ("single", "greedy") if key in result.get(way, {})))
    result["between"] = against(kept["measured"], kept["estimates"]) if kept["measured"] is not kept["estimates"] else (1.0, 0.0)
    cells.append("the same" if kept["measured"] is kept["estimates"] else "{:.3f} ± {:.3f}".format(*result["between"]))
    return result, "| " + " | ".join(cells) + " |"


def prices_summary(results):
    every = lambda way: [e for r in results for e in r["errors"][way]]
    lines = []
    for way, text in (("estimates", "Conversions and hand-overs estimated"), ("measured", "measured")):
        lines.append(f"{text}: median error {100 * statistics.median(every(way)):.1f} %, nine of ten within "
                     f"{100 * statistics.quantiles(every(way), n=10)[-1]:.0f} %")
    rounds = lambda key: sum(r["tuned"][key] for r in results)
    return (f"{len(every('measured'))} plans. {'; '.join(lines)}. Rounds of choosing again: {rounds('compared_rounds')} and {rounds('rounds')} in all. "
            f"Kept by measured prices over kept by estimates: median {statistics.median(r['between'][0] for r in results):.3f}, "
            f"{min(r['between'][0] for r in results):.3f} to {max(r['between'][0] for r in results):.3f}.")


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--prices", action="store_true")
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--docs", default="")
    args = parser.parse_args()
    os.makedirs(CACHE, exist_ok=True)
    for end in ("", "-wal", "-shm") if args.prices and not args.add else ():  # prices and plans are of one run
        if os.path.exists(os.path.join(CACHE, "prices.db" + end)):
            os.remove(os.path.join(CACHE, "prices.db" + end))
    mark = PRICES if args.prices else MARK
    lines = [mark, "", "| model | backends | plans | error of estimates, % | of measured prices, % | rounds | kept / best alone, / greedy: estimates | measured | kept by measured / by estimates |",
             "|---|---|---|---|---|---|---|---|---|"] if args.prices else [mark, "", "| model | backends | each alone, ms | greedy, ms | kept, ms | its nodes | kept / best alone | kept / greedy | |",
             "|---|---|---|---|---|---|---|---|---|"]
    results, failed = [], 0
    if args.prices and args.add:
        now = {(m, b) for m in args.models.split(",") for b in args.sets.split(",")}
        with open(os.path.join(CACHE, "prices.json")) as file:
            for old in json.load(file):
                if (old["model"], "+".join(old["backends"])) not in now:
                    result, line = prices(old["model"], old["backends"], old["plans"], old["tuned"])
                    results.append(result)
                    lines.append(line)
    for model in args.models.split(","):
        for backends in args.sets.split(","):
            try:
                plans, tuned = place(model, backends.split("+"), args)
                result, line = prices(model, backends.split("+"), plans, tuned) if args.prices else row(model, backends.split("+"), plans)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                print(f"{model} {backends}: {error}", file=sys.stderr)
                failed = 1
                continue
            results.append(result)
            lines.append(line)
            print(line, flush=True)
            failed |= result["slower"]
    with open(os.path.join(CACHE, "prices.json" if args.prices else "rows.json"), "w") as file:
        json.dump(results, file)
    if args.prices:
        told = prices_summary(results) + f" Threads: {args.threads}." if results else "nothing"
    else:
        better = sorted({r["model"] for r in results if r["better"]})
        told = (f"Better than every backend of the set alone and than greedy by more than twice the spread: {len(better)} of "
                f"{len({r['model'] for r in results})} models ({', '.join(better) or 'none'}). Threads: {args.threads}.")
    print(told)
    lines += ["", told, "", mark]
    if args.docs:
        page = open(args.docs).read()
        parts = page.split(mark)
        if len(parts) != 3:
            print(f"placement: {args.docs} has not two lines {mark}", file=sys.stderr)
            return 2
        open(args.docs, "w").write(parts[0] + "\n".join(lines) + parts[2])
    return failed


if __name__ == "__main__":
    sys.exit(main())
