#!/usr/bin/python3
"""Memory of Slipway and of ONNX Runtime, each model in a process of its own: private memory (RssAnon) that a session takes.

`total` is what the process grows by until a session has run three times. `running` is the part of it that came with the runs: activations,
workspace and, where extents are dynamic, our packed weights. ONNX Runtime reuses what it freed while loading, which can hide its
activations; so its `running` is measured without its packing of weights (session.disable_prepacking), and still is 0 for some models.
Slipway's packages are mapped files, whose pages are no private memory. Nothing is timed: others may use the machine.

usage: bench_memory.py [--models a,b|all] [--int8] [--platform P] [--docs docs/models.md] ...
Exit code: 0 measured, 1 some model failed, 2 wrong usage, 3 a peer is missing.
"""
import argparse
import ctypes
import datetime
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench_peers  # noqa: E402

HEADER = ["model", "running MB", "ORT running MB", "total MB", "ORT total MB", "ratio of totals"]
MAX_RANK = 12


def private_bytes():
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    raise OSError("no RssAnon in /proc/self/status")


class Error(ctypes.Structure):
    """slipway_error of slipway/backend.h, with room to spare."""
    _fields_ = [("bytes", ctypes.c_char * 8192)]


class TensorInfo(ctypes.Structure):
    """slipway_tensor_info of slipway.h."""
    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_uint32), ("rank", ctypes.c_int32),
                ("dims", ctypes.c_int64 * MAX_RANK), ("dim_names", ctypes.c_char_p * MAX_RANK)]


def run_package(library, package):
    """In the child: one session through the C interface; dynamic dimensions are 1."""
    api = ctypes.CDLL(library)
    error, loaded, session = Error(), ctypes.c_void_p(), ctypes.c_void_p()

    def check(code):
        if code != 0:
            sys.exit(f"libslipway answers {code}")
    options = ctypes.create_string_buffer(256)  # slipway_session_options
    api.slipway_session_options_init(options)
    before = private_bytes()
    check(api.slipway_package_load(package.encode(), ctypes.byref(loaded), ctypes.byref(error)))
    check(api.slipway_session_create(loaded, options, ctypes.byref(session), ctypes.byref(error)))
    for i in range(api.slipway_package_num_inputs(loaded)):
        info = TensorInfo()
        check(api.slipway_package_input(loaded, i, ctypes.byref(info)))
        if any(d < 0 for d in info.dims[:info.rank]):
            dims = (ctypes.c_int64 * MAX_RANK)(*(max(1, d) for d in info.dims[:info.rank]))
            check(api.slipway_session_set_shape(session, info.name, dims, info.rank, ctypes.byref(error)))
    made = private_bytes()
    for _ in range(3):
        check(api.slipway_session_run(session, ctypes.byref(error)))
    print(json.dumps({"before": before, "loaded": made, "after": private_bytes()}))


def answer(command):
    result = subprocess.run(command, capture_output=True, text=True, cwd=bench_peers.ROOT, timeout=600)
    if result.returncode != 0:
        raise bench_peers.Failure((result.stderr.strip() or "no message").split("\n")[-1])
    return json.loads(result.stdout)


def measure(options, model):
    package = bench_peers.compiled(options, model, 1)
    ours = answer([sys.executable, os.path.abspath(__file__), "--package", package, "--library", options.library])
    theirs = ["node", "--expose-gc", bench_peers.ORT, "memory", model]
    return {"model": os.path.splitext(os.path.basename(model))[0], "slipway": ours, "ort": answer(theirs),
            "unpacked": answer(theirs + ["--no-prepack"])}


def cells(row):
    if "error" in row:
        return [row["model"], row["error"]]
    ours, theirs = row["slipway"], row["ort"]
    running = [(side["after"] - side["loaded"]) / 1e6 for side in (ours, row["unpacked"])]
    total = [(side["after"] - side["before"]) / 1e6 for side in (ours, theirs)]
    return [row["model"], *(f"{x:.1f}" for x in running + total), f"{total[0] / total[1]:.2f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="all")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--platform")
    parser.add_argument("--docs", metavar="FILE")
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--slipway", default=os.path.join(bench_peers.ROOT, "build", "release", "slipway"))
    parser.add_argument("--library", help="libslipway.so; default: that of the same build")
    parser.add_argument("--package", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.library:
        options.library = os.path.join(os.path.dirname(options.slipway), "src", "engine", "backends", "libslipway.so")
    if options.package:
        return run_package(options.library, options.package)
    options.platform = options.platform or ("x86-int8" if options.int8 else "x86")
    for path in (options.slipway, options.library, os.path.join(bench_peers.ROOT, ".cache", "ort")):
        if not os.path.exists(path):
            print(f"bench_memory.py: {path} is missing; scripts/setup dev and scripts/build release make it", file=sys.stderr)
            return 3
    rows = []
    for model in bench_peers.pick_models(options):
        try:
            rows.append(measure(options, model))
        except (bench_peers.Failure, subprocess.TimeoutExpired, ValueError) as failure:
            rows.append({"model": os.path.basename(model), "error": str(failure)})
        print("  ".join(cells(rows[-1])), flush=True)
    when = datetime.date.today().isoformat()
    text = [f"Platform `{options.platform}`, batch 1, 1 thread, {when}: private memory in MB.", "",
            "| " + " | ".join(HEADER) + " |", "|---|" + "---:|" * (len(HEADER) - 1)]
    for row in rows:
        found = cells(row)
        text.append("| " + " | ".join(found + [""] * (len(HEADER) - len(found))) + " |")
    print("\n".join(text[2:]))
    if options.docs:
        key = "memory-int8" if options.int8 else f"memory-{options.platform.rpartition('-')[2]}" if "-" in options.platform else "memory"
        bench_peers.write_docs(options.docs, key, "\n".join(text))
    return 1 if any("error" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
