#!/usr/bin/python3
"""Times Slipway and ONNX Runtime against each other, alternating in one run, and prints a table of ratios.

For each model and thread count, ROUNDS rounds: some iterations of ONNX Runtime, then some of Slipway, so that both meet
the same weather. Before each round it waits until nobody else uses the machine (/proc/stat) and notes how much others
used during it. A row's ratio is the median over rounds of (Slipway's median / ONNX Runtime's median of the same round);
its spread is the distance between the quartiles of these ratios. Raw samples go to out/bench/ as JSON.

usage: bench_peers.py [--models a,b|all] [--threads 1,2] [--int8] [--platform P] [--rounds N] [--docs docs/models.md] ...

--int8 times ONNX Runtime on NAME_int8.onnx (scripts/models --qdq) and Slipway's x86-int8 on the same file.
--docs FILE replaces the text between `<!-- bench_peers:KEY -->` and `<!-- /bench_peers:KEY -->` by the table, where KEY
is fp32, int8 or bf16 (a platform whose name ends so; ONNX Runtime computes in float32 then). Exit code: 0 all timed, 1 some model failed, 2 wrong usage, 3 a peer is missing, 4 --max-ratio exceeded.
"""
import argparse
import datetime
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
ORT = os.path.join(ROOT, "bench", "peers", "ort.mjs")
TOPOLOGIES = ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "squeezenet1_1",
              "vit_b_16", "regnet_x_400mf", "shufflenet_v2_x1_0", "densenet121", "swin_t"]


class Failure(Exception):
    """One model cannot be timed; the text says why."""


# ---- what else runs on this machine ----

def machine_ticks():
    """(busy, all) clock ticks of all processors since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(x) for x in file.readline().split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def process_ticks(pid):
    """Clock ticks of one process and of the children it has waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return sum(int(x) for x in fields[11:15])
    except OSError:
        return 0


class Weather:
    """Share of one processor that others used since start(); `own` are the processes that are ours."""

    def __init__(self, own):
        self.own = own

    def start(self):
        self.begin = machine_ticks()[0] - self.mine()
        self.time = time.monotonic()

    def mine(self):
        return sum(process_ticks(pid) for pid in self.own)

    def others(self):
        ticks = machine_ticks()[0] - self.mine() - self.begin
        seconds = max(time.monotonic() - self.time, 1e-3)
        return max(0.0, ticks / os.sysconf("SC_CLK_TCK") / seconds)


def wait_for_idle(limit, busy_share):
    """Waits until the whole machine used less than `busy_share` of one processor for a second. Seconds waited, or None."""
    begin = time.monotonic()
    weather = Weather([])
    while True:
        weather.start()
        time.sleep(1.0)
        if weather.others() < busy_share:
            return time.monotonic() - begin
        if time.monotonic() - begin > limit:
            return None


# ---- the two sides ----

class OnnxRuntime:
    def __init__(self):
        self.process = subprocess.Popen(["node", ORT, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, cwd=ROOT)

    def ask(self, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise Failure("ONNX Runtime ended without an answer")
        answer = json.loads(line)
        if not answer.pop("ok"):
            raise Failure(f"ONNX Runtime: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def slipway_json(options, *arguments):
    command = [options.slipway, *arguments, "--json"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=options.timeout)
    except subprocess.TimeoutExpired:
        raise Failure(f"slipway {arguments[0]} took longer than {options.timeout:.0f} s") from None
    if result.returncode != 0:
        lines = (result.stderr.strip() or result.stdout.strip() or "no message").split("\n")
        raise Failure(f"slipway {arguments[0]} exits {result.returncode}: {lines[-1]}")
    try:
        return json.loads(result.stdout)
    except ValueError:
        raise Failure(f"slipway {arguments[0]} --json printed no JSON") from None


def compiled(options, model, threads):
    """A .slip of the model, so that rounds time running and not compiling."""
    folder = os.path.join(ROOT, "out", "bench", "packages")
    os.makedirs(folder, exist_ok=True)
    package = os.path.join(folder, f"{os.path.splitext(os.path.basename(model))[0]}-{options.platform}-{threads}.slip")
    result = subprocess.run([options.slipway, "compile", model, "--platform", options.platform, "--threads",
                             str(threads), "-o", package], capture_output=True, text=True, cwd=ROOT,
                            timeout=options.timeout)
    if result.returncode != 0:
        lines = (result.stderr.strip() or result.stdout.strip() or "no message").split("\n")
        raise Failure(f"slipway compile exits {result.returncode}: {lines[-1]}")
    return package


# ---- measuring ----

def share_of_ceilings(profile, threads):
    """The shortest time that the model's products could take on this machine, were each at the ceiling of its type,
    as a share of the time that all its nodes take. Products by fewer multiplications (Winograd) can pass 1."""
    best = sum(n["ceiling_share"] * n["ms"] * n["calls"] for n in profile["nodes"])
    taken = sum(n["ms"] * n["calls"] for n in profile["nodes"])
    return best / taken if taken else None


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def percentile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]


def time_model(options, ort, model, threads):
    row = {"model": os.path.splitext(os.path.basename(model))[0], "threads": threads, "platform": options.platform,
           "rounds": []}
    target = model if options.no_compile else compiled(options, model, threads)
    chosen = ["--platform", options.platform] if options.no_compile else []
    ort.ask(op="load", id="m", model=model, threads=threads)
    try:
        # The first iterations choose how many a round needs: about `options.seconds` a side.
        first = ort.ask(op="bench", id="m", iters=3, warmup=2)["samples"]
        iterations = max(5, min(200, int(options.seconds * 1000 / statistics.median(first))))
        warmup = max(1, iterations // 10)
        last = None
        for _ in range(options.rounds):
            waited = wait_for_idle(options.idle_wait, options.busy)
            weather = Weather([os.getpid(), ort.process.pid])
            weather.start()
            theirs = ort.ask(op="bench", id="m", iters=iterations, warmup=warmup)["samples"]
            last = slipway_json(options, "bench", target, *chosen, "--threads", str(threads),
                                "--samples", str(iterations), "--warmup", str(warmup), "--no-record")
            ours = last.get("samples_ms") or [last["p50_ms"]]
            row["rounds"].append({"ort_ms": theirs, "slipway_ms": ours, "waited_s": waited,
                                  "others": weather.others()})
        row["peak_bytes"] = last.get("peak_bytes")
        profile = slipway_json(options, "bench", target, *chosen, "--threads", str(threads), "--samples", "5",
                               "--no-record", "--profile")
        row["ceilings"], row["share"] = profile["ceilings"], share_of_ceilings(profile, threads)
    finally:
        ort.ask(op="unload", id="m")
    ratios = [statistics.median(r["slipway_ms"]) / statistics.median(r["ort_ms"]) for r in row["rounds"]]
    low, high = quartiles(ratios)
    every = {side: [x for r in row["rounds"] for x in r[f"{side}_ms"]] for side in ("ort", "slipway")}
    row.update(ratio=statistics.median(ratios), spread=high - low, others=max(r["others"] for r in row["rounds"]),
               never_idle=any(r["waited_s"] is None for r in row["rounds"]))
    for side, samples in every.items():
        row[f"{side}_p50_ms"], row[f"{side}_p90_ms"] = statistics.median(samples), percentile(samples, 0.9)
    return row


# ---- reporting ----

def row_cells(row):
    if "error" in row:
        return [row["model"], str(row["threads"]), "", "", "", "", row["error"]]
    peak = "" if not row.get("peak_bytes") else f"{row['peak_bytes'] / 1e6:.1f}"
    # With a dynamic batch the count is an expression: shown as it is.
    macs = row.get("macs") or ""
    macs = f"{macs / 1e9:.2f}" if isinstance(macs, (int, float)) else macs
    agreement = "" if row.get("agreement") is None else f"{row['agreement']:.0e}"
    return [row["model"], str(row["threads"]), macs, peak, agreement, f"{row['slipway_p50_ms']:.2f}",
            f"{row['ort_p50_ms']:.2f}", f"{row['ratio']:.2f} ± {row['spread'] / 2:.2f}",
            "" if not row.get("share") else f"{100 * row['share']:.0f}", f"{row['others']:.2f}"]


HEADER = ["model", "threads", "GMAC", "peak MB", "agreement", "Slipway p50 ms", "ORT p50 ms", "ratio", "% of ceiling", "others' CPU"]


def ceilings(rows):
    """' (float32 115, ...)': the median over the rows of what was measured."""
    found = [row["ceilings"] for row in rows if row.get("ceilings")]
    if not found:
        return ""
    names = [("float32", "float32_gops"), ("bfloat16", "bfloat16_gops"), ("int8", "int8_gops")]
    return " (GOPS a thread: " + ", ".join(
        f"{name} {statistics.median(c[key] for c in found):.0f}" for name, key in names) + ")"


def markdown(options, rows, when):
    lines = [f"Platform `{options.platform}`, batch 1, {when}, {cpu_name()}. Ratio: Slipway / ONNX Runtime, median over "
             f"{options.rounds} alternating rounds ± half the quartile distance; below 1 Slipway is faster. % of "
             f"ceiling: the time that the model's products take at this machine's best rate of their type{ceilings(rows)}, as a share "
             "of the time it takes. Others' CPU: the most that other processes used during a round, in processors.", ""]
    lines.append("| " + " | ".join(HEADER) + " |")
    lines.append("|---|" + "---:|" * (len(HEADER) - 1))
    for row in rows:
        cells = row_cells(row)
        lines.append("| " + " | ".join(cells + [""] * (len(HEADER) - len(cells))) + " |")
    return "\n".join(lines)


def write_docs(path, key, text):
    begin, end = f"<!-- bench_peers:{key} -->", f"<!-- /bench_peers:{key} -->"
    old = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = file.read()
    block = f"{begin}\n{text}\n{end}"
    if begin in old and end in old:
        new = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, old, flags=re.S)
    else:
        new = (old.rstrip() or "# Models") + "\n\n" + block + "\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(new)


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return f"{os.cpu_count()} cores of {line.split(':', 1)[1].strip()}"
    return f"{os.cpu_count()} cores"


def add_facts(options, row, model):
    """MACs from `slipway inspect`; agreement from tests/agreement.py. Absent where they cannot be had."""
    try:
        row["macs"] = slipway_json(options, "inspect", model).get("macs")
    except Failure as failure:
        print(f"  {row['model']}: {failure}", file=sys.stderr)
    if options.int8:
        return
    result = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "agreement.py"), "--json", "--slipway",
                             options.slipway, "--platform", options.platform, model], capture_output=True, text=True)
    if result.returncode in (0, 1):
        found = json.loads(result.stdout)["models"][0]
        row["agreement"] = found["worst"] if found["status"] == "agrees" else None
        if found["reason"]:
            print(f"  {row['model']}: {found['reason']}", file=sys.stderr)


def pick_models(options):
    suffix = "_int8" if options.int8 else ""
    folder = os.path.join(ROOT, ".cache", "models")
    if options.models == "all":
        names = [os.path.join(folder, f"{name}{suffix}.onnx") for name in TOPOLOGIES]
        if not options.int8:
            names += sorted(glob.glob(os.path.join(ROOT, "../shared/data/models/**/*.onnx"), recursive=True))
            names.append(os.path.join(ROOT, "examples", "fashion_mnist", "resnet_fashion.onnx"))
        return names
    return [name if name.endswith(".onnx") else os.path.join(folder, f"{name}{suffix}.onnx")
            for name in options.models.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="all", help="names in .cache/models or paths, with commas; default all")
    parser.add_argument("--threads", default="1", help="thread counts, with commas (default 1)")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--platform", help="default x86, with --int8 x86-int8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of measuring a side and round (default 1.5)")
    parser.add_argument("--idle-wait", type=float, default=60, help="longest wait for an idle machine, a round")
    parser.add_argument("--busy", type=float, default=0.1, help="others may use this many processors when a round starts")
    parser.add_argument("--max-ratio", type=float, help="exit 4 when a model's ratio is above this")
    parser.add_argument("--docs", metavar="FILE", help="write the table between this file's markers")
    parser.add_argument("--facts", action="store_true", help="also MACs and agreement (always with --docs)")
    parser.add_argument("--no-compile", action="store_true", help="give the model itself to `slipway bench`")
    parser.add_argument("--slipway", default=os.path.join(ROOT, "build", "release", "slipway"))
    parser.add_argument("--timeout", type=float, default=600)
    options = parser.parse_args()
    options.platform = options.platform or ("x86-int8" if options.int8 else "x86")
    options.slipway = os.path.abspath(options.slipway)
    if options.rounds < 1 or not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", options.threads):
        parser.error("--rounds and --threads want positive whole numbers")
    return options


def main():
    options = parse()
    if shutil.which("node") is None or not os.path.isdir(os.path.join(ROOT, ".cache", "ort", "node_modules")):
        print("bench_peers.py: ONNX Runtime is not installed; run scripts/setup dev", file=sys.stderr)
        return 3
    if not os.access(options.slipway, os.X_OK):
        print(f"bench_peers.py: {options.slipway} is not there; run scripts/build", file=sys.stderr)
        return 3
    models = pick_models(options)
    for model in models:
        if not os.path.isfile(model):
            print(f"bench_peers.py: {model}: no such file; run scripts/models{' --qdq' if options.int8 else ''}",
                  file=sys.stderr)
            return 2
    when = datetime.datetime.now().strftime("%Y-%m-%d")
    rows, ort = [], OnnxRuntime()
    print("  ".join(f"{title:>14}" for title in HEADER))
    try:
        for model in models:
            for threads in map(int, options.threads.split(",")):
                try:
                    row = time_model(options, ort, model, threads)
                    if options.facts or options.docs:
                        add_facts(options, row, model)
                except Failure as failure:
                    row = {"model": os.path.splitext(os.path.basename(model))[0], "threads": threads,
                           "error": str(failure)}
                rows.append(row)
                note = "  (the machine was never idle)" if row.get("never_idle") else ""
                print("  ".join(f"{cell:>14}" for cell in row_cells(row)) + note, flush=True)
    finally:
        ort.close()
    folder = os.path.join(ROOT, "out", "bench")
    os.makedirs(folder, exist_ok=True)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    raw = os.path.join(folder, f"peers-{stamp}-{options.platform}.json")
    with open(raw, "w", encoding="utf-8") as file:
        json.dump({"when": stamp, "cpu": cpu_name(), "platform": options.platform, "int8": options.int8,
                   "rows": rows}, file)
    print(f"raw samples: {os.path.relpath(raw, ROOT)}")
    if options.docs:
        key = "int8" if options.int8 else "bf16" if options.platform.endswith("bf16") else "fp32"
        write_docs(options.docs, key, markdown(options, rows, when))
    good = [row for row in rows if "error" not in row]
    if options.max_ratio and any(row["ratio"] > options.max_ratio for row in good):
        print(f"bench_peers.py: a ratio is above {options.max_ratio}", file=sys.stderr)
        return 4
    return 1 if len(good) < len(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
