#!/usr/bin/python3
"""Times block reconstruction: `slipway quantize --algorithm` against the published recipe written plainly in PyTorch
(reconstruct_torch.py), on the blocks of ResNet-20 (../shared/data), with the same batch, samples, iterations and threads.

The two run alternately, each in a process of its own; only the iterations are timed (no calibration, no evaluation). Of
BRECQ the rounding is compared, of QDrop rounding and scales together. Prints for each block the iterations a second
(median over rounds) and the ratio ours / PyTorch with its smallest and largest round, and the same for the sum over all
blocks. Raw samples go to out/bench/reconstruct.json.

--cpu takes processor time instead, where other work on the machine makes the clock's useless: both at once, one thread
each, for few and for many iterations; the difference is the iterations' (BRECQ with its scales).

usage: bench_reconstruct.py [--cpu] [--rounds 3] [--iterations 60] [--samples 128] [--threads 2] [--method brecq,qdrop] [--slipway build/release/slipway]

Exit code: 0 all timed, 1 a run failed, 2 wrong usage.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DATA = os.path.join(ROOT, "..", "shared", "data")
PREPROCESS = "scale: 0.00392156862745098\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n"


def cpu_seconds(commands):
    """Of processes that run at the same time."""
    started = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for c in commands]
    seconds = []
    for process, command in zip(started, commands):
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            print(f"bench_reconstruct: {command[0]} failed:\n{process.stderr.read().decode()[-2000:]}", file=sys.stderr)
            sys.exit(1)
        seconds.append(usage.ru_utime + usage.ru_stime)
    return seconds


def compare_cpu(args, method, folder):
    ratios, ours_ms, torch_ms = [], [], []
    few, many = max(1, args.iterations // 6), args.iterations
    for _ in range(args.rounds):
        low, high = [cpu_seconds([slipway_command(args, method, folder, n, 1), torch_command(args, method, n, 1)])
                     for n in (few, many)]
        a, b = [1000 * (y - x) / (many - few) for x, y in zip(low, high)]
        ours_ms.append(a), torch_ms.append(b), ratios.append(b / a)
    ratios.sort()
    print(f"{method}, 1 thread, batch 32, {args.rounds} rounds: processor time of an iteration of all blocks: slipway "
          f"{statistics.median(ours_ms):.0f} ms, torch {statistics.median(torch_ms):.0f} ms, ratio {statistics.median(ratios):.2f} "
          f"({ratios[0]:.2f}, {ratios[-1]:.2f})", flush=True)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"bench_reconstruct: {command[0]} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        sys.exit(1)
    return json.loads(done.stdout)


def slipway_command(args, method, folder, iterations, threads):
    preprocess = os.path.join(folder, "preprocess.yaml")
    with open(preprocess, "w") as file:
        file.write(PREPROCESS)
    return [args.slipway, "quantize", os.path.join(DATA, "models", "resnet20_cifar10.onnx"), "--platform", "x86-int8",
            "--bits", "W2A4", "--algorithm", method, "--iterations", str(iterations), "--samples", str(args.samples),
            "--threads", str(threads), "--preprocess", preprocess, "--calib", os.path.join(DATA, "cifar10", "train.npz"),
            "-o", os.path.join(folder, "q.onnx"), "--json", "-q"]


def torch_command(args, method, iterations, threads):
    return [os.path.join(ROOT, "bench", "peers", "reconstruct_torch.py"), "--method", method, "--bits", "W2A4", "--iterations",
            str(iterations), "--samples", str(args.samples), "--threads", str(threads), "--json"]


def ours(args, method, folder):
    report = run(slipway_command(args, method, folder, args.iterations, args.threads))
    return [(b["rounding_iterations"], b["rounding_seconds"]) for b in report["blocks"]]


def theirs(args, method):
    report = run(torch_command(args, method, args.iterations, args.threads))
    return [(b["iterations"], b["seconds"]) for b in report["blocks"] if b["rounding"]]


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--method", default="brecq,qdrop")
    parser.add_argument("--slipway", default=os.path.join(ROOT, "build", "release", "slipway"))
    args = parser.parse_args()
    if not os.path.exists(args.slipway):
        print(f"bench_reconstruct: {args.slipway} is not there; scripts/build first", file=sys.stderr)
        return 2
    raw = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in args.method.split(","):
            if args.cpu:
                compare_cpu(args, method, folder)
                continue
            rounds = []
            for number in range(args.rounds):
                pair = (lambda: ours(args, method, folder), lambda: theirs(args, method))
                if number % 2 == 0:
                    a, b = pair[0](), pair[1]()
                else:
                    b, a = pair[1](), pair[0]()
                rounds.append({"slipway": a, "torch": b})
            raw[method] = rounds
            show(method, rounds, args)
    if args.cpu:
        return 0
    os.makedirs(os.path.join(ROOT, "out", "bench"), exist_ok=True)
    with open(os.path.join(ROOT, "out", "bench", "reconstruct.json"), "w") as file:
        json.dump({"threads": args.threads, "iterations": args.iterations, "rounds": raw}, file)
    return 0


def show(method, rounds, args):
    print(f"{method}, {args.threads} threads, batch 32, {args.rounds} rounds of {args.iterations} iterations a block")
    print("block   slipway it/s   torch it/s   ratio (least, most)")
    speed = lambda runs: runs[0] / runs[1]
    blocks = len(rounds[0]["slipway"])
    for i in range(blocks):
        a = [speed(r["slipway"][i]) for r in rounds]
        b = [speed(r["torch"][i]) for r in rounds]
        ratios = sorted(x / y for x, y in zip(a, b))
        print(f"{i:5d} {statistics.median(a):14.1f} {statistics.median(b):12.1f} {statistics.median(ratios):7.2f} "
              f"({ratios[0]:.2f}, {ratios[-1]:.2f})")
    total = sorted(sum(s for _, s in r["torch"]) / sum(s for _, s in r["slipway"]) for r in rounds)
    print(f"  all {'':27s} {statistics.median(total):7.2f} ({total[0]:.2f}, {total[-1]:.2f})\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
