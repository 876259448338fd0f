#!/usr/bin/python3
"""Accuracy of quantized models on ../shared/data, as the table of docs/accuracy.md: one command that can be stopped and
started again. Each row is one `slipway quantize --eval`; its result goes to bench/accuracy/rows.json at once, and a row
that is there is not run again (unless --again NAME). Rows run in the order of what they tell most, until --hours are over;
the table says "not run" of the rest. Reconstruction keeps its blocks under .cache/accuracy/work, so that a row that was
stopped goes on. Several may run beside each other, each with an --only of its own.

usage: quantization_table.py [--hours 3] [--threads 2] [--iterations 2000] [--only TEXT] [--again TEXT] [--list] [--docs docs/accuracy.md] [--full]

--full: the published 20000 iterations, ResNet-20 at W4A4 and W2A4 alone. --list: rows and whether they are there.
Exit code: 0, 1 a row failed (the others run), 2 wrong usage.
"""
import argparse
import fcntl
import json
import os
import random
import statistics
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DATA = os.path.join(ROOT, "..", "shared", "data")
CACHE = os.path.join(ROOT, ".cache", "accuracy")
SLIPWAY = os.path.join(ROOT, "build", "release", "slipway")
PREPROCESS = "scale: 0.00392156862745098\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n"
MODELS = {"resnet20": "resnet20_cifar10.onnx", "mobilenetv2": "mobilenetv2_small_cifar10.onnx",
          "vit": "vit_small_cifar10.onnx", "mobilenetv1-imagenet": "mobilenet_v1_025_imagenet.onnx"}
LOW = ("W8A8", "W4A8", "W4A4", "W3A3", "W2A4", "W2A2")
METHODS = ("adaround", "brecq", "qdrop")
MARK = "<!-- quantization_table.py -->"


def rows(iterations, full):
    """name -> what to run, in order of running."""
    made = {}

    def add(model, bits, method, seed=1, count=0, group=0):
        name = f"{model} {bits} {method}" + (f" seed {seed}" if seed > 1 else "") + (f" {count}" if count else "") + \
               (f" g{group}" if group else "")
        made[name] = {"model": model, "bits": bits, "method": method, "seed": seed, "iterations": count or iterations,
                      "group": group}

    if full:
        for bits in ("W4A4", "W2A4"):
            for method in ("brecq", "qdrop"):
                add("resnet20", bits, method, count=20000)
        return made
    for model in ("resnet20", "mobilenetv2", "vit"):
        for bits in LOW:
            for method in ("minmax", "mse"):
                add(model, bits, method)
    for bits in ("W8A8", "W4A8"):
        add("mobilenetv1-imagenet", bits, "mse")
    for bits in ("W4", "W3", "W2"):
        for method in ("rtn", "awq", "gptq"):
            add("vit", bits, method, group=32)
    for bits in ("W2A4", "W4A4", "W3A3"):
        for method in METHODS:
            add("resnet20", bits, method)
    for method in METHODS:
        for seed in (2, 3):
            add("resnet20", "W2A4", method, seed)
    for model in ("mobilenetv2", "vit"):
        for bits in ("W4A4", "W3A3", "W2A4"):
            if model == "vit" and bits == "W2A4":
                continue
            for method in METHODS:
                add(model, bits, method)
    return made


def call(command, environment):
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().split("\n")[-1] or f"exit code {done.returncode}")
    return json.loads(done.stdout)


def run(name, row, args, environment):
    """What goes into rows.json."""
    cifar = row["model"] != "mobilenetv1-imagenet"
    out = os.path.join(CACHE, "models", name.replace(" ", "_") + ".onnx")
    model = os.path.join(DATA, "models", MODELS[row["model"]])
    weights_only = row["group"] > 0
    platform = "x86" if weights_only else "x86-int8"
    command = [SLIPWAY, "quantize", model, "--platform", platform, "--bits", row["bits"], "-o", out, "--threads",
               str(args.threads), "--json", "-q"]
    if weights_only:
        command += ["--algorithm", row["method"], "--group", str(row["group"])]
    else:
        ranges = ("minmax", "minmax") if row["method"] == "minmax" else ("mse", "mse" if row["bits"].startswith("W8") else "mse:2.4")
        command += ["--observer", ranges[0], "--weight-observer", ranges[1]]
    if row["method"] in METHODS:
        command += ["--algorithm", row["method"], "--iterations", str(row["iterations"]), "--seed", str(row["seed"]),
                    "--work", os.path.join(CACHE, "work", name.replace(" ", "_"))]
    start = time.time()
    if cifar:
        preprocess = os.path.join(CACHE, "cifar.yaml")
        command += ["--calib", os.path.join(DATA, "cifar10", "train.npz"), "--eval", os.path.join(DATA, "cifar10", "test.npz"),
                    "--preprocess", preprocess]
        report = call(command, environment)
        result = {"top1": report["top1"], "float": report["float_top1"], "samples": 5000}
        if "blocks" in report:
            result["blocks"] = [[b["error_before"], b["error_after"]] for b in report["blocks"]]
    else:  # calibrated on the first half, evaluated on the second
        data = os.path.join(DATA, "imagenet_sample")
        call(command + ["--calib", data, "--samples", "500", "--adjust", "equalize,bias-correction"], environment)
        groups = {"float": [], "quantized": []}
        for which, file, on in (("float", model, "x86"), ("quantized", out, platform)):
            for first in range(500, 1000, 10):
                groups[which].append(call([SLIPWAY, "eval", file, "--platform", on, "--data", data, "--first", str(first),
                                           "--samples", "10", "--json", "-q"], environment)["value"])
        drops = [100 * (a - b) for a, b in zip(groups["float"], groups["quantized"])]
        draw = random.Random(1)
        means = sorted(statistics.mean(draw.choices(drops, k=len(drops))) for _ in range(4000))
        result = {"top1": statistics.mean(groups["quantized"]), "float": statistics.mean(groups["float"]), "samples": 500,
                  "drop_interval": [means[100], means[3899]]}
    result.update(seconds=time.time() - start, threads=args.threads, iterations=row["iterations"] if row["method"] in METHODS else 0)
    return result


def keep(state, done, name, result):
    """Adds a row to the file and to done, with the rows that another process (--only) wrote meanwhile."""
    with open(os.path.join(CACHE, "rows.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(state):
            done.update(json.load(open(state)))
        done[name] = result
        with open(state + ".part", "w") as file:
            json.dump(done, file, indent=1)
        os.replace(state + ".part", state)


def table(done, iterations):
    """The page's part."""
    at = lambda name: done.get(name)
    show = lambda r: f"{100 * r['top1']:.2f}" if r else "not run"
    lines = [MARK, ""]
    for model in ("resnet20", "mobilenetv2", "vit"):
        known = [r for n, r in done.items() if n.startswith(model + " ")]
        base = f"{100 * known[0]['float']:.2f}" if known else "not run"
        lines += [f"**{MODELS[model]}**, float {base}, 5000 test images (95 % interval ±0.9 points or less near 89 %, ±1.3 near 66 %)", "",
                  "| | " + " | ".join(LOW) + " |", "|---|" + "---|" * len(LOW)]
        for method in ("minmax", "mse") + METHODS:
            cells = []
            for bits in LOW:
                wanted = method in ("minmax", "mse") or bits in ("W4A4", "W3A3", "W2A4") and (model, bits) != ("vit", "W2A4")
                found = [at(f"{model} {bits} {method}" + s) for s in ("", " seed 2", " seed 3")]
                found = [f for f in found if f]
                if len(found) > 1:
                    values = [100 * f["top1"] for f in found]
                    cells.append(f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f}, {len(values)} seeds)")
                else:
                    cells.append(show(found[0]) if found else "not run" if wanted else "–")
            lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["**vit_small_cifar10.onnx**, weights alone, groups of 32", "", "| | W4 | W3 | W2 |", "|---|---|---|---|"]
    for method in ("rtn", "awq", "gptq"):
        lines.append(f"| `{method}` | " + " | ".join(show(at(f"vit {b} {method} g32")) for b in ("W4", "W3", "W2")) + " |")
    lines += ["", "**mobilenet_v1_025_imagenet.onnx** with `--adjust equalize,bias-correction`, calibrated on the first 500 images of imagenet_sample, evaluated on the others", "",
              "| | float | quantized | drop, with its paired 95 % interval |", "|---|---|---|---|"]
    for bits in ("W8A8", "W4A8"):
        r = at(f"mobilenetv1-imagenet {bits} mse")
        lines.append(f"| {bits} | " + (f"{100 * r['float']:.1f} | {100 * r['top1']:.1f} | {100 * (r['float'] - r['top1']):.1f} "
                                       f"({r['drop_interval'][0]:.1f} to {r['drop_interval'][1]:.1f})" if r else "not run | not run | not run") + " |")
    full = [(n, at(n)) for n in rows(iterations, True)]
    lines += ["", "The published 20 000 iterations on resnet20: " + ", ".join(f"{n.split()[1]} {n.split()[2]} {show(r)}" for n, r in full) + ".", "", MARK]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--hours", type=float, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--only", default="")
    parser.add_argument("--again", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--docs", default="")
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    for folder in ("models", "work"):
        os.makedirs(os.path.join(CACHE, folder), exist_ok=True)
    with open(os.path.join(CACHE, "cifar.yaml"), "w") as file:
        file.write(PREPROCESS)
    state = os.path.join(ROOT, "bench", "accuracy", "rows.json")
    done = json.load(open(state)) if os.path.exists(state) else {}
    environment = dict(os.environ, SLIPWAY_PLATFORMS=os.path.join(ROOT, "platforms"))
    start, failed = time.time(), 0
    for name, row in rows(args.iterations, args.full).items():
        if args.only not in name:
            continue
        if name in done and not (args.again and args.again in name):
            if args.list:
                print(f"{name}: {100 * done[name]['top1']:.2f}")
            continue
        if args.list or time.time() - start > 3600 * args.hours:
            print(f"{name}: not run")
            continue
        try:
            result = run(name, row, args, environment)
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            print(f"{name}: failed: {error}", file=sys.stderr)
            failed = 1
            continue
        keep(state, done, name, result)
        print(f"{name}: {100 * result['top1']:.2f} of {100 * result['float']:.2f}, {result['seconds']:.0f} s", flush=True)
    text = table(done, args.iterations)
    if args.docs:
        page = open(args.docs).read()
        parts = page.split(MARK)
        if len(parts) != 3:
            print(f"quantization_table: {args.docs} has not two lines {MARK}", file=sys.stderr)
            return 2
        open(args.docs, "w").write(parts[0] + text + parts[2])
    elif not args.list:
        print(text)
    return failed


if __name__ == "__main__":
    sys.exit(main())
