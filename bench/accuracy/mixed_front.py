#!/usr/bin/python3
"""Mixed precision against every uniform one on this CPU: latency and accuracy of the networks of ../shared/data in float32,
bfloat16, int8 and in mixtures that `slipway quantize --budget latency=...` chose on x86-mixed (layers int8 or bfloat16).
Everything of a model is timed in the same run, in turns; the table has the median of all rounds, their spread, and the
accuracy on the test data. Run it on an idle machine. Raw samples stay in .cache/mixed/rows.json.

usage: mixed_front.py [--threads 1] [--rounds 7] [--points 5] [--only TEXT] [--docs docs/mixed-precision.md]

--points: budgets between the fastest uniform network and bfloat16. Exit code: 0, 1 a model failed, 2 wrong usage.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DATA = os.path.join(ROOT, "..", "shared", "data")
CACHE = os.path.join(ROOT, ".cache", "mixed")
SLIPWAY = os.path.join(ROOT, "build", "release", "slipway")
PREPROCESS = "scale: 0.00392156862745098\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n"
MODELS = ("mobilenet_v1_025_imagenet", "resnet20_cifar10", "mobilenetv2_small_cifar10", "vit_small_cifar10")
UNIFORM = (("float32", "x86"), ("bfloat16", "x86-bf16"), ("int8", "x86-mixed"))
MARK = "<!-- mixed_front.py -->"


def call(*command):
    done = subprocess.run([SLIPWAY, *command, "--json", "-q"], capture_output=True, text=True,
                          env=dict(os.environ, SLIPWAY_PLATFORMS=os.path.join(ROOT, "platforms")))
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().split("\n")[-1] or f"exit code {done.returncode}")
    return json.loads(done.stdout)


def data_of(model, preprocess):
    """(options of calibration, options of evaluation): never the same samples."""
    if "imagenet" in model:
        folder = os.path.join(DATA, "imagenet_sample")
        return ["--calib", folder, "--samples", "500"], ["--data", folder, "--first", "500", "--samples", "500"]
    file = os.path.join(DATA, "cifar10", "{}.npz")
    return (["--calib", file.format("train"), "--samples", "256", "--preprocess", preprocess],
            ["--data", file.format("test"), "--preprocess", preprocess])


def measured(networks, args):
    """Appends each network's medians of args.rounds rounds, taken in turns."""
    for network in networks:
        network["package"] = os.path.join(CACHE, network["file"].replace("/", "_") + f"-{network['platform']}.slip")
        call("compile", network["path"], "--platform", network["platform"], "-o", network["package"], "--threads", str(args.threads))
        network["ms"] = []
    for _ in range(args.rounds):
        for network in networks:
            network["ms"].append(call("bench", network["package"], "--threads", str(args.threads), "--seconds", "0.5",
                                      "--no-record")["p50_ms"])


def front(model, args, preprocess):
    source = os.path.join(DATA, "models", model + ".onnx")
    calibration, evaluation = data_of(model, preprocess)
    int8 = os.path.join(CACHE, model + "_int8.onnx")
    common = ["quantize", source, "--platform", "x86-mixed", "--threads", str(args.threads), *calibration]
    call(*common, "-o", int8)
    networks = []
    for name, platform in UNIFORM:
        path = int8 if name == "int8" else source
        networks.append({"name": name, "platform": platform, "path": path, "file": os.path.basename(path), "int8_layers": None})
    measured(networks, args)
    times = {n["name"]: min(n["ms"]) for n in networks}  # what a neighbour disturbed makes no budget
    low, high = sorted((times["int8"], times["bfloat16"]))
    mixed = []
    for i in range(args.points):
        budget = low + (high - low) * (i + 0.5) / args.points
        path = os.path.join(CACHE, f"{model}_mixed{i}.onnx")
        try:
            report = call(*common, "--budget", f"latency={budget:.4f}ms", "-o", path)["mixed"]
        except RuntimeError as error:
            print(f"{model}: a budget of {budget:.3f} ms: {error}", file=sys.stderr)
            continue
        layers = [layer["precision"] for layer in report["layers"]]
        mixed.append({"name": f"mixed, {budget:.3f} ms", "platform": "x86-mixed", "path": path, "file": os.path.basename(path),
                      "int8_layers": sum(p != "float" for p in layers), "layers": len(layers)})
    networks += mixed
    measured(networks, args)
    for network in networks:
        network["top1"] = call("eval", network["path"], "--platform", network["platform"], *evaluation)["value"]
    return networks


def table(rows):
    lines = [MARK, ""]
    for model, networks in rows.items():
        lines += [f"**{model}**", "", "| | ms, median of rounds (least to most) | top-1 |", "|---|---|---|"]
        for n in networks:
            layers = f" ({n['int8_layers']} of {n['layers']} layers int8)" if n["int8_layers"] is not None else ""
            lines.append(f"| {n['name']}{layers} | {statistics.median(n['ms']):.3f} ({min(n['ms']):.3f} to {max(n['ms']):.3f}) | "
                         f"{100 * n['top1']:.2f} |")
        lines.append("")
    return "\n".join(lines + [MARK])


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--points", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--docs", default="")
    args = parser.parse_args()
    os.makedirs(CACHE, exist_ok=True)
    preprocess = os.path.join(CACHE, "cifar.yaml")
    with open(preprocess, "w") as file:
        file.write(PREPROCESS)
    state = os.path.join(CACHE, "rows.json")
    rows, failed = (json.load(open(state)) if os.path.exists(state) else {}), 0
    for model in MODELS:
        if args.only not in model:
            continue
        try:
            rows[model] = front(model, args, preprocess)
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            print(f"{model}: failed: {error}", file=sys.stderr)
            failed = 1
            continue
        with open(state, "w") as file:
            json.dump(rows, file, indent=1)
    text = table(rows)
    if not args.docs:
        print(text)
        return failed
    parts = open(args.docs).read().split(MARK)
    if len(parts) != 3:
        print(f"mixed_front: {args.docs} has not two lines {MARK}", file=sys.stderr)
        return 2
    open(args.docs, "w").write(parts[0] + text + parts[2])
    return failed


if __name__ == "__main__":
    sys.exit(main())
