#!/usr/bin/python3
"""Compiles and runs real models on every platform that executes here, itself or emulated, and compares the outputs.

A row is one model on one platform. Where the platform has integers, the model is quantized for it first. Outputs are
compared with the interpreter (float) or with the same integers computed by the plain loops of the backend `reference`:
bit for bit (but for the order of float32 sums behind the integers) where only our own integer kernels run, else by the
ratio of signal to noise, because a vendor's library rounds ties its own way and float functions between integers tip a
rounding now and then. A row prints what was really run, the share of nodes and of multiplications that the platform's
own backends ran, and how the outputs compare. It fails when they differ, or when less than 90 % of the multiplications
ran there and BELOW does not say why.

usage: matrix.py [--sample N] [--seed S] [--docs] [PLATFORM | MODEL ...]
  --sample N   only N rows, drawn by the seed (printed)
  --docs       put the rows that were run into platforms/matrix.json and write docs/matrix.md from all that it has

Exit code: 0 all agree, 1 something differs or fails, 2 wrong usage, 77 there is nothing to run (the shared data is absent).
"""
import argparse
import array
import datetime
import glob
import json
import math
import os
import platform as host
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.environ.get("SLIPWAY_SOURCE_DIR") or os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import npy  # noqa: E402

BINARY = os.environ.get("SLIPWAY_BINARY") or os.path.join(ROOT, "build", "release", "slipway")
EMULATED_RUNNER = os.path.join(ROOT, "build", "runtime-aarch64", "slipway-run")
DATA = os.path.join(ROOT, "..", "shared", "data")
FACTS = os.path.join(ROOT, "platforms", "matrix.json")
PAGE = os.path.join(ROOT, "docs", "matrix.md")
LEAST = 0.9  # of the multiplications
SUMS = 2e-6  # of an output's range: what the order of float sums behind the integers makes

# Name: file, calibration data, shape of the input.
MODELS = {
    "resnet20": ("data/models/resnet20_cifar10.onnx", "cifar10/train.npz", (1, 3, 32, 32)),
    "mobilenetv2_small": ("data/models/mobilenetv2_small_cifar10.onnx", "cifar10/train.npz", (1, 3, 32, 32)),
    "vit_small": ("data/models/vit_small_cifar10.onnx", "cifar10/train.npz", (1, 3, 32, 32)),
    "mobilenet_v1_025": ("data/models/mobilenet_v1_025_imagenet.onnx", "imagenet_sample", (1, 3, 224, 224)),
    "squeezenet1_1": (".cache/models/squeezenet1_1.onnx", "imagenet_sample", (1, 3, 224, 224)),
}
VENDORS = {"onednn", "opencv", "xnnpack", "onnxruntime", "openvino", "tensorrt"}
# What a backend says that is not here.
ABSENT = ("which this build does not have", "is not on this machine")
# Float functions that lie between integers.
FLOATING = {"Softmax", "Gelu", "Tanh", "Sigmoid", "Swish", "Erf", "LayerNormalization", "Attention", "slipway.QAttention",
            "slipway.QLayerNorm", "slipway.MulQuantize", "HardSwish"}
# Rows that stay below 90 % of the multiplications, and why.
BELOW = {
    ("x86-opencv", "vit_small"): "OpenCV 4.6 gets linear layers of two dimensions only; those of a transformer have three",
}


class Failure(Exception):
    """Something that ends one row, with what the user should know."""


def onnxruntime():
    """Where scripts/setup dev puts ONNX Runtime's library, unless the caller names one."""
    found = sorted(glob.glob(os.path.join(ROOT, ".cache", "ort", "node_modules", "onnxruntime-node", "bin", "*", "linux", "x64", "libonnxruntime.so.1")))
    return os.environ.get("SLIPWAY_ONNXRUNTIME") or (found[0] if found else "")


def call(*command, timeout=900):
    done = subprocess.run(list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False,
                          env=dict(os.environ, SLIPWAY_ONNXRUNTIME=onnxruntime(), SLIPWAY_PERFDB=os.path.join(Work.folder, "perf.db"),
                                   SLIPWAY_PLATFORMS=os.path.join(ROOT, "platforms") + ":" + Work.folder))
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Failure(f"{os.path.basename(command[0])} {command[1]}: {lines[-1] if lines else 'no message'} (exit {done.returncode})")
    return done.stdout.decode()


def slipway(*arguments):
    return call(BINARY, *arguments)


class Work:
    folder = None


def model_path(name):
    path = MODELS[name][0]
    return os.path.normpath(os.path.join(DATA, "..", path) if path.startswith("data/") else os.path.join(ROOT, path))


def input_file(name):
    """Smooth noise of three waves a channel, the same for every run."""
    path = os.path.join(Work.folder, name + "-x.npy")
    if not os.path.exists(path):
        n, channels, height, width = MODELS[name][2]
        values = array.array("f")
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    u, v = x / width, y / height
                    values.append(math.sin(5.1 * u + 2.3 * c) + math.cos(7.7 * v - c) + 0.5 * math.sin(31 * u * v + c)
                                  + ((y * 7919 + x * 104729 + c * 31) % 997) / 1994 - 0.25)
        npy.save(path, values, [n, channels, height, width])
    return path


def outputs(folder):
    return {f[:-4]: npy.load(os.path.join(folder, f)) for f in sorted(os.listdir(folder)) if f.endswith(".npy")}


def fresh(name):
    folder = os.path.join(Work.folder, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def loops_of(p):
    """The platform with its integers on the plain loops of this machine."""
    with open(p["file"], encoding="utf-8") as file:
        lines = file.read().splitlines()
    name = "loops-" + p["name"]
    out = [f"name: {name}", f"arch: {host.machine()}", "backends: [reference]"]
    skipping = False
    for line in lines:
        if line and not line.startswith((" ", "#")):
            key = line.split(":")[0]
            skipping = key in ("name", "arch", "backends", "fallback", "device", "emulated", "features", "simulated", "export")
            if key == "precision" and "bfloat16" in line:
                out.append("precision: int8")
                continue
        if not skipping:
            out.append(line)
    with open(os.path.join(Work.folder, name + ".yaml"), "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
    return name


def compare(got, want):
    """Largest difference as a share of the wanted range, signal to noise in dB (None: equal), what became of the best."""
    if sorted(got) != sorted(want):
        raise Failure(f"outputs {sorted(got)} instead of {sorted(want)}")
    largest, signal, noise, top = 0.0, 0.0, 0.0, "same top-1"
    for name, (values, dims) in want.items():
        mine, my_dims = got[name]
        if list(my_dims) != list(dims):
            raise Failure(f"output {name} has shape {list(my_dims)} instead of {list(dims)}")
        if any(not math.isfinite(v) for v in mine):
            raise Failure(f"output {name} is not finite")
        span = (max(values) - min(values)) or 1.0
        for a, b in zip(mine, values):
            largest = max(largest, abs(a - b) / span)
            signal += b * b
            noise += (a - b) * (a - b)
        best = list(mine).index(max(mine))
        if best != list(values).index(max(values)) and top != "another top-1":
            # Where the two best are as near as the outputs differ, either may be the best.
            top = "a near tie for top-1" if values[best] >= max(values) - 2 * largest * span else "another top-1"
    return largest, None if noise == 0 else 10 * math.log10(signal / noise) if signal else -math.inf, top


def run_row(p, name):
    """One row: what was run, shares, how it compares, whether that is well."""
    source, x = model_path(name), input_file(name)
    tensor = json.loads(slipway("inspect", source, "--json"))["inputs"][0]["name"]
    given = ["--input", f"{tensor}={x}"]
    model, want_from, note = source, ["--platform", "interpreter"], ""
    if p["weight_bits"]:
        model = os.path.join(Work.folder, f"{name}-{p['name']}.onnx")
        try:
            slipway("quantize", source, "--platform", p["name"], "--calib", os.path.join(DATA, MODELS[name][1]), "--samples", "8",
                    "-o", model)
            want_from = ["--platform", loops_of(p)]
        except Failure as e:
            if "no node that this platform runs on integers" not in str(e):
                raise
            model, note = source, "no layer of the scheme's kind, in float32: "
    want_folder = fresh("want")
    slipway("run", model, *given, *want_from, "-o", want_folder)
    package = os.path.join(Work.folder, "m.slip")
    compiled = json.loads(slipway("compile", model, "--platform", p["name"], "-o", package, "--json"))
    got_folder = fresh("got")
    if p["emulated"]:
        emulator = shutil.which("qemu-aarch64")
        if not emulator or not os.path.exists(EMULATED_RUNNER):
            raise Failure("no qemu-aarch64 or no build/runtime-aarch64/slipway-run; scripts/setup core, scripts/build runtime-aarch64")
        call(emulator, "-L", "/usr/aarch64-linux-gnu", "-cpu", "max", EMULATED_RUNNER, package, *given, "--output-dir", got_folder)
        what = "emulated by qemu-aarch64 (CPU max)"
    else:
        slipway("run", package, *given, "-o", got_folder)
        what = "native"
    largest, ratio, top = compare(outputs(got_folder), outputs(want_folder))
    row = {"run": what, "nodes": round(compiled["own_node_share"], 4), "macs": round(compiled["own_mac_share"], 4),
           "difference": float(f"{largest:.2g}"), "sqnr_db": None if ratio is None else round(ratio, 1)}
    used = {n["backend"] for n in compiled["nodes"]}
    integers = p["weight_bits"] and p["precision"] != "float32" and model != source
    loose = used & VENDORS or any(n["op"] in FLOATING for n in compiled["nodes"]) or p["precision"] == "bfloat16"
    if not integers:
        limit = {"bfloat16": 0.05, "float16": 0.01}.get(p["precision"], 1e-4)
        row["ok"] = largest <= limit
        row["result"] = "equal" if largest == 0 else f"differs by {largest:.1g} of the range"
    else:
        # Behind the integers: a mean or a classifier in float32. A code that differs shows as far more.
        sums = largest <= SUMS
        # Tipped roundings may make less than the rounding itself, which makes some 6 dB a bit.
        row["ok"] = sums or bool(loose and top != "another top-1" and ratio >= min(30, 6 * p["weight_bits"] - 6))
        row["result"] = ("bit for bit" if largest == 0 else "codes bit for bit" if sums else
                         f"signal to noise {ratio:.1f} dB, {top}")
    row["result"] = note + row["result"]
    if compiled["own_mac_share"] < LEAST:
        reasons = {}
        for n in compiled["nodes"]:
            if n["fallback"] and n["macs"]:
                why = f"{n['op']}: {'; '.join(n['reasons'])}"
                reasons[why] = reasons.get(why, 0) + n["macs"]
        row["declined"] = max(reasons, key=reasons.get) if reasons else ""
    return row


def percent(share):
    """Rounded down: 89.95 is not 90."""
    return f"{math.floor(1000 * share + 1e-9) / 10:.1f} %"


def judge(key, row):
    """The reason why a row fails, or None."""
    if not row["ok"]:
        return row["result"]
    if row["macs"] < LEAST and key not in BELOW:
        return f"only {percent(row['macs'])} of MACs on its own backends ({row.get('declined', '')})"
    if row["macs"] >= LEAST and key in BELOW:
        return "no longer below 90 % of MACs: take it out of BELOW"
    return None


def machine():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"model name\s*:\s*(.*)", file.read())
        return f"{found.group(1).strip()}, {host.machine()}" if found else host.machine()
    except OSError:
        return host.machine()


def revision():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode().strip() or "unknown"


def load_facts():
    if not os.path.exists(FACTS):
        return {"format": 1, "platforms": {}}
    with open(FACTS, encoding="utf-8") as file:
        return json.load(file)


def write_docs(rows, platforms):
    facts = load_facts()
    stamp = {"date": datetime.date.today().isoformat(), "revision": revision(), "machine": machine()}
    for (platform, model), row in rows.items():
        entry = facts["platforms"].setdefault(platform, {"models": {}})
        entry.update(stamp)
        entry["run"] = row["run"]
        entry["models"][model] = {k: row[k] for k in ("nodes", "macs", "result", "ok") if k in row}
        if (platform, model) in BELOW:
            entry["models"][model]["below"] = BELOW[(platform, model)]
    facts["platforms"] = {k: facts["platforms"][k] for k in sorted(facts["platforms"]) if k in platforms}
    with open(FACTS, "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1, sort_keys=True)
        file.write("\n")
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page(facts))
    print(f"wrote {os.path.relpath(FACTS, ROOT)} and {os.path.relpath(PAGE, ROOT)}")


def page(facts):
    names = list(MODELS)
    out = ["# Real models on every platform that executes", "",
           "Made by `tests/matrix.py --docs` from `platforms/matrix.json`, which `slipway platforms` reads too; do not edit.",
           "A cell: the share of the multiplications (MACs) that ran on the platform's own backends, and how the outputs compare:",
           "with the interpreter for float platforms, with the same integers computed by plain loops for the others (*codes bit for bit*: float32 sums",
           "behind the integers, a mean or a classifier, differ in their last bits). *Emulated* rows ran",
           "under qemu-user: their results count, their times would not. `scripts/test` runs a sample, `scripts/test --full` all of it.", "",
           "| platform | run | " + " | ".join(f"`{n}`" for n in names) + " |", "|---" * (len(names) + 2) + "|"]
    below = []
    for platform, entry in facts["platforms"].items():
        cells = []
        for n in names:
            row = entry["models"].get(n)
            if not row:
                cells.append("not run")
                continue
            cells.append(f"{percent(row['macs'])}, {'' if row['ok'] else '**wrong**: '}{row['result']}")
            if row["macs"] < LEAST:
                below.append(f"- `{platform}`, `{n}`: {percent(row['macs'])}. {row.get('below', '')}")
        out.append(f"| `{platform}` | {entry['run']} | " + " | ".join(cells) + " |")
    out += ["", "## Below 90 % of the multiplications", ""] + (below or ["None."])
    out += ["", "## When and where", "", "| date | revision | machine | platforms |", "|---|---|---|---|"]
    stamps = {}
    for platform, entry in facts["platforms"].items():
        stamps.setdefault((entry["date"], entry["revision"], entry["machine"]), []).append(f"`{platform}`")
    out += [f"| {d} | {r} | {m} | {', '.join(ps)} |" for (d, r, m), ps in sorted(stamps.items())]
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("words", nargs="*")
    o = parser.parse_args()
    Work.folder = tempfile.mkdtemp(prefix="slipway-matrix-")
    try:
        executing = {p["name"]: p for p in json.loads(slipway("platforms", "--json"))["platforms"] if p["run"] in ("here", "emulated")}
        models = [n for n in MODELS if os.path.exists(model_path(n)) and os.path.exists(os.path.join(DATA, MODELS[n][1]))]
        for n in MODELS:
            if n not in models:
                print(f"skip  {n}: {MODELS[n][0]} or its data is not here")
        for word in o.words:
            if word not in executing and word not in MODELS:
                sys.exit(f"matrix: '{word}' is neither a model nor a platform that executes; models: {', '.join(MODELS)}")
        some_platforms = [w for w in o.words if w in executing] or list(executing)
        keys = [(p, m) for p in some_platforms for m in models if m in o.words or not set(o.words) & set(MODELS)]
        if not keys:
            print("skip: nothing to run")
            return 77
        if o.sample:
            seed = random.SystemRandom().randrange(1 << 30) if o.seed is None else o.seed
            print(f"seed {seed}")
            if not os.path.exists(EMULATED_RUNNER) or not shutil.which("qemu-aarch64"):
                keys = [k for k in keys if not executing[k[0]]["emulated"]]
            keys = random.Random(seed).sample(keys, min(o.sample, len(keys)))
        rows, failed, skipped = {}, 0, 0
        for platform, model in keys:
            begin = time.time()
            try:
                row = run_row(executing[platform], model)
                why = judge((platform, model), row)
                rows[(platform, model)] = row
                text = f"{row['run']}; {percent(row['nodes'])} of nodes, {percent(row['macs'])} of MACs; {row['result']}"
                if row["macs"] < LEAST:
                    text += f"; declined: {row.get('declined', '')}"
            except (Failure, subprocess.TimeoutExpired) as e:
                if any(says in str(e) for says in ABSENT):
                    print(f"skip  {model} on {platform}: {e}", flush=True)
                    skipped += 1
                    continue
                why = text = str(e)
            failed += why is not None
            print(f"{'ok   ' if why is None else 'FAIL '} {model} on {platform} ({time.time() - begin:.0f} s): {text}", flush=True)
            if why is not None and why != text:
                print(f"      {why}")
        if o.docs:
            write_docs(rows, executing)
        print(f"{len(keys) - skipped - failed} of {len(keys) - skipped} rows agree")
        return 1 if failed else 0
    finally:
        shutil.rmtree(Work.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
